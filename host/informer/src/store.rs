//! The objects of one kind, their indexes, and the version they stand at.
//!
//! Promised: objects and indexes change in one step; an object's version never goes backwards but by a quorum list; a
//! relist yields the deletions first. Not promised: that a query spanning several watches is the server's state of one
//! moment (it is one moment of this store).

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use pilothouse_object::{FieldPath, Key, Object, Version};

use crate::{
    awaited::Awaited,
    index::{Index, IndexError},
    view::{Delta, Names},
};

/// Which part of a kind a watch holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Every namespace, or a cluster-scoped kind.
    All,
    /// One namespace.
    Namespace(Arc<str>),
}

impl Scope {
    fn covers(&self, key: &Key) -> bool {
        match self {
            Self::All => true,
            Self::Namespace(namespace) => key.namespace.as_ref() == Some(namespace),
        }
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("all namespaces"),
            Self::Namespace(namespace) => write!(f, "namespace {namespace}"),
        }
    }
}

/// One object that a watch reports.
#[derive(Clone, Debug)]
pub enum Change {
    /// Added or modified: the two are told apart by what the store holds, not by what the server calls them.
    Put(Object),
    /// Deleted, with its last state and the deletion's version.
    Deleted(Object),
}

impl Change {
    /// The object it is about.
    pub fn object(&self) -> &Object {
        match self {
            Self::Put(object) | Self::Deleted(object) => object,
        }
    }
}

/// One element of a list.
#[derive(Clone, Debug)]
pub enum Item {
    /// An object.
    Object(Object),
    /// Something whose name could be read but no more: what the store holds under it stays.
    Unreadable(Key),
    /// What a streaming list has named is deleted while it still streams in.
    Gone(Key),
}

/// A list on its way in: what is unchanged is marked, only what changed is held.
#[derive(Debug, Default)]
pub struct Relist {
    /// Everything the list named; where it changed, its place in `changed`.
    seen: HashMap<Key, Option<usize>>,
    /// In list order. What `seen` has no place for is gone since.
    changed: Vec<Object>,
}

impl Relist {
    /// Takes one element in. The same key again (a page that was asked for twice) replaces what was there.
    pub fn stage(&mut self, store: &Store, item: Item) {
        let object = match item {
            Item::Object(object) => object,
            Item::Unreadable(key) => {
                self.seen.entry(key).or_insert(None);
                return;
            }
            Item::Gone(key) => {
                self.seen.remove(&key);
                return;
            }
        };
        let unchanged = store.objects.get(object.key()).is_some_and(|old| same(old, &object));
        match self.seen.get(object.key()) {
            Some(Some(place)) => self.changed[*place] = object,
            Some(None) if unchanged => {}
            None if unchanged => {
                self.seen.insert(object.key().clone(), None);
            }
            _ => {
                self.seen.insert(object.key().clone(), Some(self.changed.len()));
                self.changed.push(object);
            }
        }
    }

    fn lacks<'a>(&self, held: impl Iterator<Item = &'a Object>) -> Vec<Object> {
        held.filter(|o| !self.seen.contains_key(o.key())).cloned().collect()
    }
}

/// A list that is older than the store, and no quorum list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the list is at version {list}, the store at {store}: ask again with a quorum list")]
pub struct Older {
    /// The list's version.
    pub list: Version,
    /// The store's version.
    pub store: Version,
}

/// What a relist did.
#[derive(Debug, Default)]
pub struct Replaced {
    /// Deletions, then changes in list order.
    pub deltas: Vec<Delta>,
    /// Set where a quorum list took the store back from one version to an older one: the server's data was restored
    /// from a backup. Say it loudly.
    pub went_back: Option<(Version, Version)>,
}

/// Same object in the same state. Without a version nothing but the bytes can tell.
fn same(old: &Object, new: &Object) -> bool {
    let (a, b) = (old.head(), new.head());
    if a.version.is_empty() {
        return old == new;
    }
    a.uid == b.uid && a.version == b.version
}

fn older(a: &Version, b: &Version) -> bool {
    a.compare(b) == Some(Ordering::Less)
}

/// The objects of one kind.
#[derive(Debug, Default)]
pub struct Store {
    /// By namespace, then name: the namespace index is a range of it, and every walk has one order.
    objects: BTreeMap<Key, Object>,
    owners: BTreeMap<Arc<str>, BTreeSet<Key>>,
    indexes: BTreeMap<Arc<str>, Index>,
    /// The version of each part that has been listed.
    versions: BTreeMap<Scope, Version>,
    awaited: Awaited,
    weight: usize,
    stale: u64,
    index_failures: u64,
}

impl Store {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// An object by its key.
    pub fn get(&self, key: &Key) -> Option<&Object> {
        self.objects.get(key)
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// True where there are none.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Heap bytes of the objects, roughly.
    pub fn weight(&self) -> usize {
        self.weight
    }

    /// Answers that were discarded for being older than the store.
    pub fn stale(&self) -> u64 {
        self.stale
    }

    /// Index values that were left out for being too long.
    pub fn index_failures(&self) -> u64 {
        self.index_failures
    }

    /// All objects, by namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = &Object> {
        self.objects.values()
    }

