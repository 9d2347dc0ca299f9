//! Any sequence of operations: the queue against the model, and against the promises that hold whatever the model says.

use crate::model::Model;
use pilothouse_workqueue::{EntryView, Limit, Limits, MAX_CAUSES, Queue, State};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::time::Duration;

const KEYS: usize = 8;

#[derive(Clone, Debug)]
enum Op {
    Add { key: usize, priority: i32, wakes: bool },
    AddAfter { key: usize, delay: u64, priority: i32 },
    Retry { key: usize },
    RetryAfter { key: usize, delay: u64 },
    Get,
    Done { key: usize },
    Forget { key: usize },
    Park { key: usize },
    Wake { key: usize },
    Unpark { key: usize },
    Remove { key: usize },
    Reschedule { key: usize, delay: u64 },
    HoldBack { key: usize, delay: u64 },
    Lanes { three: bool },
    Pass { milliseconds: u64 },
    ShutDown,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let key = 0..KEYS;
    let priority = prop_oneof![Just(-100), Just(0), Just(0), Just(7)];
    let delay = prop_oneof![Just(0_u64), 1..20_u64, 1000..3000_u64];
    let op = prop_oneof![
        8 => (key.clone(), priority.clone(), any::<bool>())
            .prop_map(|(key, priority, wakes)| Op::Add { key, priority, wakes }),
        4 => (key.clone(), delay.clone(), priority)
            .prop_map(|(key, delay, priority)| Op::AddAfter { key, delay, priority }),
        4 => key.clone().prop_map(|key| Op::Retry { key }),
        1 => (key.clone(), delay.clone()).prop_map(|(key, delay)| Op::RetryAfter { key, delay }),
        2 => (key.clone(), delay.clone()).prop_map(|(key, delay)| Op::Reschedule { key, delay }),
        2 => (key.clone(), delay).prop_map(|(key, delay)| Op::HoldBack { key, delay }),
        1 => any::<bool>().prop_map(|three| Op::Lanes { three }),
        8 => Just(Op::Get),
        8 => key.clone().prop_map(|key| Op::Done { key }),
        2 => key.clone().prop_map(|key| Op::Forget { key }),
        2 => key.clone().prop_map(|key| Op::Park { key }),
        1 => key.clone().prop_map(|key| Op::Wake { key }),
        1 => key.clone().prop_map(|key| Op::Unpark { key }),
        1 => key.prop_map(|key| Op::Remove { key }),
        6 => prop_oneof![1..20_u64, 500..2500_u64].prop_map(|milliseconds| Op::Pass { milliseconds }),
    ];
    // At most one shut-down, and mostly none: it ends everything that is interesting.
    (
        prop::collection::vec(op, 1..200),
        prop::option::weighted(0.3, 0..200_usize),
    )
        .prop_map(|(mut ops, end)| {
            if let Some(end) = end {
                ops.insert(end.min(ops.len()), Op::ShutDown);
            }
            ops
        })
}

/// Any limits, but such as let every key run again within the time for which a history is followed. None has jitter:
/// the model draws nothing.
fn limits() -> impl Strategy<Value = Vec<Limit>> {
    let ms = |least: u64, most: u64| (least..=most).prop_map(Duration::from_millis);
    let limit = prop_oneof![
        3 => (ms(0, 10), ms(1, 300_000)).prop_map(|(base, cap)| Limit::Exponential { base, cap, jitter: false }),
        1 => (ms(0, 10), ms(10, 2000), 0..4_u32)
            .prop_map(|(fast, slow, quick)| Limit::FastSlow { fast, slow, quick }),
        2 => (ms(1, 1000), 1..6_u32).prop_map(|(every, burst)| Limit::Bucket { every, burst }),
        1 => (1..4_u32).prop_map(|most| Limit::Attempts { most }),
    ];
    prop::collection::vec(limit, 0..4)
}

