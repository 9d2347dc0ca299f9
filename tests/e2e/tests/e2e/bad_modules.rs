//! Files in the plugin directory that are no good plugins: each is refused with one message, and the greeting beside it
//! works.

use pilothouse_e2e::{Ended, Scene, Server, message, wasm, yaml};
use serde_json::{Value, json};

/// Loads the greeting beside `bad.wasm`, lets it do its work, and answers why `bad` was refused.
async fn refused(bad: &[u8]) -> String {
    let scene = Scene::with_greeting();
    scene.plugin("bad", bad);
    let ended = dev_to_end(&scene).await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    greeting_did_its_work(&ended);
    ended.refusal("bad")
}

async fn dev_to_end(scene: &Scene) -> Ended {
    scene.crds();
    scene.file(
        "world.yaml",
        include_str!("../../../../examples/rust/greeting/samples/world.yaml"),
    );
    let args = [
        "dev",
        "--plugins",
        "plugins",
        "--apply",
        "crds",
        "--apply",
        "world.yaml",
        "--until-idle",
    ];
    let mut args = args.to_vec();
    args.extend(["--log-format", "json"]);
    if scene.path("config.yaml").exists() {
        args.extend(["--config", "config.yaml"]);
    }
    scene.run_to_end(&args).await
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

#[tokio::test]
async fn a_file_that_is_no_component() {
    let why = refused(b"apiVersion: v1\nkind: ConfigMap\n").await;
    says(
        &why,
        &[
            "compile: this is no WebAssembly: it is a text file",
            "cargo build --release --target wasm32-wasip2",
        ],
    );
}

#[tokio::test]
async fn a_core_module() {
    let why = refused(b"\0asm\x01\0\0\0").await;
    says(
        &why,
        &["compile: this is a core WebAssembly module and no component: compile it for wasm32-wasip2"],
    );
}

#[tokio::test]
async fn a_component_that_was_cut_off() {
    let half = wasm::greeting().len() / 2;
    let why = refused(&wasm::greeting()[..half]).await;
    says(
        &why,
        &["compile: the component could not be compiled: ", "Build it again"],
    );
}

#[tokio::test]
async fn a_component_of_another_world() {
    let other = wasm::replaced(
        wasm::greeting(),
        "pilothouse:plugin/controller@",
        "lighthouse:plugin/controller@",
    );
    let why = refused(&other).await;
    says(
        &why,
        &[
            "compile: this component is no Pilothouse plugin: it does not export pilothouse:plugin/controller@0.1.0",
            "it exports lighthouse:plugin/controller@0.1.0",
            "Build it against the world `reconciler`",
        ],
    );
}

#[tokio::test]
async fn a_plugin_of_another_version_of_the_contract() {
    let later = wasm::replaced(wasm::greeting(), "@0.1.0", "@0.9.0");
    let why = refused(&later).await;
    says(
        &why,
        &["compile: found pilothouse:plugin/controller@0.9.0, this host speaks 0.1.0: rebuild the plugin"],
    );
}

#[tokio::test]
async fn a_file_whose_name_is_no_plugins() {
    let scene = Scene::with_greeting();
    scene.file("plugins/My Plugin.wasm", wasm::greeting());
    let ended = dev_to_end(&scene).await;
    greeting_did_its_work(&ended);
    says(
        &ended.refusal("My Plugin"),
        &["read: `My Plugin` is no plugin name; rename the file: 1 to 63 of a-z, 0-9 and `-`"],
    );
}

#[tokio::test]
async fn a_module_that_is_too_large() {
    let scene = Scene::with_greeting();
    let mut large = wasm::zoo().to_vec();
    large.resize(1 << 20 | 1, 0);
    scene.plugin("bad", large);
    scene.file(
        "config.yaml",
        "apiVersion: pilothouse.dev/v1\nhost: {maxModuleMiB: 1}\n",
    );
    let ended = dev_to_end(&scene).await;
    greeting_did_its_work(&ended);
    says(&ended.refusal("bad"), &["read: ", "1 MiB", "maxModuleMiB"]);
}

#[tokio::test]
async fn a_plugin_that_describes_itself_in_rubbish() {
    let why = refused(&wasm::describing("rubbish")).await;
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

#[tokio::test]
async fn a_manifest_with_a_wrong_field() {
    let mut wrong = manifest();
    wrong["controllers"][0]["concurency"] = json!(2);
    let why = refused(&wasm::with_manifest(&wrong)).await;
    says(
        &why,
        &[
            "manifest: controllers[0]",
            "unknown field `concurency`",
            "did you mean `concurrency`?",
        ],
    );
}

#[tokio::test]
async fn a_manifest_that_watches_what_it_does_not_ask_for() {
    let mut wrong = manifest();
    wrong["permissions"] = json!([]);
    let why = refused(&wasm::with_manifest(&wrong)).await;
    says(&why, &["manifest: controllers[0]", "permissions", "Greeting"]);
}

#[tokio::test]
async fn a_plugin_that_panics_when_it_is_to_describe_itself() {
    let why = refused(&wasm::describing("!panic")).await;
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

#[tokio::test]
async fn a_plugin_that_never_ends_to_describe_itself() {
    let why = refused(&wasm::describing("!loop")).await;
    // The wall time is what ends it on a machine that is so busy that it gets no CPU time to use up.
    let cut = ["used up its CPU time of 2s", "took longer than its wall time of 10s"];
    assert!(
        cut.iter().any(|cut| why.contains(&format!("describe: the call {cut}"))),
        "{why}"
    );
    says(
        &why,
        &["`describe` only returns the manifest: it reads, writes and computes nothing"],
    );
}

#[tokio::test]
async fn a_plugin_that_asks_for_what_it_was_not_granted_gets_the_lines_to_paste() {
    let scene = Scene::with_zoo();
    let server = Server::started().await;
    scene.config(&json!({"greeting": {"grants": "asked"}}));
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
            "get/patch Secret",
        ],
    );
    server.api().greet("world").await;
    host.greeted(&server.api(), "world").await;
    host.signal("TERM").await;
    assert_eq!(host.end().await.code, Some(0));

    let (_, lines) = refusal
        .split_once("add these grants to the operator's file (--config):\n")
        .unwrap();
    let mut plugins = yaml(&lines.replace("\n    ", "\n").replacen("    ", "", 1))["plugins"].clone();
    plugins["greeting"] = json!({"grants": "asked"});
    scene.config(&plugins);
    let host = scene.run(&server, &[]);
    host.logged("both controllers", |line| {
        message(line) == "ready: every controller runs"
    })
    .await;
    assert_eq!(host.count(|line| message(line) == "plugin loaded"), 2);
}
