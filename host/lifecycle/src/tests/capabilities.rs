use pilothouse_object::Gvk;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use crate::Config;
use crate::capabilities::{Capabilities, Extent, Lacking};
use crate::grant::{Grant, Granted, GrantedVerb, Grants, missing};
use crate::paste::grants_of_config;
use crate::permission::{Permission, Verb};

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
fn a_refusal_says_who_mends_it_and_how() {
    let granted = grant(r#"{"group": "", "kind": "ConfigMap", "verbs": ["watch"]}"#);
    let own = Capabilities::new("greeting", &[permission(ASKED)], &only(vec![granted]));
    let kind = config_map();
    assert_eq!(
        own.allows(Verb::Create, &kind, Some("team-a"), Some("x"), None)
            .unwrap_err()
            .to_string(),
        "plugin greeting may not create ConfigMap \"x\" in namespace \"team-a\": it was not granted; the operator adds \
         to `grants`, in greeting.yaml or under plugins.greeting: - {group: \"\", kind: ConfigMap, verbs: [create], namespaces: [\"team-a\"]}"
    );
    let deployments = Gvk::new("apps", "v1", "Deployment");
    assert_eq!(
        own.allows(Verb::Patch, &deployments, Some("a"), Some("x"), Some("scale"))
            .unwrap_err()
            .to_string(),
        "plugin greeting may not patch Deployment.apps/scale \"x\" in namespace \"a\": its manifest does not ask for it; \
         the plugin's author adds to the manifest's permissions: {group: \"apps\", kind: Deployment, verbs: [patch], \
         namespaces: [\"a\"], subresources: [\"scale\"]}"
    );
    let hostile = own
        .allows(Verb::Get, &kind, Some("a\u{1b}[31m"), Some(&"x".repeat(10_000)), None)
        .unwrap_err();
    assert!(
        !hostile.to_string().contains('\u{1b}') && hostile.to_string().len() < 1500,
        "{hostile}"
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

/// Group, kind, verb, subresource.
const DANGERS: [(&str, &str, Verb, Option<&str>); 42] = [
    ("", "Pod", Verb::Create, None),
    ("", "Pod", Verb::Patch, None),
    ("", "Pod", Verb::Delete, None),
    ("", "Pod", Verb::Patch, Some("status")),
    ("", "Pod", Verb::Create, Some("exec")),
    ("", "Pod", Verb::Get, Some("exec")),
    ("", "Pod", Verb::Get, Some("attach")),
    ("", "Pod", Verb::Create, Some("portforward")),
    ("", "Pod", Verb::Get, Some("proxy")),
    ("", "Pod", Verb::Patch, Some("ephemeralcontainers")),
    ("", "Pod", Verb::Create, Some("eviction")),
    ("", "Pod", Verb::Create, Some("binding")),
    ("", "Service", Verb::Get, Some("proxy")),
    ("", "Node", Verb::Get, Some("proxy")),
    ("", "Node", Verb::Patch, None),
    ("", "PodTemplate", Verb::Create, None),
    ("", "ReplicationController", Verb::Create, None),
    ("", "ServiceAccount", Verb::Create, Some("token")),
    ("", "ServiceAccount", Verb::Create, None),
    ("", "Secret", Verb::Create, None),
    ("", "Secret", Verb::Patch, None),
    ("", "Secret", Verb::Replace, None),
    ("", "Secret", Verb::Delete, None),
    ("", "Namespace", Verb::Delete, None),
    ("", "Endpoints", Verb::Patch, None),
    ("discovery.k8s.io", "EndpointSlice", Verb::Create, None),
    ("", "PersistentVolume", Verb::Create, None),
    ("apps", "Deployment", Verb::Create, None),
    ("apps", "DaemonSet", Verb::Patch, None),
    ("apps", "StatefulSet", Verb::Replace, None),
    ("apps", "ReplicaSet", Verb::Patch, None),
    ("batch", "Job", Verb::Create, None),
    ("batch", "CronJob", Verb::Patch, None),
    ("rbac.authorization.k8s.io", "Role", Verb::Create, None),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding", Verb::Patch, None),
    (
        "admissionregistration.k8s.io",
        "MutatingWebhookConfiguration",
        Verb::Create,
        None,
    ),
    (
        "admissionregistration.k8s.io",
        "ValidatingAdmissionPolicy",
        Verb::Delete,
        None,
    ),
    ("certificates.k8s.io", "CertificateSigningRequest", Verb::Create, None),
    (
        "certificates.k8s.io",
        "CertificateSigningRequest",
        Verb::Replace,
        Some("approval"),
    ),
    ("apiextensions.k8s.io", "CustomResourceDefinition", Verb::Patch, None),
    ("apiregistration.k8s.io", "APIService", Verb::Create, None),
    ("authentication.k8s.io", "TokenReview", Verb::Create, None),
];

#[test]
fn what_is_dangerous_takes_a_grant_under_dangerous_that_names_it() {
    for (group, kind, verb, subresource) in DANGERS {
        let part = subresource.map_or(String::new(), |name| format!(r#", "subresources": ["{name}"]"#));
        let entry = |subresources: &str| {
            format!(r#"{{"group": "{group}", "kind": "{kind}", "verbs": ["{verb}"], "names": ["n"]{subresources}}}"#)
        };
        let asked = [permission(&entry(&part))];
        let gvk = Gvk::new(group, "v1", kind);
        let allows = |granted: &Granted| {
            let own = Capabilities::new("x", &asked, granted);
            let there = own.allows(verb, &gvk, Some("a"), Some("n"), subresource);
            assert_eq!(there.is_ok(), missing(&asked, granted).is_empty(), "{verb} {gvk}");
            there
        };
        let plain = [
            grant(&entry(&part)),
            grant(&entry(r#", "subresources": ["*"]"#)),
            grant(&entry("")),
        ];
        for granted in [only(plain.to_vec()), Grants::Asked.into()] {
            let denied = allows(&granted).unwrap_err();
            assert_eq!(denied.lacking, Lacking::Dangerous, "{denied}");
            assert!(
                denied
                    .to_string()
                    .contains("to `dangerous`, in x.yaml or under plugins.x: - {"),
                "{denied}"
            );
        }
        assert_eq!(allows(&dangerous(&[&entry(&part)])), Ok(()));
        assert_eq!(allows(&Grants::Everything.into()), Ok(()));
    }
}

#[test]
fn what_only_looks_or_counts_is_not_dangerous() {
    for entry in [
        r#"{"group": "apps", "kind": "Deployment", "verbs": ["get", "list", "watch"]}"#,
        r#"{"group": "apps", "kind": "Deployment", "verbs": ["patch", "replace"], "subresources": ["scale", "status"]}"#,
        r#"{"group": "", "kind": "Pod", "verbs": ["get", "list", "watch"]}"#,
        r#"{"group": "", "kind": "Pod", "verbs": ["get"], "subresources": ["log", "status"]}"#,
        r#"{"group": "", "kind": "Secret", "verbs": ["list", "watch"]}"#,
        r#"{"group": "", "kind": "ConfigMap", "verbs": ["create", "patch", "replace", "delete"]}"#,
        r#"{"group": "policy", "kind": "PodDisruptionBudget", "verbs": ["create"]}"#,
        r#"{"group": "", "kind": "Service", "verbs": ["create", "patch", "replace", "delete"]}"#,
        r#"{"group": "discovery.k8s.io", "kind": "EndpointSlice", "verbs": ["get", "list", "watch"]}"#,
    ] {
        let asked = [permission(entry)];
        assert_eq!(missing(&asked, &only(vec![grant(entry)])), [], "{entry}");
        assert_eq!(missing(&asked, &Grants::Asked.into()), [], "{entry}");
    }
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
fn the_hosts_own_namespace_is_written_to_only_where_a_dangerous_grant_names_it() {
    let text = r#"{"group": "", "kind": "ConfigMap", "verbs": ["get", "create", "patch", "delete"]}"#;
    let in_own = text.replace('}', r#", "namespaces": ["a", "own"]}"#);
    let asked = [permission(text), permission(&in_own)];
    let at_home = |granted: Granted| Granted {
        host_namespace: Some("own".to_owned()),
        ..granted
    };
    let may = |granted: &Granted, verb, namespace| {
        Capabilities::new("x", &asked, granted).allows(verb, &config_map(), Some(namespace), Some("n"), None)
    };
    let everywhere = dangerous(&[text]).dangerous;
    for granted in [
        at_home(only(vec![grant(text), grant(&in_own)])),
        at_home(Grants::Asked.into()),
        // Everywhere is no name.
        at_home(Granted {
            dangerous: everywhere,
            ..only(vec![grant(text)])
        }),
    ] {
        for verb in [Verb::Create, Verb::Patch, Verb::Delete] {
            assert_eq!(may(&granted, verb, "a"), Ok(()));
            let denied = may(&granted, verb, "own").unwrap_err();
            assert_eq!(denied.lacking, Lacking::Dangerous);
        }
        assert_eq!(may(&granted, Verb::Get, "own"), Ok(()));
        let lacking = missing(&asked, &granted);
        assert_eq!(
            lacking.len(),
            1,
            "what names no namespace asks for wherever it is granted"
        );
        assert_eq!(lacking[0].namespaces, ["own"]);
        assert_eq!(lacking[0].verbs, [Verb::Create, Verb::Patch, Verb::Delete]);
    }
    let named = r#"{"group": "", "kind": "ConfigMap", "verbs": ["create", "patch", "delete"], "namespaces": ["own"]}"#;
    let granted = at_home(Granted {
        dangerous: dangerous(&[named]).dangerous,
        ..only(vec![grant(text)])
    });
    assert_eq!(may(&granted, Verb::Patch, "own"), Ok(()));
    assert_eq!(missing(&asked, &granted), []);
    assert_eq!(may(&at_home(Grants::Everything.into()), Verb::Patch, "own"), Ok(()));
}

#[test]
fn config_maps_that_rule_the_cluster_are_written_only_where_a_dangerous_grant_names_their_namespace() {
    let text = r#"{"group": "", "kind": "ConfigMap", "verbs": ["get", "create", "patch", "replace", "delete"]}"#;
    let writes = [Verb::Create, Verb::Patch, Verb::Replace, Verb::Delete];
    for namespace in ["kube-system", "kube-public"] {
        let there = text.replace('}', &format!(r#", "namespaces": ["a", "{namespace}"]}}"#));
        let asked = [permission(text), permission(&there)];
        let may = |granted: &Granted, verb, namespace| {
            Capabilities::new("x", &asked, granted).allows(verb, &config_map(), Some(namespace), Some("n"), None)
        };
        let everywhere = dangerous(&[text]);
        for granted in [only(vec![grant(text), grant(&there)]), Grants::Asked.into(), everywhere] {
            for verb in writes {
                assert_eq!(may(&granted, verb, "a"), Ok(()));
                let denied = may(&granted, verb, namespace).unwrap_err();
                assert_eq!(denied.lacking, Lacking::Dangerous, "{denied}");
            }
            assert_eq!(may(&granted, Verb::Get, namespace), Ok(()));
            let lacking = missing(&asked, &granted);
            assert_eq!(lacking.len(), 1, "an ordinary plugin asks for no namespace");
            assert_eq!(lacking[0].namespaces, [namespace]);
            assert_eq!(lacking[0].verbs, writes);
        }
        let text_to_paste = format!(
            "apiVersion: pilothouse.dev/v1\n{}\n",
            grants_of_config("x", &asked, None)
        );
        let pasted = Config::parse(&text_to_paste, "x.yaml".as_ref())
            .unwrap()
            .plugin("x")
            .granted();
        assert_eq!(missing(&asked, &pasted), [], "{text_to_paste}");
        assert_eq!(may(&pasted, Verb::Patch, namespace), Ok(()));
        assert_eq!(may(&Grants::Everything.into(), Verb::Patch, namespace), Ok(()));
        let other = if namespace == "kube-system" {
            "kube-public"
        } else {
            "kube-system"
        };
        assert!(may(&pasted, Verb::Patch, other).is_err(), "each by name");
    }
}

#[test]
fn what_may_be_written_where_it_takes_a_word_of_its_own_is_not_within_what_lacks_that_word() {
    let text = r#"{"group": "", "kind": "ConfigMap", "verbs": ["patch"]}"#;
    let there = text.replace('}', r#", "namespaces": ["a", "kube-system"]}"#);
    let asked = [permission(text)];
    let under = |granted: &Granted| Capabilities::new("x", &asked, granted);
    let plain = under(&only(vec![grant(text)]));
    let named = under(&dangerous(&[&there]));
    let both = under(&Granted {
        dangerous: dangerous(&[&there]).dangerous,
        ..only(vec![grant(text)])
    });
    assert!(!named.is_within(&plain));
    assert!(named.is_within(&both) && plain.is_within(&both) && !both.is_within(&plain));
    let in_a = under(&dangerous(&[&text.replace('}', r#", "namespaces": ["a"]}"#)]));
    assert!(in_a.is_within(&plain) && in_a.is_within(&named));
    let everything = under(&Grants::Everything.into());
    assert!(both.is_within(&everything) && !everything.is_within(&both));
}

#[test]
fn a_dangerous_grant_with_a_star_is_refused() {
    for entry in [
        r#"{group: "*", kind: Pod, verbs: [create]}"#,
        r#"{group: "", kind: "*", verbs: [create]}"#,
        r#"{group: "", kind: Pod, verbs: ["*"]}"#,
        r#"{group: "", kind: Pod, verbs: [create], subresources: ["*"]}"#,
    ] {
        let text = format!("apiVersion: pilothouse.dev/v1\nplugins: {{x: {{dangerous: [{entry}]}}}}");
        let error = Config::parse(&text, "x.yaml".as_ref()).unwrap_err().to_string();
        assert!(
            error.contains("name the group, the kind, the verbs and the subresources"),
            "{error}"
        );
    }
    let text = "apiVersion: pilothouse.dev/v1\nplugins: {x: {dangerous: asked}}";
    let error = Config::parse(text, "x.yaml".as_ref()).unwrap_err().to_string();
    assert!(error.contains("is granted by name"), "{error}");
}

#[test]
fn what_is_missing_is_told_to_the_last_verb_namespace_and_name() {
    let asked = [
        permission(r#"{"group": "", "kind": "ConfigMap", "verbs": ["watch", "create"], "namespaces": ["a", "b"]}"#),
        permission(r#"{"group": "", "kind": "Service", "verbs": ["watch"]}"#),
        permission(r#"{"group": "", "kind": "Secret", "verbs": ["get"], "names": ["x", "y"]}"#),
    ];
    let granted = only(vec![
        grant(r#"{"group": "", "kind": "ConfigMap", "verbs": ["*"], "namespaces": ["a"]}"#),
        grant(r#"{"group": "", "kind": "ConfigMap", "verbs": ["watch"], "namespaces": ["*"]}"#),
        // Asked for wherever it is granted: one namespace is enough.
        grant(r#"{"group": "", "kind": "Service", "verbs": ["watch"], "namespaces": ["a"]}"#),
        grant(r#"{"group": "", "kind": "Secret", "verbs": ["get"], "names": ["x"]}"#),
    ]);
    let lacking = missing(&asked, &granted);
    assert_eq!(
        lacking,
        [
            permission(r#"{"group": "", "kind": "ConfigMap", "verbs": ["create"], "namespaces": ["b"]}"#),
            permission(r#"{"group": "", "kind": "Secret", "verbs": ["get"], "names": ["x", "y"]}"#),
        ]
    );
}

#[test]
fn the_lines_to_paste_are_a_config_file_that_grants_it() {
    let asked = [
        permission(
            r#"{"group": "", "kind": "Secret", "verbs": ["get"], "namespaces": ["1", "on"], "names": ["system:x", "0x1"]}"#,
        ),
        permission(
            r#"{"group": "apps", "kind": "Deployment", "verbs": ["patch", "watch"], "subresources": ["scale"]}"#,
        ),
    ];
    let text = format!(
        "apiVersion: pilothouse.dev/v1\n{}\n",
        grants_of_config("greeting", &asked, None)
    );
    let config = Config::parse(&text, "pilothouse.yaml".as_ref()).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let granted = config.plugin("greeting").granted();
    assert!(missing(&asked, &granted).is_empty(), "{text}");
    assert_eq!(missing(&asked, &Granted::default()), asked);
}

#[test]
fn the_lines_to_paste_have_what_is_dangerous_apart_with_the_reason() {
    let asked = [
        permission(r#"{"group": "", "kind": "ConfigMap", "verbs": ["watch", "patch"], "namespaces": ["a", "own"]}"#),
        permission(
            r#"{"group": "", "kind": "Pod", "verbs": ["watch", "get", "patch"], "subresources": ["status", "exec", "log"]}"#,
        ),
        permission(r#"{"group": "", "kind": "Secret", "verbs": ["get", "digest", "create"]}"#),
    ];
    assert_eq!(
        crate::grants_of_file(&asked, Some("own")),
        r#"grants:
- {group: "", kind: ConfigMap, verbs: [watch], namespaces: ["a", "own"]}
- {group: "", kind: ConfigMap, verbs: [patch], namespaces: ["a"]}
- {group: "", kind: Pod, verbs: [watch]}
- {group: "", kind: Pod, verbs: [get], subresources: ["status", "log"]}
dangerous:
# in the host's own namespace: who writes there may change the host, and with it every grant
- {group: "", kind: ConfigMap, verbs: [patch], namespaces: ["own"]}
# its pods run as any service account of the namespace and see its Secrets
- {group: "", kind: Pod, verbs: [patch], subresources: ["status", "log"]}
# runs commands in others' containers
- {group: "", kind: Pod, verbs: [get, patch], subresources: ["exec"]}
# every Secret there is, and not some by their names
- {group: "", kind: Secret, verbs: [get, digest]}
# what trusts a Secret trusts who writes it, and some are filled with a service account's token
- {group: "", kind: Secret, verbs: [create]}"#
    );
    assert_eq!(
        crate::grants_of_file(&asked[2..], None).lines().next(),
        Some("grants: []")
    );
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
fn what_is_held_is_shown_in_sorted_lines_each_once_and_the_rest_is_counted() {
    let asked = [
        permission(r#"{"group": "x.io", "kind": "Thing", "verbs": ["patch", "get"], "subresources": ["status"]}"#),
        permission(r#"{"group": "", "kind": "ConfigMap", "verbs": ["watch", "patch"]}"#),
    ];
    let granted = Granted {
        host_namespace: Some("own".to_owned()),
        ..only(vec![
            grant(r#"{"group": "", "kind": "ConfigMap", "verbs": ["*"], "namespaces": ["own", "a"]}"#),
            grant(r#"{"group": "", "kind": "ConfigMap", "verbs": ["*"], "namespaces": ["a", "own"]}"#),
            grant(r#"{"group": "", "kind": "ConfigMap", "verbs": ["patch"], "namespaces": ["kube-system"]}"#),
            grant(r#"{"group": "x.io", "kind": "*", "verbs": ["patch"], "names": ["n"], "subresources": ["*"]}"#),
            grant(r#"{"group": "", "kind": "Secret", "verbs": ["list"]}"#),
        ])
    };
    let lines = [
        r#"{group: "", kind: ConfigMap, verbs: [watch], namespaces: ["a", "own"]}"#,
        r#"{group: "", kind: ConfigMap, verbs: [patch], namespaces: ["a"]}"#,
        r#"{group: "x.io", kind: Thing, verbs: [patch], names: ["n"], subresources: ["status"]}"#,
    ];
    let own = Capabilities::new("x", &asked, &granted);
    assert_eq!(own.lines(3), (lines.map(str::to_owned).to_vec(), 0));
    assert_eq!(own.lines(1), (vec![lines[0].to_owned()], 2));
    let named = r#"{"group": "", "kind": "ConfigMap", "verbs": ["patch"], "namespaces": ["own", "kube-system"]}"#;
    let named = Granted {
        host_namespace: Some("own".to_owned()),
        ..dangerous(&[named])
    };
    assert_eq!(
        Capabilities::new("x", &asked, &named).lines(9).0,
        [r#"{group: "", kind: ConfigMap, verbs: [patch], namespaces: ["kube-system", "own"]}"#]
    );
    assert_eq!(
        Capabilities::new("x", &asked, &Granted::default()).lines(9),
        (Vec::new(), 0)
    );
}

// Small worlds, so that what is asked, granted and wanted meets often.
const GROUPS: [&str; 2] = ["", "x.io"];
const KINDS: [&str; 3] = ["Secret", "ConfigMap", "Thing"];
const PLACES: [&str; 3] = ["a", "kube-system", "c"];
const NAMES: [&str; 3] = ["n", "m", "o"];
const SUBRESOURCES: [&str; 3] = ["status", "scale", "exec"];
/// The namespace of the host.
const HOME: &str = "c";

fn some(of: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    subsequence(of.to_vec(), 0..=2).prop_map(|some| some.into_iter().map(str::to_owned).collect())
}

fn some_or_star(of: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    prop_oneof![4 => some(of), 1 => Just(vec!["*".to_owned()])]
}

fn any_permission() -> impl Strategy<Value = Permission> {
    let verbs = subsequence(Verb::ALL.to_vec(), 1..=8);
    (
        select(&GROUPS[..]),
        select(&KINDS[..]),
        verbs,
        some(&PLACES),
        some(&NAMES),
        some(&SUBRESOURCES),
    )
        .prop_map(|(group, kind, verbs, namespaces, names, subresources)| Permission {
            group: group.to_owned(),
            kind: kind.to_owned(),
            verbs,
            namespaces,
            names,
            subresources,
        })
}

fn any_grant() -> impl Strategy<Value = Grant> {
    let all = [
        GrantedVerb::Get,
        GrantedVerb::List,
        GrantedVerb::Watch,
        GrantedVerb::Digest,
        GrantedVerb::Create,
        GrantedVerb::Patch,
        GrantedVerb::Replace,
        GrantedVerb::Delete,
        GrantedVerb::All,
    ];
    let group = prop_oneof![3 => select(&GROUPS[..]), 1 => Just("*")];
    let kind = prop_oneof![3 => select(&KINDS[..]), 1 => Just("*")];
    let verbs = subsequence(all.to_vec(), 1..=4);
    (
        group,
        kind,
        verbs,
        some_or_star(&PLACES),
        some_or_star(&NAMES),
        some_or_star(&SUBRESOURCES),
        any::<bool>(),
    )
        .prop_map(
            |(group, kind, verbs, namespaces, names, subresources, dangerous)| Grant {
                dangerous,
                group: group.to_owned(),
                kind: kind.to_owned(),
                verbs,
                namespaces,
                names,
                subresources,
            },
        )
}

type Wanted = (
    Verb,
    &'static str,
    &'static str,
    Option<&'static str>,
    Option<&'static str>,
    Option<&'static str>,
);

fn any_call() -> impl Strategy<Value = Wanted> {
    (
        select(&Verb::ALL[..]),
        select(&GROUPS[..]),
        select(&KINDS[..]),
        proptest::option::of(select(&PLACES[..])),
        proptest::option::of(select(&NAMES[..])),
        proptest::option::weighted(0.3, select(&SUBRESOURCES[..])),
    )
}

/// The meaning of one entry, written down a second time and as plainly as can be. `star` tells grants.
fn entry_covers(
    (group, kind, verbs): (&str, &str, &[Verb]),
    (namespaces, names, subresources): (&[String], &[String], &[String]),
    star: bool,
    wanted: Wanted,
) -> bool {
    let (verb, wanted_group, wanted_kind, namespace, name, subresource) = wanted;
    let sensitive = wanted_group.is_empty() && wanted_kind == "Secret";
    let by_name = group == wanted_group && kind == wanted_kind;
    let by_star = (group == wanted_group || group == "*") && (kind == wanted_kind || kind == "*");
    if !(by_name || (star && by_star && !sensitive)) || !verbs.contains(&verb) {
        return false;
    }
    let within = |list: &[String], one: Option<&str>| match one {
        _ if list.is_empty() || (star && list.contains(&"*".to_owned())) => true,
        None => false,
        Some(one) => list.contains(&one.to_owned()),
    };
    let about_objects = subresources.is_empty() || matches!(verb, Verb::List | Verb::Watch | Verb::Digest);
    let right_part = match subresource {
        None => about_objects,
        Some(part) => {
            let by_star = star && subresources.contains(&"*".to_owned());
            !matches!(verb, Verb::List | Verb::Watch | Verb::Digest)
                && (subresources.contains(&part.to_owned()) || by_star)
        }
    };
    right_part && within(namespaces, namespace) && within(names, name)
}

fn asked_for(p: &Permission, wanted: Wanted) -> bool {
    entry_covers(
        (&p.group, &p.kind, &p.verbs),
        (&p.namespaces, &p.names, &p.subresources),
        false,
        wanted,
    )
}

fn granted(g: &Grant, wanted: Wanted) -> bool {
    let verbs: Vec<Verb> = Verb::ALL
        .into_iter()
        .filter(|verb| g.verbs.iter().any(|own| own.covers(*verb)))
        .collect();
    let (verb, group, kind, namespace, _, subresource) = wanted;
    let is_secret = group.is_empty() && kind == "Secret";
    let writes = matches!(verb, Verb::Create | Verb::Patch | Verb::Replace | Verb::Delete);
    let shows = is_secret && matches!(verb, Verb::Get | Verb::Digest);
    let by_name = !g.names.is_empty() && !g.names.contains(&"*".to_owned());
    let is_dangerous = subresource == Some("exec") || (is_secret && writes) || (shows && !by_name);
    if is_dangerous && !g.dangerous {
        return false;
    }
    let touches_home = namespace == Some(HOME) && (writes || (is_secret && verb == Verb::Get));
    let touches_cluster = namespace == Some("kube-system") && group.is_empty() && kind == "ConfigMap" && writes;
    let named = |place: &str| g.dangerous && g.namespaces.contains(&place.to_owned());
    if (touches_home && !named(HOME)) || (touches_cluster && !named("kube-system")) {
        return false;
    }
    entry_covers(
        (&g.group, &g.kind, &verbs),
        (&g.namespaces, &g.names, &g.subresources),
        true,
        wanted,
    )
}

/// These grants, to a plugin of a host that runs in [`HOME`].
fn at_home(grants: Vec<Grant>) -> Granted {
    let (dangerous, plain) = grants.into_iter().partition(|grant| grant.dangerous);
    Granted {
        plain: Grants::Only(plain),
        dangerous,
        host_namespace: Some(HOME.to_owned()),
    }
}

fn allowed(own: &Capabilities, (verb, group, kind, namespace, name, subresource): Wanted) -> bool {
    own.allows(verb, &Gvk::new(group, "v1", kind), namespace, name, subresource)
        .is_ok()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn capabilities_are_exactly_what_one_entry_asks_and_one_entry_grants(
        asked in proptest::collection::vec(any_permission(), 0..4),
        grants in proptest::collection::vec(any_grant(), 0..4),
        calls in proptest::collection::vec(any_call(), 20),
    ) {
        let own = Capabilities::new("x", &asked, &at_home(grants.clone()));
        for wanted in calls {
            let by_asked = asked.iter().any(|p| asked_for(p, wanted));
            let by_granted = grants.iter().any(|g| granted(g, wanted));
            prop_assert_eq!(allowed(&own, wanted), by_asked && by_granted, "{:?}", wanted);
        }
    }

    #[test]
    fn granting_everything_allows_what_is_asked_and_nothing_more(
        asked in proptest::collection::vec(any_permission(), 0..4),
        calls in proptest::collection::vec(any_call(), 20),
    ) {
        let own = Capabilities::new("x", &asked, &Granted { plain: Grants::Everything, ..at_home(Vec::new()) });
        for wanted in calls {
            prop_assert_eq!(allowed(&own, wanted), asked.iter().any(|p| asked_for(p, wanted)));
        }
    }

    #[test]
    fn where_nothing_is_missing_every_place_and_name_that_was_asked_for_is_allowed(
        asked in proptest::collection::vec(any_permission(), 1..4),
        grants in proptest::collection::vec(any_grant(), 0..6),
    ) {
        let granted = at_home(grants);
        let own = Capabilities::new("x", &asked, &granted);
        if missing(&asked, &granted).is_empty() {
            for permission in &asked {
                for &verb in &permission.verbs {
                    for namespace in &permission.namespaces {
                        for name in &permission.names {
                            let part = permission.subresources.first().filter(|_| verb.knows_subresources());
                            let kind = Gvk::new(&permission.group, "v1", &permission.kind);
                            let part = part.map(String::as_str);
                            prop_assert!(own.allows(verb, &kind, Some(namespace), Some(name), part).is_ok());
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn granting_what_was_missing_leaves_nothing_missing(
        asked in proptest::collection::vec(any_permission(), 1..4),
        grants in proptest::collection::vec(any_grant(), 0..4),
    ) {
        let lacking = missing(&asked, &at_home(grants.clone()));
        let text = format!("apiVersion: pilothouse.dev/v1\n{}\n", grants_of_config("x", &lacking, Some(HOME)));
        let more = Config::parse(&text, "x.yaml".as_ref()).unwrap().plugin("x").granted();
        if let Grants::Only(plain) = more.plain {
            let all = at_home(grants.into_iter().chain(plain).chain(more.dangerous).collect());
            prop_assert_eq!(missing(&asked, &all), []);
        }
    }
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
