use serde_json::{Value, json};

use super::*;
use crate::tests::with;

const WIDGET: &str = "Widget";
const CONFIG_MAP: &str = "ConfigMap";

fn kind(kind: &str) -> Value {
    json!({"group": "", "version": "v1", "kind": kind})
}

/// Two controllers of Widgets, of which the first watches ConfigMaps, too, and an index over each kind.
fn manifest() -> Value {
    json!({
        "name": "p", "version": "0.1.0",
        "controllers": [
            {"name": "a", "kind": kind(WIDGET), "watches": [{"kind": kind(CONFIG_MAP), "map": {"field": "data.for"}}]},
            {"name": "b", "kind": kind(WIDGET)},
        ],
        "indexes": [
            {"name": "by-name", "kind": kind(CONFIG_MAP), "paths": ["data.name", "metadata.name"]},
            {"name": "by-size", "kind": kind(WIDGET), "paths": ["spec.size"]},
        ],
        "permissions": [{"group": "", "kind": WIDGET, "verbs": ["watch"]},
                        {"group": "", "kind": CONFIG_MAP, "verbs": ["watch"]},
                        {"group": "", "kind": "Secret", "verbs": ["watch"]}],
    })
}

const OWN: &str = "/controllers/0/fields";
const WATCHED: &str = "/controllers/0/watches/0/fields";

fn parse(manifest: &Value) -> Manifest {
    Manifest::parse(&manifest.to_string()).unwrap_or_else(|error| panic!("{error}"))
}

fn errors(manifest: &Value) -> Vec<String> {
    let error = Manifest::parse(&manifest.to_string()).unwrap_err();
    error.problems.iter().map(ToString::to_string).collect()
}

fn paths(shown: Shown) -> Vec<String> {
    match shown {
        Shown::Fields(fields) => fields.paths().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_declares_no_fields_sees_whole_objects_and_metadata_only_is_metadata_alone() {
    let manifest = parse(&manifest());
    let controller = &manifest.controllers[0];
    assert_eq!(manifest.shown_of_primary(controller), Shown::Whole);
    assert_eq!(manifest.shown_of_watched(&controller.watches[0]), Shown::Whole);
    let watch = Watch {
        metadata_only: true,
        ..controller.watches[0].clone()
    };
    assert_eq!(manifest.shown_of_watched(&watch), Shown::Metadata);
}

#[test]
fn what_a_mapping_and_the_indexes_read_is_among_the_fields_of_a_watched_kind() {
    let manifest = parse(&with(manifest(), WATCHED, json!(["data['a.b']"])));
    let watch = &manifest.controllers[0].watches[0];
    assert_eq!(
        paths(manifest.shown_of_watched(watch)),
        ["data.for", "data.name", "data['a.b']"]
    );
}

#[test]
fn the_fields_of_a_kind_add_up_over_the_controllers_that_declare_some() {
    let one = with(manifest(), OWN, json!(["spec.one"]));
    let one = with(one, "/controllers/0/changes", json!(["status.ok"]));
    let manifest = parse(&one);
    let [a, b] = &manifest.controllers[..] else { panic!() };
    assert_eq!(
        paths(manifest.shown_of_primary(a)),
        ["spec.one", "spec.size", "status.ok"]
    );
    assert_eq!(manifest.shown_of_primary(b), Shown::Whole, "that one declares none");

    let manifest = parse(&with(one, "/controllers/1/fields", json!([".spec.two"])));
    for controller in &manifest.controllers {
        let paths = paths(manifest.shown_of_primary(controller));
        assert_eq!(paths, ["spec.one", "spec.size", ".spec.two", "status.ok"]);
    }
}

#[test]
fn a_path_that_cannot_be_read_is_named_where_it_stands() {
    for (pointer, at) in [
        (OWN, "controllers[0].fields[1]: "),
        (WATCHED, "controllers[0].watches[0].fields[1]: "),
    ] {
        let errors = errors(&with(manifest(), pointer, json!(["spec", "spec..b"])));
        assert!(errors[0].starts_with(at) && errors[0].contains("spec..b"), "{errors:?}");
    }
}

#[test]
fn more_than_64_fields_are_refused() {
    let many = |count: usize| Value::from_iter((0..count).map(|i| format!("spec.f{i}")));
    parse(&with(manifest(), OWN, many(64)));
    let errors = errors(&with(manifest(), OWN, many(65)));
    assert_eq!(
        errors,
        ["controllers[0].fields: has 65 entries; at most 64 are allowed"]
    );
}

#[test]
fn more_fields_than_a_set_takes_are_refused_with_the_mend() {
    let mut many = with(manifest(), OWN, json!(["spec"]));
    for index in 0..16 {
        let paths = Value::from_iter((0..16).map(|path| format!("spec.i{index}.p{path}")));
        let index = json!({"name": format!("i{index}"), "kind": kind(WIDGET), "paths": paths});
        many["indexes"].as_array_mut().unwrap().push(index);
    }
    let errors = errors(&many);
    assert!(
        errors[0].starts_with("controllers[0].fields: ") && errors[0].contains("more than 256"),
        "{errors:?}"
    );
    assert!(errors[0].contains("or drop `fields`"), "{errors:?}");
}

#[test]
fn fields_together_with_metadata_only_are_refused() {
    let both = with(manifest(), WATCHED, json!(["data.a"]));
    let both = with(both, "/controllers/0/watches/0/map", json!("same-name"));
    let errors = errors(&with(both, "/controllers/0/watches/0/metadataOnly", json!(true)));
    assert_eq!(
        errors,
        [
            "controllers[0].watches[0].fields: `metadataOnly` is set, too, and none of these fields is metadata; drop one of the two"
        ]
    );
}

#[test]
fn a_field_that_is_shown_anyway_is_refused() {
    for path in ["metadata.labels", ".metadata", "kind"] {
        let errors = errors(&with(manifest(), OWN, json!(["spec.a", path])));
        assert!(errors[0].starts_with("controllers[0].fields[1]: "), "{errors:?}");
        assert!(errors[0].contains(path) && errors[0].contains("drop it"), "{errors:?}");
    }
}

#[test]
fn fields_of_a_secret_are_refused() {
    let watch = json!({"kind": kind("Secret"), "map": "same-name", "fields": ["data.password"]});
    let errors = errors(&with(manifest(), "/controllers/0/watches/1", watch));
    assert!(
        errors[0].starts_with("controllers[0].watches[1].fields: "),
        "{errors:?}"
    );
    assert!(
        errors[0].contains("never cached") && errors[0].contains("drop `fields`"),
        "{errors:?}"
    );
}
