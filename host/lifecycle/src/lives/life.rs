//! One plugin's life, as a step function: what happened goes in, what to do comes out.
//!
//! At most one thing is being done for a plugin at a time. What comes meanwhile is noted, and acted on afterwards; only
//! a switch that waits (for the first lists of what a version watches) is cut short when something newer is there.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::status::{HeldBack, LifeEvent, What};
use super::tighter::is_tighter;
use crate::capabilities::Capabilities;
use crate::config::PluginConfig;
use crate::grant::missing;
use crate::load::{Hash, Plugin};
use crate::manifest::SuggestedLimits;
use crate::refusal::{Refusal, Step};
use crate::stage::{NotServed, TroubleKind};

/// So many rejected versions of a plugin are remembered; older ones are forgotten.
const REJECTED: usize = 16;

/// What tells versions apart: the module, and what the operator says of the plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Mark {
    /// The module's hash.
    pub(crate) module: Hash,
    /// [`PluginConfig::hash`].
    pub(crate) configuration: Hash,
}

/// A version that passed every step of loading.
pub(crate) trait Candidate: Clone {
    /// Which one it is.
    fn mark(&self) -> Mark;
    /// What it calls itself: its author's text.
    fn version(&self) -> &str;
    /// Whether everything that it asks for is granted there, nothing that it holds was taken away, and it acts as whom that
    /// says.
    fn fits(&self, config: &PluginConfig) -> bool;
    /// Whether it has a controller of this name.
    fn has_controller(&self, name: &str) -> bool;
    /// The same, with as many keys in work at once as that says.
    fn adjusted(&self, config: &PluginConfig) -> Self;
    /// The limits that its author suggests.
    fn suggested_limits(&self) -> SuggestedLimits;
}

impl Candidate for Arc<Plugin> {
    fn mark(&self) -> Mark {
        Mark {
            module: self.hash,
            configuration: self.configuration,
        }
    }

    fn version(&self) -> &str {
        &self.manifest.version
    }

    fn fits(&self, config: &PluginConfig) -> bool {
        // As another than it is said to be it would have rights that it is to have no longer.
        let (asked, granted) = (&self.manifest.permissions, config.granted());
        self.impersonate == config.impersonate
            && self.events <= config.events
            && missing(asked, &granted).is_empty()
            // And nothing that it holds reaches further than what it would be given now.
            && self.capabilities.is_within(&Capabilities::new(&self.name, asked, &granted))
    }

    fn has_controller(&self, name: &str) -> bool {
        self.manifest.controller(name).is_some()
    }

    fn adjusted(&self, config: &PluginConfig) -> Self {
        Arc::new(self.with_concurrency_of(config))
    }

    fn suggested_limits(&self) -> SuggestedLimits {
        self.manifest.limits
    }
}

/// When a version is taken back by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// For so long after a switch the new version is on probation; 10 minutes by default. Zero: never. One that is nothing
    /// but the operator's lower limits for the same module is not.
    pub probation: Duration,
    /// So many traps on probation are too many; 3 by default. A breaker that opens is too much at once.
    pub traps: u32,
    /// So many versions of a plugin stay at hand, with the one that serves; 3 by default.
    pub kept: usize,
    /// Whether their bytes lie in a state directory, so that one can be brought back that is not in memory; false by default.
    pub stored: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            probation: Duration::from_secs(600),
            traps: 3,
            kept: 3,
            stored: false,
        }
    }
}

/// What the directory holds for a plugin.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    /// The module's hash.
    pub(crate) module: Hash,
    /// The operator's side.
    pub(crate) config: Arc<PluginConfig>,
}

impl Wanted {
    pub(crate) fn mark(&self) -> Mark {
        Mark {
            module: self.module,
            configuration: self.config.hash(),
        }
    }
}

