//! The operator's file: the host's settings, and for each plugin what it may do, its configuration and its limits.
//!
//! Promises: reading is bounded (1 MiB, no anchors, aliases or merge keys, one document, a bounded depth and number of
//! nodes); an unknown field, a wrong value or a repeated key is an error that names file, line, column, field and mend;
//! errors don't quote values, since a plugin's configuration may hold what should not stand in a log.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy};

use crate::grant::Grants;
use crate::load::Hash;
use crate::problem::{self, Problem, nearest, shown};
use crate::queue_settings::QueueSettings;
use crate::rules::{self, is_label, number, or_default};

/// The file may be this long, in bytes.
pub const MAX_CONFIG_BYTES: usize = 1024 * 1024;

/// The most memory that a manifest may suggest, in MiB.
const MAX_SUGGESTED_MEMORY_MIB: u32 = 256;

/// Mappings and lists within each other.
const MAX_DEPTH: usize = 64;
/// Values of whatever kind, keys included.
const MAX_NODES: usize = 100_000;

/// The one `apiVersion` there is.
pub const API_VERSION: &str = "pilothouse.dev/v1";

/// The operator's file. Without one, [`Config::default`]: the host's defaults, and no plugin is granted anything.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Config {
    /// [`API_VERSION`]; required, so that a file of a later form is never half understood.
    #[serde(rename = "apiVersion")]
    _api_version: ApiVersion,
    /// The host's own settings.
    #[serde(default, deserialize_with = "or_default")]
    pub host: HostConfig,
    /// By file name without `.wasm`.
    #[serde(default, deserialize_with = "plugins")]
    pub plugins: BTreeMap<String, PluginConfig>,
    /// What a plugin is granted whose entry has no `grants`: nothing, unless [`Config::granting_what_is_asked`].
    #[serde(skip)]
    without_grants: Grants,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct ApiVersion;

impl<'de> Deserialize<'de> for ApiVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            API_VERSION => Ok(Self),
            other => Err(D::Error::custom(format!(
                "`{}` is not known; this host reads {API_VERSION}",
                shown(other)
            ))),
        }
    }
}

/// The host's own settings.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct HostConfig {
    /// Reconciles in work at once over all plugins, 1 to 1000; 64 by default.
    #[serde(deserialize_with = "number::<_, 1, 1000>")]
    pub pool_size: u32,
    /// Where `/metrics`, `/healthz` and `/readyz` are served; null: nowhere; 127.0.0.1:9090 by default. Served without
    /// authentication: an address that others reach shows them the plugins' names and kinds.
    pub metrics_address: Option<SocketAddr>,
    /// How long running reconciles may take to end once the host was told to stop, in seconds, 0 to 3600; 30 by default.
    #[serde(deserialize_with = "number::<_, 0, 3600>")]
    pub grace_period_seconds: u32,
    /// A module in the plugin directory may be this long, in MiB, 1 to 1024; 64 by default.
    #[serde(rename = "maxModuleMiB", deserialize_with = "number::<_, 1, 1024>")]
    pub max_module_mib: u32,
    /// A directory of this host alone, where it keeps its parked keys over restarts; made if need be, and a relative path
    /// starts where the program does. Null, the default: nothing is kept, and every key is tried again at the start.
    #[serde(deserialize_with = "directory")]
    pub state_directory: Option<PathBuf>,
    /// Single requests to the API server a second, of all plugins together, 0 to 100,000; 0 is no bound; 500 by default.
    #[serde(deserialize_with = "number::<_, 0, 100_000>")]
    pub api_requests_per_second: u32,
    /// So many of them may go at once after a pause, 1 to 100,000; 2,000 by default.
    #[serde(deserialize_with = "number::<_, 1, 100_000>")]
    pub api_request_burst: u32,
    /// How long the API server is waited for.
    #[serde(deserialize_with = "or_default")]
    pub api_timeouts: ApiTimeouts,
    /// Whether reads are asked for compressed; false by default. It pays where the way to the API server is slower than some
    /// 400 Mbit/s, and costs the server CPU.
    pub api_compression: bool,
}

fn directory<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    match Option::<String>::deserialize(deserializer)? {
        Some(path) if path.is_empty() || path.contains('\0') => Err(D::Error::custom(
            "is no path: name a directory, or leave it out to keep nothing",
        )),
        path => Ok(path.map(PathBuf::from)),
    }
}

