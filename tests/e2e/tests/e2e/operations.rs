//! What operators look at: metrics, health, `inspect`, the stream of `dev`.

use http::Method;
use pilothouse_e2e::{CONFIG_MAPS, GREETINGS, Metrics, On, Scene, Server, get, on_both, wasm};
use serde_json::{Value, json};

on_both!(metrics_count_what_happened_under_controller_runtimes_names);
async fn metrics_count_what_happened_under_controller_runtimes_names(on: On) {
    let scene = Scene::with_greeting().on(on);
    let ns = scene.namespace();
    let server = Server::started(&scene).await;
    let api = server.api();
    let (host, address) = scene.run_with_metrics(&server, &[]);
    for name in ["a", "b", "c"] {
        api.greet(name).await;
        host.greeted(&api, name).await;
    }
    api.create(GREETINGS, ns, "nobody", json!({"spec": {"name": ""}})).await;

    let by = [("controller", "greeting/greeting")];
    let result = |result: &'static str| [by[0], ("result", result)];
    let reconciled = |line: &Value| pilothouse_e2e::message(line) == "reconciled";
    let failed = |line: &Value| pilothouse_e2e::message(line).starts_with("reconcile failed: ");
    // Until nothing is left to do: each run was counted and told.
    let metrics = host
        .until("as many runs in the metrics as in the log", async || {
            let metrics = Metrics::scrape(&address).await?;
            let told = [host.count(reconciled) as f64, host.count(failed) as f64];
            let counted =
                ["success", "error"].map(|r| metrics.value("controller_runtime_reconcile_total", &result(r)).unwrap());
            let idle = metrics.sum("workqueue_depth", &by) == 0.0
                && metrics.value("workqueue_unfinished_work_seconds", &by) == Some(0.0);
            (idle && told == counted && told[1] >= 1.0).then_some(metrics)
        })
        .await;

    let successes = metrics
        .value("controller_runtime_reconcile_total", &result("success"))
        .unwrap();
    assert!(successes >= 3.0, "{metrics:?}");
    assert_eq!(
        metrics.value("controller_runtime_reconcile_total", &result("error")),
        Some(1.0)
    );
    assert_eq!(
        metrics.value("controller_runtime_reconcile_total", &result("requeue_after")),
        Some(0.0)
    );
    for (name, value) in [
        ("controller_runtime_reconcile_errors_total", 1.0),
        ("controller_runtime_terminal_reconcile_errors_total", 1.0),
        ("controller_runtime_reconcile_panics_total", 0.0),
        ("controller_runtime_reconcile_time_seconds_count", successes + 1.0),
        ("controller_runtime_max_concurrent_reconciles", 1.0),
        ("controller_runtime_active_workers", 0.0),
        ("workqueue_adds_total", successes + 1.0),
        ("workqueue_retries_total", 0.0),
        ("workqueue_queue_duration_seconds_count", successes + 1.0),
        ("workqueue_work_duration_seconds_count", successes + 1.0),
        ("workqueue_longest_running_processor_seconds", 0.0),
        ("pilothouse_parked_keys", 1.0),
    ] {
        assert_eq!(metrics.value(name, &by), Some(value), "{name}");
    }
    assert_eq!(
        metrics.value("workqueue_depth", &[("name", "greeting/greeting"), ("priority", "0")]),
        Some(0.0)
    );
    // At least a list and a watch of two kinds; and a patch of a status, which waited for no turn.
    let answered = |method| metrics.sum("rest_client_requests_total", &[("method", method), ("code", "200")]);
    assert!(answered("GET") >= 4.0 && answered("PATCH") >= 1.0, "{metrics:?}");
    let patches = |name: &str| metrics.sum(name, &[("verb", "PATCH")]);
    assert!(patches("rest_client_request_duration_seconds_count") >= 1.0);
    assert!(patches("rest_client_rate_limiter_duration_seconds_count") >= 1.0);
    assert_eq!(patches("rest_client_rate_limiter_duration_seconds_sum"), 0.0);
    assert!(metrics.sum("pilothouse_api_connections_total", &[]) >= 1.0);
    assert_eq!(metrics.value("pilothouse_api_server_reachable", &[]), Some(1.0));
    assert_eq!(metrics.value("pilothouse_api_server_outages_total", &[]), Some(0.0));
    assert_eq!(
        metrics.value("pilothouse_api_server_unreachable_seconds_total", &[]),
        Some(0.0)
    );
    for (family, kind) in [
        ("rest_client_requests", "counter"),
        ("rest_client_request_duration_seconds", "histogram"),
        ("pilothouse_api_server_reachable", "gauge"),
        ("controller_runtime_reconcile", "counter"),
        ("controller_runtime_reconcile_time_seconds", "histogram"),
        ("workqueue_depth", "gauge"),
        ("workqueue_adds", "counter"),
    ] {
        assert_eq!(metrics.kind(family), Some(kind), "{family}");
    }
}

