//! The queue again, so naive that its rules can be read off it. No lists, no wheels, no tables: eight keys and a search
//! for every question.

use pilothouse_workqueue::{AGED_TURN, AGING, Limit, Retry};
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Clone, Debug)]
pub(crate) struct Pending {
    /// None: queued.
    pub(crate) due: Option<Duration>,
    pub(crate) since: Duration,
    pub(crate) priority: i32,
    pub(crate) wakes: bool,
    pub(crate) causes: Vec<u32>,
    /// When it was delayed, entered the line, entered its level: numbers that only grow.
    asked: u64,
    line: u64,
    level: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Key {
    pub(crate) work: Option<(Duration, i32)>,
    pub(crate) pending: Option<Pending>,
    pub(crate) parked: Option<u32>,
    pub(crate) last_priority: i32,
    pub(crate) failures: u32,
    pub(crate) attempts: u32,
    earlier: u32,
}

pub(crate) struct Model {
    pub(crate) keys: Vec<Key>,
    /// Each with the tokens in hand, in nanoseconds of the time that they take to come back, and when that was.
    limits: Vec<(Limit, i128, Duration)>,
    pub(crate) shut_down: bool,
    pub(crate) adds: u64,
    counter: u64,
    passed_over: u32,
    /// Keys of one lane: those whose number leaves the same rest. None: no lanes.
    lanes: Option<usize>,
    /// By priority, which lane had the last turn.
    last: BTreeMap<i32, usize>,
}

impl Model {
    pub(crate) fn new(keys: usize, limits: &[Limit]) -> Self {
        let keys = vec![Key::default(); keys];
        let full = |limit: &Limit| match limit {
            Limit::Bucket { every, burst } => every.as_nanos() as i128 * i128::from(*burst),
            _ => 0,
        };
        Self {
            keys,
            limits: limits
                .iter()
                .map(|limit| (limit.clone(), full(limit), Duration::ZERO))
                .collect(),
            shut_down: false,
            adds: 0,
            counter: 0,
            passed_over: 0,
            lanes: None,
            last: BTreeMap::new(),
        }
    }

    pub(crate) fn set_lanes(&mut self, lanes: Option<usize>) {
        if self.lanes.is_some() || lanes.is_some() {
            (self.lanes, self.last) = (lanes, BTreeMap::new());
            for it in &mut self.keys {
                if let Some(pending) = &mut it.pending {
                    pending.level = pending.line;
                }
            }
        }
    }

