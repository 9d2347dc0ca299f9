//! `metadata`: small accessors, and the rules of names, labels, annotations, finalizers and owner references.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value};

use crate::status::FieldError;

/// All annotations of an object together may have this many bytes.
const MAX_ANNOTATIONS: usize = 256 * 1024;

/// A field of `metadata`.
pub(crate) fn get<'a>(object: &'a Value, field: &str) -> Option<&'a Value> {
    object.get("metadata")?.get(field)
}

/// A field of `metadata` as text; empty when it is absent or no text.
pub(crate) fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    get(object, field).and_then(Value::as_str).unwrap_or_default()
}

/// `metadata` for writing; it is made when it is absent or no object.
pub(crate) fn map(object: &mut Value) -> &mut Map<String, Value> {
    child(object, "metadata")
}

/// A member that is an object, for writing; what else stands there is replaced by an empty object.
pub(crate) fn child<'a>(object: &'a mut Value, name: &str) -> &'a mut Map<String, Value> {
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let Value::Object(map) = object else {
        unreachable!("it was just made an object")
    };
    let entry = map.entry(name).or_insert_with(|| Value::Object(Map::new()));
    if !entry.is_object() {
        *entry = Value::Object(Map::new());
    }
    let Value::Object(map) = entry else {
        unreachable!("it was just made an object")
    };
    map
}

/// Sets a field of `metadata`.
pub(crate) fn set(object: &mut Value, field: &str, value: Value) {
    map(object).insert(field.to_owned(), value);
}

/// Removes a field of `metadata`.
pub(crate) fn remove(object: &mut Value, field: &str) -> Option<Value> {
    map(object).remove(field)
}

/// Copies a field of `metadata` from another object, or removes it when it is absent there.
pub(crate) fn copy(from: &Value, to: &mut Value, field: &str) {
    match get(from, field) {
        Some(value) => set(to, field, value.clone()),
        None => {
            remove(to, field);
        }
    }
}

/// Whether the object is being deleted.
pub(crate) fn is_deleting(object: &Value) -> bool {
    get(object, "deletionTimestamp").is_some_and(|value| !value.is_null())
}

/// The finalizers.
pub(crate) fn finalizers(object: &Value) -> Vec<&str> {
    get(object, "finalizers")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// Sets the finalizers; none removes the field.
pub(crate) fn set_finalizers(object: &mut Value, finalizers: &[String]) {
    if finalizers.is_empty() {
        remove(object, "finalizers");
    } else {
        set(object, "finalizers", finalizers.into());
    }
}

/// One owner reference, with empty texts where a field is missing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner<'a> {
    pub(crate) api_version: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) name: &'a str,
    pub(crate) uid: &'a str,
    pub(crate) controller: bool,
    pub(crate) block: bool,
}

/// The owner references.
pub(crate) fn owners(object: &Value) -> impl Iterator<Item = Owner<'_>> {
    get(object, "ownerReferences")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|reference| {
            let text = |field: &str| reference.get(field).and_then(Value::as_str).unwrap_or_default();
            let flag = |field: &str| reference.get(field).and_then(Value::as_bool).unwrap_or_default();
            Owner {
                api_version: text("apiVersion"),
                kind: text("kind"),
                name: text("name"),
                uid: text("uid"),
                controller: flag("controller"),
                block: flag("blockOwnerDeletion"),
            }
        })
}

/// Removes owner references whose uid is listed.
pub(crate) fn drop_owners(object: &mut Value, uids: &[String]) {
    let Some(Value::Array(mut references)) = remove(object, "ownerReferences") else {
        return;
    };
    references.retain(|reference| {
        let uid = reference.get("uid").and_then(Value::as_str).unwrap_or_default();
        !uids.iter().any(|gone| gone == uid)
    });
    if !references.is_empty() {
        set(object, "ownerReferences", references.into());
    }
}

/// Brings `metadata` into the form in which it is stored: no nulls, no empty maps and lists, nothing the server does
/// not keep.
pub(crate) fn canonical(object: &mut Value) {
    let map = map(object);
    for dropped in ["selfLink", "managedFields"] {
        map.remove(dropped);
    }
    for values in ["labels", "annotations"] {
        if let Some(Value::Object(values)) = map.get_mut(values) {
            values
                .values_mut()
                .filter(|value| value.is_null())
                .for_each(|value| *value = "".into());
        }
    }
    map.retain(|_, value| match value {
        Value::Null => false,
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::String(text) => !text.is_empty(),
        _ => true,
    });
}

pub(crate) const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

