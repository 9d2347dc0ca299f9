//! From a change in a store to the keys that it wakes. Pure.
//!
//! A [`Route`] stands for one watch of one controller. It maps the old **and** the new state of an object, so that a
//! key which an object no longer points to is told as well. Predicates hold back updates of primary objects only;
//! creations, deletions and objects of other kinds always pass.

use std::{collections::BTreeSet, sync::Arc};

use pilothouse_informer::Delta;
use pilothouse_lifecycle::{Controller, Mapping, OwnerKind, Predicate, Scope, Watch};
use pilothouse_object::{FieldPath, Gvk, Key, Object, check_path_segment};

use crate::waking::cause::{Change, ITSELF};

/// The primary objects a controller sees, for mappings that need more than the changed object.
pub trait Primaries {
    /// Keys of all of them.
    fn all(&self) -> Vec<Key>;
    /// Keys of those whose index holds a value; in one namespace where one is given.
    fn by_index(&self, index: &str, value: &str, namespace: Option<&str>) -> Vec<Key>;
}

/// One watch of one controller and how its objects map to keys.
#[derive(Clone, Debug)]
pub struct Route {
    primary: Gvk,
    namespaced: bool,
    source: Source,
    via: Arc<str>,
}

#[derive(Clone, Debug)]
enum Source {
    Primary {
        predicates: Vec<Predicate>,
        changes: Vec<FieldPath>,
    },
    Other(Mapping),
}

impl Route {
    /// The route of a controller's own kind.
    pub fn primary(controller: &Controller) -> Self {
        Self {
            primary: controller.kind.clone(),
            namespaced: controller.scope == Scope::Namespaced,
            source: Source::Primary {
                predicates: controller.predicates.clone(),
                changes: controller.changes.clone(),
            },
            via: ITSELF.into(),
        }
    }

    /// The route of another kind that a controller watches.
    pub fn watched(controller: &Controller, watch: &Watch) -> Self {
        Self {
            primary: controller.kind.clone(),
            namespaced: controller.scope == Scope::Namespaced,
            source: Source::Other(watch.map.clone()),
            via: watch.map.to_string().into(),
        }
    }

    /// How this route's objects map to keys, for [`crate::What::Changed`].
    pub fn via(&self) -> &Arc<str> {
        &self.via
    }

    /// The keys a change wakes, each once, in their order. Empty where predicates hold it back or nothing maps.
    pub fn keys(&self, delta: &Delta, primaries: &dyn Primaries) -> Vec<Key> {
        match &self.source {
            Source::Primary { predicates, changes } => {
                let passes = match (&delta.old, &delta.new) {
                    (Some(old), Some(new)) => updates_pass(predicates, changes, old, new),
                    _ => true,
                };
                let object = delta.new.as_ref().or(delta.old.as_ref());
                object.filter(|_| passes).map(|o| o.key().clone()).into_iter().collect()
            }
            Source::Other(mapping) => {
                let mut keys = BTreeSet::new();
                for object in delta.old.iter().chain(&delta.new) {
                    self.map(mapping, object, primaries, &mut keys);
                }
                keys.into_iter().collect()
            }
        }
    }

    fn map(&self, mapping: &Mapping, object: &Object, primaries: &dyn Primaries, keys: &mut BTreeSet<Key>) {
        let head = object.head();
        let namespace = head.key.namespace.as_deref();
        match mapping {
            Mapping::Owner(which) => {
                let owners = head
                    .owners
                    .iter()
                    .filter(|owner| *which == OwnerKind::Any || owner.controller);
                for owner in owners.filter(|owner| owner.is_of(&self.primary)) {
                    self.insert(namespace, owner.name, keys);
                }
            }
            Mapping::Index(index) => {
                let within = if self.namespaced { namespace } else { None };
                keys.extend(primaries.by_index(index, &head.key.name, within));
            }
            Mapping::SameName => self.insert(namespace, &head.key.name, keys),
            Mapping::Label(label) => {
                if let Some(name) = head.labels.get(label) {
                    self.insert(namespace, name, keys);
                }
            }
            Mapping::Field(path) => {
                for text in path.strings(object.json()) {
                    match text.split_once('/') {
                        Some((namespace, name)) => self.insert(Some(namespace), name, keys),
                        None => self.insert(namespace, &text, keys),
                    }
                }
            }
            Mapping::All => keys.extend(primaries.all()),
        }
    }

    /// A key by name. What can be no object's name is left out, and so is a namespaced key without a namespace: foreign
    /// text decides neither what a key looks like nor where it points.
    fn insert(&self, namespace: Option<&str>, name: &str, keys: &mut BTreeSet<Key>) {
        let namespace = if self.namespaced { namespace } else { None };
        let sound = check_path_segment(name).is_ok() && namespace.is_none_or(|ns| check_path_segment(ns).is_ok());
        if sound && namespace.is_some() == self.namespaced {
            keys.insert(Key::new(namespace, name));
        }
    }
}

