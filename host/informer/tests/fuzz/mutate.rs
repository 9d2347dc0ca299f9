//! Changes answers: as JSON, which stays valid, and as bytes, which mostly breaks it.

use fastrand::Rng;
use serde_json::{Map, Value, json};

/// What readers of JSON stumble over.
const TOKENS: [&str; 24] = [
    "{",
    "}",
    "[",
    "]",
    "\"",
    "\\",
    ",",
    ":",
    "\n",
    "\r\n",
    " ",
    "\u{0}",
    "null",
    "true",
    "-0",
    "1e999",
    "\"\\u0000\"",
    "\\ud800",
    "{}",
    "[]",
    "\"items\":",
    "\"metadata\":",
    "\u{feff}",
    "}\n{",
];

fn bytes(text: &[u8], other: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut out = text.to_vec();
    for _ in 0..rng.usize(1..6) {
        let at = rng.usize(..=out.len());
        let end = (at + rng.usize(..200)).min(out.len());
        match rng.u8(..8) {
            0 if at < out.len() => out[at] = rng.u8(..),
            1 if at < out.len() => out[at] ^= 1 << rng.u8(..8),
            2 => {
                let token = TOKENS[rng.usize(..TOKENS.len())];
                out.splice(at..at, token.bytes());
            }
            3 => {
                out.drain(at..end);
            }
            4 => {
                let again = out[at..end].to_vec();
                out.splice(at..at, again);
            }
            5 => {
                let from = rng.usize(..other.len());
                let to = (from + rng.usize(..200)).min(other.len());
                out.splice(at..end, other[from..to].iter().copied());
            }
            6 => out.truncate(at),
            _ => {
                let open: &str = rng.choice(["[", "{\"a\":", "\"", "\\", " "]).unwrap();
                out.splice(at..at, open.repeat(rng.usize(..300)).into_bytes());
            }
        }
    }
    out
}

/// Some value that stands where another one is expected.
fn odd(rng: &mut Rng) -> Value {
    match rng.u8(..14) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(rng.i64(..)),
        3 => json!(rng.f64()),
        4 => json!(""),
        5 => json!([]),
        6 => json!({}),
        7 => json!("}]\"\\{[\n\u{0}é\u{1f600}"),
        8 => json!([1, "a", null]),
        9 => json!({"a": {"b": [{}]}}),
        10 => json!("x".repeat(rng.usize(..2_000))),
        11 => json!(rng.u64(..100).to_string()),
        12 => json!("a/b"),
        _ => {
            let mut deep = Value::Null;
            for _ in 0..rng.usize(..160) {
                deep = if rng.bool() {
                    json!([deep])
                } else {
                    json!({ "a": deep })
                };
            }
            deep
        }
    }
}

/// Names that mean something somewhere.
const NAMES: [&str; 14] = [
    "items",
    "metadata",
    "resourceVersion",
    "continue",
    "kind",
    "apiVersion",
    "name",
    "namespace",
    "uid",
    "labels",
    "annotations",
    "type",
    "object",
    "spec",
];

/// Changes one place of a tree.
fn tree(value: &mut Value, rng: &mut Rng) {
    // Downwards for some steps, then something happens.
    match value {
        Value::Object(map) if !map.is_empty() && rng.u8(..4) > 0 => {
            let at = rng.usize(..map.len());
            let name = map.keys().nth(at).cloned().unwrap_or_default();
            match rng.u8(..12) {
                0 => {
                    map.remove(&name);
                }
                1 => {
                    map.insert((*rng.choice(NAMES).unwrap()).to_owned(), odd(rng));
                }
                2 => {
                    let value = map.remove(&name).unwrap_or_default();
                    map.insert((*rng.choice(NAMES).unwrap()).to_owned(), value);
                }
                _ => tree(&mut map[&name], rng),
            }
        }
        Value::Array(all) if !all.is_empty() && rng.u8(..4) > 0 => {
            let at = rng.usize(..all.len());
            match rng.u8(..8) {
                0 => {
                    all.remove(at);
                }
                1 => {
                    let again = all[at].clone();
                    all.push(again);
                }
                2 => all.insert(at, odd(rng)),
                3 => all.swap(0, at),
                _ => tree(&mut all[at], rng),
            }
        }
        _ => *value = odd(rng),
    }
}

/// JSON in some other of its writings: members in any order, space anywhere, letters escaped or not.
fn write(value: &Value, rng: &mut Rng, out: &mut String) {
    let space = |rng: &mut Rng, out: &mut String| {
        if rng.u8(..12) == 0 {
            out.push_str(rng.choice([" ", "\t", "  ", "\r"]).unwrap());
        }
    };
    space(rng, out);
    match value {
        Value::Object(map) => {
            out.push('{');
            let mut members: Vec<_> = map.iter().collect();
            if rng.bool() {
                rng.shuffle(&mut members);
            }
            for (i, (name, value)) in members.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                space(rng, out);
                out.push_str(&Value::from(name.as_str()).to_string());
                space(rng, out);
                out.push(':');
                write(value, rng, out);
            }
            out.push('}');
        }
        Value::Array(all) => {
            out.push('[');
            for (i, value) in all.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(value, rng, out);
            }
            out.push(']');
        }
        Value::String(text) if rng.u8(..10) == 0 => {
            out.push('"');
            for unit in text.encode_utf16() {
                out.push_str(&format!("\\u{unit:04x}"));
            }
            out.push('"');
        }
        other => out.push_str(&other.to_string()),
    }
    space(rng, out);
}

fn rewritten(text: &str, rng: &mut Rng) -> String {
    let mut value: Value = serde_json::from_str(text).unwrap_or(Value::Null);
    for _ in 0..rng.usize(..4) {
        tree(&mut value, rng);
    }
    let mut out = String::new();
    write(&value, rng, &mut out);
    out
}

/// An answer to a list.
pub(crate) fn list(text: &str, other: &str, rng: &mut Rng) -> Vec<u8> {
    match rng.u8(..5) {
        0 => bytes(text.as_bytes(), other.as_bytes(), rng),
        1 => bytes(rewritten(text, rng).as_bytes(), other.as_bytes(), rng),
        _ => rewritten(text, rng).into_bytes(),
    }
}

/// A stream of events.
pub(crate) fn watch(text: &str, other: &str, rng: &mut Rng) -> Vec<u8> {
    let lines: Vec<&str> = text.lines().collect();
    let mut out = String::new();
    for _ in 0..rng.usize(1..6) {
        // Whole objects more often than the rest.
        let line = match rng.u8(..3) {
            0 => lines[rng.usize(2..5)],
            _ => lines[rng.usize(..lines.len())],
        };
        let line = match rng.u8(..4) {
            0 => line.to_owned(),
            1 => {
                let mut event: Map<String, Value> = serde_json::from_str(line).unwrap_or_default();
                let kinds = ["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR", "added", ""];
                event.insert("type".to_owned(), (*rng.choice(kinds).unwrap()).into());
                Value::from(event).to_string()
            }
            _ => rewritten(line, rng),
        };
        out += &line;
        out += rng.choice(["\n", "\n", "\n", "\r\n", "\n\n", ""]).unwrap();
    }
    match rng.u8(..3) {
        0 => bytes(out.as_bytes(), other.as_bytes(), rng),
        _ => out.into_bytes(),
    }
}
