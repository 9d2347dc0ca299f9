//! Rules 14–24, as far as they are the queue's: rate limits and what follows an outcome.

use crate::common::{ZERO, fail, ms, queue, queue_with_attempts, rng, run_all, s};
use pilothouse_workqueue::{Limit, Limits, Queue, QueueConfig, Retry};
use std::time::Duration;

#[test]
fn rule_14_each_failure_in_a_row_doubles_the_wait() {
    let mut queue = queue();
    queue.add(ZERO, "a", 0, "change");
    let mut now = ZERO;
    for (attempt, wait) in [5, 10, 20, 40, 80].into_iter().enumerate() {
        assert!(queue.entry(&"a").is_some_and(|entry| entry.attempts == attempt as u32));
        assert_eq!(fail(&mut queue, now, "a"), Retry::After(ms(wait)));
        assert!(queue.get(now + ms(wait - 1)).is_none());
        now += ms(wait);
    }
    assert_eq!(queue.failures(&"a"), 5);
    assert_eq!(queue.get(now).expect("its back-off is over").attempt, 6);
}

#[test]
fn rule_14_failures_of_one_key_slow_no_other_key() {
    let mut queue = queue();
    queue.add(ZERO, "a", 0, "change");
    assert_eq!(fail(&mut queue, ZERO, "a"), Retry::After(ms(5)));
    assert_eq!(fail(&mut queue, ms(5), "a"), Retry::After(ms(10)));
    queue.add(ms(5), "b", 0, "change");
    assert_eq!(fail(&mut queue, ms(5), "b"), Retry::After(ms(5)));
}

#[test]
fn rule_14_jitter_comes_from_the_seed_and_stays_within_the_back_off() {
    let waits = |seed| {
        let mut queue: Queue<u32, &str> = Queue::new(QueueConfig::default());
        let mut rng = fastrand::Rng::with_seed(seed);
        (0..50)
            .map(|key| queue.retry(ZERO, key, &mut rng, "failed"))
            .collect::<Vec<_>>()
    };
    assert_eq!(waits(1), waits(1));
    assert_ne!(waits(1), waits(2));
    assert!(
        waits(1)
            .iter()
            .all(|retry| matches!(retry, Retry::After(wait) if *wait <= ms(5)))
    );
}

#[test]
fn rule_15_forgetting_clears_the_count_alone_and_done_is_still_owed() {
    let mut queue = queue();
    queue.add(ZERO, "a", 0, "change");
    fail(&mut queue, ZERO, "a");
    assert_eq!(queue.get(ms(5)).map(|taken| taken.attempt), Some(2));
    queue.forget(&"a");
    assert_eq!((queue.failures(&"a"), queue.in_work()), (0, 1));
    queue.add(ms(5), "a", 0, "change");
    assert!(queue.get(ms(5)).is_none(), "still in work");
    queue.done(ms(5), &"a");
    assert_eq!(queue.get(ms(5)).map(|taken| taken.attempt), Some(1));
    queue.forget(&"unknown");
}

#[test]
fn rule_15_forgetting_a_delayed_key_leaves_it_delayed() {
    let mut queue = queue();
    queue.add(ZERO, "a", 0, "change");
    fail(&mut queue, ZERO, "a");
    queue.forget(&"a");
    assert_eq!((queue.delayed_len(), queue.failures(&"a")), (1, 0));
    assert_eq!(run_all(&mut queue, ms(5)), ["a"]);
    assert_eq!(queue.entries().count(), 0);
}

/// What a queue with these limits answers when `key` fails, time after time, at `now`.
fn waits(queue: &mut Queue<u32, &'static str>, now: Duration, keys: impl IntoIterator<Item = u32>) -> Vec<Duration> {
    keys.into_iter()
        .map(|key| match queue.retry(now, key, &mut rng(), "failed") {
            Retry::After(wait) => wait,
            other => panic!("{other:?}"),
        })
        .collect()
}

fn slowly(jitter: bool) -> Limit {
    Limit::Exponential {
        base: s(1),
        cap: s(8),
        jitter,
    }
}

