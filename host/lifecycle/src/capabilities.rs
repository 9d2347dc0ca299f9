//! Capabilities: asked ∩ granted, compiled for the check that every import call of a guest passes.
//!
//! Promises: what [`Capabilities::allows`] was asked for by the manifest *and* granted by the operator, each by a
//! single entry of theirs; a refusal says which of the two was lacking and who mends it how. It does not look at what
//! the API server's RBAC allows the host.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use pilothouse_object::Gvk;

use crate::danger::{OF_THE_CLUSTER, danger, danger_there};
use crate::grant::{Grant, Granted, Grants};
use crate::permission::{Permission, Verb};
use crate::problem::shown;

/// What one plugin may do. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Capabilities {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    plugin: Box<str>,
    /// By group, then by kind.
    rules: HashMap<Box<str>, HashMap<Box<str>, Vec<Rule>>>,
    /// For the words of a refusal only.
    asked: Vec<Permission>,
    /// One of the namespaces where some things need a rule that [names](Rule::named) it.
    host_namespace: Option<Box<str>>,
}

/// One asked permission cut with one grant.
#[derive(Debug)]
struct Rule {
    verbs: Vec<Verb>,
    /// None: the object itself.
    subresource: Option<Box<str>>,
    reach: Reach,
    /// In which namespaces that [need a word of their own](danger_there) it holds for what does.
    named: Extent,
}

impl Rule {
    /// Whether in that namespace (none: in all) it names what the other one names.
    fn names_what(&self, other: &Self, namespace: Option<&str>) -> bool {
        match namespace {
            None => other.named.each().all(|named| self.named.holds(named)),
            Some(_) => self.named.holds(namespace) || !other.named.holds(namespace),
        }
    }

    /// Whether each of its verbs, for each of its namespaces and names, stands in one of these.
    fn is_within(&self, others: &[Self]) -> bool {
        self.verbs.iter().all(|verb| {
            self.reach.namespaces.each().all(|namespace| {
                self.reach.names.each().all(|name| {
                    others.iter().any(|other| {
                        other.subresource == self.subresource
                            && other.verbs.contains(verb)
                            && other.names_what(self, namespace)
                            && other.reach.namespaces.holds(namespace)
                            && other.reach.names.holds(name)
                    })
                })
            })
        })
    }
}

/// A part of what a plugin may do.
pub(crate) struct Held<'a> {
    pub(crate) group: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) verbs: &'a [Verb],
    /// None: the objects themselves.
    pub(crate) subresource: Option<&'a str>,
    pub(crate) reach: &'a Reach,
    /// In which namespaces that [need a word of their own](danger_there) it holds for what does.
    pub(crate) named: &'a Extent,
}

/// Where a capability holds: every pair of one of the namespaces and one of the names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reach {
    /// Which namespaces.
    pub namespaces: Extent,
    /// Which names.
    pub names: Extent,
}

/// All, or some.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Extent {
    /// Every one there is, and for namespaces also objects that live in none.
    All,
    /// These, sorted and without repetition.
    Only(Arc<[Arc<str>]>),
}

impl Extent {
    /// Whether `one` is in it; none is in [`Extent::All`] only.
    pub fn holds(&self, one: Option<&str>) -> bool {
        match (self, one) {
            (Self::All, _) => true,
            (Self::Only(_), None) => false,
            (Self::Only(some), Some(one)) => some.binary_search_by(|own| (**own).cmp(one)).is_ok(),
        }
    }

    /// Its parts, for [`Extent::holds`]: none stands for all.
    fn each(&self) -> impl Iterator<Item = Option<&str>> {
        let (all, some): (_, &[Arc<str>]) = match self {
            Self::All => (Some(None), &[]),
            Self::Only(some) => (None, some),
        };
        all.into_iter().chain(some.iter().map(|one| Some(&**one)))
    }

    /// From a list in which empty means all.
    fn of(list: &[String]) -> Self {
        if list.is_empty() || list.iter().any(|text| text == "*") {
            return Self::All;
        }
        Self::only(list.iter().map(|text| Arc::from(text.as_str())).collect())
    }

    fn only(mut some: Vec<Arc<str>>) -> Self {
        some.sort_unstable();
        some.dedup();
        Self::Only(some.into())
    }

    /// What is in both; none where nothing is.
    fn intersect(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::All, other) => Some(other.clone()),
            (one, Self::All) => Some(one.clone()),
            (Self::Only(some), other) => {
                let both: Vec<Arc<str>> = some.iter().filter(|one| other.holds(Some(one))).cloned().collect();
                (!both.is_empty()).then(|| Self::only(both))
            }
        }
    }
}

