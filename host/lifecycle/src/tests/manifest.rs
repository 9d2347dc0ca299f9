use serde_json::{Value, json};

use super::{least_manifest, whole_manifest, with, without};
use crate::manifest::{MAX_MANIFEST_BYTES, Manifest, Mapping, OwnerKind, Scope};

fn parse(manifest: &Value) -> Result<Manifest, String> {
    Manifest::parse(&manifest.to_string()).map_err(|error| error.to_string())
}

/// The whole error that `value` at `pointer` of the whole manifest makes.
#[track_caller]
fn error_of(pointer: &str, value: Value) -> String {
    parse(&with(whole_manifest(), pointer, value)).unwrap_err()
}

#[test]
fn a_whole_manifest_is_read_as_it_was_written() {
    let manifest = parse(&whole_manifest()).unwrap();
    let greeting = manifest.controller("greeting").unwrap();
    assert_eq!(greeting.kind.to_string(), "demo.pilothouse.dev/v1 Greeting");
    assert_eq!(greeting.concurrency, 4);
    assert_eq!(greeting.resync().unwrap().as_secs(), 600);
    assert_eq!(greeting.max_attempts, Some(8));
    assert_eq!(greeting.backoff.base().as_millis(), 10);
    assert_eq!(greeting.changes[1].to_string(), "metadata.labels['a/b']");
    assert_eq!(greeting.watches[0].map, Mapping::Owner(OwnerKind::Controller));
    assert_eq!(greeting.watches[1].map, Mapping::Index("by-config".into()));
    assert_eq!(greeting.watches[3].scope, Scope::Cluster);
    assert!(manifest.index(&greeting.kind, "by-config").is_some());
    assert!(manifest.controller("nobody").is_none());
}

#[test]
fn what_is_not_said_has_its_default() {
    let manifest = parse(&least_manifest()).unwrap();
    let controller = &manifest.controllers[0];
    assert_eq!(controller.scope, Scope::Namespaced);
    assert!(controller.selector.is_everything());
    assert_eq!(controller.concurrency, 1);
    assert_eq!(controller.resync(), None);
    assert_eq!(controller.max_attempts, None);
    assert_eq!(controller.backoff.base().as_millis(), 5);
    assert_eq!(controller.backoff.max().as_secs(), 300);
    assert!(manifest.limits.is_empty());
}

#[test]
fn a_manifest_written_again_is_the_same_manifest() {
    for manifest in [whole_manifest(), least_manifest()] {
        let manifest = parse(&manifest).unwrap();
        let again = Manifest::parse(&serde_json::to_string(&manifest).unwrap()).unwrap();
        assert_eq!(again, manifest);
    }
}

#[test]
fn an_unknown_field_is_named_with_its_path_and_the_field_that_was_meant() {
    let error = error_of("/controllers/0/concurency", json!(2));
    assert!(
        error.starts_with("controllers[0].concurency: unknown field `concurency`"),
        "{error}"
    );
    assert!(error.ends_with("; did you mean `concurrency`?"), "{error}");
    let error = error_of("/controllers/1/quite-something-else", json!(2));
    assert!(!error.contains("did you mean"), "{error}");
}

#[test]
fn an_unknown_predicate_is_named_with_those_that_there_are() {
    let error = error_of("/controllers/0/predicates", json!(["labels", "spec"]));
    let expected = "controllers[0].predicates[1]: unknown variant `spec`, expected one of `generation`, `labels`, ";
    assert!(error.starts_with(expected), "{error}");
}

#[test]
fn an_unknown_mapping_is_named_with_the_one_that_was_meant() {
    let error = error_of("/controllers/0/watches/1/map", json!({"ownr": "controller"}));
    assert!(
        error.starts_with("controllers[0].watches[1].map: unknown variant `ownr`"),
        "{error}"
    );
    assert!(error.ends_with("did you mean `owner`?"), "{error}");
}

#[test]
fn a_mapping_without_its_value_says_how_it_is_written() {
    let error = error_of("/controllers/0/watches/1/map", json!("owner"));
    assert_eq!(
        error,
        r#"controllers[0].watches[1].map.owner: needs a value; write it as {"…": VALUE}"#
    );
}

#[test]
fn a_missing_field_is_named_with_the_place_that_lacks_it() {
    let error = parse(&without(whole_manifest(), "/controllers/0/watches/0/map")).unwrap_err();
    assert_eq!(error, "controllers[0].watches[0]: missing field `map`");
    let error = parse(&without(whole_manifest(), "/permissions/0/group")).unwrap_err();
    assert_eq!(error, "permissions[0]: missing field `group`");
}

