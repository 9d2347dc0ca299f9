//! Holding a value against a structural schema, with the errors of a real server.
//!
//! Formats known: `date-time`, `date`, `byte`, `ipv4`, `ipv6`, `uuid`, `int32`; others are not checked.
//! `x-kubernetes-validations` (CEL) is not evaluated.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::{Map, Value};

use super::types::{check_base64, name_of};
use super::{Patterns, flag, int_or_string, join, member, preserves, resolve};
use crate::status::{FieldError, Reason};

/// This many errors are told; checking stops there.
const MAX_ERRORS: usize = 64;

/// What is wrong with a value, each with its place below `path` (empty at the root).
pub(crate) fn validate(value: &Value, schema: &Value, patterns: &Patterns, path: &str) -> Vec<FieldError> {
    let mut check = Check {
        patterns,
        errors: Vec::new(),
    };
    check.node(value, schema, path, path.is_empty());
    check.errors
}

struct Check<'a> {
    patterns: &'a Patterns,
    errors: Vec<FieldError>,
}

impl Check<'_> {
    fn add(&mut self, error: FieldError) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(error);
        }
    }

    fn invalid(&mut self, path: &str, value: &Value, rule: String) {
        self.add(FieldError::invalid(path, value, format!("{path} in body {rule}")));
    }

    fn node(&mut self, value: &Value, schema: &Value, path: &str, root: bool) {
        if self.errors.len() >= MAX_ERRORS {
            return;
        }
        let schema = resolve(schema);
        if value.is_null() && (flag(schema, "nullable") || preserves(schema) && schema.get("type").is_none()) {
            return;
        }
        if !self.type_of(value, schema, path) {
            return;
        }
        self.one_of_values(value, schema, path);
        match value {
            Value::Object(map) => self.object(map, value, schema, path, root),
            Value::Array(items) => self.array(items, schema, path),
            Value::String(text) => self.string(text, value, schema, path),
            Value::Number(_) => self.number(value, schema, path),
            _ => {}
        }
        self.combinations(value, schema, path);
    }

    /// Whether the type is right; what follows makes no sense if it is not.
    fn type_of(&mut self, value: &Value, schema: &Value, path: &str) -> bool {
        let actual = name_of(value);
        if int_or_string(schema) {
            let good = matches!(actual, "integer" | "string");
            if !good {
                self.add(FieldError::wrong_type(path, path, "integer,string", actual));
            }
            return good;
        }
        let Some(expected) = schema.get("type").and_then(Value::as_str) else {
            return true;
        };
        let good = expected == actual || expected == "number" && actual == "integer";
        if !good {
            self.add(FieldError::wrong_type(path, path, expected, actual));
        }
        good
    }

    fn one_of_values(&mut self, value: &Value, schema: &Value, path: &str) {
        let Some(allowed) = schema.get("enum").and_then(Value::as_array) else {
            return;
        };
        if allowed.iter().any(|candidate| equal(candidate, value)) {
            return;
        }
        let list: Vec<String> = allowed.iter().map(Value::to_string).collect();
        self.add(FieldError {
            reason: Reason::NotSupported,
            message: format!("Unsupported value: {value}: supported values: {}", list.join(", ")),
            field: path.to_owned(),
        });
    }

    fn object(&mut self, map: &Map<String, Value>, value: &Value, schema: &Value, path: &str, root: bool) {
        for name in schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            if !map.contains_key(name) {
                self.add(FieldError::required(join(path, name), ""));
            }
        }
        if let Some(limit) = limit(schema, "maxProperties")
            && map.len() > limit
        {
            self.add(FieldError::too_many(path, map.len(), limit));
        }
        if let Some(limit) = limit(schema, "minProperties")
            && map.len() < limit
        {
            self.invalid(
                path,
                &map.len().into(),
                format!("should have at least {limit} properties"),
            );
        }
        let embedded = flag(schema, "x-kubernetes-embedded-resource");
        if embedded {
            for name in ["apiVersion", "kind"] {
                if value.get(name).and_then(Value::as_str).unwrap_or_default().is_empty() {
                    self.add(FieldError::required(join(path, name), "must not be empty"));
                }
            }
        }
        for (name, child) in map {
            // The head of an object is checked elsewhere, whatever a schema says of it; the name may have rules.
            if root && matches!(name.as_str(), "apiVersion" | "kind") {
                continue;
            }
            if let Some(schema) = member(schema, name) {
                self.node(child, schema, &join(path, name), false);
            }
        }
    }

    fn array(&mut self, items: &[Value], schema: &Value, path: &str) {
        if let Some(limit) = limit(schema, "maxItems")
            && items.len() > limit
        {
            self.add(FieldError::too_many(path, items.len(), limit));
        }
        if let Some(limit) = limit(schema, "minItems")
            && items.len() < limit
        {
            self.invalid(path, &items.len().into(), format!("should have at least {limit} items"));
        }
        if let Some(schema) = schema.get("items") {
            for (i, item) in items.iter().enumerate() {
                self.node(item, schema, &format!("{path}[{i}]"), false);
            }
        }
        self.duplicates(items, schema, path);
    }

    fn duplicates(&mut self, items: &[Value], schema: &Value, path: &str) {
        let keys: Option<Vec<&str>> = match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
            Some("set") => None,
            Some("map") => Some(
                schema
                    .get("x-kubernetes-list-map-keys")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .collect(),
            ),
            _ => return,
        };
        let mut seen = BTreeSet::new();
        for (i, item) in items.iter().enumerate() {
            let shown = match &keys {
                None => item.clone(),
                Some(keys) => Value::Object(
                    keys.iter()
                        .filter_map(|key| Some(((*key).to_owned(), item.get(key)?.clone())))
                        .collect(),
                ),
            };
            if !seen.insert(shown.to_string()) {
                self.add(FieldError::duplicate(format!("{path}[{i}]"), &shown));
            }
        }
    }

    fn string(&mut self, text: &str, value: &Value, schema: &Value, path: &str) {
        let length = text.chars().count();
        if let Some(limit) = limit(schema, "maxLength")
            && length > limit
        {
            self.add(FieldError::too_long(path, limit));
        }
        if let Some(limit) = limit(schema, "minLength")
            && length < limit
        {
            self.invalid(path, value, format!("should be at least {limit} chars long"));
        }
        if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
            && self.patterns.get(pattern).is_some_and(|regex| !regex.is_match(text))
        {
            self.invalid(path, value, format!("should match '{pattern}'"));
        }
        if let Some(format) = schema.get("format").and_then(Value::as_str)
            && !has_format(text, format)
        {
            self.invalid(path, value, format!("must be of type {format}: {value}"));
        }
    }

    fn number(&mut self, value: &Value, schema: &Value, path: &str) {
        let Some(number) = value.as_f64() else { return };
        let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
        if let Some(limit) = bound("maximum") {
            let exclusive = flag(schema, "exclusiveMaximum");
            if number > limit || exclusive && number >= limit {
                let words = if exclusive {
                    "less than"
                } else {
                    "less than or equal to"
                };
                self.invalid(path, value, format!("should be {words} {}", plain(limit)));
            }
        }
        if let Some(limit) = bound("minimum") {
            let exclusive = flag(schema, "exclusiveMinimum");
            if number < limit || exclusive && number <= limit {
                let words = if exclusive {
                    "greater than"
                } else {
                    "greater than or equal to"
                };
                self.invalid(path, value, format!("should be {words} {}", plain(limit)));
            }
        }
        if let Some(step) = bound("multipleOf").filter(|step| *step > 0.0) {
            let quotient = number / step;
            if (quotient - quotient.round()).abs() > 1e-9 {
                self.invalid(path, value, format!("should be a multiple of {}", plain(step)));
            }
        }
        let int32 = schema.get("format").and_then(Value::as_str) == Some("int32");
        if int32 && (number < f64::from(i32::MIN) || number > f64::from(i32::MAX)) {
            self.invalid(path, value, format!("must be of type int32: {value}"));
        }
    }

    fn combinations(&mut self, value: &Value, schema: &Value, path: &str) {
        let parts = |name: &str| {
            schema
                .get(name)
                .and_then(Value::as_array)
                .filter(|parts| !parts.is_empty())
        };
        let valid = |schema: &Value| validate_part(value, schema, self.patterns, path);
        let mut told = Vec::new();
        if let Some(parts) = parts("allOf") {
            let failed = parts.iter().map(valid).find(|errors| !errors.is_empty());
            if let Some(errors) = failed {
                told.extend(errors);
                told.push(combination(path, "must validate all the schemas (allOf)"));
            }
        }
        if let Some(parts) = parts("anyOf")
            && !parts.iter().any(|part| valid(part).is_empty())
        {
            told.push(combination(path, "must validate at least one schema (anyOf)"));
        }
        if let Some(parts) = parts("oneOf") {
            let good = parts.iter().filter(|part| valid(part).is_empty()).count();
            if good != 1 {
                let found = if good == 0 {
                    "Found none valid".to_owned()
                } else {
                    format!("Found {good} valid alternatives")
                };
                told.push(combination(
                    path,
                    &format!("must validate one and only one schema (oneOf). {found}"),
                ));
            }
        }
        if let Some(not) = schema.get("not")
            && valid(not).is_empty()
        {
            told.push(combination(path, "must not validate the schema (not)"));
        }
        told.into_iter().for_each(|error| self.add(error));
    }
}

