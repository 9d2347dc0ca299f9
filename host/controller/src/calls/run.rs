//! One run of one key: from the job that the dispatcher hands out to its verdict.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::FutureExt as _;
use pilothouse_gate::breaker::{Change, Outcome};
use pilothouse_informer::Holds;
use pilothouse_lifecycle::{Trouble, TroubleKind};
use pilothouse_object::{Gvk, Key, Object, Version};
use pilothouse_runtime::{CallError, GivenGvk, GivenRef, Request};

use crate::{
    Happening, Other, Reconciled, ResultLabel, Verdict,
    calls::{
        call::{Call, PluginState},
        lane::Lane,
        workers::{Begun, Permit, Workers},
    },
    core::{Controller, Core},
    lock::lock,
    parked::Stood,
    reporting::metrics::Run,
    scheduling::{
        changed::manager_of,
        dispatcher::Job,
        hot_loops::Did,
        outcome::{blame, is_its_own_end, judge},
    },
    writing::ledger::{Echo, Echoed},
};

/// How long a key waits for the caches to hold what its last call wrote. Then it may run, and is counted.
const ECHO_BOUND: Duration = Duration::from_secs(5);

/// Runs a key to its end; answers with the next that may begin. Whatever happens, the dispatcher hears of it.
pub(crate) async fn run(workers: &Arc<Workers>, controller: Arc<Controller>, mut permit: Permit) -> Option<Begun> {
    let core = &workers.core;
    let job = permit.job.as_ref()?;
    let series = controller.series.get_or_init(|| core.shared.metrics.series(&job.id));
    series.queued_for(job.taken.queued_for);
    let call = Call::new(
        core.shared.clone(),
        controller.plugin.clone(),
        job.id.clone(),
        job.taken.key.clone(),
        job.taken.attempt,
        job.taken.causes.first().cloned(),
    );
    let attempt = std::panic::AssertUnwindSafe(attempt(core, &controller, &call, job));
    let ended = attempt.catch_unwind().await;
    // What the call sent is finished whatever became of the call, and the key stays in work until then.
    call.settled().await;
    let echoes = lock(&call.ledger).echoes();
    if !echoes.is_empty() {
        // Others need not wait for the caches.
        lock(&core.dispatcher).release(job);
        core.wake.notify_one();
        // A host that stops runs no key again: nobody needs the caches then.
        tokio::select! {
            biased;
            () = core.stops() => {}
            () = await_echoes(core, &call, job, &echoes) => {}
        }
    }
    let (writes, uncertain, hindered, changed) = {
        let mut ledger = lock(&call.ledger);
        let changed = ledger.take_changed();
        (
            std::mem::take(&mut ledger.writes),
            std::mem::take(&mut ledger.uncertain),
            ledger.hindered,
            changed,
        )
    };
    let failed = !matches!(&ended, Ok(Ok((called, _))) if matches!(called.result, Ok(Ok(_))));
    let did = Did::of(job, &changed, failed);
    if !uncertain.is_empty() {
        let place = (job.id.clone(), job.taken.key.clone());
        lock(&core.uncertain).entry(place).or_default().extend(uncertain);
    }

    let ((verdict, result), called, object) = match ended {
        Ok(Ok((called, object))) => (judge(&called.result), Some(called), object),
        Ok(Err(reason)) => {
            tracing::warn!(controller = %job.id, key = %job.taken.key, %reason, "a run could not begin; it is tried again");
            ((Verdict::Retry { reason }, ResultLabel::Error), None, None)
        }
        Err(_) => {
            tracing::error!(controller = %job.id, key = %job.taken.key, "a run panicked in the host; this is a bug of Pilothouse");
            let reason = "the host panicked in this run".to_owned();
            ((Verdict::Retry { reason }, ResultLabel::Error), None, None)
        }
    };
    let job = permit.job.take()?;
    let now = core.now();
    let plugin = &controller.plugin.plugin;
    let blamed = called.as_ref().map_or(Outcome::Ignored, |called| {
        blame(&called.result, called.wall, hindered, &plugin.breaker)
    });
    let (finished, changes, tripped, looping, parked, next) = {
        let mut dispatcher = lock(&core.dispatcher);
        // Before the verdict: a change that turns out to be somebody else's deserves its own attempt, also where this
        // run would park the key.
        let mut provenance = lock(&core.shared.provenance);
        for doubtful in provenance.foreign() {
            dispatcher.add(now, &doubtful.id, doubtful.key, 0, doubtful.cause, true);
        }
        let mut random = lock(&core.shared.random);
        let tripped = dispatcher.judged(now, &mut random, &job, blamed);
        let looping = dispatcher.ran(now, &job, &did);
        let finished = dispatcher.finished(now, &mut random, &job, &verdict);
        if finished.parked {
            // Where it was not called nobody looked.
            let known = called.is_some() && !provenance.doubts(&job.id, &job.taken.key);
            let stood = known.then(|| object.as_ref().map(Stood::of));
            dispatcher.parked_on(&job.id, &job.taken.key, stood);
        }
        let next = workers.go_on(&mut dispatcher, now);
        let (changes, parked) = (dispatcher.breaker_changes(), dispatcher.parked_news());
        (finished, changes, tripped, looping, parked, next)
    };
    if parked {
        core.parked.notify_one();
    }
    core.shared.tell_breakers(changes);
    if let Some(looping) = looping {
        core.shared.observer.happened(&Happening::HotLoop(looping));
    }
    let cut = called.as_ref().and_then(|called| called.result.as_ref().err());
    let trouble = [
        cut.filter(|error| !hindered || is_its_own_end(error))
            .map(|_| TroubleKind::Trapped),
        tripped.and_then(|change| match change {
            Change::Opened { .. } => Some(TroubleKind::Tripped),
            Change::Quarantined { .. } => Some(TroubleKind::Quarantined),
            Change::HalfOpened | Change::Closed => None,
        }),
    ];
    for what in trouble.into_iter().flatten() {
        (core.shared.trouble)(Trouble {
            plugin: controller.plugin.name.clone(),
            hash: plugin.hash,
            configuration: plugin.configuration,
            what,
        });
    }
    core.shared.metrics.reconciled(
        series,
        &Run {
            id: &job.id,
            result,
            terminal: matches!(verdict, Verdict::Park { .. }),
            cut: cut.map(CallError::kind),
            wall: called.as_ref().map(|called| called.wall).unwrap_or_default(),
            cpu: called.as_ref().map(|called| called.cpu).unwrap_or_default(),
            worked_for: finished.worked_for,
        },
    );
    if let Some(called) = called {
        let Job { id, taken, .. } = job;
        core.shared
            .observer
            .happened(&Happening::Reconciled(Box::new(Reconciled {
                id,
                module: plugin.hash,
                configuration: plugin.configuration,
                kind: controller.kind.clone(),
                key: taken.key,
                version: object.map(|object| object.head().version.clone()),
                causes_omitted: taken.causes.omitted(),
                causes: taken.causes.into_iter().collect(),
                attempt: taken.attempt,
                result: called.result,
                again_after: finished.again_after,
                parked: finished.parked,
                wall: called.wall,
                cpu: called.cpu,
                writes,
            })));
    }
    next
}

