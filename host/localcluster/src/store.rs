//! All objects, at all versions of late: persistent maps for the present, a bounded log for the past.
//!
//! Every write gets the next version of one counter over all kinds and leaves an event in the log; an event knows how
//! its collection looked before it, so any version that the log still reaches can be listed again. Cloning a store
//! shares everything and costs next to nothing. The store decides nothing: who may write what is checked before.

use std::ops::Bound;
use std::sync::Arc;

use serde_json::Value;

/// A persistent ordered map.
pub(crate) type Map<K, V> = rpds::RedBlackTreeMapSync<K, V>;
/// Namespace (empty for cluster-scoped objects) and name.
pub(crate) type Key = (Arc<str>, Arc<str>);
/// Group and plural of what is stored.
pub(crate) type CollectionId = (Arc<str>, Arc<str>);
/// The objects of a collection.
pub(crate) type Objects = Map<Key, Arc<Value>>;

/// One write.
#[derive(Debug)]
pub(crate) struct Event {
    /// The version it made.
    pub(crate) version: u64,
    /// What stood there before.
    pub(crate) old: Option<Arc<Value>>,
    /// What stands there now; for a deletion the last object, with the version of the deletion.
    pub(crate) object: Arc<Value>,
    /// Whether it was a deletion.
    pub(crate) deleted: bool,
    /// The collection before it.
    before: Objects,
}

#[derive(Clone)]
struct Collection {
    objects: Objects,
    log: Map<u64, Arc<Event>>,
}

impl Collection {
    fn new() -> Collection {
        Collection {
            objects: Objects::new_sync(),
            log: Map::new_sync(),
        }
    }
}

/// A version is no longer in the log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooOld;

/// Everything stored.
#[derive(Clone)]
pub(crate) struct Store {
    version: u64,
    compacted: u64,
    capacity: usize,
    collections: Map<CollectionId, Collection>,
    order: Map<u64, CollectionId>,
    dependents: Map<(Arc<str>, CollectionId, Key), ()>,
}

impl Store {
    /// An empty store whose log keeps `capacity` events.
    pub(crate) fn new(capacity: usize) -> Store {
        Store {
            version: 0,
            compacted: 0,
            capacity,
            collections: Map::new_sync(),
            order: Map::new_sync(),
            dependents: Map::new_sync(),
        }
    }

    /// The version of the last write.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Versions below this one can no longer be listed, and watches must not start there.
    pub(crate) fn compacted(&self) -> u64 {
        self.compacted
    }

    /// One object.
    pub(crate) fn get(&self, id: &CollectionId, key: &Key) -> Option<&Arc<Value>> {
        self.collections.get(id)?.objects.get(key)
    }

    /// All objects of a collection as they are now.
    pub(crate) fn objects(&self, id: &CollectionId) -> Objects {
        self.collections
            .get(id)
            .map_or_else(Objects::new_sync, |collection| collection.objects.clone())
    }

    /// All objects of a collection as they were at `version`, which must not lie in the future.
    pub(crate) fn objects_at(&self, id: &CollectionId, version: u64) -> Result<Objects, TooOld> {
        if version < self.compacted {
            return Err(TooOld);
        }
        Ok(match self.events(id, version).next() {
            Some(event) => event.before.clone(),
            None => self.objects(id),
        })
    }

    /// The events of a collection after `version`, oldest first. Asking below [`Store::compacted`] leaves a gap.
    pub(crate) fn events(&self, id: &CollectionId, version: u64) -> impl Iterator<Item = &Arc<Event>> {
        self.collections
            .get(id)
            .into_iter()
            .flat_map(move |collection| collection.log.range((Bound::Excluded(version), Bound::Unbounded)))
            .map(|(_, event)| event)
    }

    /// The collections that hold or held objects.
    pub(crate) fn collections(&self) -> impl Iterator<Item = &CollectionId> {
        self.collections.keys()
    }

    /// The objects that name the owner `uid`, in order.
    pub(crate) fn dependents(&self, uid: &str) -> Vec<(CollectionId, Key)> {
        let uid: Arc<str> = uid.into();
        let empty: Arc<str> = "".into();
        let from = (uid.clone(), (empty.clone(), empty.clone()), (empty.clone(), empty));
        self.dependents
            .range((Bound::Included(&from), Bound::Unbounded))
            .take_while(|((owner, _, _), ())| *owner == uid)
            .map(|((_, id, key), ())| (id.clone(), key.clone()))
            .collect()
    }

    /// Stores an object under the next version, which it gets as its resourceVersion.
    pub(crate) fn put(&mut self, id: &CollectionId, key: &Key, mut object: Value) -> Arc<Value> {
        let version = self.next(id, &mut object);
        let object = Arc::new(object);
        let mut collection = self.collections.get(id).cloned().unwrap_or_else(Collection::new);
        let old = collection.objects.get(key).cloned();
        self.index(id, key, old.as_deref(), Some(&object));
        let event = Event {
            version,
            old,
            object: object.clone(),
            deleted: false,
            before: collection.objects.clone(),
        };
        collection.objects.insert_mut(key.clone(), object.clone());
        collection.log.insert_mut(version, Arc::new(event));
        self.collections.insert_mut(id.clone(), collection);
        self.trim();
        object
    }

