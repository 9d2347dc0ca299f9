//! A plugin's breaker, one promise at a time; `poison`: objects that keep failing; `history`: any history of calls.

use std::time::Duration;

use pilothouse_gate::breaker::{Call, Change, Outcome, Rank, Settings, State, Why};

mod bench;
mod history;
mod poison;

use bench::{bench, seconds};

#[test]
fn half_of_the_calls_failing_opens_it_and_fewer_do_not() {
    let mut b = bench(|_| ());
    for key in 0..100 {
        assert_eq!(b.call(key, Outcome::Success), None);
        if key % 3 != 0 {
            assert_eq!(b.call(1_000 + key, Outcome::Failure), None);
        }
    }
    let mut b = bench(|_| ());
    b.calls(0..10, Outcome::Success);
    assert_eq!(b.calls(10..19, Outcome::Failure), None);
    let Some(Change::Opened { why, .. }) = b.call(19, Outcome::Failure) else {
        panic!("ten of twenty failed");
    };
    assert_eq!(why, Why::Failures { failed: 10, calls: 20 });
}

#[test]
fn too_few_calls_open_nothing_and_neither_do_those_of_too_few_keys() {
    let mut b = bench(|_| ());
    assert_eq!(b.calls(0..19, Outcome::Failure), None, "nineteen calls");
    let mut b = bench(|_| ());
    for _ in 0..100 {
        assert_eq!(b.calls(0..4, Outcome::Failure), None, "four keys");
    }
    assert!(
        matches!(b.call(4, Outcome::Failure), Some(Change::Opened { .. })),
        "five"
    );
}

#[test]
fn what_failed_before_the_window_counts_no_more_but_a_row_of_failures_does() {
    let mut b = bench(|settings| settings.consecutive = 0);
    b.calls(0..19, Outcome::Failure);
    b.pass(seconds(61));
    assert_eq!(b.calls(20..39, Outcome::Failure), None);

    let mut b = bench(|settings| settings.failure_rate = 0);
    for key in 0..19 {
        assert_eq!(b.call(key, Outcome::Failure), None);
        b.pass(seconds(60));
    }
    let Some(Change::Opened { why, .. }) = b.call(19, Outcome::Failure) else {
        panic!("twenty in a row");
    };
    assert_eq!(why, Why::InARow { failed: 20 });
    let mut b = bench(|settings| settings.failure_rate = 0);
    for key in 0..19 {
        b.call(key, Outcome::Failure);
    }
    b.call(19, Outcome::Success);
    assert_eq!(b.calls(20..39, Outcome::Failure), None, "a success ends the row");
}

#[test]
fn calls_that_go_well_and_take_too_long_open_it_too() {
    let mut b = bench(|_| ());
    b.calls(0..4, Outcome::Success);
    assert_eq!(b.calls(4..19, Outcome::Slow), None);
    let Some(Change::Opened { why, .. }) = b.call(19, Outcome::Slow) else {
        panic!("sixteen of twenty were slow");
    };
    assert_eq!(why, Why::Slow { slow: 16, calls: 20 });
}

#[test]
fn slow_calls_of_too_few_keys_open_nothing() {
    let mut b = bench(|_| ());
    for _ in 0..100 {
        assert_eq!(b.calls(0..4, Outcome::Slow), None, "four keys");
    }
    assert!(matches!(b.call(4, Outcome::Slow), Some(Change::Opened { .. })), "five");
}

#[test]
fn a_slow_call_went_well_and_ends_a_row_of_failures() {
    let mut b = bench(|settings| (settings.failure_rate, settings.slow_rate) = (0, 0));
    for _ in 0..10 {
        assert_eq!(b.calls(0..19, Outcome::Failure), None);
        assert_eq!(b.call(19, Outcome::Slow), None);
    }
    b.calls(0..19, Outcome::Failure);
    assert!(b.call(19, Outcome::Failure).is_some());
}

#[test]
fn a_row_of_failures_begins_anew_in_a_new_state_and_with_other_settings() {
    let mut b = bench(|settings| settings.failure_rate = 0);
    assert_eq!(b.calls(0..19, Outcome::Failure), None);
    b.breaker.reset(b.now);
    assert_eq!(b.calls(0..19, Outcome::Failure), None, "a new state");
    let other = Settings {
        consecutive: 15,
        ..b.breaker.settings().clone()
    };
    b.breaker.set(other.clone());
    assert_eq!(b.calls(0..14, Outcome::Failure), None, "other settings");
    b.breaker.set(other);
    let Some(Change::Opened { why, .. }) = b.call(14, Outcome::Failure) else {
        panic!("the same settings change nothing");
    };
    assert_eq!(why, Why::InARow { failed: 15 });
}

