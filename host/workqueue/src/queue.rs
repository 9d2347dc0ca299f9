//! The queue itself: adding, delaying, taking, ending.

use crate::causes::Causes;
use crate::entry::{Entry, Stage, Tries, Work};
use crate::index::Index;
use crate::levels::{Lane, Levels};
use crate::limiter::{Limiter, Limits};
use crate::slab::{List, Slab, Thread};
use crate::view::Taken;
use crate::wheel::{Timed, Timers};
use std::hash::Hash;
use std::time::Duration;

/// A key that has waited this long has a claim to every [`AGED_TURN`]th turn, whatever its priority. Long enough that
/// a short burst is served strictly by priority.
pub const AGING: Duration = Duration::from_secs(1);

/// Of this many turns at least one goes to the key that waits longest, once that key has waited for [`AGING`]. So a
/// low level gets an eighth of the turns however much the high ones ask for, and a high level keeps the rest however
/// large the backlog below it is. (An age that is added to the priority would let an old backlog of 50,000 keys pass
/// every fresh change.)
pub const AGED_TURN: u32 = 8;

/// The work queue of one controller. See the crate's page for what it promises.
///
/// `K` is the key; `C` is the cause: why somebody asked for a run. Causes are handed out with the key and never
/// looked into.
#[derive(Debug)]
pub struct Queue<K, C> {
    pub(crate) limiter: Limiter,
    pub(crate) slots: Slab<Entry<K, C>>,
    index: Index,
    /// The ready keys of each priority, in order of their entry, or in turns of lanes.
    pub(crate) levels: Levels<K>,
    /// All ready keys, in order of their entry into the queue, whatever level they were raised to since.
    pub(crate) line: List,
    /// What is in work, in order of its start.
    pub(crate) working: List,
    /// Why it is in work. Beside the entries: few keys are in work at a time, and causes are large.
    pub(crate) served: Slab<Causes<C>>,
    /// What is delayed, in order of the times at which it falls due.
    pub(crate) timers: Timers,
    /// How many turns passed over an aged key.
    passed_over: u32,
    pub(crate) parked: usize,
    pub(crate) shut_down: bool,
    pub(crate) adds: u64,
    pub(crate) retries: u64,
}

/// Somebody wants a run.
pub(crate) struct Ask<C> {
    pub(crate) delay: Duration,
    pub(crate) priority: i32,
    pub(crate) wakes: bool,
    pub(crate) cause: C,
}

impl<K: Clone + Eq + Hash, C> Queue<K, C> {
    /// An empty queue that retries within these limits: [`Limits`], a single [`crate::Limit`], or the short form,
    /// [`crate::QueueConfig`].
    pub fn new(limits: impl Into<Limits>) -> Self {
        Self {
            limiter: Limiter::new(limits),
            slots: Slab::new(),
            index: Index::new(),
            levels: Levels::new(),
            line: List::new(Thread::Age),
            working: List::new(Thread::Age),
            served: Slab::new(),
            timers: Timers::new(),
            passed_over: 0,
            parked: 0,
            shut_down: false,
            adds: 0,
            retries: 0,
        }
    }

    /// Asks for a run at once: for changes of objects, and all else that says "look again".
    ///
    /// A key that is queued stays where it is, or goes to the tail of the higher level; a delayed one is queued now;
    /// one in work runs once more when it is done; a parked one is woken, with a new round of attempts. Ignored after
    /// [`Queue::shut_down`].
    pub fn add(&mut self, now: Duration, key: K, priority: i32, cause: C) {
        self.ask(
            now,
            key,
            Ask {
                delay: Duration::ZERO,
                priority,
                wakes: true,
                cause,
            },
        );
    }

    /// Like [`Queue::add`], but leaves a parked key parked: for resyncs, and for the events that the controller's own
    /// writes cause. A parked key that woke on those would never rest: each attempt may write the status that wakes it.
    ///
    /// If the key is in work and nothing else asks for it, such an add gives way to a [`Queue::park`] of that run.
    /// Answers false where it was ignored: the key is parked, or the queue is shut down.
    pub fn add_unless_parked(&mut self, now: Duration, key: K, priority: i32, cause: C) -> bool {
        self.ask(
            now,
            key,
            Ask {
                delay: Duration::ZERO,
                priority,
                wakes: false,
                cause,
            },
        )
    }

