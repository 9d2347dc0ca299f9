//! Reflector, store, router, queue, gate and API server in one thread on made-up time: what decides is a step function.
//!
//! A thousand random changes, with cut watches, expired histories and failing runs among them. The same seed twice
//! gives the same trace, and at the end the world is as the reconciler wants it.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hasher},
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::Duration,
};

use http::Method;
use pilothouse_controller::{Cause, ControllerId, Dispatcher, Job, Primaries, Route, Verdict, What, change_of};
use pilothouse_informer::{
    Delta, Failure, Handler, Informer, Trouble, View,
    read::{Format, ListReader},
    reflector::{Input, ListMode, Order, ReflectorConfig},
};
use pilothouse_localcluster::{Body, Cluster, ClusterConfig, Polled, Request, Response, User, WatchId};
use pilothouse_object::{Gvk, Keep, Key, Object};
use pilothouse_workqueue::QueueConfig;
use serde_json::{Value, json};

const WIDGETS: &str = "/apis/ex.io/v1/namespaces/default/widgets";
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Collects what an informer tells.
#[derive(Default)]
struct Heard(Mutex<Vec<Delta>>);

impl Handler for Heard {
    fn deltas(&self, deltas: &[Delta]) {
        self.0.lock().unwrap().extend_from_slice(deltas);
    }
    fn synced(&self) {}
}

/// One informer with the I/O that it has asked for, done by hand.
struct Feed {
    informer: Informer,
    reflector: u64,
    collection: &'static str,
    heard: Arc<Heard>,
    route: Route,
    order: Option<Order>,
    wait_until: Duration,
    watch: Option<WatchId>,
}

impl Feed {
    fn new(kind: Gvk, collection: &'static str, route: Route, seed: u64) -> Self {
        let rng = fastrand::Rng::with_seed(seed);
        // Both ways to list, also beside each other.
        let config = ReflectorConfig {
            lists: match seed / 2 % 2 {
                0 => ListMode::Paged,
                _ => ListMode::Streaming,
            },
            ..ReflectorConfig::default()
        };
        let informer = Informer::new(kind, config, Arc::new(AtomicU64::new(1)), rng);
        let heard = Arc::new(Heard::default());
        let (_, _, commands) = informer
            .subscribe(Arc::new(View::everything()), &[], heard.clone())
            .unwrap();
        let [pilothouse_informer::informer::Command::Start(reflector)] = commands[..] else {
            panic!("one watch is needed, not {commands:?}")
        };
        Self {
            informer,
            reflector,
            collection,
            heard,
            route,
            order: None,
            wait_until: Duration::ZERO,
            watch: None,
        }
    }

    fn format(&self) -> Format {
        let wire = self.informer.wire(self.reflector, true);
        wire.expect("this one reflector is never stopped").format
    }
}

struct Keys<'a>(&'a Informer);

impl Primaries for Keys<'_> {
    fn all(&self) -> Vec<Key> {
        self.0.store().iter().map(|object| object.key().clone()).collect()
    }
    fn by_index(&self, _: &str, _: &str, _: Option<&str>) -> Vec<Key> {
        Vec::new()
    }
}

struct World {
    cluster: Cluster,
    feeds: [Feed; 2],
    dispatcher: Dispatcher,
    id: ControllerId,
    jobs: Vec<(Duration, Job)>,
    now: Duration,
    rng: fastrand::Rng,
    trace: Vec<String>,
    counts: BTreeMap<&'static str, u32>,
}

