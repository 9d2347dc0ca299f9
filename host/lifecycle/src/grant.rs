//! What the operator grants a plugin.
//!
//! A grant has a permission's shape, and `*` besides. What amounts to more rights than it says ([`danger`]) is covered
//! by those grants alone that stand under `dangerous:`, and what comes near it ([`is_sensitive`]) never by `*`.

use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::fmt;

use crate::danger::{danger, danger_there, is_sensitive};
use crate::permission::{Permission, Verb};
use crate::rules::{Group, KindName, Label, ObjectName, Rule, Subresource, Word, items, list, one};

/// One thing an operator grants. Several add up; nothing is granted that no entry covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Grant {
    /// The API group; empty for the core group; `*` for every group, which covers no sensitive kind.
    #[serde(deserialize_with = "one::<_, OrStar<Group>>")]
    pub group: String,
    /// The kind, of whatever version; `*` for every kind but the sensitive ones.
    #[serde(deserialize_with = "one::<_, OrStar<KindName>>")]
    pub kind: String,
    /// What may be done with its objects; not empty; `*` for everything.
    #[serde(deserialize_with = "items::<_, _, 9>")]
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
    /// any here, all verbs but `list`, `watch` and `digest` are about the subresources alone.
    #[serde(
        default,
        deserialize_with = "list::<_, OrStar<Subresource>, 16>",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub subresources: Vec<String>,
    /// Whether it stands under `dangerous:`.
    #[serde(skip)]
    pub(crate) dangerous: bool,
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
    /// Read a Secret's digest.
    Digest,
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
            Self::Digest => verb == Verb::Digest,
            Self::Create => verb == Verb::Create,
            Self::Patch => verb == Verb::Patch,
            Self::Replace => verb == Verb::Replace,
            Self::Delete => verb == Verb::Delete,
        }
    }
}

/// A rule, or `*`. What breaks it stands in an operator's file and is not quoted.
struct OrStar<R>(std::marker::PhantomData<R>);

impl<R: Word> Rule for OrStar<R> {
    type Out = String;
    fn read(text: String) -> Result<String, String> {
        if text == "*" {
            return Ok(text);
        }
        R::read(text).map_err(|_| format!("{}; `*` stands for all", R::NONE))
    }
}

impl Grant {
    /// Whether this grant covers that verb on a kind, or on a subresource of it; where and on which names apart.
    pub(crate) fn covers(&self, verb: Verb, group: &str, kind: &str, subresource: Option<&str>) -> bool {
        self.covers_kind(group, kind)
            && self.verbs.iter().any(|granted| granted.covers(verb))
            && self.covers_subresource(verb, subresource)
            && (self.dangerous || danger(verb, group, kind, subresource, self.names_some()).is_none())
    }

    /// Whether it holds there for what needs its own word in that namespace.
    pub(crate) fn names_namespace(&self, namespace: &str) -> bool {
        self.dangerous && self.namespaces.iter().any(|own| own == namespace)
    }

    fn covers_kind(&self, group: &str, kind: &str) -> bool {
        let named = self.group == group && self.kind == kind;
        let matches = (self.group == "*" || self.group == group) && (self.kind == "*" || self.kind == kind);
        named || (matches && !is_sensitive(group, kind))
    }

    /// None is the object itself. That `*` covers no dangerous subresource is [`danger`]'s to see to.
    fn covers_subresource(&self, verb: Verb, subresource: Option<&str>) -> bool {
        match subresource {
            None => self.subresources.is_empty() || !verb.knows_subresources(),
            Some(subresource) => {
                verb.knows_subresources()
                    && self
                        .subresources
                        .iter()
                        .any(|granted| granted == subresource || granted == "*")
            }
        }
    }

    fn names_some(&self) -> bool {
        !self.names.is_empty() && !self.names.iter().any(|name| name == "*")
    }

    /// Whatever this permission asks for, wherever and on whichever names.
    fn of_asked(permission: &Permission, dangerous: bool) -> Self {
        Self {
            group: permission.group.clone(),
            kind: permission.kind.clone(),
            verbs: vec![GrantedVerb::All],
            namespaces: Vec::new(),
            names: Vec::new(),
            subresources: permission.subresources.clone(),
            dangerous,
        }
    }
}

