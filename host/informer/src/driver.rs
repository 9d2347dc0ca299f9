//! The informers of a process on tokio and a real API server. Thin: what it decides, [`crate::reflector`],
//! [`crate::shared`] and [`crate::store`] decide.
//!
//! The client must be made with `Config::default_retry` off: kube's own retry layer repeats 429, 503 and 504 up to
//! fifteen times, which hides them from the rules here. It should also be quiet: kube logs every failed request as an
//! error (`kube_client=off`), where this room says once that the API server is away and once that it is back.

pub(crate) mod outage;
pub mod reach;
mod task;
pub(crate) mod transport;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kube::Client;
use pilothouse_object::Gvk;
use tokio::{runtime::Handle, sync::Semaphore, task::AbortHandle};

use crate::{
    driver::reach::Reach,
    driver::task::Task,
    driver::transport::Patience,
    informer::charges::Charge,
    informer::{Command, Handler, IndexSpec, Informer},
    reflector::ReflectorConfig,
    shared::registry::Registry,
    status::{Counters, WatchStatus},
    store::index::IndexError,
    subscription::{Home, Subscription},
    view::{Names, View},
};

/// Tells the time since an arbitrary origin, never backwards.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Duration;
}

/// tokio's clock; it stands still where a test has paused it.
#[derive(Clone, Copy, Debug)]
pub struct TokioClock(tokio::time::Instant);

impl TokioClock {
    /// A clock that starts at zero.
    #[expect(clippy::disallowed_methods, reason = "this is the clock that others are given")]
    pub fn start() -> Self {
        Self(tokio::time::Instant::now())
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// How the driver works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DriverConfig {
    /// How reflectors ask.
    pub reflector: ReflectorConfig,
    /// How long they wait.
    pub patience: Patience,
    /// Lists that run at one time. Default 4: each holds a connection and, at the server, a page of objects.
    pub lists_at_once: usize,
}

impl Default for DriverConfig {
    fn default() -> Self {
        Self {
            reflector: ReflectorConfig::default(),
            patience: Patience::default(),
            lists_at_once: 4,
        }
    }
}

/// A subscription that can't be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubscribeError {
    /// Its indexes contradict each other.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// A name that can't stand in a path.
    #[error("can't watch {kind}: {error}")]
    Name {
        /// The kind.
        kind: Gvk,
        /// What is wrong.
        error: pilothouse_object::NameError,
    },
    /// An index on what is never cached.
    #[error("the index {index:?} reads {path} of Secrets, whose data is never cached; index their metadata or type")]
    SecretIndex {
        /// The index.
        index: String,
        /// The path.
        path: String,
    },
    /// [`SharedInformers::stop`] was called.
    #[error("the host is stopping; nothing can be watched any more")]
    Stopped,
}

/// The informers of a process: subscribe, and share. Cheap to clone.
#[derive(Clone)]
pub struct SharedInformers(Arc<Inner>);

#[derive(Default)]
struct Tasks {
    running: HashMap<u64, AbortHandle>,
    stopped: bool,
}

