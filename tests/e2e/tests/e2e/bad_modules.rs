//! Files in the plugin directory that are no good plugins: each is refused with one message, and the greeting beside it
//! works.

use pilothouse_e2e::{Ended, On, Scene, Server, message, on_both, wasm, yaml};
use serde_json::{Value, json};

/// Loads the greeting beside `bad.wasm`, lets it do its work, and answers why `bad` was refused.
async fn refused(on: On, bad: &[u8]) -> String {
    let scene = Scene::with_greeting().on(on);
    scene.plugin("bad", bad);
    let ended = dev_to_end(&scene).await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    greeting_did_its_work(&ended);
    ended.refusal("bad")
}

/// Runs `dev` with the greeting's sample until nothing is left to do.
async fn dev_to_end(scene: &Scene) -> Ended {
    scene.sample();
    if !scene.path("config.yaml").exists() {
        // The other plugins are granted what they ask for.
        scene.config(&json!({"greeting": {}}));
    }
    scene
        .dev_to_end(&["--apply", "world.yaml", "--until-idle", "--log-format", "json"])
        .await
}

#[track_caller]
fn greeting_did_its_work(ended: &Ended) {
    let events: Vec<Value> = ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let created = |run: &&Value| {
        run["writes"]
            .as_array()
            .is_some_and(|w| w.iter().any(|w| w["what"] == "created"))
    };
    let runs = events
        .iter()
        .filter(|event| event["event"] == "reconciled" && event["plugin"] == "greeting");
    let run = runs.filter(|run| run["result"] == "success").find(created);
    assert!(
        run.is_some(),
        "the greeting did not do its work:\n{}\n{}",
        ended.stdout,
        ended.stderr
    );
    assert!(
        events.iter().any(|event| event["event"] == "settled"),
        "{}",
        ended.stdout
    );
    let last = ended
        .log()
        .last()
        .map(|line| message(line).to_owned())
        .unwrap_or_default();
    assert_eq!(last, "1 of the plugins were refused");
}

#[track_caller]
fn says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}

on_both!(a_file_that_is_no_component);
async fn a_file_that_is_no_component(on: On) {
    let why = refused(on, b"apiVersion: v1\nkind: ConfigMap\n").await;
    says(
        &why,
        &[
            "compile: this is no WebAssembly: it is a text file",
            "cargo build --release --target wasm32-wasip2",
        ],
    );
}

on_both!(a_core_module);
async fn a_core_module(on: On) {
    let why = refused(on, b"\0asm\x01\0\0\0").await;
    says(
        &why,
        &["compile: this is a core WebAssembly module and no component: compile it for wasm32-wasip2"],
    );
}

on_both!(a_component_that_was_cut_off);
async fn a_component_that_was_cut_off(on: On) {
    let half = wasm::greeting().len() / 2;
    let why = refused(on, &wasm::greeting()[..half]).await;
    says(
        &why,
        &["compile: the component could not be compiled: ", "Build it again"],
    );
}

on_both!(a_component_of_another_world);
async fn a_component_of_another_world(on: On) {
    let other = wasm::replaced(
        wasm::greeting(),
        "pilothouse:plugin/controller@",
        "lighthouse:plugin/controller@",
    );
    let why = refused(on, &other).await;
    says(
        &why,
        &[
            "compile: this component is no Pilothouse plugin: it does not export pilothouse:plugin/controller@0.1.0",
            "it exports lighthouse:plugin/controller@0.1.0",
            "Build it against the world `reconciler`",
        ],
    );
}

on_both!(a_plugin_of_another_version_of_the_contract);
async fn a_plugin_of_another_version_of_the_contract(on: On) {
    let later = wasm::replaced(wasm::greeting(), "@0.1.0", "@0.9.0");
    let why = refused(on, &later).await;
    says(
        &why,
        &["compile: found pilothouse:plugin/controller@0.9.0, this host speaks 0.1.0: rebuild the plugin"],
    );
}

on_both!(a_file_whose_name_is_no_plugins);
async fn a_file_whose_name_is_no_plugins(on: On) {
    let scene = Scene::with_greeting().on(on);
    scene.file("plugins/My Plugin.wasm", wasm::greeting());
    let ended = dev_to_end(&scene).await;
    greeting_did_its_work(&ended);
    says(
        &ended.refusal("My Plugin"),
        &["read: `My Plugin` is no plugin name; rename the file: 1 to 63 of a-z, 0-9 and `-`"],
    );
}

on_both!(a_module_that_is_too_large);
async fn a_module_that_is_too_large(on: On) {
    let scene = Scene::with_greeting().on(on);
    let mut large = wasm::zoo().to_vec();
    large.resize(1 << 20 | 1, 0);
    scene.plugin("bad", large);
    let plugins = json!({"greeting": {"grants": scene.grants(&[scene.namespace()])}});
    let config = json!({"apiVersion": "pilothouse.dev/v1", "host": {"maxModuleMiB": 1}, "plugins": plugins});
    scene.file("config.yaml", config.to_string());
    let ended = dev_to_end(&scene).await;
    greeting_did_its_work(&ended);
    says(&ended.refusal("bad"), &["read: ", "1 MiB", "maxModuleMiB"]);
}

on_both!(a_plugin_that_describes_itself_in_rubbish);
async fn a_plugin_that_describes_itself_in_rubbish(on: On) {
    let why = refused(on, &wasm::describing("rubbish")).await;
    says(
        &why,
        &[
            "no JSON: expected value at line 1 column 1",
            "the plugin's author mends its manifest (wit/manifest.schema.json",
        ],
    );
}

