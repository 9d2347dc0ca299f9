//! Small objects for this crate's tests.

use pilothouse_object::{Gvk, Keep, Object};

pub(crate) fn gvk() -> Gvk {
    Gvk::new("ex.io", "v1", "Widget")
}

/// The JSON of a widget; an empty namespace means none, an empty label none.
pub(crate) fn json(namespace: &str, name: &str, uid: &str, version: u64, label: (&str, &str), color: &str) -> String {
    let namespace = match namespace {
        "" => String::new(),
        namespace => format!(r#""namespace":"{namespace}","#),
    };
    let labels = match label {
        ("", _) => String::new(),
        (key, value) => format!(r#","labels":{{"{key}":"{value}"}}"#),
    };
    format!(
        r#"{{"apiVersion":"ex.io/v1","kind":"Widget","metadata":{{{namespace}"name":"{name}","uid":"{uid}","resourceVersion":"{version}"{labels}}},"spec":{{"color":"{color}"}}}}"#
    )
}

pub(crate) fn parse(json: &str) -> Object {
    Object::parse(json.as_bytes(), Some(&gvk()), Keep::Cut).unwrap()
}

pub(crate) fn object(namespace: &str, name: &str, uid: &str, version: u64) -> Object {
    parse(&json(namespace, name, uid, version, ("", ""), "red"))
}

pub(crate) fn labelled(namespace: &str, name: &str, uid: &str, version: u64, key: &str, value: &str) -> Object {
    parse(&json(namespace, name, uid, version, (key, value), "red"))
}

pub(crate) fn colored(namespace: &str, name: &str, uid: &str, version: u64, color: &str) -> Object {
    parse(&json(namespace, name, uid, version, ("", ""), color))
}

/// Writes down what it hears: `+a/x@1`, `~a/x@2`, `-a/x@3` (with a `?` where the final state is unknown, and `!` before
/// what is initial), `synced`.
#[derive(Default)]
pub(crate) struct Recorder(std::sync::Mutex<Vec<String>>);

impl Recorder {
    pub(crate) fn new() -> std::sync::Arc<Self> {
        std::sync::Arc::default()
    }

    /// What was heard since the last time.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

impl crate::Handler for Recorder {
    fn deltas(&self, deltas: &[crate::Delta]) {
        assert!(!deltas.is_empty());
        for delta in deltas {
            let sign = match (&delta.old, &delta.new) {
                (None, Some(_)) => '+',
                (Some(_), Some(_)) => '~',
                (Some(_), None) => '-',
                (None, None) => panic!("nothing came and nothing went"),
            };
            let initial = if delta.initial { "!" } else { "" };
            let unknown = if delta.final_state_unknown { "?" } else { "" };
            self.0
                .lock()
                .unwrap()
                .push(format!("{initial}{sign}{}@{}{unknown}", delta.key, delta.version));
        }
    }

    fn synced(&self) {
        self.0.lock().unwrap().push("synced".to_owned());
    }
}
