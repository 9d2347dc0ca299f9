//! What amounts to more rights than it says takes a grant of its own: where, and how it is told. What it is, is in
//! `danger_table`.

use super::*;

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