/// What is wrong with a value by one part of `allOf` and the like.
fn validate_part(value: &Value, schema: &Value, patterns: &Patterns, path: &str) -> Vec<FieldError> {
    let mut check = Check {
        patterns,
        errors: Vec::new(),
    };
    check.node(value, schema, path, false);
    check.errors
}

fn combination(path: &str, rule: &str) -> FieldError {
    FieldError::invalid(path, &"".into(), format!("{path:?} {rule}"))
}

fn limit(schema: &Value, name: &str) -> Option<usize> {
    schema
        .get(name)
        .and_then(Value::as_u64)
        .and_then(|limit| usize::try_from(limit).ok())
}

/// Numbers by value, all else as it stands.
fn equal(a: &Value, b: &Value) -> bool {
    a == b || (a.is_number() && b.is_number() && a.as_f64() == b.as_f64())
}

fn plain(number: f64) -> String {
    if number.fract() == 0.0 && number.abs() < 1e15 {
        format!("{number:.0}")
    } else {
        number.to_string()
    }
}

fn has_format(text: &str, format: &str) -> bool {
    match format {
        "date-time" => crate::clock::is_timestamp(text),
        "date" => text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(),
        "byte" => check_base64(text).is_ok(),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "uuid" => {
            let hex: Vec<char> = text.chars().filter(|c| *c != '-').collect();
            hex.len() == 32 && hex.iter().all(char::is_ascii_hexdigit)
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use regex::Regex;
    use serde_json::json;

    use super::*;

    fn errors(value: Value, schema: Value) -> Vec<String> {
        let mut patterns = Patterns::new();
        patterns.insert("^a+$".into(), Regex::new("^a+$").unwrap());
        let root = json!({ "x": value });
        let schema = json!({ "type": "object", "properties": { "x": schema } });
        validate(&root, &schema, &patterns, "")
            .into_iter()
            .map(|e| format!("{}: {}", e.field, e.message))
            .collect()
    }

    #[test]
    fn types_are_checked_by_name() {
        let told = |actual: &str, expected: &str| {
            vec![format!(
                "x: Invalid value: {actual:?}: x in body must be of type {expected}: {actual:?}"
            )]
        };
        assert_eq!(
            errors(json!("3"), json!({"type": "integer"})),
            told("string", "integer")
        );
        assert_eq!(
            errors(json!(3.5), json!({"type": "integer"})),
            told("number", "integer")
        );
        assert_eq!(errors(json!(null), json!({"type": "string"})), told("null", "string"));
        assert_eq!(
            errors(json!([]), json!({"x-kubernetes-int-or-string": true})),
            told("array", "integer,string")
        );
        for (value, schema) in [
            (json!(3.0), json!({"type": "integer"})),
            (json!(3), json!({"type": "number"})),
            (json!(null), json!({"type": "string", "nullable": true})),
            (json!("1"), json!({"x-kubernetes-int-or-string": true})),
            (
                json!({"any": [1]}),
                json!({"x-kubernetes-preserve-unknown-fields": true}),
            ),
        ] {
            assert_eq!(errors(value, schema), Vec::<String>::new());
        }
    }

    #[test]
    fn bounds_are_told_as_real_servers_tell_them() {
        for (value, schema, told) in [
            (
                json!(99),
                json!({"maximum": 10}),
                "Invalid value: 99: x in body should be less than or equal to 10",
            ),
            (
                json!(1),
                json!({"minimum": 1, "exclusiveMinimum": true}),
                "Invalid value: 1: x in body should be greater than 1",
            ),
            (
                json!(3),
                json!({"multipleOf": 2}),
                "Invalid value: 3: x in body should be a multiple of 2",
            ),
            (
                json!("123456"),
                json!({"maxLength": 5}),
                "Too long: may not be more than 5 bytes",
            ),
            (
                json!(""),
                json!({"minLength": 1}),
                "Invalid value: \"\": x in body should be at least 1 chars long",
            ),
            (
                json!("b"),
                json!({"pattern": "^a+$"}),
                "Invalid value: \"b\": x in body should match '^a+$'",
            ),
            (
                json!([1, 2]),
                json!({"maxItems": 1}),
                "Too many: 2: must have at most 1 items",
            ),
            (
                json!([]),
                json!({"minItems": 1}),
                "Invalid value: 0: x in body should have at least 1 items",
            ),
            (
                json!({}),
                json!({"minProperties": 1}),
                "Invalid value: 0: x in body should have at least 1 properties",
            ),
            (
                json!("p"),
                json!({"enum": ["a", "b"]}),
                "Unsupported value: \"p\": supported values: \"a\", \"b\"",
            ),
            (
                json!("x"),
                json!({"format": "date-time"}),
                "Invalid value: \"x\": x in body must be of type date-time: \"x\"",
            ),
            (
                json!(5),
                json!({"not": {"type": "integer"}}),
                "Invalid value: \"\": \"x\" must not validate the schema (not)",
            ),
        ] {
            assert_eq!(errors(value, schema), [format!("x: {told}")]);
        }
    }

    #[test]
    fn doubled_items_of_sets_and_keyed_lists_are_told() {
        let set = json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"});
        assert_eq!(errors(json!(["x", "y", "x"]), set), ["x[2]: Duplicate value: \"x\""]);
        let map = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]});
        assert_eq!(
            errors(json!([{"name": "a", "v": 1}, {"name": "a"}]), map),
            ["x[1]: Duplicate value: {\"name\":\"a\"}"]
        );
    }

    #[test]
    fn alternatives_must_fit_as_often_as_they_say() {
        let one_of = json!({"oneOf": [{"required": ["a"]}, {"required": ["b"]}]});
        assert_eq!(errors(json!({"a": 1}), one_of.clone()), Vec::<String>::new());
        assert!(errors(json!({}), one_of.clone())[0].contains("Found none valid"));
        assert!(errors(json!({"a": 1, "b": 1}), one_of)[0].contains("Found 2 valid"));
        assert_eq!(errors(json!({}), json!({"anyOf": [{"required": ["a"]}]})).len(), 1);
    }
}
