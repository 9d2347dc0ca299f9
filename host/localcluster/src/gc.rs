//! What happens by itself: garbage collection by owner references, and emptying namespaces. Steps of
//! [`Cluster::advance`].

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::clock;
use crate::cluster::{Cluster, Work, namespaces};
use crate::meta::{self, Owner};
use crate::query::Propagation;
use crate::store::{CollectionId, Key, range};
use crate::write::may_go;

/// What an owner reference leads to.
enum Found {
    /// The owner is there.
    There(Value),
    /// There is none of this name, or another one has the name now.
    Gone,
    /// Nobody can tell: the kind is not served, or the reference leads from outside into a namespace.
    Unknown,
}

impl Cluster {
    /// The object that an owner reference names, by name; whatever its uid.
    fn look_up(&self, owner: &Owner<'_>, namespace: &str) -> Option<Option<(CollectionId, Key, Arc<Value>)>> {
        let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
        let type_ = self.type_of_kind(group, owner.kind)?;
        if type_.namespaced && namespace.is_empty() {
            return None;
        }
        let key: Key = (
            if type_.namespaced { namespace.into() } else { "".into() },
            owner.name.into(),
        );
        let id = type_.collection();
        let object = self.store.get(&id, &key).cloned();
        Some(object.map(|object| (id, key, object)))
    }

    /// The owner that a reference in an object of `namespace` names, if it is there.
    pub(crate) fn find_owner(&self, owner: &Owner<'_>, namespace: &str) -> Option<(CollectionId, Key, Arc<Value>)> {
        self.look_up(owner, namespace)?
            .filter(|(_, _, object)| meta::text(object, "uid") == owner.uid)
    }

    fn find(&self, owner: &Owner<'_>, namespace: &str) -> Found {
        match self.look_up(owner, namespace) {
            None => Found::Unknown,
            Some(Some((_, _, object))) if meta::text(&object, "uid") == owner.uid => {
                Found::There(Value::clone(&object))
            }
            Some(_) => Found::Gone,
        }
    }

    /// Looks at one object: deletes it when its owners are gone, lets it go when its dependents are.
    pub(crate) fn collect(&mut self, id: &CollectionId, key: &Key) {
        let Some(object) = self.store.get(id, key).cloned() else {
            return;
        };
        if meta::is_deleting(&object) {
            let finalizers = meta::finalizers(&object);
            if finalizers.contains(&"orphan") {
                self.orphan(id, key, &object);
            } else if finalizers.contains(&"foregroundDeletion") {
                self.await_dependents(id, key, &object);
            }
            return;
        }
        let (mut there, mut drop, mut waiting) = (false, Vec::new(), Vec::new());
        for owner in meta::owners(&object) {
            match self.find(&owner, &key.0) {
                Found::Unknown => there = true,
                Found::Gone => drop.push(owner.uid.to_owned()),
                Found::There(found) => {
                    let waits = meta::is_deleting(&found) && meta::finalizers(&found).contains(&"foregroundDeletion");
                    if waits {
                        waiting.push(owner.uid.to_owned())
                    } else {
                        there = true
                    }
                }
            }
        }
        if drop.is_empty() && waiting.is_empty() {
            return;
        }
        if there {
            // Some owner stays: the object does, too, and forgets the others.
            drop.append(&mut waiting);
            let mut kept = Value::clone(&object);
            meta::drop_owners(&mut kept, &drop);
            self.save(id, key, kept);
            return;
        }
        if !waiting.is_empty() {
            self.break_circle(id, key, &object);
        }
        let Some(object) = self.store.get(id, key).cloned() else {
            return;
        };
        let own = meta::finalizers(&object);
        let has_dependents = !self.dependents_of(key, &object).is_empty();
        let propagation = if !waiting.is_empty() && has_dependents || own.contains(&"foregroundDeletion") {
            Propagation::Foreground
        } else if own.contains(&"orphan") {
            Propagation::Orphan
        } else {
            Propagation::Background
        };
        self.remove(id, key, &object, Some(propagation), false);
    }

    /// The objects that an owner reference to this object can lead from: those of its namespace, or all.
    fn dependents_of(&self, key: &Key, object: &Value) -> Vec<(CollectionId, Key)> {
        let mut found = self.store.dependents(meta::text(object, "uid"));
        found.retain(|(_, at)| key.0.is_empty() || at.0 == key.0);
        found
    }

    /// An object whose owners wait for it, and which has dependents that wait for theirs, may be its own ancestor:
    /// then all would wait for ever. It stops blocking its owners, as on real servers.
    fn break_circle(&mut self, id: &CollectionId, key: &Key, object: &Value) {
        let circle = self.dependents_of(key, object).iter().any(|(id, key)| {
            self.store.get(id, key).is_some_and(|dependent| {
                meta::is_deleting(dependent) && meta::finalizers(dependent).contains(&"foregroundDeletion")
            })
        });
        if !circle || !meta::owners(object).any(|owner| owner.block) {
            return;
        }
        let mut kept = object.clone();
        let references = meta::map(&mut kept)
            .get_mut("ownerReferences")
            .and_then(Value::as_array_mut);
        for reference in references.into_iter().flatten().filter_map(Value::as_object_mut) {
            reference.insert("blockOwnerDeletion".into(), false.into());
        }
        self.save(id, key, kept);
    }

    /// Cuts the dependents loose, then lets the object go.
    fn orphan(&mut self, id: &CollectionId, key: &Key, object: &Value) {
        let uid = meta::text(object, "uid").to_owned();
        for (id, key) in self.dependents_of(key, object) {
            if let Some(dependent) = self.store.get(&id, &key).cloned() {
                let mut kept = Value::clone(&dependent);
                meta::drop_owners(&mut kept, std::slice::from_ref(&uid));
                self.save(&id, &key, kept);
            }
        }
        self.release(id, key, "orphan");
    }

