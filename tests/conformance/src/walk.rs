//! The random walk: from a seed, requests to a few objects of a few kinds, on both servers.
//!
//! A walk is a script like any other, so what it finds can be kept as one. Its requests know nothing of the state they
//! meet: creating what is there, or changing what is not, is a request as good as others. Deletion that waits for
//! dependents is left out, since when it ends is a matter of time, and times are not compared. So is scaling: to scale
//! to what is there already makes a new version on a real server, as the list says.
//!
//! Meanwhile somebody else writes to the real server, whose versions are counted for all objects together. So a version
//! that lies further on than its object's last change is met in every walk, and not only where other tests run beside
//! it.

use std::sync::LazyLock;

use http::{Method, header};
use regex::Regex;
use serde_json::{Value, json};

use crate::compare::Found;
use crate::differences::{Difference, Differences};
use crate::script::{Script, Step};
use crate::server::{Sent, Server};
use crate::session::Session;
use crate::shrink::shrink;

/// The topic under which a walk's differences are listed.
pub const TOPIC: &str = "walk";
/// What a name stands for that no step saved.
const UNSAVED: &str = "1";
/// The names of a walk's objects.
const NAMES: [&str; 2] = ["a", "b"];

/// Where a walk goes.
pub struct Ground<'a> {
    servers: [&'a Server; 2],
    prefix: String,
    group: String,
    namespaces: std::cell::Cell<u32>,
    /// What somebody else wrote.
    others: std::cell::Cell<u32>,
}

/// What a walk found.
#[derive(Debug, Default)]
pub struct Walked {
    /// Differences that are listed.
    pub listed: Vec<Difference>,
    /// The first that is not, with the shortest script that shows it.
    pub found: Option<(Difference, Script)>,
}

impl<'a> Ground<'a> {
    /// Prepares both servers: widgets in a group of this name. Walks take namespaces of this name and a number.
    ///
    /// # Panics
    /// If a server refuses that.
    pub async fn prepare(servers: [&'a Server; 2], prefix: &str) -> Self {
        let group = format!("{prefix}.example.com");
        let mut session = Session::start(servers, prefix, &group).await;
        session.define_widgets().await;
        Self {
            servers,
            prefix: prefix.to_owned(),
            group,
            namespaces: std::cell::Cell::new(0),
            others: std::cell::Cell::new(0),
        }
    }

    /// Walks from a seed. The first difference that is not listed ends the walk, and is shrunk.
    ///
    /// # Panics
    /// If a server gives no answer.
    pub async fn walk(&self, seed: u64, length: usize, known: &Differences) -> Walked {
        let steps = steps(seed, length);
        let (listed, found) = self.run(&steps, known).await;
        let Some((number, difference)) = found else {
            return Walked { listed, found: None };
        };
        let steps = steps[..=number].to_vec();
        // Whoever looks at the output sees it before the long search.
        eprintln!("seed {seed}: looking for the shortest way to\n{difference}");
        let shows = async |steps: &[Step]| {
            let found = self.run(steps, known).await.1;
            found.is_some_and(|(number, _)| number == steps.len() - 1)
        };
        let again = self.run(&steps, known).await.1.filter(|(again, _)| *again == number);
        let (difference, steps, about) = match again {
            Some(_) => {
                let shortest = shrink(steps, shows).await;
                let last = self.run(&shortest, known).await.1;
                let about = format!("The shortest that a walk from the seed {seed} found.");
                (last.map_or(difference, |(_, difference)| difference), shortest, about)
            }
            // Still a difference, and to be looked at.
            None => (
                difference,
                steps,
                format!("A walk from the seed {seed} differed here once, but not again."),
            ),
        };
        let script = Script {
            about,
            widgets: true,
            steps,
        };
        Walked {
            listed,
            found: Some((difference, script)),
        }
    }

    async fn session(&self) -> Session<'a> {
        let number = self.namespaces.get() + 1;
        self.namespaces.set(number);
        let namespace = format!("{}-{number}", self.prefix);
        Session::start(self.servers, &namespace, &self.group)
            .await
            .with_unsaved(UNSAVED)
    }

