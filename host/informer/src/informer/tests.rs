use pilothouse_object::{Key, LabelSelector, Object, Version};

use super::*;
use crate::{
    TokioClock,
    reflector::failure::{Failure, Trouble},
    reflector::{Event, ListMode, ListRequest},
    status::Phase,
    store::{Change, Item},
    subscription::{Holds, Home, ReadError, Subscription},
    testing::{Recorder, colored, gvk, labelled, object},
    view::{Names, Projection},
};

/// An informer and what its driver has been asked for.
struct Rig {
    informer: Arc<Informer>,
    running: Mutex<Vec<u64>>,
}

impl Home for Rig {
    fn left(self: Arc<Self>, _: &Arc<Informer>, commands: Vec<Command>) {
        self.obey(commands);
    }
}

fn rig() -> Arc<Rig> {
    let rng = fastrand::Rng::with_seed(3);
    let ids = Arc::new(AtomicU64::new(1));
    let config = ReflectorConfig {
        lists: ListMode::Paged,
        ..ReflectorConfig::default()
    };
    Arc::new(Rig {
        informer: Arc::new(Informer::new(gvk(), config, ids, rng)),
        running: Mutex::default(),
    })
}

impl Rig {
    fn obey(&self, commands: Vec<Command>) {
        for command in commands {
            match command {
                Command::Start(id) => {
                    lock(&self.running).push(id);
                    self.input(id, Input::Start);
                    self.input(id, Input::Found);
                }
                Command::Stop(id) => lock(&self.running).retain(|r| *r != id),
            }
        }
    }

    fn input(&self, id: u64, input: Input) -> Option<Order> {
        let progress = self.informer.input(Duration::ZERO, id, input);
        self.obey(progress.commands);
        progress.order
    }

    fn subscribe(self: &Arc<Self>, view: View, handler: &Arc<Recorder>) -> Subscription {
        self.subscribe_with(view, &[], handler)
    }

    fn subscribe_with(self: &Arc<Self>, view: View, indexes: &[IndexSpec], handler: &Arc<Recorder>) -> Subscription {
        let opened = Subscription::open(self.informer.clone(), view, indexes, handler.clone(), self.clone());
        let (subscription, commands) = opened.unwrap();
        self.obey(commands);
        subscription
    }

    /// The running reflectors' scopes.
    fn watches(&self) -> Vec<String> {
        let ids = lock(&self.running).clone();
        let scopes = ids.iter().filter_map(|id| self.informer.scope(*id));
        scopes.map(|scope| scope.to_string()).collect()
    }

    fn id(&self, scope: &str) -> u64 {
        let ids = lock(&self.running).clone();
        let found = ids
            .into_iter()
            .find(|id| self.informer.scope(*id).is_some_and(|s| s.to_string() == scope));
        found.unwrap_or_else(|| panic!("no watch of {scope}"))
    }

    /// The watch of this scope lists these objects at this version.
    fn list(&self, scope: &str, version: &str, objects: Vec<Object>) -> Option<Order> {
        let id = self.id(scope);
        self.input(id, Input::Items(objects.into_iter().map(Item::Object).collect(), 0));
        let order = self.input(
            id,
            Input::Page {
                version: Version::new(version),
                token: None,
            },
        );
        self.input(id, Input::Opened);
        order
    }

    fn event(&self, scope: &str, change: Change) {
        self.input(self.id(scope), Input::Events(vec![Event::Changed(change)]));
    }

    fn forbid(&self, scope: &str) {
        let failure = Failure::new(Trouble::Forbidden, "no");
        self.input(self.id(scope), Input::Failed(failure));
    }
}

const ALL: &str = "all namespaces";

fn of(namespaces: &[&str]) -> View {
    View {
        namespaces: Names::of(namespaces.iter().copied()),
        ..View::everything()
    }
}

fn put(namespace: &str, name: &str, version: u64) -> Change {
    Change::Put(object(namespace, name, "u", version))
}

fn deleted(namespace: &str, name: &str, version: u64) -> Change {
    Change::Deleted(object(namespace, name, "u", version))
}

fn keys(items: &[Object]) -> Vec<String> {
    items.iter().map(|o| o.key().to_string()).collect()
}

