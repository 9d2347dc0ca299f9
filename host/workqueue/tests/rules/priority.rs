//! Rules 27–31: priorities.

use crate::common::{ZERO, ms, plain, queue, run_all, s};
use pilothouse_workqueue::{AGED_TURN, AGING, Queue};

#[test]
fn higher_priorities_come_out_first() {
    let mut queue = queue();
    queue.add(ZERO, "initial", -100, "initial list");
    queue.add(ZERO, "change", 0, "change");
    queue.add(ZERO, "urgent", 100, "person");
    queue.add(ZERO, "change too", 0, "change");
    assert_eq!(run_all(&mut queue, ZERO), ["urgent", "change", "change too", "initial"]);
}

#[test]
fn rule_30_what_nothing_changed_for_comes_after_every_change_and_a_change_raises_it() {
    let mut queue = queue();
    for key in ["a", "b", "c"] {
        queue.add_unless_parked(ZERO, key, -100, "initial list");
    }
    queue.add(s(0), "d", 0, "change");
    queue.add(s(0), "b", 0, "change");
    assert_eq!(run_all(&mut queue, ZERO), ["d", "b", "a", "c"]);
}

#[test]
fn rule_28_a_raised_key_goes_to_the_tail_of_its_new_level() {
    let mut queue = queue();
    queue.add(ZERO, "a", -100, "initial");
    queue.add(ZERO, "b", 0, "change");
    queue.add(ZERO, "c", 0, "change");
    queue.add(ZERO, "a", 0, "change");
    queue.add(ZERO, "d", 0, "change");
    assert_eq!(queue.len(), 4);
    assert_eq!(run_all(&mut queue, ZERO), ["b", "c", "a", "d"]);
}

#[test]
fn rule_27_a_second_add_with_a_lower_priority_changes_nothing() {
    let mut queue = queue();
    queue.add(ZERO, "a", 0, "change");
    queue.add(ZERO, "b", 0, "change");
    queue.add(ZERO, "a", -100, "resync");
    let taken = queue.get(ZERO).expect("a");
    assert_eq!((taken.key, taken.priority), ("a", 0));
}

#[test]
fn rule_27_a_second_delayed_add_takes_the_higher_priority_and_the_shorter_delay() {
    let mut queue = queue();
    queue.add_after(ZERO, "a", s(1), -100, "later");
    queue.add_after(ZERO, "a", s(5), 10, "latest");
    let taken = queue.get(s(1)).expect("the shorter delay");
    assert_eq!((taken.key, taken.priority), ("a", 10));
}

#[test]
fn rule_27_a_delayed_add_raises_a_queued_key_and_an_immediate_one_keeps_a_delayed_keys_priority() {
    let mut queue = queue();
    queue.add(ZERO, "a", -100, "initial");
    queue.add(ZERO, "b", -50, "initial");
    queue.add_after(ZERO, "a", s(5), 0, "later");
    queue.add_after(ZERO, "c", s(5), 20, "later");
    queue.add(ZERO, "c", -100, "resync");
    assert_eq!(run_all(&mut queue, ZERO), ["c", "a", "b"]);
}

#[test]
fn the_priority_of_one_run_is_not_that_of_the_next() {
    let mut queue = queue();
    queue.add(ZERO, "a", 100, "person");
    assert_eq!(queue.get(ZERO).map(|taken| taken.priority), Some(100));
    queue.add(ZERO, "a", 0, "change");
    queue.done(ZERO, &"a");
    assert_eq!(queue.get(ZERO).map(|taken| taken.priority), Some(0));
}

#[test]
fn rule_31_a_short_burst_is_served_strictly_by_priority() {
    let mut queue: Queue<u32, &str> = Queue::new(plain());
    for key in 0..200 {
        queue.add(ZERO, key, if key % 2 == 0 { 0 } else { -100 }, "change");
    }
    let now = AGING - ms(1);
    let first: Vec<u32> = (0..100).filter_map(|_| queue.get(now)).map(|taken| taken.key).collect();
    assert_eq!(first, (0..100).map(|key| key * 2).collect::<Vec<_>>());
}