/// How long the API server is waited for, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ApiTimeouts {
    /// Until a connection is open, TLS included, 1 to 300; 10 by default.
    #[serde(deserialize_with = "number::<_, 1, 300>")]
    pub connect_seconds: u32,
    /// Until the answer to a single request begins, 1 to 600; 30 by default. A webhook may take as long.
    #[serde(deserialize_with = "number::<_, 1, 600>")]
    pub answer_seconds: u32,
    /// Until it ends, 1 to 600; 45 by default.
    #[serde(deserialize_with = "number::<_, 1, 600>")]
    pub total_seconds: u32,
    /// Until a list or a watch begins, 1 to 600; 75 by default: the API server's own bound is 60.
    #[serde(deserialize_with = "number::<_, 1, 600>")]
    pub list_answer_seconds: u32,
    /// Between two pieces of a list, 1 to 600; 60 by default.
    #[serde(deserialize_with = "number::<_, 1, 600>")]
    pub list_pause_seconds: u32,
    /// Until a list, or a page of one, ends, 1 to 3600; 600 by default.
    #[serde(deserialize_with = "number::<_, 1, 3600>")]
    pub list_total_seconds: u32,
}

impl Default for ApiTimeouts {
    fn default() -> Self {
        Self {
            connect_seconds: 10,
            answer_seconds: 30,
            total_seconds: 45,
            list_answer_seconds: 75,
            list_pause_seconds: 60,
            list_total_seconds: 600,
        }
    }
}

impl Default for HostConfig {
    fn default() -> Self {
        Self {
            pool_size: 64,
            metrics_address: Some(SocketAddr::from(([127, 0, 0, 1], 9090))),
            grace_period_seconds: 30,
            max_module_mib: 64,
            api_requests_per_second: 500,
            api_request_burst: 2_000,
            api_timeouts: ApiTimeouts::default(),
            api_compression: false,
            state_directory: None,
        }
    }
}

impl HostConfig {
    /// [`HostConfig::grace_period_seconds`] as a duration.
    pub fn grace_period(&self) -> Duration {
        Duration::from_secs(self.grace_period_seconds.into())
    }

    /// [`HostConfig::max_module_mib`] in bytes.
    pub fn max_module_bytes(&self) -> u64 {
        u64::from(self.max_module_mib) * 1024 * 1024
    }
}

/// The operator's side of one plugin.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct PluginConfig {
    /// Whether the plugin is loaded at all; true by default.
    pub enabled: bool,
    /// The plugin's own configuration, whatever its schema wants; `{}` by default, and where it is null.
    #[serde(deserialize_with = "plugin_config")]
    pub config: Value,
    /// What the plugin may do; where it is not said, nothing (or what [`Config::granting_what_is_asked`] says).
    pub grants: Option<Grants>,
    /// Limits of each of its calls; they win over the manifest's suggestions.
    #[serde(deserialize_with = "or_default")]
    pub limits: LimitOverrides,
    /// Its single requests to the API server a second, over all its calls, 0 to 100,000; 0 is no bound but the host's; 200
    /// by default.
    #[serde(deserialize_with = "number::<_, 0, 100_000>")]
    pub api_requests_per_second: u32,
    /// So many of them may go at once after a pause, 1 to 100,000; 1,000 by default.
    #[serde(deserialize_with = "number::<_, 1, 100_000>")]
    pub api_request_burst: u32,
    /// How its controllers try failed keys again; it wins over the manifest's suggestions.
    #[serde(deserialize_with = "or_default")]
    pub queue: QueueSettings,
    /// Settings of its controllers, by the controllers' names; they win over the manifest's.
    #[serde(deserialize_with = "controllers")]
    pub controllers: BTreeMap<String, ControllerOverrides>,
}

impl PluginConfig {
    /// Tells whether anything of this is another that may make a key go well that failed: its configuration, grants, limits
    /// and how it is tried again. Keys that a host before this one parked are tried again then. The order of fields and what
    /// is written out and empty make no difference.
    pub fn hash(&self) -> Hash {
        let grants = match &self.grants {
            None => Value::Null,
            Some(Grants::Asked) => "asked".into(),
            Some(Grants::Only(grants)) => serde_json::to_value(grants).unwrap_or_default(),
        };
        let all = serde_json::json!({
            "config": self.config, "grants": grants, "limits": self.limits, "queue": self.queue,
            "controllers": self.controllers,
        });
        Hash::of(all.to_string().as_bytes())
    }
}

