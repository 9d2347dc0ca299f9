//! Rules 1–13: the queue and its delays.

use crate::common::{ZERO, ms, queue, rng, run_all, s};
use pilothouse_workqueue::{Retry, State};
use std::collections::BTreeMap;

#[test]
fn rule_01_adding_a_queued_key_again_keeps_one_entry() {
    let mut queue = queue();
    for _ in 0..3 {
        queue.add(ZERO, "a", 0, "change");
    }
    assert_eq!(queue.len(), 1);
    assert_eq!(run_all(&mut queue, ZERO), ["a"]);
}

#[test]
fn keys_of_one_priority_come_out_in_the_order_of_their_first_adds() {
    let mut queue = queue();
    for key in ["c", "a", "b", "c", "a"] {
        queue.add(ZERO, key, 0, "change");
    }
    assert_eq!(run_all(&mut queue, ZERO), ["c", "a", "b"]);
}

#[test]
fn rule_02_a_key_in_work_is_queued_again_when_done_at_the_tail_and_once() {
    let mut queue = queue();
    queue.add(ZERO, "a", 0, "change");
    assert_eq!(queue.get(ZERO).map(|taken| taken.key), Some("a"));
    queue.add(s(1), "a", 0, "second");
    queue.add(s(2), "b", 0, "change");
    queue.add(s(3), "a", 0, "third");
    assert_eq!(queue.len(), 1, "only b is ready");

    queue.done(s(4), &"a");
    assert_eq!(queue.len(), 2);
    assert_eq!(queue.get(s(4)).map(|taken| taken.key), Some("b"));
    let again = queue.get(s(4)).expect("the second run");
    assert_eq!(
        (again.key, again.causes.iter().copied().collect::<Vec<_>>()),
        ("a", vec!["second", "third"])
    );
    assert_eq!(again.queued_for, s(3), "from the first add while it was in work");
    queue.done(s(4), &"a");
    assert!(queue.get(s(4)).is_none());
}

#[test]
fn rule_03_get_puts_a_key_in_work_before_it_answers() {
    let mut queue = queue();
    queue.add(ZERO, "a", 0, "change");
    let taken = queue.get(ZERO).expect("a");
    assert_eq!((queue.len(), queue.in_work()), (0, 1));
    assert!(queue.entry(&taken.key).is_some_and(|a| a.in_work == Some(ZERO)));
}

#[test]
fn rule_03_no_two_workers_ever_hold_one_key_however_it_is_asked_for() {
    let mut queue = queue();
    queue.add(ZERO, "a", 0, "change");
    assert!(queue.get(ZERO).is_some());
    queue.add(ZERO, "a", 100, "change");
    assert!(queue.get(s(1)).is_none());
    queue.remove(&"a");
    queue.add_after(s(1), "a", s(1), 0, "later");
    assert!(queue.get(s(3)).is_none());
    queue.remove(&"a");
    queue.retry(s(3), "a", &mut rng(), "failed");
    assert!(queue.get(s(5)).is_none());
    assert!(queue.remove(&"a") && queue.park(s(5), &"a", "terminal".to_owned(), "failed"));
    assert!(queue.wake(s(5), &"a", "person"));
    queue.forget(&"a");
    queue.shut_down();
    assert!(queue.get(s(5)).is_none());
    queue.done(s(6), &"a");
    assert_eq!(queue.get(s(6)).map(|taken| taken.key), Some("a"));
}

#[test]
fn rule_29_a_key_in_work_is_not_given_out_and_blocks_nobody() {
    let mut queue = queue();
    queue.add(ZERO, "a", 5, "change");
    assert_eq!(queue.get(ZERO).map(|taken| taken.key), Some("a"));
    queue.add(ZERO, "a", 100, "change");
    queue.add(ZERO, "b", -100, "change");
    assert_eq!(queue.get(ZERO).map(|taken| taken.key), Some("b"));
    assert!(queue.get(ZERO).is_none());
    assert_eq!(queue.in_work(), 2);
}

