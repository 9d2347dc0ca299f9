//! What writes do and leave alone (decision 2), and that a sent write belongs to the host (decision 12).

use http::Method;
use pilothouse_e2e::{BEASTS, CONFIG_MAPS, GREETINGS, Host, On, Scene, Server, field, message, on_both};
use serde_json::{Value, json};

on_both!(a_struct_that_knows_one_field_of_ten_leaves_the_other_nine_alone);
async fn a_struct_that_knows_one_field_of_ten_leaves_the_other_nine_alone(on: On) {
    let scene = Scene::with_zoo().on(on);
    let ns = scene.namespace();
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
    let created = api.create(BEASTS, ns, "b", before).await;
    let after = host
        .until("the label", async || {
            api.get(BEASTS, ns, "b")
                .await
                .filter(|beast| beast["metadata"]["labels"]["seen"] == "yes")
        })
        .await;
    let (mut expected, mut after) = (created.clone(), after);
    expected["metadata"]["labels"]["seen"] = json!("yes");
    expected["metadata"]["resourceVersion"] = after["metadata"]["resourceVersion"].clone();
    // Who wrote what stays known, where the server keeps it: one entry more, and the others as they were.
    let owned = |object: &mut Value| match object["metadata"]["managedFields"].take() {
        Value::Array(entries) => entries,
        _ => Vec::new(),
    };
    let (before, now) = (owned(&mut expected), owned(&mut after));
    assert!(
        before.iter().all(|entry| now.contains(entry)),
        "{before:?}, now {now:?}"
    );
    assert_eq!(now.len(), before.len() + usize::from(!before.is_empty()), "{now:?}");
    assert_eq!(on == On::Real, !now.is_empty(), "a real server keeps it");
    assert_eq!(after, expected, "nothing else changed");
    let run = host.run_of("Beast", "b", |run| run["result"] == "success").await;
    assert_eq!(run["writes"][0]["paths"], json!(["metadata.labels.seen"]));
}

async fn sees_what_was_written(host: &Host) {
    host.logged("a run that sees what the one before wrote", |line| {
        message(line) == "sees what was written"
    })
    .await;
}

on_both!(a_sent_write_is_finished_though_its_call_has_ended_and_the_next_run_sees_it);
async fn a_sent_write_is_finished_though_its_call_has_ended_and_the_next_run_sees_it(on: On) {
    let scene = Scene::with_zoo().on(on);
    let ns = scene.namespace();
    let server = Server::started(&scene).await;
    let api = server.api();
    let path = CONFIG_MAPS.path(ns);
    let hold = server.hold_answers(Method::POST, &path);
    scene.config(&json!({"greeting": {}, "zoo": {"limits": {"wallMs": 300}}}));
    let host = scene.run(&server, &[]);
    api.beast("b", "create-once").await;
    hold.met(1).await;
    assert!(api.get(CONFIG_MAPS, ns, "b").await.is_some(), "the server did it");

    // The witness's call begins after the Beast's and has the same wall time: when it was ended, so was the other. Its
    // event came after that of the change, too, which does not get the key going again before the write is settled.
    api.merge(BEASTS, ns, "b", json!({"spec": {"tick": 1}})).await;
    api.beast("witness", "wait").await;
    let cut = |line: &Value, name: &str| {
        message(line).contains("took longer than its wall time of 300ms")
            && field(line, "object") == format!("Beast {ns}/{name}")
    };
    host.logged("the witness", |line| cut(line, "witness")).await;
    assert_eq!(
        host.count(|line| message(line) == "begins" && field(line, "object") == format!("{ns}/b")),
        1
    );

    hold.release();
    sees_what_was_written(&host).await;
    assert_eq!(server.seen(&Method::POST, &path), 1, "it was written once");
    host.logged("how the call ended", |line| cut(line, "b")).await;
}

on_both!(after_an_answer_that_got_lost_the_next_run_sees_what_was_written);
async fn after_an_answer_that_got_lost_the_next_run_sees_what_was_written(on: On) {
    let scene = Scene::with_zoo().on(on);
    let ns = scene.namespace();
    let server = Server::started(&scene).await;
    let api = server.api();
    let path = CONFIG_MAPS.path(ns);
    let hold = server.lose_answers(Method::POST, &path);
    let host = scene.run(&server, &[]);
    api.beast("b", "create-once").await;
    hold.met(1).await;
    hold.release();
    sees_what_was_written(&host).await;
    assert_eq!(server.seen(&Method::POST, &path), 1, "it was written once");
    let live = CONFIG_MAPS.path_of(ns, "b");
    assert!(
        server.seen(&Method::GET, &live) >= 1,
        "its target was read live before the next run"
    );
    let lost = |line: &Value| message(line).starts_with("reconcile failed: PilothouseUnavailable: ");
    assert_eq!(host.count(lost), 1, "{:#?}", host.log());
}