impl Capabilities {
    /// What `plugin` (its identity, used in messages) may do when it asked for `asked` and was granted `granted`.
    pub fn new(plugin: &str, asked: &[Permission], granted: &Granted) -> Self {
        let grants = granted.entries(asked);
        let mut rules: HashMap<Box<str>, HashMap<Box<str>, Vec<Rule>>> = HashMap::new();
        for permission in asked {
            let own = rules.entry(permission.group.as_str().into()).or_default();
            let own = own.entry(permission.kind.as_str().into()).or_default();
            for grant in &grants {
                let named = match granted.plain {
                    Grants::Everything => Extent::All,
                    _ => {
                        let guarded = granted.host_namespace.as_deref().into_iter().chain(OF_THE_CLUSTER);
                        Extent::only(
                            guarded
                                .filter(|own| grant.names_namespace(own))
                                .map(Arc::from)
                                .collect(),
                        )
                    }
                };
                own.extend(cut(permission, Some(grant), &named));
            }
        }
        Self {
            inner: Arc::new(Inner {
                plugin: plugin.into(),
                rules,
                asked: asked.to_vec(),
                host_namespace: granted.host_namespace.as_deref().map(Into::into),
            }),
        }
    }

    /// Whether the plugin may do `verb` on that object of that kind (the version doesn't matter). No namespace: objects
    /// that live in none, or all namespaces at once. No name: all names at once, or one that the server makes up.
    /// `list`, `watch` and `digest` know no subresource.
    ///
    /// # Errors
    /// [`Denied`], fit to be handed to the guest as it is. Nothing must then be sent.
    pub fn allows(
        &self,
        verb: Verb,
        kind: &Gvk,
        namespace: Option<&str>,
        name: Option<&str>,
        subresource: Option<&str>,
    ) -> Result<(), Denied> {
        let guarded = self.is_guarded(verb, kind, namespace);
        let allowed = self.rules(kind).iter().any(|rule| {
            rule.is_about(verb, subresource)
                && (!guarded || rule.named.holds(namespace))
                && rule.reach.namespaces.holds(namespace)
                && rule.reach.names.holds(name)
        });
        if allowed {
            Ok(())
        } else {
            Err(self.denied(verb, kind, namespace, name, subresource))
        }
    }

    /// Where the plugin may do `verb` on that kind: views and watches are made from this. Empty: nowhere. The parts may
    /// overlap.
    pub fn reach(&self, verb: Verb, kind: &Gvk, subresource: Option<&str>) -> Vec<Reach> {
        let mut reach: Vec<Reach> = Vec::new();
        for rule in self.rules(kind).iter().filter(|rule| rule.is_about(verb, subresource)) {
            if !reach.contains(&rule.reach) {
                reach.push(rule.reach.clone());
            }
        }
        reach
    }

    /// Whether all of this may be done by whoever has the other, too: nothing of it would have to be taken away.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        let home = other.inner.host_namespace.as_deref();
        let at_home = home.is_none() || self.inner.host_namespace.as_deref() == home;
        at_home
            && self.inner.rules.iter().all(|(group, kinds)| {
                kinds.iter().all(|(kind, rules)| {
                    let others = other.inner.rules.get(group).and_then(|kinds| kinds.get(kind));
                    let others = others.map(Vec::as_slice).unwrap_or_default();
                    rules.iter().all(|rule| rule.is_within(others))
                })
            })
    }

    /// The namespace of the host, as far as that was known.
    pub(crate) fn host_namespace(&self) -> Option<&str> {
        self.inner.host_namespace.as_deref()
    }

    /// Everything that it may do, entry by entry; parts may overlap.
    pub(crate) fn held(&self) -> impl Iterator<Item = Held<'_>> {
        self.inner.rules.iter().flat_map(|(group, kinds)| {
            kinds.iter().flat_map(move |(kind, rules)| {
                rules.iter().map(move |rule| Held {
                    group,
                    kind,
                    verbs: &rule.verbs,
                    subresource: rule.subresource.as_deref(),
                    reach: &rule.reach,
                    named: &rule.named,
                })
            })
        })
    }

    /// Whether this needs a grant that names the namespace.
    fn is_guarded(&self, verb: Verb, kind: &Gvk, namespace: Option<&str>) -> bool {
        let home = self.inner.host_namespace.as_deref();
        namespace.is_some_and(|own| danger_there(verb, &kind.group, &kind.kind, own, home).is_some())
    }

    fn rules(&self, kind: &Gvk) -> &[Rule] {
        self.inner
            .rules
            .get(&*kind.group)
            .and_then(|kinds| kinds.get(&*kind.kind))
            .map_or(&[], Vec::as_slice)
    }

    #[cold]
    fn denied(
        &self,
        verb: Verb,
        kind: &Gvk,
        namespace: Option<&str>,
        name: Option<&str>,
        subresource: Option<&str>,
    ) -> Denied {
        let asked = self
            .inner
            .asked
            .iter()
            .filter(|permission| permission.is_about(kind))
            .any(|permission| {
                cut(permission, None, &Extent::All).iter().any(|rule| {
                    rule.is_about(verb, subresource)
                        && rule.reach.namespaces.holds(namespace)
                        && rule.reach.names.holds(name)
                })
            });
        let quoted = |text: &str| Box::<str>::from(shown(text));
        Denied {
            plugin: self.inner.plugin.clone(),
            verb,
            // A guest names the kind: its text is as foreign as the rest.
            group: quoted(&kind.group),
            kind: quoted(&kind.kind),
            namespace: namespace.map(quoted),
            name: name.map(quoted),
            subresource: subresource.map(quoted),
            lacking: match asked {
                false => Lacking::Asked,
                // As a grant would have to be that names the object, which is the most that a plain one can.
                true if self.is_guarded(verb, kind, namespace)
                    || danger(verb, &kind.group, &kind.kind, subresource, name.is_some()).is_some() =>
                {
                    Lacking::Dangerous
                }
                true => Lacking::Granted,
            },
        }
    }
}

