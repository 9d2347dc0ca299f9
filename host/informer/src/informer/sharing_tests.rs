//! Any subscribers, in any order, against a server that keeps history, lags and forbids.

use std::collections::BTreeSet;

use pilothouse_object::{FieldSet, Keep, Key, LabelSelector, Version};
use proptest::prelude::*;

use super::*;
use crate::{
    reflector::failure::{Failure, Trouble},
    reflector::{Event, ListMode, State},
    shared,
    shared::need::Need,
    store::{Change, Item},
    subscription::{Home, ReadError, Subscription},
    testing::gvk,
    view::{Names, Projection},
};

/// One object of the server.
#[derive(Clone, Debug)]
struct Made {
    uid: String,
    label: u8,
    color: u8,
}

/// An object's JSON at a version.
fn json(key: &Key, made: &Made, version: u64) -> String {
    let Made { uid, label, color } = made;
    let label = if *label == 0 { "web" } else { "db" };
    format!(
        r#"{{"apiVersion":"ex.io/v1","kind":"Widget","metadata":{{"namespace":"{}","name":"{}","uid":"{uid}","resourceVersion":"{version}","labels":{{"app":"{label}"}},"managedFields":[{{"manager":"m"}}]}},"spec":{{"color":"c{color}","size":{color}.0}}}}"#,
        key.namespace.as_deref().unwrap_or_default(),
        key.name
    )
}

fn whole(json: &str) -> Object {
    Object::parse(json.as_bytes(), Some(&gvk()), Keep::All).unwrap()
}

/// The server's objects at a version, by their JSON.
type Moment = BTreeMap<Key, String>;

#[derive(Default)]
struct Server {
    /// The state after each version, the first being version 1's.
    history: Vec<Moment>,
    made: BTreeMap<Key, Made>,
    uids: u32,
    forbidden: BTreeSet<Scope>,
    /// Every state that ever was, by key and version.
    states: BTreeMap<(Key, String), String>,
}

impl Server {
    fn version(&self) -> u64 {
        self.history.len() as u64
    }

    fn at(&self, version: u64) -> Moment {
        let place = usize::try_from(version).unwrap();
        place
            .checked_sub(1)
            .map(|n| self.history[n].clone())
            .unwrap_or_default()
    }

    fn change(&mut self, key: &Key, made: Option<Made>) {
        let version = self.version() + 1;
        let mut moment = self.at(self.version());
        match made {
            Some(made) => {
                let json = json(key, &made, version);
                self.states.insert((key.clone(), version.to_string()), json.clone());
                moment.insert(key.clone(), json);
                self.made.insert(key.clone(), made);
            }
            None => {
                moment.remove(key);
                self.made.remove(key);
            }
        }
        self.history.push(moment);
    }

    fn put(&mut self, key: &Key, label: u8, color: u8, anew: bool) {
        let uid = match self.made.get(key) {
            Some(made) if !anew => made.uid.clone(),
            _ => {
                self.uids += 1;
                format!("u{}", self.uids)
            }
        };
        self.change(key, Some(Made { uid, label, color }));
    }

    /// A list that must be at least at this version; `lag`: how far the server may be behind else.
    fn list(&self, at_least: &Version, lag: u64, scope: &Scope, asked: &Need, wire: &Wire) -> (u64, Vec<Object>) {
        let newest = self.version();
        let version = match at_least.as_str() {
            "" => newest,
            at_least => newest.saturating_sub(lag).max(at_least.parse().unwrap()).max(1),
        };
        let objects = self
            .at(version)
            .values()
            .map(|json| (whole(json), json))
            .filter(|(object, _)| scope.covers(object.key()) && asked.admits(object.head()))
            .map(|(_, json)| Object::parse(json.as_bytes(), Some(&gvk()), wire.format.keep).unwrap())
            .collect();
        (version, objects)
    }

