//! When a watch's troubles are worth a line in the log. Pure.
//!
//! Promised: trouble that lasts is said, however often it changes its kind; another kind of trouble is said too, at
//! most once a minute; and whoever read that there is trouble reads that it is over.

use std::time::Duration;

use crate::reflector::failure::Trouble;

/// Trouble that is over sooner is not worth a line: a server that has just been started answers 403, 404 and 5xx until
/// it knows its roles and kinds.
const DOUBT: Duration = Duration::from_secs(2);

/// So long after a line about one kind of trouble there is none about another.
const AGAIN: Duration = Duration::from_secs(60);

/// What to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Say {
    /// Nothing.
    Nothing,
    /// The trouble that was just taken in.
    Trouble,
    /// It is over.
    Over,
}

/// What is known of the trouble that a watch has, and has been said of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Doubt {
    /// When it was last heard of, and whether it was this watch's own.
    last: Option<(Duration, bool)>,
    /// How long it has lasted, without outages.
    lasted: Duration,
    /// What was said last, and when.
    told: Option<(Trouble, Duration)>,
}

/// That the API server does not answer this host at all is said once for all watches: see [`crate::driver::reach`]. Nor
/// does it count: what a server answers that has just come back is doubted as it is after a start.
fn own(trouble: Trouble) -> bool {
    !matches!(trouble, Trouble::Unreachable | Trouble::Unauthorized)
}

impl Doubt {
    /// Takes in how the watch fares at `at` (monotonic).
    pub(crate) fn hears(&mut self, at: Duration, now: Option<Trouble>) -> Say {
        let Some(trouble) = now else {
            return self.ends();
        };
        if let Some((last, true)) = self.last {
            self.lasted = self.lasted.saturating_add(at.saturating_sub(last));
        }
        self.last = Some((at, own(trouble)));
        let news = match self.told {
            None => self.lasted >= DOUBT,
            Some((told, when)) => told != trouble && at.saturating_sub(when) >= AGAIN,
        };
        if news && own(trouble) {
            self.told = Some((trouble, at));
            return Say::Trouble;
        }
        Say::Nothing
    }

    /// This is no longer forbidden. Other trouble that was said goes on until the watch is open.
    pub(crate) fn allowed(&mut self) -> Say {
        match self.told {
            None | Some((Trouble::Forbidden, _)) => self.ends(),
            Some(_) => Say::Nothing,
        }
    }

    fn ends(&mut self) -> Say {
        match std::mem::take(self).told {
            Some(_) => Say::Over,
            None => Say::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [Trouble; 2] = [Trouble::Server, Trouble::Garbled];

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn trouble_that_changes_its_kind_again_and_again_is_said_and_so_is_its_end() {
        let mut doubt = Doubt::default();
        // Each second another kind, for five minutes.
        let said: Vec<u64> = (0..300)
            .filter(|n| doubt.hears(at(n * 1000), Some(BOTH[usize::from(n % 2 == 1)])) == Say::Trouble)
            .collect();
        // The same kind is not said twice in a row, thus the odd seconds.
        assert_eq!(said, [2, 63, 124, 185, 246]);
        assert_eq!(doubt.hears(at(300_000), None), Say::Over);
        assert_eq!(doubt.hears(at(301_000), None), Say::Nothing, "once");
    }

    #[test]
    fn trouble_that_changed_its_kind_after_it_was_said_ends_aloud() {
        let mut doubt = Doubt::default();
        assert_eq!(doubt.hears(at(0), Some(Trouble::Server)), Say::Nothing);
        assert_eq!(doubt.hears(at(2_000), Some(Trouble::Server)), Say::Trouble);
        assert_eq!(doubt.hears(at(90_000), Some(Trouble::Server)), Say::Nothing, "the same");
        assert_eq!(doubt.hears(at(90_500), Some(Trouble::Unreachable)), Say::Nothing);
        assert_eq!(doubt.hears(at(91_000), None), Say::Over);
    }

    #[test]
    fn short_trouble_is_not_said_and_the_next_is_doubted_anew() {
        let mut doubt = Doubt::default();
        for start in [0, 10_000] {
            assert_eq!(doubt.hears(at(start), Some(Trouble::NotFound)), Say::Nothing);
            assert_eq!(doubt.hears(at(start + 1_999), Some(Trouble::Server)), Say::Nothing);
            assert_eq!(doubt.hears(at(start + 2_500), None), Say::Nothing);
        }
    }

    #[test]
    fn an_outage_is_not_said_here_and_what_follows_it_is_doubted() {
        let mut doubt = Doubt::default();
        assert_eq!(doubt.hears(at(0), Some(Trouble::Unreachable)), Say::Nothing);
        assert_eq!(doubt.hears(at(60_000), Some(Trouble::Unauthorized)), Say::Nothing);
        assert_eq!(doubt.hears(at(61_000), Some(Trouble::Forbidden)), Say::Nothing);
        assert_eq!(doubt.hears(at(62_000), Some(Trouble::NotFound)), Say::Nothing);
        assert_eq!(doubt.hears(at(63_000), Some(Trouble::Forbidden)), Say::Trouble);
    }

    #[test]
    fn a_list_that_is_allowed_ends_that_it_was_forbidden_and_nothing_else() {
        for (told, said) in [(Trouble::Forbidden, Say::Over), (Trouble::Server, Say::Nothing)] {
            let mut doubt = Doubt::default();
            doubt.hears(at(0), Some(told));
            assert_eq!(doubt.hears(at(2_000), Some(told)), Say::Trouble);
            doubt.hears(at(3_000), Some(Trouble::Forbidden));
            assert_eq!(doubt.allowed(), said);
            assert_eq!(
                doubt.hears(at(4_000), None) == Say::Over,
                said == Say::Nothing,
                "one end"
            );
        }
    }
}
