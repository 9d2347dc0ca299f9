use proptest::prelude::*;

use super::*;
use crate::testing::{colored, object};

const ALL: Scope = Scope::All;

fn v(version: &str) -> Version {
    Version::new(version)
}

fn path(text: &str) -> Vec<FieldPath> {
    vec![FieldPath::parse(text).unwrap()]
}

fn staged(store: &Store, objects: impl IntoIterator<Item = Object>) -> Relist {
    let mut list = Relist::default();
    for object in objects {
        list.stage(store, Item::Object(object));
    }
    list
}

/// A store that was listed at this version.
fn filled(version: &str, objects: impl IntoIterator<Item = Object>) -> Store {
    let mut store = Store::new();
    let list = staged(&store, objects);
    store.replace(&ALL, list, v(version), false).unwrap();
    store
}

/// `+a/x@1`, `-a/x@3`, `~a/x@2`; a `?` behind a deletion whose final state is unknown.
fn told(deltas: &[Delta]) -> Vec<String> {
    deltas
        .iter()
        .map(|delta| {
            let sign = match (&delta.old, &delta.new) {
                (None, _) => '+',
                (_, Some(_)) => '~',
                (_, None) => '-',
            };
            let unknown = if delta.final_state_unknown { "?" } else { "" };
            format!("{sign}{}@{}{unknown}", delta.key, delta.version)
        })
        .collect()
}

fn names<'a>(objects: impl Iterator<Item = &'a Object>) -> Vec<String> {
    objects.map(|o| o.key().to_string()).collect()
}

#[test]
fn rule_42_a_relist_tells_deletions_first_and_then_changes_in_list_order() {
    let mut store = filled(
        "10",
        [
            object("a", "b", "1", 1),
            object("a", "c", "2", 2),
            object("a", "d", "3", 3),
        ],
    );
    let list = staged(
        &store,
        [
            object("a", "z", "9", 11),
            object("a", "c", "2", 2),
            object("a", "b", "1", 12),
        ],
    );
    let replaced = store.replace(&ALL, list, v("20"), false).unwrap();
    assert_eq!(told(&replaced.deltas), ["-a/d@20?", "+a/z@11", "~a/b@12"]);
    assert_eq!(
        replaced.deltas[0].old,
        Some(object("a", "d", "3", 3)),
        "with the last state known"
    );
    assert_eq!(names(store.iter()), ["a/b", "a/c", "a/z"]);
    assert!(replaced.went_back.is_none());
}

#[test]
fn what_was_written_and_is_gone_before_any_watch_told_of_it_is_deleted_by_the_next_list() {
    let mut store = filled("10", [object("a", "held", "1", 1)]);
    for (name, version) in [("gone", 12), ("listed", 13), ("heard", 14), ("held", 15), ("later", 30)] {
        store.expect(object("a", name, "2", version));
    }
    // The watch told of it, and of its end.
    store.apply(&ALL, Change::Put(object("a", "heard", "2", 14)));
    store.apply(&ALL, Change::Deleted(object("a", "heard", "2", 15)));
    let list = staged(&store, [object("a", "listed", "2", 13)]);
    let deltas = store.replace(&ALL, list, v("20"), false).unwrap().deltas;
    assert_eq!(
        told(&deltas),
        ["-a/held@20?", "-a/gone@20?", "+a/listed@13"],
        "each once"
    );
    assert_eq!(
        deltas[1].old,
        Some(object("a", "gone", "2", 12)),
        "with what was written"
    );
    // What the list is too old for is decided by a later one, and nothing is told twice.
    let again = |store: &mut Store, version: &str| {
        let list = staged(store, [object("a", "listed", "2", 13)]);
        told(&store.replace(&ALL, list, v(version), false).unwrap().deltas)
    };
    assert_eq!(again(&mut store, "29"), [""; 0]);
    assert_eq!(again(&mut store, "30"), ["-a/later@30?"]);
    assert_eq!(again(&mut store, "31"), [""; 0]);
    // The watch is past it: it was told of then.
    store.expect(object("a", "past", "2", 31));
    assert_eq!(again(&mut store, "40"), [""; 0]);
}

