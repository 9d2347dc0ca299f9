//! Keeps failures from flooding the log: where many keys fail for one reason, the first few say enough. Pure.

use std::{collections::BTreeMap, time::Duration};

/// Lines of one kind in a window.
const LINES: u32 = 5;

/// How long a window is.
const WINDOW: Duration = Duration::from_secs(30);

/// Kinds of failures that are told apart; more share one.
const KINDS: usize = 1_000;

/// Which failures were told lately.
#[derive(Debug, Default)]
pub(crate) struct Quiet(BTreeMap<String, Window>);

#[derive(Debug, Default)]
struct Window {
    began: Duration,
    told: u32,
    kept: u64,
}

impl Quiet {
    /// A failure of this kind at `now`: if it is to be told, how many like it were kept back before it.
    pub(crate) fn tell(&mut self, now: Duration, kind: &str) -> Option<u64> {
        let kind = if self.0.len() < KINDS || self.0.contains_key(kind) {
            kind
        } else {
            ""
        };
        let window = self.0.entry(kind.to_owned()).or_default();
        if window.told == 0 || now.saturating_sub(window.began) >= WINDOW {
            (window.began, window.told) = (now, 0);
        }
        if window.told == LINES {
            window.kept += 1;
            return None;
        }
        window.told += 1;
        Some(std::mem::take(&mut window.kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_failures_of_one_kind_a_few_are_told_and_the_others_counted() {
        let mut quiet = Quiet::default();
        let told: Vec<_> = (0..100)
            .filter_map(|_| quiet.tell(Duration::from_secs(1), "a"))
            .collect();
        assert_eq!(told, [0; 5]);
        assert_eq!(quiet.tell(Duration::from_secs(1), "b"), Some(0), "another kind");
        assert_eq!(quiet.tell(Duration::from_secs(31), "a"), Some(95));
        assert_eq!(quiet.tell(Duration::from_secs(31), "a"), Some(0));
    }

    #[test]
    fn kinds_without_end_share_one() {
        let mut quiet = Quiet::default();
        let told = (0..5_000)
            .filter(|n| quiet.tell(Duration::ZERO, &n.to_string()).is_some())
            .count();
        assert_eq!(told, 1_005);
        assert!(quiet.0.len() <= 1_001);
    }
}
