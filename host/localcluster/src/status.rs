//! Errors as a server tells them: `Status` objects with the codes, reasons, causes and messages of a real one.

use std::fmt;

use serde_json::{Map, Value, json};

use crate::types::ResourceType;
use crate::wire::Response;

/// A failure as a `meta/v1` Status.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// The HTTP status code.
    pub code: u16,
    /// The machine-readable reason, e.g. `NotFound`; empty where real servers leave it out.
    pub reason: &'static str,
    /// What a person reads.
    pub message: String,
    /// `details`, when there are any.
    pub details: Option<Value>,
    /// Seconds for a `Retry-After` header.
    pub retry_after: Option<u32>,
    /// A token for `metadata.continue`: with an expired list, the way to go on.
    pub continue_token: Option<String>,
}

impl Status {
    /// A status without details.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Status {
        Status {
            code,
            reason,
            message: message.into(),
            details: None,
            retry_after: None,
            continue_token: None,
        }
    }

    /// 400 BadRequest.
    pub fn bad_request(message: impl Into<String>) -> Status {
        Status::new(400, "BadRequest", message)
    }

    /// 404 for an object.
    pub fn not_found(type_: &ResourceType, name: &str) -> Status {
        Status::new(404, "NotFound", format!("{} {name:?} not found", type_.qualified())).with_details(details(
            name,
            &type_.group,
            &type_.plural,
        ))
    }

    /// 409 for an object that exists.
    pub fn already_exists(type_: &ResourceType, name: &str) -> Status {
        Status::new(
            409,
            "AlreadyExists",
            format!("{} {name:?} already exists", type_.qualified()),
        )
        .with_details(details(name, &type_.group, &type_.plural))
    }

    /// 409 Conflict with the message after `Operation cannot be fulfilled on widgets.ex.io "w1": `.
    pub fn conflict(type_: &ResourceType, name: &str, message: &str) -> Status {
        Status::new(
            409,
            "Conflict",
            format!(
                "Operation cannot be fulfilled on {} {name:?}: {message}",
                type_.qualified()
            ),
        )
        .with_details(details(name, &type_.group, &type_.plural))
    }

    /// 409 for a write against an old version.
    pub fn stale(type_: &ResourceType, name: &str) -> Status {
        Status::conflict(
            type_,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 405 for a verb the resource does not have.
    pub fn method_not_allowed() -> Status {
        Status::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
        .with_details(json!({}))
    }

    /// 405 for a verb that a custom resource's path does not know.
    pub(crate) fn not_supported(type_: &ResourceType, verb: &str) -> Status {
        let kind = type_.qualified();
        let message = format!("{verb} is not supported on resources of kind {kind:?}");
        Status::new(405, "MethodNotAllowed", message)
            .with_details(json!({"group": &*type_.group, "kind": &*type_.plural}))
    }

    /// 406 for an `Accept` header that names nothing this server writes.
    pub fn not_acceptable(message: impl Into<String>) -> Status {
        Status::new(406, "NotAcceptable", message)
    }

    /// 415 for a body of a kind this server does not read; `accepted` is a comma-separated list of media types.
    pub fn unsupported_media_type(accepted: &str) -> Status {
        Status::new(
            415,
            "UnsupportedMediaType",
            format!("the body of the request was in an unknown format - accepted media types include: {accepted}"),
        )
    }

    /// 422 for an object of `kind` in `group` (`details.kind` is the kind) with one cause for each error.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Status {
        let texts: Vec<String> = errors.iter().map(|e| format!("{}: {}", e.field, e.message)).collect();
        let text = match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let qualified = if group.is_empty() {
            kind.to_owned()
        } else {
            format!("{kind}.{group}")
        };
        let mut details = details(name, group, kind);
        if let Some(map) = details.as_object_mut() {
            map.insert(
                "causes".into(),
                errors
                    .iter()
                    .map(|e| json!({"reason": e.reason.as_str(), "message": e.message, "field": e.field}))
                    .collect(),
            );
        }
        Status::new(422, "Invalid", format!("{qualified} {name:?} is invalid: {text}")).with_details(details)
    }

    /// The same with a message that stands in no fixed place: one cause.
    pub fn with_cause(mut self, reason: &str, message: &str, field: Option<&str>) -> Status {
        let mut cause = Map::new();
        cause.insert("reason".into(), reason.into());
        cause.insert("message".into(), message.into());
        if let Some(field) = field {
            cause.insert("field".into(), field.into());
        }
        let mut details = self.details.take().unwrap_or_else(|| json!({}));
        if let Some(map) = details.as_object_mut() {
            let causes = map.entry("causes").or_insert_with(|| json!([]));
            if let Some(causes) = causes.as_array_mut() {
                causes.push(Value::Object(cause));
            }
        }
        self.details = Some(details);
        self
    }

    /// The same with `details`.
    pub fn with_details(mut self, details: Value) -> Status {
        self.details = Some(details);
        self
    }

    /// The Status object.
    pub fn to_value(&self) -> Value {
        let mut meta = Map::new();
        if let Some(token) = &self.continue_token {
            meta.insert("continue".into(), token.as_str().into());
        }
        let mut value = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": meta, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if let Some(map) = value.as_object_mut() {
            if !self.reason.is_empty() {
                map.insert("reason".into(), self.reason.into());
            }
            if let Some(details) = &self.details {
                map.insert("details".into(), details.clone());
            }
        }
        value
    }

    /// The answer that carries it.
    pub fn response(&self) -> Response {
        let mut response = Response::json(self.code, &self.to_value());
        if let Some(seconds) = self.retry_after {
            response.headers.push(("Retry-After".into(), seconds.to_string()));
        }
        response
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.code, self.reason, self.message)
    }
}

