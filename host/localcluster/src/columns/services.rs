//! The columns of Services.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Column, column, integer, join, name, or_none, text, wide};

pub(super) fn services(age: Column) -> Vec<Column> {
    vec![
        name(),
        column("Type", |o, _| text(o, "/spec/type").into()),
        column("Cluster-IP", |o, _| {
            // Only servers with an IP allocator fill in clusterIPs; what the author wrote is shown otherwise.
            [text(o, "/spec/clusterIPs/0"), text(o, "/spec/clusterIP"), "<none>"]
                .into_iter()
                .find(|t| !t.is_empty())
                .into()
        }),
        column("External-IP", |o, _| external_ip(o).into()),
        column("Port(s)", |o, _| or_none(&join(o, "/spec/ports", port)).into()),
        age,
        wide("Selector", |o, _| or_none(&pairs(o.pointer("/spec/selector"))).into()),
    ]
}

fn external_ip(service: &Value) -> String {
    let own = join(service, "/spec/externalIPs", |ip| ip.as_str().map(str::to_owned));
    match text(service, "/spec/type") {
        "ClusterIP" | "NodePort" => or_none(&own),
        "LoadBalancer" => {
            let ingress = service
                .pointer("/status/loadBalancer/ingress")
                .and_then(Value::as_array);
            let assigned: BTreeSet<&str> = ingress
                .into_iter()
                .flatten()
                .filter_map(|i| {
                    [text(i, "/ip"), text(i, "/hostname")]
                        .into_iter()
                        .find(|t| !t.is_empty())
                })
                .collect();
            let all: Vec<&str> = assigned
                .into_iter()
                .chain((!own.is_empty()).then_some(own.as_str()))
                .collect();
            if all.is_empty() {
                "<pending>".to_owned()
            } else {
                all.join(",")
            }
        }
        "ExternalName" => text(service, "/spec/externalName").to_owned(),
        _ => "<unknown>".to_owned(),
    }
}

fn port(port: &Value) -> Option<String> {
    let (number, node) = (integer(port, "/port"), integer(port, "/nodePort"));
    let protocol = Some(text(port, "/protocol")).filter(|p| !p.is_empty()).unwrap_or("TCP");
    Some(if node > 0 {
        format!("{number}:{node}/{protocol}")
    } else {
        format!("{number}/{protocol}")
    })
}

/// `a=b,c=d`, by key.
fn pairs(map: Option<&Value>) -> String {
    let pairs: BTreeMap<_, _> = map.and_then(Value::as_object).into_iter().flatten().collect();
    let pairs: Vec<String> = pairs
        .into_iter()
        .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()))
        .collect();
    pairs.join(",")
}
