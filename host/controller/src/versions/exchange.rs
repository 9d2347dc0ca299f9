//! The dispatcher's part when a plugin's versions come, change and go. Pure.
//!
//! Queues live across versions: a key that is in work on the old one waits for it, whatever asks for it; failures stay
//! counted; what waits is handed to whoever serves then.

use std::{sync::Arc, time::Duration};

use pilothouse_gate::breaker::Outcome;
use pilothouse_object::Key;
use pilothouse_workqueue::State;

use crate::{
    Cause, ControllerId, Dispatcher, Job, Waker, What,
    parked::{
        Heard,
        keeping::{Identity, Keeping},
    },
    scheduling::{
        dispatcher::{Entry, LOW_PRIORITY},
        hot_loops::Slowed,
    },
};

/// What a new version of a controller brings.
pub(crate) struct Succession<'a> {
    /// Whether a key lies in what it sees.
    pub(crate) sees: &'a dyn Fn(&Key) -> bool,
    /// It reconciles another kind: keys of the same names are others.
    pub(crate) other_kind: bool,
    /// What is new about it.
    pub(crate) by: Waker,
    /// Set where parked keys are kept: what it is, and how far it has heard.
    pub(crate) keeping: Option<(Identity, Heard)>,
}

impl Dispatcher {
    /// A new version takes over a registered controller, which waits for [`Dispatcher::start`] again. Keys that it does
    /// not see are dropped. Parked ones, and those in work, are asked for: what the old version makes of them is not
    /// the last word.
    pub(crate) fn succeed(&mut self, now: Duration, id: &ControllerId, new: Succession<'_>) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        entry.started = false;
        entry.slowed = Slowed::counted(entry.slowed.runs);
        let gone = |key: &Key| new.other_kind || !(new.sees)(key);
        let (mut dropped, mut again) = (Vec::new(), Vec::new());
        for view in entry.queue.entries() {
            if gone(view.key) {
                dropped.push(view.key.clone());
            } else if view.in_work.is_some() || matches!(view.state, State::Parked(_)) {
                again.push(view.key.clone());
            }
        }
        for key in &dropped {
            entry.queue.unpark(key);
            entry.queue.remove(key);
            entry.queue.forget(key);
        }
        let returning = entry.keeping.take().and_then(|keeping| keeping.returning);
        let waiting = returning.into_iter().flat_map(|returning| returning.changed);
        again.extend(waiting.map(|(record, _)| record.key).filter(|key| !gone(key)));
        entry.keeping = new
            .keeping
            .map(|(identity, heard)| Keeping::of_successor(identity, heard));
        for key in again {
            self.hand_over(now, id, key, new.by, true);
        }
        self.parked_changes += 1;
    }

    /// Asks for a key since another version serves than when it ran last.
    pub(crate) fn hand_over(&mut self, now: Duration, id: &ControllerId, key: Key, by: Waker, wakes: bool) {
        let cause = Cause::new(What::Woken { by }, None);
        self.add(now, id, key, LOW_PRIORITY, cause, wakes);
    }

    /// No key of this controller begins any more, and what waits is dropped. It is gone with
    /// [`Dispatcher::remove_retired`]; registered again before that, it serves again.
    pub(crate) fn retire(&mut self, id: &ControllerId) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        (entry.started, entry.retired, entry.keeping) = (false, true, None);
        let keys: Vec<Key> = entry.queue.entries().map(|view| view.key.clone()).collect();
        for key in &keys {
            entry.queue.unpark(key);
            entry.queue.remove(key);
            entry.queue.forget(key);
        }
        self.gate.remove(id);
        self.parked_changes += 1;
    }

    /// Forgets the plugin's retired controllers that have no key in work, and answers which, and whether it has none
    /// left.
    pub(crate) fn remove_retired(&mut self, plugin: &Arc<str>) -> (Vec<ControllerId>, bool) {
        let own = |id: &ControllerId| id.plugin == *plugin;
        let gone = |id: &ControllerId, entry: &Entry| own(id) && entry.retired && entry.queue.in_work() == 0;
        let removed = self.entries.remove(gone);
        let none_left = !self.entries.keys().any(own);
        if none_left {
            self.breakers.remove(plugin);
        }
        (removed, none_left)
    }

    /// Whether the controller runs.
    pub(crate) fn is_started(&self, id: &ControllerId) -> bool {
        self.entries.get(id).is_some_and(|entry| entry.started)
    }

    /// Ends a job that nobody is to begin: its key is not the controller's business any more.
    pub(crate) fn skip(&mut self, now: Duration, job: &Job) {
        self.release(job);
        // An end that says nothing draws nothing either.
        self.judged(now, &mut fastrand::Rng::with_seed(0), job, Outcome::Ignored);
        if let Some(entry) = self.entries.get_mut(&job.id) {
            entry.queue.forget(&job.taken.key);
            entry.queue.done(now, &job.taken.key);
        }
    }
}
