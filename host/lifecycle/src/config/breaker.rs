//! When a plugin that fails is not called for a while.

use serde::{Deserialize, Serialize};

use crate::rules::number;

/// A plugin's breaker as the operator sets it. A change of it is in force with the next version or start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct BreakerSettings {
    /// False: it never opens by itself; true by default.
    pub enabled: bool,
    /// How far back reconciles count, in seconds, 1 to 3600; 60 by default.
    #[serde(deserialize_with = "number::<_, 1, 3600>")]
    pub window_seconds: u32,
    /// Fewer reconciles than this in the window open nothing, 1 to 100,000; 20 by default.
    #[serde(deserialize_with = "number::<_, 1, 100_000>")]
    pub min_calls: u32,
    /// And those of fewer keys neither, 1 to 64; 5 by default.
    #[serde(deserialize_with = "number::<_, 1, 64>")]
    pub min_keys: u32,
    /// Opens when so many percent failed, 0 to 100; 0 is never; 50 by default.
    #[serde(deserialize_with = "number::<_, 0, 100>")]
    pub failure_percent: u32,
    /// Opens when so many percent were slow, 0 to 100; 0 is never; 80 by default.
    #[serde(deserialize_with = "number::<_, 0, 100>")]
    pub slow_percent: u32,
    /// A reconcile that went well is slow from here on, in milliseconds, 1 to 3,600,000; 20,000 by default.
    #[serde(deserialize_with = "number::<_, 1, 3_600_000>")]
    pub slow_ms: u32,
    /// Opens after so many failures in a row, 0 to 100,000; 0 is never; 20 by default.
    #[serde(deserialize_with = "number::<_, 0, 100_000>")]
    pub consecutive: u32,
    /// Whether failures that the plugin calls final count; false by default: what is wrong with an object is no fault
    /// of the plugin's.
    pub count_terminal: bool,
    /// How long it stays open the first time, in seconds, 1 to 86,400; 10 by default. Each trip doubles it.
    #[serde(deserialize_with = "number::<_, 1, 86_400>")]
    pub open_seconds: u32,
    /// And at most, 1 to 86,400; 300 by default.
    #[serde(deserialize_with = "number::<_, 1, 86_400>")]
    pub max_open_seconds: u32,
    /// After so many trips within an hour it is quarantined, 0 to 64; 0 is never; 5 by default.
    #[serde(deserialize_with = "number::<_, 0, 64>")]
    pub quarantine_trips: u32,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            window_seconds: 60,
            min_calls: 20,
            min_keys: 5,
            failure_percent: 50,
            slow_percent: 80,
            slow_ms: 20_000,
            consecutive: 20,
            count_terminal: false,
            open_seconds: 10,
            max_open_seconds: 300,
            quarantine_trips: 5,
        }
    }
}
