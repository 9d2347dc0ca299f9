//! From a file in the plugin directory to a plugin that may serve: what it says of itself, what the operator lets it do,
//! and whether the two fit.
//!
//! | module | what is in it |
//! |---|---|
//! | `manifest`, `permission` | [`Manifest`]: what a plugin is, watches and asks for |
//! | `shown` | [`Shown`]: how much of a kind's objects the plugin sees |
//! | `grant`, `capabilities` | [`Grants`], and [`Capabilities`] = asked ∩ granted, checked at every import call |
//! | `config`, `queue_settings` | [`Config`]: the operator's file |
//! | `directory` | [`scan`]: which files are modules |
//! | `load` | [`load_all`]: the steps, each refused with a [`Refusal`] |
//! | `stage` | [`Stage`]: what serves plugins, implemented by the room above |
//! | [`embedded`] | what `pilothouse pack` puts into a module beside its code |
//! | `inspect` | [`inspect`]: the same steps, told instead of taken |
//!
//! The room promises: nothing from outside is unbounded, trusted or followed; a refusal names what, where, why and the
//! mend; a plugin that is refused harms no other. It does not serve plugins, watch the directory, or know what the API
//! server allows.

mod capabilities;
mod config;
mod config_schema;
mod directory;
pub mod embedded;
mod grant;
mod inspect;
mod load;
mod manifest;
mod manifest_check;
mod manifest_schema;
mod permission;
mod problem;
mod queue_settings;
mod refusal;
mod rules;
mod shown;
mod stage;
#[cfg(test)]
mod tests;

pub use capabilities::{Capabilities, Denied, Extent, Lacking, Reach};
pub use config::{
    API_VERSION, ApiTimeouts, BreakerSettings, Budget, Config, ConfigError, ControllerOverrides, HostConfig,
    LimitOverrides, MAX_CONFIG_BYTES, Place, PluginConfig,
};
pub use directory::{DirectoryError, MAX_ENTRIES, ModuleFile, Scan, scan};
pub use grant::{Grant, GrantedVerb, Grants, is_dangerous, is_dangerous_subresource, missing};
pub use inspect::{Inspection, inspect};
pub use load::{Hash, Loaded, Plugin, RequestLimits, effective_limits, grants_to_paste, load, load_all};
pub use manifest::{
    Backoff, Controller, Index, MAX_MANIFEST_BYTES, Manifest, ManifestError, Mapping, OwnerKind, Predicate, Scope,
    SuggestedLimits, Watch,
};
pub use manifest_schema::MANIFEST_SCHEMA;
pub use permission::{Permission, Verb};
pub use problem::Problem;
pub use queue_settings::{BackoffSettings, FastSlow, QueueSettings, RetryRate, Retrying};
pub use refusal::{Refusal, Step};
pub use shown::Shown;
pub use stage::{NotServed, Stage, StageFuture, Trouble, TroubleKind};
