//! Short words for the queue's tests.

use pilothouse_workqueue::{Queue, QueueConfig};
use std::time::Duration;

pub(crate) type Q = Queue<&'static str, &'static str>;

pub(crate) const ZERO: Duration = Duration::ZERO;

pub(crate) fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// No jitter: waits are exact.
pub(crate) fn plain() -> QueueConfig {
    QueueConfig {
        jitter: false,
        ..QueueConfig::default()
    }
}

pub(crate) fn queue() -> Q {
    Queue::new(plain())
}

pub(crate) fn queue_with_attempts(most: u32) -> Q {
    Queue::new(QueueConfig {
        max_attempts: Some(most),
        ..plain()
    })
}

pub(crate) fn rng() -> fastrand::Rng {
    fastrand::Rng::with_seed(1)
}

/// Takes and ends what is ready at `now`, in order.
pub(crate) fn run_all(queue: &mut Q, now: Duration) -> Vec<&'static str> {
    std::iter::from_fn(|| {
        let key = queue.get(now)?.key;
        queue.done(now, &key);
        Some(key)
    })
    .collect()
}

/// Runs and fails a ready key once.
pub(crate) fn fail(queue: &mut Q, now: Duration, key: &'static str) -> pilothouse_workqueue::Retry {
    assert_eq!(queue.get(now).map(|taken| taken.key), Some(key));
    let retry = queue.retry(now, key, &mut rng(), "failed");
    queue.done(now, &key);
    retry
}