#[test]
fn rule_42_only_what_changed_is_held_while_a_list_comes_in() {
    let store = filled("10", (0..100).map(|n| object("a", &format!("x{n}"), "u", n)));
    let list = staged(
        &store,
        (0..100).map(|n| object("a", &format!("x{n}"), "u", if n < 5 { n + 50 } else { n })),
    );
    assert_eq!(list.changed.len(), 5);
}

#[test]
fn rule_43_a_relist_of_unchanged_objects_is_silent() {
    let objects = || [object("a", "x", "1", 1), object("b", "y", "2", 2)];
    let mut store = filled("10", objects());
    let list = staged(&store, objects());
    assert!(store.replace(&ALL, list, v("99"), false).unwrap().deltas.is_empty());
    assert_eq!(store.version(&ALL), Some(&v("99")));
}

#[test]
fn rule_43_an_event_with_an_unchanged_version_is_silent() {
    let mut store = filled("10", [object("a", "x", "1", 5)]);
    assert!(store.apply(&ALL, Change::Put(object("a", "x", "1", 5))).is_empty());
}

#[test]
fn rule_48_deleted_and_recreated_under_one_name_is_a_deletion_and_an_addition() {
    let mut store = filled("10", [object("a", "x", "old", 5)]);
    let deltas = store.apply(&ALL, Change::Put(object("a", "x", "new", 12)));
    assert_eq!(told(&deltas), ["-a/x@12?", "+a/x@12"]);
    let list = staged(&store, [object("a", "x", "newer", 15)]);
    let deltas = store.replace(&ALL, list, v("20"), false).unwrap().deltas;
    assert_eq!(told(&deltas), ["-a/x@15?", "+a/x@15"]);
}

#[test]
fn rule_49_a_deletion_carries_the_last_state_with_the_deletions_version() {
    let mut store = filled("10", [object("a", "x", "1", 5)]);
    let deltas = store.apply(&ALL, Change::Deleted(object("a", "x", "1", 12)));
    assert_eq!(told(&deltas), ["-a/x@12"]);
    assert_eq!(deltas[0].old, Some(object("a", "x", "1", 5)));
    assert_eq!(deltas[0].last, Some(object("a", "x", "1", 12)));
    assert!(store.is_empty());
    assert!(
        store.apply(&ALL, Change::Deleted(object("a", "x", "1", 12))).is_empty(),
        "once"
    );
}

#[test]
fn decision_13_an_event_older_than_the_store_is_discarded() {
    let mut store = filled("10", [object("a", "x", "1", 8)]);
    assert!(store.apply(&ALL, Change::Put(object("a", "x", "1", 7))).is_empty());
    assert!(store.apply(&ALL, Change::Deleted(object("a", "x", "0", 7))).is_empty());
    store.apply(&ALL, Change::Deleted(object("a", "x", "1", 12)));
    store.advance(&ALL, &v("12"));
    // A replay of what came before the deletion must not raise the dead.
    assert!(store.apply(&ALL, Change::Put(object("a", "x", "1", 11))).is_empty());
    assert_eq!((store.len(), store.stale()), (0, 3));
}

#[test]
fn decision_13_an_older_list_is_discarded_but_a_quorum_list_wins_and_is_told() {
    let mut store = filled("100", [object("a", "x", "1", 90), object("a", "y", "2", 95)]);
    let older = || [object("a", "x", "1", 40)];
    let list = staged(&store, older());
    assert_eq!(
        store.replace(&ALL, list, v("50"), false).unwrap_err(),
        Older {
            list: v("50"),
            store: v("100")
        }
    );
    assert_eq!(names(store.iter()), ["a/x", "a/y"]);
    let list = staged(&store, older());
    let replaced = store.replace(&ALL, list, v("50"), true).unwrap();
    assert_eq!(told(&replaced.deltas), ["-a/y@50?", "~a/x@40"]);
    assert_eq!(replaced.went_back, Some((v("100"), v("50"))));
    assert_eq!(store.version(&ALL), Some(&v("50")));
}