#[test]
fn rule_04_done_of_a_key_that_is_not_in_work_is_ignored() {
    let mut queue = queue();
    assert_eq!(queue.done(ZERO, &"unknown"), None);
    queue.add(ZERO, "a", 0, "change");
    assert_eq!(queue.done(ZERO, &"a"), None);
    queue.add_after(ZERO, "b", s(1), 0, "later");
    assert_eq!(queue.done(ZERO, &"b"), None);
    assert_eq!((queue.len(), queue.delayed_len()), (1, 1));
    assert_eq!(run_all(&mut queue, s(1)), ["a", "b"]);
    assert_eq!(queue.done(s(1), &"a"), None, "done twice");
    assert!(queue.is_empty());
}

#[test]
fn rule_05_a_queue_that_is_shut_down_ignores_adds_and_hands_out_what_it_has() {
    let mut queue = queue();
    queue.add(ZERO, "a", 0, "change");
    queue.add(ZERO, "b", 0, "change");
    queue.shut_down();
    queue.add(ZERO, "c", 0, "change");
    assert!(!queue.add_unless_parked(ZERO, "c", 0, "resync"));
    assert!(queue.is_shut_down() && !queue.drained());
    assert_eq!(run_all(&mut queue, ZERO), ["a", "b"]);
    assert!(queue.drained());
}

#[test]
fn rule_06_a_queue_is_drained_only_when_nothing_is_queued_and_nothing_is_in_work() {
    let mut queue = queue();
    queue.add(ZERO, "a", 0, "change");
    queue.add(ZERO, "b", 0, "change");
    assert_eq!(queue.get(ZERO).map(|taken| taken.key), Some("a"));
    queue.add(ZERO, "a", 0, "while in work");
    queue.shut_down();
    assert!(!queue.drained(), "a in work, b queued");
    queue.done(ZERO, &"a");
    assert!(!queue.drained(), "nothing in work, b and a queued");
    assert_eq!(queue.get(ZERO).map(|taken| taken.key), Some("b"));
    assert_eq!(queue.get(ZERO).map(|taken| taken.key), Some("a"));
    assert!(!queue.drained(), "nothing queued, a and b in work");
    queue.done(ZERO, &"b");
    queue.done(ZERO, &"a");
    assert!(queue.drained());
}

#[test]
fn rule_06_an_empty_queue_is_not_drained_before_it_is_shut_down() {
    let mut queue = queue();
    assert!(!queue.drained());
    queue.shut_down();
    assert!(queue.drained());
}

#[test]
fn rule_06_draining_does_not_wait_for_delayed_keys_but_drops_them() {
    let mut queue = queue();
    queue.add_after(ZERO, "a", s(1), 0, "later");
    queue.add(ZERO, "b", 0, "change");
    queue.shut_down();
    assert_eq!(run_all(&mut queue, s(10)), ["b"]);
    assert!(queue.drained());
    assert_eq!(queue.entries().count(), 0);
}

#[test]
fn rule_13_shutting_down_drops_delayed_keys_and_ignores_later_ones() {
    let mut queue = queue();
    queue.add_after(ZERO, "a", s(1), 0, "later");
    queue.add(ZERO, "b", 0, "change");
    assert_eq!(queue.get(ZERO).map(|taken| taken.key), Some("b"));
    queue.add_after(ZERO, "b", s(1), 0, "later");
    queue.shut_down();
    assert_eq!((queue.delayed_len(), queue.next_due()), (0, None));
    assert!(
        queue
            .entry(&"b")
            .is_some_and(|b| b.causes.is_empty() && matches!(b.state, State::Idle))
    );
    queue.add_after(ZERO, "c", s(1), 0, "later");
    assert_eq!(queue.retry(ZERO, "b", &mut rng(), "failed"), Retry::ShutDown);
    assert_eq!(queue.failures(&"b"), 1);
    queue.done(ZERO, &"b");
    assert!(queue.get(s(10)).is_none());
    assert!(queue.drained());
}

#[test]
fn rule_07_the_length_counts_ready_keys_only() {
    let mut queue = queue();
    queue.add(ZERO, "in work", 0, "change");
    assert!(queue.get(ZERO).is_some());
    queue.add(ZERO, "in work", 0, "again");
    queue.add_after(ZERO, "delayed", s(1), 0, "later");
    queue.park(ZERO, &"parked", "terminal".to_owned(), "failed");
    assert!(queue.is_empty());
    queue.add(ZERO, "ready", 0, "change");
    assert_eq!(
        (queue.len(), queue.in_work(), queue.delayed_len(), queue.parked_len()),
        (1, 1, 1, 1)
    );
}

