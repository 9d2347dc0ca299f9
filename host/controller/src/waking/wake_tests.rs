//! What wakes a parked key and what doesn't (design, decision 15): informers as they are, routes, queues; the API
//! server is a script.

use std::{
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::Duration,
};

use pilothouse_informer::{
    Delta, Failure, Handler, Informer, Trouble, View,
    read::{Format, ListReader},
    reflector::{Input, ListMode, ReflectorConfig},
};
use pilothouse_lifecycle::Manifest;
use pilothouse_object::{Gvk, Key, Version};
use pilothouse_workqueue::QueueConfig;
use serde_json::{Value, json};

use crate::{
    ControllerId, Dispatcher, Finished, Primaries, Route, Verdict,
    parked::Stood,
    waking::{
        intake::Intake,
        provenance::{Mark, Provenance},
    },
};

/// Collects what an informer tells.
#[derive(Default)]
struct Heard(Mutex<Vec<Delta>>);

impl Handler for Heard {
    fn deltas(&self, deltas: &[Delta]) {
        self.0.lock().unwrap().extend_from_slice(deltas);
    }
    fn synced(&self) {}
}

struct NoIndex;

impl Primaries for NoIndex {
    fn all(&self) -> Vec<Key> {
        Vec::new()
    }
    fn by_index(&self, _: &str, _: &str, _: Option<&str>) -> Vec<Key> {
        Vec::new()
    }
}

/// A kind that the controller watches.
pub(crate) struct Window {
    informer: Informer,
    reflector: u64,
    heard: Arc<Heard>,
    pub(crate) intake: Intake,
}

impl Window {
    fn new(id: &ControllerId, kind: &Gvk, route: Route) -> Self {
        let config = ReflectorConfig {
            lists: ListMode::Paged,
            ..ReflectorConfig::default()
        };
        let ids = Arc::new(AtomicU64::new(1));
        let informer = Informer::new(kind.clone(), config, ids, fastrand::Rng::with_seed(1));
        let heard = Arc::new(Heard::default());
        let (_, _, commands) = informer
            .subscribe(Arc::new(View::everything()), &[], heard.clone())
            .unwrap();
        let [pilothouse_informer::informer::Command::Start(reflector)] = commands[..] else {
            panic!("one watch is needed, not {commands:?}")
        };
        let window = format!("{kind} {}", route.via()).into();
        let (id, kind) = (id.clone(), kind.clone());
        Self {
            informer,
            reflector,
            heard,
            intake: Intake {
                id,
                kind,
                route,
                window,
            },
        }
    }

    fn format(&self) -> Format {
        let wire = self.informer.wire(self.reflector, true);
        wire.expect("this one reflector is never stopped").format
    }
}

/// A controller of Widgets that watches the ConfigMaps of the same names, and the Widget `a` that it has.
pub(crate) struct World {
    pub(crate) now: Duration,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) provenance: Provenance,
    pub(crate) id: ControllerId,
    pub(crate) windows: [Window; 2],
}

pub(crate) const WIDGETS: usize = 0;
pub(crate) const CONFIG_MAPS: usize = 1;

pub(crate) fn key() -> Key {
    Key::new(Some("ns"), "a")
}