#[test]
fn versions_that_do_not_compare_are_taken_as_they_come() {
    let mut store = filled("abc", [object("a", "x", "1", 8)]);
    assert_eq!(
        told(&store.apply(&ALL, Change::Put(object("a", "y", "1", 7)))),
        ["+a/y@7"]
    );
    let list = staged(&store, []);
    assert!(store.replace(&ALL, list, v("7"), false).is_ok());
}

#[test]
fn a_page_that_was_asked_for_twice_counts_once() {
    let mut store = Store::new();
    let list = staged(
        &store,
        [
            object("a", "x", "1", 1),
            object("a", "y", "2", 2),
            object("a", "x", "1", 3),
        ],
    );
    let deltas = store.replace(&ALL, list, v("5"), false).unwrap().deltas;
    assert_eq!(told(&deltas), ["+a/x@3", "+a/y@2"]);
}

#[test]
fn rule_38_what_is_deleted_while_its_list_streams_in_is_no_part_of_it() {
    let mut store = filled("10", [object("a", "x", "1", 5), object("a", "y", "2", 6)]);
    let mut list = staged(&store, [object("a", "x", "1", 5), object("a", "z", "3", 12)]);
    for name in ["x", "z", "never"] {
        list.stage(&store, Item::Gone(Key::new(Some("a"), name)));
    }
    // Made anew at once.
    list.stage(&store, Item::Object(object("a", "x", "4", 14)));
    list.stage(&store, Item::Object(object("a", "w", "5", 15)));
    list.stage(&store, Item::Gone(Key::new(Some("a"), "w")));
    list.stage(&store, Item::Object(object("a", "w", "6", 16)));
    let deltas = store.replace(&ALL, list, v("20"), false).unwrap().deltas;
    assert_eq!(told(&deltas), ["-a/y@20?", "-a/x@14?", "+a/x@14", "+a/w@16"]);
}

#[test]
fn rule_40_an_object_that_the_list_names_but_nobody_can_read_stays_as_it_was() {
    let mut store = filled("10", [object("a", "x", "1", 5), object("a", "y", "2", 6)]);
    let mut list = staged(&store, [object("a", "y", "2", 6)]);
    list.stage(&store, Item::Unreadable(Key::new(Some("a"), "x")));
    assert!(store.replace(&ALL, list, v("20"), false).unwrap().deltas.is_empty());
    assert_eq!(store.len(), 2);
}

#[test]
fn a_list_of_one_namespace_leaves_the_others_alone() {
    let a = Scope::Namespace("a".into());
    let mut store = Store::new();
    for (scope, objects) in [
        (&a, vec![object("a", "x", "1", 1)]),
        (&Scope::Namespace("b".into()), vec![object("b", "x", "2", 2)]),
    ] {
        let list = staged(&store, objects);
        store.replace(scope, list, v("10"), false).unwrap();
    }
    // Whatever a server puts into a list of one namespace.
    let list = staged(&store, [object("b", "evil", "3", 3)]);
    assert_eq!(
        told(&store.replace(&a, list, v("11"), false).unwrap().deltas),
        ["-a/x@11?"]
    );
    assert_eq!(names(store.iter()), ["b/x"]);
    assert_eq!(store.oldest(&Names::of(["a", "b"]), None), Some(v("10")));
    assert_eq!(store.oldest(&Names::All, None), None);
    assert_eq!(store.oldest(&Names::of(["a", "c"]), None), None);
}

#[test]
fn a_list_of_everything_takes_over_from_single_namespaces_and_is_not_older_than_they() {
    let a = Scope::Namespace("a".into());
    let mut store = Store::new();
    let list = staged(&store, [object("a", "x", "1", 1)]);
    store.replace(&a, list, v("10"), false).unwrap();
    assert_eq!(store.newest(&ALL), Some(v("10")));
    let list = staged(&store, []);
    assert!(store.replace(&ALL, list, v("9"), false).is_err());
    let list = staged(&store, [object("a", "x", "1", 1), object("b", "y", "2", 11)]);
    assert_eq!(
        told(&store.replace(&ALL, list, v("12"), false).unwrap().deltas),
        ["+b/y@11"]
    );
    assert_eq!(store.version(&a), Some(&v("12")));
}

