//! The breakers of all plugins as the dispatcher asks them: may a key of this plugin begin, and what became of those
//! that did. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use pilothouse_gate::breaker::{Breaker, Call, Change, Outcome, Rank, Settings, View};
use pilothouse_lifecycle::BreakerSettings;
use pilothouse_object::Key;

use crate::{ControllerId, Dispatcher, scheduling::dispatcher::Job};

/// The breakers by plugin.
#[derive(Default)]
pub(crate) struct Breakers {
    plugins: BTreeMap<Arc<str>, Breaker>,
    /// The plugins whose breakers change with time alone.
    moving: BTreeSet<Arc<str>>,
    /// What nobody has been told yet.
    changes: Vec<(Arc<str>, Change)>,
}

impl Breakers {
    /// A plugin has a breaker from now on; one that it has already stays as it is.
    pub(crate) fn register(&mut self, plugin: &Arc<str>) {
        self.plugins
            .entry(plugin.clone())
            .or_insert_with(|| Breaker::new(Settings::default()));
    }

    pub(crate) fn set(&mut self, plugin: &Arc<str>, settings: Settings) {
        self.change(plugin, |breaker| breaker.set(settings));
    }

    pub(crate) fn remove(&mut self, plugin: &str) {
        self.plugins.remove(plugin);
        self.moving.remove(plugin);
    }

    pub(crate) fn get(&self, plugin: &str) -> Option<&Breaker> {
        self.plugins.get(plugin)
    }

    /// Changes a plugin's breaker; none where it has none.
    fn change<T>(&mut self, plugin: &str, change: impl FnOnce(&mut Breaker) -> T) -> Option<T> {
        let breaker = self.plugins.get_mut(plugin)?;
        let moved = breaker.is_moving();
        let changed = change(breaker);
        if breaker.is_moving() != moved {
            if moved {
                self.moving.remove(plugin);
            } else {
                self.moving.insert(plugin.into());
            }
        }
        Some(changed)
    }

    /// Lets time do its part, and tells the plugins of which more keys may begin than before.
    pub(crate) fn advance(&mut self, now: Duration, mut moved: impl FnMut(&Arc<str>)) {
        let (plugins, changes) = (&mut self.plugins, &mut self.changes);
        self.moving.retain(|plugin| {
            let Some(breaker) = plugins.get_mut(plugin) else {
                return false;
            };
            changes.extend(breaker.advance(now).map(|change| (plugin.clone(), change)));
            moved(plugin);
            breaker.is_moving()
        });
    }

    pub(crate) fn may_begin(&self, plugin: &str) -> bool {
        self.get(plugin).is_none_or(Breaker::may_begin)
    }

    /// How to choose among the keys of a controller, where its plugin's breaker is choosy.
    pub(crate) fn rank(&self, id: &ControllerId) -> Option<impl Fn(&Key, u32) -> Rank + use<'_>> {
        let breaker = self.get(&id.plugin).filter(|breaker| breaker.is_choosy())?;
        let id = id.clone();
        Some(move |key: &Key, failures| breaker.rank(hash(&id, key), failures))
    }

    pub(crate) fn begin(&mut self, id: &ControllerId, key: &Key, failures: u32) -> Option<Call> {
        let breaker = self.plugins.get_mut(&id.plugin)?;
        Some(breaker.begin(hash(id, key), failures))
    }

    pub(crate) fn end(
        &mut self,
        now: Duration,
        rng: &mut fastrand::Rng,
        plugin: &Arc<str>,
        call: Call,
        outcome: Outcome,
    ) -> Option<Change> {
        let change = self.change(plugin, |breaker| breaker.end(now, rng, call, outcome))??;
        self.changes.push((plugin.clone(), change));
        Some(change)
    }

    pub(crate) fn next_due(&self) -> Option<Duration> {
        let moving = self.moving.iter().filter_map(|plugin| self.plugins.get(plugin));
        moving.filter_map(Breaker::next_due).min()
    }

    pub(crate) fn take_changes(&mut self) -> Vec<(Arc<str>, Change)> {
        std::mem::take(&mut self.changes)
    }

    pub(crate) fn views(&self, now: Duration) -> impl Iterator<Item = (&Arc<str>, View)> {
        self.plugins
            .iter()
            .map(move |(plugin, breaker)| (plugin, breaker.view(now)))
    }
}

