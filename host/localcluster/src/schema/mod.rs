//! Structural schemas: what a CustomResourceDefinition says of its objects, and what is known of built-in kinds.
//!
//! `prune` drops what a schema does not know, `default` fills in what is missing,
//! `validate` says what is wrong, in the words of a real server. The built-in schemas
//! (`builtin.json`) are Kubernetes' own OpenAPI definitions (Apache-2.0), cut to types: no descriptions.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value};

pub(crate) mod default;
pub(crate) mod prune;
pub(crate) mod types;
pub(crate) mod validate;

/// The compiled `pattern`s of a schema, by their text.
pub(crate) type Patterns = BTreeMap<String, Regex>;

/// Where references to the built-in definitions begin.
const REFERENCE: &str = "#/components/schemas/";

/// The definitions that built-in schemas refer to with `#/components/schemas/NAME`, by name.
pub fn definitions() -> &'static Map<String, Value> {
    static DEFINITIONS: LazyLock<Map<String, Value>> =
        LazyLock::new(|| serde_json::from_str(include_str!("builtin.json")).unwrap_or_default());
    &DEFINITIONS
}

/// The definition of `metadata`, which holds for every kind.
pub(crate) fn object_meta() -> &'static Value {
    definitions()
        .get("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")
        .unwrap_or(&Value::Null)
}

/// Follows a reference to a built-in definition. The schemas of CRDs have none: they are refused at registration.
pub(crate) fn resolve(schema: &Value) -> &Value {
    schema
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|reference| definitions().get(reference.strip_prefix(REFERENCE)?))
        .unwrap_or(schema)
}

pub(crate) fn flag(schema: &Value, name: &str) -> bool {
    schema.get(name).and_then(Value::as_bool).unwrap_or_default()
}

/// Whether unknown fields are kept here.
pub(crate) fn preserves(schema: &Value) -> bool {
    flag(schema, "x-kubernetes-preserve-unknown-fields")
}

/// Whether a number or a text may stand here.
pub(crate) fn int_or_string(schema: &Value) -> bool {
    flag(schema, "x-kubernetes-int-or-string")
}

/// The schema of an object's member: its own, or that of `additionalProperties`.
pub(crate) fn member<'a>(schema: &'a Value, name: &str) -> Option<&'a Value> {
    schema
        .get("properties")
        .and_then(|properties| properties.get(name))
        .or_else(|| {
            schema
                .get("additionalProperties")
                .filter(|additional| additional.is_object())
        })
}

/// `path.name`, or `name` at the root.
pub(crate) fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_of_the_built_in_schemas_leads_somewhere() {
        fn walk(value: &Value) {
            if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
                assert_ne!(resolve(value), value, "{reference}");
            }
            match value {
                Value::Object(map) => map.values().for_each(walk),
                Value::Array(items) => items.iter().for_each(walk),
                _ => {}
            }
        }
        assert!(definitions().len() > 100);
        definitions().values().for_each(walk);
        for type_ in crate::types::built_in() {
            let schema = type_.schema.as_deref().unwrap();
            assert!(resolve(schema).get("properties").is_some(), "{}", type_.kind);
        }
        assert!(object_meta().get("properties").is_some());
    }
}
