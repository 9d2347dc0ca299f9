//! What grants give and what they don't: Secrets by name, writes in another's name, and the lines that operators paste.

use pilothouse_e2e::{BEASTS, EVENTS, GREETINGS, On, SECRETS, Scene, Server, message, on_both, wasm};
use serde_json::{Value, json};

/// `hunter2` and `changed` in base64.
const DATA: [&str; 2] = ["aHVudGVyMg==", "Y2hhbmdlZA=="];

on_both!(a_plugin_can_not_write_in_anothers_name_nor_look_at_secrets_beyond_its_grant);
async fn a_plugin_can_not_write_in_anothers_name_nor_look_at_secrets_beyond_its_grant(on: On) {
    let scene = Scene::new().on(on);
    scene.plugin("forger", wasm::forger());
    let ns = scene.namespace();
    let grants = json!([
        {"group": "zoo.pilothouse.dev", "kind": "Beast", "verbs": ["watch", "patch"], "namespaces": [ns]},
        {"group": "", "kind": "Event", "verbs": ["*"], "namespaces": [ns]},
        {"group": "", "kind": "Secret", "verbs": ["digest"], "namespaces": [ns], "names": ["sealed", "other"]},
    ]);
    scene.config(&json!({"forger": {"grants": grants}}));
    let host = scene.dev().await;
    let api = host.api();
    let secret = |data: &str| json!({"data": {"password": data}});
    api.create(SECRETS, ns, "sealed", secret(DATA[0])).await;
    let reports = async |count: usize| {
        let seen = || -> Vec<Value> {
            let events = host.events();
            let reports = events
                .iter()
                .filter(|event| event["event"] == "log" && event["message"] == "report");
            reports.map(|event| event["fields"].clone()).collect()
        };
        host.until("the report", async || seen().into_iter().nth(count - 1))
            .await
    };
    api.beast("b", "nothing").await;
    let first = reports(1).await;

    for refused in ["create-event", "patch-event", "apply-event", "replace-event"] {
        let answer = first[refused].as_str().unwrap();
        let why = "PilothouseDenied: Events are not written but emitted";
        assert!(answer.starts_with(why), "{refused}: {answer}");
    }
    for refused in ["merge-managed", "remove-managed"] {
        let answer = first[refused].as_str().unwrap();
        let what = "metadata.managedFields is the API server's to write";
        assert!(
            answer.starts_with("PilothouseDenied: ") && answer.contains(what),
            "{refused}: {answer}"
        );
    }
    for refused in ["apply-new", "apply-own"] {
        let answer = first[refused].as_str().unwrap();
        assert!(
            answer.starts_with("PilothouseDenied: apply creates what is not there: "),
            "{refused}: {answer}"
        );
    }
    assert!(api.get(BEASTS, ns, "new").await.is_none());
    // The local cluster knows no apply, and says so: it was asked.
    let sent = match on {
        On::Real => "done",
        On::Local => "UnsupportedMediaType: ",
    };
    let answer = first["apply-own-with-uid"].as_str().unwrap();
    assert!(answer.starts_with(sent), "{answer}");
    let live = first["live-sealed"].as_str().unwrap();
    assert!(
        live.starts_with("PilothouseDenied: plugin forger may not get Secret"),
        "{live}"
    );
    assert_eq!(first["digest-other"], "none", "there is none of this name");

    // Who reports and who wrote is the host's word.
    let told = host
        .until("the Event", async || api.events_about(ns, "b").await.pop())
        .await;
    assert_eq!(told["reportingComponent"], "pilothouse/forger", "{told}");
    let events = api.list(EVENTS, ns).await;
    assert!(events.iter().all(|event| event["reason"] != "Forged"), "{events:#?}");
    let beast = api.get(BEASTS, ns, "b").await.unwrap();
    // The local cluster keeps no managedFields.
    if on == On::Real {
        let managers = beast["metadata"]["managedFields"].as_array().unwrap();
        assert!(
            managers.iter().any(|entry| entry["manager"] == "pilothouse/forger"),
            "{managers:#?}"
        );
    }

    // A digest stays while the content does, is another with it, and is none that can be computed from a guess.
    let again = async |change: Value, count: usize| {
        api.merge(BEASTS, ns, "b", json!({"spec": change})).await;
        reports(count).await["digest-sealed"].as_str().unwrap().to_owned()
    };
    let before = first["digest-sealed"].as_str().unwrap().to_owned();
    assert_eq!(before.len(), 64, "{before}");
    let count = host.runs("Beast", "b").len();
    assert_eq!(again(json!({"tick": 1}), count + 1).await, before);
    api.merge(SECRETS, ns, "sealed", secret(DATA[1])).await;
    // The Secret's change and the object's come by two watches, in no order.
    let mut after = before.clone();
    for tick in 2..20 {
        let count = host.runs("Beast", "b").len();
        after = again(json!({"tick": tick}), count + 1).await;
        if after != before {
            break;
        }
    }
    assert!(after.len() == 64 && after != before, "{after}");
    for line in host.stdout().iter().chain(&host.stderr()) {
        assert!(DATA.iter().all(|data| !line.contains(data)), "{line}");
    }
}

