//! A plugin's life as operators see it.

use std::time::Duration;

use serde::Serialize;

use super::life::{Doing, Found, Life, Rejected};
use super::version::{Candidate, Past, Version};
use crate::load::Hash;
use crate::refusal::Refusal;

/// Hears what happens to plugins: for log, metrics and whoever else looks on. Must not block.
pub trait LifeObserver: Send + Sync + 'static {
    /// Something happened.
    fn happened(&self, event: &LifeEvent);
}

/// Something that happened to a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LifeEvent {
    /// The plugin's name.
    pub plugin: String,
    /// What the version calls itself, where known: its author's text.
    pub version: Option<String>,
    /// Which module it is about, where known.
    pub hash: Option<Hash>,
    /// What happened.
    pub what: What,
}

impl LifeEvent {
    pub(super) fn of(plugin: &str, hash: Option<Hash>, what: What) -> Self {
        Self {
            plugin: plugin.to_owned(),
            version: None,
            hash,
            what,
        }
    }
}

/// What happened to a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A version failed a step of loading.
    Refused {
        /// Which step, why, and the mend.
        refusal: Refusal,
        /// Whether the version before it serves on.
        old_serves: bool,
    },
    /// A version serves now.
    Serving {
        /// The module that served until now.
        instead_of: Option<Hash>,
    },
    /// What lies in the directory is not loaded, since something was decided against it before.
    HeldBack(HeldBack),
    /// An older version serves again.
    RolledBack {
        /// The module that served until now.
        from: Hash,
        /// Why.
        why: String,
    },
    /// What served was granted before and is not any longer: it is unloaded, though nothing takes its place.
    Revoked,
    /// The plugin's breaker opened too often.
    Quarantined,
    /// No version serves any longer, and none runs.
    Unloaded,
}

/// Where a plugin is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LifeState {
    /// Nothing of it serves; its turn to be loaded is to come.
    Waiting,
    /// Its first version takes the steps of loading.
    Loading,
    /// A version serves; [`LifeStatus::candidate`] says whether another is on its way.
    Serving,
    /// Its runs end.
    Draining,
    /// No version of it could be taken; [`LifeStatus::refusal`] says why.
    Refused,
    /// Configuration or a person disables it.
    Disabled,
}

/// A version of a plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VersionStatus {
    /// What it calls itself; none before its manifest was read.
    pub version: Option<String>,
    /// The SHA-256 of the module in hexadecimal digits.
    pub hash: String,
    /// The hash of what the operator says of it: one module under two configurations is two versions.
    pub configuration: String,
}

/// A version that is not loaded again by itself: it was rolled back, or another one was promoted instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RejectedStatus {
    /// The SHA-256 of the module in hexadecimal digits. Under another configuration it may be loaded.
    pub hash: String,
    /// Why.
    pub why: String,
    /// When, in seconds since the Unix epoch.
    pub at: u64,
}

/// A version that lies in the directory and waits, since something was decided against it before. Nothing is wrong with
/// the file: it is loaded once an operator says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeldBack {
    /// The SHA-256 of the module in hexadecimal digits.
    pub hash: String,
    /// What was decided, and by whom.
    pub why: String,
    /// When, in seconds since the Unix epoch, where it is known.
    pub at: Option<u64>,
    /// What ends it.
    pub mend: String,
}

