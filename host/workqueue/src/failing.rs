//! What follows a failed attempt, and a good one.

use crate::entry::{Stage, Tries};
use crate::errors::Errors;
use crate::limiter::Limits;
use crate::queue::{Ask, Queue};
use crate::view::Retry;
use std::hash::Hash;
use std::time::Duration;

impl<K: Clone + Eq + Hash, C> Queue<K, C> {
    /// How it retries from now on. What is delayed already keeps its time, and a bucket that stays as it was its
    /// tokens.
    pub fn set_limits(&mut self, limits: impl Into<Limits>) {
        self.limiter.set(limits);
    }

    /// How it retries.
    pub fn limits(&self) -> &Limits {
        self.limiter.limits()
    }

    /// The attempt failed: count it, and run again after the back-off, with the priority it had.
    ///
    /// For a key in work, before its [`Queue::done`]. Where its attempts are used up ([`crate::Limit::Attempts`]) the
    /// key is parked instead, unless a waking add came in meanwhile: that one gives it a new round. Every limiter is
    /// asked in any case: the attempt has failed, whatever becomes of the key.
    pub fn retry(&mut self, now: Duration, key: K, rng: &mut fastrand::Rng, cause: C) -> Retry {
        self.fail(now, key, Some(rng), Duration::ZERO, cause)
    }

    /// Like [`Queue::retry`], with a wait that the failure itself names (a `Retry-After`, a plugin's own choice)
    /// instead of the back-off. Counts as an attempt; the next back-off does not grow.
    pub fn retry_after(&mut self, now: Duration, key: K, delay: Duration, cause: C) -> Retry {
        self.fail(now, key, None, delay, cause)
    }

    /// It went well: its failures are forgotten, for all limiters. Nothing else changes; a [`Queue::done`] is still
    /// owed.
    pub fn forget(&mut self, key: &K) {
        if let Some(slot) = self.find(key) {
            self.slots[slot].tries = Tries::default();
            self.slots[slot].errors = Errors::default();
            self.drop_if_idle(slot);
        }
    }

    /// How many rate-limited retries the key has had since it was forgotten.
    pub fn failures(&self, key: &K) -> u32 {
        self.find(key).map_or(0, |slot| self.slots[slot].tries.failures)
    }

    fn fail(&mut self, now: Duration, key: K, backoff: Option<&mut fastrand::Rng>, delay: Duration, cause: C) -> Retry {
        self.advance(now);
        let slot = self.slot_of(key);
        let entry = &mut self.slots[slot];
        if matches!(entry.stage, Stage::Parked(_)) {
            return Retry::Parked;
        }
        let mut delay = delay;
        if let Some(rng) = backoff {
            delay = self.limiter.wait(now, entry.tries.failures, rng);
            entry.tries.failures = entry.tries.failures.saturating_add(1);
        }
        entry.tries.attempts = entry.tries.attempts.saturating_add(1);
        let spent = entry.tries.attempts - entry.tries.earlier;
        if self.limiter.gives_up(spent) {
            if entry.pending() && entry.wakes {
                entry.tries.earlier = entry.tries.attempts;
            } else {
                self.settle(
                    now,
                    slot,
                    &format!("gave up after {spent} failed attempts in a row"),
                    cause,
                );
                return Retry::Parked;
            }
        }
        let entry = &self.slots[slot];
        if self.shut_down && !entry.pending() {
            self.drop_if_idle(slot);
            return Retry::ShutDown;
        }
        let priority = entry.work.map_or(entry.priority, |work| work.priority);
        self.merge(
            now,
            slot,
            Ask {
                delay,
                priority,
                wakes: false,
                cause,
            },
        );
        self.retries += 1;
        Retry::After(match self.slots[slot].stage {
            Stage::Delayed(due) => due.saturating_sub(now),
            _ => Duration::ZERO,
        })
    }
}
