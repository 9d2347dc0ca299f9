//! What most controllers set on their queue.

use crate::limiter::{Limit, Limits};
use std::time::Duration;

/// How a queue retries: the short form of [`Limits`] for a back-off for each key and, if so set, an end of attempts.
/// Given to [`crate::Queue::new`], or later to [`crate::Queue::set_limits`].
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

impl From<QueueConfig> for Limits {
    fn from(config: QueueConfig) -> Self {
        let backoff = Limit::Exponential {
            base: config.base,
            cap: config.cap,
            jitter: config.jitter,
        };
        let end = config.max_attempts.map(|most| Limit::Attempts { most });
        Self::new([backoff].into_iter().chain(end))
    }
}

impl Default for Limits {
    fn default() -> Self {
        QueueConfig::default().into()
    }
}