#[test]
fn rule_08_adds_and_depth_count_first_adds_only() {
    let mut queue = queue();
    for _ in 0..3 {
        queue.add(ZERO, "a", 0, "change");
        queue.add(ZERO, "b", -100, "initial");
    }
    assert_eq!(queue.stats(ZERO).adds, 2);
    assert_eq!(queue.stats(ZERO).depth, BTreeMap::from([(0, 1), (-100, 1)]));
    assert_eq!(queue.get(ZERO).map(|taken| taken.key), Some("a"));
    for _ in 0..3 {
        queue.add(ZERO, "a", 7, "while in work");
    }
    assert_eq!(queue.stats(ZERO).adds, 3);
    assert_eq!(queue.stats(ZERO).depth, BTreeMap::from([(7, 1), (-100, 1)]));
    queue.done(ZERO, &"a");
    assert_eq!(queue.stats(ZERO).depth, BTreeMap::from([(7, 1), (-100, 1)]));
    queue.add_after(ZERO, "c", s(1), 0, "later");
    assert_eq!(
        (queue.stats(ZERO).adds, queue.stats(ZERO).retries),
        (3, 1),
        "a delayed key is added when it falls due"
    );
    queue.advance(s(1));
    assert_eq!(queue.stats(s(1)).adds, 4);
}

#[test]
fn rule_08_queue_time_runs_from_the_first_add_and_work_time_from_get_to_done() {
    let mut queue = queue();
    queue.add(s(1), "a", 0, "change");
    queue.add(s(3), "a", 0, "change");
    let taken = queue.get(s(6)).expect("a");
    assert_eq!(taken.queued_for, s(5));
    assert_eq!(queue.done(s(8), &"a"), Some(s(2)));

    queue.add_after(s(10), "b", s(5), 0, "later");
    assert_eq!(
        queue.get(s(17)).expect("b").queued_for,
        s(2),
        "a delay is no time in the queue"
    );
}

#[test]
fn unfinished_work_is_the_sum_of_the_ages_of_what_is_in_work() {
    let mut queue = queue();
    assert_eq!(
        (queue.stats(s(1)).unfinished_work, queue.stats(s(1)).longest_running),
        (ZERO, ZERO)
    );
    queue.add(ZERO, "a", 0, "change");
    queue.add(ZERO, "b", 0, "change");
    assert!(queue.get(s(1)).is_some());
    assert!(queue.get(s(3)).is_some());
    let stats = queue.stats(s(10));
    assert_eq!(
        (stats.unfinished_work, stats.longest_running, stats.in_work),
        (s(16), s(9), 2)
    );
    queue.done(s(10), &"a");
    assert_eq!(queue.stats(s(10)).unfinished_work, s(7));
}

#[test]
fn rule_09_a_delay_of_zero_means_now() {
    let mut queue = queue();
    queue.add_after(s(1), "a", ZERO, 0, "now");
    assert_eq!((queue.len(), queue.delayed_len()), (1, 0));
}

#[test]
fn rule_12_a_delayed_key_is_not_ready_before_its_time_and_is_at_it() {
    let mut queue = queue();
    queue.add_after(s(1), "a", s(5), 0, "later");
    assert_eq!(queue.next_due(), Some(s(6)));
    assert!(queue.get(ms(5_999)).is_none());
    assert_eq!(queue.get(s(6)).map(|taken| taken.key), Some("a"));
    assert_eq!(queue.next_due(), None);
}

#[test]
fn rule_10_a_key_that_is_delayed_twice_keeps_the_earlier_time() {
    let mut queue = queue();
    queue.add_after(ZERO, "a", s(5), 0, "later");
    queue.add_after(ZERO, "a", s(2), 0, "sooner");
    queue.add_after(ZERO, "a", s(9), 0, "latest");
    assert_eq!((queue.next_due(), queue.delayed_len()), (Some(s(2)), 1));
    let taken = queue.get(s(2)).expect("a is due");
    assert_eq!(
        taken.causes.iter().copied().collect::<Vec<_>>(),
        ["later", "sooner", "latest"]
    );
    queue.done(s(2), &"a");
    assert!(queue.get(s(100)).is_none(), "the later times are gone");
}

