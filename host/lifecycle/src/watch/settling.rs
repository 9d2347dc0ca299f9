//! Which changes of the plugin directory count.
//!
//! A plugin's files count once they were the same in two looks, [`Settling::pause`] apart: length, times, inode and
//! hash of the module and of what stands beside it. So a file that is being copied is not loaded by halves, an editor's
//! "delete, then write anew" is one change, and a module whose `NAME.yaml` comes a moment later comes with it. A file
//! that is gone settles in the same way.
//!
//! The hash need not be asked again of a file that settled and whose stamp stays: the second look that settled it was a
//! whole pause after the first, longer than a tick of a file system's clock, so whatever is written after it shows in
//! the stamp.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::directory::Stamp;
use crate::load::Hash;
use crate::refusal::Refusal;

/// A file that was read whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Print {
    /// What the system said of it.
    pub(crate) stamp: Stamp,
    /// The hash of its content.
    pub(crate) hash: Hash,
}

/// What stands beside a module: small enough to be held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Beside {
    /// What the system said of it.
    pub(crate) stamp: Stamp,
    /// What stands in it.
    pub(crate) text: Arc<[u8]>,
}

/// What a look showed of one plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sighting {
    /// Its module, or why it can't be one.
    pub(crate) module: Result<Print, Refusal>,
    /// What stands beside it.
    pub(crate) beside: Option<Result<Beside, Refusal>>,
}

/// See the module's text. What is not there is `None`.
#[derive(Clone, Debug)]
pub(crate) struct Settling {
    pause: Duration,
    settled: BTreeMap<String, Sighting>,
    pending: BTreeMap<String, (Option<Sighting>, Duration)>,
}

impl Settling {
    /// With nothing settled. Two looks that agree must be `pause` apart.
    pub(crate) fn new(pause: Duration) -> Self {
        Self {
            pause,
            settled: BTreeMap::new(),
            pending: BTreeMap::new(),
        }
    }

    /// Takes what the first look shows for settled: at the start nobody waits. A module that was half there then is
    /// refused by the compiler, and the other half is a change.
    pub(crate) fn take(&mut self, looked: BTreeMap<String, Sighting>) {
        self.pending.clear();
        self.settled = looked;
    }

    /// What a look showed; the plugins whose files changed and have settled, with what they are now: none where they
    /// are gone.
    pub(crate) fn step(
        &mut self,
        now: Duration,
        mut looked: BTreeMap<String, Sighting>,
    ) -> Vec<(String, Option<Sighting>)> {
        let names: std::collections::BTreeSet<String> = self
            .settled
            .keys()
            .chain(looked.keys())
            .chain(self.pending.keys())
            .cloned()
            .collect();
        let mut changes = Vec::new();
        for name in names {
            let current = looked.remove(&name);
            if current.as_ref() == self.settled.get(&name) {
                self.pending.remove(&name);
                continue;
            }
            match self.pending.get(&name) {
                Some((pending, since)) if *pending == current => {
                    if now.saturating_sub(*since) < self.pause {
                        continue;
                    }
                    self.pending.remove(&name);
                    match &current {
                        Some(sighting) => self.settled.insert(name.clone(), sighting.clone()),
                        None => self.settled.remove(&name),
                    };
                    changes.push((name, current));
                }
                _ => _ = self.pending.insert(name, (current, now)),
            }
        }
        changes
    }

    /// When to look again at the latest, if anything hangs on it.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.pending.values().map(|(_, since)| *since + self.pause).min()
    }

    /// What settled of this plugin.
    pub(crate) fn settled(&self, name: &str) -> Option<&Sighting> {
        self.settled.get(name)
    }
}
