//! What operators' commands are answered.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use http::StatusCode;
use pilothouse_controller::{
    Chosen, ControllerId, ControllerSnapshot, Host, KeySnapshot, KeyState, ParkedSnapshot, PluginSnapshot,
    breaker::{State, View},
    why_words,
};
use pilothouse_lifecycle::{Control, Hash, LifeState, LifeStatus, Order, OrderError, Plugin, VersionStatus};
use pilothouse_object::{escape_control, shorten};
use serde::Serialize;
use tokio::time::Instant;

use super::{
    api::{self, VERSION},
    recent::Recent,
    route::{Ask, Asked, Owned, spot_text},
};
use crate::{
    front::{Front, pause},
    serve::Health as _,
};

/// How often it is looked whether an order was followed.
const LOOK: Duration = Duration::from_millis(25);

/// Digits of a hash that name a version, at least.
const LEAST_DIGITS: usize = 6;

/// Lines of what the host waits for.
const WAITING: usize = 20;

/// Bytes of one text of an answer.
const TEXT: usize = 2_000;

/// A status and a body.
pub(crate) type Answer = (StatusCode, String);

/// What goes wrong with a request.
type Result<T> = std::result::Result<T, Answer>;

/// What answers.
pub(crate) struct Admin {
    pub(crate) front: Arc<Front>,
    pub(crate) recent: Arc<Recent>,
}

/// The answer where something is wrong; the message names the mend.
pub(crate) fn failed(status: StatusCode, message: &str) -> Answer {
    let body = api::Failed {
        error: message.to_owned(),
    };
    (status, json(&body))
}

fn json(body: &impl Serialize) -> String {
    // Maps with keys that are texts, numbers and texts: nothing of that can fail.
    serde_json::to_string(body).unwrap_or_default()
}

fn ok(body: &impl Serialize) -> Answer {
    (StatusCode::OK, json(body))
}

impl Admin {
    /// Answers. What takes long (an order that is waited for) is waited for here.
    pub(crate) async fn answer(&self, asked: &Asked) -> Answer {
        let answer = match asked {
            Asked::Status { detail } => Ok(ok(&self.status(*detail))),
            Asked::Plugin { name } => self.plugin(name).map(|detail| ok(&detail)),
            Asked::Order { name, order, wait } => self.order(name, order, *wait).await,
            Asked::Queue {
                name,
                controller,
                limit,
            } => self.queue(name, controller.as_deref(), *limit).map(|queue| ok(&queue)),
            Asked::Parked { chosen, from, limit } => self.host().map(|host| {
                let page = host.parked(chosen.borrow(), from.clone(), *limit);
                ok(&api::Parked {
                    api_version: VERSION.to_owned(),
                    keys: page.keys.into_iter().map(parked).collect(),
                    next: page.next.as_ref().map(spot_text),
                })
            }),
            Asked::Release { chosen, forget } => self.release(chosen, *forget).await,
        };
        answer.unwrap_or_else(|failed| failed)
    }

    fn host(&self) -> Result<&Arc<Host>> {
        self.front.host().ok_or_else(|| {
            let waiting = self.front.waiting_for().join("; ");
            let message = format!("the host is starting: it waits for {waiting}; try again in a moment");
            failed(StatusCode::SERVICE_UNAVAILABLE, &message)
        })
    }

    fn control(&self) -> Result<&Control> {
        self.host()?;
        self.front.control().ok_or_else(|| {
            let message =
                "this host's plugins stay as they were when it started: only `pilothouse run` takes such orders";
            failed(StatusCode::CONFLICT, message)
        })
    }

    /// The lives of all plugins; of a host that does not supervise them, those that serve.
    fn lives(&self) -> BTreeMap<String, Option<LifeStatus>> {
        match (self.front.control(), self.front.host()) {
            (Some(control), _) => control
                .status()
                .into_iter()
                .map(|life| (life.name.clone(), Some(life)))
                .collect(),
            (None, Some(host)) => host
                .plugins()
                .iter()
                .map(|plugin| (plugin.name.to_string(), None))
                .collect(),
            (None, None) => BTreeMap::new(),
        }
    }

