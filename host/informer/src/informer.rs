//! One kind: its store, the reflectors that fill it and the subscribers that hear of it. No I/O.
//!
//! Guarantees to each [`Handler`]: the store is updated before it is called; it is called by one thread at a time, and for
//! each key in order; the states it hears are a subsequence of those that were; a late one gets what the store holds as
//! additions, then what happens, nothing lost and nothing doubled; a relist of unchanged objects is silent; what this
//! process wrote and [`Informer::expect`]ed is heard of, be it that it is gone, though nobody watched then; after
//! [`Informer::unsubscribe`] has returned it is not called again.
//!
//! In exchange a handler must be quick and must not panic, subscribe, unsubscribe, drop a [`crate::Subscription`] or call
//! [`crate::SharedInformers`]; and nobody may do any of these while holding a lock that a handler takes: they wait for
//! running handlers. Reading through a subscription or the store is fine.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use pilothouse_object::{FieldPath, Gvk, Keep, Object};
use tokio::sync::watch;

use crate::{
    index::IndexError,
    reflector::{Action, Counts, Input, Order, Reflector, ReflectorConfig},
    shared::{self, Fares},
    slot::Slot,
    status::{Counters, WatchStatus},
    store::{Relist, Scope, Store},
    sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard},
    view::{Delta, View},
};

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

#[derive(Default)]
struct Outcome {
    progress: Progress,
    deltas: Vec<Delta>,
    /// A list was put into the store.
    committed: bool,
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

struct Subscriber {
    view: Arc<View>,
    handler: Arc<dyn Handler>,
    synced: Arc<AtomicBool>,
    indexes: Vec<String>,
}

struct Core {
    slots: BTreeMap<u64, Slot>,
    subscribers: BTreeMap<u64, Subscriber>,
    rng: fastrand::Rng,
    /// Counts of reflectors that are gone.
    retired: Counts,
    went_back: u64,
}

impl Core {
    fn running(&self) -> BTreeMap<Scope, Fares> {
        self.slots.values().map(|s| (s.scope.clone(), s.fares())).collect()
    }

    fn stop(&mut self, id: u64) -> Option<Command> {
        let slot = self.slots.remove(&id)?;
        self.retired += slot.reflector.counts();
        Some(Command::Stop(id))
    }
}

/// One kind in one form ([`Keep`]).
pub struct Informer {
    gvk: Gvk,
    keep: Keep,
    config: ReflectorConfig,
    ids: Arc<AtomicU64>,
    /// Held while handlers run, so that what they hear comes in the store's order. Taken before `core`.
    delivery: Mutex<()>,
    core: Mutex<Core>,
    /// Taken last, and never while handlers run.
    store: RwLock<Store>,
    /// Ticks when a version moved on or somebody was synced.
    moved: watch::Sender<u64>,
}

/// A panic of some other holder leaves these in order: every change of the store is whole before anything foreign runs.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Informer {
    /// An informer without subscribers. `ids` gives numbers to reflectors and subscribers; one source for all informers of a
    /// process keeps them apart.
    pub fn new(gvk: Gvk, keep: Keep, config: ReflectorConfig, ids: Arc<AtomicU64>, rng: fastrand::Rng) -> Self {
        Self {
            gvk,
            keep,
            config,
            ids,
            delivery: Mutex::new(()),
            core: Mutex::new(Core {
                slots: BTreeMap::new(),
                subscribers: BTreeMap::new(),
                rng,
                retired: Counts::default(),
                went_back: 0,
            }),
            store: RwLock::new(Store::new()),
            moved: watch::Sender::new(0),
        }
    }

    /// The kind.
    pub fn gvk(&self) -> &Gvk {
        &self.gvk
    }

