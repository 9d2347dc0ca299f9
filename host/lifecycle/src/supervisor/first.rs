//! The start: what serves as soon as the host is there.
//!
//! The host is to be there soon, whatever lies in the directory. So the first loads are waited for together, for
//! [`HOST_WAITS`] at most: what has not ended by then goes on while the host runs, as any other load does. What served
//! when the last host ended is not waited for any longer than that either, but it comes before what is new, and its
//! code is at hand.
//!
//! *Ready* means more than to be there: that everything in the directory serves or was refused. It waits for
//! [`READINESS_WAITS`] from the start at most, and not for a plugin of which an older version serves meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Source, Supervisor, pause};
use crate::directory::DirectoryError;
use crate::kept::Failures;
use crate::lives::{Act, Input, Life, Wanted};
use crate::load::Plugin;
use crate::watch::look;

/// The host begins no later than that after its first look at the directory.
pub(super) const HOST_WAITS: Duration = Duration::from_secs(5);

/// Plugins that are not loaded yet keep the host from being ready for so long after its first look.
pub(super) const READINESS_WAITS: Duration = Duration::from_secs(60);

/// What the first loads came to.
#[derive(Default)]
struct First {
    /// What is to serve as soon as the host is there.
    plugins: BTreeMap<String, Arc<Plugin>>,
    /// What follows them, in front of a host that runs.
    later: Vec<(String, Wanted)>,
}

impl Supervisor {
    /// Looks at the directory and loads what lies there; called once. Answers with the plugins that may serve by now,
    /// sorted by name: the caller starts the host with them, and then has this [run](Supervisor::run), which goes on
    /// with what is not loaded yet. Needs a tokio runtime. Meanwhile [`Supervisor::control`] tells how far each plugin
    /// is.
    ///
    /// It takes 5 seconds at most for the loads: a module that is slow to compile does not keep the others from
    /// serving.
    ///
    /// # Errors
    /// The directory as a whole can't be looked at. What is wrong with a plugin is told to the observer.
    pub async fn load(&mut self) -> Result<Vec<Arc<Plugin>>, DirectoryError> {
        let (directory, most) = (
            self.options.directory.clone(),
            self.options.config.host.max_module_bytes(),
        );
        let before = self.settling.clone();
        #[expect(
            clippy::disallowed_methods,
            reason = "a driver: reads files on a thread that serves nobody"
        )]
        let looked = tokio::task::spawn_blocking(move || look(&directory, most, &before)).await;
        let (looked, stray) = looked.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))?;
        self.warn_of(&stray);
        let names = looked.keys().map(String::as_str);
        for warning in self.options.config.without_module(names) {
            tracing::warn!("{warning}");
        }
        self.settling.take(looked.clone());
        self.restore(|name| looked.contains_key(name)).await;
        let began = self.clock.now();
        let mut first = First::default();
        for (name, sighting) in looked {
            let acts = self.found(&name, Some(sighting));
            self.act_first(&name, acts, &mut first);
        }
        self.readiness_waits();
        while self.turns.is_busy() {
            self.begin_loads();
            let now = self.clock.now();
            let over = began + HOST_WAITS;
            if now >= over {
                break;
            }
            let due = self.turns.due(now).map_or(over, |due| due.min(over));
            tokio::select! {
                biased;
                Some((name, ended)) = self.jobs.next(), if !self.jobs.is_empty() => {
                    let acts = self.ended(&name, ended);
                    self.act_first(&name, acts, &mut first);
                }
                () = pause(Some(due.saturating_sub(now))) => {}
            }
        }
        for (name, wanted) in first.later {
            self.add(&name, wanted, Source::Directory);
        }
        self.readiness_waits();
        self.starting = Some(began + READINESS_WAITS);
        self.keep().await;
        Ok(first.plugins.into_values().collect())
    }

    /// For what is on its way now, and nothing of which serves.
    fn readiness_waits(&self) {
        let busy = self.lives.iter().filter(|(_, life)| life.is_busy() && !life.serves());
        self.control.told().starting = busy.map(|(name, _)| name.clone()).collect();
    }

    /// Acts while the host is not there yet: whatever may serve will, as soon as it starts.
    fn act_first(&mut self, name: &str, acts: Vec<Act<Arc<Plugin>>>, first: &mut First) {
        for act in acts {
            let input = match act {
                // What served last does again, and this follows it.
                Act::Load(wanted) if first.plugins.contains_key(name) => {
                    first.later.push((name.to_owned(), wanted));
                    continue;
                }
                Act::Load(wanted) => {
                    self.add(name, wanted, Source::Directory);
                    continue;
                }
                Act::Revive(wanted) => {
                    self.add(name, wanted, Source::Store);
                    continue;
                }
                Act::Serve(plugin) => {
                    first.plugins.insert(name.to_owned(), plugin);
                    Input::Served(Ok(()))
                }
                Act::Tell(event) => {
                    self.options.observer.happened(&event);
                    continue;
                }
                // Nothing is switched yet, and nothing serves that could be adjusted or released.
                Act::Cancel | Act::Adjust(_) | Act::Release => continue,
                Act::Withdraw => {
                    first.plugins.remove(name);
                    Input::Withdrawn
                }
            };
            let acts = self.step(name, input);
            self.act_first(name, acts, first);
        }
    }

    /// Takes up what the last host left of plugins' lives. Of those whose files are gone so much stays as is remembered
    /// of what is gone.
    async fn restore(&mut self, lies_there: impl Fn(&str) -> bool) {
        let rules = self.rules();
        let Some(keeping) = &mut self.keeping else { return };
        let home = self.options.config.host.namespace.clone();
        self.failures = Failures::kept(keeping.read_failures().await);
        for (name, mut kept) in keeping.read().await {
            kept.at_home_in(home.as_deref());
            let is_there = lies_there(&name);
            self.lives.insert(name.clone(), Life::restored(&name, rules, kept));
            if !is_there {
                // Nothing serves yet: there is nothing to do about it.
                self.step(&name, Input::Gone);
            }
        }
    }

    /// Once the start is over nothing of it keeps the host from being ready.
    pub(super) fn started(&mut self) {
        if self.starting.is_none_or(|over| self.clock.now() < over) {
            return;
        }
        self.starting = None;
        for name in std::mem::take(&mut self.control.told().starting) {
            tracing::warn!(
                plugin = name,
                "the plugin is still being loaded after {READINESS_WAITS:?}: the host is ready without it"
            );
        }
    }
}
