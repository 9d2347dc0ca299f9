//! The host's own settings in the operator's file.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use pilothouse_runtime::CompileLimits;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use crate::lives::Rules;
use crate::problem::{Problem, shown};
use crate::rules::{is_label, number, or_default};

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
    /// How long running reconciles may take to end once the host was told to stop, in seconds, 0 to 3600; 30 by
    /// default.
    #[serde(deserialize_with = "number::<_, 0, 3600>")]
    pub grace_period_seconds: u32,
    /// A module in the plugin directory may be this long, in MiB, 1 to 1024; 64 by default.
    #[serde(rename = "maxModuleMiB", deserialize_with = "number::<_, 1, 1024>")]
    pub max_module_mib: u32,
    /// What compiling one module may take.
    #[serde(deserialize_with = "or_default")]
    pub compile: CompileSettings,
    /// A directory of this host alone, where it keeps over restarts its parked keys, what was decided of plugins'
    /// versions with their modules, and compiled code; made if need be, and a relative path starts where the program
    /// does. Null, the default: nothing is kept, and every key is tried again at the start.
    #[serde(deserialize_with = "directory")]
    pub state_directory: Option<PathBuf>,
    /// Single requests to the API server a second, of all plugins together, 0 to 100,000; 0 is no bound; 500 by
    /// default.
    #[serde(deserialize_with = "number::<_, 0, 100_000>")]
    pub api_requests_per_second: u32,
    /// So many of them may go at once after a pause, 1 to 100,000; 2,000 by default.
    #[serde(deserialize_with = "number::<_, 1, 100_000>")]
    pub api_request_burst: u32,
    /// How long the API server is waited for.
    #[serde(deserialize_with = "or_default")]
    pub api_timeouts: ApiTimeouts,
    /// Whether reads are asked for compressed; false by default. It pays where the way to the API server is slower than
    /// some 400 Mbit/s, and costs the server CPU.
    pub api_compression: bool,
    /// How often the plugin directory is looked at besides when the system tells that it changed, in seconds, 1 to
    /// 3600; 2 by default. Not every file system tells.
    #[serde(deserialize_with = "number::<_, 1, 3600>")]
    pub plugin_poll_seconds: u32,
    /// For so long after a switch a plugin's new version is on probation, in seconds, 0 to 86,400; 600 by default. 0:
    /// no version is rolled back by itself.
    #[serde(deserialize_with = "number::<_, 0, 86_400>")]
    pub probation_seconds: u32,
    /// So many traps on probation bring the version before it back, 1 to 1000; 3 by default. So does a breaker that
    /// opens, at once.
    #[serde(deserialize_with = "number::<_, 1, 1000>")]
    pub probation_traps: u32,
    /// Where operators' commands reach the host: a Unix socket, made in a directory of this user alone; `off`: nowhere.
    /// Null, the default: `pilothouse/admin.sock` in the user's runtime directory.
    #[serde(deserialize_with = "path")]
    pub admin_socket: Option<PathBuf>,
    /// Where the same is served over HTTP, for those who have the token; null, the default: nowhere.
    pub admin_address: Option<SocketAddr>,
    /// The file with that token, of this user alone.
    #[serde(deserialize_with = "path")]
    pub admin_token_file: Option<PathBuf>,
    /// The namespace that the host itself runs in; null, the default: as its pod says (`POD_NAMESPACE`, or its service
    /// account), which whoever starts it fills in. What is written there is granted under `dangerous` alone.
    #[serde(deserialize_with = "namespace")]
    pub namespace: Option<String>,
    /// So many versions of a plugin stay at hand for a rollback, with the one that serves, 1 to 16; 3 by default.
    #[serde(deserialize_with = "number::<_, 1, 16>")]
    pub keep_versions: u32,
}

fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    match Option::<String>::deserialize(deserializer)? {
        Some(path) if path.is_empty() || path.contains('\0') => Err(D::Error::custom("is no path: name a file")),
        path => Ok(path.map(PathBuf::from)),
    }
}

fn namespace<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    match Option::<String>::deserialize(deserializer)? {
        Some(name) if !is_label(&name) => Err(D::Error::custom("is no namespace's name")),
        name => Ok(name),
    }
}