    fn count(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    pub(crate) fn advance(&mut self, now: Duration) {
        loop {
            let first = (0..self.keys.len())
                .filter_map(|key| self.keys[key].pending.as_ref().map(|pending| (key, pending)))
                .filter_map(|(key, pending)| pending.due.map(|due| (due, pending.asked, key)))
                .min();
            match first {
                Some((due, _, key)) if due <= now => self.queue(key, due),
                _ => return,
            }
        }
    }

    fn queue(&mut self, key: usize, since: Duration) {
        self.adds += 1;
        let count = self.count();
        let pending = self.keys[key].pending.as_mut().unwrap();
        (pending.due, pending.since, pending.line, pending.level) = (None, since, count, count);
    }

    pub(crate) fn add(
        &mut self,
        now: Duration,
        key: usize,
        delay: Duration,
        priority: i32,
        wakes: bool,
        cause: u32,
    ) -> bool {
        self.advance(now);
        if self.shut_down || (self.keys[key].parked.is_some() && !wakes) {
            return false;
        }
        self.unpark(key);
        self.merge(now, key, delay, priority, wakes, cause);
        true
    }

    pub(crate) fn unpark(&mut self, key: usize) -> bool {
        let key = &mut self.keys[key];
        if key.parked.take().is_some() {
            key.earlier = key.attempts;
            return true;
        }
        false
    }

    fn merge(&mut self, now: Duration, key: usize, delay: Duration, priority: i32, wakes: bool, cause: u32) {
        let count = self.count();
        let wanted = now + delay;
        match &mut self.keys[key].pending {
            Some(pending) => {
                pending.causes.push(cause);
                pending.wakes |= wakes;
                if priority > pending.priority {
                    (pending.priority, pending.level) = (priority, count);
                }
                if let Some(due) = pending.due
                    && wanted < due
                {
                    (pending.due, pending.asked) = (Some(wanted), count);
                }
            }
            none => {
                let due = Some(wanted);
                let causes = vec![cause];
                *none = Some(Pending {
                    due,
                    since: now,
                    priority,
                    wakes,
                    causes,
                    asked: count,
                    line: count,
                    level: count,
                });
            }
        }
        if self.keys[key]
            .pending
            .as_ref()
            .and_then(|pending| pending.due)
            .is_some_and(|due| due <= now)
        {
            self.queue(key, now);
        }
    }

    pub(crate) fn retry(&mut self, now: Duration, key: usize, backoff: bool, delay: Duration, cause: u32) -> Retry {
        self.advance(now);
        if self.keys[key].parked.is_some() {
            return Retry::Parked;
        }
        let mut delay = delay;
        if backoff {
            delay = self.wait(now, self.keys[key].failures);
            self.keys[key].failures += 1;
        }
        let attempts = self.limits.iter().filter_map(|(limit, ..)| match limit {
            Limit::Attempts { most } => Some(*most),
            _ => None,
        });
        let (most, shut_down) = (attempts.min(), self.shut_down);
        let it = &mut self.keys[key];
        it.attempts += 1;
        if most.is_some_and(|most| it.attempts - it.earlier >= most) {
            if it.pending.as_ref().is_some_and(|pending| pending.wakes) {
                it.earlier = it.attempts;
            } else {
                self.settle(key, cause);
                return Retry::Parked;
            }
        }
        let it = &mut self.keys[key];
        if shut_down && it.pending.is_none() {
            return Retry::ShutDown;
        }
        let pending = it.pending.as_ref().map(|pending| pending.priority);
        let priority = it
            .work
            .map(|(_, priority)| priority)
            .or(pending)
            .unwrap_or(it.last_priority);
        self.merge(now, key, delay, priority, false, cause);
        let due = self.keys[key].pending.as_ref().and_then(|pending| pending.due);
        Retry::After(due.map_or(Duration::ZERO, |due| due - now))
    }

    /// Every limiter is asked, the longest wait wins.
    fn wait(&mut self, now: Duration, failures: u32) -> Duration {
        let mut waits = vec![Duration::ZERO];
        for (limit, tokens, then) in &mut self.limits {
            waits.push(match limit {
                Limit::Exponential { base, cap, .. } => (*base * 2_u32.pow(failures.min(20))).min(*cap),
                Limit::FastSlow { fast, quick, .. } if failures < *quick => *fast,
                Limit::FastSlow { slow, .. } => *slow,
                Limit::Bucket { every, burst } => {
                    let every = every.as_nanos() as i128;
                    let back = *tokens + (now - *then).as_nanos() as i128;
                    (*tokens, *then) = (back.min(every * i128::from(*burst)) - every, now);
                    Duration::from_nanos((-*tokens).max(0) as u64)
                }
                Limit::Attempts { .. } => Duration::ZERO,
            });
        }
        waits.into_iter().max().unwrap()
    }

    pub(crate) fn reschedule(&mut self, now: Duration, key: usize, delay: Duration) -> bool {
        self.advance(now);
        let asked = self.count();
        let pending = self.keys[key].pending.as_mut().filter(|pending| pending.due.is_some());
        let Some(pending) = pending else { return false };
        (pending.due, pending.asked) = (Some(now + delay), asked);
        if delay.is_zero() {
            self.queue(key, now);
        }
        true
    }

    pub(crate) fn hold_back(&mut self, now: Duration, key: usize, delay: Duration) -> bool {
        self.advance(now);
        let asked = self.count();
        let Some(pending) = &mut self.keys[key].pending else {
            return false;
        };
        if pending.due.unwrap_or(now) >= now + delay {
            return false;
        }
        (pending.due, pending.asked) = (Some(now + delay), asked);
        true
    }

    fn settle(&mut self, key: usize, cause: u32) {
        let it = &mut self.keys[key];
        if let Some(pending) = it.pending.take() {
            it.last_priority = pending.priority;
        }
        if let Some((_, priority)) = it.work {
            it.last_priority = priority;
        }
        it.parked = Some(cause);
    }

    pub(crate) fn park(&mut self, now: Duration, key: usize, cause: u32) -> bool {
        self.advance(now);
        let it = &mut self.keys[key];
        if it.parked.is_some() {
            it.parked = Some(cause);
            return true;
        }
        it.attempts += u32::from(it.work.is_some());
        if it.pending.as_ref().is_some_and(|pending| pending.wakes) {
            it.earlier = it.attempts;
            return false;
        }
        self.settle(key, cause);
        true
    }

    pub(crate) fn wake(&mut self, now: Duration, key: usize, cause: u32) -> bool {
        self.advance(now);
        if self.shut_down || !self.unpark(key) {
            return false;
        }
        let priority = self.keys[key].last_priority;
        self.merge(now, key, Duration::ZERO, priority, true, cause);
        true
    }

    fn ready(&self) -> impl Iterator<Item = (usize, &Pending)> {
        self.keys
            .iter()
            .enumerate()
            .filter(|(_, key)| key.work.is_none())
            .filter_map(|(number, key)| {
                let pending = key.pending.as_ref().filter(|pending| pending.due.is_none())?;
                Some((number, pending))
            })
    }

    /// Each with the time since when it is ready.
    pub(crate) fn ready_by_age(&self) -> Vec<(usize, Duration)> {
        let mut ready: Vec<_> = self.ready().map(|(key, run)| (run.line, key, run.since)).collect();
        ready.sort_unstable();
        ready.into_iter().map(|(_, key, since)| (key, since)).collect()
    }

    /// Each with the time at which it falls due.
    pub(crate) fn delayed_by_time(&self) -> Vec<(usize, Duration)> {
        let runs = self
            .keys
            .iter()
            .enumerate()
            .filter_map(|(key, it)| Some((key, it.pending.as_ref()?)));
        let mut delayed: Vec<_> = runs.filter_map(|(key, run)| Some((run.due?, run.asked, key))).collect();
        delayed.sort_unstable();
        delayed.into_iter().map(|(due, _, key)| (key, due)).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.ready().count()
    }

    pub(crate) fn get(&mut self, now: Duration) -> Option<(usize, Pending, u32)> {
        self.advance(now);
        let priority = self.ready().map(|(_, pending)| pending.priority).max()?;
        // How far a lane lies behind the one that had the last turn.
        let turn = |key: usize| {
            let lanes = self.lanes?;
            let last = self.last.get(&priority)?;
            Some((key % lanes + lanes - last - 1) % lanes)
        };
        let turn = |key: usize| turn(key).or(self.lanes.map(|lanes| key % lanes));
        let (highest, _) = self
            .ready()
            .filter(|(_, pending)| pending.priority == priority)
            .min_by_key(|(key, pending)| (turn(*key), pending.level))?;
        let (oldest, pending) = self.ready().min_by_key(|(_, pending)| pending.line)?;
        let mut key = highest;
        let mut aged = false;
        if oldest != highest && now - pending.since >= AGING {
            self.passed_over += 1;
            if self.passed_over == AGED_TURN {
                (self.passed_over, key, aged) = (0, oldest, true);
            }
        }
        if let Some(lanes) = self.lanes.filter(|_| !aged) {
            self.last.insert(priority, key % lanes);
        }
        let it = &mut self.keys[key];
        let pending = it.pending.take()?;
        it.work = Some((now, pending.priority));
        it.last_priority = pending.priority;
        Some((key, pending, it.attempts + 1))
    }

    pub(crate) fn done(&mut self, now: Duration, key: usize) -> Option<Duration> {
        self.advance(now);
        let (since, _) = self.keys[key].work.take()?;
        let count = self.count();
        if let Some(pending) = &mut self.keys[key].pending
            && pending.due.is_none()
        {
            (pending.line, pending.level) = (count, count);
        }
        Some(now - since)
    }

    pub(crate) fn forget(&mut self, key: usize) {
        let it = &mut self.keys[key];
        (it.failures, it.attempts, it.earlier) = (0, 0, 0);
    }

    pub(crate) fn remove(&mut self, key: usize) -> bool {
        let it = &mut self.keys[key];
        let Some(pending) = it.pending.take() else { return false };
        it.last_priority = pending.priority;
        true
    }

    pub(crate) fn shut_down(&mut self) {
        self.shut_down = true;
        for key in 0..self.keys.len() {
            if self.keys[key]
                .pending
                .as_ref()
                .is_some_and(|pending| pending.due.is_some())
            {
                self.remove(key);
            }
        }
    }

    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.keys.iter().filter_map(|key| key.pending.as_ref()?.due).min()
    }

    /// A key of which nothing is known has no priority to come back to, and a priority without ready keys no last turn.
    pub(crate) fn drop_idle(&mut self) {
        let ready: Vec<i32> = self.ready().map(|(_, pending)| pending.priority).collect();
        self.last.retain(|priority, _| ready.contains(priority));
        for it in &mut self.keys {
            let counts = (it.failures, it.attempts, it.earlier);
            if it.work.is_none() && it.pending.is_none() && it.parked.is_none() && counts == (0, 0, 0) {
                it.last_priority = 0;
            }
        }
    }
}
