//! What one subscriber may see of a kind, and how a change of the store looks through that.

use std::{collections::BTreeSet, sync::Arc};

use pilothouse_object::{FieldSet, Head, Key, LabelSelector, Object, Version};

/// One change of one object, as the store or a view of it saw it.
///
/// A deleted and recreated object (another uid under the same name) comes as two deltas: the deletion, then the
/// addition.
#[derive(Clone, Debug)]
pub struct Delta {
    /// Which object.
    pub key: Key,
    /// The object as it stood before; none where it is new.
    pub old: Option<Object>,
    /// The object as it stands now; none where it is gone.
    pub new: Option<Object>,
    /// The state that the deletion itself carried, with the deletion's version. None for everything but deletions, and
    /// where the deletion was found out by a relist.
    pub last: Option<Object>,
    /// Part of the subscriber's first picture of the kind, not a change that just happened.
    pub initial: bool,
    /// True for deletions that nobody watched: the object vanished between two lists, `old` is the last state known and
    /// may lack later changes.
    pub final_state_unknown: bool,
    /// The version at which it happened: the object's new version, the deletion's, or the list's.
    pub version: Version,
}

impl Delta {
    /// An object that came or changed.
    pub(crate) fn put(old: Option<Object>, new: Object) -> Self {
        Self {
            key: new.key().clone(),
            version: new.head().version.clone(),
            old,
            new: Some(new),
            last: None,
            initial: false,
            final_state_unknown: false,
        }
    }

    /// An object that is gone.
    pub(crate) fn gone(old: Object, last: Option<Object>, version: Version) -> Self {
        Self {
            key: old.key().clone(),
            old: Some(old),
            new: None,
            final_state_unknown: last.is_none(),
            last,
            initial: false,
            version,
        }
    }

    /// True where the object is gone.
    pub fn is_deletion(&self) -> bool {
        self.new.is_none()
    }
}

/// Some names, or all there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Names {
    /// Every name, also those that don't exist yet.
    #[default]
    All,
    /// These and no other; the empty set means none at all.
    Set(BTreeSet<Arc<str>>),
}

impl Names {
    /// A set of names.
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self::Set(names.into_iter().map(Into::into).collect())
    }

    /// True where it holds no name at all.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Set(names) if names.is_empty())
    }

    /// True where the name is among them.
    pub fn contains(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Set(names) => names.contains(name),
        }
    }
}

/// How much of each object a view shows. Each shows the same whatever others have the cache keep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Projection {
    /// `apiVersion`, `kind` and metadata alone, without managedFields and `kubectl apply`'s copy.
    Metadata,
    /// That and these fields. Who asks for fields sees no others, also where the cache keeps them. Of Secrets they show
    /// no data.
    Fields(Arc<FieldSet>),
    /// The object without managedFields and `kubectl apply`'s copy. The default. Secrets show no data.
    #[default]
    Whole,
    /// The object as the server sent it; costs about half as much memory again. Secrets still show no data.
    Uncut,
}

impl Projection {
    /// True where an object kept like this serves who asks for the other.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Uncut, _) | (_, Self::Metadata) => true,
            (_, Self::Fields(fields)) if fields.is_empty() => true,
            (Self::Whole, other) => *other != Self::Uncut,
            (Self::Fields(have), Self::Fields(want)) => have.covers(want),
            (Self::Fields(_) | Self::Metadata, _) => false,
        }
    }

    /// What serves both.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Fields(a), Self::Fields(b)) if !self.covers(other) && !other.covers(self) => {
                // Beyond so many the whole object costs less.
                a.union(b).map_or(Self::Whole, |both| Self::Fields(Arc::new(both)))
            }
            _ if self.covers(other) => self.clone(),
            _ => other.clone(),
        }
    }

    /// So much of an object, never more than it holds.
    pub fn of(&self, object: &Object) -> Object {
        match self {
            Self::Metadata => object.metadata_only(),
            Self::Fields(fields) => object.fields_only(fields),
            Self::Whole => object.cut(),
            Self::Uncut => object.clone(),
        }
    }
}

/// What one subscriber sees of a kind. Everything it reads or hears passes through here.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Whom the memory of what it shows is charged to: a plugin's name. It decides nothing else.
    pub owner: Arc<str>,
    /// Namespaces it sees. A set sees no cluster-scoped object.
    pub namespaces: Names,
    /// Object names it sees.
    pub names: Names,
    /// Labels that an object must have.
    pub selector: LabelSelector,
    /// A field selector that only the server can evaluate, such as `spec.nodeName=a` of pods; none or empty: all. It
    /// costs a list and a watch of its own, shared only with those who ask for the very same text.
    pub fields: Option<Arc<str>>,
    /// How much of each object.
    pub projection: Projection,
}

