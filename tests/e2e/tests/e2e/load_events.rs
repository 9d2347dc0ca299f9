//! Failed loads as Kubernetes Events of the host itself.

use pilothouse_e2e::{Api, EVENTS, Host, On, Scene, Server, message, on_both, on_real, wasm};
use serde_json::{Value, json};

/// A host that runs in the test's namespace.
fn config(scene: &Scene) {
    let config = json!({
        "apiVersion": "pilothouse.dev/v1", "host": {"namespace": scene.namespace()}, "plugins": {"bad": {"grants": []}},
    });
    scene.file("config.yaml", config.to_string());
}

/// Waits for the Event whose text has all these parts.
async fn told(host: &Host, api: &Api, namespace: &str, parts: &[&str]) -> Value {
    host.until("the Event", async || {
        let events = api.list(EVENTS, namespace).await;
        events.into_iter().find(|event| {
            let message = event["message"].as_str().unwrap_or_default();
            event["reason"] == "LoadFailed" && parts.iter().all(|part| message.contains(part))
        })
    })
    .await
}

on_both!(a_plugin_that_is_not_loaded_is_told_as_an_event_about_the_hosts_namespace);
async fn a_plugin_that_is_not_loaded_is_told_as_an_event_about_the_hosts_namespace(on: On) {
    let scene = Scene::new().on(on);
    let ns = scene.namespace();
    config(&scene);
    // There before the host is.
    scene.plugin("bad", "\u{1b}[2J no module");
    let server = Server::started(&scene).await;
    let api = server.api();
    let host = scene.run(&server, &[]);
    let event = told(&host, &api, ns, &["plugin bad was not loaded: compile: "]).await;
    assert_eq!(event["type"], "Warning");
    assert_eq!(event["action"], "Load");
    assert_eq!(event["reportingComponent"], "pilothouse");
    assert_eq!(event["source"]["component"], "pilothouse");
    let involved = &event["involvedObject"];
    assert_eq!(
        (&involved["kind"], &involved["name"]),
        (&json!("Namespace"), &json!(ns))
    );
    let text = event["message"].as_str().unwrap();
    assert!(text.len() <= 1_024 && !text.contains('\u{1b}'), "{text:?}");
    // And one that comes while it runs.
    let half = wasm::greeting().len() / 2;
    scene.plugin("bad", &wasm::greeting()[..half]);
    told(&host, &api, ns, &["compile: the component could not be compiled: "]).await;
}

on_both!(a_secret_that_lies_there_as_name_yaml_is_quoted_nowhere);
async fn a_secret_that_lies_there_as_name_yaml_is_quoted_nowhere(on: On) {
    let scene = Scene::with_greeting().on(on);
    let ns = scene.namespace();
    scene.file(
        "config.yaml",
        json!({"apiVersion": "pilothouse.dev/v1", "host": {"namespace": ns}}).to_string(),
    );
    let server = Server::started(&scene).await;
    let host = scene.run(&server, &[]);
    for (secret, said) in [
        (
            "hunter2: {password: hunter2}",
            "greeting.yaml:1:1: an unknown field; known are enabled, ",
        ),
        (
            "enabled: hunter2",
            "greeting.yaml:1:10: enabled: true or false is needed here",
        ),
        ("grants: !hunter2 [hunter2]", "tags (!) are not allowed"),
    ] {
        scene.file("plugins/greeting.yaml", secret);
        told(
            &host,
            &server.api(),
            ns,
            &["plugin greeting was not loaded: config: ", said],
        )
        .await;
        let shown = scene.run_to_end(&["plugins", "show", "greeting", "-o", "json"]).await;
        assert!(shown.stdout.contains(said), "{}{}", shown.stdout, shown.stderr);
        assert!(!shown.stdout.contains("hunter2"), "{}", shown.stdout);
    }
    for event in server.api().list(EVENTS, ns).await {
        assert!(!event.to_string().contains("hunter2"), "{event}");
    }
    for line in host.log() {
        assert!(!line.to_string().contains("hunter2"), "{line}");
    }
}

on_real!(a_host_that_may_write_no_events_says_so_once_and_goes_on);
/// On the real one alone: the local cluster lets everybody do everything.
async fn a_host_that_may_write_no_events_says_so_once_and_goes_on(on: On) {
    let scene = Scene::new().on(on);
    // With the test's namespace.
    let _server = Server::new(&scene).await;
    config(&scene);
    scene.plugin("bad", "no module");
    let user = scene.control_plane().user(scene.namespace(), "host").unwrap();
    let host = scene.run_as(user.kubeconfig(), &[]);
    let is_it = |line: &Value| message(line).contains("lets the host write no Events");
    let line = host.logged("the refusal of the Event", is_it).await;
    assert!(message(&line).contains("create and patch on events"), "{line}");
    scene.plugin("bad", "nor is this");
    let not_loaded = |line: &Value| message(line).starts_with("plugin bad was not loaded: ");
    host.until("the other refusal", async || {
        (host.count(not_loaded) == 2).then_some(())
    })
    .await;
    host.until("the other Event's refusal", async || {
        (host.count(|line| message(line) == "an Event was not stored") == 2).then_some(())
    })
    .await;
    assert_eq!(host.count(is_it), 1);
}
