//! The parked keys of controllers that are not there: their plugin is disabled, refused or gone, since the last host
//! kept them or since this one unloaded it. They wait for them, and are written again meanwhile. Pure.
//!
//! Bounded: at most [`MAX_KEYS`] wait, what was parked longer than [`WAITS`] before a host's start is let go of, and
//! where there are more parked keys than are written, these are the first that have no room.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{Heard, Kept, MAX_KEYS, Record};
use crate::ControllerId;

/// So long after a key was parked it waits for a plugin that is not there.
pub const WAITS: Duration = Duration::from_hours(30 * 24);

/// What waits, by controller.
#[derive(Debug, Default)]
pub(crate) struct Absent(BTreeMap<ControllerId, (Vec<Record>, Heard)>);

impl Absent {
    /// What the last host kept, at this time.
    pub(crate) fn new(now: Duration, kept: Kept) -> Self {
        let mut absent: BTreeMap<ControllerId, (Vec<Record>, Heard)> = BTreeMap::new();
        for record in kept.records {
            if now.saturating_sub(record.since) <= WAITS {
                absent.entry(record.id.clone()).or_default().0.push(record);
            }
        }
        for (id, heard) in kept.heard {
            if let Some(own) = absent.get_mut(&id) {
                own.1 = heard;
            }
        }
        Self(absent)
    }

    /// A controller goes: its parked keys, and how far it had heard. Where there is no room for all, those that were
    /// parked first have it.
    pub(crate) fn put(&mut self, id: ControllerId, mut records: Vec<Record>, heard: Heard) {
        records.sort_by_key(|record| record.since);
        records.truncate(MAX_KEYS.saturating_sub(self.waiting().0));
        if !records.is_empty() {
            self.0.insert(id, (records, heard));
        }
    }

    /// A controller comes: what was kept of it.
    pub(crate) fn take(&mut self, id: &ControllerId) -> (Vec<Record>, Heard) {
        self.0.remove(id).unwrap_or_default()
    }

    /// All controllers of a plugin have come: it has no others.
    pub(crate) fn forget(&mut self, plugin: &str) {
        self.0.retain(|id, _| *id.plugin != *plugin);
    }

    /// How many keys wait, and of which plugins.
    pub(crate) fn waiting(&self) -> (usize, BTreeSet<Arc<str>>) {
        let keys = self.0.values().map(|(records, _)| records.len()).sum();
        (keys, self.0.keys().map(|id| id.plugin.clone()).collect())
    }

    /// Writes down what waits behind what is kept already, at most `room` keys, those that were parked first.
    pub(crate) fn append(&self, kept: &mut Kept, room: usize) {
        let mut waiting: Vec<&Record> = self.0.values().flat_map(|(records, _)| records).collect();
        let order = |record: &&Record| (record.since, record.id.clone(), record.key.clone());
        if waiting.len() > room {
            waiting.sort_unstable_by_key(|record| record.since);
            kept.no_room += waiting.len() - room;
            waiting.truncate(room);
        }
        waiting.sort_by_cached_key(order);
        for record in waiting {
            if let Some((_, heard)) = self.0.get(&record.id)
                && *heard != Heard::default()
                && !kept.heard.contains_key(&record.id)
            {
                kept.heard.insert(record.id.clone(), heard.clone());
            }
            kept.records.push(record.clone());
        }
    }
}
