//! A list on its way into the store.

use std::{
    collections::BTreeSet,
    hash::{BuildHasher, RandomState},
};

use hashbrown::HashTable;
use pilothouse_object::{Key, Object};

use super::{
    Scope, Store, same,
    shelf::{Place, Shelf},
};

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
    /// By place: the stamp of what stood there when the list named it unchanged. A stamp is never zero while it counts.
    seen: Vec<u32>,
    /// In list order; none where it is gone since.
    pub(super) changed: Vec<Option<Object>>,
    /// Their places in `changed`.
    by_key: HashTable<usize>,
    hasher: RandomState,
    /// What the list named and nobody could read.
    pub(super) unreadable: BTreeSet<Key>,
    /// What is held may lack what this list brings of the same objects: hold everything.
    anew: bool,
    /// Parts that others hold: the list says nothing about them.
    pub(super) but: Vec<Scope>,
}

impl Relist {
    /// A list on its way in. `anew`: it may bring more of the objects than the store holds.
    pub(crate) fn begin(anew: bool) -> Self {
        Self {
            anew,
            ..Self::default()
        }
    }

    /// How many objects it keeps until it is put into the store.
    #[cfg(test)]
    pub(crate) fn kept(&self) -> usize {
        self.changed.iter().flatten().count()
    }

    /// Leaves these parts to those that hold them.
    pub(crate) fn leave(&mut self, but: Vec<Scope>) {
        self.but = but;
    }

    /// Cuts what is held so far; none takes an object out.
    pub(crate) fn reshape(&mut self, shape: impl Fn(&Object) -> Option<Object>) {
        for (at, staged) in self.changed.iter_mut().enumerate() {
            let Some(object) = staged else {
                continue;
            };
            let shaped = shape(object);
            if shaped.is_none() {
                let hash = self.hasher.hash_one(object.key());
                if let Ok(found) = self.by_key.find_entry(hash, |own| *own == at) {
                    found.remove();
                }
            }
            *staged = shaped;
        }
    }

    pub(super) fn leaves(&self, key: &Key) -> bool {
        self.but.iter().any(|scope| scope.covers(key))
    }

    /// Takes one element in. The same key again (a page that was asked for twice) replaces what was there.
    pub fn stage(&mut self, store: &Store, item: Item) {
        let object = match item {
            Item::Object(object) => object,
            Item::Unreadable(key) => {
                self.unreadable.insert(key);
                return;
            }
            Item::Gone(key) => {
                self.drop_named(store, &key);
                return;
            }
        };
        if let Some(at) = self.position(object.key()) {
            self.changed[at] = Some(object);
            return;
        }
        if !self.anew
            && let Some(place) = store.shelf.find(object.key())
            && store.shelf.get(place).is_some_and(|held| same(held, &object))
        {
            let at = place as usize;
            if self.seen.len() <= at {
                self.seen.resize(at + 1, 0);
            }
            self.seen[at] = store.shelf.stamp(place);
            return;
        }
        let (changed, hasher) = (&self.changed, &self.hasher);
        let at = |at: &usize| changed.get(*at).and_then(Option::as_ref);
        let rehash = |place: &usize| at(place).map_or(0, |object| hasher.hash_one(object.key()));
        let hash = hasher.hash_one(object.key());
        self.by_key.insert_unique(hash, self.changed.len(), rehash);
        self.changed.push(Some(object));
    }

    /// The list has named an object that is gone since.
    fn drop_named(&mut self, store: &Store, key: &Key) {
        self.unreadable.remove(key);
        if let Some(place) = store.shelf.find(key)
            && let Some(seen) = self.seen.get_mut(place as usize)
        {
            *seen = 0;
        }
        let changed = &self.changed;
        let is = |at: &usize| matches!(changed.get(*at), Some(Some(object)) if object.key() == key);
        if let Ok(found) = self.by_key.find_entry(self.hasher.hash_one(key), is) {
            let (at, _) = found.remove();
            self.changed[at] = None;
        }
    }

    /// Where a key stands in `changed`.
    pub(super) fn position(&self, key: &Key) -> Option<usize> {
        let is = |at: &usize| matches!(self.changed.get(*at), Some(Some(object)) if object.key() == key);
        self.by_key.find(self.hasher.hash_one(key), is).copied()
    }

    /// True where the list named the object that stands at this place.
    pub(super) fn named(&self, store: &Shelf, place: Place, object: &Object) -> bool {
        let seen = self.seen.get(place as usize).copied().unwrap_or_default();
        (seen != 0 && seen == store.stamp(place))
            || self.position(object.key()).is_some()
            || self.unreadable.contains(object.key())
    }
}
