//! Where each key stands: a hash table of slot numbers.
//!
//! The keys themselves stand in the slots and nowhere else: an entry of the table is eight bytes, whatever the key.
//! Half of them are the key's hash, so that a table that grows hashes no key again and most look-ups compare one key at
//! most. Hashed with the standard library's keyed hash, since keys are named by the cluster's users. The table's order
//! is random, so nothing walks through it.

use crate::entry::Entry;
use crate::slab::Slab;
use hashbrown::HashTable;
use std::hash::{BuildHasher, Hash, RandomState};

#[derive(Debug)]
pub(crate) struct Index {
    table: HashTable<Place>,
    hashing: RandomState,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    hash: u32,
    slot: u32,
}

impl Index {
    pub(crate) fn new() -> Self {
        Self {
            table: HashTable::new(),
            hashing: RandomState::new(),
        }
    }

    pub(crate) fn hash<K: Hash>(&self, key: &K) -> u32 {
        self.hashing.hash_one(key) as u32
    }

    /// The slot of the key that has this hash.
    pub(crate) fn find<K: Eq, C>(&self, slots: &Slab<Entry<K, C>>, hash: u32, key: &K) -> Option<usize> {
        let same = |place: &Place| place.hash == hash && slots[place.slot as usize].key == *key;
        self.table.find(spread(hash), same).map(|place| place.slot as usize)
    }

    /// The key has no slot yet.
    pub(crate) fn insert(&mut self, hash: u32, slot: usize) {
        // Lossless: slots are numbered by 32 bits.
        let place = Place {
            hash,
            slot: slot as u32,
        };
        self.table
            .insert_unique(spread(hash), place, |place| spread(place.hash));
    }

    /// `keep` is how many keys there should be room for when none is left.
    pub(crate) fn remove(&mut self, hash: u32, slot: usize, keep: impl FnOnce() -> usize) {
        if let Ok(place) = self.table.find_entry(spread(hash), |place| place.slot as usize == slot) {
            place.remove();
        }
        if self.table.is_empty() {
            self.table.shrink_to(keep(), |place| spread(place.hash));
        }
    }
}

/// The table finds its bucket by the low bits and tells entries of one bucket apart by the highest seven.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}