    /// What is kept of each object.
    pub fn keep(&self) -> Keep {
        self.keep
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
        // It was an object before; one that can't be cut is not awaited.
        if let Ok(object) = Object::parse(object.json().as_bytes(), Some(&self.gvk), self.keep) {
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
        let synced = Arc::new(AtomicBool::new(false));
        let (initial, commands) = {
            let mut core = lock(&self.core);
            let mut store = self.store_mut();
            let mut declared = Vec::new();
            for index in indexes {
                store.add_index(&index.id(), &index.paths)?;
                declared.push(index.id());
            }
            let initial: Vec<Delta> = store
                .iter()
                .filter_map(|object| view.delta(&Delta::put(None, object.clone())))
                .map(|delta| Delta { initial: true, ..delta })
                .collect();
            core.subscribers.insert(
                id,
                Subscriber {
                    view,
                    handler: handler.clone(),
                    synced: synced.clone(),
                    indexes: declared,
                },
            );
            (initial, self.replan(&mut core, &mut store))
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
        for index in &subscriber.indexes {
            store.remove_index(index);
        }
        self.replan(&mut core, &mut store)
    }

    /// Ends it for good: no handler is called after this has returned. What the store holds stays readable for calls that
    /// are still running.
    pub fn close(&self) -> Vec<Command> {
        let _delivery = lock(&self.delivery);
        let mut core = lock(&self.core);
        core.subscribers.clear();
        let running: Vec<u64> = core.slots.keys().copied().collect();
        running.into_iter().filter_map(|id| core.stop(id)).collect()
    }

    /// Takes what happened to a reflector at `now` (monotonic): updates the store, calls the handlers, and answers what the
    /// reflector needs next.
    pub fn input(&self, now: Duration, reflector: u64, input: Input) -> Progress {
        let _delivery = lock(&self.delivery);
        let outcome = self.take(&mut lock(&self.core), now, reflector, input);
        if !outcome.deltas.is_empty() {
            self.deliver(&outcome.deltas);
        }
        if outcome.committed {
            self.tell_synced();
        }
        outcome.progress
    }

    fn take(&self, core: &mut Core, now: Duration, id: u64, input: Input) -> Outcome {
        let mut outcome = Outcome::default();
        let mut narrow: Vec<u64> = core
            .slots
            .iter()
            .filter(|(_, slot)| slot.scope != Scope::All)
            .map(|(id, _)| *id)
            .collect();
        let mut stopped = Vec::new();
        let Core {
            slots, rng, went_back, ..
        } = core;
        let Some(slot) = slots.get_mut(&id) else {
            outcome.progress.gone = true;
            return outcome;
        };
        let fared = slot.fares();
        let mut actions: VecDeque<Action> = slot.reflector.step(now, input, rng).into();
        while let Some(action) = actions.pop_front() {
            match action {
                Action::Begin => slot.relist = Relist::default(),
                Action::Stage(items) => {
                    let store = self.store();
                    for item in items {
                        slot.relist.stage(&store, item);
                    }
                }
                Action::Commit { version, quorum } => {
                    let list = std::mem::take(&mut slot.relist);
                    // While others write into parts of it, being older may mean no more than being slower than they.
                    let alone = slot.scope != Scope::All || narrow.is_empty();
                    let first = !slot.committed;
                    let replaced = self.store_mut().replace(&slot.scope, list, version, quorum && alone);
                    let answer = match replaced {
                        Ok(replaced) => {
                            if let Some((from, to)) = replaced.went_back {
                                *went_back += 1;
                                tracing::warn!(
                                    kind = %self.gvk, scope = %slot.scope, %from, %to,
                                    "the API server's data went back to an older version, as after a restore from a backup; the cache follows it"
                                );
                            }
                            slot.committed = true;
                            slot.allowed(&self.gvk);
                            outcome.committed = true;
                            let initial = |delta| Delta {
                                initial: first,
                                ..delta
                            };
                            outcome.deltas.extend(replaced.deltas.into_iter().map(initial));
                            Input::Committed
                        }
                        Err(older) => {
                            tracing::debug!(kind = %self.gvk, scope = %slot.scope, %older, "list discarded");
                            if !alone {
                                // The narrow watches stop here; what they hold stays, and the next list can't be older.
                                stopped.append(&mut narrow);
                                slot.allowed(&self.gvk);
                            }
                            Input::Refused
                        }
                    };
                    actions.extend(slot.reflector.step(now, answer, rng));
                    self.tick();
                }
                Action::Apply { changes, version } => {
                    let mut store = self.store_mut();
                    for change in changes {
                        outcome.deltas.extend(store.apply(&slot.scope, change));
                    }
                    if let Some(version) = version {
                        store.advance(&slot.scope, &version);
                    }
                    drop(store);
                    self.tick();
                }
                Action::FellBack(why) => tracing::info!(
                    kind = %self.gvk, scope = %slot.scope, %why,
                    "the API server gives no streaming list of this kind; listing it in pages for an hour"
                ),
                Action::Health(failure) => {
                    slot.health(&self.gvk, now, failure);
                }
                Action::Io(order) => outcome.progress.order = Some(order),
            }
        }
        let replan = slot.fares() != fared;
        for id in stopped {
            outcome.progress.commands.extend(core.stop(id));
        }
        if replan {
            let commands = self.replan(core, &mut self.store_mut());
            outcome.progress.commands.extend(commands);
        }
        outcome
    }

    fn replan(&self, core: &mut Core, store: &mut Store) -> Vec<Command> {
        let plan = shared::plan(core.subscribers.values().map(|s| &s.view.namespaces), &core.running());
        let mut commands = Vec::new();
        let stopped: Vec<u64> = core
            .slots
            .iter()
            .filter(|(_, slot)| plan.stop.contains(&slot.scope))
            .map(|(id, _)| *id)
            .collect();
        for id in stopped {
            commands.extend(core.stop(id));
        }
        for scope in plan.start {
            let id = self.ids.fetch_add(1, Ordering::Relaxed);
            let reflector = Reflector::new(self.config, store.newest(&scope));
            core.slots.insert(id, Slot::new(scope, reflector));
            commands.push(Command::Start(id));
        }
        if !plan.stop.is_empty() {
            // Also what a watch that is still listing will hold stays: it was shown.
            store.keep_only(&core.slots.values().map(|s| s.scope.clone()).collect());
        }
        commands
    }

    fn deliver(&self, deltas: &[Delta]) {
        let subscribers: Vec<(Arc<View>, Arc<dyn Handler>, bool)> = lock(&self.core)
            .subscribers
            .values()
            .map(|s| (s.view.clone(), s.handler.clone(), s.synced.load(Ordering::Acquire)))
            .collect();
        for (view, handler, synced) in subscribers {
            let seen: Vec<Delta> = deltas
                .iter()
                .filter_map(|delta| view.delta(delta))
                .map(|delta| Delta {
                    initial: delta.initial && !synced && delta.old.is_none(),
                    ..delta
                })
                .collect();
            if !seen.is_empty() {
                handler.deltas(&seen);
            }
        }
    }

    /// Tells those whose parts are all there now. The caller holds `delivery` and has delivered what there was.
    fn tell_synced(&self) {
        let now_synced: Vec<Arc<dyn Handler>> = {
            let core = lock(&self.core);
            let running = core.running();
            core.subscribers
                .values()
                .filter(|s| !s.synced.load(Ordering::Acquire) && shared::held(&s.view.namespaces, &running))
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
            subscribers: core.subscribers.len(),
        }
    }
}

#[cfg(test)]
#[path = "informer_tests.rs"]
mod tests;