impl World {
    fn new(seed: u64) -> Self {
        // A short history, so that a watch that was away for some changes has lost them.
        let config = ClusterConfig {
            history: 12,
            ..ClusterConfig::default()
        };
        let mut cluster = Cluster::with_config(seed, config);
        let crd = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "widgets.ex.io"},
            "spec": {"group": "ex.io", "scope": "Namespaced",
                "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema":
                    {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]},
        });
        let request = Request::with_body(
            Method::POST,
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            "application/json",
            crd.to_string(),
        );
        let made = cluster.handle(Duration::ZERO, &User::default(), request);
        assert_eq!(made.status, 201, "{}", String::from_utf8_lossy(made.whole()));

        let manifest = json!({
            "name": "p", "version": "0.1.0",
            "permissions": [{"group": "ex.io", "kind": "Widget", "verbs": ["watch"]},
                            {"group": "", "kind": "ConfigMap", "verbs": ["watch"]}],
            "controllers": [{"name": "c", "kind": {"group": "ex.io", "version": "v1", "kind": "Widget"},
                "watches": [{"kind": {"group": "", "version": "v1", "kind": "ConfigMap"}, "map": "same-name"}]}],
        });
        let manifest = pilothouse_lifecycle::Manifest::parse(&manifest.to_string()).unwrap();
        let controller = &manifest.controllers[0];
        let watch = &controller.watches[0];
        let feeds = [
            Feed::new(controller.kind.clone(), WIDGETS, Route::primary(controller), seed),
            Feed::new(
                watch.kind.clone(),
                CONFIG_MAPS,
                Route::watched(controller, watch),
                seed + 1,
            ),
        ];
        let id = ControllerId::new("p", "c");
        let mut dispatcher = Dispatcher::new(3);
        dispatcher.register(id.clone(), 2, QueueConfig::default());
        dispatcher.start(&id);
        Self {
            cluster,
            feeds,
            dispatcher,
            id,
            jobs: Vec::new(),
            now: Duration::from_secs(1),
            rng: fastrand::Rng::with_seed(seed ^ 0x5eed),
            trace: Vec::new(),
            counts: BTreeMap::new(),
        }
    }

    fn note(&mut self, what: &'static str, line: String) {
        *self.counts.entry(what).or_default() += 1;
        self.trace.push(format!("{:?} {what} {line}", self.now));
    }

    fn send(&mut self, method: Method, target: &str, body: Option<Value>) -> Response {
        let request = match body {
            Some(body) => {
                let patch = method == Method::PATCH;
                let kind = if patch {
                    "application/merge-patch+json"
                } else {
                    "application/json"
                };
                Request::with_body(method, target, kind, body.to_string())
            }
            None => Request::new(method, target),
        };
        self.cluster.handle(self.now, &User::default(), request)
    }

    /// Does what one feed's reflector has asked for, once.
    fn drive(&mut self, at: usize) {
        let Some(order) = self.feeds[at].order.take() else {
            return;
        };
        match order {
            Order::Discover => self.feed(at, Input::Found),
            Order::Wait(pause) => {
                let feed = &mut self.feeds[at];
                if feed.wait_until == Duration::ZERO {
                    feed.wait_until = self.now + pause;
                }
                if feed.wait_until <= self.now {
                    feed.wait_until = Duration::ZERO;
                    self.feed(at, Input::Timer);
                } else {
                    feed.order = Some(Order::Wait(pause));
                }
            }
            Order::List(request) => {
                let mut target = format!("{}?resourceVersion={}", self.feeds[at].collection, request.version);
                if let Some(limit) = request.limit {
                    target.push_str(&format!("&limit={limit}"));
                }
                if let Some(token) = &request.token {
                    target = format!(
                        "{}?continue={token}&limit={}",
                        self.feeds[at].collection,
                        request.limit.unwrap_or(500)
                    );
                }
                let answer = self.send(Method::GET, &target, None);
                self.note("list", format!("{target} -> {}", answer.status));
                if answer.status != 200 {
                    let failure = Failure::of_status(Some(answer.status), answer.whole(), None);
                    return self.feed(at, Input::Failed(failure));
                }
                let mut reader = ListReader::new(self.feeds[at].format());
                // In pieces of any size, as a network would.
                for piece in answer.whole().chunks(self.rng.usize(1..400)) {
                    let page = reader.push(piece).unwrap();
                    if !page.items.is_empty() {
                        self.feed(at, Input::Items(page.items, 0));
                    }
                }
                let (version, token) = reader.finish().unwrap();
                self.feed(at, Input::Page { version, token });
            }
            Order::Watch(request) => {
                let initial = match request.initial {
                    Some(_) => "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan",
                    None => "",
                };
                let target = format!(
                    "{}?watch=true&allowWatchBookmarks=true&resourceVersion={}&timeoutSeconds={}{initial}",
                    self.feeds[at].collection,
                    request.version,
                    request.timeout.as_secs()
                );
                let answer = self.send(Method::GET, &target, None);
                self.note("watch", format!("{target} -> {}", answer.status));
                match answer.body {
                    Body::Watch(id) => {
                        self.feeds[at].watch = Some(id);
                        self.feed(at, Input::Opened);
                    }
                    Body::Whole(bytes) => {
                        let failure = Failure::of_status(Some(answer.status), &bytes, None);
                        self.feed(at, Input::Failed(failure));
                    }
                }
            }
        }
    }

    fn poll(&mut self, at: usize) {
        let Some(id) = self.feeds[at].watch else { return };
        match self.cluster.poll(self.now, id) {
            Polled::Ended => {
                self.feeds[at].watch = None;
                self.note("closed", String::new());
                self.feed(at, Input::Closed);
            }
            Polled::Lines(lines) if lines.is_empty() => {}
            Polled::Lines(lines) => {
                let format = self.feeds[at].format();
                let events = lines.iter().map(|line| format.event(line).unwrap()).collect();
                self.note("events", format!("{at} {}", lines.len()));
                self.feed(at, Input::Events(events));
            }
        }
    }

    /// Gives a reflector an input, keeps its next order, and routes what its handler heard into the queue.
    fn feed(&mut self, at: usize, input: Input) {
        let feed = &mut self.feeds[at];
        let progress = feed.informer.input(self.now, feed.reflector, input);
        if let Some(order) = progress.order {
            if let Some(id) = feed.watch.take() {
                self.cluster.close(id);
            }
            feed.wait_until = Duration::ZERO;
            feed.order = Some(order);
        }
        let deltas = std::mem::take(&mut *feed.heard.0.lock().unwrap());
        let [widgets, _] = &self.feeds;
        let mut lines = Vec::new();
        for delta in &deltas {
            for key in self.feeds[at].route.keys(delta, &Keys(&widgets.informer)) {
                let what = What::Changed {
                    kind: self.feeds[at].informer.gvk().clone(),
                    key: delta.key.clone(),
                    change: change_of(delta),
                    version: delta.version.clone(),
                    via: self.feeds[at].route.via().clone(),
                    writer: None,
                };
                let cause = Cause::new(what, None);
                lines.push(format!("{key} because {cause} @{}", delta.version));
                self.dispatcher.add(self.now, &self.id, key, 0, cause, true);
            }
        }
        for line in lines {
            self.note("key", line);
        }
    }

    fn start_jobs(&mut self) {
        while let Some(job) = self.dispatcher.next(self.now) {
            let same = self
                .jobs
                .iter()
                .filter(|(_, other)| other.taken.key == job.taken.key)
                .count();
            assert_eq!(same, 0, "two workers hold {}", job.taken.key);
            let end = self.now + Duration::from_millis(self.rng.u64(0..50));
            self.note("run", format!("{} attempt {}", job.taken.key, job.taken.attempt));
            self.jobs.push((end, job));
        }
    }

    /// Ends the jobs whose time has come: the ConfigMap of a widget holds its text; without a widget there is none.
    fn end_jobs(&mut self, failing: bool) {
        let now = self.now;
        let (ended, going): (Vec<_>, Vec<_>) = std::mem::take(&mut self.jobs)
            .into_iter()
            .partition(|(end, _)| *end <= now);
        self.jobs = going;
        for (_, job) in ended {
            let verdict = if failing && self.rng.u8(0..10) == 0 {
                Verdict::Retry {
                    reason: "bad luck".into(),
                }
            } else {
                self.reconcile(&job.taken.key)
            };
            let finished = self.dispatcher.finished(self.now, &mut self.rng, &job, &verdict);
            self.note("ran", format!("{} {verdict:?} {finished:?}", job.taken.key));
        }
    }

    fn reconcile(&mut self, key: &Key) -> Verdict {
        let widget = self.feeds[0].informer.store().get(key).cloned();
        let have = self.feeds[1].informer.store().get(key).cloned();
        let target = format!("{CONFIG_MAPS}/{}", key.name);
        let want = widget.map(|widget| serde_json::from_str::<Value>(widget.json()).unwrap()["spec"]["text"].clone());
        let have = have.map(|map| serde_json::from_str::<Value>(map.json()).unwrap()["data"]["text"].clone());
        let writes = want.is_some();
        let answer = match (want, have) {
            (Some(want), Some(have)) if want == have => return Verdict::Done,
            (None, None) => return Verdict::Done,
            (Some(want), Some(_)) => self.send(Method::PATCH, &target, Some(json!({"data": {"text": want}}))),
            (Some(want), None) => {
                let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": &*key.name},
                                  "data": {"text": want}});
                self.send(Method::POST, CONFIG_MAPS, Some(body))
            }
            (None, Some(_)) => self.send(Method::DELETE, &target, None),
        };
        match answer.status {
            200 | 201 => {
                if writes {
                    // As the host does: it may be gone before any watch tells of it.
                    let maps = &self.feeds[1].informer;
                    maps.expect(&Object::parse(answer.whole(), Some(maps.gvk()), Keep::All).unwrap());
                }
                Verdict::Done
            }
            // The cache was behind: the event that tells is on its way, or a relist will.
            404 | 409 => Verdict::Retry {
                reason: format!("{}", answer.status),
            },
            other => panic!("{other}: {}", String::from_utf8_lossy(answer.whole())),
        }
    }

    /// One random change by somebody else.
    fn change(&mut self) {
        let name = format!("w{}", self.rng.u8(0..8));
        let text = self.rng.u8(..).to_string();
        let (method, target, body) = match self.rng.u8(0..10) {
            0..=3 => {
                let body = json!({"apiVersion": "ex.io/v1", "kind": "Widget", "metadata": {"name": name}, "spec": {"text": text}});
                (Method::POST, WIDGETS.to_owned(), Some(body))
            }
            4..=6 => (
                Method::PATCH,
                format!("{WIDGETS}/{name}"),
                Some(json!({"spec": {"text": text}})),
            ),
            7 => (Method::DELETE, format!("{WIDGETS}/{name}"), None),
            8 => (
                Method::PATCH,
                format!("{CONFIG_MAPS}/{name}"),
                Some(json!({"data": {"text": text}})),
            ),
            _ => (Method::DELETE, format!("{CONFIG_MAPS}/{name}"), None),
        };
        let answer = self.send(method.clone(), &target, body);
        self.note("change", format!("{method} {target} -> {}", answer.status));
    }

    /// One small step of time with everything that falls due in it.
    fn tick(&mut self, faults: bool) {
        self.now += Duration::from_millis(self.rng.u64(1..20));
        self.cluster.advance(self.now);
        for at in 0..2 {
            if faults && self.feeds[at].watch.is_some() && self.rng.u8(0..60) == 0 {
                if let Some(id) = self.feeds[at].watch.take() {
                    self.cluster.close(id);
                }
                self.note("cut", String::new());
                self.feed(at, Input::Cut("cut by the test".into()));
            }
            if faults
                && matches!(self.feeds[at].order, Some(Order::List(_) | Order::Watch(_)))
                && self.rng.u8(0..4) == 0
            {
                self.feeds[at].order = None;
                self.note("away", String::new());
                self.feed(at, Input::Failed(Failure::new(Trouble::Unreachable, "away")));
            }
            self.drive(at);
            self.poll(at);
        }
        self.end_jobs(faults);
        self.start_jobs();
    }

    fn is_quiet(&self) -> bool {
        self.dispatcher.is_idle() && self.jobs.is_empty() && self.feeds.iter().all(|feed| feed.watch.is_some())
    }

    /// Names with texts, as the server has them.
    fn texts(&mut self, collection: &str, field: &str) -> BTreeMap<String, Value> {
        let answer = self.send(Method::GET, collection, None);
        let list: Value = serde_json::from_slice(answer.whole()).unwrap();
        let items = list["items"].as_array().unwrap();
        items
            .iter()
            .map(|item| {
                (
                    item["metadata"]["name"].as_str().unwrap().to_owned(),
                    item[field]["text"].clone(),
                )
            })
            .collect()
    }
}

