//! What a plugin's last calls ended with, in bounded memory: a ring of counts, and the last keys that spoke against it.

use std::time::Duration;

/// Into so many parts the window is cut. What it holds is between nine tenths and the whole of its time.
const PARTS: u64 = 10;

/// Counts of outcomes over a sliding time.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    part: Duration,
    parts: [Part; PARTS as usize],
    pub(crate) failed_keys: Keys,
    pub(crate) slow_keys: Keys,
}

#[derive(Clone, Copy, Debug, Default)]
struct Part {
    /// Which part of all time it counts.
    number: u64,
    counts: Counts,
}

/// How many calls ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) good: u32,
    pub(crate) slow: u32,
    pub(crate) failed: u32,
}

impl Counts {
    pub(crate) fn all(&self) -> u32 {
        self.good.saturating_add(self.slow).saturating_add(self.failed)
    }

    fn add(&mut self, other: &Self) {
        self.good = self.good.saturating_add(other.good);
        self.slow = self.slow.saturating_add(other.slow);
        self.failed = self.failed.saturating_add(other.failed);
    }
}

impl Window {
    pub(crate) fn new(length: Duration, keys: usize) -> Self {
        Self {
            part: (length / PARTS as u32).max(Duration::from_micros(100)),
            parts: Default::default(),
            failed_keys: Keys::new(keys),
            slow_keys: Keys::new(keys),
        }
    }

    pub(crate) fn clear(&mut self) {
        self.parts = Default::default();
        self.failed_keys.clear();
        self.slow_keys.clear();
    }

    pub(crate) fn count(&mut self, now: Duration, counts: &Counts) {
        let number = self.number(now);
        let part = &mut self.parts[(number % PARTS) as usize];
        if part.number != number {
            *part = Part {
                number,
                ..Part::default()
            };
        }
        part.counts.add(counts);
    }

    /// All that still counts.
    pub(crate) fn counts(&self, now: Duration) -> Counts {
        let number = self.number(now);
        let mut all = Counts::default();
        for part in self.parts.iter().filter(|part| part.number + PARTS > number) {
            all.add(&part.counts);
        }
        all
    }

    /// What came earlier counts no more.
    pub(crate) fn begins(&self, now: Duration) -> Duration {
        now.saturating_sub(self.part * PARTS as u32)
    }

    fn number(&self, now: Duration) -> u64 {
        (now.as_nanos() / self.part.as_nanos().max(1))
            .try_into()
            .unwrap_or(u64::MAX - PARTS)
    }
}

/// The last distinct keys that were told, up to a number: enough to know whether there were so many.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    most: usize,
    /// Those told last stand last.
    told: Vec<(u64, Duration)>,
}

impl Keys {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, told: Vec::new() }
    }

    pub(crate) fn tell(&mut self, now: Duration, key: u64) {
        self.told.retain(|(told, _)| *told != key);
        if self.told.len() == self.most && !self.told.is_empty() {
            self.told.remove(0);
        }
        if self.told.len() < self.most {
            self.told.push((key, now));
        }
    }

    /// How many were told at this time or later, counted up to the number that is kept.
    pub(crate) fn since(&self, time: Duration) -> usize {
        self.told.iter().rev().take_while(|(_, told)| *told >= time).count()
    }

    pub(crate) fn len(&self) -> usize {
        self.told.len()
    }

    pub(crate) fn clear(&mut self) {
        self.told.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: Counts = Counts {
        good: 0,
        slow: 0,
        failed: 1,
    };

    #[test]
    fn what_is_older_than_the_window_counts_no_more() {
        let mut window = Window::new(Duration::from_secs(10), 5);
        let second = Duration::from_secs;
        window.count(second(1), &FAILED);
        window.count(second(5), &FAILED);
        assert_eq!(window.counts(second(10)).failed, 2);
        assert_eq!(window.counts(second(11)).failed, 1);
        assert_eq!(window.counts(second(15)).failed, 0);
        window.count(second(11), &FAILED);
        assert_eq!(
            window.counts(second(11)).failed,
            2,
            "the part of second 1 was cleared first"
        );
    }

    #[test]
    fn keys_are_counted_once_and_only_the_last_ones_are_kept() {
        let mut keys = Keys::new(3);
        for (time, key) in [(1, 7), (2, 7), (3, 8), (4, 9), (5, 7)] {
            keys.tell(Duration::from_secs(time), key);
        }
        assert_eq!((keys.len(), keys.since(Duration::from_secs(4))), (3, 2));
        keys.tell(Duration::from_secs(6), 1);
        assert_eq!(keys.told.iter().map(|(key, _)| *key).collect::<Vec<_>>(), [9, 7, 1]);
        let mut none = Keys::new(0);
        none.tell(Duration::ZERO, 1);
        assert_eq!(none.len(), 0);
    }
}
