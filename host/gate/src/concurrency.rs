//! How many keys of a controller may be in work at once, where the operator says `auto` and not a number.
//!
//! # The law, and why this one
//! Additive increase, multiplicative decrease, led by the API server's latency against its own minimum (as TCP Vegas
//! does it, and the limiters that came of it):
//! - The server sheds (429, or it is unavailable): seven tenths of the limit, and no growth for a while.
//! - Its mean latency is above twice the lowest mean of the last minutes: nine tenths.
//! - Else, if all permits were in use and keys wait: one more.
//! - Else nothing. A limit that nobody uses up proves nothing, so it does not grow.
//!
//! A reconcile is mostly waiting for the API server, so its latency is what tells that more at once only makes each one
//! slower. A queue's depth alone would raise the limit just when the server is slowest. The decrease is multiplicative
//! since hosts that share a server must come to equal shares without talking to each other, and additive increase with
//! multiplicative decrease does (Chiu and Jain); a pure gradient law does not. The minimum is forgotten after some
//! minutes, so that a server that has become slower for good is not taken for an overloaded one for ever.
//!
//! # Not promised
//! Nothing here measures: the caller samples, once in every [`Concurrency::INTERVAL`].

use std::time::Duration;

/// The latency must be above so many times its minimum, to be a sign.
const SLOWER: u32 = 2;
/// And by so much: what a busy processor makes of a millisecond is none.
const NOISE: Duration = Duration::from_millis(5);
/// After the server shed, nothing grows for so long.
const CALM: Duration = Duration::from_secs(5);
/// The lowest latency is that of the current and of the last of these times.
const MEMORY: Duration = Duration::from_secs(150);

/// What was seen since the last step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Mean time from a request being sent to the end of its answer; none where none was sent.
    pub latency: Option<Duration>,
    /// Requests that the server shed: answered 429, or unavailable.
    pub shed: u32,
    /// The most permits that were out at once.
    pub used: usize,
    /// Keys that are ready and wait for a permit.
    pub waiting: usize,
}

/// The limit of one controller.
#[derive(Clone, Debug)]
pub struct Concurrency {
    floor: f64,
    ceiling: f64,
    limit: f64,
    /// The lowest latencies of the current time and of the one before, and when the current one began.
    lowest: [Option<Duration>; 2],
    began: Duration,
    calm_until: Duration,
}

impl Concurrency {
    /// A step is due once in so long.
    pub const INTERVAL: Duration = Duration::from_secs(1);

    /// Begins at the floor. A floor of 0 counts as 1, and a ceiling below the floor as the floor.
    pub fn new(floor: usize, ceiling: usize) -> Self {
        let floor = floor.max(1);
        Self {
            floor: floor as f64,
            ceiling: ceiling.max(floor) as f64,
            limit: floor as f64,
            lowest: [None; 2],
            began: Duration::ZERO,
            calm_until: Duration::ZERO,
        }
    }

    /// Whether it keeps to this floor and this ceiling.
    pub fn is_between(&self, floor: usize, ceiling: usize) -> bool {
        let other = Self::new(floor, ceiling);
        (self.floor, self.ceiling) == (other.floor, other.ceiling)
    }

    /// The limit now.
    pub fn limit(&self) -> usize {
        self.limit as usize
    }

