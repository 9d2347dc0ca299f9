//! Whose load begins next.
//!
//! A load takes milliseconds where the module's code is at hand, and as long as `host.compile.seconds` where it is made
//! slow to compile; which of the two is not known before. So that nobody waits for a neighbour's slow module, and many
//! quick ones still don't fight for the processors and memory:
//!
//! - One after another, as long as each is quick: one that has run for [`PATIENCE`] is slow, and the next begins beside
//!   it.
//! - What the directory holds for a plugin whose last load was slow goes a way of its own: one of these at a time,
//!   beside the others. They wait for their like; nobody else waits for them.
//! - [`BESIDE`] loads that were not known to be slow run at a time, and one that was: three compilers, each with the
//!   memory of `host.compile.memoryMiB`, is the most.
//!
//! So a load waits for `PATIENCE` at most for each that is in front of it. There is one exception: [`BESIDE`] plugins
//! that were never slow before are so at once. They are waited for until the first one ends, and that once.
//!
//! One plugin's loads keep their order, for a life has one at a time. A plugin is known by its name and not by its
//! module: else one whose every version is slow would be new each time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::lives::Wanted;

/// A load that has run for so long is slow.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// So many loads that were not known to be slow run at a time.
const BESIDE: usize = 2;

/// A load to come.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Load {
    /// The plugin.
    pub(super) name: String,
    /// What is loaded.
    pub(super) wanted: Wanted,
    /// From where.
    pub(super) source: Source,
}

/// Where a module is loaded from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The plugin directory.
    Directory,
    /// What is kept in the state directory. Its code is at hand, mostly.
    Store,
}

#[derive(Debug)]
struct Running {
    began: Duration,
    known_slow: bool,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Turns {
    waiting: VecDeque<Load>,
    running: BTreeMap<String, Running>,
    /// The plugins whose last load was slow.
    slow: BTreeSet<String>,
}

impl Turns {
    /// A load is to be done.
    pub(super) fn add(&mut self, load: Load) {
        match load.source {
            Source::Directory => self.waiting.push_back(load),
            // What serves waits for it, or nothing serves: it goes before those that are new.
            Source::Store => self.waiting.push_front(load),
        }
    }

    /// The load that begins now, if one may; to be asked again until none may.
    pub(super) fn next(&mut self, now: Duration) -> Option<Load> {
        let slow_way = !self.running.values().any(|running| running.known_slow);
        let quick_way = self.others() < BESIDE && self.quick_until(now).is_none();
        let at = self.waiting.iter().position(|load| match self.is_known_slow(load) {
            true => slow_way,
            false => quick_way,
        })?;
        let load = self.waiting.remove(at)?;
        let running = Running {
            began: now,
            known_slow: self.is_known_slow(&load),
        };
        self.running.insert(load.name.clone(), running);
        Some(load)
    }

    /// The load of this plugin has ended.
    pub(super) fn ended(&mut self, now: Duration, name: &str) {
        let Some(running) = self.running.remove(name) else {
            return;
        };
        if is_slow(&running, now) {
            self.slow.insert(name.to_owned());
        } else {
            self.slow.remove(name);
        }
    }

    /// There is no such plugin any more.
    pub(super) fn forget(&mut self, name: &str) {
        self.slow.remove(name);
    }

    /// When [`Turns::next`] may answer otherwise though no load has ended; none: not before one does.
    pub(super) fn due(&self, now: Duration) -> Option<Duration> {
        let waits = self.others() < BESIDE && self.waiting.iter().any(|load| !self.is_known_slow(load));
        self.quick_until(now).filter(|_| waits)
    }

    /// Whether a load runs or waits.
    pub(super) fn is_busy(&self) -> bool {
        !self.waiting.is_empty() || !self.running.is_empty()
    }

    fn is_known_slow(&self, load: &Load) -> bool {
        load.source == Source::Directory && self.slow.contains(&load.name)
    }

    /// How many run that were not known to be slow.
    fn others(&self) -> usize {
        self.running.values().filter(|running| !running.known_slow).count()
    }

