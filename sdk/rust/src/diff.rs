//! Merge patches (RFC 7386): what changed between two states of a typed object, laid over what the server really holds.
//!
//! A type may know a part of an object only. In maps that is no trouble, since a merge patch names what changes. A list
//! however is replaced as a whole; so its elements are built from the server's, with the fields that the type does not
//! know, matched by equality, then by an identifying field, then by position.

use serde_json::{Map, Value};

/// Fields that tell a list's elements apart, the surest first.
const IDENTITIES: [&str; 5] = ["uid", "name", "key", "type", "id"];

/// The patch that turns `raw` into itself with the change from `before` to `after`; none if there is nothing to do.
/// `before` and `after` are what the type makes of the object, `raw` is what the server holds.
pub(crate) fn changed(before: &Value, after: &Value, raw: &Value) -> Option<Value> {
    if before == after {
        return None;
    }
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            let mut patch = Map::new();
            for (key, after) in after {
                match before.get(key) {
                    Some(before) => {
                        if let Some(change) = changed(before, after, &raw[key.as_str()]) {
                            patch.insert(key.clone(), change);
                        }
                    }
                    None if after.is_null() => {}
                    None => {
                        patch.insert(key.clone(), without_nulls(after));
                    }
                }
            }
            for key in before.keys() {
                // What the type made up by itself (a default) need not be taken away.
                if !after.contains_key(key) && !raw[key.as_str()].is_null() {
                    patch.insert(key.clone(), Value::Null);
                }
            }
            (!patch.is_empty()).then_some(Value::Object(patch))
        }
        (Value::Array(before), Value::Array(after)) => {
            let empty = Vec::new();
            let held = raw.as_array().unwrap_or(&empty);
            let list = if held.len() == before.len() {
                overlaid(before, after, held)
            } else {
                after.iter().map(without_nulls).collect()
            };
            (&list != held || raw.is_null()).then_some(Value::Array(list))
        }
        (_, Value::Null) => (!raw.is_null()).then_some(Value::Null),
        _ => Some(without_nulls(after)),
    }
}

/// The patch after which `actual` holds everything that `desired` says; what `desired` does not mention stays. None if
/// it does already.
pub(crate) fn missing(desired: &Value, actual: &Value) -> Option<Value> {
    match (desired, actual) {
        (Value::Null, _) => None,
        // The server leaves empty things away.
        (Value::Object(desired), Value::Null) if desired.is_empty() => None,
        (Value::Array(desired), Value::Null) if desired.is_empty() => None,
        (Value::Object(desired), Value::Object(actual)) => {
            let mut patch = Map::new();
            for (key, desired) in desired {
                if let Some(change) = missing(desired, actual.get(key).unwrap_or(&Value::Null)) {
                    patch.insert(key.clone(), change);
                }
            }
            (!patch.is_empty()).then_some(Value::Object(patch))
        }
        (Value::Array(desired), Value::Array(actual)) => {
            let list: Vec<Value> = partners(actual, desired)
                .into_iter()
                .zip(desired)
                .map(|(partner, desired)| match partner {
                    Some(index) => {
                        let mut element = actual[index].clone();
                        if let Some(change) = missing(desired, &element) {
                            apply(&mut element, &change);
                        }
                        element
                    }
                    None => without_nulls(desired),
                })
                .collect();
            (&list != actual).then_some(Value::Array(list))
        }
        (desired, actual) => (desired != actual).then(|| without_nulls(desired)),
    }
}

/// Applies a merge patch.
pub(crate) fn apply(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    // Built anew and not removed from: the code that balances trees is large, and this is what every plugin carries.
    let mut result = Map::new();
    for (key, mut value) in std::mem::take(target) {
        match patch.get(&key) {
            Some(Value::Null) => {}
            Some(change) => {
                apply(&mut value, change);
                result.insert(key, value);
            }
            None => {
                result.insert(key, value);
            }
        }
    }
    for (key, change) in patch {
        if !change.is_null() && !result.contains_key(key) {
            let mut value = Value::Null;
            apply(&mut value, change);
            result.insert(key.clone(), value);
        }
    }
    *target = result;
}