on_both!(an_object_that_a_run_let_go_is_gone_for_the_next_run);
async fn an_object_that_a_run_let_go_is_gone_for_the_next_run(on: On) {
    let scene = Scene::with_zoo().on(on);
    let ns = scene.namespace();
    let server = Server::started(&scene).await;
    let api = server.api();
    let host = scene.run(&server, &[]);
    api.greet("world").await;
    host.greeted(&api, "world").await;
    let path = GREETINGS.path_of(ns, "world");
    assert_eq!(server.seen(&Method::PATCH, &path), 1, "the finalizer");

    // The server takes the last finalizer away and with it the object; its event comes late. The answer shows the
    // object as it was, under the version that it had.
    let hold = server.hold(Method::PATCH, &path);
    api.delete(GREETINGS, ns, "world").await;
    hold.met(1).await;
    let events = server.hold_events(&GREETINGS.path(ns));
    hold.release();
    host.until("the Greeting to be gone", async || {
        api.get(GREETINGS, ns, "world").await.is_none().then_some(())
    })
    .await;
    // Meanwhile that of its ConfigMap has come, which asks for another run.
    api.beast("witness", "nothing").await;
    host.logged("the witness", |line| message(line) == "begins").await;
    events.release();
    host.until("a run after the one that took it away", async || {
        let mut runs = host.log();
        runs.retain(|line| message(line) == "reconciled" && field(line, "object") == format!("Greeting {ns}/world"));
        let goodbye = runs.iter().position(|run| run["fields"]["writes"] == 2)?;
        runs.get(goodbye + 1).is_some().then_some(())
    })
    .await;
    assert_eq!(
        server.seen(&Method::PATCH, &path),
        2,
        "its finalizer was taken away once"
    );
    let mut goodbyes = api.events_about(ns, "world").await;
    goodbyes.retain(|event| event["reason"] == "Goodbye");
    assert_eq!(goodbyes.len(), 1, "{goodbyes:#?}");
}

on_both!(a_change_that_crosses_a_write_is_a_conflict_and_survives);
async fn a_change_that_crosses_a_write_is_a_conflict_and_survives(on: On) {
    let scene = Scene::with_zoo().on(on);
    let ns = scene.namespace();
    let server = Server::started(&scene).await;
    let api = server.api();
    let hold = server.hold(Method::PATCH, &BEASTS.path_of(ns, "b"));
    let host = scene.run(&server, &[]);
    api.beast("b", "label").await;
    hold.met(1).await;
    let theirs = json!({"metadata": {"labels": {"theirs": "stays"}}, "spec": {"tick": 1}});
    api.merge(BEASTS, ns, "b", theirs).await;
    // Its event comes after theirs: the next run sees their change.
    api.beast("witness", "nothing").await;
    host.logged("the witness", |line| {
        message(line) == "begins" && field(line, "object") == format!("{ns}/witness")
    })
    .await;
    hold.release();
    let after = host
        .until("the label", async || {
            api.get(BEASTS, ns, "b")
                .await
                .filter(|beast| beast["metadata"]["labels"]["seen"] == "yes")
        })
        .await;
    assert_eq!(after["metadata"]["labels"]["theirs"], "stays");
    assert_eq!(after["spec"]["tick"], 1);
    let conflict = format!(
        "reconcile failed: Conflict: patch zoo.pilothouse.dev/v1 Beast {ns}/b: Operation cannot be fulfilled on \
         beasts.zoo.pilothouse.dev \"b\": the object has been modified"
    );
    host.logged("the conflict", |line| message(line).starts_with(&conflict))
        .await;
    let failed = host.count(|line| message(line).starts_with("reconcile failed: "));
    assert_eq!(failed, 1, "{:#?}", host.log());
}

on_both!(an_object_with_the_longest_name_there_is_gets_its_event);
async fn an_object_with_the_longest_name_there_is_gets_its_event(on: On) {
    let scene = Scene::with_zoo().on(on);
    let ns = scene.namespace();
    let host = scene.dev().await;
    let api = host.api();
    // Events are named after their objects; wherever something of this name is cut off, the rest is no name by itself.
    let name = &*format!("{:-<252}z", "a");
    let spy = json!({"spec": {"do": "spy", "there": ns}});
    api.create(BEASTS, ns, name, spy).await;
    let event = host.until("the Event", async || {
        let mut events = api.events_about(ns, name).await;
        events.retain(|event| event["involvedObject"]["kind"] == "Beast");
        events.pop()
    });
    assert_eq!(event.await["message"], "a message at home");
}
