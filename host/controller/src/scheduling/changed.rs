//! What a write made of an object: what it is worth comparing by, which fields it changed, and whose a field is. Pure.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use pilothouse_object::{Gvk, Key, Object, Version, escape_control, shorten};
use serde_json::{Value, value::RawValue};

/// Fields named of one write at most.
const MAX_FIELDS: usize = 8;
/// A field's path is cut after so many steps.
const MAX_STEPS: usize = 12;

/// Members of metadata that say who made a version and when, and not what the object is.
const BOOKKEEPING: [&str; 6] = [
    "resourceVersion",
    "uid",
    "creationTimestamp",
    "generation",
    "managedFields",
    "selfLink",
];

/// A write of a call that went through, and changed something as far as is known.
#[derive(Clone, Debug)]
pub(crate) struct Changed {
    pub(crate) kind: Gvk,
    pub(crate) key: Key,
    /// What it was before, as the plugin's caches or the call's own writes had it.
    pub(crate) before: Option<Object>,
    /// That shows the object whole; else only what it shows can be compared.
    pub(crate) whole: bool,
    /// What it is now; none: gone.
    pub(crate) after: Option<Object>,
    /// The version that the write made, or the uid of what is gone.
    pub(crate) mark: Version,
    /// The paths that its patch names, for where nothing is known of before.
    pub(crate) named: Vec<Field>,
}

/// A field by the names on the way to it.
pub(crate) type Field = Vec<String>;

impl Changed {
    /// The fields that it changed, at most [`MAX_FIELDS`]; none where it made or removed the object.
    pub(crate) fn fields(&self) -> Vec<Field> {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => fields(before, after, self.whole),
            (None, Some(_)) => self.named.clone(),
            (_, None) => Vec::new(),
        }
    }
}

/// A hash of what the object is, whoever made it so and when.
pub(crate) fn content(object: &Object) -> u64 {
    type Members<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;
    let mut hasher = DefaultHasher::new();
    let top: Members<'_> = serde_json::from_str(object.json()).unwrap_or_default();
    for (name, value) in &top {
        name.hash(&mut hasher);
        if name != "metadata" {
            value.get().hash(&mut hasher);
            continue;
        }
        let metadata: Members<'_> = serde_json::from_str(value.get()).unwrap_or_default();
        for (name, value) in metadata.iter().filter(|(name, _)| !BOOKKEEPING.contains(&&***name)) {
            (name, value.get()).hash(&mut hasher);
        }
    }
    if object.head().gvk.is_secret() {
        object.digest().hash(&mut hasher);
    }
    hasher.finish()
}

fn fields(before: &Object, after: &Object, whole: bool) -> Vec<Field> {
    let read = |object: &Object| serde_json::from_str::<Value>(object.json());
    let (Ok(before), Ok(after)) = (read(before), read(after)) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    differ(&mut Vec::new(), &before, &after, whole, &mut found);
    found
}