    /// What the watch of this part tells of what happened at a version.
    fn event(&self, version: u64, scope: &Scope, asked: &Need, wire: &Wire) -> Vec<Event> {
        let (before, after) = (self.at(version - 1), self.at(version));
        let keys: BTreeSet<&Key> = before.keys().chain(after.keys()).collect();
        let picked = |moment: &Moment, key: &Key| {
            let json = moment.get(key)?;
            (scope.covers(key) && asked.admits(whole(json).head())).then(|| json.clone())
        };
        let mut events = Vec::new();
        for key in keys.into_iter().filter(|key| before.get(key) != after.get(key)) {
            let parse = |json: &str| Object::parse(json.as_bytes(), Some(&gvk()), wire.format.keep).unwrap();
            match (picked(&before, key), picked(&after, key)) {
                (None, None) => {}
                (_, Some(json)) => events.push(Event::Added(Change::Put(parse(&json)))),
                (Some(json), None) => {
                    // The state before, at the version of what happened.
                    let old = whole(&json).head().version.to_string();
                    let last = json.replace(
                        &format!("\"resourceVersion\":\"{old}\""),
                        &format!("\"resourceVersion\":\"{version}\""),
                    );
                    events.push(Event::Changed(Change::Deleted(parse(&last))));
                }
            }
        }
        events
    }
}

/// The I/O of one reflector.
struct Io {
    order: Option<Order>,
    /// A list whose answer is on its way: its version, and what is still to come.
    answer: Option<(u64, Option<Vec<Item>>)>,
    /// A watch that is open: how far it has told, and how it was asked for.
    stream: Option<(u64, Need, Wire)>,
    /// What a streaming list has still to tell before its end.
    initial: Option<Vec<Event>>,
    /// It has told that end.
    ended: bool,
}

/// Plays what it hears back.
#[derive(Default)]
struct Replay {
    objects: Mutex<BTreeMap<Key, Object>>,
    faults: Mutex<Vec<String>>,
    synced: AtomicU64,
}

impl Handler for Replay {
    fn deltas(&self, deltas: &[Delta]) {
        let mut objects = lock(&self.objects);
        for delta in deltas {
            if objects.get(&delta.key) != delta.old.as_ref() {
                let had = objects.get(&delta.key).map(|o| o.json().to_owned());
                let fault = format!(
                    "had {had:?}, heard {delta:?} from {:?}",
                    delta.old.as_ref().map(Object::json)
                );
                lock(&self.faults).push(fault);
            }
            if let (Some(old), Some(new)) = (&delta.old, &delta.new)
                && !new.head().version.is_newer_than(old.head().version)
            {
                lock(&self.faults).push(format!("no step forward: {delta:?}"));
            }
            match &delta.new {
                Some(new) => objects.insert(delta.key.clone(), new.clone()),
                None => objects.remove(&delta.key),
            };
        }
    }

    fn synced(&self) {
        self.synced.fetch_add(1, Ordering::SeqCst);
    }
}

#[derive(Default)]
struct Left(Mutex<Vec<Command>>);

impl Home for Left {
    fn left(self: Arc<Self>, _: &Arc<Informer>, commands: Vec<Command>) {
        lock(&self.0).extend(commands);
    }
}

struct World {
    server: Server,
    informer: Arc<Informer>,
    io: BTreeMap<u64, Io>,
    subscribers: Vec<(Subscription, Arc<Replay>)>,
    left: Arc<Left>,
    now: Duration,
}

impl World {
    fn new(lists: ListMode) -> Self {
        let (ids, rng) = (Arc::new(AtomicU64::new(1)), fastrand::Rng::with_seed(5));
        let config = ReflectorConfig {
            lists,
            ..ReflectorConfig::default()
        };
        let mut server = Server::default();
        server.history.push(Moment::new());
        Self {
            server,
            informer: Arc::new(Informer::new(gvk(), config, ids, rng)),
            io: BTreeMap::new(),
            subscribers: Vec::new(),
            left: Arc::default(),
            now: Duration::ZERO,
        }
    }

    fn obey(&mut self, commands: Vec<Command>) {
        for command in commands {
            match command {
                Command::Start(id) => {
                    let io = Io {
                        order: None,
                        answer: None,
                        stream: None,
                        initial: None,
                        ended: false,
                    };
                    self.io.insert(id, io);
                    self.input(id, Input::Start);
                }
                Command::Stop(id) => {
                    self.io.remove(&id);
                }
            }
        }
    }

