//! The smallest plugin there is, with wit-bindgen alone, built from the frozen contract: its controller `empty` answers
//! at once, `busy` reads a ConfigMap of its key's name from the cache and patches it. Benches that need a bad neighbour
//! make one of the same module, by changing `empty` to another word of as many letters in it: `spins` computes for
//! ever, `reads` asks the host for ever. And of `busy` one may make `vary`, whose patch says something new for each
//! version of the object: the same patch again would not be sent.

#![cfg_attr(
    not(target_arch = "wasm32"),
    allow(dead_code, unused_macros, unused_imports, reason = "exported to WebAssembly only")
)]

#[allow(
    unsafe_code,
    missing_docs,
    clippy::all,
    reason = "generated from wit/frozen/0.1.0/plugin.wit"
)]
mod bindings {
    wit_bindgen::generate!({ path: "../../../wit/frozen/0.1.0", world: "reconciler" });
    // GNU ld, which links this crate natively in `cargo test --workspace`, takes none of the exported names.
    #[cfg(target_arch = "wasm32")]
    use super::Bench;
    #[cfg(target_arch = "wasm32")]
    export!(Bench with_types_in self);
}

use bindings::exports::pilothouse::plugin::controller::{Cause, Failure, Guest, ObjectRef, Outcome, Request, Retry};
use bindings::pilothouse::plugin::types::{ApiError, Gvk};
use bindings::pilothouse::plugin::{read, write};

struct Bench;

const MANIFEST: &str = r#"{
  "name": "bench", "version": "0.1.0",
  "controllers": [
    {"name": "empty", "kind": {"group": "bench.io", "version": "v1", "kind": "Empty"}, "concurrency": 8},
    {"name": "busy", "kind": {"group": "bench.io", "version": "v1", "kind": "Busy"}, "concurrency": 8,
     "watches": [{"kind": {"group": "", "version": "v1", "kind": "ConfigMap"}, "map": {"label": "nobody"}}]}
  ],
  "permissions": [
    {"group": "bench.io", "kind": "Empty", "verbs": ["watch"]},
    {"group": "bench.io", "kind": "Busy", "verbs": ["watch"]},
    {"group": "", "kind": "ConfigMap", "verbs": ["watch", "patch"]}
  ]
}"#;

impl Guest for Bench {
    fn describe() -> String {
        MANIFEST.to_owned()
    }

    fn check_config(_config: String) -> Result<(), Vec<Cause>> {
        Ok(())
    }

    fn reconcile(request: Request) -> Result<Outcome, Failure> {
        match request.controller.as_str() {
            "spins" => loop {
                std::hint::black_box(());
            },
            "reads" => loop {
                let nothing = target(request.key.namespace.clone(), "nothing".to_owned());
                std::hint::black_box(read::get(&nothing, &read::Freshness::Cached).is_ok());
            },
            _ => {}
        }
        if let "busy" | "vary" = request.controller.as_str() {
            let seen = match (request.controller.as_str(), &request.object) {
                ("vary", Some(object)) => version(object),
                _ => "yes",
            };
            let patch = write::Change::Merge(format!(r#"{{"data":{{"seen":"{seen}"}}}}"#));
            let target = target(request.key.namespace, request.key.name);
            read::get(&target, &read::Freshness::Cached).map_err(failed)?;
            let options = write::Options {
                subresource: None,
                uid: None,
                resource_version: None,
                force: false,
                dry_run: false,
                manager_suffix: None,
            };
            write::patch(&target, &patch, &options).map_err(failed)?;
        }
        Ok(Outcome {
            requeue_after_ms: None,
            note: None,
        })
    }
}

/// What stands behind the first `resourceVersion`.
fn version(object: &str) -> &str {
    let behind = object.split_once("\"resourceVersion\":\"").map(|(_, behind)| behind);
    behind.and_then(|behind| behind.split('"').next()).unwrap_or_default()
}

/// The ConfigMap of this name.
fn target(namespace: Option<String>, name: String) -> ObjectRef {
    ObjectRef {
        kind: Gvk {
            group: String::new(),
            version: "v1".to_owned(),
            kind: "ConfigMap".to_owned(),
        },
        namespace,
        name,
    }
}

fn failed(error: ApiError) -> Failure {
    Failure {
        retry: Retry::Never,
        reason: error.reason,
        message: error.message,
    }
}