/// What the tasks of the informers share.
pub(crate) struct Inner {
    pub(crate) client: Client,
    pub(crate) config: DriverConfig,
    pub(crate) clock: Arc<dyn Clock>,
    runtime: Handle,
    /// Taken before an informer's locks.
    registry: Mutex<Registry>,
    tasks: Mutex<Tasks>,
    pub(crate) reach: Reach,
    pub(crate) lists: Semaphore,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SharedInformers {
    /// Informers over this client, whose tasks run on this runtime. `seed` is where jitter comes from: another one for
    /// each process, or all come back at the same moment.
    pub fn new(client: Client, config: DriverConfig, clock: Arc<dyn Clock>, runtime: Handle, seed: u64) -> Self {
        Self(Arc::new(Inner {
            reach: Reach::new(client.clone(), clock.clone(), runtime.clone(), seed),
            client,
            config,
            clock,
            runtime,
            registry: Mutex::new(Registry::new(config.reflector, seed)),
            tasks: Mutex::new(Tasks::default()),
            lists: Semaphore::new(config.lists_at_once.max(1)),
        }))
    }

    /// Subscribes to a kind. The handler hears of what is in the store already before this returns, then of what
    /// happens. What a handler may rely on and must not do: see [`crate::informer`].
    ///
    /// A kind that the API server doesn't serve yet, and a server that isn't there yet, are no errors: see the
    /// subscription's statuses.
    ///
    /// # Errors
    /// [`SubscribeError`]: nothing was changed.
    pub fn subscribe(
        &self,
        kind: &Gvk,
        view: View,
        indexes: &[IndexSpec],
        handler: Arc<dyn Handler>,
    ) -> Result<Subscription, SubscribeError> {
        let check = |name: &str| {
            pilothouse_object::check_path_segment(name).map_err(|error| SubscribeError::Name {
                kind: kind.clone(),
                error,
            })
        };
        check(&kind.version)?;
        check(&kind.kind)?;
        if !kind.group.is_empty() {
            check(&kind.group)?;
        }
        if let Names::Set(namespaces) = &view.namespaces {
            namespaces.iter().try_for_each(|namespace| check(namespace))?;
        }
        for index in indexes {
            for path in &index.paths {
                let path = path.to_string();
                let top = path
                    .trim_start_matches('.')
                    .split(['.', '['])
                    .next()
                    .unwrap_or_default();
                if kind.is_secret() && top != "metadata" && top != "type" {
                    let index = index.name.clone();
                    return Err(SubscribeError::SecretIndex { index, path });
                }
            }
        }
        let mut registry = lock(&self.0.registry);
        if lock(&self.0.tasks).stopped {
            return Err(SubscribeError::Stopped);
        }
        let informer = registry.informer(kind, view.fields.as_deref());
        let opened = Subscription::open(informer.clone(), view, indexes, handler, self.0.clone());
        let (subscription, commands) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                registry.forget_idle();
                return Err(error.into());
            }
        };
        Inner::run(&self.0, &informer, commands);
        Ok(subscription)
    }

    /// How every watch fares.
    pub fn statuses(&self) -> Vec<WatchStatus> {
        lock(&self.0.registry)
            .iter()
            .flat_map(|informer| informer.statuses())
            .collect()
    }

    /// What every kind has cost and brought.
    pub fn counters(&self) -> Vec<(Gvk, Counters)> {
        lock(&self.0.registry)
            .iter()
            .map(|informer| (informer.gvk().clone(), informer.counters()))
            .collect()
    }

    /// What each owner of a view is charged for, by kind: what the cache would hold for it alone. Waits for handlers
    /// that run; don't call it while holding a lock that a handler takes.
    pub fn charges(&self) -> Vec<(Gvk, Arc<str>, Charge)> {
        let informers: Vec<_> = lock(&self.0.registry).iter().cloned().collect();
        let charged = |informer: Arc<Informer>| {
            let kind = informer.gvk().clone();
            let charges = informer.charges().into_iter();
            charges.map(move |(owner, charge)| (kind.clone(), owner, charge))
        };
        informers.into_iter().flat_map(charged).collect()
    }

    /// For how long no request got an answer, or every one a 401; none while the API server answers.
    pub fn unreachable_for(&self) -> Option<Duration> {
        self.0.reach.away_for()
    }

    /// Whether the API server answers.
    pub fn reach(&self) -> &Reach {
        &self.0.reach
    }

    /// Stops every watch. After this has returned no handler is called; what is cached stays readable.
    pub fn stop(&self) {
        let registry = lock(&self.0.registry);
        lock(&self.0.tasks).stopped = true;
        self.0.reach.stop();
        for informer in registry.iter() {
            Inner::run(&self.0, informer, informer.close());
        }
    }
}

impl Home for Inner {
    fn left(self: Arc<Self>, informer: &Arc<Informer>, commands: Vec<Command>) {
        Inner::run(&self, informer, commands);
        lock(&self.registry).forget_idle();
    }
}

impl Inner {
    /// A reflector's task is over.
    pub(crate) fn ended(&self, id: u64) {
        lock(&self.tasks).running.remove(&id);
    }

    pub(crate) fn run(this: &Arc<Self>, informer: &Arc<Informer>, commands: Vec<Command>) {
        let mut tasks = lock(&this.tasks);
        for command in commands {
            match command {
                Command::Stop(id) => {
                    if let Some(task) = tasks.running.remove(&id) {
                        task.abort();
                    }
                }
                Command::Start(id) => {
                    let task = Task::new(this.clone(), informer.clone(), id);
                    // A watch that was stopped before it is started here finds itself gone at its first step.
                    let handle = this.runtime.spawn(task.run());
                    tasks.running.insert(id, handle.abort_handle());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
