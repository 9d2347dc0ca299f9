//! What is lacking and what is held, as operators read it.

use super::*;

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