/// What happened.
#[derive(Clone, Debug)]
pub(crate) enum Input<P> {
    /// The directory holds this now.
    Found(Wanted),
    /// What it holds can't be taken at all.
    Unfit(Refusal),
    /// It holds nothing of this name any more.
    Gone,
    /// [`Act::Load`] or [`Act::Revive`] ended.
    Loaded(Result<P, Refusal>),
    /// [`Act::Serve`] ended.
    Served(Result<(), NotServed>),
    /// [`Act::Withdraw`] ended.
    Withdrawn,
    /// Something went wrong with a version while it served.
    Trouble(Mark, TroubleKind),
    /// Nothing but time: it is [`Life::due`].
    Passed,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Act<P> {
    /// Take what the directory holds through the steps, and answer with [`Input::Loaded`].
    Load(Wanted),
    /// The same for a version that was kept over a restart, and lies in the directory no longer.
    Revive(Wanted),
    /// Let it serve, and answer with [`Input::Served`].
    Serve(P),
    /// End the switch that goes on; it still answers, with whatever came of it.
    Cancel,
    /// It serves already; only how many of its keys may be in work at once has changed. No answer.
    Adjust(P),
    /// Unload the plugin, and answer with [`Input::Withdrawn`].
    Withdraw,
    /// End its quarantine: its breaker closes.
    Release,
    /// Tell it.
    Tell(LifeEvent),
}

/// A version at hand, with what it was loaded for.
#[derive(Clone, Debug)]
pub(super) struct Version<P> {
    pub(super) plugin: P,
    pub(super) wanted: Wanted,
}

impl<P: Candidate> Version<P> {
    /// Whether this one serves what is wanted once it has another concurrency.
    fn is_adjusted_by(&self, wanted: &Wanted) -> bool {
        self.wanted.module == wanted.module
            && self.wanted.config.differs_in_concurrency_alone(&wanted.config)
            && wanted
                .config
                .controllers
                .keys()
                .all(|name| self.plugin.has_controller(name))
    }
}

/// A version that served before.
#[derive(Clone, Debug)]
pub(super) struct Past<P> {
    pub(super) mark: Mark,
    /// What it calls itself.
    pub(super) version: String,
    pub(super) wanted: Wanted,
    /// None where the host was started since then: only its bytes are kept.
    pub(super) plugin: Option<P>,
}

impl<P: Candidate> From<Version<P>> for Past<P> {
    fn from(version: Version<P>) -> Self {
        Self {
            mark: version.plugin.mark(),
            version: version.plugin.version().to_owned(),
            wanted: version.wanted,
            plugin: Some(version.plugin),
        }
    }
}

impl<P: Candidate> Past<P> {
    /// False where it certainly asks for more than that; what was not loaded yet is asked once it is.
    fn may_fit(&self, config: &PluginConfig) -> bool {
        self.plugin.as_ref().is_none_or(|plugin| plugin.fits(config))
    }
}

#[derive(Clone, Debug)]
pub(super) enum Found {
    Gone,
    Unfit,
    Wanted(Wanted),
}

#[derive(Clone, Debug)]
pub(super) enum Doing<P> {
    Nothing,
    Loading(Wanted),
    Reviving {
        to: Past<P>,
        why: String,
    },
    Switching {
        to: Version<P>,
        /// Why an older version is what is switched to.
        back: Option<String>,
        cut: bool,
    },
    Draining {
        /// Whether what served is to serve again once the plugin runs again.
        comes_back: bool,
    },
}

/// A version that is not loaded again by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rejected {
    pub(super) mark: Mark,
    pub(super) why: String,
    pub(super) at: Duration,
}

