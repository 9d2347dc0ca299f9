//! What operators' commands are answered: what the host and its plugins do.

use std::{collections::BTreeMap, sync::Arc};

use http::StatusCode;
use pilothouse_controller::{Chosen, ControllerId, Host, ParkedSpot, Standing, system_time};
use pilothouse_lifecycle::{Control, LifeState, LifeStatus, Plugin, Step};
use pilothouse_object::escape_control;
use serde::Serialize;

use super::{
    api::{self, VERSION},
    forms::{self, bounded},
    recent::Recent,
    route::{Asked, Owned, spot_text},
};
use crate::{front::Front, serve::Health as _};

/// Lines of what the host waits for.
const WAITING: usize = 20;

/// Keys that loop are shown of one plugin at most.
const MAX_LOOPS: usize = 16;

/// Lines of what one plugin holds.
const MAX_HOLDS: usize = 64;

/// A status and a body.
pub(crate) type Answer = (StatusCode, String);

/// What goes wrong with a request.
pub(super) type Result<T> = std::result::Result<T, Answer>;

/// What answers.
pub(crate) struct Admin {
    pub(crate) front: Arc<Front>,
    pub(crate) recent: Arc<Recent>,
    /// For how many seconds a new version is on probation.
    pub(crate) probation_seconds: u64,
}

/// The answer where something is wrong; the message names the mend.
pub(crate) fn failed(status: StatusCode, message: &str) -> Answer {
    let body = api::Failed {
        error: message.to_owned(),
    };
    (status, json(&body))
}