impl Rule {
    fn is_about(&self, verb: Verb, subresource: Option<&str>) -> bool {
        self.verbs.contains(&verb) && self.subresource.as_deref() == subresource
    }
}

/// The rules that `asked` and `grant` (none: everything asked for) have in common; at most one about the objects
/// themselves and one about each subresource.
fn cut(asked: &Permission, grant: Option<&Grant>, named: &Extent) -> Vec<Rule> {
    let mut reach = Reach {
        namespaces: Extent::of(&asked.namespaces),
        names: Extent::of(&asked.names),
    };
    if let Some(grant) = grant {
        let namespaces = reach.namespaces.intersect(&Extent::of(&grant.namespaces));
        let names = reach.names.intersect(&Extent::of(&grant.names));
        match (namespaces, names) {
            (Some(namespaces), Some(names)) => reach = Reach { namespaces, names },
            _ => return Vec::new(),
        }
    }
    let rule = |subresource: Option<&str>| {
        let is_asked = |verb: Verb| match subresource {
            None => asked.subresources.is_empty() || !verb.knows_subresources(),
            Some(_) => verb.knows_subresources(),
        };
        let covered = |verb| grant.is_none_or(|grant| grant.covers(verb, &asked.group, &asked.kind, subresource));
        let verbs: Vec<Verb> = asked
            .verbs
            .iter()
            .copied()
            .filter(|verb| is_asked(*verb) && covered(*verb))
            .collect();
        (!verbs.is_empty()).then(|| Rule {
            verbs,
            subresource: subresource.map(Into::into),
            reach: reach.clone(),
            named: named.clone(),
        })
    };
    let subresources = asked.subresources.iter().map(|name| Some(name.as_str()));
    std::iter::once(None).chain(subresources).filter_map(rule).collect()
}

/// A call that the plugin has no capability for. Its text says what was lacking and how it is mended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Denied {
    /// The plugin.
    pub plugin: Box<str>,
    /// What it wanted to do.
    pub verb: Verb,
    /// The kind's API group, fit to be shown.
    pub group: Box<str>,
    /// The kind, fit to be shown.
    pub kind: Box<str>,
    /// Where; none for all namespaces, or for objects that live in none.
    pub namespace: Option<Box<str>>,
    /// On which object; none for all, or for one whose name the server makes up.
    pub name: Option<Box<str>>,
    /// Of which subresource.
    pub subresource: Option<Box<str>>,
    /// What was lacking.
    pub lacking: Lacking,
}

/// What a denied call lacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lacking {
    /// The manifest doesn't ask for it: its author's to mend.
    Asked,
    /// The manifest asks for it, and it was not granted: the operator's to mend.
    Granted,
    /// The same, and only a grant under `dangerous` gives it.
    Dangerous,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plugin {} may not {} {}", self.plugin, self.verb, self.kind)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        if let Some(subresource) = &self.subresource {
            write!(f, "/{subresource}")?;
        }
        if let Some(name) = &self.name {
            write!(f, " \"{name}\"")?;
        }
        match (&self.namespace, &self.name) {
            (Some(namespace), _) => write!(f, " in namespace \"{namespace}\"")?,
            (None, None) => f.write_str(" everywhere")?,
            // An object that lives in no namespace.
            (None, Some(_)) => {}
        }
        // A plain grant of these holds where it names the objects.
        let by_name = *self.group == *"" && *self.kind == *"Secret" && matches!(self.verb, Verb::Get | Verb::Digest);
        let entry = Permission {
            group: self.group.to_string(),
            kind: self.kind.to_string(),
            verbs: vec![self.verb],
            namespaces: self.namespace.iter().map(ToString::to_string).collect(),
            names: self.name.iter().filter(|_| by_name).map(ToString::to_string).collect(),
            subresources: self.subresource.iter().map(ToString::to_string).collect(),
        };
        match self.lacking {
            Lacking::Asked => write!(
                f,
                ": its manifest does not ask for it; the plugin's author adds to the manifest's permissions: {entry}"
            ),
            Lacking::Granted | Lacking::Dangerous => {
                let section = if self.lacking == Lacking::Dangerous {
                    "dangerous"
                } else {
                    "grants"
                };
                write!(
                    f,
                    ": it was not granted; the operator adds to `{section}`, in {plugin}.yaml or under plugins.{plugin}: - {entry}",
                    plugin = self.plugin
                )
            }
        }
    }
}