    /// Asks for a run after `delay`; a delay of zero means at once. A key that is delayed already keeps the earlier
    /// time; one that is queued stays queued. Wakes a parked key (it leaves the parked ones at once and runs when due).
    ///
    /// Does not change the failure count: after a success that wants to be called again, [`Queue::forget`] first.
    pub fn add_after(&mut self, now: Duration, key: K, delay: Duration, priority: i32, cause: C) {
        if self.ask(
            now,
            key,
            Ask {
                delay,
                priority,
                wakes: true,
                cause,
            },
        ) {
            self.retries += 1;
        }
    }

    /// Takes the next key: it is in work from here on. `None` where nothing is ready; then wait until
    /// [`Queue::next_due`] or the next add.
    ///
    /// Its causes are cloned: one copy is handed out, the other can be looked at while the key is in work.
    pub fn get(&mut self, now: Duration) -> Option<Taken<K, C>>
    where
        C: Clone,
    {
        self.advance(now);
        let slot = self.pick(now)?;
        Some(self.take(now, slot))
    }

    /// Like [`Queue::get`], but of the first `look_at` ready keys, those that wait longest first, it takes the one
    /// whose rank is least: whoever may run only a few keys says here which. The rank is told the key, and how many
    /// attempts in a row have ended badly.
    pub fn get_by<R: Ord>(&mut self, now: Duration, look_at: usize, rank: impl Fn(&K, u32) -> R) -> Option<Taken<K, C>>
    where
        C: Clone,
    {
        self.advance(now);
        let first = self.line.numbers(&self.slots).take(look_at);
        let slot = first.min_by_key(|slot| rank(&self.slots[*slot].key, self.slots[*slot].tries.attempts))?;
        Some(self.take(now, slot))
    }

    fn take(&mut self, now: Duration, slot: usize) -> Taken<K, C>
    where
        C: Clone,
    {
        self.unlink_ready(slot);
        self.working.push_back(&mut self.slots, slot);
        let entry = &mut self.slots[slot];
        entry.stage = Stage::Idle;
        entry.wakes = false;
        let causes = std::mem::take(&mut entry.causes);
        entry.work = Some(Work {
            since: now,
            priority: entry.priority,
            served: self.served.insert(causes.clone()),
        });
        Taken {
            key: entry.key.clone(),
            priority: entry.priority,
            causes,
            attempt: entry.tries.attempts.saturating_add(1),
            queued_for: now.saturating_sub(entry.since),
        }
    }

    /// The key is no longer in work; if somebody asked for it meanwhile it is queued now, at the tail. Answers how long
    /// the work took (`workqueue_work_duration_seconds`), or `None` where the key was not in work: then nothing
    /// happens.
    pub fn done(&mut self, now: Duration, key: &K) -> Option<Duration> {
        self.advance(now);
        let slot = self.find(key)?;
        let work = self.slots[slot].work.take()?;
        self.working.unlink(&mut self.slots, slot);
        self.served.remove(work.served);
        match self.slots[slot].stage {
            Stage::Queued => self.link_ready(slot),
            _ => self.drop_if_idle(slot),
        }
        Some(now.saturating_sub(work.since))
    }

    /// Cancels the run that waits, queued or delayed, and answers whether there was one. A run in work goes on; a
    /// parked key stays parked (see [`Queue::unpark`]); failures stay counted. Danger: the change that asked for the
    /// run is lost. For keys that are no longer this controller's business.
    pub fn remove(&mut self, key: &K) -> bool {
        let Some(slot) = self.find(key) else {
            return false;
        };
        let cancelled = self.cancel(slot);
        self.drop_if_idle(slot);
        cancelled
    }

    /// Gives a delayed key another time, `delay` from now, later ones too: [`Queue::add_after`] keeps the earlier of
    /// two times, this one replaces it. A delay of zero queues it now. Causes and priority stay. Answers false where
    /// the key is not delayed; then nothing happens. Danger: whoever asked for the earlier time is not served by it.
    pub fn reschedule(&mut self, now: Duration, key: &K, delay: Duration) -> bool {
        self.advance(now);
        let Some(slot) = self.find(key) else {
            return false;
        };
        if !matches!(self.slots[slot].stage, Stage::Delayed(_)) {
            return false;
        }
        self.timers.remove(&mut self.slots, slot);
        self.schedule(now, slot, now.saturating_add(delay));
        true
    }