impl View {
    /// Sees every object whole.
    pub fn everything() -> Self {
        Self::default()
    }

    /// True where the namespace lies in the view; none stands for cluster-scoped objects.
    pub fn sees_namespace(&self, namespace: Option<&str>) -> bool {
        match namespace {
            Some(namespace) => self.namespaces.contains(namespace),
            None => self.namespaces == Names::All,
        }
    }

    /// True where an object of this key could be seen, whatever its labels are.
    pub fn sees_key(&self, key: &Key) -> bool {
        self.sees_namespace(key.namespace.as_deref()) && self.names.contains(&key.name)
    }

    /// True where the object is seen as it stands.
    pub fn sees(&self, head: Head<'_>) -> bool {
        self.sees_key(head.key) && self.selector.matches(&head.labels)
    }

    /// What the view shows of an object that it sees.
    pub fn project(&self, object: &Object) -> Object {
        match self.projection {
            // The common case must cost nothing: what is kept for others uncut, the informer cuts.
            Projection::Whole => object.clone(),
            _ => self.projection.of(object),
        }
    }

    /// The change as seen through the view; none where nothing of it is seen.
    ///
    /// An object that leaves the view is deleted for it: with the old object and the new version, and never with the
    /// new state, which the view may not show. One that enters is added.
    pub fn delta(&self, delta: &Delta) -> Option<Delta> {
        let seen = |object: &Option<Object>| {
            object
                .as_ref()
                .filter(|o| self.sees(o.head()))
                .map(|object| self.project(object))
        };
        let (old, new) = (seen(&delta.old), seen(&delta.new));
        if old.is_none() && new.is_none() {
            return None;
        }
        Some(Delta {
            key: delta.key.clone(),
            last: if new.is_none() { seen(&delta.last) } else { None },
            old,
            new,
            initial: delta.initial,
            final_state_unknown: delta.final_state_unknown,
            version: delta.version.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{labelled, object};

    fn selector(text: &str) -> View {
        View {
            selector: LabelSelector::parse(text).unwrap(),
            ..View::everything()
        }
    }

    #[test]
    fn leaving_a_view_is_a_deletion_with_the_old_object_and_the_new_version() {
        let (old, new) = (
            labelled("a", "x", "u", 1, "app", "web"),
            labelled("a", "x", "u", 2, "app", "db"),
        );
        let delta = selector("app=web").delta(&Delta::put(Some(old.clone()), new)).unwrap();
        assert!(delta.is_deletion() && delta.last.is_none() && !delta.final_state_unknown);
        assert_eq!(delta.old, Some(old));
        assert_eq!(delta.version.as_str(), "2");
    }

    #[test]
    fn entering_a_view_is_an_addition() {
        let (old, new) = (
            labelled("a", "x", "u", 1, "app", "db"),
            labelled("a", "x", "u", 2, "app", "web"),
        );
        let delta = selector("app=web").delta(&Delta::put(Some(old), new.clone())).unwrap();
        assert_eq!((delta.old, delta.new), (None, Some(new)));
    }

    #[test]
    fn what_a_view_does_not_see_reaches_nobody() {
        let view = View {
            namespaces: Names::of(["a"]),
            names: Names::of(["x"]),
            ..View::everything()
        };
        assert!(view.delta(&Delta::put(None, object("a", "x", "u", 1))).is_some());
        for (namespace, name) in [("b", "x"), ("a", "y"), ("", "x")] {
            let object = object(namespace, name, "u", 1);
            assert!(view.delta(&Delta::put(None, object.clone())).is_none());
            assert!(view.delta(&Delta::gone(object, None, Version::new("2"))).is_none());
        }
    }

    #[test]
    fn a_deletion_hides_a_last_state_that_the_view_does_not_see() {
        let (old, last) = (
            labelled("a", "x", "u", 1, "app", "web"),
            labelled("a", "x", "u", 2, "app", "db"),
        );
        let delta = Delta::gone(old.clone(), Some(last), Version::new("2"));
        let seen = selector("app=web").delta(&delta).unwrap();
        assert_eq!((seen.old, seen.last), (Some(old), None));
    }

    #[test]
    fn a_metadata_view_shows_metadata_alone() {
        let view = View {
            projection: Projection::Metadata,
            ..View::everything()
        };
        let delta = view.delta(&Delta::put(None, object("a", "x", "u", 1))).unwrap();
        let json = delta.new.as_ref().map(|o| o.json().to_owned()).unwrap();
        assert!(json.contains("metadata") && !json.contains("spec"), "{json}");
    }
}
