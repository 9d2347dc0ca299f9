//! Watches that bring more or less than others, by hand.

use pilothouse_object::FieldSet;

use super::*;

fn metadata() -> View {
    View {
        projection: Projection::Metadata,
        ..View::everything()
    }
}

fn selecting(selector: &str) -> View {
    View {
        selector: LabelSelector::parse(selector).unwrap(),
        ..View::everything()
    }
}

impl Rig {
    fn youngest(&self) -> u64 {
        *lock(&self.running).last().unwrap()
    }

    fn eldest(&self) -> u64 {
        lock(&self.running)[0]
    }

    fn list_of(&self, id: u64, version: &str, objects: Vec<Object>) -> Option<Order> {
        self.input(id, Input::Items(objects.into_iter().map(Item::Object).collect(), 0));
        let version = Version::new(version);
        let order = self.input(id, Input::Page { version, token: None });
        self.input(id, Input::Opened);
        order
    }

    fn event_of(&self, id: u64, change: Change) {
        self.input(id, Input::Events(vec![Event::Changed(change)]));
    }

    fn query(&self, id: u64) -> String {
        self.informer.wire(id, true).unwrap().select(String::new())
    }

    fn stored(&self) -> Vec<String> {
        self.informer.store().iter().map(|o| o.json().to_owned()).collect()
    }
}

fn part(object: &Object) -> Change {
    Change::Put(object.metadata_only())
}

#[test]
fn who_wants_more_is_waited_for_while_those_who_want_less_go_on() {
    let (rig, less, more) = (rig(), Recorder::new(), Recorder::new());
    let lesser = rig.subscribe(metadata(), &less);
    let (x, y) = (object("a", "x", "u", 1), object("a", "y", "v", 2));
    rig.list(ALL, "10", vec![x.metadata_only(), y.metadata_only()]);
    less.take();

    let wide = rig.subscribe(View::everything(), &more);
    assert_eq!(rig.watches(), [ALL, ALL]);
    assert!(!wide.synced(), "its form is not there");
    assert!(matches!(wide.get(x.key()), Err(ReadError::NotSynced { .. })));
    rig.event_of(rig.eldest(), part(&object("a", "x", "u", 11)));
    assert_eq!(less.take(), ["~a/x@11"]);
    assert_eq!(more.take(), [""; 0], "half an object is none");

    rig.list_of(rig.youngest(), "11", vec![object("a", "x", "u", 11), y.clone()]);
    assert_eq!(rig.watches(), [ALL]);
    assert_eq!(less.take(), [""; 0], "the same objects, silently");
    assert_eq!(more.take(), ["!+a/x@11", "!+a/y@2", "synced"]);
    assert_eq!(wide.get(y.key()).unwrap().unwrap().json(), y.json());
    assert_eq!(
        lesser.get(y.key()).unwrap().unwrap().json(),
        y.metadata_only().json(),
        "who asked for metadata sees metadata"
    );
    rig.event(ALL, put("a", "x", 12));
    assert_eq!(
        (less.take(), more.take()),
        (vec!["~a/x@12".to_owned()], vec!["~a/x@12".to_owned()])
    );

    // The wide one leaves: what is held is cut in its place, and no list is asked for.
    let weight = rig.informer.counters().weight;
    drop(wide);
    assert_eq!(rig.watches(), [ALL]);
    assert_eq!(rig.informer.statuses()[0].relists, 0);
    assert!(rig.informer.counters().weight < weight);
    assert!(
        rig.stored().iter().all(|json| !json.contains("spec")),
        "{:?}",
        rig.stored()
    );
    // The stream still brings whole objects until it is opened again.
    rig.event(ALL, put("a", "x", 13));
    assert!(
        rig.stored().iter().all(|json| !json.contains("spec")),
        "{:?}",
        rig.stored()
    );
    assert_eq!(less.take(), ["~a/x@13"]);
}

