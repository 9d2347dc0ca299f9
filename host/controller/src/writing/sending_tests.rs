use http::Method;
use pilothouse_runtime::{Backend as _, Change, ObjectRef};
use serde_json::json;

use super::*;
use crate::calls::scene::{Scene, config_maps, plain, target, until};

fn map() -> ObjectRef {
    target("", "ConfigMap", "m")
}

fn key() -> Key {
    Key::new(Some("default"), "m")
}

async fn says(call: &Call, value: &str) -> Result<String, ApiError> {
    let change = json!({"data": {"x": value}}).to_string();
    call.patch(map(), Change::Merge(change), plain()).await
}

/// A ConfigMap to which the plugin has said `yes`, as its cache knows; it says so again, and nothing is sent.
async fn said_yes() -> Scene {
    let scene = Scene::new(&[("", "ConfigMap", &["patch"])]).await;
    scene.object("configmaps", &json!({"metadata": {"name": "m"}, "data": {"x": "no"}}));
    let answer = says(&scene.call(), "yes").await.unwrap();
    scene.hears_of(&map(), &answer).await;
    assert_eq!(says(&scene.call(), "yes").await, Ok(answer));
    assert_eq!(scene.sent(), 1);
    scene
}

#[tokio::test(start_paused = true)]
async fn what_went_through_before_is_sent_again_while_another_write_to_its_object_is_under_way() {
    let scene = said_yes().await;
    let (kind, key, other) = (config_maps(), key(), "another".into());
    let provenance = &scene.host.core.shared.provenance;
    lock(provenance).sends(&kind, &key, &other, None);
    says(&scene.call(), "yes").await.unwrap();
    assert_eq!(scene.sent(), 2);
    lock(provenance).sent(&kind, &key, &other);
    says(&scene.call(), "yes").await.unwrap();
    assert_eq!(scene.sent(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_went_through_before_is_sent_again_after_a_write_of_the_call_whose_outcome_nobody_knows() {
    let scene = said_yes().await;
    let call = scene.call();
    scene.says(|script| script.fails = Some((Method::PATCH, "/configmaps/m", 502)));
    let unknown = says(&call, "perhaps").await.unwrap_err();
    assert!(unknown.maybe_applied, "{unknown:?}");
    scene.says(|script| script.fails = None);
    says(&call, "yes").await.unwrap();
    assert_eq!(scene.sent(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_went_through_before_is_sent_again_while_nothing_is_heard_of_its_object() {
    let scene = said_yes().await;
    scene.says(|script| script.fails = Some((Method::GET, "/configmaps", 503)));
    scene.cut_watches();
    let call = scene.call();
    until(|| call.watched(&config_maps(), &key()).is_none()).await;
    assert!(
        call.cached(&config_maps(), &key()).is_some(),
        "the cache has it as it was"
    );
    says(&call, "yes").await.unwrap();
    assert_eq!(scene.sent(), 2);
    scene.says(|script| script.fails = None);
    until(|| call.watched(&config_maps(), &key()).is_some()).await;
    says(&scene.call(), "yes").await.unwrap();
    assert_eq!(scene.sent(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_patch_that_may_change_its_object_each_time_is_sent_each_time() {
    let scene = Scene::new(&[("", "ConfigMap", &["patch"])]).await;
    scene.object("configmaps", &json!({"metadata": {"name": "m"}, "data": {"a": "1"}}));
    let moves = || Change::JsonPatch(json!([{"op": "move", "from": "/data/a", "path": "/data/b"}]).to_string());
    let answer = scene.call().patch(map(), moves(), plain()).await.unwrap();
    scene.hears_of(&map(), &answer).await;
    let refused = scene.call().patch(map(), moves(), plain()).await.unwrap_err();
    assert_eq!((refused.code, scene.sent()), (422, 2), "there is nothing left to move");
}