impl Default for PluginConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            config: Value::Object(Map::new()),
            grants: None,
            limits: LimitOverrides::default(),
            api_requests_per_second: 200,
            api_request_burst: 1_000,
            queue: QueueSettings::default(),
            controllers: BTreeMap::new(),
        }
    }
}

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

/// What the operator sets for one controller of a plugin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ControllerOverrides {
    /// How many of its keys may be in work at once, 1 to 1000.
    #[serde(deserialize_with = "rules::maybe_number::<_, 1, 1000>")]
    pub concurrency: Option<u32>,
    /// How it tries failed keys again; it wins over [`PluginConfig::queue`], field by field.
    #[serde(deserialize_with = "or_default")]
    pub queue: QueueSettings,
}

fn plugin_config<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Null => Value::Object(Map::new()),
        config => config,
    })
}

fn named<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<BTreeMap<String, T>, D::Error> {
    // `plugins:` with nothing behind it is null.
    let entries = Option::<BTreeMap<String, T>>::deserialize(deserializer)?.unwrap_or_default();
    match entries.keys().find(|name| !is_label(name)) {
        None => Ok(entries),
        Some(name) => Err(D::Error::custom(format!(
            "`{}` is no name: 1 to 63 of a-z, 0-9 and `-`, with a letter or digit at both ends, are needed",
            shown(name)
        ))),
    }
}

fn plugins<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, PluginConfig>, D::Error> {
    let plugins: BTreeMap<String, Option<PluginConfig>> = named(deserializer)?;
    Ok(plugins
        .into_iter()
        .map(|(name, plugin)| (name, plugin.unwrap_or_default()))
        .collect())
}

fn controllers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, ControllerOverrides>, D::Error> {
    named(deserializer)
}

/// Why the operator's file was not taken. Nothing of it is in force then.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It could not be read.
    #[error("{}: can't be read: {error}; check the path given with --config and the file's permissions", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        #[source]
        error: std::io::Error,
    },
    /// It is longer than [`MAX_CONFIG_BYTES`].
    #[error("{}: is longer than {MAX_CONFIG_BYTES} bytes; is it a configuration file?", file.display())]
    TooLong {
        /// The file.
        file: PathBuf,
    },
    /// Something in it is wrong.
    #[error("{}{}: {problem}", file.display(), place)]
    Wrong {
        /// The file.
        file: PathBuf,
        /// Line and column, where known.
        place: Place,
        /// Which field, what is wrong and the mend.
        problem: Problem,
    },
}

/// Line and column, both from 1, where they are known; shown as `:3:5`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place(pub Option<(u64, u64)>);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some((line, column)) => write!(f, ":{line}:{column}"),
            None => Ok(()),
        }
    }
}

impl Config {
    /// Reads the operator's file.
    ///
    /// # Errors
    /// Any [`ConfigError`]. The host must not run on defaults instead: what was meant as a limit would not be one.
    pub fn read(file: &Path) -> Result<Self, ConfigError> {
        let unreadable = |error| ConfigError::Unreadable {
            file: file.to_owned(),
            error,
        };
        let mut text = Vec::new();
        let reader = File::open(file).map_err(unreadable)?;
        reader
            .take(MAX_CONFIG_BYTES as u64 + 1)
            .read_to_end(&mut text)
            .map_err(unreadable)?;
        if text.len() > MAX_CONFIG_BYTES {
            return Err(ConfigError::TooLong { file: file.to_owned() });
        }
        match String::from_utf8(text) {
            Ok(text) => Self::parse(&text, file),
            Err(_) => Err(ConfigError::Wrong {
                file: file.to_owned(),
                place: Place::default(),
                problem: Problem::new("", "is no UTF-8 text", "save it as UTF-8"),
            }),
        }
    }