    fn input(&mut self, id: u64, input: Input) {
        self.now += Duration::from_millis(10);
        let progress = self.informer.input(self.now, id, input);
        assert!(!progress.gone, "whoever runs is known");
        if let Some(order) = progress.order {
            let io = self.io.get_mut(&id).unwrap();
            io.order = Some(order);
            (io.answer, io.stream, io.initial, io.ended) = (None, None, None, false);
        }
        self.obey(progress.commands);
    }

    fn asks(&self, id: u64, begins: bool) -> (Scope, Need, Wire) {
        let wire = self.informer.wire(id, begins).unwrap();
        let core = lock(&self.informer.core);
        let slot = &core.slots[&id];
        (slot.scope.clone(), slot.need.clone(), wire)
    }

    /// Does the next bit of a reflector's I/O; false where there is nothing to do. `lag`: how far behind a server may
    /// be that need not be at its newest.
    fn step(&mut self, id: u64, lag: u64) -> bool {
        let io = self.io.get_mut(&id).unwrap();
        match (io.order.clone().unwrap(), &mut io.answer, &mut io.stream) {
            (Order::Discover, ..) => self.input(id, Input::Found),
            (Order::Wait(_), ..) => self.input(id, Input::Timer),
            (Order::List(_), Some((version, items)), _) => match items.take() {
                Some(items) => self.input(id, Input::Items(items, 0)),
                None => {
                    let version = Version::new(&version.to_string());
                    io.answer = None;
                    self.input(id, Input::Page { version, token: None });
                }
            },
            (Order::List(request), None, _) => {
                let (scope, asked, wire) = self.asks(id, true);
                if self.server.forbidden.contains(&scope) {
                    self.input(id, Input::Failed(Failure::new(Trouble::Forbidden, "no")));
                    return true;
                }
                let (version, objects) = self.server.list(&request.version, lag, &scope, &asked, &wire);
                let items = objects.into_iter().map(Item::Object).collect();
                self.io.get_mut(&id).unwrap().answer = Some((version, Some(items)));
            }
            (Order::Watch(request), _, None) => {
                let (scope, asked, wire) = self.asks(id, true);
                if self.server.forbidden.contains(&scope) {
                    self.input(id, Input::Failed(Failure::new(Trouble::Forbidden, "no")));
                    return true;
                }
                let io = self.io.get_mut(&id).unwrap();
                if request.initial.is_some() {
                    let (version, objects) = self.server.list(&request.version, lag, &scope, &asked, &wire);
                    io.initial = Some(objects.into_iter().map(|o| Event::Added(Change::Put(o))).collect());
                    io.stream = Some((version, asked, wire));
                } else {
                    let from = request.version.as_str().parse().unwrap();
                    io.stream = Some((from, asked, wire));
                }
                self.input(id, Input::Opened);
            }
            (Order::Watch(request), _, Some((told, asked, wire))) => {
                let mut events = io.initial.take().unwrap_or_default();
                if !events.is_empty() {
                    io.initial = Some(Vec::new());
                    self.input(id, Input::Events(events));
                    return true;
                }
                if request.initial.is_some() && !io.ended {
                    io.ended = true;
                    events.push(Event::InitialEnd(Version::new(&told.to_string())));
                } else if *told >= self.server.version() {
                    return false;
                }
                // The end of a list may come with what follows it.
                if *told < self.server.version() {
                    *told += 1;
                    let scope = lock(&self.informer.core).slots[&id].scope.clone();
                    events.extend(self.server.event(*told, &scope, asked, wire));
                    events.push(Event::Bookmark(Version::new(&told.to_string())));
                }
                self.input(id, Input::Events(events));
            }
        }
        true
    }

    /// Until nothing is left to do.
    fn settle(&mut self) {
        self.server.forbidden.clear();
        for _ in 0..2_000 {
            let ids: Vec<u64> = self.io.keys().copied().collect();
            let mut busy = false;
            for id in ids {
                busy |= self.io.contains_key(&id) && self.step(id, 0);
            }
            if !busy {
                return;
            }
        }
        let core = lock(&self.informer.core);
        let states: Vec<&State> = core.slots.values().map(|slot| slot.reflector.state()).collect();
        panic!("it never comes to rest: {states:?}");
    }

