//! The file of parked keys as text: a JSON object a line, so that people can read it with what they have (`less`,
//! `grep`, `jq`).
//!
//! The first line names the form, then come the windows with what was heard of, then the keys, then a count. Reading
//! takes all of it or nothing: half a list would be another list. Control characters are escaped, so that showing the
//! file does a terminal no harm.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
    time::Duration,
};

use pilothouse_object::{Gvk, Key, Version, check_path_segment, escape_control, shorten};
use pilothouse_workqueue::{Failure, MAX_ERROR, MAX_ERRORS, MAX_REASON};
use serde::{Deserialize, Serialize};

use super::{Kept, MAX_PARTS, Record, Stood};
use crate::ControllerId;

/// The file may be this long, in bytes.
pub const MAX_BYTES: usize = 16 << 20;

/// It may hold so many keys.
pub const MAX_KEYS: usize = 10_000;

/// Bytes that may say what was heard of: a quarter, so that the keys have room.
const MAX_HEARD_BYTES: usize = MAX_BYTES / 4;

/// Kept for the last line.
const END_BYTES: usize = 64;

/// Bytes of uids, versions, hashes and names of kinds, none of which is longer.
const MAX_NAME: usize = 512;

/// The form that is written, and the only one that is read.
const FORM: &str = "parked-keys/v1";

const NOTE: &str =
    "Kept by `pilothouse run` over restarts. Without this file every key here is tried again at the start.";

