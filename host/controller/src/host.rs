//! The host: plugins on one side, an API server on the other, and the tasks between them.
//!
//! This is the driver: it reads clocks, spawns and waits, and leaves every decision to [`Dispatcher`], [`Route`] and the
//! rooms below. Started with loaded plugins, it runs until [`Host::stop`].

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use pilothouse_informer::{
    DriverConfig, IndexSpec, Names, Projection, SharedInformers, Subscription, TokioClock, View,
};
use pilothouse_lifecycle::{Extent, Plugin, Reach, Verb};
use pilothouse_object::{Gvk, Key, LabelSelector};
use pilothouse_runtime::Timestamp;
use pilothouse_workqueue::QueueConfig;
use tokio::{
    sync::{Notify, mpsc},
    task::JoinSet,
};

use crate::{
    ApiConfig, Cause, ControllerId, Dispatcher, Observer, Route, What,
    api::Api,
    call::{PluginState, Shared, lock},
    events::{self, Emitted},
    feed::Feed,
    kinds::Kinds,
    metrics::Metrics,
    provenance::Provenance,
    run::run,
};

/// Events that wait to be sent; more are dropped and counted.
const EVENT_BACKLOG: usize = 1_024;

/// How a host runs.
pub struct HostOptions {
    /// Runs at once, of all plugins together. Default 64.
    pub pool: usize,
    /// Bounds of requests to the API server.
    pub api: ApiConfig,
    /// Seed of back-off jitter, watch time-outs, Event names and what plugins get from `call.random`. A host that serves
    /// real clusters takes it from the operating system.
    pub seed: u64,
    /// Hears what happens.
    pub observer: Arc<dyn Observer>,
    /// The wall clock that plugins see. Default: the system's.
    pub wall: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

impl HostOptions {
    /// The defaults, with a seed and an observer.
    pub fn new(seed: u64, observer: Arc<dyn Observer>) -> Self {
        Self {
            pool: 64,
            api: ApiConfig::default(),
            seed,
            observer,
            wall: Arc::new(system_time),
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "the driver's wall clock")]
fn system_time() -> Timestamp {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp {
        seconds: since.as_secs().try_into().unwrap_or(u32::MAX),
        nanoseconds: since.subsec_nanos(),
    }
}

/// Targets of writes, by the controller and key whose run sent them.
type Uncertain = HashMap<(ControllerId, Key), Vec<(Gvk, Key)>>;

/// What the host's tasks share.
pub(crate) struct Core {
    pub(crate) shared: Arc<Shared>,
    pub(crate) dispatcher: Mutex<Dispatcher>,
    /// The dispatcher has something new to look at.
    pub(crate) wake: Notify,
    /// Targets of writes whose outcome nobody knows, by the key whose run sent them.
    pub(crate) uncertain: Mutex<Uncertain>,
    origin: tokio::time::Instant,
}

impl Core {
    /// Monotonic time since the host began.
    #[allow(clippy::disallowed_methods, reason = "the driver's clock")]
    pub(crate) fn now(&self) -> Duration {
        tokio::time::Instant::now().saturating_duration_since(self.origin)
    }
}

/// A controller of a loaded plugin.
pub(crate) struct Controller {
    pub(crate) id: ControllerId,
    pub(crate) kind: Gvk,
    pub(crate) plugin: Arc<PluginState>,
    resync: Option<Duration>,
}

/// A running host.
pub struct Host {
    core: Arc<Core>,
    controllers: Arc<BTreeMap<ControllerId, Arc<Controller>>>,
    plugins: Vec<Arc<PluginState>>,
    stopping: Arc<AtomicBool>,
    jobs: Arc<Mutex<JoinSet<()>>>,
    tasks: JoinSet<()>,
    informers: SharedInformers,
}

/// How a host stopped.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Stopped {
    /// Runs that ended within the grace period.
    pub finished: usize,
    /// Keys whose runs were ended by force, as `plugin/controller namespace/name`.
    pub abandoned: Vec<String>,
}

impl Host {
    /// Starts watching and reconciling. Needs a tokio runtime with I/O and time; never blocks, and needs no API server to
    /// be there yet.
    #[allow(
        clippy::disallowed_methods,
        reason = "the driver: spawns its tasks and reads its clock"
    )]
    pub fn start(client: kube::Client, plugins: Vec<Arc<Plugin>>, options: HostOptions) -> Self {
        let (events, event_queue) = mpsc::channel(EVENT_BACKLOG);
        let mut rng = fastrand::Rng::with_seed(options.seed);
        let api = Api::new(client.clone(), options.api);
        let shared = Arc::new(Shared {
            kinds: Kinds::new(client.clone()),
            api,
            metrics: Metrics::new(),
            observer: options.observer,
            provenance: Mutex::new(Provenance::default()),
            events,
            random: Mutex::new(rng.fork()),
            wall: options.wall,
        });
        let core = Arc::new(Core {
            shared: shared.clone(),
            dispatcher: Mutex::new(Dispatcher::new(options.pool)),
            wake: Notify::new(),
            uncertain: Mutex::default(),
            origin: tokio::time::Instant::now(),
        });
        let clock = Arc::new(TokioClock::start());
        let runtime = tokio::runtime::Handle::current();
        let informers = SharedInformers::new(client, DriverConfig::default(), clock, runtime, rng.u64(..));
        let mut controllers = BTreeMap::new();
        let mut states = Vec::new();
        for plugin in plugins {
            let state = open(&core, &informers, plugin);
            for controller in &state.plugin.manifest.controllers {
                let id = ControllerId {
                    plugin: state.name.clone(),
                    controller: controller.name.as_str().into(),
                };
                controllers.insert(
                    id.clone(),
                    Arc::new(Controller {
                        id,
                        kind: controller.kind.clone(),
                        plugin: state.clone(),
                        resync: controller.resync(),
                    }),
                );
            }
            states.push(state);
        }
        let controllers = Arc::new(controllers);
        let stopping = Arc::new(AtomicBool::new(false));
        let jobs = Arc::new(Mutex::new(JoinSet::new()));
        let mut tasks = JoinSet::new();
        tasks.spawn(dispatch(
            core.clone(),
            controllers.clone(),
            stopping.clone(),
            jobs.clone(),
            rng.fork(),
        ));
        tasks.spawn(send_events(core.clone(), event_queue, rng.fork()));
        Self {
            core,
            controllers,
            plugins: states,
            stopping,
            jobs,
            tasks,
            informers,
        }
    }

    /// The metrics as text, of the content type [`crate::METRICS_CONTENT_TYPE`].
    pub fn metrics(&self) -> String {
        let dispatcher = lock(&self.core.dispatcher);
        self.core.shared.metrics.render(self.core.now(), &dispatcher)
    }

    /// What the host waits for before every controller runs, a line for people each; empty means ready.
    pub fn waiting_for(&self) -> Vec<String> {
        if self.stopping.load(Ordering::Acquire) {
            return vec!["the host is stopping".to_owned()];
        }
        let mut lines = Vec::new();
        for plugin in &self.plugins {
            for (kind, windows) in &plugin.views {
                for window in windows.iter().filter(|window| !window.synced()) {
                    let mut why: Vec<String> = window
                        .statuses()
                        .into_iter()
                        .map(|status| match status.last_error {
                            Some(error) => format!("{} ({error})", status.phase.as_str()),
                            None => status.phase.as_str().to_owned(),
                        })
                        .collect();
                    why.dedup();
                    lines.push(format!("{}: first list of {kind}: {}", plugin.name, why.join("; ")));
                }
            }
        }
        lines.sort();
        lines.dedup();
        lines
    }

    /// True where every controller runs and nothing is queued, in work or waiting to be retried. Keys that asked to run
    /// again later don't count.
    pub fn is_idle(&self) -> bool {
        self.waiting_for().is_empty() && lock(&self.core.dispatcher).is_idle()
    }

    /// The controllers that this host runs.
    pub fn controllers(&self) -> impl Iterator<Item = &ControllerId> {
        self.controllers.keys()
    }

    /// Stops: no new work from now on; what runs has `grace` to end, then it is ended. What was sent is finished either
    /// way, within the bound of one request.
    pub async fn stop(&self, grace: Duration) -> Stopped {
        self.stopping.store(true, Ordering::Release);
        let running = {
            let mut dispatcher = lock(&self.core.dispatcher);
            dispatcher.shut_down();
            dispatcher.in_work()
        };
        self.core.wake.notify_one();
        self.informers.stop();
        let mut jobs = std::mem::take(&mut *lock(&self.jobs));
        #[allow(
            clippy::disallowed_methods,
            reason = "the driver: the grace period is its to wait for"
        )]
        let in_time = tokio::time::timeout(grace, async { while jobs.join_next().await.is_some() {} })
            .await
            .is_ok();
        let mut stopped = Stopped {
            finished: running,
            abandoned: Vec::new(),
        };
        if !in_time {
            stopped.abandoned = self.in_work();
            stopped.finished = running.saturating_sub(stopped.abandoned.len());
            jobs.shutdown().await;
        }
        self.core.shared.api.quiet().await;
        stopped
    }
}

