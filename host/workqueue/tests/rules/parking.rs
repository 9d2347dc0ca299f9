//! Parked keys: what parks, what wakes, and that no change is lost between the two.

use crate::common::{Q, ZERO, fail, ms, queue, queue_with_attempts, rng, run_all, s};
use pilothouse_workqueue::{Failure, MAX_ERROR, MAX_ERRORS, MAX_REASON, Parked, Retry};
use std::time::Duration;

/// A queue in which `key` failed terminally.
fn with_parked(key: &'static str) -> Q {
    let mut queue = queue();
    queue.add(ZERO, key, 3, "change");
    assert!(queue.get(ZERO).is_some());
    assert!(queue.park(ZERO, &key, "spec is invalid".to_owned(), "failed"));
    queue.done(ZERO, &key);
    queue
}

#[test]
fn a_parked_key_keeps_reason_cause_time_and_attempts_and_runs_no_more() {
    let mut queue = with_parked("a");
    assert!(queue.get(s(10_000)).is_none());
    assert_eq!((queue.parked_len(), queue.next_due()), (1, None));
    let parked = queue.parked().next().expect("one is parked");
    assert_eq!((*parked.key, parked.priority), ("a", 3));
    assert_eq!(
        (parked.parked.reason.as_str(), parked.parked.cause),
        ("spec is invalid", "failed")
    );
    assert_eq!((parked.parked.since, parked.parked.attempts), (ZERO, 1));
}

#[test]
fn an_event_wakes_a_parked_key() {
    let mut queue = with_parked("a");
    queue.add(s(1), "a", 0, "change");
    assert_eq!((queue.parked_len(), queue.is_parked(&"a")), (0, false));
    let taken = queue.get(s(1)).expect("it was woken");
    assert_eq!((taken.key, taken.priority, taken.attempt), ("a", 0, 2));
    assert_eq!(taken.causes.first(), Some(&"change"));
}

#[test]
fn a_resync_or_an_own_write_leaves_a_parked_key_parked() {
    let mut queue = with_parked("a");
    assert!(!queue.add_unless_parked(s(1), "a", 0, "resync"));
    assert!(queue.is_parked(&"a") && queue.get(s(1)).is_none());
    assert!(queue.add_unless_parked(s(1), "b", 0, "resync"), "other keys are queued");
    assert_eq!(run_all(&mut queue, s(1)), ["b"]);
}

#[test]
fn a_delayed_add_takes_a_key_off_the_parked_ones_and_runs_it_when_due() {
    let mut queue = with_parked("a");
    queue.add_after(s(1), "a", s(5), 0, "later");
    assert_eq!((queue.parked_len(), queue.next_due()), (0, Some(s(6))));
    assert_eq!(run_all(&mut queue, s(6)), ["a"]);
}

#[test]
fn a_person_can_wake_a_parked_key_and_no_other() {
    let mut queue = with_parked("a");
    queue.add_after(ZERO, "delayed", s(5), 0, "later");
    assert!(!queue.wake(s(1), &"delayed", "person") && !queue.wake(s(1), &"unknown", "person"));
    assert_eq!(queue.next_due(), Some(s(5)));
    assert!(queue.wake(s(1), &"a", "person"));
    assert!(!queue.wake(s(1), &"a", "person"), "it is awake");
    let taken = queue.get(s(1)).expect("it was woken");
    assert_eq!((taken.priority, taken.causes.first()), (3, Some(&"person")));
}

#[test]
fn a_change_that_came_during_the_last_attempt_is_not_parked_away() {
    let mut queue = queue();
    queue.add(ZERO, "a", 0, "change");
    assert!(queue.get(ZERO).is_some());
    queue.add(ZERO, "a", 0, "the mend");
    assert!(!queue.park(ZERO, &"a", "spec is invalid".to_owned(), "failed"));
    queue.done(ZERO, &"a");
    let taken = queue.get(ZERO).expect("the mend gets its attempt");
    assert_eq!((taken.causes.first(), taken.attempt), (Some(&"the mend"), 2));
}