    /// A run that waits, queued or delayed, begins no earlier than `delay` from now; one that is delayed for longer
    /// stays so. Causes and priority stay. For a key that should slow down, whoever asks for it: what asks for it later
    /// is not held back by this, so say it again then. Answers whether the run was moved. Danger: as with
    /// [`Queue::reschedule`].
    pub fn hold_back(&mut self, now: Duration, key: &K, delay: Duration) -> bool {
        self.advance(now);
        let due = now.saturating_add(delay);
        let Some(slot) = self.find(key).filter(|_| due > now) else {
            return false;
        };
        match self.slots[slot].stage {
            Stage::Delayed(later) if later >= due => return false,
            Stage::Delayed(_) => self.timers.remove(&mut self.slots, slot),
            Stage::Queued if self.slots[slot].work.is_none() => self.unlink_ready(slot),
            // In work: it stands in no list yet.
            Stage::Queued => {}
            Stage::Idle | Stage::Parked(_) => return false,
        }
        self.schedule(now, slot, due);
        true
    }

    /// Lets lanes take turns: of the ready keys of one priority those of each lane have one turn a round, however many
    /// one lane has. `lane` says which lane a key stands in, always the same one. `None`, as at the beginning: first
    /// come, first served. What is ready is sorted anew, the key that waits longest first.
    pub fn set_lanes(&mut self, lane: Option<Lane<K>>) {
        if lane.is_none() && self.levels.lane().is_none() {
            return;
        }
        let ready: Vec<usize> = self.line.numbers(&self.slots).collect();
        for slot in &ready {
            self.levels.unlink(&mut self.slots, *slot);
        }
        self.levels.set_lane(lane);
        for slot in ready {
            self.levels.link(&mut self.slots, slot);
        }
    }

    /// Moves what is due among the ready. Every operation that takes `now` does this first; a driver calls it when
    /// [`Queue::next_due`] has come, so that [`Queue::is_empty`] tells the truth.
    pub fn advance(&mut self, now: Duration) {
        while let Some(slot) = self.timers.pop(&mut self.slots, now) {
            let due = self.slots[slot].due();
            self.enqueue(slot, due);
        }
    }

    /// When the next delayed key becomes ready; `None` where none is delayed.
    pub fn next_due(&self) -> Option<Duration> {
        self.timers.first()
    }

    /// How many keys are ready, as of the last operation that took `now`.
    pub fn len(&self) -> usize {
        self.line.len()
    }

    /// True where no key is ready, as of the last operation that took `now`.
    pub fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    /// How many keys are in work.
    pub fn in_work(&self) -> usize {
        self.working.len()
    }

    /// How many keys become ready by themselves. A key in work counts if a later run is asked for.
    pub fn delayed_len(&self) -> usize {
        self.timers.len()
    }

    /// No more work: later adds are ignored and delayed keys are dropped. What is queued is still handed out, also what
    /// was asked for while in work; parked keys stay, and a failing key can still be parked. Can't be undone.
    pub fn shut_down(&mut self) {
        self.shut_down = true;
        while let Some(slot) = self.timers.pop(&mut self.slots, Duration::MAX) {
            self.clear(slot);
            self.drop_if_idle(slot);
        }
    }

    /// True once [`Queue::shut_down`] was called.
    pub fn is_shut_down(&self) -> bool {
        self.shut_down
    }

    /// True once the queue is shut down, nothing is queued and nothing is in work: the time to let it go.
    pub fn drained(&self) -> bool {
        self.shut_down && self.line.is_empty() && self.working.is_empty()
    }

    fn ask(&mut self, now: Duration, key: K, ask: Ask<C>) -> bool {
        if self.shut_down {
            return false;
        }
        self.advance(now);
        let slot = self.slot_of(key);
        if matches!(self.slots[slot].stage, Stage::Parked(_)) {
            if !ask.wakes {
                return false;
            }
            self.leave_parked(slot);
        }
        self.merge(now, slot, ask);
        true
    }

    /// Joins what is asked for with the run that waits, if one does. The key is not parked.
    pub(crate) fn merge(&mut self, now: Duration, slot: usize, ask: Ask<C>) {
        let due = now.saturating_add(ask.delay);
        let entry = &mut self.slots[slot];
        entry.causes.push(ask.cause);
        let waits = entry.pending();
        entry.wakes |= ask.wakes;
        let priority = if waits {
            entry.priority.max(ask.priority)
        } else {
            ask.priority
        };
        match entry.stage {
            Stage::Queued if priority == entry.priority => {}
            // In work: it stands in no list yet.
            Stage::Queued if entry.work.is_some() => entry.priority = priority,
            Stage::Queued => self.raise(slot, priority),
            Stage::Delayed(earlier) => {
                entry.priority = priority;
                if due < earlier {
                    self.timers.remove(&mut self.slots, slot);
                    self.schedule(now, slot, due);
                }
            }
            Stage::Idle | Stage::Parked(_) => {
                entry.priority = priority;
                entry.since = now;
                self.schedule(now, slot, due);
            }
        }
    }

