//! What the operator grants a plugin.
//!
//! A grant has a permission's shape, and `*` besides. What amounts to more rights than it says ([`is_dangerous`],
//! [`is_dangerous_subresource`]) is never covered by `*`: it must be named.

use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::fmt;

use crate::permission::{Permission, Verb};
use crate::rules::{Group, KindName, Label, ObjectName, Rule, Subresource, items, list, one};

/// One thing an operator grants. Several add up; nothing is granted that no entry covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Grant {
    /// The API group; empty for the core group; `*` for every group, which covers no dangerous kind.
    #[serde(deserialize_with = "one::<_, OrStar<Group>>")]
    pub group: String,
    /// The kind, of whatever version; `*` for every kind but the dangerous ones.
    #[serde(deserialize_with = "one::<_, OrStar<KindName>>")]
    pub kind: String,
    /// What may be done with its objects; not empty; `*` for everything.
    #[serde(deserialize_with = "items::<_, _, 8>")]
    pub verbs: Vec<GrantedVerb>,
    /// In these namespaces, at most 1000; empty, or `*` among them: in all.
    #[serde(
        default,
        deserialize_with = "list::<_, OrStar<Label>, 1000>",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub namespaces: Vec<String>,
    /// On objects of these names, at most 1000; empty, or `*` among them: on all.
    #[serde(
        default,
        deserialize_with = "list::<_, OrStar<ObjectName>, 1000>",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub names: Vec<String>,
    /// Subresources, at most 16; empty: the objects themselves; `*` for every subresource but the dangerous ones. With
    /// any here, all verbs but `list` and `watch` are about the subresources alone.
    #[serde(
        default,
        deserialize_with = "list::<_, OrStar<Subresource>, 16>",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub subresources: Vec<String>,
}

/// A verb, or `*` for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GrantedVerb {
    /// Read one live.
    Get,
    /// List live.
    List,
    /// Watch the kind and read the cache.
    Watch,
    /// Create.
    Create,
    /// Patch, in whatever form.
    Patch,
    /// Replace the whole.
    Replace,
    /// Delete.
    Delete,
    /// All of these.
    #[serde(rename = "*")]
    All,
}

impl GrantedVerb {
    /// Whether that verb is granted by this one.
    pub fn covers(self, verb: Verb) -> bool {
        match self {
            Self::All => true,
            Self::Get => verb == Verb::Get,
            Self::List => verb == Verb::List,
            Self::Watch => verb == Verb::Watch,
            Self::Create => verb == Verb::Create,
            Self::Patch => verb == Verb::Patch,
            Self::Replace => verb == Verb::Replace,
            Self::Delete => verb == Verb::Delete,
        }
    }
}

/// A rule, or `*`.
struct OrStar<R>(std::marker::PhantomData<R>);

impl<R: Rule<Out = String>> Rule for OrStar<R> {
    type Out = String;
    fn read(text: String) -> Result<String, String> {
        if text == "*" { Ok(text) } else { R::read(text) }
    }
}

impl Grant {
    /// Whether this grant is about that kind.
    pub(crate) fn covers_kind(&self, group: &str, kind: &str) -> bool {
        let named = self.group == group && self.kind == kind;
        let matches = (self.group == "*" || self.group == group) && (self.kind == "*" || self.kind == kind);
        named || (matches && !is_dangerous(group, kind))
    }

    /// Whether this grant covers that verb.
    pub(crate) fn covers_verb(&self, verb: Verb) -> bool {
        self.verbs.iter().any(|granted| granted.covers(verb))
    }

    /// Whether this grant is about that subresource; none is the object itself.
    pub(crate) fn covers_subresource(&self, verb: Verb, subresource: Option<&str>) -> bool {
        match subresource {
            None => self.subresources.is_empty() || !verb.knows_subresources(),
            Some(subresource) => {
                verb.knows_subresources()
                    && self.subresources.iter().any(|granted| {
                        granted == subresource || (granted == "*" && !is_dangerous_subresource(subresource))
                    })
            }
        }
    }
}

/// Everything an operator grants one plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grants {
    /// These and nothing else.
    Only(Vec<Grant>),
    /// Whatever the plugin's manifest asks for, dangerous kinds included: the word `asked` in the file. Whoever can
    /// change the module can then do whatever the host itself may. Meant for `dev` on a local cluster.
    Asked,
}

impl Default for Grants {
    fn default() -> Self {
        Self::Only(Vec::new())
    }
}

