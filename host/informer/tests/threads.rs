//! Threads that meet in one informer, in many orders: watches that feed it, subscribers that come and go, readers.
//!
//! `cargo test -p pilothouse-informer --features shuttle --test threads`; the scheduler is shuttle's, whose locks the
//! informer has with that feature. A failure prints a schedule; `shuttle::replay` runs it again.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use pilothouse_informer::{
    Delta, Handler, IndexSpec, Informer, Names, Scope, View,
    informer::Command,
    reflector::{Event, Input, ListMode, Order, ReflectorConfig},
    store::{Change, Item},
};
use pilothouse_object::{FieldPath, Gvk, Keep, Key, Object, Version};
use shuttle::{
    rand::{Rng as _, thread_rng},
    sync::Mutex,
    thread,
};

const NAMESPACES: [&str; 2] = ["a", "b"];
const NAMES: [&str; 2] = ["x", "y"];
const CHANGES: u64 = 6;
const SCHEDULES: usize = 400;

fn gvk() -> Gvk {
    Gvk::new("ex.io", "v1", "Widget")
}

fn object(key: &Key, version: u64) -> Object {
    let json = format!(
        r#"{{"apiVersion":"ex.io/v1","kind":"Widget","metadata":{{"namespace":"{}","name":"{}","uid":"{key}","resourceVersion":"{version}"}},"spec":{{"color":"c{}"}}}}"#,
        key.namespace.as_deref().unwrap_or_default(),
        key.name,
        version % 2
    );
    Object::parse(json.as_bytes(), Some(&gvk()), Keep::Cut).unwrap()
}

/// What an API server is to a reflector: a state, and every change since the beginning.
#[derive(Default)]
struct Server {
    objects: BTreeMap<Key, Object>,
    log: Vec<Change>,
}

impl Server {
    fn change(&mut self) {
        let mut rng = thread_rng();
        let (namespace, name) = (NAMESPACES[rng.gen_range(0..2)], NAMES[rng.gen_range(0..2)]);
        let key = Key::new(Some(namespace), name);
        let version = self.log.len() as u64 + 1;
        if self.objects.contains_key(&key) && rng.gen_bool(0.4) {
            self.objects.remove(&key);
            self.log.push(Change::Deleted(object(&key, version)));
        } else {
            self.objects.insert(key.clone(), object(&key, version));
            self.log.push(Change::Put(object(&key, version)));
        }
    }

    fn version(&self) -> Version {
        Version::new(&self.log.len().to_string())
    }
}

fn covers(scope: &Scope, key: &Key) -> bool {
    match scope {
        Scope::All => true,
        Scope::Namespace(namespace) => key.namespace.as_ref() == Some(namespace),
    }
}

struct World {
    informer: Informer,
    server: Mutex<Server>,
    /// Watches that were started and not yet stopped.
    watches: AtomicUsize,
    /// No more subscribers come; the watches may end once they have told everything.
    over: AtomicBool,
}

impl World {
    fn obey(self: &Arc<Self>, commands: Vec<Command>) {
        for command in commands {
            match command {
                Command::Start(id) => {
                    self.watches.fetch_add(1, Ordering::SeqCst);
                    let world = self.clone();
                    thread::spawn(move || world.watch(id));
                }
                // It finds itself gone.
                Command::Stop(_) => {
                    self.watches.fetch_sub(1, Ordering::SeqCst);
                }
            }
        }
    }

    /// One reflector's driver.
    fn watch(self: Arc<Self>, id: u64) {
        let Some(scope) = self.informer.scope(id) else { return };
        let feed = |input| {
            let progress = self.informer.input(Duration::from_secs(1), id, input);
            self.obey(progress.commands);
            (!progress.gone).then_some(progress.order)
        };
        let mut input = Input::Start;
        let mut from = 0;
        while let Some(order) = feed(input) {
            input = match order {
                Some(Order::Discover) => Input::Found,
                Some(Order::List(_)) => {
                    let (items, version) = {
                        let server = self.server.lock().unwrap();
                        let listed = server.objects.values().filter(|object| covers(&scope, object.key()));
                        (listed.cloned().map(Item::Object).collect(), server.version())
                    };
                    let Some(None) = feed(Input::Items(items, 0)) else {
                        return;
                    };
                    Input::Page { version, token: None }
                }
                Some(Order::Watch(request)) if request.initial.is_some() => {
                    let Some(None) = feed(Input::Opened) else { return };
                    let server = self.server.lock().unwrap();
                    let listed = server.objects.values().filter(|object| covers(&scope, object.key()));
                    let added = |object: &Object| Event::Added(Change::Put(object.clone()));
                    let mut events: Vec<Event> = listed.map(added).collect();
                    events.push(Event::InitialEnd(server.version()));
                    from = server.log.len();
                    Input::Events(events)
                }
                Some(Order::Watch(request)) => {
                    from = request.version.as_str().parse().unwrap();
                    Input::Opened
                }
                Some(Order::Wait(_)) => Input::Timer,
                None => {
                    let server = self.server.lock().unwrap();
                    let done = from == server.log.len();
                    let events = server.log[from..]
                        .iter()
                        .filter(|change| covers(&scope, change.object().key()));
                    let event = |change: &Change| match change {
                        Change::Put(_) => Event::Added(change.clone()),
                        Change::Deleted(_) => Event::Changed(change.clone()),
                    };
                    let mut events: Vec<Event> = events.map(event).collect();
                    events.push(Event::Bookmark(server.version()));
                    from = server.log.len();
                    drop(server);
                    if done && self.over.load(Ordering::SeqCst) {
                        return;
                    }
                    thread::yield_now();
                    Input::Events(events)
                }
            };
        }
    }
}