on_both!(a_host_is_ready_once_every_first_list_is_there);
async fn a_host_is_ready_once_every_first_list_is_there(on: On) {
    let scene = Scene::with_greeting().on(on);
    let ns = scene.namespace();
    let server = Server::started(&scene).await;
    let hold = server.hold(Method::GET, &GREETINGS.path(ns));
    let (host, address) = scene.run_with_metrics(&server, &[]);
    hold.met(1).await;
    assert_eq!(get(&address, "/healthz").await, Some((200, "ok\n".to_owned())));
    // The other first list is on its way or there; the request may even be sooner than the word that the server
    // answers.
    let (code, why) = host
        .until("that only the held list is waited for", async || {
            get(&address, "/readyz")
                .await
                .filter(|(_, why)| why.lines().count() == 2 && why.contains("first list"))
        })
        .await;
    assert_eq!(code, 503, "{why}");
    assert!(
        why.starts_with("not ready, waiting for:\ngreeting: first list of demo.pilothouse.dev/v1 Greeting: "),
        "{why}"
    );
    hold.release();
    host.until("readiness", async || {
        get(&address, "/readyz")
            .await
            .filter(|answer| *answer == (200, "ok\n".into()))
    })
    .await;
}

#[tokio::test]
async fn inspect_shows_what_a_plugin_is_and_asks_for() {
    let scene = Scene::with_greeting();
    let seen = scene.run_to_end(&["inspect", "plugins/greeting.wasm"]).await;
    assert_eq!((seen.code, seen.stderr.as_str()), (Some(0), ""));
    for part in [
        "plugin       greeting (by its file's name), says of itself: greeting 0.1.0\n",
        "             Writes a greeting into a ConfigMap and keeps it there\n",
        "controller   greeting: reconciles demo.pilothouse.dev/v1 Greeting\n",
        "  updates pass if one of these changed: generation\n",
        "  watches v1 ConfigMap, mapped by owner (controller)\n",
        "patch Greeting.demo.pilothouse.dev/status\n",
        "imports      pilothouse:plugin/",
        "exports      pilothouse:plugin/controller@0.1.0\n",
        "would load   yes",
        "\napiVersion: pilothouse.dev/v1\nplugins:\n  greeting:\n    grants:\n    - {",
    ] {
        assert!(seen.stdout.contains(part), "{part:?} is not in\n{}", seen.stdout);
    }
    // What it says can be pasted as it is.
    let (_, config) = seen.stdout.split_once("a configuration file (--config):\n\n").unwrap();
    scene.file("config.yaml", config);
    let seen = scene
        .run_to_end(&["inspect", "plugins/greeting.wasm", "--config", "config.yaml"])
        .await;
    assert_eq!(seen.code, Some(0), "{}", seen.stdout);
    assert!(seen.stdout.ends_with("would load   yes\n"), "{}", seen.stdout);
}

#[tokio::test]
async fn inspect_shows_the_same_as_json() {
    let scene = Scene::with_greeting();
    let seen = scene
        .run_to_end(&["inspect", "plugins/greeting.wasm", "-o", "json"])
        .await;
    let json: Value = serde_json::from_str(&seen.stdout).unwrap();
    assert_eq!(
        (seen.code, &json["wouldLoad"], &json["refusal"]),
        (Some(0), &json!(true), &Value::Null)
    );
    assert_eq!(json["plugin"], "greeting");
    assert_eq!(json["size"], wasm::greeting().len());
    assert_eq!(json["manifest"]["controllers"][0]["kind"]["kind"], "Greeting");
    assert_eq!(json["exports"], json!(["pilothouse:plugin/controller@0.1.0"]));
}