const FAST_SLOW: Limit = Limit::FastSlow {
    fast: Duration::from_millis(10),
    slow: Duration::from_secs(5),
    quick: 2,
};

const BUCKET: Limit = Limit::Bucket {
    every: Duration::from_millis(100),
    burst: 3,
};

#[test]
fn rule_15_forgetting_clears_the_count_for_every_limiter() {
    let mut queue = Queue::new(Limits::new([slowly(false), FAST_SLOW, Limit::Attempts { most: 3 }]));
    for round in 0..3 {
        let now = s(1000 * round);
        assert_eq!(waits(&mut queue, now, [7]), [s(1)]);
        queue.remove(&7);
        assert_eq!(waits(&mut queue, now, [7]), [s(2)]);
        queue.remove(&7);
        queue.forget(&7);
    }
    assert_eq!(queue.entries().count(), 0);
    waits(&mut queue, ZERO, [7, 7]);
    assert_eq!(
        queue.retry(ZERO, 7, &mut rng(), "failed"),
        Retry::Parked,
        "the third in a row"
    );
}

#[test]
fn rule_16_the_longest_wait_wins_and_all_limiters_are_consumed() {
    let mut queue = Queue::new(Limits::new([slowly(false), FAST_SLOW, BUCKET]));
    // One key alone: 1 s and 2 s of the back-off, then the slow wait, then the back-off again.
    for wait in [s(1), s(2), s(5), s(8)] {
        assert_eq!(waits(&mut queue, s(100), [1]), [wait]);
        queue.remove(&1);
    }
    // Four tokens of three are gone, though no wait was the bucket's.
    queue.set_limits(BUCKET);
    assert_eq!(waits(&mut queue, s(100), [2]), [ms(200)]);
}

#[test]
fn rule_16_a_retry_that_ends_in_parking_has_taken_its_token_too() {
    let mut queue = Queue::new(Limits::new([BUCKET, Limit::Attempts { most: 1 }]));
    for key in 0..3 {
        assert_eq!(queue.retry(s(1), key, &mut rng(), "failed"), Retry::Parked);
    }
    queue.set_limits(BUCKET);
    assert_eq!(waits(&mut queue, s(1), [9]), [ms(100)]);
}

#[test]
fn rule_17_one_bucket_serves_the_whole_queue_ten_a_second_after_a_burst_of_a_hundred() {
    let mut queue = Queue::new(Limits::client_go());
    let waits = waits(&mut queue, s(1), 0..200);
    assert!(
        waits[..100].iter().all(|wait| *wait == ms(5)),
        "their own back-off alone"
    );
    assert_eq!((waits[100], waits[199]), (ms(100), s(10)));
    queue.advance(s(3));
    assert_eq!((queue.len(), queue.delayed_len()), (120, 80));
}

#[test]
fn rule_17_adds_and_waits_that_a_failure_names_take_no_token() {
    let mut queue = Queue::new(BUCKET);
    for key in 0..50 {
        queue.add(s(1), key, 0, "change");
        queue.add_after(s(1), key + 100, s(1), 0, "later");
        assert_eq!(
            queue.retry_after(s(1), key + 200, ms(1), "too many requests"),
            Retry::After(ms(1))
        );
    }
    assert_eq!(waits(&mut queue, s(1), 300..304), [ms(0), ms(0), ms(0), ms(100)]);
}

#[test]
fn rule_18_an_event_for_a_failing_key_runs_it_at_once_and_does_not_raise_its_count() {
    let mut queue = queue();
    queue.add(ZERO, "a", 0, "change");
    fail(&mut queue, ZERO, "a");
    queue.add(ms(1), "a", 0, "unrelated");
    queue.add(ms(1), "a", 0, "unrelated");
    assert_eq!(queue.failures(&"a"), 1);
    let taken = queue.get(ms(1)).expect("the event replaces the back-off");
    assert_eq!(taken.attempt, 2);
    assert_eq!(
        taken.causes.iter().copied().collect::<Vec<_>>(),
        ["failed", "unrelated", "unrelated"]
    );
    queue.done(ms(1), &"a");
    assert!(queue.get(s(100)).is_none(), "the back-off went with it");
}

