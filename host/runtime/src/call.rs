//! One call of a plugin: a store and an instance, fresh or kept from an earlier call; its clock, its limits, its end.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use wasmtime::{Store, UpdateDeadline};

use crate::backend::Backend;
use crate::bindings::{Reconciler, ReconcilerPre};
use crate::ending::{explain, last_words};
use crate::limits::TRANSFER;
use crate::state::{State, Used};
use crate::warm::{Live, Nest};
use crate::{CallError, Cause, Engine, Failure, Limits, Outcome, Request};

/// What to call.
pub(crate) enum Job<'a> {
    Describe,
    CheckConfig(&'a str),
    Reconcile(Request<'a>),
}

/// What it answered.
pub(crate) enum Answer {
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

    /// Whether nothing went wrong, not even by the plugin's own word.
    fn is_good(&self) -> bool {
        matches!(
            self,
            Answer::Described(_) | Answer::Checked(Ok(())) | Answer::Reconciled(Ok(_))
        )
    }
}

/// How a call ended, and what it used.
pub(crate) struct Done {
    pub(crate) result: Result<Answer, CallError>,
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
    pub(crate) used: Used,
}

impl Done {
    fn not_started(message: String) -> Self {
        Done {
            result: Err(CallError::Start { message }),
            wall: Duration::ZERO,
            cpu: Duration::ZERO,
            used: Used::default(),
        }
    }

    pub(crate) fn wrong_answer<T>(self) -> Result<T, CallError> {
        self.result.and_then(|_| {
            let message = "the answer belongs to another function".to_owned();
            Err(CallError::Start { message })
        })
    }
}

/// Calls a plugin. Out of its `nest`, if it has one, comes an instance that an earlier call left there; and this one is
/// left there if all went well.
pub(crate) async fn call(
    engine: &Engine,
    pre: &ReconcilerPre<State>,
    nest: Option<&Nest>,
    job: Job<'_>,
    backend: Arc<dyn Backend>,
    mut limits: Limits,
) -> Done {
    let engine = &engine.inner;
    limits.memory = limits.memory.min(engine.config.max_memory);
    let _slot = match engine.slots.acquire().await {
        Ok(slot) => slot,
        Err(closed) => return Done::not_started(closed.to_string()),
    };
    let (mut store, mut instance, calls, place) = match nest.and_then(Nest::take) {
        Some(Live {
            mut store,
            instance,
            calls,
            place,
            ..
        }) => {
            store.data_mut().renew(Arc::clone(&backend), limits);
            (store, Some(instance), calls, Some(place))
        }
        None => match fresh(&engine.wasm, State::new(Arc::clone(&backend), limits)) {
            Ok(store) => (store, None, 0, None),
            Err(error) => return Done::not_started(error.to_string()),
        },
    };
    let meter = Arc::clone(&store.data().meter);
    let began = store.data().began;
    let ended = {
        let mut guest = pin!(enter(pre, &mut store, &mut instance, job));
        // Made when the guest waits for the first time: most calls never do.
        let mut time_out = None;
        poll_fn(|context| {
            if let Poll::Ready(ended) = meter.measure(|| guest.as_mut().poll(context)) {
                return Poll::Ready(ended);
            }
            let limit = limits.wall;
            let time_out = time_out.get_or_insert_with(|| {
                let spent = backend.monotonic().saturating_sub(began);
                backend.sleep(limit.saturating_sub(spent))
            });
            let time_out = time_out.as_mut().poll(context);
            time_out.map(|()| Err(wasmtime::Error::new(CallError::WallTime { limit })))
        })
        .await
    };
    let state = store.data_mut();
    let result = match ended {
        Ok(answer) => within(answer, limits.output),
        Err(error) => Err(explain(&error, state, instance.is_some())),
    };
    let panicked = state.panic.is_some();
    last_words(state);
    let done = Done {
        wall: state.elapsed(),
        cpu: meter.total(),
        used: state.used,
        result,
    };
    if let (Some(nest), Some(instance)) = (nest, instance)
        && done.result.as_ref().is_ok_and(Answer::is_good)
        && !panicked
    {
        nest.put(store, instance, calls.saturating_add(1), place);
    }
    done
}

/// A store with everything that bounds what runs in it.
fn fresh(wasm: &wasmtime::Engine, state: State) -> wasmtime::Result<Store<State>> {
    let mut store = Store::try_new(wasm, state)?;
    store.limiter(|state| state);
    store.set_hostcall_fuel(TRANSFER);
    store.epoch_deadline_callback(|context| {
        context.data().check_time().map_err(wasmtime::Error::new)?;
        // Not a plain `Yield`: that wakes the task at once, and a runtime of one thread would look at its timers only
        // every 61st time.
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
    });
    Ok(store)
}

/// Instantiates, if there is no instance yet, and calls.
async fn enter(
    pre: &ReconcilerPre<State>,
    store: &mut Store<State>,
    instance: &mut Option<Reconciler>,
    job: Job<'_>,
) -> wasmtime::Result<Answer> {
    // An expired deadline would end even an instance that has done nothing: set before each entry.
    store.set_epoch_deadline(1);
    let instance = match instance {
        Some(live) => live,
        None => {
            let fresh = pre.instantiate_async(&mut *store).await?;
            store.set_epoch_deadline(1);
            instance.insert(fresh)
        }
    };
    let controller = instance.pilothouse_plugin_controller();
    Ok(match job {
        Job::Describe => Answer::Described(controller.call_describe(store).await?),
        Job::CheckConfig(config) => Answer::Checked(controller.call_check_config(store, config).await?),
        Job::Reconcile(request) => Answer::Reconciled(controller.call_reconcile(store, request).await?),
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
