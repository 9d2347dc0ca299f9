//! An API server that is not there yet, that goes away, that fails.

use pilothouse_e2e::{CONFIG_MAPS, GREETINGS, On, Scene, Server, message, on_both, wait_until};
use serde_json::{Value, json};

fn is_grave(line: &Value) -> bool {
    line["level"] == "WARN" || line["level"] == "ERROR"
}

on_both!(a_host_waits_for_an_api_server_that_is_not_there_yet);
async fn a_host_waits_for_an_api_server_that_is_not_there_yet(on: On) {
    let scene = Scene::with_greeting().on(on);
    let mut server = Server::new(&scene).await;
    server.api().greet("world").await;
    let (host, address) = scene.run_with_metrics(&server, &[]);
    let waiting = format!("the API server {}/ can't be reached (", server.url());
    let line = host
        .logged("that it waits", |line| message(line).starts_with(&waiting))
        .await;
    assert!(message(&line).ends_with("; waiting for it"), "{line}");
    let (code, why) = pilothouse_e2e::get(&address, "/readyz").await.unwrap();
    assert_eq!(
        (code, why),
        (
            503,
            format!("not ready, waiting for:\nthe API server {}/\n", server.url())
        )
    );

    server.start().await;
    assert_eq!(host.greeted(&server.api(), "world").await, "Hello, world!");
    host.logged("that it is ready", |line| {
        message(line) == "ready: every controller runs"
    })
    .await;
    let answers = format!("the API server {}/ answers", server.url());
    assert_eq!(host.count(|line| message(line) == answers), 1);
    assert_eq!(host.count(is_grave), 1, "one line for one reason");
}

on_both!(what_changed_while_the_api_server_was_away_is_reconciled_when_it_is_back);
async fn what_changed_while_the_api_server_was_away_is_reconciled_when_it_is_back(on: On) {
    let scene = Scene::with_greeting().on(on);
    let ns = scene.namespace();
    let mut server = Server::started(&scene).await;
    let api = server.api();
    let host = scene.run(&server, &[]);
    for name in ["changed", "tampered", "orphaned"] {
        api.greet(name).await;
        host.greeted(&api, name).await;
    }
    assert_eq!(host.count(is_grave), 0);

    server.stop().await;
    let down =
        |line: &Value| message(line).starts_with("the API server can't be reached; trying again until it answers");
    host.logged("that the server is away", down).await;
    api.greet("new").await;
    api.merge(
        GREETINGS,
        ns,
        "changed",
        json!({"spec": {"salutation": "Good evening"}}),
    )
    .await;
    api.merge(CONFIG_MAPS, ns, "tampered", json!({"data": {"message": "Go away"}}))
        .await;
    api.delete(CONFIG_MAPS, ns, "orphaned").await;
    api.delete(GREETINGS, ns, "changed").await;
    // Still away, in another way: it takes connections and closes them. The host tries often, and says nothing more.
    server.hang_up();
    server.start().await;
    wait_until("some tries", async || (server.hung_up() >= 4).then_some(())).await;
    assert_eq!(
        host.count(is_grave),
        1,
        "one line for an outage, however long: {:#?}",
        host.log()
    );
    server.pick_up();

    assert_eq!(host.greeted(&api, "new").await, "Hello, new!");
    host.until("what somebody changed to be mended", async || {
        let tampered = api.greeted("tampered").await? == "Hello, tampered!";
        let orphaned = api.greeted("orphaned").await? == "Hello, orphaned!";
        let gone = api.get(GREETINGS, ns, "changed").await.is_none();
        let child_gone = api.get(CONFIG_MAPS, ns, "changed").await.is_none();
        (tampered && orphaned && gone && child_gone).then_some(())
    })
    .await;
    assert_eq!(host.count(|line| message(line) == "the API server answers again"), 1);
    assert_eq!(host.count(down), 1);
    assert_eq!(host.count(is_grave), 1, "{:#?}", host.log());
}

on_both!(an_api_server_that_fails_for_a_while_is_borne);
async fn an_api_server_that_fails_for_a_while_is_borne(on: On) {
    let scene = Scene::with_greeting().on(on);
    let mut server = Server::started(&scene).await;
    let api = server.api();
    let host = scene.run(&server, &[]);
    api.greet("before").await;
    host.greeted(&api, "before").await;
    let failing = server.fail(503);
    // Watches end, and every new request fails.
    server.stop().await;
    server.start().await;
    api.greet("meanwhile").await;
    failing.met(4).await;
    failing.release();
    assert_eq!(host.greeted(&api, "meanwhile").await, "Hello, meanwhile!");
    assert!(host.count(is_grave) <= 4, "no storm: {:#?}", host.log());
}
