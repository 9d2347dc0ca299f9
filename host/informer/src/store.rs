//! The objects of one kind, their indexes, and the version they stand at.
//!
//! Promised: objects and indexes change in one step; an object's version never goes backwards but by a quorum list; a
//! relist yields the deletions first. Not promised: that a query spanning several watches is the server's state of one
//! moment (it is one moment of this store).

pub(crate) mod awaited;
pub mod index;
mod relist;
pub(crate) mod shelf;

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use pilothouse_object::{FieldPath, Key, LabelSelector, Object, Version};

pub use self::relist::{Item, Relist};
use crate::{
    store::awaited::Awaited,
    store::index::{Index, IndexError},
    store::shelf::{Place, Shelf},
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
    pub(crate) fn covers(&self, key: &Key) -> bool {
        match self {
            Self::All => true,
            Self::Namespace(namespace) => key.namespace.as_ref() == Some(namespace),
        }
    }

    /// True where both hold something of the other's.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        *self == Self::All || *other == Self::All || self == other
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
#[derive(Debug)]
pub struct Store {
    /// By namespace, then name: the namespace index is a range of it, and every walk has one order.
    shelf: Shelf,
    owners: Index,
    indexes: BTreeMap<Arc<str>, Index>,
    /// The version of each part that has been listed.
    versions: BTreeMap<Scope, Version>,
    awaited: Awaited,
    weight: usize,
    stale: u64,
    index_failures: u64,
}

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}

impl Store {
    /// An empty store.
    pub fn new() -> Self {
        Self {
            shelf: Shelf::default(),
            owners: Index::of_owners(),
            indexes: BTreeMap::new(),
            versions: BTreeMap::new(),
            awaited: Awaited::default(),
            weight: 0,
            stale: 0,
            index_failures: 0,
        }
    }

    /// An object by its key.
    pub fn get(&self, key: &Key) -> Option<&Object> {
        self.shelf.get(self.shelf.find(key)?)
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.shelf.len()
    }

    /// True where there are none.
    pub fn is_empty(&self) -> bool {
        self.shelf.len() == 0
    }