#[test]
fn what_the_plugin_is_not_to_blame_for_never_opens_it_and_neither_does_anything_where_it_is_off() {
    let mut b = bench(|_| ());
    assert_eq!(b.calls(0..1_000, Outcome::Ignored), None);
    assert_eq!(b.breaker.view(b.now).calls, 0);
    let mut b = bench(|settings| settings.enabled = false);
    assert_eq!(b.calls(0..1_000, Outcome::Failure), None);
}

#[test]
fn open_it_lets_none_begin_until_its_time_is_over() {
    let mut b = bench(|_| ());
    let lasts = b.trip();
    assert!((seconds(8)..=seconds(12)).contains(&lasts), "{lasts:?}");
    assert!(!b.breaker.may_begin());
    assert_eq!(b.breaker.next_due(), Some(b.now + lasts));
    assert_eq!(b.pass(lasts - Duration::from_millis(1)), None);
    assert!(!b.breaker.may_begin());
    assert_eq!(b.pass(Duration::from_millis(1)), Some(Change::HalfOpened));
    assert!(b.breaker.may_begin());
}

#[test]
fn breakers_that_open_together_do_not_end_together_but_within_a_fifth_either_way() {
    let lasts = (0..1_000).map(|seed| {
        let mut b = bench(|_| ());
        b.rng = fastrand::Rng::with_seed(seed);
        b.trip()
    });
    let lasts: Vec<Duration> = lasts.collect();
    assert!(lasts.iter().all(|lasts| (seconds(8)..=seconds(12)).contains(lasts)));
    let (least, most) = (lasts.iter().min().unwrap(), lasts.iter().max().unwrap());
    assert!(*least < seconds(9) && *most > seconds(11), "{least:?} to {most:?}");
}

#[test]
fn half_open_a_few_are_under_way_and_good_ones_close_it() {
    let mut b = bench(|_| ());
    b.trip();
    b.half_open();
    let probes = [b.begin(1, 0), b.begin(2, 0), b.begin(3, 0)];
    assert!(!b.breaker.may_begin(), "three are under way");
    assert_eq!(b.end(probes[0], Outcome::Ignored), None);
    assert_eq!(b.end(probes[1], Outcome::Success), None);
    assert_eq!(
        b.end(probes[2], Outcome::Failure),
        None,
        "one went well and one did not"
    );
    assert_eq!(b.call(4, Outcome::Success), Some(Change::Closed));
}

#[test]
fn half_open_failures_of_two_keys_open_it_again_for_twice_as_long_and_one_that_fails_again_does_not() {
    let mut b = bench(|settings| settings.quarantine_trips = 0);
    b.trip();
    for round in 1..=8 {
        b.half_open();
        for _ in 0..10 {
            assert_eq!(b.call(1, Outcome::Failure), None, "the same key");
        }
        let Some(Change::Opened { lasts, why }) = b.call(2, Outcome::Failure) else {
            panic!("another key failed");
        };
        assert_eq!(why, Why::Probes { failed: 2 });
        let base = (10_u64 << round).min(300);
        let bounds = seconds(base).mul_f64(0.8)..=seconds(base).mul_f64(1.2);
        assert!(bounds.contains(&lasts), "round {round}: {lasts:?}");
    }
}

#[test]
fn half_open_a_key_that_goes_well_takes_back_that_it_failed() {
    let mut b = bench(|_| ());
    b.trip();
    b.half_open();
    b.call(1, Outcome::Failure);
    b.call(1, Outcome::Success);
    assert_eq!(
        b.call(2, Outcome::Failure),
        None,
        "of one key alone it is known that it fails"
    );
    assert!(b.call(1, Outcome::Failure).is_some(), "now of two");
}

#[test]
fn half_open_slow_calls_are_held_against_it_only_where_slowness_is_a_reason() {
    for slow_rate in [0, 80] {
        let mut b = bench(|settings| settings.slow_rate = slow_rate);
        b.trip();
        b.half_open();
        assert_eq!(b.call(1, Outcome::Slow), None);
        let change = b.call(2, Outcome::Slow);
        let (closed, opened) = (
            change == Some(Change::Closed),
            matches!(change, Some(Change::Opened { .. })),
        );
        assert_eq!((closed, opened), (slow_rate == 0, slow_rate > 0), "{change:?}");
    }
}

#[test]
fn half_open_one_failure_decides_nothing_however_few_open_a_closed_one() {
    for failure_rate in [0, 1, 33, 50] {
        let mut b = bench(|settings| settings.failure_rate = failure_rate);
        b.trip();
        b.half_open();
        assert_eq!(b.call(1, Outcome::Failure), None, "{failure_rate} %");
        assert!(b.call(2, Outcome::Failure).is_some(), "{failure_rate} %");
    }
}

