//! What a cluster serves: resource types, those built in and those that CustomResourceDefinitions add.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

/// The verbs of a custom resource, in the order discovery shows them.
pub const ALL_VERBS: &[&str] = &[
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "create",
    "update",
    "watch",
];

/// The same verbs of a built-in kind, which discovery shows in another order.
const BUILT_IN_VERBS: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

/// One resource in one version, as discovery shows it and as requests name it.
#[derive(Clone, Debug)]
pub struct ResourceType {
    /// The API group; empty for the core group.
    pub group: Arc<str>,
    /// The version, e.g. `v1`.
    pub version: Arc<str>,
    /// The kind, e.g. `ConfigMap`.
    pub kind: Arc<str>,
    /// The kind of a list, e.g. `ConfigMapList`.
    pub list_kind: Arc<str>,
    /// The name in paths, e.g. `configmaps`.
    pub plural: Arc<str>,
    /// The name of one, e.g. `configmap`.
    pub singular: Arc<str>,
    /// What people may type instead, e.g. `cm`.
    pub short_names: Vec<Arc<str>>,
    /// The categories it belongs to, e.g. `all`.
    pub categories: Vec<Arc<str>>,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// What can be done with the main resource.
    pub verbs: &'static [&'static str],
    /// Whether there is a `/status` subresource.
    pub status: bool,
    /// Whether there is a `/scale` subresource; where its numbers are stands in `scale_paths`.
    pub scale: bool,
    /// Where `/scale` finds its numbers; `None` when there is no such subresource.
    pub scale_paths: Option<ScalePaths>,
    /// The columns of a table: `additionalPrinterColumns` of a CRD. Empty for built-ins, whose tables are computed.
    pub columns: Vec<PrinterColumn>,
    /// The structural schema (`openAPIV3Schema`) that objects are held against; `None`: anything goes. Those of
    /// built-ins are `{"$ref": "#/components/schemas/NAME"}` into [`definitions`](crate::schema::definitions).
    pub schema: Option<Arc<Value>>,
    /// True for resources of a CustomResourceDefinition.
    pub custom: bool,
    /// Whether the server counts `metadata.generation`.
    pub generation: bool,
    /// The version that is stored (the same for all versions of a resource).
    pub stored_version: Arc<str>,
    /// The group whose storage it shares: its own, but for `events.k8s.io`, whose events are those of the core group.
    pub stored_group: Arc<str>,
    /// A warning for clients that use this version (`deprecationWarning`), without the quotes of a header.
    pub deprecation: Option<Arc<str>>,
    /// Set when a CRD asks for CEL rules, which the local cluster does not evaluate yet.
    pub unevaluated_rules: bool,
    /// Fields that field selectors may name beside `metadata.name` and `metadata.namespace`, e.g. `status.phase`.
    pub selectable: Vec<Arc<str>>,
    /// The version of the store since when the schema is what it is: older objects are pruned and defaulted on reading.
    pub(crate) since: u64,
    /// Whether the CRD is being deleted: nothing may be created any more.
    pub(crate) terminating: bool,
    /// The compiled `pattern`s of the schema.
    pub(crate) patterns: Arc<BTreeMap<String, regex::Regex>>,
}

/// Where `/scale` finds its numbers: field paths without the leading dot, split at dots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalePaths {
    /// The desired replicas, under `spec`.
    pub spec_replicas: Vec<String>,
    /// The observed replicas, under `status`.
    pub status_replicas: Vec<String>,
    /// The serialised selector, under `spec` or `status`, if there is one.
    pub selector: Option<Vec<String>>,
}

/// A column that a CRD adds to tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrinterColumn {
    /// The heading.
    pub name: String,
    /// `integer`, `number`, `string`, `boolean` or `date`.
    pub type_: String,
    /// An OpenAPI format such as `int32`, or empty.
    pub format: String,
    /// What it shows, or empty.
    pub description: String,
    /// 0 for columns that are always shown, more for `-o wide`.
    pub priority: i32,
    /// Where the value stands, as in `.spec.size`.
    pub json_path: String,
}

impl ResourceType {
    /// `group/version`, or `version` alone in the core group.
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }

    /// `plural.group`, or `plural` alone in the core group: how messages name the resource.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.plural.to_string()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// `Kind.group`, or `Kind` alone in the core group: how messages about invalid objects name the kind.
    pub fn qualified_kind(&self) -> String {
        if self.group.is_empty() {
            self.kind.to_string()
        } else {
            format!("{}.{}", self.kind, self.group)
        }
    }

    /// Where the objects are stored: the same for all versions, and for both groups of events.
    pub(crate) fn collection(&self) -> (Arc<str>, Arc<str>) {
        (self.stored_group.clone(), self.plural.clone())
    }
}

/// `group/version`, or `version` alone for the core group.
pub(crate) fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}

