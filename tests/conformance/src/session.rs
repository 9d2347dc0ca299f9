//! A script on two servers, step by step.
//!
//! Both get the same requests at the same time, each with the values that it answered itself before (uids, versions,
//! tokens). Namespaces and groups have the same names on both.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use http::{Method, header};
use http_body_util::BodyExt as _;
use jiff::{Timestamp, ToSpan as _};
use kube::client::Body;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use regex::{Captures, Regex};
use serde_json::{Value, json};

use crate::compare::{Comparer, Found, Rules};
use crate::differences::Difference;
use crate::script::{Script, Step, media_type, widgets};
use crate::server::{Answer, Sent, Server};

/// The bound of every wait: longer than anything takes on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long to wait for an event that one of the servers may not send at all.
const EVENTS: Duration = Duration::from_secs(20);
/// How often a step that waits asks again.
const AGAIN: Duration = Duration::from_millis(50);

/// What may stand in a path as it is.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// One script on both servers, the real one first.
pub struct Session<'a> {
    servers: [&'a Server; 2],
    values: [BTreeMap<String, String>; 2],
    watches: [BTreeMap<String, Events>; 2],
    comparer: Comparer,
    /// What a name stands for that no step saved; without it such a name is an error.
    unsaved: Option<&'static str>,
}

/// An open watch.
struct Events {
    body: std::pin::Pin<Box<Body>>,
    rest: Vec<u8>,
    ended: bool,
}

/// Everything that differs when both servers run a script in a namespace and a group of this name.
///
/// # Panics
/// If a server gives no answer, or the script is wrong in itself.
pub async fn differences(servers: [&Server; 2], topic: &str, space: &str, script: &Script) -> Vec<Difference> {
    let forget = |step: &Step| panic!("{}: these servers forget nothing", step.name);
    differences_forgetting(servers, topic, space, script, forget).await
}

/// The same, with a way to have both servers forget their history.
///
/// # Panics
/// As [`differences`].
pub async fn differences_forgetting(
    servers: [&Server; 2],
    topic: &str,
    space: &str,
    script: &Script,
    mut forget: impl FnMut(&Step),
) -> Vec<Difference> {
    let mut session = Session::start(servers, space, &format!("{space}.example.com")).await;
    if script.widgets {
        session.define_widgets().await;
    }
    let mut all = Vec::new();
    for step in &script.steps {
        if step.forget {
            forget(step);
            continue;
        }
        if let Some(Found { real, ours }) = session.step(step).await {
            all.push(Difference {
                topic: topic.to_owned(),
                request: step.name.clone(),
                real,
                ours,
            });
        }
    }
    session.end().await;
    all.sort_by(|a, b| a.request.cmp(&b.request));
    all
}

