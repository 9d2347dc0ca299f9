//! Dropping fields that a schema does not know.

use serde_json::Value;

use super::{flag, join, preserves, resolve};

/// How many dropped fields are told; the rest is dropped silently.
const MAX_TOLD: usize = 64;

/// Drops from `value` what `schema` does not know, and adds the paths of what went to `dropped`. At the root
/// `apiVersion`, `kind` and `metadata` always stay as they are.
pub(crate) fn prune(value: &mut Value, schema: &Value, root: bool, dropped: &mut Vec<String>) {
    node(value, schema, "", root, dropped);
}

/// The same for a part of an object: `path` is where it stands.
pub(crate) fn prune_at(value: &mut Value, schema: &Value, path: &str, dropped: &mut Vec<String>) {
    node(value, schema, path, false, dropped);
}

fn node(value: &mut Value, schema: &Value, path: &str, root: bool, dropped: &mut Vec<String>) {
    let schema = resolve(schema);
    match value {
        Value::Object(map) => {
            let typed_meta = root || flag(schema, "x-kubernetes-embedded-resource");
            let preserve =
                preserves(schema) || schema.get("additionalProperties").and_then(Value::as_bool) == Some(true);
            let properties = schema.get("properties").and_then(Value::as_object);
            let additional = schema
                .get("additionalProperties")
                .filter(|additional| additional.is_object());
            map.retain(|name, member| {
                if typed_meta && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
                    return true;
                }
                if let Some(schema) = properties.and_then(|properties| properties.get(name)).or(additional) {
                    node(member, schema, &join(path, name), false, dropped);
                    return true;
                }
                if !preserve && dropped.len() < MAX_TOLD {
                    dropped.push(join(path, name));
                }
                preserve
            });
        }
        Value::Array(items) => {
            if let Some(schema) = schema.get("items").filter(|items| items.is_object()) {
                for (i, item) in items.iter_mut().enumerate() {
                    node(item, schema, &format!("{path}[{i}]"), false, dropped);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pruned(mut value: Value, schema: Value) -> (Value, Vec<String>) {
        let mut dropped = Vec::new();
        prune(&mut value, &schema, true, &mut dropped);
        (value, dropped)
    }

    #[test]
    fn unknown_fields_go_and_are_told_by_their_paths() {
        let schema = json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {
                "list": {"type": "array", "items": {"type": "object", "properties": {"a": {}}}},
                "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"a": {}}}},
            }},
        }});
        let (value, dropped) = pruned(
            json!({"apiVersion": "v", "kind": "k", "metadata": {"x": 1}, "zz": 1, "spec": {
                "list": [{"a": 1}, {"b": 1}], "map": {"k": {"b": 1}}, "bogus": {"deep": 1},
            }}),
            schema,
        );
        assert_eq!(
            value,
            json!({"apiVersion": "v", "kind": "k", "metadata": {"x": 1}, "spec": {"list": [{"a": 1}, {}], "map": {"k": {}}}})
        );
        assert_eq!(dropped, ["spec.bogus", "spec.list[1].b", "spec.map.k.b", "zz"]);
    }

    #[test]
    fn preserved_objects_keep_what_is_unknown_but_known_parts_of_them_are_still_pruned() {
        let schema = json!({"type": "object", "properties": {"spec": {
            "type": "object", "x-kubernetes-preserve-unknown-fields": true,
            "properties": {"known": {"type": "object", "properties": {"a": {}}}},
        }}});
        let (value, dropped) = pruned(json!({"spec": {"any": {"x": 1}, "known": {"a": 1, "b": 2}}}), schema);
        assert_eq!(value, json!({"spec": {"any": {"x": 1}, "known": {"a": 1}}}));
        assert_eq!(dropped, ["spec.known.b"]);
    }

    #[test]
    fn an_embedded_resource_keeps_its_head() {
        let schema = json!({"type": "object", "properties": {"t": {
            "type": "object", "x-kubernetes-embedded-resource": true, "properties": {},
        }}});
        let (value, _) = pruned(
            json!({"t": {"apiVersion": "v1", "kind": "A", "metadata": {"name": "n"}, "x": 1}}),
            schema,
        );
        assert_eq!(
            value,
            json!({"t": {"apiVersion": "v1", "kind": "A", "metadata": {"name": "n"}}})
        );
    }
}
