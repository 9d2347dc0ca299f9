//! All types of k8s-openapi that have metadata are kinds.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference as K8sOwner};
use k8s_openapi::{ClusterResourceScope, Metadata as K8sMetadata, NamespaceResourceScope, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::kind::{Kind, Meta, OwnerReference, Scope};

/// The scopes that objects of their own have.
pub trait HasScope {
    /// The same as a value.
    const SCOPE: Scope;
}

impl HasScope for NamespaceResourceScope {
    const SCOPE: Scope = Scope::Namespaced;
}

impl HasScope for ClusterResourceScope {
    const SCOPE: Scope = Scope::Cluster;
}

impl<T> Kind for T
where
    T: Resource<Scope: HasScope> + K8sMetadata<Ty = ObjectMeta> + Serialize + DeserializeOwned,
{
    type Metadata = ObjectMeta;
    const GROUP: &'static str = <T as Resource>::GROUP;
    const VERSION: &'static str = <T as Resource>::VERSION;
    const KIND: &'static str = <T as Resource>::KIND;
    const SCOPE: Scope = <T::Scope as HasScope>::SCOPE;

    fn meta(&self) -> &ObjectMeta {
        self.metadata()
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.metadata_mut()
    }
}

impl Meta for ObjectMeta {
    fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    fn set_namespace(&mut self, namespace: &str) {
        self.namespace = Some(namespace.to_owned());
    }

    fn uid(&self) -> &str {
        self.uid.as_deref().unwrap_or_default()
    }

    fn resource_version(&self) -> &str {
        self.resource_version.as_deref().unwrap_or_default()
    }

    fn generation(&self) -> Option<i64> {
        self.generation
    }

    fn is_deleting(&self) -> bool {
        self.deletion_timestamp.is_some()
    }

    fn labels_mut(&mut self) -> &mut BTreeMap<String, String> {
        self.labels.get_or_insert_default()
    }

    fn annotations_mut(&mut self) -> &mut BTreeMap<String, String> {
        self.annotations.get_or_insert_default()
    }

    fn finalizers(&self) -> &[String] {
        self.finalizers.as_deref().unwrap_or_default()
    }

    fn finalizers_mut(&mut self) -> &mut Vec<String> {
        self.finalizers.get_or_insert_default()
    }

    fn owners(&self) -> Vec<OwnerReference> {
        let owners = self.owner_references.iter().flatten();
        owners
            .map(|owner| OwnerReference {
                api_version: owner.api_version.clone(),
                kind: owner.kind.clone(),
                name: owner.name.clone(),
                uid: owner.uid.clone(),
                controller: owner.controller.unwrap_or_default(),
                block_owner_deletion: owner.block_owner_deletion.unwrap_or_default(),
            })
            .collect()
    }

    fn add_owner(&mut self, owner: OwnerReference) {
        let owners = self.owner_references.get_or_insert_default();
        owners.retain(|other| other.uid != owner.uid);
        owners.push(K8sOwner {
            api_version: owner.api_version,
            kind: owner.kind,
            name: owner.name,
            uid: owner.uid,
            controller: owner.controller.then_some(true),
            block_owner_deletion: owner.block_owner_deletion.then_some(true),
        });
    }
}