impl<'a> Session<'a> {
    /// Makes a namespace of this name on both servers. `group` is where widgets are, if there are any.
    ///
    /// # Panics
    /// If a server refuses that.
    pub async fn start(servers: [&'a Server; 2], namespace: &str, group: &str) -> Self {
        let within = format!("namespaces/{namespace}");
        let values = BTreeMap::from(
            [
                ("ns", namespace.to_owned()),
                ("group", group.to_owned()),
                ("configmaps", format!("/api/v1/{within}/configmaps")),
                ("secrets", format!("/api/v1/{within}/secrets")),
                ("leases", format!("/apis/coordination.k8s.io/v1/{within}/leases")),
                ("widgets", format!("/apis/{group}/v1/{within}/widgets")),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        let now = Timestamp::now();
        let today = [now - 24.hours(), now, now + 24.hours()].map(|day| day.strftime("%Y-%m-%d").to_string());
        let mut session = Self {
            servers,
            values: [values.clone(), values],
            watches: Default::default(),
            comparer: Comparer::new(BTreeSet::from(today)),
            unsaved: None,
        };
        let namespace = json!({
            "name": "the namespace", "setup": true, "request": "POST /api/v1/namespaces",
            "body": {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        });
        session.prepare(namespace).await;
        session
    }

    /// Defines widgets on both servers, and waits until they are served.
    ///
    /// # Panics
    /// If a server refuses that.
    pub async fn define_widgets(&mut self) {
        let group = self.values[0]["group"].clone();
        for step in [
            json!({
                "name": "the definition", "setup": true, "body": widgets(&group),
                "request": "POST /apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            }),
            json!({"name": "it is served", "setup": true, "until": {"code": 200}, "request": "GET <widgets>"}),
            // A definition's first object may have to wait.
            json!({
                "name": "the first", "setup": true, "until": {"code": 201}, "request": "POST <widgets>",
                "body": {"apiVersion": format!("{group}/v1"), "kind": "Widget",
                         "metadata": {"name": "first"}, "spec": {"size": 1}},
            }),
            json!({"name": "the first goes", "setup": true, "request": "DELETE <widgets>/first"}),
        ] {
            self.prepare(step).await;
        }
    }

    async fn prepare(&mut self, step: Value) {
        let step: Step = serde_json::from_value(step).expect("a step");
        self.step(&step).await;
    }

    /// Lets names stand for this value where no step saved one: for scripts of which steps are left out.
    #[must_use]
    pub fn with_unsaved(mut self, value: &'static str) -> Self {
        self.unsaved = Some(value);
        self
    }

    /// Removes the namespace and its definition of widgets, if there is one; the servers do the rest by themselves.
    ///
    /// # Panics
    /// If a server gives no answer.
    pub async fn end(mut self) {
        self.watches = Default::default();
        for path in [
            "/api/v1/namespaces/<ns>",
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.<ns>.example.com",
        ] {
            let step = Step {
                name: format!("{path} goes"),
                request: Some(format!("DELETE {path}")),
                ..Step::default()
            };
            // A script may have deleted it itself, or keep it: nothing to compare.
            let sent = [self.sent(&step, 0), self.sent(&step, 1)];
            tokio::join!(self.servers[0].ask(&sent[0]), self.servers[1].ask(&sent[1]));
        }
    }

    /// Runs a step on both servers and compares.
    ///
    /// # Panics
    /// If a server gives no answer, refuses what only prepares, or the step is wrong in itself.
    pub async fn step(&mut self, step: &Step) -> Option<Found> {
        let rules = Rules {
            mask: step.mask.iter().map(|mask| pattern(&step.name, mask)).collect(),
            saved: Default::default(),
            managed_fields: step.managed_fields,
        };
        if let Some(watch) = &step.drain {
            let [first, second] = &mut self.watches;
            let (real, ours) = tokio::join!(drain(first, watch, step), drain(second, watch, step));
            if let (Some(count), true) = (step.events, self.watches[0].contains_key(watch)) {
                // Else a step whose events come on neither side would compare nothing with nothing.
                assert!(
                    real.len() >= count,
                    "{}: the real server told of {} events within {EVENTS:?}, and the script waits for {count}: {real:#?}",
                    step.name,
                    real.len()
                );
            }
            let rules = self.with_saved(rules);
            return self.comparer.events(&step.name, &real, &ours, &rules);
        }
        let sent = [self.sent(step, 0), self.sent(step, 1)];
        let (real, ours) = tokio::join!(
            answered(self.servers[0], &sent[0], step),
            answered(self.servers[1], &sent[1], step),
        );
        let (mut answers, bodies) = ([real.0, ours.0], [real.1, ours.1]);
        for (side, body) in bodies.into_iter().enumerate() {
            if let (Some(name), Some(body)) = (&step.watch, body) {
                self.watches[side].insert(name.clone(), Events::of(body));
            }
        }
        for (side, answer) in answers.iter_mut().enumerate() {
            for (name, pointer) in &step.save {
                let value = match answer.body.pointer(pointer) {
                    Some(Value::String(text)) => text.clone(),
                    Some(other) => other.to_string(),
                    None if self.unsaved.is_some() => continue,
                    None => panic!("{}: nothing at {pointer} to save of {:?}", step.name, answer.body),
                };
                self.values[side].insert(name.clone(), value);
            }
            if step.setup {
                let good = answer.code < 300;
                assert!(good, "{}: {} {:?}", step.name, answer.code, answer.body);
            } else {
                let filled = |text: &str| {
                    let values = &self.values[side];
                    values.iter().fold(text.to_owned(), |text, (name, value)| {
                        text.replace(&format!("<{name}>"), value)
                    })
                };
                narrow(answer, step, filled);
            }
        }
        if step.setup {
            return None;
        }
        let rules = self.with_saved(rules);
        self.comparer.answers(&step.name, &answers[0], &answers[1], &rules)
    }

    fn with_saved(&self, mut rules: Rules) -> Rules {
        for (side, values) in self.values.iter().enumerate() {
            for (name, value) in values {
                let other = self.values[1 - side].get(name);
                // Versions are numbers, which may stand anywhere; uids are paired anyway.
                let speaks = value.len() >= 6 && !value.bytes().all(|byte| byte.is_ascii_digit());
                let own = matches!(name.as_str(), "ns" | "group") || other != Some(value);
                if speaks && own && value.len() != 36 {
                    rules.saved[side].insert(value.clone(), name.clone());
                }
            }
        }
        rules
    }

    /// A text with its names replaced.
    fn filled(&self, step: &Step, side: usize, text: &str, escape: bool) -> String {
        static NAME: std::sync::LazyLock<Regex> = std::sync::LazyLock::new(|| pattern("names", "<([a-z][a-z0-9-]*)>"));
        let filled = NAME.replace_all(text, |found: &Captures<'_>| {
            let value = self.values[side].get(&found[1]).map(String::as_str).or(self.unsaved);
            let value = value.unwrap_or_else(|| panic!("{}: nothing was saved as {}", step.name, &found[0]));
            if escape {
                utf8_percent_encode(value, KEPT).to_string()
            } else {
                value.to_owned()
            }
        });
        filled.into_owned()
    }

    fn sent(&self, step: &Step, side: usize) -> Sent {
        let request = step.request.as_deref().unwrap_or_default();
        let (method, path) = request
            .split_once(' ')
            .unwrap_or_else(|| panic!("{}: no method and path: {request:?}", step.name));
        let body = match (&step.body, &step.raw) {
            (Some(body), None) => Some(self.filled(step, side, &body.to_string(), false)),
            (None, Some(raw)) => Some(self.filled(step, side, raw, false)),
            (None, None) => None,
            (Some(_), Some(_)) => panic!("{}: two bodies", step.name),
        };
        let accept = step.accept.as_deref().unwrap_or("application/json");
        let default = if body.is_some() { "application/json" } else { "" };
        let content_type = media_type(step.content_type.as_deref().unwrap_or(default));
        let headers = [(header::ACCEPT, accept), (header::CONTENT_TYPE, content_type)];
        Sent {
            method: Method::try_from(method).unwrap_or_else(|error| panic!("{}: {method}: {error}", step.name)),
            path: self.filled(step, side, path, true),
            headers: headers
                .into_iter()
                .filter(|(_, value)| !value.is_empty())
                .map(|(name, value)| (name, value.to_owned()))
                .collect(),
            body: body.unwrap_or_default().into_bytes(),
        }
    }
}

fn pattern(what: &str, pattern: &str) -> Regex {
    Regex::new(pattern).unwrap_or_else(|error| panic!("{what}: {pattern}: {error}"))
}

/// The answer to a step; the one that is waited for, where one is.
async fn answered(server: &Server, sent: &Sent, step: &Step) -> (Answer, Option<Body>) {
    if step.watch.is_some() {
        return server.watch(sent).await;
    }
    let mut answer = server.ask(sent).await;
    for _ in 1..step.repeat.unwrap_or(1) {
        answer = server.ask(sent).await;
    }
    let waiting = async {
        while !is_awaited(&answer, step) {
            #[expect(clippy::disallowed_methods, reason = "a test of real servers waits for them")]
            tokio::time::sleep(AGAIN).await;
            answer = server.ask(sent).await;
        }
    };
    #[expect(clippy::disallowed_methods, reason = "a test of real servers bounds its waits")]
    let in_time = tokio::time::timeout(PATIENCE, waiting).await.is_ok();
    assert!(
        in_time,
        "{}: not within {PATIENCE:?}: {:?}; at last {} {:?}",
        step.name, step.until, answer.code, answer.body
    );
    (answer, None)
}

fn is_awaited(answer: &Answer, step: &Step) -> bool {
    step.until.iter().all(|(at, wanted)| {
        if at == "code" {
            return *wanted == answer.code;
        }
        answer.body.pointer(at).unwrap_or(&Value::Null) == wanted
    })
}

/// Leaves of an answer what the step compares.
fn narrow(answer: &mut Answer, step: &Step, filled: impl Fn(&str) -> String) {
    for (at, conditions) in &step.only {
        let Some(Value::Array(list)) = answer.body.pointer_mut(at) else {
            continue;
        };
        list.retain(|element| {
            conditions.iter().all(|(at, wanted)| {
                let text = element.pointer(at).and_then(Value::as_str);
                text.is_some_and(|text| wanted.iter().any(|wanted| filled(wanted) == text))
            })
        });
    }
    // A refusal is compared whole.
    if !step.pick.is_empty() && answer.code < 300 {
        let picked = step.pick.iter().filter_map(|at| {
            let value = answer.body.pointer(&filled(at))?.clone();
            Some((at.trim_start_matches('/').replace('/', "."), value))
        });
        answer.body = Value::Object(picked.collect());
    }
}

impl Events {
    fn of(body: Body) -> Self {
        Self {
            body: Box::pin(body),
            rest: Vec::new(),
            ended: false,
        }
    }

    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap_or_else(|error| json!(error.to_string())));
            }
            if self.ended && self.rest.is_empty() {
                return None;
            }
            if self.ended {
                self.rest.push(b'\n');
                continue;
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self.rest.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
                // A watch that is cut ends like any other.
                Some(Err(_)) | None => self.ended = true,
            }
        }
    }
}

/// The next events of a watch, as the step asks for them.
async fn drain(watches: &mut BTreeMap<String, Events>, name: &str, step: &Step) -> Vec<Value> {
    // One that a server refused to open has no events; the refusal was compared.
    let Some(watch) = watches.get_mut(name) else {
        return Vec::new();
    };
    let mut events: Vec<Value> = Vec::new();
    let is_last = |events: &[Value]| {
        step.events.is_some_and(|count| events.len() >= count)
            || step.last.is_some() && step.last.as_deref() == events.last().and_then(name_of)
    };
    let all = async {
        while !is_last(&events) {
            match watch.next().await {
                Some(event) => events.push(event),
                None => return,
            }
        }
    };
    #[expect(clippy::disallowed_methods, reason = "a test of real servers bounds its waits")]
    // What came until then is compared.
    let _ = tokio::time::timeout(EVENTS, all).await;
    events
}

fn name_of(event: &Value) -> Option<&str> {
    event.pointer("/object/metadata/name")?.as_str()
}