#[test]
fn rule_41_the_store_and_its_indexes_are_updated_before_a_handler_hears_of_it() {
    struct Looks(Mutex<Option<Arc<Informer>>>, Mutex<Vec<String>>);
    impl Handler for Looks {
        fn deltas(&self, deltas: &[Delta]) {
            let informer = lock(&self.0).clone().unwrap();
            let store = informer.store();
            for delta in deltas {
                let held = store.get(&delta.key).map(|o| o.head().version.clone());
                assert_eq!(held, delta.new.as_ref().map(|o| o.head().version.clone()));
                let red: Vec<_> = store.by_index(&index().id(), "red").unwrap().collect();
                lock(&self.1).push(format!("{} reds", red.len()));
            }
        }
        fn synced(&self) {}
    }
    fn index() -> IndexSpec {
        IndexSpec {
            name: "color".to_owned(),
            paths: vec![FieldPath::parse("spec.color").unwrap()],
        }
    }
    let rig = rig();
    let looks = Arc::new(Looks(Mutex::new(Some(rig.informer.clone())), Mutex::default()));
    let (_, _, commands) = rig
        .informer
        .subscribe(Arc::new(View::everything()), &[index()], looks.clone())
        .unwrap();
    rig.obey(commands);
    rig.list(ALL, "10", vec![object("a", "x", "u", 1)]);
    rig.event(ALL, put("a", "y", 11));
    rig.event(ALL, deleted("a", "y", 12));
    assert_eq!(*lock(&looks.1), ["1 reds", "2 reds", "1 reds"]);
    *lock(&looks.0) = None;
}

#[test]
fn rule_45_a_handler_hears_of_each_key_in_order() {
    let (rig, heard) = (rig(), Recorder::new());
    let _subscription = rig.subscribe(View::everything(), &heard);
    rig.list(ALL, "10", vec![object("a", "x", "u", 1)]);
    for version in 11..15 {
        rig.event(ALL, put("a", "x", version));
    }
    rig.event(ALL, deleted("a", "x", 15));
    assert_eq!(
        heard.take(),
        [
            "!+a/x@1", "synced", "~a/x@11", "~a/x@12", "~a/x@13", "~a/x@14", "-a/x@15"
        ]
    );
}

#[test]
fn rule_45_no_two_threads_are_in_one_handler_and_what_it_hears_are_states_that_were() {
    /// Stays inside for a while, and complains of company.
    #[derive(Default)]
    struct Alone {
        inside: AtomicBool,
        heard: Mutex<Vec<(Key, u64)>>,
    }
    impl Alone {
        fn visit(&self, visit: impl FnOnce()) {
            assert!(!self.inside.swap(true, Ordering::SeqCst), "two threads in one handler");
            visit();
            std::thread::yield_now();
            self.inside.store(false, Ordering::SeqCst);
        }
    }
    impl Handler for Alone {
        fn deltas(&self, deltas: &[Delta]) {
            let heard = |delta: &Delta| (delta.key.clone(), delta.version.as_str().parse().unwrap());
            self.visit(|| lock(&self.heard).extend(deltas.iter().map(heard)));
        }
        fn synced(&self) {
            self.visit(|| {});
        }
    }
    let (rig, alone) = (rig(), Arc::new(Alone::default()));
    let view = Arc::new(of(&["a", "b"]));
    let (_, _, commands) = rig.informer.subscribe(view, &[], alone.clone()).unwrap();
    rig.obey(commands);
    // The states of an object are its even versions; every tenth is missed, and learnt of from a list.
    let missed = |version: u64| version.is_multiple_of(20);
    std::thread::scope(|scope| {
        for namespace in ["a", "b"] {
            let rig = &rig;
            scope.spawn(move || {
                let watch = format!("namespace {namespace}");
                rig.list(&watch, "10", vec![object(namespace, "x", "u", 10)]);
                for version in (12..=600).step_by(2) {
                    if missed(version) {
                        let expired = Failure::new(Trouble::Expired, "too old");
                        rig.input(rig.id(&watch), Input::Failed(expired));
                        rig.list(&watch, &version.to_string(), vec![object(namespace, "x", "u", version)]);
                    } else {
                        rig.event(&watch, put(namespace, "x", version));
                        // What is told twice is heard once.
                        rig.event(&watch, put(namespace, "x", version));
                    }
                }
            });
        }
    });
    for namespace in ["a", "b"] {
        let key = Key::new(Some(namespace), "x");
        let heard = lock(&alone.heard);
        let versions: Vec<u64> = heard
            .iter()
            .filter(|(of, _)| *of == key)
            .map(|(_, version)| *version)
            .collect();
        assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
        assert!(versions.iter().all(|version| version.is_multiple_of(2)));
        assert_eq!((versions.first(), versions.last()), (Some(&10), Some(&600)));
    }
}

