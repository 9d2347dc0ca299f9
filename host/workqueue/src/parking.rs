//! Parked keys: attempts have ended, and only a change brings them back.

use crate::entry::{Entry, Stage};
use crate::errors::{Errors, Failure};
use crate::queue::{Ask, Queue};
use crate::view::{Parked, ParkedKey};
use std::hash::Hash;
use std::time::Duration;

/// A reason that is longer is cut at this many bytes, at a character's border. Reasons come from plugins and servers.
pub const MAX_REASON: usize = 1024;

impl<K: Clone + Eq + Hash, C> Queue<K, C> {
    /// No more attempts until something changes: for terminal failures, and to set down what was parked before a
    /// restart. For a key in work call it before [`Queue::done`]; the attempt is counted, the back-off does not grow.
    ///
    /// Answers false, and does not park, where an add that wakes parked keys waits already: that change came after the
    /// failed attempt began, so it gets an attempt of its own. Adds that don't wake ([`Queue::add_unless_parked`]) and
    /// retries give way. On a parked key it replaces reason and cause.
    pub fn park(&mut self, now: Duration, key: &K, reason: String, cause: C) -> bool {
        self.advance(now);
        let slot = match self.find(key) {
            Some(slot) => slot,
            None => self.slot_of(key.clone()),
        };
        let entry = &mut self.slots[slot];
        if let Stage::Parked(parked) = &mut entry.stage {
            parked.reason = bounded(&reason);
            parked.cause = cause;
            return true;
        }
        if entry.work.is_some() {
            entry.tries.attempts = entry.tries.attempts.saturating_add(1);
        }
        if entry.pending() && entry.wakes {
            entry.tries.earlier = entry.tries.attempts;
            return false;
        }
        self.settle(now, slot, &reason, cause);
        true
    }

    /// Sets down a key that was parked before a restart, with what was known of it: reason and errors are cut to their
    /// bounds, the attempts count on. It comes back with the priority 0.
    ///
    /// Answers false, and does nothing, where the queue knows of the key already.
    pub fn restore(&mut self, key: K, parked: Parked<C>, errors: impl IntoIterator<Item = Failure>) -> bool {
        if self.find(&key).is_some() {
            return false;
        }
        let slot = self.slot_of(key);
        self.parked += 1;
        let entry = &mut self.slots[slot];
        entry.tries.attempts = parked.attempts;
        entry.tries.earlier = parked.attempts;
        entry.errors = Errors::of(errors);
        entry.since = parked.since;
        entry.stage = Stage::Parked(Box::new(Parked {
            reason: bounded(&parked.reason),
            ..parked
        }));
        true
    }

    /// Remembers why the attempt that is in work failed, for [`crate::EntryView::errors`]. Call it before
    /// [`Queue::retry`], [`Queue::retry_after`] or [`Queue::park`], which count the attempt and know no reason.
    /// Forgotten with [`Queue::forget`]; ignored for a key that is not in work.
    pub fn failed(&mut self, now: Duration, key: &K, reason: &str) {
        let Some(slot) = self.find(key) else {
            return;
        };
        let entry = &mut self.slots[slot];
        if entry.work.is_some() {
            let attempt = entry.tries.attempts.saturating_add(1);
            entry.errors.push(now, attempt, reason);
        }
    }

    /// Queues a parked key at once, with the priority it had and a new round of attempts: for a person, new
    /// configuration, a new module. Answers false where the key is not parked or the queue is shut down: then nothing
    /// happens.
    pub fn wake(&mut self, now: Duration, key: &K, cause: C) -> bool {
        self.advance(now);
        let Some(slot) = self.find(key) else {
            return false;
        };
        let entry = &self.slots[slot];
        if self.shut_down || !matches!(entry.stage, Stage::Parked(_)) {
            return false;
        }
        let priority = entry.priority;
        self.leave_parked(slot);
        self.merge(
            now,
            slot,
            Ask {
                delay: Duration::ZERO,
                priority,
                wakes: true,
                cause,
            },
        );
        true
    }

    /// Takes a key off the parked ones without running it, and answers why it stood there. For keys that are no longer
    /// this controller's business. Its failures stay counted until [`Queue::forget`].
    pub fn unpark(&mut self, key: &K) -> Option<Parked<C>> {
        let slot = self.find(key)?;
        let parked = self.leave_parked(slot)?;
        self.drop_if_idle(slot);
        Some(parked)
    }

    /// The parked keys, in no order that means anything (but the same order for the same operations). Walks through all
    /// entries.
    pub fn parked(&self) -> impl Iterator<Item = ParkedKey<'_, K, C>> {
        self.slots.iter().filter_map(parked_key)
    }

    /// How many keys are parked.
    pub fn parked_len(&self) -> usize {
        self.parked
    }

    /// True where this key is parked.
    pub fn is_parked(&self, key: &K) -> bool {
        self.find(key)
            .is_some_and(|slot| matches!(self.slots[slot].stage, Stage::Parked(_)))
    }

    /// Parks what is not parked. What waits gives way.
    pub(crate) fn settle(&mut self, now: Duration, slot: usize, reason: &str, cause: C) {
        self.cancel(slot);
        self.parked += 1;
        let entry = &mut self.slots[slot];
        if let Some(work) = entry.work {
            entry.priority = work.priority;
        }
        entry.since = now;
        entry.stage = Stage::Parked(Box::new(Parked {
            reason: bounded(reason),
            cause,
            since: now,
            attempts: entry.tries.attempts,
        }));
    }

    /// The entry is idle after this, with a new round of attempts before it.
    pub(crate) fn leave_parked(&mut self, slot: usize) -> Option<Parked<C>> {
        let entry = &mut self.slots[slot];
        match std::mem::replace(&mut entry.stage, Stage::Idle) {
            Stage::Parked(parked) => {
                entry.tries.earlier = entry.tries.attempts;
                self.parked -= 1;
                Some(*parked)
            }
            other => {
                entry.stage = other;
                None
            }
        }
    }
}

fn parked_key<K, C>(entry: &Entry<K, C>) -> Option<ParkedKey<'_, K, C>> {
    match &entry.stage {
        Stage::Parked(parked) => Some(ParkedKey {
            key: &entry.key,
            priority: entry.priority,
            parked,
        }),
        _ => None,
    }
}

fn bounded(reason: &str) -> String {
    reason[..reason.floor_char_boundary(MAX_REASON)].to_owned()
}
