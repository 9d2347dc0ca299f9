//! One key at a time, and nothing lost meanwhile.

use http::Method;
use pilothouse_e2e::{BEASTS, CONFIG_MAPS, Host, Metrics, On, Scene, Server, field, message, on_both};
use serde_json::{Value, json};

/// A run of that Beast begins.
fn begins(scene: &Scene, name: &str) -> impl Fn(&Value) -> bool {
    let object = format!("{}/{name}", scene.namespace());
    move |line| message(line) == "begins" && field(line, "object") == object
}

on_both!(any_number_of_changes_while_a_key_is_in_work_cause_one_more_run);
async fn any_number_of_changes_while_a_key_is_in_work_cause_one_more_run(on: On) {
    let scene = Scene::with_zoo().on(on);
    let ns = scene.namespace();
    let server = Server::started(&scene).await;
    let api = server.api();
    let hold = server.hold(Method::GET, &CONFIG_MAPS.path_of(ns, "gate"));
    let (host, address) = scene.run_with_metrics(&server, &[]);
    api.beast("b", "gate").await;
    hold.met(1).await;
    for tick in 0..7 {
        api.merge(BEASTS, ns, "b", json!({"spec": {"tick": tick}})).await;
    }
    // Its event comes after theirs: when it was reconciled, the host has heard of all of them.
    api.beast("witness", "nothing").await;
    host.logged("the witness", begins(&scene, "witness")).await;
    assert_eq!(host.count(begins(&scene, "b")), 1, "no second worker holds the key");

    hold.release();
    assert_eq!(
        runs(&host, &address, 3.0).await,
        3.0,
        "two of the Beast, one of the witness"
    );
    assert_eq!(host.count(begins(&scene, "b")), 2);
}

/// How many runs of Beasts there were, once there were at least so many and nothing is left to do.
async fn runs(host: &Host, address: &str, at_least: f64) -> f64 {
    let by = [("controller", "zoo/beast")];
    host.until("that nothing is left to do", async || {
        let metrics = Metrics::scrape(address).await?;
        let runs = metrics.sum("controller_runtime_reconcile_total", &by);
        let idle = metrics.sum("workqueue_depth", &by) == 0.0
            && metrics.value("workqueue_unfinished_work_seconds", &by) == Some(0.0);
        (idle && runs >= at_least).then_some(runs)
    })
    .await
}

on_both!(rule_26_a_controller_begins_once_every_kind_that_it_watches_was_listed);
async fn rule_26_a_controller_begins_once_every_kind_that_it_watches_was_listed(on: On) {
    let scene = Scene::with_zoo().on(on);
    let ns = scene.namespace();
    let server = Server::started(&scene).await;
    let hold = server.hold(Method::GET, &CONFIG_MAPS.path(ns));
    server.api().beast("b", "nothing").await;
    let host = scene.run(&server, &[]);
    hold.met(1).await;
    host.until("the list of Beasts", async || {
        (server.seen(&Method::GET, &BEASTS.path(ns)) > 0).then_some(())
    })
    .await;
    assert_eq!(host.count(begins(&scene, "b")), 0);
    hold.release();
    host.logged("a run", begins(&scene, "b")).await;
    let log = host.log();
    let at = |is_meant: &dyn Fn(&Value) -> bool| log.iter().position(is_meant).expect("it was logged");
    let runs = |line: &Value| message(line) == "controller runs" && field(line, "controller") == "zoo/beast";
    assert!(at(&runs) < at(&begins(&scene, "b")));
}

on_both!(what_a_run_wrote_itself_does_not_wake_the_key_that_it_parked);
/// Otherwise a plugin that writes and fails would go round without a pause.
async fn what_a_run_wrote_itself_does_not_wake_the_key_that_it_parked(on: On) {
    let scene = Scene::with_zoo().on(on);
    let ns = scene.namespace();
    let server = Server::started(&scene).await;
    let api = server.api();
    let labels = json!({"zoo.pilothouse.dev/beast": "b"});
    api.create(CONFIG_MAPS, ns, "diary", json!({"metadata": {"labels": labels}}))
        .await;
    // The event of the write comes before its answer.
    let hold = server.hold_answers(Method::PATCH, &CONFIG_MAPS.path_of(ns, "diary"));
    let (host, address) = scene.run_with_metrics(&server, &[]);
    api.beast("b", "give-up").await;
    hold.met(1).await;
    api.beast("witness", "nothing").await;
    host.logged("the witness", begins(&scene, "witness")).await;
    hold.release();
    assert_eq!(
        runs(&host, &address, 2.0).await,
        2.0,
        "one of the Beast, one of the witness"
    );
    assert_eq!(parked(&address).await, 1.0);

    // Somebody else's change does wake it, once.
    api.merge(CONFIG_MAPS, ns, "diary", json!({"data": {"other": "line"}}))
        .await;
    host.until("another run", async || {
        (host.count(begins(&scene, "b")) >= 2).then_some(())
    })
    .await;
    assert_eq!(runs(&host, &address, 3.0).await, 3.0);
    assert_eq!(parked(&address).await, 1.0);
}

async fn parked(address: &str) -> f64 {
    Metrics::scrape(address)
        .await
        .unwrap()
        .value("pilothouse_parked_keys", &[("controller", "zoo/beast")])
        .unwrap()
}
