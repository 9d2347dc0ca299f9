//! RFC 7386 merge patches.
//!
//! A merge patch can't set a list element or a null: lists are replaced whole, and null means "remove".

use serde_json::{Map, Value};

/// The patch that makes `new` out of `base`, or none where nothing differs. Members that `new` lacks become null.
pub fn diff(base: &Value, new: &Value) -> Option<Value> {
    if base == new {
        return None;
    }
    let (Value::Object(old), Value::Object(new)) = (base, new) else {
        return Some(new.clone());
    };
    let mut patch = Map::new();
    for (name, value) in new {
        match old.get(name) {
            Some(before) => {
                if let Some(change) = diff(before, value) {
                    patch.insert(name.clone(), change);
                }
            }
            None => {
                patch.insert(name.clone(), value.clone());
            }
        }
    }
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    Some(Value::Object(patch))
}

/// Applies a patch in place.
pub fn apply(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    for (name, change) in patch {
        if change.is_null() {
            target.remove(name);
        } else {
            apply(target.entry(name.clone()).or_insert(Value::Null), change);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_rfcs_own_examples_hold() {
        for (target, patch, result) in [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (
                json!({"a":{"b":"c"}}),
                json!({"a":{"b":"d","c":null}}),
                json!({"a":{"b":"d"}}),
            ),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a":"b"}), json!(["c"]), json!(["c"])),
            (json!({"a":"foo"}), json!(null), json!(null)),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (json!([1, 2]), json!({"a":"b","c":null}), json!({"a":"b"})),
            (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
        ] {
            let mut got = target.clone();
            apply(&mut got, &patch);
            assert_eq!(got, result, "{target} + {patch}");
        }
    }

    #[test]
    fn a_patch_holds_only_what_changed() {
        let base = json!({"metadata":{"labels":{"a":"1","b":"2"}},"spec":{"x":1,"list":[1,2]}});
        let new = json!({"metadata":{"labels":{"a":"1","c":"3"}},"spec":{"x":1,"list":[1,3]}});
        assert_eq!(
            diff(&base, &new),
            Some(json!({"metadata":{"labels":{"b":null,"c":"3"}},"spec":{"list":[1,3]}}))
        );
        assert_eq!(diff(&base, &base), None);
    }

    #[test]
    fn applying_a_diff_gives_the_new_value() {
        let values = [
            json!({"a":{"b":1}}),
            json!({"a":{}}),
            json!({"a":[1]}),
            json!({}),
            json!({"a":{"b":{"c":"d"}},"e":false}),
            json!("text"),
        ];
        for base in &values {
            for new in &values {
                let mut got = base.clone();
                if let Some(patch) = diff(base, new) {
                    apply(&mut got, &patch);
                }
                assert_eq!(&got, new, "{base} -> {new}");
            }
        }
    }
}
