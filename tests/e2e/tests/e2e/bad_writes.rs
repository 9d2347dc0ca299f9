//! Writes and reads that can't be: rubbish, what the API server refuses, what the plugin may not. The plugin learns why,
//! the stream shows it, nothing is sent that must not be.

use pilothouse_e2e::{BEASTS, CONFIG_MAPS, Host, Scene, Server, field, message};
use serde_json::{Value, json};

/// Lets a Beast try beside the greeting; answers the run that was parked for it.
async fn tries(behaviour: &str) -> (Scene, Host, Value) {
    let scene = Scene::with_zoo();
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

#[tokio::test]
async fn an_object_that_is_no_json_is_not_sent() {
    let (_scene, host, run) = tries("garbage-object").await;
    failed(&run, "BadRequest", &["the object is no JSON object", "line 1 column"]);
    assert_eq!(run["writes"], json!([]));
    assert!(host.api().get(CONFIG_MAPS, "default", "garbage").await.is_none());
}

#[tokio::test]
async fn a_patch_that_is_no_json_is_not_sent() {
    let (_scene, host, run) = tries("garbage-patch").await;
    failed(&run, "BadRequest", &["no JSON"]);
    assert_eq!(run["writes"], json!([]));
    let beast = host.api().get(BEASTS, "default", "b").await.unwrap();
    assert_eq!(beast["spec"], json!({"do": "garbage-patch"}));
}

#[tokio::test]
async fn a_write_that_the_api_server_refuses_is_shown_with_its_cause() {
    let (_scene, _host, run) = tries("too-large").await;
    failed(
        &run,
        "Invalid",
        &[
            "patch zoo.pilothouse.dev/v1 Beast default/b: ",
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

#[tokio::test]
async fn what_the_manifest_does_not_ask_for_is_denied() {
    let (_scene, _host, run) = tries("outside").await;
    failed(
        &run,
        "PilothouseDenied",
        &[
            "plugin zoo may not get Deployment.apps \"web\" in namespace \"default\"",
            "its manifest does not ask for it",
        ],
    );
}

#[tokio::test]
async fn what_the_manifest_does_not_watch_is_not_in_the_cache() {
    let (_scene, _host, run) = tries("unwatched").await;
    failed(
        &run,
        "PilothouseNotWatched",
        &["the manifest does not watch apps/v1 Deployment: add it to a controller's `watches`"],
    );
}

/// The same in the log of `pilothouse run`, and without a single request to the API server.
#[tokio::test]
async fn a_denied_read_reaches_no_api_server_and_is_counted() {
    let scene = Scene::with_zoo();
    let server = Server::started().await;
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
        ("Beast default/b", "parked until something changes")
    );
    assert_eq!(
        server.seen(&http::Method::GET, "/apis/apps/v1/namespaces/default/deployments/web"),
        0
    );
    let scrape = pilothouse_e2e::Metrics::scrape(&metrics).await.unwrap();
    assert_eq!(scrape.value("pilothouse_denied_total", &[("plugin", "zoo")]), Some(1.0));
    assert_eq!(
        scrape.value("pilothouse_denied_total", &[("plugin", "greeting")]),
        Some(0.0)
    );
}
