//! PATCH: merge patches (RFC 7386) and JSON patches (RFC 6902). Strategic merge, server-side apply and protobuf are
//! refused with 415.

use json_patch::{AddOperation, PatchOperation};
use serde_json::Value;

use crate::body;
use crate::checks;
use crate::cluster::Cluster;
use crate::convert;
use crate::decode;
use crate::query::WriteOptions;
use crate::route::{Cx, Target, show};
use crate::status::Status;
use crate::wire::Response;

/// What bodies of patches may be.
const ACCEPTED: &str = "application/json-patch+json, application/merge-patch+json";
/// A JSON patch has at most this many operations, as on real servers.
const MAX_OPERATIONS: usize = 10_000;
/// What a patch makes is nested at most this deeply, as is what bodies may bring.
const MAX_DEPTH: usize = 128;
/// All that `copy` and `move` operations of one patch carry together, in rough bytes.
const MAX_COPIED: usize = crate::MAX_BODY;

/// A patch that was read.
pub(crate) enum Patch {
    Merge(Value, Vec<String>),
    Json(Vec<PatchOperation>),
}

impl Patch {
    /// Reads the body by its content type.
    pub(crate) fn read(content_type: &str, body: &[u8]) -> Result<Patch, Status> {
        let media = content_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        match media.as_str() {
            "application/merge-patch+json" => {
                let decoded = body::parse(body)
                    .map_err(|error| Status::bad_request(format!("error decoding patch: {}", body::why(&error))))?;
                if !decoded.value.is_object() {
                    return Err(Status::bad_request(
                        "error decoding patch: a merge patch must be a JSON object",
                    ));
                }
                Ok(Patch::Merge(decoded.value, decoded.duplicates))
            }
            "application/json-patch+json" => read_json_patch(body).map(Patch::Json),
            _ => Err(Status::unsupported_media_type(ACCEPTED)),
        }
    }

    /// Applies it.
    pub(crate) fn apply(&self, object: &mut Value) -> Result<(), Status> {
        match self {
            Patch::Merge(patch, _) => {
                json_patch::merge(object, patch);
                Ok(())
            }
            Patch::Json(operations) => {
                let mut copied = 0;
                operations
                    .iter()
                    .try_for_each(|operation| apply_one(object, operation, &mut copied))
            }
        }
    }

    fn duplicates(&self) -> &[String] {
        match self {
            Patch::Merge(_, duplicates) => duplicates,
            Patch::Json(_) => &[],
        }
    }
}

fn read_json_patch(body: &[u8]) -> Result<Vec<PatchOperation>, Status> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| Status::bad_request(format!("error decoding patch: {}", body::why(&error))))?;
    let Value::Array(items) = value else {
        return Err(Status::bad_request(
            "error decoding patch: a JSON patch must be a list of operations",
        ));
    };
    if items.len() > MAX_OPERATIONS {
        let message = format!(
            "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            items.len()
        );
        return Err(Status::new(413, "RequestEntityTooLarge", message));
    }
    items
        .into_iter()
        .map(|mut item| {
            if !item.is_object() {
                return Err(Status::bad_request(format!(
                    "error decoding patch: an operation must be a JSON object: {item}"
                )));
            }
            // `test` without a value means null.
            if item.get("op").and_then(Value::as_str) == Some("test")
                && let Some(map) = item.as_object_mut()
            {
                map.entry("value").or_insert(Value::Null);
            }
            serde_json::from_value(item).map_err(|_| rejected())
        })
        .collect()
}

fn rejected() -> Status {
    Status::new(
        422,
        "Invalid",
        "the server rejected our request due to an error in our request",
    )
    .with_details(serde_json::json!({}))
}

fn apply_one(object: &mut Value, operation: &PatchOperation, copied: &mut usize) -> Result<(), Status> {
    let (path, carried) = match operation {
        // A test for null passes where there is nothing.
        PatchOperation::Test(test) if test.value.is_null() && object.pointer(test.path.as_str()).is_none() => {
            return Ok(());
        }
        PatchOperation::Add(add) => (&add.path, Some(depth(&add.value))),
        PatchOperation::Replace(replace) => (&replace.path, Some(depth(&replace.value))),
        PatchOperation::Copy(copy) => (&copy.path, carry(object, copy.from.as_str(), copied)?),
        PatchOperation::Move(move_) => (&move_.path, carry(object, move_.from.as_str(), copied)?),
        PatchOperation::Remove(remove) => (&remove.path, None),
        PatchOperation::Test(test) => (&test.path, None),
    };
    if carried.is_some_and(|depth| depth + path.as_str().matches('/').count() > MAX_DEPTH) {
        return Err(rejected());
    }
    let mut operation = operation.clone();
    // Real servers replace members that are not there.
    if let PatchOperation::Replace(replace) = &operation
        && object.pointer(replace.path.as_str()).is_none()
        && let Some((parent, _)) = replace.path.as_str().rsplit_once('/')
        && object.pointer(parent).is_some_and(Value::is_object)
    {
        operation = PatchOperation::Add(AddOperation {
            path: replace.path.clone(),
            value: replace.value.clone(),
        });
    }
    json_patch::patch(object, &[operation]).map_err(|_| rejected())
}

