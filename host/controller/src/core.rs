//! What the driver's tasks share.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, atomic::AtomicBool},
    time::Duration,
};

use pilothouse_informer::Reader;
use pilothouse_object::{Gvk, Key};
use tokio::sync::{Notify, watch};

use crate::{
    ControllerId, Dispatcher,
    calls::{
        call::{PluginState, Shared},
        lane::Lane,
    },
    reporting::{metrics::Series, rarely::Rarely},
    versions::tenure::Tenure,
};

/// Targets of writes, by the controller and key whose run sent them.
type Uncertain = HashMap<(ControllerId, Key), Vec<(Gvk, Key)>>;

/// What the host's tasks share.
pub(crate) struct Core {
    pub(crate) shared: Arc<Shared>,
    pub(crate) dispatcher: Mutex<Dispatcher>,
    /// The dispatcher has something new to look at.
    pub(crate) wake: Notify,
    /// Targets of writes whose outcome nobody knows, by the key whose run sent them.
    pub(crate) uncertain: Mutex<Uncertain>,
    /// Caches that lag behind concern every key that wrote.
    pub(crate) lagging: Mutex<Rarely>,
    /// True once the host stops: nothing new begins, and nobody waits for caches any more.
    pub(crate) stopping: watch::Sender<bool>,
    pub(crate) origin: tokio::time::Instant,
    /// The wall clock at the origin, since the Unix epoch.
    pub(crate) began: Duration,
    /// Parked keys are kept over restarts.
    pub(crate) keeps: bool,
    /// Something may have parked or woken a key.
    pub(crate) parked: Notify,
    /// Where calls go that compute for long.
    pub(crate) lane: Option<Lane>,
    /// A plugin has come whose access is to be reviewed.
    pub(crate) reviews: Notify,
}

impl Core {
    /// Ends when the host begins to stop.
    pub(crate) async fn stops(&self) {
        // The sender is this core's own: it can't be closed.
        let _ = self.stopping.subscribe().wait_for(|stopping| *stopping).await;
    }

    /// Monotonic time, counted from the Unix epoch as the wall clock had it when the host began: times in it can be
    /// shown to people and kept over a restart, and a clock that is set meanwhile moves nothing.
    #[allow(clippy::disallowed_methods, reason = "the driver's clock")]
    pub(crate) fn now(&self) -> Duration {
        self.began + tokio::time::Instant::now().saturating_duration_since(self.origin)
    }
}

/// A controller of one version of a plugin.
pub(crate) struct Controller {
    pub(crate) id: ControllerId,
    pub(crate) kind: Gvk,
    /// Its windows on its own kind.
    pub(crate) primaries: Vec<Reader>,
    /// Whether this version serves.
    pub(crate) tenure: Arc<Tenure>,
    pub(crate) plugin: Arc<PluginState>,
    pub(crate) resync: Option<Duration>,
    /// What its runs count in; found by the first of them, when it is registered.
    pub(crate) series: OnceLock<Series>,
    /// Whether its last call used much CPU time: see [`Lane`].
    pub(crate) heavy: AtomicBool,
}