#[test]
fn a_part_that_has_a_version_of_its_own_is_measured_by_that_alone() {
    let mut store = filled("10", [object("a", "x", "u", 1)]);
    let a = Scope::Namespace("a".into());
    let list = staged(&store, [object("a", "x", "u", 1)]);
    assert!(store.replace(&a, list, v("9"), false).is_err(), "all is at 10");
    let list = staged(&store, [object("a", "x", "u", 1)]);
    store.replace(&a, list, v("12"), false).unwrap();
    store.advance(&ALL, &v("30"));
    assert_eq!(store.oldest(&Names::All, None), Some(v("12")));
    let list = staged(&store, []);
    store.replace(&a, list, v("20"), false).unwrap();
    let list = staged(&store, []);
    assert!(store.replace(&a, list, v("19"), false).is_err());
}

#[test]
fn what_no_watch_holds_any_more_is_freed() {
    let mut store = filled(
        "10",
        [
            object("a", "x", "1", 1),
            object("b", "y", "2", 2),
            object("", "c", "3", 3),
        ],
    );
    store.add_index("color", &path("spec.color")).unwrap();
    store.keep_only(&[Scope::Namespace("a".into())].into());
    assert_eq!(names(store.iter()), ["a/x"]);
    assert_eq!(names(store.by_index("color", "red").unwrap()), ["a/x"]);
    store.keep_only(&BTreeSet::new());
    assert_eq!((store.len(), store.weight()), (0, 0));
    assert!(store.indexes["color"].places("red").is_none());
}

#[test]
fn rule_51_an_index_changes_with_the_object_and_answers_each_object_once() {
    let mut store = Store::new();
    let paths = [path("spec.color"), path("metadata.name")].concat();
    store.add_index("either", &paths).unwrap();
    let list = staged(
        &store,
        [colored("a", "red", "1", 1, "red"), colored("a", "y", "2", 2, "red")],
    );
    store.replace(&ALL, list, v("10"), false).unwrap();
    assert_eq!(names(store.by_index("either", "red").unwrap()), ["a/red", "a/y"]);
    store.apply(&ALL, Change::Put(colored("a", "y", "2", 11, "blue")));
    assert_eq!(names(store.by_index("either", "red").unwrap()), ["a/red"]);
    assert_eq!(names(store.by_index("either", "blue").unwrap()), ["a/y"]);
    store.apply(&ALL, Change::Deleted(colored("a", "y", "2", 12, "blue")));
    assert_eq!(names(store.by_index("either", "blue").unwrap()), [""; 0]);
    assert!(
        store.indexes["either"].places("blue").is_none(),
        "empty sets are removed"
    );
}

#[test]
fn rule_51_many_values_of_one_object_are_all_found() {
    let mut store = Store::new();
    store.add_index("ports", &path("spec.ports[*].name")).unwrap();
    let json = r#"{"metadata":{"name":"x","namespace":"a","resourceVersion":"1"},"spec":{"ports":[{"name":"http"},{"name":"dns"},{"name":"http"}]}}"#;
    store.apply(&ALL, Change::Put(crate::testing::parse(json)));
    for value in ["http", "dns"] {
        assert_eq!(names(store.by_index("ports", value).unwrap()), ["a/x"]);
    }
}

#[test]
fn rule_52_an_unknown_index_and_a_taken_name_are_errors_and_a_late_one_is_filled() {
    let mut store = filled("10", [object("a", "x", "1", 1)]);
    assert!(matches!(
        store.by_index("color", "red").map(|_| ()),
        Err(IndexError::Unknown(_))
    ));
    store.add_index("color", &path("spec.color")).unwrap();
    assert_eq!(names(store.by_index("color", "red").unwrap()), ["a/x"]);
    assert_eq!(
        store.add_index("color", &path("spec.other")),
        Err(IndexError::Taken("color".to_owned()))
    );
    store.add_index("color", &path("spec.color")).unwrap();
    store.remove_index("color");
    assert!(store.by_index("color", "red").is_ok(), "one user is left");
    store.remove_index("color");
    assert!(store.by_index("color", "red").is_err());
}