    fn schedule(&mut self, now: Duration, slot: usize, due: Duration) {
        if due <= now {
            self.enqueue(slot, now);
        } else {
            self.slots[slot].stage = Stage::Delayed(due);
            self.timers.insert(&mut self.slots, slot);
        }
    }

    fn enqueue(&mut self, slot: usize, since: Duration) {
        self.adds += 1;
        let entry = &mut self.slots[slot];
        entry.stage = Stage::Queued;
        entry.since = since;
        if entry.work.is_none() {
            self.link_ready(slot);
        }
    }

    fn link_ready(&mut self, slot: usize) {
        self.levels.link(&mut self.slots, slot);
        self.line.push_back(&mut self.slots, slot);
    }

    fn unlink_ready(&mut self, slot: usize) {
        self.levels.unlink(&mut self.slots, slot);
        self.line.unlink(&mut self.slots, slot);
    }

    /// Keeps its place in the line: to be raised must not cost a key the age it has.
    fn raise(&mut self, slot: usize, priority: i32) {
        self.levels.unlink(&mut self.slots, slot);
        self.slots[slot].priority = priority;
        self.levels.link(&mut self.slots, slot);
    }

    fn pick(&mut self, now: Duration) -> Option<usize> {
        let oldest = self.line.head()?;
        let highest = self.levels.first()?;
        if oldest != highest && now.saturating_sub(self.slots[oldest].since) >= AGING {
            self.passed_over += 1;
            if self.passed_over >= AGED_TURN {
                // No turn of its lane's: that one comes all the same.
                self.passed_over = 0;
                return Some(oldest);
            }
        }
        self.levels.turn(&self.slots, highest);
        Some(highest)
    }

    /// The run that waits is gone; the entry may be idle after this.
    pub(crate) fn cancel(&mut self, slot: usize) -> bool {
        let entry = &self.slots[slot];
        match entry.stage {
            Stage::Queued if entry.work.is_none() => self.unlink_ready(slot),
            Stage::Queued => {}
            Stage::Delayed(_) => self.timers.remove(&mut self.slots, slot),
            Stage::Idle | Stage::Parked(_) => return false,
        }
        self.clear(slot);
        true
    }

    /// Forgets the run that waits of an entry that stands in no list for it.
    fn clear(&mut self, slot: usize) {
        let entry = &mut self.slots[slot];
        entry.stage = Stage::Idle;
        entry.wakes = false;
        entry.causes = Causes::default();
    }

    /// Where a key stands, if the queue knows of it.
    pub(crate) fn find(&self, key: &K) -> Option<usize> {
        self.index.find(&self.slots, self.index.hash(key), key)
    }

    pub(crate) fn slot_of(&mut self, key: K) -> usize {
        let hash = self.index.hash(&key);
        if let Some(slot) = self.index.find(&self.slots, hash, &key) {
            return slot;
        }
        let slot = self.slots.insert(Entry::new(key, hash));
        self.index.insert(hash, slot);
        slot
    }

    /// Entries live as long as there is something to know of them.
    pub(crate) fn drop_if_idle(&mut self, slot: usize) {
        let entry = &self.slots[slot];
        if entry.work.is_none() && matches!(entry.stage, Stage::Idle) && entry.tries == Tries::default() {
            let hash = entry.hash;
            self.slots.remove(slot);
            self.index.remove(hash, slot, || self.slots.keep());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::QueueConfig;

    #[test]
    fn whoever_is_choosy_takes_the_key_of_the_least_rank_among_those_that_wait_longest() {
        let mut queue: Queue<u32, &str> = Queue::new(QueueConfig::default());
        for key in [5, 6] {
            queue.add(Duration::ZERO, key, 0, "change");
            assert_eq!(queue.get(Duration::ZERO).map(|taken| taken.key), Some(key));
        }
        for key in [5, 6] {
            queue.retry_after(Duration::ZERO, key, Duration::ZERO, "again");
            queue.done(Duration::ZERO, &key);
        }
        queue.advance(Duration::ZERO);
        queue.add(Duration::ZERO, 7, 0, "change");
        queue.add(Duration::ZERO, 1, 0, "change");
        let mut best = |look_at| {
            let taken = queue.get_by(Duration::ZERO, look_at, |key, failures| (failures, *key));
            taken.map(|taken| (taken.key, taken.attempt))
        };
        assert_eq!(best(3), Some((7, 1)), "1 stands too far behind");
        assert_eq!(best(3), Some((1, 1)));
        assert_eq!(best(1), Some((5, 2)));
        assert_eq!(best(3), Some((6, 2)));
        assert_eq!(best(3), None);
    }
}