pub(crate) fn object(version: u64, more: &Value) -> Value {
    let mut object = json!({"metadata": {
        "namespace": "ns", "name": "a", "uid": "u", "resourceVersion": version.to_string(), "generation": 1,
    }});
    for (name, value) in more.as_object().into_iter().flatten() {
        object["metadata"][name] = value.clone();
    }
    object
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(&json!([]))
    }

    fn with(predicates: &Value) -> Self {
        let mut world = Self::unlisted(predicates);
        world.list(WIDGETS, 10, &[object(5, &Value::Null)]);
        world.list(CONFIG_MAPS, 10, &[object(6, &Value::Null)]);
        world.dispatcher.start(&world.id);
        world
    }

    /// One that has heard of nothing yet.
    pub(crate) fn unlisted(predicates: &Value) -> Self {
        let manifest = json!({
            "name": "p", "version": "0.1.0",
            "permissions": [{"group": "ex.io", "kind": "Widget", "verbs": ["watch"]},
                            {"group": "", "kind": "ConfigMap", "verbs": ["watch"]}],
            "controllers": [{"name": "c", "kind": {"group": "ex.io", "version": "v1", "kind": "Widget"},
                "predicates": predicates,
                "watches": [{"kind": {"group": "", "version": "v1", "kind": "ConfigMap"}, "map": "same-name"}]}],
        });
        let manifest = Manifest::parse(&manifest.to_string()).unwrap();
        let controller = &manifest.controllers[0];
        let watch = &controller.watches[0];
        let id = ControllerId::new("p", "c");
        let windows = [
            Window::new(&id, &controller.kind, Route::primary(controller)),
            Window::new(&id, &watch.kind, Route::watched(controller, watch)),
        ];
        let mut dispatcher = Dispatcher::new(4);
        dispatcher.register(id.clone(), 1, QueueConfig::default());
        let mut world = Self {
            now: Duration::from_secs(1),
            dispatcher,
            provenance: Provenance::default(),
            id,
            windows,
        };
        for window in [WIDGETS, CONFIG_MAPS] {
            world.input(window, Input::Start);
            world.input(window, Input::Found);
        }
        world
    }

    /// One whose Widget `a` failed terminally and is parked.
    fn parked() -> Self {
        Self::parked_with(&json!([]))
    }

    fn parked_with(predicates: &Value) -> Self {
        let mut world = Self::with(predicates);
        assert!(world.run(&park()).parked);
        world
    }

    pub(crate) fn input(&mut self, window: usize, input: Input) {
        let Window {
            informer, reflector, ..
        } = &self.windows[window];
        informer.input(self.now, *reflector, input);
        let Window { heard, intake, .. } = &self.windows[window];
        let deltas = std::mem::take(&mut *heard.0.lock().unwrap());
        let keys = |delta| intake.route.keys(delta, &NoIndex);
        let routed: Vec<_> = deltas.iter().map(|delta| (delta, keys(delta))).collect();
        intake.take(self.now, &routed, &mut self.dispatcher, &mut self.provenance);
    }

    pub(crate) fn list(&mut self, window: usize, version: u64, items: &[Value]) {
        let text = json!({"kind": "List", "metadata": {"resourceVersion": version.to_string()}, "items": items});
        let mut reader = ListReader::new(self.windows[window].format());
        let page = reader.push(text.to_string().as_bytes()).unwrap();
        self.input(window, Input::Items(page.items, 0));
        let (version, token) = reader.finish().unwrap();
        self.input(window, Input::Page { version, token });
        self.input(window, Input::Opened);
    }

    /// The history of the server is over: all is listed again.
    pub(crate) fn relist(&mut self, window: usize, version: u64, items: &[Value]) {
        self.input(window, Input::Failed(Failure::new(Trouble::Expired, "too old")));
        self.list(window, version, items);
    }

    pub(crate) fn event(&mut self, window: usize, kind: &str, object: &Value) {
        let line = json!({"type": kind, "object": object}).to_string();
        let event = self.windows[window].format().event(line.as_bytes()).unwrap();
        self.input(window, Input::Events(vec![event]));
    }

    /// That plugin has written this version of that object.
    pub(crate) fn wrote(&mut self, window: usize, version: u64, plugin: &str) {
        let mark = Mark::Version(Version::new(&version.to_string()));
        self.did(window, mark, plugin);
    }

    pub(crate) fn did(&mut self, window: usize, mark: Mark, plugin: &str) {
        let kind = &self.windows[window].intake.kind;
        self.provenance.wrote(kind, &key(), mark, &plugin.into(), None);
    }

    pub(crate) fn runs(&mut self) -> bool {
        self.why().is_some()
    }

    /// Why the key runs, if it does; it is parked again then.
    pub(crate) fn why(&mut self) -> Option<String> {
        let job = self.dispatcher.next(self.now)?;
        assert_eq!(job.taken.key, key());
        let mut rng = fastrand::Rng::with_seed(1);
        self.dispatcher.finished(self.now, &mut rng, &job, &park());
        job.taken.causes.first().map(ToString::to_string)
    }

    /// Runs the key, and ends it with that.
    pub(crate) fn run(&mut self, verdict: &Verdict) -> Finished {
        self.run_while(verdict, |_| {})
    }

    /// Runs the key while something else happens.
    pub(crate) fn run_while(&mut self, verdict: &Verdict, meanwhile: impl FnOnce(&mut Self)) -> Finished {
        let job = self.dispatcher.next(self.now).expect("the key is ready");
        assert_eq!(job.taken.key, key());
        meanwhile(self);
        let mut rng = fastrand::Rng::with_seed(1);
        let finished = self.dispatcher.finished(self.now, &mut rng, &job, verdict);
        if finished.parked {
            let store = self.windows[WIDGETS].informer.store();
            let stood = store.get(&key()).map(Stood::of);
            let doubted = self.provenance.doubts(&self.id, &key());
            let stood = (!doubted).then_some(stood);
            self.dispatcher.parked_on(&self.id, &key(), stood);
        }
        finished
    }
}