impl Host {
    fn in_work(&self) -> Vec<String> {
        let dispatcher = lock(&self.core.dispatcher);
        let queues = dispatcher.queues();
        let in_work = queues.flat_map(|(id, queue)| {
            queue
                .entries()
                .filter(|entry| entry.in_work.is_some())
                .map(move |entry| format!("{id} {}", entry.key))
        });
        in_work.collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.tasks.abort_all();
        lock(&self.jobs).abort_all();
    }
}

/// Opens a plugin's windows on the kinds it watches and registers its controllers.
fn open(core: &Arc<Core>, informers: &SharedInformers, plugin: Arc<Plugin>) -> Arc<PluginState> {
    let name = plugin.name.clone();
    let mut views: HashMap<Gvk, Vec<Arc<Subscription>>> = HashMap::new();
    for controller in &plugin.manifest.controllers {
        let id = ControllerId {
            plugin: name.clone(),
            controller: controller.name.as_str().into(),
        };
        let concurrency = plugin.concurrency(&controller.name) as usize;
        let config = QueueConfig {
            base: controller.backoff.base(),
            cap: controller.backoff.max(),
            max_attempts: controller.max_attempts,
            ..QueueConfig::default()
        };
        lock(&core.dispatcher).register(id.clone(), concurrency, config);
        core.shared.metrics.registered(&id, concurrency);

        let primary = Window {
            kind: &controller.kind,
            selector: &controller.selector,
            projection: Projection::Whole,
            route: Route::primary(controller),
        };
        let watched = controller.watches.iter().map(|watch| Window {
            kind: &watch.kind,
            selector: &watch.selector,
            projection: if watch.metadata_only {
                Projection::Metadata
            } else {
                Projection::Whole
            },
            route: Route::watched(controller, watch),
        });
        let reaches = |window: &Window<'_>| plugin.capabilities.reach(Verb::Watch, window.kind, None);
        let unsynced = reaches(&primary).len() + watched.clone().map(|window| reaches(&window).len()).sum::<usize>();
        let feed = Feeds {
            core,
            informers,
            plugin: &plugin,
            named: &controller.namespaces,
            id: &id,
            primaries: Arc::new(OnceLock::new()),
            unsynced: Arc::new(AtomicUsize::new(unsynced)),
        };
        // The controller's own kind first: mappings of the other kinds look through its windows.
        let own = feed.open(&primary, reaches(&primary));
        // Set once, here.
        let _ = feed.primaries.set(own.iter().map(Arc::downgrade).collect());
        views.entry(controller.kind.clone()).or_default().extend(own);
        for window in watched {
            let opened = feed.open(&window, reaches(&window));
            views.entry(window.kind.clone()).or_default().extend(opened);
        }
    }
    Arc::new(PluginState { plugin, name, views })
}

