//! Bodies of writes: what a guest sends, checked and completed before it goes to the API server. Pure.
//!
//! Only the first two levels of an object are taken apart (top and metadata); what lies below keeps its text, so that a
//! 29-digit integer or `1.10` arrives as the guest wrote it.

use std::collections::BTreeMap;

use pilothouse_object::{Key, escape_control, shorten};
use pilothouse_runtime::{ApiError, Change, ObjectRef, Options, reason};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use crate::api::refusal::bad_request;

type Members = BTreeMap<String, Box<RawValue>>;

/// Paths named of one patch at most.
const MAX_PATHS: usize = 8;

fn members(what: &str, json: &str) -> Result<Members, ApiError> {
    serde_json::from_str(json).map_err(|error| bad_request(format!("{what} is no JSON object: {error}")))
}

fn raw(value: &str) -> Result<Box<RawValue>, ApiError> {
    to_raw_value(value).map_err(|error| bad_request(error.to_string()))
}

/// An object to create: as [`object`], and without a version.
pub(crate) fn new_object(target: &ObjectRef, json: &str, options: &Options) -> Result<Vec<u8>, ApiError> {
    completed(target, json, options, is_new)
}

/// An object to apply or to replace: apiVersion, kind, name and namespace are the target's (filled in, or the same),
/// managedFields are refused, and preconditions stand in its metadata.
pub(crate) fn object(target: &ObjectRef, json: &str, options: &Options) -> Result<Vec<u8>, ApiError> {
    completed(target, json, options, |_| Ok(()))
}

/// What is new has no version: the API server answers such a creation with 500, as if the fault were its own.
fn is_new(metadata: &Members) -> Result<(), ApiError> {
    match metadata.get("resourceVersion").map(|version| version.get()) {
        None | Some("null" | "\"\"") => Ok(()),
        Some(_) => Err(bad_request(
            "an object that is to be created has no metadata.resourceVersion: leave it out of the body",
        )),
    }
}

fn completed(
    target: &ObjectRef,
    json: &str,
    options: &Options,
    check: impl FnOnce(&Members) -> Result<(), ApiError>,
) -> Result<Vec<u8>, ApiError> {
    let mut top = members("the object", json)?;
    let api_version = if target.kind.group.is_empty() {
        target.kind.version.clone()
    } else {
        format!("{}/{}", target.kind.group, target.kind.version)
    };
    // Other subresources have types of their own: a Scale, an Eviction.
    if matches!(options.subresource.as_deref(), None | Some("status")) {
        agree(&mut top, "apiVersion", &api_version)?;
        agree(&mut top, "kind", &target.kind.kind)?;
    }
    let mut metadata = match top.get("metadata") {
        Some(text) => members("metadata", text.get())?,
        None => Members::new(),
    };
    check(&metadata)?;
    if !target.name.is_empty() {
        agree(&mut metadata, "name", &target.name)?;
    }
    if let Some(namespace) = &target.namespace {
        agree(&mut metadata, "namespace", namespace)?;
    }
    complete(&mut metadata, options)?;
    top.insert(
        "metadata".into(),
        to_raw_value(&metadata).map_err(|error| bad_request(error.to_string()))?,
    );
    serde_json::to_vec(&top).map_err(|error| bad_request(error.to_string()))
}

/// A field that the target decides: the same in the body, or missing there.
fn agree(members: &mut Members, field: &str, value: &str) -> Result<(), ApiError> {
    if let Some(have) = members.get(field) {
        let same = serde_json::from_str::<Option<String>>(have.get())
            .is_ok_and(|have| have.is_none_or(|have| have.is_empty() || have == value));
        if !same {
            return Err(bad_request(format!(
                "{field} in the object is {} and in the target {value:?}: make them the same",
                escape_control(&shorten(have.get(), 80))
            )));
        }
    }
    members.insert(field.to_owned(), raw(value)?);
    Ok(())
}

