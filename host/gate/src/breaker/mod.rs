//! A breaker for each plugin: closed → open → half-open → closed, or quarantined.
//!
//! # Promised
//! - **Closed** it lets every call begin. It opens on the share of failed calls, the share of slow calls, or failures
//!   in a row, and only where calls of enough distinct keys speak for it ([`Settings::min_keys`]).
//! - **Open** it lets none begin. It stays so for a time that doubles with each trip, with a fifth of jitter either
//!   way, and begins again with the shortest once it was closed for a good time.
//! - **Half-open** it lets a few calls be under way at once. Asked for its [`Breaker::rank`], it names the keys first
//!   that last went well. A majority (by the failure rate) of good or of failed probes decides; a key that fails again
//!   and again counts once.
//! - Calls that began in an earlier state change nothing when they end ([`Call::epoch`]) but what is known of their
//!   keys.
//! - After it **closed**, what waited is released on a ramp: as slowly as probes, and twice as fast each second.
//! - After several trips within a time it is **quarantined**: open until [`Breaker::reset`].
//! - A key that keeps failing while others of the plugin go well is **set apart**: its failures count no more. Its own
//!   back-off, which the queue keeps, says when it runs.
//! - Its memory is bounded, whatever is told to it.
//!
//! # A few poison objects, or a broken plugin?
//! What speaks against a plugin is that keys fail anew. That the same keys fail again says nothing new as long as
//! others are known to go well. They are if
//! - of the last 64 keys that were called more did not fail at their last call than did, however long ago that was: in
//!   a plugin that is not busy nothing else may have been called for hours;
//! - or, while it is closed, any call within the window went well.
//!
//! Then a closed breaker does not count a key that failed [`Settings::poison_after`] times in a row, nor one that began
//! to fail before the breaker closed: it was heard when it opened. To a half-open one it says nothing that a key fails
//! which had failed before it was tried. Where nothing else is due it stays half-open, and lets those keys be tried at
//! their own pauses, until two calls go well or two keys fail anew (with the default settings). So a few objects that
//! fail for the first time together, while hardly another is called, may open it once; they cannot keep it open, nor
//! open it again. A plugin that is broken opens it again with each few keys that fail anew, and where half of the keys
//! that were called last failed, with whichever fail again.
//!
//! # Not promised
//! - It does not see the keys: which one is called is the caller's choice, and so is which outcomes count
//!   ([`Outcome::Ignored`]).

mod lately;
mod settings;
mod view;
mod window;

use std::collections::VecDeque;
use std::time::Duration;

pub use settings::{MAX_KEYS, MAX_TRIPS, Settings};
pub use view::{Call, Change, Outcome, Rank, State, View, Why};

use lately::Lately;
use window::{Counts, Keys, Window};

/// Doublings beyond this change nothing: every longest time is reached by then.
const MAX_LEVEL: u32 = 30;
/// No breaker stays open for longer, whatever its settings say.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3_600);
/// A ramp doubles no further than this; whoever is faster is not held back by it.
const MAX_STEPS: u32 = 20;

/// One plugin's breaker. See the module for what it promises.
#[derive(Clone, Debug)]
pub struct Breaker {
    settings: Settings,
    state: State,
    since: Duration,
    /// Counts states.
    epoch: u64,
    window: Window,
    /// Failures since the last success, and the keys of them.
    in_a_row: u32,
    in_a_row_keys: Keys,
    lately: Lately,
    /// Doublings of the open time.
    level: u32,
    /// The last times it opened.
    opened: VecDeque<Duration>,
    trips: u64,
    why: Option<Why>,
    probing: Probing,
    ramp: Option<Ramp>,
}

/// What half-open calls came to so far.
#[derive(Clone, Debug, Default)]
struct Probing {
    under_way: u32,
    good: u32,
    /// Distinct keys, never more than [`Settings::probes`].
    bad: Vec<u64>,
}

/// Calls that begin after it closed.
#[derive(Clone, Copy, Debug)]
struct Ramp {
    /// Which second since.
    step: u32,
    /// How many began in it.
    begun: u32,
}

impl Breaker {
    /// A closed one.
    pub fn new(settings: Settings) -> Self {
        let keys = settings.min_keys.clamp(1, MAX_KEYS);
        Self {
            window: Window::new(settings.window, keys),
            in_a_row_keys: Keys::new(keys),
            lately: Lately::default(),
            settings,
            state: State::Closed,
            since: Duration::ZERO,
            epoch: 0,
            in_a_row: 0,
            level: 0,
            opened: VecDeque::new(),
            trips: 0,
            why: None,
            probing: Probing::default(),
            ramp: None,
        }
    }

    /// Its settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Lets time do its part: an open breaker whose time is over becomes half-open, and a ramp ends.
    pub fn advance(&mut self, now: Duration) -> Option<Change> {
        if matches!(self.state, State::Open { until } if now >= until) {
            self.enter(now, State::HalfOpen);
            return Some(Change::HalfOpened);
        }
        if let Some(ramp) = &mut self.ramp {
            let step = whole_seconds(now.saturating_sub(self.since));
            if now.saturating_sub(self.since) >= self.settings.ramp || step > MAX_STEPS {
                self.ramp = None;
            } else if step != ramp.step {
                *ramp = Ramp { step, begun: 0 };
            }
        }
        None
    }

