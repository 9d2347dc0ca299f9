//! The host: plugins on one side, an API server on the other, and the tasks between them.
//!
//! This is the driver: it reads clocks, spawns and waits, and leaves every decision to [`Dispatcher`], [`Route`] and
//! the rooms below. Started with loaded plugins, it runs until [`Host::stop`].

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use pilothouse_apiclient::Meter;
use pilothouse_gate::breaker::View;
use pilothouse_informer::{DriverConfig, Patience, SharedInformers, TokioClock};
use pilothouse_lifecycle::{Concurrency, Plugin, Trouble, TroubleKind};
use pilothouse_object::Key;
use pilothouse_runtime::Timestamp;
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinSet,
};

use crate::lock::lock;
use crate::{
    ApiConfig, ControllerId, DigestKey, Dispatcher, HotLoop, Observer,
    access::{self, Standing},
    api::{kinds::Kinds, requests::Api},
    calls::{
        call::Shared,
        lane::Lane,
        workers::{Workers, dispatch},
    },
    core::Core,
    parked::{self, Keep},
    reporting::{
        events::{self, Action, Emitted, Place},
        metrics::Metrics,
        notices::{self, Notices},
    },
    scheduling::cache_bound,
    versions::{live::Live, stage::LISTS_WITHIN},
    waking::provenance::Provenance,
};

/// Events that wait to be sent; more are dropped and counted.
const EVENT_BACKLOG: usize = 1_024;

/// How a host runs.
pub struct HostOptions {
    /// Runs at once, of all plugins together. Default 64.
    pub pool: usize,
    /// Bounds of requests to the API server.
    pub api: ApiConfig,
    /// How long lists and watches wait for the API server.
    pub lists: Patience,
    /// What counts the client's requests, to be part of [`Host::metrics`]. Default: one that counts nothing, where the
    /// client has none.
    pub meter: Meter,
    /// Seed of back-off jitter, watch time-outs and Event names. A host that serves real clusters takes it from the
    /// operating system.
    pub seed: u64,
    /// Hears what happens.
    pub observer: Arc<dyn Observer>,
    /// What plugins get from `call.random`: so many bytes, fewer where there are none. Default: the operating system's,
    /// so that no plugin can tell what another one gets; seeded ones are for tests.
    pub bytes: Arc<dyn Fn(usize) -> Vec<u8> + Send + Sync>,
    /// What digests of Secrets are made with. Default: a new one, so that digests are others after a restart; one that
    /// is kept is better.
    pub digest_key: DigestKey,
    /// The wall clock that plugins see. Default: the system's.
    pub wall: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Where parked keys are kept over restarts, with those that the last host kept there. Default: nowhere; then every
    /// key is tried again at the start.
    pub parked: Option<parked::State>,
    /// The plugins that begin in quarantine: they were in it when the last host ended. Default: none.
    pub quarantined: Vec<String>,
    /// How long a new version of a plugin that serves may wait for the first lists of what it watches besides; after
    /// that the older one serves on. Default 60 s.
    pub lists_within: Duration,
    /// Hears of calls that ended in a trap or at a limit, of breakers that opened, and of plugins that the caches hold
    /// too much for: to unload those is up to whoever hears. Called from the host's tasks: it must not block. Default:
    /// nobody.
    pub trouble: Arc<dyn Fn(Trouble) + Send + Sync>,
    /// Where calls go that compute for long, so that others need not wait for them. Default: nowhere, so that nothing
    /// but the runtime's own threads carries calls; a host that serves should have one.
    pub lane: Option<Lane>,
    /// What is to be told of plugins as the host's own Kubernetes Events. Default: nothing.
    pub notices: Option<Notices>,
}

impl HostOptions {
    /// The defaults, with a seed and an observer.
    pub fn new(seed: u64, observer: Arc<dyn Observer>) -> Self {
        Self {
            pool: 64,
            api: ApiConfig::default(),
            lists: Patience::default(),
            meter: Meter::default(),
            seed,
            observer,
            bytes: Arc::new(system_bytes),
            digest_key: DigestKey::new(system_key()),
            wall: Arc::new(system_time),
            parked: None,
            quarantined: Vec::new(),
            lists_within: LISTS_WITHIN,
            trouble: Arc::new(|_| ()),
            lane: None,
            notices: None,
        }
    }
}