    /// The objects of one namespace, by name.
    pub fn namespace(&self, namespace: &str) -> impl Iterator<Item = &Object> {
        let namespace: Arc<str> = namespace.into();
        // An object's name is never empty, so this key sorts before every object of the namespace.
        let first = Key {
            namespace: Some(namespace.clone()),
            name: "".into(),
        };
        self.objects
            .range(first..)
            .take_while(move |(key, _)| key.namespace.as_ref() == Some(&namespace))
            .map(|(_, object)| object)
    }

    /// The objects that name this uid among their owners.
    pub fn owned_by(&self, uid: &str) -> impl Iterator<Item = &Object> {
        self.of_keys(self.owners.get(uid))
    }

    /// The objects whose index holds the value, each once.
    ///
    /// # Errors
    /// [`IndexError::Unknown`]: nobody declared such an index.
    pub fn by_index(&self, index: &str, value: &str) -> Result<impl Iterator<Item = &Object>, IndexError> {
        let index = self
            .indexes
            .get(index)
            .ok_or_else(|| IndexError::Unknown(index.to_owned()))?;
        Ok(self.of_keys(index.keys(value)))
    }

    fn of_keys<'a>(&'a self, keys: Option<&'a BTreeSet<Key>>) -> impl Iterator<Item = &'a Object> {
        keys.into_iter().flatten().filter_map(|key| self.objects.get(key))
    }

    /// Declares an index and fills it from what is there. Declared again with the same paths it counts its users.
    ///
    /// # Errors
    /// [`IndexError::Taken`]: the name stands for other paths.
    pub fn add_index(&mut self, name: &str, paths: &[FieldPath]) -> Result<(), IndexError> {
        if let Some(index) = self.indexes.get_mut(name) {
            return index.share(name, paths);
        }
        let mut index = Index::new(paths);
        for object in self.objects.values() {
            self.index_failures += index.insert(object);
        }
        self.indexes.insert(name.into(), index);
        Ok(())
    }

    /// Takes one user off an index; the last one's leaving frees it.
    pub fn remove_index(&mut self, name: &str) {
        if self.indexes.get_mut(name).is_some_and(Index::unshare) {
            self.indexes.remove(name);
        }
    }

    /// The version this part stands at; none where it has not been listed.
    pub fn version(&self, scope: &Scope) -> Option<&Version> {
        self.versions.get(scope).or_else(|| self.versions.get(&Scope::All))
    }

    /// The version that a read of this namespace (none: of all of these) is at; none where a part has not been listed. Of
    /// several watches' versions the oldest counts.
    pub fn oldest(&self, namespaces: &Names, namespace: Option<&str>) -> Option<Version> {
        let of = |namespace: &str| self.version(&Scope::Namespace(namespace.into()));
        let oldest = match (namespace, namespaces) {
            (Some(namespace), _) => of(namespace)?,
            (None, Names::All) => self.versions.get(&Scope::All)?,
            (None, Names::Set(set)) => {
                let mut oldest: Option<&Version> = None;
                for namespace in set {
                    let version = of(namespace)?;
                    if oldest.is_none_or(|oldest| oldest.is_newer_than(version)) {
                        oldest = Some(version);
                    }
                }
                oldest?
            }
        };
        Some(oldest.clone())
    }

    /// The version from which a new watch of this part must go on so as not to fall behind what is held of it.
    pub fn newest(&self, scope: &Scope) -> Option<Version> {
        let mut newest = self.version(scope).cloned();
        if *scope == Scope::All {
            for version in self.versions.values() {
                if newest.as_ref().is_none_or(|n| version.is_newer_than(n)) {
                    newest = Some(version.clone());
                }
            }
        }
        newest
    }

    /// Moves a listed part's version on, never back.
    pub fn advance(&mut self, scope: &Scope, version: &Version) {
        if let Some(current) = self.versions.get_mut(scope)
            && !older(version, current)
        {
            *current = version.clone();
        }
    }

    /// This process wrote an object. Should the watch never tell of it, the next list that lacks it is its deletion.
    pub fn expect(&mut self, object: Object) {
        let scope = object.key().namespace.clone().map_or(Scope::All, Scope::Namespace);
        // Else the watch has told of it already.
        if self.version(&scope).is_none_or(|at| older(at, &object.head().version)) {
            self.awaited.insert(object);
        }
    }