#[test]
fn rule_31_no_key_starves_under_an_endless_flood_of_higher_priorities() {
    let mut queue: Queue<u32, &str> = Queue::new(plain());
    for key in 0..10 {
        queue.add(ZERO, key, -100, "initial");
    }
    let (mut served, mut now) = (Vec::new(), AGING);
    for flood in 1000..1000 + 10 * AGED_TURN {
        queue.add(now, flood, 0, "change");
        queue.add(now, flood + 100_000, 100, "change");
        let taken = queue.get(now).expect("two were added");
        if taken.priority == -100 {
            served.push(taken.key);
        }
        queue.done(now, &taken.key);
        now += ms(1);
    }
    assert_eq!(
        served,
        (0..10).collect::<Vec<_>>(),
        "one of each {AGED_TURN} turns, the oldest first"
    );
}

#[test]
fn rule_31_an_old_backlog_gets_its_share_of_the_turns_and_no_more() {
    let mut queue: Queue<u32, &str> = Queue::new(plain());
    for key in 0..1000 {
        queue.add(ZERO, key, -100, "initial");
    }
    let now = s(3600);
    for change in 0..700 {
        queue.add(now, 10_000 + change, 0, "change");
    }
    let changes = (0..800)
        .filter_map(|_| queue.get(now))
        .filter(|taken| taken.priority == 0)
        .count();
    assert_eq!(changes, 700);
}

#[test]
fn rule_31_a_key_that_is_raised_again_and_again_keeps_its_age() {
    let mut queue: Queue<u32, &str> = Queue::new(plain());
    queue.add(ZERO, 0, -100, "initial");
    let mut now = AGING;
    for turn in 1..=AGED_TURN {
        // Raised each time, always to the tail of a level that is full, below another that is full.
        let priority = -100 + turn as i32;
        queue.add(now, turn * 10, 1000, "flood");
        queue.add(now, turn * 10 + 1, 1000, "flood");
        queue.add(now, turn * 10 + 2, priority, "neighbour");
        queue.add(now, 0, priority, "raised");
        let taken = queue.get(now).expect("much is queued");
        assert_eq!(taken.key == 0, turn == AGED_TURN, "turn {turn} gave {}", taken.key);
        now += ms(1);
    }
}

#[test]
fn lanes_take_turns_whatever_one_of_them_has_waiting() {
    let mut queue = queue();
    let lane: fn(&&str) -> u64 = |key| key.bytes().next().unwrap_or_default().into();
    queue.set_lanes(Some(lane));
    for key in ["a1", "a2", "a3", "a4", "b1", "c1", "c2"] {
        queue.add(ZERO, key, 0, "change");
    }
    queue.add(ZERO, "a9", 7, "urgent");
    assert_eq!(
        run_all(&mut queue, ZERO),
        ["a9", "a1", "b1", "c1", "a2", "c2", "a3", "a4"],
        "priorities come before turns"
    );
}

#[test]
fn a_key_that_is_held_back_waits_with_its_causes_also_one_in_work() {
    let mut queue = queue();
    queue.add(ZERO, "a", 0, "change");
    assert!(queue.hold_back(ZERO, &"a", s(5)));
    assert!(!queue.hold_back(ZERO, &"a", s(3)), "it waits for longer already");
    assert_eq!((queue.get(s(4)), queue.next_due()), (None, Some(s(5))));
    let taken = queue.get(s(5)).expect("its time has come");
    assert_eq!(taken.causes.first(), Some(&"change"));
    queue.add(s(5), "a", 0, "another");
    assert!(queue.hold_back(s(5), &"a", s(2)), "in work, and asked for again");
    queue.done(s(6), &"a");
    assert_eq!(queue.get(s(6)), None);
    assert_eq!(queue.get(s(7)).map(|taken| taken.key), Some("a"));
    assert!(!queue.hold_back(s(7), &"a", s(2)), "nothing waits");
}
