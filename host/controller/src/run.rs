//! One run of one key: from the job that the dispatcher hands out to its verdict.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use pilothouse_object::{Gvk, Key, Version};
use pilothouse_runtime::{CallError, ObjectRef, Request};

use crate::{
    Happening, Reconciled, Verdict,
    call::{Call, PluginState, lock},
    dispatcher::Job,
    host::{Controller, Core},
    ledger::{Echo, Echoed},
    metrics::Run,
    outcome::judge,
};

/// How long a key waits for the caches to hold what its last call wrote. Then it may run, and is counted.
const ECHO_BOUND: Duration = Duration::from_secs(5);

/// Runs a job to its end. Whatever happens, the dispatcher hears of it.
pub(crate) async fn run(core: Arc<Core>, controller: Arc<Controller>, job: Job) {
    core.shared.metrics.queued_for(&job.id, job.taken.queued_for);
    let mut permit = Permit {
        core: core.clone(),
        job: Some(job),
    };
    let Some(job) = permit.job.as_ref() else { return };
    let attempt = std::panic::AssertUnwindSafe(attempt(&core, &controller, job));
    let (verdict, told) = match attempt.catch_unwind().await {
        Ok(ended) => ended,
        Err(_) => {
            tracing::error!(controller = %job.id, key = %job.taken.key, "a run panicked in the host; this is a bug of Pilothouse");
            (
                Verdict::Retry {
                    reason: "the host panicked in this run".into(),
                },
                None,
            )
        }
    };
    let Some(job) = permit.job.take() else { return };
    let now = core.now();
    let finished = {
        let mut dispatcher = lock(&core.dispatcher);
        let mut random = lock(&core.shared.random);
        dispatcher.finished(now, &mut random, &job, &verdict)
    };
    core.wake.notify_one();
    let Some(mut told) = told else { return };
    let (_, result) = judge(&told.result);
    core.shared.metrics.reconciled(&Run {
        id: &job.id,
        result,
        terminal: finished.parked,
        cut: told.result.as_ref().err().map(CallError::kind),
        wall: told.wall,
        cpu: told.cpu,
        worked_for: finished.worked_for,
    });
    told.again_after = finished.again_after;
    told.parked = finished.parked;
    core.shared.observer.happened(&Happening::Reconciled(told));
}

/// Gives the key back when its task is dropped before its end (the host is stopping), so that nothing is lost from the
/// queue's view.
struct Permit {
    core: Arc<Core>,
    job: Option<Job>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(job) = self.job.take() {
            let now = self.core.now();
            let mut dispatcher = lock(&self.core.dispatcher);
            let mut random = lock(&self.core.shared.random);
            dispatcher.finished(now, &mut random, &job, &Verdict::Unstarted);
        }
    }
}

async fn attempt(core: &Arc<Core>, controller: &Controller, job: &Job) -> (Verdict, Option<Box<Reconciled>>) {
    let key = &job.taken.key;
    let cause = job.taken.causes.first().cloned();
    let call = Call::new(
        core.shared.clone(),
        controller.plugin.clone(),
        job.id.clone(),
        key.clone(),
        job.taken.attempt,
        cause,
    );
    if let Err(reason) = ascertain(core, &call, job).await {
        release(core, job);
        return (Verdict::Retry { reason }, None);
    }

    let kind = &controller.kind;
    let object = call.cached(kind, key);
    let version = object.as_ref().map(|object| object.head().version.clone());
    let request = Request {
        controller: controller.id.controller.to_string(),
        key: ObjectRef {
            kind: pilothouse_runtime::Gvk {
                group: kind.group.to_string(),
                version: kind.version.to_string(),
                kind: kind.kind.to_string(),
            },
            namespace: key.namespace.as_deref().map(str::to_owned),
            name: key.name.to_string(),
        },
        object: object.map(|object| object.json().to_owned()),
    };
    let module = &controller.plugin.plugin.module;
    let called = module
        .reconcile(request, Arc::new(call.clone()), &controller.plugin.plugin.limits)
        .await;
    // What the call sent is finished whatever became of the call, and the key stays in work until then. The permit is
    // another's: nothing of the plugin runs any more.
    release(core, job);
    call.settled().await;
    await_echoes(core, &call, &controller.plugin, job).await;

    let (writes, uncertain) = {
        let mut ledger = lock(&call.ledger);
        (
            std::mem::take(&mut ledger.writes),
            std::mem::take(&mut ledger.uncertain),
        )
    };
    if !uncertain.is_empty() {
        lock(&core.uncertain).insert((job.id.clone(), key.clone()), uncertain);
    }
    let (verdict, _) = judge(&called.result);
    let told = Reconciled {
        id: job.id.clone(),
        kind: kind.clone(),
        key: key.clone(),
        version,
        causes: job.taken.causes.iter().cloned().collect(),
        causes_omitted: job.taken.causes.omitted(),
        attempt: job.taken.attempt,
        result: called.result,
        again_after: None,
        parked: false,
        wall: called.wall,
        cpu: called.cpu,
        writes,
    };
    (verdict, Some(Box::new(told)))
}

fn release(core: &Core, job: &Job) {
    lock(&core.dispatcher).release(job);
    core.wake.notify_one();
}

/// After a write whose outcome nobody knows its target is read live before the key runs again, and the cache must be at
/// least as new as that.
async fn ascertain(core: &Arc<Core>, call: &Call, job: &Job) -> Result<(), String> {
    let place = (job.id.clone(), job.taken.key.clone());
    let Some(targets) = lock(&core.uncertain).remove(&place) else {
        return Ok(());
    };
    for (kind, key) in &targets {
        match call.ascertain(kind, key).await {
            Ok(Some(version)) => {
                hear(call, &call.plugin, kind, key, &version).await;
            }
            Ok(None) => {}
            Err(error) => {
                let reason = format!(
                    "the outcome of a write to {kind} {key} is still unknown: {}",
                    error.message
                );
                lock(&core.uncertain).insert(place, targets);
                return Err(reason);
            }
        }
    }
    Ok(())
}

/// Waits until the windows that the plugin has on a kind are at a version; false where they aren't in time.
async fn hear(_call: &Call, plugin: &PluginState, kind: &Gvk, key: &Key, version: &Version) -> bool {
    let Some(windows) = plugin.views.get(kind) else {
        return true;
    };
    for window in windows.iter().filter(|window| window.view().sees_key(key)) {
        if window.wait_for(version, key.namespace.as_deref(), ECHO_BOUND).await == pilothouse_informer::Holds::No {
            return false;
        }
    }
    true
}

async fn await_echoes(core: &Arc<Core>, call: &Call, plugin: &PluginState, job: &Job) {
    let echoes = lock(&call.ledger).echoes();
    for Echo { kind, key, what } in echoes {
        let heard = match what {
            Echoed::Version(version) => hear(call, plugin, &kind, &key, &version).await,
            Echoed::Gone(uid) => {
                let mut heard = true;
                for window in plugin
                    .views
                    .get(&kind)
                    .into_iter()
                    .flatten()
                    .filter(|w| w.view().sees_key(&key))
                {
                    let pending =
                        || matches!(window.get(&key), Ok(Some(object)) if uid.is_empty() || *object.head().uid == *uid);
                    heard &= window.wait_while(pending, ECHO_BOUND).await;
                }
                heard
            }
        };
        if !heard {
            core.shared.metrics.stale(&job.id);
            tracing::warn!(
                controller = %job.id, key = %job.taken.key, written = %key, kind = %kind,
                "the cache does not hold what the last run wrote after {ECHO_BOUND:?}; the key runs on what there is"
            );
            return;
        }
    }
}
