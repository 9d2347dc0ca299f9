//! Operators' commands against a host that runs: `status`, `plugins`, `queue`, `parked`.

use std::os::unix::fs::PermissionsExt as _;

use pilothouse_e2e::{BEASTS, Ended, Host, Scene, Server, field, message, wait_until, wasm};
use serde_json::{Value, json};

/// The greeting as another version, which greets in other words of the same length.
fn other_greeting() -> Vec<u8> {
    wasm::replaced(wasm::greeting(), "Hello", "Salut")
}

/// A command that must go well; what it prints.
async fn told(scene: &Scene, args: &[&str]) -> String {
    let ended = scene.run_to_end(args).await;
    assert_eq!(ended.code, Some(0), "{args:?}: {}{}", ended.stdout, ended.stderr);
    ended.stdout
}

/// A host that does not start, and says why with these parts.
fn not_started(ended: &Ended, parts: &[&str]) {
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    let log = ended.log();
    let error = message(log.last().expect("an error"));
    for part in parts {
        assert!(error.contains(part), "{part:?} is not in {error}");
    }
}

/// The same as JSON.
async fn asked(scene: &Scene, args: &[&str]) -> Value {
    let text = told(scene, &[args, &["-o", "json"]].concat()).await;
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

async fn plugin(scene: &Scene, name: &str) -> Value {
    asked(scene, &["plugins", "show", name]).await["plugin"].clone()
}

/// A host whose controllers all run.
async fn ready(scene: &Scene, server: &Server, more: &[&str]) -> Host {
    let host = scene.run(server, more);
    host.logged("that everything runs", |line| message(line).starts_with("ready: "))
        .await;
    host
}

/// A host that has parked these Beasts.
async fn parked(scene: &Scene, server: &Server, names: &[&str]) -> Host {
    let host = ready(scene, server, &[]).await;
    for name in names {
        server.api().beast(name, "unheard-of").await;
    }
    wait_until("the parked keys", async || {
        let status = asked(scene, &["status"]).await;
        let zoo = status["plugins"]
            .as_array()?
            .iter()
            .find(|plugin| plugin["name"] == "zoo")?;
        (zoo["queue"]["parked"] == names.len()).then_some(())
    })
    .await;
    host
}

#[tokio::test]
async fn without_a_host_every_command_says_how_to_start_one() {
    let scene = Scene::new();
    for args in [
        &["status"][..],
        &["plugins", "list"],
        &["plugins", "enable", "a"],
        &["queue", "a"],
        &["parked", "retry", "--all"],
    ] {
        let ended = scene.run_to_end(args).await;
        ended.told(
            1,
            &[
                "error: no host is running at ",
                "start one with `pilothouse run --plugins DIR`",
            ],
        );
        assert_eq!(ended.stdout, "");
    }
}

#[tokio::test]
async fn status_shows_each_plugin_and_why_one_does_not_serve() {
    let scene = Scene::with_greeting();
    scene.plugin("broken", b"\0asm rubbish");
    let server = Server::started(&scene).await;
    let host = ready(&scene, &server, &[]).await;
    server.api().greet("world").await;
    host.greeted(&server.api(), "world").await;

    let status = asked(&scene, &["status"]).await;
    assert_eq!(status["apiVersion"], "pilothouse.dev/admin/v1");
    assert_eq!(
        (&status["host"]["ready"], &status["host"]["pid"]),
        (&json!(true), &json!(host.pid()))
    );
    let [broken, greeting] = &status["plugins"].as_array().unwrap()[..] else {
        panic!("{status}")
    };
    assert_eq!(
        (&broken["name"], &broken["state"]),
        (&json!("broken"), &json!("refused"))
    );
    assert_eq!(broken["refusal"]["step"], "compile");
    assert_eq!(
        (&greeting["state"], &greeting["breaker"]["state"]),
        (&json!("serving"), &json!("closed"))
    );
    assert_eq!(greeting["controllers"][0]["kind"], "demo.pilothouse.dev/v1 Greeting");
    assert!(greeting["queue"]["runs"].as_u64() >= Some(1), "{greeting}");

    let text = told(&scene, &["status"]).await;
    assert!(text.contains("\nNAME      STATE    VERSION"), "{text}");
    assert!(text.contains("\nbroken    refused  "), "{text}");
    assert!(!text.contains('\u{1b}'), "no colours where nobody sees them: {text}");
    let wide = told(&scene, &["status", "-o", "wide"]).await;
    assert!(wide.contains("  CACHE  "), "{wide}");

    let text = told(&scene, &["plugins", "show", "greeting"]).await;
    for part in [
        "state        serving",
        "controller   greeting: demo.pilothouse.dev/v1 Greeting",
        "asks for     {group: ",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    let ended = scene.run_to_end(&["plugins", "show", "none"]).await;
    ended.told(
        1,
        &["there is no plugin none: `pilothouse plugins list` shows which there are"],
    );
    let queue = told(&scene, &["queue", "greeting"]).await;
    assert!(queue.starts_with("greeting/greeting: "), "{queue}");
    let ended = scene.run_to_end(&["queue", "broken"]).await;
    ended.told(1, &["no version of broken serves"]);
}

#[tokio::test]
async fn a_plugin_is_disabled_enabled_rolled_back_and_promoted_by_hand() {
    let scene = Scene::with_greeting();
    let server = Server::started(&scene).await;
    let host = ready(&scene, &server, &[]).await;
    let first = plugin(&scene, "greeting").await["serving"]["hash"].clone();

    told(&scene, &["plugins", "disable", "greeting"]).await;
    let disabled = plugin(&scene, "greeting").await;
    assert_eq!(
        (&disabled["state"], &disabled["enabledByPerson"]),
        (&json!("disabled"), &json!(false))
    );
    told(&scene, &["plugins", "enable", "greeting"]).await;
    assert_eq!(plugin(&scene, "greeting").await["state"], "serving");
    let ended = scene.run_to_end(&["plugins", "rollback", "greeting"]).await;
    ended.told(1, &["greeting: no version before the one that serves is at hand"]);

    scene.plugin("greeting", other_greeting());
    let line = host
        .logged("the other version", |line| message(line) == "plugin exchanged")
        .await;
    let second = field(&line, "hash").to_owned();
    told(&scene, &["plugins", "rollback", "greeting"]).await;
    let back = plugin(&scene, "greeting").await;
    assert_eq!(
        (&back["serving"]["hash"], &back["rolledBackFrom"]),
        (&first, &json!(second))
    );
    server.api().greet("a").await;
    let said = host.greeted(&server.api(), "a").await;
    assert!(said.contains("Hello"), "{said}");

    // What the directory holds, by the first digits of its hash.
    told(&scene, &["plugins", "promote", "greeting", &second[..12]]).await;
    assert_eq!(plugin(&scene, "greeting").await["serving"]["hash"], second);
    let ended = scene.run_to_end(&["plugins", "promote", "greeting", "abc"]).await;
    ended.told(2, &["at least 6 of its first digits"]);
    let ended = scene
        .run_to_end(&["plugins", "promote", "greeting", &"0".repeat(64)])
        .await;
    ended.told(1, &["is not at hand; these are: "]);
    let history = told(&scene, &["plugins", "show", "greeting"]).await;
    assert!(history.contains("an operator rolled it back"), "{history}");
}

#[tokio::test]
async fn an_order_that_does_not_come_to_what_was_ordered_is_a_failure() {
    let scene = Scene::with_greeting();
    scene.config(&json!({"greeting": {"enabled": false, "grants": []}}));
    let server = Server::started(&scene).await;
    let _host = ready(&scene, &server, &[]).await;
    let ended = scene.run_to_end(&["plugins", "enable", "greeting"]).await;
    ended.told(1, &["enable greeting: it did not come to that: ", "grants: "]);
    assert!(ended.stdout.contains("refused"), "{}", ended.stdout);
}

#[tokio::test]
async fn parked_keys_are_shown_tried_again_and_dropped() {
    let scene = Scene::with_zoo();
    let server = Server::started(&scene).await;
    let host = parked(&scene, &server, &["a", "b", "c"]).await;
    let ns = scene.namespace();
    let key = |name: &str| format!("{ns}/{name}");
    let reason = "NoSuchBeast: spec.do is \"unheard-of\": no beast does that";

    let listed = asked(&scene, &["parked", "list"]).await;
    let keys: Vec<&Value> = listed["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|own| &own["key"])
        .collect();
    assert_eq!(keys.len(), 3);
    assert!(
        listed["keys"]
            .as_array()
            .unwrap()
            .iter()
            .all(|own| own["reason"] == reason),
        "{listed}"
    );
    let text = told(&scene, &["parked", "list", "--plugin", "zoo", "--limit", "2"]).await;
    assert!(
        text.contains(reason) && text.ends_with("more are parked: see --limit\n"),
        "{text}"
    );
    assert_eq!(
        told(&scene, &["parked", "list", "--plugin", "greeting"]).await,
        "No key is parked.\n"
    );

    let text = told(&scene, &["parked", "show", "zoo", &key("a")]).await;
    assert!(text.contains(&format!("reason   {reason}\n")), "{text}");
    assert!(text.contains("attempt 1: "), "{text}");
    let ended = scene.run_to_end(&["parked", "show", "zoo", "nobody"]).await;
    ended.told(1, &["nobody is not parked there"]);

    let runs = |name: &'static str| {
        let object = format!("{ns}/{name}");
        host.count(move |line| message(line) == "begins" && field(line, "object") == object)
    };
    let text = told(&scene, &["parked", "retry", "zoo", &key("a")]).await;
    assert_eq!(text, "1 key tried again\n");
    host.until("another run", async || (runs("a") == 2).then_some(())).await;
    assert_eq!((runs("b"), runs("c")), (1, 1));

    let text = told(&scene, &["parked", "drop", "zoo", &key("b")]).await;
    assert_eq!(text, "1 key dropped\n");
    let ended = scene.run_to_end(&["parked", "drop", "zoo", &key("b")]).await;
    ended.told(1, &["is not parked there"]);
    assert_eq!(runs("b"), 1);
    // It comes back with the next change.
    let patch = json!({"spec": {"do": "nothing"}});
    server.api().merge(BEASTS, ns, "b", patch).await;
    host.until("a run", async || (runs("b") == 2).then_some(())).await;

    wait_until("both", async || {
        let listed = asked(&scene, &["parked", "list"]).await;
        (listed["keys"].as_array()?.len() == 2).then_some(())
    })
    .await;
    assert_eq!(
        told(&scene, &["parked", "retry", "zoo", "--all"]).await,
        "2 keys tried again\n"
    );
    host.until("runs", async || ((runs("a"), runs("c")) == (3, 2)).then_some(()))
        .await;
    let usage = scene.run_to_end(&["parked", "drop", "zoo"]).await;
    assert_eq!(usage.code, Some(2), "{}", usage.stderr);
}

#[tokio::test]
async fn who_names_a_plugin_or_a_controller_that_does_not_exist_is_told_so() {
    let scene = Scene::with_zoo();
    let server = Server::started(&scene).await;
    let _host = parked(&scene, &server, &["a"]).await;
    for args in [
        &["plugins", "show", "nope"][..],
        &["plugins", "enable", "nope"],
        &["queue", "nope"],
        &["parked", "list", "--plugin", "nope"],
        &["parked", "show", "nope", "a"],
        &["parked", "retry", "nope", "a"],
        &["parked", "retry", "nope", "--all"],
        &["parked", "drop", "nope", "a"],
        &["parked", "drop", "nope", "--all"],
    ] {
        let ended = scene.run_to_end(args).await;
        ended.told(
            1,
            &["there is no plugin nope: `pilothouse plugins list` shows which there are"],
        );
    }
    for args in [
        &["queue", "zoo", "--controller", "nope"][..],
        &["parked", "show", "zoo", "a", "--controller", "nope"],
        &["parked", "retry", "zoo", "--all", "--controller", "nope"],
        &["parked", "drop", "zoo", "--all", "--controller", "nope"],
    ] {
        let ended = scene.run_to_end(args).await;
        ended.told(1, &["zoo has no such controller: it has beast"]);
    }
    // Nothing was done, and of what there is none may be parked.
    for args in [
        &["parked", "list", "--plugin", "greeting"][..],
        &["parked", "retry", "greeting", "--all"],
    ] {
        assert!(told(&scene, args).await.starts_with("No key is parked"), "{args:?}");
    }
    assert_eq!(
        asked(&scene, &["parked", "list"]).await["keys"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
}

#[tokio::test]
async fn a_plugin_in_quarantine_is_let_go_on_by_a_person() {
    let scene = Scene::with_zoo();
    let breaker = json!({"minCalls": 4, "minKeys": 2, "quarantineTrips": 1});
    scene.config(&json!({"greeting": {}, "zoo": {"breaker": breaker}}));
    let server = Server::started(&scene).await;
    let host = ready(&scene, &server, &[]).await;
    for name in ["a", "b", "c", "d", "e", "f"] {
        server.api().beast(name, "trap").await;
    }
    host.logged("the quarantine", |line| {
        message(line).starts_with("breaker open: ") && message(line).contains("quarantined")
    })
    .await;
    let zoo = plugin(&scene, "zoo").await;
    assert_eq!(zoo["breaker"]["state"], "quarantined", "{zoo}");
    assert!(zoo["lastError"]["why"].is_string(), "{zoo}");
    let queue = asked(&scene, &["queue", "zoo"]).await;
    assert!(
        !queue["controllers"][0]["keys"].as_array().unwrap().is_empty(),
        "{queue}"
    );
    let text = told(&scene, &["plugins", "show", "zoo"]).await;
    assert!(text.contains("ago: breaker open: "), "{text}");

    for name in ["a", "b", "c", "d", "e", "f"] {
        let patch = json!({"spec": {"do": "nothing"}});
        server.api().merge(BEASTS, scene.namespace(), name, patch).await;
    }
    told(&scene, &["plugins", "reset", "zoo"]).await;
    wait_until("every key", async || {
        let zoo = plugin(&scene, "zoo").await;
        let queue = &zoo["queue"];
        let left = queue["queued"].as_u64()? + queue["working"].as_u64()? + queue["delayed"].as_u64()?;
        (left == 0 && zoo["breaker"]["state"] == "closed" && zoo["quarantined"].is_null()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_a_killed_host_left_is_nothing_to_clean_and_a_living_host_keeps_its_socket() {
    let scene = Scene::with_greeting();
    let server = Server::started(&scene).await;
    let host = ready(&scene, &server, &["--admin-socket", "own/admin.sock"]).await;
    let at = ["status", "-o", "json", "--admin-socket", "own/admin.sock"];
    let status = told(&scene, &at).await;
    assert!(status.contains(&format!("\"pid\": {}", host.pid())), "{status}");
    let mode = |name: &str| std::fs::metadata(scene.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("own"), mode("own/admin.sock")), (0o700, 0o600));

    // Another one doesn't take it away, and says why it does not start.
    let second = scene.run(&server, &["--admin-socket", "own/admin.sock"]).end().await;
    not_started(&second, &["own/admin.sock: another host is reached there"]);
    // Where nothing was asked for, it runs without.
    let third = ready(&scene, &server, &[]).await;
    let fourth = ready(&scene, &server, &[]).await;
    fourth
        .logged("why there are no commands", |line| {
            message(line).starts_with("operators' commands (`pilothouse status`) don't reach this host: ")
        })
        .await;
    drop((third, fourth));

    host.kill().await;
    assert!(scene.path("own/admin.sock").exists(), "as a killed host leaves it");
    let ended = scene.run_to_end(&at).await;
    ended.told(1, &["no host is running at own/admin.sock"]);
    let host = ready(&scene, &server, &["--admin-socket", "own/admin.sock"]).await;
    told(&scene, &at).await;
    host.signal("TERM").await;
    let Ended { code, stderr, .. } = host.end().await;
    assert_eq!(code, Some(0), "{stderr}");
    assert!(!scene.path("own/admin.sock").exists());
}

#[tokio::test]
async fn over_http_the_token_opens_and_nothing_else() {
    let scene = Scene::with_greeting();
    let server = Server::started(&scene).await;
    let ended = scene.run(&server, &["--admin-address", "127.0.0.1:0"]).end().await;
    not_started(
        &ended,
        &["without a token nobody is served there", "--admin-token-file"],
    );
    for (name, mode) in [("token", 0o600), ("wrong", 0o600), ("open", 0o644)] {
        let path = scene.file(name, format!("{name}-0123456789abcdef\n"));
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let serve = |file| {
        [
            "--admin-socket",
            "off",
            "--admin-address",
            "127.0.0.1:0",
            "--admin-token-file",
            file,
        ]
    };
    let ended = scene.run(&server, &serve("open")).end().await;
    not_started(&ended, &["open: others can read or write it (mode 0644)", "chmod 600"]);

    let host = ready(&scene, &server, &serve("token")).await;
    let line = host
        .logged("its address", |line| {
            message(line).starts_with("operators' commands: http://")
        })
        .await;
    let address = message(&line).split(['/', ',']).nth(2).unwrap().to_owned();
    let at = |file| ["--admin-address", &*address, "--admin-token-file", file];
    let text = told(&scene, &[&["plugins", "list"][..], &at("token")].concat()).await;
    assert!(text.contains("\ngreeting  serving"), "{text}");
    told(
        &scene,
        &[&["plugins", "disable", "greeting"][..], &at("token")].concat(),
    )
    .await;
    let ended = scene.run_to_end(&[&["status"][..], &at("wrong")].concat()).await;
    ended.told(1, &["the host has another token than --admin-token-file"]);
    let ended = scene.run_to_end(&["status"]).await;
    ended.told(1, &["no host is running at "]);
}
