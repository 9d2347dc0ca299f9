//! Plugins come, are exchanged and go while the host runs.
//!
//! A version that follows another opens its windows beside that one's: what both want is watched once, and what is new
//! is listed. Once all first lists are there the two change places in one step, under the dispatcher's lock. Runs of
//! the older one end by themselves, and hold its windows until then.

use std::{
    sync::{Arc, PoisonError, Weak},
    time::Duration,
};

use pilothouse_lifecycle::{NotServed, Plugin, Stage, StageFuture};
use pilothouse_object::Key;
use tokio::sync::watch;

use crate::{
    ControllerId, Dispatcher, Happening, Host, Waker,
    access::{self, Access, Finding, Standing},
    calls::call::PluginState,
    core::Core,
    lock::lock,
    scheduling::breakers::settings,
    versions::{
        exchange::Succession,
        tenure::Phase,
        windows::{self, Opened, identity, limits},
    },
    waking::feed::arrived,
};

/// Keys that are handed to a new version with the dispatcher locked once: events and runs of all plugins wait for that.
const SLICE: usize = 1_000;

/// How long a new version waits for the first lists of what it watches; [`crate::HostOptions::lists_within`].
pub(crate) const LISTS_WITHIN: Duration = Duration::from_secs(60);

impl Stage for Host {
    fn serve(&self, plugin: Arc<Plugin>, quarantined: bool) -> StageFuture<'_, Result<(), NotServed>> {
        Box::pin(async move {
            let turn = self.turn(&plugin.name);
            let _turn = turn.lock().await;
            let before = lock(&self.live).plugin(&plugin.name).cloned();
            match before {
                None => {
                    let access = Access::of(&plugin, self.core.now())?;
                    self.reviewed(access.as_ref(), false).await?;
                    self.begin_as(plugin, access, quarantined)
                }
                Some(before) => self.exchange(plugin, before).await,
            }
        })
    }

    fn adjust(&self, plugin: &Plugin) {
        for controller in &plugin.manifest.controllers {
            let id = ControllerId::new(&plugin.name, &controller.name);
            // False: it is being withdrawn.
            self.set_concurrency(&id, plugin.concurrency(&controller.name));
        }
    }

    fn release(&self, name: &str) {
        // False: it is gone by now.
        self.reset_breaker(name);
    }

    fn withdraw<'a>(&'a self, name: &'a str) -> StageFuture<'a, bool> {
        Box::pin(async move {
            let turn = self.turn(name);
            let _turn = turn.lock().await;
            let mut versions = {
                let mut dispatcher = lock(&self.core.dispatcher);
                let mut live = lock(&self.live);
                let Some(versions) = live.plugin(name).map(|plugin| plugin.end.versions.subscribe()) else {
                    return false;
                };
                let past = live.take(name);
                for controller in &past.controllers {
                    *controller.tenure.phase() = Phase::Over;
                    dispatcher.set_aside(&controller.id);
                    dispatcher.retire(&controller.id);
                }
                drop((live, dispatcher));
                drop(past);
                versions
            };
            self.core.parked.notify_one();
            self.core.wake.notify_one();
            // An error says that the last version's last run is over.
            while versions.changed().await.is_ok() {}
            true
        })
    }
}

impl Host {
    /// One change of a plugin at a time.
    fn turn(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = turns.get(name).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::default();
        turns.insert(name.into(), Arc::downgrade(&turn));
        turn
    }

    /// Lets a plugin serve of which no version does; its controllers run once their first lists are there. What the
    /// last host kept of their parked keys is set down first.
    ///
    /// # Errors
    /// The host stops.
    pub(crate) fn begin(&self, plugin: Arc<Plugin>, quarantined: bool) -> Result<(), NotServed> {
        let access = Access::of(&plugin, self.core.now())?;
        self.begin_as(plugin, access, quarantined)
    }

