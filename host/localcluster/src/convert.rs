//! Between the form in which objects are stored and the version that a client speaks.
//!
//! Custom resources are converted as strategy `None` says: only `apiVersion` changes, and what the version's schema
//! does not know is pruned on reading. Events are stored in the form of the core group and shown in both.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::cluster::Cluster;
use crate::meta;
use crate::schema::{default, prune};
use crate::types::{ResourceType, api_version};

/// `events.k8s.io/v1` on the left, `v1` on the right.
const EVENT_FIELDS: &[(&str, &str)] = &[
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

fn rename(object: &mut Value, to_stored: bool) {
    let Some(map) = object.as_object_mut() else { return };
    for (new, core) in EVENT_FIELDS {
        let (from, to) = if to_stored { (new, core) } else { (core, new) };
        if let Some(value) = map.remove(*from) {
            map.insert((*to).to_owned(), value);
        }
    }
}

fn is_new_event(type_: &ResourceType) -> bool {
    &*type_.group == "events.k8s.io"
}

/// Brings an object of the version `type_` into the form in which it is stored.
pub(crate) fn to_stored(type_: &ResourceType, object: &mut Value) {
    if is_new_event(type_) {
        rename(object, true);
    }
    set_head(
        object,
        &api_version(&type_.stored_group, &type_.stored_version),
        &type_.kind,
    );
}

/// A stored object as the version `type_` shows it.
pub(crate) fn from_stored(type_: &ResourceType, object: &Arc<Value>) -> Arc<Value> {
    if is_new_event(type_) {
        let mut shown = Value::clone(object);
        rename(&mut shown, false);
        if let Some(map) = shown.as_object_mut() {
            // What the core group writes when it is empty, too, and this group does not.
            map.retain(|field, value| !(field.starts_with("reporting") && value == ""));
        }
        set_head(&mut shown, &type_.api_version(), &type_.kind);
        return Arc::new(shown);
    }
    if !type_.custom {
        return object.clone();
    }
    let wanted = type_.api_version();
    let same = object.get("apiVersion").and_then(Value::as_str) == Some(wanted.as_str());
    let version = meta::text(object, "resourceVersion").parse().unwrap_or(u64::MAX);
    if same && version > type_.since {
        return object.clone();
    }
    let mut shown = Value::clone(object);
    set_head(&mut shown, &wanted, &type_.kind);
    if let Some(schema) = &type_.schema {
        prune::prune(&mut shown, schema, true, &mut Vec::new());
        default::default(&mut shown, schema);
    }
    Arc::new(shown)
}

fn set_head(object: &mut Value, api_version: &str, kind: &str) {
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    if let Some(map) = object.as_object_mut() {
        map.insert("apiVersion".into(), api_version.into());
        map.insert("kind".into(), kind.into());
    }
}

impl Cluster {
    /// Any served version of a kind, for work that no client asked for.
    pub(crate) fn type_of_kind(&self, group: &str, kind: &str) -> Option<Arc<ResourceType>> {
        self.types
            .values()
            .find(|type_| &*type_.group == group && &*type_.kind == kind)
            .cloned()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_keeps_everything_on_its_way_between_both_groups() {
        let types = crate::types::built_in();
        let new = types.iter().find(|type_| is_new_event(type_)).unwrap();
        let event = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"},
            "regarding": {"name": "x"}, "note": "n", "reportingController": "c", "reportingInstance": "i",
            "deprecatedCount": 1, "reason": "R", "type": "Normal",
        });
        let mut stored = event.clone();
        to_stored(new, &mut stored);
        assert_eq!(stored["involvedObject"]["name"], "x");
        assert_eq!((&stored["message"], &stored["apiVersion"]), (&json!("n"), &json!("v1")));
        assert_eq!(*from_stored(new, &Arc::new(stored)), event);
    }
}
