//! The controllers that a dispatcher knows, and which of them may have something to do. Pure.
//!
//! Promises: what a step costs grows with the controllers that were changed since the last one, or whose time has come,
//! and not with how many there are. Whoever gets an entry to change it is noted: nobody has to say that a key has come.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Deref,
    sync::Arc,
    time::Duration,
};

use crate::{ControllerId, scheduling::dispatcher::Entry};

/// Entries by controller; to be read as the map they are.
#[derive(Default)]
pub(crate) struct Entries {
    all: BTreeMap<ControllerId, Entry>,
    /// Those that may have changed since the last step, each once.
    touched: Vec<ControllerId>,
    /// When those that were not touched have something to do. One that is gone may stand here until then.
    due: BTreeSet<(Duration, ControllerId)>,
}

/// What [`Entries`] notes of an entry.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Noted {
    touched: bool,
    /// Under which time it stands among those that are due.
    due: Option<Duration>,
}

impl Deref for Entries {
    type Target = BTreeMap<ControllerId, Entry>;
    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

impl Entries {
    /// One that is there, to be changed.
    pub(crate) fn get_mut(&mut self, id: &ControllerId) -> Option<&mut Entry> {
        let entry = self.all.get_mut(id)?;
        if !std::mem::replace(&mut entry.noted.touched, true) {
            self.touched.push(id.clone());
        }
        Some(entry)
    }

    /// One that is there, to take a key that is ready: nothing gets ready or due by that.
    pub(crate) fn picked(&mut self, id: &ControllerId) -> Option<&mut Entry> {
        self.all.get_mut(id)
    }

    /// A new one.
    pub(crate) fn insert(&mut self, id: ControllerId, entry: Entry) {
        self.all.insert(id.clone(), entry);
        self.get_mut(&id);
    }

    /// All of them, to be changed.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&ControllerId, &mut Entry)> {
        let touched = &mut self.touched;
        self.all.iter_mut().map(|(id, entry)| {
            if !std::mem::replace(&mut entry.noted.touched, true) {
                touched.push(id.clone());
            }
            (id, entry)
        })
    }

    /// Removes those of which `gone` says so, and answers which.
    pub(crate) fn remove(&mut self, mut gone: impl FnMut(&ControllerId, &Entry) -> bool) -> Vec<ControllerId> {
        let removed = self.all.extract_if(.., |id, entry| gone(id, entry));
        removed.map(|(id, _)| id).collect()
    }

    /// Lets time pass in those whose time has come or that were touched, and tells the plugin of each that runs and has
    /// ready keys.
    pub(crate) fn step(&mut self, now: Duration, mut ready: impl FnMut(&Arc<str>)) {
        while self.due.first().is_some_and(|(due, _)| *due <= now) {
            let Some((_, id)) = self.due.pop_first() else { break };
            if let Some(entry) = self.get_mut(&id) {
                entry.noted.due = None;
            }
        }
        for id in self.touched.drain(..) {
            let Some(entry) = self.all.get_mut(&id) else { continue };
            entry.noted.touched = false;
            entry.queue.advance(now);
            let due = entry.next_due();
            if entry.started && !entry.queue.is_empty() {
                ready(&id.plugin);
            }
            if due != entry.noted.due {
                let before = std::mem::replace(&mut entry.noted.due, due);
                if let Some(before) = before {
                    self.due.remove(&(before, id.clone()));
                }
                self.due.extend(due.map(|due| (due, id)));
            }
        }
    }

    /// When [`Entries::step`] has something to do though nothing was touched.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        let touched = self.touched.iter().filter_map(|id| self.all.get(id)?.next_due());
        touched.chain(self.due.first().map(|(due, _)| *due)).min()
    }
}
