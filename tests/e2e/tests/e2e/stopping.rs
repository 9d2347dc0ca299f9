//! SIGTERM and SIGINT: running reconciles may end, nothing new begins, a second signal forces.

use std::time::Duration;

use http::Method;
use pilothouse_e2e::{Api, CONFIG_MAPS, Hold, Host, On, Scene, Server, get, message, on_both};

/// A host with a reconcile that waits for the API server in the middle of its work.
async fn in_the_middle(on: On, more: &[&str]) -> (Scene, Server, Api, Hold, Host, String) {
    let scene = Scene::with_zoo().on(on);
    let server = Server::started(&scene).await;
    let api = server.api();
    let hold = server.hold(Method::GET, &CONFIG_MAPS.path_of(scene.namespace(), "gate"));
    let (host, address) = scene.run_with_metrics(&server, more);
    api.beast("b", "gate").await;
    hold.met(1).await;
    (scene, server, api, hold, host, address)
}

async fn passed(scene: &Scene, api: &Api, name: &str) -> bool {
    api.get(CONFIG_MAPS, scene.namespace(), &format!("{name}-passed"))
        .await
        .is_some()
}

on_both!(sigterm_lets_a_running_reconcile_end_and_begins_no_other);
async fn sigterm_lets_a_running_reconcile_end_and_begins_no_other(on: On) {
    let (scene, _server, api, hold, mut host, address) = in_the_middle(on, &[]).await;
    host.signal("TERM").await;
    let stopping = "stopping (SIGTERM): running reconciles have 30s; a second signal forces";
    host.logged("that it stops", |line| message(line) == stopping).await;
    api.beast("too-late", "gate").await;
    let (code, why) = get(&address, "/readyz").await.unwrap();
    assert_eq!(
        (code, why.as_str()),
        (503, "not ready, waiting for:\nthe host is stopping\n")
    );
    assert_eq!(
        get(&address, "/healthz").await.unwrap().0,
        200,
        "it is alive while it stops"
    );
    assert!(host.is_running() && !passed(&scene, &api, "b").await);

    hold.release();
    let ended = host.end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(passed(&scene, &api, "b").await, "what ran did its work to the end");
    assert!(!passed(&scene, &api, "too-late").await, "nothing new was begun");
    assert!(
        ended.log().iter().any(|line| message(line) == "stopped"),
        "{}",
        ended.stderr
    );
}

on_both!(what_does_not_end_within_the_grace_period_is_cut_and_named);
async fn what_does_not_end_within_the_grace_period_is_cut_and_named(on: On) {
    let (scene, _server, api, hold, host, _) = in_the_middle(on, &["--grace-period", "1"]).await;
    host.signal("INT").await;
    let ended = host.end().await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let last = ended.log().pop().unwrap();
    assert_eq!(
        message(&last),
        format!(
            "1 reconciles did not end within the grace period of 1 s and were cut: zoo/beast {}/b",
            scene.namespace()
        )
    );
    hold.release();
    assert!(!passed(&scene, &api, "b").await, "what was cut does nothing more");
}

on_both!(a_second_signal_forces_the_end);
async fn a_second_signal_forces_the_end(on: On) {
    for (first, second) in [("TERM", "TERM"), ("INT", "INT"), ("TERM", "INT")] {
        let (_scene, _server, _api, _hold, host, _) = in_the_middle(on, &["--grace-period", "3600"]).await;
        host.signal(first).await;
        let stopping = format!("stopping (SIG{first}): running reconciles have 1h; a second signal forces");
        host.logged("that it stops", |line| message(line) == stopping).await;
        host.signal(second).await;
        let ended = host.end().await;
        assert_eq!(ended.code, Some(130), "{}", ended.stderr);
        let last = ended.log().pop().unwrap();
        assert_eq!(
            message(&last),
            format!("forced to end by a second signal (SIG{second}): running reconciles were cut")
        );
    }
}

on_both!(a_host_without_work_stops_at_once);
async fn a_host_without_work_stops_at_once(on: On) {
    let scene = Scene::with_greeting().on(on);
    let server = Server::started(&scene).await;
    let host = scene.run(&server, &["--grace-period", "3600"]);
    server.api().greet("world").await;
    host.greeted(&server.api(), "world").await;
    host.signal("INT").await;
    assert_eq!(host.end().await.code, Some(0));
    // Long before a grace period could be over: `end` waits a minute at most.
    const { assert!(pilothouse_e2e::PATIENCE.as_secs() < Duration::from_secs(3600).as_secs()) };
}

on_both!(a_host_that_still_waits_for_its_api_server_stops_too);
async fn a_host_that_still_waits_for_its_api_server_stops_too(on: On) {
    let scene = Scene::with_greeting().on(on);
    let server = Server::new(&scene).await;
    let host = scene.run(&server, &[]);
    host.logged("that it waits", |line| message(line).ends_with("; waiting for it"))
        .await;
    host.signal("TERM").await;
    assert_eq!(host.end().await.code, Some(0));
}
