//! A few objects that keep failing are set apart, and a plugin that is broken is not taken for one that has such
//! objects.

use std::time::Duration;

use pilothouse_gate::breaker::{Change, Outcome, State};
use proptest::prelude::*;

use crate::bench::{Bench, bench, seconds};

#[test]
fn a_key_that_keeps_failing_while_others_go_well_is_set_apart() {
    for well in [Outcome::Success, Outcome::Slow] {
        let mut b = bench(|_| ());
        b.call(0, well);
        for key in 0..1_000 {
            assert_eq!(b.again(key, 5, Outcome::Failure), None);
        }
        assert_eq!(b.breaker.view(b.now).failed, 0);
    }
    let mut b = bench(|_| ());
    for key in 0..19 {
        assert_eq!(b.again(key, 50, Outcome::Failure), None);
    }
    let change = b.again(19, 50, Outcome::Failure);
    assert!(change.is_some(), "nothing of the plugin goes well");
}

/// Forty keys that went well, an hour ago.
fn with_good_ones() -> Bench {
    let mut b = bench(|_| ());
    b.calls(1_000..1_040, Outcome::Success);
    b.pass(seconds(3_600));
    b
}

impl Bench {
    /// A call of a key that failed so often in a row before.
    fn again(&mut self, key: u64, failures: u32, outcome: Outcome) -> Option<Change> {
        let call = self.begin(key, failures);
        self.end(call, outcome)
    }
}

#[test]
fn a_key_is_set_apart_however_long_ago_the_others_went_well_that_were_called_last() {
    let mut b = with_good_ones();
    for round in 0..1_000 {
        assert_eq!(b.again(round % 5, 5, Outcome::Failure), None);
        b.pass(Duration::from_millis(round));
    }
    assert_eq!(b.breaker.view(b.now).failed, 0);
}

#[test]
fn where_no_key_is_ever_to_be_set_apart_each_failure_counts() {
    let mut b = bench(|settings| settings.poison_after = 0);
    b.calls(1_000..1_040, Outcome::Success);
    b.pass(seconds(3_600));
    let trips = (0..40).filter(|round| {
        if matches!(b.state(), State::Open { .. }) {
            b.half_open();
        }
        b.again(round % 5, 50, Outcome::Failure).is_some()
    });
    assert_eq!(trips.take(3).collect::<Vec<_>>(), [19, 21, 23]);
}

#[test]
fn five_keys_that_fail_together_while_no_other_is_called_open_it_once_and_cannot_keep_it_open() {
    let mut b = with_good_ones();
    let opened = (0..4).fold(None, |opened, failures| {
        (0..5).fold(opened, |opened, key| {
            opened.or(b.again(key, failures, Outcome::Failure))
        })
    });
    assert!(matches!(opened, Some(Change::Opened { .. })), "{opened:?}");
    b.half_open();
    for round in 0..1_000 {
        assert_eq!(b.again(round % 5, 4, Outcome::Failure), None, "it says nothing new");
        b.pass(seconds(60));
    }
    assert_eq!(b.state(), State::HalfOpen);
    assert_eq!(b.call(1_001, Outcome::Success), None);
    assert_eq!(b.call(1_002, Outcome::Success), Some(Change::Closed));
    b.pass(seconds(60));
    for round in 0..1_000 {
        assert_eq!(b.again(round % 5, 5, Outcome::Failure), None);
        b.pass(seconds(60));
    }
}

#[test]
fn keys_that_failed_when_it_opened_do_not_open_it_again_when_it_is_closed_and_others_that_fail_do() {
    let mut b = with_good_ones();
    let under_way = b.begin(99, 0);
    b.trip();
    b.half_open();
    b.calls(1_000..1_002, Outcome::Success);
    assert_eq!(b.end(under_way, Outcome::Failure), None, "it began when they did");
    // Well after the ramp, and with nothing good in the window.
    b.pass(seconds(600));
    for round in 0..63 {
        assert_eq!(
            b.again(99 + round % 21, 1 + (round / 21) as u32, Outcome::Failure),
            None
        );
    }
    assert_eq!(b.breaker.view(b.now).failed, 0);
    assert_eq!(b.call(100, Outcome::Success), None, "it is mended");
    b.pass(seconds(600));
    assert_eq!(b.call(100, Outcome::Failure), None);
    assert_eq!(b.calls(200..218, Outcome::Failure), None);
    let change = b.call(218, Outcome::Failure);
    assert!(
        matches!(change, Some(Change::Opened { .. })),
        "twenty failed anew: {change:?}"
    );
}