#[test]
fn a_change_that_waits_for_its_time_is_not_parked_away() {
    let mut queue = queue();
    queue.add(ZERO, "a", 0, "change");
    assert!(queue.get(ZERO).is_some());
    queue.add_after(ZERO, "a", s(1), 0, "the mend");
    assert!(!queue.park(ZERO, &"a", "spec is invalid".to_owned(), "failed"));
    queue.done(ZERO, &"a");
    assert_eq!(run_all(&mut queue, s(1)), ["a"]);
}

#[test]
fn a_change_during_the_last_attempt_allowed_gives_a_new_round() {
    let mut queue = queue_with_attempts(2);
    queue.add(ZERO, "a", 0, "change");
    assert_eq!(fail(&mut queue, ZERO, "a"), Retry::After(ms(5)));
    assert!(queue.get(s(1)).is_some());
    queue.add(s(1), "a", 0, "the mend");
    assert_eq!(queue.retry(s(1), "a", &mut rng(), "failed"), Retry::After(ZERO));
    queue.done(s(1), &"a");
    assert!(matches!(fail(&mut queue, s(1), "a"), Retry::After(_)));
    assert_eq!(fail(&mut queue, s(2), "a"), Retry::Parked);
}

#[test]
fn a_resync_during_the_last_attempt_gives_way_to_parking() {
    let mut queue = queue();
    queue.add(ZERO, "a", 0, "change");
    assert!(queue.get(ZERO).is_some());
    assert!(queue.add_unless_parked(ZERO, "a", 0, "own status write"));
    assert!(queue.park(ZERO, &"a", "spec is invalid".to_owned(), "failed"));
    queue.done(ZERO, &"a");
    assert!(queue.get(s(100)).is_none() && queue.is_parked(&"a"));
}

#[test]
fn a_resync_does_not_take_the_waking_from_a_change_that_waits() {
    let mut queue = queue();
    queue.add(ZERO, "a", 0, "change");
    assert!(queue.get(ZERO).is_some());
    queue.add(ZERO, "a", 0, "the mend");
    queue.add_unless_parked(ZERO, "a", 0, "resync");
    assert!(!queue.park(ZERO, &"a", "spec is invalid".to_owned(), "failed"));
}

#[test]
fn a_change_that_an_attempt_has_seen_does_not_keep_the_next_one_from_parking() {
    let mut queue = queue();
    queue.add(ZERO, "a", 0, "change");
    assert!(queue.get(ZERO).is_some());
    queue.add_unless_parked(ZERO, "a", 0, "resync");
    queue.done(ZERO, &"a");
    assert!(queue.get(ZERO).is_some());
    assert!(queue.park(ZERO, &"a", "spec is invalid".to_owned(), "failed"));
}

#[test]
fn a_parked_key_that_is_still_in_work_is_woken_by_an_event_and_runs_when_done() {
    let mut queue = queue();
    queue.add(ZERO, "a", 0, "change");
    assert!(queue.get(ZERO).is_some());
    assert!(queue.park(ZERO, &"a", "spec is invalid".to_owned(), "failed"));
    queue.add(ZERO, "a", 0, "the mend");
    assert!(queue.get(ZERO).is_none(), "still in work");
    queue.done(ZERO, &"a");
    assert_eq!(queue.get(ZERO).map(|taken| taken.key), Some("a"));
}

#[test]
fn waking_gives_a_new_round_of_attempts_and_the_count_goes_on() {
    let mut queue = queue_with_attempts(2);
    queue.add(ZERO, "a", 0, "change");
    fail(&mut queue, ZERO, "a");
    assert_eq!(fail(&mut queue, s(1), "a"), Retry::Parked);
    queue.add(s(2), "a", 0, "change");
    assert!(
        matches!(fail(&mut queue, s(2), "a"), Retry::After(_)),
        "one failure of the new round"
    );
    assert_eq!(fail(&mut queue, s(3), "a"), Retry::Parked);
    assert_eq!(queue.parked().next().map(|key| key.parked.attempts), Some(4));
}