/// See the module's text.
#[derive(Clone, Debug)]
pub(crate) struct Life<P> {
    pub(super) name: String,
    pub(super) rules: Rules,
    pub(super) found: Found,
    /// Since when there has been nothing.
    pub(super) gone_since: Option<Duration>,
    /// Whether the configuration said that it is not to run when it could be read last.
    pub(super) off: bool,
    /// A person's word, which wins over the configuration's.
    pub(super) enabled: Option<bool>,
    pub(super) doing: Doing<P>,
    pub(super) serving: Option<Version<P>>,
    pub(super) since: Duration,
    /// Those before it, the newest first.
    pub(super) previous: Vec<Past<P>>,
    /// Nothing serves, and the first of the previous ones did when the host ended or the plugin was disabled: it serves again
    /// where nothing newer can.
    pub(super) resumes: bool,
    /// It is as the last host left it, and nothing was done yet.
    pub(super) restored: bool,
    /// What the directory held when the last attempt to load it ended badly.
    pub(super) tried: Option<Wanted>,
    pub(super) refusal: Option<Refusal>,
    pub(super) rejected: Vec<Rejected>,
    /// Until when the version that serves is on probation, and its traps so far.
    pub(super) probation: Option<(Duration, u32)>,
    pub(super) rolled_back_from: Option<Mark>,
    pub(super) quarantine: Option<Mark>,
    /// A version at hand that is to serve next, and why.
    pub(super) next: Option<(Past<P>, String)>,
}

impl<P: Candidate> Life<P> {
    /// One that begins: nothing is known of the plugin.
    pub(crate) fn new(name: &str, rules: Rules) -> Self {
        Self {
            name: name.to_owned(),
            rules,
            found: Found::Gone,
            gone_since: None,
            off: false,
            enabled: None,
            doing: Doing::Nothing,
            serving: None,
            since: Duration::ZERO,
            previous: Vec::new(),
            resumes: false,
            restored: false,
            tried: None,
            refusal: None,
            rejected: Vec::new(),
            probation: None,
            rolled_back_from: None,
            quarantine: None,
            next: None,
        }
    }

    /// Whether nothing is left of it to see. Something may be [remembered](Life::remembered_since) all the same.
    pub(crate) fn is_over(&self) -> bool {
        let idle = matches!((&self.found, &self.doing), (Found::Gone, Doing::Nothing));
        idle && self.serving.is_none() && self.enabled.is_none()
    }

    /// What happened; what to do about it, in this order.
    pub(crate) fn step(&mut self, now: Duration, input: Input<P>) -> Vec<Act<P>> {
        let mut acts = Vec::new();
        self.forget_in_time(now);
        match input {
            Input::Passed => {}
            Input::Found(wanted) => self.found(now, Found::Wanted(wanted), &mut acts),
            Input::Unfit(refusal) => {
                self.refuse(None, refusal, &mut acts);
                self.found(now, Found::Unfit, &mut acts);
            }
            Input::Gone => self.found(now, Found::Gone, &mut acts),
            Input::Loaded(result) => self.loaded(result, &mut acts),
            Input::Served(result) => self.served(now, result, &mut acts),
            Input::Withdrawn => self.withdrawn(&mut acts),
            Input::Trouble(mark, kind) => self.trouble(now, mark, kind, &mut acts),
        }
        self.go_on(&mut acts);
        acts
    }

    fn found(&mut self, now: Duration, found: Found, acts: &mut Vec<Act<P>>) {
        // What is being switched to may not be what is wanted any longer; the way back to an older version goes on.
        if let Doing::Switching { to, back: None, cut } = &mut self.doing {
            let still = matches!(&found, Found::Wanted(wanted) if *wanted == to.wanted);
            if !still && !*cut {
                *cut = true;
                acts.push(Act::Cancel);
            }
        }
        match &found {
            Found::Wanted(wanted) => self.off = !wanted.config.enabled,
            Found::Gone => self.off = false,
            // What can't be read changes nothing.
            Found::Unfit => {}
        }
        self.found = found;
        if matches!(self.found, Found::Gone) {
            self.left(now);
        } else {
            self.came();
        }
    }

