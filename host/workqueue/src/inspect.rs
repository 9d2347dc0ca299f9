//! Looking at the queue without stopping it: figures for metrics, entries for people.

use crate::entry::{Entry, Stage};
use crate::queue::Queue;
use crate::view::{EntryView, State, Stats};
use std::hash::Hash;
use std::time::Duration;

impl<K: Clone + Eq + Hash, C> Queue<K, C> {
    /// What metrics are made of. Walks through the levels and through what is in work.
    pub fn stats(&self, now: Duration) -> Stats {
        let mut stats = Stats {
            adds: self.adds,
            retries: self.retries,
            depth: self.levels.depth(),
            delayed: self.timers.len(),
            in_work: self.working.len(),
            parked: self.parked,
            ..Stats::default()
        };
        for entry in self.working.iter(&self.slots) {
            if matches!(entry.stage, Stage::Queued) {
                *stats.depth.entry(entry.priority).or_default() += 1;
            }
            let age = entry.work.map_or(Duration::ZERO, |work| now.saturating_sub(work.since));
            stats.unfinished_work = stats.unfinished_work.saturating_add(age);
            stats.longest_running = stats.longest_running.max(age);
        }
        stats
    }

    /// Every key that the queue knows of, in no order that means anything (but the same order for the same operations).
    pub fn entries(&self) -> impl Iterator<Item = EntryView<'_, K, C>> {
        self.slots.iter().map(|entry| self.view(entry))
    }

    /// A slice of [`Queue::entries`], for walks that must not hold the queue for long: the entries at `most` places
    /// from `place` on (0 is the first), and the place to go on at, none at the end. Keys that come while the walk goes
    /// on may be missed, and one that goes and comes back may be met twice.
    pub fn entries_from(
        &self,
        place: usize,
        most: usize,
    ) -> (impl Iterator<Item = EntryView<'_, K, C>>, Option<usize>) {
        let (entries, next) = self.slots.slice(place, most);
        (entries.map(|entry| self.view(entry)), next)
    }

    /// The ready keys, the one that waits longest first. (The order in which they are handed out is that of their
    /// priorities first.) Costs what is taken from it.
    pub fn queued(&self) -> impl Iterator<Item = EntryView<'_, K, C>> {
        self.line.iter(&self.slots).map(|entry| self.view(entry))
    }

    /// The delayed keys in the order in which they fall due, the next first, at most `most` of them. Costs what it
    /// answers with, however many are delayed.
    pub fn delayed(&self, most: usize) -> impl Iterator<Item = EntryView<'_, K, C>> {
        let next = self.timers.head(&self.slots, most);
        next.into_iter().map(|slot| self.view(&self.slots[slot]))
    }

    /// The keys in work, the longest run first; what comes next for each is in its state. Costs what is taken from it.
    pub fn working(&self) -> impl Iterator<Item = EntryView<'_, K, C>> {
        self.working.iter(&self.slots).map(|entry| self.view(entry))
    }

    /// One key, if the queue knows of it.
    pub fn entry(&self, key: &K) -> Option<EntryView<'_, K, C>> {
        self.find(key).map(|slot| self.view(&self.slots[slot]))
    }

    fn view<'a>(&'a self, entry: &'a Entry<K, C>) -> EntryView<'a, K, C> {
        EntryView {
            key: &entry.key,
            in_work: entry.work.map(|work| work.since),
            state: match &entry.stage {
                Stage::Idle => State::Idle,
                Stage::Queued => State::Queued { since: entry.since },
                Stage::Delayed(due) => State::Delayed {
                    since: entry.since,
                    due: *due,
                },
                Stage::Parked(parked) => State::Parked(parked),
            },
            priority: entry.priority,
            attempts: entry.tries.attempts,
            failures: entry.tries.failures,
            causes: &entry.causes,
            errors: entry.errors.as_slice(),
            served: entry.work.map(|work| &self.served[work.served]),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Queue, QueueConfig};
    use std::time::Duration;

    #[test]
    fn a_walk_in_slices_meets_each_key_once_and_ends() {
        let mut queue: Queue<u32, &str> = Queue::new(QueueConfig::default());
        for key in 0..100 {
            queue.add(Duration::ZERO, key, 0, "change");
        }
        for key in (0..100).step_by(3) {
            queue.park(Duration::ZERO, &key, "reason".to_owned(), "cause");
        }
        let (mut met, mut place) = (Vec::new(), Some(0));
        while let Some(from) = place {
            let (entries, next) = queue.entries_from(from, 7);
            met.extend(entries.map(|entry| *entry.key));
            assert!(next.is_none_or(|next| next == from + 7));
            place = next;
        }
        met.sort_unstable();
        assert_eq!(met, Vec::from_iter(0..100));
        // What is asked for beyond the end, or with a number that is none, is nothing.
        for (place, most) in [(100, 7), (usize::MAX, usize::MAX), (0, 0)] {
            assert_eq!(queue.entries_from(place, most).0.count(), 0, "{place} {most}");
        }
        assert_eq!(queue.entries_from(usize::MAX, 1).1, None);
    }

    #[test]
    fn the_causes_of_a_run_are_kept_while_it_is_under_way_and_no_longer() {
        let mut queue: Queue<u32, &str> = Queue::new(QueueConfig::default());
        for round in 0..3 {
            for key in 0..10 {
                queue.add(Duration::ZERO, key, 0, "change");
            }
            while queue.get(Duration::ZERO).is_some() {}
            assert_eq!(queue.served.iter().count(), 10, "round {round}");
            for key in 0..10 {
                queue.done(Duration::ZERO, &key);
            }
        }
        assert_eq!(queue.served.iter().count(), 0);
    }
}
