use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Debug)]
struct Timer(Duration);

impl Timed for Timer {
    fn due(&self) -> Duration {
        self.0
    }
}

/// The wheel and the ordered map that it must not be told apart from.
struct Both {
    slab: Slab<Timer>,
    timers: Timers,
    model: BTreeMap<(Duration, u64), usize>,
    tickets: u64,
    now: Duration,
}

impl Both {
    fn new() -> Self {
        Self {
            slab: Slab::new(),
            timers: Timers::new(),
            model: BTreeMap::new(),
            tickets: 0,
            now: Duration::ZERO,
        }
    }

    fn insert(&mut self, due: Duration) -> usize {
        let slot = self.slab.insert(Timer(due));
        self.link(slot);
        slot
    }

    fn link(&mut self, slot: usize) {
        self.timers.insert(&mut self.slab, slot);
        self.model.insert((self.slab[slot].0, self.tickets), slot);
        self.tickets += 1;
    }

    /// The one that is this many hundredths of the way from first to last.
    fn nth(&self, hundredths: usize) -> Option<((Duration, u64), usize)> {
        let at = self.model.len() * hundredths.min(99) / 100;
        self.model.iter().nth(at).map(|(at, slot)| (*at, *slot))
    }

    fn cancel(&mut self, at: (Duration, u64), slot: usize) {
        self.model.remove(&at);
        self.timers.remove(&mut self.slab, slot);
    }

    fn replace(&mut self, at: (Duration, u64), slot: usize, due: Duration) {
        self.cancel(at, slot);
        self.slab[slot].0 = due;
        self.link(slot);
    }

    fn advance(&mut self, now: Duration) {
        self.now = now;
        while let Some(slot) = self.timers.pop(&mut self.slab, now) {
            let first = self.model.pop_first();
            assert_eq!(
                first.map(|((due, _), slot)| (due, slot)),
                Some((self.slab[slot].0, slot))
            );
            assert!(self.slab[slot].0 <= now);
            self.slab.remove(slot);
            self.agree();
        }
        assert!(self.model.first_key_value().is_none_or(|((due, _), _)| *due > now));
    }

    fn agree(&self) {
        assert_eq!(self.timers.len(), self.model.len());
        assert_eq!(
            self.timers.first(),
            self.model.first_key_value().map(|((due, _), _)| *due)
        );
    }

    /// What must always hold within.
    fn check(&self) {
        for most in [0, 7, usize::MAX] {
            let head: Vec<usize> = self.model.values().copied().take(most).collect();
            assert_eq!(self.timers.head(&self.slab, most), head);
        }
        let mut spare = self.timers.free.clone();
        if !self.timers.wheels.is_empty() {
            self.check_wheel(0, &mut spare);
        }
        spare.sort_unstable();
        spare.dedup();
        assert_eq!(
            spare.len(),
            self.timers.wheels.len(),
            "each wheel is in use or free, and once"
        );
    }

    fn check_wheel(&self, number: u32, seen: &mut Vec<u32>) -> usize {
        let wheel = &self.timers.wheels[number as usize];
        assert!(!seen.contains(&number));
        seen.push(number);
        let mut len = 0;
        for (at, keys) in wheel.spans.iter().enumerate() {
            let within = match keys {
                Span::Finer(finer) => self.check_wheel(*finer, seen),
                Span::Keys(keys) => {
                    assert!(wheel.level == 0 || keys.len() <= CROWD, "no list is long");
                    for slot in keys.numbers(&self.slab) {
                        assert_eq!(span(digits(self.slab[slot].0), wheel.level), at);
                    }
                    keys.len()
                }
            };
            assert_eq!(wheel.used & 1 << at != 0, within > 0);
            len += within;
        }
        assert_eq!(wheel.len, len);
        assert!(wheel.level == ROOT || len > FEW, "a wheel with few keys is a list");
        len
    }
}

#[derive(Clone, Debug)]
enum Op {
    Insert {
        after: Duration,
        times: usize,
    },
    Cancel {
        hundredths: usize,
    },
    CancelMost,
    Replace {
        hundredths: usize,
        after: Duration,
    },
    Pass {
        time: Duration,
    },
    /// To the time of the first, or just before it.
    PassToFirst {
        short: u64,
    },
    Back {
        time: Duration,
    },
}