/// How an object changed, as causes tell it.
pub fn change_of(delta: &Delta) -> Change {
    match (&delta.old, &delta.new) {
        (_, None) => Change::Deleted,
        (None, Some(_)) if delta.initial => Change::Found,
        (None, Some(_)) => Change::Created,
        (Some(old), Some(new)) if old.head().deletion.is_none() && new.head().deletion.is_some() => Change::Deleting,
        (Some(_), Some(_)) => Change::Updated,
    }
}

fn updates_pass(predicates: &[Predicate], changes: &[FieldPath], old: &Object, new: &Object) -> bool {
    if predicates.is_empty() && changes.is_empty() {
        return true;
    }
    // Deleted and made anew between two looks: never held back.
    if old.head().uid != new.head().uid {
        return true;
    }
    let differs = |predicate: &Predicate| match predicate {
        Predicate::Generation => old.head().generation != new.head().generation,
        Predicate::Labels => old.head().labels != new.head().labels,
        Predicate::Annotations => old.metadata_text("annotations") != new.metadata_text("annotations"),
        Predicate::Finalizers => old.metadata_text("finalizers") != new.metadata_text("finalizers"),
        Predicate::Deletion => old.head().deletion != new.head().deletion,
    };
    // The first deletionTimestamp always passes: a finalizer waits for it.
    (old.head().deletion.is_none() && new.head().deletion.is_some())
        || predicates.iter().any(differs)
        || changes
            .iter()
            .any(|path| path.texts(old.json()) != path.texts(new.json()))
}

#[cfg(test)]
mod tests {
    use pilothouse_object::Keep;
    use serde_json::{Value, json};

    use super::*;

    struct Fixed;
    impl Primaries for Fixed {
        fn all(&self) -> Vec<Key> {
            vec![Key::new(Some("a"), "one"), Key::new(Some("b"), "two")]
        }
        fn by_index(&self, index: &str, value: &str, namespace: Option<&str>) -> Vec<Key> {
            assert_eq!((index, value, namespace), ("by-config", "cm", Some("a")));
            vec![Key::new(Some("a"), "one")]
        }
    }

    fn controller(extra: Value) -> Controller {
        let mut manifest = json!({
            "name": "p", "version": "0.1.0",
            "permissions": [{"group": "ex.io", "kind": "Widget", "verbs": ["watch"]},
                            {"group": "", "kind": "ConfigMap", "verbs": ["watch"]}],
            "indexes": [{"name": "by-config", "kind": {"group": "ex.io", "version": "v1", "kind": "Widget"},
                         "paths": ["spec.config"]}],
            "controllers": [{"name": "c", "kind": {"group": "ex.io", "version": "v1", "kind": "Widget"}}],
        });
        for (name, value) in extra.as_object().unwrap() {
            manifest["controllers"][0][name] = value.clone();
        }
        let manifest = pilothouse_lifecycle::Manifest::parse(&manifest.to_string()).unwrap();
        manifest.controllers.into_iter().next().unwrap()
    }

    fn watching(map: Value) -> Route {
        let controller =
            controller(json!({"watches": [{"kind": {"group": "", "version": "v1", "kind": "ConfigMap"}, "map": map}]}));
        Route::watched(&controller, &controller.watches[0])
    }

    fn object(mut value: Value) -> Object {
        let meta = value["metadata"].as_object_mut().unwrap();
        meta.entry("uid").or_insert_with(|| "u".into());
        meta.entry("namespace").or_insert_with(|| "a".into());
        meta.entry("name").or_insert_with(|| "cm".into());
        let gvk = Gvk::new("", "v1", "ConfigMap");
        Object::parse(value.to_string().as_bytes(), Some(&gvk), Keep::All).unwrap()
    }

    fn delta(old: Option<Value>, new: Option<Value>) -> Delta {
        let (old, new) = (old.map(object), new.map(object));
        let known = new.as_ref().or(old.as_ref()).unwrap();
        Delta {
            key: known.key().clone(),
            version: known.head().version.clone(),
            old,
            new,
            last: None,
            initial: false,
            final_state_unknown: false,
        }
    }

    fn keys(route: &Route, delta: &Delta) -> Vec<String> {
        route.keys(delta, &Fixed).iter().map(ToString::to_string).collect()
    }

    fn owned_by(kind: &str, name: &str, controller: bool) -> Value {
        json!({"metadata": {"ownerReferences": [
            {"apiVersion": "ex.io/v1", "kind": kind, "name": name, "uid": "o", "controller": controller}]}})
    }

