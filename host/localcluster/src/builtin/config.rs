//! ConfigMaps, Secrets, Namespaces, Leases.

use serde_json::{Value, json};

use crate::meta;
use crate::schema::types::encode_base64;
use crate::status::FieldError;

/// The data of a ConfigMap or Secret has at most this many bytes.
const MAX_DATA: usize = 1024 * 1024;

/// `stringData` wins over `data` and is never shown; a secret has a type.
pub(super) fn fill_in_secret(object: &mut Value) {
    let Some(map) = object.as_object_mut() else { return };
    if let Some(Value::Object(texts)) = map.remove("stringData") {
        let data = meta::child(object, "data");
        for (key, value) in texts {
            data.insert(key, encode_base64(value.as_str().unwrap_or_default().as_bytes()).into());
        }
    }
    super::or_set(object, "type", "Opaque");
}

/// Every namespace carries its name as a label.
pub(super) fn fill_in_namespace(object: &mut Value) {
    let name = meta::text(object, "name").to_owned();
    if !name.is_empty() {
        let labels = meta::map(object).entry("labels").or_insert_with(|| json!({}));
        if let Some(labels) = labels.as_object_mut() {
            labels.insert("kubernetes.io/metadata.name".into(), name.into());
        }
    }
}

/// A new namespace is active and held until its contents are gone.
pub(super) fn prepare_namespace(object: &mut Value) {
    let spec = meta::child(object, "spec");
    let finalizers = spec.entry("finalizers").or_insert_with(|| json!([]));
    if let Some(finalizers) = finalizers.as_array_mut()
        && !finalizers.iter().any(|finalizer| finalizer == "kubernetes")
    {
        finalizers.push("kubernetes".into());
    }
    meta::child(object, "status").insert("phase".into(), "Active".into());
    fill_in_namespace(object);
}

fn check_keys(object: &Value, field: &str, errors: &mut Vec<FieldError>) -> usize {
    let mut size = 0;
    for (key, value) in object.get(field).and_then(Value::as_object).into_iter().flatten() {
        size += key.len() + value.as_str().map_or(0, str::len);
        let good = key.len() <= 253
            && !key.is_empty()
            && key
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        let path = format!("{field}[{key}]");
        if !good {
            errors.push(FieldError::invalid(
                path,
                &key.as_str().into(),
                "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or \
                 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
            ));
        } else if key == "." || key.starts_with("..") {
            errors.push(FieldError::invalid(
                path,
                &key.as_str().into(),
                "must not be '.' or start with '..'",
            ));
        }
    }
    size
}

pub(super) fn validate_config_map(object: &Value, errors: &mut Vec<FieldError>) {
    let size = check_keys(object, "data", errors) + check_keys(object, "binaryData", errors);
    let has = |field: &str, key: &str| object.get(field).and_then(|data| data.get(key)).is_some();
    for key in object
        .get("data")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, _)| key)
    {
        if has("binaryData", key) {
            let path = format!("data[{key}]");
            errors.push(FieldError::invalid(
                path,
                &key.as_str().into(),
                "duplicate of key present in binaryData",
            ));
        }
    }
    if size > MAX_DATA {
        errors.push(FieldError::too_long("", MAX_DATA));
    }
}

pub(super) fn validate_secret(object: &Value, errors: &mut Vec<FieldError>) {
    if check_keys(object, "data", errors) > MAX_DATA {
        errors.push(FieldError::too_long("data", MAX_DATA));
    }
    if object.get("type").and_then(Value::as_str) == Some("kubernetes.io/tls") {
        for key in ["tls.crt", "tls.key"] {
            if object.get("data").and_then(|data| data.get(key)).is_none() {
                errors.push(FieldError::required(format!("data[{key}]"), ""));
            }
        }
    }
}

/// What an `immutable` ConfigMap or Secret keeps.
pub(super) fn validate_immutable(old: &Value, new: &Value, fields: &[&str], errors: &mut Vec<FieldError>) {
    if old.get("immutable") != Some(&Value::Bool(true)) {
        return;
    }
    let detail = "field is immutable when `immutable` is set";
    if new.get("immutable") != Some(&Value::Bool(true)) {
        errors.push(FieldError::forbidden("immutable", detail));
    }
    for field in fields {
        if old.get(field) != new.get(field) {
            errors.push(FieldError::forbidden(*field, detail));
        }
    }
}

pub(super) fn validate_lease(object: &Value, errors: &mut Vec<FieldError>) {
    let number = |field: &str| {
        object
            .get("spec")
            .and_then(|spec| spec.get(field))
            .and_then(Value::as_i64)
    };
    if let Some(seconds) = number("leaseDurationSeconds").filter(|seconds| *seconds <= 0) {
        errors.push(FieldError::invalid(
            "spec.leaseDurationSeconds",
            &seconds.into(),
            "must be greater than 0",
        ));
    }
    if let Some(count) = number("leaseTransitions").filter(|count| *count < 0) {
        let detail = "must be greater than or equal to 0";
        errors.push(FieldError::invalid("spec.leaseTransitions", &count.into(), detail));
    }
}
