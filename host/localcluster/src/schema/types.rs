//! Typed decoding: what a server that reads built-in kinds into structs refuses with 400, and the nulls it drops.

use serde_json::{Map, Value};

use super::{int_or_string, join, preserves, resolve};

/// Holds the types in `value` against a built-in schema and drops nulls, as decoding into a struct does.
///
/// # Errors
/// What has the wrong type, in words for a person.
pub(crate) fn decode(value: &mut Value, schema: &Value, path: &str) -> Result<(), String> {
    let schema = resolve(schema);
    if preserves(schema) && schema.get("properties").is_none() {
        return Ok(());
    }
    if int_or_string(schema) {
        return match value {
            Value::Number(_) | Value::String(_) => Ok(()),
            other => Err(wrong(path, other, "a number or a string")),
        };
    }
    match (
        schema.get("type").and_then(Value::as_str).unwrap_or_default(),
        &mut *value,
    ) {
        ("object", Value::Object(map)) => {
            let of_texts = schema.pointer("/additionalProperties/type").and_then(Value::as_str) == Some("string");
            if of_texts {
                map.values_mut()
                    .filter(|member| member.is_null())
                    .for_each(|member| *member = "".into());
            } else {
                map.retain(|_, member| !member.is_null());
            }
            members(map, schema, path)
        }
        ("array", Value::Array(items)) => {
            let Some(schema) = schema.get("items") else {
                return Ok(());
            };
            items
                .iter_mut()
                .enumerate()
                .try_for_each(|(i, item)| decode(item, schema, &format!("{path}[{i}]")))
        }
        ("string", Value::String(text)) => match schema.get("format").and_then(Value::as_str) {
            Some("date-time") if !crate::clock::is_timestamp(text) => Err(format!(
                "{path}: parsing time {text:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse"
            )),
            Some("byte") => check_base64(text)
                .map_err(|at| format!("{path}: decode base64: illegal base64 data at input byte {at}")),
            _ => Ok(()),
        },
        ("integer", Value::Number(number)) => {
            let wide = schema.get("format").and_then(Value::as_str) != Some("int32");
            match number.as_i64() {
                Some(number) if wide || i32::try_from(number).is_ok() => Ok(()),
                _ => Err(format!("{path}: number {number} is out of range")),
            }
        }
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) | ("", _) => Ok(()),
        (expected, other) => Err(wrong(path, other, expected)),
    }
}

fn members(map: &mut Map<String, Value>, schema: &Value, path: &str) -> Result<(), String> {
    for (name, member) in map.iter_mut() {
        if let Some(schema) = super::member(schema, name) {
            decode(member, schema, &join(path, name))?;
        }
    }
    // Empty maps and lists are left out when a struct is written again; empty structs are not.
    map.retain(|name, member| {
        match (
            member,
            schema.get("properties").and_then(|properties| properties.get(name)),
        ) {
            (Value::Array(items), Some(_)) => !items.is_empty(),
            (Value::Object(map), Some(property)) => !map.is_empty() || property.get("additionalProperties").is_none(),
            _ => true,
        }
    });
    Ok(())
}

fn wrong(path: &str, value: &Value, expected: &str) -> String {
    format!(
        "json: cannot unmarshal {} into field {path} of type {expected}",
        name_of(value)
    )
}

/// What a JSON value is called.
pub(crate) fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() && number.as_f64().is_none_or(|float| float.fract() != 0.0) => {
            "number"
        }
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Whether a text is padded standard base64; if not, the offset where it goes wrong.
pub(crate) fn check_base64(text: &str) -> Result<(), usize> {
    let bytes: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b'\n' | b'\r')).collect();
    let padding = bytes.iter().rev().take(2).take_while(|byte| **byte == b'=').count();
    let data = &bytes[..bytes.len() - padding];
    if let Some(at) = data
        .iter()
        .position(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')))
    {
        return Err(at);
    }
    if bytes.len().is_multiple_of(4) {
        Ok(())
    } else {
        Err(data.len())
    }
}

/// Standard base64 with padding.
pub(crate) fn encode_base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or_default());
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4 {
            if i > chunk.len() {
                out.push('=');
            } else {
                out.push(char::from(ALPHABET[(group >> (18 - 6 * i) & 63) as usize]));
            }
        }
    }
    out
}

/// The bytes of unpadded URL-safe or standard base64; `None` when it is neither.
pub(crate) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() * 3 / 4);
    let (mut group, mut bits) = (0u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        group = group << 6 & 0xff_ffff | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((group >> bits & 0xff) as u8);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config_map(value: Value) -> Result<Value, String> {
        let mut value = value;
        let schema = super::super::definitions().get("io.k8s.api.core.v1.ConfigMap").unwrap();
        decode(&mut value, schema, "").map(|()| value)
    }

    #[test]
    fn wrong_types_are_told_with_their_place() {
        assert_eq!(
            config_map(json!({"data": {"a": 1}})).unwrap_err(),
            "json: cannot unmarshal integer into field data.a of type string"
        );
        assert!(config_map(json!({"metadata": {"labels": []}})).is_err());
        assert!(config_map(json!({"metadata": {"generation": 1.5}})).is_err());
        assert!(config_map(json!({"metadata": {"deletionTimestamp": "soon"}})).is_err());
        assert!(
            config_map(json!({"binaryData": {"a": "!!"}}))
                .unwrap_err()
                .contains("input byte 0")
        );
    }

    #[test]
    fn nulls_vanish_and_in_maps_of_texts_become_empty_texts() {
        assert_eq!(
            config_map(json!({"data": {"a": null}, "immutable": null})).unwrap(),
            json!({"data": {"a": ""}})
        );
    }

    #[test]
    fn empty_maps_and_lists_vanish_but_empty_structs_stay() {
        let mut pod =
            json!({"spec": {"nodeSelector": {}, "volumes": [{"name": "v", "emptyDir": {}}], "tolerations": []}});
        decode(
            &mut pod,
            super::super::definitions().get("io.k8s.api.core.v1.Pod").unwrap(),
            "",
        )
        .unwrap();
        assert_eq!(pod, json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}));
    }

    #[test]
    fn base64_goes_there_and_back() {
        for bytes in [&b""[..], b"f", b"fo", b"foo", b"\xff\xfe\xfd\xfc"] {
            let text = encode_base64(bytes);
            assert_eq!(check_base64(&text), Ok(()));
            assert_eq!(decode_base64(&text).unwrap(), bytes);
        }
        assert_eq!(encode_base64(b"hello"), "aGVsbG8=");
        assert_eq!(check_base64("a"), Err(1));
        assert_eq!(check_base64("a=bc"), Err(1));
        assert_eq!(decode_base64("a b"), None);
    }
}
