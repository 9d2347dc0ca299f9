//! The limits that the operator sets for a plugin's calls.

use serde::{Deserialize, Serialize};

use crate::rules;

/// Limits of one call as the operator sets them; what is not said stays as the manifest suggests or the host's default
/// has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct LimitOverrides {
    /// Wall time in milliseconds, 1 to 3,600,000.
    #[serde(deserialize_with = "rules::maybe_number::<_, 1, 3_600_000>")]
    pub wall_ms: Option<u32>,
    /// CPU time in milliseconds, 1 to 3,600,000.
    #[serde(deserialize_with = "rules::maybe_number::<_, 1, 3_600_000>")]
    pub cpu_ms: Option<u32>,
    /// Linear memory of an instance in MiB, 1 to 4096.
    #[serde(rename = "memoryMiB", deserialize_with = "rules::maybe_number::<_, 1, 4096>")]
    pub memory_mib: Option<u32>,
    /// Host calls, 1 to 1,000,000.
    #[serde(deserialize_with = "rules::maybe_number::<_, 1, 1_000_000>")]
    pub host_calls: Option<u32>,
    /// Writes among them, 1 to 100,000.
    #[serde(deserialize_with = "rules::maybe_number::<_, 1, 100_000>")]
    pub writes: Option<u32>,
    /// The answer of a call in KiB, 1 to 4096.
    #[serde(rename = "outputKiB", deserialize_with = "rules::maybe_number::<_, 1, 4096>")]
    pub output_kib: Option<u32>,
    /// The arguments of one read or write, an object's body above all, in KiB, 1 to 4096. API servers take 3 MiB.
    #[serde(rename = "objectKiB", deserialize_with = "rules::maybe_number::<_, 1, 4096>")]
    pub object_kib: Option<u32>,
    /// Log lines of a call, 0 to 100,000.
    #[serde(deserialize_with = "rules::maybe_number::<_, 0, 100_000>")]
    pub log_lines: Option<u32>,
    /// Log lines of a call in KiB, 0 to 65,536.
    #[serde(rename = "logKiB", deserialize_with = "rules::maybe_number::<_, 0, 65_536>")]
    pub log_kib: Option<u32>,
    /// Events of a call, 0 to 1,000.
    #[serde(deserialize_with = "rules::maybe_number::<_, 0, 1_000>")]
    pub events: Option<u32>,
}