/// What a dispatcher has to do with breakers beside asking them for keys' turns.
impl Dispatcher {
    /// Tells the plugin's breaker what a job's run says about the plugin; only the first word counts. Answers what that
    /// changed. Where it isn't told before [`Dispatcher::finished`], the run says nothing.
    pub fn judged(&mut self, now: Duration, rng: &mut fastrand::Rng, job: &Job, outcome: Outcome) -> Option<Change> {
        let call = job.call.filter(|_| !job.judged.swap(true, Ordering::AcqRel))?;
        let change = self.breakers.end(now, rng, &job.id.plugin, call, outcome);
        self.breaker_moved(&job.id.plugin);
        change
    }

    /// How a plugin's breaker stands; none where there is no such plugin.
    pub fn breaker(&self, now: Duration, plugin: &str) -> Option<View> {
        self.breakers.get(plugin).map(|breaker| breaker.view(now))
    }

    /// Closes a plugin's breaker, also a quarantined one: there is a new version or configuration, or a person says so.
    /// Nobody is told: the caller knows. False where there is no such plugin.
    pub fn reset_breaker(&mut self, now: Duration, plugin: &str) -> bool {
        let known = self.breakers.change(plugin, |breaker| breaker.reset(now)).is_some();
        self.breaker_moved(&plugin.into());
        known
    }

    /// Quarantines a plugin: no key of it begins until [`Dispatcher::reset_breaker`]. For a quarantine that outlived a
    /// restart, or by hand. Nobody is told. False where there is no such plugin.
    pub fn quarantine(&mut self, now: Duration, plugin: &str) -> bool {
        let known = self
            .breakers
            .change(plugin, |breaker| breaker.quarantine(now))
            .is_some();
        self.breaker_moved(&plugin.into());
        known
    }

    /// More keys of a plugin may begin than before, or others.
    pub(super) fn breaker_moved(&mut self, plugin: &Arc<str>) {
        self.advanced = None;
        self.gate.wake(plugin);
    }

    /// What breakers did since the last time this was asked.
    pub fn breaker_changes(&mut self) -> Vec<(Arc<str>, Change)> {
        self.breakers.take_changes()
    }
}

/// What the operator set, as a breaker keeps to it.
pub(crate) fn settings(set: &BreakerSettings) -> Settings {
    let seconds = |seconds: u32| Duration::from_secs(seconds.into());
    Settings {
        enabled: set.enabled,
        window: seconds(set.window_seconds),
        min_calls: set.min_calls,
        min_keys: set.min_keys as usize,
        failure_rate: set.failure_percent,
        slow_rate: set.slow_percent,
        consecutive: set.consecutive,
        open: seconds(set.open_seconds),
        open_max: seconds(set.max_open_seconds),
        quarantine_trips: set.quarantine_trips as usize,
        ..Settings::default()
    }
}

fn hash(id: &ControllerId, key: &Key) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.controller.hash(&mut hasher);
    key.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_operator_says_nothing_a_breaker_has_its_own_defaults() {
        assert_eq!(settings(&BreakerSettings::default()), Settings::default());
    }

    #[test]
    fn what_the_operator_says_is_what_the_breaker_keeps_to_field_by_field() {
        let set = BreakerSettings {
            enabled: false,
            window_seconds: 31,
            min_calls: 32,
            min_keys: 33,
            failure_percent: 34,
            slow_percent: 35,
            slow_ms: 36,
            consecutive: 37,
            count_terminal: true,
            open_seconds: 38,
            max_open_seconds: 39,
            quarantine_trips: 40,
        };
        let kept_to = Settings {
            enabled: false,
            window: Duration::from_secs(31),
            min_calls: 32,
            min_keys: 33,
            failure_rate: 34,
            slow_rate: 35,
            consecutive: 37,
            open: Duration::from_secs(38),
            open_max: Duration::from_secs(39),
            quarantine_trips: 40,
            // The operator has no word in these.
            good: Settings::default().good,
            probes: Settings::default().probes,
            ramp: Settings::default().ramp,
            poison_after: Settings::default().poison_after,
            quarantine_within: Settings::default().quarantine_within,
        };
        assert_eq!(settings(&set), kept_to);
    }
}
