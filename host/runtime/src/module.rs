//! A module that is ready to be called.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::Backend;
use crate::bindings::ReconcilerPre;
use crate::call::{Answer, Done, Job, call};
use crate::pure::Pure;
use crate::state::State;
use crate::warm::{Nest, Warm};
use crate::{CallError, Cause, Engine, Failure, Limits, Outcome, Request};

/// A compiled and linked plugin. Clones are cheap and share the code; it keeps its [`Engine`] alive.
#[derive(Clone)]
pub struct Module {
    inner: Arc<Inner>,
    /// Instances between calls, where some are kept.
    nest: Option<Arc<Nest>>,
}

struct Inner {
    engine: Engine,
    pre: ReconcilerPre<State>,
    size: u64,
    imports: Vec<String>,
    exports: Vec<String>,
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner {
            size, imports, exports, ..
        } = &*self.inner;
        f.debug_struct("Module")
            .field("size", size)
            .field("imports", imports)
            .field("exports", exports)
            .finish_non_exhaustive()
    }
}

/// A call of `reconcile` that is over, with what it cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconciled {
    /// Inside, what the plugin answered; outside, how the call ended without an answer.
    pub result: Result<Result<Outcome, Failure>, CallError>,
    /// Time from the start of the call to its end, by the backend's monotonic clock. Waiting for a slot of the engine
    /// is not in it.
    pub wall: Duration,
    /// CPU time of the call, the host's own share (instantiating, copying, a backend's methods) included; only taking
    /// the instance down again is not in it.
    pub cpu: Duration,
    /// The most linear memory that the guest had, in bytes.
    pub memory: u64,
    /// Reads, writes and events.
    pub host_calls: u32,
    /// Log lines that reached the backend.
    pub log_lines: u32,
    /// Log lines that were dropped, since the call's budget was used up.
    pub log_dropped: u32,
    /// Events that were dropped, since the call's budget was used up.
    pub events_dropped: u32,
}

impl Module {
    pub(crate) fn new(
        engine: Engine,
        pre: ReconcilerPre<State>,
        size: u64,
        imports: Vec<String>,
        exports: Vec<String>,
    ) -> Self {
        Module {
            inner: Arc::new(Inner {
                engine,
                pre,
                size,
                imports,
                exports,
            }),
            nest: None,
        }
    }

    /// This module with a nest of its own: instances are kept between its calls of [`reconcile`](Self::reconcile), and
    /// so is what they hold in memory. Clones of the answer share the nest; this one is as it was.
    #[must_use]
    pub fn warm(&self, warm: Warm) -> Module {
        let inner = Arc::clone(&self.inner);
        let nest = (warm.instances > 0).then(|| inner.engine.nest(warm));
        Module { inner, nest }
    }

    /// Bytes of the module as it was compiled from.
    pub fn size(&self) -> u64 {
        self.inner.size
    }

    /// The names of the interfaces it imports, with their versions, in the module's order.
    pub fn imports(&self) -> Vec<String> {
        self.inner.imports.clone()
    }

    /// The names of what it exports, with their versions, in the module's order.
    pub fn exports(&self) -> Vec<String> {
        self.inner.exports.clone()
    }

    /// Asks the plugin for its manifest: JSON, unchecked. Pure: reads and writes are refused, time stands at 1970
    /// whatever the guest waits for, randomness is the same each time, and log lines are dropped.
    ///
    /// Needs a tokio runtime with time enabled, under the limits of
    /// [`EngineConfig::pure`](crate::EngineConfig::pure).
    ///
    /// # Errors
    /// If the plugin gave no answer.
    pub async fn describe(&self) -> Result<String, CallError> {
        match self.call_pure(Job::Describe).await {
            Done {
                result: Ok(Answer::Described(json)),
                ..
            } => Ok(json),
            done => done.wrong_answer(),
        }
    }

    /// Asks the plugin what is wrong with this configuration (JSON text). Pure as [`describe`](Self::describe) is.
    ///
    /// # Errors
    /// Outside, if the plugin gave no answer; inside, what it finds wrong.
    pub async fn check_config(&self, config: &str) -> Result<Result<(), Vec<Cause>>, CallError> {
        match self.call_pure(Job::CheckConfig(config)).await {
            Done {
                result: Ok(Answer::Checked(checked)),
                ..
            } => Ok(checked),
            done => done.wrong_answer(),
        }
    }

    /// Reconciles one key, in an instance of its own, under these limits.
    ///
    /// However it ends, nothing of the instance is left, and the next call is not touched by it; but for a module that
    /// is [`warm`](Self::warm), where it may be one of an earlier call, and a later one may get it. The guest yields to
    /// other tasks at each tick of the engine's clock. Dropping the future ends the call at once; what a backend has
    /// sent by then is the backend's.
    pub async fn reconcile(&self, request: Request<'_>, backend: Arc<dyn Backend>, limits: &Limits) -> Reconciled {
        let Inner { engine, pre, .. } = &*self.inner;
        let nest = self.nest.as_deref();
        let done = call(engine, pre, nest, Job::Reconcile(request), backend, *limits).await;
        let Done { wall, cpu, used, .. } = done;
        let result = match done {
            Done {
                result: Ok(Answer::Reconciled(answer)),
                ..
            } => Ok(answer),
            done => done.wrong_answer(),
        };
        Reconciled {
            result,
            wall,
            cpu,
            memory: used.memory_peak,
            host_calls: used.host_calls,
            log_lines: used.log_lines,
            log_dropped: used.log_dropped,
            events_dropped: used.events_dropped,
        }
    }

    async fn call_pure(&self, job: Job<'_>) -> Done {
        let Inner { engine, pre, .. } = &*self.inner;
        let limits = engine.inner.config.pure;
        // In an instance of its own, also where some are kept: pure is what sees nothing of other calls.
        let mut done = call(engine, pre, None, job, Arc::new(Pure::default()), limits).await;
        done.result = done.result.map_err(CallError::of_pure);
        done
    }
}
