//! What happened to each plugin lately: its last error, and the last turns of its life and its breaker.
//!
//! Promises: a run that went well costs nothing here; of each plugin that there is, so much is kept and no more.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use pilothouse_controller::{Happening, Observer, breaker::Change, breaker_words};
use pilothouse_lifecycle::{Hash, LifeEvent, LifeObserver, What};
use pilothouse_object::shorten;

use super::api::{LastError, Past};

/// Turns of each plugin that are kept.
const TURNS: usize = 16;

/// Plugins that are remembered: as many as a directory holds, and some.
const PLUGINS: usize = 4_096;

/// Bytes of one text that are kept.
const TEXT: usize = 256;

/// Remembers, and passes on to whoever shows it.
pub(crate) struct Recent {
    began: Instant,
    plugins: Mutex<BTreeMap<String, Own>>,
}

#[derive(Default)]
struct Own {
    error: Option<(u64, LastError)>,
    /// Since when the version serves that serves now, or did last.
    served: Option<u64>,
    turns: VecDeque<(u64, String)>,
}

impl Recent {
    #[expect(clippy::disallowed_methods, reason = "this is a driver: its clock")]
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            plugins: Mutex::default(),
        }
    }

    /// Seconds since this was made.
    pub(crate) fn uptime(&self) -> u64 {
        self.began.elapsed().as_secs()
    }

    /// An observer of the host that remembers, and then passes on.
    pub(crate) fn observing(self: &Arc<Self>, next: Arc<dyn Observer>) -> Arc<dyn Observer> {
        Arc::new(Then(self.clone(), next))
    }

    /// An observer of plugins' lives that remembers, and then passes on.
    pub(crate) fn observing_lives(self: &Arc<Self>, next: Arc<dyn LifeObserver>) -> Arc<dyn LifeObserver> {
        Arc::new(Then(self.clone(), next))
    }

    fn with<T>(&self, plugin: &str, act: impl FnOnce(&mut Own) -> T) -> Option<T> {
        let mut plugins = self.plugins.lock().unwrap_or_else(PoisonError::into_inner);
        if !plugins.contains_key(plugin) {
            if plugins.len() >= PLUGINS {
                return None;
            }
            plugins.insert(plugin.to_owned(), Own::default());
        }
        plugins.get_mut(plugin).map(act)
    }

    fn turn(&self, plugin: &str, what: &str) {
        let now = self.uptime();
        self.with(plugin, |own| {
            if own.turns.len() == TURNS {
                own.turns.pop_front();
            }
            own.turns.push_back((now, shorten(what, TEXT).into_owned()));
        });
    }

    /// A plugin's last error, if it had one.
    pub(crate) fn error(&self, plugin: &str) -> Option<LastError> {
        let plugins = self.plugins.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, error) = plugins.get(plugin)?.error.clone()?;
        Some(LastError {
            seconds_ago: self.uptime().saturating_sub(at),
            ..error
        })
    }

    /// For how many seconds a plugin's version has served, where it does.
    pub(crate) fn serving_seconds(&self, plugin: &str) -> Option<u64> {
        let plugins = self.plugins.lock().unwrap_or_else(PoisonError::into_inner);
        Some(self.uptime().saturating_sub(plugins.get(plugin)?.served?))
    }

    /// A plugin's last turns, the newest last.
    pub(crate) fn turns(&self, plugin: &str) -> Vec<Past> {
        let plugins = self.plugins.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.uptime();
        let turns = plugins.get(plugin).into_iter().flat_map(|own| &own.turns);
        let past = turns.map(|(at, what)| Past {
            seconds_ago: now.saturating_sub(*at),
            what: what.clone(),
        });
        past.collect()
    }

    fn happening(&self, happening: &Happening) {
        match happening {
            Happening::Reconciled(run) => {
                let why = match &run.result {
                    Ok(Ok(_)) => return,
                    Ok(Err(failure)) => format!("{}: {}", failure.reason, shorten(&failure.message, TEXT)),
                    Err(error) => error.to_string(),
                };
                let error = LastError {
                    seconds_ago: 0,
                    controller: run.id.controller.to_string(),
                    key: run.key.to_string(),
                    attempt: run.attempt,
                    why: shorten(&why, TEXT).into_owned(),
                };
                let now = self.uptime();
                self.with(&run.id.plugin, |own| own.error = Some((now, error)));
            }
            Happening::Breaker { plugin, change } => {
                let state = match change {
                    Change::Opened { .. } | Change::Quarantined { .. } => "open",
                    Change::HalfOpened => "half-open",
                    Change::Closed => "closed",
                };
                self.turn(plugin, &format!("breaker {state}: {}", breaker_words(change)));
            }
            Happening::HotLoop(found) => {
                let what = format!("{} {} loops: {found}", found.id.controller, found.key);
                self.turn(&found.id.plugin, &what);
            }
            _ => {}
        }
    }

    fn life(&self, event: &LifeEvent) {
        let hash = event.hash.as_ref().map_or_else(|| "what lies there".to_owned(), short);
        let what = match &event.what {
            What::Refused { refusal, .. } => format!("{hash} refused at the step {}: {}", refusal.step, refusal.why),
            What::HeldBack(held) => format!("{hash} waits: {}", held.why),
            What::Serving { instead_of: None } => format!("{hash} serves"),
            What::Serving { instead_of: Some(old) } => format!("{hash} serves instead of {}", short(old)),
            What::RolledBack { from, why } => format!("{hash} serves again instead of {}: {why}", short(from)),
            What::Revoked => "what it was granted is granted no longer: unloaded".to_owned(),
            What::Quarantined => format!("{hash} in quarantine"),
            What::Unloaded => "unloaded".to_owned(),
        };
        self.turn(&event.plugin, &what);
        if matches!(event.what, What::Serving { .. } | What::RolledBack { .. }) {
            let now = self.uptime();
            self.with(&event.plugin, |own| own.served = Some(now));
        }
    }

    /// Forgets those that are not among these any longer.
    pub(crate) fn keep_only(&self, is_there: impl Fn(&str) -> bool) {
        let mut plugins = self.plugins.lock().unwrap_or_else(PoisonError::into_inner);
        plugins.retain(|name, _| is_there(name));
    }
}

