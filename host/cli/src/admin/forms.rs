//! From what the rooms below tell to the form of the answers. Pure: texts from outside are cut to their bound.

use std::{sync::Arc, time::Duration};

use pilothouse_controller::{
    ControllerSnapshot, KeySnapshot, KeyState, ParkedSnapshot, PluginSnapshot,
    breaker::{State, View},
    why_words,
};
use pilothouse_lifecycle::{LifeState, Plugin, Progress, VersionStatus};
use pilothouse_object::shorten;

use super::api;

/// Bytes of one text of an answer.
const TEXT: usize = 2_000;

pub(super) fn state_name(state: LifeState) -> &'static str {
    match state {
        LifeState::Waiting => "waiting",
        LifeState::Loading => "loading",
        LifeState::Serving => "serving",
        LifeState::Draining => "draining",
        LifeState::Refused => "refused",
        LifeState::Disabled => "disabled",
    }
}

pub(super) fn version(version: &VersionStatus) -> api::Version {
    api::Version {
        version: version.version.as_deref().map(bounded),
        hash: version.hash.clone(),
        configuration: version.configuration.clone(),
    }
}

pub(super) fn progress(progress: &Progress) -> api::Progress {
    api::Progress {
        step: progress.step.map_or("waiting".to_owned(), |step| step.to_string()),
        seconds: progress.seconds,
    }
}

pub(super) fn breaker(now: Duration, view: &View) -> api::Breaker {
    let (state, until) = match view.state {
        State::Closed => ("closed", None),
        State::Open { until } => ("open", Some(until)),
        State::HalfOpen => ("half-open", None),
        State::Quarantined => ("quarantined", None),
    };
    api::Breaker {
        state: state.to_owned(),
        seconds: now.saturating_sub(view.since).as_secs(),
        left_seconds: until.map(|until| until.saturating_sub(now).as_secs()),
        why: view.why.as_ref().map(why_words),
        trips: view.trips,
        calls: view.calls,
        failed: view.failed,
        slow: view.slow,
    }
}

pub(super) fn controllers(snapshot: Option<PluginSnapshot>, plugin: Option<&Arc<Plugin>>) -> Vec<api::Controller> {
    let own = snapshot.into_iter().flat_map(|snapshot| snapshot.controllers);
    let controllers = own.map(|own| {
        let described = plugin.and_then(|plugin| plugin.manifest.controller(&own.id.controller));
        api::Controller {
            name: own.id.controller.to_string(),
            kind: described
                .map(|described| described.kind.to_string())
                .unwrap_or_default(),
            started: own.started,
            queue: numbers(&own),
        }
    });
    controllers.collect()
}

pub(super) fn numbers(own: &ControllerSnapshot) -> api::Queue {
    api::Queue {
        running: own.running,
        concurrency: own.concurrency,
        queued: own.queued,
        delayed: own.delayed,
        working: own.working,
        parked: own.parked,
        oldest_seconds: own.oldest.map(|age| age.as_secs_f64()),
        longest_running_seconds: own.longest_running.map(|age| age.as_secs_f64()),
        runs: own.runs,
        failed: own.failed,
    }
}

pub(super) fn sum(controllers: &[api::Controller]) -> api::Queue {
    let longer = |one: Option<f64>, other: Option<f64>| match (one, other) {
        (Some(one), Some(other)) => Some(one.max(other)),
        (one, other) => one.or(other),
    };
    controllers.iter().fold(api::Queue::default(), |sum, controller| {
        let own = &controller.queue;
        api::Queue {
            running: sum.running + own.running,
            concurrency: sum.concurrency + own.concurrency,
            queued: sum.queued + own.queued,
            delayed: sum.delayed + own.delayed,
            working: sum.working + own.working,
            parked: sum.parked + own.parked,
            oldest_seconds: longer(sum.oldest_seconds, own.oldest_seconds),
            longest_running_seconds: longer(sum.longest_running_seconds, own.longest_running_seconds),
            runs: sum.runs + own.runs,
            failed: sum.failed + own.failed,
        }
    })
}

pub(super) fn queued(key: KeySnapshot) -> api::QueuedKey {
    let state = match key.state {
        KeyState::Working => "working",
        KeyState::Queued => "queued",
        KeyState::Delayed => "delayed",
    };
    api::QueuedKey {
        key: key.key.to_string(),
        state: state.to_owned(),
        seconds: key.age.as_secs_f64(),
        due_seconds: key.due.map(|due| due.as_secs_f64()),
        again: key.again,
        attempts: key.attempts,
        cause: key.cause.map(|cause| bounded(&cause.to_string())),
        error: key.error.map(|error| bounded(&error)),
    }
}

pub(super) fn parked(parked: ParkedSnapshot) -> api::ParkedKey {
    let errors = parked.errors.iter().map(|(age, attempt, why)| api::KeyError {
        seconds_ago: age.as_secs(),
        attempt: *attempt,
        why: bounded(why),
    });
    api::ParkedKey {
        plugin: parked.id.plugin.to_string(),
        controller: parked.id.controller.to_string(),
        key: parked.key.to_string(),
        seconds: parked.age.as_secs(),
        attempts: parked.attempts,
        errors: errors.collect(),
        reason: bounded(&parked.reason),
        cause: bounded(&parked.cause.to_string()),
    }
}

pub(super) fn bounded(text: &str) -> String {
    shorten(text, TEXT).into_owned()
}
