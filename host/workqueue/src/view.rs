//! What the queue tells: what was taken, how a retry was answered, and what can be looked at from outside.

use crate::causes::Causes;
use crate::errors::Failure;
use std::collections::BTreeMap;
use std::time::Duration;

/// A key that is in work now. The caller owes a [`crate::Queue::done`] for it, however the work ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken<K, C> {
    /// The key.
    pub key: K,
    /// The highest priority it was asked for with.
    pub priority: i32,
    /// Who asked for this run.
    pub causes: Causes<C>,
    /// 1 for the first try since the key last went well ([`crate::Queue::forget`]).
    pub attempt: u32,
    /// How long it waited since it was first asked for, or since it fell due (`workqueue_queue_duration_seconds`).
    pub queued_for: Duration,
}

/// What became of a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It runs again no earlier than after this time. Shorter than the back-off where something else asked for an
    /// earlier run; zero where something asked for a run at once.
    After(Duration),
    /// Its attempts are used up: it is parked. [`crate::Queue::park`] can still replace the reason by a better one.
    Parked,
    /// The queue is shut down: the failure is counted and no run follows.
    ShutDown,
}

/// Why a key is parked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked<C> {
    /// For people: what ended the attempts. At most [`crate::MAX_REASON`] bytes.
    pub reason: String,
    /// The cause of the parking.
    pub cause: C,
    /// When it was parked.
    pub since: Duration,
    /// How many attempts in a row had ended badly.
    pub attempts: u32,
}

/// A key that waits for something to change.
#[derive(Debug)]
pub struct ParkedKey<'a, K, C> {
    /// The key.
    pub key: &'a K,
    /// The priority it comes back with when [`crate::Queue::wake`] wakes it.
    pub priority: i32,
    /// Why it stands here.
    pub parked: &'a Parked<C>,
}

/// What comes next for a key.
#[derive(Debug)]
pub enum State<'a, C> {
    /// Nothing waits: the key is in work, or remembered for its failures.
    Idle,
    /// It is ready; while it is in work: it runs again right after.
    Queued {
        /// When it was first asked for, or fell due.
        since: Duration,
    },
    /// It becomes ready by itself.
    Delayed {
        /// When it was first asked for.
        since: Duration,
        /// When it becomes ready.
        due: Duration,
    },
    /// It waits for something to change.
    Parked(&'a Parked<C>),
}

/// All that the queue knows of one key, for people and tests.
#[derive(Debug)]
pub struct EntryView<'a, K, C> {
    /// The key.
    pub key: &'a K,
    /// Since when it is in work, if it is.
    pub in_work: Option<Duration>,
    /// What comes next.
    pub state: State<'a, C>,
    /// Of the run that waits; of the last one where none waits.
    pub priority: i32,
    /// Attempts that ended badly since the key last went well.
    pub attempts: u32,
    /// How many of them were rate-limited retries: the exponent of the next back-off.
    pub failures: u32,
    /// Who asked for the run that waits. Empty where none waits.
    pub causes: &'a Causes<C>,
    /// Its last errors since it last went well, oldest first, at most [`crate::MAX_ERRORS`]: those that
    /// [`crate::Queue::failed`] was told of.
    pub errors: &'a [Failure],
    /// Who asked for the run that is under way, if one is.
    pub served: Option<&'a Causes<C>>,
}

/// What metrics are made of. Counters run from the queue's making.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// How often a key became queued that was not (`workqueue_adds_total`). A delayed key counts when it falls due.
    pub adds: u64,
    /// Delayed adds and retries that were accepted (`workqueue_retries_total`, which counts both in client-go too).
    pub retries: u64,
    /// Queued keys by priority (`workqueue_depth`). As in client-go a key counts that runs again right after its
    /// present run, so the sum can exceed [`crate::Queue::len`]. Levels without a key are absent.
    pub depth: BTreeMap<i32, usize>,
    /// Keys that become ready by themselves.
    pub delayed: usize,
    /// Keys in work.
    pub in_work: usize,
    /// Keys that wait for something to change.
    pub parked: usize,
    /// The ages of all runs under way, summed (`workqueue_unfinished_work_seconds`).
    pub unfinished_work: Duration,
    /// The age of the oldest run under way (`workqueue_longest_running_processor_seconds`); zero where none is.
    pub longest_running: Duration,
}