    fn nth(&self, n: u8) -> Option<u64> {
        let count = self.io.len();
        (count > 0).then(|| *self.io.keys().nth(usize::from(n) % count).unwrap())
    }

    fn subscribe(&mut self, mut view: View, indexed: bool) {
        // Of three plugins, some of which come twice.
        view.owner = format!("p{}", (self.now.as_millis() / 10) % 3).into();
        let replay = Arc::new(Replay::default());
        let index = IndexSpec {
            name: "color".to_owned(),
            paths: vec![FieldPath::parse("spec.color").unwrap()],
        };
        let indexes = if indexed { vec![index] } else { vec![] };
        let opened = Subscription::open(self.informer.clone(), view, &indexes, replay.clone(), self.left.clone());
        let (subscription, commands) = opened.unwrap();
        self.subscribers.push((subscription, replay));
        self.obey(commands);
    }

    fn unsubscribe(&mut self, n: u8) {
        if !self.subscribers.is_empty() {
            let place = usize::from(n) % self.subscribers.len();
            let (subscription, replay) = self.subscribers.remove(place);
            drop(subscription);
            let before = lock(&replay.objects).len();
            let commands = std::mem::take(&mut *lock(&self.left.0));
            self.obey(commands);
            assert_eq!(lock(&replay.objects).len(), before, "after leaving nothing is heard");
        }
    }

    /// What must hold at any time.
    fn check(&self) {
        for (subscription, replay) in &self.subscribers {
            let view = subscription.view();
            assert_eq!(*lock(&replay.faults), [""; 0], "{view:?}");
            let objects = lock(&replay.objects).clone();
            // What was heard is what the view shows of a state that was, in its own form.
            for (key, object) in &objects {
                let version = object.head().version.to_string();
                let json = &self.server.states[&(key.clone(), version)];
                assert!(view.sees(object.head()));
                assert_eq!(object.json(), view.projection.of(&whole(json)).json(), "{view:?}");
            }
            match subscription.list(None, &LabelSelector::everything()) {
                Ok(listing) => {
                    assert_eq!(replay.synced.load(Ordering::SeqCst), 1);
                    let heard: Vec<_> = objects.values().cloned().collect();
                    assert_eq!(listing.items, heard, "{view:?}");
                }
                Err(error) => {
                    assert!(matches!(error, ReadError::NotSynced { .. }), "{error}");
                    assert_eq!(replay.synced.load(Ordering::SeqCst), 0);
                }
            }
            for color in ["c0", "c1"] {
                if let Ok(found) = subscription.by_index("color", color) {
                    let quoted = format!("\"{color}\"");
                    let scan = objects.values().filter(|object| {
                        let state = (object.key().clone(), object.head().version.to_string());
                        self.server.states[&state].contains(&quoted)
                    });
                    assert_eq!(found, scan.cloned().collect::<Vec<_>>(), "{view:?}");
                }
            }
        }
    }

    /// Each owner is charged for what its views show, by a walk over everything.
    fn check_charges(&self) {
        let charges: BTreeMap<Arc<str>, Charge> = self.informer.charges().into_iter().collect();
        let store = self.informer.store();
        let owners: BTreeSet<Arc<str>> = self.subscribers.iter().map(|(s, _)| s.view().owner.clone()).collect();
        assert_eq!(charges.keys().cloned().collect::<BTreeSet<_>>(), owners);
        for (owner, charge) in charges {
            let views = self.subscribers.iter().filter(|(s, _)| s.view().owner == owner);
            let views: Vec<&View> = views.map(|(s, _)| s.view()).collect();
            let mut want = Charge::default();
            for object in store.iter() {
                let shown = views.iter().filter(|view| view.sees(object.head()));
                if let Some(most) = shown.map(|view| view.projection.of(object).weight()).max() {
                    want.objects += 1;
                    want.bytes += most;
                }
            }
            // What others have the store hold may be cut to less than the index is made of.
            let indexed = self.subscribers.iter().any(|(s, _)| {
                s.view().owner == owner
                    && s.by_index("color", "").is_ok()
                    && store.iter().any(|object| s.view().sees(object.head()))
            });
            if indexed {
                assert!(charge.bytes > want.bytes, "{owner}: an index weighs something");
            }
            if !lock(&self.informer.core)
                .subscribers
                .values()
                .any(|s| s.view.owner == owner && !s.indexes.is_empty())
            {
                assert_eq!(charge, want, "{owner}");
            }
            assert_eq!(charge.objects, want.objects, "{owner}");
        }
    }