    #[test]
    fn rule_55_an_owned_object_wakes_its_controller_owner() {
        let route = watching(json!({"owner": "controller"}));
        assert_eq!(keys(&route, &delta(None, Some(owned_by("Widget", "w", true)))), ["a/w"]);
        assert_eq!(
            keys(&route, &delta(None, Some(owned_by("Widget", "w", false)))),
            [""; 0]
        );
        assert_eq!(keys(&route, &delta(None, Some(owned_by("Other", "w", true)))), [""; 0]);
    }

    #[test]
    fn rule_55_any_owner_counts_where_the_mapping_says_so() {
        let route = watching(json!({"owner": "any"}));
        assert_eq!(
            keys(&route, &delta(Some(owned_by("Widget", "w", false)), None)),
            ["a/w"]
        );
    }

    #[test]
    fn rule_54_the_old_state_maps_as_well_as_the_new() {
        let route = watching(json!({"owner": "controller"}));
        let moved = delta(
            Some(owned_by("Widget", "old", true)),
            Some(owned_by("Widget", "new", true)),
        );
        assert_eq!(keys(&route, &moved), ["a/new", "a/old"]);
    }

    #[test]
    fn every_other_mapping_finds_its_keys() {
        let plain = json!({"metadata": {"labels": {"for": "w"}}, "data": {"who": "b/x", "me": "y"}});
        for (map, want) in [
            (json!({"index": "by-config"}), vec!["a/one"]),
            (json!("same-name"), vec!["a/cm"]),
            (json!({"label": "for"}), vec!["a/w"]),
            (json!({"label": "none"}), vec![]),
            (json!({"field": "data.who"}), vec!["b/x"]),
            (json!({"field": "data.me"}), vec!["a/y"]),
            (json!({"field": "data.none"}), vec![]),
            (json!("all"), vec!["a/one", "b/two"]),
        ] {
            assert_eq!(
                keys(&watching(map.clone()), &delta(None, Some(plain.clone()))),
                want,
                "{map}"
            );
        }
    }

    #[test]
    fn text_that_can_be_no_name_makes_no_key() {
        let route = watching(json!({"field": "data.me"}));
        for bad in ["", "..", "a/b/c", "x\n", "/", "a/", "%2e"] {
            let object = json!({"metadata": {}, "data": {"me": bad}});
            assert_eq!(keys(&route, &delta(None, Some(object))), [""; 0], "{bad:?}");
        }
    }

    #[test]
    fn updates_pass_only_if_a_predicate_or_path_changed() {
        let route = Route::primary(&controller(
            json!({"predicates": ["generation", "labels"], "changes": ["status.ok"]}),
        ));
        let base = json!({"metadata": {"generation": 1, "labels": {"a": "1"}}, "status": {"ok": true, "n": 1}});
        let with = |path: &[&str], value: Value| {
            let mut new = base.clone();
            let mut at = &mut new;
            for part in path {
                at = &mut at[*part];
            }
            *at = value;
            delta(Some(base.clone()), Some(new))
        };
        assert_eq!(keys(&route, &with(&["status", "n"], json!(2))), [""; 0]);
        assert_eq!(
            keys(&route, &with(&["metadata", "annotations"], json!({"x": "y"}))),
            [""; 0]
        );
        for (path, value) in [
            (&["metadata", "generation"][..], json!(2)),
            (&["metadata", "labels"], json!({})),
            (&["status", "ok"], json!(false)),
            (&["metadata", "deletionTimestamp"], json!("2026-01-01T00:00:00Z")),
            (&["metadata", "uid"], json!("another")),
        ] {
            assert_eq!(keys(&route, &with(path, value)), ["a/cm"], "{path:?}");
        }
    }

    #[test]
    fn creations_and_deletions_always_pass() {
        let route = Route::primary(&controller(json!({"predicates": ["generation"]})));
        let object = json!({"metadata": {}});
        assert_eq!(keys(&route, &delta(None, Some(object.clone()))), ["a/cm"]);
        assert_eq!(keys(&route, &delta(Some(object), None)), ["a/cm"]);
    }

    #[test]
    fn a_change_is_named_by_what_was_and_what_is() {
        let object = json!({"metadata": {}});
        assert_eq!(change_of(&delta(None, Some(object.clone()))), Change::Created);
        assert_eq!(
            change_of(&Delta {
                initial: true,
                ..delta(None, Some(object.clone()))
            }),
            Change::Found
        );
        assert_eq!(
            change_of(&delta(Some(object.clone()), Some(object.clone()))),
            Change::Updated
        );
        assert_eq!(change_of(&delta(Some(object), None)), Change::Deleted);
    }
}