    fn begin_as(&self, plugin: Arc<Plugin>, access: Option<Arc<Access>>, quarantined: bool) -> Result<(), NotServed> {
        let core = &self.core;
        {
            let mut dispatcher = lock(&core.dispatcher);
            if *core.stopping.borrow() {
                return Err(stopping());
            }
            for (controller, retrying) in plugin.manifest.controllers.iter().zip(plugin.retrying.iter()) {
                let id = ControllerId::new(&plugin.name, &controller.name);
                dispatcher.register(id.clone(), 1, limits(retrying));
                dispatcher.set_concurrency(&id, plugin.concurrency(&controller.name));
                core.shared.metrics.registered(&id);
                if core.keeps {
                    dispatcher.keep(&id, identity(&plugin, controller));
                }
            }
            dispatcher.absent.forget(&plugin.name);
            dispatcher.set_plugin(&plugin.name, settings(&plugin.breaker), plugin.weight);
            dispatcher.set_fair_namespaces(&plugin.name, plugin.fair_namespaces);
            if quarantined {
                dispatcher.quarantine(core.now(), &plugin.name);
            } else {
                dispatcher.reset_breaker(core.now(), &plugin.name);
            }
            self.hold(&mut dispatcher, &plugin.name, access.as_deref());
        }
        core.shared.metrics.serves(None, &plugin);
        let opened = windows::open(core, &self.informers, plugin, None, access);
        let controllers = opened.controllers.clone();
        drop(lock(&self.live).put(opened.state, opened.controllers));
        // No key may be handed out before its controller is found there.
        for controller in controllers {
            arrived(core, &controller.id, &controller.tenure);
        }
        core.reviews.notify_one();
        Ok(())
    }

    async fn exchange(&self, plugin: Arc<Plugin>, before: Arc<PluginState>) -> Result<(), NotServed> {
        let access = Access::of(&plugin, self.core.now())?;
        self.reviewed(access.as_ref(), true).await?;
        let opened = windows::open(&self.core, &self.informers, plugin, Some(&before), access);
        if let Some(why) = opened.state.broken.first() {
            return Err(NotServed {
                why: why.clone(),
                mend: "this is a bug of Pilothouse: the manifest's check should have refused it".to_owned(),
            });
        }
        // What does not run yet can't be disturbed: then the new version waits for its lists in its place.
        let runs = {
            let dispatcher = lock(&self.core.dispatcher);
            let live = lock(&self.live);
            let mut own = live
                .controllers()
                .filter(|controller| controller.id.plugin == before.name);
            own.any(|controller| dispatcher.is_started(&controller.id))
        };
        if runs {
            self.listed(&opened).await?;
        }
        self.switch(&before, opened)
    }

    /// No key of a plugin begins before its access has been reviewed.
    fn hold(&self, dispatcher: &mut Dispatcher, plugin: &Arc<str>, access: Option<&Access>) {
        let allowed = access.map(Access::is_allowed);
        dispatcher.hold(plugin, allowed == Some(false));
        self.core.shared.metrics.access(plugin, allowed);
    }

    /// Reviews what whom a version acts as may see. Where the API server doesn't answer it is asked until it does, if
    /// `wait` says so, as long as for lists; else the reviews go on once the plugin serves.
    ///
    /// # Errors
    /// It is denied, or there was no answer to wait for.
    #[expect(clippy::disallowed_methods, reason = "the driver: waits between reviews")]
    async fn reviewed(&self, access: Option<&Arc<Access>>, wait: bool) -> Result<(), NotServed> {
        let (Some(access), core) = (access, &self.core) else {
            return Ok(());
        };
        let since = core.now();
        loop {
            let finding = tokio::select! {
                biased;
                () = core.stops() => return Err(stopping()),
                finding = access::ask(access, &core.shared.api, &core.shared.kinds) => finding,
            };
            match &finding {
                Finding::Denied(why) => {
                    return Err(NotServed {
                        why: why.clone(),
                        mend: "then load it again".to_owned(),
                    });
                }
                Finding::NoAnswer(why) if wait && core.now() - since >= self.lists_within => {
                    return Err(NotServed {
                        why: format!("the access of {} could not be reviewed: {why}", access.whom),
                        mend: "load it again once the API server answers".to_owned(),
                    });
                }
                _ => {}
            }
            let answered = finding == Finding::Allowed;
            access.take(core.now(), &mut lock(&core.shared.random), finding);
            if answered || !wait {
                return Ok(());
            }
            tokio::time::sleep(access.due().saturating_sub(core.now())).await;
        }
    }