#[test]
fn a_bad_selector_or_path_is_named_where_it_stands() {
    let error = error_of("/controllers/0/selector", json!("app in (a"));
    assert!(
        error.starts_with("controllers[0].selector: ") && error.contains("app in (a"),
        "{error}"
    );
    let error = error_of("/controllers/0/changes", json!(["spec.a", "spec..b"]));
    assert!(
        error.starts_with("controllers[0].changes[1]: ") && error.contains("spec..b"),
        "{error}"
    );
    let error = error_of("/indexes/0/paths", json!(["a[x]"]));
    assert!(error.starts_with("indexes[0].paths[0]: "), "{error}");
    let error = error_of("/controllers/0/watches/5/map", json!({"field": "."}));
    assert!(error.starts_with("controllers[0].watches[5].map.field: "), "{error}");
}

#[test]
fn numbers_out_of_their_range_are_named_with_the_range() {
    for wrong in [0, 1001] {
        let error = error_of("/controllers/0/concurrency", json!(wrong));
        assert_eq!(error, "controllers[0].concurrency: must be from 1 to 1000");
    }
    let error = error_of("/limits/memoryMiB", json!(4096));
    assert_eq!(error, "limits.memoryMiB: must be from 1 to 256");
    let error = error_of("/controllers/0/concurrency", json!("four"));
    assert!(error.contains("expected a whole number"), "{error}");
}

#[test]
fn a_version_with_its_group_is_told_where_the_group_stands() {
    let error = error_of("/controllers/0/kind/version", json!("apps/v1"));
    assert!(error.ends_with("the group stands in `group`"), "{error}");
}

#[test]
fn two_controllers_of_one_name_are_refused() {
    let error = error_of("/controllers/1/name", json!("greeting"));
    assert!(
        error.starts_with("controllers[1].name: another controller is named `greeting`, too"),
        "{error}"
    );
}

#[test]
fn a_plugin_without_controllers_is_refused() {
    let error = parse(&with(least_manifest(), "/controllers", json!([]))).unwrap_err();
    assert!(error.starts_with("controllers: "), "{error}");
}

#[test]
fn a_kind_watched_twice_by_one_controller_is_refused() {
    let watch = json!({"kind": {"group": "", "version": "v1", "kind": "ConfigMap"}, "map": "same-name"});
    let error = error_of("/controllers/0/watches/7", watch);
    assert!(
        error.starts_with("controllers[0].watches[7].kind: v1 ConfigMap is watched twice"),
        "{error}"
    );
}

#[test]
fn a_mapping_by_an_index_that_is_not_there_is_refused_with_the_mend() {
    let error = error_of("/controllers/0/watches/1/map", json!({"index": "by-confg"}));
    assert_eq!(
        error,
        "controllers[0].watches[1].map: there is no index `by-confg` over the primary kind demo.pilothouse.dev/v1 \
         Greeting; did you mean `by-config`?"
    );
    let secrets = json!({"name": "by-uid", "kind": {"group": "", "version": "v1", "kind": "Secret"}, "paths": ["a"]});
    let manifest = with(whole_manifest(), "/indexes/1", secrets);
    let error = parse(&with(
        manifest,
        "/controllers/0/watches/1/map",
        json!({"index": "by-uid"}),
    ))
    .unwrap_err();
    assert!(
        error.contains("the index `by-uid` is over v1 Secret; a mapping needs one over the primary kind"),
        "{error}"
    );
}

#[test]
fn an_index_over_a_kind_that_nobody_watches_is_refused() {
    let pods = json!({"name": "pods", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "paths": ["a"]});
    let error = error_of("/indexes/1", pods);
    assert!(
        error.starts_with("indexes[1].kind: no controller watches v1 Pod"),
        "{error}"
    );
}

#[test]
fn two_indexes_of_one_name_over_one_kind_are_refused() {
    let again = whole_manifest()["indexes"][0].clone();
    let error = error_of("/indexes/1", again);
    assert!(error.starts_with("indexes[1].name: another index"), "{error}");
}