pub(crate) fn park() -> Verdict {
    Verdict::Park {
        reason: "Invalid: no".into(),
    }
}

#[test]
fn a_parked_key_does_not_run_by_itself() {
    let mut world = World::parked();
    assert!(!world.runs());
    world.now += Duration::from_secs(1_000_000);
    assert!(!world.runs());
    assert_eq!(world.dispatcher.next_due(), None);
}

#[test]
fn a_status_write_of_the_plugin_itself_does_not_wake_its_parked_key() {
    let mut world = World::parked();
    world.wrote(WIDGETS, 11, "p");
    world.event(WIDGETS, "MODIFIED", &object(11, &Value::Null));
    assert!(!world.runs());
}

#[test]
fn a_status_write_of_the_last_attempt_whose_event_comes_first_does_not_wake_the_key_either() {
    let mut world = World::new();
    let (kind, plugin) = (world.windows[WIDGETS].intake.kind.clone(), Arc::from("p"));
    let finished = world.run_while(&park(), |world| {
        world.provenance.sends(&kind, &key(), &plugin, None);
        world.event(WIDGETS, "MODIFIED", &object(11, &Value::Null));
        world.wrote(WIDGETS, 11, "p");
        world.provenance.sent(&kind, &key(), &plugin);
        assert!(world.provenance.foreign().is_empty());
    });
    assert!(finished.parked && !world.runs());
}

#[test]
fn what_the_plugin_itself_writes_of_another_kind_does_not_wake_its_parked_key() {
    let mut world = World::parked();
    for version in [11, 12] {
        world.wrote(CONFIG_MAPS, version, "p");
        world.event(CONFIG_MAPS, "MODIFIED", &object(version, &Value::Null));
    }
    world.did(CONFIG_MAPS, Mark::Gone("u".into()), "p");
    world.event(CONFIG_MAPS, "DELETED", &object(13, &Value::Null));
    world.wrote(CONFIG_MAPS, 14, "p");
    world.event(CONFIG_MAPS, "ADDED", &object(14, &json!({"uid": "another"})));
    assert!(!world.runs(), "changed, deleted and made anew, all by itself");
}

#[test]
fn a_change_of_another_kind_that_maps_to_a_parked_key_wakes_it() {
    let mut world = World::parked();
    world.event(CONFIG_MAPS, "MODIFIED", &object(11, &Value::Null));
    assert!(world.runs());
    world.event(CONFIG_MAPS, "DELETED", &object(12, &Value::Null));
    assert!(world.runs());
    world.event(CONFIG_MAPS, "ADDED", &object(13, &json!({"uid": "another"})));
    assert!(world.runs());
}

#[test]
fn a_write_of_another_plugin_wakes_a_parked_key() {
    let mut world = World::parked();
    world.wrote(WIDGETS, 11, "another");
    world.event(WIDGETS, "MODIFIED", &object(11, &Value::Null));
    assert!(world.runs());
}

#[test]
fn a_relist_of_what_did_not_change_does_not_wake_a_parked_key() {
    let mut world = World::parked();
    world.relist(WIDGETS, 20, &[object(5, &Value::Null)]);
    world.relist(CONFIG_MAPS, 20, &[object(6, &Value::Null)]);
    assert!(!world.runs());
}

#[test]
fn a_relist_that_finds_a_change_wakes_a_parked_key() {
    let mut world = World::parked();
    world.relist(WIDGETS, 20, &[object(15, &Value::Null)]);
    assert!(world.runs());
    world.relist(CONFIG_MAPS, 20, &[]);
    assert!(world.runs(), "nobody saw the deletion itself");
}

#[test]
fn a_resync_does_not_wake_a_parked_key() {
    let mut world = World::parked();
    let (now, id) = (world.now, world.id.clone());
    assert!(!world.dispatcher.resync(now, &id, key(), Duration::from_secs(60)));
    assert!(!world.runs());
}

#[test]
fn the_deletion_of_its_object_wakes_a_parked_key_whoever_deleted_it() {
    let mut world = World::parked();
    world.event(WIDGETS, "DELETED", &object(11, &Value::Null));
    assert!(world.runs());

    let mut world = World::parked();
    world.did(WIDGETS, Mark::Gone("u".into()), "p");
    world.event(WIDGETS, "DELETED", &object(11, &Value::Null));
    assert!(world.runs());
}

#[test]
fn a_deletion_that_a_finalizer_holds_wakes_a_parked_key_whatever_the_predicates() {
    let mut world = World::parked_with(&json!(["generation"]));
    let deleting = json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["ex.io/f"]});
    world.event(WIDGETS, "MODIFIED", &object(11, &deleting));
    assert!(world.runs());
}