    /// What must hold where nothing is left to do.
    fn check_settled(&self) {
        let now = self.server.at(self.server.version());
        for (subscription, replay) in &self.subscribers {
            let view = subscription.view();
            assert!(subscription.synced(), "{view:?}");
            let seen: Vec<String> = now
                .values()
                .map(|json| whole(json))
                .filter(|object| view.sees(object.head()))
                .map(|object| view.projection.of(&object).json().to_owned())
                .collect();
            let heard: Vec<String> = lock(&replay.objects).values().map(|o| o.json().to_owned()).collect();
            assert_eq!(heard, seen, "{view:?}");
        }
        // Nothing runs that nobody needs, and nothing is kept.
        let core = lock(&self.informer.core);
        let needs: Vec<&Need> = core.subscribers.values().map(|s| &s.need).collect();
        let need = shared::union(needs.iter().copied()).unwrap_or_default();
        let store = self.informer.store();
        for slot in core.slots.values() {
            assert_eq!(slot.need, need);
        }
        for object in store.iter() {
            assert_eq!(
                need.shape(object).map(|o| o.json().to_owned()).as_deref(),
                Some(object.json())
            );
        }
        let mut scopes = BTreeSet::new();
        assert!(core.slots.values().all(|slot| scopes.insert(slot.scope.clone())));
        assert!(!scopes.contains(&Scope::All) || scopes.len() == 1, "{scopes:?}");
        let covered = |object: &Object| scopes.iter().any(|scope| scope.covers(object.key()));
        assert!(store.iter().all(covered));
        assert_eq!(store.weight(), store.iter().map(Object::weight).sum::<usize>());
    }
}

#[derive(Clone, Debug)]
enum Op {
    Put(u8, u8, u8, u8),
    Recreate(u8, u8),
    Delete(u8, u8),
    /// Which reflector, how often, how far the server lags.
    Step(u8, u8, u64),
    /// A round of all of them.
    Round,
    Close(u8),
    Expire(u8),
    Forbid(Option<u8>),
    Allow,
    Subscribe(usize, usize, usize, usize, bool),
    Unsubscribe(u8),
    Settle,
}

fn key(name: u8, namespace: u8) -> Key {
    let name = ["x", "y"][usize::from(name % 2)];
    Key::new(Some(&format!("n{namespace}")), name)
}

