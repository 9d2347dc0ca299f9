use serde_json::{Map, Value, json};

use super::{least_manifest, whole_manifest, with, without};
use crate::manifest::Manifest;
use crate::manifest_schema::MANIFEST_SCHEMA;

/// Judged by the published schema, with the library as anybody would use it.
fn schema_takes(manifest: &Value) -> bool {
    let schema: Value = serde_json::from_str(MANIFEST_SCHEMA).unwrap();
    jsonschema::options()
        .offline()
        .build(&schema)
        .unwrap()
        .is_valid(manifest)
}

/// Judged by the Rust types alone, without the schema and without the checks of fields against each other.
fn types_take(manifest: &Value) -> bool {
    serde_json::from_str::<Manifest>(&manifest.to_string()).is_ok()
}

#[test]
fn the_schema_and_the_types_take_the_same_good_manifests() {
    let mut good = vec![whole_manifest(), least_manifest()];
    let whole = whole_manifest;
    for (pointer, value) in [
        ("/controllers/0/maxAttempts", json!(null)),
        ("/controllers/0/resyncSeconds", json!(0)),
        ("/controllers/0/resyncSeconds", json!(2_592_000)),
        ("/controllers/0/concurrency", json!(1000)),
        ("/controllers/0/backoff", json!({})),
        ("/controllers/0/selector", json!("")),
        ("/controllers/0/namespaces", json!([])),
        ("/controllers/0/scope", json!("Cluster")),
        ("/configSchema", json!(null)),
        ("/configSchema", json!(true)),
        ("/limits", json!({})),
        ("/limits/wallMs", json!(null)),
        ("/limits/memoryMiB", json!(256)),
        ("/permissions/0/group", json!("a.b-c.example.com")),
        (
            "/permissions/0/names",
            json!(["a", "kube-root-ca.crt", "system:node", "A_B~c"]),
        ),
        ("/controllers/0/fields", json!([])),
        ("/controllers/0/fields", json!(["spec.size", "data['a.b']"])),
        ("/controllers/0/watches/1/fields", json!(["data.a"])),
        ("/controllers/0/watches/0/map", json!({"label": "app"})),
        ("/controllers/0/watches/0/map", json!({"label": "a.b/C_d.e-f"})),
        ("/controllers/0/name", json!("a".repeat(63))),
        ("/version", json!("1.0.0-rc.1+build")),
        ("/description", json!("ü".repeat(1024))),
        ("/indexes", json!([])),
    ] {
        good.push(with(whole(), pointer, value));
    }
    for manifest in good {
        assert!(schema_takes(&manifest), "schema: {manifest}");
        assert!(types_take(&manifest), "types: {manifest}");
    }
}

