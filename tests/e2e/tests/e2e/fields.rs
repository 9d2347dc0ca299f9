//! A plugin that declares the fields that it sees.

use pilothouse_e2e::{BEASTS, CONFIG_MAPS, On, Scene, on_both, wasm};
use serde_json::{Value, json};

on_both!(who_declares_fields_sees_these_alone_and_its_writes_leave_the_rest_as_it_was);
async fn who_declares_fields_sees_these_alone_and_its_writes_leave_the_rest_as_it_was(on: On) {
    look(Scene::new().on(on)).await;
}

on_both!(who_declares_fields_sees_no_more_where_another_plugin_has_the_cache_keep_the_whole);
async fn who_declares_fields_sees_no_more_where_another_plugin_has_the_cache_keep_the_whole(on: On) {
    look(Scene::with_zoo().on(on)).await;
}

/// The keyhole sees of Beasts `spec.do` and `spec.size`, by its predicate `spec.turn`, by its index `spec.den.name`; of
/// ConfigMaps `data['a.b']`, by its mapping `data.for`, by its index `data.tag`.
async fn look(scene: Scene) {
    scene.plugin("keyhole", wasm::keyhole());
    let ns = scene.namespace();
    let host = scene.dev().await;
    let api = host.api();
    let spec = json!({
        "do": "nothing", "size": 1, "turn": 1, "den": {"name": "cave", "depth": 3},
        "guests": [{"name": "theirs", "since": "noon"}], "hidden": {"deep": [1, 2]},
    });
    let beast = json!({"metadata": {"labels": {"a": "b"}}, "spec": spec});
    let before = api.create(BEASTS, ns, "b", beast).await;
    let report = async |is_meant: &dyn Fn(&Value) -> bool| {
        let is_report = |event: &Value| event["event"] == "log" && event["message"] == "report";
        let report = host.event("the report", |event| is_report(event) && is_meant(&event["fields"]));
        report.await["fields"].clone()
    };
    let seen = |report: &Value, name: &str| -> Value {
        let text = report[name].as_str().unwrap_or_default();
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}: {report}"))
    };

    let first = report(&|_| true).await;
    let shown = json!({"do": "nothing", "size": 1, "turn": 1, "den": {"name": "cave"}});
    for object in [
        seen(&first, "request"),
        seen(&first, "read"),
        seen(&first, "by-den")[0].clone(),
    ] {
        assert_eq!(object["spec"], shown, "{object}");
        assert_eq!(object["metadata"]["labels"], json!({"a": "b"}));
        assert_eq!(
            object.as_object().unwrap().len(),
            4,
            "apiVersion, kind, metadata and spec: {object}"
        );
    }

    // What it doesn't see it can't take away.
    for refused in ["replaced", "patched", "pushed"] {
        let answer = first[refused].as_str().unwrap();
        assert!(answer.starts_with("PilothouseDenied: "), "{refused}: {answer}");
    }
    let why = first["patched"].as_str().unwrap();
    assert!(why.contains("spec.guests") && why.contains("`fields`"), "{why}");

    // And its save changed one field, which it sees at once.
    assert_eq!(first["saved"], "true");
    let with_size = |mut spec: Value| {
        spec["size"] = json!(7);
        spec
    };
    assert_eq!(seen(&first, "after")["spec"], with_size(shown));
    let after = api.get(BEASTS, ns, "b").await.unwrap();
    assert_eq!(after["spec"], with_size(before["spec"].clone()));
    assert_eq!(after["metadata"]["labels"], before["metadata"]["labels"]);

    // A path that another kind's mapping reads wakes it, and the index finds by what was not declared.
    let data = json!({"for": "b", "a.b": "seen", "a": "not this", "tag": "gold", "hidden": "secret"});
    api.create(CONFIG_MAPS, ns, "gold", json!({"data": data})).await;
    let second = report(&|fields| fields["by-tag"] != "[]").await;
    let maps = seen(&second, "by-tag");
    assert_eq!(maps[0]["data"], json!({"for": "b", "a.b": "seen", "tag": "gold"}));
    assert_eq!(maps.as_array().unwrap().len(), 1);
    assert_eq!(second["saved"], "false", "there was nothing to save");

    // So does a change of what its predicate names, and of nothing else.
    api.merge(BEASTS, ns, "b", json!({"spec": {"hidden": null}})).await;
    api.merge(BEASTS, ns, "b", json!({"spec": {"turn": 2}})).await;
    let third = report(&|fields| {
        fields["request"]
            .as_str()
            .is_some_and(|text| text.contains("\"turn\":2"))
    })
    .await;
    assert_eq!(seen(&third, "request")["spec"]["size"], json!(7));
    let reports = host.events();
    let reports = reports.iter().filter(|event| event["message"] == "report");
    assert_eq!(reports.count(), 3);
}
