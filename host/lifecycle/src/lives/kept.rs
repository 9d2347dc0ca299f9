//! What of a life outlives a restart, and what becomes of that at the start.

use std::sync::Arc;
use std::time::Duration;

use pilothouse_object::shorten;

use super::life::{Doing, Found, Life, Rejected, Rules};
use super::version::{Candidate, Mark, Past, Wanted};
use crate::kept::{KeptLife, KeptRejected, KeptVersion};
use crate::load::Hash;

/// What a plugin calls its version is kept so long, in bytes.
const MAX_VERSION: usize = 256;

impl<P: Candidate> Life<P> {
    /// What is kept of it; none where there is nothing to remember. Changes only when something was decided.
    pub(crate) fn kept(&self) -> Option<KeptLife> {
        let mut kept = KeptLife {
            enabled: self.enabled,
            ..KeptLife::default()
        };
        kept.gone_since = self.remembered_since().map(|since| since.as_secs());
        if kept.gone_since.is_some() || !matches!(self.found, Found::Gone) {
            kept.off = self.off;
            let mut versions: Vec<KeptVersion> = self.previous.iter().map(version).collect();
            kept.serving = match &self.serving {
                Some(serving) => Some(version(&Past::from(serving.clone()))),
                None if self.resumes && !versions.is_empty() => Some(versions.remove(0)),
                None => None,
            };
            kept.previous = versions;
            if let Some((until, traps)) = self.probation.filter(|_| kept.serving.is_some()) {
                (kept.probation_until, kept.probation_traps) = (Some(until.as_secs()), traps);
            }
            kept.rejected = self.rejected.iter().map(rejected).collect();
            (kept.rolled_back_from, kept.quarantine) = (self.rolled_back_from, self.quarantine);
        }
        (kept != KeptLife::default()).then_some(kept)
    }

    /// One that goes on where the last host left it. What the directory holds now, it is told next.
    pub(crate) fn restored(name: &str, rules: Rules, kept: KeptLife) -> Self {
        let mut life = Self::new(name, rules);
        (life.enabled, life.off) = (kept.enabled, kept.off);
        life.resumes = kept.serving.is_some();
        life.restored = true;
        life.previous = kept.serving.into_iter().chain(kept.previous).map(past).collect();
        life.previous.truncate(rules.kept.max(1));
        let until = kept.probation_until.map(Duration::from_secs);
        life.probation = until.map(|until| (until, kept.probation_traps));
        life.gone_since = kept.gone_since.map(Duration::from_secs);
        let restored = kept.rejected.into_iter().map(|kept| Rejected {
            mark: Mark {
                module: kept.module,
                configuration: kept.configuration,
            },
            why: kept.why,
            at: Duration::from_secs(kept.at),
        });
        life.rejected = restored.collect();
        (life.rolled_back_from, life.quarantine) = (kept.rolled_back_from, kept.quarantine);
        life
    }

    /// Whether what serves is in quarantine.
    pub(crate) fn serves_in_quarantine(&self) -> bool {
        let mark = self.serving.as_ref().map(|serving| serving.plugin.mark());
        mark.is_some() && mark == self.quarantine
    }

    /// Whether a version of it serves.
    pub(crate) fn serves(&self) -> bool {
        self.serving.is_some()
    }

    /// Whether something is being done for it.
    pub(crate) fn is_busy(&self) -> bool {
        !matches!(self.doing, Doing::Nothing)
    }

    /// The module that may come to serve by what is being done. Until then what is kept does not name it.
    pub(crate) fn candidate(&self) -> Option<Hash> {
        match &self.doing {
            Doing::Loading(wanted) => Some(wanted.module),
            Doing::Reviving { to, .. } => Some(to.mark.module),
            Doing::Switching { to, .. } => Some(to.wanted.module),
            Doing::Nothing | Doing::Draining { .. } => None,
        }
    }
}

fn version<P>(past: &Past<P>) -> KeptVersion {
    KeptVersion {
        module: past.mark.module,
        version: shorten(&past.version, MAX_VERSION).into_owned(),
        configuration: past.mark.configuration,
        config: (*past.wanted.config).clone(),
        unproven: past.unproven,
    }
}

fn past<P>(kept: KeptVersion) -> Past<P> {
    let wanted = Wanted {
        module: kept.module,
        config: Arc::new(kept.config),
    };
    Past {
        mark: wanted.mark(),
        version: kept.version,
        wanted,
        plugin: None,
        unproven: kept.unproven,
    }
}

fn rejected(rejected: &Rejected) -> KeptRejected {
    KeptRejected {
        module: rejected.mark.module,
        configuration: rejected.mark.configuration,
        why: rejected.why.clone(),
        at: rejected.at.as_secs(),
    }
}