    /// Deletes the dependents; when none is left that blocks it, lets the object go.
    fn await_dependents(&mut self, id: &CollectionId, key: &Key, object: &Value) {
        let uid = meta::text(object, "uid").to_owned();
        let mut blocked = false;
        for (dependent, at) in self.dependents_of(key, object) {
            let Some(found) = self.store.get(&dependent, &at) else {
                continue;
            };
            if meta::owners(found).any(|owner| owner.uid == uid && owner.block) {
                blocked = true;
            }
            if !meta::is_deleting(found) {
                self.schedule(Work::Object(dependent, at));
            }
        }
        if !blocked {
            self.release(id, key, "foregroundDeletion");
        }
    }

    /// Removes one of the server's own finalizers, and the object if that was the last.
    pub(crate) fn release(&mut self, id: &CollectionId, key: &Key, finalizer: &str) {
        let Some(object) = self.store.get(id, key).cloned() else {
            return;
        };
        let mut kept = Value::clone(&object);
        let finalizers: Vec<String> = meta::finalizers(&object)
            .into_iter()
            .filter(|have| *have != finalizer)
            .map(str::to_owned)
            .collect();
        meta::set_finalizers(&mut kept, &finalizers);
        if may_go(id, &kept) {
            self.erase(id, key);
        } else {
            self.save(id, key, kept);
        }
    }

    /// Deletes everything in a namespace that is being deleted; when nothing is left, the namespace.
    pub(crate) fn empty_namespace(&mut self, name: &Arc<str>) {
        let id = namespaces();
        let key: Key = ("".into(), name.clone());
        let Some(namespace) = self
            .store
            .get(&id, &key)
            .cloned()
            .filter(|namespace| meta::is_deleting(namespace))
        else {
            return;
        };
        let collections: Vec<CollectionId> = self.store.collections().cloned().collect();
        let mut left = Vec::new();
        for collection in collections {
            let objects = self.store.objects(&collection);
            for (key, object) in range(&objects, Some(name), None) {
                if !meta::is_deleting(object) {
                    self.remove(&collection, key, object, Some(Propagation::Background), false);
                }
            }
            let objects = self.store.objects(&collection);
            left.extend(range(&objects, Some(name), None).map(|(_, object)| (collection.clone(), object.clone())));
        }
        let mut kept = Value::clone(&namespace);
        conditions(&mut kept, &left, &clock::timestamp(self.now));
        if left.is_empty()
            && let Some(held) = kept.pointer_mut("/spec/finalizers").and_then(Value::as_array_mut)
        {
            held.retain(|finalizer| finalizer != "kubernetes");
        }
        if may_go(&id, &kept) {
            self.erase(&id, &key);
        } else if kept != *namespace {
            let stored = self.store.put(&id, &key, kept);
            // Not `save`: that would have the namespace looked at again, for ever. What is left calls when it goes.
            drop(stored);
        }
    }
}

/// The conditions of a namespace that waits for what is left in it.
fn conditions(namespace: &mut Value, left: &[(CollectionId, Arc<Value>)], now: &str) {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let mut finalizers: BTreeMap<String, usize> = BTreeMap::new();
    for ((group, plural), object) in left {
        *kinds.entry(format!("{plural}.{group}")).or_default() += 1;
        for finalizer in meta::finalizers(object) {
            *finalizers.entry(finalizer.to_owned()).or_default() += 1;
        }
    }
    let counted = |counts: &BTreeMap<String, usize>, word: &str| {
        let texts = counts
            .iter()
            .map(|(name, count)| format!("{name} {word} {count} resource instances"));
        texts.collect::<Vec<_>>().join(", ")
    };
    let (remain, held) = (!kinds.is_empty(), !finalizers.is_empty());
    let told = [
        (
            "NamespaceDeletionDiscoveryFailure",
            false,
            "ResourcesDiscovered",
            "All resources successfully discovered".to_owned(),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            false,
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed".to_owned(),
        ),
        (
            "NamespaceDeletionContentFailure",
            false,
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization".to_owned(),
        ),
        (
            "NamespaceContentRemaining",
            remain,
            if remain {
                "SomeResourcesRemain"
            } else {
                "ContentRemoved"
            },
            if remain {
                format!("Some resources are remaining: {}", counted(&kinds, "has"))
            } else {
                "All content successfully removed".to_owned()
            },
        ),
        (
            "NamespaceFinalizersRemaining",
            held,
            if held {
                "SomeFinalizersRemain"
            } else {
                "ContentHasNoFinalizers"
            },
            if held {
                format!(
                    "Some content in the namespace has finalizers remaining: {}",
                    counted(&finalizers, "in")
                )
            } else {
                "All content-preserving finalizers finished".to_owned()
            },
        ),
    ];
    let before = namespace.pointer("/status/conditions").cloned().unwrap_or_default();
    let conditions: Vec<Value> = told
        .into_iter()
        .map(|(type_, status, reason, message)| {
            let status = if status { "True" } else { "False" };
            let had = before.as_array().into_iter().flatten().find(|had| had["type"] == type_);
            let since = had
                .filter(|had| had["status"] == status)
                .map_or(json!(now), |had| had["lastTransitionTime"].clone());
            json!({
                "type": type_, "status": status, "lastTransitionTime": since, "reason": reason, "message": message,
            })
        })
        .collect();
    meta::child(namespace, "status").insert("conditions".into(), conditions.into());
}
