//! The operator's side of one plugin: whether it runs, its configuration, what it may do, and how it is tried again.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use super::breaker::BreakerSettings;
use super::budget::Budget;
use super::concurrency::Concurrency;
use super::impersonate::Impersonate;
use super::instances::InstanceSettings;
use super::limits::LimitOverrides;
use super::{ConfigError, named, yaml};
use crate::grant::{self, Grant, Granted, Grants};
use crate::load::Hash;
use crate::queue_settings::QueueSettings;
use crate::rules::{number, or_default};

/// The operator's side of one plugin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct PluginConfig {
    /// Whether the plugin is loaded at all; true by default.
    pub enabled: bool,
    /// The plugin's own configuration, whatever its schema wants; `{}` by default, and where it is null.
    #[serde(deserialize_with = "plugin_config")]
    pub config: Value,
    /// What the plugin may do; where it is not said, nothing (or what
    /// [`granting_what_is_asked`](super::Config::granting_what_is_asked) says).
    #[serde(serialize_with = "grants")]
    pub grants: Option<Grants>,
    /// What it may do of that which amounts to more rights than it says ([`danger`](crate::danger())), each by name.
    #[serde(deserialize_with = "grant::dangerous")]
    pub dangerous: Vec<Grant>,
    /// Whether it may emit Kubernetes Events about what it sees; true by default.
    pub events: bool,
    /// As whom its own requests go out; by default as the host.
    pub impersonate: Option<Impersonate>,
    /// The host's own namespace, where it is known; [`Config::plugin`](super::Config::plugin) fills it in.
    #[serde(skip)]
    pub(crate) host_namespace: Option<String>,
    /// Whether this stands in `NAME.yaml` beside the module and not in the operator's file: errors name the right one.
    #[serde(skip)]
    pub(crate) beside: bool,
    /// Limits of each of its calls; they win over the manifest's suggestions.
    #[serde(deserialize_with = "or_default")]
    pub limits: LimitOverrides,
    /// Whether its instances are kept between its calls.
    #[serde(deserialize_with = "or_default")]
    pub instances: InstanceSettings,
    /// What all its calls together may use.
    #[serde(deserialize_with = "or_default")]
    pub budget: Budget,
    /// Its single requests to the API server a second, over all its calls, 0 to 100,000; 0 is no bound but the host's;
    /// 200 by default.
    #[serde(deserialize_with = "number::<_, 0, 100_000>")]
    pub api_requests_per_second: u32,
    /// So many of them may go at once after a pause, 1 to 100,000; 1,000 by default.
    #[serde(deserialize_with = "number::<_, 1, 100_000>")]
    pub api_request_burst: u32,
    /// How its controllers try failed keys again; it wins over the manifest's suggestions.
    #[serde(deserialize_with = "or_default")]
    pub queue: QueueSettings,
    /// When it is not called for a while because it fails.
    #[serde(deserialize_with = "or_default")]
    pub breaker: BreakerSettings,
    /// While others wait for the pool too it gets so many turns for each one of a plugin of weight 1; 1 to 100, 1 by
    /// default.
    #[serde(deserialize_with = "number::<_, 1, 100>")]
    pub weight: u32,
    /// Whether the namespaces of its keys take turns, so that one with many does not keep the others waiting; false by
    /// default: first come, first served.
    pub fair_namespaces: bool,
    /// Settings of its controllers, by the controllers' names; they win over the manifest's.
    #[serde(deserialize_with = "controllers")]
    pub controllers: BTreeMap<String, ControllerOverrides>,
    /// The SHA-256 that the module must have, 64 hexadecimal digits; any by default.
    #[serde(deserialize_with = "pin")]
    pub sha256: Option<Hash>,
}

impl PluginConfig {
    /// Reads what stands beside a module: the fields of this, right in the file. A file without anything in it says
    /// nothing.
    ///
    /// # Errors
    /// Any [`ConfigError`]; `file` names it there.
    pub fn parse(text: &[u8], file: &Path) -> Result<Self, ConfigError> {
        let text = yaml::utf8(text.to_owned(), file)?;
        if yaml::holds_nothing(&text) {
            return Ok(Self::default());
        }
        yaml::parse(&text, file)
    }