/// Preconditions into the metadata; managedFields stay out.
fn complete(metadata: &mut Members, options: &Options) -> Result<(), ApiError> {
    // Strategic patches have words about a field before its name (`$patch`, `$deleteFromPrimitiveList/FIELD`); of the
    // metadata as a whole none is needed.
    let is_theirs = |name: &String| name == "managedFields" || name == "$patch" || name.ends_with("/managedFields");
    if metadata.keys().any(is_theirs) {
        return Err(ApiError::of_host(
            reason::DENIED,
            "metadata.managedFields is the API server's to write: leave it, and `$patch` in metadata, out of the body",
        ));
    }
    if let Some(uid) = &options.uid {
        metadata.insert("uid".into(), raw(uid)?);
    }
    if let Some(version) = &options.resource_version {
        metadata.insert("resourceVersion".into(), raw(version)?);
    }
    Ok(())
}

/// A patch as it is sent.
#[derive(Debug)]
pub(crate) struct Patch {
    pub(crate) content_type: &'static str,
    pub(crate) body: Vec<u8>,
    /// The paths it names, for people; never values.
    pub(crate) paths: Vec<String>,
}

/// A patch with its preconditions: in the metadata of a document, or as operations in front of a JSON patch.
pub(crate) fn patch(target: &ObjectRef, change: &Change, options: &Options) -> Result<Patch, ApiError> {
    match change {
        Change::Merge(json) => document(json, "application/merge-patch+json", options),
        Change::Strategic(json) => document(json, "application/strategic-merge-patch+json", options),
        Change::Apply(json) => {
            let body = object(target, json, options)?;
            let paths = paths_of(json);
            // JSON is YAML.
            Ok(Patch {
                content_type: "application/apply-patch+yaml",
                body,
                paths,
            })
        }
        Change::JsonPatch(json) => {
            // Taken apart and written anew, so that what was looked at is what is sent, even of members that stand
            // twice.
            let operations: Vec<Members> = serde_json::from_str(json)
                .map_err(|error| bad_request(format!("the JSON patch is no list of operations: {error}")))?;
            let mut paths = Vec::new();
            for operation in &operations {
                let text = |name| {
                    let text = operation
                        .get(name)
                        .map(|text| serde_json::from_str::<String>(text.get()));
                    text.and_then(Result::ok).unwrap_or_default()
                };
                let (path, from) = (text("path"), text("from"));
                // The API server looks only at what comes after the first slash: `x/metadata` would reach metadata.
                if [&path, &from]
                    .iter()
                    .any(|path| !path.is_empty() && !path.starts_with('/'))
                {
                    return Err(bad_request(
                        "a path of the JSON patch does not begin with `/`: write it as a JSON pointer (RFC 6901)",
                    ));
                }
                // "" and "/metadata" would replace it with everything else.
                let touches = |path: &str| {
                    path == "/metadata" || path == "/metadata/" || path.starts_with("/metadata/managedFields")
                };
                if touches(&path) || path.is_empty() || touches(&from) {
                    return Err(ApiError::of_host(
                        reason::DENIED,
                        "metadata.managedFields is the API server's to write: leave it out of the patch, and name members of \
                         metadata and of the object one by one",
                    ));
                }
                if paths.len() < MAX_PATHS {
                    paths.push(escape_control(&shorten(&path, 80)).into_owned());
                }
            }
            // Setting these at the end, and not testing them, makes a mismatch the Conflict that it is; a failed
            // `test` would be an Invalid.
            let preconditions = [
                ("/metadata/uid", &options.uid),
                ("/metadata/resourceVersion", &options.resource_version),
            ];
            let mut all = operations;
            for (path, value) in preconditions {
                if let Some(value) = value {
                    let members = [("op", "add"), ("path", path), ("value", value)];
                    let members = members.map(|(name, value)| Ok((name.to_owned(), raw(value)?)));
                    all.push(members.into_iter().collect::<Result<_, ApiError>>()?);
                }
            }
            let body = serde_json::to_vec(&all).map_err(|error| bad_request(error.to_string()))?;
            Ok(Patch {
                content_type: "application/json-patch+json",
                body,
                paths,
            })
        }
    }
}