/// Calls the plugin, and answers how that went and on which object. An error says why it could not be called.
async fn attempt(
    core: &Arc<Core>,
    controller: &Arc<Controller>,
    call: &Call,
    job: &Job,
) -> Result<(pilothouse_runtime::Reconciled, Option<Object>), String> {
    let key = &job.taken.key;
    ascertain(core, call, job).await?;
    name_other(core, call, job).await;
    // It was allowed when the key began, and what follows shows the plugin an object.
    if let Some(access) = &controller.plugin.access {
        access.check().map_err(|error| error.message)?;
    }
    // Through this controller's own windows: another one of the plugin may see more of the kind, or less.
    let object = controller
        .primaries
        .iter()
        .find_map(|window| window.get(key).ok().flatten());
    let called = match &core.lane {
        None => {
            let called = reconcile(controller, key, object.as_ref(), call);
            // The call's state is large, and this would be moved about with it.
            Box::pin(called).await
        }
        Some(lane) => {
            let (own, key, call, object) = (controller.clone(), key.clone(), call.clone(), object.clone());
            let called = async move { reconcile(&own, &key, object.as_ref(), &call).await };
            let called = lane.carry(controller.heavy.load(Ordering::Relaxed), called).await;
            controller.heavy.store(Lane::is_heavy(called.cpu), Ordering::Relaxed);
            called
        }
    };
    Ok((called, object))
}

/// Calls the plugin. What it is given is copied once, into its memory.
async fn reconcile(
    controller: &Controller,
    key: &Key,
    object: Option<&Object>,
    call: &Call,
) -> pilothouse_runtime::Reconciled {
    let (kind, plugin) = (&controller.kind, &controller.plugin.plugin);
    let request = Request {
        controller: &controller.id.controller,
        key: GivenRef {
            kind: GivenGvk {
                group: &kind.group,
                version: &kind.version,
                kind: &kind.kind,
            },
            namespace: key.namespace.as_deref(),
            name: &key.name,
        },
        object: object.map(Object::json),
    };
    let backend = Arc::new(call.clone());
    call.begins(plugin.limits.wall);
    plugin.module.reconcile(request, backend, &plugin.limits).await
}

