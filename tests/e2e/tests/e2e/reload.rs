//! Plugins that come, change and go while the host runs: the files in its directory are all that a person touches.

use pilothouse_e2e::{GREETINGS, Metrics, On, Scene, Server, field, get, message, on_both, wasm};
use serde_json::{Value, json};

/// The greeting as another version, which greets in other words of the same length.
fn other_greeting() -> Vec<u8> {
    wasm::replaced(wasm::greeting(), "Hello", "Salut")
}

fn hash_of_loads(line: &Value, message_is: &str) -> Option<String> {
    (message(line) == message_is).then(|| field(line, "hash").to_owned())
}

on_both!(a_new_version_takes_over_a_broken_one_does_not_and_a_deleted_one_is_gone);
async fn a_new_version_takes_over_a_broken_one_does_not_and_a_deleted_one_is_gone(on: On) {
    let scene = Scene::new().on(on);
    let ns = scene.namespace();
    scene.config(&json!({"greeting": {}}));
    let server = Server::started(&scene).await;
    let api = server.api();
    let (host, address) = scene.run_with_metrics(&server, &[]);
    // Nothing to run is nothing to wait for.
    host.until("readiness without a plugin", async || {
        get(&address, "/readyz").await.filter(|(code, _)| *code == 200)
    })
    .await;

    scene.plugin("greeting", wasm::greeting());
    let line = host
        .logged("the plugin that came", |line| message(line) == "plugin loaded")
        .await;
    let first = hash_of_loads(&line, "plugin loaded").unwrap();
    api.greet("a").await;
    let said = host.greeted(&api, "a").await;
    assert!(said.contains("Hello"), "{said}");

    scene.plugin("greeting", other_greeting());
    let line = host
        .logged("the other version", |line| message(line) == "plugin exchanged")
        .await;
    assert_eq!(field(&line, "old"), first);
    api.greet("b").await;
    let said = host.greeted(&api, "b").await;
    assert!(said.contains("Salut"), "{said}");

    let half = wasm::greeting().len() / 2;
    scene.plugin("greeting", &wasm::greeting()[..half]);
    let refused = host
        .logged("the broken version", |line| {
            message(line).starts_with("plugin greeting was not loaded: compile: ")
        })
        .await;
    assert!(
        message(&refused).contains("the version before it serves on"),
        "{refused}"
    );
    assert_eq!(
        (field(&refused, "step"), &refused["level"]),
        ("compile", &json!("WARN"))
    );
    api.greet("c").await;
    let said = host.greeted(&api, "c").await;
    assert!(said.contains("Salut"), "{said}");
    let metrics = Metrics::scrape(&address).await.unwrap();
    let loads = |result: &str, step: &str| {
        let labels = [("plugin", "greeting"), ("result", result), ("step", step)];
        metrics.value("pilothouse_plugin_loads_total", &labels)
    };
    assert_eq!(
        (loads("serving", ""), loads("refused", "compile")),
        (Some(2.0), Some(1.0))
    );

    std::fs::remove_file(scene.path("plugins/greeting.wasm")).unwrap();
    host.logged("its end", |line| message(line) == "plugin unloaded").await;
    let metrics = Metrics::scrape(&address).await.unwrap();
    assert_eq!(
        metrics.sum("pilothouse_plugin_loads_total", &[("plugin", "greeting")]),
        0.0
    );
    // Nobody greets any longer: what another version wrote, it would have overwritten.
    api.create(GREETINGS, ns, "d", json!({"spec": {"name": "d"}})).await;
    scene.plugin("greeting", wasm::greeting());
    let said = host.greeted(&api, "d").await;
    assert!(said.contains("Hello"), "{said}");
}

on_both!(what_stands_beside_a_module_grants_and_a_change_of_it_is_a_reload);
async fn what_stands_beside_a_module_grants_and_a_change_of_it_is_a_reload(on: On) {
    let scene = Scene::new().on(on);
    scene.config(&json!({}));
    scene.plugin("greeting", wasm::greeting());
    let server = Server::started(&scene).await;
    let api = server.api();
    let (host, address) = scene.run_with_metrics(&server, &[]);
    host.logged("the refusal", |line| {
        message(line).starts_with("plugin greeting was not loaded: grants: ")
    })
    .await;
    host.until("the reason why it is not ready", async || {
        get(&address, "/readyz")
            .await
            .filter(|(code, why)| *code == 503 && why.contains("all 1 were refused"))
    })
    .await;
    let granted = json!({"grants": scene.grants(&[scene.namespace()])});
    scene.file("plugins/greeting.yaml", granted.to_string());
    host.logged("the plugin", |line| message(line) == "plugin loaded").await;
    api.greet("a").await;
    host.greeted(&api, "a").await;
    // Nothing is granted any longer, so nothing is done any longer.
    scene.file("plugins/greeting.yaml", "grants: []");
    host.logged("the end of it", |line| message(line) == "plugin unloaded")
        .await;
}
