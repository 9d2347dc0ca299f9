//! What writes do and leave alone (decision 2), and that a sent write belongs to the host (decision 12).

use http::Method;
use pilothouse_e2e::{BEASTS, CONFIG_MAPS, Host, Scene, Server, field, message};
use serde_json::{Value, json};

#[tokio::test]
async fn a_struct_that_knows_one_field_of_ten_leaves_the_other_nine_alone() {
    let scene = Scene::with_zoo();
    let host = scene.dev().await;
    let api = host.api();
    let before = json!({
        "metadata": {
            "labels": {"mine": "stays"},
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{\"spec\":{}}\n", "note": "a"},
        },
        "spec": {
            "do": "label",
            "size": 3,
            "text": "\u{fc}\u{1f980} \"quoted\"\n",
            "whole": 9_007_199_254_740_993_i64,
            "fraction": 1.5,
            "yes": true,
            "empty": {},
            "none": [],
            "list": [{"name": "a", "secret": 1}, {"name": "b", "deeper": {"still": [1, "2", null]}}],
            "nested": {"a": {"b": {"c": "d"}}},
        },
    });
    let created = api.create(BEASTS, "default", "b", before).await;
    let after = host
        .until("the label", async || {
            api.get(BEASTS, "default", "b")
                .await
                .filter(|beast| beast["metadata"]["labels"]["seen"] == "yes")
        })
        .await;
    let mut expected = created.clone();
    expected["metadata"]["labels"]["seen"] = json!("yes");
    expected["metadata"]["resourceVersion"] = after["metadata"]["resourceVersion"].clone();
    assert_eq!(after, expected, "nothing else changed");
    let run = host.run_of("Beast", "b", |run| run["result"] == "success").await;
    assert_eq!(run["writes"][0]["paths"], json!(["metadata.labels.seen"]));
}

fn begins(line: &Value) -> bool {
    message(line) == "begins" && field(line, "object") == "default/b"
}

async fn sees_what_was_written(host: &Host) {
    host.logged("a run that sees what the one before wrote", |line| {
        message(line) == "sees what was written"
    })
    .await;
}

#[tokio::test]
async fn a_sent_write_is_finished_though_its_call_has_ended_and_the_next_run_sees_it() {
    let scene = Scene::with_zoo();
    let server = Server::started().await;
    let api = server.api();
    let path = CONFIG_MAPS.path("default");
    let hold = server.hold_answers(Method::POST, &path);
    scene.config(&json!({"greeting": {"grants": "asked"}, "zoo": {"grants": "asked", "limits": {"wallMs": 300}}}));
    let host = scene.run(&server, &[]);
    api.beast("b", "create-once").await;
    hold.met(1).await;
    assert!(
        api.get(CONFIG_MAPS, "default", "b").await.is_some(),
        "the server did it"
    );

    // The witness's call begins after the Beast's and has the same wall time: when it was ended, so was the other. Its
    // event came after that of the change, too, which does not get the key going again before the write is settled.
    api.merge(BEASTS, "default", "b", json!({"spec": {"tick": 1}})).await;
    api.beast("witness", "wait").await;
    let cut = |line: &Value, object: &str| {
        message(line).contains("took longer than its wall time of 300ms") && field(line, "object") == object
    };
    host.logged("the witness", |line| cut(line, "Beast default/witness"))
        .await;
    assert_eq!(host.count(begins), 1);

    hold.release();
    sees_what_was_written(&host).await;
    assert_eq!(server.seen(&Method::POST, &path), 1, "it was written once");
    host.logged("how the call ended", |line| cut(line, "Beast default/b"))
        .await;
}

#[tokio::test]
async fn after_an_answer_that_got_lost_the_next_run_sees_what_was_written() {
    let scene = Scene::with_zoo();
    let server = Server::started().await;
    let api = server.api();
    let path = CONFIG_MAPS.path("default");
    let hold = server.lose_answers(Method::POST, &path);
    let host = scene.run(&server, &[]);
    api.beast("b", "create-once").await;
    hold.met(1).await;
    hold.release();
    sees_what_was_written(&host).await;
    assert_eq!(server.seen(&Method::POST, &path), 1, "it was written once");
    let live = CONFIG_MAPS.path_of("default", "b");
    assert!(
        server.seen(&Method::GET, &live) >= 1,
        "its target was read live before the next run"
    );
    let lost = |line: &Value| message(line).starts_with("reconcile failed: PilothouseUnavailable: ");
    assert_eq!(host.count(lost), 1, "{:#?}", host.log());
}