    /// Removes an object; what is returned is the object as the DELETED event shows it.
    pub(crate) fn remove(&mut self, id: &CollectionId, key: &Key) -> Option<Arc<Value>> {
        let mut collection = self.collections.get(id)?.clone();
        let old = collection.objects.get(key)?.clone();
        let mut object = Value::clone(&old);
        let version = self.next(id, &mut object);
        let object = Arc::new(object);
        self.index(id, key, Some(&old), None);
        let event = Event {
            version,
            old: Some(old),
            object: object.clone(),
            deleted: true,
            before: collection.objects.clone(),
        };
        collection.objects.remove_mut(key);
        collection.log.insert_mut(version, Arc::new(event));
        self.collections.insert_mut(id.clone(), collection);
        self.trim();
        Some(object)
    }

    fn next(&mut self, id: &CollectionId, object: &mut Value) -> u64 {
        self.version += 1;
        self.order.insert_mut(self.version, id.clone());
        crate::meta::set(object, "resourceVersion", Value::String(self.version.to_string()));
        self.version
    }

    fn index(&mut self, id: &CollectionId, key: &Key, old: Option<&Value>, new: Option<&Value>) {
        for (object, add) in [(old, false), (new, true)] {
            for owner in object.into_iter().flat_map(crate::meta::owners) {
                let entry = (Arc::from(owner.uid), id.clone(), key.clone());
                if add {
                    self.dependents.insert_mut(entry, ());
                } else {
                    self.dependents.remove_mut(&entry);
                }
            }
        }
    }

    fn trim(&mut self) {
        while self.order.size() > self.capacity {
            let Some((version, id)) = self.order.first().map(|(version, id)| (*version, id.clone())) else {
                return;
            };
            self.order.remove_mut(&version);
            if let Some(collection) = self.collections.get(&id) {
                let mut collection = collection.clone();
                collection.log.remove_mut(&version);
                self.collections.insert_mut(id, collection);
            }
            self.compacted = version;
        }
    }
}

/// The objects of one namespace, or all of them, in order, from `start` on.
pub(crate) fn range<'a>(
    objects: &'a Objects,
    namespace: Option<&'a str>,
    start: Option<&Key>,
) -> impl Iterator<Item = (&'a Key, &'a Arc<Value>)> {
    let first = match (start, namespace) {
        (Some(start), _) => start.clone(),
        (None, Some(namespace)) => (namespace.into(), "".into()),
        (None, None) => ("".into(), "".into()),
    };
    objects
        .range((Bound::Included(first), Bound::Unbounded))
        .take_while(move |((ns, _), _)| namespace.is_none_or(|namespace| &**ns == namespace))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn id() -> CollectionId {
        ("".into(), "configmaps".into())
    }

    fn key(name: &str) -> Key {
        ("default".into(), name.into())
    }

    fn names(objects: &Objects) -> Vec<String> {
        objects.keys().map(|(_, name)| name.to_string()).collect()
    }

    #[test]
    fn every_version_in_the_log_can_be_listed_again() {
        let mut store = Store::new(100);
        for name in ["a", "b", "c"] {
            store.put(&id(), &key(name), json!({"metadata": {}}));
        }
        store.remove(&id(), &key("b"));
        assert_eq!(names(&store.objects_at(&id(), 0).unwrap()), Vec::<String>::new());
        assert_eq!(names(&store.objects_at(&id(), 2).unwrap()), ["a", "b"]);
        assert_eq!(names(&store.objects_at(&id(), 3).unwrap()), ["a", "b", "c"]);
        assert_eq!(names(&store.objects_at(&id(), 4).unwrap()), ["a", "c"]);
    }

    #[test]
    fn what_the_log_has_dropped_is_too_old_and_nothing_else() {
        let mut store = Store::new(2);
        for name in ["a", "b", "c"] {
            store.put(&id(), &key(name), json!({"metadata": {}}));
        }
        assert_eq!(store.compacted(), 1);
        assert_eq!(store.objects_at(&id(), 0).map(|_| ()), Err(TooOld));
        assert_eq!(names(&store.objects_at(&id(), 1).unwrap()), ["a"]);
        assert_eq!(store.events(&id(), 1).count(), 2);
    }

    #[test]
    fn dependents_are_found_by_the_uid_of_their_owner_until_they_drop_it() {
        let mut store = Store::new(100);
        let owned = |uid: &str| json!({"metadata": {"ownerReferences": [{"uid": uid}]}});
        store.put(&id(), &key("a"), owned("u1"));
        store.put(&id(), &key("b"), owned("u2"));
        store.put(&id(), &key("c"), owned("u1"));
        let of = |store: &Store, uid| {
            store
                .dependents(uid)
                .iter()
                .map(|(_, k)| k.1.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(of(&store, "u1"), ["a", "c"]);
        store.put(&id(), &key("a"), owned("u2"));
        store.remove(&id(), &key("c"));
        assert_eq!(of(&store, "u1"), Vec::<String>::new());
        assert_eq!(of(&store, "u2"), ["a", "b"]);
    }
}
