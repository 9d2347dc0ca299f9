//! Says what would be said for each of many keys once a minute. Pure.

use std::time::Duration;

/// Between two lines.
const PAUSE: Duration = Duration::from_secs(60);

/// When something was said last, and how often it was not since.
#[derive(Debug, Default)]
pub(crate) struct Rarely {
    last: Option<Duration>,
    kept: u64,
}

impl Rarely {
    /// Something happens that may be said: if it is to be, how many were kept back since the last time.
    pub(crate) fn say(&mut self, now: Duration) -> Option<u64> {
        if self.last.is_some_and(|last| now.saturating_sub(last) < PAUSE) {
            self.kept += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_all_the_time_is_said_once_a_minute_with_its_count() {
        let mut rarely = Rarely::default();
        let said: Vec<_> = (0..125).filter_map(|s| rarely.say(Duration::from_secs(s))).collect();
        assert_eq!(said, [0, 59, 59]);
    }
}