    async fn somebody_else_writes(&self) {
        let number = self.others.get() + 1;
        self.others.set(number);
        let path = format!("/api/v1/namespaces/{}/configmaps", self.prefix);
        let (method, path, media) = match number {
            1 => (Method::POST, path, "application/json"),
            _ => (Method::PATCH, format!("{path}/others"), "application/merge-patch+json"),
        };
        let body = json!({"metadata": {"name": "others"}, "data": {"number": number.to_string()}});
        let answer = self.servers[0]
            .ask(&Sent {
                method,
                path,
                headers: vec![(header::CONTENT_TYPE, media.to_owned())],
                body: body.to_string().into_bytes(),
            })
            .await;
        assert!(
            matches!(answer.code, 200 | 201),
            "somebody else can't write: {answer:?}"
        );
    }

    /// The listed differences, and the first other one with the number of its step.
    async fn run(&self, steps: &[Step], known: &Differences) -> (Vec<Difference>, Option<(usize, Difference)>) {
        let mut session = self.session().await;
        let mut listed = Vec::new();
        let mut found = None;
        for (number, step) in steps.iter().enumerate() {
            self.somebody_else_writes().await;
            if let Some(difference) = session.step(step).await.map(|found| difference(step, found)) {
                if !known.has(&difference) {
                    found = Some((number, difference));
                    break;
                }
                if !listed.contains(&difference) {
                    listed.push(difference);
                }
            }
        }
        session.end().await;
        (listed, found)
    }
}

fn difference(step: &Step, found: Found) -> Difference {
    Difference {
        topic: TOPIC.to_owned(),
        request: what(step).to_owned(),
        real: unnumbered(&found.real),
        ours: unnumbered(&found.ours),
    }
}

/// Without the numbers of the steps that are named: another walk numbers them otherwise.
fn unnumbered(text: &str) -> String {
    static NUMBER: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#"as at "\d+\. "#).expect("a pattern"));
    NUMBER.replace_all(text, "as at \"").into_owned()
}

/// What a step does, without its number.
fn what(step: &Step) -> &str {
    step.name.split_once(". ").map_or(step.name.as_str(), |(_, what)| what)
}

/// A kind that walks go over.
struct Kind {
    api_version: &'static str,
    kind: &'static str,
    path: &'static str,
    /// The field that holds what is changed.
    field: &'static str,
}

const KINDS: [Kind; 4] = [
    Kind {
        api_version: "v1",
        kind: "ConfigMap",
        path: "<configmaps>",
        field: "data",
    },
    Kind {
        api_version: "v1",
        kind: "Secret",
        path: "<secrets>",
        field: "data",
    },
    Kind {
        api_version: "coordination.k8s.io/v1",
        kind: "Lease",
        path: "<leases>",
        field: "spec",
    },
    Kind {
        api_version: "<group>/v1",
        kind: "Widget",
        path: "<widgets>",
        field: "spec",
    },
];

/// The steps of the walk from a seed: watches, requests, and what the watches saw.
#[must_use]
pub fn steps(seed: u64, length: usize) -> Vec<Step> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut steps = Vec::new();
    for kind in &KINDS {
        steps.push(json!({
            "name": format!("watch {}s", kind.kind), "watch": kind.kind,
            "request": format!("GET {}?watch=true&fieldSelector=metadata.name!=kube-root-ca.crt", kind.path),
        }));
    }
    for _ in 0..length {
        let kind = &KINDS[rng.usize(..KINDS.len())];
        let name = NAMES[rng.usize(..NAMES.len())];
        let mut step = request(&mut rng, kind, name);
        // One of two slots: what is used later may be stale.
        let slot = slot(&mut rng, kind, name);
        // A list's version is the whole server's: whether an object has the same is a matter of what others write.
        let is_list = step["name"].as_str().is_some_and(|name| name.starts_with("list "));
        if !is_list {
            step["save"] = json!({
                (format!("{slot}-version")): "/metadata/resourceVersion",
                (format!("{slot}-uid")): "/metadata/uid",
            });
        }
        steps.push(step);
    }
    for kind in &KINDS {
        let mut last = object(&mut rng, kind, "last");
        last["metadata"] = json!({"name": "last"});
        steps.push(json!({
            "name": format!("the last {}", kind.kind), "request": format!("POST {}", kind.path), "body": last,
        }));
        steps.push(json!({
            "name": format!("what the watch of {}s saw", kind.kind), "drain": kind.kind, "last": "last",
        }));
    }
    let steps = steps.into_iter().enumerate().map(|(number, mut step)| {
        step["name"] = json!(format!("{number}. {}", step["name"].as_str().unwrap_or_default()));
        serde_json::from_value(step).expect("a step")
    });
    steps.collect()
}

