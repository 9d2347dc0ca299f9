//! What a plugin may not learn: other namespaces, and what is in Secrets.

use std::collections::BTreeSet;

use pilothouse_e2e::{Api, BEASTS, CONFIG_MAPS, EVENTS, Host, NAMESPACES, SECRETS, Scene};
use serde_json::{Value, json};

/// `top secret`, `hunter2` and `changed` in base64; the first is what the zoo writes.
const DATA: [&str; 3] = ["dG9wIHNlY3JldA==", "aHVudGVyMg==", "Y2hhbmdlZA=="];

/// What the zoo reports of an object.
async fn report(host: &Host, name: &str) -> Value {
    let is_report = |event: &Value| event["event"] == "log" && event["name"] == name && event["message"] == "report";
    host.event("the report", is_report).await["fields"].clone()
}

async fn namespaces(api: &Api) {
    for name in ["a", "b"] {
        api.create(NAMESPACES, "", name, json!({})).await;
        let treasure = json!({"data": {"gold": format!("treasure-of-{name}")}});
        api.create(CONFIG_MAPS, name, "treasure", treasure).await;
        let secret = json!({"data": {"gold": DATA[1]}});
        api.create(SECRETS, name, "treasure", secret).await;
    }
}

#[tokio::test]
async fn a_plugin_limited_to_one_namespace_never_hears_of_another() {
    let scene = Scene::with_zoo();
    let grants = json!([
        {"group": "zoo.pilothouse.dev", "kind": "Beast", "verbs": ["*"], "namespaces": ["a"]},
        {"group": "", "kind": "ConfigMap", "verbs": ["*"], "namespaces": ["a"]},
        {"group": "", "kind": "Secret", "verbs": ["*"], "namespaces": ["a"]},
    ]);
    scene.config(&json!({"zoo": {"grants": grants}}));
    let host = scene.dev().await;
    let api = host.api();
    namespaces(&api).await;
    let nothing = json!({"spec": {"do": "nothing"}});
    api.create(BEASTS, "b", "hidden", nothing.clone()).await;
    api.create(BEASTS, "a", "spy", json!({"spec": {"do": "spy"}})).await;
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
    assert!(all.contains("treasure-of-a") && !all.contains("treasure-of-b"), "{all}");

    // Nor is it woken by anything there; the witness's events come after theirs.
    let waking = json!({"metadata": {"labels": {"zoo.pilothouse.dev/beast": "spy"}}});
    api.merge(CONFIG_MAPS, "b", "treasure", waking).await;
    api.merge(BEASTS, "b", "hidden", json!({"spec": {"tick": 1}})).await;
    api.create(
        CONFIG_MAPS,
        "a",
        "waking",
        json!({"metadata": {"labels": {"zoo.pilothouse.dev/beast": "witness"}}}),
    )
    .await;
    api.create(BEASTS, "a", "witness", nothing).await;
    host.event("the witness", |event| {
        event["event"] == "reconciled" && event["name"] == "witness"
    })
    .await;
    for event in host.events().iter().filter(|event| event["event"] == "reconciled") {
        assert_eq!(event["namespace"], "a", "{event}");
    }
    assert!(
        !host
            .stdout()
            .iter()
            .chain(&host.stderr())
            .any(|line| line.contains("treasure-of-b"))
    );

    // Its Event at home is there, so the one that it tried to plant in b would be, too.
    host.until("the Event", async || api.events_about("a", "spy").await.pop())
        .await;
    assert_eq!(api.list(EVENTS, "b").await, [] as [Value; 0]);
    let treasure = api.get(CONFIG_MAPS, "b", "treasure").await.unwrap();
    assert_eq!(
        treasure["data"],
        json!({"gold": "treasure-of-b"}),
        "nothing was written there"
    );
}

#[tokio::test]
async fn what_is_in_a_secret_stands_in_no_cached_read_and_in_no_output() {
    let scene = Scene::with_zoo();
    let host = scene.dev_with(&["--log-level", "trace"]).await;
    let api = host.api();
    let secret = json!({"metadata": {"labels": {"zoo.pilothouse.dev/beast": "b"}}, "data": {"password": DATA[1]}});
    api.create(SECRETS, "default", "open", secret).await;
    api.beast("b", "secret").await;
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
    api.merge(SECRETS, "default", "open", json!({"data": {"password": DATA[2]}}))
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

#[tokio::test]
async fn the_pages_of_one_list_are_one_snapshot_and_a_later_list_sees_what_was_written_meanwhile() {
    let scene = Scene::with_zoo();
    let host = scene.dev().await;
    let api = host.api();
    for name in ["a", "b", "c", "d", "e"] {
        api.create(CONFIG_MAPS, "default", name, json!({})).await;
    }
    // Once the cache has all of them: an object of the same kind that came later wakes the Beast.
    api.beast("b", "nothing").await;
    let waking = json!({"metadata": {"labels": {"zoo.pilothouse.dev/beast": "b"}}});
    api.create(CONFIG_MAPS, "default", "f", waking).await;
    let by_map = |run: &Value| run["causes"].to_string().contains("\"ConfigMap\"");
    host.run_of("Beast", "b", by_map).await;
    api.merge(BEASTS, "default", "b", json!({"spec": {"do": "pages"}}))
        .await;
    let report = report(&host, "b").await;
    assert_eq!(
        report,
        json!({"sizes": "2 2 2", "seen": "a b c d e f", "after": "a b c d e f zzz"})
    );
}
