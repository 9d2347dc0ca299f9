//! The ready keys by priority; where lanes take turns, within one priority by lane.
//!
//! A lane is a number that whoever owns the queue makes of a key. Lanes of one priority are served in the order of
//! their numbers, round and round, one key each. Without lanes all keys stand in one, and nothing costs more than it
//! must.

use crate::entry::Entry;
use crate::slab::{List, Slab, Thread};
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included};

/// What makes a lane of a key.
pub(crate) type Lane<K> = fn(&K) -> u64;

#[derive(Debug)]
pub(crate) struct Levels<K> {
    /// By priority and lane, in order of their entry. None is empty.
    lists: BTreeMap<(i32, u64), List>,
    lane: Option<Lane<K>>,
    /// Which lane of a priority had its turn last; kept while keys of that priority are ready, and only with lanes.
    last: BTreeMap<i32, u64>,
}

impl<K> Levels<K> {
    pub(crate) fn new() -> Self {
        Self {
            lists: BTreeMap::new(),
            lane: None,
            last: BTreeMap::new(),
        }
    }

    pub(crate) fn lane(&self) -> Option<Lane<K>> {
        self.lane
    }

    /// Only while nothing is linked.
    pub(crate) fn set_lane(&mut self, lane: Option<Lane<K>>) {
        self.lane = lane;
        self.last.clear();
    }

    fn place<C>(&self, slots: &Slab<Entry<K, C>>, slot: usize) -> (i32, u64) {
        let entry = &slots[slot];
        (entry.priority, self.lane.map_or(0, |lane| lane(&entry.key)))
    }

    /// At the tail of its level and lane.
    pub(crate) fn link<C>(&mut self, slots: &mut Slab<Entry<K, C>>, slot: usize) {
        let place = self.place(slots, slot);
        self.lists
            .entry(place)
            .or_insert_with(|| List::new(Thread::Stage))
            .push_back(slots, slot);
    }

    pub(crate) fn unlink<C>(&mut self, slots: &mut Slab<Entry<K, C>>, slot: usize) {
        let place = self.place(slots, slot);
        let Some(list) = self.lists.get_mut(&place) else {
            return;
        };
        list.unlink(slots, slot);
        if list.is_empty() {
            self.lists.remove(&place);
            if self.lane.is_some() && self.lists.range((place.0, 0)..=(place.0, u64::MAX)).next().is_none() {
                self.last.remove(&place.0);
            }
        }
    }

    /// Whose turn it is.
    pub(crate) fn first(&self) -> Option<usize> {
        let ((priority, _), highest) = self.lists.last_key_value()?;
        if self.lane.is_none() {
            return highest.head();
        }
        let of = |lane: u64| (*priority, lane);
        let next = self.last.get(priority).and_then(|last| {
            let behind = (Excluded(of(*last)), Included(of(u64::MAX)));
            self.lists.range(behind).next()
        });
        let (_, list) = next.or_else(|| self.lists.range(of(0)..).next())?;
        list.head()
    }

    /// It is linked, and has its turn.
    pub(crate) fn turn<C>(&mut self, slots: &Slab<Entry<K, C>>, slot: usize) {
        if self.lane.is_some() {
            let (priority, lane) = self.place(slots, slot);
            self.last.insert(priority, lane);
        }
    }

    /// How many keys are ready, by priority.
    pub(crate) fn depth(&self) -> BTreeMap<i32, usize> {
        let mut depth = BTreeMap::new();
        for ((priority, _), list) in &self.lists {
            *depth.entry(*priority).or_default() += list.len();
        }
        depth
    }
}
