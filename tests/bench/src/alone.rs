//! The runtime alone: a request as the host makes it for a key, and a backend for a plugin that asks for nothing.

use pilothouse_runtime::{
    Backend, Change, Freshness, GivenGvk, GivenRef, Level, ObjectRef, Options, Page, Propagation, Query, Reply,
    Request, Severity, Timestamp,
};

/// A request for the controller `empty`, with this object.
pub fn request(json: &str) -> Request<'_> {
    Request {
        controller: "empty",
        key: GivenRef {
            kind: GivenGvk {
                group: "bench.io",
                version: "v1",
                kind: "Empty",
            },
            namespace: Some("default"),
            name: "o1",
        },
        object: Some(json),
    }
}

/// Is asked for nothing by the plugin that does nothing.
pub struct Nobody;

fn unasked<T: Send + 'static>() -> Reply<'static, T> {
    Box::pin(std::future::pending())
}

impl Backend for Nobody {
    fn get(&self, _: ObjectRef, _: Freshness) -> Reply<'_, Option<String>> {
        unasked()
    }
    fn select(&self, _: Query, _: Freshness) -> Reply<'_, Page> {
        unasked()
    }
    fn digest(&self, _: ObjectRef) -> Reply<'_, Option<String>> {
        unasked()
    }
    fn create(&self, _: ObjectRef, _: String, _: Options) -> Reply<'_, String> {
        unasked()
    }
    fn patch(&self, _: ObjectRef, _: Change, _: Options) -> Reply<'_, String> {
        unasked()
    }
    fn replace(&self, _: ObjectRef, _: String, _: Options) -> Reply<'_, String> {
        unasked()
    }
    fn remove(&self, _: ObjectRef, _: Propagation, _: Options) -> Reply<'_, Option<String>> {
        unasked()
    }
    fn emit_event(&self, _: ObjectRef, _: Severity, _: String, _: String, _: String) {}
    fn log(&self, _: Level, _: String, _: Vec<(String, String)>) {}
    fn config(&self) -> String {
        "{}".to_owned()
    }
    fn now(&self) -> Timestamp {
        Timestamp {
            seconds: 0,
            nanoseconds: 0,
        }
    }
    fn random(&self, count: u32) -> Vec<u8> {
        vec![0; count as usize]
    }
    fn attempt(&self) -> u32 {
        1
    }
    fn trace_parent(&self) -> Option<String> {
        None
    }
}