#[test]
fn rule_18_an_event_that_came_while_the_key_failed_is_served_at_once_and_once() {
    let mut queue = queue();
    queue.add(ZERO, "a", 0, "change");
    assert!(queue.get(ZERO).is_some());
    queue.add(ZERO, "a", 0, "event");
    assert_eq!(queue.retry(ZERO, "a", &mut rng(), "failed"), Retry::After(ZERO));
    queue.done(ZERO, &"a");
    assert_eq!(queue.get(ZERO).map(|taken| taken.attempt), Some(2));
    queue.done(ZERO, &"a");
    assert!(queue.get(s(100)).is_none());
}

#[test]
fn rule_18_events_take_no_token_and_raise_no_count_of_a_failing_key() {
    let mut queue = Queue::new(Limits::new([slowly(false), BUCKET]));
    assert_eq!(waits(&mut queue, s(1), [1]), [s(1)]);
    for _ in 0..20 {
        queue.add(s(1), 1, 0, "unrelated");
        queue.add_unless_parked(s(1), 1, 0, "resync");
        queue.add_after(s(1), 1, s(1), 0, "later");
    }
    assert_eq!(
        (queue.failures(&1), queue.entry(&1).map(|entry| entry.attempts)),
        (1, Some(1))
    );
    assert_eq!(queue.get(s(1)).map(|taken| taken.attempt), Some(2));
    assert_eq!(waits(&mut queue, s(1), [1]), [s(2)]);
    queue.set_limits(BUCKET);
    assert_eq!(
        waits(&mut queue, s(1), [2, 3]),
        [ms(0), ms(100)],
        "three tokens, two taken before"
    );
}

#[test]
fn rule_19_an_error_is_a_retry_after_the_back_off_that_grows_with_each() {
    let mut queue = queue();
    queue.add(ZERO, "a", 0, "change");
    assert_eq!(fail(&mut queue, ZERO, "a"), Retry::After(ms(5)));
    assert_eq!(
        (queue.len(), queue.next_due(), queue.stats(ZERO).retries),
        (0, Some(ms(5)), 1)
    );
    assert_eq!(fail(&mut queue, ms(5), "a"), Retry::After(ms(10)));
    assert_eq!((queue.failures(&"a"), queue.parked_len()), (2, 0));
}

#[test]
fn rule_20_a_terminal_failure_queues_nothing_and_the_count_stays() {
    let mut queue = queue();
    queue.add(ZERO, "a", 0, "change");
    fail(&mut queue, ZERO, "a");
    fail(&mut queue, ms(5), "a");
    assert!(queue.get(ms(15)).is_some());
    assert!(queue.park(ms(15), &"a", "spec is invalid".to_owned(), "failed"));
    queue.done(ms(15), &"a");
    assert!(queue.get(s(1000)).is_none());
    assert_eq!(queue.failures(&"a"), 2);
    queue.add(s(1000), "a", 0, "change");
    assert_eq!(
        queue.get(s(1000)).map(|taken| taken.attempt),
        Some(4),
        "the terminal attempt was one too"
    );
    assert_eq!(queue.retry(s(1000), "a", &mut rng(), "failed"), Retry::After(ms(20)));
}

#[test]
fn rule_21_a_requeue_after_a_success_starts_from_no_failures() {
    let mut queue = queue();
    queue.add(ZERO, "a", 0, "change");
    fail(&mut queue, ZERO, "a");
    let taken = queue.get(ms(5)).expect("its back-off is over");
    queue.forget(&"a");
    queue.add_after(ms(5), "a", s(60), taken.priority, "asked to be called again");
    queue.done(ms(5), &"a");
    assert_eq!(queue.next_due(), Some(ms(60_005)));
    assert_eq!(queue.get(ms(60_005)).map(|taken| taken.attempt), Some(1));
}

