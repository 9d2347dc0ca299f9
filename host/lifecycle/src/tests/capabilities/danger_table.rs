//! Everything that is dangerous, and what stands beside it and is not: kind by kind, with every verb.

use super::*;
use crate::danger::is_sensitive;

/// Which verbs are dangerous, for objects that are named.
#[derive(Clone, Copy, Debug)]
enum Dangerous {
    Never,
    /// What changes something.
    Writes,
    /// Whatever is done.
    Always,
}
use Dangerous::{Always, Never, Writes};

impl Dangerous {
    fn holds(self, verb: Verb) -> bool {
        match self {
            Never => false,
            Writes => verb.writes(),
            Always => true,
        }
    }
}

/// Group, kind, what of the objects themselves is dangerous, and whether no `*` covers the kind.
const KINDS: &[(&str, &str, Dangerous, bool)] = &[
    ("", "Pod", Writes, true),
    ("", "PodTemplate", Writes, true),
    ("", "ReplicationController", Writes, true),
    ("", "Secret", Writes, true),
    ("", "ServiceAccount", Writes, true),
    ("", "Node", Writes, true),
    ("", "PersistentVolume", Writes, true),
    ("", "Binding", Writes, true),
    ("", "Namespace", Writes, true),
    ("", "Endpoints", Writes, false),
    ("apps", "Deployment", Writes, true),
    ("apps", "DaemonSet", Writes, true),
    ("apps", "StatefulSet", Writes, true),
    ("apps", "ReplicaSet", Writes, true),
    ("apps", "ControllerRevision", Writes, true),
    ("batch", "Job", Writes, true),
    ("batch", "CronJob", Writes, true),
    ("extensions", "Deployment", Writes, true),
    ("storage.k8s.io", "StorageClass", Writes, true),
    ("storage.k8s.io", "VolumeAttachment", Writes, true),
    ("node.k8s.io", "RuntimeClass", Writes, true),
    ("discovery.k8s.io", "EndpointSlice", Writes, false),
    ("rbac.authorization.k8s.io", "Role", Writes, true),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding", Writes, true),
    (
        "admissionregistration.k8s.io",
        "MutatingWebhookConfiguration",
        Writes,
        true,
    ),
    (
        "admissionregistration.k8s.io",
        "ValidatingAdmissionPolicy",
        Writes,
        true,
    ),
    ("certificates.k8s.io", "CertificateSigningRequest", Writes, true),
    ("apiextensions.k8s.io", "CustomResourceDefinition", Writes, true),
    ("apiregistration.k8s.io", "APIService", Writes, true),
    ("authentication.k8s.io", "TokenReview", Writes, true),
    ("authorization.k8s.io", "SubjectAccessReview", Writes, true),
    ("flowcontrol.apiserver.k8s.io", "FlowSchema", Writes, true),
    (
        "flowcontrol.apiserver.k8s.io",
        "PriorityLevelConfiguration",
        Writes,
        true,
    ),
    ("policy", "PodSecurityPolicy", Writes, true),
    // What stands beside them.
    ("policy", "PodDisruptionBudget", Never, true),
    ("", "ConfigMap", Never, false),
    ("", "Service", Never, false),
    ("", "Event", Never, false),
    ("", "PersistentVolumeClaim", Never, false),
    ("coordination.k8s.io", "Lease", Never, false),
    ("networking.k8s.io", "Ingress", Never, false),
    ("autoscaling", "HorizontalPodAutoscaler", Never, false),
    ("scheduling.k8s.io", "PriorityClass", Never, false),
    // The same words elsewhere are other kinds.
    ("example.com", "Pod", Never, false),
    ("example.com", "Secret", Never, false),
    ("example.com", "PodSecurityPolicy", Never, false),
    ("apps.example.com", "Deployment", Never, false),
];