/// How the name of a kind must look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameRule {
    /// An RFC 1123 subdomain: most kinds.
    Subdomain,
    /// An RFC 1123 label: namespaces.
    Label,
    /// An RFC 1035 label: services.
    Label1035,
    /// Whatever can stand in a path: events.
    PathSegment,
}

impl NameRule {
    /// What is wrong with a name, if anything.
    pub(crate) fn check(self, name: &str) -> Result<(), String> {
        let (limit, rule, good) = match self {
            NameRule::Subdomain => (253, SUBDOMAIN, name.split('.').all(is_label)),
            NameRule::Label => (63, LABEL, is_label(name)),
            NameRule::Label1035 => (
                63,
                LABEL_1035,
                is_label(name) && name.starts_with(|c: char| c.is_ascii_lowercase()),
            ),
            NameRule::PathSegment => return check_path_segment(name),
        };
        if self == NameRule::Label && name.contains('.') {
            return Err("must not contain dots".into());
        }
        if name.len() > limit {
            return Err(format!("must be no more than {limit} bytes"));
        }
        if good { Ok(()) } else { Err(rule.to_owned()) }
    }
}

fn check_path_segment(name: &str) -> Result<(), String> {
    if name == "." || name == ".." {
        return Err(format!("may not be '{name}'"));
    }
    match name.chars().find(|c| matches!(c, '/' | '%')) {
        Some(unfit) => Err(format!("may not contain '{unfit}'")),
        None => Ok(()),
    }
}

fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let edge = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    bytes.first().is_some_and(edge) && bytes.last().is_some_and(edge) && bytes.iter().all(|b| edge(b) || *b == b'-')
}

fn matches(regex: &LazyLock<Option<Regex>>, text: &str) -> bool {
    regex.as_ref().is_some_and(|regex| regex.is_match(text))
}

/// What is wrong with a qualified name such as `app.kubernetes.io/name`, if anything.
pub(crate) fn check_qualified(text: &str) -> Result<(), String> {
    static NAME: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new("^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$").ok());
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    if let Some(prefix) = prefix {
        if prefix.is_empty() {
            return Err("prefix part must be non-empty".into());
        }
        NameRule::Subdomain
            .check(prefix)
            .map_err(|why| format!("prefix part {why}"))?;
    }
    if name.contains('/') {
        return Err("a valid label key must have at most one '/' between its prefix and its name".into());
    }
    if name.is_empty() {
        return Err("name part must be non-empty".into());
    }
    if name.len() > 63 {
        return Err("name part must be no more than 63 bytes".into());
    }
    if matches(&NAME, name) {
        Ok(())
    } else {
        Err(QUALIFIED.into())
    }
}

fn check_label_value(text: &str) -> Result<(), String> {
    static VALUE: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new("^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$").ok());
    if text.len() > 63 {
        return Err("must be no more than 63 bytes".into());
    }
    if matches(&VALUE, text) {
        Ok(())
    } else {
        Err(LABEL_VALUE.into())
    }
}

/// Labels held against their rules, e.g. for `metadata.labels`.
pub(crate) fn validate_labels(labels: &Map<String, Value>, field: &str, errors: &mut Vec<FieldError>) {
    for (key, value) in labels {
        if let Err(why) = check_qualified(key) {
            errors.push(FieldError::invalid(field, &key.as_str().into(), why));
        }
        if let Some(Err(why)) = value.as_str().map(check_label_value) {
            errors.push(FieldError::invalid(field, value, why));
        }
    }
}

/// Holds `metadata` against the rules that every kind has.
pub(crate) fn validate(object: &Value, rule: NameRule, errors: &mut Vec<FieldError>) {
    let name = text(object, "name");
    if name.is_empty() {
        errors.push(FieldError::required(
            "metadata.name",
            "name or generateName is required",
        ));
    } else if let Err(why) = rule.check(name) {
        errors.push(FieldError::invalid("metadata.name", &name.into(), why));
    }
    if let Some(labels) = get(object, "labels").and_then(Value::as_object) {
        validate_labels(labels, "metadata.labels", errors);
    }
    if let Some(annotations) = get(object, "annotations").and_then(Value::as_object) {
        let mut size = 0;
        for (key, value) in annotations {
            if let Err(why) = check_qualified(&key.to_lowercase()) {
                errors.push(FieldError::invalid("metadata.annotations", &key.as_str().into(), why));
            }
            size += key.len() + value.as_str().map_or(0, str::len);
        }
        if size > MAX_ANNOTATIONS {
            errors.push(FieldError::too_long("metadata.annotations", MAX_ANNOTATIONS));
        }
    }
    validate_owners(object, errors);
    for finalizer in finalizers(object) {
        if let Err(why) = check_qualified(finalizer) {
            errors.push(FieldError::invalid("metadata.finalizers", &finalizer.into(), why));
        }
    }
    let has = |wanted: &str| finalizers(object).contains(&wanted);
    if has("orphan") && has("foregroundDeletion") {
        errors.push(FieldError::invalid(
            "metadata.finalizers",
            &finalizers(object).into(),
            "finalizer orphan and foregroundDeletion cannot be both set",
        ));
    }
}

