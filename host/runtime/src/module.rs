//! A module that is ready to be called, and the call itself: a fresh store and instance each time.

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use wasmtime::{PoolConcurrencyLimitError, Store, Trap, UpdateDeadline, WasmBacktrace};

use crate::backend::Backend;
use crate::bindings::ReconcilerPre;
use crate::limits::{TEXT, TRANSFER, cut};
use crate::load::told;
use crate::meter::Meter;
use crate::panics::Panic;
use crate::pure::Pure;
use crate::state::{State, Used};
use crate::{CallError, Cause, Engine, Failure, Level, Limits, Outcome, Request};

/// A compiled and linked plugin. Clones are cheap and share the code; it keeps its [`Engine`] alive.
#[derive(Clone)]
pub struct Module {
    inner: Arc<Inner>,
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
    /// Time from the start of the call to its end, by the backend's monotonic clock. Waiting for a slot of the engine is
    /// not in it.
    pub wall: Duration,
    /// CPU time of the call, the host's own share (instantiating, copying, a backend's methods) included; only taking the
    /// instance down again is not in it.
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

/// What to call.
enum Job {
    Describe,
    CheckConfig(String),
    Reconcile(Request),
}

/// What it answered.
enum Answer {
    Described(String),
    Checked(Result<(), Vec<Cause>>),
    Reconciled(Result<Outcome, Failure>),
}

impl Answer {
    /// Bytes of its texts, and some for each record.
    fn size(&self) -> usize {
        match self {
            Answer::Described(json) => json.len(),
            Answer::Checked(Ok(())) => 0,
            Answer::Checked(Err(causes)) => causes.iter().fold(0, |sum, cause| {
                sum + cause.reason.len() + cause.field.len() + cause.message.len() + 64
            }),
            Answer::Reconciled(Ok(outcome)) => outcome.note.as_ref().map_or(0, String::len),
            Answer::Reconciled(Err(failure)) => failure.reason.len() + failure.message.len(),
        }
    }
}

/// How a call ended, and what it used.
struct Done {
    result: Result<Answer, CallError>,
    wall: Duration,
    cpu: Duration,
    used: Used,
}

impl Done {
    fn wrong_answer<T>(self) -> Result<T, CallError> {
        self.result.and_then(|_| {
            let message = "the answer belongs to another function".to_owned();
            Err(CallError::Start { message })
        })
    }
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
        }
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

    /// Asks the plugin for its manifest: JSON, unchecked. Pure: reads and writes are refused, time stands at 1970,
    /// randomness is the same each time, and log lines are dropped.
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
        match self.call_pure(Job::CheckConfig(config.to_owned())).await {
            Done {
                result: Ok(Answer::Checked(checked)),
                ..
            } => Ok(checked),
            done => done.wrong_answer(),
        }
    }

    /// Reconciles one key, in an instance of its own, under these limits.
    ///
    /// However it ends, nothing of the instance is left, and the next call is not touched by it. The guest yields to
    /// other tasks at each tick of the engine's clock. Dropping the future ends the call at once; what a backend has
    /// sent by then is the backend's.
    pub async fn reconcile(&self, request: Request, backend: Arc<dyn Backend>, limits: &Limits) -> Reconciled {
        let done = self.call(Job::Reconcile(request), backend, *limits).await;
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

    async fn call_pure(&self, job: Job) -> Done {
        let limits = self.inner.engine.inner.config.pure;
        self.call(job, Arc::new(Pure::default()), limits).await
    }

    async fn call(&self, job: Job, backend: Arc<dyn Backend>, mut limits: Limits) -> Done {
        let engine = &self.inner.engine.inner;
        limits.memory = limits.memory.min(engine.config.max_memory);
        let not_started = |message: String| Done {
            result: Err(CallError::Start { message }),
            wall: Duration::ZERO,
            cpu: Duration::ZERO,
            used: Used::default(),
        };
        let _slot = match engine.slots.acquire().await {
            Ok(slot) => slot,
            Err(closed) => return not_started(closed.to_string()),
        };
        let meter = Arc::new(Meter::default());
        let state = State::new(Arc::clone(&backend), limits, Arc::clone(&meter));
        let mut store = match Store::try_new(&engine.wasm, state) {
            Ok(store) => store,
            Err(error) => return not_started(error.to_string()),
        };
        store.limiter(|state| state);
        store.set_hostcall_fuel(TRANSFER);
        store.epoch_deadline_callback(|context| {
            context.data().check_time().map_err(wasmtime::Error::new)?;
            // Not a plain `Yield`: that wakes the task at once, and a runtime of one thread would look at its timers only
            // every 61st time.
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
        });
        let mut started = false;
        let ended = {
            let mut guest = pin!(enter(&self.inner.pre, &mut store, job, &mut started));
            let mut time_out = backend.sleep(limits.wall);
            poll_fn(|context| {
                if let Poll::Ready(ended) = meter.measure(|| guest.as_mut().poll(context)) {
                    return Poll::Ready(ended);
                }
                time_out.as_mut().poll(context).map(|()| {
                    let limit = limits.wall;
                    Err(wasmtime::Error::new(CallError::WallTime { limit }))
                })
            })
            .await
        };
        let state = store.data_mut();
        let result = match ended {
            Ok(answer) => within(answer, limits.output),
            Err(error) => Err(explain(&error, state, started)),
        };
        last_words(state);
        Done {
            wall: state.elapsed(),
            cpu: meter.total(),
            used: state.used,
            result,
        }
    }
}