/// Group, kind, subresource, what of it is dangerous.
const SUBRESOURCES: &[(&str, &str, &str, Dangerous)] = &[
    ("", "Pod", "exec", Always),
    ("", "Pod", "attach", Always),
    ("", "Pod", "ephemeralcontainers", Always),
    ("", "Pod", "portforward", Always),
    ("", "Pod", "proxy", Always),
    ("", "Service", "proxy", Always),
    ("", "Node", "proxy", Always),
    ("", "ServiceAccount", "token", Always),
    ("", "Pod", "binding", Always),
    ("", "Pod", "eviction", Always),
    ("", "Pod", "resize", Always),
    ("certificates.k8s.io", "CertificateSigningRequest", "approval", Always),
    ("", "Namespace", "finalize", Always),
    // Of whatever kind.
    ("example.com", "Widget", "exec", Always),
    ("example.com", "Widget", "proxy", Always),
    ("example.com", "Widget", "token", Always),
    ("example.com", "Widget", "finalize", Always),
    ("", "Pod", "status", Writes),
    ("", "Pod", "log", Writes),
    ("", "Node", "status", Writes),
    ("", "Namespace", "status", Writes),
    ("apps", "Deployment", "rollback", Writes),
    ("certificates.k8s.io", "CertificateSigningRequest", "status", Writes),
    // Who counts and tells how it stands makes no pods.
    ("apps", "Deployment", "status", Never),
    ("apps", "Deployment", "scale", Never),
    ("batch", "Job", "status", Never),
    ("extensions", "Deployment", "scale", Never),
    ("", "ReplicationController", "scale", Never),
    ("", "PodTemplate", "status", Never),
    ("", "Service", "status", Never),
    ("example.com", "Widget", "status", Never),
    ("example.com", "Widget", "scale", Never),
];

/// All rows of both tables: group, kind, subresource, what is dangerous.
fn rows() -> impl Iterator<Item = (&'static str, &'static str, Option<&'static str>, Dangerous)> {
    let kinds = KINDS
        .iter()
        .map(|(group, kind, which, _)| (*group, *kind, None, *which));
    let parts = SUBRESOURCES
        .iter()
        .map(|(group, kind, part, which)| (*group, *kind, Some(*part), *which));
    kinds.chain(parts)
}

/// Which Secrets are read the operator says, not the word `asked`.
fn is_for_the_operator_to_name(verb: Verb, group: &str, kind: &str) -> bool {
    (group, kind) == ("", "Secret") && matches!(verb, Verb::Get | Verb::Digest)
}

