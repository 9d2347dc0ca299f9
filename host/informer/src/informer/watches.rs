//! The watches of a kind: what one does to the store, and which of them run. Decided by [`crate::shared`].

use std::{
    collections::{BTreeMap, VecDeque},
    sync::atomic::Ordering,
    time::Duration,
};

use pilothouse_object::Object;

use super::{Command, Informer, Progress, lock};
use crate::{
    informer::audience::Subscriber,
    informer::charges::Charges,
    informer::slot::Slot,
    reflector::failure::{Failure, Trouble},
    reflector::{Action, Counts, Input, Reflector},
    shared::need::Need,
    shared::{self, Running},
    store::{Scope, Store},
    view::{Delta, Projection},
};

#[derive(Default)]
pub(super) struct Outcome {
    pub(super) progress: Progress,
    pub(super) news: Vec<News>,
}

/// One step of the store.
pub(super) struct News {
    pub(super) deltas: Vec<Delta>,
    /// A list was put into the store: all that those hear to whom it shows something for the first time.
    pub(super) first: Option<BTreeMap<u64, Vec<Delta>>>,
}

/// What an informer knows of its subscribers and watches.
pub(super) struct Core {
    pub(super) slots: BTreeMap<u64, Slot>,
    pub(super) subscribers: BTreeMap<u64, Subscriber>,
    /// What all of them need together.
    pub(super) need: Need,
    /// One watch of all is to serve them.
    pub(super) wide: bool,
    pub(super) charges: Charges,
    pub(super) rng: fastrand::Rng,
    /// Counts of reflectors that are gone.
    pub(super) retired: Counts,
    pub(super) went_back: u64,
}

impl Core {
    fn running(&self) -> Vec<Running> {
        self.slots
            .iter()
            .map(|(id, slot)| Running {
                id: *id,
                scope: slot.scope.clone(),
                fits: slot.need.covers(&self.need),
                fares: slot.fares(),
            })
            .collect()
    }

    pub(super) fn stop(&mut self, id: u64) -> Option<Command> {
        let slot = self.slots.remove(&id)?;
        self.retired += slot.reflector.counts();
        Some(Command::Stop(id))
    }

    /// The watch that writes what the store holds under a key: the youngest that has listed it.
    fn writer(&self, object: &Object) -> Option<&Slot> {
        let mut slots = self.slots.values().rev();
        slots.find(|slot| slot.committed && slot.scope.covers(object.key()))
    }
}

/// Other watches of what a watch is about to write.
struct Others {
    /// They write it too. Where they are ahead, a list that is older than the store may be no more than slower.
    rivals: Vec<u64>,
    /// Younger ones have taken these parts over: they alone write them.
    taken: Vec<Scope>,
}

impl Others {
    fn of(core: &Core, id: u64, slot: &Slot) -> Self {
        let mut others = Self {
            rivals: Vec::new(),
            taken: Vec::new(),
        };
        let takes_over = slot.scope != Scope::All || (core.wide && slot.need.covers(&core.need));
        for (other, held) in &core.slots {
            if *other == id || !held.committed || !held.scope.overlaps(&slot.scope) {
                continue;
            }
            if *other > id && !takes_over {
                others.taken.push(held.scope.clone());
            } else if !held.fares().forbidden && (*other > id || !slot.committed) {
                others.rivals.push(*other);
            }
        }
        others
    }
}