#[test]
fn rule_22_after_a_success_the_next_failure_waits_as_the_first_did() {
    let mut queue = queue();
    queue.add(ZERO, "a", 0, "change");
    fail(&mut queue, ZERO, "a");
    fail(&mut queue, ms(5), "a");
    assert_eq!(queue.get(ms(15)).map(|taken| taken.attempt), Some(3));
    queue.forget(&"a");
    queue.done(ms(15), &"a");
    assert_eq!(queue.entries().count(), 0, "nothing is remembered of it");
    queue.add(s(1), "a", 0, "change");
    assert_eq!(fail(&mut queue, s(1), "a"), Retry::After(ms(5)));
}

#[test]
fn rule_24_the_priority_survives_a_retry() {
    let mut queue = queue();
    queue.add(ZERO, "a", -100, "initial");
    fail(&mut queue, ZERO, "a");
    assert_eq!(queue.get(ms(5)).map(|taken| taken.priority), Some(-100));
    queue.add(ms(5), "a", -200, "resync");
    queue.retry(ms(5), "a", &mut rng(), "failed");
    queue.done(ms(5), &"a");
    assert_eq!(
        queue.get(ms(5)).map(|taken| taken.priority),
        Some(-100),
        "also where a lower one was asked for"
    );
}

#[test]
fn a_wait_that_the_failure_names_counts_as_attempt_and_leaves_the_back_off() {
    let mut queue = queue();
    queue.add(ZERO, "a", 0, "change");
    assert!(queue.get(ZERO).is_some());
    assert_eq!(
        queue.retry_after(ZERO, "a", s(3), "too many requests"),
        Retry::After(s(3))
    );
    queue.done(ZERO, &"a");
    assert_eq!(queue.failures(&"a"), 0);
    assert_eq!(queue.get(s(3)).map(|taken| taken.attempt), Some(2));
    assert_eq!(queue.retry(s(3), "a", &mut rng(), "failed"), Retry::After(ms(5)));
}

#[test]
fn a_key_is_parked_when_its_attempts_are_used_up() {
    let mut queue = queue_with_attempts(3);
    queue.add(ZERO, "a", 7, "change");
    assert_eq!(fail(&mut queue, ZERO, "a"), Retry::After(ms(5)));
    assert_eq!(fail(&mut queue, s(1), "a"), Retry::After(ms(10)));
    assert_eq!(fail(&mut queue, s(2), "a"), Retry::Parked);
    assert!(queue.is_parked(&"a") && queue.get(s(1000)).is_none());
    let parked = queue.parked().next().expect("one is parked");
    assert_eq!(
        (
            *parked.key,
            parked.priority,
            parked.parked.attempts,
            parked.parked.since
        ),
        ("a", 7, 3, s(2))
    );
    assert_eq!(parked.parked.reason, "gave up after 3 failed attempts in a row");
}

#[test]
fn a_first_failure_parks_where_one_attempt_or_none_is_allowed() {
    for most in [0, 1] {
        let mut queue = queue_with_attempts(most);
        queue.add(ZERO, "a", 0, "change");
        assert_eq!(fail(&mut queue, ZERO, "a"), Retry::Parked);
    }
}

#[test]
fn attempts_in_a_row_are_counted_from_the_last_success() {
    let mut queue = queue_with_attempts(2);
    queue.add(ZERO, "a", 0, "change");
    for round in 0..5 {
        assert!(matches!(fail(&mut queue, s(round), "a"), Retry::After(_)));
        queue.forget(&"a");
    }
}

#[test]
fn new_settings_hold_for_the_next_failure() {
    let mut queue = queue();
    queue.add(ZERO, "a", 0, "change");
    assert_eq!(fail(&mut queue, ZERO, "a"), Retry::After(ms(5)));
    queue.set_limits(QueueConfig {
        base: s(1),
        jitter: false,
        ..QueueConfig::default()
    });
    assert_eq!(queue.next_due(), Some(ms(5)), "what is delayed keeps its time");
    assert_eq!(fail(&mut queue, ms(5), "a"), Retry::After(s(2)));
}
