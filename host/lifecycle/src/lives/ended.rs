//! What was begun has ended: a load, a switch, a drain. What that leaves of the plugin.

use std::time::Duration;

use super::life::{Act, Doing, Found, Life};
use super::status::{LifeEvent, What};
use super::tighter::is_tighter;
use super::version::{Candidate, Past, Version};
use crate::refusal::{Refusal, Step};
use crate::stage::NotServed;

impl<P: Candidate> Life<P> {
    pub(super) fn loaded(&mut self, result: Result<P, Refusal>, acts: &mut Vec<Act<P>>) {
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
        if !self.finds(&wanted) || !self.is_enabled() {
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
                self.goes_on_serving();
                self.refuse(Some(&to.wanted), refusal, acts);
            }
        }
    }

    /// What was to be replaced serves on: nothing is said against it any longer.
    pub(super) fn goes_on_serving(&mut self) {
        if let Some(mark) = self.serving.as_ref().map(|serving| serving.plugin.mark()) {
            self.rejected.retain(|rejected| rejected.mark != mark);
        }
    }

    pub(super) fn served(&mut self, now: Duration, result: Result<(), NotServed>, acts: &mut Vec<Act<P>>) {
        let Doing::Switching { to, back, cut } = std::mem::replace(&mut self.doing, Doing::Nothing) else {
            return;
        };
        if let Err(NotServed { why, mend }) = result {
            // Cut by ourselves for something newer: nothing to complain of.
            if !cut {
                self.goes_on_serving();
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
        let unproven = self.probation.is_some_and(|(until, _)| now < until);
        if let Some(last) = self.previous.first_mut().filter(|_| self.resumes) {
            // Its place is taken while it does not run.
            last.unproven |= unproven;
        }
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
            let before = Past {
                unproven,
                ..before.into()
            };
            self.previous.insert(0, before);
        }
        self.keep_at_hand(self.rules.kept.saturating_sub(1));
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

    /// So many of the earlier versions stay, the newest ones; in the place of the oldest of these the newest that stood
    /// its probation, if none of them did.
    fn keep_at_hand(&mut self, most: usize) {
        let proven = self.previous.iter().position(|past| !past.unproven);
        if let Some(at) = proven.filter(|at| *at >= most && most > 0) {
            self.previous.swap(at, most - 1);
        }
        self.previous.truncate(most);
    }

    pub(super) fn withdrawn(&mut self, acts: &mut Vec<Act<P>>) {
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
}