#[test]
fn rule_46_an_empty_list_syncs() {
    let (rig, heard) = (rig(), Recorder::new());
    let subscription = rig.subscribe(View::everything(), &heard);
    assert!(!subscription.synced());
    rig.list(ALL, "10", vec![]);
    assert!(subscription.synced());
    assert_eq!(heard.take(), ["synced"]);
    rig.input(rig.id(ALL), Input::Closed);
    rig.event(ALL, put("a", "x", 11));
    assert_eq!(
        heard.take(),
        [""; 0],
        "no second sync, and no event of a watch that is not open"
    );
}

#[test]
fn rule_46_a_subscriber_is_synced_after_the_lists_of_all_its_namespaces() {
    let (rig, heard) = (rig(), Recorder::new());
    let subscription = rig.subscribe(of(&["a", "b"]), &heard);
    rig.list("namespace a", "10", vec![object("a", "x", "u", 1)]);
    rig.event("namespace a", put("a", "y", 11));
    assert_eq!(heard.take(), ["!+a/x@1", "+a/y@11"]);
    assert!(!subscription.synced());
    rig.list("namespace b", "12", vec![object("b", "z", "u", 2)]);
    assert_eq!(heard.take(), ["!+b/z@2", "synced"]);
}

#[test]
fn rule_47_a_late_handler_gets_the_store_and_then_what_happens() {
    let (rig, first, late) = (rig(), Recorder::new(), Recorder::new());
    let _first = rig.subscribe(View::everything(), &first);
    rig.list(ALL, "10", vec![object("a", "x", "u", 1), object("b", "y", "u", 2)]);
    rig.event(ALL, put("a", "x", 11));
    first.take();
    let subscription = rig.subscribe(View::everything(), &late);
    assert!(subscription.synced());
    assert_eq!(late.take(), ["!+a/x@11", "!+b/y@2", "synced"]);
    rig.event(ALL, put("a", "x", 12));
    assert_eq!(late.take(), ["~a/x@12"]);
    assert_eq!(first.take(), ["~a/x@12"]);
}

#[test]
fn rule_47_a_handler_that_comes_while_events_pour_in_loses_and_doubles_none() {
    let (rig, first) = (rig(), Recorder::new());
    let _first = rig.subscribe(View::everything(), &first);
    rig.list(ALL, "10", vec![object("a", "x", "u", 10)]);
    let late: Vec<_> = (0..8).map(|_| Recorder::new()).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for version in 11..2_000 {
                rig.event(ALL, put("a", "x", version));
            }
        });
        scope.spawn(|| {
            let subscriptions: Vec<_> = late
                .iter()
                .map(|late| rig.subscribe(View::everything(), late))
                .collect();
            subscriptions.into_iter().for_each(std::mem::forget);
        });
    });
    for late in late {
        let heard = late.take();
        let versions: Vec<u64> = heard
            .iter()
            .filter_map(|line| line.split_once('@')?.1.parse().ok())
            .collect();
        let first = versions[0];
        assert_eq!(versions, (first..2_000).collect::<Vec<_>>());
        assert_eq!(heard[1], "synced");
    }
}

#[test]
fn rule_50_after_leaving_no_handler_is_called() {
    let (rig, stays, leaves) = (rig(), Recorder::new(), Recorder::new());
    let _stays = rig.subscribe(View::everything(), &stays);
    let leaving = rig.subscribe(View::everything(), &leaves);
    rig.list(ALL, "10", vec![object("a", "x", "u", 1)]);
    drop(leaving);
    leaves.take();
    rig.event(ALL, put("a", "x", 11));
    assert_eq!((leaves.len(), stays.len()), (0, 3));
    let id = rig.id(ALL);
    rig.obey(rig.informer.close());
    assert!(rig.informer.input(Duration::ZERO, id, Input::Closed).gone);
    assert_eq!(stays.len(), 3);
}

