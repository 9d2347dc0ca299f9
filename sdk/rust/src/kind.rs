//! Kinds of objects: which Rust type stands for which kind, and the metadata that all have.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::wire::{Gvk, ObjectRef};

/// A Rust type that stands for a kind of the Kubernetes API.
///
/// Derive it for a struct of your own (`#[derive(Kind)] #[kind("apps/v1", kind = "Deployment")]`). The struct need not
/// know every field: reading skips what it doesn't know, and [`Object::save`](crate::Object::save) never touches it.
/// With the feature `k8s-openapi`, all types of that crate are kinds.
pub trait Kind: Serialize + DeserializeOwned {
    /// The type of the object's metadata, [`Metadata`] for structs of your own.
    type Metadata: Meta;
    /// The API group, empty for the core group.
    const GROUP: &'static str;
    /// The version within the group: `v1`.
    const VERSION: &'static str;
    /// The kind's name: `ConfigMap`.
    const KIND: &'static str;
    /// Whether objects live in namespaces.
    const SCOPE: Scope;

    /// The object's metadata.
    fn meta(&self) -> &Self::Metadata;

    /// The object's metadata, to change it.
    fn meta_mut(&mut self) -> &mut Self::Metadata;

    /// Group, version and kind as the host takes them.
    fn gvk() -> Gvk {
        Gvk {
            group: Self::GROUP.to_owned(),
            version: Self::VERSION.to_owned(),
            kind: Self::KIND.to_owned(),
        }
    }

    /// What stands in an object's `apiVersion`: `apps/v1`, or `v1` in the core group.
    fn api_version() -> String {
        if Self::GROUP.is_empty() {
            Self::VERSION.to_owned()
        } else {
            format!("{}/{}", Self::GROUP, Self::VERSION)
        }
    }

    /// Names an object of this kind.
    fn reference(namespace: Option<&str>, name: &str) -> ObjectRef {
        ObjectRef {
            kind: Self::gvk(),
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        }
    }
}

/// Whether a kind's objects live in namespaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Each object lives in a namespace.
    #[default]
    Namespaced,
    /// Objects belong to the cluster as a whole.
    Cluster,
}

/// What the SDK asks of an object's metadata; for [`Metadata`] and k8s-openapi's `ObjectMeta`.
pub trait Meta {
    /// The object's name; empty if the server is to make one up from `generateName`.
    fn name(&self) -> &str;
    /// The object's namespace; none for cluster-scoped kinds.
    fn namespace(&self) -> Option<&str>;
    /// Sets the namespace of an object that is yet to be created.
    fn set_namespace(&mut self, namespace: &str);
    /// The uid, empty before the object is created.
    fn uid(&self) -> &str;
    /// The resourceVersion, empty before the object is created. Opaque: compare for equality only.
    fn resource_version(&self) -> &str;
    /// The generation, which the server raises with every change of the spec. Some kinds (ConfigMap, …) have none.
    fn generation(&self) -> Option<i64>;
    /// Whether someone deleted the object and finalizers still hold it.
    fn is_deleting(&self) -> bool;
    /// The labels, to change them.
    fn labels_mut(&mut self) -> &mut BTreeMap<String, String>;
    /// The annotations, to change them.
    fn annotations_mut(&mut self) -> &mut BTreeMap<String, String>;
    /// The finalizers.
    fn finalizers(&self) -> &[String];
    /// The finalizers, to change them; [`Context::finalizer`](crate::Context::finalizer) does it for you.
    fn finalizers_mut(&mut self) -> &mut Vec<String>;
    /// The owner references.
    fn owners(&self) -> Vec<OwnerReference>;
    /// Adds an owner reference, or replaces the one with the same uid.
    fn add_owner(&mut self, owner: OwnerReference);
}

/// An object's metadata. What the server alone writes (uid, resourceVersion, generation, timestamps) is for reading.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Metadata {
    /// The object's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Lets the server make up a name with this beginning, where `name` is empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generate_name: Option<String>,
    /// The namespace; none for cluster-scoped kinds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Identifies this object for ever: an object deleted and created again has another.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Changes with every write. Opaque: compare for equality only.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
    /// Raised with every change of the spec; some kinds have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creation_timestamp: Option<String>,
    /// RFC 3339; set once someone deleted the object, which finalizers may still hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<String>,
    /// Labels, which selectors select by.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Whose this object is: it is deleted with the last of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub owner_references: Vec<OwnerReference>,
    /// Who must let go before the object may vanish.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub finalizers: Vec<String>,
}

impl Metadata {
    /// Metadata of an object that is yet to be created, in the namespace of its owner or in none.
    pub fn named(name: impl Into<String>) -> Metadata {
        Metadata {
            name: name.into(),
            ..Metadata::default()
        }
    }

    /// The same in a namespace.
    pub fn in_namespace(mut self, namespace: impl Into<String>) -> Metadata {
        self.namespace = Some(namespace.into());
        self
    }

    /// The same with a label more.
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Metadata {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// The same with an annotation more.
    pub fn annotation(mut self, key: impl Into<String>, value: impl Into<String>) -> Metadata {
        self.annotations.insert(key.into(), value.into());
        self
    }
}

impl Meta for Metadata {
    fn name(&self) -> &str {
        &self.name
    }

    fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    fn set_namespace(&mut self, namespace: &str) {
        self.namespace = Some(namespace.to_owned());
    }

    fn uid(&self) -> &str {
        &self.uid
    }

    fn resource_version(&self) -> &str {
        &self.resource_version
    }

    fn generation(&self) -> Option<i64> {
        self.generation
    }

    fn is_deleting(&self) -> bool {
        self.deletion_timestamp.is_some()
    }

    fn labels_mut(&mut self) -> &mut BTreeMap<String, String> {
        &mut self.labels
    }

    fn annotations_mut(&mut self) -> &mut BTreeMap<String, String> {
        &mut self.annotations
    }

    fn finalizers(&self) -> &[String] {
        &self.finalizers
    }

    fn finalizers_mut(&mut self) -> &mut Vec<String> {
        &mut self.finalizers
    }

    fn owners(&self) -> Vec<OwnerReference> {
        self.owner_references.clone()
    }

    fn add_owner(&mut self, owner: OwnerReference) {
        self.owner_references.retain(|other| other.uid != owner.uid);
        self.owner_references.push(owner);
    }
}

/// One owner of an object: the object is deleted when its last owner is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerReference {
    /// The owner's `apiVersion`.
    pub api_version: String,
    /// The owner's kind.
    pub kind: String,
    /// The owner's name; it lives in the same namespace, or in none.
    pub name: String,
    /// The owner's uid.
    pub uid: String,
    /// Whether this owner is the one that manages the object; at most one is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub controller: bool,
    /// Whether a foreground deletion of the owner waits for this object.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub block_owner_deletion: bool,
}

impl OwnerReference {
    /// A reference to the controller of an object. The owner must have a uid, hence come from the cluster.
    pub fn controller<K: Kind>(owner: &K) -> OwnerReference {
        OwnerReference {
            api_version: K::api_version(),
            kind: K::KIND.to_owned(),
            name: owner.meta().name().to_owned(),
            uid: owner.meta().uid().to_owned(),
            controller: true,
            block_owner_deletion: true,
        }
    }
}