    /// Does what is to be done next, where nothing is being done.
    pub(super) fn go_on(&mut self, acts: &mut Vec<Act<P>>) {
        if !matches!(self.doing, Doing::Nothing) {
            return;
        }
        let wanted = match &self.found {
            Found::Wanted(wanted) => Some(wanted.clone()),
            Found::Gone | Found::Unfit => None,
        };
        let gone = matches!(self.found, Found::Gone);
        if gone || !self.is_enabled() {
            if gone && self.serving.is_none() {
                self.let_go();
            }
            self.next = None;
            if self.serving.is_some() {
                self.doing = Doing::Draining { comes_back: true };
                acts.push(Act::Withdraw);
            }
            return;
        }
        if let Some((to, why)) = self.next.take() {
            self.bring_back(to, why, acts);
            return;
        }
        let Some(wanted) = wanted else {
            self.resume(acts);
            return;
        };
        if self.serving.as_ref().is_some_and(|serving| serving.wanted == wanted) {
            self.refusal = None;
            return;
        }
        if let Some(serving) = self.serving.as_mut().filter(|serving| serving.is_adjusted_by(&wanted)) {
            serving.plugin = serving.plugin.adjusted(&wanted.config);
            serving.wanted = wanted;
            acts.push(Act::Adjust(serving.plugin.clone()));
            (self.refusal, self.tried) = (None, None);
            return;
        }
        if self.tried.as_ref() == Some(&wanted) {
            self.resume(acts);
            return;
        }
        if let Some(held) = self.barred(&wanted) {
            acts.push(self.tell(Some(wanted.module), What::HeldBack(held)));
            (self.refusal, self.tried) = (None, Some(wanted));
            self.resume(acts);
            return;
        }
        // One that is at hand is switched to at once.
        let at_hand = |past: &Past<P>| past.plugin.clone().filter(|_| past.wanted == wanted);
        if let Some((at, plugin)) = self
            .previous
            .iter()
            .enumerate()
            .find_map(|(at, past)| Some((at, at_hand(past)?)))
        {
            // The one to come back to stays in its place until something serves.
            if !self.resumes {
                self.previous.remove(at);
            }
            self.switch(Version { plugin, wanted }, acts);
            return;
        }
        if std::mem::take(&mut self.restored) && self.is_followed_by(&wanted) {
            self.resume(acts);
            return;
        }
        self.doing = Doing::Loading(wanted.clone());
        acts.push(Act::Load(wanted));
    }

    /// Whether what served when the last host ended comes first, and this module takes its place as any other does: by
    /// passing every step. Else one that never came to serve, since its lists did not come say, would serve after a restart.
    fn is_followed_by(&self, wanted: &Wanted) -> bool {
        let kept = self.previous.first().filter(|_| self.resumes && self.serving.is_none());
        kept.is_some_and(|past| {
            past.mark.module != wanted.module
                && self.quarantine != Some(past.mark)
                && !self.is_rejected(past.mark)
                && self.may_come_back(past)
        })
    }

    /// Lets what served last serve again, where nothing does and what lies in the directory can't.
    fn resume(&mut self, acts: &mut Vec<Act<P>>) {
        if !self.resumes || self.serving.is_some() {
            return;
        }
        let rejected = |past: &Past<P>| self.rejected.iter().any(|rejected| rejected.mark == past.mark);
        match (self.previous.iter()).position(|past| !rejected(past) && self.may_come_back(past)) {
            Some(at) => {
                let to = self.previous.remove(at);
                // Those passed over may not serve: they are nothing to come back to.
                self.previous.drain(..at);
                self.previous.insert(0, to.clone());
                let why = "what lies in the directory can't take its place".to_owned();
                self.bring_back(to, why, acts);
            }
            None => {
                self.previous.clear();
                self.resumes = false;
            }
        }
    }

    /// Whether what the directory holds now grants this version what it has.
    pub(super) fn may_come_back(&self, past: &Past<P>) -> bool {
        match &self.found {
            Found::Wanted(wanted) => past.may_fit(&wanted.config),
            Found::Gone | Found::Unfit => true,
        }
    }

    fn bring_back(&mut self, to: Past<P>, why: String, acts: &mut Vec<Act<P>>) {
        match to.plugin.clone() {
            Some(plugin) => self.switch_back(plugin, to.wanted, why, acts),
            None => {
                acts.push(Act::Revive(to.wanted.clone()));
                self.doing = Doing::Reviving { to, why };
            }
        }
    }

