//! The answers of a real server (apiextensions-apiserver 1.36.4) to a long session with a custom resource, replayed:
//! `tests/recorded/custom-resources-1.36.json` has each request with the answer it got there. uids and versions differ
//! here; they are translated, and must map one to one. Bodies that the recording abridged were filled in again from the
//! titles.

use std::collections::BTreeMap;

use http::Method;
use pilothouse_localcluster::Request;
use serde_json::{Value, json};

mod asked;
use asked::{Server, WIDGETS, causes, widget, widgets};

/// Requests that the local cluster refuses on purpose, or whose answers are looked at elsewhere.
/// A kube-apiserver 1.36.3 answers the patches otherwise, and is the judge: see `tests/conformance`.
const SKIPPED: &[&str] = &[
    "yaml body",
    "accept only protobuf",
    "accept yaml",
    "list bad continue",
    "json patch replace missing",
    "json patch bad op",
];

/// Answers whose words differ: they quote a Go type, a library's error, or what only a real server has.
const OTHER_WORDS: &[&str] = &[
    "PUT different uid",
    "accept text/html",
    "SMP on CR",
    "unknown patch type",
    "no content-type PATCH",
    "unsupported media type",
    "json patch not an array",
    "labelSelector bad",
    "list as=PartialObjectMetadata (single kind asked on list)",
    "list rv too large",
    "get rv too large",
    "bad ownerRefs: 2 controllers",
    "DELETE precondition uid mismatch",
    "DELETE precondition rv mismatch",
    "create no kind",
];

/// Where the order of the errors, which is not fixed, may differ.
const OTHER_ORDER: &[&str] = &["create multiple invalid"];

#[derive(Default)]
struct Translation(BTreeMap<String, String>);

impl Translation {
    fn learn(&mut self, title: &str, recorded: &Value, ours: &Value) {
        for field in ["uid", "resourceVersion"] {
            let (Some(recorded), Some(ours)) = (recorded[field].as_str(), ours[field].as_str()) else {
                continue;
            };
            let known = self.0.entry(recorded.to_owned()).or_insert_with(|| ours.to_owned());
            assert_eq!(known, ours, "{title}: {field} {recorded} was something else before");
        }
    }

    fn apply(&self, value: &mut Value) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    match value {
                        Value::String(text) if matches!(key.as_str(), "uid" | "resourceVersion") => {
                            if let Some(ours) = self.0.get(text) {
                                *text = ours.clone();
                            }
                        }
                        // Recorded times are older than ours: the client sends what it got.
                        value => self.apply(value),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.apply(item)),
            _ => {}
        }
    }
}

/// `metadata` of a recorded answer, which may be abridged to metadata, spec and status in one map.
fn metadata(answer: &Value) -> &Value {
    if answer["metadata"].is_object() {
        &answer["metadata"]
    } else {
        answer
    }
}

fn sorted(mut causes: Vec<(String, String)>) -> Vec<(String, String)> {
    causes.sort();
    // For custom resources real servers tell some causes twice.
    causes.dedup();
    causes
}

