use pilothouse_runtime::{Backend as _, Freshness};
use serde_json::{Value, json};

use super::*;
use crate::calls::scene::{Scene, plain, target};

fn version(object: &str) -> String {
    let object: Value = serde_json::from_str(object).unwrap();
    object["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
}

fn at(version: &str) -> Options {
    Options {
        resource_version: Some(version.into()),
        ..plain()
    }
}

#[tokio::test(start_paused = true)]
async fn only_what_the_call_has_read_live_is_replaced_and_at_that_version() {
    let scene = Scene::new(&[("", "ConfigMap", &["get", "replace"])]).await;
    scene.object("configmaps", &json!({"metadata": {"name": "m"}, "data": {"x": "0"}}));
    let map = || target("", "ConfigMap", "m");
    let body = || json!({"data": {"x": "1"}}).to_string();
    let live = async |call: &Call| version(&call.get(map(), Freshness::Live).await.unwrap().unwrap());
    let seen = live(&scene.call()).await;
    // Another call: what one has read is no reading of the other's.
    let call = scene.call();
    for options in [plain(), at(&seen), at("1")] {
        let refused = call.replace(map(), body(), options).await.unwrap_err();
        assert_eq!(&*refused.reason, reason::DENIED);
        assert!(refused.message.contains("of a `live` read of this call"), "{refused:?}");
    }
    assert_eq!(scene.sent(), 0);
    assert_eq!(live(&call).await, seen);
    for options in [plain(), at("1")] {
        let refused = call.replace(map(), body(), options).await.unwrap_err();
        assert_eq!(&*refused.reason, reason::DENIED);
    }
    let replaced = call.replace(map(), body(), at(&seen)).await.unwrap();
    assert_eq!(scene.sent(), 1);
    // The answer is as good as a live read.
    let next = call
        .replace(map(), json!({}).to_string(), at(&version(&replaced)))
        .await
        .unwrap();
    assert!(version(&next) != version(&replaced));
}

#[tokio::test(start_paused = true)]
async fn the_answer_to_a_write_shows_a_secrets_data_only_to_who_may_read_it() {
    for (verbs, shown) in [(&["patch"][..], false), (&["patch", "get"], true)] {
        let scene = Scene::new(&[("", "Secret", verbs)]).await;
        let data = json!({"password": "aHVudGVyMg=="});
        scene.object("secrets", &json!({"metadata": {"name": "s"}, "data": data}));
        let change = json!({"metadata": {"labels": {"seen": "yes"}}}).to_string();
        let answer = scene
            .call()
            .patch(target("", "Secret", "s"), Change::Merge(change), plain())
            .await
            .unwrap();
        let object: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(object["metadata"]["labels"]["seen"], "yes", "the write went through");
        assert_eq!(object["data"]["password"] == "aHVudGVyMg==", shown, "{answer}");
        assert_eq!(answer.contains("aHVudGVyMg=="), shown, "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn events_are_written_by_no_verb_whatever_is_granted() {
    let verbs: &[&str] = &["get", "create", "patch", "replace"];
    let groups = ["", "events.k8s.io"];
    let scene = Scene::new(&groups.map(|group| (group, "Event", verbs))).await;
    let call = scene.call();
    for group in groups {
        let event = || target(group, "Event", "e");
        let body = || json!({}).to_string();
        let refusals = [
            call.create(event(), body(), plain()).await,
            call.patch(event(), Change::Merge(body()), plain()).await,
            call.patch(event(), Change::Apply(body()), plain()).await,
            call.replace(event(), body(), at("1")).await,
        ];
        for refused in refusals {
            let refused = refused.unwrap_err();
            assert_eq!((refused.code, &*refused.reason), (403, reason::DENIED));
            assert!(refused.message.contains("not written but emitted"), "{refused:?}");
        }
    }
    assert_eq!(scene.sent(), 0);
}

#[tokio::test(start_paused = true)]
async fn apply_takes_the_right_to_create_unless_it_is_for_the_object_of_a_uid() {
    let map = || target("", "ConfigMap", "m");
    let apply = || Change::Apply(json!({"data": {"x": "1"}}).to_string());
    let scene = Scene::new(&[("", "ConfigMap", &["get", "patch"])]).await;
    let refused = scene.call().patch(map(), apply(), plain()).await.unwrap_err();
    assert_eq!((refused.code, &*refused.reason), (403, reason::DENIED));
    assert!(
        refused.message.contains("apply creates what is not there"),
        "{refused:?}"
    );
    assert_eq!(scene.sent(), 0);
    scene.object("configmaps", &json!({"metadata": {"name": "m"}}));
    let call = scene.call();
    let object = call.get(map(), Freshness::Live).await.unwrap().unwrap();
    let object: Value = serde_json::from_str(&object).unwrap();
    let of_its_uid = Options {
        uid: Some(object["metadata"]["uid"].as_str().unwrap().into()),
        ..plain()
    };
    // The cluster of these tests knows no apply: what matters is that both come to it.
    let applied = call.patch(map(), apply(), of_its_uid).await.unwrap_err();
    assert_eq!((applied.code, scene.sent()), (415, 1));
    let scene = Scene::new(&[("", "ConfigMap", &["patch", "create"])]).await;
    let created = scene.call().patch(map(), apply(), plain()).await.unwrap_err();
    assert_eq!((created.code, scene.sent()), (415, 1));
}
