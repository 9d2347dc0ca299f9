//! Whether a plugin's instances are kept between its calls.

use pilothouse_runtime::Warm;
use serde::{Deserialize, Serialize};

use crate::rules::number;

/// What is kept between a plugin's calls. By default nothing: each call begins with a memory that no other call has
/// seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct InstanceSettings {
    /// So many instances are kept at once, 0 to 64; 0, the default: each call has a fresh one. What the plugin keeps of
    /// one object in a global is there, then, when the next one is reconciled.
    #[serde(deserialize_with = "number::<_, 0, 64>")]
    pub warm: u32,
    /// After so many calls an instance ends, 1 to 1,000,000; 1,000 by default.
    #[serde(deserialize_with = "number::<_, 1, 1_000_000>")]
    pub calls: u32,
    /// And once its memory has grown by more than so many MiB since its first call, 0 to 4096; 16 by default.
    #[serde(rename = "growthMiB", deserialize_with = "number::<_, 0, 4096>")]
    pub growth_mib: u32,
}

impl Default for InstanceSettings {
    fn default() -> Self {
        Self {
            warm: 0,
            calls: 1_000,
            growth_mib: 16,
        }
    }
}

impl InstanceSettings {
    /// As the runtime takes them.
    pub fn warm(&self) -> Warm {
        Warm {
            instances: self.warm,
            calls: self.calls,
            growth: u64::from(self.growth_mib) << 20,
        }
    }
}