#[test]
fn an_informer_keeps_the_fields_that_were_asked_for_and_those_that_indexes_read() {
    let rig = rig();
    let fields = |path: &str| View {
        projection: Projection::Fields(Arc::new(FieldSet::new(&[FieldPath::parse(path).unwrap()]).unwrap())),
        ..View::everything()
    };
    let index = IndexSpec {
        name: "color".to_owned(),
        paths: vec![FieldPath::parse("spec.color").unwrap()],
    };
    let reads = rig.subscribe(fields("spec.other"), &Recorder::new());
    rig.list(ALL, "10", vec![colored("a", "x", "u", 1, "blue")]);
    assert!(rig.stored()[0].ends_with(r#","spec":{}}"#), "{:?}", rig.stored());
    let finds = rig.subscribe_with(metadata(), &[index], &Recorder::new());
    rig.list_of(rig.youngest(), "10", vec![colored("a", "x", "u", 1, "blue")]);
    assert!(
        rig.stored()[0].ends_with(r#","spec":{"color":"blue"}}"#),
        "{:?}",
        rig.stored()
    );
    assert_eq!(keys(&finds.by_index("color", "blue").unwrap()), ["a/x"]);
    let read = reads.get(&Key::new(Some("a"), "x")).unwrap().unwrap();
    assert!(
        read.json().ends_with(r#","spec":{}}"#),
        "its own fields alone: {}",
        read.json()
    );
}

#[test]
fn one_selector_of_all_subscribers_goes_on_the_wire_and_differing_ones_do_not() {
    let (rig, web) = (rig(), Recorder::new());
    let _web = rig.subscribe(selecting("app=web"), &web);
    assert_eq!(rig.query(rig.id(ALL)), "?labelSelector=app%3Dweb");
    let (x, y) = (
        labelled("a", "x", "u", 1, "app", "web"),
        labelled("a", "y", "v", 2, "app", "db"),
    );
    rig.list(ALL, "10", vec![x.clone()]);
    web.take();
    let db = rig.subscribe(selecting("app=db"), &Recorder::new());
    assert_eq!(rig.query(rig.youngest()), "");
    rig.list_of(rig.youngest(), "10", vec![x, y]);
    assert_eq!((rig.watches().len(), rig.informer.counters().objects), (1, 2));
    assert!(db.synced());
    drop(db);
    assert_eq!(rig.informer.counters().objects, 1, "what nobody sees is freed");
    assert_eq!(rig.informer.statuses()[0].relists, 0);
    // The stream that runs knows no selector yet.
    rig.event(ALL, Change::Put(labelled("a", "z", "w", 11, "app", "db")));
    rig.event(ALL, Change::Put(labelled("a", "x", "u", 12, "app", "db")));
    assert_eq!(web.take(), ["-a/x@12"]);
    assert_eq!(rig.informer.counters().objects, 0);
    rig.input(rig.id(ALL), Input::Closed);
    assert_eq!(rig.query(rig.id(ALL)), "?labelSelector=app%3Dweb");
}

#[test]
fn a_write_that_no_watch_will_tell_of_is_not_waited_for() {
    let rig = rig();
    let web = rig.subscribe(selecting("app=web"), &Recorder::new());
    rig.list(ALL, "10", vec![labelled("a", "x", "u", 1, "app", "web")]);
    let made = |name: &str, value: &str| labelled("a", name, "u", 11, "app", value);
    assert!(web.hears_of(&made("x", "web")) && web.hears_of(&made("new", "web")));
    assert!(web.hears_of(&made("x", "db")), "its leaving is told");
    assert!(!web.hears_of(&made("new", "db")));
    rig.event(ALL, Change::Deleted(made("x", "web")));
    assert!(!web.hears_of(&made("x", "db")));
}

#[test]
fn a_watch_of_one_object_asks_for_one_object() {
    let rig = rig();
    let named = |name: &str| View {
        names: Names::of([name]),
        ..of(&["a"])
    };
    let _x = rig.subscribe(named("x"), &Recorder::new());
    assert_eq!(rig.query(rig.youngest()), "?fieldSelector=metadata.name%3Dx");
    rig.list("namespace a", "10", vec![object("a", "x", "u", 1)]);
    let _y = rig.subscribe(named("y"), &Recorder::new());
    assert_eq!(rig.query(rig.youngest()), "");
}

#[test]
fn a_quorum_list_that_is_slower_than_the_watch_it_is_to_replace_is_no_restore() {
    let (rig, less) = (rig(), Recorder::new());
    let _less = rig.subscribe(metadata(), &less);
    rig.list(ALL, "10", vec![object("a", "x", "u", 1).metadata_only()]);
    let _more = rig.subscribe(View::everything(), &Recorder::new());
    let young = rig.youngest();
    let order = rig.input(young, Input::Failed(Failure::new(Trouble::Expired, "too old")));
    assert!(matches!(order, Some(Order::List(list)) if list.version.is_empty()));
    rig.event_of(rig.eldest(), part(&object("a", "x", "u", 25)));
    let order = rig.list_of(young, "20", vec![object("a", "x", "u", 1)]);
    assert!(matches!(order, Some(Order::List(_))), "{order:?}");
    assert_eq!(rig.watches(), [ALL], "the lesser one is ahead no more");
    rig.list_of(young, "26", vec![object("a", "x", "u", 25)]);
    assert_eq!(less.take(), ["!+a/x@1", "synced", "~a/x@25"]);
    assert_eq!(rig.informer.counters().went_back, 0);
}

#[test]
fn a_watch_of_all_that_is_on_its_way_out_leaves_alone_what_others_have_taken_over() {
    let (rig, heard) = (rig(), Recorder::new());
    let _named = rig.subscribe(of(&["a", "b"]), &heard);
    let all = rig.subscribe(View::everything(), &Recorder::new());
    rig.list(ALL, "10", vec![object("a", "x", "u", 1), object("b", "y", "v", 2)]);
    drop(all);
    rig.list("namespace a", "20", vec![object("a", "x", "u", 1)]);
    drop(heard.take());
    let expired = Event::Error(Failure::new(Trouble::Expired, "too old"));
    rig.input(rig.id(ALL), Input::Events(vec![expired]));
    // a/x was changed at 22 and deleted at 25; the watch of a has not told of it yet.
    rig.list(ALL, "30", vec![object("b", "y", "v", 2)]);
    assert_eq!(heard.take(), [""; 0]);
    rig.event("namespace a", put("a", "x", 22));
    rig.event(ALL, put("a", "x", 33));
    rig.event("namespace a", deleted("a", "x", 25));
    assert_eq!(heard.take(), ["~a/x@22", "-a/x@25"]);
    rig.list("namespace b", "30", vec![object("b", "y", "v", 2)]);
    assert_eq!(rig.watches(), ["namespace a", "namespace b"]);
}

#[test]
fn who_asks_for_all_waits_for_rights_and_is_served_when_they_come() {
    let (rig, all, one) = (rig(), Recorder::new(), Recorder::new());
    let wide = rig.subscribe(View::everything(), &all);
    let narrow = rig.subscribe(of(&["a"]), &one);
    rig.forbid(ALL);
    rig.list("namespace a", "10", vec![object("a", "x", "u", 1)]);
    // More is needed while all is forbidden: the fall-back too brings it.
    let uncut = rig.subscribe(
        View {
            projection: Projection::Uncut,
            ..of(&["a"])
        },
        &Recorder::new(),
    );
    assert_eq!(rig.watches(), ["namespace a", ALL]);
    rig.forbid(ALL);
    assert_eq!(rig.watches(), ["namespace a", ALL, "namespace a"]);
    rig.list_of(rig.youngest(), "11", vec![object("a", "x", "u", 1)]);
    assert_eq!(rig.watches(), [ALL, "namespace a"]);
    assert!(narrow.synced() && uncut.synced() && !wide.synced());
    rig.input(rig.id(ALL), Input::Timer);
    rig.list(ALL, "20", vec![object("a", "x", "u", 1), object("b", "y", "v", 2)]);
    assert_eq!(rig.watches(), [ALL]);
    assert_eq!(all.take(), ["!+a/x@1", "!+b/y@2", "synced"]);
    assert_eq!(one.take(), ["!+a/x@1", "synced"]);
}

#[test]
fn who_is_synced_hears_nothing_as_initial() {
    let (rig, narrow, wide) = (rig(), Recorder::new(), Recorder::new());
    let _narrow = rig.subscribe(of(&["a"]), &narrow);
    rig.list("namespace a", "10", vec![object("a", "x", "u", 1)]);
    assert_eq!(narrow.take(), ["!+a/x@1", "synced"]);
    // The first list of another watch tells it of what is new to the store.
    let _wide = rig.subscribe(View::everything(), &wide);
    rig.list(ALL, "12", vec![object("a", "x", "u", 1), object("a", "y", "v", 12)]);
    assert_eq!(narrow.take(), ["+a/y@12"]);
    assert_eq!(wide.take(), ["!+a/x@1", "!+a/y@12", "synced"]);
}

#[test]
fn a_list_that_can_bring_no_more_of_an_object_than_is_held_keeps_none_of_it() {
    let rig = rig();
    // How much of one page is kept until the list is whole.
    let kept = |scope: &str, version: &str| {
        let id = rig.id(scope);
        rig.input(id, Input::Items(vec![Item::Object(object("a", "x", "u", 1))], 0));
        let kept = lock(&rig.informer.core).slots[&id].relist.kept();
        let version = Version::new(version);
        rig.input(id, Input::Page { version, token: None });
        rig.input(id, Input::Opened);
        kept
    };
    let _wide = rig.subscribe(View::everything(), &Recorder::new());
    let _narrow = rig.subscribe(of(&["a"]), &Recorder::new());
    assert_eq!(kept(ALL, "10"), 1);
    // A later list of the same watch.
    rig.input(rig.id(ALL), Input::Failed(Failure::new(Trouble::Expired, "too old")));
    assert_eq!(kept(ALL, "11"), 0);
    assert_eq!(rig.informer.statuses()[0].relists, 1);
    // The first list of another that brings the same.
    rig.forbid(ALL);
    assert_eq!(kept("namespace a", "12"), 0);
}
