//! One kind: its store, the reflectors that fill it and the subscribers that hear of it. No I/O.
//!
//! Guarantees to each [`Handler`]: the store is updated before it is called; it is called by one thread at a time, and
//! for each key in order; the states it hears are a subsequence of those that were; a late one gets what the store
//! holds as additions, then what happens, nothing lost and nothing doubled; it sees of each object what its view shows,
//! also while the cache keeps less or more for others; a relist of unchanged objects is silent; what this process wrote
//! and [`Informer::expect`]ed is heard of, be it that it is gone, though nobody watched then; after
//! [`Informer::unsubscribe`] has returned it is not called again.
//!
//! In exchange a handler must be quick and must not panic, subscribe, unsubscribe, drop a [`crate::Subscription`] or
//! call [`crate::SharedInformers`]; and nobody may do any of these while holding a lock that a handler takes: they wait
//! for running handlers. Reading through a subscription or the store is fine.

pub(crate) mod audience;
pub(crate) mod charges;
mod doubt;
pub(crate) mod slot;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use pilothouse_object::{FieldPath, Gvk, Object};
use tokio::sync::watch;

use crate::{
    informer::audience::Subscriber,
    informer::charges::{Charge, Charges},
    reflector::{Counts, Input, Order, ReflectorConfig},
    shared::need::Need,
    shared::wire::Wire,
    status::{Counters, WatchStatus},
    store::index::IndexError,
    store::{Scope, Store},
    sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard},
    view::{Delta, View},
};
use watches::{Core, News};

mod watches;

/// Hears of changes. What it may rely on and what it must not do stands at the [module](self).
pub trait Handler: Send + Sync {
    /// Some changes, in order, through the subscriber's view; never empty.
    fn deltas(&self, deltas: &[Delta]);
    /// Everything that was there at the start has been delivered. Called once, also where there was nothing.
    fn synced(&self);
}

/// What an informer asks its driver for besides I/O: tasks, each the home of one reflector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Run a reflector: give it [`Input::Start`].
    Start(u64),
    /// End what runs for this reflector. It would be ignored anyway.
    Stop(u64),
}

/// What an input brought.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// The I/O this reflector needs next; none: go on with what runs.
    pub order: Option<Order>,
    /// The reflector is gone: stop.
    pub gone: bool,
    /// What to do for the other reflectors.
    pub commands: Vec<Command>,
}

/// An index that a subscriber declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexSpec {
    /// The subscriber's own name for it.
    pub name: String,
    /// The strings at any of these paths are its values.
    pub paths: Vec<FieldPath>,
}

impl IndexSpec {
    /// The store's name for it: subscribers with the same paths share one index.
    pub(crate) fn id(&self) -> String {
        let texts: Vec<String> = self.paths.iter().map(ToString::to_string).collect();
        format!("{texts:?}")
    }
}

/// One kind: all of it, or what one field selector picks.
pub struct Informer {
    gvk: Gvk,
    /// A field selector that the server evaluates.
    fields: Option<Arc<str>>,
    config: ReflectorConfig,
    ids: Arc<AtomicU64>,
    /// Held while handlers run, so that what they hear comes in the store's order. Taken before `core`.
    delivery: Mutex<()>,
    core: Mutex<Core>,
    /// Taken last, and never while handlers run.
    store: RwLock<Store>,
    /// Some objects may be kept uncut.
    uncut: AtomicBool,
    /// Ticks when a version moved on or somebody was synced.
    moved: watch::Sender<u64>,
}

