//! Parked keys over a restart of the host.

use pilothouse_e2e::{BEASTS, CONFIG_MAPS, Host, On, Scene, Server, field, message, on_both};
use serde_json::{Value, json};

/// A run of that Beast begins.
fn begins(scene: &Scene, name: &str) -> impl Fn(&Value) -> bool {
    let object = format!("{}/{name}", scene.namespace());
    move |line| message(line) == "begins" && field(line, "object") == object
}

fn start(scene: &Scene, server: &Server) -> Host {
    scene.run(server, &["--state-dir", "state"])
}

/// Waits until the host has reconciled a Beast that is new: by then it has begun with all that its first lists asked
/// for, since these were there before.
async fn settled(scene: &Scene, server: &Server, host: &Host, witness: &str) {
    server.api().beast(witness, "nothing").await;
    host.logged("the witness", begins(scene, witness)).await;
    host.logged("that the first list is done", begins(scene, "first-list"))
        .await;
}

async fn stop(host: Host) {
    host.signal("TERM").await;
    let ended = host.end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

/// What is kept, a line a key.
fn kept(scene: &Scene) -> Vec<Value> {
    let text = std::fs::read_to_string(scene.path("state/parked-keys.jsonl")).unwrap_or_default();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines
        .filter_map(|line| line.get("key").cloned())
        .filter(|key| key["namespace"] == scene.namespace())
        .collect()
}

/// A host that has parked the Beast `b`, and the ConfigMap `mapped` that maps to it.
async fn parked(on: On) -> (Scene, Server, Host) {
    let scene = Scene::with_zoo().on(on);
    let server = Server::started(&scene).await;
    let api = server.api();
    let labels = json!({"zoo.pilothouse.dev/beast": "b"});
    let mapped = json!({"metadata": {"labels": labels}});
    api.create(CONFIG_MAPS, scene.namespace(), "mapped", mapped).await;
    let host = start(&scene, &server);
    api.beast("b", "unheard-of").await;
    api.beast("first-list", "nothing").await;
    host.until("that it is kept", async || (kept(&scene).len() == 1).then_some(()))
        .await;
    (scene, server, host)
}

on_both!(a_parked_key_that_did_not_change_is_not_tried_again_after_a_restart);
async fn a_parked_key_that_did_not_change_is_not_tried_again_after_a_restart(on: On) {
    let (scene, server, host) = parked(on).await;
    stop(host).await;
    let before = kept(&scene);
    let key = &before[0];
    assert_eq!(
        (&key["plugin"], &key["controller"], &key["name"]),
        (&json!("zoo"), &json!("beast"), &json!("b"))
    );
    assert_eq!(
        key["reason"],
        "NoSuchBeast: spec.do is \"unheard-of\": no beast does that"
    );
    assert_eq!((&key["attempts"], &key["errors"][0]["attempt"]), (&json!(1), &json!(1)));

    let host = start(&scene, &server);
    settled(&scene, &server, &host, "witness").await;
    assert_eq!(host.count(begins(&scene, "b")), 0);
    stop(host).await;
    assert_eq!(kept(&scene), before, "it stands there as it stood");

    // And it is woken as ever.
    let host = start(&scene, &server);
    settled(&scene, &server, &host, "another-witness").await;
    let patch = json!({"data": {"is": "mended"}});
    server
        .api()
        .merge(CONFIG_MAPS, scene.namespace(), "mapped", patch)
        .await;
    host.logged("an attempt", begins(&scene, "b")).await;
}

on_both!(the_parked_keys_of_a_plugin_that_comes_after_the_start_wait_for_it);
async fn the_parked_keys_of_a_plugin_that_comes_after_the_start_wait_for_it(on: On) {
    let (scene, server, host) = parked(on).await;
    stop(host).await;
    let before = kept(&scene);
    let (module, away) = (scene.path("plugins/zoo.wasm"), scene.path("zoo.away"));
    std::fs::rename(&module, &away).unwrap();
    let host = start(&scene, &server);
    host.logged("that they wait", |line| {
        message(line).starts_with("1 parked keys of the last run wait for plugins that do not serve yet (zoo)")
    })
    .await;
    stop(host).await;
    assert_eq!(kept(&scene), before, "one more host was there without it");

    let host = start(&scene, &server);
    host.logged("the other plugin", |line| message(line) == "plugin loaded")
        .await;
    std::fs::rename(&away, &module).unwrap();
    settled(&scene, &server, &host, "witness").await;
    assert_eq!(host.count(begins(&scene, "b")), 0);
    stop(host).await;
    assert_eq!(kept(&scene), before);
}

on_both!(a_plugin_that_is_disabled_and_enabled_has_its_parked_keys_as_they_were);
async fn a_plugin_that_is_disabled_and_enabled_has_its_parked_keys_as_they_were(on: On) {
    let (scene, server, host) = parked(on).await;
    let order = async |order: &str| {
        let ended = scene.run_to_end(&["plugins", order, "zoo"]).await;
        assert_eq!(ended.code, Some(0), "{order}: {}", ended.stderr);
    };
    let before = kept(&scene);
    let attempts = host.count(begins(&scene, "b"));
    let first = begins(&scene, "first-list");
    order("disable").await;
    let runs = host.count(&first);
    order("enable").await;
    server.api().beast("witness", "nothing").await;
    host.logged("the witness", begins(&scene, "witness")).await;
    host.until("that the first list is done", async || {
        (host.count(&first) > runs).then_some(())
    })
    .await;
    assert_eq!(host.count(begins(&scene, "b")), attempts);
    stop(host).await;
    assert_eq!(kept(&scene), before, "it stands there as it stood");
}

on_both!(what_changed_while_no_host_ran_has_its_parked_key_tried_again);
async fn what_changed_while_no_host_ran_has_its_parked_key_tried_again(on: On) {
    let (scene, server, host) = parked(on).await;
    stop(host).await;
    for (kind, name, patch) in [
        (BEASTS, "b", json!({"metadata": {"labels": {"another": "one"}}})),
        (CONFIG_MAPS, "mapped", json!({"data": {"is": "mended"}})),
    ] {
        server.api().merge(kind, scene.namespace(), name, patch).await;
        let host = start(&scene, &server);
        host.logged("an attempt", begins(&scene, "b")).await;
        host.until("that it is kept", async || (kept(&scene).len() == 1).then_some(()))
            .await;
        stop(host).await;
    }
}

on_both!(new_configuration_has_parked_keys_tried_again_once);
async fn new_configuration_has_parked_keys_tried_again_once(on: On) {
    let (scene, server, host) = parked(on).await;
    stop(host).await;
    scene.config(&json!({"greeting": {}, "zoo": {"config": {"appetite": 3}}}));
    let host = start(&scene, &server);
    host.logged("an attempt", begins(&scene, "b")).await;
    settled(&scene, &server, &host, "witness").await;
    assert_eq!(host.count(begins(&scene, "b")), 1);
    stop(host).await;

    let host = start(&scene, &server);
    settled(&scene, &server, &host, "another-witness").await;
    assert_eq!(host.count(begins(&scene, "b")), 0);
}

on_both!(parked_keys_outlive_a_host_that_is_killed);
async fn parked_keys_outlive_a_host_that_is_killed(on: On) {
    let (scene, server, host) = parked(on).await;
    host.kill().await;
    let host = start(&scene, &server);
    settled(&scene, &server, &host, "witness").await;
    assert_eq!(host.count(begins(&scene, "b")), 0);
}

on_both!(a_broken_list_of_parked_keys_is_moved_aside_and_said);
async fn a_broken_list_of_parked_keys_is_moved_aside_and_said(on: On) {
    let (scene, server, host) = parked(on).await;
    stop(host).await;
    scene.file("state/parked-keys.jsonl", "\u{1b}[2J hostile");
    let host = start(&scene, &server);
    host.logged("an attempt", begins(&scene, "b")).await;
    let said = host
        .logged("a warning", |line| {
            message(line).contains("no list of parked keys: line 1: ")
        })
        .await;
    assert!(message(&said).ends_with("it was moved to parked-keys.jsonl.refused, to be looked at or deleted"));
    assert!(scene.path("state/parked-keys.jsonl.refused").exists());
}

#[tokio::test]
async fn a_state_directory_that_cant_be_used_is_a_wrong_configuration() {
    let scene = Scene::with_zoo();
    let server = Server::started(&scene).await;
    scene.file("file", "");
    let ended = scene.run(&server, &["--state-dir", "file"]).end().await;
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    let last = ended.log().pop().expect("it says why");
    let said = message(&last);
    assert!(
        said.starts_with("state directory (--state-dir, host.stateDirectory): file: ")
            && said.ends_with("it must be a directory that pilothouse may write to"),
        "{said}"
    );
}