fn manifest() -> Value {
    json!({
        "name": "bad", "version": "0.1.0",
        "controllers": [{"name": "c", "kind": {"group": "demo.pilothouse.dev", "version": "v1", "kind": "Greeting"}}],
        "permissions": [{"group": "demo.pilothouse.dev", "kind": "Greeting", "verbs": ["watch"]}],
    })
}

on_both!(a_manifest_with_a_wrong_field);
async fn a_manifest_with_a_wrong_field(on: On) {
    let mut wrong = manifest();
    wrong["controllers"][0]["concurency"] = json!(2);
    let why = refused(on, &wasm::with_manifest(&wrong)).await;
    says(
        &why,
        &[
            "manifest: controllers[0]",
            "unknown field `concurency`",
            "did you mean `concurrency`?",
        ],
    );
}

on_both!(a_manifest_that_watches_what_it_does_not_ask_for);
async fn a_manifest_that_watches_what_it_does_not_ask_for(on: On) {
    let mut wrong = manifest();
    wrong["permissions"] = json!([]);
    let why = refused(on, &wasm::with_manifest(&wrong)).await;
    says(&why, &["manifest: controllers[0]", "permissions", "Greeting"]);
}

on_both!(a_plugin_that_panics_when_it_is_to_describe_itself);
async fn a_plugin_that_panics_when_it_is_to_describe_itself(on: On) {
    let why = refused(on, &wasm::describing("!panic")).await;
    says(
        &why,
        &[
            "describe: ",
            "panicked",
            "no manifest today",
            "`describe` only returns the manifest",
        ],
    );
}

on_both!(a_plugin_that_never_ends_to_describe_itself);
async fn a_plugin_that_never_ends_to_describe_itself(on: On) {
    let why = refused(on, &wasm::describing("!loop")).await;
    // The wall time is what ends it on a machine that is so busy that it gets no CPU time to use up.
    let limits = ["2s of CPU time", "10s"];
    assert!(
        limits.iter().any(|limit| why.contains(&format!(
            "describe: it may take {limit} and took more: no setting raises that"
        ))),
        "{why}"
    );
    says(
        &why,
        &["`describe` only returns the manifest: it reads, writes and computes nothing"],
    );
}

on_both!(a_plugin_that_asks_for_what_it_was_not_granted_gets_the_lines_to_paste);
async fn a_plugin_that_asks_for_what_it_was_not_granted_gets_the_lines_to_paste(on: On) {
    let scene = Scene::with_zoo().on(on);
    let server = Server::started(&scene).await;
    scene.config(&json!({"greeting": {}}));
    let host = scene.run(&server, &[]);
    let refusal = host
        .logged("the refusal", |line| {
            message(line).starts_with("plugin zoo was not loaded: ")
        })
        .await;
    let refusal = message(&refusal).to_owned();
    says(
        &refusal,
        &[
            "grants: it asks for what it was not granted: ",
            "watch Beast.zoo.pilothouse.dev",
            "get Secret",
            "patch Secret (dangerous: what trusts a Secret trusts who writes it",
        ],
    );
    server.api().greet("world").await;
    host.greeted(&server.api(), "world").await;
    host.signal("TERM").await;
    assert_eq!(host.end().await.code, Some(0));

    let (_, lines) = refusal.split_once("zoo.yaml beside the module:\n").unwrap();
    let mut plugins = yaml(lines)["plugins"].clone();
    for section in ["grants", "dangerous"] {
        for grant in plugins["zoo"][section].as_array_mut().expect("grants") {
            grant["namespaces"] = json!([scene.namespace()]);
        }
    }
    plugins["greeting"] = json!({});
    scene.config(&plugins);
    let host = scene.run(&server, &[]);
    host.logged("both controllers", |line| {
        message(line) == "ready: every controller runs"
    })
    .await;
    assert_eq!(host.count(|line| message(line) == "plugin loaded"), 2);
}

#[tokio::test]
async fn a_refusal_of_several_lines_is_one_line_of_the_log_and_nothing_in_it_looks_like_another() {
    let scene = Scene::with_greeting();
    scene.sample();
    let forged = "2026-01-01T00:00:00.000000Z ERROR forged";
    scene.plugin("zoo", wasm::zoo());
    scene.file(
        "plugins/zoo.yaml",
        format!("grants: []\nconfig: {{a: \"b\\n{forged}\"}}\n"),
    );
    scene.config(&json!({"greeting": {}}));
    let ended = scene.dev_to_end(&["--apply", "world.yaml", "--until-idle"]).await;
    let lines: Vec<&str> = ended.stderr.lines().collect();
    let refusals: Vec<&&str> = lines
        .iter()
        .filter(|line| line.contains("plugin zoo was not loaded: grants: "))
        .collect();
    assert_eq!(refusals.len(), 1, "{}", ended.stderr);
    assert!(
        refusals[0].contains("beside the module:\\ngrants:\\n- {group: "),
        "{}",
        refusals[0]
    );
    for line in lines {
        let is_event = line.starts_with("20") && ["INFO", "WARN", "ERROR"].iter().any(|level| line.contains(level));
        assert!(is_event || line.starts_with("error: "), "{line}");
        assert!(!line.contains("forged"), "{line}");
    }
}