pub(super) fn json(body: &impl Serialize) -> String {
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
            Asked::Parked { chosen, from, limit } => {
                self.parked(chosen, from.clone(), *limit).map(|parked| ok(&parked))
            }
            Asked::Release { chosen, forget } => self.release(chosen, *forget).await,
        };
        answer.unwrap_or_else(|failed| failed)
    }

    pub(super) fn host(&self) -> Result<&Arc<Host>> {
        self.front.host().ok_or_else(|| {
            // What comes first; the plugins one by one are for the status.
            let waiting = self.front.waiting_for();
            let first = waiting.first().map_or("its start", |line| line);
            let message = format!("the host is starting: it waits for {first}; try again in a moment");
            failed(StatusCode::SERVICE_UNAVAILABLE, &message)
        })
    }

    pub(super) fn control(&self) -> Result<&Control> {
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
                plugin_directory: self
                    .front
                    .control()
                    .and_then(|control| control.blind())
                    .map(|why| bounded(&why)),
                api_server_away_seconds: host.and_then(|host| host.unreachable_for()).map(|away| away.as_secs()),
                running,
                pool_size,
            },
        }
    }

    /// One plugin as it is now; none where there is no such one.
    pub(super) fn found(&self, name: &str) -> Result<(Option<LifeStatus>, Option<Arc<Plugin>>)> {
        let life = self.lives().remove(name);
        let plugins = self.front.host().map(|host| host.plugins()).unwrap_or_default();
        let plugin = plugins.into_iter().find(|plugin| *plugin.name == *name);
        match life {
            Some(life) => Ok((life, plugin)),
            None => {
                // Before it is there nobody knows.
                self.host()?;
                let name = escape_control(name);
                let message = format!("there is no plugin {name}: `pilothouse plugins list` shows which there are");
                Err(failed(StatusCode::NOT_FOUND, &message))
            }
        }
    }

    fn plugin(&self, name: &str) -> Result<api::PluginDetail> {
        let (life, plugin) = self.found(name)?;
        let mut status = self.plugin_status(name, life.as_ref(), plugin.as_ref());
        if let Some(host) = self.front.host() {
            let charge = host.cached().get(name).copied().unwrap_or_default();
            status.cache_bytes = Some(charge.bytes as u64);
            status.cache_objects = Some(charge.objects as u64);
        }
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
        let (holds, holds_more) = plugin
            .as_ref()
            .map(|plugin| plugin.capabilities.lines(MAX_HOLDS))
            .unwrap_or_default();
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
            holds: holds.iter().map(|line| bounded(line)).collect(),
            holds_more,
            watches: watches.map(|watch| bounded(&watch)).collect(),
            history: self.recent.turns(name),
        })
    }

    fn hot_loops(&self, plugin: &str) -> Vec<String> {
        let loops = self.front.host().map(|host| host.hot_loops()).unwrap_or_default();
        let own = loops.iter().filter(|found| *found.id.plugin == *plugin);
        own.take(MAX_LOOPS)
            .map(|found| bounded(&format!("{} {}: {found}", found.id.controller, found.key)))
            .collect()
    }

    fn held(&self, plugin: &str) -> Option<String> {
        let why = match self.front.host()?.access(plugin)? {
            Standing::Allowed => return None,
            Standing::Denied(why) => why,
            Standing::Unreviewed(Some(why)) => format!("its access could not be reviewed yet: {why}"),
            Standing::Unreviewed(None) => "its access was not reviewed yet".to_owned(),
        };
        Some(bounded(&why))
    }

    pub(super) fn plugin_status(
        &self,
        name: &str,
        life: Option<&LifeStatus>,
        plugin: Option<&Arc<Plugin>>,
    ) -> api::PluginStatus {
        let snapshot = self.front.host().and_then(|host| host.snapshot(name));
        let mut status = api::PluginStatus {
            name: name.to_owned(),
            state: life.map_or("serving", |life| forms::state_name(life.state)).to_owned(),
            breaker: snapshot
                .as_ref()
                .and_then(|snapshot| Some(forms::breaker(snapshot.now, &snapshot.breaker?))),
            controllers: forms::controllers(snapshot, plugin),
            hot_loops: self.hot_loops(name),
            held: self.held(name),
            last_error: self.recent.error(name),
            memory_limit_bytes: plugin.map(|plugin| plugin.limits.memory),
            serving: plugin.map(|plugin| api::Version {
                version: Some(bounded(&plugin.manifest.version)),
                hash: plugin.hash.to_string(),
                configuration: plugin.configuration.to_string(),
            }),
            ..api::PluginStatus::default()
        };
        status.queue = forms::sum(&status.controllers);
        if let Some(life) = life {
            status.serving = life.serving.as_ref().map(forms::version);
            // What is told of its life stands still until something happens to it: its ages don't.
            let seconds = self.recent.serving_seconds(name).or(life.serving_seconds);
            status.serving_seconds = seconds.filter(|_| life.serving.is_some());
            status.candidate = life.candidate.as_ref().map(forms::version);
            let progress = self.front.control().and_then(|control| control.progress(name));
            status.progress = progress.map(|progress| forms::progress(&progress));
            status.refusal = life.refusal.as_ref().map(|refusal| api::Refused {
                step: refusal.step.to_string(),
                why: bounded(&refusal.why),
                mend: bounded(&refusal.mend),
            });
            status.held_back = life.held_back.as_ref().map(|held| api::HeldBack {
                hash: held.hash.clone(),
                why: bounded(&held.why),
                seconds_ago: held.at.map(|at| u64::from(system_time().seconds).saturating_sub(at)),
                mend: bounded(&held.mend),
            });
            status.previous = life.previous.iter().map(forms::version).collect();
            let left = self
                .probation_seconds
                .saturating_sub(status.serving_seconds.unwrap_or_default());
            status.probation_seconds = life.probation_seconds.map(|_| left).filter(|left| *left > 0);
            status.rolled_back_from.clone_from(&life.rolled_back_from);
            status.quarantined.clone_from(&life.quarantined);
            status.enabled_by_person = life.enabled_by_person;
            status.absent = life.absent;
            if self.front.host().is_none() {
                not_yet(&mut status);
            }
        }
        status
    }

    fn queue(&self, name: &str, controller: Option<&str>, limit: usize) -> Result<api::QueueDetail> {
        let (_, plugin) = self.found(name)?;
        let host = self.host()?;
        let all = forms::controllers(host.snapshot(name), plugin.as_ref());
        if controller.is_some() || all.is_empty() {
            has_controller(name, &all, controller)?;
        }
        let meant = |own: &api::Controller| controller.is_none_or(|controller| own.name == controller);
        let controllers = all.into_iter().filter(meant).map(|own| {
            let keys = host
                .keys(&ControllerId::new(name, &own.name), limit)
                .unwrap_or_default();
            api::ControllerKeys {
                name: own.name,
                queue: own.queue,
                keys: keys.into_iter().map(forms::queued).collect(),
            }
        });
        Ok(api::QueueDetail {
            api_version: VERSION.to_owned(),
            plugin: name.to_owned(),
            controllers: controllers.collect(),
        })
    }

    /// Whether there is what the keys are chosen by: of a name that nothing has, none being parked would be no answer.
    fn exists(&self, chosen: &Owned) -> Result<()> {
        let Some(name) = &chosen.plugin else { return Ok(()) };
        let (_, plugin) = self.found(name)?;
        if let Some(controller) = &chosen.controller {
            let all = forms::controllers(self.host()?.snapshot(name), plugin.as_ref());
            has_controller(name, &all, Some(controller))?;
        }
        Ok(())
    }

    fn parked(&self, chosen: &Owned, from: Option<ParkedSpot>, limit: usize) -> Result<api::Parked> {
        self.exists(chosen)?;
        let page = self.host()?.parked(chosen.borrow(), from, limit);
        Ok(api::Parked {
            api_version: VERSION.to_owned(),
            keys: page.keys.into_iter().map(forms::parked).collect(),
            next: page.next.as_ref().map(spot_text),
        })
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "may go through very many keys: not on a thread that serves"
    )]
    async fn release(&self, chosen: &Owned, forget: bool) -> Result<Answer> {
        self.exists(chosen)?;
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
}