#[test]
fn the_schema_and_the_types_refuse_the_same_bad_manifests() {
    let mut bad = vec![json!({}), json!(null), json!("greeting")];
    for pointer in [
        "/name",
        "/version",
        "/controllers",
        "/controllers/0/name",
        "/controllers/0/kind",
        "/controllers/0/kind/group",
        "/controllers/0/kind/version",
        "/controllers/0/kind/kind",
        "/controllers/0/watches/0/kind",
        "/controllers/0/watches/0/map",
        "/indexes/0/name",
        "/indexes/0/kind",
        "/indexes/0/paths",
        "/permissions/0/group",
        "/permissions/0/kind",
        "/permissions/0/verbs",
    ] {
        bad.push(without(whole_manifest(), pointer));
    }
    for place in [
        "",
        "/controllers/0",
        "/controllers/0/kind",
        "/controllers/0/backoff",
        "/controllers/0/watches/0",
        "/controllers/0/watches/0/map",
        "/indexes/0",
        "/permissions/0",
        "/limits",
    ] {
        bad.push(with(whole_manifest(), &format!("{place}/unknown"), json!(1)));
    }
    let long_list = |n: usize| Value::from_iter((0..n).map(|i| format!("n{i}")));
    for (pointer, value) in [
        ("/name", json!("Greeting")),
        ("/name", json!("")),
        ("/name", json!("-a")),
        ("/name", json!("a\n")),
        ("/name", json!("a".repeat(64))),
        ("/name", json!(1)),
        ("/version", json!("")),
        ("/version", json!("0.1 beta")),
        ("/version", json!("v".repeat(65))),
        ("/description", json!("x".repeat(1025))),
        ("/description", json!(null)),
        ("/controllers", json!({})),
        ("/controllers/0/kind/version", json!("apps/v1")),
        ("/controllers/0/kind/version", json!("1")),
        ("/controllers/0/kind/kind", json!("1Map")),
        ("/controllers/0/kind/kind", json!("")),
        ("/controllers/0/kind/group", json!("Apps")),
        ("/controllers/0/kind/group", json!("a..b")),
        ("/controllers/0/kind/group", json!("a".repeat(64))),
        ("/controllers/0/kind/group", json!(["a"; 130].join("."))),
        ("/controllers/0/scope", json!("namespaced")),
        ("/controllers/0/selector", json!("a".repeat(4097))),
        ("/controllers/0/selector", json!(null)),
        ("/controllers/0/namespaces", json!(["*"])),
        ("/controllers/0/namespaces", long_list(257)),
        ("/controllers/0/predicates", json!(["spec"])),
        ("/controllers/0/predicates", json!("labels")),
        ("/controllers/0/changes", json!([""])),
        ("/controllers/0/changes", long_list(65)),
        ("/controllers/0/changes", json!(["a".repeat(1025)])),
        ("/controllers/0/fields", json!([""])),
        ("/controllers/0/fields", json!("spec")),
        ("/controllers/0/fields", json!(null)),
        ("/controllers/0/fields", long_list(65)),
        ("/controllers/0/watches/1/fields", long_list(65)),
        ("/controllers/0/concurrency", json!(0)),
        ("/controllers/0/concurrency", json!(1001)),
        ("/controllers/0/concurrency", json!(-1)),
        ("/controllers/0/concurrency", json!(1.5)),
        ("/controllers/0/concurrency", json!("1")),
        ("/controllers/0/concurrency", json!(null)),
        ("/controllers/0/concurrency", json!(4_294_967_297_u64)),
        ("/controllers/0/resyncSeconds", json!(2_592_001)),
        ("/controllers/0/maxAttempts", json!(0)),
        ("/controllers/0/maxAttempts", json!(1_000_001)),
        ("/controllers/0/backoff", json!({"baseMs": 0})),
        ("/controllers/0/backoff", json!({"maxMs": 86_400_001})),
        ("/controllers/0/backoff", json!(null)),
        ("/controllers/0/watches/0/metadataOnly", json!("yes")),
        ("/controllers/0/watches/0/map", json!("owner")),
        ("/controllers/0/watches/0/map", json!("everything")),
        ("/controllers/0/watches/0/map", json!({})),
        ("/controllers/0/watches/0/map", json!({"owner": "both"})),
        ("/controllers/0/watches/0/map", json!({"owner": "any", "index": "a"})),
        ("/controllers/0/watches/0/map", json!({"index": "Not-A-Name"})),
        ("/controllers/0/watches/0/map", json!({"label": "a/b/c"})),
        ("/controllers/0/watches/0/map", json!({"label": ""})),
        ("/controllers/0/watches/0/map", json!({"field": ""})),
        ("/controllers/0/watches/0/map", json!({"all": true})),
        ("/controllers/0/watches/0/map", json!(null)),
        ("/indexes/0/paths", json!("spec.a")),
        ("/indexes/0/paths", long_list(17)),
        ("/permissions/0/verbs", json!(["update"])),
        ("/permissions/0/verbs", json!(["*"])),
        ("/permissions/0/verbs", json!("get")),
        ("/permissions/0/kind", json!("*")),
        ("/permissions/0/group", json!("*")),
        ("/permissions/0/names", json!(["a/b"])),
        ("/permissions/0/names", json!(["*"])),
        ("/permissions/0/names", json!(["50%"])),
        ("/permissions/0/names", json!([".."])),
        ("/permissions/0/names", json!([""])),
        ("/permissions/0/names", json!(["a b"])),
        ("/permissions/0/names", json!(["a".repeat(254)])),
        ("/permissions/0/subresources", json!(["Status"])),
        ("/permissions/0/subresources", long_list(17)),
        ("/configSchema", json!("object")),
        ("/limits", json!({"wallMs": 300_001})),
        ("/limits", json!({"memoryMiB": 257})),
        ("/limits", json!({"memoryMib": 1})),
        ("/limits", json!({"cpuMs": 0})),
        ("/limits", json!({"hostCalls": 10_001})),
    ] {
        bad.push(with(whole_manifest(), pointer, value));
    }
    for manifest in bad {
        assert!(!schema_takes(&manifest), "schema: {manifest}");
        // That a configSchema is a schema at all is a check of its own, since the type takes any JSON.
        if manifest.get("configSchema") != Some(&json!("object")) {
            assert!(!types_take(&manifest), "types: {manifest}");
        }
        assert!(Manifest::parse(&manifest.to_string()).is_err(), "{manifest}");
    }
}

