//! When the parked keys are written. Pure.

use std::time::Duration;

/// Between a change and its writing: what changes together is written together. Also the most that a crash loses,
/// beside the write that was under way.
pub const DEBOUNCE: Duration = Duration::from_secs(1);

/// The longest pause after writes that failed.
const LONGEST: Duration = Duration::from_secs(60);

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Wait until something changes.
    Rest,
    /// Wait until then.
    Wait(Duration),
    /// Write what is parked now, then say [`Keeper::wrote`].
    Write,
}

/// Compares a count of changes with that of the last write.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    written: u64,
    /// Set while something is to be written: when.
    due: Option<Duration>,
    failures: u32,
}

impl Keeper {
    /// `changes` is how often the parked keys have changed so far.
    pub(crate) fn step(&mut self, now: Duration, changes: u64) -> Act {
        if changes == self.written {
            self.due = None;
            return Act::Rest;
        }
        // Set by the first change, and not moved by those that follow: a flood must not put it off for ever.
        let due = *self.due.get_or_insert(now.saturating_add(DEBOUNCE));
        if due <= now { Act::Write } else { Act::Wait(due) }
    }

    /// A write has ended of what there was after so many changes.
    pub(crate) fn wrote(&mut self, now: Duration, changes: u64, well: bool) {
        if well {
            (self.written, self.due, self.failures) = (changes, None, 0);
            return;
        }
        let pause = DEBOUNCE * (1 << self.failures.min(6));
        self.failures = self.failures.saturating_add(1);
        self.due = Some(now.saturating_add(pause.min(LONGEST)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn nothing_is_written_while_nothing_changes() {
        let mut keeper = Keeper::default();
        assert_eq!(keeper.step(ms(5), 0), Act::Rest);
        assert_eq!(keeper.step(ms(50_000), 0), Act::Rest);
    }

    #[test]
    fn changes_are_written_together_and_no_later_than_a_second_after_the_first() {
        let mut keeper = Keeper::default();
        for change in 1..=9 {
            let now = ms(100 * change);
            assert_eq!(
                keeper.step(now, change),
                Act::Wait(ms(1_100)),
                "a flood puts nothing off"
            );
        }
        assert_eq!(keeper.step(ms(1_100), 10), Act::Write);
        // Two more while it was written.
        keeper.wrote(ms(1_200), 10, true);
        assert_eq!(keeper.step(ms(1_200), 12), Act::Wait(ms(2_200)));
        assert_eq!(keeper.step(ms(2_200), 12), Act::Write);
        keeper.wrote(ms(2_300), 12, true);
        assert_eq!(keeper.step(ms(2_300), 12), Act::Rest);
    }

    #[test]
    fn a_write_that_failed_is_tried_again_ever_more_slowly_and_at_least_once_a_minute() {
        let mut keeper = Keeper::default();
        let mut now = ms(0);
        keeper.step(now, 1);
        let mut pauses = Vec::new();
        for _ in 0..9 {
            keeper.wrote(now, 1, false);
            let Act::Wait(due) = keeper.step(now, 1) else {
                panic!("it waits")
            };
            pauses.push((due - now).as_secs());
            now = due;
            assert_eq!(keeper.step(now, 1), Act::Write);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        keeper.wrote(now, 1, true);
        assert_eq!(
            keeper.step(now, 2),
            Act::Wait(now + DEBOUNCE),
            "and no longer once it went well"
        );
    }
}