#[test]
fn rule_50_who_leaves_waits_for_its_handler_that_is_running() {
    /// Says that it is inside, waits until somebody is about to leave, and looks for a while whether that one has left.
    struct Stays {
        inside: std::sync::Barrier,
        left: AtomicBool,
        done: AtomicBool,
    }
    impl Handler for Stays {
        fn deltas(&self, _: &[Delta]) {
            self.inside.wait();
            for _ in 0..20_000 {
                assert!(!self.left.load(Ordering::SeqCst), "it has left while its handler runs");
                std::thread::yield_now();
            }
            self.done.store(true, Ordering::SeqCst);
        }
        fn synced(&self) {}
    }
    let rig = rig();
    let stays = Arc::new(Stays {
        inside: std::sync::Barrier::new(2),
        left: AtomicBool::new(false),
        done: AtomicBool::new(false),
    });
    let view = Arc::new(View::everything());
    let (id, _, commands) = rig.informer.subscribe(view, &[], stays.clone()).unwrap();
    rig.obey(commands);
    rig.list(ALL, "10", vec![]);
    std::thread::scope(|scope| {
        scope.spawn(|| rig.event(ALL, put("a", "x", 11)));
        scope.spawn(|| {
            stays.inside.wait();
            let commands = rig.informer.unsubscribe(id);
            stays.left.store(true, Ordering::SeqCst);
            assert!(stays.done.load(Ordering::SeqCst));
            rig.obey(commands);
        });
    });
    assert_eq!(rig.watches(), [""; 0]);
}

#[test]
fn rule_56_leaving_a_view_is_a_deletion_for_that_subscriber_only() {
    let (rig, all, web) = (rig(), Recorder::new(), Recorder::new());
    let view = View {
        selector: LabelSelector::parse("app=web").unwrap(),
        ..View::everything()
    };
    let _all = rig.subscribe(View::everything(), &all);
    let _web = rig.subscribe(view, &web);
    rig.list(ALL, "10", vec![labelled("a", "x", "u", 1, "app", "web")]);
    rig.event(ALL, Change::Put(labelled("a", "x", "u", 11, "app", "db")));
    rig.event(ALL, Change::Put(labelled("a", "x", "u", 12, "app", "db")));
    rig.event(ALL, Change::Put(labelled("a", "x", "u", 13, "app", "web")));
    assert_eq!(web.take(), ["!+a/x@1", "synced", "-a/x@11", "+a/x@13"]);
    assert_eq!(all.take(), ["!+a/x@1", "synced", "~a/x@11", "~a/x@12", "~a/x@13"]);
}

#[test]
fn a_hundred_subscribers_cost_one_watch_and_the_last_one_gone_stops_it_and_frees_the_store() {
    let rig = rig();
    let subscriptions: Vec<_> = (0..100)
        .map(|n| {
            let view = if n % 2 == 0 { View::everything() } else { of(&["a"]) };
            rig.subscribe(view, &Recorder::new())
        })
        .collect();
    assert_eq!(rig.watches(), [ALL]);
    rig.list(ALL, "10", vec![object("a", "x", "u", 1)]);
    assert_eq!(rig.informer.counters().objects, 1);
    drop(subscriptions);
    assert_eq!(rig.watches(), [""; 0]);
    let counters = rig.informer.counters();
    assert_eq!((counters.objects, counters.weight, counters.subscribers), (0, 0, 0));
    assert!(rig.informer.is_idle());
}