#[test]
fn after_a_good_time_the_next_trip_is_as_short_as_the_first() {
    let mut b = bench(|_| ());
    for (good, long) in [(0, false), (10, true), (600, false)] {
        b.pass(seconds(good));
        let lasts = b.trip();
        assert_eq!(lasts > seconds(13), long, "{good} s after it closed: {lasts:?}");
        b.half_open();
        b.calls(0..2, Outcome::Success);
        assert_eq!(b.state(), State::Closed);
        b.pass(seconds(10));
    }
}

#[test]
fn calls_that_began_in_an_earlier_state_change_nothing() {
    let mut b = bench(|_| ());
    let early: Vec<Call> = (0..50).map(|key| b.begin(key, 0)).collect();
    b.trip();
    assert_eq!(b.end(early[0], Outcome::Failure), None);
    b.half_open();
    for call in &early[1..20] {
        assert_eq!(b.end(*call, Outcome::Success), None);
    }
    assert_eq!(b.state(), State::HalfOpen);
    b.calls(60..62, Outcome::Success);
    for call in &early[20..] {
        assert_eq!(b.end(*call, Outcome::Failure), None);
    }
    assert_eq!(b.breaker.view(b.now).calls, 0);
}

#[test]
fn half_open_it_would_rather_see_keys_that_last_went_well() {
    let mut b = bench(|_| ());
    b.calls(0..3, Outcome::Success);
    b.call(2, Outcome::Failure);
    b.trip();
    b.half_open();
    assert!(b.breaker.is_choosy());
    let ranks = [(1, 0), (2, 0), (1, 4)].map(|(key, failures)| b.breaker.rank(key, failures));
    assert_eq!(ranks, [Rank::WentWell, Rank::Unknown, Rank::Failed]);
}

#[test]
fn what_waited_is_released_on_a_ramp() {
    let mut b = bench(|_| ());
    b.trip();
    b.half_open();
    b.calls(0..2, Outcome::Success);
    let mut begun = Vec::new();
    for _ in 0..11 {
        let mut count = 0;
        while b.breaker.may_begin() && count < 10_000 {
            let call = b.begin(count, 0);
            b.end(call, Outcome::Success);
            count += 1;
        }
        begun.push(count);
        let due = b.breaker.next_due().unwrap_or(b.now + seconds(1));
        assert_eq!(due, b.now + seconds(1));
        b.pass(seconds(1));
    }
    assert_eq!(begun, [3, 6, 12, 24, 48, 96, 192, 384, 768, 1_536, 10_000]);
}

#[test]
fn after_so_many_trips_within_a_time_it_stays_open_until_it_is_reset() {
    let mut b = bench(|_| ());
    b.trip();
    for _ in 2..5 {
        b.half_open();
        b.trip();
    }
    b.half_open();
    b.call(0, Outcome::Failure);
    let why = Why::Probes { failed: 2 };
    assert_eq!(b.call(1, Outcome::Failure), Some(Change::Quarantined { why, trips: 5 }));
    assert_eq!((b.pass(seconds(1_000_000)), b.breaker.next_due()), (None, None));
    assert!(!b.breaker.may_begin());
    b.breaker.reset(b.now);
    assert_eq!(b.state(), State::Closed);
    assert!(b.trip() <= seconds(12), "it begins anew");
}

#[test]
fn trips_before_a_reset_are_no_reason_for_a_quarantine() {
    let mut b = bench(|_| ());
    for _ in 0..5 {
        for _ in 0..4 {
            b.trip();
            b.half_open();
        }
        b.breaker.reset(b.now);
    }
    b.trip();
    assert!(matches!(b.state(), State::Open { .. }));
}

#[test]
fn trips_that_are_far_apart_are_no_reason_for_a_quarantine() {
    let mut b = bench(|_| ());
    for _ in 0..20 {
        b.trip();
        b.half_open();
        b.calls(0..2, Outcome::Success);
        b.pass(seconds(1_000));
    }
    assert_eq!(b.breaker.view(b.now).trips, 20);
}

#[test]
fn a_quarantine_by_hand_holds_also_where_the_breaker_is_off() {
    let mut b = bench(|settings| settings.enabled = false);
    let call = b.begin(1, 0);
    b.breaker.quarantine(b.now);
    assert_eq!(b.end(call, Outcome::Success), None);
    assert_eq!((b.pass(seconds(100_000)), b.state()), (None, State::Quarantined));
}
