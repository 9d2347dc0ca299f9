//! What is remembered of a plugin whose file is gone, and for how long.
//!
//! A file that is deleted and then written, or a directory that is mounted anew, is gone for a moment. What comes
//! within it is taken as if it had replaced what was there: the versions to go back to are at hand where they lie in
//! the state directory, and probation goes on. After that moment the plugin is gone for good. What was decided against
//! single versions is remembered longer, also over a restart: that the same version comes back is no reason to forget
//! it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::life::{Found, Life};
use super::version::Candidate;

/// What comes within it replaces what is gone.
pub(super) const MOMENT: Duration = Duration::from_secs(60);

/// So long is known what was decided against a version that is gone.
pub(super) const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

impl<P: Candidate> Life<P> {
    /// Its file is gone.
    pub(super) fn left(&mut self, now: Duration) {
        self.gone_since.get_or_insert(now);
        (self.tried, self.refusal, self.next) = (None, None, None);
        self.restored = false;
    }

    /// Something of its name is there again.
    pub(super) fn came(&mut self) {
        self.gone_since = None;
    }

    /// Forgets what it was to know until now.
    pub(super) fn forget_in_time(&mut self, now: Duration) {
        let Some(since) = &mut self.gone_since else { return };
        // The system's clock may have been set back.
        *since = now.min(*since);
        let gone_for = now - *since;
        if gone_for >= MOMENT {
            self.forget_versions();
        }
        if gone_for >= REMEMBERED {
            self.rejected.clear();
            self.quarantine = None;
        }
    }

    /// Nothing of it runs any longer: no memory is held for what is gone. Its versions come back from where their bytes
    /// lie.
    pub(super) fn let_go(&mut self) {
        if self.rules.stored {
            self.previous.iter_mut().for_each(|past| past.plugin = None);
        } else {
            self.forget_versions();
        }
    }

    fn forget_versions(&mut self) {
        self.previous.clear();
        (self.resumes, self.probation, self.rolled_back_from) = (false, None, None);
    }

    /// When it is to be told that [time passed](super::Input::Passed).
    pub(crate) fn due(&self) -> Option<Duration> {
        let gone = self.gone_since.filter(|_| !self.previous.is_empty());
        let gone = gone.map(|since| since + MOMENT);
        [gone, self.tries_again_at()].into_iter().flatten().min()
    }

    /// Since when it has been gone, where nothing is left of it but what is remembered.
    pub(crate) fn remembered_since(&self) -> Option<Duration> {
        let remembers = !self.rejected.is_empty() || self.quarantine.is_some() || !self.previous.is_empty();
        self.gone_since
            .filter(|_| matches!(self.found, Found::Gone) && remembers)
    }
}

/// Of plugins of which nothing is left but what is remembered, those that went first, where they are more than `most`.
pub(crate) fn beyond<P: Candidate>(lives: &BTreeMap<String, Life<P>>, most: usize) -> Vec<String> {
    let gone = |(name, life): (&String, &Life<P>)| {
        let since = life.remembered_since().filter(|_| life.is_over())?;
        Some((since, name.clone()))
    };
    let mut gone: Vec<_> = lives.iter().filter_map(gone).collect();
    gone.sort();
    let too_many = gone.len().saturating_sub(most);
    gone.into_iter().take(too_many).map(|(_, name)| name).collect()
}
