//! Modules of which it is known that compiling them comes to a limit, so that not every start and every change of a
//! configuration spends the same minutes of CPU time for the same answer.
//!
//! Known is what came to a limit of CPU time, memory or code size: it costs much to find out again, and comes out the
//! same. Not known:
//! - what came to the limit of time by the clock, or whose compiler failed: that may be the machine's doing;
//! - what is no component, is invalid, nests too deep or has too many functions: to find that out takes milliseconds.
//!
//! CPU time and memory are the machine's a little as well. So a failure counts for [`COUNTS`], under the very same
//! limits and engine, and a person may have the module tried again before that. [`MOST`] are known; the oldest give
//! way.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::load::Hash;

/// A failure counts for so long.
pub(crate) const COUNTS: Duration = Duration::from_secs(24 * 3600);

/// So many are known.
const MOST: usize = 64;

/// A module that could not be compiled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Failure {
    pub(crate) module: Hash,
    /// The hash of the engine and the limits that it was compiled under.
    pub(crate) conditions: Hash,
    /// What was said of it.
    pub(crate) why: String,
    /// When, in seconds since the Unix epoch.
    pub(crate) at: u64,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    /// The oldest first.
    known: Vec<Failure>,
    changed: bool,
}

impl Failures {
    /// What was kept; of a file that holds more than any host writes, the last ones.
    pub(crate) fn kept(mut known: Vec<Failure>) -> Self {
        known.drain(..known.len().saturating_sub(MOST));
        let changed = false;
        Self { known, changed }
    }

    /// What is known of this module under these conditions, and still counts.
    pub(crate) fn find(&self, now: Duration, module: Hash, conditions: Hash) -> Option<&Failure> {
        let known = (self.known.iter()).find(|known| known.module == module && known.conditions == conditions)?;
        counts(known, now).then_some(known)
    }

    /// It could not be compiled.
    pub(crate) fn note(&mut self, now: Duration, module: Hash, conditions: Hash, why: &str) {
        // What held under other conditions is of no use any more: those of a host change seldom, and not back.
        self.known.retain(|known| known.module != module && counts(known, now));
        self.known.push(Failure {
            module,
            conditions,
            why: why.to_owned(),
            at: now.as_secs(),
        });
        self.known.drain(..self.known.len().saturating_sub(MOST));
        self.changed = true;
    }

    /// It is to be tried again.
    pub(crate) fn forget(&mut self, module: Hash) {
        let before = self.known.len();
        self.known.retain(|known| known.module != module);
        self.changed |= self.known.len() < before;
    }

    /// All of them, where they changed since this was asked last.
    pub(crate) fn changed(&mut self) -> Option<Vec<Failure>> {
        std::mem::take(&mut self.changed).then(|| self.known.clone())
    }
}

/// One that was found in the future does not count: the clock was wrong then, or is now.
fn counts(failure: &Failure, now: Duration) -> bool {
    now.as_secs()
        .checked_sub(failure.at)
        .is_some_and(|age| age < COUNTS.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn hash(text: &str) -> Hash {
        Hash::of(text.as_bytes())
    }

    fn why(failures: &Failures, now: Duration, module: &str, conditions: &str) -> Option<String> {
        let found = failures.find(now, hash(module), hash(conditions));
        found.map(|failure| failure.why.clone())
    }

    #[test]
    fn a_failure_counts_for_a_day_under_the_same_conditions() {
        let mut failures = Failures::default();
        failures.note(NOW, hash("a"), hash("limits"), "CPU time");
        let known = Some("CPU time".to_owned());
        assert_eq!(why(&failures, NOW, "a", "limits"), known);
        assert_eq!(
            why(&failures, NOW + COUNTS - Duration::from_secs(1), "a", "limits"),
            known
        );
        assert_eq!(why(&failures, NOW + COUNTS, "a", "limits"), None);
        assert_eq!(why(&failures, NOW, "a", "other limits"), None);
        assert_eq!(why(&failures, NOW, "b", "limits"), None);
        let earlier = NOW - Duration::from_secs(1);
        assert_eq!(why(&failures, earlier, "a", "limits"), None, "found in the future");
    }

    #[test]
    fn what_is_forgotten_is_tried_again() {
        let mut failures = Failures::default();
        failures.note(NOW, hash("a"), hash("limits"), "CPU time");
        assert_eq!(failures.changed().map(|known| known.len()), Some(1));
        assert_eq!(failures.changed(), None);
        failures.forget(hash("b"));
        assert_eq!(failures.changed(), None, "nothing was known of it");
        failures.forget(hash("a"));
        assert_eq!(why(&failures, NOW, "a", "limits"), None);
        assert_eq!(failures.changed(), Some(Vec::new()));
    }

    #[test]
    fn the_oldest_give_way_and_one_module_has_one_place() {
        let mut failures = Failures::default();
        for time in 0..3 {
            for module in 0..MOST + 3 {
                failures.note(NOW, hash(&module.to_string()), hash(&time.to_string()), "memory");
            }
        }
        assert_eq!(failures.known.len(), MOST);
        assert_eq!(why(&failures, NOW, "2", "2"), None);
        assert_eq!(why(&failures, NOW, "3", "2").as_deref(), Some("memory"));
        let twice = [failures.known.clone(), failures.known.clone()].concat();
        assert_eq!(Failures::kept(twice).known, failures.known);
    }
}
