//! What amounts to more rights than it says: to code that runs with another's rights, to what others keep secret, or to
//! changing who may do what.
//!
//! Promises: what [`danger`] names is granted under `dangerous:` alone, each by name; no plain grant, no `*` and not the
//! word `asked` covers it. What is here are Kubernetes' own kinds. A kind of somebody's CRD that makes pods (workflows,
//! builds) is not told from a harmless one: whoever grants it has to know.
//!
//! Nothing here is about impersonation and RBAC's own verbs `bind` and `escalate`, since no grant can hold them: requests
//! carry what the host puts there and nothing of a plugin's.

use crate::permission::Verb;

/// Why this is dangerous; none where it is not. `by_name`: on objects of some names only, which the operator chose.
pub fn danger(verb: Verb, group: &str, kind: &str, subresource: Option<&str>, by_name: bool) -> Option<&'static str> {
    if let Some(subresource) = subresource
        && let Some(why) = dangerous_subresource(subresource)
    {
        return Some(why);
    }
    if group.is_empty() && kind == "Secret" {
        return match verb {
            Verb::Get | Verb::Digest if !by_name => Some("every Secret there is, and not some by their names"),
            Verb::Get | Verb::Digest | Verb::List | Verb::Watch => None,
            _ => Some("what trusts a Secret trusts who writes it, and some are filled with a service account's token"),
        };
    }
    if !verb.writes() {
        return None;
    }
    let workload = matches!(group, "apps" | "batch" | "extensions")
        || (group.is_empty() && matches!(kind, "ReplicationController" | "PodTemplate"));
    if workload && matches!(subresource, Some("status" | "scale")) {
        return None;
    }
    if workload || (group.is_empty() && kind == "Pod") {
        return Some("its pods run as any service account of the namespace and see its Secrets");
    }
    match (group, kind) {
        ("", "ServiceAccount") => Some("who runs as a service account has its rights"),
        ("", "Node" | "PersistentVolume" | "Binding") | ("storage.k8s.io" | "node.k8s.io", _) => {
            Some("nodes, their file systems and what runs on them")
        }
        ("", "Namespace") => Some("a namespace's labels say what its pods may do, and with it all that is in it goes"),
        ("rbac.authorization.k8s.io", _) => Some("who may do what"),
        ("admissionregistration.k8s.io", _) => Some("sees and changes what anybody writes"),
        ("certificates.k8s.io", _) => Some("a signed certificate is whoever it names"),
        ("apiextensions.k8s.io" | "apiregistration.k8s.io", _) => Some("what the API server serves, and who answers"),
        ("authentication.k8s.io" | "authorization.k8s.io", _) => Some("tokens, and who may do what"),
        ("flowcontrol.apiserver.k8s.io", _) => Some("whose requests the API server answers"),
        ("policy", "PodSecurityPolicy") => Some("what pods may do"),
        _ => None,
    }
}

/// Of whatever kind, and whatever is done with it: some of these take a `get` alone.
fn dangerous_subresource(subresource: &str) -> Option<&'static str> {
    match subresource {
        "exec" | "attach" | "ephemeralcontainers" => Some("runs commands in others' containers"),
        "portforward" | "proxy" => Some("reaches whatever listens there, past network and authorization"),
        "token" => Some("a service account's token is all of its rights"),
        "binding" | "eviction" | "resize" => Some("where and whether others' pods run"),
        "approval" => Some("a signed certificate is whoever it names"),
        "finalize" => Some("ends what others' finalizers hold"),
        _ => None,
    }
}

/// Whether a verb in the host's own namespace is dangerous whatever the kind: who writes there may change the host, and
/// with it every grant.
pub(crate) fn touches_the_host(verb: Verb, group: &str, kind: &str) -> bool {
    verb.writes() || (verb == Verb::Get && group.is_empty() && kind == "Secret")
}

/// Whether no `*` covers this kind, even where what is granted on it is not [dangerous](danger), as reads are: what is in
/// it is of those kinds.
pub fn is_sensitive(group: &str, kind: &str) -> bool {
    match group {
        "" => matches!(
            kind,
            "Secret"
                | "ServiceAccount"
                | "Pod"
                | "PodTemplate"
                | "ReplicationController"
                | "Node"
                | "Namespace"
                | "PersistentVolume"
                | "Binding"
        ),
        "apps"
        | "batch"
        | "extensions"
        | "rbac.authorization.k8s.io"
        | "admissionregistration.k8s.io"
        | "certificates.k8s.io"
        | "apiextensions.k8s.io"
        | "apiregistration.k8s.io"
        | "authentication.k8s.io"
        | "authorization.k8s.io"
        | "flowcontrol.apiserver.k8s.io"
        | "storage.k8s.io"
        | "node.k8s.io"
        | "policy" => true,
        _ => false,
    }
}
