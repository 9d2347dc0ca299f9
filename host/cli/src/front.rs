//! The host as those outside see it (health, readiness, stopping), from before it is there until after it stopped.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use pilothouse_controller::{Host, METRICS_CONTENT_TYPE};
use pilothouse_lifecycle::{Control, LifeState, LifeStatus};
use pilothouse_object::escape_control;

use crate::{
    exit::{FORCED, Stop},
    lives::Lives,
    process,
    serve::Health,
    signals::Signals,
};

/// How often readiness is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// How long it may take until what is waited for is worth a line.
const PATIENCE: Duration = Duration::from_secs(3);

/// So many different lines of what is waited for are logged.
const LINES: usize = 100;

/// So many plugins are named that don't run.
const NAMES: usize = 5;

/// A place for the host.
#[derive(Default)]
pub(crate) struct Front {
    host: OnceLock<Arc<Host>>,
    /// What becomes of plugins, where they are supervised.
    lives: OnceLock<(Arc<Lives>, Control)>,
    /// What is waited for until the host is there.
    before: Mutex<String>,
}

impl Front {
    /// Says what is waited for until the host is there.
    pub(crate) fn wait_for(&self, what: impl Into<String>) {
        *self.before.lock().unwrap_or_else(PoisonError::into_inner) = what.into();
    }

    /// Puts the host in; called once.
    pub(crate) fn put(&self, host: Host) -> Arc<Host> {
        self.host.get_or_init(|| Arc::new(host)).clone()
    }

    /// Puts in what tells of the plugins' lives; called once, before the host is put in.
    pub(crate) fn supervise(&self, lives: Arc<Lives>, control: Control) {
        self.lives.get_or_init(|| (lives, control));
    }

    /// The host, once it is there.
    pub(crate) fn host(&self) -> Option<&Arc<Host>> {
        self.host.get()
    }

    /// What plugins are controlled by, where they are supervised.
    pub(crate) fn control(&self) -> Option<&Control> {
        self.lives.get().map(|(_, control)| control)
    }

    /// Whether the host is there and has nothing left to do.
    pub(crate) fn is_idle(&self) -> bool {
        self.host.get().is_some_and(|host| host.is_idle())
    }

    /// Returns once everything that was waited for is there. What takes long is logged, each line once.
    pub(crate) async fn ready(&self) {
        let mut waited = Duration::ZERO;
        let mut said = BTreeSet::new();
        loop {
            let waiting = self.waiting_for();
            if waiting.is_empty() {
                return;
            }
            if waited >= PATIENCE {
                for line in waiting {
                    if said.len() < LINES && !said.contains(&line) {
                        tracing::warn!("waiting for {}", escape_control(&line));
                        said.insert(line);
                    }
                }
            }
            pause(LOOK).await;
            waited += LOOK;
        }
    }

    /// Whose controllers run now that the host is ready, for people: it is so without plugins that are slow to load.
    pub(crate) fn who_runs(&self) -> String {
        who_runs(&self.control().map(Control::status).unwrap_or_default())
    }

    /// Stops the host: running reconciles have `grace` to end; a signal forces.
    ///
    /// # Errors
    /// Reconciles were cut, since the grace period was over or a signal forced it.
    pub(crate) async fn stop(&self, grace: Duration, signals: &mut Signals) -> Result<(), Stop> {
        let Some(host) = self.host.get() else { return Ok(()) };
        let stopped = tokio::select! {
            biased;
            stopped = host.stop(grace) => stopped,
            signal = signals.next() => {
                let message = format!("forced to end by a second signal ({signal}): running reconciles were cut");
                return Err(Stop { code: FORCED, message });
            }
        };
        if stopped.abandoned.is_empty() {
            return Ok(());
        }
        let shown: Vec<_> = stopped
            .abandoned
            .iter()
            .take(10)
            .map(|key| escape_control(key))
            .collect();
        let more = match stopped.abandoned.len() - shown.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Err(Stop::failed(format!(
            "{} reconciles did not end within the grace period of {} s and were cut: {}{more}",
            stopped.abandoned.len(),
            grace.as_secs(),
            shown.join(", ")
        )))
    }
}

impl Health for Front {
    fn metrics(&self) -> (String, &'static str) {
        let mut text = self.host.get().map(|host| host.metrics()).unwrap_or_default();
        text.truncate(text.trim_end_matches("# EOF\n").len());
        if let Some((lives, _)) = self.lives.get() {
            if let Some(control) = self.control() {
                lives.keep_only(|name| control.knows(name));
                let sees = u8::from(control.blind().is_none());
                // Writing to a String can't fail.
                let _ = write!(
                    text,
                    "# HELP pilothouse_plugin_directory_readable Whether the plugin directory can be looked at: 1, or 0.\n\
                     # TYPE pilothouse_plugin_directory_readable gauge\n\
                     pilothouse_plugin_directory_readable {sees}\n"
                );
            }
            text.push_str(&lives.metrics());
        }
        text.push_str(&process::metrics());
        text.push_str("# EOF\n");
        (text, METRICS_CONTENT_TYPE)
    }

    fn waiting_for(&self) -> Vec<String> {
        let starting = self.control().map(Control::starting).unwrap_or_default();
        let starting = starting.into_iter().map(|name| format!("plugin {name} to be loaded"));
        match self.host.get() {
            Some(host) => {
                let status = self.control().map(Control::status).unwrap_or_default();
                let waiting = host.waiting_for().into_iter().chain(none_serves(&status));
                waiting.chain(starting).collect()
            }
            None => {
                let before = self.before.lock().unwrap_or_else(PoisonError::into_inner).clone();
                std::iter::once(before).chain(starting).collect()
            }
        }
    }
}