impl<'de> Deserialize<'de> for Grants {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Grants;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of grants, or the word `asked`")
            }
            fn visit_str<E: de::Error>(self, word: &str) -> Result<Grants, E> {
                if word == "asked" {
                    Ok(Grants::Asked)
                } else {
                    Err(E::invalid_value(de::Unexpected::Str("…"), &self))
                }
            }
            fn visit_unit<E: de::Error>(self) -> Result<Grants, E> {
                Ok(Grants::default())
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Grants, A::Error> {
                let mut grants = Vec::new();
                while let Some(grant) = entries.next_element::<Grant>()? {
                    if grants.len() == 1000 {
                        return Err(de::Error::custom("more than 1000 grants for one plugin"));
                    }
                    if grant.verbs.is_empty() {
                        return Err(de::Error::custom("`verbs` is empty: the grant grants nothing"));
                    }
                    grants.push(grant);
                }
                Ok(Grants::Only(grants))
            }
            fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Grants, A::Error> {
                Err(de::Error::custom(
                    "a list of grants is needed here, each beginning with `-`; this is a single mapping",
                ))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// Whether rights on this kind amount to more rights than they say: to secrets, to code that runs with another's
/// rights, or to changing who may do what. No `*` covers these.
pub fn is_dangerous(group: &str, kind: &str) -> bool {
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
        "apps" | "batch" => true,
        "rbac.authorization.k8s.io"
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

/// Whether a subresource amounts to more rights than it says. No `*` covers these.
pub fn is_dangerous_subresource(subresource: &str) -> bool {
    matches!(
        subresource,
        "exec"
            | "attach"
            | "portforward"
            | "proxy"
            | "ephemeralcontainers"
            | "token"
            | "binding"
            | "eviction"
            | "approval"
            | "finalize"
            | "resize"
    )
}

/// What of `asked` no grant covers: what the operator must still grant, or the plugin is not loaded. A permission that
/// names no namespaces (or names) asks for wherever it is granted: any is enough. Where it names some, each is needed.
pub fn missing(asked: &[Permission], granted: &Grants) -> Vec<Permission> {
    let Grants::Only(grants) = granted else {
        return Vec::new();
    };
    asked
        .iter()
        .filter_map(|permission| missing_of(permission, grants))
        .collect()
}

fn missing_of(asked: &Permission, grants: &[Grant]) -> Option<Permission> {
    let mut lacking = Permission {
        verbs: Vec::new(),
        namespaces: Vec::new(),
        names: asked.names.clone(),
        subresources: Vec::new(),
        ..asked.clone()
    };
    for &verb in &asked.verbs {
        let subresources: Vec<Option<&str>> = if asked.subresources.is_empty() || !verb.knows_subresources() {
            vec![None]
        } else {
            asked.subresources.iter().map(|name| Some(name.as_str())).collect()
        };
        for subresource in subresources {
            let about: Vec<&Grant> = grants
                .iter()
                .filter(|g| g.covers_kind(&asked.group, &asked.kind))
                .filter(|g| g.covers_verb(verb) && g.covers_subresource(verb, subresource))
                .collect();
            let namespaces = lacking_namespaces(asked, &about);
            if namespaces.is_empty() {
                continue;
            }
            push_new(&mut lacking.verbs, verb);
            for namespace in namespaces.into_iter().flatten() {
                push_new(&mut lacking.namespaces, namespace.to_owned());
            }
            if let Some(subresource) = subresource {
                push_new(&mut lacking.subresources, subresource.to_owned());
            }
        }
    }
    (!lacking.verbs.is_empty()).then_some(lacking)
}

/// The namespaces (none: any) in which not every asked name is covered by one of these grants.
fn lacking_namespaces<'a>(asked: &'a Permission, about: &[&Grant]) -> Vec<Option<&'a str>> {
    let holds = |list: &[String], wanted: Option<&str>| {
        wanted.is_none_or(|wanted| list.is_empty() || list.iter().any(|own| own == "*" || own == wanted))
    };
    let all_of = |list: &'a [String]| -> Vec<Option<&'a str>> {
        if list.is_empty() {
            vec![None]
        } else {
            list.iter().map(|text| Some(text.as_str())).collect()
        }
    };
    let names = all_of(&asked.names);
    all_of(&asked.namespaces)
        .into_iter()
        .filter(|namespace| {
            !names.iter().all(|name| {
                about
                    .iter()
                    .any(|g| holds(&g.namespaces, *namespace) && holds(&g.names, *name))
            })
        })
        .collect()
}

fn push_new<T: PartialEq>(list: &mut Vec<T>, value: T) {
    if !list.contains(&value) {
        list.push(value);
    }
}
