//! Whatever happens.

use std::time::Duration;

use pilothouse_gate::breaker::{Call, Change, Outcome, State};
use proptest::prelude::*;

use crate::bench::bench;

#[derive(Clone, Debug)]
enum Step {
    Begin { key: u64, failures: u32 },
    End { which: usize, outcome: Outcome },
    Pass { millis: u64 },
    Reset,
    Quarantine,
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![
        2 => Just(Outcome::Success),
        3 => Just(Outcome::Failure),
        1 => Just(Outcome::Slow),
        1 => Just(Outcome::Ignored),
    ];
    prop_oneof![
        20 => (0..30_u64, 0..8_u32).prop_map(|(key, failures)| Step::Begin { key, failures }),
        20 => (0..20_usize, outcome).prop_map(|(which, outcome)| Step::End { which, outcome }),
        5 => (0..4_000_u64).prop_map(|millis| Step::Pass { millis }),
        1 => (0..600_000_u64).prop_map(|millis| Step::Pass { millis }),
        1 => prop::bool::weighted(0.1).prop_map(|quarantine| if quarantine { Step::Quarantine } else { Step::Reset }),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_calls_begin_only_where_they_may_and_each_change_is_told(
        steps in prop::collection::vec(step(), 1..600),
        min_calls in 1..10_u32,
        min_keys in 1..4_usize,
        probes in 1..4_u32,
        quarantine_trips in 0..6_usize,
        seed in any::<u64>(),
    ) {
        let mut b = bench(|settings| {
            (settings.min_calls, settings.min_keys, settings.probes) = (min_calls, min_keys, probes);
            settings.quarantine_trips = quarantine_trips;
        });
        b.rng = fastrand::Rng::with_seed(seed);
        let mut under_way: Vec<Call> = Vec::new();
        let mut probing = Vec::new();
        for step in steps {
            let before = b.state();
            let mut by_hand = false;
            let change = match step {
                Step::Begin { key, failures } => {
                    if b.breaker.may_begin() {
                        prop_assert!(matches!(before, State::Closed | State::HalfOpen));
                        let call = b.breaker.begin(key, failures);
                        under_way.push(call);
                        if before == State::HalfOpen {
                            probing.push(call);
                            prop_assert!(probing.len() <= probes as usize);
                        }
                    }
                    None
                }
                Step::End { which, outcome } => {
                    if under_way.is_empty() {
                        continue;
                    }
                    let call = under_way.swap_remove(which % under_way.len());
                    let at = probing.iter().position(|probe| *probe == call);
                    at.map(|at| probing.swap_remove(at));
                    b.end(call, outcome)
                }
                Step::Pass { millis } => {
                    let due = b.breaker.next_due();
                    let may = b.breaker.may_begin();
                    let change = b.pass(Duration::from_millis(millis));
                    // Whoever sleeps until the time that it names misses nothing.
                    if !may && b.breaker.may_begin() {
                        prop_assert!(due.is_some_and(|due| due <= b.now));
                    }
                    change
                }
                Step::Reset => {
                    b.breaker.reset(b.now);
                    by_hand = true;
                    None
                }
                Step::Quarantine => {
                    b.breaker.quarantine(b.now);
                    by_hand = true;
                    None
                }
            };
            let after = b.state();
            if before != after {
                probing.clear();
                let told = match after {
                    State::Closed => change == Some(Change::Closed),
                    State::HalfOpen => change == Some(Change::HalfOpened),
                    State::Open { .. } => matches!(change, Some(Change::Opened { .. })),
                    State::Quarantined => matches!(change, Some(Change::Quarantined { .. })),
                };
                prop_assert!(told || by_hand, "{:?} -> {:?}: {:?}", before, after, change);
            } else {
                prop_assert_eq!(change, None);
                if by_hand && after == State::HalfOpen {
                    probing.clear();
                }
            }
        }
    }

    #[test]
    fn keys_fewer_than_the_minimum_never_open_it(
        min_keys in 2..8_usize,
        calls in prop::collection::vec((0..7_u64, 0..5_000_u64), 0..500),
    ) {
        let mut b = bench(|settings| settings.min_keys = min_keys);
        for (key, millis) in calls {
            b.pass(Duration::from_millis(millis));
            prop_assert_eq!(b.call(key % (min_keys as u64 - 1), Outcome::Failure), None);
        }
    }
}
