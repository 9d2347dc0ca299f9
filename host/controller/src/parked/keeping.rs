//! What is known of one controller's parked keys beside what its queue knows; and at the start, which of those that the
//! last host kept stay parked. Pure.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use pilothouse_object::{Gvk, Key, Version};

use super::{Heard, Record, Stood};
use crate::Waker;

/// What a controller is, as far as parked keys are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) kind: Gvk,
    /// The hash of the plugin's module.
    pub(crate) module: Arc<str>,
    /// The hash of what the operator's file says of the plugin.
    pub(crate) configuration: Arc<str>,
}

impl Identity {
    /// What has changed since a key was parked, other than objects.
    pub(crate) fn differs(&self, record: &Record) -> Option<Waker> {
        if record.module != self.module {
            Some(Waker::NewModule)
        } else if record.configuration != self.configuration {
            Some(Waker::NewConfiguration)
        } else {
            None
        }
    }
}

/// An object of a first list that maps to a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found<'a> {
    /// The window it came through.
    pub(crate) window: &'a str,
    /// The namespace it lives in.
    pub(crate) namespace: Option<&'a str>,
    pub(crate) version: &'a Version,
    /// Of the key's own object; none for those of other kinds.
    pub(crate) uid: Option<&'a str>,
}

/// Of one controller.
#[derive(Debug)]
pub(crate) struct Keeping {
    pub(crate) identity: Identity,
    /// What this host has heard of.
    pub(crate) heard: Heard,
    /// The objects of parked keys. Those of keys that are no longer parked stay until [`Keeping::forget`].
    stood: HashMap<Key, Option<Stood>>,
    /// Set until the controller starts.
    pub(crate) returning: Option<Returning>,
}

/// What the last host kept, while the first lists come.
#[derive(Debug, Default)]
pub(crate) struct Returning {
    /// What the last host had heard of.
    pub(crate) heard: Heard,
    /// Parked again; no object of theirs was in the lists yet.
    pub(crate) unseen: HashSet<Key>,
    /// To be tried again when the controller starts, whatever the lists hold.
    pub(crate) changed: Vec<(Record, Waker)>,
}

impl Keeping {
    pub(crate) fn new(identity: Identity, heard: Heard) -> Self {
        Self {
            identity,
            heard: Heard::default(),
            stood: HashMap::new(),
            returning: Some(Returning {
                heard,
                ..Returning::default()
            }),
        }
    }

    /// Of a version that takes over while the host runs, and has heard so far: nothing is to be compared with a last
    /// host.
    pub(crate) fn of_successor(identity: Identity, heard: Heard) -> Self {
        Self {
            identity,
            heard,
            stood: HashMap::new(),
            returning: None,
        }
    }

    /// A record of the last host is parked again.
    pub(crate) fn restored(&mut self, record: &Record) {
        self.stood.insert(record.key.clone(), record.object.clone());
        if let Some(returning) = &mut self.returning {
            returning.unseen.insert(record.key.clone());
        }
    }

    /// A key was parked by an attempt on this object (none: there was none).
    pub(crate) fn parked(&mut self, key: &Key, object: Option<Stood>) {
        self.stood.insert(key.clone(), object);
    }

    /// A key was parked, and nobody knows on what: it is not kept.
    pub(crate) fn parked_unknown(&mut self, key: &Key) {
        self.stood.remove(key);
    }

    /// The object of a parked key; none where it isn't known, which is not the same as that there was none.
    pub(crate) fn stood(&self, key: &Key) -> Option<&Option<Stood>> {
        self.stood.get(key)
    }

    /// Forgets the objects of keys that are no longer parked.
    pub(crate) fn forget(&mut self, is_parked: impl Fn(&Key) -> bool) {
        self.stood.retain(|key, _| is_parked(key));
    }

    /// Whether an object of a first list is another than when the key was parked. True for every key that the last host
    /// did not park, and wherever it can't be told.
    pub(crate) fn is_news(&mut self, key: &Key, found: Found<'_>) -> bool {
        let Some(returning) = &mut self.returning else {
            return true;
        };
        let Some(object) = self.stood.get(key) else {
            return true;
        };
        let heard = || returning.heard.has(found.window, found.namespace, found.version);
        match (found.uid, object) {
            (None, _) => !heard(),
            // It was not there, and now it is.
            (Some(_), None) => {
                returning.unseen.remove(key);
                true
            }
            (Some(uid), Some(stood)) => {
                returning.unseen.remove(key);
                // Older than it stood: the server was set back to an earlier state.
                let later = found
                    .version
                    .compare(&stood.version)
                    .is_some_and(std::cmp::Ordering::is_ge);
                *stood.uid != *uid || !(*found.version == stood.version || (later && heard()))
            }
        }
    }

    /// Every first list is there: what has to be tried again though none of them asked for it.
    pub(crate) fn settle(&mut self) -> Vec<(Key, Waker)> {
        let Some(returning) = self.returning.take() else {
            return Vec::new();
        };
        let vanished = returning.unseen.into_iter().filter_map(|key| {
            let was_there = matches!(self.stood.get(&key), Some(Some(_)));
            was_there.then_some((key, Waker::Vanished))
        });
        let changed = returning.changed.into_iter().map(|(record, waker)| (record.key, waker));
        let mut again: Vec<_> = vanished.chain(changed).collect();
        again.sort_by(|a, b| a.0.cmp(&b.0));
        again
    }
}