    fn status(&self, detail: bool) -> api::Status {
        let lives = self.lives();
        if self.front.control().is_some() {
            self.recent.keep_only(|name| lives.contains_key(name));
        }
        let host = self.front.host();
        let waiting = self.front.waiting_for();
        let (running, pool_size) = host.map_or((0, 0), |host| host.pool());
        let cached = host.filter(|_| detail).map(|host| host.cached());
        let by_name: BTreeMap<Arc<str>, Arc<Plugin>> = host
            .map(|host| host.plugins())
            .unwrap_or_default()
            .into_iter()
            .map(|plugin| (plugin.name.clone(), plugin))
            .collect();
        let plugins = lives.iter().map(|(name, life)| {
            let mut plugin = self.plugin_status(name, life.as_ref(), by_name.get(&**name));
            let charge = cached.as_ref().map(|all| all.get(&**name).copied().unwrap_or_default());
            plugin.cache_bytes = charge.map(|charge| charge.bytes as u64);
            plugin.cache_objects = charge.map(|charge| charge.objects as u64);
            plugin
        });
        api::Status {
            api_version: VERSION.to_owned(),
            plugins: plugins.collect(),
            host: api::HostStatus {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                pid: std::process::id(),
                uptime_seconds: self.recent.uptime(),
                ready: waiting.is_empty(),
                waiting_for: waiting.iter().take(WAITING).map(|line| bounded(line)).collect(),
                api_server_away_seconds: host.and_then(|host| host.unreachable_for()).map(|away| away.as_secs()),
                running,
                pool_size,
            },
        }
    }

    /// One plugin as it is now; none where there is no such one.
    fn found(&self, name: &str) -> Result<(Option<LifeStatus>, Option<Arc<Plugin>>)> {
        let life = self.lives().remove(name);
        let plugins = self.host()?.plugins();
        let plugin = plugins.into_iter().find(|plugin| *plugin.name == *name);
        match life {
            Some(life) => Ok((life, plugin)),
            None => {
                let name = escape_control(name);
                let message = format!("there is no plugin {name}: `pilothouse plugins list` shows which there are");
                Err(failed(StatusCode::NOT_FOUND, &message))
            }
        }
    }

    fn plugin(&self, name: &str) -> Result<api::PluginDetail> {
        let (life, plugin) = self.found(name)?;
        let mut status = self.plugin_status(name, life.as_ref(), plugin.as_ref());
        let charge = self.host()?.cached().get(name).copied().unwrap_or_default();
        status.cache_bytes = Some(charge.bytes as u64);
        status.cache_objects = Some(charge.objects as u64);
        let manifest = plugin.as_ref().map(|plugin| &plugin.manifest);
        let controllers = manifest.iter().flat_map(|manifest| &manifest.controllers);
        let watches = controllers.flat_map(|controller| {
            let own = format!("{}: {}", controller.name, controller.kind);
            let more = controller
                .watches
                .iter()
                .map(|watch| format!("{}: {}", controller.name, watch.kind));
            std::iter::once(own).chain(more.collect::<Vec<_>>())
        });
        let permissions = manifest.iter().flat_map(|manifest| &manifest.permissions);
        Ok(api::PluginDetail {
            api_version: VERSION.to_owned(),
            plugin: status,
            description: manifest
                .map(|manifest| bounded(&manifest.description))
                .unwrap_or_default(),
            path: plugin
                .as_ref()
                .map(|plugin| plugin.path.display().to_string())
                .unwrap_or_default(),
            permissions: permissions.map(|permission| bounded(&permission.to_string())).collect(),
            watches: watches.map(|watch| bounded(&watch)).collect(),
            history: self.recent.turns(name),
        })
    }

    fn plugin_status(&self, name: &str, life: Option<&LifeStatus>, plugin: Option<&Arc<Plugin>>) -> api::PluginStatus {
        let snapshot = self.front.host().and_then(|host| host.snapshot(name));
        let mut status = api::PluginStatus {
            name: name.to_owned(),
            state: life.map_or("serving", |life| state_name(life.state)).to_owned(),
            breaker: snapshot
                .as_ref()
                .and_then(|snapshot| Some(breaker(snapshot.now, &snapshot.breaker?))),
            controllers: controllers(snapshot, plugin),
            last_error: self.recent.error(name),
            memory_limit_bytes: plugin.map(|plugin| plugin.limits.memory as u64),
            serving: plugin.map(|plugin| api::Version {
                version: Some(bounded(&plugin.manifest.version)),
                hash: plugin.hash.to_string(),
            }),
            ..api::PluginStatus::default()
        };
        status.queue = sum(&status.controllers);
        if let Some(life) = life {
            status.serving = life.serving.as_ref().map(version);
            status.serving_seconds = life.serving_seconds;
            status.candidate = life.candidate.as_ref().map(version);
            status.refusal = life.refusal.as_ref().map(|refusal| api::Refused {
                step: refusal.step.to_string(),
                why: bounded(&refusal.why),
                mend: bounded(&refusal.mend),
            });
            status.previous = life.previous.iter().map(version).collect();
            status.probation_seconds = life.probation_seconds;
            status.rolled_back_from.clone_from(&life.rolled_back_from);
            status.quarantined.clone_from(&life.quarantined);
            status.enabled_by_person = life.enabled_by_person;
        }
        status
    }