#[test]
fn a_wider_subscription_takes_over_narrower_ones_without_a_gap() {
    let (rig, narrow, wide) = (rig(), Recorder::new(), Recorder::new());
    let _narrow = rig.subscribe(of(&["a"]), &narrow);
    rig.list(
        "namespace a",
        "10",
        vec![object("a", "x", "u", 1), object("a", "y", "u", 2)],
    );
    narrow.take();
    let wide_subscription = rig.subscribe(View::everything(), &wide);
    assert_eq!(wide.take(), ["!+a/x@1", "!+a/y@2"]);
    assert_eq!(rig.watches(), ["namespace a", ALL]);
    rig.event("namespace a", put("a", "x", 11));
    // The list has seen more than the narrow watch, and the narrow watch less.
    rig.list(ALL, "20", vec![object("a", "x", "u", 15), object("b", "z", "u", 3)]);
    assert_eq!(rig.watches(), [ALL]);
    assert_eq!(narrow.take(), ["~a/x@11", "-a/y@20?", "~a/x@15"]);
    assert_eq!(wide.take(), ["~a/x@11", "-a/y@20?", "~a/x@15", "!+b/z@3", "synced"]);
    rig.event(ALL, put("a", "x", 21));
    assert_eq!(narrow.take(), ["~a/x@21"]);
    drop(wide_subscription);
    assert_eq!(
        rig.watches(),
        [ALL, "namespace a"],
        "it stays until others hold what is left"
    );
    rig.event(ALL, put("a", "x", 22));
    rig.list("namespace a", "22", vec![object("a", "x", "u", 22)]);
    assert_eq!(rig.watches(), ["namespace a"]);
    assert_eq!(rig.informer.counters().objects, 1, "b/z is freed");
    rig.event("namespace a", put("a", "x", 23));
    assert_eq!(narrow.take(), ["~a/x@22", "~a/x@23"]);
}

#[test]
fn a_wide_list_that_is_older_than_the_narrow_watches_is_asked_for_again_and_nothing_goes_back() {
    let (rig, narrow, wide) = (rig(), Recorder::new(), Recorder::new());
    let _narrow = rig.subscribe(of(&["a"]), &narrow);
    rig.list("namespace a", "10", vec![object("a", "x", "u", 1)]);
    let _wide = rig.subscribe(View::everything(), &wide);
    rig.event("namespace a", deleted("a", "x", 30));
    drop((narrow.take(), wide.take()));
    let stale = rig.id("namespace a");
    let order = rig.list(ALL, "20", vec![object("a", "x", "u", 1)]);
    let quorum = ListRequest {
        version: Version::default(),
        limit: Some(500),
        token: None,
    };
    assert_eq!(order, Some(Order::List(quorum)));
    assert_eq!(
        rig.watches(),
        [ALL],
        "the narrow watch stops, or it could be ahead for ever"
    );
    assert!(rig.informer.input(Duration::ZERO, stale, Input::Closed).gone);
    assert_eq!((narrow.take(), wide.take()), (vec![], vec![]), "the dead stay dead");
    rig.list(ALL, "31", vec![]);
    assert_eq!((narrow.take(), wide.take()), (vec![], vec!["synced".to_owned()]));
    assert_eq!(rig.informer.counters().went_back, 0);
}

#[test]
fn a_forbidden_watch_of_all_falls_back_to_the_namespaces_that_were_named_and_says_so() {
    let (rig, all, named) = (rig(), Recorder::new(), Recorder::new());
    let wide = rig.subscribe(View::everything(), &all);
    let narrow = rig.subscribe(of(&["a"]), &named);
    rig.forbid(ALL);
    assert_eq!(rig.watches(), [ALL, "namespace a"]);
    rig.list("namespace a", "10", vec![object("a", "x", "u", 1)]);
    assert_eq!(named.take(), ["!+a/x@1", "synced"]);
    assert!(narrow.synced() && !wide.synced());
    let status = &rig.informer.statuses()[0];
    assert_eq!((status.phase, status.synced), (Phase::Forbidden, false));
    let Err(ReadError::NotSynced { why: Some(why), .. }) = wide.get(&Key::new(Some("a"), "x")) else {
        panic!("a cache that was never filled answers nothing");
    };
    assert!(why.contains("forbidden"), "{why}");
    // Rights come: the watch of all takes over.
    rig.input(rig.id(ALL), Input::Timer);
    rig.list(ALL, "20", vec![object("a", "x", "u", 1), object("b", "y", "u", 2)]);
    assert_eq!(rig.watches(), [ALL]);
    assert_eq!(all.take(), ["!+a/x@1", "!+b/y@2", "synced"]);
    assert_eq!(named.take(), [""; 0]);
}