#[test]
fn a_long_session_with_a_custom_resource_goes_as_it_went_on_a_real_server() {
    let recorded: Vec<Value> = serde_json::from_str(include_str!("recorded/custom-resources-1.36.json")).unwrap();
    let mut server = Server::new();
    server.post(asked::CRDS, widgets()).ok();
    let mut translation = Translation::default();
    let mut generated = String::new();
    let mut failures = Vec::new();
    let mut created = BTreeMap::new();
    for entry in &recorded {
        let title = entry["title"].as_str().unwrap();
        prepare(&mut server, title);
        if SKIPPED.contains(&title) {
            continue;
        }
        let mut path = entry["path"].as_str().unwrap().to_owned();
        if let Some(token) = path.split("continue=").nth(1).and_then(|rest| rest.split('&').next()) {
            let ours = server.get(&format!("{WIDGETS}?limit=2")).body["metadata"]["continue"].clone();
            path = path.replace(token, ours.as_str().unwrap());
        }
        path = path.replace(
            "resourceVersion=170",
            &format!("resourceVersion={}", server.cluster.version() - 1),
        );
        let mut body = entry["body"].clone();
        translation.apply(&mut body);
        // What clients send back of what they got: the times are ours, too.
        if let Some(since) = created.get(metadata(&body)["name"].as_str().unwrap_or_default())
            && entry["body"]["metadata"]["creationTimestamp"] == "2026-11-22T01:38:37Z"
        {
            body["metadata"]["creationTimestamp"] = Value::clone(since);
        }
        let text = match &body {
            Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        let method: Method = entry["method"].as_str().unwrap().parse().unwrap();
        let mut request = Request::with_body(method, &path, entry["content_type"].as_str().unwrap(), text);
        request.accept = entry["accept"].as_str().unwrap().to_owned();
        let ours = server.send(request);
        let theirs = &entry["answer"];
        if title == "create generateName" {
            generated = ours.body["metadata"]["name"].as_str().unwrap().to_owned();
        }
        let mut told = Vec::new();
        let mut differs = |what: &str, ours: &Value, theirs: &Value| {
            if ours != theirs {
                told.push(format!("{what}: {ours} instead of {theirs}"));
            }
        };
        differs("code", &json!(ours.code), &entry["code"]);
        if theirs["status"] == "Failure" {
            differs("reason", &ours.body["reason"], &theirs["reason"]);
            for field in ["name", "group", "kind", "retryAfterSeconds"] {
                differs(field, &ours.body["details"][field], &theirs["details"][field]);
            }
            differs(
                "causes",
                &json!(sorted(causes(&ours.body))),
                &json!(sorted(causes(theirs))),
            );
            if !OTHER_WORDS.contains(&title) && !OTHER_ORDER.contains(&title) {
                differs("message", &ours.body["message"], &theirs["message"]);
            }
        } else if theirs["items"].is_array() {
            let names: Vec<Value> = theirs["items"].as_array().unwrap().clone();
            if names.iter().all(Value::is_string) {
                let names: Vec<String> = names
                    .iter()
                    .map(|name| name.as_str().unwrap().replace("gen-7gnr9", &generated))
                    .collect();
                differs("items", &json!(ours.names()), &json!(names));
                differs(
                    "remaining",
                    &ours.body["metadata"]["remainingItemCount"],
                    &theirs["metadata"]["remainingItemCount"],
                );
            }
        } else if theirs.is_object() && ours.body.is_object() && !title.starts_with("Table") && ours.code < 300 {
            translation.learn(title, metadata(theirs), &ours.body["metadata"]);
            if let Some(name) = metadata(&ours.body)["name"].as_str() {
                created
                    .entry(name.to_owned())
                    .or_insert(ours.body["metadata"]["creationTimestamp"].clone());
            }
            for field in [
                "generation",
                "labels",
                "annotations",
                "finalizers",
                "deletionGracePeriodSeconds",
            ] {
                differs(field, &ours.body["metadata"][field], &metadata(theirs)[field]);
            }
            let deleting = |value: &Value| json!(value["deletionTimestamp"].is_string());
            differs(
                "deletion",
                &deleting(&ours.body["metadata"]),
                &deleting(metadata(theirs)),
            );
            differs("spec", &ours.body["spec"], &theirs["spec"]);
            if theirs["metadata"].is_object() || theirs["status"].is_object() {
                differs("status", &ours.body["status"], &theirs["status"]);
            }
        }
        let warnings: Vec<&str> = ours.header("Warning");
        let expected: Vec<&str> = entry["warning"].as_str().into_iter().collect();
        if title != "create wrong apiVersion" && warnings != expected {
            told.push(format!("warnings: {warnings:?} instead of {expected:?}"));
        }
        if !told.is_empty() {
            failures.push(format!("{title}\n  {}", told.join("\n  ")));
        }
    }
    assert!(recorded.len() > 100);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// What happened between the recorded requests.
fn prepare(server: &mut Server, title: &str) {
    match title {
        "yaml body" => {
            server.post(WIDGETS, widget("y1", json!({"size": 1}))).ok();
        }
        "list all" => {
            server.settle();
            for i in 0..5 {
                let mut object = widget(&format!("p{i}"), json!({"size": i + 1}));
                object["metadata"]["labels"] = json!({"grp": "p", "n": i.to_string()});
                server.post(WIDGETS, object).ok();
            }
        }
        "list limit with selector" => {
            server.post(WIDGETS, widget("p9", json!({"size": 9}))).ok();
        }
        _ => {}
    }
}
