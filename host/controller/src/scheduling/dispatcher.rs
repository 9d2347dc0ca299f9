//! Which key of which controller runs next, and what becomes of it afterwards. Pure: queues and gate in one.
//!
//! Promises: no two jobs hold one key of one controller; a key that was added is handed out after the last add, or
//! stands among the parked keys; controllers with work get turns one after the other; nothing is handed out for a
//! controller before [`Dispatcher::start`], or while its plugin's breaker is open: keys wait then, merged and not
//! dropped. It neither calls plugins nor waits: the driver asks for [`Dispatcher::next`] until there is none, and again
//! at [`Dispatcher::next_due`] or after an add.

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use pilothouse_gate::{
    Gate,
    breaker::{Call, Outcome, Settings},
};
use pilothouse_object::{Key, shorten};
use pilothouse_workqueue::{Limits, Queue, Retry, State, Taken};

use crate::{
    Cause, ControllerId, Waker, What,
    parked::{Absent, keeping::Keeping},
    scheduling::{
        breakers::Breakers,
        concurrency::Led,
        entries::{Entries, Noted},
        hot_loops::Slowed,
    },
};

/// The priority of keys that nothing changed for: first lists and resyncs (as in controller-runtime).
pub const LOW_PRIORITY: i32 = -100;

/// Bytes of a reason in a cause.
const MAX_REASON: usize = 256;

/// Of so many waiting keys a half-open breaker chooses.
const LOOKED_AT: usize = 64;

/// Between two times that all failing keys are hastened, at least.
const HASTE_PAUSE: Duration = Duration::from_secs(60);

/// A key to be reconciled now. It holds a permit until [`Dispatcher::finished`].
#[derive(Debug)]
pub struct Job {
    /// Whose.
    pub id: ControllerId,
    /// The key with its causes, attempt and time in the queue.
    pub taken: Taken<Key, Cause>,
    /// It holds no permit any more.
    released: AtomicBool,
    /// Its plugin's breaker waits for how it ends.
    pub(crate) call: Option<Call>,
    /// The breaker was told.
    pub(crate) judged: AtomicBool,
}

/// What a run ended with, as far as the queue is concerned.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It went well; nothing more until something changes.
    Done,
    /// It went well and wants to run again after this time, even if nothing changes.
    RequeueAfter(Duration),
    /// It failed: again after the controller's back-off.
    Retry {
        /// Why, for people.
        reason: String,
    },
    /// It failed and named the time itself.
    RetryAfter {
        /// When.
        after: Duration,
        /// Why, for people.
        reason: String,
    },
    /// It failed for good: parked until something changes.
    Park {
        /// Why, for people.
        reason: String,
    },
    /// It was never begun (the host is stopping): the key goes back as it was.
    Unstarted,
}

/// What became of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// How long the key was in work.
    pub worked_for: Duration,
    /// When it runs again by itself.
    pub again_after: Option<Duration>,
    /// It stands among the parked keys now.
    pub parked: bool,
}

pub(crate) struct Entry {
    pub(crate) queue: Queue<Key, Cause>,
    pub(crate) started: bool,
    /// No version serves it any more; it is gone once nothing is in work.
    pub(crate) retired: bool,
    /// Set where parked keys are kept over restarts.
    pub(crate) keeping: Option<Keeping>,
    /// Keys that go round in circles.
    pub(crate) slowed: Slowed,
    /// Set where its limit is led.
    pub(crate) led: Option<Led>,
    pub(crate) noted: Noted,
}

impl Entry {
    /// When it has something to do by itself.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.started.then(|| self.queue.next_due()).flatten()
    }

    /// Whatever asked for a key: where it loops, it runs no sooner than when its pause is over.
    fn hold_back(&mut self, now: Duration, key: &Key) -> Option<Duration> {
        let left = self.slowed.left(now, key)?;
        self.queue.hold_back(now, key, left).then_some(left)
    }
}

/// Queues of all controllers and the gate before them.
pub struct Dispatcher {
    pub(crate) entries: Entries,
    pub(crate) gate: Gate<Arc<str>, ControllerId>,
    pub(crate) breakers: Breakers,
    /// Plugins that are not called though nothing is wrong with them.
    held: BTreeSet<Arc<str>>,
    /// Counts what parks and wakes.
    pub(crate) parked_changes: u64,
    /// How far that was told.
    pub(crate) parked_told: u64,
    /// When the driver looks again by itself; none where only somebody's word makes it.
    pub(crate) alarm: Option<Duration>,
    /// What the last host kept for controllers that have not come.
    pub(crate) absent: Absent,
    /// When failing keys were hastened last.
    hastened: Option<Duration>,
    /// Until when time was let pass in all breakers: once for all jobs that are handed out at one time.
    pub(crate) advanced: Option<Duration>,
    /// When limits were led last.
    pub(crate) led_at: Duration,
    /// Keys of one whose limit is led were in work since then.
    pub(crate) led_used: bool,
}

