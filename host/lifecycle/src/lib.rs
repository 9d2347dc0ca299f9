//! From a file in the plugin directory to a plugin that may serve: what it says of itself, what the operator lets it
//! do, and whether the two fit.
//!
//! | module | what is in it |
//! |---|---|
//! | `manifest`, `permission` | [`Manifest`]: what a plugin is, watches and asks for |
//! | `shown` | [`Shown`]: how much of a kind's objects the plugin sees |
//! | `grant`, `capabilities` | [`Grants`], and [`Capabilities`] = asked ∩ granted, checked at every import call |
//! | `holding` | what a plugin really holds, in lines to be shown |
//! | `danger` | [`danger`]: what is granted under `dangerous:` alone |
//! | `rbac` | [`Rights`]: what the API server must allow the host for it |
//! | `paste` | the lines that grant what a module asks for |
//! | `config`, `queue_settings` | [`Config`]: the operator's file |
//! | `directory` | [`scan`]: which files are modules, and what stands beside them |
//! | `watch` | what in the directory changed, once it stands still |
//! | `load` | [`load_all`]: the steps, each refused with a [`Refusal`] |
//! | `stage` | [`Stage`]: what serves plugins, implemented by the room above |
//! | [`embedded`] | what `pilothouse pack` puts into a module beside its code |
//! | `lives` | one plugin's life: loading, serving, rolled back, gone |
//! | [`kept`] | what of the lives outlives a restart |
//! | `supervisor` | [`Supervisor`]: the driver of all that |
//! | `inspect` | [`inspect`]: the same steps, told instead of taken |
//!
//! The room promises: nothing from outside is unbounded, trusted or followed; a refusal names what, where, why and the
//! mend; a plugin that is refused harms no other, nor the version of it that serves. It does not serve plugins, or know
//! what the API server allows.

mod capabilities;
mod config;
mod config_schema;
mod danger;
mod directory;
pub mod embedded;
mod grant;
mod holding;
mod inspect;
pub mod kept;
mod lives;
mod load;
mod manifest;
mod manifest_check;
mod manifest_schema;
mod paste;
mod permission;
mod problem;
mod queue_settings;
mod rbac;
mod refusal;
mod rules;
mod shown;
mod stage;
mod supervisor;
#[cfg(test)]
mod tests;
mod watch;

pub use capabilities::{Capabilities, Denied, Extent, Lacking, Reach};
pub use config::{
    API_VERSION, ApiTimeouts, BreakerSettings, Budget, CompileSettings, Concurrency, Config, ConfigError,
    ControllerOverrides, HostConfig, Impersonate, InstanceSettings, LimitOverrides, MAX_CONFIG_BYTES, Place,
    PluginConfig,
};
pub use danger::{danger, is_sensitive};
pub use directory::{DirectoryError, MAX_BESIDE_BYTES, MAX_ENTRIES, ModuleFile, Others, Scan, said_of, scan};
pub use grant::{Grant, Granted, GrantedVerb, Grants, missing};
pub use inspect::{Inspection, inspect};
pub use lives::{
    HeldBack, LifeEvent, LifeObserver, LifeState, LifeStatus, Order, OrderError, RejectedStatus, Rules, VersionStatus,
    What,
};
pub use load::{Hash, Loaded, Plugin, RequestLimits, effective_limits, load, load_all};
pub use manifest::{
    Backoff, Controller, Index, MAX_MANIFEST_BYTES, Manifest, ManifestError, Mapping, OwnerKind, Predicate, Scope,
    SuggestedLimits, Watch,
};
pub use manifest_schema::MANIFEST_SCHEMA;
pub use paste::{grants_of_config, grants_of_file};
pub use permission::{Permission, Verb};
pub use problem::Problem;
pub use queue_settings::{BackoffSettings, FastSlow, QueueSettings, RetryRate, Retrying};
pub use rbac::{Names, Right, Rights};
pub use refusal::{Refusal, Step};
pub use shown::Shown;
pub use stage::{NotServed, Stage, StageFuture, Trouble, TroubleKind};
pub use supervisor::{Control, Progress, Supervisor, SupervisorOptions};