    fn queue(&self, name: &str, controller: Option<&str>, limit: usize) -> Result<api::QueueDetail> {
        let (_, plugin) = self.found(name)?;
        let host = self.host()?;
        let all = controllers(host.snapshot(name), plugin.as_ref());
        let meant = |own: &api::Controller| controller.is_none_or(|controller| own.name == controller);
        if !all.iter().any(meant) && (controller.is_some() || all.is_empty()) {
            let names: Vec<&str> = all.iter().map(|own| &*own.name).collect();
            let message = match &names[..] {
                [] => format!("no version of {name} serves: `pilothouse plugins show {name}` says why"),
                names => format!("{name} has no such controller: it has {}", names.join(", ")),
            };
            return Err(failed(StatusCode::NOT_FOUND, &message));
        }
        let controllers = all.into_iter().filter(meant).map(|own| {
            let keys = host
                .keys(&ControllerId::new(name, &own.name), limit)
                .unwrap_or_default();
            api::ControllerKeys {
                name: own.name,
                queue: own.queue,
                keys: keys.into_iter().map(queued).collect(),
            }
        });
        Ok(api::QueueDetail {
            api_version: VERSION.to_owned(),
            plugin: name.to_owned(),
            controllers: controllers.collect(),
        })
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "may go through very many keys: not on a thread that serves"
    )]
    async fn release(&self, chosen: &Owned, forget: bool) -> Result<Answer> {
        let (host, own) = (self.host()?.clone(), chosen.clone());
        let released = tokio::task::spawn_blocking(move || host.release_parked(own.borrow(), forget)).await;
        let keys = released.map_err(|error| {
            let message = format!("it broke off: {error}; `pilothouse parked list` shows what is left");
            failed(StatusCode::INTERNAL_SERVER_ERROR, &message)
        })?;
        if keys == 0
            && let Some(key) = &chosen.key
        {
            let message = format!(
                "{} is not parked there: `pilothouse parked list` shows what is",
                escape_control(&key.to_string())
            );
            return Err(failed(StatusCode::NOT_FOUND, &message));
        }
        if keys > 0 {
            tracing::info!(
                keys,
                "an operator had parked keys {}",
                if forget { "dropped" } else { "tried again" }
            );
        }
        Ok(ok(&api::Released {
            api_version: VERSION.to_owned(),
            keys,
        }))
    }

    #[expect(clippy::disallowed_methods, reason = "a driver: its clock")]
    async fn order(&self, name: &str, ask: &Ask, wait: Duration) -> Result<Answer> {
        let control = self.control()?;
        let (before, _) = self.found(name)?;
        let before = before.ok_or_else(|| failed(StatusCode::NOT_FOUND, "nothing is known of it"))?;
        let deadline = Instant::now() + wait;
        let wanted = match ask {
            Ask::Promote(digits) => Some(chosen_version(&before, digits)?),
            // What is in quarantine, or else what serves: its own version is told to serve on.
            Ask::Reset => {
                let version = before.quarantined.as_ref();
                let version = version.or(before.serving.as_ref().map(|serving| &serving.hash));
                version.and_then(|hash| Hash::from_hex(hash))
            }
            _ => None,
        };
        let order = match (ask, wanted) {
            (Ask::Enable, _) => Order::Enable,
            (Ask::Disable, _) => Order::Disable,
            (Ask::Rollback, _) => Order::Rollback,
            (Ask::Promote(_) | Ask::Reset, Some(hash)) => Order::Promote(hash),
            (Ask::Promote(_) | Ask::Reset, None) => {
                let message = format!("no version of {name} serves, and none is in quarantine");
                return Err(failed(StatusCode::CONFLICT, &message));
            }
        };
        // A host that only begins to supervise takes the order, and follows it later.
        let taken = tokio::time::timeout(wait.max(LOOK), control.order(name, order)).await;
        if let Ok(Err(error)) = taken {
            let status = match error {
                OrderError::NoPlugin => StatusCode::NOT_FOUND,
                OrderError::NoVersion { .. } | OrderError::NoEarlier => StatusCode::CONFLICT,
                OrderError::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            };
            return Err(failed(status, &format!("{name}: {error}")));
        }
        tracing::info!(plugin = name, "an operator's order: {}", words(ask));
        let serves = |life: &LifeStatus| {
            let hash = wanted.map(|hash| hash.to_string());
            life.serving
                .as_ref()
                .is_some_and(|serving| Some(&serving.hash) == hash.as_ref())
        };
        if matches!(order, Order::Promote(_)) && serves(&before) {
            // It serves already: what may be against it is its breaker.
            self.host()?.reset_breaker(name);
        }
        let mut done = false;
        loop {
            let life = control.status().into_iter().find(|life| life.name == name);
            if taken.is_ok() && life.as_ref().is_none_or(is_settled) {
                done = true;
            }
            if done || Instant::now() >= deadline {
                let (_, plugin) = self.found(name).unwrap_or_default();
                let failed = life
                    .as_ref()
                    .filter(|_| done)
                    .and_then(|life| shortfall(ask, &before, life, serves(life)));
                let status = if done { StatusCode::OK } else { StatusCode::ACCEPTED };
                let ordered = api::Ordered {
                    api_version: VERSION.to_owned(),
                    done,
                    failed,
                    plugin: self.plugin_status(name, life.as_ref(), plugin.as_ref()),
                };
                return Ok((status, json(&ordered)));
            }
            pause(LOOK).await;
        }
    }
}

