//! Under which names kinds are served, without asking a cluster: Kubernetes' own by a list, those of definitions at
//! hand by what they say, and the rest guessed, and told so.

use std::{collections::BTreeMap, path::PathBuf};

use crate::documents;

/// Group, kind, plural of Kubernetes' own kinds whose plural is no simple one.
const ODD: [(&str, &str, &str); 3] = [
    ("", "Endpoints", "endpoints"),
    ("metrics.k8s.io", "NodeMetrics", "nodes"),
    ("metrics.k8s.io", "PodMetrics", "pods"),
];

/// Groups whose kinds are Kubernetes' own; their plurals follow the rule that [`guess`] knows, or stand in [`ODD`].
const BUILT_IN: [&str; 24] = [
    "",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "apps",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "internal.apiserver.k8s.io",
    "metrics.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
    "storagemigration.k8s.io",
];

/// What definitions at hand say.
#[derive(Default)]
pub(super) struct Resources(BTreeMap<(String, String), String>);

impl Resources {
    /// Those of the CustomResourceDefinitions in these files; what else is in them is left alone.
    ///
    /// # Errors
    /// The file, the document, what is wrong, and the mend.
    pub(super) fn read(files: &[PathBuf]) -> Result<Self, String> {
        let mut known = BTreeMap::new();
        for document in documents::read(files)? {
            let text = |at: &str| Some(document.object.pointer(at)?.as_str()?.to_owned());
            if &*document.kind.kind != "CustomResourceDefinition" {
                continue;
            }
            if let (Some(group), Some(kind), Some(plural)) = (
                text("/spec/group"),
                text("/spec/names/kind"),
                text("/spec/names/plural"),
            ) {
                known.insert((group, kind), plural);
            }
        }
        Ok(Self(known))
    }

    /// The kind's name in paths and roles, and whether it is a guess.
    pub(super) fn plural(&self, group: &str, kind: &str) -> (String, bool) {
        if let Some(plural) = self.0.get(&(group.to_owned(), kind.to_owned())) {
            return (plural.clone(), false);
        }
        if let Some((_, _, plural)) = ODD.iter().find(|odd| (odd.0, odd.1) == (group, kind)) {
            return ((*plural).to_owned(), false);
        }
        (guess(kind), !BUILT_IN.contains(&group))
    }
}

/// As Kubernetes' own code generators make plurals.
fn guess(kind: &str) -> String {
    let kind = kind.to_ascii_lowercase();
    let ends = |endings: &[&str]| endings.iter().any(|ending| kind.ends_with(ending));
    if ends(&["s", "x", "z", "ch", "sh"]) {
        return format!("{kind}es");
    }
    match kind.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'i', 'o', 'u']) => format!("{stem}ies"),
        _ => format!("{kind}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_kubernetes_have_the_names_they_are_served_under() {
        let known = Resources::default();
        for (group, kind, plural) in [
            ("", "ConfigMap", "configmaps"),
            ("", "Endpoints", "endpoints"),
            ("networking.k8s.io", "Ingress", "ingresses"),
            ("networking.k8s.io", "NetworkPolicy", "networkpolicies"),
            ("networking.k8s.io", "IngressClass", "ingressclasses"),
            ("storage.k8s.io", "CSIStorageCapacity", "csistoragecapacities"),
            ("discovery.k8s.io", "EndpointSlice", "endpointslices"),
            ("apiregistration.k8s.io", "APIService", "apiservices"),
            ("policy", "PodDisruptionBudget", "poddisruptionbudgets"),
        ] {
            assert_eq!(known.plural(group, kind), (plural.to_owned(), false));
        }
    }

    #[test]
    fn other_kinds_are_named_by_their_definitions_or_guessed() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("crd.yaml");
        let definition = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: geese.ex.io}\n\
                          spec: {group: ex.io, names: {kind: Goose, plural: geese}}\n";
        std::fs::write(&file, definition).unwrap();
        let known = Resources::read(&[file]).unwrap();
        assert_eq!(known.plural("ex.io", "Goose"), ("geese".to_owned(), false));
        assert_eq!(known.plural("ex.io", "Gateway"), ("gateways".to_owned(), true));
    }
}