/// Why a text is no list of parked keys. Nothing of it is taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is longer than [`MAX_BYTES`].
    #[error("it is longer than {MAX_BYTES} bytes")]
    TooLong,
    /// Its end is missing.
    #[error("its end is missing: it was cut")]
    Cut,
    /// It is of another form: another version of pilothouse wrote it, or another program.
    #[error("it is of the form `{0}`, and this host reads `{FORM}`")]
    Foreign(String),
    /// A line is wrong.
    #[error("line {line}: {why}")]
    Wrong {
        /// Which, from 1.
        line: usize,
        /// What is wrong; escaped.
        why: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    pilothouse: String,
    written: String,
    note: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Line {
    Heard(HeardLine),
    Key(Box<KeyLine>),
    End { keys: usize },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct HeardLine {
    plugin: String,
    controller: String,
    window: String,
    /// By namespace; empty for what lives in none.
    versions: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct KeyLine {
    plugin: String,
    controller: String,
    api_version: String,
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    name: String,
    /// Both, or neither: there was no object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resource_version: Option<String>,
    since: String,
    attempts: u32,
    reason: String,
    module: String,
    configuration: String,
    errors: Vec<ErrorLine>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ErrorLine {
    at: String,
    attempt: u32,
    reason: String,
}

/// The text, and how many keys are not in it: those that had no room, the last of `kept`, and those that nobody would
/// read again, for a name or a version that is too long. One of these must not cost all others their place.
pub(crate) fn write(kept: &Kept, now: Duration) -> (String, usize) {
    let mut text = String::new();
    let header = Header {
        pilothouse: FORM.to_owned(),
        written: stamp(now),
        note: NOTE.to_owned(),
    };
    push(&mut text, &header, MAX_BYTES);
    for (id, heard) in &kept.heard {
        for (window, versions) in &heard.windows {
            let named = |(namespace, version): (&Arc<str>, &Version)| (namespace.to_string(), version.to_string());
            let line = || HeardLine {
                plugin: id.plugin.to_string(),
                controller: id.controller.to_string(),
                window: window.to_string(),
                versions: versions.iter().map(named).collect(),
            };
            // One that is not read again or has no room: what comes through this window counts as changed.
            if self::heard(line(), &mut Kept::default()).is_ok() {
                push(&mut text, &Line::Heard(line()), MAX_HEARD_BYTES);
            }
        }
    }
    let mut keys = 0;
    let readable = |record: &&Record| self::record(key_line(record)).is_ok();
    for record in kept.records.iter().filter(readable).take(MAX_KEYS) {
        if !push(&mut text, &Line::Key(Box::new(key_line(record))), MAX_BYTES - END_BYTES) {
            break;
        }
        keys += 1;
    }
    push(&mut text, &Line::End { keys }, MAX_BYTES);
    (text, kept.no_room + kept.records.len() - keys)
}

fn key_line(record: &Record) -> KeyLine {
    let error = |error: &Failure| ErrorLine {
        at: stamp(error.at),
        attempt: error.attempt,
        reason: error.reason.to_string(),
    };
    KeyLine {
        plugin: record.id.plugin.to_string(),
        controller: record.id.controller.to_string(),
        api_version: record.kind.api_version(),
        kind: record.kind.kind.to_string(),
        namespace: record.key.namespace.as_deref().map(str::to_owned),
        name: record.key.name.to_string(),
        uid: record.object.as_ref().map(|object| object.uid.to_string()),
        resource_version: record.object.as_ref().map(|object| object.version.to_string()),
        since: stamp(record.since),
        attempts: record.attempts,
        reason: record.reason.clone(),
        module: record.module.to_string(),
        configuration: record.configuration.to_string(),
        errors: record.errors.iter().map(error).collect(),
    }
}

/// Appends a line, unless the text would grow beyond `most` bytes.
fn push(text: &mut String, line: &impl Serialize, most: usize) -> bool {
    let Ok(json) = serde_json::to_string(line) else {
        // Can't be: texts, numbers and maps of texts.
        return false;
    };
    let json = escaped(&json);
    let fits = text.len() + json.len() < most;
    if fits {
        text.push_str(&json);
        text.push('\n');
    }
    fits
}

/// JSON's own escapes leave DEL, the second set of control characters and the marks that turn text around as they are.
/// They can stand within texts alone, where `\u` means them too.
fn escaped(json: &str) -> Cow<'_, str> {
    // None of them is ASCII but DEL: JSON escapes the others itself.
    let odd = |c: char| {
        c == '\u{7f}' || (!c.is_ascii() && matches!(escape_control(c.encode_utf8(&mut [0; 4])), Cow::Owned(_)))
    };
    if !json.chars().any(odd) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if odd(c) {
            // All of them lie below U+10000: four digits are enough. Writing to a String can't fail.
            let _ = write!(out, "\\u{:04x}", c as u32);
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// To the millisecond, which is what people read.
fn stamp(time: Duration) -> String {
    let whole = i64::try_from(time.as_millis()).map(jiff::Timestamp::from_millisecond);
    match whole {
        Ok(Ok(time)) => time.to_string(),
        _ => jiff::Timestamp::MAX.to_string(),
    }
}

fn time(text: &str) -> Result<Duration, String> {
    let time: jiff::Timestamp = text.parse().map_err(|_| format!("`{}` is no time", shown(text)))?;
    Duration::try_from(time.as_duration()).map_err(|_| format!("`{}` is before 1970", shown(text)))
}

fn shown(text: &str) -> String {
    escape_control(&shorten(text, 64)).into_owned()
}

/// Reads what [`write`] wrote.
pub(crate) fn read(text: &[u8]) -> Result<Kept, Refused> {
    if text.len() > MAX_BYTES {
        return Err(Refused::TooLong);
    }
    let wrong = |line: usize, why: &str| Refused::Wrong {
        line,
        why: escape_control(&shorten(why, 200)).into_owned(),
    };
    let text = std::str::from_utf8(text).map_err(|_| wrong(1, "it is no UTF-8 text"))?;
    let mut lines = text.lines().enumerate();
    let header: Header = match lines.next() {
        None => return Err(Refused::Cut),
        Some((_, line)) => serde_json::from_str(line).map_err(|error| wrong(1, &error.to_string()))?,
    };
    if header.pilothouse != FORM {
        return Err(Refused::Foreign(shown(&header.pilothouse)));
    }
    let (mut kept, mut known, mut end) = (Kept::default(), BTreeSet::new(), None);
    for (at, line) in lines {
        let at = at + 1;
        if end.is_some() {
            return Err(wrong(at, "something follows the end"));
        }
        match serde_json::from_str(line).map_err(|error| wrong(at, &error.to_string()))? {
            Line::Heard(line) => heard(line, &mut kept).map_err(|why| wrong(at, &why))?,
            Line::Key(line) => {
                let record = record(*line).map_err(|why| wrong(at, &why))?;
                if kept.records.len() == MAX_KEYS {
                    return Err(wrong(at, "there are more keys than a host keeps"));
                }
                if !known.insert((record.id.clone(), record.key.clone())) {
                    return Err(wrong(at, "the key stands there twice"));
                }
                kept.records.push(record);
            }
            Line::End { keys } => end = Some(keys),
        }
    }
    match end {
        Some(keys) if keys == kept.records.len() && text.ends_with('\n') => Ok(kept),
        _ => Err(Refused::Cut),
    }
}

fn heard(line: HeardLine, kept: &mut Kept) -> Result<(), String> {
    let id = id(&line.plugin, &line.controller)?;
    let heard = kept.heard.entry(id).or_default();
    if heard.parts + line.versions.len() > MAX_PARTS {
        return Err("it names more namespaces than a host remembers".to_owned());
    }
    let window = bounded("window", &line.window, 4 * MAX_NAME)?;
    for (namespace, version) in &line.versions {
        let namespace: Arc<str> = bounded("namespace", namespace, MAX_NAME)?;
        let version = Version::new(&bounded("version", version, MAX_NAME)?);
        heard.hear(&window, Some(&namespace), &version);
    }
    Ok(())
}

fn record(line: KeyLine) -> Result<Record, String> {
    for name in line.namespace.iter().chain([&line.name]) {
        check_path_segment(name).map_err(|error| error.to_string())?;
    }
    let object = match (&line.uid, &line.resource_version) {
        (None, None) => None,
        (Some(uid), Some(version)) => Some(Stood {
            uid: bounded("uid", uid, MAX_NAME)?,
            version: Version::new(&bounded("resourceVersion", version, MAX_NAME)?),
        }),
        _ => return Err("uid and resourceVersion come together".to_owned()),
    };
    if line.errors.len() > MAX_ERRORS {
        return Err(format!("there are more than {MAX_ERRORS} errors"));
    }
    let errors = line.errors.into_iter().map(|error| {
        Ok(Failure {
            at: time(&error.at)?,
            attempt: error.attempt,
            reason: bounded("an error's reason", &error.reason, MAX_ERROR)?,
        })
    });
    bounded("apiVersion", &line.api_version, MAX_NAME)?;
    bounded("kind", &line.kind, MAX_NAME)?;
    Ok(Record {
        id: id(&line.plugin, &line.controller)?,
        kind: Gvk::from_api_version(&line.api_version, &line.kind),
        key: Key::new(line.namespace.as_deref(), &line.name),
        object,
        module: bounded("module", &line.module, MAX_NAME)?,
        configuration: bounded("configuration", &line.configuration, MAX_NAME)?,
        since: time(&line.since)?,
        attempts: line.attempts,
        reason: bounded("reason", &line.reason, MAX_REASON)?.to_string(),
        errors: errors.collect::<Result<_, String>>()?,
    })
}

fn id(plugin: &str, controller: &str) -> Result<ControllerId, String> {
    bounded("plugin", plugin, MAX_NAME)?;
    bounded("controller", controller, MAX_NAME)?;
    Ok(ControllerId::new(plugin, controller))
}

fn bounded(what: &str, text: &str, most: usize) -> Result<Arc<str>, String> {
    if text.len() > most {
        return Err(format!("{what} is longer than {most} bytes"));
    }
    Ok(text.into())
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