/// What stands under `grants:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grants {
    /// These and nothing else.
    Only(Vec<Grant>),
    /// Whatever the plugin's manifest asks for, but for what is dangerous: the word `asked` in the file.
    Asked,
    /// Whatever the plugin's manifest asks for. No file says this; it is for `dev` on a cluster in memory.
    Everything,
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

/// What stands under `dangerous:`: every grant there names what it is about.
pub(crate) fn dangerous<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Grant>, D::Error> {
    let mut grants = match Option::<Grants>::deserialize(deserializer)? {
        None => Vec::new(),
        Some(Grants::Only(grants)) => grants,
        Some(_) => {
            return Err(de::Error::custom(
                "a list is needed here: what is dangerous is granted by name",
            ));
        }
    };
    for grant in &mut grants {
        let mut words = [&grant.group, &grant.kind].into_iter().chain(&grant.subresources);
        if words.any(|word| word == "*") || grant.verbs.contains(&GrantedVerb::All) {
            return Err(de::Error::custom(
                "`*` is not allowed here: name the group, the kind, the verbs and the subresources",
            ));
        }
        grant.dangerous = true;
    }
    Ok(grants)
}

/// Everything an operator grants one plugin, and where it takes a word of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    /// What stands under `grants:`.
    pub plain: Grants,
    /// What stands under `dangerous:`.
    pub dangerous: Vec<Grant>,
    /// The namespace that the host itself runs in, where it is known: what is written there is dangerous, whatever it
    /// is.
    pub host_namespace: Option<String>,
}

impl From<Grants> for Granted {
    fn from(plain: Grants) -> Self {
        Self {
            plain,
            ..Self::default()
        }
    }
}

impl Granted {
    /// The grants one by one; what is granted as `asked` is that of these permissions.
    pub(crate) fn entries(&self, asked: &[Permission]) -> Vec<Grant> {
        let as_asked = |dangerous| asked.iter().map(move |own| Grant::of_asked(own, dangerous));
        let mut entries: Vec<Grant> = match &self.plain {
            Grants::Only(grants) => grants.clone(),
            Grants::Asked => as_asked(false).collect(),
            Grants::Everything => as_asked(true).collect(),
        };
        entries.extend(self.dangerous.iter().cloned());
        entries
    }

    /// Whether that verb needs a grant that names this namespace.
    fn guards(&self, verb: Verb, group: &str, kind: &str, namespace: &str) -> bool {
        self.plain != Grants::Everything
            && danger_there(verb, group, kind, namespace, self.host_namespace.as_deref()).is_some()
    }
}

/// What of `asked` no grant covers: what the operator must still grant, or the plugin is not loaded. A permission that
/// names no namespaces (or names) asks for wherever it is granted: any is enough. Where it names some, each is needed.
pub fn missing(asked: &[Permission], granted: &Granted) -> Vec<Permission> {
    let grants = granted.entries(asked);
    asked
        .iter()
        .filter_map(|permission| missing_of(permission, &grants, granted))
        .collect()
}

fn missing_of(asked: &Permission, grants: &[Grant], granted: &Granted) -> Option<Permission> {
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
                .filter(|g| g.covers(verb, &asked.group, &asked.kind, subresource))
                .collect();
            let is_guarded = |namespace: &str| granted.guards(verb, &asked.group, &asked.kind, namespace);
            let namespaces = lacking_namespaces(asked, &about, is_guarded);
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
fn lacking_namespaces<'a>(
    asked: &'a Permission,
    about: &[&Grant],
    is_guarded: impl Fn(&str) -> bool,
) -> Vec<Option<&'a str>> {
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
                about.iter().any(|g| {
                    let there = match namespace {
                        Some(namespace) if is_guarded(namespace) => g.names_namespace(namespace),
                        namespace => holds(&g.namespaces, *namespace),
                    };
                    there && holds(&g.names, *name)
                })
            })
        })
        .collect()
}

fn push_new<T: PartialEq>(list: &mut Vec<T>, value: T) {
    if !list.contains(&value) {
        list.push(value);
    }
}
