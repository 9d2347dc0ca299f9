//! From the body of a write to an object whose types are right and whose unknown fields are gone.

use serde_json::Value;

use crate::body::{self, Decoded};
use crate::meta;
use crate::query::FieldValidation;
use crate::route::Cx;
use crate::schema::{self, prune, types};
use crate::status::{FieldError, Status};
use crate::types::ResourceType;

/// What bodies of creates and replaces may be.
const ACCEPTED: &str = "application/json";

/// Whether a content type means JSON; none at all does, too.
fn is_json(content_type: &str) -> bool {
    let media = content_type.split(';').next().unwrap_or_default().trim();
    media.is_empty() || media.eq_ignore_ascii_case("application/json")
}

/// Reads the object in the body of a POST or PUT.
pub(crate) fn object(cx: &mut Cx<'_>, type_: &ResourceType, validation: FieldValidation) -> Result<Value, Status> {
    if !is_json(&cx.request.content_type) {
        return Err(Status::unsupported_media_type(ACCEPTED));
    }
    let kind = &type_.kind;
    let bytes = &cx.request.body;
    let unrecognized = |why: String| {
        Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {kind}): {why}"
        ))
    };
    let Decoded { mut value, duplicates } = body::parse(bytes).map_err(|error| {
        let shown = if bytes.is_empty() {
            "<empty>".to_owned()
        } else {
            excerpt(bytes)
        };
        let why = body::why(&error);
        unrecognized(format!("couldn't get version/kind; json parse error: {why} ({shown})"))
    })?;
    if !value.is_object() {
        return Err(unrecognized(format!(
            "couldn't get version/kind; json parse error: a JSON object is needed ({})",
            excerpt(bytes)
        )));
    }
    if !type_.custom {
        assume_head(type_, &mut value);
    }
    check_head(type_, &value).map_err(|error| match error {
        Head::Missing(field) => unrecognized(format!("Object '{field}' is missing in '{}'", excerpt(bytes))),
        Head::Status(status) => status,
    })?;
    let told = normalise(type_, &mut value, &duplicates)?;
    match validation {
        FieldValidation::Ignore => {}
        FieldValidation::Warn => told.into_iter().for_each(|text| cx.warn(text)),
        FieldValidation::Strict if told.is_empty() => {}
        FieldValidation::Strict => {
            return Err(Status::bad_request(format!(
                "{kind} in version {:?} cannot be handled as a {kind}: strict decoding error: {}",
                &*type_.version,
                told.join(", ")
            )));
        }
    }
    Ok(value)
}

/// Holds an object that a patch made against the same rules.
pub(crate) fn patched(
    cx: &mut Cx<'_>,
    type_: &ResourceType,
    value: &mut Value,
    duplicates: &[String],
    validation: FieldValidation,
) -> Result<(), Status> {
    // What a patch made of a built-in kind and is not of its types is invalid, no bad request.
    let text = if type_.custom { String::new() } else { value.to_string() };
    let misfit = |status: Status| {
        if type_.custom {
            return status;
        }
        let error = FieldError::invalid("patch", &text.as_str().into(), &*status.message);
        Status::invalid("", "", "", &[error])
    };
    check_head(type_, value).map_err(|error| match error {
        Head::Missing(field) => Status::bad_request(format!(
            "the patch leaves an object without {field}, which must be {}",
            type_.kind
        )),
        Head::Status(status) if type_.custom && status.code == 400 => {
            let (given, wanted) = (value.get("apiVersion").unwrap_or(&Value::Null), type_.api_version());
            let error = FieldError::invalid("apiVersion", given, format!("must be {wanted}"));
            Status::invalid(&type_.group, &type_.kind, meta::text(value, "name"), &[error])
        }
        Head::Status(status) => misfit(status),
    })?;
    let told = normalise(type_, value, duplicates).map_err(misfit)?;
    match validation {
        FieldValidation::Strict if !told.is_empty() => {
            let detail = format!("strict decoding error: {}", told.join(", "));
            let error = FieldError::invalid("patch", &"".into(), detail);
            Err(Status::invalid("", "", meta::text(value, "name"), &[error]).with_details(
                serde_json::json!({"causes": [{"reason": "FieldValueInvalid", "field": "patch", "message": told.join(", ")}]}),
            ))
        }
        FieldValidation::Warn => {
            told.into_iter().for_each(|text| cx.warn(text));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// A built-in kind's body may leave out what the path says anyway.
fn assume_head(type_: &ResourceType, value: &mut Value) {
    for (field, wanted) in [("kind", &*type_.kind), ("apiVersion", &type_.api_version())] {
        if value.get(field).is_none_or(|given| given.is_null() || given == "") {
            value[field] = wanted.into();
        }
    }
}

enum Head {
    Missing(&'static str),
    Status(Status),
}

/// Checks `kind` and `apiVersion`.
fn check_head(type_: &ResourceType, value: &Value) -> Result<(), Head> {
    let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default();
    let (kind, api_version) = (text("kind"), text("apiVersion"));
    if kind.is_empty() {
        return Err(Head::Missing("Kind"));
    }
    if api_version.is_empty() {
        return Err(Head::Missing("apiVersion"));
    }
    let wanted = type_.api_version();
    if api_version != wanted {
        return Err(Head::Status(Status::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({wanted})"
        ))));
    }
    if kind != &*type_.kind {
        let status = if type_.custom {
            let error = FieldError::invalid("kind", &kind.into(), format!("must be {}", type_.kind));
            Status::invalid(&type_.group, kind, meta::text(value, "name"), &[error])
        } else {
            Status::bad_request(format!(
                "{kind} in version {:?} cannot be handled as a {}: the kind of the object must be that of the resource",
                &*type_.version, type_.kind
            ))
        };
        return Err(Head::Status(status));
    }
    Ok(())
}

/// Checks types, drops what is unknown, and tells of it.
fn normalise(type_: &ResourceType, value: &mut Value, duplicates: &[String]) -> Result<Vec<String>, Status> {
    let mut told: Vec<String> = duplicates
        .iter()
        .map(|path| format!("duplicate field {path:?}"))
        .collect();
    let mut dropped = Vec::new();
    let mismatch = |why: String| {
        Status::bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: {why}",
            type_.kind, &*type_.version, type_.kind
        ))
    };
    let is_meta = value
        .get("metadata")
        .is_none_or(|metadata| metadata.is_object() || metadata.is_null());
    if !is_meta {
        return Err(mismatch("json: cannot unmarshal metadata: it must be an object".into()));
    }
    let mut metadata = Value::Object(std::mem::take(meta::map(value)));
    prune::prune_at(&mut metadata, schema::object_meta(), "metadata", &mut dropped);
    types::decode(&mut metadata, schema::object_meta(), "metadata").map_err(mismatch)?;
    if let Some(map) = value.as_object_mut() {
        map.insert("metadata".into(), metadata);
    }
    meta::canonical(value);
    if let Some(schema) = &type_.schema {
        prune::prune(value, schema, true, &mut dropped);
        if !type_.custom {
            types::decode(value, schema, "").map_err(mismatch)?;
        }
    }
    told.extend(dropped.iter().map(|path| format!("unknown field {path:?}")));
    Ok(told)
}

/// The beginning of a body, for a message.
fn excerpt(bytes: &[u8]) -> String {
    const LIMIT: usize = 128;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(LIMIT)]).into_owned();
    if bytes.len() > LIMIT {
        format!("{text} ...")
    } else {
        text
    }
}
