//! Deployments, Pods, Services. Nothing runs here: no controller makes pods of deployments, no kubelet runs them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::or_set;
use crate::cluster::Cluster;
use crate::meta;
use crate::status::FieldError;

/// Fills in what the server fills into the spec of a pod.
fn fill_in_pod_spec(spec: &mut Value) {
    or_set(spec, "restartPolicy", "Always");
    or_set(spec, "terminationGracePeriodSeconds", 30);
    or_set(spec, "dnsPolicy", "ClusterFirst");
    or_set(spec, "securityContext", json!({}));
    or_set(spec, "schedulerName", "default-scheduler");
    for list in ["containers", "initContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
            let tag = image
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .split_once(':')
                .map(|(_, tag)| tag);
            let latest = !image.contains('@') && tag.is_none_or(|tag| tag == "latest");
            or_set(
                container,
                "imagePullPolicy",
                if latest { "Always" } else { "IfNotPresent" },
            );
            or_set(container, "resources", json!({}));
            or_set(container, "terminationMessagePath", "/dev/termination-log");
            or_set(container, "terminationMessagePolicy", "File");
            for port in container
                .get_mut("ports")
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
            {
                or_set(port, "protocol", "TCP");
            }
        }
    }
}

pub(super) fn fill_in_pod(object: &mut Value) {
    if let Some(spec) = object.get_mut("spec") {
        fill_in_pod_spec(spec);
        or_set(spec, "enableServiceLinks", true);
        request_what_is_limited(spec);
    }
}

/// What a container is limited to it requests, unless it says how much. Templates of pods stay as they are.
fn request_what_is_limited(spec: &mut Value) {
    for list in ["containers", "initContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(resources) = container.get_mut("resources") else {
                continue;
            };
            let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else {
                continue;
            };
            let requests = meta::child(resources, "requests");
            for (resource, limit) in limits {
                requests.entry(resource).or_insert(limit);
            }
        }
    }
}

/// What admission and the first look at a pod add.
pub(super) fn prepare_pod(object: &mut Value) {
    let class = qos_class(object.get("spec").unwrap_or(&Value::Null));
    let status = meta::child(object, "status");
    status.insert("phase".into(), "Pending".into());
    status.insert("qosClass".into(), class.into());
    let Some(spec) = object.get_mut("spec").filter(|spec| spec.is_object()) else {
        return;
    };
    or_set(spec, "priority", 0);
    or_set(spec, "preemptionPolicy", "PreemptLowerPriority");
    // A pod outlives its node's troubles for five minutes, if it does not say otherwise itself.
    or_set(spec, "tolerations", json!([]));
    let Some(tolerations) = spec.get_mut("tolerations").and_then(Value::as_array_mut) else {
        return;
    };
    let own = tolerations.clone();
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let says = |toleration: &Value| {
            let text = |field: &str| toleration.get(field).and_then(Value::as_str).unwrap_or_default();
            ["", key].contains(&text("key")) && ["", "NoExecute"].contains(&text("effect"))
        };
        if !own.iter().any(says) {
            tolerations.push(json!({
                "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300,
            }));
        }
    }
}

/// How dear a pod is to its node: by what its containers ask for and are limited to.
fn qos_class(spec: &Value) -> &'static str {
    let containers = || {
        ["containers", "initContainers"]
            .into_iter()
            .filter_map(|list| spec.get(list)?.as_array())
            .flatten()
    };
    let amount = |container: &Value, what: &str, resource: &str| {
        let amount = container.get("resources")?.get(what)?.get(resource)?.clone();
        Some(amount)
    };
    let all = |holds: &dyn Fn(&Value, &str) -> bool| {
        containers().all(|container| ["cpu", "memory"].iter().all(|resource| holds(container, resource)))
    };
    if all(&|container, resource| {
        amount(container, "requests", resource).is_none() && amount(container, "limits", resource).is_none()
    }) {
        return "BestEffort";
    }
    // A request that is not there is what the limit is.
    let guaranteed = all(&|container, resource| {
        let limit = amount(container, "limits", resource);
        limit.is_some() && amount(container, "requests", resource).is_none_or(|request| limit == Some(request))
    });
    if guaranteed { "Guaranteed" } else { "Burstable" }
}

