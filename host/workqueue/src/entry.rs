//! What the queue knows of one key.

use crate::causes::Causes;
use crate::errors::Errors;
use crate::view::Parked;
use crate::wheel::Timed;
use std::time::Duration;

/// One key. It stands in exactly one slot, and is dropped when it is idle, not in work and has no failures.
#[derive(Debug)]
pub(crate) struct Entry<K, C> {
    pub(crate) key: K,
    /// Of the key, as the index made it.
    pub(crate) hash: u32,
    /// Set from get to done. Independent of the stage, which says what comes after this run.
    pub(crate) work: Option<Work>,
    pub(crate) stage: Stage<C>,
    /// Of the run that waits; of the last one where none waits.
    pub(crate) priority: i32,
    /// Somebody who wakes parked keys asked for the run that waits: parking must not swallow it. False where none
    /// waits.
    pub(crate) wakes: bool,
    /// Since when the stage holds: for a queued key since it was first asked for, or fell due.
    pub(crate) since: Duration,
    /// Of the run that waits.
    pub(crate) causes: Causes<C>,
    pub(crate) tries: Tries,
    /// Since forget, as [`crate::Queue::failed`] was told.
    pub(crate) errors: Errors,
}

/// A run that is under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    pub(crate) since: Duration,
    /// What the key was given out with: a retry keeps it.
    pub(crate) priority: i32,
    /// Where the queue's `served` keeps its causes.
    pub(crate) served: usize,
}

/// What comes next for a key.
#[derive(Debug)]
pub(crate) enum Stage<C> {
    /// Nothing.
    Idle,
    /// A run. While the key is in work it stands in no list; `done` appends it. Otherwise it stands in the list of its
    /// level and in the line.
    Queued,
    /// A run once this time has come. Stands in the queue's `timers`, also while the key is in work.
    Delayed(Duration),
    /// Nothing until it is woken.
    Parked(Box<Parked<C>>),
}

/// How often it failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tries {
    /// Back-offs since forget: the exponent of the next one.
    pub(crate) failures: u32,
    /// Attempts since forget that ended badly, in whatever way.
    pub(crate) attempts: u32,
    /// What `attempts` was when the key was woken last: waking gives a new round of attempts.
    pub(crate) earlier: u32,
}

impl<K, C> Entry<K, C> {
    pub(crate) fn new(key: K, hash: u32) -> Self {
        Self {
            key,
            hash,
            work: None,
            stage: Stage::Idle,
            priority: 0,
            wakes: false,
            since: Duration::ZERO,
            causes: Causes::default(),
            tries: Tries::default(),
            errors: Errors::default(),
        }
    }

    /// True where a run waits, now or later.
    pub(crate) fn pending(&self) -> bool {
        matches!(self.stage, Stage::Queued | Stage::Delayed(_))
    }
}

impl<K, C> Timed for Entry<K, C> {
    /// Of a delayed key; nobody asks for that of another.
    fn due(&self) -> Duration {
        match self.stage {
            Stage::Delayed(due) => due,
            _ => Duration::ZERO,
        }
    }
}