    fn switch_back(&mut self, plugin: P, wanted: Wanted, why: String, acts: &mut Vec<Act<P>>) {
        acts.push(Act::Serve(plugin.clone()));
        self.doing = Doing::Switching {
            to: Version { plugin, wanted },
            back: Some(why),
            cut: false,
        };
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.enabled.unwrap_or(!self.off)
    }

    /// What was decided against what lies in the directory, if anything was.
    pub(super) fn barred(&self, wanted: &Wanted) -> Option<HeldBack> {
        let mark = wanted.mark();
        let held = |why: &str, at: Option<Duration>| HeldBack {
            hash: mark.module.to_string(),
            why: why.to_owned(),
            at: at.map(|at| at.as_secs()),
            mend: format!(
                "put another version there, change its configuration, or `pilothouse plugins promote {} {}`",
                self.name, mark.module
            ),
        };
        if let Some(rejected) = self.rejected.iter().find(|rejected| rejected.mark == mark) {
            return Some(held(&rejected.why, Some(rejected.at)));
        }
        // It may serve, and wait for a person, where it did so before a restart; it does not come back by another way.
        let served = self.resumes && self.previous.first().is_some_and(|past| past.mark == mark);
        (self.quarantine == Some(mark) && !served)
            .then(|| held("its breaker opened too often: it is in quarantine", None))
    }

    /// Whether this version is in quarantine: it may serve, with its breaker open.
    pub(crate) fn is_quarantined(&self, mark: Mark) -> bool {
        self.quarantine == Some(mark)
    }

    fn loaded(&mut self, result: Result<P, Refusal>, acts: &mut Vec<Act<P>>) {
        let wanted = match std::mem::replace(&mut self.doing, Doing::Nothing) {
            Doing::Loading(wanted) => wanted,
            Doing::Reviving { to, why } => {
                self.revived(to, why, result, acts);
                return;
            }
            other => {
                self.doing = other;
                return;
            }
        };
        // Something else lies there by now: its turn comes at once.
        if !matches!(&self.found, Found::Wanted(found) if *found == wanted) || !self.is_enabled() {
            return;
        }
        // What the operator took away must not come back with an older version.
        self.previous.retain(|past| past.may_fit(&wanted.config));
        match result {
            // The place of a trial: here a version that passed every step would first run beside the one that serves.
            Ok(plugin) => self.switch(Version { plugin, wanted }, acts),
            Err(refusal) => {
                let serving = self.serving.as_ref();
                let revoked = serving.is_some_and(|serving| !serving.plugin.fits(&wanted.config));
                self.refuse(Some(&wanted), refusal, acts);
                if revoked {
                    acts.push(self.tell(Some(wanted.module), What::Revoked));
                    self.doing = Doing::Draining { comes_back: false };
                    acts.push(Act::Withdraw);
                }
                self.tried = Some(wanted);
            }
        }
    }

    /// A version that was kept is loaded again, or can't be.
    fn revived(&mut self, to: Past<P>, why: String, result: Result<P, Refusal>, acts: &mut Vec<Act<P>>) {
        if matches!(self.found, Found::Gone) || !self.is_enabled() {
            return;
        }
        let result = result.and_then(|plugin| match &self.found {
            // What the operator took away meanwhile must not come back with an older version.
            Found::Wanted(wanted) if !plugin.fits(&wanted.config) => {
                let mend = "grant what it asks for, or put a version into the directory that asks for less";
                Err(Refusal::new(
                    &self.name,
                    Step::Grants,
                    "it asks for what is not granted any longer",
                    mend,
                ))
            }
            _ => Ok(plugin),
        });
        match result {
            Ok(plugin) => self.switch_back(plugin, to.wanted, why, acts),
            Err(refusal) => {
                self.previous.retain(|past| past.mark != to.mark);
                // What was to be replaced serves on.
                if let Some(serving) = &self.serving {
                    let mark = serving.plugin.mark();
                    self.rejected.retain(|rejected| rejected.mark != mark);
                }
                self.refuse(Some(&to.wanted), refusal, acts);
            }
        }
    }