#[test]
fn another_label_of_its_object_wakes_a_parked_key_unless_the_predicates_hold_it_back() {
    let relabelled = object(11, &json!({"labels": {"a": "b"}}));
    for (predicates, wakes) in [
        (json!([]), true),
        (json!(["labels"]), true),
        (json!(["generation"]), false),
    ] {
        let mut world = World::parked_with(&predicates);
        world.event(WIDGETS, "MODIFIED", &relabelled);
        assert_eq!(world.runs(), wakes, "with the predicates {predicates}");
    }
}

#[test]
fn a_change_of_its_spec_wakes_a_parked_key() {
    let mut world = World::parked_with(&json!(["generation"]));
    world.event(WIDGETS, "MODIFIED", &object(11, &json!({"generation": 2})));
    assert!(world.runs());
}

#[test]
fn a_requeue_that_was_asked_for_earlier_gives_way_to_parking() {
    let mut world = World::new();
    let minute = Duration::from_secs(60);
    world.run(&Verdict::RequeueAfter(minute));
    world.event(WIDGETS, "MODIFIED", &object(11, &Value::Null));
    assert!(world.run(&park()).parked);
    world.now += minute * 2;
    assert!(!world.runs());
}

#[test]
fn a_back_off_gives_way_to_parking() {
    let mut world = World::new();
    world.run(&Verdict::RetryAfter {
        after: Duration::from_secs(60),
        reason: "no".into(),
    });
    world.event(WIDGETS, "MODIFIED", &object(11, &Value::Null));
    assert!(world.run(&park()).parked);
    world.now += Duration::from_secs(120);
    assert!(!world.runs());
}

#[test]
fn a_person_wakes_a_parked_key_and_no_other() {
    let mut world = World::parked();
    let (now, id) = (world.now, world.id.clone());
    assert!(!world.dispatcher.wake(now, &id, &Key::new(Some("ns"), "b")));
    assert!(!world.dispatcher.wake(now, &ControllerId::new("p", "x"), &key()));
    assert!(world.dispatcher.wake(now, &id, &key()));
    assert!(!world.dispatcher.wake(now, &id, &key()), "it is awake");
    let job = world.dispatcher.next(now).expect("it was woken");
    assert_eq!(job.taken.causes.first().unwrap().to_string(), "woken by a person");
}

#[test]
fn a_change_by_somebody_else_during_the_last_attempt_gets_an_attempt_of_its_own() {
    let mut world = World::new();
    let finished = world.run_while(&park(), |world| {
        world.event(CONFIG_MAPS, "MODIFIED", &object(11, &Value::Null));
    });
    assert!(!finished.parked && world.runs());
}

#[test]
fn a_key_whose_attempts_are_used_up_says_what_the_last_one_failed_of() {
    let mut world = World::new();
    let id = ControllerId::new("p", "limited");
    let config = QueueConfig {
        max_attempts: Some(2),
        jitter: false,
        ..QueueConfig::default()
    };
    world.dispatcher.register(id.clone(), 1, config);
    world.dispatcher.start(&id);
    world.run(&park());
    let cause = crate::Cause::new(crate::What::Resync, None);
    world.dispatcher.add(world.now, &id, key(), 0, cause, true);
    for error in ["first", "second"] {
        let reason = error.to_owned();
        world.run(&Verdict::Retry { reason });
        world.now += Duration::from_secs(1);
    }
    let (_, queue) = world.dispatcher.queues().find(|(own, _)| **own == id).unwrap();
    let parked = queue.parked().next().expect("it is parked").parked;
    assert_eq!(parked.reason, "gave up after 2 attempts: second");
    let errors: Vec<_> = queue.entry(&key()).unwrap().errors.iter().collect();
    let told: Vec<(u32, &str)> = errors.iter().map(|error| (error.attempt, &*error.reason)).collect();
    assert_eq!(told, [(1, "first"), (2, "second")]);
}

#[test]
fn rule_30_what_the_first_list_holds_comes_in_behind_everything_that_changed() {
    let mut world = World::new();
    let job = world.dispatcher.next(world.now).expect("the first list asked for it");
    assert_eq!(job.taken.priority, crate::LOW_PRIORITY);
    world.event(WIDGETS, "MODIFIED", &object(11, &Value::Null));
    let mut rng = fastrand::Rng::with_seed(1);
    world.dispatcher.finished(world.now, &mut rng, &job, &Verdict::Done);
    let job = world.dispatcher.next(world.now).expect("it changed");
    assert_eq!(job.taken.priority, 0);
}
