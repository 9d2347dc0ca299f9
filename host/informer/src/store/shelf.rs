//! Where the objects of a store stand: numbered places, found by key, walked in the order of keys.
//!
//! An object keeps its place while it changes, so indexes hold places and are not touched by a change that changes no
//! value of theirs. A place that was left and taken anew has another stamp: who remembers both knows which object it
//! was.

use std::{
    cmp::Ordering,
    hash::{BuildHasher, RandomState},
};

use hashbrown::HashTable;
use pilothouse_object::{Key, Object};

/// The number of a place.
pub(crate) type Place = u32;

/// Places in one run of the order. A run that is full is cut in two, and moving half of it is cheap.
const RUN: usize = 512;

#[derive(Debug, Default)]
pub(crate) struct Shelf {
    objects: Vec<Option<Object>>,
    /// How often each place was left.
    stamps: Vec<u32>,
    /// What a place that is made begins with: more than any place had before the shelf was last empty.
    first_stamp: u32,
    free: Vec<Place>,
    by_key: HashTable<Place>,
    hasher: RandomState,
    /// All taken places by key: runs, none of them empty.
    order: Vec<Vec<Place>>,
}

impl Shelf {
    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(crate) fn get(&self, place: Place) -> Option<&Object> {
        self.objects.get(place as usize)?.as_ref()
    }

    pub(crate) fn stamp(&self, place: Place) -> u32 {
        self.stamps.get(place as usize).copied().unwrap_or_default()
    }

    pub(crate) fn find(&self, key: &Key) -> Option<Place> {
        let hash = self.hasher.hash_one(key);
        let is = |place: &Place| self.get(*place).is_some_and(|object| object.key() == key);
        self.by_key.find(hash, is).copied()
    }

    /// Puts an object in place of what stands there under the same key.
    pub(crate) fn replace(&mut self, place: Place, mut object: Object) {
        if let Some(held) = self.objects.get_mut(place as usize) {
            if let Some(held) = held {
                object.share_key(held.key());
            }
            *held = Some(object);
        }
    }

    /// Gives an object with a new key a place; none where there is no more room: four thousand million of them.
    pub(crate) fn insert(&mut self, mut object: Object) -> Option<Place> {
        let (run, at) = self.position(object.key());
        // Objects of one namespace stand side by side and share its name.
        let beside = [at.checked_sub(1), Some(at)].into_iter().flatten();
        let beside = beside
            .filter_map(|at| self.get(*self.order.get(run)?.get(at)?))
            .filter_map(|o| o.key().namespace.clone());
        if let Some(namespace) = beside
            .into_iter()
            .find(|own| object.key().namespace.as_ref() == Some(own))
        {
            object.share_namespace(&namespace);
        }
        let hash = self.hasher.hash_one(object.key());
        let place = match self.free.pop() {
            Some(place) => {
                self.objects[place as usize] = Some(object);
                place
            }
            None => {
                let place = Place::try_from(self.objects.len()).ok()?;
                self.objects.push(Some(object));
                self.stamps.push(self.first_stamp.max(1));
                place
            }
        };
        let (objects, hasher) = (&self.objects, &self.hasher);
        let rehash = |place: &Place| {
            objects
                .get(*place as usize)
                .and_then(Option::as_ref)
                .map_or(0, |o| hasher.hash_one(o.key()))
        };
        self.by_key.insert_unique(hash, place, rehash);
        self.enter(run, at, place);
        Some(place)
    }

    fn enter(&mut self, run: usize, at: usize, place: Place) {
        let last = run + 1 == self.order.len();
        match self.order.get_mut(run) {
            None => self.order.push(vec![place]),
            // What comes in order fills runs to their end.
            Some(full) if full.len() >= RUN && last && at == full.len() => {
                let mut run = Vec::with_capacity(RUN);
                run.push(place);
                self.order.push(run);
            }
            Some(full) if full.len() >= RUN => {
                let mut upper = full.split_off(RUN / 2);
                if at <= full.len() {
                    full.insert(at, place);
                } else {
                    upper.insert(at - full.len(), place);
                }
                self.order.insert(run + 1, upper);
            }
            Some(run) => run.insert(at, place),
        }
    }

    /// Takes an object away.
    pub(crate) fn remove(&mut self, place: Place) -> Option<Object> {
        let key = self.get(place)?.key().clone();
        let (run, at) = self.position(&key);
        if let Some(places) = self.order.get_mut(run)
            && places.get(at) == Some(&place)
        {
            places.remove(at);
            if places.is_empty() {
                self.order.remove(run);
            }
        }
        if let Ok(entry) = self.by_key.find_entry(self.hasher.hash_one(&key), |own| *own == place) {
            entry.remove();
        }
        let object = self.objects.get_mut(place as usize)?.take();
        if self.by_key.is_empty() {
            // Whoever remembers a place must not take one that comes later for it.
            let stamp = self.stamps.iter().max().copied().unwrap_or_default();
            *self = Self {
                first_stamp: stamp.wrapping_add(1),
                ..Self::default()
            };
            return object;
        }
        if let Some(stamp) = self.stamps.get_mut(place as usize) {
            *stamp = stamp.wrapping_add(1);
        }
        self.free.push(place);
        object
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Place, &Object)> {
        self.order
            .iter()
            .flatten()
            .filter_map(|place| Some((*place, self.get(*place)?)))
    }

    /// From the first object whose key is not less.
    pub(crate) fn from<'a>(&'a self, key: &Key) -> impl Iterator<Item = (Place, &'a Object)> + use<'a> {
        let (run, at) = self.position(key);
        let rest = self.order.get(run..).unwrap_or_default();
        let first = rest.first().and_then(|run| run.get(at..)).unwrap_or_default();
        first
            .iter()
            .chain(rest.iter().skip(1).flatten())
            .filter_map(|place| Some((*place, self.get(*place)?)))
    }

    /// Where a key stands in the order, or would stand: which run, and where in it.
    fn position(&self, key: &Key) -> (usize, usize) {
        let less = |place: &Place| {
            self.get(*place)
                .is_some_and(|object| object.key().cmp(key) == Ordering::Less)
        };
        // The last run that begins before the key.
        let run = self
            .order
            .partition_point(|run| run.first().is_some_and(less))
            .saturating_sub(1);
        let Some(places) = self.order.get(run) else {
            return (0, 0);
        };
        let at = places.partition_point(less);
        if at == places.len() && run + 1 < self.order.len() && at > 0 && places.len() >= RUN {
            // Between two runs: the next has more room, or is cut.
            return (run + 1, 0);
        }
        (run, at)
    }
}