/// What an operator sees of a plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LifeStatus {
    /// Its name.
    pub name: String,
    /// Where it is in its life.
    pub state: LifeState,
    /// The version that serves.
    pub serving: Option<VersionStatus>,
    /// For how long it has, in seconds.
    pub serving_seconds: Option<u64>,
    /// The version that is loaded or switched to.
    pub candidate: Option<VersionStatus>,
    /// Why what lies in the directory does not serve.
    pub refusal: Option<Refusal>,
    /// What lies in the directory and waits for a person's word, or to be replaced.
    pub held_back: Option<HeldBack>,
    /// The versions that a rollback can bring back, the newest first.
    pub previous: Vec<VersionStatus>,
    /// The versions that are not loaded again by themselves, the last one last.
    pub rejected: Vec<RejectedStatus>,
    /// For how many seconds more the version that serves is on probation.
    pub probation_seconds: Option<u64>,
    /// The module that the last rollback took back.
    pub rolled_back_from: Option<String>,
    /// The module that is in quarantine.
    pub quarantined: Option<String>,
    /// A person's word on whether it runs, which wins over the configuration's.
    pub enabled_by_person: Option<bool>,
    /// The directory holds no module of this name, and nothing of it runs: such a word is all there is of it.
    pub absent: bool,
}

impl<P: Candidate> Life<P> {
    /// As an operator sees it.
    pub(crate) fn status(&self, now: Duration) -> LifeStatus {
        let state = match (&self.doing, &self.serving) {
            (Doing::Draining { .. }, _) => LifeState::Draining,
            (_, Some(_)) => LifeState::Serving,
            (Doing::Loading(_) | Doing::Reviving { .. } | Doing::Switching { .. }, None) => LifeState::Loading,
            (Doing::Nothing, None) if !self.is_enabled() => LifeState::Disabled,
            (Doing::Nothing, None) if self.refusal.is_some() => LifeState::Refused,
            (Doing::Nothing, None) => LifeState::Waiting,
        };
        let held_back = match &self.found {
            Found::Wanted(wanted) if self.serving.as_ref().is_none_or(|serving| serving.wanted != *wanted) => {
                self.barred(wanted)
            }
            _ => None,
        };
        let state = match state {
            LifeState::Waiting if held_back.is_some() => LifeState::Refused,
            state => state,
        };
        let candidate = match (&self.doing, &self.found) {
            (Doing::Switching { to, .. }, _) => Some(version(to)),
            (Doing::Reviving { to, .. }, _) => Some(past(to)),
            (Doing::Loading(wanted), Found::Wanted(_)) if wanted.module != Hash::UNREAD => Some(VersionStatus {
                version: None,
                hash: wanted.module.to_string(),
                configuration: wanted.mark().configuration.to_string(),
            }),
            _ => None,
        };
        LifeStatus {
            name: self.name.clone(),
            state,
            serving: self.serving.as_ref().map(version),
            serving_seconds: self.serving.is_some().then(|| now.saturating_sub(self.since).as_secs()),
            candidate,
            refusal: self.refusal.clone(),
            held_back,
            previous: self.previous.iter().map(past).collect(),
            rejected: self.rejected.iter().map(rejected).collect(),
            probation_seconds: self
                .probation
                .map(|(until, _)| until.saturating_sub(now).as_secs())
                .filter(|left| *left > 0),
            rolled_back_from: self.rolled_back_from.map(|mark| mark.module.to_string()),
            quarantined: self.quarantine.map(|mark| mark.module.to_string()),
            enabled_by_person: self.enabled,
            absent: matches!((&self.found, &self.doing), (Found::Gone, Doing::Nothing)) && self.serving.is_none(),
        }
    }
}

fn version<P: Candidate>(version: &Version<P>) -> VersionStatus {
    VersionStatus {
        version: Some(version.plugin.version().to_owned()),
        hash: version.plugin.mark().module.to_string(),
        configuration: version.plugin.mark().configuration.to_string(),
    }
}

fn past<P: Candidate>(past: &Past<P>) -> VersionStatus {
    VersionStatus {
        version: Some(past.version.clone()),
        hash: past.mark.module.to_string(),
        configuration: past.mark.configuration.to_string(),
    }
}

fn rejected(rejected: &Rejected) -> RejectedStatus {
    RejectedStatus {
        hash: rejected.mark.module.to_string(),
        why: rejected.why.clone(),
        at: rejected.at.as_secs(),
    }
}