    fn switch(&mut self, to: Version<P>, acts: &mut Vec<Act<P>>) {
        acts.push(Act::Serve(to.plugin.clone()));
        self.doing = Doing::Switching {
            to,
            back: None,
            cut: false,
        };
    }

    fn served(&mut self, now: Duration, result: Result<(), NotServed>, acts: &mut Vec<Act<P>>) {
        let Doing::Switching { to, back, cut } = std::mem::replace(&mut self.doing, Doing::Nothing) else {
            return;
        };
        if let Err(NotServed { why, mend }) = result {
            // Cut by ourselves for something newer: nothing to complain of.
            if !cut {
                // What was to be replaced serves on.
                if let Some(mark) = self.serving.as_ref().map(|serving| serving.plugin.mark()) {
                    self.rejected.retain(|rejected| rejected.mark != mark);
                }
                let wanted = to.wanted;
                self.refuse(Some(&wanted), Refusal::new(&self.name, Step::Serve, why, mend), acts);
                self.tried = Some(wanted);
            }
            return;
        }
        let (mark, version) = (to.plugin.mark(), to.plugin.version().to_owned());
        let (suggested, config) = (to.plugin.suggested_limits(), to.wanted.config.clone());
        let before = self.serving.replace(to);
        self.since = now;
        let from = before.as_ref().map(|before| before.plugin.mark());
        // What served when the last host ended is what this follows.
        let last = self.previous.first().filter(|_| self.resumes);
        let resumed = last.map(|past| past.mark);
        let followed = before.as_ref().map(|before| &before.wanted);
        let tightened = followed
            .or(last.map(|past| &past.wanted))
            .is_some_and(|old| old.module == mark.module && is_tighter(&suggested, &config, &old.config));
        self.resumes = false;
        self.previous.retain(|other| other.mark != mark);
        if back.is_none()
            && before
                .as_ref()
                .is_some_and(|before| self.is_rejected(before.plugin.mark()))
        {
            // What was to be rolled back has been replaced meanwhile.
            self.next = None;
        }
        if let Some(before) = before
            && !self.is_rejected(before.plugin.mark())
        {
            self.previous.insert(0, before.into());
        }
        self.previous.truncate(self.rules.kept.saturating_sub(1));
        if resumed == Some(mark) {
            // Its probation goes on.
            let longest = now + self.rules.probation;
            let until = self.probation.map(|(until, traps)| (until.min(longest), traps));
            self.probation = until.filter(|(until, _)| now < *until);
        } else {
            let follows = from.or(resumed).is_some() && back.is_none() && !tightened;
            self.probation =
                (follows && self.rules.probation > Duration::ZERO).then(|| (now + self.rules.probation, 0));
        }
        if back.is_none() {
            (self.refusal, self.tried, self.rolled_back_from) = (None, None, None);
        }
        let what = match (back, from) {
            (Some(why), Some(from)) => {
                self.rolled_back_from = Some(from);
                // What lies in the directory does not serve: this tells why, and needs no second word.
                if let Found::Wanted(wanted) = &self.found
                    && wanted.mark() == from
                    && self.barred(wanted).is_some()
                {
                    (self.refusal, self.tried) = (None, Some(wanted.clone()));
                }
                What::RolledBack { from: from.module, why }
            }
            (_, from) => What::Serving {
                instead_of: from.map(|from| from.module),
            },
        };
        let mut event = LifeEvent::of(&self.name, Some(mark.module), what);
        event.version = Some(version);
        acts.push(Act::Tell(event));
    }

    fn withdrawn(&mut self, acts: &mut Vec<Act<P>>) {
        let Doing::Draining { comes_back } = self.doing else {
            return;
        };
        self.doing = Doing::Nothing;
        let served = self.serving.take();
        let hash = served.as_ref().map(|served| served.plugin.mark().module);
        // The probation of what comes back goes on.
        self.probation = self.probation.filter(|_| comes_back);
        if let Some(served) = served.filter(|_| comes_back) {
            self.previous.insert(0, served.into());
            self.previous.truncate(self.rules.kept);
            self.resumes = true;
        }
        acts.push(self.tell(hash, What::Unloaded));
    }