    /// Whether [`Breaker::advance`] may do anything before a call ends or somebody steps in.
    pub fn is_moving(&self) -> bool {
        matches!(self.state, State::Open { .. }) || self.ramp.is_some()
    }

    /// Whether a call may begin, as of the last [`Breaker::advance`].
    pub fn may_begin(&self) -> bool {
        let probes = self.settings.probes.max(1);
        match self.state {
            State::Closed => self
                .ramp
                .is_none_or(|ramp| u64::from(ramp.begun) < u64::from(probes) << ramp.step.min(MAX_STEPS)),
            State::HalfOpen => self.probing.under_way < probes,
            State::Open { .. } | State::Quarantined => false,
        }
    }

    /// Whether it makes a difference which key is called next: then the best by [`Breaker::rank`] should be.
    pub fn is_choosy(&self) -> bool {
        self.state == State::HalfOpen
    }

    /// How much a half-open breaker would like this key to be called, which failed so often in a row.
    pub fn rank(&self, key: u64, failures: u32) -> Rank {
        if failures > 0 {
            Rank::Failed
        } else if self.lately.went_well(key) {
            Rank::WentWell
        } else {
            Rank::Unknown
        }
    }

    /// A call of this key begins; it failed so often in a row before. An [`Breaker::end`] is owed.
    #[must_use = "the call's end is owed"]
    pub fn begin(&mut self, key: u64, failures: u32) -> Call {
        if self.state == State::HalfOpen {
            self.probing.under_way = self.probing.under_way.saturating_add(1);
        }
        if let Some(ramp) = &mut self.ramp {
            ramp.begun = ramp.begun.saturating_add(1);
        }
        Call {
            key,
            failures,
            epoch: self.epoch,
        }
    }

    /// When [`Breaker::may_begin`] may answer otherwise by time alone.
    pub fn next_due(&self) -> Option<Duration> {
        match self.state {
            State::Open { until } => Some(until),
            State::Closed if !self.may_begin() => {
                let step = self.ramp.map_or(0, |ramp| ramp.step);
                Some(self.since + Duration::from_secs(u64::from(step) + 1).min(self.settings.ramp))
            }
            _ => None,
        }
    }

    /// A call ended. Answers what that changed.
    pub fn end(&mut self, now: Duration, rng: &mut fastrand::Rng, call: Call, outcome: Outcome) -> Option<Change> {
        self.lately.tell(call.key, call.epoch, outcome);
        if call.epoch != self.epoch {
            return None;
        }
        match self.state {
            State::Closed => self.end_closed(now, rng, call, outcome),
            State::HalfOpen => self.end_probe(now, rng, call, outcome),
            State::Open { .. } | State::Quarantined => None,
        }
    }

    /// Closed from now on, as if it were new: for a new version, a new configuration, or because a person says so. What
    /// is under way counts no more.
    pub fn reset(&mut self, now: Duration) {
        self.enter(now, State::Closed);
        self.ramp = None;
        self.level = 0;
        self.opened.clear();
        self.why = None;
    }

    /// Quarantined from now on: a person says so, or it was before a restart.
    pub fn quarantine(&mut self, now: Duration) {
        if self.state != State::Quarantined {
            self.enter(now, State::Quarantined);
        }
    }

    /// Other settings from now on. Where they are others, what the window held is forgotten; its state stays.
    pub fn set(&mut self, settings: Settings) {
        if settings != self.settings {
            let keys = settings.min_keys.clamp(1, MAX_KEYS);
            self.window = Window::new(settings.window, keys);
            self.in_a_row_keys = Keys::new(keys);
            self.in_a_row = 0;
            self.settings = settings;
        }
    }

    /// What can be seen of it.
    pub fn view(&self, now: Duration) -> View {
        let counts = self.window.counts(now);
        View {
            state: self.state,
            since: self.since,
            why: self.why,
            trips: self.trips,
            calls: counts.all(),
            failed: counts.failed,
            slow: counts.slow,
        }
    }

    fn end_closed(&mut self, now: Duration, rng: &mut fastrand::Rng, call: Call, outcome: Outcome) -> Option<Change> {
        let mut counts = Counts::default();
        match outcome {
            Outcome::Ignored => return None,
            Outcome::Success => counts.good = 1,
            Outcome::Slow => {
                counts.slow = 1;
                self.window.slow_keys.tell(now, call.key);
            }
            Outcome::Failure if self.is_apart(now, &call) => return None,
            Outcome::Failure => {
                counts.failed = 1;
                self.window.failed_keys.tell(now, call.key);
            }
        }
        if outcome == Outcome::Failure {
            self.in_a_row = self.in_a_row.saturating_add(1);
            self.in_a_row_keys.tell(now, call.key);
        } else {
            self.in_a_row = 0;
            self.in_a_row_keys.clear();
        }
        self.window.count(now, &counts);
        let why = self.reason(now).filter(|_| self.settings.enabled)?;
        Some(self.trip(now, rng, why))
    }

