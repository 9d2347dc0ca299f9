//! What is special about built-in kinds: their defaults, their rules, and how updates of them are treated.
//!
//! Held against rules are those that a controller under test meets: names, keys, immutability, selectors, required
//! fields. It is not all that a real server checks (pods may be changed freely here, quantities and ports of probes
//! are not looked at); what passes here may be refused there, hardly ever the other way round.

use serde_json::Value;

use crate::cluster::Cluster;
use crate::meta::{self, NameRule};
use crate::status::FieldError;
use crate::types::ResourceType;

mod config;
mod event;
mod workload;

/// A built-in kind with rules of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    ConfigMap,
    Deployment,
    Event,
    Lease,
    Namespace,
    Pod,
    Secret,
    Service,
    Other,
}

fn kind(type_: &ResourceType) -> Kind {
    if type_.custom {
        return Kind::Other;
    }
    match &*type_.kind {
        "ConfigMap" => Kind::ConfigMap,
        "Deployment" => Kind::Deployment,
        "Event" => Kind::Event,
        "Lease" => Kind::Lease,
        "Namespace" => Kind::Namespace,
        "Pod" => Kind::Pod,
        "Secret" => Kind::Secret,
        "Service" => Kind::Service,
        _ => Kind::Other,
    }
}

/// How names of the kind must look.
pub(crate) fn name_rule(type_: &ResourceType) -> NameRule {
    match kind(type_) {
        Kind::Namespace => NameRule::Label,
        Kind::Service => NameRule::Label1035,
        Kind::Event => NameRule::PathSegment,
        _ => NameRule::Subdomain,
    }
}

/// Whether a replace must say which version it replaces.
pub(crate) fn needs_version(type_: &ResourceType) -> bool {
    type_.custom || kind(type_) == Kind::Lease || &*type_.kind == "CustomResourceDefinition"
}

/// Whether a replace of an object that is not there creates it.
pub(crate) fn creates_on_update(type_: &ResourceType) -> bool {
    matches!(kind(type_), Kind::Lease | Kind::Event)
}

/// Whether a deletion is answered with the object that went.
pub(crate) fn returns_deleted(type_: &ResourceType) -> bool {
    kind(type_) == Kind::Pod || !type_.custom && &*type_.kind == "ServiceAccount"
}

/// Whether a deletion has a period of grace; it is over at once here.
pub(crate) fn goes_gracefully(type_: &ResourceType) -> bool {
    kind(type_) == Kind::Pod
}

/// Fills in defaults.
pub(crate) fn fill_in(type_: &ResourceType, object: &mut Value) {
    match kind(type_) {
        Kind::Secret => config::fill_in_secret(object),
        Kind::Namespace => config::fill_in_namespace(object),
        Kind::Deployment => {
            or_set(object, "status", serde_json::json!({}));
            workload::fill_in_deployment(object);
        }
        Kind::Lease => or_set(object, "spec", serde_json::json!({})),
        Kind::Pod => workload::fill_in_pod(object),
        Kind::Service => {
            or_set(object, "status", serde_json::json!({"loadBalancer": {}}));
            workload::fill_in_service(object);
        }
        Kind::Event => event::fill_in(&type_.group, object),
        _ => {}
    }
}

/// What a create sets beside the defaults.
pub(crate) fn prepare_create(cluster: &mut Cluster, type_: &ResourceType, object: &mut Value) {
    match kind(type_) {
        Kind::Namespace => config::prepare_namespace(object),
        Kind::Pod => workload::prepare_pod(object),
        Kind::Service => workload::prepare_service(cluster, object),
        _ => {}
    }
}

/// What an update keeps of the old object.
pub(crate) fn prepare_update(type_: &ResourceType, old: &Value, object: &mut Value) {
    match kind(type_) {
        Kind::Service => workload::keep_addresses(old, object),
        Kind::Namespace => config::fill_in_namespace(object),
        _ => {}
    }
}

/// Holds an object against the rules of its kind.
pub(crate) fn validate(type_: &ResourceType, object: &Value, errors: &mut Vec<FieldError>) {
    for (number, finalizer) in meta::finalizers(object).into_iter().enumerate() {
        let standard = matches!(finalizer, "kubernetes" | "orphan" | "foregroundDeletion");
        if !standard && !finalizer.contains('/') && &*type_.kind != "CustomResourceDefinition" {
            errors.push(FieldError::invalid(
                format!("metadata.finalizers[{number}]"),
                &finalizer.into(),
                "name is neither a standard finalizer name nor is it fully qualified",
            ));
        }
    }
    match kind(type_) {
        Kind::ConfigMap => config::validate_config_map(object, errors),
        Kind::Secret => config::validate_secret(object, errors),
        Kind::Lease => config::validate_lease(object, errors),
        Kind::Event => event::validate(&type_.group, object, errors),
        Kind::Deployment => workload::validate_deployment(object, errors),
        Kind::Pod => workload::validate_pod(object, errors),
        Kind::Service => workload::validate_service(object, errors),
        Kind::Namespace | Kind::Other => {}
    }
}

/// Holds an update against the rules of its kind.
pub(crate) fn validate_update(type_: &ResourceType, old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    match kind(type_) {
        Kind::ConfigMap => config::validate_immutable(old, new, &["data", "binaryData"], errors),
        Kind::Secret => {
            immutable("type", old, new, errors);
            config::validate_immutable(old, new, &["data"], errors);
        }
        Kind::Deployment => workload::validate_deployment_update(old, new, errors),
        _ => {}
    }
}

/// A field, at a path with dots, that never changes.
fn immutable(path: &str, old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    let pointer = format!("/{}", path.replace('.', "/"));
    if old.pointer(&pointer) != new.pointer(&pointer) {
        let value = new.pointer(&pointer).unwrap_or(&Value::Null);
        errors.push(FieldError::invalid(path, value, "field is immutable"));
    }
}

/// Sets a member of an object that is not set.
fn or_set(object: &mut Value, name: &str, value: impl Into<Value>) {
    if let Some(map) = object.as_object_mut() {
        map.entry(name).or_insert_with(|| value.into());
    }
}
