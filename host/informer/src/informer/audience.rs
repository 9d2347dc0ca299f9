//! The subscribers of a kind: what each has been shown of it, and what each hears of a change.
//!
//! A part of the kind is shown to a subscriber once a watch that brings what it needs has put its first list into the
//! store. Until then it hears nothing of it, also where others that need less have it already.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use pilothouse_object::Object;

use crate::{
    informer::Handler,
    informer::slot::Slot,
    shared,
    shared::need::Need,
    store::{Scope, Store},
    view::{Delta, Projection, View},
};

/// A subscriber.
pub(crate) struct Subscriber {
    pub(crate) view: Arc<View>,
    pub(crate) need: Need,
    pub(crate) handler: Arc<dyn Handler>,
    pub(crate) synced: Arc<AtomicBool>,
    /// The store's names of its indexes.
    pub(crate) indexes: Vec<String>,
    /// What it was shown. Says nothing once it is synced: then it was shown all there is in its view.
    shown: BTreeSet<Scope>,
}

impl Subscriber {
    pub(crate) fn new(view: Arc<View>, need: Need, handler: Arc<dyn Handler>, indexes: Vec<String>) -> Self {
        Self {
            view,
            need,
            handler,
            synced: Arc::new(AtomicBool::new(false)),
            indexes,
            shown: BTreeSet::new(),
        }
    }

    fn is_synced(&self) -> bool {
        self.synced.load(Ordering::Acquire)
    }

    fn was_shown(&self, delta: &Delta) -> bool {
        self.is_synced() || self.shown.iter().any(|scope| scope.covers(&delta.key))
    }

    /// Shows it a part: what the store holds of it, as additions. The caller delivers them.
    pub(crate) fn show(&mut self, scope: &Scope, store: &Store, uncut: bool) -> Vec<Delta> {
        let object = |object: &Object| {
            let delta = Delta {
                initial: true,
                ..Delta::put(None, object.clone())
            };
            if self.was_shown(&delta) {
                return None;
            }
            through(&self.view, &delta, uncut)
        };
        let additions = match scope {
            Scope::All => store.iter().filter_map(object).collect(),
            Scope::Namespace(namespace) => store.namespace(namespace).filter_map(object).collect(),
        };
        self.shown.insert(scope.clone());
        additions
    }

    /// What it hears of a list that was just committed with these changes; none where that shows it nothing for the
    /// first time: then it hears of it as of any change.
    pub(crate) fn first(&mut self, slot: &Slot, deltas: &[Delta], store: &Store, uncut: bool) -> Option<Vec<Delta>> {
        if self.is_synced() || self.shown.contains(&slot.scope) || !slot.need.covers(&self.need) {
            return None;
        }
        let mut heard = self.hears(deltas, uncut);
        heard.extend(self.show(&slot.scope, store, uncut));
        Some(heard)
    }

    /// True where every part of its view is held by a watch that brings what it needs.
    pub(crate) fn is_held(&self, slots: &BTreeMap<u64, Slot>) -> bool {
        shared::held(&self.view.namespaces, &self.held(slots))
    }

    /// The parts that watches hold which bring what it needs.
    pub(crate) fn held(&self, slots: &BTreeMap<u64, Slot>) -> BTreeSet<Scope> {
        slots
            .values()
            .filter(|slot| slot.committed && slot.need.covers(&self.need))
            .map(|slot| slot.scope.clone())
            .collect()
    }

    /// What it hears of these changes.
    pub(crate) fn hears(&self, deltas: &[Delta], uncut: bool) -> Vec<Delta> {
        let synced = self.is_synced();
        deltas
            .iter()
            .filter(|delta| self.was_shown(delta))
            .filter_map(|delta| through(&self.view, delta, uncut))
            .map(|delta| Delta {
                initial: delta.initial && !synced && delta.old.is_none(),
                ..delta
            })
            .collect()
    }
}

/// A change through a view; `uncut`: others have the cache keep what this view may not show.
fn through(view: &View, delta: &Delta, uncut: bool) -> Option<Delta> {
    let delta = view.delta(delta)?;
    if !uncut || view.projection != Projection::Whole {
        return Some(delta);
    }
    let cut = |object: Option<Object>| object.map(|object| object.cut());
    Some(Delta {
        old: cut(delta.old),
        new: cut(delta.new),
        last: cut(delta.last),
        ..delta
    })
}

/// An object through a view; see [`through`].
pub(crate) fn shown(view: &View, object: &Object, uncut: bool) -> Object {
    let object = view.project(object);
    if uncut && view.projection == Projection::Whole {
        object.cut()
    } else {
        object
    }
}