/// What the feeds of one controller have in common.
struct Feeds<'a> {
    core: &'a Arc<Core>,
    informers: &'a SharedInformers,
    plugin: &'a Plugin,
    named: &'a [String],
    id: &'a ControllerId,
    primaries: Arc<OnceLock<Vec<Weak<Subscription>>>>,
    unsynced: Arc<AtomicUsize>,
}

impl Feeds<'_> {
    /// Opens a window for each part of the kind that the plugin may watch.
    fn open(&self, window: &Window<'_>, reaches: Vec<Reach>) -> Vec<Arc<Subscription>> {
        let indexes: Vec<IndexSpec> = self
            .plugin
            .manifest
            .indexes
            .iter()
            .filter(|index| index.kind == *window.kind)
            .map(|index| IndexSpec {
                name: index.name.clone(),
                paths: index.paths.clone(),
            })
            .collect();
        let open = |reach: &Reach| {
            let view = View {
                namespaces: within(reach, self.named),
                names: names(&reach.names),
                selector: window.selector.clone(),
                projection: window.projection,
            };
            let feed = Feed {
                core: self.core.clone(),
                id: self.id.clone(),
                kind: window.kind.clone(),
                route: window.route.clone(),
                primaries: self.primaries.clone(),
                unsynced: self.unsynced.clone(),
            };
            let opened = self.informers.subscribe(window.kind, view, &indexes, Arc::new(feed));
            // The manifest's check lets neither two indexes of one name nor an impossible name through.
            opened
                .inspect_err(|error| tracing::error!(controller = %self.id, kind = %window.kind, %error, "a watch could not be opened"))
                .ok()
                .map(Arc::new)
        };
        reaches.iter().filter_map(open).collect()
    }
}

