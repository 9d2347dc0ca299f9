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
}
