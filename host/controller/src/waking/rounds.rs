//! The resyncs of all controllers that serve.

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use pilothouse_informer::Reader;
use pilothouse_object::Key;

use crate::{
    ControllerId,
    lock::lock,
    versions::live::Live,
    waking::resync::{Resync, Spot, Walk},
};

/// The resyncs of the controllers that serve.
#[derive(Default)]
pub(crate) struct Rounds {
    by_controller: BTreeMap<ControllerId, Resync>,
    /// Of [`Live::changes`], when this was looked at last.
    changes: u64,
    /// When the first of them has something to do.
    due: Option<Duration>,
}

impl Rounds {
    /// The keys whose turn it is, and how often it is.
    pub(crate) fn step(
        &mut self,
        now: Duration,
        live: &Mutex<Live>,
        rng: &mut fastrand::Rng,
    ) -> Vec<(ControllerId, Key, Duration)> {
        let due: Vec<_> = {
            let live = lock(live);
            if live.changes() != self.changes {
                self.changes = live.changes();
                self.follow(now, &live, rng);
            }
            if self.due.is_none_or(|due| due > now) {
                return Vec::new();
            }
            let due = self.by_controller.iter().filter(|(_, round)| round.due() <= now);
            due.filter_map(|(id, _)| live.controller(id).cloned()).collect()
        };
        let mut turns = Vec::new();
        for controller in due {
            if let Some(round) = self.by_controller.get_mut(&controller.id) {
                let keys = round.step(now, &Primaries(&controller.primaries));
                turns.extend(keys.into_iter().map(|key| (controller.id.clone(), key, round.every())));
            }
        }
        self.due = self.first_due();
        turns
    }

    /// A round goes on under the next version where its period is the same.
    fn follow(&mut self, now: Duration, live: &Live, rng: &mut fastrand::Rng) {
        let mut before = std::mem::take(&mut self.by_controller);
        for controller in live.controllers() {
            let Some(every) = controller.resync else { continue };
            let round = before.remove(&controller.id).filter(|round| round.every() == every);
            let round = round.unwrap_or_else(|| Resync::new(now, every, rng));
            self.by_controller.insert(controller.id.clone(), round);
        }
        self.due = self.first_due();
    }

    fn first_due(&self) -> Option<Duration> {
        self.by_controller.values().map(Resync::due).min()
    }

    /// When the next key has its turn.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.due
    }
}

/// A controller's windows on its own kind, for resyncs.
struct Primaries<'a>(&'a [Reader]);

impl Walk for Primaries<'_> {
    fn len(&self) -> usize {
        self.0.iter().map(Reader::cached).sum()
    }

    fn after(&self, spot: Option<&Spot>, most: usize) -> (Vec<Key>, Option<Spot>) {
        let (first, mut from) = spot.map_or((0, None), |(window, key)| (*window, Some(key)));
        let (mut keys, mut last, mut left) = (Vec::new(), None, most);
        for (number, window) in self.0.iter().enumerate().skip(first) {
            // A window that is not filled yet has nothing to resync.
            let slice = window.keys_after(from.take(), left).unwrap_or_default();
            keys.extend(slice.keys);
            left -= slice.looked_at;
            last = slice.last.map(|key| (number, key)).or(last);
            if left == 0 {
                break;
            }
        }
        (keys, last)
    }
}
