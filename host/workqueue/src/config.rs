//! What can be set on a queue, and the back-off that follows from it.

use std::time::Duration;

/// How a queue retries. Made once for each queue; a change means a new queue, or [`crate::Queue::set_config`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// The first back-off; each failure in a row doubles it. Default 5 ms, as in client-go. Danger: zero retries at
    /// once and for ever.
    pub base: Duration,
    /// No back-off is longer. Default 300 s (client-go: 1000 s): after an outage every key has been tried again
    /// within five minutes. A cap below `base` wins over it.
    pub cap: Duration,
    /// Full jitter: the wait is drawn evenly between nothing and the back-off, so that keys that failed together
    /// don't come back together. Default true (client-go: none). The mean wait is half of the back-off then.
    pub jitter: bool,
    /// After this many failed attempts in a row [`crate::Queue::retry`] parks the key instead of retrying it.
    /// Default `None`: attempts have no end. `Some(0)` means the same as `Some(1)`: the first failure parks.
    pub max_attempts: Option<u32>,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            base: Duration::from_millis(5),
            cap: Duration::from_secs(300),
            jitter: true,
            max_attempts: None,
        }
    }
}

impl QueueConfig {
    /// How long to wait after `failures` earlier failures: base·2^failures, at most the cap, jittered if so set.
    /// Never overflows, whatever the numbers.
    pub fn backoff(&self, failures: u32, rng: &mut fastrand::Rng) -> Duration {
        let full = 1_u128
            .checked_shl(failures)
            .and_then(|factor| self.base.as_nanos().checked_mul(factor))
            // What overflows is longer than any cap, unless the base is zero: 0 · 2^200 stays zero.
            .unwrap_or(if self.base.is_zero() { 0 } else { u128::MAX })
            .min(self.cap.as_nanos());
        let wait = if self.jitter { rng.u128(0..=full) } else { full };
        // Both casts are lossless: `wait` is at most the cap, whose own seconds fit 64 bits.
        Duration::new((wait / NANOS_A_SECOND) as u64, (wait % NANOS_A_SECOND) as u32)
    }
}

const NANOS_A_SECOND: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> QueueConfig {
        QueueConfig {
            jitter: false,
            ..QueueConfig::default()
        }
    }

    // Rule 14.
    #[test]
    fn the_back_off_doubles_from_its_base_up_to_its_cap() {
        let mut rng = fastrand::Rng::with_seed(1);
        let waits: Vec<u128> = (0..4)
            .map(|failures| plain().backoff(failures, &mut rng).as_millis())
            .collect();
        assert_eq!(waits, [5, 10, 20, 40]);
        assert_eq!(plain().backoff(15, &mut rng), Duration::from_millis(5 << 15));
        assert_eq!(plain().backoff(16, &mut rng), Duration::from_secs(300));
    }

    // Rule 14.
    #[test]
    fn no_number_of_failures_overflows_the_back_off() {
        let mut rng = fastrand::Rng::with_seed(1);
        for failures in [31, 32, 63, 64, 127, 128, 129, u32::MAX] {
            assert_eq!(plain().backoff(failures, &mut rng), Duration::from_secs(300));
        }
        let widest = QueueConfig {
            base: Duration::MAX,
            cap: Duration::MAX,
            jitter: false,
            max_attempts: None,
        };
        assert_eq!(widest.backoff(u32::MAX, &mut rng), Duration::MAX);
        let nothing = QueueConfig {
            base: Duration::ZERO,
            ..plain()
        };
        assert_eq!(nothing.backoff(u32::MAX, &mut rng), Duration::ZERO);
        let low_cap = QueueConfig {
            cap: Duration::from_millis(1),
            ..plain()
        };
        assert_eq!(low_cap.backoff(0, &mut rng), Duration::from_millis(1));
    }

    // Rule 14.
    #[test]
    fn full_jitter_draws_from_the_whole_back_off_and_never_beyond_it() {
        let config = QueueConfig::default();
        let mut rng = fastrand::Rng::with_seed(7);
        let full = Duration::from_millis(5 << 6);
        let waits: Vec<Duration> = (0..1000).map(|_| config.backoff(6, &mut rng)).collect();
        assert!(waits.iter().all(|wait| *wait <= full));
        assert!(waits.iter().any(|wait| *wait < full / 10));
        assert!(waits.iter().any(|wait| *wait > full / 10 * 9));
        let mut again = fastrand::Rng::with_seed(7);
        assert!(
            waits.iter().all(|wait| *wait == config.backoff(6, &mut again)),
            "the same seed draws the same waits"
        );
    }
}