#[test]
fn rights_that_are_lost_and_found_again_lose_nothing() {
    let (rig, all, named) = (rig(), Recorder::new(), Recorder::new());
    let _wide = rig.subscribe(View::everything(), &all);
    let narrow = rig.subscribe(of(&["a"]), &named);
    rig.list(ALL, "10", vec![object("a", "x", "u", 1)]);
    drop((all.take(), named.take()));
    rig.event(ALL, put("a", "x", 11));
    rig.input(rig.id(ALL), Input::Closed);
    rig.forbid(ALL);
    assert_eq!(rig.watches(), [ALL, "namespace a"]);
    assert!(narrow.synced(), "what is held stays readable");
    rig.list("namespace a", "20", vec![object("a", "x", "u", 15)]);
    rig.event("namespace a", put("a", "x", 31));
    assert_eq!(named.take(), ["~a/x@11", "~a/x@15", "~a/x@31"]);
    rig.input(rig.id(ALL), Input::Timer);
    let order = rig.list(ALL, "30", vec![object("a", "x", "u", 15)]);
    assert!(
        matches!(order, Some(Order::List(_))),
        "older than the narrow watch: {order:?}"
    );
    assert_eq!(rig.watches(), [ALL]);
    rig.list(ALL, "32", vec![object("a", "x", "u", 31)]);
    assert_eq!(named.take(), [""; 0]);
    assert_eq!(rig.informer.counters().went_back, 0);
}

#[test]
fn after_a_relist_everything_that_vanished_was_seen_as_deleted_once() {
    let (rig, heard) = (rig(), Recorder::new());
    let _subscription = rig.subscribe(View::everything(), &heard);
    rig.list(
        ALL,
        "10",
        (0..5).map(|n| object("a", &format!("x{n}"), "u", n)).collect(),
    );
    heard.take();
    let expired = Event::Error(Failure::new(Trouble::Expired, "too old"));
    let order = rig.input(rig.id(ALL), Input::Events(vec![expired]));
    assert!(matches!(order, Some(Order::List(_))), "{order:?}");
    rig.list(ALL, "20", vec![object("a", "x3", "u", 3)]);
    assert_eq!(heard.take(), ["-a/x0@20?", "-a/x1@20?", "-a/x2@20?", "-a/x4@20?"]);
    assert_eq!(rig.informer.statuses()[0].relists, 1);
}

#[test]
fn reads_pass_through_the_view_and_a_wider_one_is_refused() {
    let rig = rig();
    let heard = Recorder::new();
    let view = View {
        namespaces: Names::of(["a", "b"]),
        selector: LabelSelector::parse("app=web").unwrap(),
        projection: Projection::Metadata,
        ..View::everything()
    };
    let _all = rig.subscribe(View::everything(), &Recorder::new());
    let subscription = rig.subscribe(view, &heard);
    let key = |namespace: &str, name: &str| Key::new(Some(namespace), name);
    assert!(matches!(
        subscription.get(&key("a", "x")),
        Err(ReadError::NotSynced { .. })
    ));
    rig.list(
        ALL,
        "10",
        vec![
            labelled("a", "x", "1", 1, "app", "web"),
            labelled("a", "y", "2", 2, "app", "db"),
            labelled("b", "z", "3", 3, "app", "web"),
            labelled("c", "w", "4", 4, "app", "web"),
        ],
    );
    assert_eq!(heard.take(), ["!+a/x@1", "!+b/z@3", "synced"]);
    let found = subscription.get(&key("a", "x")).unwrap().unwrap();
    assert!(!found.json().contains("spec"));
    assert_eq!(subscription.get(&key("a", "y")).unwrap(), None);
    assert!(matches!(
        subscription.get(&key("c", "w")),
        Err(ReadError::OutsideView { .. })
    ));
    let everything = LabelSelector::everything();
    let listing = subscription.list(None, &everything).unwrap();
    assert_eq!(
        (keys(&listing.items), listing.version.as_str()),
        (vec!["a/x".to_owned(), "b/z".to_owned()], "10")
    );
    assert_eq!(keys(&subscription.list(Some("b"), &everything).unwrap().items), ["b/z"]);
    assert!(matches!(
        subscription.list(Some("c"), &everything),
        Err(ReadError::OutsideView { .. })
    ));
    let db = LabelSelector::parse("app=db").unwrap();
    assert_eq!(subscription.list(None, &db).unwrap().items, []);
}