    fn trouble(&mut self, now: Duration, mark: Mark, kind: TroubleKind, acts: &mut Vec<Act<P>>) {
        if self
            .serving
            .as_ref()
            .is_none_or(|serving| serving.plugin.mark() != mark)
        {
            return;
        }
        if let TroubleKind::CacheFull { bytes, most_mib } = kind {
            return self.outgrown(bytes, most_mib, acts);
        }
        if kind == TroubleKind::Quarantined {
            self.quarantine = Some(mark);
            acts.push(self.tell(Some(mark.module), What::Quarantined));
        }
        let Some((until, traps)) = &mut self.probation else {
            return;
        };
        if now >= *until {
            self.probation = None;
            return;
        }
        let why = match kind {
            TroubleKind::Tripped | TroubleKind::Quarantined => {
                "its breaker opened while it was on probation: it was rolled back".to_owned()
            }
            TroubleKind::Trapped => {
                *traps += 1;
                if *traps < self.rules.traps {
                    return;
                }
                format!(
                    "{traps} of its calls trapped or were cut at a limit while it was on probation: it was rolled back"
                )
            }
            TroubleKind::CacheFull { .. } => return,
        };
        if let Some(to) = self.previous.iter().find(|past| self.may_come_back(past)).cloned() {
            self.probation = None;
            self.reject(now, mark, why.clone());
            self.next = Some((to, why));
        }
    }

    pub(super) fn reject(&mut self, now: Duration, mark: Mark, why: String) {
        self.rejected.retain(|other| other.mark != mark);
        self.rejected.push(Rejected { mark, why, at: now });
        let too_many = self.rejected.len().saturating_sub(REJECTED);
        self.rejected.drain(..too_many);
    }

    pub(super) fn is_rejected(&self, mark: Mark) -> bool {
        self.rejected.iter().any(|rejected| rejected.mark == mark)
    }

    /// The version that serves needs more of the caches than it may have: it goes, and what it has of them with it. An older
    /// one would watch as much or hold what this one brought, so none comes back in its place. Where something else is being
    /// done for the plugin this is told again.
    fn outgrown(&mut self, bytes: u64, most_mib: u32, acts: &mut Vec<Act<P>>) {
        let (Doing::Nothing, Some(serving)) = (&self.doing, &self.serving) else {
            return;
        };
        let wanted = serving.wanted.clone();
        let why = format!(
            "the caches hold {} MiB for it, and budget.cacheMiB lets it have {most_mib}: it is unloaded",
            bytes.div_ceil(1 << 20)
        );
        let mend = format!(
            "raise budget.cacheMiB in {0}.yaml (plugins.{0}.budget.cacheMiB in the file given with --config), or let it watch \
             less: fewer kinds, namespaces or fields",
            self.name
        );
        (self.next, self.probation) = (None, None);
        self.doing = Doing::Draining { comes_back: false };
        self.refuse(Some(&wanted), Refusal::new(&self.name, Step::Serve, why, mend), acts);
        self.tried = Some(wanted);
        acts.push(Act::Withdraw);
    }

    fn refuse(&mut self, wanted: Option<&Wanted>, refusal: Refusal, acts: &mut Vec<Act<P>>) {
        self.refusal = Some(refusal.clone());
        let old_serves = self.serving.is_some();
        let what = What::Refused { refusal, old_serves };
        let hash = wanted.map(|wanted| wanted.module).filter(|hash| *hash != Hash::UNREAD);
        acts.push(self.tell(hash, what));
    }

    pub(super) fn tell(&self, hash: Option<Hash>, what: What) -> Act<P> {
        Act::Tell(LifeEvent::of(&self.name, hash, what))
    }
}
