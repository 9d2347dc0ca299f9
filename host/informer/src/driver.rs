//! The informers of a process on tokio and a real API server. Thin: what it decides, [`crate::reflector`],
//! [`crate::shared`] and [`crate::store`] decide.
//!
//! The client must be made with `Config::default_retry` off: kube's own retry layer repeats 429, 503 and 504 up to
//! fifteen times, which hides them from the rules here. It should also be quiet: kube logs every failed request as an
//! error (`kube_client=off`), where this room says once that the API server is away and once that it is back.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kube::{Client, client::Body};
use pilothouse_object::Gvk;
use tokio::{runtime::Handle, sync::Semaphore, task::AbortHandle};

use crate::{
    failure::{Failure, Trouble},
    index::IndexError,
    informer::{Command, Handler, IndexSpec, Informer},
    reach::Reach,
    read::{Format, Lines, ListReader, Unreadable},
    reflector::{Event, Input, ListRequest, Order, ReflectorConfig, WatchRequest},
    registry::Registry,
    status::{Counters, WatchStatus},
    store::Scope,
    subscription::{Home, Subscription},
    transport::{self, Patience, Resource},
    view::{Names, Projection, View},
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

struct Inner {
    client: Client,
    config: DriverConfig,
    clock: Arc<dyn Clock>,
    runtime: Handle,
    /// Taken before an informer's locks.
    registry: Mutex<Registry>,
    tasks: Mutex<Tasks>,
    reach: Reach,
    lists: Semaphore,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SharedInformers {
    /// Informers over this client, whose tasks run on this runtime. `seed` is where jitter comes from: another one for each
    /// process, or all come back at the same moment.
    pub fn new(client: Client, config: DriverConfig, clock: Arc<dyn Clock>, runtime: Handle, seed: u64) -> Self {
        Self(Arc::new(Inner {
            reach: Reach::new(client.clone(), clock.clone(), runtime.clone()),
            client,
            config,
            clock,
            runtime,
            registry: Mutex::new(Registry::new(config.reflector, seed)),
            tasks: Mutex::new(Tasks::default()),
            lists: Semaphore::new(config.lists_at_once.max(1)),
        }))
    }

    /// Subscribes to a kind. The handler hears of what is in the store already before this returns, then of what happens.
    /// What a handler may rely on and must not do: see [`crate::informer`].
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
        let mut keeps = view.projection;
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
                if top != "metadata" {
                    // An index can only read what is kept.
                    keeps = keeps.max(Projection::Whole);
                }
            }
        }
        let mut registry = lock(&self.0.registry);
        if lock(&self.0.tasks).stopped {
            return Err(SubscribeError::Stopped);
        }
        let informer = registry.informer(kind, keeps);
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
    fn run(this: &Arc<Self>, informer: &Arc<Informer>, commands: Vec<Command>) {
        let mut tasks = lock(&this.tasks);
        for command in commands {
            match command {
                Command::Stop(id) => {
                    if let Some(task) = tasks.running.remove(&id) {
                        task.abort();
                    }
                }
                Command::Start(id) => {
                    let task = Task {
                        inner: this.clone(),
                        informer: informer.clone(),
                        id,
                        told: (Duration::ZERO, 0),
                        forbidden: false,
                    };
                    // A watch that was stopped before it is started here finds itself gone at its first step.
                    let handle = this.runtime.spawn(task.run());
                    tasks.running.insert(id, handle.abort_handle());
                }
            }
        }
    }
}

/// The reflector is gone.
struct Gone;

/// How a watch ended.
enum End {
    /// By itself.
    Input(Input),
    /// The reflector wants something else.
    Order(Order),
}

/// Once the API server is back, watches come back over so many milliseconds.
const SPREAD: u64 = 500;

/// The most unreadable objects that one watch tells of in a minute.
const TOLD_A_MINUTE: u32 = 10;

/// One reflector's home.
struct Task {
    inner: Arc<Inner>,
    informer: Arc<Informer>,
    id: u64,
    /// When the running minute of log lines began, and how many it had.
    told: (Duration, u32),
    /// A request was forbidden since the last watch was opened.
    forbidden: bool,
}