    /// When the last of those that are still taken for quick is so no longer.
    fn quick_until(&self, now: Duration) -> Option<Duration> {
        let quick = (self.running.values()).filter(|running| !running.known_slow && !is_slow(running, now));
        quick.map(|running| running.began + PATIENCE).max()
    }
}

fn is_slow(running: &Running, now: Duration) -> bool {
    now.saturating_sub(running.began) >= PATIENCE
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::config::Config;
    use crate::load::Hash;

    fn load(name: &str) -> Load {
        Load {
            name: name.to_owned(),
            wanted: Wanted {
                module: Hash::of(name.as_bytes()),
                config: Arc::new(Config::default().plugin(name)),
            },
            source: Source::Directory,
        }
    }

    fn kept(name: &str) -> Load {
        Load {
            source: Source::Store,
            ..load(name)
        }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Those that begin now, one after the other.
    fn begin(turns: &mut Turns, now: Duration) -> Vec<String> {
        std::iter::from_fn(|| turns.next(now)).map(|load| load.name).collect()
    }

    #[test]
    fn quick_loads_run_one_after_another_in_their_order() {
        let mut turns = Turns::default();
        for name in ["b", "a", "c"] {
            turns.add(load(name));
        }
        for name in ["b", "a", "c"] {
            assert_eq!(begin(&mut turns, at(0)), [name]);
            assert_eq!(begin(&mut turns, at(1)), [""; 0]);
            turns.ended(at(1), name);
        }
        assert!(!turns.is_busy());
    }

    #[test]
    fn one_that_turns_out_to_be_slow_lets_the_next_begin_beside_it() {
        let mut turns = Turns::default();
        turns.add(load("slow"));
        assert_eq!(begin(&mut turns, at(0)), ["slow"]);
        assert_eq!(turns.due(at(0)), None, "nobody waits");
        turns.add(load("a"));
        assert_eq!(turns.due(at(1)), Some(PATIENCE));
        assert_eq!(begin(&mut turns, at(1)), [""; 0]);
        assert_eq!(begin(&mut turns, PATIENCE), ["a"]);
        assert!(turns.is_busy());
    }

    #[test]
    fn one_that_was_slow_the_last_time_holds_up_nobody_but_its_like() {
        let mut turns = Turns::default();
        for name in ["slow", "heavy"] {
            turns.add(load(name));
            assert_eq!(begin(&mut turns, at(0)), [name]);
            turns.ended(at(60), name);
        }
        for name in ["slow", "heavy", "a", "b"] {
            turns.add(load(name));
        }
        assert_eq!(begin(&mut turns, at(60)), ["slow", "a"]);
        turns.ended(at(60), "a");
        assert_eq!(begin(&mut turns, at(60)), ["b"], "before heavy, which waits for slow");
        turns.ended(at(70), "slow");
        assert_eq!(begin(&mut turns, at(70)), ["heavy"]);
        // It was quick this time.
        turns.ended(at(71), "heavy");
        turns.ended(at(71), "b");
        turns.add(load("slow"));
        turns.add(load("heavy"));
        assert_eq!(begin(&mut turns, at(71)), ["slow", "heavy"]);
    }

    #[test]
    fn what_serves_comes_back_before_new_versions_even_where_the_plugin_is_known_to_be_slow() {
        let mut turns = Turns::default();
        turns.add(load("slow"));
        begin(&mut turns, at(0));
        turns.ended(at(60), "slow");
        for other in [load("a"), load("b"), kept("slow")] {
            turns.add(other);
        }
        assert_eq!(begin(&mut turns, at(60)), ["slow"]);
    }

    #[test]
    fn a_plugin_that_is_gone_is_not_remembered() {
        let mut turns = Turns::default();
        turns.add(load("slow"));
        begin(&mut turns, at(0));
        turns.ended(at(60), "slow");
        turns.forget("slow");
        assert!(turns.slow.is_empty());
    }

    proptest! {
        /// Whatever the loads take: only so many run at a time, something runs as long as something waits, and each has
        /// its turn.
        #[test]
        fn loads_are_bounded_in_number_and_each_has_its_turn(
            loads in prop::collection::vec((0usize..6, prop_oneof![3 => 0u64..2, 1 => 2u64..300]), 1..40),
        ) {
            let mut turns = Turns::default();
            // One load of each plugin at a time, as its life has it.
            let mut todo = vec![VecDeque::new(); 6];
            for (plugin, length) in &loads {
                todo[*plugin].push_back(Duration::from_secs(*length));
            }
            for plugin in (0..6).filter(|plugin| !todo[*plugin].is_empty()) {
                turns.add(load(&plugin.to_string()));
            }
            let (mut ends, mut done) = (BTreeMap::new(), 0);
            let mut now = Duration::ZERO;
            while turns.is_busy() {
                while let Some(load) = turns.next(now) {
                    let plugin: usize = load.name.parse().unwrap();
                    ends.insert(load.name, now + todo[plugin].pop_front().unwrap());
                }
                prop_assert!(ends.len() <= BESIDE + 1);
                let first = ends.iter().min_by_key(|(_, end)| **end).map(|(name, end)| (name.clone(), *end));
                prop_assert!(first.is_some(), "something runs as long as something waits");
                let (first, end) = first.unwrap();
                if let Some(due) = turns.due(now).filter(|due| *due < end) {
                    now = due;
                    continue;
                }
                now = end;
                ends.remove(&first);
                turns.ended(now, &first);
                done += 1;
                if !todo[first.parse::<usize>().unwrap()].is_empty() {
                    turns.add(load(&first));
                }
            }
            prop_assert_eq!(done, loads.len());
        }
    }
}