/// A map's entry and the rest of the map.
pub(crate) fn taken(map: Map<String, Value>, wanted: &str) -> (Option<Value>, Map<String, Value>) {
    let (mut taken, mut rest) = (None, Map::new());
    for (key, value) in map {
        if key == wanted {
            taken = Some(value);
        } else {
            rest.insert(key, value);
        }
    }
    (taken, rest)
}

/// Nulls mean "nothing here" to Kubernetes, but within lists, which are taken as they are, not every server agrees.
pub(crate) fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut rest = Map::new();
            for (key, value) in map.iter().filter(|(_, value)| !value.is_null()) {
                rest.insert(key.clone(), without_nulls(value));
            }
            Value::Object(rest)
        }
        Value::Array(list) => Value::Array(list.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}

fn overlaid(before: &[Value], after: &[Value], raw: &[Value]) -> Vec<Value> {
    partners(before, after)
        .into_iter()
        .zip(after)
        .map(|(partner, after)| match partner {
            Some(index) => {
                let mut element = raw[index].clone();
                if let Some(change) = changed(&before[index], after, &raw[index]) {
                    apply(&mut element, &change);
                }
                element
            }
            None => without_nulls(after),
        })
        .collect()
}

/// For each element of `new` the index of the element of `old` that it was, if it was one.
fn partners(old: &[Value], new: &[Value]) -> Vec<Option<usize>> {
    let mut taken = vec![false; old.len()];
    let mut found = vec![None; new.len()];
    let mut take = |slot: &mut Option<usize>, index: usize| {
        if !taken[index] {
            taken[index] = true;
            *slot = Some(index);
        }
    };
    for (slot, element) in found.iter_mut().zip(new) {
        for (index, candidate) in old.iter().enumerate() {
            if slot.is_none() && candidate == element {
                take(slot, index);
            }
        }
    }
    let identity = IDENTITIES
        .into_iter()
        .find(|field| tells_apart(field, old) && tells_apart(field, new));
    for (position, (slot, element)) in found.iter_mut().zip(new).enumerate() {
        if slot.is_some() {
            continue;
        }
        match identity {
            Some(field) => {
                if let Some(index) = old.iter().position(|candidate| candidate[field] == element[field]) {
                    take(slot, index);
                }
            }
            None if old.len() == new.len() && element.is_object() => take(slot, position),
            None => {}
        }
    }
    found
}