fn directory<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    match Option::<String>::deserialize(deserializer)? {
        Some(path) if path.is_empty() || path.contains('\0') => Err(D::Error::custom(
            "is no path: name a directory, or leave it out to keep nothing",
        )),
        path => Ok(path.map(PathBuf::from)),
    }
}

/// What compiling one module may take, in a process of its own. A module that takes more is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct CompileSettings {
    /// Time by the clock in seconds, 1 to 3600; 300 by default.
    #[serde(deserialize_with = "number::<_, 1, 3600>")]
    pub seconds: u32,
    /// CPU time in seconds, 1 to 3600; 120 by default.
    #[serde(deserialize_with = "number::<_, 1, 3600>")]
    pub cpu_seconds: u32,
    /// Memory in MiB, 64 to 65,536; 2048 by default. Three modules may be compiled at a time.
    #[serde(rename = "memoryMiB", deserialize_with = "number::<_, 64, 65_536>")]
    pub memory_mib: u32,
    /// The compiled code in MiB, 1 to 4096; 512 by default.
    #[serde(rename = "codeMiB", deserialize_with = "number::<_, 1, 4096>")]
    pub code_mib: u32,
    /// Functions of the module, 1 to 10,000,000; 100,000 by default. A Python plugin has some 20,000.
    #[serde(deserialize_with = "number::<_, 1, 10_000_000>")]
    pub functions: u32,
    /// How deep blocks lie in each other in a function, 1 to 50,000; 5,000 by default. A `switch` in C or `match` in
    /// Rust is as deep as it has arms.
    #[serde(deserialize_with = "number::<_, 1, 50_000>")]
    pub nesting: u32,
}

impl Default for CompileSettings {
    fn default() -> Self {
        Self {
            seconds: 300,
            cpu_seconds: 120,
            memory_mib: 2_048,
            code_mib: 512,
            functions: 100_000,
            nesting: 5_000,
        }
    }
}

impl CompileSettings {
    /// As the runtime takes them.
    pub fn limits(&self) -> CompileLimits {
        CompileLimits {
            wall: Duration::from_secs(self.seconds.into()),
            cpu: Duration::from_secs(self.cpu_seconds.into()),
            memory: u64::from(self.memory_mib) << 20,
            code: u64::from(self.code_mib) << 20,
        }
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
            compile: CompileSettings::default(),
            api_requests_per_second: 500,
            api_request_burst: 2_000,
            api_timeouts: ApiTimeouts::default(),
            api_compression: false,
            state_directory: None,
            plugin_poll_seconds: 2,
            probation_seconds: 600,
            probation_traps: 3,
            admin_socket: None,
            admin_address: None,
            admin_token_file: None,
            namespace: None,
            keep_versions: 3,
        }
    }
}

impl HostConfig {
    /// Says which namespace the host runs in, unless the file does.
    ///
    /// # Errors
    /// It is no namespace's name: nothing would be told apart by it.
    pub fn runs_in(&mut self, namespace: &str) -> Result<(), Problem> {
        if !is_label(namespace) {
            return Err(Problem::new(
                "host.namespace",
                format!(
                    "`{}`, which is said to be the host's own, is no namespace's name",
                    shown(namespace)
                ),
                "set it in the operator's file (--config), or correct POD_NAMESPACE",
            ));
        }
        self.namespace.get_or_insert_with(|| namespace.to_owned());
        Ok(())
    }

    /// [`HostConfig::grace_period_seconds`] as a duration.
    pub fn grace_period(&self) -> Duration {
        Duration::from_secs(self.grace_period_seconds.into())
    }

    /// [`HostConfig::plugin_poll_seconds`] as a duration.
    pub fn plugin_poll(&self) -> Duration {
        Duration::from_secs(self.plugin_poll_seconds.into())
    }

    /// When a version of a plugin is taken back by itself.
    pub fn life_rules(&self) -> Rules {
        Rules {
            probation: Duration::from_secs(self.probation_seconds.into()),
            traps: self.probation_traps,
            kept: self.keep_versions as usize,
            ..Rules::default()
        }
    }

    /// [`HostConfig::max_module_mib`] in bytes.
    pub fn max_module_bytes(&self) -> u64 {
        u64::from(self.max_module_mib) * 1024 * 1024
    }
}
