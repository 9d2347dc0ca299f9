use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use pilothouse_object::Gvk;
use pilothouse_runtime::{Compiler, Engine, EngineConfig, Limits, Modules};
use serde_json::{Value, json};

use super::{least_manifest, whole_manifest, with, without};
use crate::config::{Concurrency, Config, LimitOverrides};
use crate::directory::{self, ModuleFile};
use crate::embedded::{Embedded, embed};
use crate::inspect::inspect;
use crate::load::{Loaded, Plugin, effective_limits, load_all};
use crate::manifest::{Manifest, SuggestedLimits};
use crate::permission::Verb;
use crate::refusal::{Refusal, Step};

/// One engine for all of these tests: each reserves much address space.
pub(crate) static MODULES: LazyLock<Modules> = LazyLock::new(|| {
    let pure = Limits {
        wall: Duration::from_secs(60),
        cpu: Duration::from_millis(200),
        ..Limits::default()
    };
    let engine = Engine::new(EngineConfig {
        slots: 4,
        pure,
        ..EngineConfig::default()
    })
    .unwrap();
    Modules::new(engine, Compiler::InProcess)
});

static SLOT: LazyLock<Vec<u8>> = LazyLock::new(|| fs::read(pilothouse_guests::component("lifecycle-slot")).unwrap());

/// The test's own component, returning this from `describe`.
pub(crate) fn module_that_says(manifest: &str) -> Vec<u8> {
    const LENGTH: usize = 16 * 1024;
    const MARK: &[u8] = b"PILOTHOUSE MANIFEST SLOT";
    assert!(manifest.len() <= LENGTH);
    let mut module = SLOT.clone();
    // The mark stands in the data once; followed by blanks, which tells it from a copy of the mark alone.
    let at = module
        .windows(MARK.len() + 8)
        .position(|window| window.starts_with(MARK) && window.ends_with(b"        "))
        .expect("a slot in the module");
    module[at..at + LENGTH].fill(b' ');
    module[at..at + manifest.len()].copy_from_slice(manifest.as_bytes());
    module
}

/// Without other kinds and namespaces, and with a schema and limits.
fn manifest() -> Value {
    let manifest = with(
        least_manifest(),
        "/configSchema",
        json!({"properties": {"times": {"type": "integer"}}}),
    );
    let manifest = with(manifest, "/limits", json!({"wallMs": 1234}));
    with(manifest, "/permissions/0/verbs", json!(["watch", "create"]))
}

fn good_module() -> Vec<u8> {
    module_that_says(&manifest().to_string())
}

pub(crate) fn config(rest: &str) -> Config {
    let text = format!("apiVersion: pilothouse.dev/v1\n{rest}");
    Config::parse(&text, "pilothouse.yaml".as_ref()).unwrap_or_else(|error| panic!("{error}"))
}

