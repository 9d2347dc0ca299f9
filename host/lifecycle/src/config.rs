//! The operator's file: the host's settings, and for each plugin what it may do, its configuration and its limits.
//!
//! Promises: reading is bounded (1 MiB, no anchors, aliases or merge keys, one document, a bounded depth and number of
//! nodes); an unknown field, a wrong value or a repeated key is an error that names file, line, column, field and mend;
//! errors quote nothing of the file, neither names nor values: it may be another one than was meant, or hold what
//! should not stand in a log.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use crate::grant::Grants;
use crate::problem::{Problem, nearest};
use crate::rules::{Label, Word as _, is_label, or_default};

mod breaker;
mod budget;
mod concurrency;
mod error;
mod fields;
mod host;
mod impersonate;
mod instances;
mod limits;
mod plugin;
mod words;
mod yaml;

pub use breaker::BreakerSettings;
pub use budget::Budget;
pub use concurrency::Concurrency;
pub use error::{ConfigError, Place};
pub use host::{ApiTimeouts, CompileSettings, HostConfig};
pub use impersonate::Impersonate;
pub use instances::InstanceSettings;
pub use limits::LimitOverrides;
pub use plugin::{ControllerOverrides, PluginConfig};

/// The file may be this long, in bytes.
pub const MAX_CONFIG_BYTES: usize = 1024 * 1024;

/// The most memory that a manifest may suggest, in MiB.
const MAX_SUGGESTED_MEMORY_MIB: u32 = 256;

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
            _ => Err(D::Error::custom(format!(
                "is another one; this host reads {API_VERSION}"
            ))),
        }
    }
}

/// A plugin's or controller's name, as a key. One that is none is told where it stands, and not quoted.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        if is_label(&name) {
            return Ok(Self(name));
        }
        Err(D::Error::custom(format!("a name stands here that {}", Label::NONE)))
    }
}

fn named<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<BTreeMap<String, T>, D::Error> {
    // `plugins:` with nothing behind it is null.
    let entries = Option::<BTreeMap<Name, T>>::deserialize(deserializer)?.unwrap_or_default();
    Ok(entries.into_iter().map(|(name, entry)| (name.0, entry)).collect())
}

fn plugins<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, PluginConfig>, D::Error> {
    let plugins: BTreeMap<String, Option<PluginConfig>> = named(deserializer)?;
    Ok(plugins
        .into_iter()
        .map(|(name, plugin)| (name, plugin.unwrap_or_default()))
        .collect())
}

impl Config {
    /// Reads the operator's file.
    ///
    /// # Errors
    /// Any [`ConfigError`]. The host must not run on defaults instead: what was meant as a limit would not be one.
    pub fn read(file: &Path) -> Result<Self, ConfigError> {
        Self::parse(&yaml::text_of(file, MAX_CONFIG_BYTES)?, file)
    }

    /// Reads `text`; `file` names it in errors.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        if text.len() > MAX_CONFIG_BYTES {
            return Err(ConfigError::TooLong {
                file: file.to_owned(),
                limit: MAX_CONFIG_BYTES,
            });
        }
        if yaml::holds_nothing(text) {
            let mend = format!("begin it with apiVersion: {API_VERSION}");
            return Err(ConfigError::Wrong {
                file: file.to_owned(),
                place: Place::default(),
                problem: Problem::new("", "there is nothing in the file", mend),
            });
        }
        yaml::parse(text, file)
    }

    /// The operator's side of this plugin, its `grants` filled in; the default where the file does not name it.
    pub fn plugin(&self, name: &str) -> PluginConfig {
        self.completed(self.plugins.get(name).cloned().unwrap_or_default())
    }

    /// What the operator says of a plugin elsewhere, its `grants` filled in.
    pub(crate) fn completed(&self, mut plugin: PluginConfig) -> PluginConfig {
        plugin.grants.get_or_insert_with(|| self.without_grants.clone());
        plugin.host_namespace.clone_from(&self.host.namespace);
        plugin
    }

    /// The same, but for plugins whose entry says nothing of `grants`: these get whatever their manifests ask for, as
    /// if `grants: asked` stood there, or [`Grants::Everything`]. The latter is for a cluster in memory; on any other,
    /// whoever can write a module into the directory could do what the host may.
    #[must_use]
    pub fn granting_what_is_asked(mut self, dangerous_too: bool) -> Self {
        self.without_grants = if dangerous_too {
            Grants::Everything
        } else {
            Grants::Asked
        };
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
