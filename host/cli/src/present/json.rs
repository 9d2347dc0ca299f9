//! The form for machines: one JSON object a line. Fields are only ever added.

use std::{borrow::Cow, fmt::Write as _, time::Duration};

use jiff::Timestamp;
use pilothouse_controller::{Cause, Happening, Other, Reconciled, What, WriteEnd, Written};
use pilothouse_object::{Gvk, Key, escape_control};
use serde_json::{Map, Value, json};

use super::{Moment, Note, level_name};

/// A value as one line.
pub(crate) fn json_line(value: &Value) -> String {
    let mut line = harmless(&value.to_string());
    line.push('\n');
    line
}

/// JSON text in which characters that could steer a terminal stand as JSON escapes, which mean the same. Line breaks
/// stay: as themselves they stand between values only.
pub(crate) fn harmless(json: &str) -> String {
    let mut out = String::with_capacity(json.len() + 1);
    let mut buffer = [0u8; 4];
    for c in json.chars() {
        if c == '\n' || matches!(escape_control(c.encode_utf8(&mut buffer)), Cow::Borrowed(_)) {
            out.push(c);
        } else {
            // What must be escaped lies in the basic plane. Writing to a String can't fail.
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        }
    }
    out
}

fn event(at: Moment, event: &str) -> Map<String, Value> {
    let time = i64::try_from(at.wall.as_micros())
        .ok()
        .and_then(|micros| Timestamp::from_microsecond(micros).ok())
        .map(|time| format!("{time:.6}"));
    let mut map = Map::new();
    map.insert("time".into(), time.into());
    map.insert("event".into(), event.into());
    map
}

/// None for what this version has no form for.
pub(super) fn happening(at: Moment, happening: &Happening) -> Option<Value> {
    let map = match happening {
        Happening::Started { id } => {
            let mut map = event(at, "started");
            map.insert("plugin".into(), (*id.plugin).into());
            map.insert("controller".into(), (*id.controller).into());
            map
        }
        Happening::Swapped { before, now } => {
            let mut map = event(at, "swapped");
            map.insert("plugin".into(), (*now.name).into());
            map.insert("version".into(), now.manifest.version.as_str().into());
            map.insert("module".into(), now.hash.to_string().into());
            map.insert("configuration".into(), now.configuration.to_string().into());
            map.insert("moduleBefore".into(), before.hash.to_string().into());
            map
        }
        Happening::Unloaded { plugin } => {
            let mut map = event(at, "unloaded");
            map.insert("plugin".into(), (**plugin).into());
            map
        }
        Happening::HotLoop(found) => {
            let mut map = event(at, "hotLoop");
            map.insert("plugin".into(), (*found.id.plugin).into());
            map.insert("controller".into(), (*found.id.controller).into());
            insert_key(&mut map, &found.key);
            let mut object = Map::new();
            insert_kind(&mut object, &found.kind);
            insert_key(&mut object, &found.object);
            map.insert("object".into(), Value::Object(object));
            map.insert("fields".into(), found.fields.as_slice().into());
            let (other, manager) = match &found.other {
                Other::Itself => ("itself", None),
                Other::Manager(manager) => ("manager", Some(manager.as_str())),
                Other::Unknown => ("unknown", None),
            };
            map.insert("other".into(), other.into());
            map.insert("otherManager".into(), manager.into());
            map.insert("message".into(), found.to_string().into());
            map
        }
        Happening::Logged {
            id,
            key,
            level,
            message,
            fields,
        } => {
            let mut map = event(at, "log");
            map.insert("plugin".into(), (*id.plugin).into());
            map.insert("controller".into(), (*id.controller).into());
            insert_key(&mut map, key);
            map.insert("level".into(), level_name(*level).into());
            map.insert("message".into(), message.as_str().into());
            // An object of their own: a plugin's fields never shadow the host's.
            let fields = fields
                .iter()
                .map(|(name, value)| (name.clone(), value.as_str().into()))
                .collect();
            map.insert("fields".into(), Value::Object(fields));
            map
        }
        Happening::Reconciled(run) => reconciled(at, run),
        _ => return None,
    };
    Some(Value::Object(map))
}

fn reconciled(at: Moment, run: &Reconciled) -> Map<String, Value> {
    let mut map = event(at, "reconciled");
    map.insert("plugin".into(), (*run.id.plugin).into());
    map.insert("controller".into(), (*run.id.controller).into());
    insert_kind(&mut map, &run.kind);
    insert_key(&mut map, &run.key);
    map.insert(
        "resourceVersion".into(),
        run.version.as_ref().map(|version| version.as_str()).into(),
    );
    map.insert("attempt".into(), run.attempt.into());
    let (result, error) = match &run.result {
        Ok(Ok(outcome)) => {
            if let Some(note) = &outcome.note {
                map.insert("note".into(), note.as_str().into());
            }
            (
                if outcome.requeue_after_ms.is_some() {
                    "requeue_after"
                } else {
                    "success"
                },
                None,
            )
        }
        Ok(Err(failure)) => (
            "error",
            Some(json!({"reason": failure.reason, "message": failure.message})),
        ),
        Err(error) => (
            "error",
            Some(json!({"reason": error.kind(), "message": error.to_string()})),
        ),
    };
    map.insert("result".into(), result.into());
    if let Some(error) = error {
        map.insert("error".into(), error);
    }
    map.insert("againAfterMs".into(), run.again_after.map(millis).into());
    map.insert("parked".into(), run.parked.into());
    map.insert("wallMs".into(), fine_millis(run.wall));
    map.insert("cpuMs".into(), fine_millis(run.cpu));
    map.insert("causes".into(), run.causes.iter().map(chain).collect());
    map.insert("causesOmitted".into(), run.causes_omitted.into());
    map.insert("writes".into(), run.writes.iter().map(written).collect());
    map
}