fn document(json: &str, content_type: &'static str, options: &Options) -> Result<Patch, ApiError> {
    let mut top = members("the patch", json)?;
    let mut metadata = match top.get("metadata") {
        Some(text) => members("metadata", text.get())?,
        None => Members::new(),
    };
    complete(&mut metadata, options)?;
    if !metadata.is_empty() {
        top.insert(
            "metadata".into(),
            to_raw_value(&metadata).map_err(|error| bad_request(error.to_string()))?,
        );
    }
    let body = serde_json::to_vec(&top).map_err(|error| bad_request(error.to_string()))?;
    Ok(Patch {
        content_type,
        body,
        paths: paths_of(json),
    })
}

/// The leaves of a document as paths, at most [`MAX_PATHS`]; preconditions left out.
fn paths_of(json: &str) -> Vec<String> {
    fn walk(prefix: &str, value: &Value, out: &mut Vec<String>) {
        match value {
            Value::Object(members) if !members.is_empty() => {
                for (name, value) in members {
                    if out.len() >= MAX_PATHS {
                        return;
                    }
                    let name = escape_control(&shorten(name, 40)).into_owned();
                    let path = if prefix.is_empty() {
                        name
                    } else {
                        format!("{prefix}.{name}")
                    };
                    walk(&path, value, out);
                }
            }
            _ => {
                let skip = ["metadata.resourceVersion", "metadata.uid", "apiVersion", "kind", ""];
                if !skip.contains(&prefix) {
                    out.push(prefix.to_owned());
                }
            }
        }
    }
    let mut out = Vec::new();
    if let Ok(value) = serde_json::from_str::<Value>(json) {
        walk("", &value, &mut out);
    }
    out
}

/// Body of a DELETE: how dependents go, and preconditions.
pub(crate) fn delete(propagation: &str, options: &Options) -> Vec<u8> {
    let mut body = json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation});
    let mut preconditions = json!({});
    if let Some(uid) = &options.uid {
        preconditions["uid"] = json!(uid);
    }
    if let Some(version) = &options.resource_version {
        preconditions["resourceVersion"] = json!(version);
    }
    if preconditions.as_object().is_some_and(|p| !p.is_empty()) {
        body["preconditions"] = preconditions;
    }
    if options.dry_run {
        body["dryRun"] = json!(["All"]);
    }
    body.to_string().into_bytes()
}

/// The key a target names.
pub(crate) fn key_of(target: &ObjectRef) -> Key {
    Key::new(target.namespace.as_deref(), &target.name)
}

#[cfg(test)]
mod tests {
    use pilothouse_runtime::Gvk;

    use super::*;

    fn target() -> ObjectRef {
        ObjectRef {
            kind: Gvk {
                group: "ex.io".into(),
                version: "v1".into(),
                kind: "Widget".into(),
            },
            namespace: Some("a".into()),
            name: "w".into(),
        }
    }

    fn options() -> Options {
        Options {
            subresource: None,
            uid: Some("u".into()),
            resource_version: Some("7".into()),
            force: false,
            dry_run: false,
            manager_suffix: None,
        }
    }

    fn plain() -> Options {
        Options {
            uid: None,
            resource_version: None,
            ..options()
        }
    }

    fn text(body: &[u8]) -> &str {
        std::str::from_utf8(body).unwrap()
    }

    #[test]
    fn an_object_gets_the_targets_names_and_its_preconditions() {
        let body = object(
            &target(),
            r#"{"spec":{"n":12345678901234567890123456789,"r":1.10}}"#,
            &options(),
        )
        .unwrap();
        assert_eq!(
            text(&body),
            r#"{"apiVersion":"ex.io/v1","kind":"Widget","metadata":{"name":"w","namespace":"a","resourceVersion":"7","uid":"u"},"spec":{"n":12345678901234567890123456789,"r":1.10}}"#
        );
    }