fn slot(rng: &mut fastrand::Rng, kind: &Kind, name: &str) -> String {
    format!("{}-{name}-{}", kind.kind.to_lowercase(), rng.u8(..2))
}

/// One request.
fn request(rng: &mut fastrand::Rng, kind: &Kind, name: &str) -> Value {
    let is_widget = kind.kind == "Widget";
    let path = format!("{}/{name}", kind.path);
    let dry = if rng.u8(..12) == 0 { "?dryRun=All" } else { "" };
    let step = |what: &str, request: String, content_type: &str, body: Value| {
        json!({
            "name": format!("{what} a {}{}", kind.kind, if request.contains("dryRun") { " for rehearsal" } else { "" }),
            "request": request, "content-type": content_type, "body": body,
        })
    };
    match rng.u8(..20) {
        0..=3 => step(
            "create",
            format!("POST {}{dry}", kind.path),
            "application/json",
            object(rng, kind, name),
        ),
        4..=6 => {
            let body = object(rng, kind, name);
            step(
                "replace",
                format!("PUT {path}{dry}"),
                "application/json",
                versioned(rng, kind, name, body),
            )
        }
        7..=10 => {
            let body = merge(rng, kind);
            step(
                "merge into",
                format!("PATCH {path}{dry}"),
                "merge",
                versioned(rng, kind, name, body),
            )
        }
        11..=12 => step(
            "operate on",
            format!("PATCH {path}{dry}"),
            "json",
            operations(rng, kind),
        ),
        13..=15 => {
            let body = deletion(rng, kind, name);
            step("delete", format!("DELETE {path}{dry}"), "application/json", body)
        }
        16 if is_widget => {
            let body =
                json!({"status": {"size": rng.u8(..3)}, "spec": {"size": 99}, "metadata": {"labels": {"s": "s"}}});
            step(
                "merge into the status of",
                format!("PATCH {path}/status{dry}"),
                "merge",
                body,
            )
        }
        17 if is_widget => {
            let mut body = object(rng, kind, name);
            body["status"] = json!({"size": rng.u8(..3)});
            let body = versioned(rng, kind, name, body);
            step(
                "replace the status of",
                format!("PUT {path}/status{dry}"),
                "application/json",
                body,
            )
        }
        16 | 17 => {
            let mut list = json!({"name": format!("list {}s", kind.kind), "request": format!("GET {}", kind.path)});
            list["only"] = json!({"/items": {"/metadata/name": NAMES}});
            list
        }
        18 => json!({
            "name": format!("list some {}s", kind.kind),
            "request": format!("GET {}?labelSelector=l%3D{}", kind.path, rng.u8(..2)),
        }),
        _ => json!({"name": format!("get a {}", kind.kind), "request": format!("GET {path}")}),
    }
}

/// With the version or the uid that some earlier answer had, or without.
fn versioned(rng: &mut fastrand::Rng, kind: &Kind, name: &str, mut body: Value) -> Value {
    let slot = slot(rng, kind, name);
    match rng.u8(..6) {
        0..=2 => body["metadata"]["resourceVersion"] = json!(format!("<{slot}-version>")),
        3 => body["metadata"]["uid"] = json!(format!("<{slot}-uid>")),
        _ => {}
    }
    body
}

fn labels(rng: &mut fastrand::Rng) -> Value {
    match rng.u8(..5) {
        0 => Value::Null,
        1 => json!({"l": null}),
        2 => json!({"l": "0", "m": ""}),
        _ => json!({"l": rng.u8(..2).to_string()}),
    }
}

