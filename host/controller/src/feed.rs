//! From the informers into the queues: one feed for each window of a controller on a kind.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use pilothouse_informer::{Delta, Handler, Query, Reader};
use pilothouse_object::{Gvk, Key};

use crate::{
    Cause, Change, ControllerId, Happening, What,
    core::Core,
    dispatcher::LOW_PRIORITY,
    lock::lock,
    provenance::Doubtful,
    router::{Primaries, Route, change_of},
};

/// Hears of one window's changes and asks for the keys they map to.
pub(crate) struct Feed {
    pub(crate) core: Arc<Core>,
    pub(crate) id: ControllerId,
    pub(crate) kind: Gvk,
    pub(crate) route: Route,
    /// The controller's windows on its own kind; filled before any other window opens.
    pub(crate) primaries: Arc<OnceLock<Vec<Reader>>>,
    /// Windows of this controller that have not delivered their first picture.
    pub(crate) unsynced: Arc<AtomicUsize>,
}

impl Handler for Feed {
    fn deltas(&self, deltas: &[Delta]) {
        let now = self.core.now();
        let primaries = Windows(self.primaries.get().map_or(&[], Vec::as_slice));
        // Routed before the queue is locked: mapping reads stores.
        let routed: Vec<_> = deltas
            .iter()
            .map(|delta| (delta, primaries.seen(self.route.keys(delta, &primaries))))
            .filter(|(_, k)| !k.is_empty())
            .collect();
        if routed.is_empty() {
            return;
        }
        let mut dispatcher = lock(&self.core.dispatcher);
        for (delta, keys) in routed {
            let (writer, because, sure) = {
                let provenance = lock(&self.core.shared.provenance);
                match provenance.writer(&self.kind, &delta.key, &delta.version) {
                    Some(w) => (Some(w.plugin.clone()), w.cause.cloned(), w.sure),
                    None => (None, None, false),
                }
            };
            let change = change_of(delta);
            let priority = if delta.initial { LOW_PRIORITY } else { 0 };
            // A plugin's own writes don't get its parked keys going again; deletions always do.
            let own = writer.as_ref().is_some_and(|writer| *writer == self.id.plugin) && change != Change::Deleted;
            let what = What::Changed {
                kind: self.kind.clone(),
                key: delta.key.clone(),
                change,
                version: delta.version.clone(),
                via: self.route.via().clone(),
                writer,
            };
            let cause = Cause::new(what, because.as_ref());
            for key in keys {
                let mut wakes = !own;
                if own && !sure {
                    // Its answer will tell; until then a parked key stays parked.
                    wakes = !lock(&self.core.shared.provenance).doubt(Doubtful {
                        id: self.id.clone(),
                        key: key.clone(),
                        kind: self.kind.clone(),
                        object: delta.key.clone(),
                        version: delta.version.clone(),
                        cause: cause.clone(),
                    });
                }
                dispatcher.add(now, &self.id, key, priority, cause.clone(), wakes);
            }
        }
        drop(dispatcher);
        self.core.wake.notify_one();
    }

    fn synced(&self) {
        if self.unsynced.fetch_sub(1, Ordering::AcqRel) == 1 {
            // Told before it can run, so that nobody hears of a run first.
            let started = Happening::Started { id: self.id.clone() };
            self.core.shared.observer.happened(&started);
            lock(&self.core.dispatcher).start(&self.id);
            self.core.wake.notify_one();
        }
    }
}

/// The primary objects through a controller's windows.
///
/// A window that is not synced yet shows nothing: its objects come as initial additions anyway, and no key runs before.
struct Windows<'a>(&'a [Reader]);

impl Windows<'_> {
    /// Only the keys that the controller can see: what an object says of others is foreign text, and a key outside the
    /// view would be a run about an object that the plugin was not granted.
    fn seen(&self, mut keys: Vec<Key>) -> Vec<Key> {
        if !self.0.is_empty() {
            keys.retain(|key| self.0.iter().any(|window| window.view().sees_key(key)));
        }
        keys
    }

    fn query(&self, query: &Query) -> Vec<Key> {
        self.0
            .iter()
            .filter_map(|window| window.query(query).ok())
            .flat_map(|listing| listing.items)
            .map(|object| object.key().clone())
            .collect()
    }
}

impl Primaries for Windows<'_> {
    fn all(&self) -> Vec<Key> {
        self.query(&Query::default())
    }

    fn by_index(&self, index: &str, value: &str, namespace: Option<&str>) -> Vec<Key> {
        self.query(&Query {
            namespace: namespace.map(Into::into),
            index: Some((index.to_owned(), value.to_owned())),
            ..Query::default()
        })
    }
}