on_both!(a_plugin_that_may_emit_no_events_does_all_else);
async fn a_plugin_that_may_emit_no_events_does_all_else(on: On) {
    let scene = Scene::with_greeting().on(on);
    scene.plugin("other", wasm::greeting());
    let (ns, there) = (scene.namespace(), scene.another_namespace("there"));
    // The other one's Events show that the silent one's would be there.
    let other = json!({"grants": scene.grants(&[&there])});
    scene.config(&json!({"greeting": {"events": false}, "other": other}));
    let host = scene.dev().await;
    let api = host.api();
    api.create(pilothouse_e2e::NAMESPACES, "", &there, json!({})).await;
    assert_eq!(
        {
            api.greet("world").await;
            host.greeted(&api, "world").await
        },
        "Hello, world!"
    );
    api.create(GREETINGS, &there, "world", json!({"spec": {"name": "there"}}))
        .await;
    host.until("an Event of the other", async || {
        api.events_about(&there, "world").await.pop()
    })
    .await;
    assert_eq!(api.list(EVENTS, ns).await, [] as [Value; 0]);
}

on_both!(the_grants_that_inspect_prints_are_good_beside_the_module);
async fn the_grants_that_inspect_prints_are_good_beside_the_module(on: On) {
    let scene = Scene::new().on(on);
    scene.config(&json!({}));
    let server = Server::started(&scene).await;
    // `inspect` reads no plugin directory, so it may lie elsewhere while the file beside it is made.
    scene.file("zoo.wasm", wasm::zoo());
    let printed = scene.run_to_end(&["inspect", "zoo.wasm", "--grant"]).await;
    assert_eq!((printed.code, &*printed.stderr), (Some(0), ""));
    let text = &printed.stdout;
    assert!(
        text.starts_with("grants:\n- {") && text.contains("\ndangerous:\n# what trusts a Secret trusts who writes it"),
        "{text}"
    );
    scene.file("plugins/zoo.yaml", text);
    scene.plugin("zoo", wasm::zoo());
    let seen = scene.run_to_end(&["inspect", "plugins/zoo.wasm", "-o", "json"]).await;
    let seen: Value = serde_json::from_str(&seen.stdout).unwrap();
    assert_eq!(
        (&seen["wouldLoad"], &seen["judgedWithConfig"]),
        (&json!(true), &json!(true))
    );
    let host = scene.run(&server, &[]);
    host.logged("the plugin", |line| message(line) == "plugin loaded").await;

    // And so is the other form, as a configuration file of its own.
    std::fs::remove_file(scene.path("plugins/zoo.yaml")).unwrap();
    let printed = scene
        .run_to_end(&["inspect", "plugins/zoo.wasm", "--grant=config"])
        .await;
    scene.file("pasted.yaml", printed.stdout);
    let args = ["inspect", "plugins/zoo.wasm", "--config", "pasted.yaml"];
    assert_eq!(scene.run_to_end(&args).await.code, Some(0));
    let args = ["inspect", "plugins/zoo.wasm", "--config", "config.yaml"];
    assert_eq!(scene.run_to_end(&args).await.code, Some(1), "nothing is granted there");
}