fn granting() -> Config {
    config("").granting_what_is_asked(false)
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

fn load(modules: &[(&str, &[u8])], config: &Config) -> Loaded {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in modules {
        fs::write(dir.path().join(format!("{name}.wasm")), bytes).unwrap();
    }
    run(load_all(&MODULES, dir.path(), config)).unwrap()
}

#[track_caller]
pub(crate) fn load_one(bytes: &[u8], config: &Config) -> Result<Plugin, Refusal> {
    load(&[("greeting", bytes)], config).plugins.pop().unwrap()
}

#[track_caller]
fn refused_at(step: Step, bytes: &[u8], config: &Config) -> String {
    let refusal = load_one(bytes, config).unwrap_err();
    assert_eq!(refusal.step, step, "{refusal}");
    let text = refusal.to_string();
    assert!(
        text.starts_with(&format!("plugin greeting was not loaded: {step}: ")),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "{text:?}");
    text
}

#[test]
fn a_module_whose_embedded_manifest_is_not_what_it_says_of_itself_is_refused() {
    let embedding = |manifest: &Value| {
        let embedded = Embedded {
            manifest: Some(Manifest::parse(&manifest.to_string()).unwrap()),
            ..Embedded::default()
        };
        embed(&good_module(), embedded).unwrap()
    };
    load_one(&embedding(&manifest()), &granting()).unwrap();
    let other = with(manifest(), "/version", json!("9.9.9"));
    let text = refused_at(Step::Manifest, &embedding(&other), &granting());
    assert!(
        text.contains("says something else than the manifest that is embedded"),
        "{text}"
    );
}

#[test]
fn a_good_module_loads_with_what_the_operator_set() {
    let config = config(
        "
plugins:
  greeting:
    config: {times: 3}
    grants:
    - {group: '', kind: ConfigMap, verbs: ['*'], namespaces: [team-a]}
    limits: {memoryMiB: 100}
    controllers: {greeting: {concurrency: 7}}
",
    );
    let plugin = load_one(&good_module(), &config).unwrap();
    assert_eq!(&*plugin.name, "greeting");
    assert_eq!(plugin.manifest.version, "0.1.0");
    assert_eq!(&*plugin.config, r#"{"times":3}"#);
    assert_eq!(plugin.limits.memory, 100 << 20);
    assert_eq!(plugin.limits.wall, Duration::from_millis(1234));
    assert_eq!(plugin.limits.cpu, Limits::default().cpu);
    assert_eq!(plugin.concurrency("greeting"), Concurrency::Fixed(7));
    assert_eq!(plugin.hash.to_string().len(), 64);
    let kind = Gvk::new("", "v1", "ConfigMap");
    assert!(
        plugin
            .capabilities
            .allows(Verb::Create, &kind, Some("team-a"), Some("x"), None)
            .is_ok()
    );
    assert!(
        plugin
            .capabilities
            .allows(Verb::Create, &kind, Some("team-b"), Some("x"), None)
            .is_err()
    );
    assert!(
        plugin
            .capabilities
            .allows(Verb::Delete, &kind, Some("team-a"), Some("x"), None)
            .is_err()
    );
}

#[test]
fn the_example_plugin_loads_with_the_grants_that_its_inspection_says() {
    let path = pilothouse_guests::component("greeting");
    let (seen, _) = inspection(&path, None);
    assert!(seen.would_load, "{seen:?}");
    let config = config(&seen.grants_to_paste);
    let plugin = load_one(&fs::read(path).unwrap(), &config).unwrap_or_else(|refusal| panic!("{refusal}"));
    let controller = &plugin.manifest.controllers[0];
    let may = |verb, part| {
        plugin
            .capabilities
            .allows(verb, &controller.kind, Some("a"), Some("x"), part)
    };
    assert_eq!(may(Verb::Watch, None), Ok(()));
    assert_eq!(may(Verb::Patch, Some("status")), Ok(()));
    assert!(may(Verb::Delete, None).is_err());
}

#[test]
fn a_plugin_is_called_by_its_file_and_not_by_what_it_says() {
    let loaded = load(&[("a", &good_module()), ("b", &good_module())], &granting());
    let names: Vec<&str> = loaded
        .plugins
        .iter()
        .map(|plugin| &*plugin.as_ref().unwrap().name)
        .collect();
    assert_eq!(names, ["a", "b"]);
}

#[test]
fn a_bad_file_harms_no_other() {
    let good = good_module();
    let mut broken = good.clone();
    broken.truncate(good.len() / 2);
    let files: [(&str, &[u8]); 5] = [
        ("broken", &broken),
        ("empty", b""),
        ("garbage", b"not wasm at all"),
        ("good", &good),
        ("No", &good),
    ];
    let loaded = load(&files, &granting());
    let outcome: Vec<(String, bool)> = loaded
        .plugins
        .iter()
        .map(|one| match one {
            Ok(plugin) => (plugin.name.to_string(), true),
            Err(refusal) => (refusal.plugin.clone(), false),
        })
        .collect();
    let expected = [
        ("No", false),
        ("broken", false),
        ("empty", false),
        ("garbage", false),
        ("good", true),
    ];
    assert_eq!(outcome, expected.map(|(name, ok)| (name.to_owned(), ok)));
}

#[test]
fn what_is_no_component_is_refused_with_what_it_is() {
    let garbage = refused_at(Step::Compile, b"\x7fELF and so on", &granting());
    assert!(garbage.contains("wasm32-wasip2"), "{garbage}");
    let core_module = refused_at(Step::Compile, b"\0asm\x01\0\0\0", &granting());
    assert!(core_module.contains("core WebAssembly module"), "{core_module}");
    let empty_component = refused_at(Step::Compile, b"\0asm\x0d\0\x01\0", &granting());
    assert!(empty_component.contains("reconciler"), "{empty_component}");
}

#[test]
fn a_manifest_with_a_wrong_field_is_refused_with_its_path() {
    let wrong = with(manifest(), "/controllers/0/concurency", json!(2)).to_string();
    let text = refused_at(Step::Manifest, &module_that_says(&wrong), &granting());
    assert!(
        text.contains("controllers[0].concurency: unknown field") && text.contains("did you mean"),
        "{text}"
    );
    let text = refused_at(Step::Manifest, &module_that_says("rubbish\u{1b}[31m"), &granting());
    assert!(text.contains("at line 1 column 1"), "{text}");
    let text = refused_at(Step::Manifest, &module_that_says("!long"), &granting());
    // What the guest answers is trimmed by nobody; blanks alone are long before they are no JSON.
    assert!(text.contains("at most 262144 are allowed"), "{text}");
}

#[test]
fn a_describe_that_fails_is_refused_with_how() {
    let text = refused_at(Step::Describe, &module_that_says("!panic"), &granting());
    assert!(text.contains("no manifest today"), "{text}");
    let text = refused_at(Step::Describe, &module_that_says("!loop"), &granting());
    assert!(text.contains("CPU time"), "{text}");
}

#[test]
fn a_plugin_that_asks_for_what_it_was_not_granted_is_refused_with_the_lines_to_paste() {
    let text = refused_at(Step::Grants, &good_module(), &config(""));
    assert_eq!(
        text,
        "plugin greeting was not loaded: grants: it asks for what it was not granted: watch/create ConfigMap\n\
         if it may do this, add these grants to the operator's file (--config), or what stands under its name, to \
         greeting.yaml beside the module:\n\
         plugins:\n  greeting:\n    grants:\n    - {group: \"\", kind: ConfigMap, verbs: [watch, create]}"
    );
    let paste = text.split_once("beside the module:\n").unwrap().1;
    assert!(load_one(&good_module(), &config(paste)).is_ok());
}

#[test]
fn a_subresource_that_was_not_granted_is_named_behind_its_kind() {
    let mut manifest = manifest();
    let own = json!({"group": "apps", "kind": "Deployment", "verbs": ["patch"], "subresources": ["status", "scale"]});
    manifest["permissions"].as_array_mut().unwrap().push(own);
    let config = config("plugins: {greeting: {grants: [{group: '', kind: ConfigMap, verbs: [watch, create]}]}}");
    let text = refused_at(Step::Grants, &module_that_says(&manifest.to_string()), &config);
    assert!(
        text.contains("was not granted: patch Deployment.apps/status and Deployment.apps/scale\n"),
        "{text}"
    );
}

#[test]
fn the_lines_to_paste_for_what_is_dangerous_go_with_the_grants_that_are_there() {
    let mut manifest = manifest();
    let own = json!({"group": "", "kind": "Pod", "verbs": ["create"]});
    manifest["permissions"].as_array_mut().unwrap().push(own);
    let module = module_that_says(&manifest.to_string());
    let there = "    grants: [{group: '', kind: ConfigMap, verbs: [watch, create]}]";
    let granted = config(&format!("plugins:\n  greeting:\n{there}"));
    let text = refused_at(Step::Grants, &module, &granted);
    let paste = text.split_once("beside the module:\n").unwrap().1;
    assert!(paste.contains("dangerous:"), "{paste}");
    assert!(
        load_one(&module, &config(&format!("{paste}\n{there}"))).is_ok(),
        "{paste}"
    );
}

#[test]
fn a_configuration_against_its_schema_is_refused_without_its_values() {
    let config = config("plugins: {greeting: {grants: asked, config: {times: hunter2}}}");
    let text = refused_at(Step::Config, &good_module(), &config);
    assert!(
        text.contains("plugins.greeting.config.times: ") && !text.contains("hunter2"),
        "{text}"
    );
}

#[test]
fn what_is_wrong_with_words_beside_the_module_is_to_be_mended_there() {
    let beside = |words: &str| {
        let words = format!("grants: asked\n{words}\n");
        let own = directory::own_config(
            &Config::default(),
            "plugins".as_ref(),
            "greeting",
            Some(words.as_bytes()),
        );
        let file = ModuleFile::within("plugins".as_ref(), "greeting").holding(good_module().into());
        let refused = run(crate::load::load(&MODULES, &file, &own.unwrap(), 1 << 20));
        refused.unwrap_err().to_string()
    };
    for (words, expected) in [
        (
            "config: {times: hunter2}",
            "config: config.times: value is not of type \"integer\"; correct `config` in greeting.yaml beside the module",
        ),
        (
            "config: {a: '!refuse'}",
            "config: nothing fits; correct `config` in greeting.yaml beside the module",
        ),
        (
            "controllers: {hunter2: {concurrency: 2}}",
            "config: `controllers` in greeting.yaml beside the module: the plugin has no controller of one of the names \
             there; it has: greeting",
        ),
        (
            "limits: {memoryMiB: 4000}",
            "gives, 256 MiB; lower `limits.memoryMiB` in greeting.yaml beside the module",
        ),
        (
            "queue: {backoff: {maxMs: 4}}",
            "config: `controllers.greeting.queue.backoff` in greeting.yaml beside the module: the first wait ",
        ),
    ] {
        let told = beside(words);
        assert!(
            told.contains(expected) && !told.contains("hunter2") && !told.contains("--config"),
            "{words}\n{told}"
        );
    }
}

#[test]
fn a_configuration_that_the_plugin_refuses_is_refused_with_its_words() {
    let config = |word: &str| {
        config(&format!(
            "plugins: {{greeting: {{grants: asked, config: {{a: '{word}'}}}}}}"
        ))
    };
    let text = refused_at(Step::Config, &good_module(), &config("!refuse"));
    assert!(
        text.contains("plugins.greeting.config.greeting: is\\u{1b}[31m no greeting"),
        "{text}"
    );
    assert!(text.contains("plugins.greeting.config: nothing fits"), "{text}");
    let text = refused_at(Step::Config, &good_module(), &config("!refuse-silently"));
    assert!(text.contains("doesn't say why"), "{text}");
    let text = refused_at(Step::Config, &good_module(), &config("!panic"));
    assert!(
        text.contains("`check-config` failed") && text.contains("no such configuration"),
        "{text}"
    );
    assert!(load_one(&good_module(), &config("fine")).is_ok());
}

#[test]
fn a_setting_for_a_controller_that_is_not_there_is_refused_with_the_one_that_was_meant() {
    let config = config("plugins: {greeting: {grants: asked, controllers: {greting: {concurrency: 2}}}}");
    let text = refused_at(Step::Config, &good_module(), &config);
    assert!(
        text.contains(
            "plugins.greeting.controllers in the operator's file (--config): the plugin has no controller of"
        ) && text.ends_with("did you mean `greeting`?")
            && !text.contains("greting"),
        "{text}"
    );
}

#[test]
fn the_queue_of_a_controller_is_set_by_the_operator_and_refused_where_it_contradicts_the_manifest() {
    let config = |queue: &str| config(&format!("plugins: {{greeting: {{grants: asked, queue: {queue}}}}}"));
    let plugin = load_one(&good_module(), &config("{maxAttempts: 3}")).unwrap();
    let of: Vec<_> = plugin
        .retrying
        .iter()
        .map(|own| (own.max_attempts, own.base_ms))
        .collect();
    assert_eq!(of, [(Some(3), 5)]);
    let text = refused_at(Step::Config, &good_module(), &config("{backoff: {maxMs: 4}}"));
    assert!(
        text.contains(
            "plugins.greeting.controllers.greeting.queue.backoff in the operator's file (--config): the first wait "
        ) && text.contains("set both baseMs and maxMs"),
        "{text}"
    );
}

#[test]
fn a_memory_limit_above_the_engines_is_refused_and_not_cut_quietly() {
    let config = config("plugins: {greeting: {grants: asked, limits: {memoryMiB: 4000}}}");
    let text = refused_at(Step::Config, &good_module(), &config);
    assert!(
        text.contains("what this host's engine gives, 256 MiB; lower plugins.greeting.limits.memoryMiB in the"),
        "{text}"
    );
}

#[test]
fn a_disabled_plugin_is_not_even_read_and_a_misspelt_one_is_warned_of() {
    let config = config("plugins: {off: {enabled: false}, onn: {grants: asked}}").granting_what_is_asked(false);
    let loaded = load(&[("off", b"garbage"), ("on", &good_module())], &config);
    assert_eq!(loaded.disabled, ["off"]);
    assert_eq!(loaded.plugins.len(), 1);
    assert!(loaded.plugins[0].is_ok());
    let warning = loaded
        .warnings
        .iter()
        .find(|warning| warning.at == "plugins.onn")
        .unwrap();
    assert_eq!(warning.mend, "did you mean `on`?");
}

#[test]
fn the_operators_limits_win_over_the_manifests_and_these_over_the_hosts() {
    let suggested = SuggestedLimits {
        wall_ms: Some(1),
        cpu_ms: Some(2),
        ..SuggestedLimits::default()
    };
    let set = LimitOverrides {
        wall_ms: Some(10),
        host_calls: Some(3),
        writes: Some(2),
        output_kib: Some(7),
        object_kib: Some(8),
        log_lines: Some(0),
        log_kib: Some(9),
        events: Some(1),
        ..LimitOverrides::default()
    };
    let limits = effective_limits(&suggested, &set);
    let default = Limits::default();
    let expected = Limits {
        wall: Duration::from_millis(10),
        cpu: Duration::from_millis(2),
        host_calls: 3,
        writes: 2,
        output: 7 << 10,
        argument: 8 << 10,
        log_lines: 0,
        log_bytes: 9 << 10,
        events: 1,
        ..default
    };
    assert_eq!(limits, expected);
}

fn inspection(path: &Path, config: Option<&Config>) -> (crate::Inspection, Value) {
    let own = config.map(|config| config.plugin(path.file_stem().and_then(|name| name.to_str()).unwrap_or_default()));
    let max = config.cloned().unwrap_or_default().host.max_module_bytes();
    let seen = run(inspect(&MODULES, path, own.as_ref(), max));
    let json = serde_json::to_value(&seen).unwrap();
    (seen, json)
}

#[test]
fn an_inspection_tells_everything_about_a_good_module_and_what_to_grant() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("greeting.wasm");
    let module = module_that_says(&whole_manifest().to_string());
    fs::write(&path, &module).unwrap();
    let (seen, json) = inspection(&path, None);
    assert!(seen.would_load && !seen.judged_with_config, "{seen:?}");
    assert_eq!(json["size"], json!(module.len()));
    assert_eq!(
        json["manifest"]["controllers"][0]["watches"][1]["map"],
        json!({"index": "by-config"})
    );
    assert_eq!(
        json["limits"],
        json!({
            "wallMs": 10000, "cpuMs": 500, "memoryMiB": 32, "hostCalls": 100, "writes": 200, "outputKiB": 1024,
            "objectKiB": 3072, "logLines": 200, "logKiB": 64, "events": 20
        })
    );
    assert!(json["exports"][0].as_str().unwrap().contains("controller"), "{json}");
    // With an operator's file it is judged to the end; with what it says to paste, it passes.
    let (seen, json) = inspection(&path, Some(&config("")));
    assert!(!seen.would_load && seen.judged_with_config);
    assert_eq!(json["refusal"]["step"], json!("grants"));
    let (seen, _) = inspection(&path, Some(&config(&seen.grants_to_paste)));
    assert!(seen.would_load, "{seen:?}");
    let (seen, _) = inspection(&path, Some(&config("plugins: {greeting: {enabled: false}}")));
    assert!(seen.refusal.unwrap().why.contains("disables"));
}

#[test]
fn an_inspection_of_a_bad_module_tells_how_far_it_came() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let (seen, _) = inspection(&dir.path().join("nothing.wasm"), None);
    assert_eq!((seen.size, seen.refusal.unwrap().step), (None, Step::Read));
    let (seen, _) = inspection(&file("garbage.wasm", b"garbage"), None);
    assert_eq!((seen.size, seen.refusal.unwrap().step), (Some(7), Step::Compile));
    let nameless = module_that_says(&without(manifest(), "/name").to_string());
    let (seen, _) = inspection(&file("nameless.wasm", &nameless), None);
    assert!(!seen.imports.is_empty() || !seen.exports.is_empty());
    assert_eq!(seen.refusal.unwrap().step, Step::Manifest);
    let (seen, _) = inspection(&file("Misnamed.wasm", &good_module()), None);
    assert_eq!(seen.refusal.unwrap().step, Step::Read);
    assert!(seen.manifest.is_some() && !seen.would_load);
}
