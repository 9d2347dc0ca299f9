//! One plugin's life, as a step function: what happened goes in, what to do comes out.
//!
//! At most one thing is being done for a plugin at a time. What comes meanwhile is noted, and acted on afterwards; only
//! a switch that waits (for the first lists of what a version watches) is cut short when something newer is there.
//! Here: what may happen, what may be done, and what is known of the plugin; what follows from what is in `next`,
//! `ended` and `trouble`.

use std::time::Duration;

use super::crowded::Crowded;
use super::status::{HeldBack, LifeEvent, What};
use super::version::{Candidate, Mark, Past, Version, Wanted};
use crate::load::Hash;
use crate::refusal::Refusal;
use crate::stage::{NotServed, TroubleKind};

/// So many rejected versions of a plugin are remembered; older ones are forgotten.
const REJECTED: usize = 16;

/// When a version is taken back by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// For so long after a switch the new version is on probation; 10 minutes by default. Zero: never. One that is
    /// nothing but the operator's lower limits for the same module is not.
    pub probation: Duration,
    /// So many traps on probation are too many; 3 by default. A breaker that opens is too much at once.
    pub traps: u32,
    /// So many versions of a plugin stay at hand, with the one that serves; 3 by default. Of the earlier ones the newest,
    /// but always one that stood its probation, if there is one.
    pub kept: usize,
    /// Whether their bytes lie in a state directory, so that one can be brought back that is not in memory; false by
    /// default.
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
    /// [`Act::Load`] or [`Act::Revive`] ended: this process has no room for it, as far as the kernel lets it grow.
    Crowded(Refusal),
    /// Another plugin was unloaded: there may be room by now.
    Room,
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
    /// Nothing serves, and the first of the previous ones did when the host ended or the plugin was disabled: it serves
    /// again where nothing newer can.
    pub(super) resumes: bool,
    /// It is as the last host left it, and nothing was done yet.
    pub(super) restored: bool,
    /// What the directory held when the last attempt to load it ended badly.
    pub(super) tried: Option<Wanted>,
    pub(super) refusal: Option<Refusal>,
    /// The last attempt ended for want of room.
    pub(super) crowded: Option<Crowded>,
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
            crowded: None,
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
            Input::Passed => self.try_again(now),
            Input::Crowded(refusal) => self.is_crowded(now, refusal, &mut acts),
            Input::Room => self.has_room(),
            Input::Found(wanted) => self.found(now, Found::Wanted(wanted), &mut acts),
            Input::Unfit(refusal) => {
                self.refuse(None, refusal, &mut acts);
                self.found(now, Found::Unfit, &mut acts);
            }
            Input::Gone => self.found(now, Found::Gone, &mut acts),
            Input::Loaded(result) => {
                self.crowded = None;
                self.loaded(result, &mut acts);
            }
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
        self.crowded = self.crowded.take().filter(|own| self.finds(&own.wanted));
        if matches!(self.found, Found::Gone) {
            self.left(now);
        } else {
            self.came();
        }
    }

    /// Whether the directory holds just that.
    pub(super) fn finds(&self, wanted: &Wanted) -> bool {
        matches!(&self.found, Found::Wanted(found) if found == wanted)
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

    pub(super) fn reject(&mut self, now: Duration, mark: Mark, why: String) {
        self.rejected.retain(|other| other.mark != mark);
        self.rejected.push(Rejected { mark, why, at: now });
        let too_many = self.rejected.len().saturating_sub(REJECTED);
        self.rejected.drain(..too_many);
    }

    pub(super) fn is_rejected(&self, mark: Mark) -> bool {
        self.rejected.iter().any(|rejected| rejected.mark == mark)
    }

    pub(super) fn refuse(&mut self, wanted: Option<&Wanted>, refusal: Refusal, acts: &mut Vec<Act<P>>) {
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
