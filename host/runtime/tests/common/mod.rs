//! What the tests share: the zoo, an engine, and a backend that is deterministic and writes down what it is asked.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use pilothouse_runtime::{
    Backend, Change, Engine, EngineConfig, Freshness, GivenGvk, GivenRef, Gvk, Level, Limits, Module, ObjectRef,
    Options, Page, Propagation, Query, Reconciled, Reply, Request, Severity, Timestamp,
};

/// The zoo's bytes; compiled once for each test binary.
pub(crate) fn zoo_bytes() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| std::fs::read(pilothouse_guests::component("runtime-zoo")).expect("the zoo can be read"))
}

/// An engine for all tests of a binary.
pub(crate) fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        // A loop in a check ends by CPU time, however busy the machine is.
        let pure = Limits {
            cpu: Duration::from_millis(500),
            ..roomy()
        };
        Engine::new(EngineConfig {
            slots: 16,
            pure,
            ..EngineConfig::default()
        })
        .expect("an engine")
    })
}

/// The zoo, compiled.
pub(crate) fn zoo() -> &'static Module {
    static ZOO: OnceLock<Module> = OnceLock::new();
    ZOO.get_or_init(|| engine().compile(zoo_bytes()).expect("the zoo loads"))
}

/// Limits with which no good animal has any trouble, on a machine however busy.
pub(crate) fn roomy() -> Limits {
    let wall = Duration::from_secs(600);
    Limits {
        wall,
        cpu: Duration::from_secs(60),
        ..Limits::default()
    }
}

pub(crate) fn request(name: &str) -> Request<'_> {
    let kind = GivenGvk {
        group: "",
        version: "v1",
        kind: "ConfigMap",
    };
    Request {
        controller: "zoo",
        key: GivenRef {
            kind,
            namespace: Some("default"),
            name,
        },
        object: Some(r#"{"a":1}"#),
    }
}

/// What [`request`] is about, as the zoo hands it back.
pub(crate) fn target(name: &str) -> ObjectRef {
    ObjectRef {
        kind: Gvk {
            group: String::new(),
            version: "v1".into(),
            kind: "ConfigMap".into(),
        },
        namespace: Some("default".into()),
        name: name.into(),
    }
}

/// One call of the zoo with a backend of its own.
pub(crate) async fn visit(name: &str, limits: &Limits) -> (Reconciled, Arc<Recorder>) {
    let backend = Arc::new(Recorder::default());
    let done = zoo()
        .reconcile(request(name), Arc::clone(&backend) as Arc<dyn Backend>, limits)
        .await;
    (done, backend)
}

/// The note of a call that went well.
#[track_caller]
pub(crate) fn note(done: &Reconciled) -> &str {
    match &done.result {
        Ok(Ok(outcome)) => outcome.note.as_deref().expect("a note"),
        other => panic!("the call did not go well: {other:?}"),
    }
}

/// The error of a call that was ended.
#[track_caller]
pub(crate) fn error(done: &Reconciled) -> String {
    match &done.result {
        Err(error) => error.to_string(),
        Ok(answer) => panic!("the call was not ended: {answer:?}"),
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    Get(ObjectRef),
    Create(usize),
    Patch(ObjectRef),
    Event {
        reason: String,
        note: String,
    },
    Log {
        level: Level,
        message: String,
        fields: Vec<(String, String)>,
    },
}

/// Answers the same each time. A read in the namespace `never` waits for ever.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    asked: Mutex<Vec<Asked>>,
    drawn: Mutex<u8>,
}

impl Recorder {
    fn push(&self, asked: Asked) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Level and text of each log line.
    pub(crate) fn lines(&self) -> Vec<(Level, String)> {
        let line = |asked| match asked {
            Asked::Log { level, message, .. } => Some((level, message)),
            _ => None,
        };
        self.asked().into_iter().filter_map(line).collect()
    }
}

fn ready<T: Send + 'static>(value: T) -> Reply<'static, T> {
    Box::pin(std::future::ready(Ok(value)))
}

impl Backend for Recorder {
    fn get(&self, target: ObjectRef, _: Freshness) -> Reply<'_, Option<String>> {
        if target.namespace.as_deref() == Some("never") {
            return Box::pin(std::future::pending());
        }
        self.push(Asked::Get(target));
        ready(Some(r#"{"kind":"ConfigMap"}"#.into()))
    }
    fn select(&self, _: Query, _: Freshness) -> Reply<'_, Page> {
        ready(Page {
            items: Vec::new(),
            next: None,
            resource_version: "1".into(),
        })
    }
    fn digest(&self, _: ObjectRef) -> Reply<'_, Option<String>> {
        ready(None)
    }
    fn create(&self, _: ObjectRef, object: String, _: Options) -> Reply<'_, String> {
        self.push(Asked::Create(object.len()));
        ready("{}".into())
    }
    fn patch(&self, target: ObjectRef, _: Change, _: Options) -> Reply<'_, String> {
        self.push(Asked::Patch(target));
        ready("{}".into())
    }
    fn replace(&self, _: ObjectRef, object: String, _: Options) -> Reply<'_, String> {
        ready(object)
    }
    fn remove(&self, _: ObjectRef, _: Propagation, _: Options) -> Reply<'_, Option<String>> {
        ready(None)
    }
    fn emit_event(&self, _: ObjectRef, _: Severity, reason: String, _: String, note: String) {
        self.push(Asked::Event { reason, note });
    }
    fn log(&self, level: Level, message: String, fields: Vec<(String, String)>) {
        self.push(Asked::Log { level, message, fields });
    }
    fn config(&self) -> String {
        r#"{"colour":"blue"}"#.into()
    }
    fn now(&self) -> Timestamp {
        Timestamp {
            seconds: 1_800_000_000,
            nanoseconds: 42_000,
        }
    }
    fn random(&self, count: u32) -> Vec<u8> {
        let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        (0..count)
            .map(|_| {
                *drawn = drawn.wrapping_mul(5).wrapping_add(3);
                *drawn
            })
            .collect()
    }
    fn attempt(&self) -> u32 {
        3
    }
    fn trace_parent(&self) -> Option<String> {
        Some("00-aa-bb-01".into())
    }
}
