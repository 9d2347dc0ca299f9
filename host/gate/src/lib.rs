//! May a key of this controller run now? Permits for each controller, one pool that all share, and fair turns.
//!
//! The gate is a pure state machine: it knows no keys, no queues and no clock. The dispatcher asks it whose turn it is
//! and hands back every permit when the run has ended.
//!
//! # Promised
//! - No controller ever takes a permit beyond its limit, and all together never beyond the pool. A limit or pool that
//!   is made smaller than what runs ends nothing: no permit is given until enough have come back.
//! - **Fair turns**: whoever was served longest ago comes first among those that have work and a free permit, however
//!   large anybody's backlog is. With N registered controllers such a one is passed over at most N − 1 times, whoever
//!   registers or leaves meanwhile: newcomers, and those that come back, start at the end of the line.
//! - A controller that is removed while it runs keeps its permits until they come back; registered again under the same
//!   id (a new version of a module), it finds them still counted.
//! - The same calls give the same answers.
//!
//! # Not promised
//! - Turns are fair in number, not in time: a controller with long runs holds its permits longer. Its limit is what
//!   bounds it.
//! - [`Gate::acquire`] takes no turn. Whoever uses it instead of [`Gate::next_turn`] answers for fairness.
//!
//! ```
//! use pilothouse_gate::Gate;
//!
//! let mut gate = Gate::new(2);
//! gate.register("greedy", 10);
//! gate.register("modest", 1);
//! assert_eq!(gate.next_turn(|_| true), Some("greedy"));
//! assert_eq!(gate.next_turn(|_| true), Some("modest"));
//! assert_eq!(gate.next_turn(|_| true), None, "the pool is used up");
//! gate.release(&"greedy");
//! assert_eq!(gate.next_turn(|id| *id == "greedy"), Some("greedy"));
//! ```

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// Permits and turns of all controllers. `I` names a controller and is cloned for each turn: make it cheap to clone.
#[derive(Debug)]
pub struct Gate<I> {
    pool: usize,
    /// The permits that are out: the sum over `controllers`.
    running: usize,
    /// For look-ups alone: its order is random, so nothing walks through it.
    controllers: HashMap<I, Controller>,
    /// Those that may get turns, whoever was served longest ago first.
    line: BTreeMap<u64, I>,
    /// Counts the places in the line.
    places: u64,
}

#[derive(Debug)]
struct Controller {
    limit: usize,
    running: usize,
    /// Its place in the line; `None` once it is removed, when only its permits are still to come back.
    place: Option<u64>,
}

impl<I: Clone + Eq + Hash> Gate<I> {
    /// A gate with `pool` permits for all together. With zero nothing runs until [`Gate::set_pool`].
    pub fn new(pool: usize) -> Self {
        Self {
            pool,
            running: 0,
            controllers: HashMap::new(),
            line: BTreeMap::new(),
            places: 0,
        }
    }

    /// Lets a controller in, with at most `limit` permits at a time (zero: none until [`Gate::set_limit`]), at the end
    /// of the line. One that is registered already keeps its place and gets the new limit: that, and not removing it
    /// first, is the way to exchange a module.
    pub fn register(&mut self, id: I, limit: usize) {
        let place = self.places;
        let controller = self.controllers.entry(id.clone()).or_insert(Controller {
            limit,
            running: 0,
            place: None,
        });
        controller.limit = limit;
        if controller.place.is_none() {
            controller.place = Some(place);
            self.line.insert(place, id);
            self.places += 1;
        }
    }

    /// No more permits for this controller. Those that are out still count in the pool until they are released. Answers
    /// false where it is not registered.
    pub fn remove(&mut self, id: &I) -> bool {
        let Some(controller) = self.controllers.get_mut(id) else {
            return false;
        };
        let Some(place) = controller.place.take() else {
            return false;
        };
        self.line.remove(&place);
        if controller.running == 0 {
            self.controllers.remove(id);
        }
        true
    }

    /// Another limit from now on. A smaller one ends nothing: what runs beyond it comes back when it is done. Answers
    /// false where the controller is not registered.
    pub fn set_limit(&mut self, id: &I, limit: usize) -> bool {
        match self.controllers.get_mut(id) {
            Some(controller) if controller.place.is_some() => {
                controller.limit = limit;
                true
            }
            _ => false,
        }
    }

    /// Another pool from now on. A smaller one ends nothing.
    pub fn set_pool(&mut self, pool: usize) {
        self.pool = pool;
    }

    /// Takes a permit for this controller out of turn, and answers whether there was one: it is registered, below its
    /// limit, and the pool has room. Its place in the line stays. Where it answers true a [`Gate::release`] is owed.
    #[must_use = "where it answers true a permit is out and must be released"]
    pub fn acquire(&mut self, id: &I) -> bool {
        if self.running >= self.pool {
            return false;
        }
        match self.controllers.get_mut(id) {
            Some(controller) if controller.may_run() => {
                controller.running += 1;
                self.running += 1;
                true
            }
            _ => false,
        }
    }

    /// Whose turn is it? Takes a permit for the controller that was served longest ago among those that are below their
    /// limit and have work, and puts it at the end of the line. `None` where the pool is used up or nobody can run.
    ///
    /// `has_work` is asked in the order of the line, until one says yes; of those without a free permit it is not
    /// asked. A [`Gate::release`] is owed for each turn, also where the work turns out to be gone.
    #[must_use = "a permit is out and must be released"]
    pub fn next_turn(&mut self, mut has_work: impl FnMut(&I) -> bool) -> Option<I> {
        if self.running >= self.pool {
            return None;
        }
        let may_run = |id: &I| self.controllers.get(id).is_some_and(Controller::may_run);
        let (place, id) = self.line.iter().find(|(_, id)| may_run(id) && has_work(id))?;
        let (place, id) = (*place, id.clone());
        let controller = self.controllers.get_mut(&id)?;
        controller.running += 1;
        controller.place = Some(self.places);
        self.running += 1;
        self.line.remove(&place);
        self.line.insert(self.places, id.clone());
        self.places += 1;
        Some(id)
    }

    /// Gives a permit back. Answers false, and changes nothing, where this controller has none out: then the caller has
    /// released twice.
    pub fn release(&mut self, id: &I) -> bool {
        let Some(controller) = self.controllers.get_mut(id) else {
            return false;
        };
        if controller.running == 0 {
            return false;
        }
        controller.running -= 1;
        self.running -= 1;
        if controller.running == 0 && controller.place.is_none() {
            self.controllers.remove(id);
        }
        true
    }

    /// How many permits this controller has out (`controller_runtime_active_workers`). Also of one that is removed.
    pub fn running(&self, id: &I) -> usize {
        self.controllers.get(id).map_or(0, |controller| controller.running)
    }

    /// How many it may have (`controller_runtime_max_concurrent_reconciles`); `None` where it is not registered.
    pub fn limit(&self, id: &I) -> Option<usize> {
        self.controllers
            .get(id)
            .filter(|controller| controller.place.is_some())
            .map(|controller| controller.limit)
    }

    /// How much of the pool is used.
    pub fn pool(&self) -> PoolUse {
        PoolUse {
            size: self.pool,
            running: self.running,
        }
    }

    /// The registered controllers, whoever was served longest ago first.
    pub fn line(&self) -> impl Iterator<Item = &I> {
        self.line.values()
    }
}

impl Controller {
    fn may_run(&self) -> bool {
        self.place.is_some() && self.running < self.limit
    }
}

/// How much of the pool is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolUse {
    /// The permits there are.
    pub size: usize,
    /// The permits that are out. More than `size` only after the pool was made smaller.
    pub running: usize,
}
