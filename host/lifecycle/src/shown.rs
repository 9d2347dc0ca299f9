//! How much of a kind's objects a plugin sees: what its manifest declares, and what its own paths read beside that.
//! Pure.
//!
//! Metadata, some fields, or whole objects: three sizes of one thing. A plugin's reads of a kind go through all of its
//! windows on it, so the fields that its controllers declare of one kind add up. What `changes`, a mapping by `field`
//! and the kind's indexes read is among them, since a path that leads out of what is kept would never find anything.

use pilothouse_object::{FieldPath, FieldSet, Gvk};

use crate::manifest::{Controller, Manifest, Mapping, Watch};

/// So much of each object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// `apiVersion`, `kind` and metadata alone.
    Metadata,
    /// That and these fields, of which there is at least one.
    Fields(FieldSet),
    /// Whole objects.
    Whole,
}

impl Manifest {
    /// How much the plugin sees of the objects of a controller's own kind.
    pub fn shown_of_primary(&self, controller: &Controller) -> Shown {
        self.shown(&controller.kind, &controller.fields)
    }

    /// How much the plugin sees of the objects of another kind that it watches.
    pub fn shown_of_watched(&self, watch: &Watch) -> Shown {
        if watch.metadata_only {
            return Shown::Metadata;
        }
        self.shown(&watch.kind, &watch.fields)
    }

    fn shown(&self, kind: &Gvk, declared: &[FieldPath]) -> Shown {
        if declared.is_empty() {
            return Shown::Whole;
        }
        // The manifest's check lets no more through than a set takes.
        self.fields_of(kind).map_or(Shown::Whole, Shown::Fields)
    }

    /// The fields of a kind that are shown where not all are; none if they are too many for a set.
    pub(crate) fn fields_of(&self, kind: &Gvk) -> Option<FieldSet> {
        let mut paths: Vec<&FieldPath> = Vec::new();
        for controller in &self.controllers {
            if controller.kind == *kind && !controller.fields.is_empty() {
                paths.extend(controller.fields.iter().chain(&controller.changes));
            }
            let watches = controller.watches.iter();
            for watch in watches.filter(|watch| watch.kind == *kind && !watch.fields.is_empty()) {
                paths.extend(&watch.fields);
                if let Mapping::Field(path) = &watch.map {
                    paths.push(path);
                }
            }
        }
        let indexes = self.indexes.iter().filter(|index| index.kind == *kind);
        paths.extend(indexes.flat_map(|index| &index.paths));
        FieldSet::new(paths)
    }
}

#[cfg(test)]
#[path = "tests/shown.rs"]
mod tests;