/// Keys and where they stand, as a whole and as the looks at single states show them.
fn shown<'a>(entries: impl Iterator<Item = EntryView<'a, usize, u32>>) -> Vec<(usize, Duration)> {
    let at = |entry: EntryView<'_, usize, u32>| match (entry.state, entry.in_work) {
        (State::Delayed { due, .. }, _) => (*entry.key, due),
        (_, Some(since)) | (State::Queued { since }, _) => (*entry.key, since),
        _ => (*entry.key, Duration::MAX),
    };
    entries.map(at).collect()
}

/// The same histories in each run.
fn settings() -> ProptestConfig {
    ProptestConfig {
        cases: 1000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(5),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn any_sequence_of_operations_does_what_the_model_does_and_loses_nothing(
        ops in ops(),
        limits in limits(),
    ) {
        let mut model = Model::new(KEYS, &limits);
        let mut queue: Queue<usize, u32> = Queue::new(Limits::new(limits));
        let mut rng = fastrand::Rng::with_seed(0);
        let mut now = Duration::ZERO;
        // Kept by hand, without asking the model: who is in work, and who was promised a run.
        let mut held = [false; KEYS];
        let mut promised = [false; KEYS];
        let mut order_of_work = Vec::new();

        for (number, op) in ops.iter().enumerate() {
            let cause = number as u32;
            match *op {
                Op::Add { key, priority, wakes: true } => {
                    queue.add(now, key, priority, cause);
                    promised[key] |= model.add(now, key, Duration::ZERO, priority, true, cause);
                }
                Op::Add { key, priority, wakes: false } => {
                    let took = model.add(now, key, Duration::ZERO, priority, false, cause);
                    prop_assert_eq!(queue.add_unless_parked(now, key, priority, cause), took);
                }
                Op::AddAfter { key, delay, priority } => {
                    let delay = Duration::from_millis(delay);
                    queue.add_after(now, key, delay, priority, cause);
                    promised[key] |= model.add(now, key, delay, priority, true, cause);
                }
                Op::Retry { key } => {
                    let expected = model.retry(now, key, true, Duration::ZERO, cause);
                    prop_assert_eq!(queue.retry(now, key, &mut rng, cause), expected);
                }
                Op::RetryAfter { key, delay } => {
                    let delay = Duration::from_millis(delay);
                    let expected = model.retry(now, key, false, delay, cause);
                    prop_assert_eq!(queue.retry_after(now, key, delay, cause), expected);
                }
                Op::Get => {
                    let (taken, expected) = (queue.get(now), model.get(now));
                    prop_assert_eq!(taken.is_some(), expected.is_some());
                    if let (Some(taken), Some((key, pending, attempt))) = (taken, expected) {
                        prop_assert_eq!(taken.key, key);
                        prop_assert_eq!((taken.priority, taken.attempt), (pending.priority, attempt));
                        prop_assert_eq!(taken.queued_for, now - pending.since);
                        let kept = pending.causes.len().min(MAX_CAUSES);
                        prop_assert_eq!(taken.causes.omitted(), (pending.causes.len() - kept) as u64);
                        let entry = queue.entry(&key).expect("it is in work");
                        prop_assert_eq!(entry.served, Some(&taken.causes));
                        prop_assert_eq!(taken.causes.into_iter().collect::<Vec<_>>(), &pending.causes[..kept]);
                        prop_assert!(!held[key], "two workers on {}", key);
                        held[key] = true;
                        order_of_work.push(key);
                        promised[key] = false;
                    }
                }
                Op::Done { key } => {
                    let worked = queue.done(now, &key);
                    prop_assert_eq!(worked, model.done(now, key));
                    prop_assert_eq!(worked.is_some(), held[key]);
                    held[key] = false;
                    order_of_work.retain(|worked| *worked != key);
                }
                Op::Forget { key } => {
                    queue.forget(&key);
                    model.forget(key);
                }
                Op::Park { key } => {
                    let parked = queue.park(now, &key, "terminal".to_owned(), cause);
                    prop_assert_eq!(parked, model.park(now, key, cause));
                }
                Op::Wake { key } => {
                    let woken = queue.wake(now, &key, cause);
                    prop_assert_eq!(woken, model.wake(now, key, cause));
                    promised[key] |= woken;
                }
                Op::Unpark { key } => prop_assert_eq!(queue.unpark(&key).is_some(), model.unpark(key)),
                Op::Remove { key } => {
                    prop_assert_eq!(queue.remove(&key), model.remove(key));
                    promised[key] = false;
                }
                Op::Reschedule { key, delay } => {
                    let delay = Duration::from_millis(delay);
                    prop_assert_eq!(queue.reschedule(now, &key, delay), model.reschedule(now, key, delay));
                }
                Op::HoldBack { key, delay } => {
                    let delay = Duration::from_millis(delay);
                    prop_assert_eq!(queue.hold_back(now, &key, delay), model.hold_back(now, key, delay));
                }
                Op::Lanes { three } => {
                    let lane: fn(&usize) -> u64 = |key| (key % 3) as u64;
                    queue.set_lanes(three.then_some(lane));
                    model.set_lanes(three.then_some(3));
                }
                Op::Pass { milliseconds } => {
                    now += Duration::from_millis(milliseconds);
                    queue.advance(now);
                    model.advance(now);
                }
                Op::ShutDown => {
                    queue.shut_down();
                    model.shut_down();
                    for (key, promised) in promised.iter_mut().enumerate() {
                        // Delayed runs are dropped, and said to be.
                        *promised &= model.keys[key].pending.is_some();
                    }
                }
            }
            model.drop_idle();

            prop_assert_eq!(queue.len(), model.len());
            prop_assert_eq!(queue.next_due(), model.next_due());
            prop_assert_eq!(queue.in_work(), held.iter().filter(|held| **held).count());
            let delayed = model.keys.iter().filter(|key| key.pending.as_ref().is_some_and(|run| run.due.is_some()));
            prop_assert_eq!(queue.delayed_len(), delayed.count());
            let mut parked: Vec<_> = queue.parked().map(|key| (*key.key, key.priority, key.parked.cause)).collect();
            parked.sort_unstable();
            let expected: Vec<_> = model.keys.iter().enumerate()
                .filter_map(|(number, key)| Some((number, key.last_priority, key.parked?))).collect();
            prop_assert_eq!(queue.parked_len(), parked.len());
            prop_assert_eq!(parked, expected);
            let mut expected = model.ready_by_age();
            prop_assert_eq!(shown(queue.queued()), expected);
            expected = model.delayed_by_time();
            prop_assert_eq!(shown(queue.delayed(usize::MAX)), expected.clone());
            expected.truncate(2);
            prop_assert_eq!(shown(queue.delayed(2)), expected);
            prop_assert_eq!(queue.working().map(|entry| *entry.key).collect::<Vec<_>>(), &*order_of_work);
            let stats = queue.stats(now);
            prop_assert_eq!(stats.adds, model.adds);
            let waiting = model.keys.iter().filter(|key| key.pending.as_ref().is_some_and(|run| run.due.is_none()));
            prop_assert_eq!(stats.depth.values().sum::<usize>(), waiting.count());
            for (number, key) in model.keys.iter().enumerate() {
                prop_assert_eq!(queue.failures(&number), key.failures);
                prop_assert!(!promised[number] || key.pending.is_some(), "{} was promised a run", number);
                prop_assert!(!promised[number] || !queue.is_parked(&number), "{} was parked away", number);
            }
            let idle = held.iter().all(|held| !held) && queue.is_empty();
            prop_assert_eq!(queue.drained(), model.shut_down && idle);
        }

        // Everything that was promised comes out in the end, and then nothing is left.
        for (key, held) in held.iter().enumerate() {
            prop_assert_eq!(queue.done(now, &key).is_some(), *held);
        }
        now += Duration::from_secs(1000);
        while let Some(taken) = queue.get(now) {
            promised[taken.key] = false;
            queue.done(now, &taken.key);
        }
        prop_assert_eq!(promised, [false; KEYS]);
        prop_assert_eq!((queue.len(), queue.delayed_len(), queue.in_work()), (0, 0, 0));
        for key in 0..KEYS {
            queue.unpark(&key);
            queue.forget(&key);
        }
        prop_assert_eq!(queue.entries().count(), 0, "something stays behind");
    }
}