    /// Waits until all first lists of a version that comes are there.
    #[expect(clippy::disallowed_methods, reason = "the driver: the bound is its to wait for")]
    async fn listed(&self, opened: &Opened) -> Result<(), NotServed> {
        let all = async {
            loop {
                // Registered before looking, so that the last one is not missed in between.
                let ready = opened.ready.notified();
                if opened.controllers.iter().all(|controller| controller.tenure.is_ready()) {
                    return;
                }
                ready.await;
            }
        };
        tokio::select! {
            biased;
            () = self.core.stops() => Err(stopping()),
            () = all => Ok(()),
            () = tokio::time::sleep(self.lists_within) => {
                let missing = opened.state.waiting_for();
                Err(NotServed {
                    why: format!(
                        "after {:?} the new version still waits for {}",
                        self.lists_within,
                        missing.join("; ")
                    ),
                    mend: "let the host's account list and watch these kinds and install their definitions, or take them out \
                           of the plugin; then load it again"
                        .to_owned(),
                })
            }
        }
    }

    /// From one version to the next. Nothing is waited for in between.
    fn switch(&self, before: &Arc<PluginState>, opened: Opened) -> Result<(), NotServed> {
        let (core, Opened { state, controllers, .. }) = (&self.core, opened);
        let by = if before.plugin.hash == state.plugin.hash {
            Waker::NewConfiguration
        } else {
            Waker::NewModule
        };
        let now = core.now();
        let (past, handed, fresh) = {
            let mut dispatcher = lock(&core.dispatcher);
            if *core.stopping.borrow() {
                return Err(stopping());
            }
            let mut live = lock(&self.live);
            let past = live.put(state.clone(), controllers.clone());
            let mut gone = past.controllers.clone();
            for old in &gone {
                *old.tenure.phase() = Phase::Over;
            }
            let (mut handed, mut fresh) = (Vec::new(), Vec::new());
            let own = state
                .plugin
                .manifest
                .controllers
                .iter()
                .zip(state.plugin.retrying.iter());
            for (controller, (described, retrying)) in controllers.iter().zip(own) {
                let id = &controller.id;
                let tenure = &controller.tenure;
                let old = gone.iter().position(|old| old.id == *id).map(|at| gone.swap_remove(at));
                dispatcher.register(id.clone(), 1, limits(retrying));
                dispatcher.set_concurrency(id, state.plugin.concurrency(&described.name));
                core.shared.metrics.registered(id);
                let Phase::Coming(meanwhile) = std::mem::replace(&mut *tenure.phase(), Phase::Serving) else {
                    // It was opened as one that comes, and only this makes it serve.
                    continue;
                };
                let keeping = core
                    .keeps
                    .then(|| (identity(&state.plugin, described), meanwhile.heard));
                let new = Succession {
                    sees: &|key| tenure.sees(key),
                    other_kind: old.as_ref().is_some_and(|old| old.kind != controller.kind),
                    by,
                    keeping,
                };
                dispatcher.succeed(now, id, new);
                if tenure.is_ready() {
                    dispatcher.start(id);
                    if tenure.tells() && old.is_none() {
                        fresh.push(id.clone());
                    }
                }
                handed.push((id.clone(), Vec::from_iter(meanwhile.keys)));
            }
            for old in gone {
                dispatcher.retire(&old.id);
            }
            // What the old version did is nothing that the new one has to answer for.
            dispatcher.set_plugin(&state.name, settings(&state.plugin.breaker), state.plugin.weight);
            dispatcher.set_fair_namespaces(&state.name, state.plugin.fair_namespaces);
            dispatcher.reset_breaker(now, &state.name);
            self.hold(&mut dispatcher, &state.name, state.access.as_deref());
            (past, handed, fresh)
        };
        core.wake.notify_one();
        core.parked.notify_one();
        core.reviews.notify_one();
        drop(past);
        core.shared.metrics.serves(Some(&before.plugin), &state.plugin);
        core.shared.observer.happened(&Happening::Swapped {
            before: before.plugin.clone(),
            now: state.plugin.clone(),
        });
        for id in fresh {
            core.shared.observer.happened(&Happening::Started { id });
        }
        for (id, keys) in handed {
            self.hand_over(&id, keys, by);
        }
        Ok(())
    }

