//! What goes wrong with a version while it serves: it is rolled back, put into quarantine or unloaded.

use std::time::Duration;

use super::life::{Act, Doing, Life};
use super::status::What;
use super::version::{Candidate, Mark};
use crate::refusal::{Refusal, Step};
use crate::stage::TroubleKind;

impl<P: Candidate> Life<P> {
    pub(super) fn trouble(&mut self, now: Duration, mark: Mark, kind: TroubleKind, acts: &mut Vec<Act<P>>) {
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
        // One that nobody knows yet to be any good is nothing to go back to: it may be what fails here.
        let mut proven = self.previous.iter().filter(|past| !past.unproven);
        if let Some(to) = proven.find(|past| self.may_come_back(past)).cloned() {
            self.probation = None;
            self.reject(now, mark, why.clone());
            self.next = Some((to, why));
        }
    }

    /// The version that serves needs more of the caches than it may have: it goes, and what it has of them with it. An
    /// older one would watch as much or hold what this one brought, so none comes back in its place. Where something
    /// else is being done for the plugin this is told again.
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
}
