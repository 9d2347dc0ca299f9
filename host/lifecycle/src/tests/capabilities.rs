use pilothouse_object::Gvk;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use crate::Config;
use crate::capabilities::{Capabilities, Extent, Lacking};
use crate::grant::{Grant, GrantedVerb, Grants, missing};
use crate::load::grants_to_paste;
use crate::permission::{Permission, Verb};

fn permission(json: &str) -> Permission {
    serde_json::from_str(json).unwrap()
}

fn grant(json: &str) -> Grant {
    serde_json::from_str(json).unwrap()
}

fn config_map() -> Gvk {
    Gvk::new("", "v1", "ConfigMap")
}

const ASKED: &str = r#"{"group": "", "kind": "ConfigMap", "verbs": ["watch", "create", "patch"]}"#;

#[test]
fn what_is_asked_for_and_granted_is_allowed_and_nothing_else() {
    let granted =
        grant(r#"{"group": "", "kind": "ConfigMap", "verbs": ["watch", "create", "delete"], "namespaces": ["a"]}"#);
    let own = Capabilities::new("greeting", &[permission(ASKED)], &Grants::Only(vec![granted]));
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
    let own = Capabilities::new("greeting", &[permission(ASKED)], &Grants::Only(vec![granted]));
    let kind = config_map();
    assert_eq!(
        own.allows(Verb::Create, &kind, Some("team-a"), Some("x"), None)
            .unwrap_err()
            .to_string(),
        "plugin greeting may not create ConfigMap \"x\" in namespace \"team-a\": it was not granted; the operator adds \
         under plugins.greeting.grants: - {group: \"\", kind: ConfigMap, verbs: [create], namespaces: [\"team-a\"]}"
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
    let own = Capabilities::new("greeting", &asked, &Grants::Asked);
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
fn a_star_covers_no_dangerous_kind_or_subresource() {
    let everything = |kind: &str, group: &str| {
        permission(&format!(
            r#"{{"group": "{group}", "kind": "{kind}", "verbs": ["get", "create"]}}"#
        ))
    };
    let star = Grants::Only(vec![grant(r#"{"group": "*", "kind": "*", "verbs": ["*"]}"#)]);
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
        let asked = [everything(kind, group)];
        let gvk = Gvk::new(group, "v1", kind);
        let own = Capabilities::new("x", &asked, &star);
        assert!(
            own.allows(Verb::Get, &gvk, Some("a"), Some("x"), None).is_err(),
            "{gvk}"
        );
        assert_eq!(missing(&asked, &star), asked, "{gvk}");
        // Half a star is a star.
        for (g, k) in [(group, "*"), ("*", kind)] {
            let half = Grants::Only(vec![grant(&format!(
                r#"{{"group": "{g}", "kind": "{k}", "verbs": ["*"]}}"#
            ))]);
            assert_eq!(missing(&asked, &half), asked, "{gvk}");
        }
        let named = Grants::Only(vec![grant(&format!(
            r#"{{"group": "{group}", "kind": "{kind}", "verbs": ["*"]}}"#
        ))]);
        assert!(missing(&asked, &named).is_empty(), "{gvk}");
    }
    let harmless = [everything("Greeting", "demo.pilothouse.dev")];
    assert!(missing(&harmless, &star).is_empty());
    let exec = [permission(
        r#"{"group": "x.io", "kind": "Box", "verbs": ["create"], "subresources": ["exec", "fill"]}"#,
    )];
    let star = Grants::Only(vec![grant(
        r#"{"group": "x.io", "kind": "Box", "verbs": ["*"], "subresources": ["*"]}"#,
    )]);
    assert_eq!(missing(&exec, &star)[0].subresources, ["exec"]);
}

#[test]
fn what_is_missing_is_told_to_the_last_verb_namespace_and_name() {
    let asked = [
        permission(r#"{"group": "", "kind": "ConfigMap", "verbs": ["watch", "create"], "namespaces": ["a", "b"]}"#),
        permission(r#"{"group": "", "kind": "Service", "verbs": ["watch"]}"#),
        permission(r#"{"group": "", "kind": "Secret", "verbs": ["get"], "names": ["x", "y"]}"#),
    ];
    let granted = Grants::Only(vec![
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
        grants_to_paste("greeting", &asked)
    );
    let config = Config::parse(&text, "pilothouse.yaml".as_ref()).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let granted = config.plugin("greeting").grants.unwrap();
    assert!(missing(&asked, &granted).is_empty(), "{text}");
    assert_eq!(missing(&asked, &Grants::default()), asked);
}

#[test]
fn the_reach_of_a_watch_is_what_both_sides_have_in_common() {
    let asked = [permission(
        r#"{"group": "", "kind": "ConfigMap", "verbs": ["watch"], "names": ["x", "y"]}"#,
    )];
    let granted = Grants::Only(vec![
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
    let nothing = Capabilities::new("x", &asked, &Grants::default());
    assert!(nothing.reach(Verb::Watch, &config_map(), None).is_empty());
}

// Small worlds, so that what is asked, granted and wanted meets often.
const GROUPS: [&str; 2] = ["", "x.io"];
const KINDS: [&str; 3] = ["Secret", "ConfigMap", "Thing"];
const PLACES: [&str; 3] = ["a", "b", "c"];
const NAMES: [&str; 3] = ["n", "m", "o"];
const SUBRESOURCES: [&str; 3] = ["status", "scale", "exec"];

fn some(of: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    subsequence(of.to_vec(), 0..=2).prop_map(|some| some.into_iter().map(str::to_owned).collect())
}

fn some_or_star(of: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    prop_oneof![4 => some(of), 1 => Just(vec!["*".to_owned()])]
}

fn any_permission() -> impl Strategy<Value = Permission> {
    let verbs = subsequence(Verb::ALL.to_vec(), 1..=7);
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
    )
        .prop_map(|(group, kind, verbs, namespaces, names, subresources)| Grant {
            group: group.to_owned(),
            kind: kind.to_owned(),
            verbs,
            namespaces,
            names,
            subresources,
        })
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
    let dangerous = wanted_group.is_empty() && wanted_kind == "Secret";
    let by_name = group == wanted_group && kind == wanted_kind;
    let by_star = (group == wanted_group || group == "*") && (kind == wanted_kind || kind == "*");
    if !(by_name || (star && by_star && !dangerous)) || !verbs.contains(&verb) {
        return false;
    }
    let within = |list: &[String], one: Option<&str>| match one {
        _ if list.is_empty() || (star && list.contains(&"*".to_owned())) => true,
        None => false,
        Some(one) => list.contains(&one.to_owned()),
    };
    let about_objects = subresources.is_empty() || matches!(verb, Verb::List | Verb::Watch);
    let right_part = match subresource {
        None => about_objects,
        Some(part) => {
            let by_star = star && part != "exec" && subresources.contains(&"*".to_owned());
            !matches!(verb, Verb::List | Verb::Watch) && (subresources.contains(&part.to_owned()) || by_star)
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
    entry_covers(
        (&g.group, &g.kind, &verbs),
        (&g.namespaces, &g.names, &g.subresources),
        true,
        wanted,
    )
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
        let own = Capabilities::new("x", &asked, &Grants::Only(grants.clone()));
        for wanted in calls {
            let by_asked = asked.iter().any(|p| asked_for(p, wanted));
            let by_granted = grants.iter().any(|g| granted(g, wanted));
            prop_assert_eq!(allowed(&own, wanted), by_asked && by_granted, "{:?}", wanted);
        }
    }

    #[test]
    fn granting_what_is_asked_allows_what_is_asked_and_nothing_more(
        asked in proptest::collection::vec(any_permission(), 0..4),
        calls in proptest::collection::vec(any_call(), 20),
    ) {
        let own = Capabilities::new("x", &asked, &Grants::Asked);
        for wanted in calls {
            prop_assert_eq!(allowed(&own, wanted), asked.iter().any(|p| asked_for(p, wanted)));
        }
    }

    #[test]
    fn where_nothing_is_missing_every_place_and_name_that_was_asked_for_is_allowed(
        asked in proptest::collection::vec(any_permission(), 1..4),
        grants in proptest::collection::vec(any_grant(), 0..6),
    ) {
        let granted = Grants::Only(grants);
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
        let lacking = missing(&asked, &Grants::Only(grants.clone()));
        let text = format!("apiVersion: pilothouse.dev/v1\n{}\n", grants_to_paste("x", &lacking));
        if let Grants::Only(more) = Config::parse(&text, "x.yaml".as_ref()).unwrap().plugin("x").grants.unwrap() {
            let all = Grants::Only(grants.into_iter().chain(more).collect());
            prop_assert_eq!(missing(&asked, &all), []);
        }
    }
}