#[test]
fn half_open_keys_that_failed_before_are_evidence_where_no_others_are_known_to_go_well() {
    let mut b = bench(|_| ());
    b.trip();
    for trips in 2..=5 {
        b.half_open();
        assert_eq!(b.again(100, 50, Outcome::Failure), None);
        let change = b.again(101, 50, Outcome::Failure);
        let quarantined = matches!(change, Some(Change::Quarantined { .. }));
        assert_eq!((change.is_some(), quarantined), (true, trips == 5));
    }
}

#[test]
fn where_as_many_keys_failed_lately_as_went_well_those_that_keep_failing_count_like_any() {
    // Sixty-four keys are remembered.
    for (keys, opens) in [(31, false), (32, true)] {
        let mut b = with_good_ones();
        let opened = (0..200).any(|round| b.again(round % keys, 5, Outcome::Failure).is_some());
        assert_eq!(opened, opens, "{keys} keys");
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Poison { key: u64, failures: u32 },
    Good { key: u64 },
    Pass { millis: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (100..120_u64, 5..60_u32).prop_map(|(key, failures)| Step::Poison { key, failures }),
        1 => (1_000..1_040_u64).prop_map(|key| Step::Good { key }),
        5 => (0..600_000_u64).prop_map(|millis| Step::Pass { millis }),
    ]
}

proptest! {
    #[test]
    fn keys_that_are_set_apart_neither_open_it_nor_keep_it_open_whatever_their_number_order_and_pauses(
        steps in prop::collection::vec(step(), 1..400),
        half_open in any::<bool>(),
        probes in prop_oneof![Just(1), Just(3), Just(5), Just(7_u32)],
    ) {
        let mut b = bench(|settings| settings.probes = probes);
        b.calls(1_000..1_040, Outcome::Success);
        if half_open {
            b.trip();
            b.half_open();
        }
        let mut good = 0;
        for step in steps {
            match step {
                Step::Pass { millis } => prop_assert_eq!(b.pass(Duration::from_millis(millis)), None),
                // A ramp holds back whom it will; what is due is there a second later.
                _ if !b.breaker.may_begin() => prop_assert_eq!(b.pass(seconds(1)), None),
                Step::Poison { key, failures } => {
                    prop_assert_eq!(b.again(key, failures, Outcome::Failure), None);
                }
                Step::Good { key } => {
                    let change = b.call(key, Outcome::Success);
                    prop_assert!(matches!(change, None | Some(Change::Closed)), "{:?}", change);
                    good += 1;
                }
            }
            // So many probes that went well are a majority, however many of the others failed in between.
            let closed = !half_open || good > probes / 2;
            prop_assert_eq!(b.state() == State::Closed, closed, "{} went well", good);
        }
    }

    #[test]
    fn a_plugin_that_is_broken_opens_it_again_and_again_however_seldom_its_keys_come_and_well_they_went(
        known in 0..200_u64,
        // How long a key comes after the one before, and how often it is tried.
        keys in prop::collection::vec((0..3_600_000_u64, 1..20_u32), 40),
    ) {
        let mut b = bench(|settings| settings.quarantine_trips = 0);
        b.calls(1_000..1_000 + known, Outcome::Success);
        let (mut trips, mut fresh) = (0, 0);
        for (key, (millis, tries)) in keys.into_iter().enumerate() {
            b.pass(Duration::from_millis(millis));
            if !b.breaker.may_begin() {
                // It waits, and is the first to be tried.
                b.half_open();
            }
            fresh += 1;
            for failures in 0..tries {
                if !b.breaker.may_begin() {
                    break;
                }
                trips += u32::from(b.again(1_000 + key as u64, failures, Outcome::Failure).is_some());
            }
            let by_now = if fresh < 20 { 0 } else { 1 + (fresh - 20) / 2 };
            prop_assert!(trips >= by_now, "{} trips after {} keys", trips, fresh);
        }
    }
}
