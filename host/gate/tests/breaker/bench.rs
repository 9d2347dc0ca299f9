//! A breaker driven by hand.

use std::time::Duration;

use pilothouse_gate::breaker::{Breaker, Call, Change, Outcome, Settings, State};

/// A breaker with a clock.
pub(crate) struct Bench {
    pub(crate) breaker: Breaker,
    pub(crate) now: Duration,
    pub(crate) rng: fastrand::Rng,
}

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn bench(change: impl FnOnce(&mut Settings)) -> Bench {
    let mut settings = Settings::default();
    change(&mut settings);
    Bench {
        breaker: Breaker::new(settings),
        now: seconds(1_000),
        rng: fastrand::Rng::with_seed(1),
    }
}

impl Bench {
    pub(crate) fn begin(&mut self, key: u64, failures: u32) -> Call {
        assert!(self.breaker.may_begin());
        self.breaker.begin(key, failures)
    }

    pub(crate) fn end(&mut self, call: Call, outcome: Outcome) -> Option<Change> {
        self.breaker.end(self.now, &mut self.rng, call, outcome)
    }

    /// A call of this key that begins and ends now.
    pub(crate) fn call(&mut self, key: u64, outcome: Outcome) -> Option<Change> {
        let call = self.begin(key, 0);
        self.end(call, outcome)
    }

    /// The same for each of these keys; answers what the last one changed.
    pub(crate) fn calls(&mut self, keys: std::ops::Range<u64>, outcome: Outcome) -> Option<Change> {
        keys.fold(None, |_, key| self.call(key, outcome))
    }

    pub(crate) fn pass(&mut self, time: Duration) -> Option<Change> {
        self.now += time;
        self.breaker.advance(self.now)
    }

    pub(crate) fn state(&self) -> State {
        self.breaker.view(self.now).state
    }

    /// Opens it from closed or half-open, and answers for how long.
    pub(crate) fn trip(&mut self) -> Duration {
        for key in 100..200 {
            match self.call(key, Outcome::Failure) {
                None => {}
                Some(Change::Opened { lasts, .. }) => return lasts,
                Some(other) => panic!("{other:?}"),
            }
        }
        panic!("a hundred failures of a hundred keys opened nothing");
    }

    /// Passes the time of an open one.
    pub(crate) fn half_open(&mut self) {
        let State::Open { until } = self.state() else {
            panic!("not open")
        };
        assert_eq!(self.pass(until - self.now), Some(Change::HalfOpened));
    }
}
