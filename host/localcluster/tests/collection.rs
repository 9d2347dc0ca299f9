//! Owners, dependents, namespaces: what goes when something else goes.

use serde_json::{Value, json};

mod asked;
use asked::{CONFIG_MAPS, Server, config_map};

fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap()
}

fn reference(owner: &Value, block: bool) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "name": owner["metadata"]["name"], "uid": uid(owner),
        "blockOwnerDeletion": block,
    })
}

fn owned(name: &str, owners: Vec<Value>) -> Value {
    let mut object = config_map(name, json!({}));
    object["metadata"]["ownerReferences"] = owners.into();
    object
}

fn path(name: &str) -> String {
    format!("{CONFIG_MAPS}/{name}")
}

#[test]
fn dependents_follow_their_owner_in_the_background_also_over_generations() {
    let mut server = Server::new();
    let owner = server.config_map("owner", json!({}));
    let child = server
        .post(CONFIG_MAPS, owned("child", vec![reference(&owner, false)]))
        .ok();
    server
        .post(CONFIG_MAPS, owned("grandchild", vec![reference(&child, false)]))
        .ok();
    server.delete(&path("owner")).ok();
    assert_eq!(server.get(CONFIG_MAPS).names(), ["child", "grandchild"], "not at once");
    assert!(server.cluster.next_due().is_some());
    server.settle();
    assert_eq!(server.get(CONFIG_MAPS).names(), Vec::<String>::new());
    assert_eq!(server.cluster.next_due(), None);
}