fn times() -> impl Strategy<Value = Duration> {
    prop_oneof![
        3 => (0..200_u64).prop_map(Duration::from_nanos),
        3 => (0..5_000_u64).prop_map(Duration::from_millis),
        3 => (0..300_000_000_000_u64).prop_map(Duration::from_nanos),
        2 => (1..1000_u64).prop_map(Duration::from_secs),
        1 => any::<u64>().prop_map(Duration::from_nanos),
        1 => (any::<u64>(), 0..1_000_000_000_u32).prop_map(|(seconds, nanos)| Duration::new(seconds, nanos)),
        1 => Just(Duration::MAX),
        1 => Just(Duration::ZERO),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (times(), prop_oneof![4 => Just(1_usize), 2 => 1..20_usize, 1 => 60..150_usize])
            .prop_map(|(after, times)| Op::Insert { after, times }),
        5 => (0..100_usize).prop_map(|hundredths| Op::Cancel { hundredths }),
        3 => Just(Op::Cancel { hundredths: 0 }),
        1 => Just(Op::CancelMost),
        4 => (0..100_usize, times()).prop_map(|(hundredths, after)| Op::Replace { hundredths, after }),
        3 => (0..2_000_u64).prop_map(|time| Op::Pass { time: Duration::from_millis(time) }),
        1 => times().prop_map(|time| Op::Pass { time }),
        4 => (0..2_u64).prop_map(|short| Op::PassToFirst { short }),
        1 => times().prop_map(|time| Op::Back { time }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(12),
        ..ProptestConfig::default()
    })]

    #[test]
    fn rule_12_any_inserts_cancels_replacements_and_jumps_of_time_keep_the_order_of_the_times(
        ops in prop::collection::vec(op(), 1..120),
        spread in prop_oneof![Just(0_u64), Just(1), Just(1_000_000)],
    ) {
        let mut both = Both::new();
        for op in ops {
            match op {
                Op::Insert { after, times } => for number in 0..times as u64 {
                    // Many of one time, of neighbouring times, or of times that lie a little apart.
                    let after = after.saturating_add(Duration::from_nanos(spread * (number % 7)));
                    both.insert(both.now.saturating_add(after));
                }
                Op::Cancel { hundredths } => if let Some((at, slot)) = both.nth(hundredths) {
                    both.cancel(at, slot);
                    both.slab.remove(slot);
                }
                Op::CancelMost => while both.model.len() > 3 {
                    let (at, slot) = both.nth(50).expect("more than three");
                    both.cancel(at, slot);
                    both.slab.remove(slot);
                    both.agree();
                }
                Op::Replace { hundredths, after } => if let Some((at, slot)) = both.nth(hundredths) {
                    both.replace(at, slot, both.now.saturating_add(after));
                }
                Op::Pass { time } => both.advance(both.now.saturating_add(time)),
                Op::PassToFirst { short } => if let Some(first) = both.timers.first() {
                    both.advance(first.saturating_sub(Duration::from_nanos(short)));
                }
                Op::Back { time } => both.advance(both.now.saturating_sub(time)),
            }
            both.agree();
            both.check();
        }
        both.advance(Duration::MAX);
        prop_assert!(both.model.is_empty());
        both.check();
    }
}

#[test]
fn a_hundred_thousand_keys_of_one_time_keep_their_order_and_cost_a_handful_of_wheels() {
    let mut both = Both::new();
    for _ in 0..100_000 {
        both.insert(Duration::from_nanos(123_456_789_012_345));
    }
    assert!(both.timers.wheels.len() <= LEVELS + 1);
    both.check();
    both.advance(Duration::MAX);
    assert_eq!(both.timers.len(), 0);
}

#[test]
fn many_keys_cost_few_wheels_and_none_is_kept_when_they_are_gone() {
    let mut both = Both::new();
    let mut rng = fastrand::Rng::with_seed(1);
    for _ in 0..100_000 {
        both.insert(Duration::from_nanos(rng.u64(0..300_000_000_000)));
    }
    let bytes = both.timers.wheels.len() * size_of::<Wheel>();
    assert!(bytes < 100_000 * 40, "{bytes} bytes of wheels");
    both.advance(Duration::from_secs(299));
    assert!(
        both.timers.wheels.len() - both.timers.free.len() < 100,
        "emptied wheels are free"
    );
    both.advance(Duration::MAX);
    assert!(both.timers.wheels.capacity() == 0);
}

#[test]
fn the_first_that_comes_and_goes_builds_no_wheels() {
    let mut both = Both::new();
    for second in 0..FRONT as u64 {
        both.insert(Duration::from_secs(64 + second));
    }
    let slot = both.insert(Duration::from_secs(1));
    for _ in 0..100 {
        let (at, _) = both.nth(0).expect("it was inserted");
        both.replace(at, slot, Duration::from_secs(1));
        both.agree();
    }
    assert_eq!(both.timers.wheels.len(), 1, "the root alone");
}
