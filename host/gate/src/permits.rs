//! Permits for each controller, one pool that all share, and fair turns of plugins.
//!
//! # Promised
//! - No controller ever takes a permit beyond its limit, and all together never beyond the pool. A limit or pool that
//!   is made smaller than what runs ends nothing: no permit is given until enough have come back.
//! - **Fair turns of plugins**: plugins that have work and a free permit get turns in proportion to their weights,
//!   however large anybody's backlog is and however many controllers one has. With N plugins of equal weights such a
//!   one is passed over at most N − 1 times, whoever registers or leaves meanwhile: newcomers, and those that come
//!   back, start at the end of the line. Who had no work for a while comes first once, and saves up no turns.
//! - **Inside a plugin** whichever controller was served longest ago comes first among those that have work and a free
//!   permit.
//! - A turn costs no more with many idle plugins than with none: one that was asked in vain, or would be, leaves the
//!   line, and is not asked again before a permit of it comes back, a limit of it changes, or [`Gate::wake`] says that
//!   it may have work. Then it has the place it had.
//! - A controller that is removed while it runs keeps its permits until they come back; registered again under the same
//!   id (a new version of a module), it finds them still counted.
//! - The same calls give the same answers.
//!
//! # Not promised
//! - Turns are fair in number, not in time: a plugin with long runs holds its permits longer. Its controllers' limits
//!   are what bounds it.
//! - That a plugin with work has a turn, where nobody said [`Gate::wake`] when the work came.
//! - [`Gate::acquire`] takes no turn. Whoever uses it instead of [`Gate::next_turn`] answers for fairness.
//!
//! Turns are dealt by start-time fair queueing: a plugin's turn begins when its last one ended, or now if that is past,
//! and lasts the longer the less it weighs; the turn that began first is next.
//!
//! ```
//! use pilothouse_gate::Gate;
//!
//! let mut gate = Gate::new(2);
//! gate.register("greedy", "greedy/a", 10);
//! gate.register("greedy", "greedy/b", 10);
//! gate.register("modest", "modest/a", 1);
//! assert_eq!(gate.next_turn(|_| true), Some("greedy/a"));
//! assert_eq!(gate.next_turn(|_| true), Some("modest/a"));
//! assert_eq!(gate.next_turn(|_| true), None, "the pool is used up");
//! gate.release(&"greedy/a");
//! assert_eq!(gate.next_turn(|id| id.starts_with("greedy")), Some("greedy/b"));
//! ```

use std::collections::BTreeMap;
use std::hash::Hash;

use hashbrown::HashMap;

/// The largest weight of a plugin; the smallest is 1.
pub const MAX_WEIGHT: u32 = 100;

/// How long a turn of weight 1 lasts, in turns' own time. Divided by any weight it leaves enough to tell them apart,
/// and 2^44 turns fit in.
const TURN: u64 = 1 << 20;

/// Permits and turns of all controllers. `P` names a plugin and `I` a controller; both are cloned for each turn: make
/// them cheap to clone.
#[derive(Debug)]
pub struct Gate<P, I> {
    pool: usize,
    /// The permits that are out: the sum over `controllers`.
    running: usize,
    /// For look-ups alone: its order is random, so nothing walks through it.
    controllers: HashMap<I, Controller<P>>,
    plugins: HashMap<P, Plugin<I>>,
    /// Which plugin's turn comes first. Only of those that have registered controllers and were not asked in vain since
    /// they last may have got something to do.
    line: BTreeMap<Place, P>,
    /// When the turn that was dealt last began, in turns' own time.
    began: u64,
    /// Counts the places in the lines.
    places: u64,
}

/// A place in the line of plugins: when its last turn ends, and for those that are equal who came first.
type Place = (u64, u64);

#[derive(Debug)]
struct Controller<P> {
    plugin: P,
    limit: usize,
    running: usize,
    /// Its place in its plugin's line; `None` once it is removed, when only its permits are still to come back.
    place: Option<u64>,
}

#[derive(Debug)]
struct Plugin<I> {
    weight: u32,
    /// In the line of plugins, where it stands there, and else once it comes back.
    place: Place,
    stands: bool,
    /// Its controllers, whichever was served longest ago first.
    line: BTreeMap<u64, I>,
}

impl<P: Clone + Eq + Hash, I: Clone + Eq + Hash> Gate<P, I> {
    /// A gate with `pool` permits for all together. With zero nothing runs until [`Gate::set_pool`].
    pub fn new(pool: usize) -> Self {
        Self {
            pool,
            running: 0,
            controllers: HashMap::new(),
            plugins: HashMap::new(),
            line: BTreeMap::new(),
            began: 0,
            places: 0,
        }
    }