    /// What was seen, and the limit that follows from it.
    pub fn step(&mut self, now: Duration, sample: &Sample) -> usize {
        if now.saturating_sub(self.began) >= MEMORY {
            self.lowest = [None, self.lowest[0]];
            self.began = now;
        }
        // The minimum before this sample: the first one is no sign of anything.
        let lowest = self.lowest.iter().flatten().min().copied();
        if let Some(latency) = sample.latency {
            self.lowest[0] = Some(self.lowest[0].map_or(latency, |lowest| lowest.min(latency)));
        }
        let slower = sample.latency.zip(lowest).is_some_and(|(latency, lowest)| {
            latency > lowest.saturating_mul(SLOWER) && latency > lowest.saturating_add(NOISE)
        });
        if sample.shed > 0 {
            self.limit *= 0.7;
            self.calm_until = now.saturating_add(CALM);
        } else if slower {
            self.limit *= 0.9;
        } else if now >= self.calm_until && sample.waiting > 0 && sample.used >= self.limit() {
            self.limit = self.limit.floor() + 1.0;
        }
        self.limit = self.limit.clamp(self.floor, self.ceiling);
        self.limit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FAST: Option<Duration> = Some(Duration::from_millis(10));
    const SLOW: Option<Duration> = Some(Duration::from_millis(100));

    /// One second after the other, with all permits in use and keys that wait.
    fn steps(law: &mut Concurrency, from: u64, count: u64, latency: Option<Duration>, shed: u32) -> usize {
        (from..from + count).fold(law.limit(), |limit, second| {
            let sample = Sample {
                latency,
                shed,
                used: limit,
                waiting: 5,
            };
            law.step(Duration::from_secs(second), &sample)
        })
    }

    #[test]
    fn while_keys_wait_and_the_server_is_quick_the_limit_grows_by_one_to_its_ceiling() {
        let mut law = Concurrency::new(2, 8);
        assert_eq!(law.limit(), 2);
        assert_eq!(steps(&mut law, 0, 3, FAST, 0), 5);
        assert_eq!(steps(&mut law, 3, 50, FAST, 0), 8);
    }

    #[test]
    fn a_limit_that_is_not_used_up_or_that_nobody_waits_for_stays() {
        let mut law = Concurrency::new(2, 8);
        for (used, waiting) in [(1, 9), (2, 0)] {
            let sample = Sample {
                latency: FAST,
                shed: 0,
                used,
                waiting,
            };
            assert_eq!(law.step(Duration::from_secs(1), &sample), 2);
        }
    }

    #[test]
    fn a_server_that_becomes_slow_shrinks_it_to_the_floor_and_no_further() {
        let mut law = Concurrency::new(2, 20);
        assert_eq!(steps(&mut law, 0, 18, FAST, 0), 20);
        assert_eq!(steps(&mut law, 18, 1, SLOW, 0), 18);
        assert_eq!(steps(&mut law, 19, 60, SLOW, 0), 2);
    }

    #[test]
    fn what_a_busy_processor_makes_of_a_millisecond_shrinks_nothing() {
        let mut law = Concurrency::new(2, 20);
        let millis = |millis| Some(Duration::from_millis(millis));
        assert_eq!(steps(&mut law, 0, 10, millis(1), 0), 12);
        assert_eq!(steps(&mut law, 10, 4, millis(3), 0), 16, "three times the lowest");
        assert_eq!(steps(&mut law, 14, 1, millis(7), 0), 14, "and six milliseconds more");
    }

    #[test]
    fn a_server_that_sheds_shrinks_it_at_once_and_it_stays_calm_for_a_while() {
        let mut law = Concurrency::new(1, 20);
        assert_eq!(steps(&mut law, 0, 19, FAST, 0), 20);
        assert_eq!(steps(&mut law, 19, 1, FAST, 3), 14);
        assert_eq!(steps(&mut law, 20, 4, FAST, 0), 14);
        assert_eq!(steps(&mut law, 24, 1, FAST, 0), 15);
    }

    #[test]
    fn a_server_that_is_slower_for_good_is_the_new_measure_after_some_minutes() {
        let mut law = Concurrency::new(2, 20);
        steps(&mut law, 0, 18, FAST, 0);
        steps(&mut law, 18, 400, SLOW, 0);
        assert_eq!(law.limit(), 20, "twice the time of memory has passed");
    }

    proptest! {
        #[test]
        fn whatever_is_seen_the_limit_stays_between_floor_and_ceiling(
            floor in 0..50_usize,
            ceiling in 0..50_usize,
            seen in prop::collection::vec(
                (0..5_000_u64, prop::option::of(0..10_000_u64), 0..3_u32, 0..60_usize, 0..60_usize),
                0..200,
            ),
        ) {
            let mut law = Concurrency::new(floor, ceiling);
            let mut now = Duration::ZERO;
            for (passed, latency, shed, used, waiting) in seen {
                now += Duration::from_millis(passed);
                let before = law.limit();
                let sample = Sample { latency: latency.map(Duration::from_millis), shed, used, waiting };
                let limit = law.step(now, &sample);
                prop_assert!((floor.max(1)..=ceiling.max(floor).max(1)).contains(&limit));
                prop_assert!(limit <= before + 1);
                prop_assert!(shed == 0 || limit <= before, "it does not grow while the server sheds");
            }
        }
    }
}