    /// Where an operator sets this field of that plugin: in the file that says the rest of it.
    pub(crate) fn place_of(&self, plugin: &str, field: &str) -> String {
        let path = self.path_of(plugin, field);
        if self.beside {
            format!("`{path}` in {plugin}.yaml beside the module")
        } else {
            format!("{path} in the operator's file (--config)")
        }
    }

    /// The path of this field in that file.
    pub(crate) fn path_of(&self, plugin: &str, field: &str) -> String {
        if self.beside {
            field.to_owned()
        } else {
            format!("plugins.{plugin}.{field}")
        }
    }

    /// Everything that it is granted.
    pub fn granted(&self) -> Granted {
        Granted {
            plain: self.grants.clone().unwrap_or_default(),
            dangerous: self.dangerous.clone(),
            host_namespace: self.host_namespace.clone(),
        }
    }

    /// Tells whether anything of this is another that may make a key go well that failed: all of it but `enabled`,
    /// `sha256` and what is said of concurrency. Keys that a host before this one parked are tried again then. The
    /// order of fields and what is written out and empty make no difference.
    pub fn hash(&self) -> Hash {
        let mut said = self.clone();
        // Whether it runs, which module that may be, and how many keys are in work at once change nothing of what comes
        // of a key.
        (said.enabled, said.sha256) = (true, None);
        said.controllers.retain(|_, own| own.queue != QueueSettings::default());
        said.controllers.values_mut().for_each(|own| own.concurrency = None);
        let all = serde_json::to_value(said).unwrap_or_default();
        Hash::of(all.to_string().as_bytes())
    }
}

impl PluginConfig {
    /// Whether the other one says the same, but for how many keys may be in work at once.
    pub(crate) fn differs_in_concurrency_alone(&self, other: &Self) -> bool {
        let without = |config: &Self| {
            let mut config = config.clone();
            // Where it stands makes no difference.
            config.beside = false;
            config.controllers.values_mut().for_each(|own| own.concurrency = None);
            config
                .controllers
                .retain(|_, own| *own != ControllerOverrides::default());
            config
        };
        self != other && without(self) == without(other)
    }
}

impl Default for PluginConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            config: Value::Object(Map::new()),
            grants: None,
            dangerous: Vec::new(),
            events: true,
            impersonate: None,
            host_namespace: None,
            beside: false,
            limits: LimitOverrides::default(),
            instances: InstanceSettings::default(),
            budget: Budget::default(),
            api_requests_per_second: 200,
            api_request_burst: 1_000,
            queue: QueueSettings::default(),
            breaker: BreakerSettings::default(),
            weight: 1,
            fair_namespaces: false,
            controllers: BTreeMap::new(),
            sha256: None,
        }
    }
}

/// What the operator sets for one controller of a plugin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ControllerOverrides {
    /// How many of its keys may be in work at once. A change of this alone is in force at once, without another
    /// version: it makes no key go well that failed, so it is no part of [`PluginConfig::hash`].
    pub concurrency: Option<Concurrency>,
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

/// As [`Grants`] are read.
fn grants<S: Serializer>(grants: &Option<Grants>, serializer: S) -> Result<S::Ok, S::Error> {
    match grants {
        None => serializer.serialize_none(),
        Some(Grants::Asked) => serializer.serialize_str("asked"),
        // No file says it, and none takes it: a version that was granted so does not come back.
        Some(Grants::Everything) => serializer.serialize_str("everything"),
        Some(Grants::Only(grants)) => grants.serialize(serializer),
    }
}

fn pin<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Hash>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let wrong = || D::Error::custom("is no SHA-256: 64 hexadecimal digits are needed, as `sha256sum` prints them");
    Hash::from_hex(&text).map(Some).ok_or_else(wrong)
}

fn controllers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, ControllerOverrides>, D::Error> {
    named(deserializer)
}
