//! What watches must bring: how much of each object, and of which. Pure.

use std::sync::Arc;

use pilothouse_object::{FieldSet, Gvk, Head, Keep, LabelSelector, Object};

use crate::{
    informer::IndexSpec,
    view::{Names, Projection, View},
};

/// What a subscriber needs, what all of a kind need together, or what a watch brings.
///
/// Needs are ordered by [`Need::covers`], and two of them have a [`Need::union`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// How much of each object.
    pub projection: Projection,
    /// Only objects with these labels.
    pub selector: LabelSelector,
    /// Only objects of this name.
    pub name: Option<Arc<str>>,
}

impl Need {
    /// What a view needs, and the indexes that are declared with it. Of a Secret nobody needs more than `Whole`, in
    /// which it shows no data.
    pub fn of(kind: &Gvk, view: &View, indexes: &[IndexSpec]) -> Self {
        let mut projection = view.projection.clone();
        let paths = indexes.iter().flat_map(|index| &index.paths);
        // An index can only read what is kept.
        let read: Vec<_> = paths.filter(|path| !path.is_metadata()).collect();
        if !read.is_empty() {
            let read = FieldSet::new(read).map_or(Projection::Whole, |set| Projection::Fields(Arc::new(set)));
            projection = projection.union(&read);
        }
        if kind.is_secret() && projection != Projection::Metadata {
            projection = Projection::Whole;
        }
        Self {
            projection,
            selector: view.selector.clone(),
            name: match &view.names {
                Names::Set(names) if names.len() == 1 => names.first().cloned(),
                _ => None,
            },
        }
    }

    /// True where whoever needs the other is served by this.
    pub fn covers(&self, other: &Self) -> bool {
        self.projection.covers(&other.projection)
            && (self.selector.is_everything() || self.selector == other.selector)
            && (self.name.is_none() || self.name == other.name)
    }

    /// What serves both. Selectors and names that differ make it one of everything: no server selects by "or".
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self {
            projection: self.projection.union(&other.projection),
            selector: match self.selector == other.selector {
                true => self.selector.clone(),
                false => LabelSelector::everything(),
            },
            name: self.name.clone().filter(|_| self.name == other.name),
        }
    }

    /// True where the object is among those needed.
    pub fn admits(&self, head: Head<'_>) -> bool {
        self.name.as_ref().is_none_or(|name| *name == head.key.name) && self.selector.matches(&head.labels)
    }

    /// So much of an object as is needed; none where it is not needed at all. Never more than it holds.
    pub fn shape(&self, object: &Object) -> Option<Object> {
        self.admits(object.head()).then(|| self.projection.of(object))
    }

    /// What is kept of an object's bytes when they are read.
    pub fn keep(&self, kind: &Gvk) -> Keep {
        match self.projection {
            Projection::Metadata => Keep::Metadata,
            _ if kind.is_secret() => Keep::Secret,
            // Fields are cut out of it afterwards: see `shape`.
            Projection::Fields(_) | Projection::Whole => Keep::Cut,
            Projection::Uncut => Keep::All,
        }
    }
}

#[cfg(test)]
#[path = "need_tests.rs"]
mod tests;
