//! What the admin API answers with: the form that `-o json` shows.
//!
//! Promises: within `pilothouse.dev/admin/v1` fields are only ever added, and their meaning stays. Times are seconds;
//! ages count from the answer. Texts of guests and servers are bounded and may hold anything: escape them before they
//! are shown.

use serde::{Deserialize, Serialize};

/// What the form is called.
pub(crate) const VERSION: &str = "pilothouse.dev/admin/v1";

/// `GET /v1/status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Status {
    /// [`VERSION`].
    pub(crate) api_version: String,
    pub(crate) host: HostStatus,
    /// By name.
    pub(crate) plugins: Vec<PluginStatus>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct HostStatus {
    /// Pilothouse's own version.
    pub(crate) version: String,
    pub(crate) pid: u32,
    pub(crate) uptime_seconds: u64,
    pub(crate) ready: bool,
    /// What it waits for until it is ready, the first lines.
    pub(crate) waiting_for: Vec<String>,
    /// Why the plugin directory can't be looked at: what changes there is not seen, and the plugins stay as they are.
    pub(crate) plugin_directory: Option<String>,
    /// For how long the API server has not answered.
    pub(crate) api_server_away_seconds: Option<u64>,
    /// Permits that are out, of all plugins.
    pub(crate) running: usize,
    /// Permits there are.
    pub(crate) pool_size: usize,
}

