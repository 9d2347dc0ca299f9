//! Finds out whether the API server answers this host at all, for everybody in the process who can wait until it does.
//!
//! Promised: a suspicion costs one request, an outage one each second at first and one in five seconds later, however
//! much there is to do; what is wrong is said once, and so is its end. Reflectors ask for nothing while there is an
//! outage, and at all times for no more than 100 requests a second: they come back one after the other.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kube::Client;
use pilothouse_apiclient::Pace;
use tokio::{runtime::Handle, sync::watch, task::AbortHandle};

use crate::{
    driver::Clock,
    driver::outage::{Cut, News, Outage, Totals},
    driver::transport::{self, Patience},
    reflector::failure::{Failure, Trouble},
};

/// Requests of all reflectors together a second, and at once after a pause. 200 watches are back in two seconds; a
/// server with thousands of clients that has just been started has less to do with each.
pub(crate) const A_SECOND: u32 = 100;
/// See [`A_SECOND`].
pub(crate) const AT_ONCE: u32 = 20;

/// A probe without an answer for so long has failed.
const PATIENCE: Patience = Patience {
    answer: Duration::from_secs(5),
    piece: Duration::from_secs(5),
    total: Duration::from_secs(5),
};

/// Whom everybody may ask, and is allowed to as a rule. It fails while the server is starting.
const PATH: &str = "/readyz";

/// Whether the API server answers. Cheap to clone.
#[derive(Clone)]
pub struct Reach(Arc<Inner>);

struct Inner {
    client: Client,
    clock: Arc<dyn Clock>,
    runtime: Handle,
    state: Mutex<State>,
    away: watch::Sender<bool>,
    better: watch::Sender<u64>,
}

struct State {
    outage: Outage,
    rng: fastrand::Rng,
    pace: Pace,
    probe: Option<AbortHandle>,
    stopped: bool,
}

impl Reach {
    pub(crate) fn new(client: Client, clock: Arc<dyn Clock>, runtime: Handle, seed: u64) -> Self {
        Self(Arc::new(Inner {
            client,
            clock,
            runtime,
            state: Mutex::new(State {
                outage: Outage::default(),
                rng: fastrand::Rng::with_seed(seed),
                pace: Pace::new(A_SECOND, AT_ONCE),
                probe: None,
                stopped: false,
            }),
            away: watch::Sender::new(false),
            better: watch::Sender::new(0),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Turns true once no request gets an answer (or every one a 401), and false once that is over.
    pub fn away(&self) -> watch::Receiver<bool> {
        self.0.away.subscribe()
    }

    /// Ticks when the API server answers again, and when a watch may be had that was forbidden: what failed lately may
    /// go well now.
    pub fn better(&self) -> watch::Receiver<u64> {
        self.0.better.subscribe()
    }

    /// Something may be had again.
    pub(crate) fn allowed(&self) {
        self.0.better.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// Somebody's request got no answer, or one that refuses the credentials: finds out whether all fare like this.
    pub fn suspect(&self) {
        let mut state = self.state();
        state.outage.suspect(self.0.clock.now());
        if state.probe.is_none() && !state.stopped {
            // It can't be done before it is noted here: it takes the lock.
            let task = self.0.runtime.spawn(self.clone().probe());
            state.probe = Some(task.abort_handle());
        }
    }

    /// Takes in how a request ended.
    pub(crate) fn heard<T>(&self, answer: &Result<T, Failure>) {
        match answer {
            Ok(_) => {
                let news = self.state().outage.answered(self.0.clock.now());
                self.take(news, None);
            }
            Err(failure) if matches!(failure.trouble, Trouble::Unreachable | Trouble::Unauthorized) => self.suspect(),
            Err(_) => {}
        }
    }

    /// For how long the host is cut off; none while it is not.
    pub(crate) fn away_for(&self) -> Option<Duration> {
        let since = self.state().outage.since()?;
        Some(self.0.clock.now().saturating_sub(since))
    }

    /// What outages there were so far, the one that goes on included.
    pub fn totals(&self) -> Totals {
        self.state().outage.totals(self.0.clock.now())
    }

    /// Ends when a reflector may send its next request: not while the API server is away, and not all at once.
    pub(crate) async fn turn(&self) {
        loop {
            // An error: the sender is our own.
            let _ = self.away().wait_for(|away| !*away).await;
            // Nobody waits for so long.
            let turn = self.state().pace.turn(self.0.clock.now(), Duration::MAX);
            let wait = turn.unwrap_or_default();
            if wait.is_zero() {
                return;
            }
            #[expect(clippy::disallowed_methods, reason = "this is a driver: it waits for a turn")]
            tokio::time::sleep(wait).await;
            if !*self.0.away.borrow() {
                return;
            }
        }
    }

    /// Nothing is asked any more.
    pub(crate) fn stop(&self) {
        let mut state = self.state();
        state.stopped = true;
        if let Some(probe) = state.probe.take() {
            probe.abort();
        }
    }

    async fn probe(self) {
        loop {
            let failure = transport::get(&self.0.client, PATH, PATIENCE).await.err();
            let (news, certain, pause) = {
                let mut state = self.state();
                let state = &mut *state;
                let news = state.outage.probed(self.0.clock.now(), failure.as_ref());
                let certain = !state.outage.is_suspected();
                if certain {
                    // In the same critical section: who suspects something from now on starts another one.
                    state.probe = None;
                }
                (news, certain, state.outage.pause(&mut state.rng))
            };
            self.take(news, failure.as_ref());
            if certain {
                return;
            }
            #[expect(clippy::disallowed_methods, reason = "this is a driver: the pace of probes")]
            tokio::time::sleep(pause).await;
        }
    }

    fn take(&self, news: Option<News>, failure: Option<&Failure>) {
        let problem = || failure.map(ToString::to_string).unwrap_or_default();
        match news {
            Some(News::Began(Cut::Unreachable)) => tracing::warn!(
                problem = problem(),
                "the API server can't be reached; trying again until it answers (check the kubeconfig's server, and that it is up)"
            ),
            Some(News::Began(Cut::Credentials)) => tracing::warn!(
                problem = problem(),
                "the API server refuses this host's credentials (401); trying again until it takes them (renew them: files \
                 with a token or a client certificate are read again by themselves, for anything else in the kubeconfig \
                 restart this host)"
            ),
            Some(News::Over(Cut::Unreachable, away)) => {
                tracing::info!(seconds = away.as_secs(), "the API server answers again");
            }
            Some(News::Over(Cut::Credentials, away)) => {
                tracing::info!(
                    seconds = away.as_secs(),
                    "the API server takes this host's credentials again"
                );
            }
            None => {}
        }
        let state = self.state();
        let away = state.outage.since().is_some();
        // With the lock held, so that the last to change it has the last word.
        let changed = self
            .0
            .away
            .send_if_modified(|told| std::mem::replace(told, away) != away);
        if changed && !away {
            self.allowed();
        }
    }
}
