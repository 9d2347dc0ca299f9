//! The last errors of a key: what a person looks at who asks why it does not come right.

use std::sync::Arc;
use std::time::Duration;

/// How many errors of a key are kept; the oldest go first. Enough to tell "always the same" from "each time another",
/// and little enough that an outage in which every key fails costs about 300 bytes for each.
pub const MAX_ERRORS: usize = 8;

/// An error's reason that is longer is cut at this many bytes, at a character's border. Shorter than
/// [`crate::MAX_REASON`], since there are several for each key.
pub const MAX_ERROR: usize = 256;

/// One attempt that ended badly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// When it ended.
    pub at: Duration,
    /// Which attempt in a row it was, from 1.
    pub attempt: u32,
    /// Why, for people. At most [`MAX_ERROR`] bytes. Errors that say the same one after the other share one text.
    pub reason: Arc<str>,
}

/// Of one key, oldest first. Keys that never failed pay a pointer.
#[expect(clippy::box_collection, reason = "a third of a vector's size in every entry")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Errors(Option<Box<Vec<Failure>>>);

impl Errors {
    /// Those of before a restart, as far as they fit.
    pub(crate) fn of(failures: impl IntoIterator<Item = Failure>) -> Self {
        let mut errors = Self::default();
        for failure in failures {
            errors.push(failure.at, failure.attempt, &failure.reason);
        }
        errors
    }

    pub(crate) fn push(&mut self, at: Duration, attempt: u32, reason: &str) {
        let kept = self.0.get_or_insert_default();
        let reason = &reason[..reason.floor_char_boundary(MAX_ERROR)];
        let reason = match kept.last() {
            Some(last) if *last.reason == *reason => last.reason.clone(),
            _ => reason.into(),
        };
        if kept.len() == MAX_ERRORS {
            kept.remove(0);
        }
        kept.push(Failure { at, attempt, reason });
    }

    pub(crate) fn as_slice(&self) -> &[Failure] {
        self.0.as_ref().map_or(&[], |kept| kept.as_slice())
    }
}
