//! A gate that leaves out who has nothing to do gives the turns of one that asks everybody each time. The model is that other
//! gate, written for being read: plugins and controllers in lists, sorted when somebody asks.

use std::collections::BTreeMap;

use pilothouse_gate::Gate;
use proptest::{prelude::*, test_runner::RngSeed};

const PLUGINS: usize = 4;
/// Controllers of each plugin.
const EACH: usize = 2;

/// A plugin and one of its controllers.
type Id = (usize, usize);

#[derive(Clone, Debug)]
enum Op {
    Register {
        id: Id,
        limit: usize,
    },
    Remove {
        id: Id,
    },
    SetLimit {
        id: Id,
        limit: usize,
    },
    SetWeight {
        plugin: usize,
        weight: u32,
    },
    SetPool {
        pool: usize,
    },
    /// From now on it has work, or none.
    Work {
        id: Id,
        has: bool,
    },
    Turn,
    Acquire {
        id: Id,
    },
    Release {
        id: Id,
    },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let id = (0..PLUGINS, 0..EACH);
    let op = prop_oneof![
        3 => (id.clone(), 0..4_usize).prop_map(|(id, limit)| Op::Register { id, limit }),
        1 => id.clone().prop_map(|id| Op::Remove { id }),
        1 => (id.clone(), 0..4_usize).prop_map(|(id, limit)| Op::SetLimit { id, limit }),
        1 => (0..PLUGINS, 1..5_u32).prop_map(|(plugin, weight)| Op::SetWeight { plugin, weight }),
        1 => (0..8_usize).prop_map(|pool| Op::SetPool { pool }),
        8 => (id.clone(), any::<bool>()).prop_map(|(id, has)| Op::Work { id, has }),
        12 => Just(Op::Turn),
        1 => id.clone().prop_map(|id| Op::Acquire { id }),
        10 => id.prop_map(|id| Op::Release { id }),
    ];
    prop::collection::vec(op, 1..300)
}

/// Of one of weight 1.
const TURN: u64 = 1 << 20;

#[derive(Default)]
struct Model {
    pool: usize,
    began: u64,
    places: u64,
    /// Weight, and when the last turn ends.
    plugins: BTreeMap<usize, (u32, (u64, u64))>,
    controllers: BTreeMap<Id, Controller>,
}

#[derive(Default)]
struct Controller {
    limit: usize,
    running: usize,
    place: Option<u64>,
}

impl Model {
    fn running(&self) -> usize {
        self.controllers.values().map(|one| one.running).sum()
    }

    fn register(&mut self, id: Id, limit: usize) {
        let controller = self.controllers.entry(id).or_default();
        controller.limit = limit;
        if controller.place.is_none() {
            controller.place = Some(self.places);
            let end = (self.began + TURN, self.places);
            self.plugins.entry(id.0).or_insert((1, end));
            self.places += 1;
        }
    }

    fn remove(&mut self, id: Id) {
        if let Some(controller) = self.controllers.get_mut(&id) {
            controller.place = None;
        }
        let rest = |(other, one): (&Id, &Controller)| other.0 == id.0 && one.place.is_some();
        if !self.controllers.iter().any(rest) {
            self.plugins.remove(&id.0);
        }
    }

    fn acquire(&mut self, id: Id) -> bool {
        let room = self.running() < self.pool;
        let controller = self.controllers.get_mut(&id);
        let may = controller.filter(|one| room && one.place.is_some() && one.running < one.limit);
        may.map(|one| one.running += 1).is_some()
    }

    fn turn(&mut self, work: &BTreeMap<Id, bool>) -> Option<Id> {
        let mut line: Vec<((u64, u64), u64, Id)> = Vec::new();
        for (id, one) in &self.controllers {
            let Some(place) = one.place.filter(|_| one.running < one.limit && work[id]) else {
                continue;
            };
            line.push((self.plugins[&id.0].1, place, *id));
        }
        let (_, _, id) = line.into_iter().min().filter(|_| self.running() < self.pool)?;
        let controller = self.controllers.get_mut(&id)?;
        controller.running += 1;
        controller.place = Some(self.places);
        let (weight, end) = self.plugins.get_mut(&id.0)?;
        self.began = self.began.max(end.0);
        *end = (self.began + TURN / u64::from(*weight), self.places);
        self.places += 1;
        Some(id)
    }
}

/// The same histories in each run.
fn settings() -> ProptestConfig {
    ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(7),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn turns_are_those_of_a_gate_that_asks_everybody(ops in ops(), pool in 0..8_usize) {
        let (mut gate, mut model) = (Gate::new(pool), Model { pool, ..Model::default() });
        let all = (0..PLUGINS).flat_map(|plugin| (0..EACH).map(move |number| (plugin, number)));
        let mut work: BTreeMap<Id, bool> = all.map(|id| (id, false)).collect();
        for op in ops {
            match op {
                Op::Register { id, limit } => {
                    gate.register(id.0, id, limit);
                    model.register(id, limit);
                }
                Op::Remove { id } => {
                    gate.remove(&id);
                    model.remove(id);
                }
                Op::SetLimit { id, limit } => {
                    if gate.set_limit(&id, limit) {
                        model.controllers.get_mut(&id).expect("it is registered").limit = limit;
                    }
                }
                Op::SetWeight { plugin, weight } => {
                    if gate.set_weight(&plugin, weight) {
                        model.plugins.get_mut(&plugin).expect("it is registered").0 = weight;
                    }
                }
                Op::SetPool { pool } => {
                    gate.set_pool(pool);
                    model.pool = pool;
                }
                Op::Work { id, has } => {
                    work.insert(id, has);
                    // Only what comes is told, not what goes.
                    if has {
                        gate.wake(&id.0);
                    }
                }
                Op::Turn => {
                    let turn = gate.next_turn(|id| work[id]);
                    prop_assert_eq!(turn, model.turn(&work));
                    // Who was asked in vain is not asked again.
                    if turn.is_none() {
                        let again = gate.next_turn(|_| panic!("asked again"));
                        prop_assert!(again.is_none());
                    }
                }
                Op::Acquire { id } => prop_assert_eq!(gate.acquire(&id), model.acquire(id)),
                Op::Release { id } => {
                    let running = model.controllers.get_mut(&id).filter(|one| one.running > 0);
                    prop_assert_eq!(gate.release(&id), running.map(|one| one.running -= 1).is_some());
                }
            }
        }
    }
}
