//! A cluster with a clock, and short ways to ask it.
#![allow(dead_code, unreachable_pub, reason = "each test file uses some of it")]

use std::time::Duration;

use http::Method;
use pilothouse_localcluster::{Body, Cluster, ClusterConfig, Polled, Request, Response, User, WatchId};
use serde_json::{Value, json};

/// When tests begin: 2026-11-22T01:38:37Z.
pub const START: Duration = Duration::from_secs(1_795_311_517);

pub const MERGE: &str = "application/merge-patch+json";
pub const JSON_PATCH: &str = "application/json-patch+json";

pub const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
pub const WIDGETS: &str = "/apis/ex.io/v1/namespaces/default/widgets";
pub const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// An answer: code, body as JSON (null where it is none), the whole response.
pub struct Answer {
    pub code: u16,
    pub body: Value,
    pub response: Response,
}

impl Answer {
    /// The names of a list's items.
    pub fn names(&self) -> Vec<String> {
        let items = self.body["items"].as_array().cloned().unwrap_or_default();
        items
            .iter()
            .map(|item| item["metadata"]["name"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    pub fn header(&self, name: &str) -> Vec<&str> {
        self.response
            .headers
            .iter()
            .filter(|(have, _)| have == name)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The reason and field of each cause.
    pub fn causes(&self) -> Vec<(String, String)> {
        causes(&self.body)
    }

    #[track_caller]
    pub fn ok(self) -> Value {
        assert!(self.code < 300, "{}", self.body);
        self.body
    }

    #[track_caller]
    pub fn fails(&self, code: u16, reason: &str) -> &Self {
        assert_eq!(
            (self.code, self.body["reason"].as_str().unwrap_or_default()),
            (code, reason),
            "{}",
            self.body
        );
        self
    }
}

pub fn causes(status: &Value) -> Vec<(String, String)> {
    let causes = status["details"]["causes"].as_array().cloned().unwrap_or_default();
    let text = |cause: &Value, field: &str| cause[field].as_str().unwrap_or_default().to_owned();
    causes
        .iter()
        .map(|cause| (text(cause, "reason"), text(cause, "field")))
        .collect()
}

#[derive(Clone)]
pub struct Server {
    pub cluster: Cluster,
    pub now: Duration,
}

impl Server {
    pub fn new() -> Server {
        Server {
            cluster: Cluster::new(42),
            now: START,
        }
    }

    pub fn with(config: ClusterConfig) -> Server {
        Server {
            cluster: Cluster::with_config(42, config),
            now: START,
        }
    }

    pub fn send(&mut self, request: Request) -> Answer {
        let response = self.cluster.handle(self.now, &User::default(), request);
        let body = serde_json::from_slice(response.whole()).unwrap_or_default();
        Answer {
            code: response.status,
            body,
            response,
        }
    }

    pub fn get(&mut self, target: &str) -> Answer {
        self.send(Request::new(Method::GET, target))
    }

    pub fn post(&mut self, target: &str, body: Value) -> Answer {
        self.send(Request::with_body(
            Method::POST,
            target,
            "application/json",
            body.to_string(),
        ))
    }

    pub fn put(&mut self, target: &str, body: Value) -> Answer {
        self.send(Request::with_body(
            Method::PUT,
            target,
            "application/json",
            body.to_string(),
        ))
    }

    pub fn patch(&mut self, target: &str, media: &str, body: Value) -> Answer {
        self.send(Request::with_body(Method::PATCH, target, media, body.to_string()))
    }

    pub fn merge(&mut self, target: &str, body: Value) -> Answer {
        self.patch(target, MERGE, body)
    }

    pub fn delete(&mut self, target: &str) -> Answer {
        self.send(Request::new(Method::DELETE, target))
    }

    pub fn delete_with(&mut self, target: &str, options: Value) -> Answer {
        self.send(Request::with_body(
            Method::DELETE,
            target,
            "application/json",
            options.to_string(),
        ))
    }

    /// Lets a second pass, and everything happen that was due by then.
    pub fn settle(&mut self) {
        self.now += Duration::from_secs(1);
        self.cluster.advance(self.now);
        // What collection started may have more to collect.
        for _ in 0..20 {
            self.now += Duration::from_millis(50);
            self.cluster.advance(self.now);
        }
    }

    pub fn config_map(&mut self, name: &str, data: Value) -> Value {
        self.post(CONFIG_MAPS, config_map(name, data)).ok()
    }

    #[track_caller]
    pub fn watch(&mut self, target: &str) -> WatchId {
        let answer = self.get(target);
        match answer.response.body {
            Body::Watch(id) => id,
            Body::Whole(_) => panic!("no watch but {} {}", answer.code, answer.body),
        }
    }

    /// All that a watch has to say now.
    pub fn events(&mut self, id: WatchId) -> Vec<Value> {
        let mut events = Vec::new();
        loop {
            match self.cluster.poll(self.now, id) {
                Polled::Lines(lines) if lines.is_empty() => return events,
                Polled::Ended => return events,
                Polled::Lines(lines) => {
                    for line in lines {
                        assert!(line.starts_with(b"{\"type\":\"") && line.ends_with(b"}\n"));
                        events.push(serde_json::from_slice(&line).unwrap());
                    }
                }
            }
        }
    }

    /// The same as `TYPE name version`, or `TYPE version` for bookmarks.
    pub fn told(&mut self, id: WatchId) -> Vec<String> {
        self.events(id)
            .iter()
            .map(|event| {
                let meta = &event["object"]["metadata"];
                let kind = event["type"].as_str().unwrap();
                match meta["name"].as_str() {
                    Some(name) => format!("{kind} {name}"),
                    None => kind.to_owned(),
                }
            })
            .collect()
    }

    pub fn is_over(&mut self, id: WatchId) -> bool {
        self.cluster.poll(self.now, id) == Polled::Ended
    }
}

pub fn config_map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

/// The definition that the recorded answers are about.
pub fn widgets() -> Value {
    serde_json::from_str(
        r##"{
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.ex.io"},
        "spec": {
            "group": "ex.io", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "subresources": {
                    "status": {},
                    "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}
                },
                "additionalPrinterColumns": [
                    {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}
                ],
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "required": ["size"], "properties": {
                        "size": {"type": "integer", "minimum": 1, "maximum": 10},
                        "color": {"type": "string", "enum": ["red", "green", "blue"], "default": "red"},
                        "replicas": {"type": "integer", "default": 1},
                        "ports": {
                            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                            "items": {"type": "object", "required": ["name"], "properties": {
                                "name": {"type": "string"}, "port": {"type": "integer"},
                                "proto": {"type": "string", "default": "TCP"}
                            }}
                        },
                        "tags": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
                        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}
                    }},
                    "status": {"type": "object", "properties": {
                        "ready": {"type": "boolean"}, "replicas": {"type": "integer"}
                    }}
                }}}
            }]
        }
    }"##,
    )
    .unwrap()
}

pub fn widget(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "ex.io/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}
