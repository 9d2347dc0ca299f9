//! Tells an outage of the whole API server in one line, and its end in another.

use std::time::Duration;

/// Whether the API server answers at all.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    since: Option<Duration>,
}

impl Outage {
    /// A request got no answer. True where that is news.
    pub(crate) fn failed(&mut self, now: Duration) -> bool {
        let news = self.since.is_none();
        self.since.get_or_insert(now);
        news
    }

    /// A request got an answer. How long none did, where that is news.
    pub(crate) fn answered(&mut self, now: Duration) -> Option<Duration> {
        self.since.take().map(|since| now.saturating_sub(since))
    }

    /// Since when no request got an answer.
    pub(crate) fn since(&self) -> Option<Duration> {
        self.since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_once_and_so_is_its_end() {
        let s = Duration::from_secs;
        let mut outage = Outage::default();
        assert_eq!(outage.answered(s(1)), None);
        assert_eq!(
            [outage.failed(s(2)), outage.failed(s(3)), outage.failed(s(9))],
            [true, false, false]
        );
        assert_eq!(outage.since(), Some(s(2)));
        assert_eq!([outage.answered(s(12)), outage.answered(s(13))], [Some(s(10)), None]);
        assert!(outage.failed(s(14)));
    }
}