/// After a write whose outcome nobody knows its target is read live before the key runs again, and the cache must be at
/// least as new as that.
async fn ascertain(core: &Arc<Core>, call: &Call, job: &Job) -> Result<(), String> {
    if lock(&core.uncertain).is_empty() {
        return Ok(());
    }
    let place = (job.id.clone(), job.taken.key.clone());
    let Some(targets) = lock(&core.uncertain).remove(&place) else {
        return Ok(());
    };
    for (kind, key) in &targets {
        match call.ascertain(kind, key).await {
            Ok(Some(version)) => {
                // Where the cache is not there in time, the key runs on what there is, as after any write.
                hear(&call.plugin, kind, key, &version, None).await;
            }
            Ok(None) => {
                gone(&call.plugin, kind, key, "").await;
            }
            Err(error) => {
                let reason = format!(
                    "the outcome of a write to {kind} {key} is still unknown: {}",
                    error.message
                );
                lock(&core.uncertain).entry(place).or_default().extend(targets);
                return Err(reason);
            }
        }
    }
    Ok(())
}

/// Where a key loops and it is not known who is on the other side, the object that it is about is read live once: it
/// was written to since the plugin's last run, and its managed fields say by whom.
async fn name_other(core: &Arc<Core>, call: &Call, job: &Job) {
    let Some((kind, key, fields)) = lock(&core.dispatcher).unnamed(job) else {
        return;
    };
    let read = call.stored(&kind, &key).await;
    let own = format!("pilothouse/{}", job.id.plugin);
    let manager = read.and_then(|json| manager_of(&json, &fields, &own));
    let other = manager.map_or(Other::Unknown, Other::Manager);
    let told = lock(&core.dispatcher).named(job, other);
    if let Some(looping) = told {
        core.shared.observer.happened(&Happening::HotLoop(looping));
    }
}

/// Waits until the windows that the plugin has on a kind are at a version; false where they aren't in time. Where it is
/// known what was written, those that will not hear of it are left out.
async fn hear(plugin: &PluginState, kind: &Gvk, key: &Key, version: &Version, written: Option<&Object>) -> bool {
    let windows = plugin.views.get(kind).into_iter().flatten();
    for window in windows.filter(|window| window.view().sees_key(key)) {
        if written.is_some_and(|object| !window.hears_of(object)) {
            continue;
        }
        if window.wait_for(version, key.namespace.as_deref(), ECHO_BOUND).await == Holds::No {
            return false;
        }
    }
    true
}

/// Waits until no window shows an object of this uid (none: of whatever uid); false where one still does.
async fn gone(plugin: &PluginState, kind: &Gvk, key: &Key, uid: &str) -> bool {
    let windows = plugin.views.get(kind).into_iter().flatten();
    for window in windows.filter(|window| window.view().sees_key(key)) {
        let pending = || matches!(window.get(key), Ok(Some(object)) if uid.is_empty() || *object.head().uid == *uid);
        if !window.wait_while(pending, ECHO_BOUND).await {
            return false;
        }
    }
    true
}

#[allow(clippy::disallowed_methods, reason = "the driver: one bound for all echoes together")]
async fn await_echoes(core: &Core, call: &Call, job: &Job, echoes: &[Echo]) {
    let all = async {
        for Echo { kind, key, what } in echoes {
            let heard = match what {
                Echoed::Version(version) => hear(&call.plugin, kind, key, version, None).await,
                Echoed::State(object) => hear(&call.plugin, kind, key, object.head().version, Some(object)).await,
                Echoed::Gone(uid) => gone(&call.plugin, kind, key, uid).await,
            };
            if !heard {
                return false;
            }
        }
        true
    };
    if !tokio::time::timeout(ECHO_BOUND, all).await.unwrap_or(false) {
        core.shared.metrics.stale(&job.id);
        let said = lock(&core.lagging).say(core.now());
        if let Some(others) = said {
            tracing::warn!(
                controller = %job.id, key = %job.taken.key, others,
                "the cache does not hold what the last run wrote after {ECHO_BOUND:?}; the key runs on what there is (said once \
                 a minute; `others` is how many fared so since the last time)"
            );
        }
    }
}