    #[test]
    fn an_object_that_names_another_target_is_refused() {
        for other in [
            r#"{"metadata":{"name":"x"}}"#,
            r#"{"metadata":{"namespace":"b"}}"#,
            r#"{"kind":"Secret"}"#,
            r#"{"apiVersion":"v1"}"#,
            r#"{"metadata":{"name":1}}"#,
        ] {
            let error = object(&target(), other, &plain()).unwrap_err();
            assert!(
                error.message.contains("make them the same"),
                "{other}: {}",
                error.message
            );
        }
    }

    #[test]
    fn a_subresource_of_a_type_of_its_own_keeps_that_type() {
        let eviction = r#"{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"w"}}"#;
        let options = Options {
            subresource: Some("eviction".into()),
            ..plain()
        };
        let body = object(&target(), eviction, &options).unwrap();
        assert!(text(&body).contains(r#""kind":"Eviction""#) && text(&body).contains(r#""namespace":"a""#));
        let status = Options {
            subresource: Some("status".into()),
            ..plain()
        };
        assert!(object(&target(), eviction, &status).is_err());
    }

    #[test]
    fn a_json_patch_with_a_path_that_is_no_json_pointer_is_refused() {
        for path in [
            "x/metadata/managedFields/0",
            "x/metadata",
            "metadata/managedFields",
            " /metadata",
            "data",
        ] {
            for operation in [
                json!({"op": "remove", "path": path}),
                json!({"op": "copy", "path": "/data/x", "from": path}),
            ] {
                let change = Change::JsonPatch(json!([operation]).to_string());
                let refused = patch(&target(), &change, &plain()).unwrap_err();
                assert!(
                    refused.code == 400 && refused.message.contains("JSON pointer"),
                    "{operation}"
                );
            }
        }
    }

    #[test]
    fn managed_fields_are_refused_in_every_body() {
        let with = r#"{"metadata":{"managedFields":[]}}"#;
        assert_eq!(object(&target(), with, &plain()).unwrap_err().reason, reason::DENIED);
        for change in [
            Change::Merge(with.into()),
            Change::Strategic(with.into()),
            Change::Apply(with.into()),
            Change::JsonPatch(r#"[{"op":"remove","path":"/metadata/managedFields"}]"#.into()),
            Change::JsonPatch(r#"[{"op":"replace","path":"/metadata","value":{}}]"#.into()),
            Change::JsonPatch(r#"[{"op":"replace","path":"/metadata/","value":{}}]"#.into()),
            Change::JsonPatch(r#"[{"op":"copy","from":"/metadata/","path":"/data/x"}]"#.into()),
            Change::JsonPatch(r#"[{"op":"replace","path":"","value":{}}]"#.into()),
            Change::JsonPatch(r#"[{"op":"move","from":"/metadata/managedFields","path":"/data/x"}]"#.into()),
            Change::JsonPatch(r#"[{"op":"remove","path":"/a","path":"/metadata/managedFields/0"}]"#.into()),
            Change::JsonPatch(r#"[{"op":"remove","path":"\u002fmetadata/managedFields"}]"#.into()),
            Change::JsonPatch(r#"[{"op":"remove","path":1}]"#.into()),
            Change::Merge(r#"{"metadata":{"managed\u0046ields":null}}"#.into()),
            Change::Merge(r#"{"metadata":{"managedFields":[]},"metadata":{"managedFields":[{}]}}"#.into()),
            Change::Strategic(r#"{"metadata":{"$patch":"replace","name":"w"}}"#.into()),
            Change::Strategic(r#"{"metadata":{"$deleteFromPrimitiveList/managedFields":["x"]}}"#.into()),
        ] {
            assert_eq!(
                patch(&target(), &change, &plain()).unwrap_err().reason,
                reason::DENIED,
                "{change:?}"
            );
        }
    }

    #[test]
    fn a_member_that_stands_twice_is_sent_as_it_was_looked_at() {
        let twice = r#"[{"op":"add","path":"/metadata/managedFields","value":1,"path":"/spec/a","value":1.10}]"#;
        let sent = patch(&target(), &Change::JsonPatch(twice.into()), &plain()).unwrap();
        assert_eq!(text(&sent.body), r#"[{"op":"add","path":"/spec/a","value":1.10}]"#);
        let twice = r#"{"metadata":{"managedFields":[]},"metadata":{"labels":{}}}"#;
        let sent = patch(&target(), &Change::Merge(twice.into()), &plain()).unwrap();
        assert_eq!(text(&sent.body), r#"{"metadata":{"labels":{}}}"#);
    }

    #[test]
    fn rubbish_is_refused_before_it_is_sent() {
        for json in ["", "nope", "[]", "null", "{\"metadata\":[]}", "{"] {
            assert_eq!(object(&target(), json, &plain()).unwrap_err().code, 400, "{json:?}");
            assert_eq!(
                patch(&target(), &Change::Merge(json.into()), &plain())
                    .unwrap_err()
                    .code,
                400,
                "{json:?}"
            );
        }
        assert_eq!(
            patch(&target(), &Change::JsonPatch("{}".into()), &plain())
                .unwrap_err()
                .code,
            400
        );
    }

    #[test]
    fn a_merge_patch_carries_its_preconditions_and_names_its_paths() {
        let patch = patch(
            &target(),
            &Change::Merge(r#"{"status":{"ok":true,"n":null}}"#.into()),
            &options(),
        )
        .unwrap();
        assert_eq!(
            text(&patch.body),
            r#"{"metadata":{"resourceVersion":"7","uid":"u"},"status":{"ok":true,"n":null}}"#
        );
        assert_eq!(patch.paths, ["status.n", "status.ok"]);
    }

    #[test]
    fn a_json_patch_sets_its_preconditions_last() {
        let change = Change::JsonPatch(r#"[{"op":"test","path":"/spec/a","value":1}]"#.into());
        let patch = patch(&target(), &change, &options()).unwrap();
        let operations: Vec<Value> = serde_json::from_slice(&patch.body).unwrap();
        let paths: Vec<_> = operations.iter().map(|o| o["path"].as_str().unwrap()).collect();
        assert_eq!(paths, ["/spec/a", "/metadata/uid", "/metadata/resourceVersion"]);
        assert_eq!(patch.paths, ["/spec/a"]);
    }

    #[test]
    fn values_never_stand_among_the_paths() {
        let change = Change::Merge(r#"{"data":{"password":"aHVudGVyMg=="}}"#.into());
        let patch = patch(&target(), &change, &plain()).unwrap();
        assert_eq!(patch.paths, ["data.password"]);
    }

    #[test]
    fn a_deletion_says_how_dependents_go() {
        let body: Value = serde_json::from_slice(&delete("Foreground", &options())).unwrap();
        assert_eq!(body["propagationPolicy"], "Foreground");
        assert_eq!(body["preconditions"], json!({"uid": "u", "resourceVersion": "7"}));
        let body: Value = serde_json::from_slice(&delete("Background", &plain())).unwrap();
        assert!(body.get("preconditions").is_none());
    }

    #[test]
    fn what_is_to_be_created_has_no_version() {
        let target = ObjectRef {
            name: "a".into(),
            ..target()
        };
        let is_new = |json| new_object(&target, json, &plain()).map(drop);
        for json in [
            "{}",
            r#"{"metadata":{"name":"a"}}"#,
            r#"{"metadata":{"resourceVersion":""}}"#,
            r#"{"metadata":{"resourceVersion":null}}"#,
        ] {
            assert_eq!(is_new(json), Ok(()), "{json}");
        }
        let refused = is_new(r#"{"metadata":{"resourceVersion":"7"}}"#).unwrap_err();
        assert!(refused.message.contains("metadata.resourceVersion"), "{refused:?}");
    }
}
