//! What the host must be allowed by the API server's RBAC so that a plugin can do what it may.
//!
//! Promises: no more than that. Watches need list and watch of the kind wherever the plugin has a window on it, and not
//! by name: the host watches whole namespaces and cuts to names itself. Writes need get on what is written, since after
//! a write without an answer the host looks what became of it. Creating takes a right to every name, which RBAC can't
//! tell apart there.

use std::collections::{BTreeMap, BTreeSet};

use crate::capabilities::{Capabilities, Extent, Reach};
use crate::config::Impersonate;
use crate::manifest::{Manifest, Scope};
use crate::permission::Verb;

/// One right: a verb of RBAC on a kind, in a namespace or everywhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// In this namespace; none: in every one, and for objects that live in none.
    pub namespace: Option<String>,
    /// The API group; empty for the core group.
    pub group: String,
    /// The kind.
    pub kind: String,
    /// Of this subresource; none: of the objects themselves.
    pub subresource: Option<String>,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, or `impersonate`.
    pub verb: &'static str,
}

/// Rights, and the names that each is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights(BTreeMap<Right, Names>);

/// The names that a right is about; none: every one.
pub type Names = Option<BTreeSet<String>>;

impl Rights {
    /// What the host needs for a plugin of that manifest and those capabilities; `events`: it emits some, and may.
    pub fn of(manifest: &Manifest, capabilities: &Capabilities, events: bool) -> Self {
        let mut rights = Self::watching(manifest, capabilities);
        rights.extend(Self::acting(manifest, capabilities, events));
        rights
    }

    /// What the host needs for its own Events, in the namespace that it runs in.
    pub fn of_own_events(namespace: &str) -> Self {
        let mut rights = Self::default();
        for verb in ["create", "patch"] {
            rights.add(Some(namespace.to_owned()), ("", "Event"), None, verb, None);
        }
        rights
    }

    /// What the host needs for a plugin whose own requests go out as another: to watch for it, to be that other, and to
    /// ask what the other may see.
    pub fn of_host_for(manifest: &Manifest, capabilities: &Capabilities, other: &Impersonate) -> Self {
        let mut rights = Self::watching(manifest, capabilities);
        let (namespace, kind, name) = match other {
            Impersonate::User(name) => (None, "User", name),
            Impersonate::ServiceAccount { namespace, name } => (Some(namespace.clone()), "ServiceAccount", name),
        };
        let name = Some(BTreeSet::from([name.clone()]));
        rights.add(namespace, ("", kind), None, "impersonate", name);
        let review = ("authorization.k8s.io", "SubjectAccessReview");
        rights.add(None, review, None, "create", None);
        rights
    }

    /// What the other needs as whom a plugin's own requests go out.
    pub fn of_other(manifest: &Manifest, capabilities: &Capabilities, events: bool) -> Self {
        let mut rights = Self::seen(manifest, capabilities);
        rights.extend(Self::acting(manifest, capabilities, events));
        rights
    }

    /// What the plugin sees through its watches, as whoever may see that may read it by itself: by name where it sees
    /// objects of some names alone.
    pub fn seen(manifest: &Manifest, capabilities: &Capabilities) -> Self {
        let mut rights = Self::default();
        each_watch(manifest, capabilities, |kind, namespace, reach| {
            for verb in ["get", "list", "watch"] {
                rights.add(namespace.clone(), kind, None, verb, names(reach));
            }
        });
        rights
    }

    fn watching(manifest: &Manifest, capabilities: &Capabilities) -> Self {
        let mut rights = Self::default();
        each_watch(manifest, capabilities, |kind, namespace, _| {
            for verb in ["list", "watch"] {
                rights.add(namespace.clone(), kind, None, verb, None);
            }
        });
        rights
    }

