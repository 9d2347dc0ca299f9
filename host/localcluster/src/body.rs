//! JSON from outside: parsed once, with the keys that stood there twice.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// How many doubled keys are told apart; the rest is not listed.
const MAX_DUPLICATES: usize = 64;

/// A JSON value and what was odd about its text.
#[derive(Debug)]
pub(crate) struct Decoded {
    /// The value; of a doubled key the last occurrence.
    pub(crate) value: Value,
    /// The paths of doubled keys, e.g. `spec.size`.
    pub(crate) duplicates: Vec<String>,
}

/// Parses a whole body. Nesting beyond 128 levels is an error, as is anything after the value.
pub(crate) fn parse(bytes: &[u8]) -> Result<Decoded, serde_json::Error> {
    let mut state = State {
        path: String::new(),
        duplicates: Vec::new(),
    };
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Node(&mut state).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(Decoded {
        value,
        duplicates: state.duplicates,
    })
}

/// Why a body is no JSON, in the words of real servers where it just ends.
pub(crate) fn why(error: &serde_json::Error) -> String {
    if error.is_eof() {
        "unexpected end of JSON input".to_owned()
    } else {
        error.to_string()
    }
}

struct State {
    path: String,
    duplicates: Vec<String>,
}

struct Node<'a>(&'a mut State);

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        let length = self.0.path.len();
        loop {
            self.0.path.push_str(&format!("[{}]", items.len()));
            let item = access.next_element_seed(Node(self.0))?;
            self.0.path.truncate(length);
            match item {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        let length = self.0.path.len();
        while let Some(key) = access.next_key::<String>()? {
            if length > 0 {
                self.0.path.push('.');
            }
            self.0.path.push_str(&key);
            if map.contains_key(&key) && self.0.duplicates.len() < MAX_DUPLICATES {
                self.0.duplicates.push(self.0.path.clone());
            }
            let value = access.next_value_seed(Node(self.0))?;
            self.0.path.truncate(length);
            map.insert(key, value);
        }
        if self.0.path.len() != length {
            return Err(A::Error::custom("unbalanced path"));
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_doubled_key_is_named_by_its_path_and_the_last_one_wins() {
        let decoded = parse(br#"{"spec":{"a":[{"b":1,"b":2}],"a":[]},"spec2":1}"#).unwrap();
        assert_eq!(decoded.value, json!({"spec": {"a": []}, "spec2": 1}));
        assert_eq!(decoded.duplicates, ["spec.a[0].b", "spec.a"]);
    }

    #[test]
    fn values_are_those_that_serde_json_reads() {
        for text in [
            "null",
            "[1,-2,3.5,1e3,18446744073709551615,\"\\u00e9\",true]",
            "{\"a\":{\"\":null}}",
        ] {
            assert_eq!(
                parse(text.as_bytes()).unwrap().value,
                serde_json::from_str::<Value>(text).unwrap()
            );
        }
    }

    #[test]
    fn text_that_is_no_json_or_nested_too_deeply_is_refused() {
        for bad in ["", "{", "{\"a\":1}x", "[1,]", "1e999", &"[".repeat(100_000)] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad:.10}");
        }
    }
}
