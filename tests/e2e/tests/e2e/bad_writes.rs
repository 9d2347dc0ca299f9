//! Writes and reads that can't be: rubbish, what the API server refuses, what the plugin may not. The plugin learns
//! why, the stream shows it, nothing is sent that must not be.

use pilothouse_e2e::{BEASTS, CONFIG_MAPS, Host, On, Scene, Server, field, message, on_both};
use serde_json::{Value, json};

/// Lets a Beast try beside the greeting; answers the run that was parked for it.
async fn tries(on: On, behaviour: &str) -> (Scene, Host, Value) {
    let scene = Scene::with_zoo().on(on);
    let host = scene.dev().await;
    let api = host.api();
    api.beast("b", behaviour).await;
    let run = host.run_of("Beast", "b", |run| run["parked"] == true).await;
    api.greet("neighbour").await;
    assert_eq!(host.greeted(&api, "neighbour").await, "Hello, neighbour!");
    assert_eq!(
        host.runs("Beast", "b").len(),
        1,
        "what can't go well is not tried again and again"
    );
    (scene, host, run)
}

#[track_caller]
fn failed(run: &Value, reason: &str, parts: &[&str]) {
    assert_eq!(run["error"]["reason"], reason, "{run}");
    let message = run["error"]["message"].as_str().unwrap();
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}

on_both!(an_object_that_is_no_json_is_not_sent);
async fn an_object_that_is_no_json_is_not_sent(on: On) {
    let (scene, host, run) = tries(on, "garbage-object").await;
    failed(&run, "BadRequest", &["the object is no JSON object", "line 1 column"]);
    assert_eq!(run["writes"], json!([]));
    assert!(
        host.api()
            .get(CONFIG_MAPS, scene.namespace(), "garbage")
            .await
            .is_none()
    );
}

on_both!(a_patch_that_is_no_json_is_not_sent);
async fn a_patch_that_is_no_json_is_not_sent(on: On) {
    let (scene, host, run) = tries(on, "garbage-patch").await;
    failed(&run, "BadRequest", &["no JSON"]);
    assert_eq!(run["writes"], json!([]));
    let beast = host.api().get(BEASTS, scene.namespace(), "b").await.unwrap();
    assert_eq!(beast["spec"], json!({"do": "garbage-patch"}));
}

on_both!(a_write_that_the_api_server_refuses_is_shown_with_its_cause);
async fn a_write_that_the_api_server_refuses_is_shown_with_its_cause(on: On) {
    let (scene, _host, run) = tries(on, "too-large").await;
    failed(
        &run,
        "Invalid",
        &[
            &format!("patch zoo.pilothouse.dev/v1 Beast {}/b: ", scene.namespace()),
            "spec.size",
            "less than or equal to 10",
        ],
    );
    let write = &run["writes"][0];
    assert_eq!((&write["what"], &write["end"]), (&json!("patched"), &json!("refused")));
    assert_eq!(write["paths"], json!(["spec.size"]));
    let why = write["message"].as_str().unwrap();
    assert!(why.starts_with("Invalid: ") && why.contains("spec.size"), "{why}");
}

on_both!(what_the_manifest_does_not_ask_for_is_denied);
async fn what_the_manifest_does_not_ask_for_is_denied(on: On) {
    let (scene, _host, run) = tries(on, "outside").await;
    failed(
        &run,
        "PilothouseDenied",
        &[
            &format!(
                "plugin zoo may not get Deployment.apps \"web\" in namespace {:?}",
                scene.namespace()
            ),
            "its manifest does not ask for it",
        ],
    );
}

on_both!(what_the_manifest_does_not_watch_is_not_in_the_cache);
async fn what_the_manifest_does_not_watch_is_not_in_the_cache(on: On) {
    let (_scene, _host, run) = tries(on, "unwatched").await;
    failed(
        &run,
        "PilothouseNotWatched",
        &["the manifest does not watch apps/v1 Deployment: add it to a controller's `watches`"],
    );
}

on_both!(a_denied_read_reaches_no_api_server_and_is_counted);
/// The same in the log of `pilothouse run`, and without a single request to the API server.
async fn a_denied_read_reaches_no_api_server_and_is_counted(on: On) {
    let scene = Scene::with_zoo().on(on);
    let ns = scene.namespace();
    let server = Server::started(&scene).await;
    let (host, metrics) = scene.run_with_metrics(&server, &[]);
    server.api().beast("b", "outside").await;
    let line = host
        .logged("the failure", |line| {
            message(line).starts_with("reconcile failed: PilothouseDenied: ")
        })
        .await;
    assert_eq!(
        (&line["level"], field(&line, "controller")),
        (&json!("WARN"), "zoo/beast")
    );
    assert_eq!(
        (field(&line, "object"), field(&line, "next")),
        (&*format!("Beast {ns}/b"), "parked until something changes")
    );
    assert_eq!(
        server.seen(
            &http::Method::GET,
            &format!("/apis/apps/v1/namespaces/{ns}/deployments/web")
        ),
        0
    );
    let scrape = pilothouse_e2e::Metrics::scrape(&metrics).await.unwrap();
    assert_eq!(scrape.value("pilothouse_denied_total", &[("plugin", "zoo")]), Some(1.0));
    assert_eq!(
        scrape.value("pilothouse_denied_total", &[("plugin", "greeting")]),
        Some(0.0)
    );
}
