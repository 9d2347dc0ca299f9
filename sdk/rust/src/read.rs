//! Reading types from JSON text, with errors that name the field.
//!
//! The path is found after the fact, from the place in the text where serde_json gave up. Tracking it while reading
//! (as serde_path_to_error does) would make every plugin 80 KB larger.

use serde::de::DeserializeOwned;

/// What did not fit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Misfit {
    /// The path of the value: `spec.items[2].name`; empty for the whole.
    pub(crate) field: String,
    /// Why, without the place.
    pub(crate) why: String,
}

/// Reads a type from a JSON text.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, Misfit> {
    serde_json::from_str(text).map_err(|error| misfit(text, &error))
}

fn misfit(text: &str, error: &serde_json::Error) -> Misfit {
    let place = format!(" at line {} column {}", error.line(), error.column());
    let shown = error.to_string();
    let why = shown.strip_suffix(&place).unwrap_or(&shown).to_owned();
    let field = if error.is_data() {
        path_at(text, offset(text, error.line(), error.column()))
    } else {
        String::new()
    };
    Misfit { field, why }
}

fn offset(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text
        .split_inclusive('\n')
        .take(line.saturating_sub(1))
        .map(str::len)
        .sum();
    before + column
}

/// The path of the innermost value (or key) that begins or ends at `offset`, or stands around it. The text is sound up to
/// there, since serde_json has read it.
fn path_at(text: &str, offset: usize) -> String {
    enum Step {
        Key(String),
        Index(usize),
    }
    let bytes = text.as_bytes();
    let mut steps: Vec<Step> = Vec::new();
    let mut at = 0;
    // Whether the next string is a key.
    let mut key_next = false;
    while let Some(byte) = bytes.get(at) {
        // A value that begins here is the one: serde_json looks before it takes lists and maps.
        if at >= offset && !matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b',' | b':' | b'}' | b']') {
            break;
        }
        match byte {
            b'"' => {
                let end = string_end(bytes, at);
                if key_next {
                    let key = serde_json::from_str(text.get(at..end).unwrap_or_default()).unwrap_or_default();
                    if let Some(Step::Key(last)) = steps.last_mut() {
                        *last = key;
                    }
                    key_next = false;
                }
                if end >= offset {
                    break;
                }
                at = end;
                continue;
            }
            b'{' => {
                steps.push(Step::Key(String::new()));
                key_next = true;
            }
            b'[' => steps.push(Step::Index(0)),
            b'}' | b']' => {
                steps.pop();
                key_next = false;
                if at + 1 >= offset {
                    break;
                }
            }
            b',' => match steps.last_mut() {
                Some(Step::Index(index)) => *index += 1,
                Some(Step::Key(_)) => key_next = true,
                None => {}
            },
            b' ' | b'\t' | b'\n' | b'\r' | b':' => {}
            _ => {
                // A number or a word.
                let length = bytes[at..]
                    .iter()
                    .take_while(|byte| !b",]} \t\r\n".contains(byte))
                    .count();
                if at + length >= offset {
                    break;
                }
                at += length;
                continue;
            }
        }
        at += 1;
    }
    let mut path = String::new();
    for step in steps {
        match step {
            Step::Index(index) => path.push_str(&format!("[{index}]")),
            Step::Key(key)
                if key
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-') =>
            {
                if !path.is_empty() && !key.is_empty() {
                    path.push('.');
                }
                path.push_str(&key);
            }
            Step::Key(key) => path.push_str(&format!("['{key}']")),
        }
    }
    path
}

/// Behind the quote that ends a string that begins at `start`.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only read")]
    struct Whole {
        #[serde(default)]
        name: String,
        #[serde(default)]
        items: Vec<Item>,
        #[serde(default)]
        labels: BTreeMap<String, u8>,
        #[serde(default)]
        mode: Option<Mode>,
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "only read")]
    struct Item {
        size: u8,
        #[serde(default)]
        inner: Option<Box<Item>>,
    }

    #[derive(Debug, Deserialize)]
    enum Mode {
        Fast,
    }

    fn field(text: &str) -> String {
        read::<Whole>(text).unwrap_err().field
    }

    #[test]
    fn the_field_that_does_not_fit_is_named() {
        for (text, path) in [
            (r#"{"name": 5}"#, "name"),
            (r#"{"name":5}"#, "name"),
            (r#"{"name":{"a":1}}"#, "name"),
            (r#"{"name":["a"]}"#, "name"),
            (r#"{"name":null}"#, "name"),
            (r#"{"name":"n","items":"x"}"#, "items"),
            (r#"{"items":[{"size":1},{"size":"2"}]}"#, "items[1].size"),
            (r#"{"items":[{"size":1}, 7]}"#, "items[1]"),
            (
                "{\n  \"items\": [\n    {\"size\": 1, \"inner\": {\"size\": 300}}\n  ]\n}",
                "items[0].inner.size",
            ),
            (r#"{"labels":{"a/b":"c"}}"#, "labels['a/b']"),
            (r#"{"labels":{"q\"}":"c"}}"#, "labels['q\"}']"),
            (r#"{"mode":"Slow"}"#, "mode"),
            (r#"{"name":"n","typo":1}"#, "typo"),
            (r#"[1]"#, "[0]"),
            (r#"7"#, ""),
        ] {
            assert_eq!(field(text), path, "{text}");
        }
    }

    #[test]
    fn of_a_missing_field_the_object_is_named() {
        let misfit = read::<Whole>(r#"{"items":[{"size":1},{"inner":{"size":1}}],"name":"x"}"#).unwrap_err();
        assert_eq!(
            (misfit.field.as_str(), misfit.why.as_str()),
            ("items[1]", "missing field `size`")
        );
    }

    #[test]
    fn what_is_no_json_has_no_path_but_a_place() {
        let misfit = read::<Whole>("{\"name\": \"x\"").unwrap_err();
        assert_eq!(misfit.field, "");
        assert!(misfit.why.contains("EOF"), "{}", misfit.why);
    }

    #[test]
    fn no_text_makes_the_search_for_a_path_panic() {
        for text in [
            "",
            "\"",
            "\"\\",
            "{\"ä\":[ö",
            "}}]]",
            ",,,",
            "{\"a\":{\"b\":[1,2,{\"c\":\"ü\\",
        ] {
            for offset in 0..text.len() + 3 {
                path_at(text, offset);
            }
        }
    }
}
