//! Growing pauses between tries.

use std::time::Duration;

/// How pauses grow. The waits lie between `first` and `cap`, each spread over one to two times its step so that many
/// reflectors don't come back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffConfig {
    /// The shortest pause. Default 0.8 s.
    pub first: Duration,
    /// The longest pause. Default 30 s.
    pub cap: Duration,
    /// How long things must have gone well for the pauses to start small again. Default 2 minutes.
    pub healthy: Duration,
}

impl Default for BackoffConfig {
    /// client-go's values (tools/cache/reflector.go).
    fn default() -> Self {
        Self {
            first: Duration::from_millis(800),
            cap: Duration::from_secs(30),
            healthy: Duration::from_secs(120),
        }
    }
}

/// The longest that a server's `Retry-After` is obeyed: a wrong header must not silence a watch for good.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    config: BackoffConfig,
    failures: u32,
    /// When the last pause ended.
    resumed: Option<Duration>,
}

impl Backoff {
    pub(crate) fn new(config: BackoffConfig) -> Self {
        Self {
            config,
            failures: 0,
            resumed: None,
        }
    }

    /// The pause after a failure at `now`: the larger of our own and the server's.
    pub(crate) fn next(&mut self, now: Duration, retry_after: Option<Duration>, rng: &mut fastrand::Rng) -> Duration {
        if self
            .resumed
            .is_some_and(|at| now.saturating_sub(at) >= self.config.healthy)
        {
            self.failures = 0;
        }
        let step = self
            .config
            .first
            .saturating_mul(1 << self.failures.min(20))
            .min(self.config.cap / 2)
            .max(self.config.first);
        self.failures = self.failures.saturating_add(1);
        let own = step.mul_f64(1.0 + rng.f64()).min(self.config.cap);
        let pause = own.max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER));
        self.resumed = Some(now + pause);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(s: f64) -> Duration {
        Duration::from_secs_f64(s)
    }

    #[test]
    fn rule_39_pauses_grow_twofold_from_800_ms_to_30_s_with_jitter() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut backoff = Backoff::new(BackoffConfig::default());
        let mut now = Duration::ZERO;
        let mut seen = Vec::new();
        for n in 0..40 {
            let pause = backoff.next(now, None, &mut rng);
            let low = (0.8 * f64::powi(2.0, n)).min(15.0);
            assert!(pause >= secs(low) && pause < secs(low * 2.0 + 1e-6), "{n}: {pause:?}");
            now += pause;
            seen.push(pause);
        }
        seen.dedup();
        assert_eq!(seen.len(), 40, "no two pauses are alike");
    }

    #[test]
    fn rule_39_two_minutes_of_health_start_it_anew() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut backoff = Backoff::new(BackoffConfig::default());
        let mut now = Duration::ZERO;
        for _ in 0..6 {
            now += backoff.next(now, None, &mut rng);
        }
        assert!(backoff.next(now + secs(119.0), None, &mut rng) >= secs(15.0));
        now = backoff.resumed.unwrap();
        assert!(backoff.next(now + secs(120.0), None, &mut rng) < secs(1.6));
    }

    #[test]
    fn rule_39_the_servers_retry_after_is_honoured_within_reason() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut backoff = Backoff::new(BackoffConfig::default());
        assert_eq!(backoff.next(secs(0.0), Some(secs(17.0)), &mut rng), secs(17.0));
        assert_eq!(backoff.next(secs(0.0), Some(secs(1e9)), &mut rng), MAX_RETRY_AFTER);
        assert!(
            backoff.next(secs(0.0), Some(secs(1.0)), &mut rng) >= secs(3.2),
            "ours is longer"
        );
    }
}
