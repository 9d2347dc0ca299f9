//! What a plugin may not learn: other namespaces, and what is in Secrets.

use std::collections::BTreeSet;

use pilothouse_e2e::{Api, BEASTS, CONFIG_MAPS, EVENTS, Host, NAMESPACES, On, SECRETS, Scene, on_both};
use serde_json::{Value, json};

/// `top secret`, `hunter2` and `changed` in base64; the first is what the zoo writes.
const DATA: [&str; 3] = ["dG9wIHNlY3JldA==", "aHVudGVyMg==", "Y2hhbmdlZA=="];

/// What the zoo reports of an object.
async fn report(host: &Host, name: &str) -> Value {
    let is_report = |event: &Value| event["event"] == "log" && event["name"] == name && event["message"] == "report";
    host.event("the report", is_report).await["fields"].clone()
}

/// Wakes this Beast.
fn waking(name: &str) -> Value {
    json!({"labels": {"zoo.pilothouse.dev/beast": name}})
}

/// A Beast whose runs show when the host has heard of something: each kind has a watch of its own.
async fn herald(host: &Host, api: &Api, name: &str) {
    api.beast(name, "nothing").await;
    host.run_of("Beast", name, |_| true).await;
}

/// Waits until an object of that kind has woken it.
async fn heralded(host: &Host, name: &str, kind: &str) {
    let by = |run: &Value| run["causes"][0][0]["kind"] == kind;
    host.run_of("Beast", name, by).await;
}

/// A ConfigMap and a Secret in a namespace; both wake the herald, if they may.
async fn treasure(api: &Api, ns: &str) {
    let treasure = json!({"metadata": waking("herald"), "data": {"gold": format!("treasure-of-{ns}.")}});
    api.create(CONFIG_MAPS, ns, "treasure", treasure).await;
    let secret = json!({"metadata": waking("herald"), "data": {"gold": DATA[1]}});
    api.create(SECRETS, ns, "treasure", secret).await;
}

on_both!(a_plugin_limited_to_one_namespace_never_hears_of_another);
async fn a_plugin_limited_to_one_namespace_never_hears_of_another(on: On) {
    let scene = Scene::with_zoo().on(on);
    // Every plugin of a scene is granted this one alone.
    let (a, b) = (scene.namespace(), &*scene.another_namespace("b"));
    let host = scene.dev().await;
    let api = host.api();
    api.create(NAMESPACES, "", b, json!({})).await;
    herald(&host, &api, "herald").await;
    treasure(&api, b).await;
    treasure(&api, a).await;
    heralded(&host, "herald", "ConfigMap").await;
    let nothing = json!({"spec": {"do": "nothing"}});
    api.create(BEASTS, b, "hidden", nothing.clone()).await;
    api.create(BEASTS, a, "spy", json!({"spec": {"do": "spy", "there": b}}))
        .await;
    let report = report(&host, "spy").await;
    for denied in [
        "get",
        "get-live",
        "select",
        "select-live",
        "select-all-live",
        "digest",
        "digest-secret",
        "create",
    ] {
        let answer = report[denied].as_str().unwrap();
        assert!(answer.starts_with("PilothouseDenied: "), "{denied}: {answer}");
    }
    let all = report["select-all"].as_str().unwrap();
    let hidden = &*format!("treasure-of-{b}.");
    assert!(
        all.contains(&format!("treasure-of-{a}.")) && !all.contains(hidden),
        "{all}"
    );

    // Nor is it woken by anything there; the witness's events come after theirs.
    api.merge(CONFIG_MAPS, b, "treasure", json!({"metadata": waking("spy")}))
        .await;
    api.merge(BEASTS, b, "hidden", json!({"spec": {"tick": 1}})).await;
    api.create(CONFIG_MAPS, a, "waking", json!({"metadata": waking("witness")}))
        .await;
    api.create(BEASTS, a, "witness", nothing).await;
    host.event("the witness", |event| {
        event["event"] == "reconciled" && event["name"] == "witness"
    })
    .await;
    for event in host.events().iter().filter(|event| event["event"] == "reconciled") {
        assert_eq!(event["namespace"], a, "{event}");
    }
    assert!(
        !host
            .stdout()
            .iter()
            .chain(&host.stderr())
            .any(|line| line.contains(hidden))
    );

    // Its Event at home is there, so the one that it tried to plant in b would be, too.
    host.until("the Event", async || api.events_about(a, "spy").await.pop())
        .await;
    assert_eq!(api.list(EVENTS, b).await, [] as [Value; 0]);
    let treasure = api.get(CONFIG_MAPS, b, "treasure").await.unwrap();
    assert_eq!(treasure["data"], json!({"gold": hidden}), "nothing was written there");
}