/// A key for this run.
fn system_key() -> [u8; 32] {
    let mut bytes = [0; 32];
    if let Err(error) = getrandom::fill(&mut bytes) {
        tracing::error!(%error, "the operating system gives no random bytes: digests of Secrets can be guessed at");
    }
    bytes
}

fn system_bytes(count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    match getrandom::fill(&mut bytes) {
        Ok(()) => bytes,
        Err(error) => {
            tracing::error!(%error, "the operating system gives no random bytes; the plugin that asked gets none");
            Vec::new()
        }
    }
}

/// The system's wall clock, as plugins see it by default.
#[allow(clippy::disallowed_methods, reason = "the driver's wall clock")]
pub fn system_time() -> Timestamp {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp {
        seconds: since.as_secs().try_into().unwrap_or(u32::MAX),
        nanoseconds: since.subsec_nanos(),
    }
}

/// A running host. Plugins come, are exchanged and go as [`pilothouse_lifecycle::Stage`] says.
pub struct Host {
    pub(crate) core: Arc<Core>,
    pub(crate) live: Arc<Mutex<Live>>,
    pub(crate) informers: SharedInformers,
    pub(crate) lists_within: Duration,
    /// Held while a plugin of this name changes.
    pub(crate) turns: Mutex<HashMap<Arc<str>, Weak<tokio::sync::Mutex<()>>>>,
    workers: Arc<Workers>,
    tasks: JoinSet<()>,
    keep: Option<Arc<Keep>>,
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
    /// Starts watching and reconciling. Needs a tokio runtime with I/O and time; never blocks, and needs no API server
    /// to be there yet.
    #[allow(
        clippy::disallowed_methods,
        reason = "the driver: spawns its tasks and reads its clock"
    )]
    pub fn start(client: kube::Client, plugins: Vec<Arc<Plugin>>, options: HostOptions) -> Self {
        let (events, event_queue) = mpsc::channel(EVENT_BACKLOG);
        let mut rng = fastrand::Rng::with_seed(options.seed);
        let clock = Arc::new(TokioClock::start());
        let runtime = tokio::runtime::Handle::current();
        let driver = DriverConfig {
            patience: options.lists,
            ..DriverConfig::default()
        };
        let informers = SharedInformers::new(client.clone(), driver, clock, runtime, rng.u64(..));
        let reach = informers.reach();
        let api = Api::new(client.clone(), options.api, options.meter.clone(), reach.clone());
        let began = (options.wall)();
        let (file, kept) = options.parked.map(|state| (state.file, state.kept)).unzip();
        let shared = Arc::new(Shared {
            kinds: Kinds::new(client, reach.clone()),
            api,
            metrics: Metrics::new(&options.meter),
            observer: options.observer,
            provenance: Mutex::new(Provenance::default()),
            events,
            random: Mutex::new(rng.fork()),
            digest_key: options.digest_key,
            bytes: options.bytes,
            wall: options.wall,
            trouble: options.trouble,
        });
        let core = Arc::new(Core {
            shared: shared.clone(),
            dispatcher: Mutex::new(Dispatcher::new(options.pool)),
            wake: Notify::new(),
            uncertain: Mutex::default(),
            lagging: Mutex::default(),
            stopping: watch::Sender::new(false),
            origin: tokio::time::Instant::now(),
            began: Duration::new(began.seconds.into(), began.nanoseconds),
            keeps: file.is_some(),
            parked: Notify::new(),
            lane: options.lane,
            reviews: Notify::new(),
        });
        let keep = file.map(|file| Arc::new(Keep::new(file)));
        let live = Arc::new(Mutex::new(Live::default()));
        let workers = Arc::new(Workers::new(core.clone(), live.clone(), informers.reach().away()));
        let mut host = Self {
            core,
            live,
            informers,
            lists_within: options.lists_within,
            turns: Mutex::default(),
            workers,
            tasks: JoinSet::new(),
            keep,
        };
        if let Some(kept) = kept {
            lock(&host.core.dispatcher).expect(host.core.now(), kept);
        }
        for plugin in plugins {
            // Refused by hosts that stop, and this one begins.
            let quarantined = options.quarantined.iter().any(|name| **name == *plugin.name);
            if let Err(refused) = host.begin(plugin, quarantined) {
                tracing::error!("a plugin does not serve: {}", refused.why);
            }
        }
        let core = &host.core;
        let dispatch = dispatch(host.workers.clone(), host.informers.reach().better(), rng.fork());
        host.tasks.spawn(dispatch);
        host.tasks
            .spawn(watch_caches(core.clone(), host.live.clone(), host.informers.clone()));
        host.tasks.spawn(send_events(core.clone(), event_queue, rng.fork()));
        if let Some(notices) = options.notices {
            host.tasks.spawn(notices::send(core.clone(), notices, rng.fork()));
        }
        host.tasks
            .spawn(access::run(core.clone(), host.live.clone(), rng.fork()));
        let (keys, whose) = lock(&host.core.dispatcher).absent.waiting();
        if keys > 0 {
            let some: Vec<&str> = whose.iter().take(10).map(|name| &**name).collect();
            tracing::info!(
                plugins = whose.len(),
                "{keys} parked keys of the last run wait for plugins that do not serve yet ({}{}): as long as none comes, for \
                 {} days since they were parked",
                some.join(", "),
                if whose.len() > some.len() { ", …" } else { "" },
                parked::WAITS.as_secs() / 86_400
            );
        }
        if let Some(keep) = host.keep.clone() {
            let core = host.core.clone();
            host.tasks.spawn(async move { keep.run(&core).await });
        }
        host
    }

    /// The metrics as text, of the content type [`crate::METRICS_CONTENT_TYPE`]. Not for a thread that serves others:
    /// it takes the longer the more plugins there are, and waits for a scrape that is under way.
    pub fn metrics(&self) -> String {
        let metrics = &self.core.shared.metrics;
        let _alone = lock(&metrics.scraping);
        // Before the dispatcher is locked: handlers that run are waited for, and they lock it.
        metrics
            .caches
            .set(&self.informers.charges(), &self.informers.counters());
        // And not while text is written: calls would wait for that.
        metrics.look(self.core.now(), &lock(&self.core.dispatcher), self.informers.reach());
        metrics.text()
    }

    /// What the host waits for before every controller runs, a line for people each; empty means ready.
    pub fn waiting_for(&self) -> Vec<String> {
        if *self.core.stopping.borrow() {
            return vec!["the host is stopping".to_owned()];
        }
        // Looked through where nothing is locked: one that is exchanged meanwhile may be gone with this.
        let plugins: Vec<_> = lock(&self.live).plugins().cloned().collect();
        plugins.iter().flat_map(|plugin| plugin.waiting_for()).collect()
    }

    /// True where every controller runs and nothing is queued, in work or waiting to be retried. Keys that asked to run
    /// again later don't count.
    pub fn is_idle(&self) -> bool {
        self.waiting_for().is_empty() && lock(&self.core.dispatcher).is_idle()
    }

    /// Tries a parked key again, for a person who knows that it may go well now. False where this host has no such
    /// controller, or the key is not parked.
    pub fn wake(&self, id: &ControllerId, key: &Key) -> bool {
        let woken = lock(&self.core.dispatcher).wake(self.core.now(), id, key);
        self.core.wake.notify_one();
        self.core.parked.notify_one();
        woken
    }

    /// How a plugin's breaker stands; none where this host has no such plugin.
    pub fn breaker(&self, plugin: &str) -> Option<View> {
        lock(&self.core.dispatcher).breaker(self.core.now(), plugin)
    }

    /// Closes a plugin's breaker, also a quarantined one: see [`Dispatcher::reset_breaker`].
    pub fn reset_breaker(&self, plugin: &str) -> bool {
        let known = lock(&self.core.dispatcher).reset_breaker(self.core.now(), plugin);
        self.core.wake.notify_one();
        known
    }

    /// How many keys of a controller may be in work at once from now on, until another version of its plugin serves or
    /// its file says something else; what runs goes on. False where this host has no such controller.
    pub fn set_concurrency(&self, id: &ControllerId, concurrency: Concurrency) -> bool {
        let known = lock(&self.core.dispatcher).set_concurrency(id, concurrency);
        self.core.wake.notify_one();
        known
    }

    /// How many keys of a controller may be in work at once now.
    pub fn concurrency(&self, id: &ControllerId) -> Option<usize> {
        lock(&self.core.dispatcher).concurrency(id)
    }

    /// The keys that go round in circles and are slowed; their keys' own wake ([`Host::wake`]) lets parked ones start
    /// anew.
    pub fn hot_loops(&self) -> Vec<HotLoop> {
        let dispatcher = lock(&self.core.dispatcher);
        dispatcher.hot_loops(self.core.now()).cloned().collect()
    }

    /// Quarantines a plugin until [`Host::reset_breaker`]: see [`Dispatcher::quarantine`].
    pub fn quarantine(&self, plugin: &str) -> bool {
        lock(&self.core.dispatcher).quarantine(self.core.now(), plugin)
    }

    /// What is known of what the other may see as whom a plugin acts; none where it acts as the host, or isn't there.
    pub fn access(&self, plugin: &str) -> Option<Standing> {
        let live = lock(&self.live);
        Some(live.plugin(plugin)?.access.as_ref()?.standing())
    }

    /// The controllers that this host runs.
    pub fn controllers(&self) -> Vec<ControllerId> {
        let live = lock(&self.live);
        live.controllers().map(|controller| controller.id.clone()).collect()
    }

    /// The plugins that serve, by name.
    pub fn plugins(&self) -> Vec<Arc<Plugin>> {
        let live = lock(&self.live);
        live.plugins().map(|state| state.plugin.clone()).collect()
    }

    /// Stops: no new work from now on; what runs has `grace` to end, then it is ended. What was sent is finished either
    /// way, within the bound of one request.
    pub async fn stop(&self, grace: Duration) -> Stopped {
        self.core.stopping.send_replace(true);
        let running = {
            let mut dispatcher = lock(&self.core.dispatcher);
            dispatcher.shut_down();
            dispatcher.in_work()
        };
        self.core.wake.notify_one();
        let mut jobs = self.workers.take();
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
        self.informers.stop();
        if let Some(keep) = &self.keep {
            keep.write(&self.core).await;
        }
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
        self.workers.abort();
    }
}