/// Replays what it hears, and complains of whatever does not fit.
#[derive(Default)]
struct Replay {
    held: Mutex<BTreeMap<Key, Object>>,
    inside: AtomicBool,
    synced: AtomicUsize,
    left: AtomicBool,
}

impl Handler for Replay {
    fn deltas(&self, deltas: &[Delta]) {
        assert!(!self.left.load(Ordering::SeqCst), "called after it has left");
        assert!(
            !self.inside.swap(true, Ordering::SeqCst),
            "called by two threads at once"
        );
        for delta in deltas {
            let mut held = self.held.lock().unwrap();
            let before = match &delta.new {
                Some(new) => held.insert(delta.key.clone(), new.clone()),
                None => held.remove(&delta.key),
            };
            assert_eq!(before, delta.old, "a change that does not follow what was told before");
            if let (Some(old), Some(new)) = (&delta.old, &delta.new) {
                assert!(new.head().version.is_newer_than(old.head().version), "{delta:?}");
            }
        }
        self.inside.store(false, Ordering::SeqCst);
    }

    fn synced(&self) {
        assert!(!self.left.load(Ordering::SeqCst), "called after it has left");
        self.synced.fetch_add(1, Ordering::SeqCst);
    }
}

fn color() -> IndexSpec {
    IndexSpec {
        name: "color".to_owned(),
        paths: vec![FieldPath::parse("spec.color").unwrap()],
    }
}

/// The store's own name for the index.
fn color_id() -> String {
    format!("{:?}", ["spec.color"])
}

/// Subscribes, and answers the number under which to leave.
fn come(world: &Arc<World>, namespaces: Names, handler: &Arc<Replay>) -> u64 {
    let view = Arc::new(View {
        namespaces,
        ..View::everything()
    });
    let (id, _, commands) = world.informer.subscribe(view, &[color()], handler.clone()).unwrap();
    world.obey(commands);
    id
}

/// A writer, a subscriber that stays, two that come and go, and a reader.
fn history(lists: ListMode) {
    let world = Arc::new(World {
        informer: Informer::new(
            gvk(),
            ReflectorConfig {
                lists,
                ..ReflectorConfig::default()
            },
            Arc::default(),
            fastrand::Rng::with_seed(1),
        ),
        server: Mutex::default(),
        watches: AtomicUsize::default(),
        over: AtomicBool::default(),
    });
    let stays = Arc::new(Replay::default());
    let place = come(&world, Names::of(["a"]), &stays);
    let mut threads = Vec::new();
    let writes = world.clone();
    threads.push(thread::spawn(move || {
        for _ in 0..CHANGES {
            writes.server.lock().unwrap().change();
        }
    }));
    for names in [Names::All, Names::of(["b"])] {
        let world = world.clone();
        threads.push(thread::spawn(move || {
            let comes = Arc::new(Replay::default());
            let place = come(&world, names, &comes);
            thread::yield_now();
            let commands = world.informer.unsubscribe(place);
            comes.left.store(true, Ordering::SeqCst);
            world.obey(commands);
            assert!(comes.synced.load(Ordering::SeqCst) <= 1);
        }));
    }
    let reads = world.clone();
    threads.push(thread::spawn(move || {
        for _ in 0..3 {
            let store = reads.informer.store();
            for value in ["c0", "c1"] {
                let indexed: Vec<_> = store.by_index(&color_id(), value).unwrap().collect();
                let scanned: Vec<_> = store.iter().filter(|object| object.json().contains(value)).collect();
                assert_eq!(
                    indexed, scanned,
                    "an index that is not of the same moment as the objects"
                );
            }
            drop(store);
            thread::yield_now();
        }
    }));
    for thread in threads {
        thread.join().unwrap();
    }
    // Until all that was written has come.
    let last = world.server.lock().unwrap().version();
    let part = Names::of(["a"]);
    while world
        .informer
        .store()
        .oldest(&part, None)
        .is_none_or(|at| last.is_newer_than(&at))
    {
        thread::yield_now();
    }
    world.over.store(true, Ordering::SeqCst);
    let truth: BTreeMap<Key, Object> = {
        let server = world.server.lock().unwrap();
        let a = server
            .objects
            .iter()
            .filter(|(key, _)| key.namespace.as_deref() == Some("a"));
        a.map(|(key, object)| (key.clone(), object.clone())).collect()
    };
    // What was underway is delivered before it has left.
    let commands = world.informer.unsubscribe(place);
    assert_eq!(*stays.held.lock().unwrap(), truth);
    assert_eq!(stays.synced.load(Ordering::SeqCst), 1);
    stays.left.store(true, Ordering::SeqCst);
    world.obey(commands);
    assert_eq!(
        world.watches.load(Ordering::SeqCst),
        0,
        "the last one gone stops every watch"
    );
    assert!(world.informer.store().is_empty(), "and frees what they held");
}

#[test]
fn in_whatever_order_threads_run_nothing_is_lost_doubled_or_told_to_who_has_left() {
    shuttle::check_random(|| history(ListMode::Streaming), SCHEDULES);
    shuttle::check_random(|| history(ListMode::Paged), SCHEDULES);
}

#[test]
fn nor_when_a_thread_is_held_up_at_the_worst_moment() {
    shuttle::check_pct(|| history(ListMode::Streaming), SCHEDULES, 3);
    shuttle::check_pct(|| history(ListMode::Paged), SCHEDULES, 3);
}