    /// Whether this call's failure counts no more: its key keeps failing, and others are known to go well.
    fn is_apart(&self, now: Duration, call: &Call) -> bool {
        let settings = &self.settings;
        let keeps_failing = match self.state {
            // It was tried to see whether others go well again: that it does not is what was known before.
            State::HalfOpen => call.failures > 0,
            _ => call.failures >= settings.poison_after || self.lately.fails_since_before(call.key, self.epoch),
        };
        let others_go_well = || {
            let counts = self.window.counts(now);
            self.lately.mostly_well() || counts.good + counts.slow > 0
        };
        settings.poison_after > 0 && keeps_failing && others_go_well()
    }

    /// Why it should open now, if it should.
    fn reason(&self, now: Duration) -> Option<Why> {
        let settings = &self.settings;
        let keys = settings.min_keys.clamp(1, MAX_KEYS);
        let counts = self.window.counts(now);
        let (calls, begins) = (counts.all(), self.window.begins(now));
        let reaches = |part: u32, rate: u32| rate > 0 && u64::from(part) * 100 >= u64::from(calls) * u64::from(rate);
        if settings.consecutive > 0 && self.in_a_row >= settings.consecutive && self.in_a_row_keys.len() >= keys {
            return Some(Why::InARow { failed: self.in_a_row });
        }
        if calls == 0 || calls < settings.min_calls {
            return None;
        }
        if reaches(counts.failed, settings.failure_rate) && self.window.failed_keys.since(begins) >= keys {
            return Some(Why::Failures {
                failed: counts.failed,
                calls,
            });
        }
        if reaches(counts.slow, settings.slow_rate) && self.window.slow_keys.since(begins) >= keys {
            return Some(Why::Slow {
                slow: counts.slow,
                calls,
            });
        }
        None
    }

    fn end_probe(&mut self, now: Duration, rng: &mut fastrand::Rng, call: Call, outcome: Outcome) -> Option<Change> {
        self.probing.under_way = self.probing.under_way.saturating_sub(1);
        let probes = self.settings.probes.max(1);
        // So many failed ones are the share of them that opens a closed one; more than one where there are as many.
        let rate = match self.settings.failure_rate {
            0 => 50,
            rate => rate.min(100),
        };
        let against = probes.saturating_mul(rate).div_ceil(100).clamp(probes.min(2), probes);
        match outcome {
            Outcome::Ignored => {}
            Outcome::Success => {
                self.probing.good += 1;
                self.probing.bad.retain(|key| *key != call.key);
            }
            // Slow ones are against it only where slowness is a reason.
            Outcome::Slow if self.settings.slow_rate == 0 => self.probing.good += 1,
            Outcome::Failure if self.is_apart(now, &call) => {}
            Outcome::Slow | Outcome::Failure => {
                if !self.probing.bad.contains(&call.key) {
                    self.probing.bad.push(call.key);
                }
            }
        }
        let failed = self.probing.bad.len();
        if failed >= against as usize {
            return Some(self.trip(now, rng, Why::Probes { failed }));
        }
        if self.probing.good > probes - against {
            self.enter(now, State::Closed);
            self.ramp = (!self.settings.ramp.is_zero()).then_some(Ramp { step: 0, begun: 0 });
            return Some(Change::Closed);
        }
        None
    }

    fn trip(&mut self, now: Duration, rng: &mut fastrand::Rng, why: Why) -> Change {
        let settings = &self.settings;
        if self.state == State::Closed && now.saturating_sub(self.since) >= settings.good {
            self.level = 0;
        }
        self.trips += 1;
        self.why = Some(why);
        let most = settings.quarantine_trips.min(MAX_TRIPS);
        self.opened.push_back(now);
        while self.opened.len() > most.max(1) {
            self.opened.pop_front();
        }
        let within = |first: &Duration| now.saturating_sub(*first) <= settings.quarantine_within;
        if most > 0 && self.opened.len() == most && self.opened.front().is_some_and(within) {
            self.enter(now, State::Quarantined);
            return Change::Quarantined { why, trips: most };
        }
        let longest = settings.open_max.max(settings.open).min(LONGEST);
        let lasts = settings
            .open
            .saturating_mul(1 << self.level.min(MAX_LEVEL))
            .min(longest);
        let lasts = lasts.mul_f64(0.8 + 0.4 * rng.f64());
        self.level = (self.level + 1).min(MAX_LEVEL);
        self.enter(now, State::Open { until: now + lasts });
        Change::Opened { lasts, why }
    }

    fn enter(&mut self, now: Duration, state: State) {
        self.state = state;
        self.since = now;
        self.epoch += 1;
        self.window.clear();
        self.in_a_row = 0;
        self.in_a_row_keys.clear();
        self.probing = Probing::default();
        self.ramp = None;
    }
}

fn whole_seconds(time: Duration) -> u32 {
    time.as_secs().try_into().unwrap_or(u32::MAX)
}