/// Orders versions as Kubernetes does, the best first: `v2`, `v1`, `v1beta2`, `v1beta1`, `v1alpha1`, then the rest
/// by name.
pub fn by_version_priority(a: &str, b: &str) -> Ordering {
    /// (0 for a Kubernetes-like version, stability, major, minor), larger is better.
    fn rank(version: &str) -> Option<(u8, u64, u64)> {
        let rest = version.strip_prefix('v')?;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (major, tail) = rest.split_at(digits);
        let major = major.parse().ok()?;
        let (stability, minor) = match tail {
            "" => return Some((2, major, 0)),
            _ if tail.starts_with("beta") => (1, tail.get(4..)?),
            _ if tail.starts_with("alpha") => (0, tail.get(5..)?),
            _ => return None,
        };
        Some((stability, major, minor.parse().ok()?))
    }
    match (rank(a), rank(b)) {
        (Some(a), Some(b)) => b.cmp(&a),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

/// The resources every cluster serves.
pub(crate) fn built_in() -> Vec<ResourceType> {
    let scale = ScalePaths {
        spec_replicas: vec!["spec".into(), "replicas".into()],
        status_replicas: vec!["status".into(), "replicas".into()],
        selector: None,
    };
    vec![
        base("", "v1", "ConfigMap", "configmaps", &["cm"]),
        ResourceType {
            selectable: paths(CORE_EVENT_FIELDS),
            ..base("", "v1", "Event", "events", &["ev"])
        },
        ResourceType {
            namespaced: false,
            verbs: &["create", "delete", "get", "list", "patch", "update", "watch"],
            status: true,
            selectable: paths(&["status.phase"]),
            ..base("", "v1", "Namespace", "namespaces", &["ns"])
        },
        ResourceType {
            status: true,
            generation: true,
            selectable: paths(POD_FIELDS),
            ..all(base("", "v1", "Pod", "pods", &["po"]))
        },
        ResourceType {
            selectable: paths(&["type"]),
            ..base("", "v1", "Secret", "secrets", &[])
        },
        base("", "v1", "ServiceAccount", "serviceaccounts", &["sa"]),
        ResourceType {
            status: true,
            selectable: paths(&["spec.clusterIP", "spec.type"]),
            ..all(base("", "v1", "Service", "services", &["svc"]))
        },
        ResourceType {
            namespaced: false,
            status: true,
            generation: true,
            categories: vec!["api-extensions".into()],
            ..base(
                "apiextensions.k8s.io",
                "v1",
                "CustomResourceDefinition",
                "customresourcedefinitions",
                &["crd", "crds"],
            )
        },
        ResourceType {
            status: true,
            scale: true,
            scale_paths: Some(scale),
            generation: true,
            ..all(base("apps", "v1", "Deployment", "deployments", &["deploy"]))
        },
        base("coordination.k8s.io", "v1", "Lease", "leases", &[]),
        ResourceType {
            stored_group: "".into(),
            selectable: paths(EVENT_FIELDS),
            ..base("events.k8s.io", "v1", "Event", "events", &["ev"])
        },
    ]
}

const CORE_EVENT_FIELDS: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "type",
];

const EVENT_FIELDS: &[&str] = &[
    "regarding.kind",
    "regarding.namespace",
    "regarding.name",
    "regarding.uid",
    "regarding.apiVersion",
    "regarding.resourceVersion",
    "regarding.fieldPath",
    "reason",
    "reportingController",
    "type",
];

const POD_FIELDS: &[&str] = &[
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "status.phase",
    "status.podIP",
    "status.nominatedNodeName",
];

fn paths(fields: &[&str]) -> Vec<Arc<str>> {
    fields.iter().map(|field| Arc::from(*field)).collect()
}

fn base(group: &str, version: &str, kind: &str, plural: &str, short_names: &[&str]) -> ResourceType {
    let package = match group {
        "" => "io.k8s.api.core",
        "apiextensions.k8s.io" => "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions",
        "apps" => "io.k8s.api.apps",
        "coordination.k8s.io" => "io.k8s.api.coordination",
        _ => "io.k8s.api.events",
    };
    let reference = format!("#/components/schemas/{package}.{version}.{kind}");
    ResourceType {
        group: group.into(),
        version: version.into(),
        kind: kind.into(),
        list_kind: format!("{kind}List").into(),
        plural: plural.into(),
        singular: kind.to_lowercase().into(),
        short_names: short_names.iter().map(|name| Arc::from(*name)).collect(),
        categories: Vec::new(),
        namespaced: true,
        verbs: BUILT_IN_VERBS,
        status: false,
        scale: false,
        scale_paths: None,
        columns: Vec::new(),
        schema: Some(Arc::new(serde_json::json!({ "$ref": reference }))),
        custom: false,
        generation: false,
        stored_version: version.into(),
        stored_group: group.into(),
        deprecation: None,
        unevaluated_rules: false,
        selectable: Vec::new(),
        since: 0,
        terminating: false,
        patterns: Arc::default(),
    }
}

/// A type without a name, to be filled in.
pub(crate) fn base_of_nothing() -> ResourceType {
    base("", "", "", "", &[])
}

fn all(type_: ResourceType) -> ResourceType {
    ResourceType {
        categories: vec!["all".into()],
        ..type_
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_kubernetes_orders_them() {
        let mut versions = [
            "foo10",
            "v1alpha1",
            "v2",
            "v1beta2",
            "v10",
            "v1",
            "v3beta1",
            "foo1",
            "v11alpha2",
        ];
        versions.sort_by(|a, b| by_version_priority(a, b));
        assert_eq!(
            versions,
            [
                "v10",
                "v2",
                "v1",
                "v3beta1",
                "v1beta2",
                "v11alpha2",
                "v1alpha1",
                "foo1",
                "foo10"
            ]
        );
    }

    #[test]
    fn no_resource_is_built_in_twice() {
        let mut names: Vec<_> = built_in().iter().map(|t| (t.api_version(), t.plural.clone())).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