#[test]
fn indexes_belong_to_their_subscriber_and_answer_through_its_view() {
    let rig = rig();
    let spec = |path: &str| IndexSpec {
        name: "mine".to_owned(),
        paths: vec![FieldPath::parse(path).unwrap()],
    };
    let _all = rig.subscribe(View::everything(), &Recorder::new());
    let by_color = rig.subscribe_with(of(&["a"]), &[spec("spec.color")], &Recorder::new());
    let by_name = rig.subscribe_with(View::everything(), &[spec("metadata.name")], &Recorder::new());
    let without = rig.subscribe(View::everything(), &Recorder::new());
    rig.list(
        ALL,
        "10",
        vec![colored("a", "x", "1", 1, "blue"), colored("b", "y", "2", 2, "blue")],
    );
    assert_eq!(keys(&by_color.by_index("mine", "blue").unwrap()), ["a/x"]);
    assert_eq!(keys(&by_name.by_index("mine", "y").unwrap()), ["b/y"]);
    assert!(matches!(
        without.by_index("mine", "y"),
        Err(ReadError::Index(IndexError::Unknown(_)))
    ));
    let twice = [spec("spec.color"), spec("metadata.name")];
    let refused = rig
        .informer
        .subscribe(Arc::new(View::everything()), &twice, Recorder::new());
    assert!(matches!(refused, Err(IndexError::Taken(_))));
}

#[tokio::test(start_paused = true)]
async fn a_read_waits_for_a_version_at_most_its_bound() {
    let rig = rig();
    let subscription = rig.subscribe(of(&["a"]), &Recorder::new());
    let second = Duration::from_secs(1);
    assert_eq!(
        subscription.wait_for(&Version::new("5"), Some("a"), second).await,
        Holds::No
    );
    assert!(!subscription.wait_synced(second).await);
    rig.list("namespace a", "10", vec![]);
    assert!(subscription.wait_synced(second).await);
    assert_eq!(
        subscription.wait_for(&Version::new("10"), Some("a"), second).await,
        Holds::Yes
    );
    assert_eq!(
        subscription.wait_for(&Version::new("odd"), Some("a"), second).await,
        Holds::Unknown
    );
    let version = Version::new("12");
    let (held, ()) = tokio::join!(subscription.wait_for(&version, None, second), async {
        rig.event("namespace a", put("a", "x", 11));
        tokio::task::yield_now().await;
        rig.input(
            rig.id("namespace a"),
            Input::Events(vec![Event::Bookmark(Version::new("12"))]),
        );
    });
    assert_eq!(held, Holds::Yes);
}

#[tokio::test(start_paused = true)]
async fn rule_37_where_a_version_does_not_parse_a_read_is_told_at_once_to_be_live() {
    for (held, asked) in [("10", "odd"), ("odd", "10"), ("odd", "stranger")] {
        let rig = rig();
        let subscription = rig.subscribe(of(&["a"]), &Recorder::new());
        rig.list("namespace a", held, vec![]);
        let clock = TokioClock::start();
        let asked = Version::new(asked);
        let wait = subscription.wait_for(&asked, Some("a"), Duration::from_secs(60));
        assert_eq!(wait.await, Holds::Unknown, "{held} {asked}");
        assert_eq!(crate::Clock::now(&clock), Duration::ZERO);
    }
}

#[test]
fn a_thousand_changes_give_the_same_trace_from_the_same_seed() {
    let run = |seed: u64| {
        let (rig, heard) = (rig(), Recorder::new());
        let _subscription = rig.subscribe(View::everything(), &heard);
        rig.list(ALL, "1", vec![]);
        let mut dice = fastrand::Rng::with_seed(seed);
        for version in 2..1_000 {
            let name = format!("x{}", dice.u8(..8));
            match dice.u8(..3) {
                0 => rig.event(ALL, deleted("a", &name, version)),
                _ => rig.event(ALL, put("a", &name, version)),
            }
        }
        heard.take()
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}

mod widening;