#[test]
fn what_is_dangerous_takes_a_grant_under_dangerous_that_names_it_and_nothing_else_does() {
    for (group, kind, subresource, which) in rows() {
        let about = |verb: &&Verb| subresource.is_none() || verb.knows_subresources();
        for verb in Verb::ALL.iter().filter(about) {
            let part = subresource.map_or(String::new(), |name| format!(r#", "subresources": ["{name}"]"#));
            let entry = |part: &str| {
                format!(r#"{{"group": "{group}", "kind": "{kind}", "verbs": ["{verb}"], "names": ["n"]{part}}}"#)
            };
            let asked = [permission(&entry(&part))];
            let gvk = Gvk::new(group, "v1", kind);
            let what = format!("{verb} {gvk} {subresource:?}");
            let allows = |granted: &Granted| {
                let own = Capabilities::new("x", &asked, granted);
                let there = own.allows(*verb, &gvk, Some("a"), Some("n"), subresource);
                assert_eq!(there.is_ok(), missing(&asked, granted).is_empty(), "{what}");
                there
            };
            let plain = [&entry(&part), &entry(r#", "subresources": ["*"]"#), &entry("")];
            let plain = only(plain.iter().map(|text| grant(text)).collect());
            for granted in [plain, Grants::Asked.into()] {
                if !which.holds(*verb) {
                    let expected = match granted.plain {
                        Grants::Asked if is_for_the_operator_to_name(*verb, group, kind) => Some(Lacking::Granted),
                        _ => None,
                    };
                    assert_eq!(allows(&granted).err().map(|denied| denied.lacking), expected, "{what}");
                    continue;
                }
                let denied = allows(&granted).expect_err(&what);
                assert_eq!(denied.lacking, Lacking::Dangerous, "{denied}");
                let mend = "to `dangerous`, in x.yaml or under plugins.x: - {";
                assert!(denied.to_string().contains(mend), "{denied}");
            }
            assert_eq!(allows(&dangerous(&[&entry(&part)])), Ok(()), "{what}");
            assert_eq!(allows(&Grants::Everything.into()), Ok(()), "{what}");
        }
    }
}

#[test]
fn no_star_covers_what_is_near_to_something_dangerous_also_where_it_is_only_read() {
    for (group, kind, _, sensitive) in KINDS {
        assert_eq!(is_sensitive(group, kind), *sensitive, "{kind}.{group}");
        let entry =
            |group: &str, kind: &str| format!(r#"{{"group": "{group}", "kind": "{kind}", "verbs": ["watch"]}}"#);
        let asked = [permission(&entry(group, kind))];
        for star in [entry("*", kind), entry(group, "*"), entry("*", "*")] {
            let lacking = missing(&asked, &only(vec![grant(&star)]));
            assert_eq!(lacking.is_empty(), !sensitive, "{kind}.{group} by {star}");
        }
        assert_eq!(missing(&asked, &only(vec![grant(&entry(group, kind))])), []);
    }
}

/// Group, kind, verb, namespace, and whether it takes a word of its own there, where the host lives in `own`.
const PLACES: &[(&str, &str, Verb, &str, bool)] = &[
    ("", "ConfigMap", Verb::Create, "own", true),
    ("", "ConfigMap", Verb::Patch, "own", true),
    ("", "ConfigMap", Verb::Replace, "own", true),
    ("", "ConfigMap", Verb::Delete, "own", true),
    ("example.com", "Widget", Verb::Patch, "own", true),
    ("", "Secret", Verb::Get, "own", true),
    ("", "Secret", Verb::Digest, "own", false),
    ("", "Secret", Verb::Watch, "own", false),
    ("", "Secret", Verb::Get, "a", false),
    ("example.com", "Secret", Verb::Get, "own", false),
    ("", "ConfigMap", Verb::Get, "own", false),
    ("", "ConfigMap", Verb::Watch, "own", false),
    ("", "ConfigMap", Verb::Create, "kube-system", true),
    ("", "ConfigMap", Verb::Patch, "kube-public", true),
    ("", "ConfigMap", Verb::Delete, "kube-public", true),
    ("", "ConfigMap", Verb::Get, "kube-system", false),
    ("", "ConfigMap", Verb::Patch, "kube-node-lease", false),
    ("", "ConfigMap", Verb::Patch, "a", false),
    ("", "Service", Verb::Patch, "kube-system", false),
    ("example.com", "ConfigMap", Verb::Patch, "kube-system", false),
    ("", "Secret", Verb::Get, "kube-system", false),
];

#[test]
fn what_is_dangerous_in_one_namespace_takes_a_dangerous_grant_that_names_the_namespace() {
    for (group, kind, verb, namespace, guarded) in PLACES {
        let entry = format!(
            r#"{{"group": "{group}", "kind": "{kind}", "verbs": ["{verb}"], "names": ["n"], "namespaces": ["{namespace}"]}}"#
        );
        let asked = [permission(&entry)];
        let gvk = Gvk::new(group, "v1", kind);
        let may = |granted: Granted| {
            let granted = Granted {
                host_namespace: Some("own".to_owned()),
                ..granted
            };
            let own = Capabilities::new("x", &asked, &granted);
            let allowed = own.allows(*verb, &gvk, Some(namespace), Some("n"), None).is_ok();
            assert_eq!(allowed, missing(&asked, &granted).is_empty(), "{entry}");
            allowed
        };
        assert_eq!(may(only(vec![grant(&entry)])), !guarded, "{entry}");
        let asked_is_enough = !guarded && !is_for_the_operator_to_name(*verb, group, kind);
        assert_eq!(may(Grants::Asked.into()), asked_is_enough, "{entry}");
        assert!(may(dangerous(&[&entry])), "{entry}");
        assert!(may(Grants::Everything.into()), "{entry}");
    }
}