pub(super) fn fill_in_deployment(object: &mut Value) {
    let Some(spec) = object.get_mut("spec").filter(|spec| spec.is_object()) else {
        return;
    };
    or_set(spec, "replicas", 1);
    or_set(spec, "revisionHistoryLimit", 10);
    or_set(spec, "progressDeadlineSeconds", 600);
    let strategy = meta::child(spec, "strategy");
    strategy.entry("type").or_insert_with(|| "RollingUpdate".into());
    if strategy.get("type").and_then(Value::as_str) == Some("RollingUpdate") {
        let rolling = strategy.entry("rollingUpdate").or_insert_with(|| json!({}));
        or_set(rolling, "maxUnavailable", "25%");
        or_set(rolling, "maxSurge", "25%");
    }
    if let Some(spec) = spec.pointer_mut("/template/spec") {
        fill_in_pod_spec(spec);
    }
}

pub(super) fn fill_in_service(object: &mut Value) {
    meta::child(object, "status")
        .entry("loadBalancer")
        .or_insert_with(|| json!({}));
    let Some(spec) = object.get_mut("spec").filter(|spec| spec.is_object()) else {
        return;
    };
    or_set(spec, "type", "ClusterIP");
    or_set(spec, "sessionAffinity", "None");
    if spec.get("type").and_then(Value::as_str) != Some("ExternalName") {
        or_set(spec, "internalTrafficPolicy", "Cluster");
    }
    for port in spec
        .get_mut("ports")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        or_set(port, "protocol", "TCP");
        if let Some(number) = port.get("port").cloned() {
            or_set(port, "targetPort", number);
        }
    }
}

/// A service that wants an address inside of the cluster gets one, out of 10.96.0.0/16.
pub(super) fn prepare_service(cluster: &mut Cluster, object: &mut Value) {
    let Some(spec) = object.get_mut("spec").filter(|spec| spec.is_object()) else {
        return;
    };
    if spec.get("type").and_then(Value::as_str) == Some("ExternalName") {
        return;
    }
    if spec
        .get("clusterIP")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .is_empty()
    {
        let services = cluster.store.objects(&("".into(), "services".into()));
        let taken: BTreeSet<&str> = services
            .values()
            .filter_map(|service| service.pointer("/spec/clusterIP")?.as_str())
            .collect();
        // With every address taken the last draw is handed out twice; 65,000 services are more than anyone runs here.
        let mut address = String::new();
        for _ in 0..64 {
            let number = cluster.rng.u16(1..u16::MAX);
            address = format!("10.96.{}.{}", number >> 8, number & 0xff);
            if !taken.contains(address.as_str()) {
                break;
            }
        }
        meta::child(object, "spec").insert("clusterIP".into(), address.into());
    }
    let Some(spec) = object.get_mut("spec") else { return };
    let address = spec.get("clusterIP").cloned().unwrap_or_default();
    or_set(spec, "clusterIPs", json!([address]));
    or_set(spec, "ipFamilies", json!(["IPv4"]));
    or_set(spec, "ipFamilyPolicy", "SingleStack");
}

/// An update that leaves the addresses out keeps them.
pub(super) fn keep_addresses(old: &Value, object: &mut Value) {
    if !object.get("spec").is_some_and(Value::is_object) {
        return;
    }
    let spec = meta::child(object, "spec");
    for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        if let Some(value) = old.get("spec").and_then(|spec| spec.get(field)) {
            spec.entry(field).or_insert_with(|| value.clone());
        }
    }
}