    /// Heap bytes of the objects, without indexes: see [`Object::weight`].
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
        self.shelf.iter().map(|(_, object)| object)
    }

    /// The objects behind a key (none: all), by namespace and name.
    pub fn after(&self, key: Option<&Key>) -> impl Iterator<Item = &Object> {
        let first = Key::new(None, "");
        let behind = move |object: &&Object| key.is_none_or(|key| object.key() > key);
        self.shelf
            .from(key.unwrap_or(&first))
            .map(|(_, object)| object)
            .skip_while(move |object| !behind(object))
    }

    /// The objects of one namespace, by name.
    pub fn namespace(&self, namespace: &str) -> impl Iterator<Item = &Object> {
        self.places_in(namespace).map(|(_, object)| object)
    }

    fn places_in(&self, namespace: &str) -> impl Iterator<Item = (Place, &Object)> {
        // An object's name is never empty, so this key sorts before every object of the namespace.
        let first = Key::new(Some(namespace), "");
        let namespace = first.namespace.clone();
        self.shelf
            .from(&first)
            .take_while(move |(_, object)| object.key().namespace == namespace)
    }

    /// The objects that name this uid among their owners, by namespace and name.
    pub fn owned_by(&self, uid: &str) -> impl Iterator<Item = &Object> {
        self.of_places(self.owners.places(uid))
    }

    /// The objects whose index holds the value, each once, by namespace and name.
    ///
    /// # Errors
    /// [`IndexError::Unknown`]: nobody declared such an index.
    pub fn by_index(&self, index: &str, value: &str) -> Result<impl Iterator<Item = &Object>, IndexError> {
        let index = self
            .indexes
            .get(index)
            .ok_or_else(|| IndexError::Unknown(index.to_owned()))?;
        Ok(self.of_places(index.places(value)))
    }

    /// The objects that may fit a selector, by namespace and name, where some index narrows them down: all that fit are
    /// among them. None where no index helps.
    pub fn by_labels(&self, labels: &LabelSelector) -> Option<impl Iterator<Item = &Object>> {
        let (index, value) = labels.equalities().find_map(|(label, value)| {
            let index = self.indexes.values().find(|index| index.label() == Some(label))?;
            Some((index, value))
        })?;
        Some(self.of_places(index.places(value)))
    }

    fn of_places(&self, places: Option<impl Iterator<Item = Place>>) -> impl Iterator<Item = &Object> {
        let mut objects: Vec<&Object> = places
            .into_iter()
            .flatten()
            .filter_map(|place| self.shelf.get(place))
            .collect();
        objects.sort_unstable_by_key(|object| object.key());
        objects.into_iter()
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
        for (place, object) in self.shelf.iter() {
            self.index_failures += index.put(place, object);
        }
        self.indexes.insert(name.into(), index);
        Ok(())
    }

    /// Heap bytes of an index, roughly; nothing where there is none of the name.
    pub(crate) fn index_weight(&self, name: &str) -> usize {
        self.indexes.get(name).map_or(0, Index::weight)
    }

    /// Heap bytes of all indexes, that of owners included, roughly.
    pub(crate) fn indexes_weight(&self) -> usize {
        self.indexes.values().chain([&self.owners]).map(Index::weight).sum()
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

    /// The version that a read of this namespace (none: of all of these) is at; none where a part has not been listed.
    /// Of several watches' versions the oldest counts.
    pub fn oldest(&self, namespaces: &Names, namespace: Option<&str>) -> Option<Version> {
        let of = |namespace: &str| self.version(&Scope::Namespace(namespace.into()));
        let oldest = match (namespace, namespaces) {
            (Some(namespace), _) => of(namespace)?,
            (None, Names::All) => {
                let all = self.versions.get(&Scope::All)?;
                self.versions
                    .values()
                    .fold(all, |oldest, version| match oldest.is_newer_than(version) {
                        true => version,
                        false => oldest,
                    })
            }
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
        if self.version(&scope).is_none_or(|at| older(at, object.head().version)) {
            self.awaited.insert(object);
        }
    }

    /// Applies one event of a watch. None where nothing changed, and where the event is older than the store.
    pub fn apply(&mut self, scope: &Scope, change: Change) -> Vec<Delta> {
        self.awaited
            .heard(change.object().key(), change.object().head().version);
        let at = self.versions.get(scope);
        let version = &change.object().head().version;
        let place = self.shelf.find(change.object().key());
        let held = place.and_then(|place| Some((place, self.shelf.get(place)?)));
        let stale = match held {
            Some((_, held)) => older(version, held.head().version),
            None => at.is_some_and(|at| older(version, at)),
        };
        if stale {
            self.stale += 1;
            return Vec::new();
        }
        match (change, held) {
            (Change::Put(new), Some((_, old))) if same(old, &new) => Vec::new(),
            (Change::Put(new), _) => self.put(place, new),
            (Change::Deleted(_), None) => Vec::new(),
            (Change::Deleted(last), Some((place, _))) => {
                let version = last.head().version.clone();
                self.remove(place)
                    .map(|old| {
                        // Under this name stood another object than the one whose deletion is told: its own was missed.
                        let last = (last.head().uid == old.head().uid).then_some(last);
                        Delta::gone(old, last, version)
                    })
                    .into_iter()
                    .collect()
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
            .filter(|(held, _)| match scope {
                Scope::All => !list.but.contains(held),
                // One that has a version of its own is written by its own watch alone.
                one => *held == one || (**held == Scope::All && !self.versions.contains_key(one)),
            })
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
        let lacks =
            |(place, object): &(Place, &Object)| !list.leaves(object.key()) && !list.named(&self.shelf, *place, object);
        let vanished: Vec<Place> = match scope {
            Scope::All => self.shelf.iter().filter(lacks).map(|(place, _)| place).collect(),
            Scope::Namespace(namespace) => self
                .places_in(namespace)
                .filter(lacks)
                .map(|(place, _)| place)
                .collect(),
        };
        // Those that the store held are among the vanished, or the list names them.
        let mut unheard = self
            .awaited
            .listed(&version, |key| scope.covers(key) && !list.leaves(key));
        unheard.retain(|written| {
            let key = written.key();
            self.shelf.find(key).is_none() && list.position(key).is_none() && !list.unreadable.contains(key)
        });
        for place in vanished {
            deltas.extend(self.remove(place).map(|old| Delta::gone(old, None, version.clone())));
        }
        for written in unheard {
            deltas.push(Delta::gone(written, None, version.clone()));
        }
        deltas.reserve_exact(list.changed.len());
        for new in list.changed.into_iter().flatten() {
            if !scope.covers(new.key()) || list.but.iter().any(|scope| scope.covers(new.key())) {
                continue;
            }
            let place = self.shelf.find(new.key());
            match place.and_then(|place| self.shelf.get(place)) {
                // More of the same object is no change that anybody is told of.
                Some(old) if same(old, &new) && old.json() == new.json() => {}
                Some(old) if same(old, &new) => drop(self.put(place, new)),
                Some(old) if !quorum && older(new.head().version, old.head().version) => self.stale += 1,
                _ => deltas.extend(self.put(place, new)),
            }
        }
        if *scope == Scope::All {
            self.versions.retain(|held, _| list.but.contains(held));
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
        let lost: Vec<Place> = self
            .shelf
            .iter()
            .filter(|(_, object)| !scopes.iter().any(|scope| scope.covers(object.key())))
            .map(|(place, _)| place)
            .collect();
        for place in lost {
            self.remove(place);
        }
    }

    /// Cuts what is held to `shape`, which answers none for an object that is to be left as it is, and an inner none
    /// for one that is to be freed. Nobody is told: nobody could see what is cut off.
    pub(crate) fn reshape(&mut self, shape: impl Fn(&Object) -> Option<Option<Object>>) {
        let places: Vec<Place> = self.shelf.iter().map(|(place, _)| place).collect();
        for place in places {
            let Some(old) = self.shelf.get(place) else {
                continue;
            };
            match shape(old) {
                None => {}
                Some(Some(new)) if new.json() == old.json() => {}
                Some(Some(new)) => drop(self.put(Some(place), new)),
                Some(None) => drop(self.remove(place)),
            }
        }
    }

    /// Puts an object in, at the place where its key stands already, if it does.
    fn put(&mut self, place: Option<Place>, new: Object) -> Vec<Delta> {
        let mut deltas = Vec::with_capacity(1);
        let mut old = place.and_then(|place| self.shelf.get(place)).cloned();
        if let Some(gone) = old.take_if(|old| old.head().uid != new.head().uid) {
            // Deleted and made anew while nobody looked: two objects, two histories.
            self.weight = self.weight.saturating_sub(gone.weight());
            deltas.push(Delta::gone(gone, None, new.head().version.clone()));
        }
        if let Some(old) = &old {
            self.weight = self.weight.saturating_sub(old.weight());
        }
        let place = match place {
            Some(place) => {
                self.shelf.replace(place, new);
                Some(place)
            }
            None => self.shelf.insert(new),
        };
        if let Some(place) = place
            && let Some(new) = self.shelf.get(place)
        {
            self.weight += new.weight();
            self.owners.put(place, new);
            for index in self.indexes.values_mut() {
                self.index_failures += index.put(place, new);
            }
            deltas.push(Delta::put(old, new.clone()));
        }
        deltas
    }

    fn remove(&mut self, place: Place) -> Option<Object> {
        let old = self.shelf.remove(place)?;
        self.weight = self.weight.saturating_sub(old.weight());
        let indexes = self.indexes.values_mut().chain([&mut self.owners]);
        if self.shelf.len() == 0 {
            indexes.for_each(Index::reset);
        } else {
            indexes.for_each(|index| index.clear(place));
        }
        Some(old)
    }
}

#[cfg(test)]
mod tests;