#[test]
fn parking_a_parked_key_gives_it_a_better_reason() {
    let mut queue = queue_with_attempts(1);
    queue.add(s(1), "a", 0, "change");
    assert!(queue.get(s(1)).is_some());
    assert_eq!(queue.retry(s(1), "a", &mut rng(), "failed"), Retry::Parked);
    assert!(queue.park(s(2), &"a", "gave up: quota exceeded".to_owned(), "better"));
    assert_eq!(
        queue.retry(s(2), "a", &mut rng(), "failed"),
        Retry::Parked,
        "asking again changes nothing"
    );
    let parked = queue.parked().next().expect("one is parked").parked;
    assert_eq!(
        (parked.reason.as_str(), parked.cause),
        ("gave up: quota exceeded", "better")
    );
    assert_eq!((parked.since, parked.attempts), (s(1), 1));
}

#[test]
fn parking_drops_the_back_off_that_waits() {
    let mut queue = queue();
    queue.add(ZERO, "a", 0, "change");
    fail(&mut queue, ZERO, "a");
    assert!(queue.park(ZERO, &"a", "given up by a person".to_owned(), "person"));
    assert_eq!((queue.delayed_len(), queue.next_due()), (0, None));
    assert!(queue.get(s(100)).is_none());
}

#[test]
fn a_key_that_was_never_seen_can_be_parked() {
    let mut queue = queue();
    assert!(queue.park(s(1), &"a", "parked before the restart".to_owned(), "restored"));
    assert_eq!((queue.parked_len(), queue.is_empty()), (1, true));
    queue.add(s(2), "a", 0, "change");
    assert_eq!(queue.get(s(2)).map(|taken| taken.attempt), Some(1));
}

#[test]
fn a_key_can_be_taken_off_the_parked_ones_without_a_run() {
    let mut queue = with_parked("a");
    assert!(!queue.remove(&"a"), "cancelling runs does not touch it");
    assert_eq!(
        queue.unpark(&"a").map(|parked| parked.reason),
        Some("spec is invalid".to_owned())
    );
    assert!(queue.unpark(&"a").is_none());
    assert!(queue.get(s(100)).is_none());
    queue.forget(&"a");
    assert_eq!((queue.parked_len(), queue.entries().count()), (0, 0));
}

#[test]
fn parked_keys_stay_when_the_queue_shuts_down_and_a_failing_one_can_join_them() {
    let mut queue = with_parked("a");
    queue.add(ZERO, "b", 0, "change");
    assert!(queue.get(ZERO).is_some());
    queue.shut_down();
    assert!(queue.park(ZERO, &"b", "spec is invalid".to_owned(), "failed"));
    queue.done(ZERO, &"b");
    queue.add(ZERO, "a", 0, "change");
    assert!(!queue.wake(ZERO, &"a", "person"));
    assert_eq!(queue.parked_len(), 2);
    assert!(queue.drained());
}

#[test]
fn a_long_reason_is_cut_between_two_characters() {
    let mut queue = queue();
    queue.park(ZERO, &"a", "é".repeat(MAX_REASON) + "x", "failed");
    queue.park(ZERO, &"b", format!("x{}", "é".repeat(MAX_REASON)), "failed");
    let mut lengths: Vec<usize> = queue.parked().map(|key| key.parked.reason.len()).collect();
    lengths.sort_unstable();
    assert_eq!(lengths, [MAX_REASON - 1, MAX_REASON]);
}

/// Runs and fails a key for a reason.
fn fail_for(queue: &mut Q, now: Duration, key: &'static str, reason: &str) -> Retry {
    assert_eq!(queue.get(now).map(|taken| taken.key), Some(key));
    queue.failed(now, &key, reason);
    let retry = queue.retry(now, key, &mut rng(), "failed");
    queue.done(now, &key);
    retry
}

fn errors(queue: &Q, key: &'static str) -> Vec<(u64, u32, String)> {
    let entry = queue.entry(&key).expect("the queue knows of it");
    let told = |error: &Failure| (error.at.as_secs(), error.attempt, error.reason.to_string());
    entry.errors.iter().map(told).collect()
}

#[test]
fn a_failing_key_keeps_its_last_errors_with_time_attempt_and_reason() {
    let mut queue = queue();
    queue.add(ZERO, "a", 0, "change");
    for at in 1..=MAX_ERRORS as u64 + 3 {
        fail_for(&mut queue, s(at * 1000), "a", &format!("error {at}"));
    }
    let kept = errors(&queue, "a");
    assert_eq!(kept.len(), MAX_ERRORS);
    assert_eq!(kept[0], (4_000, 4, "error 4".to_owned()), "the oldest go first");
    assert_eq!(kept[MAX_ERRORS - 1], (11_000, 11, "error 11".to_owned()));
}

