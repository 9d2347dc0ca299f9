//! From the informers into the queues: one feed for each window of a controller on a kind.

use std::sync::Arc;

use pilothouse_informer::{Delta, Handler, Query};
use pilothouse_object::Key;

use crate::{
    ControllerId, Happening,
    core::Core,
    lock::lock,
    versions::tenure::{Phase, Tenure},
    waking::{intake::Intake, router::Primaries},
};

/// Hears of one window's changes and asks for the keys they map to, while its version serves.
pub(crate) struct Feed {
    pub(crate) core: Arc<Core>,
    pub(crate) intake: Intake,
    /// The version that the window is of.
    pub(crate) tenure: Arc<Tenure>,
}

impl Handler for Feed {
    fn deltas(&self, deltas: &[Delta]) {
        let primaries = Windows(&self.tenure);
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
            match &mut *self.tenure.phase() {
                Phase::Serving => {
                    let mut provenance = lock(&self.core.shared.provenance);
                    self.intake.take(now, &routed, &mut dispatcher, &mut provenance);
                }
                Phase::Coming(meanwhile) => return meanwhile.take(&self.intake, &routed),
                Phase::Over => return,
            }
        }
        self.core.wake.notify_one();
        self.core.parked.notify_one();
    }

    fn synced(&self) {
        arrived(&self.core, &self.intake.id, &self.tenure);
    }
}

/// One of what a version of a controller waits for is there; if it was the last and the version serves, it runs now.
pub(crate) fn arrived(core: &Core, id: &ControllerId, tenure: &Tenure) {
    if !tenure.arrived() {
        return;
    }
    let serves = || matches!(*tenure.phase(), Phase::Serving);
    {
        let _dispatcher = lock(&core.dispatcher);
        if !serves() {
            return;
        }
    }
    // Told before it can run, so that nobody hears of a run first.
    if tenure.tells() {
        core.shared.observer.happened(&Happening::Started { id: id.clone() });
    }
    let now = core.now();
    {
        let mut dispatcher = lock(&core.dispatcher);
        if serves() {
            dispatcher.returned(now, id, |key| tenure.sees(key));
            dispatcher.start(id);
        }
    }
    core.parked.notify_one();
    core.wake.notify_one();
}

/// The primary objects through a controller's windows.
///
/// A window that is not synced yet shows nothing: its objects come as initial additions anyway, and no key runs before.
struct Windows<'a>(&'a Tenure);

impl Windows<'_> {
    /// Only the keys that the controller can see: what an object says of others is foreign text, and a key outside the
    /// view would be a run about an object that the plugin was not granted.
    fn seen(&self, mut keys: Vec<Key>) -> Vec<Key> {
        if !self.0.primaries().is_empty() {
            keys.retain(|key| self.0.sees(key));
        }
        keys
    }

    fn query(&self, query: &Query) -> Vec<Key> {
        self.0
            .primaries()
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
