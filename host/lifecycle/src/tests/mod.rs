//! Tests of the room as a whole, by subject.

mod capabilities;
mod config;
mod config_schema;
mod directory;
mod fits;
pub(crate) mod load;
mod manifest;
mod queue_settings;
mod quotes;
mod schema;

use serde_json::{Value, json};

/// A manifest with one of everything, good as it is.
pub(crate) fn whole_manifest() -> Value {
    json!({
        "name": "greeting", "version": "0.1.0", "description": "Greets.",
        "controllers": [
            {
                "name": "greeting",
                "kind": {"group": "demo.pilothouse.dev", "version": "v1", "kind": "Greeting"},
                "scope": "Namespaced", "selector": "app in (a, b),!old", "namespaces": ["team-a"],
                "predicates": ["generation", "labels", "annotations", "finalizers", "deletion"],
                "changes": ["spec.size", "metadata.labels['a/b']"],
                "fields": ["spec.size", "spec.hints['a.b']"],
                "concurrency": 4, "resyncSeconds": 600, "maxAttempts": 8,
                "backoff": {"baseMs": 10, "maxMs": 60000},
                "watches": [
                    {"kind": {"group": "", "version": "v1", "kind": "ConfigMap"}, "scope": "Namespaced",
                     "metadataOnly": true, "selector": "app=a", "map": {"owner": "controller"}},
                    {"kind": {"group": "", "version": "v1", "kind": "Secret"}, "map": {"index": "by-config"}},
                    {"kind": {"group": "", "version": "v1", "kind": "Service"}, "map": "same-name"},
                    {"kind": {"group": "", "version": "v1", "kind": "Namespace"}, "scope": "Cluster", "map": "all"},
                    {"kind": {"group": "apps", "version": "v1", "kind": "Deployment"},
                     "map": {"label": "demo.pilothouse.dev/greeting"}},
                    {"kind": {"group": "batch", "version": "v1", "kind": "Job"}, "map": {"field": "spec.owner.name"},
                     "fields": ["status"]},
                    {"kind": {"group": "batch", "version": "v1", "kind": "CronJob"}, "map": {"owner": "any"}}
                ]
            },
            {"name": "plain", "kind": {"group": "", "version": "v1", "kind": "ConfigMap"}}
        ],
        "indexes": [{
            "name": "by-config",
            "kind": {"group": "demo.pilothouse.dev", "version": "v1", "kind": "Greeting"},
            "paths": ["spec.configRef.name", ".spec.items[*].name"]
        }],
        "permissions": [
            {"group": "demo.pilothouse.dev", "kind": "Greeting", "verbs": ["watch", "get", "patch"]},
            {"group": "demo.pilothouse.dev", "kind": "Greeting", "verbs": ["patch"], "subresources": ["status"]},
            {"group": "", "kind": "ConfigMap", "verbs": ["list", "watch", "create", "replace", "delete"],
             "namespaces": [], "names": []},
            {"group": "", "kind": "Secret", "verbs": ["watch"], "namespaces": ["team-a"], "names": ["system:x", "a.b"]},
            {"group": "", "kind": "Service", "verbs": ["watch"]},
            {"group": "", "kind": "Namespace", "verbs": ["watch"]},
            {"group": "apps", "kind": "Deployment", "verbs": ["watch"]},
            {"group": "batch", "kind": "Job", "verbs": ["watch"]},
            {"group": "batch", "kind": "CronJob", "verbs": ["watch"]}
        ],
        "configSchema": {"type": "object", "properties": {"greeting": {"type": "string"}}},
        "limits": {"wallMs": 10000, "cpuMs": 500, "memoryMiB": 32, "hostCalls": 100}
    })
}

/// The least manifest there is.
pub(crate) fn least_manifest() -> Value {
    json!({
        "name": "greeting", "version": "0.1.0",
        "controllers": [{"name": "greeting", "kind": {"group": "", "version": "v1", "kind": "ConfigMap"}}],
        "permissions": [{"group": "", "kind": "ConfigMap", "verbs": ["watch"]}]
    })
}

/// `document` with `value` put at `pointer`, whose parent must be there; past a list's end it is appended.
pub(crate) fn with(mut document: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer has a slash");
    match document.pointer_mut(parent).unwrap_or_else(|| panic!("no {parent}")) {
        Value::Object(fields) => {
            fields.insert(key.to_owned(), value);
        }
        Value::Array(items) => match key.parse::<usize>() {
            Ok(i) if i < items.len() => items[i] = value,
            _ => items.push(value),
        },
        other => panic!("{parent} is {other}"),
    }
    document
}

/// `document` without the field at `pointer`.
pub(crate) fn without(mut document: Value, pointer: &str) -> Value {
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer has a slash");
    let parent = document
        .pointer_mut(parent)
        .and_then(Value::as_object_mut)
        .expect("a parent that is an object");
    parent.remove(key).expect("a field to take away");
    document
}