fn validate_owners(object: &Value, errors: &mut Vec<FieldError>) {
    let mut controller: Option<Owner<'_>> = None;
    for owner in owners(object) {
        for (field, value) in [
            ("apiVersion", owner.api_version),
            ("kind", owner.kind),
            ("name", owner.name),
            ("uid", owner.uid),
        ] {
            if value.is_empty() {
                let path = format!("metadata.ownerReferences.{field}");
                errors.push(FieldError::invalid(path, &"".into(), "must not be empty"));
            }
        }
        if owner.api_version == "v1" && owner.kind == "Event" {
            errors.push(FieldError::invalid(
                "metadata.ownerReferences",
                &format!("{}, Kind={}", owner.api_version, owner.kind).into(),
                "/v1, Kind=Event is disallowed from being an owner",
            ));
        }
        if owner.controller {
            if let Some(first) = controller {
                errors.push(FieldError::invalid(
                    "metadata.ownerReferences",
                    get(object, "ownerReferences").unwrap_or(&Value::Null),
                    format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {}/{} \
                         and {}/{}",
                        first.kind, first.name, owner.kind, owner.name
                    ),
                ));
            } else {
                controller = Some(owner);
            }
        }
    }
}

/// Holds an update against the rules that every kind has. `new` has taken over what a client may leave out.
pub(crate) fn validate_update(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    if is_deleting(old) {
        let before = finalizers(old);
        let added: Vec<String> = finalizers(new)
            .into_iter()
            .filter(|finalizer| !before.contains(finalizer))
            .map(|finalizer| format!("{finalizer:?}"))
            .collect();
        if !added.is_empty() {
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                added.join(", ")
            );
            errors.push(FieldError::forbidden("metadata.finalizers", &detail));
        }
    }
    for field in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        if get(old, field) != get(new, field) {
            let value = get(new, field).unwrap_or(&Value::Null);
            errors.push(FieldError::invalid(
                format!("metadata.{field}"),
                value,
                "field is immutable",
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn errors(metadata: Value) -> Vec<String> {
        let mut errors = Vec::new();
        validate(&json!({ "metadata": metadata }), NameRule::Subdomain, &mut errors);
        errors
            .into_iter()
            .map(|e| format!("{} {}", e.field, e.reason.as_str()))
            .collect()
    }

    #[test]
    fn good_metadata_passes() {
        let good = json!({
            "name": "a.b-1", "labels": {"a.io/b_c": "", "x": "A.b_c-9"}, "annotations": {"Any/UPPER": "\n"},
            "finalizers": ["x.io/y"], "ownerReferences": [{"apiVersion": "v1", "kind": "A", "name": "n", "uid": "u"}],
        });
        assert_eq!(errors(good), Vec::<String>::new());
    }

    #[test]
    fn each_broken_rule_is_told() {
        let invalid = |field: &str| vec![format!("metadata.{field} FieldValueInvalid")];
        assert_eq!(errors(json!({})), ["metadata.name FieldValueRequired"]);
        assert_eq!(errors(json!({"name": "Bad_Name"})), invalid("name"));
        assert_eq!(errors(json!({"name": "a".repeat(254)})), invalid("name"));
        assert_eq!(errors(json!({"name": "a", "labels": {"a b": "c"}})), invalid("labels"));
        assert_eq!(errors(json!({"name": "a", "labels": {"a": "c d"}})), invalid("labels"));
        assert_eq!(errors(json!({"name": "a", "labels": {"a/b/c": ""}})), invalid("labels"));
        assert_eq!(
            errors(json!({"name": "a", "annotations": {"a b": ""}})),
            invalid("annotations")
        );
        assert_eq!(
            errors(json!({"name": "a", "finalizers": ["a b"]})),
            invalid("finalizers")
        );
        let huge = json!({"name": "a", "annotations": {"a": "x".repeat(MAX_ANNOTATIONS)}});
        assert_eq!(errors(huge), ["metadata.annotations FieldValueTooLong"]);
    }
}