#[derive(Clone)]
struct Window<'a> {
    kind: &'a Gvk,
    selector: &'a LabelSelector,
    projection: Projection,
    route: Route,
}

/// The namespaces that are both granted and named in the manifest (none named: all granted).
fn within(reach: &Reach, named: &[String]) -> Names {
    match (&reach.namespaces, named) {
        (extent, []) => names(extent),
        (Extent::All, named) => Names::of(named.iter().map(String::as_str)),
        (Extent::Only(granted), named) => Names::of(
            granted
                .iter()
                .map(|n| &**n)
                .filter(|granted| named.iter().any(|named| named == granted)),
        ),
    }
}

fn names(extent: &Extent) -> Names {
    match extent {
        Extent::All => Names::All,
        Extent::Only(some) => Names::of(some.iter().map(|name| &**name)),
    }
}

/// Hands out jobs whenever there is one, and sees to resyncs.
#[allow(
    clippy::disallowed_methods,
    reason = "the driver: spawns runs and waits for the next due time"
)]
async fn dispatch(
    core: Arc<Core>,
    controllers: Arc<BTreeMap<ControllerId, Arc<Controller>>>,
    stopping: Arc<AtomicBool>,
    jobs: Arc<Mutex<JoinSet<()>>>,
    mut rng: fastrand::Rng,
) {
    let mut resyncs: Vec<(Duration, Duration, Arc<Controller>)> = controllers
        .values()
        .filter_map(|c| c.resync.map(|every| (every, every, c.clone())))
        .collect();
    loop {
        // Registered before looking, so that a wake-up in between is not missed.
        let woken = core.wake.notified();
        if stopping.load(Ordering::Acquire) {
            return;
        }
        let now = core.now();
        for (due, every, controller) in &mut resyncs {
            if *due <= now {
                *due = now + *every;
                resync(&core, controller, now, *every, &mut rng);
            }
        }
        let due = {
            let mut dispatcher = lock(&core.dispatcher);
            let mut jobs = lock(&jobs);
            while jobs.try_join_next().is_some() {}
            while let Some(job) = dispatcher.next(now) {
                // Every controller of the dispatcher is registered from this map.
                if let Some(controller) = controllers.get(&job.id) {
                    jobs.spawn(run(core.clone(), controller.clone(), job));
                }
            }
            dispatcher.next_due()
        };
        let due = resyncs.iter().map(|(due, ..)| *due).chain(due).min();
        match due {
            Some(due) => {
                tokio::select! {
                    biased;
                    () = woken => {}
                    () = tokio::time::sleep(due.saturating_sub(core.now())) => {}
                }
            }
            None => woken.await,
        }
    }
}

/// Asks for every object of a controller again, spread over a tenth of the period so that they don't come as one wave.
fn resync(core: &Core, controller: &Controller, now: Duration, every: Duration, rng: &mut fastrand::Rng) {
    let windows = controller.plugin.views.get(&controller.kind).into_iter().flatten();
    let keys: Vec<Key> = windows
        .filter_map(|window| window.list(None, &LabelSelector::everything()).ok())
        .flat_map(|listing| listing.items)
        .map(|object| object.key().clone())
        .collect();
    let mut dispatcher = lock(&core.dispatcher);
    for key in keys {
        let delay = every.mul_f64(rng.f64() / 10.0);
        dispatcher.add_after(now, &controller.id, key, delay, Cause::new(What::Resync, None));
    }
}

/// Sends plugins' Events, one after the other.
async fn send_events(core: Arc<Core>, mut queue: mpsc::Receiver<Emitted>, mut rng: fastrand::Rng) {
    let mut correlator = events::Correlator::default();
    while let Some(event) = queue.recv().await {
        let action = correlator.step(core.now(), &mut rng, &event);
        let result = events::send(&core.shared.api, &mut correlator, action).await;
        core.shared.metrics.event(&event.plugin, result);
    }
}
