//! When which keys of a controller are resynced. Pure.
//!
//! A round goes through the store once in a period, in the order of the keys, and as evenly as the store is filled:
//! after a third of the period it has passed a third of the objects. So every key has its turn about once in a period,
//! they don't come as a wave, and nothing is held in memory but the spot that the round has come to. What comes into
//! the store behind that spot has its turn in the next round; what changes has a run anyway.
//!
//! Promised: a round ends when it finds nothing more behind its spot, not before. So what is in the store through a
//! whole round has its turn in it, once, whatever else comes and vanishes; a period and a step after it began at the
//! latest, as long as the host keeps up. What vanishes can make a round uneven: nobody knows whether it was passed
//! already, and what is left over at the end of the period comes in slices, one after the other.
//!
//! Not promised: a key that the controller sees through two of its windows has its turn once in each.

use std::time::Duration;

use pilothouse_object::Key;

/// Objects looked at in one step, at most: so long the store is locked for writers.
const SLICE: usize = 1_000;

/// Between two steps, unless the round is behind.
const TICK: Duration = Duration::from_millis(100);

/// The primary objects of a controller, one window after the other.
pub(crate) trait Walk {
    /// How many objects there are to look at, in all windows together.
    fn len(&self) -> usize;
    /// Looks at the next `most` objects after a spot (none: from the beginning): the keys among them that the
    /// controller sees, and the spot of the last one; none where there were no more.
    fn after(&self, spot: Option<&Spot>, most: usize) -> (Vec<Key>, Option<Spot>);
}

/// The window, by its number, and the key that was looked at last in it.
pub(crate) type Spot = (usize, Key);

/// The rounds of one controller.
#[derive(Debug)]
pub(crate) struct Resync {
    every: Duration,
    /// When the round under way began, or the next one does.
    began: Duration,
    /// How many objects it has passed.
    passed: usize,
    spot: Option<Spot>,
    due: Duration,
}

impl Resync {
    /// The first round begins at a random time in the first period, so that controllers of one period don't go in step.
    pub(crate) fn new(now: Duration, every: Duration, rng: &mut fastrand::Rng) -> Self {
        let began = now.saturating_add(every.mul_f64(rng.f64()));
        Self {
            every,
            began,
            passed: 0,
            spot: None,
            due: began,
        }
    }

    /// The period.
    pub(crate) fn every(&self) -> Duration {
        self.every
    }

    /// When [`Resync::step`] has something to do.
    pub(crate) fn due(&self) -> Duration {
        self.due
    }