/// Instantiates and calls. `started` tells afterwards whether there was an instance.
async fn enter(
    pre: &ReconcilerPre<State>,
    store: &mut Store<State>,
    job: Job,
    started: &mut bool,
) -> wasmtime::Result<Answer> {
    // An expired deadline would end even an instance that has done nothing: set before each entry.
    store.set_epoch_deadline(1);
    let instance = pre.instantiate_async(&mut *store).await?;
    *started = true;
    store.set_epoch_deadline(1);
    let controller = instance.pilothouse_plugin_controller();
    Ok(match job {
        Job::Describe => Answer::Described(controller.call_describe(store).await?),
        Job::CheckConfig(config) => Answer::Checked(controller.call_check_config(store, &config).await?),
        Job::Reconcile(request) => Answer::Reconciled(controller.call_reconcile(store, &request).await?),
    })
}

fn within(answer: Answer, limit: u64) -> Result<Answer, CallError> {
    let size = answer.size() as u64;
    if size > limit {
        Err(CallError::Output { limit, size })
    } else {
        Ok(answer)
    }
}

/// Names the end of a call: our own limits travel through wasmtime as they are; the rest is made out from what there is.
fn explain(error: &wasmtime::Error, state: &mut State, started: bool) -> CallError {
    match error.downcast_ref::<CallError>() {
        // An exit: what the guest had to say about it is on stderr.
        Some(CallError::Trap { message }) => return trapped(message.clone(), state),
        Some(ours) => return ours.clone(),
        None => {}
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return CallError::Start { message: told(error) };
    }
    // wasmtime keeps the type of this one to itself.
    if error
        .root_cause()
        .to_string()
        .contains("fuel allocated for hostcalls has been exhausted")
    {
        return CallError::Transfer { limit: TRANSFER as u64 };
    }
    let Some(trap) = error.downcast_ref::<Trap>() else {
        let message = told(error);
        if !started {
            return CallError::Start { message };
        }
        // An argument or answer that is no value of its type (text that is no UTF-8), too many handles, and the like.
        return trapped(format!("what it passed to the host was not valid: {message}"), state);
    };
    if let Some(Panic { message, file, line }) = state.panic.take() {
        return CallError::Panic { message, file, line };
    }
    let mut message = trap.to_string().trim_start_matches("wasm trap: ").to_owned();
    match trap {
        Trap::StackOverflow => message.push_str(" (recursion too deep?)"),
        Trap::MemoryOutOfBounds => {
            message.push_str(" (in Rust and C most often a stack overflow: recursion too deep?)")
        }
        Trap::UnreachableCodeReached => message.push_str(" (a panic or abort whose text was compiled out?)"),
        _ => {}
    }
    if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
        let names: Vec<&str> = backtrace
            .frames()
            .iter()
            .filter_map(|frame| frame.func_name())
            .take(5)
            .collect();
        if !names.is_empty() {
            message.push_str("; in ");
            message.push_str(&cut(names.join(" < "), 500));
        }
    }
    trapped(message, state)
}

/// A trap; or a panic, if stderr tells of one. What else stands there is most often the reason.
fn trapped(message: String, state: &mut State) -> CallError {
    let (stderr, _) = state.stderr.take();
    if let Some(Panic { message, file, line }) = Panic::from_stderr(&stderr) {
        return CallError::Panic { message, file, line };
    }
    let stderr = stderr.trim();
    if stderr.is_empty() {
        return CallError::Trap { message };
    }
    let end = stderr.ceil_char_boundary(stderr.len().saturating_sub(TEXT));
    CallError::Trap {
        message: format!("{message}; on stderr: {}", &stderr[end..]),
    }
}

/// Passes on what is left on stdout and stderr, and a panic that is not the call's error.
fn last_words(state: &mut State) {
    if let Some(panic) = state.panic.take() {
        state.log_panic(panic);
    }
    let (text, dropped) = state.stdout.take();
    state.log_stream(Level::Info, "stdout", &text, dropped);
    let (text, dropped) = state.stderr.take();
    state.log_stream(Level::Warn, "stderr", &text, dropped);
}