/// A chain of causes, nearest first.
fn chain(cause: &Cause) -> Value {
    cause.chain().map(|cause| what(&cause.what)).collect()
}

fn what(what: &What) -> Value {
    let mut map = Map::new();
    match what {
        What::Changed {
            kind,
            key,
            change,
            version,
            via,
            writer,
        } => {
            map.insert("what".into(), change.as_str().into());
            insert_kind(&mut map, kind);
            insert_key(&mut map, key);
            map.insert("resourceVersion".into(), version.as_str().into());
            map.insert("via".into(), (**via).into());
            if let Some(writer) = writer {
                map.insert("writer".into(), (**writer).into());
            }
        }
        What::Resync => {
            map.insert("what".into(), "resync".into());
        }
        What::Woken { by } => {
            map.insert("what".into(), "woken".into());
            map.insert("by".into(), by.as_str().into());
        }
        What::Requeue { after } => {
            map.insert("what".into(), "requeue".into());
            map.insert("afterMs".into(), millis(*after).into());
        }
        What::Retry { failures, reason } => {
            map.insert("what".into(), "retry".into());
            map.insert("failures".into(), (*failures).into());
            map.insert("reason".into(), (**reason).into());
        }
    }
    Value::Object(map)
}

fn written(write: &Written) -> Value {
    let mut map = Map::new();
    map.insert("what".into(), write.verb.past().into());
    insert_kind(&mut map, &write.kind);
    insert_key(&mut map, &write.key);
    if let Some(subresource) = &write.subresource {
        map.insert("subresource".into(), (**subresource).into());
    }
    map.insert("paths".into(), write.paths.as_slice().into());
    let (end, message) = match &write.end {
        WriteEnd::Done(version) => {
            if let Some(version) = version {
                map.insert("resourceVersion".into(), version.as_str().into());
            }
            ("done", None)
        }
        WriteEnd::Refused(why) => ("refused", Some(why)),
        WriteEnd::Unknown(why) => ("unknown", Some(why)),
        WriteEnd::DryRun => ("dryRun", None),
        WriteEnd::Repeated(version) => {
            map.insert("resourceVersion".into(), version.as_str().into());
            ("repeated", None)
        }
    };
    map.insert("end".into(), end.into());
    if let Some(message) = message {
        map.insert("message".into(), message.as_str().into());
    }
    Value::Object(map)
}

pub(super) fn note(at: Moment, note: &Note<'_>) -> Value {
    let map = match note {
        Note::Serving { server, kubeconfig } => {
            let mut map = event(at, "serving");
            map.insert("server".into(), (*server).into());
            map.insert("kubeconfig".into(), kubeconfig.display().to_string().into());
            map
        }
        Note::Using { server, source } => {
            let mut map = event(at, "using");
            map.insert("server".into(), (*server).into());
            map.insert("source".into(), (*source).into());
            map
        }
        Note::Loaded {
            plugin, version, asked, ..
        } => {
            let mut map = event(at, "loaded");
            map.insert("plugin".into(), (*plugin).into());
            map.insert("version".into(), (*version).into());
            map.insert("grantedAsAsked".into(), asked.is_some().into());
            map
        }
        Note::Applied { done, kind, key, file } => {
            let mut map = event(at, "applied");
            map.insert("done".into(), (*done).into());
            insert_kind(&mut map, kind);
            insert_key(&mut map, key);
            map.insert("file".into(), file.display().to_string().into());
            map
        }
        Note::Ready => event(at, "ready"),
        Note::Settled => event(at, "settled"),
        Note::Stopping { why } => {
            let mut map = event(at, "stopping");
            map.insert("why".into(), (*why).into());
            map
        }
        Note::Lost { pieces } => {
            let mut map = event(at, "lost");
            map.insert("pieces".into(), (*pieces).into());
            map
        }
    };
    Value::Object(map)
}

fn insert_kind(map: &mut Map<String, Value>, kind: &Gvk) {
    map.insert("apiVersion".into(), kind.api_version().into());
    map.insert("kind".into(), (*kind.kind).into());
}

fn insert_key(map: &mut Map<String, Value>, key: &Key) {
    if let Some(namespace) = &key.namespace {
        map.insert("namespace".into(), (**namespace).into());
    }
    map.insert("name".into(), (*key.name).into());
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds to the microsecond.
fn fine_millis(duration: Duration) -> Value {
    (duration.as_micros() as f64 / 1_000.0).into()
}
