//! Whether the API server answers this host at all, and what of that is news. Pure.
//!
//! One request without an answer, or one refused for its credentials, is a suspicion: a connection may break, and one
//! of several servers may be gone. A probe decides. While the host is cut off nothing else is tried that can wait, and
//! the pauses between probes grow.

use std::time::Duration;

use crate::reflector::failure::{Failure, Trouble};

/// An API server that has just been started answers 403, 401 and 5xx until it knows its roles and accounts. So long
/// such an answer does not count as the end of an outage.
const STARTING: Duration = Duration::from_secs(5);

/// Credentials that are refused for less than this are not worth a line: see above.
const DOUBT: Duration = Duration::from_secs(2);

/// The pause after the first probe.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause between two probes. A probe is one request of a few bytes from each host, while everything here
/// waits for it: a longer pause would save a server nothing, and be felt after every restart.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Why the host is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// No request gets an answer.
    Unreachable,
    /// Every request is answered with 401.
    Credentials,
}

/// What a probe or another request brought that should be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// This is wrong now.
    Began(Cut),
    /// What was said last is over, after so long.
    Over(Cut, Duration),
}

/// Whether the API server answers at all.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    /// When the first request failed, and whether a probe did too.
    since: Option<Duration>,
    confirmed: bool,
    /// Since when the credentials are refused without an exception.
    refused: Option<Duration>,
    /// Since when there are answers that a server gives that is starting.
    stirs: Option<Duration>,
    told: Option<Cut>,
    /// Probes in a row that got no answer, or a 401.
    in_vain: u32,
    /// How many cuts were told so far, and how long those took that are over.
    totals: Totals,
}

/// What outages there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// How often it was certain that no request is answered, or each with a 401.
    pub outages: u64,
    /// For how long it was so, all together.
    pub lasted: Duration,
}

impl Outage {
    /// A request that was no probe failed in a way that may mean that all will.
    pub(crate) fn suspect(&mut self, now: Duration) {
        self.since.get_or_insert(now);
    }

    /// A probe was answered like this, or a request was while the host is cut off.
    pub(crate) fn probed(&mut self, now: Duration, failure: Option<&Failure>) -> Option<News> {
        let cut = match failure.map(|failure| failure.trouble) {
            None => return self.answered(now),
            Some(Trouble::Unreachable) => {
                (self.refused, self.stirs) = (None, None);
                Some(Cut::Unreachable)
            }
            Some(Trouble::Unauthorized) => {
                let since = *self.refused.get_or_insert(now);
                (now.saturating_sub(since) >= DOUBT).then_some(Cut::Credentials)
            }
            Some(_) => {
                (self.refused, self.in_vain) = (None, 0);
                let since = *self.stirs.get_or_insert(now);
                // Nobody waits for a probe that is refused for good, as it is where even health is secret.
                if !self.confirmed || now.saturating_sub(since) >= STARTING {
                    return self.answered(now);
                }
                None
            }
        };
        if failure.is_some_and(|failure| matches!(failure.trouble, Trouble::Unreachable | Trouble::Unauthorized)) {
            self.in_vain = self.in_vain.saturating_add(1);
        }
        self.since.get_or_insert(now);
        self.totals.outages += u64::from(!self.confirmed);
        self.confirmed = true;
        let news = cut.filter(|cut| self.told != Some(*cut));
        self.told = cut.or(self.told);
        news.map(News::Began)
    }

    /// A request was answered as it should be.
    pub(crate) fn answered(&mut self, now: Duration) -> Option<News> {
        let Self {
            since,
            told,
            mut totals,
            confirmed,
            ..
        } = std::mem::take(self);
        if confirmed {
            totals.lasted += now.saturating_sub(since.unwrap_or(now));
        }
        self.totals = totals;
        Some(News::Over(told?, now.saturating_sub(since?)))
    }

    /// How long to wait before the next probe: longer with each that was in vain, never as long as others wait that
    /// lost the same server. A server that is starting is asked often.
    pub(crate) fn pause(&self, rng: &mut fastrand::Rng) -> Duration {
        let step = FIRST_PAUSE.saturating_mul(1 << self.in_vain.saturating_sub(1).min(8));
        step.min(LONGEST_PAUSE).mul_f64(0.8 + 0.2 * rng.f64())
    }

    /// What outages there were, the one that goes on included.
    pub(crate) fn totals(&self, now: Duration) -> Totals {
        let going_on = self.since().map_or(Duration::ZERO, |since| now.saturating_sub(since));
        Totals {
            lasted: self.totals.lasted + going_on,
            ..self.totals
        }
    }

