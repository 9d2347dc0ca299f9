//! What others ask a supervisor, and what it tells them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot};

use crate::lives::{LifeStatus, Order, OrderError};

/// So many orders may wait.
const ORDERS: usize = 16;

pub(super) type Asked = (String, Order, oneshot::Sender<Result<(), OrderError>>);

/// What a person asks a supervisor, and what it tells. Clones are the same.
#[derive(Clone)]
pub struct Control {
    orders: mpsc::Sender<Asked>,
    told: Arc<Mutex<Told>>,
}

/// What is told.
#[derive(Default)]
pub(super) struct Told {
    /// Of each plugin.
    pub(super) status: BTreeMap<String, LifeStatus>,
    /// The plugins whose first load readiness waits for.
    pub(super) starting: BTreeSet<String>,
}

impl Control {
    pub(super) fn new() -> (Self, mpsc::Receiver<Asked>) {
        let (orders, asked) = mpsc::channel(ORDERS);
        let told = Arc::default();
        (Self { orders, told }, asked)
    }

    /// Locked for a moment.
    pub(super) fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every plugin's state, sorted by name, as it was when something last happened to it.
    pub fn status(&self) -> Vec<LifeStatus> {
        self.told().status.values().cloned().collect()
    }

    /// The plugins that lay in the directory at the start, and neither serve nor were refused yet, sorted by name. Empty once
    /// each came to one of these ends, and in any case a minute after the start: a module that is slow to compile keeps the
    /// host from being ready no longer.
    pub fn starting(&self) -> Vec<String> {
        self.told().starting.iter().cloned().collect()
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
