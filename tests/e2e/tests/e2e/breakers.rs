//! A plugin that fails and fails is not called for a while: its keys wait, and it gets its chance again.

use pilothouse_e2e::{BEASTS, Host, Metrics, On, Scene, Server, field, message, on_both, on_local};
use serde_json::{Value, json};

/// Enough that the breaker does not take them for one poison object.
const BEASTS_OF_ALL: usize = 6;

/// What the operator says of the zoo, beside its module.
fn settings(scene: &Scene, breaker: Value, config: Value) {
    let grants = scene.grants(&[scene.namespace()]);
    let dangerous = scene.dangerous(&[scene.namespace()]);
    let settings = json!({"grants": grants, "dangerous": dangerous, "breaker": breaker, "config": config});
    scene.file("plugins/zoo.yaml", settings.to_string());
}

/// Each Beast does that from now on.
async fn all_do(server: &Server, scene: &Scene, behaviour: &str) {
    for n in 0..BEASTS_OF_ALL {
        let spec = json!({"spec": {"do": behaviour}});
        server
            .api()
            .merge(BEASTS, scene.namespace(), &format!("b{n}"), spec)
            .await;
    }
}

/// The zoo with Beasts that trap, until its breaker is in this state.
async fn tripped(scene: &Scene, server: &Server, state: &str) -> (Host, String) {
    let (host, address) = scene.run_with_metrics(server, &[]);
    for n in 0..BEASTS_OF_ALL {
        server.api().beast(&format!("b{n}"), "trap").await;
    }
    in_state(&host, &address, state).await;
    (host, address)
}

async fn in_state(host: &Host, address: &str, state: &str) {
    host.until(&format!("the breaker to be {state}"), async || {
        let metrics = Metrics::scrape(address).await?;
        let labels = [("plugin", "zoo"), ("state", state)];
        (metrics.value("pilothouse_breaker_state", &labels) == Some(1.0)).then_some(())
    })
    .await;
}

/// How many calls of the zoo have ended.
async fn calls(address: &str) -> f64 {
    let metrics = Metrics::scrape(address).await.expect("metrics");
    metrics.sum("controller_runtime_reconcile_total", &[("controller", "zoo/beast")])
}

/// The calls of a Beast that went well.
fn went_well(host: &Host, scene: &Scene, name: &str) -> usize {
    let object = format!("Beast {}/{name}", scene.namespace());
    host.count(|line| message(line) == "reconciled" && field(line, "object") == object)
}

on_both!(a_breaker_opens_keys_wait_merged_probes_go_first_and_it_closes_once_the_plugin_is_well);
async fn a_breaker_opens_keys_wait_merged_probes_go_first_and_it_closes_once_the_plugin_is_well(on: On) {
    let scene = Scene::with_zoo().on(on);
    scene.config(&json!({"greeting": {}}));
    settings(
        &scene,
        json!({"minCalls": 6, "minKeys": 5, "openSeconds": 6}),
        json!({}),
    );
    let server = Server::started(&scene).await;
    let (host, address) = tripped(&scene, &server, "open").await;
    let api = server.api();
    let before = calls(&address).await;
    // All that changes meanwhile is one call of each key later.
    all_do(&server, &scene, "nothing").await;
    for tick in 0..3 {
        api.merge(BEASTS, scene.namespace(), "b0", json!({"spec": {"tick": tick}}))
            .await;
    }
    api.greet("neighbour").await;
    host.greeted(&api, "neighbour").await;
    in_state(&host, &address, "open").await;
    assert_eq!(calls(&address).await, before, "nobody is called");
    let line = |start: &'static str| host.logged(start, move |line| message(line).starts_with(start));
    line("breaker half-open: ").await;
    line("breaker closed: ").await;
    in_state(&host, &address, "closed").await;
    host.until("every key that waited", async || {
        let all = (0..BEASTS_OF_ALL).all(|n| went_well(&host, &scene, &format!("b{n}")) > 0);
        all.then_some(())
    })
    .await;
    assert_eq!(went_well(&host, &scene, "b0"), 1, "four changes waited as one");
}

on_local!(a_plugin_that_trips_again_and_again_stays_in_quarantine_until_its_configuration_is_another);
/// On the local one alone: no API server has a part in it.
async fn a_plugin_that_trips_again_and_again_stays_in_quarantine_until_its_configuration_is_another(on: On) {
    let scene = Scene::with_zoo().on(on);
    scene.config(&json!({"greeting": {}}));
    let breaker = json!({"minCalls": 6, "openSeconds": 1, "maxOpenSeconds": 1, "quarantineTrips": 2});
    settings(&scene, breaker.clone(), json!({}));
    let server = Server::started(&scene).await;
    let (host, address) = tripped(&scene, &server, "quarantined").await;
    host.logged("that it is in quarantine", |line| {
        message(line).starts_with("plugin in quarantine: ") && field(line, "plugin") == "zoo"
    })
    .await;
    all_do(&server, &scene, "nothing").await;
    let before = calls(&address).await;
    server.api().greet("neighbour").await;
    host.greeted(&server.api(), "neighbour").await;
    assert_eq!(calls(&address).await, before, "nobody is called");
    settings(&scene, breaker, json!({"appetite": 1}));
    host.until("every key", async || {
        let all = (0..BEASTS_OF_ALL).all(|n| went_well(&host, &scene, &format!("b{n}")) > 0);
        all.then_some(())
    })
    .await;
    in_state(&host, &address, "closed").await;
}

on_local!(a_limit_that_the_operator_lowers_is_not_raised_again_by_the_calls_that_come_to_it);
/// On the local one alone: no API server has a part in it.
async fn a_limit_that_the_operator_lowers_is_not_raised_again_by_the_calls_that_come_to_it(on: On) {
    let scene = Scene::with_zoo().on(on);
    scene.config(&json!({"greeting": {}}));
    let settings = |wall_ms: u32, config: Value| {
        let (grants, dangerous) = (
            scene.grants(&[scene.namespace()]),
            scene.dangerous(&[scene.namespace()]),
        );
        let settings = json!({
            "grants": grants, "dangerous": dangerous, "breaker": {"enabled": false}, "limits": {"wallMs": wall_ms},
            "config": config,
        });
        scene.file("plugins/zoo.yaml", settings.to_string());
    };
    settings(30_000, json!({}));
    let server = Server::started(&scene).await;
    let (host, _) = scene.run_with_metrics(&server, &[]);
    let exchanged = async |times: usize| {
        host.until("another version", async || {
            (host.count(|line| message(line) == "plugin exchanged") == times).then_some(())
        })
        .await;
    };
    let rolled_back = || host.count(|line| message(line).starts_with("plugin rolled back: "));
    server.api().beast("b0", "nothing").await;
    host.until("the zoo to run", async || {
        (went_well(&host, &scene, "b0") > 0).then_some(())
    })
    .await;
    settings(200, json!({}));
    exchanged(1).await;
    for n in 0..BEASTS_OF_ALL {
        server.api().beast(&format!("c{n}"), "sleep").await;
    }
    let cut = || host.count(|line| message(line).contains("limits.wallMs"));
    host.until("more calls that are cut than probation takes", async || {
        (cut() > 5).then_some(())
    })
    .await;
    // The next one is served after all that was told of this one, and is held to account as ever.
    settings(200, json!({"appetite": 1}));
    exchanged(2).await;
    assert_eq!(rolled_back(), 0);
    host.until("the way back", async || (rolled_back() == 1).then_some(()))
        .await;
}
