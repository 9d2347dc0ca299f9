//! How many requests a second may be sent. Pure.
//!
//! Promised: in any time T no more than `burst + rate × T` are let through; they go in the order in which they asked;
//! who would have to wait for longer than it is ready to is refused at once, and takes nothing from the others.

use std::time::Duration;

/// A bound on requests a second, with a burst. The algorithm is the one ATM networks call GCRA: one point in time
/// instead of a bucket that must be filled.
#[derive(Clone, Debug)]
pub struct Pace {
    per_second: u32,
    /// Between two requests; zero is no bound.
    interval: Duration,
    burst: u32,
    /// When a bucket that is empty now would be full again.
    full_at: Duration,
    /// Nothing goes before this.
    held: Duration,
}

/// A request would have to wait for so long, which is longer than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong(pub Duration);

impl Pace {
    /// So many requests a second, and so many (at least one) at once after a pause. A rate of 0 is no bound.
    pub fn new(per_second: u32, burst: u32) -> Self {
        Self {
            per_second,
            interval: Duration::from_secs(1).checked_div(per_second).unwrap_or_default(),
            burst: burst.max(1),
            full_at: Duration::ZERO,
            held: Duration::ZERO,
        }
    }

    /// How many requests a second; 0 where that has no bound.
    pub fn per_second(&self) -> u32 {
        self.per_second
    }

    /// Takes a turn: how long to wait before sending. `now` must not go backwards; if it does, waits are longer.
    ///
    /// # Errors
    /// The wait would be longer than `most`. Nothing was taken.
    pub fn turn(&mut self, now: Duration, most: Duration) -> Result<Duration, TooLong> {
        self.turns(now, 1, most)
    }

    /// Takes so many turns at once, all of them or none: what is counted in bytes, say.
    ///
    /// # Errors
    /// As [`Pace::turn`]. More at once than the burst are never had without a wait.
    pub fn turns(&mut self, now: Duration, count: u32, most: Duration) -> Result<Duration, TooLong> {
        let full_at = self.full_at.max(now) + self.interval.saturating_mul(count);
        let due = full_at
            .saturating_sub(self.interval.saturating_mul(self.burst))
            .max(self.held);
        let wait = due.saturating_sub(now);
        if wait > most {
            return Err(TooLong(wait));
        }
        self.full_at = full_at;
        Ok(wait)
    }

    /// The server asks for a pause: nothing is let through for so long from now. What has its turn already keeps it.
    pub fn hold(&mut self, now: Duration, pause: Duration) {
        self.held = self.held.max(now.saturating_add(pause));
    }

    /// Whether a pause that the server asked for lasts.
    pub fn is_held(&self, now: Duration) -> bool {
        now < self.held
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    const LONG: Duration = Duration::from_secs(1_000);

    #[test]
    fn a_burst_goes_at_once_and_the_rest_at_the_rate() {
        let mut pace = Pace::new(10, 3);
        let waits: Vec<_> = (0..6).map(|_| pace.turn(ms(5_000), LONG).unwrap()).collect();
        assert_eq!(waits, [0, 0, 0, 100, 200, 300].map(ms));
        assert_eq!(pace.turn(ms(5_400), LONG), Ok(ms(0)), "its turn has come");
        assert_eq!(pace.turn(ms(5_400), LONG), Ok(ms(100)));
        let waits: Vec<_> = (0..4).map(|_| pace.turn(ms(60_000), LONG).unwrap()).collect();
        assert_eq!(
            waits,
            [0, 0, 0, 100].map(ms),
            "a long pause saves up one burst and no more"
        );
    }

    #[test]
    fn who_would_wait_too_long_is_refused_and_takes_nothing() {
        let mut pace = Pace::new(1, 1);
        assert_eq!(pace.turn(ms(0), ms(1_500)), Ok(ms(0)));
        assert_eq!(pace.turn(ms(0), ms(1_500)), Ok(ms(1_000)));
        for _ in 0..3 {
            assert_eq!(pace.turn(ms(0), ms(1_500)), Err(TooLong(ms(2_000))));
        }
        assert_eq!(pace.turn(ms(600), ms(1_500)), Ok(ms(1_400)));
    }

    #[test]
    fn a_pause_that_the_server_asks_for_is_kept_and_a_shorter_one_does_not_end_it() {
        let mut pace = Pace::new(0, 1);
        assert_eq!(pace.turn(ms(0), ms(0)), Ok(ms(0)), "no bound");
        pace.hold(ms(0), ms(2_000));
        pace.hold(ms(100), ms(500));
        assert_eq!(pace.turn(ms(500), LONG), Ok(ms(1_500)));
        assert_eq!(pace.turn(ms(500), ms(1_000)), Err(TooLong(ms(1_500))));
        assert_eq!(pace.turn(ms(2_000), LONG), Ok(ms(0)));
    }

    proptest! {
        #[test]
        fn no_time_sees_more_than_its_share_and_none_overtakes(
            rate in 1_u32..1_000,
            burst in 1_u32..50,
            asks in prop::collection::vec((0_u64..200, 0_u64..3_000), 1..200),
        ) {
            let (mut pace, mut now, mut sent) = (Pace::new(rate, burst), ms(0), Vec::new());
            for (later, most) in asks {
                now += ms(later);
                match pace.turn(now, ms(most)) {
                    Ok(wait) => {
                        prop_assert!(wait <= ms(most));
                        sent.push(now + wait);
                    }
                    Err(TooLong(wait)) => prop_assert!(wait > ms(most)),
                }
            }
            prop_assert!(sent.is_sorted());
            for (first, from) in sent.iter().enumerate() {
                for (last, to) in sent.iter().enumerate().skip(first) {
                    // One more for the one that a window begins with; a nanosecond a request is lost in rounding.
                    let allowed = f64::from(burst) + (*to - *from).as_secs_f64() * f64::from(rate) * 1.000_1 + 1.0;
                    prop_assert!((last - first + 1) as f64 <= allowed);
                }
            }
        }
    }
}