#[test]
fn rule_11_an_immediate_add_replaces_a_delayed_one() {
    let mut queue = queue();
    queue.add_after(ZERO, "a", s(5), 0, "later");
    queue.add(s(1), "a", 0, "change");
    assert_eq!((queue.len(), queue.delayed_len(), queue.next_due()), (1, 0, None));
    assert_eq!(run_all(&mut queue, s(1)), ["a"]);
    assert!(queue.get(s(100)).is_none());
}

#[test]
fn rule_11_a_delayed_add_of_a_queued_key_leaves_it_queued_and_runs_it_once() {
    let mut queue = queue();
    queue.add(ZERO, "a", 0, "change");
    queue.add_after(ZERO, "a", s(5), 0, "later");
    assert_eq!(run_all(&mut queue, ZERO), ["a"]);
    assert!(queue.get(s(100)).is_none());
}

#[test]
fn rule_11_delayed_and_queued_keys_can_be_cancelled() {
    let mut queue = queue();
    queue.add_after(ZERO, "a", s(5), 0, "later");
    queue.add(ZERO, "b", 0, "change");
    queue.add(ZERO, "c", 0, "change");
    assert!(queue.remove(&"a") && queue.remove(&"b"));
    assert!(!queue.remove(&"a") && !queue.remove(&"unknown"));
    assert_eq!(queue.next_due(), None);
    assert_eq!(run_all(&mut queue, s(100)), ["c"]);
    assert_eq!(queue.entries().count(), 0);
}

#[test]
fn rule_11_a_delayed_key_can_be_given_another_time_a_later_one_too() {
    let mut queue = queue();
    queue.add_after(ZERO, "a", s(5), 3, "later");
    queue.add_after(ZERO, "b", s(6), 0, "later");
    assert!(queue.reschedule(s(1), &"a", s(9)));
    assert_eq!((queue.next_due(), queue.delayed_len()), (Some(s(6)), 2));
    assert!(queue.reschedule(s(1), &"b", s(1)));
    assert_eq!(run_all(&mut queue, s(2)), ["b"]);
    assert!(queue.get(ms(9_999)).is_none());
    let taken = queue.get(s(10)).expect("at its new time");
    assert_eq!(
        (taken.key, taken.priority, taken.causes.first()),
        ("a", 3, Some(&"later"))
    );
    assert_eq!(queue.delayed_len(), 0);
}

#[test]
fn rule_11_another_time_of_zero_is_now_and_one_that_equals_that_of_others_comes_after_them() {
    let mut queue = queue();
    for key in ["a", "b", "c"] {
        queue.add_after(ZERO, key, s(5), 0, "later");
    }
    assert!(queue.reschedule(ZERO, &"a", s(5)));
    assert!(queue.reschedule(ZERO, &"c", ZERO));
    assert_eq!(run_all(&mut queue, s(5)), ["c", "b", "a"]);
}

#[test]
fn only_a_delayed_key_can_be_given_another_time() {
    let mut queue = queue();
    queue.add(ZERO, "working", 0, "change");
    assert!(queue.get(ZERO).is_some());
    queue.add(ZERO, "queued", 0, "change");
    queue.park(ZERO, &"parked", "terminal".to_owned(), "failed");
    for key in ["working", "queued", "parked", "unknown"] {
        assert!(!queue.reschedule(ZERO, &key, s(5)), "{key}");
    }
    assert_eq!((queue.len(), queue.delayed_len(), queue.parked_len()), (1, 0, 1));
    queue.add_after(ZERO, "due", s(1), 0, "later");
    assert!(!queue.reschedule(s(1), &"due", s(5)), "it fell due and is queued");
    queue.add_after(s(1), "working", s(5), 0, "later");
    assert!(queue.reschedule(s(1), &"working", s(1)), "its next run");
    assert_eq!(queue.next_due(), Some(s(2)));
}

#[test]
fn rule_11_cancelling_a_key_in_work_cancels_its_next_run_alone() {
    let mut queue = queue();
    queue.add(ZERO, "a", 0, "change");
    assert!(queue.get(ZERO).is_some());
    assert!(!queue.remove(&"a"), "nothing waits");
    queue.add(ZERO, "a", 0, "again");
    assert!(queue.remove(&"a"));
    assert_eq!(queue.done(s(1), &"a"), Some(s(1)));
    assert!(queue.get(s(1)).is_none());
}

