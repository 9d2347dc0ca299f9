//! What plugins may do: what both sides have in common. Beside it: `danger`, `danger_table`,
//! `told`, `small_worlds`.

use pilothouse_object::Gvk;

use crate::Config;
use crate::capabilities::{Capabilities, Extent, Lacking};
use crate::grant::{Grant, Granted, GrantedVerb, Grants, missing};
use crate::paste::grants_of_config;
use crate::permission::{Permission, Verb};

mod danger;
mod danger_table;
mod small_worlds;
mod told;

fn permission(json: &str) -> Permission {
    serde_json::from_str(json).unwrap()
}

fn grant(json: &str) -> Grant {
    serde_json::from_str(json).unwrap()
}

/// These under `grants`, and nothing else.
fn only(grants: Vec<Grant>) -> Granted {
    Grants::Only(grants).into()
}

/// These under `dangerous`, and nothing else.
fn dangerous(json: &[&str]) -> Granted {
    let text = format!(
        "apiVersion: pilothouse.dev/v1\nplugins: {{x: {{dangerous: [{}]}}}}",
        json.join(", ")
    );
    Config::parse(&text, "x.yaml".as_ref()).unwrap().plugin("x").granted()
}

fn config_map() -> Gvk {
    Gvk::new("", "v1", "ConfigMap")
}

const ASKED: &str = r#"{"group": "", "kind": "ConfigMap", "verbs": ["watch", "create", "patch"]}"#;