impl Dispatcher {
    /// A dispatcher whose controllers share `pool` permits.
    pub fn new(pool: usize) -> Self {
        Self {
            entries: Entries::default(),
            gate: Gate::new(pool),
            breakers: Breakers::default(),
            held: BTreeSet::new(),
            parked_changes: 0,
            parked_told: 0,
            alarm: None,
            absent: Absent::default(),
            hastened: None,
            advanced: None,
            led_at: Duration::ZERO,
            led_used: false,
        }
    }

    /// Adds a controller that may have `concurrency` keys in work and tries failed ones again within `limits`, which
    /// are its own: a bucket in them is shared with no other ([`Dispatcher::set_concurrency`] says more of the first).
    /// Keys can be added at once; none is handed out before [`Dispatcher::start`]. One that is there already is set
    /// these bounds from now on, and keeps its keys, delays and counts.
    pub fn register(&mut self, id: ControllerId, concurrency: usize, limits: impl Into<Limits>) {
        self.breakers.register(&id.plugin);
        self.gate.register(id.plugin.clone(), id.clone(), concurrency);
        let limits = limits.into();
        match self.entries.get_mut(&id) {
            Some(entry) => {
                entry.queue.set_limits(limits);
                entry.retired = false;
            }
            None => self.entries.insert(
                id,
                Entry {
                    queue: Queue::new(limits),
                    started: false,
                    retired: false,
                    keeping: None,
                    slowed: Slowed::default(),
                    led: None,
                    noted: Noted::default(),
                },
            ),
        }
    }

    /// Says when a registered plugin's breaker opens, and how many turns it gets for each one of a plugin of weight 1.
    pub fn set_plugin(&mut self, plugin: &Arc<str>, settings: Settings, weight: u32) {
        self.breakers.set(plugin, settings);
        self.breaker_moved(plugin);
        self.gate.set_weight(plugin, weight);
    }

    /// Whether the namespaces of a registered plugin's keys take turns, in the queue of each of its controllers.
    pub fn set_fair_namespaces(&mut self, plugin: &Arc<str>, fair: bool) {
        let own = self.entries.iter_mut().filter(|(id, _)| id.plugin == *plugin);
        let lane: fn(&Key) -> u64 = namespace;
        own.for_each(|(_, entry)| entry.queue.set_lanes(fair.then_some(lane)));
    }