    /// The keys whose turn it is.
    pub(crate) fn step(&mut self, now: Duration, walk: &dyn Walk) -> Vec<Key> {
        if now < self.due {
            return Vec::new();
        }
        let all = walk.len();
        let gone = now.saturating_sub(self.began);
        let share = (gone.as_secs_f64() / self.every.as_secs_f64()).min(1.0);
        // Rounded up: what is left of a period is not left of the store.
        let wanted = (all as f64 * share).ceil() as usize;
        let over = gone >= self.every;
        // More than wanted were passed where some vanished since: as if those had been passed.
        self.passed = self.passed.min(wanted);
        // At the end of the period whatever is left, be it counted as passed or not.
        let most = if over { SLICE } else { wanted - self.passed };
        let most = most.min(SLICE);
        let (keys, spot) = walk.after(self.spot.as_ref(), most);
        let ended = most > 0 && spot.is_none();
        self.passed += most;
        if spot.is_some() {
            self.spot = spot;
        }
        if ended {
            // Also after a sleep of days the next round is one, not all that were missed.
            let next = self.began.saturating_add(self.every);
            self.began = if next.saturating_add(self.every) <= now {
                now
            } else {
                next
            };
            (self.passed, self.spot) = (0, None);
            self.due = self.began.max(now + TICK);
        } else if over || self.passed < wanted {
            self.due = now;
        } else {
            let next = self.every.mul_f64((self.passed + 1) as f64 / all.max(1) as f64);
            let next = self.began.saturating_add(next.min(self.every));
            self.due = next.max(now + TICK);
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, collections::BTreeMap};

    use proptest::prelude::*;

    use super::*;

    /// A store with windows that show it all.
    struct Store {
        windows: Vec<Vec<Key>>,
        longest: RefCell<usize>,
    }

    impl Store {
        fn of(keys: usize) -> Self {
            Self {
                windows: vec![(0..keys).map(|key| Key::new(None, &format!("k{key:06}"))).collect()],
                longest: RefCell::default(),
            }
        }
    }

    impl Walk for Store {
        fn len(&self) -> usize {
            self.windows.iter().map(Vec::len).sum()
        }
        fn after(&self, spot: Option<&Spot>, most: usize) -> (Vec<Key>, Option<Spot>) {
            let mut longest = self.longest.borrow_mut();
            *longest = most.max(*longest);
            let all = self.windows.iter().enumerate();
            let all = all.flat_map(|(window, keys)| keys.iter().map(move |key| (window, key.clone())));
            let next: Vec<Spot> = all.filter(|at| spot.is_none_or(|spot| at > spot)).take(most).collect();
            let keys = next.iter().map(|(_, key)| key.clone()).collect();
            (keys, next.last().cloned())
        }
    }

    const MINUTE: Duration = Duration::from_secs(60);

    fn resync(every: Duration) -> Resync {
        Resync::new(Duration::ZERO, every, &mut fastrand::Rng::with_seed(1))
    }

    /// Goes on until then; the turns with their times, and how many steps it took.
    fn run(resync: &mut Resync, store: &Store, until: Duration) -> (Vec<(Duration, Key)>, usize) {
        let (mut turns, mut steps) = (Vec::new(), 0);
        while resync.due() < until {
            let now = resync.due();
            turns.extend(resync.step(now, store).into_iter().map(|key| (now, key)));
            steps += 1;
        }
        (turns, steps)
    }

    #[test]
    fn the_keys_of_a_controller_are_spread_over_its_whole_period() {
        let store = Store::of(1_000);
        let mut resync = resync(MINUTE);
        let began = resync.due();
        assert!(began < MINUTE);
        let (turns, steps) = run(&mut resync, &store, began + MINUTE);
        assert!(turns.len() >= 999, "{}", turns.len());
        let mut tenths = BTreeMap::new();
        for (at, _) in &turns {
            *tenths.entry((*at - began).as_secs() / 6).or_insert(0) += 1;
        }
        assert_eq!(tenths.len(), 10);
        assert!(tenths.values().all(|turns| (95..=105).contains(turns)), "{tenths:?}");
        assert!(steps <= 601, "{steps} steps: no more often than ten times a second");
    }

    #[test]
    fn controllers_of_one_period_do_not_go_in_step() {
        let mut rng = fastrand::Rng::with_seed(1);
        let began: Vec<Duration> = (0..50).map(|_| Resync::new(MINUTE, MINUTE, &mut rng).due()).collect();
        assert!(began.iter().all(|at| (MINUTE..2 * MINUTE).contains(at)));
        assert!(began.iter().any(|at| *at < MINUTE * 5 / 4) && began.iter().any(|at| *at > MINUTE * 7 / 4));
    }

    #[test]
    fn a_large_store_is_gone_through_in_bounded_slices_also_when_the_round_is_late() {
        let store = Store::of(50_000);
        let mut resync = resync(MINUTE);
        let late = resync.due() + MINUTE;
        let mut turns = 0;
        while turns < 50_000 {
            assert!(resync.due() <= late, "it is behind, and goes on at once");
            let keys = resync.step(late, &store).len();
            assert!(keys <= SLICE);
            turns += keys;
        }
        assert!(*store.longest.borrow() <= SLICE);
    }

    #[test]
    fn after_a_long_sleep_there_is_one_round_and_not_all_that_were_missed() {
        let store = Store::of(10);
        let mut resync = resync(MINUTE);
        let late = resync.due() + MINUTE * 1_000;
        let (mut turns, _) = (resync.step(late, &store), ());
        turns.extend(resync.step(late, &store));
        assert_eq!(turns.len(), 10);
        let (more, _) = run(&mut resync, &store, late + MINUTE);
        assert!(more.len() <= 10, "{}", more.len());
    }

    #[test]
    fn an_empty_store_costs_a_step_a_period() {
        let (store, mut resync) = (Store::of(0), resync(MINUTE));
        let (turns, steps) = run(&mut resync, &store, MINUTE * 100);
        assert!(turns.is_empty() && steps <= 200, "{steps}");
    }

    #[test]
    fn all_windows_have_their_turn() {
        let key = |name| Key::new(None, name);
        let store = Store {
            windows: vec![vec![key("b"), key("d")], vec![], vec![key("a")]],
            longest: RefCell::default(),
        };
        let mut resync = resync(MINUTE);
        let until = resync.due() + MINUTE + TICK;
        let names: Vec<Key> = run(&mut resync, &store, until)
            .0
            .into_iter()
            .map(|(_, key)| key)
            .collect();
        assert_eq!(names[..3], [key("b"), key("d"), key("a")]);
    }

    #[test]
    fn objects_that_vanish_behind_the_spot_cost_the_others_no_turn() {
        let (mut store, mut resync) = (Store::of(1_000), resync(MINUTE));
        let began = resync.due();
        let (turns, _) = run(&mut resync, &store, began + MINUTE / 2);
        let passed: Vec<Key> = turns.into_iter().map(|(_, key)| key).collect();
        store.windows[0].retain(|key| !passed.contains(key));
        let left = store.windows[0].clone();
        let half = left.len() / 2;
        let (turns, _) = run(&mut resync, &store, began + MINUTE);
        assert!(turns.len().abs_diff(half) <= 2, "{}: still spread", turns.len());
        let (rest, _) = run(&mut resync, &store, began + MINUTE + TICK);
        let seen: Vec<Key> = turns.into_iter().chain(rest).map(|(_, key)| key).collect();
        assert_eq!(seen, left);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn in_any_three_periods_every_key_has_two_to_four_turns(
            keys in 1_usize..600, seconds in 1_u64..100_000, seed in any::<u64>()
        ) {
            let every = Duration::from_secs(seconds);
            let store = Store::of(keys);
            let mut resync = Resync::new(Duration::ZERO, every, &mut fastrand::Rng::with_seed(seed));
            let began = resync.due();
            let (turns, _) = run(&mut resync, &store, began + every * 3);
            let mut by_key = BTreeMap::new();
            for (_, key) in turns {
                *by_key.entry(key).or_insert(0) += 1;
            }
            prop_assert_eq!(by_key.len(), keys);
            prop_assert!(by_key.values().all(|turns| (2..=4).contains(turns)), "{:?}", by_key);
        }

        #[test]
        fn what_stays_through_a_round_has_its_turn_in_it_once_whatever_else_comes_and_vanishes(
            stay in 1_usize..300, seconds in 1_u64..1_000, seed in any::<u64>()
        ) {
            let mut rng = fastrand::Rng::with_seed(seed);
            let every = Duration::from_secs(seconds);
            let name = |stays: bool, rng: &mut fastrand::Rng| {
                Key::new(None, &format!("{:04}-{}", rng.u16(..10_000), if stays { "stays" } else { "goes" }))
            };
            let stay: std::collections::BTreeSet<Key> = (0..stay).map(|_| name(true, &mut rng)).collect();
            let mut store = Store { windows: Vec::new(), longest: RefCell::default() };
            let mut resync = Resync::new(Duration::ZERO, every, &mut rng);
            let began = resync.due();
            let mut rounds: BTreeMap<Duration, BTreeMap<Key, u32>> = BTreeMap::new();
            let mut changes = began;
            while resync.due() <= began + every * 4 + TICK {
                let now = resync.due();
                if now >= changes {
                    let others: Vec<Key> = (0..rng.usize(..800)).map(|_| name(false, &mut rng)).collect();
                    let all: std::collections::BTreeSet<Key> = stay.iter().cloned().chain(others).collect();
                    store.windows = vec![all.into_iter().collect()];
                    changes = now + every.mul_f64(rng.f64() / 2.0);
                }
                let round = resync.began;
                let keys = resync.step(now, &store);
                prop_assert!(keys.is_empty() || now <= round + every + TICK);
                for key in keys.into_iter().filter(|key| stay.contains(key)) {
                    *rounds.entry(round).or_default().entry(key).or_default() += 1;
                }
            }
            for round in (0..4).map(|round| began + every * round) {
                let turns = rounds.remove(&round).unwrap_or_default();
                prop_assert_eq!(turns.len(), stay.len());
                prop_assert!(turns.values().all(|turns| *turns == 1), "{:?}", turns);
            }
        }
    }
}