fn view(namespaces: usize, names: usize, selector: usize, projection: usize) -> View {
    let fields = |paths: &[&str]| {
        let paths: Vec<_> = paths.iter().map(|path| FieldPath::parse(path).unwrap()).collect();
        Projection::Fields(Arc::new(FieldSet::new(&paths).unwrap()))
    };
    View {
        namespaces: [
            Names::All,
            Names::of(["n0"]),
            Names::of(["n0", "n1"]),
            Names::of(["n1", "n2", "n3", "n4", "n5"]),
            Names::of(["n0", "n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8", "n9"]),
        ][namespaces]
            .clone(),
        names: [Names::All, Names::of(["x"]), Names::of(["x", "y"])][names].clone(),
        selector: LabelSelector::parse(["", "app=web", "app=db"][selector]).unwrap(),
        projection: [
            Projection::Metadata,
            fields(&["spec.color"]),
            fields(&["spec.size", "status"]),
            Projection::Whole,
            Projection::Uncut,
        ][projection]
            .clone(),
        ..View::everything()
    }
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let namespace = || 0..10u8;
    prop::collection::vec(
        prop_oneof![
            6 => (any::<u8>(), namespace(), 0..2u8, 0..2u8).prop_map(|(a, b, c, d)| Op::Put(a, b, c, d)),
            3 => (any::<u8>(), 0..2u8, 0..2u8, 0..2u8).prop_map(|(a, b, c, d)| Op::Put(a, b, c, d)),
            1 => (any::<u8>(), 0..2u8).prop_map(|(a, b)| Op::Recreate(a, b)),
            2 => (any::<u8>(), namespace()).prop_map(|(a, b)| Op::Delete(a, b)),
            1 => (any::<u8>(), 0..2u8).prop_map(|(a, b)| Op::Delete(a, b)),
            12 => (any::<u8>(), 1..6u8, 0..4u64).prop_map(|(a, b, c)| Op::Step(a, b, c)),
            4 => Just(Op::Round),
            2 => any::<u8>().prop_map(Op::Close),
            2 => any::<u8>().prop_map(Op::Expire),
            1 => prop::option::of(0..2u8).prop_map(Op::Forbid),
            1 => Just(Op::Allow),
            4 => (0..5usize, 0..3usize, 0..3usize, 0..5usize, any::<bool>())
                .prop_map(|(a, b, c, d, e)| Op::Subscribe(a, b, c, d, e)),
            3 => any::<u8>().prop_map(Op::Unsubscribe),
            1 => Just(Op::Settle),
        ],
        0..80,
    )
}

fn play(ops: Vec<Op>, lists: ListMode) {
    let mut world = World::new(lists);
    for op in ops {
        match op {
            Op::Put(name, namespace, label, color) => world.server.put(&key(name, namespace), label, color, false),
            Op::Recreate(name, namespace) => world.server.put(&key(name, namespace), 0, 0, true),
            Op::Delete(name, namespace) => {
                let key = key(name, namespace);
                if world.server.made.contains_key(&key) {
                    world.server.change(&key, None);
                }
            }
            Op::Step(n, times, lag) => {
                if let Some(id) = world.nth(n) {
                    for _ in 0..times {
                        if world.io.contains_key(&id) {
                            world.step(id, lag);
                            world.check();
                        }
                    }
                }
            }
            Op::Round => {
                let ids: Vec<u64> = world.io.keys().copied().collect();
                for id in ids {
                    if world.io.contains_key(&id) {
                        world.step(id, 0);
                    }
                }
            }
            Op::Close(n) => {
                if let Some(id) = world.nth(n).filter(|id| world.io[id].stream.is_some()) {
                    world.input(id, Input::Closed);
                }
            }
            Op::Expire(n) => {
                if let Some(id) = world.nth(n).filter(|id| world.io[id].stream.is_some()) {
                    let expired = Event::Error(Failure::new(Trouble::Expired, "too old"));
                    world.input(id, Input::Events(vec![expired]));
                }
            }
            Op::Forbid(namespace) => {
                let scope = namespace.map_or(Scope::All, |n| Scope::Namespace(format!("n{n}").into()));
                world.server.forbidden.insert(scope);
            }
            Op::Allow => world.server.forbidden.clear(),
            Op::Subscribe(namespaces, names, selector, projection, indexed) => {
                if world.subscribers.len() < 6 {
                    world.subscribe(view(namespaces, names, selector, projection), indexed);
                }
            }
            Op::Unsubscribe(n) => world.unsubscribe(n),
            Op::Settle => {
                world.settle();
                world.check_settled();
            }
        }
        world.check();
        // Not each time, or nothing would ever be counted as it comes.
        if world.server.version().is_multiple_of(3) {
            world.check_charges();
        }
    }
    world.settle();
    world.check_charges();
    world.check();
    world.check_settled();
    assert_eq!(world.informer.counters().went_back, 0, "the server never went back");
    while !world.subscribers.is_empty() {
        world.unsubscribe(0);
        world.check();
    }
    assert!(world.io.is_empty() && world.informer.statuses().is_empty());
    let counters = world.informer.counters();
    assert_eq!((counters.objects, counters.weight), (0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whoever_comes_and_goes_each_hears_exactly_what_its_view_should_see(ops in ops(), streams in any::<bool>()) {
        play(ops, if streams { ListMode::Streaming } else { ListMode::Paged });
    }
}
