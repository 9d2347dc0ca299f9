//! How many log lines all runs of a plugin may write. Pure.
//!
//! Promised: in any time T no more than ten seconds' worth and `rate × T` of lines and of bytes pass, and what is
//! dropped is told once a minute with its count.

use std::time::Duration;

use pilothouse_apiclient::Pace;
use pilothouse_lifecycle::Budget;

use crate::reporting::rarely::Rarely;

/// A plugin that was quiet may write so many seconds' worth at once: a start with many objects is told whole.
const BURST_SECONDS: u32 = 10;

/// What becomes of a line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// It is written.
    Passes,
    /// It is not. Where that is to be said now: how many others were dropped since it was said last.
    Dropped(Option<u64>),
}

/// See [`Budget`].
#[derive(Debug)]
pub(crate) struct LogBudget {
    lines: Pace,
    bytes: Pace,
    said: Rarely,
}

impl LogBudget {
    pub(crate) fn new(budget: &Budget) -> Self {
        let bytes = budget.log_kib_per_second.saturating_mul(1_024);
        let pace = |rate: u32| Pace::new(rate, rate.saturating_mul(BURST_SECONDS));
        Self {
            lines: pace(budget.log_lines_per_second),
            bytes: pace(bytes),
            said: Rarely::default(),
        }
    }

    /// A line of so many bytes is to be written. A single line that is longer than ten seconds' worth never passes.
    pub(crate) fn line(&mut self, now: Duration, bytes: usize) -> Line {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        // A line that is dropped takes nothing of either.
        let mut taken = self.bytes.clone();
        let passes = taken.turns(now, bytes, Duration::ZERO).is_ok() && self.lines.turn(now, Duration::ZERO).is_ok();
        if passes {
            self.bytes = taken;
            Line::Passes
        } else {
            Line::Dropped(self.said.say(now))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn budget(lines: u32, kib: u32) -> LogBudget {
        LogBudget::new(&Budget {
            log_lines_per_second: lines,
            log_kib_per_second: kib,
            ..Budget::default()
        })
    }

    #[test]
    fn ten_seconds_worth_passes_at_once_and_what_is_dropped_is_said_once_a_minute_with_its_count() {
        let mut budget = budget(2, 64);
        let second = Duration::from_secs;
        let first: Vec<_> = (0..23).map(|_| budget.line(second(100), 10)).collect();
        assert!(first[..20].iter().all(|line| *line == Line::Passes));
        assert_eq!(
            first[20..],
            [Line::Dropped(Some(0)), Line::Dropped(None), Line::Dropped(None)]
        );
        assert_eq!(
            budget.line(second(101), 10),
            Line::Passes,
            "half a second makes room for one"
        );
        for _ in 0..200 {
            budget.line(second(160), 10);
        }
        let long = 1 << 30;
        assert_eq!(budget.line(second(162), long), Line::Dropped(None));
        assert_eq!(budget.line(second(221), long), Line::Dropped(Some(180)));
    }

    proptest! {
        #[test]
        fn no_time_sees_more_lines_or_bytes_than_the_budget_has(
            lines in 1_u32..200,
            kib in 1_u32..64,
            asks in prop::collection::vec((0_u64..2_000, 0_usize..20_000), 1..300),
        ) {
            let (mut budget, mut now, mut passed) = (budget(lines, kib), Duration::ZERO, Vec::new());
            for (later, bytes) in asks {
                now += Duration::from_millis(later);
                if budget.line(now, bytes) == Line::Passes {
                    passed.push((now, bytes));
                }
            }
            for (first, (from, _)) in passed.iter().enumerate() {
                let (mut count, mut sum) = (0, 0);
                for (at, bytes) in &passed[first..] {
                    (count, sum) = (count + 1, sum + bytes);
                    let seconds = (*at - *from).as_secs_f64() + f64::from(BURST_SECONDS);
                    prop_assert!(f64::from(count) <= f64::from(lines) * seconds + 1.0);
                    prop_assert!(sum as f64 <= f64::from(kib) * 1_024.0 * seconds * 1.001 + 1.0, "{sum} in {seconds} s");
                }
            }
        }
    }
}