/// The first digits of a hash.
fn short(hash: &Hash) -> String {
    let mut digits = hash.to_string();
    digits.truncate(super::SHORT_HASH);
    digits
}

/// One observer, then another.
struct Then<T: ?Sized>(Arc<Recent>, Arc<T>);

impl Observer for Then<dyn Observer> {
    fn happened(&self, happening: &Happening) {
        self.0.happening(happening);
        self.1.happened(happening);
    }
}

impl LifeObserver for Then<dyn LifeObserver> {
    fn happened(&self, event: &LifeEvent) {
        self.0.life(event);
        self.1.happened(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tell(recent: &Recent, plugin: &str, what: What) {
        recent.life(&LifeEvent {
            plugin: plugin.to_owned(),
            version: None,
            hash: Some(Hash::of(b"module")),
            what,
        });
    }

    #[test]
    fn the_last_turns_of_a_plugin_are_kept_and_no_more() {
        let recent = Recent::new();
        for _ in 0..100 {
            tell(&recent, "a", What::Serving { instead_of: None });
        }
        tell(&recent, "a", What::Quarantined);
        let turns = recent.turns("a");
        assert_eq!(turns.len(), TURNS);
        assert!(turns.last().unwrap().what.ends_with(" in quarantine"), "{turns:?}");
        recent.keep_only(|name| name != "a");
        assert!(recent.turns("a").is_empty());
    }

    #[test]
    fn names_that_nobody_has_can_not_fill_the_memory() {
        let recent = Recent::new();
        for number in 0..2 * PLUGINS {
            tell(&recent, &number.to_string(), What::Unloaded);
        }
        assert_eq!(recent.plugins.lock().unwrap().len(), PLUGINS);
    }
}