impl Owned {
    fn borrow(&self) -> Chosen<'_> {
        Chosen {
            plugin: self.plugin.as_deref(),
            controller: self.controller.as_deref(),
            key: self.key.as_ref(),
        }
    }
}

fn words(ask: &Ask) -> String {
    match ask {
        Ask::Enable => "enable".to_owned(),
        Ask::Disable => "disable".to_owned(),
        Ask::Rollback => "rollback".to_owned(),
        Ask::Reset => "reset".to_owned(),
        Ask::Promote(digits) => format!("promote {}", escape_control(digits)),
    }
}

/// Whether nothing is being done for it.
fn is_settled(life: &LifeStatus) -> bool {
    let moves = matches!(
        life.state,
        LifeState::Loading | LifeState::Draining | LifeState::Waiting
    );
    !moves && life.candidate.is_none()
}

/// What is otherwise than was ordered.
fn shortfall(ask: &Ask, before: &LifeStatus, after: &LifeStatus, wanted_serves: bool) -> Option<String> {
    let met = match ask {
        Ask::Enable => after.serving.is_some(),
        Ask::Disable => after.serving.is_none(),
        Ask::Rollback => after.serving.is_some() && after.serving != before.serving,
        Ask::Promote(_) => wanted_serves,
        Ask::Reset => after.quarantined.is_none(),
    };
    if met {
        return None;
    }
    let why = after.refusal.as_ref().map(|refusal| bounded(&refusal.to_string()));
    Some(why.unwrap_or_else(|| format!("the plugin is {} now", state_name(after.state))))
}

/// The version that these digits name: a whole hash, or the beginning of one that is known.
fn chosen_version(life: &LifeStatus, digits: &str) -> Result<Hash> {
    let wrong = |message: String| failed(StatusCode::BAD_REQUEST, &message);
    if let Some(hash) = Hash::from_hex(digits) {
        return Ok(hash);
    }
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if !is_hex || !(LEAST_DIGITS..64).contains(&digits.len()) {
        return Err(wrong(format!(
            "a version is named by its module's SHA-256, or by at least {LEAST_DIGITS} of its first digits"
        )));
    }
    let digits = digits.to_ascii_lowercase();
    let versions = life.serving.iter().chain(&life.candidate).chain(&life.previous);
    let hashes = versions.map(|version| &version.hash);
    let mut known: Vec<&String> = hashes.chain(&life.quarantined).chain(&life.rolled_back_from).collect();
    known.sort();
    known.dedup();
    let named: Vec<&String> = known.iter().copied().filter(|hash| hash.starts_with(&digits)).collect();
    match &named[..] {
        [one] => Hash::from_hex(one).ok_or_else(|| wrong("that is no hash".to_owned())),
        [] => {
            let shown: Vec<&str> = known.iter().filter_map(|hash| hash.get(..super::SHORT_HASH)).collect();
            let message = format!(
                "no version at hand begins with {digits}; these are: {}",
                shown.join(", ")
            );
            Err(failed(StatusCode::CONFLICT, &message))
        }
        _ => Err(wrong(format!(
            "more than one version begins with {digits}: give more digits"
        ))),
    }
}

fn state_name(state: LifeState) -> &'static str {
    match state {
        LifeState::Waiting => "waiting",
        LifeState::Loading => "loading",
        LifeState::Serving => "serving",
        LifeState::Draining => "draining",
        LifeState::Refused => "refused",
        LifeState::Disabled => "disabled",
    }
}

fn version(version: &VersionStatus) -> api::Version {
    api::Version {
        version: version.version.as_deref().map(bounded),
        hash: version.hash.clone(),
    }
}

fn breaker(now: Duration, view: &View) -> api::Breaker {
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

fn controllers(snapshot: Option<PluginSnapshot>, plugin: Option<&Arc<Plugin>>) -> Vec<api::Controller> {
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

fn numbers(own: &ControllerSnapshot) -> api::Queue {
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

fn sum(controllers: &[api::Controller]) -> api::Queue {
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

fn queued(key: KeySnapshot) -> api::QueuedKey {
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

fn parked(parked: ParkedSnapshot) -> api::ParkedKey {
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

fn bounded(text: &str) -> String {
    shorten(text, TEXT).into_owned()
}

#[cfg(test)]
mod tests;