impl Task {
    async fn run(mut self) {
        // Both ways out end the task: gone, or out of orders, which only a stopped reflector is.
        let (Ok(()) | Err(Gone)) = self.drive().await;
        lock(&self.inner.tasks).running.remove(&self.id);
    }

    fn feed(&self, input: Input) -> Result<Option<Order>, Gone> {
        let progress = self.informer.input(self.inner.clock.now(), self.id, input);
        Inner::run(&self.inner, &self.informer, progress.commands);
        if progress.gone { Err(Gone) } else { Ok(progress.order) }
    }

    async fn drive(&mut self) -> Result<(), Gone> {
        let scope = self.informer.scope(self.id).ok_or(Gone)?;
        let mut resource = None;
        let mut order = self.feed(Input::Start)?;
        while let Some(current) = order {
            let end = match current {
                Order::Wait(pause) => {
                    self.wait(pause).await;
                    Input::Timer
                }
                Order::Discover => match self.discover(&scope).await {
                    Ok(found) => {
                        resource = Some(found);
                        Input::Found
                    }
                    Err(failure) => Input::Failed(failure),
                },
                Order::List(request) => match &resource {
                    Some(resource) => self.list(resource, &scope, &request).await?,
                    None => Input::Failed(Failure::new(Trouble::NotFound, "not discovered yet")),
                },
                Order::Watch(request) => match &resource {
                    Some(resource) => match self.watch(resource, &scope, &request).await? {
                        End::Input(input) => input,
                        End::Order(next) => {
                            order = Some(next);
                            continue;
                        }
                    },
                    None => Input::Failed(Failure::new(Trouble::NotFound, "not discovered yet")),
                },
            };
            order = self.feed(end)?;
        }
        tracing::error!(kind = %self.informer.gvk(), %scope, "a reflector has stopped by itself: a fault of this host, restart it");
        Ok(())
    }

    fn heard<T>(&self, answer: Result<T, Failure>) -> Result<T, Failure> {
        self.inner.reach.heard(&answer);
        answer
    }

    /// Waits for so long, or until there is reason to hope: the API server was away and answers, or another watch that was
    /// forbidden like this one may be had.
    async fn wait(&self, pause: Duration) {
        let reach = &self.inner.reach;
        let (mut away, mut better) = (reach.away(), reach.better());
        let hope = async {
            // Errors: the senders are this driver's own.
            if self.forbidden {
                // Which the end of an outage is too.
                let _ = better.changed().await;
            } else {
                let _ = away.wait_for(|away| *away).await;
                let _ = away.wait_for(|away| !*away).await;
            }
            // Not all at the same moment.
            let spread = Duration::from_millis(self.id.wrapping_mul(37) % SPREAD);
            #[expect(clippy::disallowed_methods, reason = "this is the driver that waits")]
            tokio::time::sleep(spread).await;
        };
        #[expect(clippy::disallowed_methods, reason = "this is the driver that waits")]
        // An error: the pause is over.
        let _ = tokio::time::timeout(pause, hope).await;
    }

    async fn discover(&self, scope: &Scope) -> Result<Resource, Failure> {
        let gvk = self.informer.gvk();
        let found = transport::discover_watched(&self.inner.client, gvk, self.inner.config.patience).await;
        let found = self.heard(found)?;
        if !found.namespaced && *scope != Scope::All {
            let why = format!("{gvk} is cluster-scoped: who names namespaces sees nothing of it; ask for all of them");
            return Err(Failure::new(Trouble::Refused, why));
        }
        Ok(found)
    }

    async fn open(&mut self, path: &str) -> Result<Body, Failure> {
        let answer = self.heard(transport::get(&self.inner.client, path, self.inner.config.patience).await);
        self.forbidden |= matches!(&answer, Err(failure) if failure.trouble == Trouble::Forbidden);
        answer
    }

    fn format(&self) -> Format {
        Format {
            gvk: self.informer.gvk().clone(),
            keep: self.informer.keep(),
        }
    }

