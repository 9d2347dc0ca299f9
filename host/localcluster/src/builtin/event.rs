//! Events of both groups.

use serde_json::{Value, json};

use super::or_set;
use crate::meta;
use crate::status::FieldError;

/// A note has at most this many bytes.
const MAX_NOTE: usize = 1024;
/// `reason`, `action` and `reportingInstance` have at most this many bytes.
const MAX_WORD: usize = 128;

/// Fields that are always there: real servers write them when they are empty, too.
pub(super) fn fill_in(group: &str, object: &mut Value) {
    let (empty, nothing, texts): (_, &[_], &[_]) = if group.is_empty() {
        (
            "source",
            &["eventTime", "firstTimestamp", "lastTimestamp"],
            &["reportingComponent", "reportingInstance"],
        )
    } else {
        let times = &["eventTime", "deprecatedFirstTimestamp", "deprecatedLastTimestamp"];
        ("deprecatedSource", times, &[])
    };
    or_set(object, empty, json!({}));
    for field in nothing {
        or_set(object, field, Value::Null);
    }
    for field in texts {
        or_set(object, field, "");
    }
}

pub(super) fn validate(group: &str, object: &Value, errors: &mut Vec<FieldError>) {
    let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
    let regarding = if group.is_empty() {
        "involvedObject"
    } else {
        "regarding"
    };
    let of_namespace = object
        .get(regarding)
        .and_then(|r| r.get("namespace"))
        .and_then(Value::as_str);
    let of_namespace = of_namespace.unwrap_or_default();
    let namespace = meta::text(object, "namespace");
    let good = if of_namespace.is_empty() {
        matches!(namespace, "default" | "kube-system")
    } else {
        of_namespace == namespace
    };
    if !good {
        let path = format!("{regarding}.namespace");
        errors.push(FieldError::invalid(
            path,
            &of_namespace.into(),
            "does not match event.namespace",
        ));
    }
    if group.is_empty() {
        return;
    }
    if object.get("eventTime").is_none_or(Value::is_null) {
        errors.push(FieldError::required("eventTime", ""));
    }
    let controller = text("reportingController");
    if controller.is_empty() {
        errors.push(FieldError::required("reportingController", ""));
    } else if let Err(why) = meta::check_qualified(controller) {
        errors.push(FieldError::invalid("reportingController", &controller.into(), why));
    }
    for field in ["reportingInstance", "action", "reason"] {
        match text(field) {
            "" => errors.push(FieldError::required(field, "")),
            long if long.len() > MAX_WORD => {
                errors.push(FieldError::invalid(
                    field,
                    &"".into(),
                    format!("can have at most {MAX_WORD} characters"),
                ));
            }
            _ => {}
        }
    }
    if !matches!(text("type"), "Normal" | "Warning") {
        errors.push(FieldError::invalid("type", &"".into(), "has invalid value: "));
    }
    if text("note").len() > MAX_NOTE {
        errors.push(FieldError::invalid(
            "note",
            &"".into(),
            format!("can have at most {MAX_NOTE} characters"),
        ));
    }
}