#[test]
fn a_list_in_the_place_of_an_object_is_refused_with_its_path() {
    let manifest = with(whole_manifest(), "/controllers/1/kind", json!(["", "v1", "ConfigMap"]));
    assert!(
        types_take(&manifest),
        "serde's derived code takes both, which is why the schema is asked, too"
    );
    let error = Manifest::parse(&manifest.to_string()).unwrap_err().to_string();
    assert!(error.starts_with("controllers[1].kind: "), "{error}");
}

/// Every `properties` entry anywhere in the schema, with its path.
fn fields<'a>(schema: &'a Value, at: &str, found: &mut Vec<(String, &'a Value, bool)>) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Object(properties)) = map.get("properties") {
                let required: Vec<&Value> = map
                    .get("required")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                    .collect();
                for (name, field) in properties {
                    found.push((format!("{at}.{name}"), field, required.contains(&&json!(name))));
                }
            }
            map.iter()
                .for_each(|(name, inner)| fields(inner, &format!("{at}.{name}"), found));
        }
        Value::Array(items) => items.iter().for_each(|inner| fields(inner, at, found)),
        _ => {}
    }
}

#[test]
fn every_field_of_the_schema_is_described_and_every_optional_one_has_its_default() {
    let schema: Value = serde_json::from_str(MANIFEST_SCHEMA).unwrap();
    let mut found = Vec::new();
    fields(&schema, "", &mut found);
    assert!(found.len() > 40, "{}", found.len());
    for (path, field, required) in found {
        // The mapping's forms are described as a whole.
        let described = field.get("description").is_some() || path.starts_with(".$defs.mapping.");
        assert!(described, "{path} has no description");
        assert!(required || field.get("default").is_some(), "{path} has no default");
    }
}

#[test]
fn the_defaults_in_the_schema_are_those_of_the_types() {
    // What is written when every default is spelled out by the schema, against what the types make of nothing.
    let schema: Value = serde_json::from_str(MANIFEST_SCHEMA).unwrap();
    let filled = |mut object: Value, definition: &str| {
        let properties = schema
            .pointer(definition)
            .and_then(|d| d.get("properties"))
            .and_then(Value::as_object);
        let own: &mut Map<String, Value> = object.as_object_mut().unwrap();
        for (name, field) in properties.unwrap() {
            if let Some(default) = field.get("default") {
                own.entry(name.clone()).or_insert_with(|| default.clone());
            }
        }
        object
    };
    let watch = json!({"kind": {"group": "", "version": "v1", "kind": "Secret"}, "map": "all"});
    let least = with(least_manifest(), "/controllers/0/watches", json!([watch]));
    let least = with(
        least,
        "/permissions/1",
        json!({"group": "", "kind": "Secret", "verbs": ["watch"]}),
    );
    let mut spelled = filled(least.clone(), "");
    spelled["controllers"][0] = filled(spelled["controllers"][0].clone(), "/$defs/controller");
    spelled["controllers"][0]["watches"][0] = filled(watch, "/$defs/watch");
    spelled["limits"] = filled(json!({}), "/properties/limits");
    spelled["controllers"][0]["backoff"] = filled(json!({}), "/$defs/controller/properties/backoff");
    let parse = |manifest: &Value| Manifest::parse(&manifest.to_string()).unwrap_or_else(|e| panic!("{e}"));
    assert_ne!(spelled, least);
    assert_eq!(parse(&spelled), parse(&least));
}