fn tells_apart(field: &str, list: &[Value]) -> bool {
    list.iter().enumerate().all(|(index, element)| {
        element[field].is_string() && list[..index].iter().all(|earlier| earlier[field] != element[field])
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patched(raw: &Value, patch: Option<Value>) -> Value {
        let mut result = raw.clone();
        if let Some(patch) = patch {
            apply(&mut result, &patch);
        }
        result
    }

    #[test]
    fn only_what_changed_is_in_the_patch() {
        let before = json!({"a": 1, "b": {"c": 2, "d": 3}});
        let after = json!({"a": 1, "b": {"c": 4, "d": 3}});
        assert_eq!(changed(&before, &after, &before), Some(json!({"b": {"c": 4}})));
        assert_eq!(changed(&before, &before, &before), None);
    }

    #[test]
    fn a_key_that_went_away_becomes_null() {
        let before = json!({"labels": {"a": "1", "b": "2"}});
        let after = json!({"labels": {"b": "2"}});
        assert_eq!(changed(&before, &after, &before), Some(json!({"labels": {"a": null}})));
    }

    #[test]
    fn a_default_that_the_server_never_held_is_not_taken_away() {
        let raw = json!({"spec": {}});
        let before = json!({"spec": {"size": 1, "mode": "fast"}});
        let after = json!({"spec": {"mode": null}});
        assert_eq!(changed(&before, &after, &raw), None);
    }

    #[test]
    fn a_list_keeps_the_fields_that_the_type_does_not_know() {
        let raw = json!({"containers": [{"name": "a", "image": "1", "tty": true}, {"name": "b", "image": "1", "stdin": true}]});
        let before = json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]});
        // Changed, in another order, and a new one between.
        let after = json!({"containers": [{"name": "b", "image": "2"}, {"name": "c", "image": "9"}, {"name": "a", "image": "1"}]});
        assert_eq!(
            changed(&before, &after, &raw),
            Some(json!({"containers": [
                {"name": "b", "image": "2", "stdin": true}, {"name": "c", "image": "9"}, {"name": "a", "image": "1", "tty": true}
            ]}))
        );
    }

    #[test]
    fn elements_without_an_identity_are_matched_by_place_if_none_came_or_went() {
        let raw = json!({"ports": [{"port": 80, "x": 1}, {"port": 81, "x": 2}]});
        let before = json!({"ports": [{"port": 80}, {"port": 81}]});
        let after = json!({"ports": [{"port": 80}, {"port": 82}]});
        assert_eq!(
            changed(&before, &after, &raw),
            Some(json!({"ports": [{"port": 80, "x": 1}, {"port": 82, "x": 2}]}))
        );
        let fewer = json!({"ports": [{"port": 81}]});
        assert_eq!(
            changed(&before, &fewer, &raw),
            Some(json!({"ports": [{"port": 81, "x": 2}]}))
        );
    }

    #[test]
    fn a_name_that_two_elements_share_identifies_none() {
        let raw = json!([{"name": "v", "path": "/a", "sub": 1}, {"name": "v", "path": "/b", "sub": 2}]);
        let before = json!([{"name": "v", "path": "/a"}, {"name": "v", "path": "/b"}]);
        let after = json!([{"name": "v", "path": "/b"}]);
        assert_eq!(
            changed(&before, &after, &raw),
            Some(json!([{"name": "v", "path": "/b", "sub": 2}]))
        );
    }

    #[test]
    fn nulls_do_not_get_into_lists() {
        let after = json!({"conditions": [{"type": "Ready", "message": null}]});
        assert_eq!(
            changed(&json!({"conditions": []}), &after, &json!({})),
            Some(json!({"conditions": [{"type": "Ready"}]}))
        );
    }

    #[test]
    fn what_is_desired_is_made_so_and_the_rest_is_left() {
        let actual = json!({"data": {"a": "1", "theirs": "x"}, "spec": {"list": [{"name": "n", "defaulted": true}]}});
        let desired = json!({"data": {"a": "2"}, "spec": {"list": [{"name": "n"}], "none": null, "empty": {}}});
        assert_eq!(missing(&desired, &actual), Some(json!({"data": {"a": "2"}})));
        assert_eq!(missing(&desired, &patched(&actual, missing(&desired, &actual))), None);
    }

    #[test]
    fn a_desired_list_has_no_other_elements_and_keeps_the_servers_defaults() {
        let actual = json!({"list": [{"name": "n", "defaulted": true, "size": 1}, {"name": "other"}]});
        let desired = json!({"list": [{"name": "n", "size": 2}]});
        assert_eq!(
            missing(&desired, &actual),
            Some(json!({"list": [{"name": "n", "size": 2, "defaulted": true}]}))
        );
    }

    #[test]
    fn patches_apply_as_rfc_7386_says() {
        for (target, patch, result) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (
                json!({"a": [1]}),
                json!({"a": {"b": null, "c": 1}}),
                json!({"a": {"c": 1}}),
            ),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
            (json!({"a": "foo"}), json!("bar"), json!("bar")),
        ] {
            let mut target = target;
            apply(&mut target, &patch);
            assert_eq!(target, result);
        }
    }
}