#[test]
fn a_watched_kind_that_is_not_asked_for_is_refused_with_the_permission_to_add() {
    let error = parse(&with(least_manifest(), "/permissions", json!([]))).unwrap_err();
    assert_eq!(
        error,
        "controllers[0].kind: watching v1 ConfigMap is not asked for; add to `permissions`: {group: \"\", kind: \
         ConfigMap, verbs: [watch]}"
    );
    // Asked for in one namespace, watched in two.
    let manifest = with(least_manifest(), "/permissions/0/namespaces", json!(["a"]));
    assert!(parse(&with(manifest.clone(), "/controllers/0/namespaces", json!(["a"]))).is_ok());
    let error = parse(&with(manifest, "/controllers/0/namespaces", json!(["a", "b"]))).unwrap_err();
    assert!(error.ends_with(r#"verbs: [watch], namespaces: ["b"]}"#), "{error}");
}

#[test]
fn one_kind_has_one_scope() {
    let error = error_of("/controllers/1/scope", json!("Cluster"));
    let expected =
        "controllers[1].scope: v1 ConfigMap is Cluster here and Namespaced in controllers[0].watches[0].scope";
    assert!(error.starts_with(expected), "{error}");
}

#[test]
fn namespaces_of_a_kind_that_lives_in_none_are_refused() {
    let manifest = with(least_manifest(), "/controllers/0/scope", json!("Cluster"));
    let error = parse(&with(manifest, "/controllers/0/namespaces", json!(["a"]))).unwrap_err();
    assert!(error.starts_with("controllers[0].namespaces: "), "{error}");
}

#[test]
fn a_back_off_that_begins_above_its_end_is_refused() {
    let error = error_of("/controllers/0/backoff", json!({"baseMs": 10, "maxMs": 9}));
    assert!(
        error.starts_with("controllers[0].backoff: baseMs (10) is greater than maxMs (9)"),
        "{error}"
    );
}

#[test]
fn a_repeated_verb_or_predicate_or_field_is_refused() {
    assert!(error_of("/permissions/0/verbs", json!(["watch", "watch"])).starts_with("permissions[0].verbs"));
    assert!(
        error_of("/controllers/0/predicates", json!(["labels", "labels"])).starts_with("controllers[0].predicates")
    );
    let error = Manifest::parse(r#"{"name": "a", "name": "b"}"#)
        .unwrap_err()
        .to_string();
    assert!(error.contains("duplicate field `name`"), "{error}");
}

#[test]
fn everything_that_contradicts_itself_is_told_at_once_and_bounded() {
    let mut manifest = with(least_manifest(), "/permissions", json!([]));
    for i in 1..40 {
        let controller = json!({"name": format!("c{i}"), "kind": {"group": "", "version": "v1", "kind": "Pod"}});
        manifest = with(manifest, &format!("/controllers/{i}"), controller);
    }
    assert_eq!(Manifest::parse(&manifest.to_string()).unwrap_err().problems.len(), 20);
}

#[test]
fn too_much_of_anything_is_refused() {
    let controllers: Vec<Value> = (0..65)
        .map(|i| json!({"name": format!("c{i}"), "kind": {"group": "", "version": "v1", "kind": "ConfigMap"}}))
        .collect();
    let error = error_of("/controllers", Value::from(controllers));
    assert_eq!(error, "controllers: has 65 entries; at most 64 are allowed");
    let long = format!("{}{}", whole_manifest(), " ".repeat(MAX_MANIFEST_BYTES));
    let error = Manifest::parse(&long).unwrap_err().to_string();
    assert!(error.contains("at most 262144 are allowed"), "{error}");
}

#[test]
fn what_is_no_json_is_refused_with_the_place() {
    for text in [
        "",
        "{",
        "nope",
        "[]",
        "{\"name\": 1}x",
        "\u{0}",
        "{\"a\":",
        "\"\\ud800\"",
    ] {
        assert!(Manifest::parse(text).is_err(), "{text:?}");
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(Manifest::parse(&deep).is_err());
    let trailing = format!("{} x", least_manifest());
    assert!(
        Manifest::parse(&trailing)
            .unwrap_err()
            .to_string()
            .contains("trailing characters"),
        "{trailing}"
    );
}

#[test]
fn control_characters_of_a_manifest_never_reach_the_message() {
    for (pointer, value) in [
        ("/controllers/0/name", json!("\u{1b}[31mred")),
        ("/controllers/0/\u{1b}[31m", json!(1)),
        ("/controllers/0/selector", json!("a in (\u{1b}[31m")),
        ("/controllers/0/changes", json!(["a[\u{1b}"])),
        ("/controllers/0/watches/0/map", json!({"\u{1b}[31m": 1})),
        ("/configSchema", json!({"properties": {"\u{1b}": {"type": "\u{1b}"}}})),
    ] {
        let error = error_of(pointer, value);
        assert!(!error.contains('\u{1b}'), "{error:?}");
    }
}
