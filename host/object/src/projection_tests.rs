use proptest::prelude::*;
use serde_json::{Map, Value};

use super::*;
use crate::{Keep, Object};

fn set(paths: &[&str]) -> FieldSet {
    let paths: Vec<_> = paths.iter().map(|path| FieldPath::parse(path).unwrap()).collect();
    FieldSet::new(&paths).unwrap()
}

fn object(rest: &str) -> Object {
    let json = format!(
        r#"{{"kind":"X","apiVersion":"v1","metadata":{{"name":"a","managedFields":[1],"labels":{{"k":"v"}}}}{rest}}}"#
    );
    Object::parse(json.as_bytes(), None, Keep::All).unwrap()
}

const HEAD: &str = r#"{"apiVersion":"v1","kind":"X","metadata":{"name":"a","labels":{"k":"v"}}"#;

fn cut_to(paths: &[&str], rest: &str) -> String {
    let cut = object(rest).fields_only(&set(paths));
    let json = cut.json().strip_prefix(HEAD).expect("the head comes first");
    json.strip_suffix('}').unwrap().to_owned()
}

#[test]
fn the_declared_fields_stay_where_they_stood_and_keep_their_text() {
    let rest =
        r#","spec":{"replicas":3,"ratio":1.10,"big":12345678901234567890123,"other":{"x":1}},"status":{"ready":true}"#;
    assert_eq!(cut_to(&["spec.replicas"], rest), r#","spec":{"replicas":3}"#);
    assert_eq!(
        cut_to(&[".spec.ratio", "spec.big"], rest),
        r#","spec":{"ratio":1.10,"big":12345678901234567890123}"#
    );
    assert_eq!(
        cut_to(&["status", "spec.other.y"], rest),
        r#","spec":{"other":{}},"status":{"ready":true}"#
    );
    assert_eq!(cut_to(&[], rest), "");
    assert_eq!(cut_to(&["metadata.labels", "apiVersion", "nothing"], rest), "");
}

#[test]
fn lists_keep_the_places_of_their_elements() {
    let rest = r#","spec":{"ports":[{"name":"a","port":1},7,{"port":2}],"map":{"x":{"k":1,"l":2},"y":3}}"#;
    assert_eq!(
        cut_to(&["spec.ports[*].name"], rest),
        r#","spec":{"ports":[{"name":"a"},null,{}]}"#
    );
    assert_eq!(
        cut_to(&["spec.ports[2].port"], rest),
        r#","spec":{"ports":[{"port":1},null,{"port":2}]}"#
    );
    assert_eq!(cut_to(&["spec.map[*].k"], rest), r#","spec":{"map":{"x":{"k":1}}}"#);
    assert_eq!(
        cut_to(&["spec.map[*].k", "spec.map.x.l"], rest),
        r#","spec":{"map":{"x":{"k":1,"l":2}}}"#
    );
}

#[test]
fn sets_are_compared_and_united_by_their_paths() {
    let (a, ab) = (set(&[".spec.a"]), set(&["spec.a", "status.b"]));
    assert!(ab.covers(&a) && !a.covers(&ab) && a.covers(&set(&["metadata.labels['x']"])));
    assert_eq!(a.union(&set(&["status.b", "spec.a"])).unwrap(), ab);
    assert!(set(&["metadata.name"]).is_empty());
    let many: Vec<_> = (0..=MAX_PATHS)
        .map(|n| FieldPath::parse(&format!("spec.x{n}")).unwrap())
        .collect();
    assert_eq!(FieldSet::new(&many), None);
    assert!(FieldSet::new(&many[1..]).is_some());
}

#[test]
fn deep_nesting_costs_no_stack() {
    let deep = format!(r#","spec":{{"a":{}{}}}"#, "[".repeat(200_000), "]".repeat(200_000));
    assert_eq!(cut_to(&["spec.a"], &deep), deep);
    assert_eq!(cut_to(&["spec.b"], &deep), r#","spec":{}"#);
    let every = format!("spec.a{}", "[*]".repeat(30));
    assert_eq!(cut_to(&[&every], &deep), deep);
}

/// What the cut leaves, by walking a tree: the slow and obvious way.
fn model(value: &Value, paths: &[&[Segment]]) -> Option<Value> {
    if paths.iter().any(|path| path.is_empty()) {
        return Some(value.clone());
    }
    let rest = |wanted: &dyn Fn(&Segment) -> bool| -> Vec<&[Segment]> {
        paths
            .iter()
            .filter(|path| wanted(&path[0]))
            .map(|path| &path[1..])
            .collect()
    };
    match value {
        Value::Object(map) if !paths.is_empty() => Some(Value::Object(
            map.iter()
                .filter_map(|(name, value)| {
                    let below = rest(&|s| matches!(s, Segment::Every) || matches!(s, Segment::Name(n) if n == name));
                    Some((name.clone(), model(value, &below)?))
                })
                .collect::<Map<_, _>>(),
        )),
        Value::Array(elements) if !paths.is_empty() => {
            let below = rest(&|s| !matches!(s, Segment::Name(_)));
            Some(Value::Array(match below.is_empty() {
                true => Vec::new(),
                false => elements
                    .iter()
                    .map(|element| model(element, &below).unwrap_or(Value::Null))
                    .collect(),
            }))
        }
        _ => None,
    }
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        "[a-c\"\\\\é]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[a-c]", inner), 0..4).prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

#[test]
fn a_list_of_a_merge_patch_that_is_not_shown_whole_is_found() {
    let fields = set(&["spec.size", "spec.parts[*].name", "spec.ports", "status.by['a.b']"]);
    for (patch, found) in [
        (r#"{"spec":{"size":[1]}}"#, None),
        (
            r#"{"spec":{"ports":[],"size":2,"other":{"deep":1},"parts":null}}"#,
            None,
        ),
        (
            r#"{"metadata":{"finalizers":["x/y"]},"status":{"by":{"a.b":{"c":[1]}}}}"#,
            None,
        ),
        (r#"{"spec":{"ports":[1],"parts":[{"name":"a"}]}}"#, Some("spec.parts")),
        (r#"{"spec":{"other":{"deep":[]}}}"#, Some("spec.other.deep")),
        (r#"{"status":{"by":{"a":[]}}}"#, Some("status.by.a")),
        (r#"{"status":{"conditions":[]}}"#, Some("status.conditions")),
        (r#"{"items":[]}"#, Some("items")),
    ] {
        assert_eq!(fields.list_beyond(patch).unwrap().as_deref(), found, "{patch}");
    }
    assert!(fields.list_beyond(&"[".repeat(200)).is_err());
}

fn paths() -> impl Strategy<Value = Vec<String>> {
    let segment = prop_oneof![
        4 => "\\.[a-c]",
        2 => Just("[*]".to_owned()),
        1 => "\\[[0-2]\\]",
    ];
    let path = prop::collection::vec(segment, 0..4).prop_map(|s| format!("spec{}", s.concat()));
    prop::collection::vec(path, 0..5)
}

proptest! {
    #[test]
    fn a_cut_agrees_with_a_walk_over_the_tree(spec in values(), paths in paths(), more in paths()) {
        let json = format!(r#"{{"apiVersion":"v1","kind":"X","metadata":{{"name":"a"}},"spec":{spec}}}"#);
        let whole = Object::parse(json.as_bytes(), None, Keep::Cut).unwrap();
        let parse = |paths: &[String]| -> Vec<FieldPath> {
            paths.iter().map(|p| FieldPath::parse(p).unwrap()).collect()
        };
        let (declared, more) = (parse(&paths), parse(&more));
        let fields = FieldSet::new(&declared).unwrap();
        let cut = whole.fields_only(&fields);

        let value: Value = serde_json::from_str(cut.json()).unwrap();
        let segments: Vec<&[Segment]> = declared.iter().map(|path| &path.segments()[1..]).collect();
        prop_assert_eq!(value.get("spec").cloned(), model(&spec, &segments));
        prop_assert_eq!(cut.head(), whole.head());
        for path in &declared {
            prop_assert_eq!(path.texts(cut.json()).len(), path.texts(whole.json()).len());
            prop_assert_eq!(path.strings(cut.json()), path.strings(whole.json()));
        }
        let again = cut.fields_only(&fields);
        prop_assert_eq!(again.json(), cut.json());
        // What a wider cut left is as good as the whole.
        let wider = fields.union(&FieldSet::new(&more).unwrap()).unwrap();
        let through = whole.fields_only(&wider).fields_only(&fields);
        prop_assert_eq!(through.json(), cut.json());
    }
}
