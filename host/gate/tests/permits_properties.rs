//! Any sequence of operations: limits and pool hold, and nobody is passed over more often than promised.
//! Each controller is a plugin of its own here, so that the promise about plugins is what is tried.

use pilothouse_gate::Gate;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

const CONTROLLERS: usize = 6;

#[derive(Clone, Debug)]
enum Op {
    Register { id: usize, limit: usize },
    Remove { id: usize },
    SetLimit { id: usize, limit: usize },
    SetPool { pool: usize },
    Turn { work: [bool; CONTROLLERS] },
    Acquire { id: usize },
    Release { id: usize },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let id = 0..CONTROLLERS;
    let op = prop_oneof![
        2 => (id.clone(), 0..4_usize).prop_map(|(id, limit)| Op::Register { id, limit }),
        1 => id.clone().prop_map(|id| Op::Remove { id }),
        1 => (id.clone(), 0..4_usize).prop_map(|(id, limit)| Op::SetLimit { id, limit }),
        1 => (0..8_usize).prop_map(|pool| Op::SetPool { pool }),
        12 => prop::array::uniform6(prop::bool::weighted(0.8)).prop_map(|work| Op::Turn { work }),
        1 => id.clone().prop_map(|id| Op::Acquire { id }),
        10 => id.prop_map(|id| Op::Release { id }),
    ];
    prop::collection::vec(op, 1..300)
}

/// What a caller knows from its own calls.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// None: not registered.
    limit: Option<usize>,
    running: usize,
    /// Turns in a row that went to others while this one had work and a free permit.
    passed_over: usize,
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
    fn never_more_run_than_limit_and_pool_and_nobody_is_passed_over_too_often(ops in ops(), first_pool in 0..8_usize) {
        let mut gate = Gate::new(first_pool);
        let mut pool = first_pool;
        let mut known = [Known::default(); CONTROLLERS];
        for op in ops {
            let running: usize = known.iter().map(|one| one.running).sum();
            let free = |one: &Known| one.limit.is_some_and(|limit| one.running < limit);
            match op {
                Op::Register { id, limit } => {
                    gate.register(id, id, limit);
                    known[id].limit = Some(limit);
                }
                Op::Remove { id } => {
                    prop_assert_eq!(gate.remove(&id), known[id].limit.is_some());
                    (known[id].limit, known[id].passed_over) = (None, 0);
                }
                Op::SetLimit { id, limit } => {
                    let registered = known[id].limit.is_some();
                    prop_assert_eq!(gate.set_limit(&id, limit), registered);
                    known[id].limit = registered.then_some(limit);
                }
                Op::SetPool { pool: size } => {
                    gate.set_pool(size);
                    pool = size;
                }
                Op::Turn { work } => {
                    let could: Vec<usize> = (0..CONTROLLERS).filter(|id| work[*id] && free(&known[*id])).collect();
                    // More may have it than before.
                    (0..CONTROLLERS).for_each(|id| _ = gate.wake(&id));
                    let turn = gate.next_turn(|id| work[*id]);
                    // Somebody runs exactly if somebody can: no permit lies idle while there is work for it.
                    prop_assert_eq!(turn.is_some(), running < pool && !could.is_empty());
                    if let Some(id) = turn {
                        prop_assert!(could.contains(&id), "{} had no work or no free permit", id);
                        known[id].running += 1;
                        known[id].passed_over = 0;
                        for other in could.into_iter().filter(|other| *other != id) {
                            known[other].passed_over += 1;
                            let most = CONTROLLERS - 1;
                            prop_assert!(known[other].passed_over <= most, "{} was passed over too often", other);
                        }
                    }
                }
                Op::Acquire { id } => {
                    let took = gate.acquire(&id);
                    prop_assert_eq!(took, running < pool && free(&known[id]));
                    known[id].running += usize::from(took);
                }
                Op::Release { id } => {
                    prop_assert_eq!(gate.release(&id), known[id].running > 0);
                    known[id].running = known[id].running.saturating_sub(1);
                }
            }
            let running: usize = known.iter().map(|one| one.running).sum();
            prop_assert_eq!((gate.pool().running, gate.pool().size), (running, pool));
            for (id, one) in known.iter().enumerate() {
                prop_assert_eq!((gate.running(&id), gate.limit(&id)), (one.running, one.limit));
            }
        }
    }

    #[test]
    fn plugins_with_work_get_turns_in_proportion_to_their_weights(
        weights in prop::collection::vec(1..=20_u32, 2..6),
        controllers in prop::collection::vec(1..4_usize, 6),
    ) {
        let mut gate = Gate::new(1);
        for (plugin, weight) in weights.iter().enumerate() {
            for controller in 0..controllers[plugin] {
                gate.register(plugin, (plugin, controller), 1);
            }
            gate.set_weight(&plugin, *weight);
        }
        let mut turns = vec![0_u32; weights.len()];
        let all: u32 = weights.iter().sum();
        let rounds = 10;
        for _ in 0..all * rounds {
            let id = gate.next_turn(|_| true).expect("all have work");
            gate.release(&id);
            turns[id.0] += 1;
        }
        for (plugin, weight) in weights.iter().enumerate() {
            // Everyone begins at the end of a line that was drawn for weight 1, and weights are divided in whole
            // numbers.
            let (due, got) = (weight * rounds, turns[plugin]);
            prop_assert!(got.abs_diff(due) <= 21, "weight {} got {} turns, not {}: {:?}", weight, got, due, weights);
        }
    }
}
