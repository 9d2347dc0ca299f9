//! A few kinds that many plugins need. For all others derive [`Kind`] for a struct with the fields you care
//! about, or use the feature `k8s-openapi`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Kind;
use crate::kind::Metadata;

/// Configuration as text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Kind)]
#[kind("v1")]
#[serde(rename_all = "camelCase")]
pub struct ConfigMap {
    /// The object's metadata.
    #[serde(default)]
    pub metadata: Metadata,
    /// Texts by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, String>,
    /// Bytes by key, in base64.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub binary_data: BTreeMap<String, String>,
    /// Whether the data may never change again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub immutable: Option<bool>,
}

impl ConfigMap {
    /// An empty ConfigMap of this name, in the namespace of its owner.
    pub fn named(name: impl Into<String>) -> ConfigMap {
        ConfigMap {
            metadata: Metadata::named(name),
            ..ConfigMap::default()
        }
    }

    /// The same with a text more.
    pub fn with(mut self, key: impl Into<String>, text: impl Into<String>) -> ConfigMap {
        self.data.insert(key.into(), text.into());
        self
    }
}

/// Bytes that few may read. The host caches Secrets without their data: `data` is empty unless read with
/// [`Context::get_live`](crate::Context::get_live). Whether one changed, [`Context::digest`](crate::Context::digest) tells.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, Kind)]
#[kind("v1")]
#[serde(rename_all = "camelCase")]
pub struct Secret {
    /// The object's metadata.
    #[serde(default)]
    pub metadata: Metadata,
    /// `Opaque`, `kubernetes.io/tls`, ….
    #[serde(default, rename = "type", skip_serializing_if = "String::is_empty")]
    pub type_: String,
    /// Bytes by key, in base64.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, String>,
    /// Texts by key, for writing: the server moves them to `data`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub string_data: BTreeMap<String, String>,
}

/// Shows which keys there are, never what they hold.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret")
            .field("metadata", &self.metadata)
            .field("type_", &self.type_)
            .field("data", &self.data.keys())
            .field("string_data", &self.string_data.keys())
            .finish()
    }
}

/// A part of the cluster that names are unique in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Kind)]
#[kind("v1", scope = "Cluster")]
pub struct Namespace {
    /// The object's metadata.
    #[serde(default)]
    pub metadata: Metadata,
}
