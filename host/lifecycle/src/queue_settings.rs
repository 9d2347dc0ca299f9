//! How a controller tries failed keys again: what the operator's file sets, and what comes of it with the manifest.
//!
//! The same words mean the same here and in the manifest (`backoff`, `baseMs`, `maxMs`, `maxAttempts`): the operator
//! corrects what the author suggested, and there is no second setting for one thing. What is set for one controller
//! wins over what is set for its plugin, this over the manifest, and this over the default.

use std::time::Duration;

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};

use crate::manifest::Controller;
use crate::problem::Problem;
use crate::rules::{self, number, or_default};

/// What the operator sets for how failed keys are tried again; what is not said stays as it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct QueueSettings {
    /// How long a key that failed waits, longer with each failure in a row. Each of its fields is set by itself.
    #[serde(deserialize_with = "backoff")]
    pub backoff: BackoffSettings,
    /// After this many failed attempts in a row a key is parked, 1 to 1,000,000; 0: attempts never end, whatever the
    /// manifest says. Danger: a parked key waits for a change in the cluster. What failed for a reason outside of it
    /// stays down when that has passed.
    #[serde(deserialize_with = "rules::maybe_number::<_, 0, 1_000_000>")]
    pub max_attempts: Option<u32>,
    /// A bound on the retries of all keys of one controller together; none by default. Each controller has its own,
    /// also where it is set for the plugin.
    pub retries: Option<RetryRate>,
    /// Shortest waits, beside the back-off; none by default.
    #[serde(deserialize_with = "fast_slow")]
    pub fast_slow: Option<FastSlow>,
}

/// The back-off as the operator sets it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct BackoffSettings {
    /// The wait after the first failure in milliseconds, 1 ms to 1 hour; the manifest's, or 5 ms, by default. Each
    /// failure in a row doubles it. Danger: a short one makes work of each failure, in the plugin and at the API
    /// server.
    #[serde(deserialize_with = "rules::maybe_number::<_, 1, 3_600_000>")]
    pub base_ms: Option<u32>,
    /// The longest wait in milliseconds, 1 ms to 1 day and not below `base_ms`; the manifest's, or 5 minutes, by
    /// default. Danger: as long as this a key can stand still after what made it fail is mended.
    #[serde(deserialize_with = "rules::maybe_number::<_, 1, 86_400_000>")]
    pub max_ms: Option<u32>,
    /// Whether each wait is drawn evenly between nothing and the back-off, so that keys that failed together don't come
    /// back together; true by default. The mean wait is half of the back-off then.
    pub jitter: Option<bool>,
}

/// A bound on the retries of all keys of one controller together: a token bucket. Waits that a failure names itself
/// take no token, and neither do changes: they are never slowed down.
///
/// Danger: one bucket serves all keys of the controller. When many fail, one that fails for the first time waits its
/// turn behind them: after 1,000 failures at 10 a second that is a minute and a half.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RetryRate {
    /// Retries a second, 0 to 100,000; 0 is no bound.
    #[serde(deserialize_with = "number::<_, 0, 100_000>")]
    pub per_second: u32,
    /// So many may go at once after a pause, 1 to 100,000; 100 by default, as in client-go.
    #[serde(default = "default_burst", deserialize_with = "number::<_, 1, 100_000>")]
    pub burst: u32,
}

fn default_burst() -> u32 {
    100
}

/// A short wait for the first failures in a row and a long one after. The back-off counts on beside it, and the longer
/// of the two waits wins: with jitter this is what no wait is shorter than.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct FastSlow {
    /// The short wait in milliseconds, 0 to 1 hour.
    #[serde(deserialize_with = "number::<_, 0, 3_600_000>")]
    pub fast_ms: u32,
    /// The long wait in milliseconds, 1 ms to 1 day and not below `fast_ms`.
    #[serde(deserialize_with = "number::<_, 1, 86_400_000>")]
    pub slow_ms: u32,
    /// How many failures in a row have the short wait, 1 to 1,000,000.
    #[serde(deserialize_with = "number::<_, 1, 1_000_000>")]
    pub quick: u32,
}

impl FastSlow {
    /// The short wait.
    pub fn fast(&self) -> Duration {
        Duration::from_millis(self.fast_ms.into())
    }

    /// The long wait.
    pub fn slow(&self) -> Duration {
        Duration::from_millis(self.slow_ms.into())
    }
}

fn backoff<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BackoffSettings, D::Error> {
    let set: BackoffSettings = or_default(deserializer)?;
    match (set.base_ms, set.max_ms) {
        (Some(base), Some(max)) if base > max => Err(D::Error::custom(
            "baseMs is greater than maxMs; baseMs is the first wait and maxMs the longest",
        )),
        _ => Ok(set),
    }
}

fn fast_slow<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<FastSlow>, D::Error> {
    match Option::<FastSlow>::deserialize(deserializer)? {
        Some(FastSlow { fast_ms, slow_ms, .. }) if fast_ms > slow_ms => Err(D::Error::custom(
            "fastMs is greater than slowMs; fastMs is the wait after the first failures and slowMs the one after more",
        )),
        set => Ok(set),
    }
}

/// How a controller tries failed keys again, all things considered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retrying {
    /// The wait after the first failure in milliseconds, 1 or more. Each failure in a row doubles it.
    pub base_ms: u32,
    /// The longest wait in milliseconds, not below `base_ms`.
    pub max_ms: u32,
    /// Whether waits are drawn between nothing and the back-off.
    pub jitter: bool,
    /// After so many failed attempts in a row, 1 or more, a key is parked; none: they never end.
    pub max_attempts: Option<u32>,
    /// A bound on the retries of all its keys together, above 0 a second.
    pub rate: Option<RetryRate>,
    /// Shortest waits.
    pub fast_slow: Option<FastSlow>,
}

impl Retrying {
    /// What holds for `controller` where the operator set `own` for it and `all` for every controller of its plugin.
    ///
    /// # Errors
    /// The two waits contradict each other, one of them being the manifest's or set elsewhere. The plugin must not be
    /// loaded: which of the two was meant is not known. The problem's path is that within what is said of the plugin.
    pub fn of(controller: &Controller, own: &QueueSettings, all: &QueueSettings) -> Result<Self, Problem> {
        let (base, max) = (controller.backoff.base_ms, controller.backoff.max_ms);
        let retrying = Self {
            base_ms: own.backoff.base_ms.or(all.backoff.base_ms).unwrap_or(base),
            max_ms: own.backoff.max_ms.or(all.backoff.max_ms).unwrap_or(max),
            jitter: own.backoff.jitter.or(all.backoff.jitter).unwrap_or(true),
            max_attempts: own
                .max_attempts
                .or(all.max_attempts)
                .or(controller.max_attempts)
                .filter(|most| *most > 0),
            rate: own.retries.or(all.retries).filter(|rate| rate.per_second > 0),
            fast_slow: own.fast_slow.or(all.fast_slow),
        };
        if retrying.base_ms <= retrying.max_ms {
            return Ok(retrying);
        }
        Err(Problem::new(
            format!("controllers.{}.queue.backoff", controller.name),
            format!(
                "the first wait would be longer than the longest; what is not set there is that of the plugin's own \
                 queue.backoff, or the manifest's (baseMs {base}, maxMs {max})"
            ),
            "set both baseMs and maxMs",
        ))
    }
}