on_both!(what_is_in_a_secret_stands_in_no_cached_read_and_in_no_output);
async fn what_is_in_a_secret_stands_in_no_cached_read_and_in_no_output(on: On) {
    let scene = Scene::with_zoo().on(on);
    let ns = scene.namespace();
    let host = scene.dev_with(&["--log-level", "trace"]).await;
    let api = host.api();
    herald(&host, &api, "b").await;
    let secret = json!({"metadata": waking("b"), "data": {"password": DATA[1]}});
    api.create(SECRETS, ns, "open", secret).await;
    heralded(&host, "b", "Secret").await;
    api.merge(BEASTS, ns, "b", json!({"spec": {"do": "secret"}})).await;
    let first = report(&host, "b").await;
    for cached in ["cached", "listed", "after"] {
        let text = first[cached].as_str().unwrap();
        assert!(
            text.contains("\"name\":\"open\"") && !text.contains("\"data\""),
            "{cached}: {text}"
        );
    }
    assert!(
        first["live-keys"].as_str().unwrap().contains("password"),
        "a live read of a granted name shows it"
    );

    // Each change wakes the Beast (its own write is the first), and the digest tells that it is another.
    let digests = async |at_least: usize| {
        let seen = || -> BTreeSet<String> {
            let events = host.events();
            let reports = events
                .iter()
                .filter(|event| event["event"] == "log" && event["message"] == "report");
            reports
                .map(|event| event["fields"]["digest"].as_str().unwrap().to_owned())
                .collect()
        };
        host.until("another digest", async || (seen().len() >= at_least).then_some(()))
            .await;
    };
    digests(2).await;
    api.merge(SECRETS, ns, "open", json!({"data": {"password": DATA[2]}}))
        .await;
    digests(3).await;

    let wrote = host.runs("Beast", "b");
    assert!(
        wrote
            .iter()
            .any(|run| run["writes"][0]["paths"] == json!(["data.token"])),
        "the paths are told: {wrote:?}"
    );
    for line in host.stdout().iter().chain(&host.stderr()) {
        for data in DATA.iter().chain(&["top secret", "hunter2"]) {
            assert!(!line.contains(data), "{data} is in: {line}");
        }
    }
}

on_both!(the_pages_of_one_list_are_one_snapshot_and_a_later_list_sees_what_was_written_meanwhile);
async fn the_pages_of_one_list_are_one_snapshot_and_a_later_list_sees_what_was_written_meanwhile(on: On) {
    let scene = Scene::with_zoo().on(on);
    let ns = scene.namespace();
    let host = scene.dev().await;
    let api = host.api();
    for name in ["a", "b", "c", "d", "e"] {
        api.create(CONFIG_MAPS, ns, name, json!({})).await;
    }
    // A real control plane puts one more into every namespace.
    let (sizes, there) = match on {
        On::Local => ("2 2 2", "a b c d e f"),
        On::Real => ("2 2 2 1", "a b c d e f kube-root-ca.crt"),
    };
    if on == On::Real {
        let root = async || api.get(CONFIG_MAPS, ns, "kube-root-ca.crt").await;
        host.until("the ConfigMap of every namespace", root).await;
    }
    // Once the cache has all of them: an object of the same kind that came later wakes the Beast.
    herald(&host, &api, "b").await;
    api.create(CONFIG_MAPS, ns, "f", json!({"metadata": waking("b")})).await;
    heralded(&host, "b", "ConfigMap").await;
    api.merge(BEASTS, ns, "b", json!({"spec": {"do": "pages"}})).await;
    let report = report(&host, "b").await;
    assert_eq!(
        report,
        json!({"sizes": sizes, "seen": there, "after": format!("{there} zzz")})
    );
}