#[test]
fn rule_53_a_value_that_can_not_be_indexed_costs_that_entry_and_a_counter() {
    let mut store = Store::new();
    store.add_index("color", &path("spec.color")).unwrap();
    let long = "x".repeat(crate::store::index::MAX_INDEX_VALUE + 1);
    store.apply(&ALL, Change::Put(colored("a", "x", "1", 1, &long)));
    store.apply(&ALL, Change::Put(object("a", "y", "2", 2)));
    assert_eq!(store.index_failures(), 1);
    assert_eq!(store.by_index("color", &long).unwrap().count(), 0);
    assert_eq!(names(store.by_index("color", "red").unwrap()), ["a/y"]);
    assert_eq!(store.len(), 2);
}

#[test]
fn rule_53_what_is_no_string_where_an_index_looks_is_left_out_and_the_rest_goes_on() {
    let widget = |name: &str, version: u64, spec: &str| {
        let json = format!(
            r#"{{"metadata":{{"namespace":"a","name":"{name}","uid":"{name}","resourceVersion":"{version}"}},"spec":{spec}}}"#
        );
        Change::Put(crate::testing::parse(&json))
    };
    let bad = [
        r#"{"color":{"red":"red"}}"#,
        r#"{"color":["red"]}"#,
        r#"{"color":null}"#,
        r#"{"color":"\ud800"}"#,
        r#"{"other":"red"}"#,
        r#"["red"]"#,
        r#""red""#,
        "null",
    ];
    let mut store = Store::new();
    store.add_index("color", &path("spec.color")).unwrap();
    store.apply(&ALL, widget("good", 1, r#"{"color":"red"}"#));
    let mut version = 1;
    for spec in bad {
        // It was found, then it can't be read, then it is found again.
        for (spec, found) in [
            (r#"{"color":"red"}"#, true),
            (spec, false),
            (r#"{"color":"red"}"#, true),
            (spec, false),
        ] {
            version += 1;
            store.apply(&ALL, widget("x", version, spec));
            let expected: &[&str] = if found { &["a/good", "a/x"] } else { &["a/good"] };
            assert_eq!(names(store.by_index("color", "red").unwrap()), expected, "{spec}");
        }
        assert_eq!(store.len(), 2, "the object itself is held");
        // Nor is it found under its text.
        for text in [r#"{"red":"red"}"#, r#"["red"]"#, "null", "", r"\ud800"] {
            assert_eq!(names(store.by_index("color", text).unwrap()), [""; 0], "{spec}");
        }
    }
    assert_eq!(store.index_failures(), 0, "that nothing stands there is no failure");
    // Numbers and booleans are found by their text.
    store.apply(&ALL, widget("x", version + 1, r#"{"color":1.50}"#));
    assert_eq!(names(store.by_index("color", "1.50").unwrap()), ["a/x"]);
}

/// What the server holds, in the plainest form there is.
#[derive(Default, Debug)]
struct Model {
    objects: Vec<Object>,
    version: u64,
    uids: u64,
}

#[derive(Clone, Debug)]
enum Op {
    /// Name, namespace, color, owner.
    Put(u8, u8, u8, u8),
    Delete(u8, u8),
    Recreate(u8, u8),
    Relist,
    Missed(u8, u8),
    Replay(u8),
    LateIndex,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let name = 0..4u8;
    let namespace = 0..3u8;
    prop::collection::vec(
        prop_oneof![
            4 => (name.clone(), namespace.clone(), 0..3u8, 0..3u8).prop_map(|(a, b, c, d)| Op::Put(a, b, c, d)),
            2 => (name.clone(), namespace.clone()).prop_map(|(a, b)| Op::Delete(a, b)),
            1 => (name.clone(), namespace.clone()).prop_map(|(a, b)| Op::Recreate(a, b)),
            1 => Just(Op::Relist),
            2 => (name, namespace).prop_map(|(a, b)| Op::Missed(a, b)),
            1 => (0..40u8).prop_map(Op::Replay),
            1 => Just(Op::LateIndex),
        ],
        0..60,
    )
}

impl Model {
    fn find(&self, name: u8, namespace: u8) -> Option<usize> {
        let key = key_of(name, namespace);
        self.objects.iter().position(|o| *o.key() == key)
    }

    fn make(&mut self, name: u8, namespace: u8, uid: Option<&str>, color: u8, owner: u8) -> Object {
        self.version += 1;
        let uid = uid.map(str::to_owned).unwrap_or_else(|| {
            self.uids += 1;
            format!("u{}", self.uids)
        });
        let key = key_of(name, namespace);
        let json = format!(
            r#"{{"apiVersion":"ex.io/v1","kind":"Widget","metadata":{{"name":"{}","namespace":"{}","uid":"{uid}","resourceVersion":"{}",
               "ownerReferences":[{{"apiVersion":"v1","kind":"O","name":"o","uid":"owner{owner}"}}]}},"spec":{{"color":"c{color}"}}}}"#,
            key.name,
            key.namespace.as_deref().unwrap_or_default(),
            self.version
        );
        crate::testing::parse(&json)
    }
}

fn key_of(name: u8, namespace: u8) -> Key {
    Key::new(Some(&format!("ns{namespace}")), &format!("n{name}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_store_agrees_with_a_naive_model_after_any_sequence_of_operations(ops in ops()) {
        let mut model = Model::default();
        let mut store = Store::new();
        store.replace(&ALL, Relist::default(), v("0"), false).unwrap();
        store.add_index("color", &path("spec.color")).unwrap();
        // What a subscriber would have, that knows the deltas alone.
        let mut shadow: BTreeMap<Key, Object> = BTreeMap::new();
        let mut history: Vec<Change> = Vec::new();
        for op in ops {
            let mut event = |store: &mut Store, change: Change| {
                history.push(change.clone());
                let version = change.object().head().version.clone();
                let deltas = store.apply(&ALL, change);
                store.advance(&ALL, &version);
                deltas
            };
            let deltas = match op {
                Op::Put(name, namespace, color, owner) => {
                    let at = model.find(name, namespace);
                    let uid = at.map(|at| model.objects[at].head().uid.to_owned());
                    let object = model.make(name, namespace, uid.as_deref(), color, owner);
                    if let Some(at) = at { model.objects.remove(at); }
                    model.objects.push(object.clone());
                    event(&mut store, Change::Put(object))
                }
                Op::Delete(name, namespace) => match model.find(name, namespace) {
                    Some(at) => {
                        let old = model.objects.remove(at);
                        let last = model.make(name, namespace, Some(old.head().uid), 0, 0);
                        event(&mut store, Change::Deleted(last))
                    }
                    None => Vec::new(),
                },
                Op::Recreate(name, namespace) => {
                    // The deletion is missed; only the new object shows.
                    if let Some(at) = model.find(name, namespace) { model.objects.remove(at); }
                    let object = model.make(name, namespace, None, 1, 1);
                    model.objects.push(object.clone());
                    event(&mut store, Change::Put(object))
                }
                Op::Missed(name, namespace) => {
                    // Changes on the server that no event tells; the next relist must find them. Until then the models
                    // differ.
                    match model.find(name, namespace) {
                        Some(at) => { model.objects.remove(at); model.version += 1; }
                        None => { let object = model.make(name, namespace, None, 2, 2); model.objects.push(object); }
                    }
                    relist(&mut store, &model)
                }
                Op::Relist => relist(&mut store, &model),
                Op::Replay(n) => match history.get(usize::from(n)) {
                    // An old event again: never a step back.
                    Some(change) => {
                        let change = change.clone();
                        let deltas = store.apply(&ALL, change);
                        prop_assert!(deltas.is_empty(), "{deltas:?}");
                        deltas
                    }
                    None => Vec::new(),
                },
                Op::LateIndex => {
                    store.remove_index("color");
                    store.add_index("color", &path("spec.color")).unwrap();
                    Vec::new()
                }
            };
            for delta in deltas {
                prop_assert_eq!(shadow.get(&delta.key), delta.old.as_ref());
                prop_assert!(delta.old.is_some() || delta.new.is_some());
                match delta.new {
                    Some(new) => shadow.insert(delta.key, new),
                    None => shadow.remove(&delta.key),
                };
            }
            let mut want: Vec<&Object> = model.objects.iter().collect();
            want.sort_by_key(|o| o.key().clone());
            prop_assert_eq!(store.iter().collect::<Vec<_>>(), want.clone());
            prop_assert_eq!(shadow.values().collect::<Vec<_>>(), want.clone());
            prop_assert_eq!(store.weight(), want.iter().map(|o| o.weight()).sum::<usize>());
            for n in 0..3 {
                let scan = |f: &dyn Fn(&Object) -> bool| names(want.iter().copied().filter(|o| f(o)));
                let (color, owner, namespace) = (format!("c{n}"), format!("owner{n}"), format!("ns{n}"));
                let quoted = format!("\"{color}\"");
                prop_assert_eq!(names(store.by_index("color", &color).unwrap()), scan(&|o| o.json().contains(&quoted)));
                prop_assert_eq!(names(store.owned_by(&owner)), scan(&|o| o.head().owners.get(0).unwrap().uid == owner));
                prop_assert_eq!(
                    names(store.namespace(&namespace)),
                    scan(&|o| o.key().namespace.as_deref() == Some(&*namespace))
                );
            }
        }
    }
}

fn relist(store: &mut Store, model: &Model) -> Vec<Delta> {
    let list = staged(store, model.objects.iter().cloned());
    let version = v(&model.version.to_string());
    store.replace(&ALL, list, version, false).unwrap().deltas
}

#[test]
fn a_store_is_gone_through_in_slices_from_whatever_key_also_one_that_is_gone() {
    let names = [("a", "x"), ("a", "y"), ("b", "x"), ("c", "x")];
    let objects = names.map(|(namespace, name)| object(namespace, name, "u", 1));
    let store = filled("5", objects);
    let after = |key: Option<Key>, most| -> Vec<String> {
        let objects = store.after(key.as_ref()).take(most);
        objects.map(|object| object.key().to_string()).collect()
    };
    assert_eq!(after(None, 2), ["a/x", "a/y"]);
    assert_eq!(after(Some(Key::new(Some("a"), "y")), 2), ["b/x", "c/x"]);
    assert_eq!(
        after(Some(Key::new(Some("a"), "xx")), 1),
        ["a/y"],
        "of one that is gone"
    );
    assert_eq!(after(Some(Key::new(Some("c"), "x")), 9), [""; 0]);
}

#[test]
fn rule_49_a_deletion_of_another_object_under_the_name_is_not_the_last_state_of_this_one() {
    let mut store = filled("10", [object("a", "x", "old", 5)]);
    let deltas = store.apply(&ALL, Change::Deleted(object("a", "x", "new", 12)));
    assert_eq!(told(&deltas), ["-a/x@12?"]);
    assert_eq!(deltas[0].last, None);
}

#[test]
fn what_a_list_has_named_is_not_taken_for_what_comes_to_its_place_once_the_store_was_empty() {
    let mut store = filled("10", [object("a", "x", "1", 1), object("a", "y", "2", 2)]);
    let list = staged(&store, [object("a", "x", "1", 1), object("a", "y", "2", 2)]);
    for (name, uid) in [("x", "1"), ("y", "2")] {
        store.apply(&ALL, Change::Deleted(object("a", name, uid, 11)));
    }
    for name in ["v", "w"] {
        store.apply(&ALL, Change::Put(object("a", name, name, 12)));
    }
    let deltas = store.replace(&ALL, list, v("20"), false).unwrap().deltas;
    assert_eq!(told(&deltas), ["-a/v@20?", "-a/w@20?"], "the list named neither");
}
