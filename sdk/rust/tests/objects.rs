//! Saving, ensuring and finalizing against the fake, as a plugin's author sees it.

use std::collections::BTreeMap;
use std::time::Duration;

use pilothouse_sdk::kinds::{ConfigMap, Namespace, Secret};
use pilothouse_sdk::prelude::*;
use pilothouse_sdk::serde_json::{Value, from_str, json};
use pilothouse_sdk::testing::Fake;
use pilothouse_sdk::{Freshness, Permission, Propagation, Retry, Watch, WriteOptions};
use serde::{Deserialize, Serialize};

/// Knows one field of the ten below.
#[derive(Clone, Debug, Serialize, Deserialize, Kind)]
#[kind("demo.example.com/v1", kind = "Machine")]
struct Machine {
    metadata: Metadata,
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Spec {
    size: u32,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    #[serde(default)]
    parts: Vec<Part>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Part {
    name: String,
    count: Option<u32>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Status {
    phase: String,
    conditions: Conditions,
}

fn nothing(_: &Context, _: Object<Machine>) -> Result<Outcome, Failure> {
    Ok(Outcome::done())
}

fn plugin() -> Plugin {
    Plugin::new("objects")
        .controller(
            Controller::new("machines", nothing)
                .owns::<ConfigMap>()
                .watch(Watch::of::<Secret>(Mapping::SameName))
                .watch(Watch::of::<Namespace>(Mapping::All).metadata_only()),
        )
        .index::<Machine>("by-part", ["spec.parts[*].name"])
        .may::<Machine>([Verb::Patch, Verb::Get])
        .may_save_status::<Machine>()
        .may::<ConfigMap>([Verb::Create, Verb::Patch, Verb::Delete])
        .permission(Permission::of::<Secret>([Verb::Get]).named(["granted"]))
        .permission(Permission::of::<Secret>([Verb::Digest]).named(["other"]))
}

fn whole() -> Value {
    json!({
        "apiVersion": "demo.example.com/v1", "kind": "Machine",
        "metadata": {"name": "m", "namespace": "default", "labels": {"old": "1", "keep": "2"},
                     "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"},
                     "managedFields": [{"manager": "kubectl"}]},
        "spec": {"size": 1, "unknown": {"deep": [1, 2.5, "x"]}, "price": 1.10,
                 "parts": [{"name": "a", "count": 1, "colour": "red"}, {"name": "b", "count": 2, "colour": "blue"}]},
        "status": {"phase": "New", "theirs": true},
        "extra": [null, 1],
    })
}

fn fake() -> Fake {
    let fake = Fake::new(plugin());
    fake.create_json::<Machine>(Machine::reference(Some("default"), "m"), whole())
        .unwrap();
    fake
}

fn machine(fake: &Fake) -> Object<Machine> {
    fake.context().get("default", "m").unwrap().unwrap()
}

fn raw(fake: &Fake) -> Value {
    fake.json(&Machine::reference(Some("default"), "m")).unwrap()
}

#[test]
fn a_struct_that_knows_one_field_of_ten_changes_a_label_and_the_patch_holds_only_this() {
    let fake = fake();
    let mut machine = machine(&fake);
    machine.metadata.labels.remove("old");
    machine.metadata.labels.insert("new".to_owned(), "3".to_owned());
    let before = raw(&fake);
    assert!(machine.save(&fake.context()).unwrap());
    assert_eq!(
        fake.take_writes()[0].body,
        json!({"metadata": {"labels": {"old": null, "new": "3"}}})
    );

    let mut after = raw(&fake);
    assert_eq!(after["metadata"]["labels"], json!({"keep": "2", "new": "3"}));
    after["metadata"]["labels"] = before["metadata"]["labels"].clone();
    after["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
    assert_eq!(after, before, "everything else is as it was");
}

#[test]
fn who_declares_fields_sees_these_alone_and_a_save_leaves_the_rest_as_it_was() {
    let plugin = Plugin::new("some")
        .controller(Controller::new("machines", nothing).fields(["spec.size", "spec.parts[*].name"]))
        .index::<Machine>("by-phase", ["status.phase"])
        .may::<Machine>([Verb::Patch, Verb::Get]);
    let fake = Fake::new(plugin);
    fake.create_json::<Machine>(Machine::reference(Some("default"), "m"), whole())
        .unwrap();
    let mut machine = machine(&fake);
    let seen: Value = from_str(machine.raw()).unwrap();
    assert_eq!(
        (&seen["spec"], &seen["status"], &seen["extra"]),
        (
            &json!({"size": 1, "parts": [{"name": "a"}, {"name": "b"}]}),
            &json!({"phase": "New"}),
            &Value::Null
        )
    );
    let cx = fake.context();
    assert_eq!(
        cx.list::<Machine>(&Query::all().index("by-phase", "New"))
            .unwrap()
            .len(),
        1
    );
    let live = cx.get_live::<Machine>("default", "m").unwrap().unwrap();
    assert!(
        live.raw().contains("\"extra\""),
        "a live read is of the server's object"
    );

    let before = raw(&fake);
    machine.spec.size = 7;
    machine.save(&cx).unwrap();
    assert_eq!(fake.take_writes()[0].body, json!({"spec": {"size": 7}}));
    let mut after = raw(&fake);
    for path in ["/spec/size", "/metadata/resourceVersion", "/metadata/generation"] {
        if let (Some(after), Some(before)) = (after.pointer_mut(path), before.pointer(path)) {
            *after = before.clone();
        }
    }
    assert_eq!(after, before, "everything else is as it was");
}

#[test]
fn nothing_changed_is_no_write() {
    let fake = fake();
    let mut machine = machine(&fake);
    assert!(!machine.save(&fake.context()).unwrap());
    assert!(!machine.save_status(&fake.context()).unwrap());
    assert_eq!(fake.writes(), []);
}

#[test]
fn a_changed_element_of_a_list_keeps_the_fields_that_the_type_does_not_know() {
    let fake = fake();
    let mut machine = machine(&fake);
    machine.spec.parts[1].count = Some(7);
    machine.spec.parts.remove(0);
    machine.save(&fake.context()).unwrap();
    assert_eq!(
        raw(&fake)["spec"]["parts"],
        json!([{"name": "b", "count": 7, "colour": "blue"}])
    );
}

#[test]
fn spec_and_status_are_saved_apart_and_neither_save_loses_the_others_changes() {
    let fake = fake();
    let cx = fake.context();
    let mut machine = machine(&fake);
    machine.spec.size = 2;
    machine.status.phase = "Grown".to_owned();
    machine.save(&cx).unwrap();
    assert_eq!(raw(&fake)["status"]["phase"], "New");
    assert_eq!(machine.status.phase, "Grown");
    assert_eq!(machine.generation(), 2, "the object is what the server answered");
    machine.save_status(&cx).unwrap();
    assert_eq!(raw(&fake)["status"], json!({"phase": "Grown", "theirs": true}));
    let writes = fake.writes();
    assert_eq!(writes[1].subresource.as_deref(), Some("status"));
    assert_eq!(writes[1].body, json!({"status": {"phase": "Grown"}}));
}

#[test]
fn an_object_that_was_changed_meanwhile_is_a_conflict_and_tried_again_soon() {
    let fake = fake();
    let mut machine = machine(&fake);
    fake.edit::<Machine>("default", "m", |machine| machine.spec.size = 9)
        .unwrap();
    machine.spec.size = 2;
    let error = machine.save(&fake.context()).unwrap_err();
    assert!(
        error.is_conflict()
            && error
                .message
                .starts_with("patch demo.example.com/v1 Machine default/m: "),
        "{error}"
    );
    assert_eq!(Failure::from(error).retry, Retry::Backoff);
    assert_eq!(machine.spec.size, 2, "the change is still there");
    assert_eq!(raw(&fake)["spec"]["size"], 9);
}

#[test]
fn metadata_that_is_the_servers_cannot_be_saved() {
    let fake = fake();
    let mut machine = machine(&fake);
    machine.metadata.uid = "mine".to_owned();
    let error = machine.save(&fake.context()).unwrap_err();
    assert!(error.message.contains("metadata.uid"), "{error}");
}

#[test]
fn an_object_that_does_not_fit_is_named_with_its_field_and_not_tried_again() {
    let fake = fake();
    let mut wrong = whole();
    wrong["spec"]["parts"][1]["count"] = json!("many");
    let target = Machine::reference(Some("default"), "wrong");
    wrong["metadata"]["name"] = json!("wrong");
    assert!(fake.create_json::<Machine>(target, wrong).is_err());
    let failure = fake.reconcile::<Machine>("default", "wrong").unwrap_err();
    assert_eq!(failure.retry, Retry::Never);
    assert!(failure.message.contains("`spec.parts[1].count`"), "{failure}");
}

#[test]
fn a_child_is_created_then_left_alone_then_mended() {
    let fake = fake();
    let cx = fake.context();
    let owner = machine(&fake);
    let desired = || ConfigMap::named("child").with("a", "1");
    assert_eq!(cx.ensure_owned(&owner, desired()).unwrap().did, Did::Created);
    let child = fake.get::<ConfigMap>("default", "child").unwrap().unwrap();
    assert!(child.is_controlled_by(&owner));
    assert_eq!(cx.ensure_owned(&owner, desired()).unwrap().did, Did::Nothing);

    fake.edit::<ConfigMap>("default", "child", |child| {
        child.data.insert("a".to_owned(), "2".to_owned());
        child.data.insert("theirs".to_owned(), "x".to_owned());
        child.metadata.owner_references.clear();
    })
    .unwrap();
    fake.take_writes();
    assert_eq!(cx.ensure_owned(&owner, desired()).unwrap().did, Did::Changed);
    let child = fake.get::<ConfigMap>("default", "child").unwrap().unwrap();
    assert!(child.is_controlled_by(&owner));
    assert_eq!(
        child.data,
        BTreeMap::from([("a".to_owned(), "1".to_owned()), ("theirs".to_owned(), "x".to_owned())])
    );
    let body = &fake.writes()[0].body;
    assert_eq!(body["data"], json!({"a": "1"}));
    assert_eq!(
        body.as_object().unwrap().len(),
        2,
        "data and the owner, nothing else: {body}"
    );
}

#[test]
fn a_child_in_another_namespace_cannot_be_owned() {
    let fake = fake();
    let mut child = ConfigMap::named("child");
    child.metadata.namespace = Some("elsewhere".to_owned());
    let error = fake.context().ensure_owned(&machine(&fake), child).unwrap_err();
    assert!(error.message.contains("own namespace"), "{error}");
    assert_eq!(fake.writes(), []);
}

#[test]
fn a_child_that_is_being_deleted_is_waited_for() {
    let fake = fake();
    let cx = fake.context();
    let owner = machine(&fake);
    cx.ensure_owned(&owner, ConfigMap::named("child")).unwrap();
    fake.edit::<ConfigMap>("default", "child", |child| {
        child.metadata.finalizers.push("a/b".to_owned())
    })
    .unwrap();
    fake.delete::<ConfigMap>("default", "child").unwrap();
    assert_eq!(
        cx.ensure_owned(&owner, ConfigMap::named("child")).unwrap_err().reason,
        "BeingDeleted"
    );
}

#[test]
fn what_the_manifest_does_not_ask_for_is_refused() {
    let fake = fake();
    let cx = fake.context();
    let error = cx.delete(&machine(&fake)).unwrap_err();
    assert_eq!(
        (error.reason.as_str(), error.retry()),
        ("PilothouseDenied", Retry::Never)
    );
    let error = cx.get_live::<ConfigMap>("default", "x").unwrap_err();
    assert_eq!(error.reason, "PilothouseDenied");

    #[derive(Serialize, Deserialize, Kind)]
    #[kind("apps/v1")]
    struct Deployment {
        metadata: Metadata,
    }
    let error = cx
        .get::<Deployment>("default", "x")
        .map(|found| found.map(|_| ()))
        .unwrap_err();
    assert_eq!(error.reason, "PilothouseNotWatched");
}

#[test]
fn a_secret_shows_its_data_only_when_read_live_and_by_a_granted_name() {
    let fake = fake();
    let cx = fake.context();
    for name in ["granted", "other"] {
        let mut secret = Secret {
            metadata: Metadata::named(name).in_namespace("default"),
            ..Secret::default()
        };
        secret.data.insert("password".to_owned(), "aHVudGVyMg==".to_owned());
        assert!(!format!("{secret:?}").contains("aHVudGVyMg"));
        fake.create(&secret).unwrap();
    }
    assert!(cx.get::<Secret>("default", "granted").unwrap().unwrap().data.is_empty());
    assert_eq!(
        cx.get_live::<Secret>("default", "granted").unwrap().unwrap().data.len(),
        1
    );
    assert_eq!(
        cx.get_live::<Secret>("default", "other").unwrap_err().reason,
        "PilothouseDenied"
    );
    let before = cx.digest::<Secret>("default", "other").unwrap();
    fake.edit::<Secret>("default", "other", |secret| {
        secret.data.clear();
    })
    .unwrap();
    assert_ne!(cx.digest::<Secret>("default", "other").unwrap(), before);
}

#[test]
fn a_list_reads_all_pages_and_an_index_finds_by_what_it_holds() {
    let fake = fake();
    for number in 0..10 {
        let mut machine = machine(&fake).into_inner();
        machine.metadata = Metadata::named(format!("m{number}"))
            .in_namespace("other")
            .label("odd", (number % 2).to_string());
        machine.spec.parts[0].name = format!("part-{number}");
        fake.create(&machine).unwrap();
    }
    let cx = fake.context();
    let count = |query: Query| cx.list::<Machine>(&query).unwrap().len();
    assert_eq!(count(Query::all()), 11);
    assert_eq!(count(Query::all().in_namespace("other")), 10);
    assert_eq!(count(Query::all().labels("odd=1")), 5);
    assert_eq!(count(Query::all().index("by-part", "part-3")), 1);
    assert_eq!(count(Query::all().index("by-part", "b")), 11);
    assert_eq!(
        cx.list::<Machine>(&Query::all().live()).unwrap_err().reason,
        "PilothouseDenied"
    );
}

#[test]
fn a_write_without_an_answer_may_have_happened() {
    let fake = fake();
    let cx = fake.context();
    let lost = ApiError {
        maybe_applied: true,
        ..ApiError::new("PilothouseUnavailable", 0, "no answer")
    };
    fake.fail_next(Verb::Create, lost);
    let mut child = ConfigMap::named("child").with("a", "1");
    child.metadata.namespace = Some("default".to_owned());
    assert!(cx.create(&child).unwrap_err().maybe_applied);
    assert!(cx.create(&child).unwrap_err().is_already_exists());
}

#[test]
fn deleting_what_is_gone_is_no_error_but_deleting_its_successor_is() {
    let fake = fake();
    let cx = fake.context();
    let owner = machine(&fake);
    let old = cx.ensure_owned(&owner, ConfigMap::named("child")).unwrap().object;
    cx.delete(&old).unwrap();
    cx.delete(&old).unwrap();
    cx.delete_named::<ConfigMap>("default", "child").unwrap();
    cx.ensure_owned(&owner, ConfigMap::named("child")).unwrap();
    assert!(cx.delete(&old).unwrap_err().is_conflict());
}

#[test]
fn children_go_with_their_owner_and_a_finalizer_holds_an_object_until_it_lets_go() {
    let fake = fake();
    let cx = fake.context();
    let mut owner = machine(&fake);
    cx.ensure_owned(&owner, ConfigMap::named("child")).unwrap();
    assert_eq!(
        cx.finalizer(&mut owner, "demo.example.com/f", |_, _| Ok(())).unwrap(),
        Life::Lives
    );
    fake.delete::<Machine>("default", "m").unwrap();
    fake.settle();
    assert!(fake.get::<ConfigMap>("default", "child").unwrap().is_some());

    let mut owner = machine(&fake);
    assert!(owner.is_deleting());
    let failed = cx.finalizer(&mut owner, "demo.example.com/f", |_, _| {
        Err(Failure::retry("NotYet", "wait"))
    });
    assert_eq!(failed.unwrap_err().reason, "NotYet");
    assert!(fake.get::<Machine>("default", "m").unwrap().is_some());
    assert_eq!(
        cx.finalizer(&mut owner, "demo.example.com/f", |_, _| Ok(())).unwrap(),
        Life::Over
    );
    assert!(fake.get::<Machine>("default", "m").unwrap().is_none());
    fake.settle();
    assert!(fake.get::<ConfigMap>("default", "child").unwrap().is_none());
}

#[test]
fn patches_of_ones_own_are_applied_and_bad_ones_refused() {
    let fake = fake();
    let cx = fake.context();
    cx.patch_merge::<Machine>("default", "m", &json!({"spec": {"size": 3}}))
        .unwrap();
    let test =
        json!([{"op": "test", "path": "/spec/size", "value": 3}, {"op": "replace", "path": "/spec/size", "value": 4}]);
    assert_eq!(cx.patch_json::<Machine>("default", "m", &test).unwrap().spec.size, 4);
    assert_eq!(
        cx.patch_json::<Machine>("default", "m", &test).unwrap_err().reason,
        "Invalid"
    );
    assert!(
        cx.patch_merge::<Machine>("default", "none", &json!({}))
            .unwrap_err()
            .is_not_found()
    );
    let machine = machine(&fake).into_inner();
    assert_eq!(cx.apply(&machine, true).unwrap_err().reason, "UnsupportedMediaType");
    let replaced = cx.host().replace(
        &Machine::reference(Some("default"), "m"),
        "{}",
        &WriteOptions::default(),
    );
    assert_eq!(replaced.unwrap_err().reason, "BadRequest");
}

#[test]
fn time_and_randomness_are_the_same_in_every_run() {
    let (one, two) = (fake().context(), fake().context());
    assert_eq!(one.random(16), two.random(16));
    assert_ne!(one.random(16), one.random(16));
    assert_eq!(one.random(1000).len(), 256);
    let fake = fake();
    assert_eq!(fake.context().now().rfc3339(), "2026-01-01T00:00:00Z");
    fake.advance(Duration::from_millis(61_500));
    assert_eq!(fake.context().now().rfc3339(), "2026-01-01T00:01:01Z");
    assert_eq!(
        fake.context()
            .now()
            .since(pilothouse_sdk::Timestamp::parse("2026-01-01T00:01:00Z").unwrap()),
        Duration::from_millis(1500)
    );
}

#[test]
fn a_host_is_reached_below_the_context_for_what_it_does_not_offer() {
    let fake = fake();
    let cx = fake.context();
    let target = Machine::reference(Some("default"), "m");
    assert!(
        cx.host()
            .get(&target, &Freshness::AtLeast("1".to_owned()))
            .unwrap()
            .is_some()
    );
    let refused = cx
        .host()
        .remove(&target, Propagation::Foreground, &WriteOptions::default());
    assert_eq!(refused.unwrap_err().reason, "PilothouseDenied");
}
