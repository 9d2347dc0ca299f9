//! Parked keys over a restart (design, decision 15): what is kept of them, and what of that still holds when the next
//! host starts.
//!
//! While a host runs, its queues hold the parked keys. This keeps a copy of them in a file, and gives it back at the
//! next start: what did not change since stays parked, instead of being run by the first list; what changed is run.
//!
//! # Promised
//! - **No change is lost.** A key stays parked over a restart only if its object is the same (uid, and a version that
//!   the last host had heard of), the objects that map to it are such, and the plugin's module, its configuration and
//!   its grants are what they were. In doubt it runs: one attempt more is harmless.
//! - **Bounded**: at most [`MAX_KEYS`] keys and [`MAX_BYTES`] of text. Those that were parked first are kept; the
//!   others are left out, which is logged once, and run after the restart.
//! - **A plugin that comes later**, or is unloaded (disabled, say) and comes back, finds its parked keys as one that
//!   was there at the start does: only another module or configuration gives them a new chance. Where none comes they
//!   are let go of at the first start that is [`WAITS`] after they were parked, and they give way to the keys of
//!   plugins that are there.
//! - **The file is whole or refused.** It is written beside and renamed, and ends with a count. Whatever else stands
//!   there is moved aside, said in the log, and the host starts as without it.
//!
//! # Not promised
//! - A crash loses what was parked in its last [`DEBOUNCE`], and in the write that was under way: these keys run once
//!   more. A host that is stopped loses nothing.
//! - An object of another kind that maps to a parked key, and was **deleted** while no host ran or the plugin was away,
//!   wakes nothing: what is gone is in no list.
//! - Without a place to keep them, a plugin that comes back has none.
//! - Times are those of the wall clock when the host began, moved on by the monotonic one.
//!
//! | module | what is in it | I/O |
//! |---|---|---|
//! | `text` | the file's form: to text and back | no |
//! | `keeping` | what is known of one controller's parked keys beside the queue; what still holds at the start | no |
//! | `absent` | what waits for controllers that are not there | no |
//! | `returns` | the dispatcher's part: what it sets down at the start, and what it tells | no |
//! | `keeper` | when to write | no |
//! | `file`, `driver` | reading, and writing atomically; waiting for it | yes |

mod absent;
mod directory;
mod driver;
mod file;
mod keeper;
pub(crate) mod keeping;
#[cfg(test)]
mod restart_tests;
mod returns;
pub(crate) mod text;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use pilothouse_object::{Gvk, Key, Object, Version};
use pilothouse_workqueue::Failure;

use crate::ControllerId;

pub(crate) use absent::Absent;
pub use absent::WAITS;
pub(crate) use driver::Keep;
pub use file::{ParkedFile, StateDirectory, StateError};
pub use keeper::DEBOUNCE;
pub use text::{MAX_BYTES, MAX_KEYS, Refused};

/// The parts of a controller's view whose versions are remembered: namespaces, for each kind that it watches. What
/// comes from parts beyond counts as changed after a restart.
const MAX_PARTS: usize = 4_096;

/// An object as it stood when its key was parked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stood {
    /// Its uid.
    pub uid: Arc<str>,
    /// The version that the last attempt ran on.
    pub version: Version,
}

impl Stood {
    pub(crate) fn of(object: &Object) -> Self {
        let head = object.head();
        Self {
            uid: (*head.uid).into(),
            version: head.version.clone(),
        }
    }
}

/// One parked key, as it is kept over a restart.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Whose key.
    pub id: ControllerId,
    /// The kind that the controller reconciles.
    pub kind: Gvk,
    /// The key.
    pub key: Key,
    /// Its object; none where there was none.
    pub object: Option<Stood>,
    /// The hash of the plugin's module that parked it.
    pub module: Arc<str>,
    /// The hash of what the operator's file said of the plugin.
    pub configuration: Arc<str>,
    /// When it was parked, since the Unix epoch.
    pub since: Duration,
    /// How many attempts in a row had ended badly.
    pub attempts: u32,
    /// What ended the attempts: the plugin's or a server's text.
    pub reason: String,
    /// The last errors, oldest first; their times since the Unix epoch.
    pub errors: Vec<Failure>,
}

/// How far a host had heard of what a controller watches, before it wrote: for each window (which kind, and how it maps
/// to keys) and namespace (empty for what lives in none) the newest version that came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    windows: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Version>>,
    parts: usize,
}

impl Heard {
    /// A version came. Those that don't compare are not remembered: what they stand on counts as changed.
    pub(crate) fn hear(&mut self, window: &Arc<str>, namespace: Option<&Arc<str>>, version: &Version) {
        if version.compare(version).is_none() {
            return;
        }
        let namespace = namespace.map_or("", |namespace| namespace);
        if let Some(newest) = self.windows.get_mut(window).and_then(|parts| parts.get_mut(namespace)) {
            if version.is_newer_than(newest) {
                newest.clone_from(version);
            }
        } else if self.parts < MAX_PARTS {
            self.parts += 1;
            let parts = self.windows.entry(window.clone()).or_default();
            parts.insert(namespace.into(), version.clone());
        }
    }

    /// Whether this version was heard of. False where that can't be told.
    pub(crate) fn has(&self, window: &str, namespace: Option<&str>, version: &Version) -> bool {
        let newest = self
            .windows
            .get(window)
            .and_then(|parts| parts.get(namespace.unwrap_or_default()));
        newest.is_some_and(|newest| version.compare(newest).is_some_and(std::cmp::Ordering::is_le))
    }
}

/// Where a host keeps its parked keys, and what the last one kept there.
pub struct State {
    /// Where.
    pub file: Arc<dyn ParkedFile>,
    /// What it found.
    pub kept: Kept,
}

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    /// The parked keys.
    pub records: Vec<Record>,
    /// What their controllers had heard of.
    pub heard: BTreeMap<ControllerId, Heard>,
    /// How many parked keys more there were than are written, of those that were parked last. In no file.
    pub no_room: usize,
}