/// Whether the plugin has this controller (none: any at all).
fn has_controller(plugin: &str, all: &[api::Controller], controller: Option<&str>) -> Result<()> {
    if all.iter().any(|own| controller.is_none_or(|name| own.name == name)) {
        return Ok(());
    }
    let names: Vec<&str> = all.iter().map(|own| &*own.name).collect();
    let message = match &names[..] {
        [] => format!("no version of {plugin} serves: `pilothouse plugins show {plugin}` says why"),
        names => format!("{plugin} has no such controller: it has {}", names.join(", ")),
    };
    Err(failed(StatusCode::NOT_FOUND, &message))
}

/// What is to serve as soon as the host is there does not serve before.
fn not_yet(status: &mut api::PluginStatus) {
    if let Some(version) = status.serving.take() {
        status.candidate = Some(version);
        status.state = forms::state_name(LifeState::Loading).to_owned();
        status.progress = status.progress.take().or(Some(api::Progress {
            step: Step::Serve.to_string(),
            seconds: status.serving_seconds.unwrap_or_default(),
        }));
        (status.serving_seconds, status.probation_seconds) = (None, None);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_loaded_before_the_host_is_there_does_not_serve_yet() {
        let version = api::Version {
            hash: "a".repeat(64),
            ..api::Version::default()
        };
        let loaded = api::PluginStatus {
            state: "serving".to_owned(),
            serving: Some(version.clone()),
            serving_seconds: Some(2),
            ..api::PluginStatus::default()
        };
        let mut status = loaded.clone();
        not_yet(&mut status);
        let progress = status.progress.as_ref().map(|own| (&*own.step, own.seconds));
        assert_eq!((&*status.state, progress), ("loading", Some(("serve", 2))));
        assert_eq!((status.serving, status.candidate), (None, Some(version)));
        let refused = api::PluginStatus {
            state: "refused".to_owned(),
            ..api::PluginStatus::default()
        };
        let mut status = refused.clone();
        not_yet(&mut status);
        assert_eq!(status, refused, "of what is not loaded nothing is new");
    }
}