#[test]
fn what_is_asked_for_and_granted_is_allowed_and_nothing_else() {
    let granted =
        grant(r#"{"group": "", "kind": "ConfigMap", "verbs": ["watch", "create", "delete"], "namespaces": ["a"]}"#);
    let own = Capabilities::new("greeting", &[permission(ASKED)], &only(vec![granted]));
    let kind = config_map();
    assert_eq!(own.allows(Verb::Create, &kind, Some("a"), Some("x"), None), Ok(()));
    assert_eq!(own.allows(Verb::Create, &kind, Some("a"), None, None), Ok(()));
    for (verb, namespace, lacking) in [
        (Verb::Patch, Some("a"), Lacking::Granted),
        (Verb::Delete, Some("a"), Lacking::Asked),
        (Verb::Create, Some("b"), Lacking::Granted),
        (Verb::Create, None, Lacking::Granted),
        (Verb::Get, Some("a"), Lacking::Asked),
    ] {
        let denied = own.allows(verb, &kind, namespace, Some("x"), None).unwrap_err();
        assert_eq!(denied.lacking, lacking, "{denied}");
    }
    let other = Gvk::new("example.com", "v1", "ConfigMap");
    assert_eq!(
        own.allows(Verb::Create, &other, Some("a"), Some("x"), None)
            .unwrap_err()
            .lacking,
        Lacking::Asked
    );
    // Permissions are about kinds of whatever version.
    assert_eq!(
        own.allows(
            Verb::Create,
            &Gvk::new("", "v9", "ConfigMap"),
            Some("a"),
            Some("x"),
            None
        ),
        Ok(())
    );
}

#[test]
fn subresources_need_permissions_of_their_own() {
    let asked = [
        permission(r#"{"group": "", "kind": "ConfigMap", "verbs": ["watch", "patch"], "subresources": ["status"]}"#),
        permission(r#"{"group": "", "kind": "ConfigMap", "verbs": ["get"]}"#),
    ];
    let own = Capabilities::new("greeting", &asked, &Grants::Asked.into());
    let kind = config_map();
    let allows = |verb, subresource| own.allows(verb, &kind, Some("a"), Some("x"), subresource).is_ok();
    assert!(allows(Verb::Patch, Some("status")));
    assert!(!allows(Verb::Patch, None), "asked for on the status alone");
    assert!(!allows(Verb::Patch, Some("scale")));
    assert!(allows(Verb::Watch, None), "a watch knows no subresources");
    assert!(allows(Verb::Get, None));
    assert!(!allows(Verb::Get, Some("status")));
}

#[test]
fn a_star_covers_no_sensitive_kind() {
    let reads = |kind: &str, group: &str| {
        permission(&format!(
            r#"{{"group": "{group}", "kind": "{kind}", "verbs": ["list", "watch"]}}"#
        ))
    };
    let star = only(vec![grant(r#"{"group": "*", "kind": "*", "verbs": ["*"]}"#)]);
    for (kind, group) in [
        ("Secret", ""),
        ("Pod", ""),
        ("ServiceAccount", ""),
        ("Deployment", "apps"),
        ("Job", "batch"),
        ("ClusterRoleBinding", "rbac.authorization.k8s.io"),
        ("ValidatingWebhookConfiguration", "admissionregistration.k8s.io"),
        ("CustomResourceDefinition", "apiextensions.k8s.io"),
        ("CertificateSigningRequest", "certificates.k8s.io"),
    ] {
        let asked = [reads(kind, group)];
        let gvk = Gvk::new(group, "v1", kind);
        let own = Capabilities::new("x", &asked, &star);
        assert!(own.allows(Verb::List, &gvk, Some("a"), None, None).is_err(), "{gvk}");
        assert_eq!(missing(&asked, &star), asked, "{gvk}");
        // Half a star is a star.
        for (g, k) in [(group, "*"), ("*", kind)] {
            let half = only(vec![grant(&format!(
                r#"{{"group": "{g}", "kind": "{k}", "verbs": ["*"]}}"#
            ))]);
            assert_eq!(missing(&asked, &half), asked, "{gvk}");
        }
        let named = only(vec![grant(&format!(
            r#"{{"group": "{group}", "kind": "{kind}", "verbs": ["*"]}}"#
        ))]);
        assert!(missing(&asked, &named).is_empty(), "to look at it takes no more: {gvk}");
    }
    let harmless = [reads("Greeting", "demo.pilothouse.dev")];
    assert!(missing(&harmless, &star).is_empty());
}

#[test]
fn the_data_and_the_digest_of_a_secret_take_its_name() {
    let secret = Gvk::new("", "v1", "Secret");
    for verb in [Verb::Get, Verb::Digest] {
        let entry = |names: &str| format!(r#"{{"group": "", "kind": "Secret", "verbs": ["{verb}"]{names}}}"#);
        let asked = [permission(&entry(""))];
        let may = |granted: &Granted, name| {
            Capabilities::new("x", &asked, granted).allows(verb, &secret, Some("a"), Some(name), None)
        };
        let named = only(vec![grant(&entry(r#", "names": ["open"]"#))]);
        assert_eq!(may(&named, "open"), Ok(()));
        let denied = may(&named, "other").unwrap_err().to_string();
        let mend = format!(
            r#"to `grants`, in x.yaml or under plugins.x: - {{group: "", kind: Secret, verbs: [{verb}], namespaces: ["a"], names: ["other"]}}"#
        );
        assert!(denied.ends_with(&mend), "{denied}");
        for all in [
            only(vec![grant(&entry(""))]),
            only(vec![grant(&entry(r#", "names": ["*"]"#))]),
            Grants::Asked.into(),
        ] {
            assert!(may(&all, "open").is_err());
            assert_eq!(missing(&asked, &all), asked);
        }
        let every_one = dangerous(&[&entry("")]);
        assert_eq!((may(&every_one, "open"), may(&every_one, "other")), (Ok(()), Ok(())));
    }
}

#[test]
fn the_reach_of_a_watch_is_what_both_sides_have_in_common() {
    let asked = [permission(
        r#"{"group": "", "kind": "ConfigMap", "verbs": ["watch"], "names": ["x", "y"]}"#,
    )];
    let granted = only(vec![
        grant(r#"{"group": "", "kind": "ConfigMap", "verbs": ["watch"], "namespaces": ["b", "a", "b"]}"#),
        grant(r#"{"group": "", "kind": "ConfigMap", "verbs": ["watch"], "names": ["y", "z"]}"#),
        grant(r#"{"group": "", "kind": "ConfigMap", "verbs": ["watch"], "names": ["z"]}"#),
    ]);
    let reach = Capabilities::new("x", &asked, &granted).reach(Verb::Watch, &config_map(), None);
    let only = |texts: &[&str]| Extent::Only(texts.iter().map(|text| (*text).into()).collect());
    assert_eq!(reach.len(), 2);
    assert_eq!(
        (&reach[0].namespaces, &reach[0].names),
        (&only(&["a", "b"]), &only(&["x", "y"]))
    );
    assert_eq!((&reach[1].namespaces, &reach[1].names), (&Extent::All, &only(&["y"])));
    let nothing = Capabilities::new("x", &asked, &Granted::default());
    assert!(nothing.reach(Verb::Watch, &config_map(), None).is_empty());
}

#[test]
fn capabilities_are_within_others_where_no_verb_namespace_or_name_of_them_is_missing_there() {
    let asked = [permission(
        r#"{"group": "", "kind": "ConfigMap", "verbs": ["watch", "patch"]}"#,
    )];
    let under = |grants: &[&str]| {
        let whole = |rest: &&str| grant(&format!(r#"{{"group": "", "kind": "ConfigMap", {rest}}}"#));
        Capabilities::new("p", &asked, &only(grants.iter().map(whole).collect()))
    };
    let everywhere = under(&[r#""verbs": ["*"]"#]);
    let in_one = under(&[r#""verbs": ["*"], "namespaces": ["a"]"#]);
    let named = under(&[r#""verbs": ["*"], "namespaces": ["a"], "names": ["x"]"#]);
    let split = under(&[
        r#""verbs": ["watch"], "namespaces": ["a"]"#,
        r#""verbs": ["patch"], "namespaces": ["a", "b"]"#,
    ]);
    let reading = under(&[r#""verbs": ["watch"]"#]);
    for (one, other, within) in [
        (&everywhere, &everywhere, true),
        (&everywhere, &in_one, false),
        (&in_one, &everywhere, true),
        (&in_one, &named, false),
        (&named, &in_one, true),
        (&in_one, &split, true),
        (&split, &in_one, false),
        (&everywhere, &reading, false),
        (&reading, &everywhere, true),
    ] {
        assert_eq!(one.is_within(other), within, "{one:?} within {other:?}");
    }
}

#[test]
fn capabilities_are_not_within_others_where_the_hosts_namespace_is_guarded_there_alone() {
    let text = r#"{"group": "", "kind": "ConfigMap", "verbs": ["patch"]}"#;
    let living = |home: Option<&str>| {
        let granted = Granted {
            host_namespace: home.map(str::to_owned),
            ..only(vec![grant(text)])
        };
        Capabilities::new("p", &[permission(text)], &granted)
    };
    let (unknown, own, other) = (living(None), living(Some("own")), living(Some("other")));
    for (one, another, within) in [
        // Whoever knows of no home guards none: there it may write where it would not here.
        (&unknown, &own, false),
        (&other, &own, false),
        (&own, &own, true),
        (&own, &unknown, true),
    ] {
        assert_eq!(one.is_within(another), within, "{one:?} within {another:?}");
    }
}