fn validate_pod_spec(spec: Option<&Value>, path: &str, errors: &mut Vec<FieldError>) {
    let containers = spec.and_then(|spec| spec.get("containers")).and_then(Value::as_array);
    let Some(containers) = containers.filter(|containers| !containers.is_empty()) else {
        errors.push(FieldError::required(format!("{path}.containers"), ""));
        return;
    };
    let mut names = BTreeSet::new();
    for (i, container) in containers.iter().enumerate() {
        let path = format!("{path}.containers[{i}]");
        let text = |field: &str| container.get(field).and_then(Value::as_str).unwrap_or_default();
        let name = text("name");
        if name.is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        } else if let Err(why) = meta::NameRule::Label.check(name) {
            errors.push(FieldError::invalid(format!("{path}.name"), &name.into(), why));
        } else if !names.insert(name) {
            errors.push(FieldError::duplicate(format!("{path}.name"), &name.into()));
        }
        if text("image").is_empty() {
            errors.push(FieldError::required(format!("{path}.image"), ""));
        }
    }
}

pub(super) fn validate_pod(object: &Value, errors: &mut Vec<FieldError>) {
    validate_pod_spec(object.get("spec"), "spec", errors);
}

pub(super) fn validate_deployment(object: &Value, errors: &mut Vec<FieldError>) {
    let empty = json!({});
    let spec = object.get("spec").unwrap_or(&empty);
    if let Some(replicas) = spec
        .get("replicas")
        .and_then(Value::as_i64)
        .filter(|replicas| *replicas < 0)
    {
        let detail = "must be greater than or equal to 0";
        errors.push(FieldError::invalid("spec.replicas", &replicas.into(), detail));
    }
    let labels = spec
        .pointer("/template/metadata/labels")
        .cloned()
        .unwrap_or_else(|| json!({}));
    match spec.get("selector") {
        None => errors.push(FieldError::required("spec.selector", "")),
        Some(selector) => {
            let pairs = selector.get("matchLabels").and_then(Value::as_object);
            let expressions = selector.get("matchExpressions").and_then(Value::as_array);
            if pairs.is_none_or(|pairs| pairs.is_empty()) && expressions.is_none_or(Vec::is_empty) {
                let detail = "empty selector is invalid for deployment";
                errors.push(FieldError::invalid("spec.selector", &json!({}), detail));
            }
            // Expressions are not evaluated here: only what `matchLabels` says must hold.
            if pairs
                .into_iter()
                .flatten()
                .any(|(key, value)| labels.get(key) != Some(value))
            {
                errors.push(FieldError::invalid(
                    "spec.template.metadata.labels",
                    &labels,
                    "`selector` does not match template `labels`",
                ));
            }
        }
    }
    validate_pod_spec(spec.pointer("/template/spec"), "spec.template.spec", errors);
}

pub(super) fn validate_deployment_update(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    super::immutable("spec.selector", old, new, errors);
}

pub(super) fn validate_service(object: &Value, errors: &mut Vec<FieldError>) {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let type_ = text("/spec/type");
    if !matches!(type_, "ClusterIP" | "ExternalName" | "LoadBalancer" | "NodePort") {
        let supported = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
        errors.push(FieldError::not_supported("spec.type", &type_.into(), &supported));
    }
    if type_ == "ExternalName" {
        if text("/spec/externalName").is_empty() {
            errors.push(FieldError::required("spec.externalName", ""));
        }
        return;
    }
    let ports = object
        .pointer("/spec/ports")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    if ports.is_empty() && text("/spec/clusterIP") != "None" {
        errors.push(FieldError::required("spec.ports", ""));
    }
    let mut names = BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        let path = format!("spec.ports[{i}]");
        let number = port.get("port").and_then(Value::as_i64).unwrap_or_default();
        if !(1..=65535).contains(&number) {
            let detail = "must be between 1 and 65535, inclusive";
            errors.push(FieldError::invalid(format!("{path}.port"), &number.into(), detail));
        }
        let name = port.get("name").and_then(Value::as_str).unwrap_or_default();
        if name.is_empty() && ports.len() > 1 {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        } else if !name.is_empty() && !names.insert(name) {
            errors.push(FieldError::duplicate(format!("{path}.name"), &name.into()));
        }
    }
}