    /// Lets a controller run: every informer it needs has delivered its first list.
    pub fn start(&mut self, id: &ControllerId) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.started = true;
        }
    }

    /// Asks for a key to be reconciled. `wakes` says whether this also gets a parked key going again: resyncs and the
    /// plugin's own writes don't.
    pub fn add(&mut self, now: Duration, id: &ControllerId, key: Key, priority: i32, cause: Cause, wakes: bool) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        if wakes {
            let parked = entry.queue.parked_len();
            if entry.queue.is_shut_down() && entry.queue.is_parked(&key) {
                // Too late for this host: the next one must not find it parked.
                entry
                    .keeping
                    .iter_mut()
                    .for_each(|keeping| keeping.parked_unknown(&key));
                self.parked_changes += 1;
                return;
            }
            entry.queue.add(now, key.clone(), priority, cause);
            self.parked_changes += u64::from(entry.queue.parked_len() != parked);
        } else {
            entry.queue.add_unless_parked(now, key.clone(), priority, cause);
        }
        entry.hold_back(now, &key);
    }

    /// A person wants a parked key to be tried again. False where there is no such controller, or the key is not
    /// parked.
    pub fn wake(&mut self, now: Duration, id: &ControllerId, key: &Key) -> bool {
        let cause = Cause::new(What::Woken { by: Waker::Person }, None);
        let entry = self.entries.get_mut(id);
        let woken = entry.is_some_and(|entry| {
            entry.slowed.forget(key);
            entry.queue.wake(now, key, cause)
        });
        self.parked_changes += u64::from(woken);
        woken
    }

    /// A person wants a parked key to be tried no more, and forgotten: it comes back with the next change that maps to
    /// it. False where there is no such controller, or the key is not parked.
    pub fn drop_parked(&mut self, id: &ControllerId, key: &Key) -> bool {
        let Some(Entry { queue, .. }) = self.entries.get_mut(id) else {
            return false;
        };
        let dropped = queue.unpark(key).is_some();
        if dropped {
            // Its failures too: the next change finds a key like any other.
            queue.forget(key);
        }
        self.parked_changes += u64::from(dropped);
        dropped
    }

    /// A controller's resync has come to a key, and comes to it again `every` so often. Nothing changed: it wakes no
    /// parked key and goes before nothing that did. A key that runs anyway is left alone: one that waits for its turn
    /// or runs again when it is done, one that failed (its back-off is not for a resync to cut short), and one whose
    /// time comes before the next resync does. Answers whether it was asked for.
    pub fn resync(&mut self, now: Duration, id: &ControllerId, key: Key, every: Duration) -> bool {
        let Some(entry) = self.entries.get_mut(id) else {
            return false;
        };
        let queue = &mut entry.queue;
        queue.advance(now);
        let waits = queue.entry(&key).is_some_and(|entry| match entry.state {
            State::Queued { .. } | State::Parked(_) => true,
            State::Delayed { due, .. } => entry.attempts > 0 || due.saturating_sub(now) < every,
            State::Idle => false,
        });
        let cause = Cause::new(What::Resync, None);
        let added = !waits && queue.add_unless_parked(now, key.clone(), LOW_PRIORITY, cause);
        entry.hold_back(now, &key);
        added
    }

    /// What made keys fail is over: those that wait for their next attempt need wait no longer. Attempts are counted
    /// on.
    ///
    /// At most once a minute; in between nothing happens, and keys run when their back-off ends. Nobody knows which
    /// keys have faults of their own: a server that comes and goes would use up the attempts of those, and park them.
    pub fn hasten(&mut self, now: Duration) {
        if self.hastened.is_some_and(|last| now.saturating_sub(last) < HASTE_PAUSE) {
            return;
        }
        self.hastened = Some(now);
        for (_, entry) in self.entries.iter_mut() {
            let waiting: Vec<(Key, Option<Cause>)> = entry
                .queue
                .delayed(usize::MAX)
                .filter(|entry| entry.attempts > 0)
                .map(|entry| (entry.key.clone(), entry.causes.first().cloned()))
                .collect();
            for (key, cause) in waiting {
                let what = What::Retry {
                    failures: 0,
                    reason: "the API server may take now what it refused".into(),
                };
                let cause = cause.unwrap_or_else(|| Cause::new(what, None));
                entry.queue.add_unless_parked(now, key.clone(), LOW_PRIORITY, cause);
                entry.hold_back(now, &key);
            }
        }
    }

    /// Whether no key of a plugin may begin; they wait, merged as ever.
    pub(crate) fn hold(&mut self, plugin: &Arc<str>, held: bool) {
        if held {
            self.held.insert(plugin.clone());
        } else {
            self.held.remove(plugin);
            self.gate.wake(plugin);
        }
    }

    /// The next job, or none where no started controller has a ready key and a permit.
    pub fn next(&mut self, now: Duration) -> Option<Job> {
        let gate = &mut self.gate;
        if self.advanced != Some(now) {
            self.advanced = Some(now);
            self.breakers.advance(now, |plugin| _ = gate.wake(plugin));
        }
        self.entries.step(now, |plugin| _ = gate.wake(plugin));
        let (entries, breakers, held) = (&mut self.entries, &mut self.breakers, &self.held);
        let id = self.gate.next_turn(|id| {
            let ready = entries.get(id).is_some_and(|e| e.started && !e.queue.is_empty());
            ready && breakers.may_begin(&id.plugin) && !held.contains(&id.plugin)
        })?;
        let mut entry = entries.picked(&id);
        let taken = entry.as_mut().and_then(|Entry { queue, .. }| match breakers.rank(&id) {
            Some(rank) => queue.get_by(now, LOOKED_AT, rank),
            None => queue.get(now),
        });
        match taken {
            Some(taken) => {
                if let Some(led) = entry.and_then(|entry| entry.led.as_mut()) {
                    led.uses(self.gate.running(&id));
                    self.led_used = true;
                }
                Some(Job {
                    call: breakers.begin(&id, &taken.key, taken.attempt.saturating_sub(1)),
                    id,
                    taken,
                    released: AtomicBool::new(false),
                    judged: AtomicBool::new(false),
                })
            }
            None => {
                // Can't be: the queue said that it has a ready key. The permit must not leak all the same.
                self.gate.release(&id);
                None
            }
        }
    }

    /// The plugin's part of a job is over: its permit goes to the next. The key stays in work until
    /// [`Dispatcher::finished`]. Twice is as good as once.
    pub fn release(&mut self, job: &Job) {
        if !job.released.swap(true, Ordering::AcqRel) {
            self.gate.release(&job.id);
        }
    }

    /// Ends a job with what its run ended with; its permit too, where it still holds one.
    pub fn finished(&mut self, now: Duration, rng: &mut fastrand::Rng, job: &Job, verdict: &Verdict) -> Finished {
        self.release(job);
        self.judged(now, rng, job, Outcome::Ignored);
        let none = Finished {
            worked_for: Duration::ZERO,
            again_after: None,
            parked: false,
        };
        let Some(entry) = self.entries.get_mut(&job.id) else {
            return none;
        };
        let queue = &mut entry.queue;
        let key = &job.taken.key;
        let because = job.taken.causes.first();
        let failed = |reason: &str| {
            let what = What::Retry {
                failures: job.taken.attempt,
                // It lives on in the chain of every retry that follows.
                reason: shorten(reason, MAX_REASON).into(),
            };
            Cause::new(what, because)
        };
        let mut end = none;
        match verdict {
            Verdict::Done => queue.forget(key),
            Verdict::RequeueAfter(after) => {
                queue.forget(key);
                let cause = Cause::new(What::Requeue { after: *after }, because);
                queue.add_after(now, key.clone(), *after, job.taken.priority, cause);
                end.again_after = Some(*after);
            }
            Verdict::Retry { reason } | Verdict::RetryAfter { reason, .. } => {
                queue.failed(now, key, reason);
                let cause = failed(reason);
                let retry = match verdict {
                    Verdict::RetryAfter { after, .. } => queue.retry_after(now, key.clone(), *after, cause),
                    _ => queue.retry(now, key.clone(), rng, cause),
                };
                match retry {
                    Retry::After(after) => end.again_after = Some(after),
                    Retry::Parked => {
                        // The queue knows that the attempts are used up, and not why they failed.
                        let reason = format!("gave up after {} attempts: {reason}", job.taken.attempt);
                        end.parked = queue.park(now, key, reason.clone(), failed(&reason));
                    }
                    Retry::ShutDown => {}
                }
            }
            Verdict::Park { reason } => {
                queue.failed(now, key, reason);
                end.parked = queue.park(now, key, reason.clone(), failed(reason));
            }
            Verdict::Unstarted => {
                if let Some(cause) = because {
                    queue.add(now, key.clone(), job.taken.priority, cause.clone());
                }
            }
        }
        self.parked_changes += u64::from(end.parked);
        end.worked_for = queue.done(now, key).unwrap_or_default();
        end.again_after = entry.hold_back(now, key).or(end.again_after);
        end
    }

    /// When [`Dispatcher::next`] should be asked again though nothing was added: the first delayed key's time, or that
    /// at which a breaker lets keys begin.
    pub fn next_due(&self) -> Option<Duration> {
        self.entries
            .next_due()
            .into_iter()
            .chain(self.breakers.next_due())
            .min()
    }

    /// When the driver has something to do though nothing was added.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.next_due().into_iter().chain(self.next_lead()).min()
    }

    /// Whether that is sooner than the driver looks by itself.
    pub(crate) fn is_due_before_alarm(&self) -> bool {
        self.due().is_some_and(|due| self.alarm.is_none_or(|alarm| due < alarm))
    }

    /// No new work from now on; what is in work may finish.
    pub fn shut_down(&mut self) {
        for (_, entry) in self.entries.iter_mut() {
            entry.queue.shut_down();
            entry.started = false;
        }
    }

    /// How many keys are in work.
    pub fn in_work(&self) -> usize {
        self.entries.values().map(|entry| entry.queue.in_work()).sum()
    }

    /// True where nothing is ready, in work, held back, or waiting to be tried again after a failure. Keys that asked
    /// to run again later, and parked ones, don't count.
    pub fn is_idle(&self) -> bool {
        self.entries.values().all(|entry| {
            let queue = &entry.queue;
            let retries = || {
                queue
                    .entries()
                    .any(|entry| entry.attempts > 0 && matches!(entry.state, State::Delayed { .. }))
            };
            let slowed = entry.slowed.keys().any(|key| {
                queue
                    .entry(key)
                    .is_some_and(|entry| matches!(entry.state, State::Delayed { .. }))
            });
            !slowed
                && queue.in_work() == 0
                && (entry.retired || (queue.is_empty() && (queue.delayed_len() == 0 || !retries())))
        })
    }

    /// The controllers with their queues, for metrics and status.
    pub fn queues(&self) -> impl Iterator<Item = (&ControllerId, &Queue<Key, Cause>)> {
        self.entries.iter().map(|(id, entry)| (id, &entry.queue))
    }

    /// How many keys of a controller hold a permit.
    pub fn running(&self, id: &ControllerId) -> usize {
        self.gate.running(id)
    }
}

/// A key's namespace as a number: that of two may be the same once in a long while, and then these share their turns.
fn namespace(key: &Key) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.namespace.hash(&mut hasher);
    hasher.finish()
}