/// A whole history: its trace, and how often each thing happened in it.
fn history(seed: u64) -> (Vec<String>, BTreeMap<&'static str, u32>) {
    let mut world = World::new(seed);
    for at in 0..2 {
        world.feed(at, Input::Start);
    }
    for _ in 0..1_000 {
        world.change();
        for _ in 0..world.rng.u8(0..4) {
            world.tick(true);
        }
    }
    // Now the world stands still, and everything must come to rest: no luck runs out, no watch is cut.
    let mut left = 200_000;
    loop {
        world.tick(false);
        if world.is_quiet() {
            // Quiet, and nothing on its way either.
            for _ in 0..10 {
                world.tick(false);
            }
            if world.is_quiet() {
                break;
            }
        }
        left -= 1;
        assert!(left > 0, "seed {seed} does not come to rest");
    }
    let (widgets, maps) = (world.texts(WIDGETS, "spec"), world.texts(CONFIG_MAPS, "data"));
    assert_eq!(widgets, maps, "seed {seed}: a change was lost");
    (world.trace, world.counts)
}

fn hash(trace: &[String]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for line in trace {
        hasher.write(line.as_bytes());
        hasher.write_u8(b'\n');
    }
    hasher.finish()
}

#[test]
fn the_same_seed_twice_gives_the_same_trace() {
    let (first, counts) = history(1);
    let (second, _) = history(1);
    let difference = first.iter().zip(&second).position(|(a, b)| a != b);
    assert_eq!(difference.map(|at| (&first[at], &second[at])), None);
    assert_eq!(hash(&first), hash(&second));
    assert_ne!(hash(&first), hash(&history(2).0), "another seed is another history");
    assert_eq!(counts["change"], 1_000);
    for what in ["list", "watch", "events", "cut", "away", "key", "run"] {
        let times = counts.get(what).copied().unwrap_or_default();
        assert!(times > 3, "{what} hardly happened: {counts:?}");
    }
}

#[test]
fn whatever_happens_the_world_ends_as_the_reconciler_wants_it() {
    for seed in 100..130 {
        history(seed);
    }
}