    /// Asks for the keys that a new version's lists brought: each runs on it. What is asked for by an event, or runs
    /// again by itself, goes before.
    fn hand_over(&self, id: &ControllerId, keys: Vec<Key>, by: Waker) {
        let mut keys = keys.into_iter();
        while keys.len() > 0 {
            let now = self.core.now();
            let mut dispatcher = lock(&self.core.dispatcher);
            for key in keys.by_ref().take(SLICE) {
                // One that the new version has parked by now had its chance.
                dispatcher.hand_over(now, id, key, by, false);
            }
            drop(dispatcher);
            self.core.wake.notify_one();
        }
    }
}

fn stopping() -> NotServed {
    NotServed {
        why: "the host is stopping".to_owned(),
        mend: "start it again".to_owned(),
    }
}

/// The end of a version, told by its being dropped: its last run is over and its windows are closed.
pub(crate) struct End {
    name: Arc<str>,
    core: Weak<Core>,
    /// Shared by all versions of the plugin: gone with the last.
    pub(crate) versions: Arc<watch::Sender<()>>,
}

impl End {
    pub(crate) fn new(name: Arc<str>, core: &Arc<Core>, before: Option<&PluginState>) -> Self {
        let versions = before.map_or_else(
            || Arc::new(watch::Sender::new(())),
            |before| before.end.versions.clone(),
        );
        Self {
            name,
            core: Arc::downgrade(core),
            versions,
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let Some(core) = self.core.upgrade() else { return };
        let (removed, all) = lock(&core.dispatcher).remove_retired(&self.name);
        if removed.is_empty() {
            return;
        }
        lock(&core.uncertain).retain(|(id, _), _| !removed.contains(id));
        removed.iter().for_each(|id| core.shared.metrics.forget(id));
        if all {
            lock(&core.dispatcher).hold(&self.name, false);
            core.shared.metrics.forget_plugin(&self.name);
            let plugin = self.name.clone();
            core.shared.observer.happened(&Happening::Unloaded { plugin });
        }
    }
}

impl PluginState {
    /// What it waits for before every controller of it runs, a line for people each.
    pub(crate) fn waiting_for(&self) -> Vec<String> {
        let mut lines = self.broken.clone();
        if let Some(access) = &self.access
            && matches!(access.standing(), Standing::Unreviewed(_))
        {
            lines.push(format!("{}: reviews of what {} may see", self.name, access.whom));
        }
        for (kind, windows) in &self.views {
            for window in windows.iter().filter(|window| !window.synced()) {
                let mut why: Vec<String> = window
                    .statuses()
                    .into_iter()
                    .map(|status| match status.last_error {
                        Some(error) => format!("{} ({error})", status.phase.as_str()),
                        None => status.phase.as_str().to_owned(),
                    })
                    .collect();
                why.dedup();
                lines.push(format!("{}: first list of {kind}: {}", self.name, why.join("; ")));
            }
        }
        lines.sort();
        lines.dedup();
        lines
    }
}

#[cfg(test)]
#[path = "stage_tests.rs"]
mod tests;