/// Why nothing serves though there are plugins, if that is so.
fn none_serves(status: &[LifeStatus]) -> Option<String> {
    let refused = status.iter().filter(|life| life.state == LifeState::Refused).count();
    if refused == 0 || status.iter().any(|life| life.serving.is_some()) {
        return None;
    }
    let on_its_way = |life: &&LifeStatus| !life.absent && matches!(life.state, LifeState::Waiting | LifeState::Loading);
    let what = match status.iter().filter(on_its_way).count() {
        0 => format!("all {refused} were refused"),
        more => format!("{refused} refused, {more} on the way"),
    };
    Some(format!(
        "a plugin that can be loaded: {what} (`pilothouse plugins list` and the log say why)"
    ))
}

fn who_runs(status: &[LifeStatus]) -> String {
    let without = |states: &[LifeState], what: &str| {
        let names = status
            .iter()
            .filter(|life| life.serving.is_none() && !life.absent && states.contains(&life.state))
            .map(|life| &*life.name);
        let names: Vec<&str> = names.collect();
        let more = names.len().saturating_sub(NAMES);
        let shown = names.get(..NAMES).unwrap_or(&names).join(", ");
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        (!names.is_empty()).then(|| format!("{what} ({shown}{more})"))
    };
    let coming = without(&[LifeState::Waiting, LifeState::Loading], "still being loaded");
    let refused = without(&[LifeState::Refused], "refused");
    let lacking: Vec<String> = coming.into_iter().chain(refused).collect();
    match (status.iter().any(|life| life.serving.is_some()), &lacking[..]) {
        (true, []) => "every controller runs".to_owned(),
        (true, lacking) => format!("every controller runs but those of plugins {}", lacking.join(" or ")),
        (false, []) => "there is no plugin yet that is to run".to_owned(),
        (false, lacking) => format!("no controller runs yet, since its plugins are {}", lacking.join(" or ")),
    }
}

/// Waits; for the loops of this program that look at something again and again.
pub(crate) async fn pause(duration: Duration) {
    #[expect(clippy::disallowed_methods, reason = "this is a driver")]
    tokio::time::sleep(duration).await;
}

#[cfg(test)]
pub(crate) mod tests {
    use pilothouse_lifecycle::VersionStatus;

    use super::*;

    /// A plugin in this state, of which there is nothing else to tell.
    pub(crate) fn life(state: LifeState) -> LifeStatus {
        LifeStatus {
            name: "a".to_owned(),
            state,
            serving: None,
            serving_seconds: None,
            candidate: None,
            refusal: None,
            held_back: None,
            previous: Vec::new(),
            rejected: Vec::new(),
            probation_seconds: None,
            rolled_back_from: None,
            quarantined: None,
            enabled_by_person: None,
            absent: false,
        }
    }

    #[test]
    fn all_are_refused_only_once_none_is_on_its_way() {
        let of = |states: &[LifeState]| none_serves(&states.iter().copied().map(life).collect::<Vec<_>>());
        let (refused, loading) = (LifeState::Refused, LifeState::Loading);
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[loading]), None, "that is told of those that start");
        assert_eq!(of(&[LifeState::Disabled]), None);
        let told = |states: &[LifeState]| of(states).unwrap();
        assert!(told(&[refused, loading]).contains(": 1 refused, 1 on the way ("));
        assert!(told(&[refused, refused, LifeState::Disabled]).contains(": all 2 were refused ("));
        let absent = LifeStatus {
            absent: true,
            ..life(LifeState::Waiting)
        };
        let told = none_serves(&[absent, life(refused)]).unwrap();
        assert!(
            told.contains(": all 1 were refused ("),
            "what is not there is not on its way: {told}"
        );
    }

    #[test]
    fn ready_is_said_with_the_plugins_that_do_not_run() {
        let named = |name: &str, state: LifeState| LifeStatus {
            name: name.to_owned(),
            ..life(state)
        };
        let serving = LifeStatus {
            serving: Some(VersionStatus {
                version: None,
                hash: String::new(),
                configuration: String::new(),
            }),
            ..named("serves", LifeState::Serving)
        };
        let absent = LifeStatus {
            absent: true,
            ..named("absent", LifeState::Waiting)
        };
        let off = named("off", LifeState::Disabled);
        let every = "every controller runs";
        assert_eq!(who_runs(&[serving.clone(), off.clone(), absent.clone()]), every);
        assert_eq!(who_runs(&[off, absent]), "there is no plugin yet that is to run");
        let coming: Vec<LifeStatus> = (1..=40).map(|n| named(&format!("p{n}"), LifeState::Loading)).collect();
        let all = "still being loaded (p1, p2, p3, p4, p5 and 35 more)";
        assert_eq!(
            who_runs(&coming),
            format!("no controller runs yet, since its plugins are {all}")
        );
        let some = [
            serving,
            named("a", LifeState::Waiting),
            named("b", LifeState::Refused),
            named("c", LifeState::Loading),
        ];
        assert_eq!(
            who_runs(&some),
            format!("{every} but those of plugins still being loaded (a, c) or refused (b)")
        );
    }
}