/// A panic of some other holder leaves these in order: every change of the store is whole before anything foreign runs.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Informer {
    /// An informer without subscribers. `ids` gives numbers to reflectors and subscribers; one source for all informers
    /// of a process keeps them apart.
    pub fn new(gvk: Gvk, config: ReflectorConfig, ids: Arc<AtomicU64>, rng: fastrand::Rng) -> Self {
        Self {
            gvk,
            fields: None,
            config,
            ids,
            delivery: Mutex::new(()),
            core: Mutex::new(Core {
                slots: BTreeMap::new(),
                subscribers: BTreeMap::new(),
                need: Need::default(),
                wide: false,
                charges: Charges::default(),
                rng,
                retired: Counts::default(),
                went_back: 0,
            }),
            store: RwLock::new(Store::new()),
            uncut: AtomicBool::new(false),
            moved: watch::Sender::new(0),
        }
    }

    /// The kind.
    pub fn gvk(&self) -> &Gvk {
        &self.gvk
    }

    /// Only what a field selector picks, which the server evaluates. All its subscribers must ask for it.
    #[must_use]
    pub fn selecting(mut self, fields: Option<Arc<str>>) -> Self {
        self.fields = fields;
        self
    }

    /// What its watches bring when all is well.
    pub fn need(&self) -> Need {
        lock(&self.core).need.clone()
    }

    /// How a reflector is to ask now, and how its answer is to be read; none where it is gone. To be called for each
    /// list, where it begins, and for each watch; `begins` is false for a list's further pages.
    pub fn wire(&self, reflector: u64, begins: bool) -> Option<Wire> {
        let mut core = lock(&self.core);
        let slot = core.slots.get_mut(&reflector)?;
        if begins {
            slot.asked();
        }
        Some(Wire::new(&self.gvk, &slot.need, self.fields.as_deref()))
    }

    /// An object as a view shows it.
    pub(crate) fn shown(&self, view: &View, object: &Object) -> Object {
        audience::shown(view, object, self.is_uncut())
    }

    fn is_uncut(&self) -> bool {
        self.uncut.load(Ordering::Acquire)
    }

    /// The store, for reading. Don't hold it while waiting for anything.
    pub fn store(&self) -> RwLockReadGuard<'_, Store> {
        self.store.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn store_mut(&self) -> RwLockWriteGuard<'_, Store> {
        self.store.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// This process wrote an object: should it be gone before any watch tells of it, its deletion is told all the same.
    pub fn expect(&self, object: &Object) {
        let need = self.need();
        // It was an object before; one that can't be cut is not awaited.
        let cut = Object::parse(object.json().as_bytes(), Some(&self.gvk), need.keep(&self.gvk));
        if let Some(object) = cut.ok().and_then(|object| need.shape(&object)) {
            self.store_mut().expect(object);
        }
    }

    /// Ticks whenever a version moved on or a subscriber was synced.
    pub fn moved(&self) -> watch::Receiver<u64> {
        self.moved.subscribe()
    }

    fn tick(&self) {
        self.moved.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// True where nobody subscribes.
    pub fn is_idle(&self) -> bool {
        lock(&self.core).subscribers.is_empty()
    }

    /// Adds a subscriber: its number, a flag that turns true once it is synced, and which reflectors to start or stop.
    ///
    /// What the store holds already is delivered before this returns.
    ///
    /// # Errors
    /// Two of its indexes have one name: nothing was changed.
    pub fn subscribe(
        &self,
        view: Arc<View>,
        indexes: &[IndexSpec],
        handler: Arc<dyn Handler>,
    ) -> Result<(u64, Arc<AtomicBool>, Vec<Command>), IndexError> {
        for (i, index) in indexes.iter().enumerate() {
            if indexes[..i]
                .iter()
                .any(|other| other.name == index.name && other.paths != index.paths)
            {
                return Err(IndexError::Taken(index.name.clone()));
            }
        }
        let _delivery = lock(&self.delivery);
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let (initial, synced, commands) = {
            let mut core = lock(&self.core);
            let mut store = self.store_mut();
            let mut declared = Vec::new();
            for index in indexes {
                store.add_index(&index.id(), &index.paths)?;
                declared.push(index.id());
            }
            let need = Need::of(&self.gvk, &view, indexes);
            let mut subscriber = Subscriber::new(view, need, handler.clone(), declared);
            let mut initial = Vec::new();
            for scope in subscriber.held(&core.slots) {
                initial.extend(subscriber.show(&scope, &store, self.is_uncut()));
            }
            let synced = subscriber.synced.clone();
            core.subscribers.insert(id, subscriber);
            core.charges.outdated();
            (initial, synced, self.replan(&mut core, &mut store, false))
        };
        if !initial.is_empty() {
            handler.deltas(&initial);
        }
        self.tell_synced();
        Ok((id, synced, commands))
    }

    /// Removes a subscriber. Waits for its handler if that is running; afterwards it is not called again.
    pub fn unsubscribe(&self, id: u64) -> Vec<Command> {
        let _delivery = lock(&self.delivery);
        let mut core = lock(&self.core);
        let mut store = self.store_mut();
        let Some(subscriber) = core.subscribers.remove(&id) else {
            return Vec::new();
        };
        core.charges.outdated();
        for index in &subscriber.indexes {
            store.remove_index(index);
        }
        self.replan(&mut core, &mut store, false)
    }

    /// Ends it for good: no handler is called after this has returned. What the store holds stays readable for calls
    /// that are still running.
    pub fn close(&self) -> Vec<Command> {
        let _delivery = lock(&self.delivery);
        let mut core = lock(&self.core);
        core.subscribers.clear();
        let running: Vec<u64> = core.slots.keys().copied().collect();
        running.into_iter().filter_map(|id| core.stop(id)).collect()
    }

    /// Takes what happened to a reflector at `now` (monotonic): updates the store, calls the handlers, and answers what
    /// the reflector needs next.
    pub fn input(&self, now: Duration, reflector: u64, input: Input) -> Progress {
        let _delivery = lock(&self.delivery);
        let outcome = self.take(&mut lock(&self.core), now, reflector, input);
        for news in outcome.news {
            let committed = news.first.is_some();
            self.deliver(news);
            if committed {
                self.tell_synced();
            }
        }
        outcome.progress
    }

    /// The caller holds `delivery`.
    fn deliver(&self, news: News) {
        let mut first = news.first.unwrap_or_default();
        let uncut = self.is_uncut();
        let ids: Vec<u64> = {
            let mut core = lock(&self.core);
            let Core {
                charges, subscribers, ..
            } = &mut *core;
            charges.take(subscribers, &news.deltas, uncut);
            subscribers.keys().copied().collect()
        };
        for id in ids {
            // No handler runs with `core` locked. Nobody comes or goes while `delivery` is held.
            let (handler, heard) = {
                let core = lock(&self.core);
                let Some(subscriber) = core.subscribers.get(&id) else {
                    continue;
                };
                let heard = first.remove(&id);
                let heard = heard.unwrap_or_else(|| subscriber.hears(&news.deltas, uncut));
                (subscriber.handler.clone(), heard)
            };
            if !heard.is_empty() {
                handler.deltas(&heard);
            }
        }
    }

    /// Tells those whose parts are all there now. The caller holds `delivery` and has delivered what there was.
    fn tell_synced(&self) {
        let now_synced: Vec<Arc<dyn Handler>> = {
            let core = lock(&self.core);
            core.subscribers
                .values()
                .filter(|s| !s.synced.load(Ordering::Acquire) && s.is_held(&core.slots))
                .map(|s| {
                    s.synced.store(true, Ordering::Release);
                    s.handler.clone()
                })
                .collect()
        };
        for handler in &now_synced {
            handler.synced();
        }
        if !now_synced.is_empty() {
            self.tick();
        }
    }

    /// Where a reflector of this informer watches; none where it is gone.
    pub fn scope(&self, reflector: u64) -> Option<Scope> {
        lock(&self.core).slots.get(&reflector).map(|slot| slot.scope.clone())
    }

    /// How each watch fares.
    pub fn statuses(&self) -> Vec<WatchStatus> {
        let core = lock(&self.core);
        let store = self.store();
        core.slots
            .values()
            .map(|slot| slot.status(&self.gvk, &store, core.subscribers.len()))
            .collect()
    }

    /// What each owner of a view is charged for: the rule stands at [`Charge`]'s fields. Waits for a handler that runs;
    /// don't call it while holding a lock that a handler takes.
    pub fn charges(&self) -> Vec<(Arc<str>, Charge)> {
        // What was put into the store is counted when it is delivered.
        let _delivery = lock(&self.delivery);
        let mut core = lock(&self.core);
        let Core {
            charges, subscribers, ..
        } = &mut *core;
        charges.read(subscribers, &self.store(), self.is_uncut())
    }

    /// What this kind has cost and brought.
    pub fn counters(&self) -> Counters {
        let core = lock(&self.core);
        let store = self.store();
        let mut reflectors = core.retired;
        for slot in core.slots.values() {
            reflectors += slot.reflector.counts();
        }
        Counters {
            reflectors,
            stale: store.stale(),
            went_back: core.went_back,
            index_failures: store.index_failures(),
            objects: store.len(),
            weight: store.weight(),
            index_weight: store.indexes_weight(),
            subscribers: core.subscribers.len(),
        }
    }
}

#[cfg(test)]
mod sharing_tests;
#[cfg(test)]
mod tests;
