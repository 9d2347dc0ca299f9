//! What others ask a supervisor, and what it tells them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::Clock;
use crate::lives::{LifeStatus, Order, OrderError};
use crate::refusal::Step;

/// So many orders may wait.
const ORDERS: usize = 16;

pub(super) type Asked = (String, Order, oneshot::Sender<Result<(), OrderError>>);

/// What a person asks a supervisor, and what it tells. Clones are the same.
#[derive(Clone)]
pub struct Control {
    orders: mpsc::Sender<Asked>,
    told: Arc<Mutex<Told>>,
    clock: Clock,
}

/// What is told.
#[derive(Default)]
pub(super) struct Told {
    /// Of each plugin.
    pub(super) status: BTreeMap<String, LifeStatus>,
    /// The plugins whose first load readiness waits for.
    pub(super) starting: BTreeSet<String>,
    /// Why the directory can't be looked at.
    pub(super) blind: Option<String>,
    /// What is being done for plugins that are on their way, and since when.
    pub(super) steps: BTreeMap<String, (Option<Step>, Duration)>,
}

/// How far a version is that is on its way to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The step that it takes; none: it waits for its turn to be loaded.
    pub step: Option<Step>,
    /// For how long, in whole seconds.
    pub seconds: u64,
}

impl Control {
    pub(super) fn new(clock: Clock) -> (Self, mpsc::Receiver<Asked>) {
        let (orders, asked) = mpsc::channel(ORDERS);
        let told = Arc::default();
        (Self { orders, told, clock }, asked)
    }

    /// Locked for a moment.
    pub(super) fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every plugin's state, sorted by name, as it was when something last happened to it.
    pub fn status(&self) -> Vec<LifeStatus> {
        self.told().status.values().cloned().collect()
    }

    /// Whether there is anything to tell of this plugin.
    pub fn knows(&self, plugin: &str) -> bool {
        self.told().status.contains_key(plugin)
    }

    /// Why the plugin directory can't be looked at now; none where it can. Until then the plugins stay as they are.
    pub fn blind(&self) -> Option<String> {
        self.told().blind.clone()
    }

    /// The plugins that lay in the directory at the start, and neither serve nor were refused yet, sorted by name.
    /// Empty once each came to one of these ends, and in any case a minute after the start: a module that is slow to
    /// compile keeps the host from being ready no longer.
    pub fn starting(&self) -> Vec<String> {
        self.told().starting.iter().cloned().collect()
    }

    /// How far the version of this plugin is that is on its way; none where there is none.
    pub fn progress(&self, plugin: &str) -> Option<Progress> {
        let (step, since) = self.told().steps.get(plugin).copied()?;
        let seconds = self.clock.now().saturating_sub(since).as_secs();
        Some(Progress { step, seconds })
    }

    /// This is what is being done for the plugin from now on.
    pub(super) fn at(&self, plugin: &str, step: Option<Step>) {
        let now = self.clock.now();
        let mut told = self.told();
        // Told twice it goes on.
        if told.steps.get(plugin).is_none_or(|(own, _)| *own != step) {
            told.steps.insert(plugin.to_owned(), (step, now));
        }
    }

    /// The load that is under way takes this step now. One that was cancelled may say so yet, and is not heard.
    pub(super) fn goes_on(&self, plugin: &str, step: Step) {
        let now = self.clock.now();
        if let Some(own) = self.told().steps.get_mut(plugin) {
            *own = (Some(step), now);
        }
    }

    /// Nothing is on its way any more.
    pub(super) fn arrived(&self, plugin: &str) {
        self.told().steps.remove(plugin);
    }

    /// Passes a person's order on.
    ///
    /// # Errors
    /// [`OrderError`]: nothing has changed then.
    pub async fn order(&self, plugin: &str, order: Order) -> Result<(), OrderError> {
        let (answer, answered) = oneshot::channel();
        let asked = self.orders.send((plugin.to_owned(), order, answer)).await;
        asked.map_err(|_| OrderError::Stopping)?;
        answered.await.map_err(|_| OrderError::Stopping)?
    }
}