fn finalizers(rng: &mut fastrand::Rng) -> Value {
    match rng.u8(..5) {
        0 => Value::Null,
        1 => json!([]),
        2 => json!(["example.com/x", "example.com/y"]),
        3 => json!(["example.com/y"]),
        _ => json!(["example.com/x"]),
    }
}

/// A value for the field that holds what is changed.
fn content(rng: &mut fastrand::Rng, kind: &Kind) -> Value {
    let number = rng.u8(..3);
    match kind.kind {
        "ConfigMap" => json!({"k": number.to_string()}),
        "Secret" => {
            let value = ["MQ==", "Mg==", ""][usize::from(number)];
            json!({"k": value})
        }
        "Lease" => json!({"holderIdentity": number.to_string(), "leaseTransitions": number}),
        _ => match rng.u8(..6) {
            0 => json!({"size": number, "color": "blue"}),
            1 => json!({"size": number, "color": null, "maybe": null}),
            2 => json!({"size": number, "bogus": 1}),
            3 => json!({"size": 1000}),
            4 => json!({"size": number, "parts": [{"name": "p"}]}),
            _ => json!({"size": number}),
        },
    }
}

fn object(rng: &mut fastrand::Rng, kind: &Kind, name: &str) -> Value {
    let mut object = json!({
        "apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name}, (kind.field): content(rng, kind),
    });
    if rng.bool() {
        object["metadata"]["labels"] = json!({"l": rng.u8(..2).to_string()});
    }
    if rng.u8(..3) == 0 {
        object["metadata"]["finalizers"] = finalizers(rng);
    }
    if rng.u8(..6) == 0 {
        object["metadata"]["annotations"] = json!({"n": ""});
    }
    object
}

fn merge(rng: &mut fastrand::Rng, kind: &Kind) -> Value {
    match rng.u8(..8) {
        0 | 1 => json!({"metadata": {"labels": labels(rng)}}),
        2..=4 => json!({"metadata": {"finalizers": finalizers(rng)}}),
        5 => json!({}),
        6 => json!({"metadata": {"deletionTimestamp": null, "generation": 7, "creationTimestamp": null}}),
        _ => json!({(kind.field): content(rng, kind)}),
    }
}

fn operations(rng: &mut fastrand::Rng, kind: &Kind) -> Value {
    match rng.u8(..7) {
        0 => json!([{"op": "test", "path": "/metadata/finalizers", "value": null},
                    {"op": "add", "path": "/metadata/finalizers", "value": ["example.com/x"]}]),
        1 => json!([{"op": "remove", "path": "/metadata/finalizers/0"}]),
        2 => json!([{"op": "add", "path": "/metadata/labels/l", "value": "1"}]),
        3 => json!([{"op": "replace", "path": "/metadata/labels", "value": {"l": "0"}}]),
        4 => json!([{"op": "remove", "path": "/metadata/labels"}]),
        5 => json!([{"op": "test", "path": "/metadata/labels/l", "value": "0"},
                    {"op": "remove", "path": "/metadata/labels/l"}]),
        _ => json!([{"op": "add", "path": format!("/{}", kind.field), "value": content(rng, kind)}]),
    }
}

fn deletion(rng: &mut fastrand::Rng, kind: &Kind, name: &str) -> Value {
    let slot = slot(rng, kind, name);
    match rng.u8(..6) {
        0 => json!({"preconditions": {"uid": format!("<{slot}-uid>")}}),
        1 => json!({"preconditions": {"resourceVersion": format!("<{slot}-version>")}}),
        2 => json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}),
        3 => json!({"gracePeriodSeconds": 0}),
        _ => json!({}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_walks_the_same_way() {
        assert_eq!(steps(1, 100), steps(1, 100));
        assert_ne!(steps(1, 100), steps(2, 100));
        assert_eq!(steps(1, 100).len(), 112);
    }

    #[test]
    fn a_walk_can_be_kept_as_a_script() {
        let script = Script {
            about: "A walk.".into(),
            widgets: true,
            steps: steps(3, 50),
        };
        assert_eq!(Script::parse(&script.text()).unwrap(), script);
    }
}