    /// Whether there is something to be found out.
    pub(crate) fn is_suspected(&self) -> bool {
        self.since.is_some()
    }

    /// Since when the host is cut off.
    pub(crate) fn since(&self) -> Option<Duration> {
        self.since.filter(|_| self.confirmed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn no(trouble: Trouble) -> Failure {
        Failure::new(trouble, "no")
    }

    #[test]
    fn an_outage_is_told_once_and_so_is_its_end() {
        let mut outage = Outage::default();
        assert_eq!(outage.answered(s(1)), None);
        outage.suspect(s(2));
        let away = no(Trouble::Unreachable);
        assert_eq!(outage.probed(s(3), Some(&away)), Some(News::Began(Cut::Unreachable)));
        assert_eq!(outage.probed(s(9), Some(&away)), None);
        assert_eq!(outage.since(), Some(s(2)));
        assert_eq!(outage.probed(s(12), None), Some(News::Over(Cut::Unreachable, s(10))));
        assert_eq!(outage.answered(s(13)), None);
        assert!(outage.since().is_none() && !outage.is_suspected());
    }

    #[test]
    fn one_request_that_fails_is_no_outage_where_the_probe_is_answered() {
        let mut outage = Outage::default();
        outage.suspect(s(2));
        assert!(outage.is_suspected() && outage.since().is_none());
        assert_eq!(outage.probed(s(2), Some(&no(Trouble::Forbidden))), None);
        assert!(!outage.is_suspected(), "an answer of whatever kind");
    }

    #[test]
    fn a_server_that_is_starting_has_not_come_back_yet() {
        let mut outage = Outage::default();
        outage.probed(s(0), Some(&no(Trouble::Unreachable)));
        for (at, trouble) in [
            (10, Trouble::Server),
            (12, Trouble::Forbidden),
            (14, Trouble::Forbidden),
        ] {
            assert_eq!(outage.probed(s(at), Some(&no(trouble))), None);
            assert!(outage.since().is_some());
        }
        let over = outage.probed(s(15), Some(&no(Trouble::Forbidden)));
        assert_eq!(over, Some(News::Over(Cut::Unreachable, s(15))), "it may be so for good");
    }

    #[test]
    fn credentials_that_are_refused_are_told_once_that_is_sure() {
        let mut outage = Outage::default();
        let refused = no(Trouble::Unauthorized);
        outage.suspect(s(0));
        assert_eq!(outage.probed(s(0), Some(&refused)), None);
        assert!(outage.since().is_some(), "but nothing else is tried");
        assert_eq!(outage.probed(s(1), Some(&refused)), None);
        assert_eq!(outage.probed(s(2), Some(&refused)), Some(News::Began(Cut::Credentials)));
        assert_eq!(outage.probed(s(3), Some(&refused)), None);
        assert_eq!(outage.probed(s(9), None), Some(News::Over(Cut::Credentials, s(9))));
    }

    #[test]
    fn pauses_between_probes_grow_to_five_seconds_and_a_server_that_stirs_is_asked_often() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut outage = Outage::default();
        let mut now = s(0);
        for longest in [1, 2, 4, 5, 5, 5] {
            outage.probed(now, Some(&no(Trouble::Unreachable)));
            let pause = outage.pause(&mut rng);
            assert!(pause <= s(longest) && pause >= s(longest) * 8 / 10, "{pause:?}");
            now += pause;
        }
        outage.probed(now, Some(&no(Trouble::Server)));
        assert!(outage.pause(&mut rng) <= s(1));
        outage.answered(now);
        outage.probed(now, Some(&no(Trouble::Unauthorized)));
        assert!(outage.pause(&mut rng) <= s(1), "a new outage");
    }

    #[test]
    fn outages_are_counted_and_their_time_too() {
        let mut outage = Outage::default();
        outage.suspect(s(1));
        outage.probed(s(1), None);
        assert_eq!(outage.totals(s(5)), Totals::default(), "a suspicion is none");
        outage.suspect(s(10));
        outage.probed(s(11), Some(&no(Trouble::Unreachable)));
        outage.probed(s(12), Some(&no(Trouble::Unreachable)));
        let totals = |outages, seconds| Totals {
            outages,
            lasted: s(seconds),
        };
        assert_eq!(outage.totals(s(14)), totals(1, 4));
        outage.answered(s(15));
        assert_eq!(outage.totals(s(99)), totals(1, 5));
        outage.probed(s(100), Some(&no(Trouble::Unauthorized)));
        assert_eq!(outage.totals(s(101)), totals(2, 6));
    }
}