/// The depth of what an operation copies; counts its size against the limit.
fn carry(object: &Value, from: &str, copied: &mut usize) -> Result<Option<usize>, Status> {
    let Some(value) = object.pointer(from) else {
        return Ok(None);
    };
    *copied = copied.saturating_add(size(value));
    if *copied > MAX_COPIED {
        let message = format!("the operations of the patch copy more than {MAX_COPIED} bytes");
        return Err(Status::new(413, "RequestEntityTooLarge", message));
    }
    Ok(Some(depth(value)))
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or_default(),
        _ => 0,
    }
}

fn size(value: &Value) -> usize {
    16 + match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(map) => map.iter().map(|(key, value)| key.len() + size(value)).sum(),
        _ => 0,
    }
}

impl Cluster {
    /// PATCH of an object or of its status.
    pub(crate) fn patch(&mut self, cx: &mut Cx<'_>, target: &Target) -> Result<Response, Status> {
        let view = cx.view(false)?;
        let patch = Patch::read(&cx.request.content_type, &cx.request.body)?;
        let options = WriteOptions::parse(&cx.query, "PatchOptions")?;
        let type_ = &target.type_;
        let (id, key) = (type_.collection(), target.key());
        let stored = self
            .store
            .get(&id, &key)
            .cloned()
            .ok_or_else(|| Status::not_found(type_, &key.1))?;
        let mut object = Value::clone(&convert::from_stored(type_, &stored));
        patch.apply(&mut object)?;
        decode::patched(cx, type_, &mut object, patch.duplicates(), options.validation)?;
        checks::settle_namespace(target, &mut object)?;
        checks::check_name(target, &object)?;
        let updated = self.replace(cx, target, &stored, object, options)?;
        Ok(show(view, type_, 200, &updated, self.now))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn apply(mut object: Value, patch: Value) -> Result<Value, u16> {
        let patch = Patch::read(
            "application/json-patch+json; charset=utf-8",
            patch.to_string().as_bytes(),
        )
        .map_err(|status| status.code)?;
        patch.apply(&mut object).map_err(|status| status.code)?;
        Ok(object)
    }

    #[test]
    fn a_test_for_null_passes_where_there_is_nothing_and_fails_where_there_is_something() {
        let patch = json!([
            {"op": "test", "path": "/metadata/finalizers", "value": null},
            {"op": "add", "path": "/metadata/finalizers", "value": ["a"]},
        ]);
        let patched = json!({"metadata": {"finalizers": ["a"]}});
        assert_eq!(apply(json!({"metadata": {}}), patch.clone()), Ok(patched.clone()));
        assert_eq!(apply(patched, patch), Err(422));
    }

    #[test]
    fn operations_that_fail_or_do_not_exist_are_422_and_what_is_none_400() {
        for bad in [
            json!([{"op": "remove", "path": "/nope"}]),
            json!([{"op": "replace", "path": "/nope/x", "value": 1}]),
            json!([{"op": "add", "path": "/a/b", "value": 1}]),
            json!([{"op": "test", "path": "/x", "value": 77}]),
            json!([{"op": "copy", "from": "/nope", "path": "/y"}]),
        ] {
            assert_eq!(apply(json!({"x": 1}), bad), Err(422));
        }
        for bad in [
            json!([{"op": "frob", "path": "/x"}]),
            json!([{"op": "add", "value": 1}]),
        ] {
            assert_eq!(apply(json!({"x": 1}), bad), Err(422));
        }
        for bad in [json!({"op": "add"}), json!([1])] {
            assert_eq!(apply(json!({"x": 1}), bad), Err(400));
        }
    }

    #[test]
    fn a_patch_can_neither_grow_without_end_nor_nest_without_end() {
        let doubling: Vec<Value> = (0..60)
            .map(|i| json!({"op": "copy", "from": "", "path": format!("/x{i}")}))
            .collect();
        assert_eq!(apply(json!({"x": "0123456789"}), doubling.into()), Err(413));
        let path = "/x".repeat(100);
        let mut deep = json!({});
        for _ in 0..100 {
            deep = json!({ "x": deep });
        }
        assert_eq!(
            apply(deep.clone(), json!([{"op": "add", "path": path, "value": deep}])),
            Err(422)
        );
    }

    #[test]
    fn other_kinds_of_patches_are_refused() {
        for media in [
            "application/strategic-merge-patch+json",
            "application/apply-patch+yaml",
            "application/json",
            "",
        ] {
            assert_eq!(
                Patch::read(media, b"{}").err().map(|status| status.code),
                Some(415),
                "{media}"
            );
        }
    }
}
