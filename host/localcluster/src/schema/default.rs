//! Filling in defaults.

use serde_json::Value;

use super::{flag, member, resolve};

/// Fills in the defaults of `schema` wherever `value` leaves them open. A null where null is not allowed and a default
/// is known counts as left open; any other one is dropped.
pub(crate) fn default(value: &mut Value, schema: &Value) {
    let schema = resolve(schema);
    match value {
        Value::Object(map) => {
            if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
                for (name, property) in properties {
                    let Some(default) = property.get("default") else {
                        continue;
                    };
                    let open = match map.get(name) {
                        None => true,
                        Some(Value::Null) => !flag(property, "nullable"),
                        Some(_) => false,
                    };
                    if open {
                        map.insert(name.clone(), default.clone());
                    }
                }
            }
            // A null where null is not allowed counts as nothing.
            map.retain(|name, value| {
                !value.is_null() || member(schema, name).is_none_or(|property| flag(resolve(property), "nullable"))
            });
            for (name, child) in map.iter_mut() {
                if let Some(property) = member(schema, name) {
                    default(child, property);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.get("items") {
                items.iter_mut().for_each(|item| default(item, schema));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_fill_in_what_is_open_also_inside_of_defaults_lists_and_maps() {
        let schema = json!({"type": "object", "properties": {
            "a": {"type": "integer", "default": 1},
            "n": {"type": "integer", "default": 2, "nullable": true},
            "o": {"type": "object", "default": {}, "properties": {"x": {"type": "string", "default": "y"}}},
            "off": {"type": "object", "properties": {"x": {"type": "string", "default": "y"}}},
            "l": {"type": "array", "items": {"type": "object", "properties": {"p": {"type": "string", "default": "TCP"}}}},
            "m": {"type": "object", "additionalProperties": {"type": "object", "properties": {"q": {"default": true}}}},
        }});
        let mut value = json!({"a": null, "n": null, "l": [{}, {"p": "UDP"}], "m": {"k": {}}, "off": null});
        default(&mut value, &schema);
        assert_eq!(
            value,
            json!({"a": 1, "n": null, "o": {"x": "y"}, "l": [{"p": "TCP"}, {"p": "UDP"}], "m": {"k": {"q": true}}})
        );
    }
}
