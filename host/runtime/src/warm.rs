//! Instances that are kept between the calls of one plugin, where its operator asks for it.
//!
//! What an instance holds in its memory goes from one call to the next: a plugin that keeps something of one object in
//! a global may take it for another one's. That is the price; what else is promised for a call holds for each:
//! - A nest belongs to one loaded plugin: no instance of it is ever another plugin's, or another version's, or runs
//!   under another configuration.
//! - An instance is kept only after a call that went well: not after a trap, a panic, a limit, a failure that the
//!   plugin reported, or a call that was dropped.
//! - It is not kept beyond so many calls, nor once its memory has grown too much ([`Warm`]), nor where nobody used it
//!   for half a minute to a minute ([`Nests::sweep`]).
//! - Time, CPU time, host calls, log lines and the like begin anew with each call; memory counts from the first one on.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::Store;

use crate::bindings::Reconciler;
use crate::state::State;

/// Between two sweeps.
pub(crate) const SWEEP: Duration = Duration::from_secs(30);

/// How instances of one plugin are kept between its calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Warm {
    /// So many at once; 0 is none. What all plugins keep is bounded by
    /// [`EngineConfig::warm`](crate::EngineConfig::warm) as well.
    pub instances: u32,
    /// An instance ends after so many calls.
    pub calls: u32,
    /// And once its linear memory has grown by more than so many bytes since its first call was over.
    pub growth: u64,
}

impl Warm {
    /// Whether an instance is kept that has served so many calls and grown by so much.
    fn keeps(&self, calls: u32, growth: u64) -> bool {
        calls < self.calls && growth <= self.growth
    }
}

/// An instance between two calls.
pub(crate) struct Live {
    pub(crate) store: Store<State>,
    pub(crate) instance: Reconciler,
    /// How many it has served.
    pub(crate) calls: u32,
    /// Its place among all that are kept, which it holds while it is called, too: so there are never more instances
    /// than the pool has room for.
    pub(crate) place: OwnedSemaphorePermit,
    /// Since the last sweep.
    used: bool,
}

/// What one loaded plugin keeps.
pub(crate) struct Nest {
    settings: Warm,
    places: Arc<Semaphore>,
    idle: Mutex<Vec<Live>>,
}

impl Nest {
    pub(crate) fn new(settings: Warm, places: Arc<Semaphore>) -> Self {
        Nest {
            settings,
            places,
            idle: Mutex::default(),
        }
    }

    /// The instance that was used last: what is too many gets idle, and goes.
    pub(crate) fn take(&self) -> Option<Live> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Keeps an instance, or ends it.
    pub(crate) fn put(
        &self,
        mut store: Store<State>,
        instance: Reconciler,
        calls: u32,
        place: Option<OwnedSemaphorePermit>,
    ) {
        if !self.settings.keeps(calls, store.data_mut().growth()) {
            return;
        }
        let Some(place) = place.or_else(|| Arc::clone(&self.places).try_acquire_owned().ok()) else {
            return;
        };
        let mut live = Live {
            store,
            instance,
            calls,
            place,
            used: true,
        };
        live.store.data_mut().forget();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.settings.instances as usize {
            idle.push(live);
        } else {
            // Taking it down takes its time.
            drop(idle);
            drop(live);
        }
    }

    /// Ends what was not used since the last sweep.
    fn sweep(&self) {
        let mut unused = Vec::new();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let mut at = 0;
        while let Some(live) = idle.get_mut(at) {
            if std::mem::take(&mut live.used) {
                at += 1;
            } else {
                unused.push(idle.remove(at));
            }
        }
        drop(idle);
        drop(unused);
    }
}

/// Those of all plugins of an engine.
#[derive(Default)]
pub(crate) struct Nests(Mutex<Vec<Weak<Nest>>>);

impl Nests {
    pub(crate) fn add(&self, nest: &Arc<Nest>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|nest| nest.strong_count() > 0);
        all.push(Arc::downgrade(nest));
    }

    /// Once each [`SWEEP`]: what was not used since the last time ends.
    pub(crate) fn sweep(&self) {
        let all: Vec<Arc<Nest>> = {
            let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.iter().filter_map(Weak::upgrade).collect()
        };
        all.iter().for_each(|nest| nest.sweep());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pure::Pure;
    use crate::{Engine, EngineConfig, GivenGvk, GivenRef, Limits, Request};

    #[test]
    fn an_instance_is_kept_for_so_many_calls_and_so_much_growth() {
        let warm = Warm {
            instances: 1,
            calls: 3,
            growth: 100,
        };
        assert!(warm.keeps(2, 100));
        assert!(!warm.keeps(3, 0));
        assert!(!warm.keeps(1, 101));
    }

    #[tokio::test]
    async fn what_nobody_used_between_two_sweeps_ends() {
        let engine = Engine::new(EngineConfig {
            slots: 2,
            warm: 2,
            ..EngineConfig::default()
        })
        .unwrap();
        let bytes = std::fs::read(pilothouse_guests::component("bench-plugin")).unwrap();
        let (instances, calls, growth) = (2, 10, 1 << 20);
        let warm = Warm {
            instances,
            calls,
            growth,
        };
        let module = engine.compile(&bytes).unwrap().warm(warm);
        let call = async || {
            let request = Request {
                controller: "empty",
                key: GivenRef {
                    kind: GivenGvk {
                        group: "",
                        version: "v1",
                        kind: "Empty",
                    },
                    namespace: None,
                    name: "a",
                },
                object: None,
            };
            let limits = Limits::default();
            let done = module.reconcile(request, Arc::new(Pure::default()), &limits).await;
            assert!(done.result.is_ok_and(|answer| answer.is_ok()));
        };
        let kept = || 2 - engine.inner.places.available_permits();
        let sweep = || engine.inner.nests.sweep();
        call().await;
        assert_eq!(kept(), 1);
        sweep();
        call().await;
        sweep();
        assert_eq!(kept(), 1);
        sweep();
        assert_eq!(kept(), 0);
        call().await;
        assert_eq!(kept(), 1);
    }
}
