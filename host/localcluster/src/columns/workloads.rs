//! The columns of Deployments and Pods.
//!
//! A pod's status is told from its phase and its containers; init containers and scheduling gates are not looked at.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Column, column, first_text, integer, join, len, name, or_none, text, wide};

pub(super) fn deployments(age: Column) -> Vec<Column> {
    vec![
        name(),
        column("Ready", |o, _| {
            // Servers default the number of replicas to 1.
            let wanted = o.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
            format!("{}/{wanted}", integer(o, "/status/readyReplicas")).into()
        }),
        column("Up-to-date", |o, _| integer(o, "/status/updatedReplicas").into()),
        column("Available", |o, _| integer(o, "/status/availableReplicas").into()),
        age,
        wide("Containers", |o, _| {
            join(o, CONTAINERS, |c| Some(text(c, "/name").to_owned())).into()
        }),
        wide("Images", |o, _| {
            join(o, CONTAINERS, |c| Some(text(c, "/image").to_owned())).into()
        }),
        wide("Selector", |o, _| selector(o.pointer("/spec/selector")).into()),
    ]
}

const CONTAINERS: &str = "/spec/template/spec/containers";

/// A LabelSelector as kubectl writes one: requirements by key, `a=b,c in (d,e),!f`.
fn selector(selector: Option<&Value>) -> String {
    let Some(selector) = selector else { return String::new() };
    let mut requirements: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (key, value) in selector
        .get("matchLabels")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        requirements
            .entry(key)
            .or_default()
            .push(format!("{key}={}", value.as_str().unwrap_or_default()));
    }
    for expression in selector
        .get("matchExpressions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let key = text(expression, "/key");
        let mut values: Vec<&str> = expression
            .get("values")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        values.sort_unstable();
        let values = values.join(",");
        requirements
            .entry(key)
            .or_default()
            .push(match text(expression, "/operator") {
                "In" => format!("{key} in ({values})"),
                "NotIn" => format!("{key} notin ({values})"),
                "DoesNotExist" => format!("!{key}"),
                _ => key.to_owned(),
            });
    }
    requirements.into_values().flatten().collect::<Vec<_>>().join(",")
}

pub(super) fn pods(age: Column) -> Vec<Column> {
    vec![
        name(),
        column("Ready", |o, _| {
            let ready = statuses(o)
                .filter(|s| s.get("ready") == Some(&Value::Bool(true)) && running(s))
                .count();
            format!("{ready}/{}", len(o, "/spec/containers")).into()
        }),
        column("Status", |o, _| pod_status(o).into()),
        Column {
            type_: "integer".into(),
            ..column("Restarts", |o, _| {
                statuses(o)
                    .map(|s| integer(s, "/restartCount"))
                    .fold(0, i64::saturating_add)
                    .to_string()
                    .into()
            })
        },
        age,
        wide("IP", |o, _| {
            or_none(first_text(o, &["/status/podIPs/0/ip", "/status/podIP"])).into()
        }),
        wide("Node", |o, _| or_none(text(o, "/spec/nodeName")).into()),
        wide("Nominated Node", |o, _| {
            or_none(text(o, "/status/nominatedNodeName")).into()
        }),
        wide("Readiness Gates", |o, _| {
            let gates = o
                .pointer("/spec/readinessGates")
                .and_then(Value::as_array)
                .map_or(&[][..], Vec::as_slice);
            if gates.is_empty() {
                return "<none>".into();
            }
            let met = gates
                .iter()
                .filter(|gate| condition(o, text(gate, "/conditionType")))
                .count();
            format!("{met}/{}", gates.len()).into()
        }),
    ]
}

fn pod_status(pod: &Value) -> String {
    let phase = text(pod, "/status/phase");
    let reason = text(pod, "/status/reason");
    if pod.pointer("/metadata/deletionTimestamp").is_some() {
        match (reason, phase) {
            ("NodeLost", _) => return "Unknown".to_owned(),
            (_, "Succeeded" | "Failed") => {}
            _ => return "Terminating".to_owned(),
        }
    }
    let told = statuses(pod).find_map(|status| {
        let terminated = status.pointer("/state/terminated");
        let told = first_text(status, &["/state/waiting/reason", "/state/terminated/reason"]);
        match (told, terminated) {
            ("", None) => None,
            ("", Some(end)) if integer(end, "/signal") != 0 => Some(format!("Signal:{}", integer(end, "/signal"))),
            ("", Some(end)) => Some(format!("ExitCode:{}", integer(end, "/exitCode"))),
            (told, _) => Some(told.to_owned()),
        }
    });
    match told.as_deref() {
        Some("Completed") if statuses(pod).any(running) => {
            if condition(pod, "Ready") { "Running" } else { "NotReady" }.to_owned()
        }
        Some(told) => told.to_owned(),
        None => first_text(pod, &["/status/reason", "/status/phase"]).to_owned(),
    }
}

fn statuses(pod: &Value) -> impl Iterator<Item = &Value> {
    pod.pointer("/status/containerStatuses")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn running(status: &Value) -> bool {
    status.pointer("/state/running").is_some()
}

fn condition(object: &Value, type_: &str) -> bool {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    conditions
        .into_iter()
        .flatten()
        .any(|c| text(c, "/type") == type_ && text(c, "/status") == "True")
}