/// One plugin.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PluginStatus {
    pub(crate) name: String,
    /// `waiting`, `loading`, `serving`, `draining`, `refused` or `disabled`.
    pub(crate) state: String,
    pub(crate) serving: Option<Version>,
    pub(crate) serving_seconds: Option<u64>,
    /// The version that is loaded or switched to.
    pub(crate) candidate: Option<Version>,
    /// How far that is.
    pub(crate) progress: Option<Progress>,
    /// Why what lies in the directory does not serve.
    pub(crate) refusal: Option<Refused>,
    /// What lies in the directory and waits for an operator's word, or to be replaced.
    pub(crate) held_back: Option<HeldBack>,
    /// What a rollback can bring back, the newest first.
    pub(crate) previous: Vec<Version>,
    pub(crate) probation_seconds: Option<u64>,
    /// The module that the last rollback took back.
    pub(crate) rolled_back_from: Option<String>,
    /// The module that is in quarantine.
    pub(crate) quarantined: Option<String>,
    /// A person's word, which wins over the configuration's.
    pub(crate) enabled_by_person: Option<bool>,
    /// The plugin directory holds no module of this name, and nothing of it runs.
    pub(crate) absent: bool,
    pub(crate) breaker: Option<Breaker>,
    /// The sums over its controllers.
    pub(crate) queue: Queue,
    pub(crate) controllers: Vec<Controller>,
    /// Its keys that go round in circles and are slowed, a line for people each; of many the first.
    pub(crate) hot_loops: Vec<String>,
    pub(crate) last_error: Option<LastError>,
    /// Why it is not called at all: whom it acts as may not read what it watches, or nobody knows yet whether it may.
    pub(crate) held: Option<String>,
    /// What the cache would hold for it alone; with `detail` only.
    pub(crate) cache_bytes: Option<u64>,
    pub(crate) cache_objects: Option<u64>,
    /// What one call of it may have of memory.
    pub(crate) memory_limit_bytes: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Version {
    /// What it calls itself; none before its manifest was read.
    pub(crate) version: Option<String>,
    /// The SHA-256 of its module.
    pub(crate) hash: String,
    /// The hash of what the operator says of it: one module under two configurations is two versions.
    pub(crate) configuration: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Progress {
    /// The step of loading, or `waiting`: for its turn to be loaded.
    pub(crate) step: String,
    pub(crate) seconds: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Refused {
    /// The step of loading.
    pub(crate) step: String,
    pub(crate) why: String,
    pub(crate) mend: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct HeldBack {
    /// The SHA-256 of its module.
    pub(crate) hash: String,
    /// What was decided against it, and by whom.
    pub(crate) why: String,
    /// Since when, where it is known.
    pub(crate) seconds_ago: Option<u64>,
    pub(crate) mend: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Breaker {
    /// `closed`, `open`, `half-open` or `quarantined`.
    pub(crate) state: String,
    pub(crate) seconds: u64,
    /// Until it is half-open, where it is open.
    pub(crate) left_seconds: Option<u64>,
    /// What opened it last.
    pub(crate) why: Option<String>,
    /// How often it opened.
    pub(crate) trips: u64,
    /// Calls of its window, failed and slow ones among them.
    pub(crate) calls: u32,
    pub(crate) failed: u32,
    pub(crate) slow: u32,
}

/// A queue in numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Queue {
    /// Permits that are out.
    pub(crate) running: usize,
    /// Permits that may be out at once.
    pub(crate) concurrency: usize,
    pub(crate) queued: usize,
    pub(crate) delayed: usize,
    pub(crate) working: usize,
    pub(crate) parked: usize,
    /// How long the key waits that is ready longest.
    pub(crate) oldest_seconds: Option<f64>,
    /// How long the oldest run goes on.
    pub(crate) longest_running_seconds: Option<f64>,
    /// Runs that ended since the host began.
    pub(crate) runs: u64,
    /// Failed ones among them.
    pub(crate) failed: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Controller {
    pub(crate) name: String,
    /// What it reconciles: `GROUP/VERSION Kind`.
    pub(crate) kind: String,
    /// Whether its first lists are there.
    pub(crate) started: bool,
    pub(crate) queue: Queue,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct LastError {
    pub(crate) seconds_ago: u64,
    pub(crate) controller: String,
    /// `NAMESPACE/NAME`.
    pub(crate) key: String,
    pub(crate) attempt: u32,
    pub(crate) why: String,
}

/// `GET /v1/plugins/NAME`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PluginDetail {
    pub(crate) api_version: String,
    pub(crate) plugin: PluginStatus,
    pub(crate) description: String,
    /// Where its module lay.
    pub(crate) path: String,
    /// What it asks for, a line each. All of it is granted, or it would not serve; but maybe for some namespaces and
    /// names only, which [`holds`](Self::holds) says.
    pub(crate) permissions: Vec<String>,
    /// What it may do now (asked ∩ granted), a line each, sorted; of many the first.
    pub(crate) holds: Vec<String>,
    /// How many more such lines there are.
    pub(crate) holds_more: usize,
    /// What it watches, by controller.
    pub(crate) watches: Vec<String>,
    /// What happened to it lately, the newest last.
    pub(crate) history: Vec<Past>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Past {
    pub(crate) seconds_ago: u64,
    pub(crate) what: String,
}

/// `POST /v1/plugins/NAME/ORDER`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Ordered {
    pub(crate) api_version: String,
    /// False: the order is accepted, and what it led to goes on.
    pub(crate) done: bool,
    /// It ended otherwise than was ordered.
    pub(crate) failed: Option<String>,
    pub(crate) plugin: PluginStatus,
}

/// `GET /v1/queues/NAME`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct QueueDetail {
    pub(crate) api_version: String,
    pub(crate) plugin: String,
    pub(crate) controllers: Vec<ControllerKeys>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ControllerKeys {
    pub(crate) name: String,
    pub(crate) queue: Queue,
    /// In work, then ready, then delayed; no more than asked for.
    pub(crate) keys: Vec<QueuedKey>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct QueuedKey {
    /// `NAMESPACE/NAME`.
    pub(crate) key: String,
    /// `working`, `queued` or `delayed`.
    pub(crate) state: String,
    pub(crate) seconds: f64,
    /// Until it is ready.
    pub(crate) due_seconds: Option<f64>,
    /// In work, and runs again after that.
    pub(crate) again: bool,
    /// Failures since it last went well.
    pub(crate) attempts: u32,
    pub(crate) cause: Option<String>,
    pub(crate) error: Option<String>,
}

/// `GET /v1/parked`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Parked {
    pub(crate) api_version: String,
    pub(crate) keys: Vec<ParkedKey>,
    /// Pass it as `continue` for what comes after these; none at the end.
    #[serde(rename = "continue")]
    pub(crate) next: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ParkedKey {
    pub(crate) plugin: String,
    pub(crate) controller: String,
    pub(crate) key: String,
    pub(crate) seconds: u64,
    pub(crate) attempts: u32,
    pub(crate) reason: String,
    pub(crate) cause: String,
    /// The last ones, the oldest first.
    pub(crate) errors: Vec<KeyError>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct KeyError {
    pub(crate) seconds_ago: u64,
    pub(crate) attempt: u32,
    pub(crate) why: String,
}

/// `POST /v1/parked/retry` and `/v1/parked/drop`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Released {
    pub(crate) api_version: String,
    pub(crate) keys: u64,
}

/// What stands in the body where the status is none of 200 and 202.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Failed {
    /// What, why, and the mend.
    pub(crate) error: String,
}
