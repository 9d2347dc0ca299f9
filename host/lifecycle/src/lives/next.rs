//! What is to be done next, where nothing is being done: the order in which what was said, lies there and served before
//! counts.

use super::life::{Act, Doing, Found, Life};
use super::status::What;
use super::version::{Candidate, Past, Version, Wanted};

impl<P: Candidate> Life<P> {
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
    /// passing every step. Else one that never came to serve, since its lists did not come say, would serve after a
    /// restart.
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
        // Where there is no room for what lies there, there is none for that either.
        if !self.resumes || self.serving.is_some() || self.crowded.as_ref().is_some_and(|own| own.rests) {
            return;
        }
        let may_serve = |past: &Past<P>| !self.is_rejected(past.mark) && self.may_come_back(past);
        match self.previous.iter().position(may_serve) {
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

    pub(super) fn switch_back(&mut self, plugin: P, wanted: Wanted, why: String, acts: &mut Vec<Act<P>>) {
        acts.push(Act::Serve(plugin.clone()));
        self.doing = Doing::Switching {
            to: Version { plugin, wanted },
            back: Some(why),
            cut: false,
        };
    }

    pub(super) fn switch(&mut self, to: Version<P>, acts: &mut Vec<Act<P>>) {
        acts.push(Act::Serve(to.plugin.clone()));
        self.doing = Doing::Switching {
            to,
            back: None,
            cut: false,
        };
    }
}