#[test]
fn rule_12_keys_that_fall_due_enter_in_the_order_of_their_times() {
    let mut queue = queue();
    queue.add_after(ZERO, "third", s(3), 0, "later");
    queue.add_after(ZERO, "first", s(1), 0, "later");
    queue.add_after(ZERO, "second", s(2), 0, "later");
    queue.add_after(ZERO, "second too", s(2), 0, "later");
    queue.add(s(10), "added after all were due", 0, "change");
    let order = ["first", "second", "second too", "third", "added after all were due"];
    assert_eq!(run_all(&mut queue, s(10)), order);
}

#[test]
fn a_key_that_falls_due_while_in_work_runs_again_when_done() {
    let mut queue = queue();
    queue.add(ZERO, "a", 0, "change");
    assert!(queue.get(ZERO).is_some());
    queue.add_after(ZERO, "a", s(1), 0, "later");
    assert!(queue.get(s(5)).is_none());
    assert_eq!(queue.delayed_len(), 0);
    queue.done(s(6), &"a");
    let taken = queue.get(s(7)).expect("the delayed run");
    assert_eq!((taken.key, taken.queued_for), ("a", s(6)));
}

#[test]
fn a_key_that_is_done_before_it_falls_due_waits_for_its_time() {
    let mut queue = queue();
    queue.add(ZERO, "a", 0, "change");
    assert!(queue.get(ZERO).is_some());
    queue.add_after(ZERO, "a", s(5), 0, "later");
    queue.done(s(1), &"a");
    assert!(queue.get(s(4)).is_none());
    assert_eq!(queue.get(s(5)).map(|taken| taken.key), Some("a"));
}

#[test]
fn times_and_delays_without_end_do_no_harm() {
    let mut queue = queue();
    let end = std::time::Duration::MAX;
    queue.add_after(s(1), "a", end, i32::MIN, "never");
    assert!(queue.get(s(1)).is_none());
    queue.add(end, "b", i32::MAX, "change");
    assert_eq!(run_all(&mut queue, end), ["b", "a"]);
    queue.add(end, "c", 0, "change");
    assert_eq!(
        queue
            .get(ZERO)
            .expect("time that runs backwards loses nothing")
            .queued_for,
        ZERO
    );
}

#[test]
fn what_the_queue_holds_can_be_looked_at() {
    let mut queue = queue();
    queue.add(s(1), "working", 3, "change");
    assert!(queue.get(s(2)).is_some());
    queue.add(s(3), "working", 4, "again");
    queue.add(s(4), "queued", 0, "change");
    queue.add_after(s(5), "delayed", s(5), -1, "later");
    queue.park(s(6), &"parked", "no such flavour".to_owned(), "failed");

    let working = queue.entry(&"working").expect("known");
    assert_eq!((working.in_work, working.priority), (Some(s(2)), 4));
    assert!(matches!(working.state, State::Queued { since } if since == s(3)));
    assert_eq!(working.causes.first(), Some(&"again"));
    assert_eq!(working.served.and_then(|causes| causes.first()), Some(&"change"));
    let queued = queue.entry(&"queued").expect("known");
    assert!(queued.in_work.is_none() && queued.served.is_none());
    assert!(matches!(queued.state, State::Queued { since } if since == s(4)));
    let delayed = queue.entry(&"delayed").expect("known");
    assert!(matches!(delayed.state, State::Delayed { since, due } if (since, due) == (s(5), s(10))));
    let parked = queue.entry(&"parked").expect("known");
    assert!(matches!(parked.state, State::Parked(parked) if parked.reason == "no such flavour"));
    assert_eq!(queue.entries().count(), 4);
    assert!(queue.entry(&"unknown").is_none());
}

#[test]
fn a_key_without_failures_is_forgotten_when_its_work_is_done() {
    let mut queue = queue();
    for number in 0..100 {
        queue.add(s(number), "a", 0, "change");
        run_all(&mut queue, s(number));
    }
    assert_eq!(queue.entries().count(), 0);
}
