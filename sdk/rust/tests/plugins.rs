//! Plugins as a whole: descriptions, configurations, several controllers, objects that are gone.

use pilothouse_sdk::kinds::{ConfigMap, Namespace};
use pilothouse_sdk::prelude::*;
use pilothouse_sdk::serde_json::{Value, from_str, json};
use pilothouse_sdk::testing::Fake;
use pilothouse_sdk::{Limits, OwnerKind, RawRequest, Watch};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    prefix: String,
    limits: Vec<u8>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            prefix: "cm".to_owned(),
            limits: Vec::new(),
        }
    }
}

fn namespaces(cx: &Context, request: Request<Namespace>) -> Result<Outcome, Failure> {
    let config: Config = cx.config()?;
    match request.object {
        Some(namespace) => cx.info(format!("{} {} is there", config.prefix, namespace.name())),
        None => cx.warn(format!("{} is gone", request.key)),
    }
    Ok(Outcome::after(std::time::Duration::from_secs(60)).note("waits"))
}

fn config_maps(cx: &Context, _: Object<ConfigMap>) -> Result<Outcome, Failure> {
    cx.info("a config map");
    Ok(Outcome::done())
}

#[plugin]
fn plugin() -> Plugin {
    Plugin::new("several")
        .description("Several controllers")
        .controller(
            Controller::new("namespaces", namespaces)
                .when([Predicate::Labels])
                .when_path("spec.finalizers")
                .concurrency(4)
                .resync(std::time::Duration::from_secs(3600))
                .max_attempts(7)
                .backoff(std::time::Duration::from_millis(10), std::time::Duration::from_secs(60)),
        )
        .controller(
            Controller::new("config-maps", config_maps)
                .namespaces(["a", "b"])
                .selector("app=web")
                .watch(
                    Watch::of::<Namespace>(Mapping::Label("owner".to_owned()))
                        .selector("x")
                        .metadata_only(),
                ),
        )
        .index::<ConfigMap>("by-key", ["data.key"])
        .may::<ConfigMap>([Verb::Create])
        .config_checked(|config: &Config| {
            if config.prefix.is_empty() {
                vec![pilothouse_sdk::Cause::invalid("prefix", "must not be empty")]
            } else {
                Vec::new()
            }
        })
        .limits(Limits {
            memory_mib: Some(16),
            ..Limits::default()
        })
}

#[test]
fn the_manifest_is_what_the_contract_says() {
    let manifest: Value = from_str(&plugin().describe()).unwrap();
    assert_eq!(
        manifest,
        json!({
            "name": "several", "version": "0.1.0", "description": "Several controllers",
            "controllers": [
                {"name": "namespaces", "kind": {"group": "", "version": "v1", "kind": "Namespace"}, "scope": "Cluster",
                 "predicates": ["labels"], "changes": ["spec.finalizers"], "concurrency": 4, "resyncSeconds": 3600,
                 "maxAttempts": 7, "backoff": {"baseMs": 10, "maxMs": 60000}},
                {"name": "config-maps", "kind": {"group": "", "version": "v1", "kind": "ConfigMap"}, "scope": "Namespaced",
                 "selector": "app=web", "namespaces": ["a", "b"],
                 "watches": [{"kind": {"group": "", "version": "v1", "kind": "Namespace"}, "scope": "Cluster",
                              "metadataOnly": true, "selector": "x", "map": {"label": "owner"}}]},
            ],
            "indexes": [{"name": "by-key", "kind": {"group": "", "version": "v1", "kind": "ConfigMap"}, "paths": ["data.key"]}],
            "permissions": [
                {"group": "", "kind": "Namespace", "verbs": ["watch"]},
                {"group": "", "kind": "ConfigMap", "verbs": ["watch"], "namespaces": ["a", "b"]},
                {"group": "", "kind": "ConfigMap", "verbs": ["create"]},
            ],
            "limits": {"memoryMiB": 16},
        })
    );
    let plugin = Plugin::new("x").controller(
        Controller::new("x", config_maps)
            .fields(["data.a", "data['b.c']"])
            .watch(Watch::of::<Namespace>(Mapping::All).fields(["status.phase"])),
    );
    let manifest: Value = from_str(&plugin.describe()).unwrap();
    let controller = &manifest["controllers"][0];
    assert_eq!(controller["fields"], json!(["data.a", "data['b.c']"]));
    assert_eq!(controller["watches"][0]["fields"], json!(["status.phase"]));
    let map = |mapping: Mapping| {
        let controller = Controller::new("x", config_maps).watches::<Namespace>(mapping);
        let manifest: Value = from_str(&Plugin::new("x").controller(controller).describe()).unwrap();
        manifest["controllers"][0]["watches"][0]["map"].clone()
    };
    assert_eq!(map(Mapping::Owner(OwnerKind::Any)), json!({"owner": "any"}));
    assert_eq!(map(Mapping::Index("by-key".to_owned())), json!({"index": "by-key"}));
    assert_eq!(map(Mapping::Field("spec.x".to_owned())), json!({"field": "spec.x"}));
    assert_eq!(map(Mapping::SameName), json!("same-name"));
    assert_eq!(map(Mapping::All), json!("all"));
}