    async fn list(&mut self, resource: &Resource, scope: &Scope, request: &ListRequest) -> Result<Input, Gone> {
        let inner = self.inner.clone();
        // Never closed.
        let Ok(_turn) = inner.lists.acquire().await else {
            return Err(Gone);
        };
        let path = transport::list_path(self.informer.gvk(), resource, scope, request);
        let mut body = match self.open(&path).await {
            Ok(body) => body,
            Err(failure) => return Ok(Input::Failed(failure)),
        };
        let mut reader = ListReader::new(self.format());
        let garbled = |error: crate::read::ListError| Input::Failed(Failure::new(Trouble::Garbled, error.to_string()));
        loop {
            match transport::piece(&mut body, inner.config.patience.piece).await {
                Ok(Some(piece)) => match reader.push(&piece) {
                    Ok(page) => {
                        for unreadable in &page.unreadable {
                            self.tell(unreadable);
                        }
                        if !page.items.is_empty() || !page.unreadable.is_empty() {
                            self.feed(Input::Items(page.items, page.unreadable.len() as u64))?;
                        }
                    }
                    Err(error) => return Ok(garbled(error)),
                },
                Ok(None) => break,
                Err(failure) => return Ok(Input::Failed(failure)),
            }
        }
        Ok(match reader.finish() {
            Ok((version, token)) => Input::Page { version, token },
            Err(error) => garbled(error),
        })
    }

    async fn watch(&mut self, resource: &Resource, scope: &Scope, request: &WatchRequest) -> Result<End, Gone> {
        let path = transport::watch_path(self.informer.gvk(), resource, scope, request);
        let mut body = match self.open(&path).await {
            Ok(body) => body,
            Err(failure) => return Ok(End::Input(Input::Failed(failure))),
        };
        // Not for a list: where lists are allowed and watches are not, two kinds would wake each other for ever.
        if std::mem::take(&mut self.forbidden) {
            self.inner.reach.allowed();
        }
        if let Some(order) = self.feed(Input::Opened)? {
            return Ok(End::Order(order));
        }
        let format = self.format();
        let mut lines = Lines::default();
        loop {
            let mut events = Vec::new();
            let piece = transport::piece(&mut body, request.silence).await;
            if let Ok(Some(piece)) = &piece {
                lines.push(piece, |line| events.push(self.event(&format, line)));
            } else if let Some(rest) = std::mem::take(&mut lines).rest() {
                // A line without its end: whole, or cut off and told again by the next watch.
                events.extend(format.event(&rest).ok());
            }
            if !events.is_empty()
                && let Some(order) = self.feed(Input::Events(events))?
            {
                return Ok(End::Order(order));
            }
            match piece {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(End::Input(Input::Closed)),
                Err(failure) => return Ok(End::Input(Input::Cut(failure.message))),
            }
        }
    }

    fn event(&mut self, format: &Format, line: Option<&[u8]>) -> Event {
        let event = match line {
            Some(line) => format.event(line),
            None => Err(Unreadable {
                key: None,
                why: format!("an event of more than {} MiB", crate::read::MAX_OBJECT >> 20),
            }),
        };
        event.unwrap_or_else(|unreadable| {
            self.tell(&unreadable);
            Event::Unreadable
        })
    }

    /// A line for each object that can't be read, but no storm of them.
    fn tell(&mut self, unreadable: &Unreadable) {
        let now = self.inner.clock.now();
        let (since, told) = &mut self.told;
        if now.saturating_sub(*since) >= Duration::from_secs(60) {
            (*since, *told) = (now, 0);
        }
        *told = told.saturating_add(1);
        if *told <= TOLD_A_MINUTE {
            let problem =
                pilothouse_object::escape_control(pilothouse_object::shorten(&unreadable.to_string(), 512).as_ref())
                    .into_owned();
            tracing::warn!(kind = %self.informer.gvk(), problem, "an object can't be read; it is left as it was, the rest goes on");
        }
    }
}

#[cfg(test)]
#[path = "driver_tests.rs"]
mod tests;