    /// Lets a controller of a plugin in, with at most `limit` permits at a time (zero: none until [`Gate::set_limit`]),
    /// at the end of the line; a plugin that is new has weight 1. One that is registered already keeps its place and
    /// gets the new limit: that, and not removing it first, is the way to exchange a module.
    pub fn register(&mut self, plugin: P, id: I, limit: usize) {
        let place = self.places;
        let controller = self.controllers.entry(id.clone()).or_insert_with(|| Controller {
            plugin: plugin.clone(),
            limit,
            running: 0,
            place: None,
        });
        controller.limit = limit;
        if controller.place.is_some() {
            let plugin = controller.plugin.clone();
            self.wake(&plugin);
            return;
        }
        controller.place = Some(place);
        controller.plugin = plugin.clone();
        self.places += 1;
        let end = (self.began + TURN, place);
        let line = &mut self.line;
        let group = self.plugins.entry(plugin.clone()).or_insert_with(|| {
            line.insert(end, plugin.clone());
            Plugin {
                weight: 1,
                place: end,
                stands: true,
                line: BTreeMap::new(),
            }
        });
        group.line.insert(place, id);
        self.wake(&plugin);
    }

    /// A plugin may have work that it had not when it was last asked. Once too often does no harm. Answers false where
    /// no controller of the plugin is registered.
    pub fn wake(&mut self, plugin: &P) -> bool {
        let Some(group) = self.plugins.get_mut(plugin) else {
            return false;
        };
        if !std::mem::replace(&mut group.stands, true) {
            self.line.insert(group.place, plugin.clone());
        }
        true
    }

    /// A plugin of weight 2 gets two turns for each one of a plugin of weight 1, while both have work. From 1 to
    /// [`MAX_WEIGHT`]; what lies outside counts as the nearest of them. Answers false where no controller of the plugin
    /// is registered.
    pub fn set_weight(&mut self, plugin: &P, weight: u32) -> bool {
        let Some(plugin) = self.plugins.get_mut(plugin) else {
            return false;
        };
        plugin.weight = weight.clamp(1, MAX_WEIGHT);
        true
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
        if let Some(plugin) = self.plugins.get_mut(&controller.plugin) {
            plugin.line.remove(&place);
            if plugin.line.is_empty() {
                self.line.remove(&plugin.place);
                self.plugins.remove(&controller.plugin);
            }
        }
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
                let plugin = controller.plugin.clone();
                self.wake(&plugin)
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

    /// Whose turn is it? Takes a permit for a controller that is below its limit and has work: of the plugin whose turn
    /// comes first, the one that was served longest ago. `None` where the pool is used up or nobody can run.
    ///
    /// `has_work` is asked in the order of the line, until one says yes; of those without a free permit it is not
    /// asked, and a plugin of which all say no not again before [`Gate::wake`]. A [`Gate::release`] is owed for each
    /// turn, also where the work turns out to be gone.
    #[must_use = "a permit is out and must be released"]
    pub fn next_turn(&mut self, mut has_work: impl FnMut(&I) -> bool) -> Option<I> {
        if self.running >= self.pool {
            return None;
        }
        while let Some((_, name)) = self.line.pop_first() {
            let Some(plugin) = self.plugins.get_mut(&name) else {
                continue;
            };
            plugin.stands = false;
            let controllers = &mut self.controllers;
            let chosen = plugin.line.iter().find_map(|(from, id)| {
                let controller = controllers.get_mut(id).filter(|controller| controller.may_run())?;
                has_work(id).then(|| {
                    controller.running += 1;
                    controller.place = Some(self.places);
                    (*from, id.clone(), controller.may_run())
                })
            });
            let Some((from, id, may_again)) = chosen else { continue };
            self.running += 1;
            plugin.line.remove(&from);
            plugin.line.insert(self.places, id.clone());
            self.began = self.began.max(plugin.place.0);
            plugin.place = (self.began + TURN / u64::from(plugin.weight), self.places);
            // Who has a single controller, and that at its limit, would be asked in vain.
            if may_again || plugin.line.len() > 1 {
                plugin.stands = true;
                self.line.insert(plugin.place, name);
            }
            self.places += 1;
            return Some(id);
        }
        None
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
        if controller.place.is_some() {
            // Whatever it has to do may have waited for this permit.
            let plugin = controller.plugin.clone();
            self.wake(&plugin);
        } else if controller.running == 0 {
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

    /// The controllers that the next turns ask for work, in their order.
    pub fn line(&self) -> impl Iterator<Item = &I> {
        let plugins = self.line.values().filter_map(|name| self.plugins.get(name));
        plugins.flat_map(|plugin| plugin.line.values())
    }
}

impl<P> Controller<P> {
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