#[test]
fn a_foreground_deletion_waits_for_the_dependents_that_block_it() {
    let mut server = Server::new();
    let owner = server.config_map("owner", json!({}));
    let mut child = owned("child", vec![reference(&owner, true)]);
    child["metadata"]["finalizers"] = json!(["x.io/h"]);
    server.post(CONFIG_MAPS, child).ok();
    server
        .post(CONFIG_MAPS, owned("free", vec![reference(&owner, false)]))
        .ok();
    let answer = server
        .delete_with(&path("owner"), json!({"propagationPolicy": "Foreground"}))
        .ok();
    assert_eq!(answer["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    server.settle();
    let owner = server.get(&path("owner")).ok();
    assert_eq!(owner["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    let child = server.get(&path("child")).ok();
    assert!(child["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(child["metadata"]["finalizers"], json!(["x.io/h"]));
    server.get(&path("free")).fails(404, "NotFound");
    server
        .merge(&path("child"), json!({"metadata": {"finalizers": null}}))
        .ok();
    server.settle();
    assert_eq!(server.get(CONFIG_MAPS).names(), Vec::<String>::new());
}

#[test]
fn orphans_stay_and_forget_their_owner() {
    let mut server = Server::new();
    let owner = server.config_map("owner", json!({}));
    server
        .post(CONFIG_MAPS, owned("child", vec![reference(&owner, true)]))
        .ok();
    server
        .delete(&format!("{}?propagationPolicy=Orphan", path("owner")))
        .ok();
    server.settle();
    assert_eq!(server.get(CONFIG_MAPS).names(), ["child"]);
    assert_eq!(
        server.get(&path("child")).ok()["metadata"]["ownerReferences"],
        Value::Null
    );
}

#[test]
fn an_owner_that_never_was_counts_as_gone() {
    let mut server = Server::new();
    let ghost = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "ghost", "uid": "u"});
    let namesake = server.config_map("namesake", json!({}));
    let mut other = reference(&namesake, false);
    other["uid"] = json!("another");
    server.post(CONFIG_MAPS, owned("dangling", vec![ghost])).ok();
    server.post(CONFIG_MAPS, owned("mistaken", vec![other])).ok();
    server.settle();
    assert_eq!(server.get(CONFIG_MAPS).names(), ["namesake"]);
}

#[test]
fn of_two_owners_the_absent_one_is_struck_and_the_last_one_takes_the_object_along() {
    let mut server = Server::new();
    let one = server.config_map("one", json!({}));
    let two = server.config_map("two", json!({}));
    server
        .post(
            CONFIG_MAPS,
            owned("child", vec![reference(&one, false), reference(&two, false)]),
        )
        .ok();
    server.delete(&path("one")).ok();
    server.settle();
    let child = server.get(&path("child")).ok();
    assert_eq!(child["metadata"]["ownerReferences"], json!([reference(&two, false)]));
    server.delete(&path("two")).ok();
    server.settle();
    server.get(&path("child")).fails(404, "NotFound");
}

#[test]
fn objects_that_own_each_other_do_not_wait_for_each_other_for_ever() {
    let mut server = Server::new();
    let one = server.config_map("one", json!({}));
    let two = server.post(CONFIG_MAPS, owned("two", vec![reference(&one, true)])).ok();
    server
        .merge(
            &path("one"),
            json!({"metadata": {"ownerReferences": [reference(&two, true)]}}),
        )
        .ok();
    server
        .delete(&format!("{}?propagationPolicy=Foreground", path("one")))
        .ok();
    server.settle();
    assert_eq!(server.get(CONFIG_MAPS).names(), Vec::<String>::new());
}

#[test]
fn an_owner_of_a_kind_nobody_serves_is_left_alone() {
    let mut server = Server::new();
    let strange = json!({"apiVersion": "nope.io/v1", "kind": "Thing", "name": "t", "uid": "u"});
    server.post(CONFIG_MAPS, owned("child", vec![strange])).ok();
    server.settle();
    server.get(&path("child")).ok();
}

#[test]
fn a_namespace_empties_itself_and_takes_nothing_new_in_the_meantime() {
    let mut server = Server::new();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tns"}});
    let created = server.post("/api/v1/namespaces", namespace).ok();
    assert_eq!(created["status"], json!({"phase": "Active"}));
    assert_eq!(created["spec"], json!({"finalizers": ["kubernetes"]}));
    let inside = "/api/v1/namespaces/tns/configmaps";
    server.post(inside, config_map("plain", json!({}))).ok();
    let mut held = config_map("held", json!({}));
    held["metadata"]["finalizers"] = json!(["x.io/h"]);
    server.post(inside, held).ok();
    let deleted = server.delete("/api/v1/namespaces/tns").ok();
    assert_eq!(deleted["status"]["phase"], "Terminating");
    let late = server.post(inside, config_map("late", json!({})));
    late.fails(403, "Forbidden");
    assert_eq!(
        late.causes(),
        [("NamespaceTerminating".into(), "metadata.namespace".into())]
    );
    assert_eq!(
        late.body["message"],
        "configmaps \"late\" is forbidden: unable to create new content in namespace tns because it is being terminated"
    );
    server.settle();
    assert_eq!(server.get(inside).names(), ["held"]);
    let waiting = server.get("/api/v1/namespaces/tns").ok();
    let remaining = waiting["status"]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["type"] == "NamespaceFinalizersRemaining");
    assert_eq!(remaining.unwrap()["status"], "True");
    assert_eq!(
        server.cluster.next_due(),
        None,
        "it waits for the finalizer, not for time"
    );
    server
        .merge(&format!("{inside}/held"), json!({"metadata": {"finalizers": null}}))
        .ok();
    server.settle();
    server.get("/api/v1/namespaces/tns").fails(404, "NotFound");
    let gone = server.post(inside, config_map("late", json!({})));
    gone.fails(404, "NotFound");
    assert_eq!(gone.body["details"], json!({"name": "tns", "kind": "namespaces"}));
}

#[test]
fn some_namespaces_stay() {
    let mut server = Server::new();
    let answer = server.delete("/api/v1/namespaces/default");
    answer.fails(403, "Forbidden");
    assert_eq!(
        answer.body["message"],
        "namespaces \"default\" is forbidden: this namespace may not be deleted"
    );
    server.delete("/api/v1/namespaces").fails(405, "MethodNotAllowed");
}

#[test]
fn a_collection_can_be_deleted_by_label() {
    let mut server = Server::new();
    for (name, app) in [("a", "x"), ("b", "y"), ("c", "x")] {
        let mut object = config_map(name, json!({}));
        object["metadata"]["labels"] = json!({ "app": app });
        server.post(CONFIG_MAPS, object).ok();
    }
    let dry = server.delete(&format!("{CONFIG_MAPS}?labelSelector=app%3Dx&dryRun=All"));
    assert_eq!(dry.names(), ["a", "c"]);
    assert_eq!(server.get(CONFIG_MAPS).names(), ["a", "b", "c"]);
    let answer = server.delete(&format!("{CONFIG_MAPS}?labelSelector=app%3Dx"));
    assert_eq!(answer.names(), ["a", "c"]);
    assert_eq!(answer.body["kind"], "ConfigMapList");
    assert_eq!(server.get(CONFIG_MAPS).names(), ["b"]);
}