impl std::error::Error for Status {}

/// `details` of a status about one object: no group in the core group, no name where there is none.
pub(crate) fn details(name: &str, group: &str, kind: &str) -> Value {
    let mut map = Map::new();
    if !name.is_empty() {
        map.insert("name".into(), name.into());
    }
    if !group.is_empty() {
        map.insert("group".into(), group.into());
    }
    map.insert("kind".into(), kind.into());
    Value::Object(map)
}

/// Why a field is wrong, by the names causes carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is missing.
    Required,
    /// Its value is wrong.
    Invalid,
    /// Its value is none of those allowed.
    NotSupported,
    /// It occurs twice.
    Duplicate,
    /// It has the wrong type.
    TypeInvalid,
    /// It must not be set or changed.
    Forbidden,
    /// It is too long.
    TooLong,
    /// There are too many.
    TooMany,
}

impl Reason {
    /// The text of a cause's `reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Required => "FieldValueRequired",
            Reason::Invalid => "FieldValueInvalid",
            Reason::NotSupported => "FieldValueNotSupported",
            Reason::Duplicate => "FieldValueDuplicate",
            Reason::TypeInvalid => "FieldValueTypeInvalid",
            Reason::Forbidden => "FieldValueForbidden",
            Reason::TooLong => "FieldValueTooLong",
            Reason::TooMany => "FieldValueTooMany",
        }
    }
}

/// One thing wrong with an object: a cause of a 422.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Why.
    pub reason: Reason,
    /// What is wrong, e.g. `Required value`.
    pub message: String,
    /// Where, e.g. `spec.ports[0].name`.
    pub field: String,
}

impl FieldError {
    /// A required value is missing; `detail` may be empty.
    pub fn required(field: impl Into<String>, detail: &str) -> FieldError {
        let message = if detail.is_empty() {
            "Required value".to_owned()
        } else {
            format!("Required value: {detail}")
        };
        FieldError {
            reason: Reason::Required,
            message,
            field: field.into(),
        }
    }

    /// A value is wrong; `value` is shown as JSON.
    pub fn invalid(field: impl Into<String>, value: &Value, detail: impl fmt::Display) -> FieldError {
        FieldError {
            reason: Reason::Invalid,
            message: format!("Invalid value: {value}: {detail}"),
            field: field.into(),
        }
    }

    /// A value is none of those supported.
    pub fn not_supported(field: impl Into<String>, value: &Value, supported: &[&str]) -> FieldError {
        let list: Vec<String> = supported.iter().map(|s| format!("{s:?}")).collect();
        FieldError {
            reason: Reason::NotSupported,
            message: format!("Unsupported value: {value}: supported values: {}", list.join(", ")),
            field: field.into(),
        }
    }

    /// A value must not be set or changed.
    pub fn forbidden(field: impl Into<String>, detail: &str) -> FieldError {
        FieldError {
            reason: Reason::Forbidden,
            message: format!("Forbidden: {detail}"),
            field: field.into(),
        }
    }

    /// A value has more than `limit` bytes.
    pub fn too_long(field: impl Into<String>, limit: usize) -> FieldError {
        FieldError {
            reason: Reason::TooLong,
            message: format!("Too long: may not be more than {limit} bytes"),
            field: field.into(),
        }
    }

    /// A list or map has `count` items, which is more than `limit`.
    pub fn too_many(field: impl Into<String>, count: usize, limit: usize) -> FieldError {
        FieldError {
            reason: Reason::TooMany,
            message: format!("Too many: {count}: must have at most {limit} items"),
            field: field.into(),
        }
    }

    /// A value has the wrong type; `actual` is the name of the type it has.
    pub fn wrong_type(field: impl Into<String>, path: &str, expected: &str, actual: &str) -> FieldError {
        FieldError {
            reason: Reason::TypeInvalid,
            message: format!("Invalid value: {actual:?}: {path} in body must be of type {expected}: {actual:?}"),
            field: field.into(),
        }
    }

    /// A value occurs twice.
    pub fn duplicate(field: impl Into<String>, value: &Value) -> FieldError {
        FieldError {
            reason: Reason::Duplicate,
            message: format!("Duplicate value: {value}"),
            field: field.into(),
        }
    }
}
