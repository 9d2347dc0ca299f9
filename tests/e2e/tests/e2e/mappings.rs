//! Which keys a change of a watched object wakes, by each mapping, through the whole host.

use std::collections::BTreeSet;

use pilothouse_e2e::{BEASTS, CONFIG_MAPS, On, Scene, on_both, wasm};
use serde_json::{Value, json};

/// A controller of Beasts for each mapping, all of them watching ConfigMaps.
fn manifest(mappings: &[(&str, Value)]) -> Value {
    let beast = json!({"group": "zoo.pilothouse.dev", "version": "v1", "kind": "Beast"});
    let config_map = json!({"group": "", "version": "v1", "kind": "ConfigMap"});
    let controller = |(name, map): &(&str, Value)| json!({"name": name, "kind": beast, "watches": [{"kind": config_map, "map": map}]});
    json!({
        "name": "mapper", "version": "0.1.0",
        "controllers": mappings.iter().map(controller).collect::<Vec<_>>(),
        "indexes": [{"name": "by-config", "kind": beast, "paths": ["metadata.labels['config']"]}],
        "permissions": [
            {"group": "zoo.pilothouse.dev", "kind": "Beast", "verbs": ["watch"]},
            {"group": "", "kind": "ConfigMap", "verbs": ["watch"]},
        ],
    })
}

on_both!(each_mapping_wakes_the_keys_it_names_and_no_others);
async fn each_mapping_wakes_the_keys_it_names_and_no_others(on: On) {
    let mappings = [
        ("owner", json!({"owner": "any"})),
        ("index", json!({"index": "by-config"})),
        ("same-name", json!("same-name")),
        ("label", json!({"label": "beast"})),
        ("field", json!({"field": "data.beast"})),
        ("all", json!("all")),
    ];
    let scene = Scene::new().on(on);
    let ns = scene.namespace();
    scene.plugin("mapper", wasm::with_manifest(&manifest(&mappings)));
    let host = scene.dev().await;
    let api = host.api();
    let beast = async |name: &str, config: &str| {
        let object = json!({"metadata": {"labels": {"config": config}}, "spec": {"do": "nothing"}});
        api.create(BEASTS, ns, name, object).await
    };
    let owner = beast("owned", "other").await;
    for (name, config) in [
        ("indexed", "thing"),
        ("thing", "other"),
        ("labelled", "other"),
        ("named", "other"),
    ] {
        beast(name, config).await;
    }
    for (controller, _) in &mappings {
        for name in ["owned", "indexed", "thing", "labelled", "named"] {
            let is_run = |event: &Value| {
                event["event"] == "reconciled" && event["controller"] == *controller && event["name"] == name
            };
            host.event("every Beast was reconciled once", is_run).await;
        }
    }

    let thing = json!({
        "metadata": {
            "labels": {"beast": "labelled"},
            "ownerReferences": [{"apiVersion": "zoo.pilothouse.dev/v1", "kind": "Beast", "name": "owned",
                                 "uid": owner["metadata"]["uid"]}],
        },
        "data": {"beast": "named"},
    });
    api.create(CONFIG_MAPS, ns, "thing", thing).await;
    // Runs that the ConfigMap caused, as controller and object.
    let woken = || -> BTreeSet<(String, String)> {
        // There may be others, as a real control plane puts one into every namespace.
        let is_thing = |cause: &Value| cause["kind"] == "ConfigMap" && cause["name"] == "thing";
        let caused = |event: &&Value| {
            let chains = event["causes"].as_array().into_iter().flatten();
            let mut causes = chains.filter_map(Value::as_array).flatten();
            event["event"] == "reconciled" && causes.any(is_thing)
        };
        let text = |event: &Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
        let events = host.events();
        events
            .iter()
            .filter(caused)
            .map(|event| (text(event, "controller"), text(event, "name")))
            .collect()
    };
    let mut want: BTreeSet<(String, String)> = [
        ("owner", "owned"),
        ("index", "indexed"),
        ("same-name", "thing"),
        ("label", "labelled"),
        ("field", "named"),
    ]
    .map(|(controller, name)| (controller.to_owned(), name.to_owned()))
    .into();
    for name in ["owned", "indexed", "thing", "labelled", "named"] {
        want.insert(("all".to_owned(), name.to_owned()));
    }
    host.until("the mapped keys ran", async || {
        (woken().len() >= want.len()).then_some(())
    })
    .await;
    // What runs after a later change of something else has seen everything that the first one could wake.
    api.create(BEASTS, ns, "last", json!({"spec": {"do": "nothing"}})).await;
    for (controller, _) in &mappings {
        let is_last = |event: &Value| event["controller"] == *controller && event["name"] == "last";
        host.event("the last Beast was reconciled", is_last).await;
    }
    assert_eq!(woken(), want);
}

on_both!(a_controller_with_a_resync_runs_again_though_nothing_changed);
/// A run that nothing else could have caused: the Beast was reconciled before, and nobody touches it.
async fn a_controller_with_a_resync_runs_again_though_nothing_changed(on: On) {
    let mut manifest = manifest(&[("all", json!("all"))]);
    manifest["controllers"][0]["resyncSeconds"] = json!(1);
    let scene = Scene::new().on(on);
    scene.plugin("mapper", wasm::with_manifest(&manifest));
    let host = scene.dev().await;
    host.api().beast("b", "nothing").await;
    host.run_of("Beast", "b", |run| run["causes"] == json!([[{"what": "resync"}]]))
        .await;
}