/// Tells of plugins that the caches hold too much for.
#[expect(clippy::disallowed_methods, reason = "the driver: looks again and again")]
async fn watch_caches(core: Arc<Core>, live: Arc<Mutex<Live>>, informers: SharedInformers) {
    loop {
        tokio::time::sleep(cache_bound::LOOK).await;
        // Where nothing is locked: handlers that run are waited for, and they lock the dispatcher.
        let charges = informers.charges();
        let outgrown = {
            let live = lock(&live);
            let most = |plugin: &str| Some(u64::from(live.plugin(plugin)?.plugin.budget.cache_mib) << 20);
            let outgrown = cache_bound::outgrown(&charges, most);
            let plugin = |(name, bytes): (Arc<str>, u64)| Some((live.plugin(&name)?.plugin.clone(), bytes));
            outgrown.into_iter().filter_map(plugin).collect::<Vec<_>>()
        };
        for (plugin, bytes) in outgrown {
            (core.shared.trouble)(Trouble {
                plugin: plugin.name.clone(),
                hash: plugin.hash,
                configuration: plugin.configuration,
                what: TroubleKind::CacheFull {
                    bytes,
                    most_mib: plugin.budget.cache_mib,
                },
            });
        }
    }
}

/// Sends plugins' Events, one after the other.
async fn send_events(core: Arc<Core>, mut queue: mpsc::Receiver<(Emitted, Place)>, mut rng: fastrand::Rng) {
    let mut correlator = events::Correlator::default();
    while let Some((event, _place)) = queue.recv().await {
        let action = correlator.step(core.now(), &mut rng, &event);
        if let Action::Drop { said: Some(others) } = action {
            tracing::warn!(
                plugin = &*event.plugin,
                others,
                "the plugin has more Events about one object than budget.eventsPerObject and budget.eventRefillSeconds let \
                 pass ({}): what is above is dropped and counted (said once a minute; `others` is how many were dropped \
                 since the last time)",
                event.most
            );
        }
        let api = core.shared.api.acting_as(event.user.clone());
        // Why the server refused it is logged where it was sent.
        let result = events::send(&api, &mut correlator, action).await.unwrap_or("refused");
        core.shared.metrics.event(&event.plugin, result);
    }
}