impl Informer {
    /// Takes what happened to a watch: changes the store, and answers what the subscribers hear of it.
    pub(super) fn take(&self, core: &mut Core, now: Duration, id: u64, input: Input) -> Outcome {
        let mut outcome = Outcome::default();
        let mut stopped = Vec::new();
        // Out of its place for a while, so that the others can be looked at.
        let Some(mut slot) = core.slots.remove(&id) else {
            outcome.progress.gone = true;
            return outcome;
        };
        let fared = slot.fares();
        let mut actions: VecDeque<Action> = slot.reflector.step(now, input, &mut core.rng).into();
        while let Some(action) = actions.pop_front() {
            match action {
                Action::Begin => slot.begin(),
                Action::Stage(items) => {
                    let store = self.store();
                    for item in items {
                        slot.stage(&store, item);
                    }
                }
                Action::Commit { version, quorum } => {
                    let others = Others::of(core, id, &slot);
                    let mut list = std::mem::take(&mut slot.relist);
                    list.leave(others.taken);
                    // While others write into parts of it, being older may mean no more than being slower than they.
                    let alone = others.rivals.is_empty();
                    let first = !slot.committed;
                    let mut store = self.store_mut();
                    let answer = match store.replace(&slot.scope, list, version, quorum && alone) {
                        Ok(replaced) => {
                            if let Some((from, to)) = replaced.went_back {
                                core.went_back += 1;
                                tracing::warn!(
                                    kind = %self.gvk, scope = %slot.scope, %from, %to,
                                    "the API server's data went back to an older version, as after a restore from a backup; the cache follows it"
                                );
                            }
                            slot.committed = true;
                            slot.fault = None;
                            core.charges.outdated();
                            slot.allowed(&self.gvk);
                            let initial = |delta| Delta {
                                initial: first,
                                ..delta
                            };
                            let deltas: Vec<Delta> = replaced.deltas.into_iter().map(initial).collect();
                            let mut first = BTreeMap::new();
                            for (id, subscriber) in &mut core.subscribers {
                                if let Some(heard) = subscriber.first(&slot, &deltas, &store, self.is_uncut()) {
                                    first.insert(*id, heard);
                                }
                            }
                            outcome.news.push(News {
                                deltas,
                                first: Some(first),
                            });
                            Input::Committed
                        }
                        Err(older) => {
                            tracing::debug!(kind = %self.gvk, scope = %slot.scope, %older, "list discarded");
                            if !alone {
                                // The others stop here; what they hold stays, and the next list can't be older.
                                stopped.extend(others.rivals);
                                slot.allowed(&self.gvk);
                            }
                            Input::Refused
                        }
                    };
                    drop(store);
                    actions.extend(slot.reflector.step(now, answer, &mut core.rng));
                    self.tick();
                }
                Action::Apply { changes, version } => {
                    let taken = Others::of(core, id, &slot).taken;
                    let mut store = self.store_mut();
                    let mut deltas = Vec::new();
                    for change in changes {
                        let key = change.object().key();
                        if !taken.iter().any(|scope| scope.covers(key)) {
                            deltas.extend(store.apply(&slot.scope, slot.shape(change)));
                        }
                    }
                    if let Some(version) = version {
                        store.advance(&slot.scope, &version);
                    }
                    drop(store);
                    // Most bookmarks bring none.
                    if !deltas.is_empty() {
                        outcome.news.push(News { deltas, first: None });
                    }
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
        let replan = slot.fares() != fared || !stopped.is_empty();
        core.slots.insert(id, slot);
        for id in &stopped {
            outcome.progress.commands.extend(core.stop(*id));
        }
        if replan {
            let commands = self.replan(core, &mut self.store_mut(), !stopped.is_empty());
            outcome.progress.commands.extend(commands);
        }
        outcome
    }

    /// A fault of this host has ended a watch in the midst of a step: another takes its place, lists anew, and says so
    /// in its status until that list is in the store. What was held stays, and nobody is called.
    ///
    /// A change that the fault kept from a handler is not told again where the store has it already.
    pub fn fault(&self, reflector: u64, why: &str) -> Vec<Command> {
        let _delivery = lock(&self.delivery);
        let mut core = lock(&self.core);
        // It may be gone: a step takes the watch out of its place.
        let mut commands = Vec::from_iter(core.stop(reflector));
        commands.extend(self.replan(&mut core, &mut self.store_mut(), true));
        for command in &commands {
            if let Command::Start(id) = command
                && let Some(slot) = core.slots.get_mut(id)
            {
                slot.fault = Some(Failure::new(Trouble::Cut, why));
            }
        }
        commands
    }

    /// True where a fault of this host ended the watch before this one, and this one has not listed yet.
    pub fn is_after_fault(&self, reflector: u64) -> bool {
        lock(&self.core)
            .slots
            .get(&reflector)
            .is_some_and(|slot| slot.fault.is_some())
    }

    /// Starts and stops watches after any change. `stopped`: one has been stopped already.
    pub(super) fn replan(&self, core: &mut Core, store: &mut Store, stopped: bool) -> Vec<Command> {
        let somewhere = |subscriber: &&Subscriber| !subscriber.view.namespaces.is_empty();
        let needs = core.subscribers.values().filter(somewhere).map(|s| &s.need);
        if let Some(need) = shared::union(needs)
            && need != core.need
        {
            core.need = need;
            self.narrow(core, store);
        }
        let running = core.running();
        let plan = shared::plan(core.subscribers.values().map(|s| &s.view.namespaces), &running);
        core.wide = plan.wide;
        let mut commands = Vec::new();
        for id in &plan.stop {
            commands.extend(core.stop(*id));
        }
        for scope in plan.start {
            let id = self.ids.fetch_add(1, Ordering::Relaxed);
            let reflector = Reflector::new(self.config, store.newest(&scope));
            let alike = |slot: &Slot| slot.committed && slot.scope == Scope::All && slot.need == core.need;
            let anew = !core.slots.values().any(alike);
            core.slots
                .insert(id, Slot::new(scope, core.need.clone(), anew, reflector));
            commands.push(Command::Start(id));
        }
        if stopped || !plan.stop.is_empty() {
            // Also what a watch that is still listing will hold stays: it was shown.
            core.charges.outdated();
            store.keep_only(&core.slots.values().map(|s| s.scope.clone()).collect());
        }
        let uncut = |slot: &Slot| slot.need.projection == Projection::Uncut;
        if core.slots.values().any(uncut) {
            self.uncut.store(true, Ordering::Release);
        }
        commands
    }

    /// Less is needed: what runs brings less from now on, and what it has brought is cut.
    fn narrow(&self, core: &mut Core, store: &mut Store) {
        let mut narrowed = false;
        let need = core.need.clone();
        for slot in core.slots.values_mut() {
            if slot.need != need && slot.need.covers(&need) {
                slot.narrow(&need);
                narrowed = true;
            }
        }
        if narrowed {
            core.charges.outdated();
            let core = &*core;
            store.reshape(|object| match core.writer(object) {
                Some(slot) if slot.need != need => None,
                _ => Some(need.shape(object)),
            });
            self.uncut.store(false, Ordering::Release);
        }
    }
}
