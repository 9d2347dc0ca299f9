//! The time of one version of a controller, as its feeds share it: whether what they hear goes into the queue.
//!
//! A version that comes hears everything from its first list on, and remembers which keys were asked for; until it
//! serves, the one before it hears the same and runs them. From the switch on the new one's feeds ask, and the old
//! one's are silent. Both sides look, and the switch happens, while the dispatcher is locked: so nothing is lost in
//! between.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use pilothouse_informer::{Delta, Reader};
use pilothouse_object::Key;
use tokio::sync::Notify;

use crate::{lock::lock, parked::Heard, waking::intake::Intake};

/// One version of one controller.
pub(crate) struct Tenure {
    /// Looked at and changed while the dispatcher is locked, which is locked first.
    phase: Mutex<Phase>,
    /// Its windows on its own kind; filled before any other window opens.
    primaries: OnceLock<Vec<Reader>>,
    /// What has to come before it may run: each window's first picture.
    awaited: AtomicUsize,
    /// That it runs was told.
    told: AtomicBool,
    /// Told whenever a version of the plugin that comes has all first pictures of a controller.
    ready: Arc<Notify>,
}

/// How far a version has come.
pub(crate) enum Phase {
    /// Another one serves yet, or none; so this is what it would have asked for.
    Coming(Meanwhile),
    /// What it hears goes into the queue.
    Serving,
    /// Another one serves, or none any more.
    Over,
}

/// What a version has heard before it serves.
#[derive(Default)]
pub(crate) struct Meanwhile {
    /// The keys that its first lists and later changes map to.
    pub(crate) keys: HashSet<Key>,
    /// How far it has heard, for the parked keys that are kept.
    pub(crate) heard: Heard,
}

impl Meanwhile {
    /// Remembers what changes map to.
    pub(crate) fn take(&mut self, intake: &Intake, routed: &[(&Delta, Vec<Key>)]) {
        for (delta, keys) in routed {
            self.heard
                .hear(&intake.window, delta.key.namespace.as_ref(), &delta.version);
            self.keys.extend(keys.iter().cloned());
        }
    }
}

impl Tenure {
    /// One that waits for so many things before it may run.
    pub(crate) fn new(phase: Phase, awaited: usize, ready: Arc<Notify>) -> Self {
        Self {
            phase: phase.into(),
            primaries: OnceLock::new(),
            awaited: awaited.into(),
            told: false.into(),
            ready,
        }
    }

    /// Where it stands. The dispatcher must be locked.
    pub(crate) fn phase(&self) -> std::sync::MutexGuard<'_, Phase> {
        lock(&self.phase)
    }

    /// Sets the windows on its own kind, once.
    pub(crate) fn set_primaries(&self, primaries: Vec<Reader>) {
        // Called by nobody twice; the first would stay.
        let _ = self.primaries.set(primaries);
    }

    /// The windows on its own kind, as far as they are open.
    pub(crate) fn primaries(&self) -> &[Reader] {
        self.primaries.get().map_or(&[], Vec::as_slice)
    }

    /// Whether a key lies in what the controller may see of its own kind.
    pub(crate) fn sees(&self, key: &Key) -> bool {
        self.primaries().iter().any(|window| window.view().sees_key(key))
    }

    /// One of what it waits for is there. True where that was the last.
    pub(crate) fn arrived(&self) -> bool {
        let last = self.awaited.fetch_sub(1, Ordering::AcqRel) == 1;
        if last {
            self.ready.notify_waiters();
        }
        last
    }

    /// Nothing is waited for any more.
    pub(crate) fn is_ready(&self) -> bool {
        self.awaited.load(Ordering::Acquire) == 0
    }

    /// True for the first who asks: it tells that this controller runs.
    pub(crate) fn tells(&self) -> bool {
        !self.told.swap(true, Ordering::AcqRel)
    }
}
