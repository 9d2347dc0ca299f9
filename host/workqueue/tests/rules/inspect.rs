//! Looking at the queue: each state in an order that means something, as far as one wants to look.

use crate::common::{ZERO, ms, plain, queue, s};
use pilothouse_workqueue::{Queue, State};

#[test]
fn ready_keys_are_shown_from_the_one_that_waits_longest_whatever_their_priority() {
    let mut queue = queue();
    queue.add(s(1), "a", -100, "initial");
    queue.add(s(2), "b", 0, "change");
    queue.add_after(s(2), "c", s(1), 0, "later");
    queue.add(s(4), "d", 0, "change");
    queue.add(s(5), "a", 50, "raised");
    let queued: Vec<_> = queue.queued().map(|entry| *entry.key).collect();
    assert_eq!(queued, ["a", "b", "c", "d"]);
    let first = queue.queued().next().expect("four are ready");
    assert!(matches!(first.state, State::Queued { since } if since == s(1)));
    assert_eq!(first.causes.iter().copied().collect::<Vec<_>>(), ["initial", "raised"]);
}

#[test]
fn delayed_keys_are_shown_from_the_next_that_falls_due_as_many_as_asked_for() {
    let mut queue: Queue<u64, &str> = Queue::new(plain());
    for key in 0..10_000 {
        // Neither in the order of the keys nor each at a time of its own.
        queue.add_after(ZERO, key, ms(1 + key * 7919 % 5000), 0, "later");
    }
    let due = |entry: pilothouse_workqueue::EntryView<'_, u64, &str>| match entry.state {
        State::Delayed { due, .. } => (due, *entry.key),
        state => panic!("{state:?}"),
    };
    let mut expected: Vec<_> = queue.entries().map(due).collect();
    expected.sort_unstable();
    for most in [0, 1, 50, 10_000, usize::MAX] {
        let shown: Vec<_> = queue.delayed(most).map(due).collect();
        assert_eq!(shown, expected[..most.min(10_000)]);
    }
}

#[test]
fn keys_in_work_are_shown_from_the_longest_run_with_what_comes_next() {
    let mut queue = queue();
    for key in ["a", "b", "c"] {
        queue.add(ZERO, key, 0, "change");
    }
    for second in 1..=3 {
        assert!(queue.get(s(second)).is_some());
    }
    queue.done(s(4), &"a");
    queue.add_after(s(4), "c", s(6), 0, "later");
    let working: Vec<_> = queue.working().collect();
    assert_eq!(
        working
            .iter()
            .map(|entry| (*entry.key, entry.in_work))
            .collect::<Vec<_>>(),
        [("b", Some(s(2))), ("c", Some(s(3)))]
    );
    assert!(matches!(working[0].state, State::Idle));
    assert!(matches!(working[1].state, State::Delayed { due, .. } if due == s(10)));
}