    /// All but the watches.
    fn acting(manifest: &Manifest, capabilities: &Capabilities, events: bool) -> Self {
        let mut rights = Self::default();
        let mut watched = BTreeSet::new();
        each_watch(manifest, capabilities, |kind, namespace, _| {
            watched.insert((kind.0.to_owned(), kind.1.to_owned()));
            if events {
                for verb in ["create", "patch"] {
                    rights.add(namespace.clone(), ("", "Event"), None, verb, None);
                }
            }
        });
        for held in capabilities.held() {
            let kind = (held.group, held.kind);
            for namespace in namespaces(&held.reach.namespaces, &[]) {
                for verb in held.verbs {
                    let right = match verb {
                        Verb::Watch => continue,
                        Verb::Digest if watched.contains(&(kind.0.to_owned(), kind.1.to_owned())) => continue,
                        Verb::Get | Verb::Digest => "get",
                        Verb::List => "list",
                        Verb::Create => "create",
                        Verb::Patch => "patch",
                        Verb::Replace => "update",
                        Verb::Delete => "delete",
                    };
                    // Lists tell no names apart, and what is created has none yet that RBAC could know.
                    let nameless = right == "list" || (right == "create" && held.subresource.is_none());
                    let about = names(held.reach).filter(|_| !nameless);
                    rights.add(namespace.clone(), kind, held.subresource, right, about);
                    if verb.writes() {
                        rights.add(namespace.clone(), kind, None, "get", names(held.reach));
                    }
                }
            }
        }
        rights
    }

    /// These and those.
    pub fn extend(&mut self, other: Self) {
        for (right, names) in other.0 {
            self.insert(right, names);
        }
    }

    /// Each once: what holds everywhere is not said again of a namespace.
    pub fn least(&self) -> impl Iterator<Item = (&Right, &Names)> {
        self.0.iter().filter(|(right, names)| {
            let everywhere = Right {
                namespace: None,
                ..(*right).clone()
            };
            let wider = right.namespace.as_ref().and_then(|_| self.0.get(&everywhere));
            !wider.is_some_and(|wider| covers(wider, names))
        })
    }

    fn add(
        &mut self,
        namespace: Option<String>,
        (group, kind): (&str, &str),
        subresource: Option<&str>,
        verb: &'static str,
        names: Names,
    ) {
        let right = Right {
            namespace,
            group: group.to_owned(),
            kind: kind.to_owned(),
            subresource: subresource.map(str::to_owned),
            verb,
        };
        self.insert(right, names);
    }

    fn insert(&mut self, right: Right, names: Names) {
        match (self.0.get_mut(&right), names) {
            (Some(Some(known)), Some(more)) => known.extend(more),
            (Some(known), None) => *known = None,
            (Some(None), _) => {}
            (None, names) => _ = self.0.insert(right, names),
        }
    }
}

fn covers(wider: &Names, names: &Names) -> bool {
    match (wider, names) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(wider), Some(names)) => names.is_subset(wider),
    }
}

/// Calls for each part of a kind that the plugin has a window on: group and kind, namespace (none: every one), reach.
fn each_watch(
    manifest: &Manifest,
    capabilities: &Capabilities,
    mut tell: impl FnMut((&str, &str), &Option<String>, &Reach),
) {
    for controller in &manifest.controllers {
        let watches = controller.watches.iter().map(|watch| (&watch.kind, watch.scope));
        for (kind, scope) in std::iter::once((&controller.kind, controller.scope)).chain(watches) {
            // As the windows are: a controller's namespaces are those of whatever lives in some.
            let named: &[String] = if scope == Scope::Cluster {
                &[]
            } else {
                &controller.namespaces
            };
            for reach in capabilities.reach(Verb::Watch, kind, None) {
                for namespace in namespaces(&reach.namespaces, named) {
                    tell((&kind.group, &kind.kind), &namespace, &reach);
                }
            }
        }
    }
}

fn names(reach: &Reach) -> Names {
    match &reach.names {
        Extent::All => None,
        Extent::Only(some) => Some(some.iter().map(|name| name.to_string()).collect()),
    }
}

/// The namespaces of an extent that are among those named (none named: all of it); none is every one.
fn namespaces(extent: &Extent, named: &[String]) -> Vec<Option<String>> {
    match extent {
        Extent::All if named.is_empty() => vec![None],
        Extent::All => named.iter().cloned().map(Some).collect(),
        Extent::Only(some) => some
            .iter()
            .map(|namespace| namespace.to_string())
            .filter(|namespace| named.is_empty() || named.contains(namespace))
            .map(Some)
            .collect(),
    }
}
