//! What amounts to more rights than it says: to code that runs with another's rights, to what others keep secret, or to
//! changing who may do what.
//!
//! Promises: what [`danger`] names is granted under `dangerous:` alone, each by name; no plain grant, no `*` and not
//! the word `asked` covers it. What is here are Kubernetes' own kinds. A kind of somebody's CRD that makes pods
//! (workflows, builds) is not told from a harmless one: whoever grants it has to know.
//!
//! To write Services is not here, though one with `externalIPs` takes the traffic of an address that isn't its own: who
//! makes what others call has to write them, and a grant doesn't look into an object's fields. The admission plugin
//! `DenyServiceExternalIPs` of the API server forbids that field to all.
//!
//! Nothing here is about impersonation and RBAC's own verbs `bind` and `escalate`, since no grant can hold them:
//! requests carry what the host puts there and nothing of a plugin's.

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
        ("", "Endpoints") | ("discovery.k8s.io", _) => Some("where the traffic of any Service of the namespace goes"),
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

/// What is written in the host's own namespace, whatever the kind, and the Secrets that are read there.
const AT_THE_HOST: &str = "in the host's own namespace: who writes there may change the host, and with it every grant";
/// ConfigMaps of [`OF_THE_CLUSTER`]: `aws-auth` maps users, `coredns` and `kube-proxy` rule the network,
/// `extension-apiserver-authentication` says whom aggregated servers trust, and `cluster-info` whom new nodes do.
const RULES_THE_CLUSTER: &str = "who is who, what names mean and whom servers trust, for the whole cluster";
/// Where Kubernetes keeps what itself is set up by.
pub(crate) const OF_THE_CLUSTER: [&str; 2] = ["kube-system", "kube-public"];

/// Why this takes, in that namespace, a grant under `dangerous:` that names the namespace; none where it does not. A
/// grant over all namespaces stays an ordinary one, and doesn't hold there.
pub(crate) fn danger_there(
    verb: Verb,
    group: &str,
    kind: &str,
    namespace: &str,
    host_namespace: Option<&str>,
) -> Option<&'static str> {
    let shows_a_secret = verb == Verb::Get && group.is_empty() && kind == "Secret";
    if host_namespace == Some(namespace) && (verb.writes() || shows_a_secret) {
        return Some(AT_THE_HOST);
    }
    let rules = verb.writes() && group.is_empty() && kind == "ConfigMap" && OF_THE_CLUSTER.contains(&namespace);
    rules.then_some(RULES_THE_CLUSTER)
}

/// Whether no `*` covers this kind, even where what is granted on it is not [dangerous](danger), as reads are: what is
/// in it is of those kinds.
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