    /// Reads `text`; `file` names it in errors.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        if text.len() > MAX_CONFIG_BYTES {
            return Err(ConfigError::TooLong { file: file.to_owned() });
        }
        let holds_nothing = |line: &str| matches!(line.trim(), "" | "---") || line.trim_start().starts_with('#');
        if text.lines().all(holds_nothing) {
            let mend = format!("begin it with apiVersion: {API_VERSION}");
            return Err(ConfigError::Wrong {
                file: file.to_owned(),
                place: Place::default(),
                problem: Problem::new("", "there is nothing in the file", mend),
            });
        }
        let mut path = String::new();
        let parsed = serde_saphyr::with_deserializer_from_str_with_options(text, options(), |deserializer| {
            serde_path_to_error::deserialize(deserializer).map_err(|error| {
                path = error.path().to_string();
                error.into_inner()
            })
        });
        parsed.map_err(|error| {
            let place = error
                .location()
                .filter(|l| l.line() > 0)
                .map(|l| (l.line(), l.column()));
            ConfigError::Wrong {
                file: file.to_owned(),
                place: Place(place),
                problem: problem_of(&path, &error),
            }
        })
    }

    /// The operator's side of this plugin, its `grants` filled in; the default where the file does not name it.
    pub fn plugin(&self, name: &str) -> PluginConfig {
        let mut plugin = self.plugins.get(name).cloned().unwrap_or_default();
        plugin.grants.get_or_insert_with(|| self.without_grants.clone());
        plugin
    }

    /// The same, but for plugins whose entry says nothing of `grants`: these get whatever their manifests ask for, as if
    /// `grants: asked` stood there. For `dev` on a local cluster; on any other, whoever can write a module into the
    /// directory could do what the host may.
    #[must_use]
    pub fn granting_what_is_asked(mut self) -> Self {
        self.without_grants = Grants::Asked;
        self
    }

    /// The most memory that a limit in the file gives any plugin, in bytes, and at least what a manifest may suggest:
    /// what the engine's own bound must not be below.
    pub fn most_memory(&self) -> u64 {
        let set = self.plugins.values().filter_map(|plugin| plugin.limits.memory_mib);
        u64::from(set.max().unwrap_or(0).max(MAX_SUGGESTED_MEMORY_MIB)) << 20
    }

    /// The plugins that the file names and for which there is no module: worth a warning, since a name that is spelled
    /// wrong leaves the real plugin without its grants.
    pub fn without_module<'a>(&self, modules: impl IntoIterator<Item = &'a str>) -> Vec<Problem> {
        let modules: BTreeSet<&str> = modules.into_iter().collect();
        self.plugins
            .keys()
            .filter(|name| !modules.contains(name.as_str()))
            .map(|name| {
                let mend = match nearest(name, modules.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "a plugin is named like its file, without .wasm".to_owned(),
                };
                Problem::new(
                    format!("plugins.{name}"),
                    format!("there is no {name}.wasm in the plugin directory"),
                    mend,
                )
            })
            .collect()
    }
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_anchors: 0,
            max_aliases: 0,
            max_documents: 1,
            max_depth: MAX_DEPTH,
            max_nodes: MAX_NODES,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Error,
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

/// The parser's words made plain. The place stands beside the problem, so it is cut from the words.
fn problem_of(path: &str, error: &serde_saphyr::Error) -> Problem {
    use serde_saphyr::Error as Yaml;
    let message = error.to_string();
    let what = message
        .rsplit_once(" at line ")
        .map_or(message.as_str(), |(what, _)| what);
    let mut problem = problem::from_serde(path, what);
    match error {
        Yaml::DuplicateMappingKey { key: Some(key), .. } => {
            problem.what = format!("`{}` stands here twice", shown(key));
            problem.mend = "keep one of the two".to_owned();
        }
        Yaml::MergeKeyNotAllowed { .. } => {
            problem.what = "merge keys (<<) are not allowed".to_owned();
            problem.mend = "write the fields out".to_owned();
        }
        Yaml::Budget { breach, .. } => {
            problem.what = match breach {
                BudgetBreach::Anchors { .. } | BudgetBreach::Aliases { .. } => {
                    "anchors and aliases (& and *) are not allowed".to_owned()
                }
                BudgetBreach::Documents { .. } => "a second document (---) is not allowed".to_owned(),
                BudgetBreach::Depth { .. } => format!("nests deeper than {MAX_DEPTH}"),
                _ => format!("more than {MAX_NODES} values are not allowed"),
            };
            problem.mend = "write it out in one document".to_owned();
        }
        _ if what == "missing field `apiVersion`" => {
            problem.mend = format!("begin the file with apiVersion: {API_VERSION}")
        }
        _ => {}
    }
    problem
}