    /// Applies one event of a watch. None where nothing changed, and where the event is older than the store.
    pub fn apply(&mut self, scope: &Scope, change: Change) -> Vec<Delta> {
        self.awaited
            .heard(change.object().key(), &change.object().head().version);
        let at = self.versions.get(scope);
        let version = &change.object().head().version;
        let held = self.objects.get(change.object().key());
        let stale = match held {
            Some(held) => older(version, &held.head().version),
            None => at.is_some_and(|at| older(version, at)),
        };
        if stale {
            self.stale += 1;
            return Vec::new();
        }
        match (change, held.cloned()) {
            (Change::Put(new), Some(old)) if same(&old, &new) => Vec::new(),
            (Change::Put(new), old) => self.put(old, new),
            (Change::Deleted(_), None) => Vec::new(),
            (Change::Deleted(last), Some(old)) => {
                self.remove(&old);
                let version = last.head().version.clone();
                // Under this name stood another object than the one whose deletion is told: its own was missed.
                let last = (last.head().uid == old.head().uid).then_some(last);
                vec![Delta::gone(old, last, version)]
            }
        }
    }

    /// Commits a list in place of what this part held. A list of everything takes over what single namespaces held.
    ///
    /// # Errors
    /// [`Older`]: nothing was changed. A quorum list is never older: it is the truth.
    pub fn replace(&mut self, scope: &Scope, list: Relist, version: Version, quorum: bool) -> Result<Replaced, Older> {
        let before = self
            .versions
            .iter()
            .filter(|(held, _)| *scope == Scope::All || **held == Scope::All || *held == scope)
            .map(|(_, held)| held)
            .filter(|held| older(&version, held))
            .reduce(|a, b| if b.is_newer_than(a) { b } else { a })
            .cloned();
        if let (Some(store), false) = (&before, quorum) {
            self.stale += 1;
            return Err(Older {
                list: version,
                store: store.clone(),
            });
        }
        let mut deltas = Vec::new();
        let vanished: Vec<Object> = match scope {
            Scope::All => list.lacks(self.objects.values()),
            Scope::Namespace(namespace) => list.lacks(self.namespace(namespace)),
        };
        // Those that the store held are among the vanished.
        let mut unheard = self.awaited.listed(&version, |key| scope.covers(key));
        unheard.retain(|written| !self.objects.contains_key(written.key()) && !list.seen.contains_key(written.key()));
        for old in vanished {
            self.remove(&old);
            deltas.push(Delta::gone(old, None, version.clone()));
        }
        for written in unheard {
            deltas.push(Delta::gone(written, None, version.clone()));
        }
        for (place, new) in list.changed.into_iter().enumerate() {
            if !scope.covers(new.key()) || list.seen.get(new.key()) != Some(&Some(place)) {
                continue;
            }
            match self.objects.get(new.key()).cloned() {
                Some(old) if same(&old, &new) => {}
                Some(old) if !quorum && older(&new.head().version, &old.head().version) => self.stale += 1,
                old => deltas.extend(self.put(old, new)),
            }
        }
        if *scope == Scope::All {
            self.versions.clear();
        }
        let went_back = before.map(|before| (before, version.clone()));
        self.versions.insert(scope.clone(), version);
        Ok(Replaced { deltas, went_back })
    }

    /// Frees what no watch of `scopes` holds any more. Nobody is told: who could see it has left.
    pub fn keep_only(&mut self, scopes: &BTreeSet<Scope>) {
        self.versions.retain(|scope, _| scopes.contains(scope));
        if scopes.contains(&Scope::All) {
            return;
        }
        let lost: Vec<Object> = self
            .objects
            .values()
            .filter(|o| !scopes.iter().any(|scope| scope.covers(o.key())))
            .cloned()
            .collect();
        for object in lost {
            self.remove(&object);
        }
    }

    fn put(&mut self, old: Option<Object>, new: Object) -> Vec<Delta> {
        let mut deltas = Vec::with_capacity(1);
        let old = match old {
            Some(old) => {
                self.remove(&old);
                let (a, b) = (&old.head().uid, &new.head().uid);
                if a != b {
                    // Deleted and made anew while nobody looked: two objects, two histories.
                    deltas.push(Delta::gone(old, None, new.head().version.clone()));
                    None
                } else {
                    Some(old)
                }
            }
            None => None,
        };
        for owner in &new.head().owners {
            if !owner.uid.is_empty() {
                let uid: Arc<str> = (*owner.uid).into();
                self.owners.entry(uid).or_default().insert(new.key().clone());
            }
        }
        for index in self.indexes.values_mut() {
            self.index_failures += index.insert(&new);
        }
        self.weight += new.weight();
        self.objects.insert(new.key().clone(), new.clone());
        deltas.push(Delta::put(old, new));
        deltas
    }

    fn remove(&mut self, old: &Object) {
        self.objects.remove(old.key());
        self.weight = self.weight.saturating_sub(old.weight());
        for owner in &old.head().owners {
            if let Some(keys) = self.owners.get_mut(&*owner.uid) {
                keys.remove(old.key());
                if keys.is_empty() {
                    self.owners.remove(&*owner.uid);
                }
            }
        }
        for index in self.indexes.values_mut() {
            index.remove(old);
        }
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
