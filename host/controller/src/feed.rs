//! From the informers into the queues: one feed for each window of a controller on a kind.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use pilothouse_informer::{Delta, Handler, Query, Reader};
use pilothouse_object::Key;

use crate::{Happening, core::Core, intake::Intake, lock::lock, router::Primaries};

/// Hears of one window's changes and asks for the keys they map to.
pub(crate) struct Feed {
    pub(crate) core: Arc<Core>,
    pub(crate) intake: Intake,
    /// The controller's windows on its own kind; filled before any other window opens.
    pub(crate) primaries: Arc<OnceLock<Vec<Reader>>>,
    /// Windows of this controller that have not delivered their first picture.
    pub(crate) unsynced: Arc<AtomicUsize>,
}

impl Handler for Feed {
    fn deltas(&self, deltas: &[Delta]) {
        let primaries = Windows(self.primaries.get().map_or(&[], Vec::as_slice));
        // Routed before the queue is locked: mapping reads stores.
        let route = &self.intake.route;
        let routed: Vec<_> = deltas
            .iter()
            .map(|delta| (delta, primaries.seen(route.keys(delta, &primaries))))
            .collect();
        if !self.core.keeps && routed.iter().all(|(_, keys)| keys.is_empty()) {
            return;
        }
        let now = self.core.now();
        {
            let mut dispatcher = lock(&self.core.dispatcher);
            let mut provenance = lock(&self.core.shared.provenance);
            self.intake.take(now, &routed, &mut dispatcher, &mut provenance);
        }
        self.core.wake.notify_one();
        self.core.parked.notify_one();
    }

    fn synced(&self) {
        if self.unsynced.fetch_sub(1, Ordering::AcqRel) == 1 {
            // Told before it can run, so that nobody hears of a run first.
            let started = Happening::Started {
                id: self.intake.id.clone(),
            };
            self.core.shared.observer.happened(&started);
            let primaries = Windows(self.primaries.get().map_or(&[], Vec::as_slice));
            let now = self.core.now();
            {
                let mut dispatcher = lock(&self.core.dispatcher);
                dispatcher.returned(now, &self.intake.id, |key| primaries.sees(key));
                dispatcher.start(&self.intake.id);
            }
            self.core.parked.notify_one();
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
            keys.retain(|key| self.sees(key));
        }
        keys
    }

    fn sees(&self, key: &Key) -> bool {
        self.0.iter().any(|window| window.view().sees_key(key))
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