#[tokio::test]
async fn inspect_says_why_a_plugin_would_not_load() {
    let scene = Scene::with_greeting();
    scene.file("config.yaml", "apiVersion: pilothouse.dev/v1\n");
    let seen = scene
        .run_to_end(&["inspect", "plugins/greeting.wasm", "--config", "config.yaml"])
        .await;
    assert_eq!(seen.code, Some(1));
    let (_, refusal) = seen.stdout.split_once("would load   no (grants): ").unwrap();
    assert!(
        refusal.starts_with("it asks for what it was not granted: "),
        "{refusal}"
    );
    assert!(
        refusal.contains("    - {group: \"\", kind: ConfigMap, verbs: ["),
        "{refusal}"
    );
    // Without the module's own name for it: identity is the file's name.
    scene.plugin("other", wasm::greeting());
    let seen = scene.run_to_end(&["inspect", "plugins/other.wasm"]).await;
    assert!(
        seen.stdout
            .contains("plugin       other (by its file's name), says of itself: greeting 0.1.0\n"),
        "{}",
        seen.stdout
    );
}

on_both!(the_stream_of_dev_says_which_object_what_ran_what_it_wrote_and_why);
async fn the_stream_of_dev_says_which_object_what_ran_what_it_wrote_and_why(on: On) {
    let scene = Scene::with_greeting().on(on);
    let ns = scene.namespace();
    scene.sample();
    let ended = scene.dev_to_end(&["--apply", "world.yaml", "--until-idle"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let out = &ended.stdout;
    let block = out
        .split("\u{2713} ")
        .find(|block| block.starts_with(&format!("greeting Greeting {ns}/world ")))
        .unwrap_or(out);
    let lines: Vec<&str> = block.lines().map(str::trim).collect();
    assert!(lines[1].starts_with(&format!("why   Greeting {ns}/world ")), "{out}");
    for wrote in [
        format!("patched Greeting {ns}/world (metadata.finalizers)"),
        format!("created ConfigMap {ns}/world"),
        format!("patched Greeting {ns}/world/status (status.conditions, status.message, status.observedGeneration)"),
    ] {
        assert!(
            lines.iter().any(|line| line.trim_start_matches("wrote ") == wrote),
            "{wrote:?} is not in\n{out}"
        );
    }
    assert!(!out.contains('\u{1b}'), "no colours in a pipe");
}

on_both!(the_stream_of_dev_traces_a_run_back_to_what_led_to_it);
async fn the_stream_of_dev_traces_a_run_back_to_what_led_to_it(on: On) {
    let scene = Scene::with_greeting().on(on);
    let ns = scene.namespace();
    let host = scene.dev().await;
    let api = host.api();
    api.greet("world").await;
    // What the plugin's own write led to says so, back to what began it.
    let chains = |run: &Value| run["causes"].as_array().cloned().unwrap_or_default();
    let own = host.run_of("Greeting", "world", |run| {
        let by_own = |chain: &Value| {
            chain[0]["kind"] == "ConfigMap" && chain[0]["writer"] == "greeting" && chain[1]["kind"] == "Greeting"
        };
        chains(run).iter().any(by_own)
    });
    assert_eq!(own.await["writes"], json!([]), "nothing was left to do");

    // Nothing is under way any more: what comes now is somebody else's.
    let away = json!({"data": {"message": "Go away"}});
    api.merge(CONFIG_MAPS, ns, "world", away).await;
    let mended = host
        .run_of("Greeting", "world", |run| {
            run["writes"][0]["paths"] == json!(["data.message"])
        })
        .await;
    assert_eq!(chains(&mended).len(), 1, "{mended}");
    let cause = &mended["causes"][0][0];
    assert_eq!(
        (&cause["what"], &cause["kind"]),
        (&json!("updated"), &json!("ConfigMap"))
    );
    assert_eq!(
        (&cause["via"], &cause["writer"]),
        (&json!("owner (controller)"), &Value::Null)
    );
}
