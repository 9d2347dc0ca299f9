//! Plugins' versions over hosts that are killed: what was decided stays decided, and nobody cleans up by hand.

use pilothouse_e2e::{Host, Metrics, On, Scene, Server, field, message, on_both, wasm};
use serde_json::{Value, json};

/// The zoo as another version, which refuses in other words of the same length.
fn other_zoo() -> Vec<u8> {
    wasm::replaced(wasm::zoo(), "no beast does that", "no beast knows how")
}

/// A configuration under which one trap is enough.
fn strict(scene: &Scene, more: Value) {
    let space = [scene.namespace()];
    let mut zoo = json!({"grants": scene.grants(&space), "dangerous": scene.dangerous(&space)});
    if let (Some(zoo), Value::Object(more)) = (zoo.as_object_mut(), more) {
        zoo.extend(more);
    }
    let config = json!({
        "apiVersion": "pilothouse.dev/v1", "host": {"probationTraps": 1, "stateDirectory": "state"},
        "plugins": {"zoo": zoo},
    });
    scene.file("config.yaml", config.to_string());
}

/// Kills the host as soon as what it keeps of the zoo says this, and takes away the bad Beast.
async fn killed_once_kept(scene: &Scene, server: &Server, host: Host, said: &str) {
    host.until("that it is kept", async || {
        let life = std::fs::read_to_string(scene.path("state/plugins/zoo/life.json")).ok()?;
        life.contains(said).then_some(())
    })
    .await;
    host.kill().await;
    server
        .api()
        .delete(pilothouse_e2e::BEASTS, scene.namespace(), "bad")
        .await;
}

/// Waits for that line about the zoo; answers the hash of the module it is about.
async fn hash_told(host: &Host, told: &str) -> String {
    let line = host.logged(told, |line| message(line).starts_with(told)).await;
    field(&line, "hash").to_owned()
}

/// Waits until a Beast is parked, which says in a version's own words why.
async fn says(scene: &Scene, server: &Server, host: &Host, name: &str, words: &str) {
    server.api().beast(name, "unheard-of").await;
    let object = format!("{}/{name}", scene.namespace());
    host.logged("the version's own words", |line| {
        message(line).contains(words) && field(line, "object").ends_with(&object)
    })
    .await;
}

on_both!(a_version_that_was_rolled_back_stays_so_whatever_kills_the_host);
async fn a_version_that_was_rolled_back_stays_so_whatever_kills_the_host(on: On) {
    let scene = Scene::with_zoo().on(on);
    strict(&scene, json!({}));
    let server = Server::started(&scene).await;
    let host = scene.run(&server, &[]);
    let first = hash_told(&host, "plugin loaded").await;
    scene.plugin("zoo", other_zoo());
    let second = hash_told(&host, "plugin exchanged").await;
    assert_ne!(first, second);
    server.api().beast("bad", "trap").await;
    assert_eq!(hash_told(&host, "plugin rolled back").await, first);
    killed_once_kept(&scene, &server, host, "was rolled back").await;

    // What lies in the directory is the second one still; the bytes of the first lie in the state directory alone.
    for time in ["once", "twice"] {
        let host = scene.run(&server, &[]);
        assert_eq!(
            hash_told(&host, "the version in the plugin directory waits: ").await,
            second
        );
        assert_eq!(hash_told(&host, "plugin loaded").await, first, "{time}");
        says(&scene, &server, &host, time, "no beast does that").await;
        host.kill().await;
    }

    // A host that is killed in the midst of its start finds its way all the same.
    let host = scene.run(&server, &[]);
    host.logged("the beginning", |line| message(line).starts_with("the cluster is"))
        .await;
    host.kill().await;

    // A file that nobody can load, put there while no host ran, changes nothing; a new version does.
    scene.plugin("zoo", &wasm::zoo()[..1_000]);
    let host = scene.run(&server, &[]);
    assert_eq!(hash_told(&host, "plugin loaded").await, first);
    let third = wasm::replaced(wasm::zoo(), "no beast does that", "no beast dares to.");
    scene.plugin("zoo", third);
    hash_told(&host, "plugin exchanged").await;
    says(&scene, &server, &host, "thrice", "no beast dares to.").await;
    host.kill().await;
    let host = scene.run(&server, &[]);
    hash_told(&host, "plugin loaded").await;
    says(&scene, &server, &host, "again", "no beast dares to.").await;
}

/// A host whose zoo is in quarantine after one trap, and where its metrics are.
async fn quarantined(scene: &Scene) -> (Server, Host, String) {
    strict(
        scene,
        json!({"breaker": {"consecutive": 1, "minCalls": 1, "minKeys": 1, "quarantineTrips": 1}}),
    );
    let server = Server::started(scene).await;
    let (host, address) = scene.run_with_metrics(&server, &[]);
    hash_told(&host, "plugin loaded").await;
    server.api().beast("bad", "trap").await;
    hash_told(&host, "plugin in quarantine").await;
    (server, host, address)
}

on_both!(a_quarantine_outlives_a_host_that_is_killed_and_ends_with_another_version);
async fn a_quarantine_outlives_a_host_that_is_killed_and_ends_with_another_version(on: On) {
    let scene = Scene::with_zoo().on(on);
    let (server, host, address) = quarantined(&scene).await;
    let in_quarantine = async |address: &str| {
        let labels = [("plugin", "zoo"), ("state", "quarantined")];
        let metrics = Metrics::scrape(address).await?;
        (metrics.value("pilothouse_breaker_state", &labels) == Some(1.0)).then_some(())
    };
    host.until("the quarantine", async || in_quarantine(&address).await)
        .await;
    killed_once_kept(&scene, &server, host, "\"quarantine\":{").await;

    let (host, address) = scene.run_with_metrics(&server, &[]);
    hash_told(&host, "plugin loaded").await;
    host.until("the quarantine after the restart", async || {
        in_quarantine(&address).await
    })
    .await;
    scene.plugin("zoo", other_zoo());
    hash_told(&host, "plugin exchanged").await;
    says(&scene, &server, &host, "good", "no beast knows how").await;
}

on_both!(a_quarantine_outlives_its_file_that_is_deleted_and_put_there_again);
async fn a_quarantine_outlives_its_file_that_is_deleted_and_put_there_again(on: On) {
    let scene = Scene::with_zoo().on(on);
    let (server, host, address) = quarantined(&scene).await;
    let file = scene.path("plugins/zoo.wasm");
    std::fs::remove_file(&file).unwrap();
    hash_told(&host, "plugin unloaded").await;
    scene.plugin("zoo", wasm::zoo());
    host.until("that it is there again", async || {
        (host.count(|line| message(line) == "plugin loaded") == 2).then_some(())
    })
    .await;
    host.until("the quarantine after it came back", async || {
        let labels = [("plugin", "zoo"), ("state", "quarantined")];
        let metrics = Metrics::scrape(&address).await?;
        (metrics.value("pilothouse_breaker_state", &labels) == Some(1.0)).then_some(())
    })
    .await;
    assert_eq!(host.count(|line| message(line).starts_with("plugin in quarantine")), 1);
    server
        .api()
        .delete(pilothouse_e2e::BEASTS, scene.namespace(), "bad")
        .await;
    scene.plugin("zoo", other_zoo());
    hash_told(&host, "plugin exchanged").await;
    says(&scene, &server, &host, "good", "no beast knows how").await;
}