#[test]
fn a_parked_key_keeps_the_errors_that_led_there_also_once_it_is_woken() {
    let mut queue = queue_with_attempts(2);
    queue.add(ZERO, "a", 0, "change");
    fail_for(&mut queue, s(1), "a", "first");
    assert_eq!(fail_for(&mut queue, s(2), "a", "second"), Retry::Parked);
    let both = [(1, 1, "first".to_owned()), (2, 2, "second".to_owned())];
    assert_eq!(errors(&queue, "a"), both);
    queue.add(s(3), "a", 0, "change");
    assert_eq!(errors(&queue, "a"), both);
}

#[test]
fn errors_are_forgotten_with_the_failures() {
    let mut queue = queue();
    queue.add(ZERO, "a", 0, "change");
    fail_for(&mut queue, s(1), "a", "first");
    assert!(queue.get(s(2)).is_some());
    queue.forget(&"a");
    assert_eq!(errors(&queue, "a"), []);
}

#[test]
fn the_error_of_a_key_that_is_not_in_work_is_nobodys() {
    let mut queue = queue();
    queue.failed(ZERO, &"unknown", "of whom?");
    queue.add(ZERO, "a", 0, "change");
    queue.failed(ZERO, &"a", "it did not run");
    assert_eq!(errors(&queue, "a"), []);
    assert!(queue.entry(&"unknown").is_none());
}

#[test]
fn a_long_error_is_cut_and_the_same_one_again_shares_its_text() {
    let mut queue = queue();
    queue.add(ZERO, "a", 0, "change");
    let long = format!("x{}", "é".repeat(MAX_ERROR));
    fail_for(&mut queue, s(1), "a", &long);
    fail_for(&mut queue, s(2), "a", &long);
    let entry = queue.entry(&"a").expect("the queue knows of it");
    let [first, second] = entry.errors else {
        panic!("two errors")
    };
    assert_eq!(first.reason.len(), MAX_ERROR - 1, "between two characters");
    assert!(std::sync::Arc::ptr_eq(&first.reason, &second.reason));
}

#[test]
fn a_restored_key_stands_as_it_stood_and_wakes_with_a_new_round_of_attempts() {
    let mut queue = queue_with_attempts(2);
    let error = |attempt: u32| Failure {
        at: s(attempt.into()),
        attempt,
        reason: "quota".into(),
    };
    let stood = Parked {
        reason: "é".repeat(MAX_REASON),
        cause: "before the restart",
        since: s(40),
        attempts: 40,
    };
    assert!(queue.restore("a", stood.clone(), (1..=40).map(error)));
    assert!(!queue.restore("a", stood, []), "it is there already");
    assert_eq!((queue.parked_len(), queue.get(s(50)).is_none()), (1, true));
    assert!(!queue.add_unless_parked(s(50), "a", -100, "first list"));
    let entry = queue.entry(&"a").expect("it was set down");
    assert_eq!((entry.attempts, entry.errors.len()), (40, MAX_ERRORS));
    let parked = queue.parked().next().expect("one is parked").parked;
    assert_eq!(
        (parked.since, parked.attempts, parked.reason.len()),
        (s(40), 40, MAX_REASON)
    );
    queue.add(s(60), "a", 0, "change");
    assert!(matches!(fail(&mut queue, s(60), "a"), Retry::After(_)));
    assert_eq!(fail(&mut queue, s(61), "a"), Retry::Parked);
    assert_eq!(queue.parked().next().map(|key| key.parked.attempts), Some(42));
}

#[test]
fn a_key_that_waits_is_not_restored_over() {
    let mut queue = queue();
    queue.add(ZERO, "a", 0, "change");
    let stood = Parked {
        reason: String::new(),
        cause: "before the restart",
        since: ZERO,
        attempts: 1,
    };
    assert!(!queue.restore("a", stood, []));
    assert_eq!(run_all(&mut queue, ZERO), ["a"]);
}