#[test]
fn a_wrong_configuration_is_named_with_its_field() {
    let field = |config: Value| {
        plugin()
            .check_config(&config.to_string())
            .first()
            .map(|cause| cause.field.clone())
    };
    assert_eq!(field(json!({})), None);
    assert_eq!(field(json!({"prefix": "x", "limits": [1, 2]})), None);
    assert_eq!(field(json!({"prefix": 5})).as_deref(), Some("prefix"));
    assert_eq!(field(json!({"limits": [1, 300]})).as_deref(), Some("limits[1]"));
    assert_eq!(field(json!({"prefxi": "x"})).as_deref(), Some("prefxi"));
    assert_eq!(field(json!({"prefix": ""})).as_deref(), Some("prefix"));
    assert!(plugin().check_config("").is_empty(), "no configuration is an empty one");
    assert!(!plugin().check_config("{").is_empty());
}

#[test]
fn each_controller_gets_its_own_objects_and_a_gone_one_is_told() {
    let fake = Fake::new(plugin());
    fake.create(&Namespace {
        metadata: Metadata::named("n"),
    })
    .unwrap();
    for (name, namespace, app) in [("one", "a", "web"), ("two", "a", "other"), ("three", "c", "web")] {
        let metadata = Metadata::named(name).in_namespace(namespace).label("app", app);
        fake.create(&ConfigMap {
            metadata,
            ..ConfigMap::default()
        })
        .unwrap();
    }
    fake.set_config(&json!({"prefix": "ns"})).unwrap();
    assert!(fake.set_config(&json!({"prefix": ""})).is_err());
    let settled = fake.settle();
    assert_eq!(
        settled.last.len(),
        2,
        "one namespace, one config map in a namespace and with a label that is selected"
    );
    let outcome = settled.last[0].result.clone().unwrap();
    assert_eq!(outcome.requeue_after, Some(std::time::Duration::from_secs(60)));
    assert_eq!(outcome.note.as_deref(), Some("waits"));
    assert_eq!(fake.lines()[0].message, "ns n is there");

    fake.delete::<Namespace>(None, "n").unwrap();
    fake.settle();
    assert_eq!(
        fake.lines()
            .iter()
            .filter(|line| line.message == "v1 Namespace n is gone")
            .count(),
        1
    );
}

#[test]
fn a_function_that_takes_an_object_is_not_bothered_with_one_that_is_gone() {
    let fake = Fake::new(plugin());
    assert_eq!(fake.reconcile::<ConfigMap>("a", "gone").unwrap(), Outcome::done());
    assert!(fake.lines().is_empty());
}

#[test]
fn a_controller_that_is_none_of_ours_is_refused() {
    let request = RawRequest {
        controller: "other".to_owned(),
        key: ConfigMap::reference(None, "x"),
        object: None,
    };
    let failure = plugin().reconcile(&Fake::new(plugin()).context(), request).unwrap_err();
    assert_eq!(failure.reason, "UnknownController");
}

#[test]
#[should_panic(expected = "still writes after 50 rounds")]
fn a_plugin_that_runs_in_circles_is_caught() {
    fn circle(cx: &Context, mut object: Object<ConfigMap>) -> Result<Outcome, Failure> {
        let turns = object
            .data
            .get("turns")
            .and_then(|turns| turns.parse::<u32>().ok())
            .unwrap_or_default();
        object.data.insert("turns".to_owned(), (turns + 1).to_string());
        object.save(cx)?;
        Ok(Outcome::done())
    }
    let plugin = Plugin::new("circle")
        .controller(Controller::new("c", circle))
        .may::<ConfigMap>([Verb::Patch]);
    let fake = Fake::new(plugin);
    fake.create(&ConfigMap {
        metadata: Metadata::named("x").in_namespace("a"),
        ..ConfigMap::default()
    })
    .unwrap();
    fake.settle();
}
