//! What all calls of a plugin together may use.

use serde::{Deserialize, Serialize};

use crate::rules::number;

/// What all calls of a plugin together may use. Each call has its own limits besides
/// ([`LimitOverrides`](super::LimitOverrides)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Budget {
    /// Writes to the API server a second, 0 to 100,000; 0 is no bound but that of all its requests; 100 by default.
    /// What is above waits for its turn.
    #[serde(deserialize_with = "number::<_, 0, 100_000>")]
    pub writes_per_second: u32,
    /// So many of them may go at once after a pause, 1 to 100,000; 1,000 by default.
    #[serde(deserialize_with = "number::<_, 1, 100_000>")]
    pub write_burst: u32,
    /// Bodies on their way to the API server and answers on their way back, in MiB, 1 to 4096; 64 by default. What is
    /// above is refused.
    #[serde(rename = "inFlightMiB", deserialize_with = "number::<_, 1, 4096>")]
    pub in_flight_mib: u32,
    /// Log lines a second, 1 to 100,000, and ten seconds' worth of them at once; 100 by default. What is above is
    /// dropped and counted.
    #[serde(deserialize_with = "number::<_, 1, 100_000>")]
    pub log_lines_per_second: u32,
    /// KiB of log lines a second, 1 to 65,536, and ten seconds' worth of them at once; 64 by default. What is above is
    /// dropped and counted.
    #[serde(rename = "logKiBPerSecond", deserialize_with = "number::<_, 1, 65_536>")]
    pub log_kib_per_second: u32,
    /// Events about one object at once after a pause, 1 to 10,000; 25 by default. What is above is dropped and counted.
    #[serde(deserialize_with = "number::<_, 1, 10_000>")]
    pub events_per_object: u32,
    /// After so many seconds there may be one more, 1 to 86,400; 300 by default.
    #[serde(deserialize_with = "number::<_, 1, 86_400>")]
    pub event_refill_seconds: u32,
    /// What the caches would hold for this plugin alone, its indexes included, in MiB, 1 to 1,048,576; 512 by default.
    /// A plugin that needs more is unloaded: to go on without a part of what it watches would be wrong without a word.
    #[serde(rename = "cacheMiB", deserialize_with = "number::<_, 1, 1_048_576>")]
    pub cache_mib: u32,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            writes_per_second: 100,
            write_burst: 1_000,
            in_flight_mib: 64,
            log_lines_per_second: 100,
            log_kib_per_second: 64,
            events_per_object: 25,
            event_refill_seconds: 300,
            cache_mib: 512,
        }
    }
}