fn differ(at: &mut Field, before: &Value, after: &Value, whole: bool, found: &mut Vec<Field>) {
    if found.len() >= MAX_FIELDS || before == after {
        return;
    }
    match (before, after) {
        (Value::Object(old), Value::Object(new)) if at.len() < MAX_STEPS => {
            let skip = |name: &str| {
                at.first().is_some_and(|top| top == "metadata" && at.len() == 1) && BOOKKEEPING.contains(&name)
            };
            let mut names: Vec<&String> = old.keys().collect();
            // What is not shown of before need not be new.
            names.extend(new.keys().filter(|name| whole && !old.contains_key(*name)));
            let names: Vec<&String> = names.into_iter().filter(|name| !skip(name)).collect();
            for name in names {
                let step = |object: &serde_json::Map<String, Value>| object.get(name).cloned().unwrap_or(Value::Null);
                at.push(name.clone());
                differ(at, &step(old), &step(new), whole, found);
                at.pop();
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() && at.len() < MAX_STEPS => {
            for (number, (old, new)) in old.iter().zip(new).enumerate() {
                at.push(format!("[{number}]"));
                differ(at, old, new, whole, found);
                at.pop();
            }
        }
        _ => found.push(at.clone()),
    }
}

/// A field as people write it: `spec.ports[0].name`. The names are an object's: escaped and cut.
pub(crate) fn shown(field: &Field) -> String {
    let mut text = String::new();
    for step in field {
        if !text.is_empty() && !step.starts_with('[') {
            text.push('.');
        }
        text.push_str(&escape_control(&shorten(step, 60)));
    }
    text
}

/// The field manager to whom one of these fields of an object belongs, but for `own`; else whoever else wrote to the
/// object last. Its name is foreign text. None where nobody is named.
pub(crate) fn manager_of(json: &str, fields: &[Field], own: &str) -> Option<String> {
    let object: Value = serde_json::from_str(json).ok()?;
    let entries = object.get("metadata")?.get("managedFields")?.as_array()?;
    let others = entries.iter().filter_map(|entry| {
        let manager = entry.get("manager")?.as_str()?;
        let ours = manager
            .strip_prefix(own)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        (!ours).then_some((entry, manager))
    });
    let time = |entry: &Value| entry.get("time").and_then(Value::as_str).unwrap_or_default().to_owned();
    let owns = |entry: &Value| fields.iter().any(|field| owns(entry.get("fieldsV1"), field));
    // Times of one form sort as texts do.
    let (_, manager) = others.max_by_key(|(entry, _)| (owns(entry), time(entry)))?;
    Some(escape_control(&shorten(manager, 128)).into_owned())
}

/// Whether a set of managed fields holds this field, or, where a list stands in the way, something up to there.
fn owns(set: Option<&Value>, field: &Field) -> bool {
    let Some(mut at) = set else { return false };
    for step in field.iter().take_while(|step| !step.starts_with('[')) {
        match at.get(format!("f:{step}")) {
            Some(below) => at = below,
            None => return false,
        }
    }
    !field.is_empty()
}

#[cfg(test)]
mod tests {
    use pilothouse_object::Keep;
    use serde_json::json;

    use super::*;

    fn object(mut rest: Value, version: &str) -> Object {
        rest["apiVersion"] = "v1".into();
        rest["kind"] = "ConfigMap".into();
        rest["metadata"]["name"] = "a".into();
        rest["metadata"]["resourceVersion"] = version.into();
        Object::parse(rest.to_string().as_bytes(), None, Keep::Cut).unwrap()
    }

    fn change(before: Value, after: Value, whole: bool) -> Vec<String> {
        fields(&object(before, "1"), &object(after, "2"), whole)
            .iter()
            .map(shown)
            .collect()
    }

    #[test]
    fn the_same_content_is_known_whoever_wrote_it_and_when() {
        let said = |text: &str, version: &str| {
            let metadata = json!({"uid": version, "creationTimestamp": version, "generation": 7,
                "labels": {"a": "b"}, "managedFields": [{"time": version}]});
            content(&object(json!({"metadata": metadata, "data": {"x": text}}), version))
        };
        assert_eq!(said("one", "1"), said("one", "2"));
        assert_ne!(said("one", "1"), said("two", "1"));
    }

    #[test]
    fn the_fields_that_changed_are_named_and_bookkeeping_is_not() {
        let before =
            json!({"metadata": {"generation": 1}, "data": {"x": "1", "gone": "1"}, "list": [{"n": 1}, {"n": 2}]});
        let after =
            json!({"metadata": {"generation": 2}, "data": {"x": "2", "new": "1"}, "list": [{"n": 1}, {"n": 3}]});
        assert_eq!(
            change(before, after, true),
            ["data.gone", "data.x", "data.new", "list[1].n"]
        );
    }

    #[test]
    fn what_a_view_does_not_show_is_not_taken_for_new() {
        let after = json!({"metadata": {"labels": {"a": "c"}}, "data": {"x": "2"}});
        assert_eq!(
            change(json!({"metadata": {"labels": {"a": "b"}}}), after, false),
            ["metadata.labels.a"]
        );
    }

    #[test]
    fn however_much_changed_only_so_much_is_named_and_deep_objects_are_no_danger() {
        let wide = |value: u32| json!({"data": (0..100).map(|n| (n.to_string(), json!(value))).collect::<serde_json::Map<_, _>>()});
        assert_eq!(change(wide(1), wide(2), true).len(), MAX_FIELDS);
        let deep = |leaf: u32| (0..100).fold(json!(leaf), |below, _| json!({"a": below}));
        assert_eq!(change(json!({"x": deep(1)}), json!({"x": deep(2)}), true).len(), 1);
    }

    #[test]
    fn the_field_manager_on_the_other_side_is_whoever_owns_the_field_else_who_wrote_last() {
        let managed = |fields: Value| {
            json!({"metadata": {"managedFields": [
                {"manager": "pilothouse/p", "time": "2026-01-03T00:00:00Z", "fieldsV1": {"f:data": {"f:x": {}}}},
                {"manager": "owner", "time": "2026-01-01T00:00:00Z", "fieldsV1": fields},
                {"manager": "last\u{1b}", "time": "2026-01-02T00:00:00Z", "fieldsV1": {"f:data": {"f:y": {}}}},
                {"manager": "pilothouse/p/part", "time": "2026-01-04T00:00:00Z", "fieldsV1": {}},
            ]}})
            .to_string()
        };
        let field = vec![vec!["data".to_owned(), "x".to_owned()]];
        let of = |fields| manager_of(&managed(fields), &field, "pilothouse/p");
        assert_eq!(of(json!({"f:data": {"f:x": {}}})).as_deref(), Some("owner"));
        assert_eq!(of(json!({})).as_deref(), Some("last\\u{1b}"));
        assert_eq!(manager_of("{}", &field, "pilothouse/p"), None);
    }
}
