//! The host running the bench plugin against the scripted server.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use pilothouse_controller::{ControllerId, Happening, Host, HostOptions, Lane, Observer};
use pilothouse_lifecycle::{Concurrency, Config, load_all};
use pilothouse_runtime::{Compiler, Engine, EngineConfig, Modules};
use tokio::{runtime::Runtime, sync::Notify};

use crate::{
    OBJECTS, now,
    plugins::{altered, put},
    server::Server,
};

/// The plugin's name.
const PLUGIN: &str = "bench";

/// Counts runs of each controller.
#[derive(Default)]
struct Count {
    empty: AtomicU64,
    busy: AtomicU64,
    failed: AtomicU64,
    ran: Notify,
    /// When each run ended; kept only while somebody wants to know.
    ends: Mutex<Option<Vec<Instant>>>,
}

impl Count {
    fn ends(&self) -> std::sync::MutexGuard<'_, Option<Vec<Instant>>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Count {
    fn happened(&self, happening: &Happening) {
        if let Happening::Reconciled(run) = happening {
            let count = if &*run.id.controller == "empty" {
                &self.empty
            } else {
                &self.busy
            };
            count.fetch_add(1, Ordering::AcqRel);
            if !matches!(run.result, Ok(Ok(_))) {
                self.failed.fetch_add(1, Ordering::AcqRel);
            }
            match &mut *self.ends() {
                // Whoever waits for the last of them is not woken by each.
                Some(ends) => {
                    ends.push(now());
                    if ends.len() == OBJECTS {
                        self.ran.notify_one();
                    }
                }
                None => self.ran.notify_one(),
            }
        }
    }
}

/// How a host runs everywhere: with threads for calls that compute for long.
pub fn options(observer: Arc<dyn Observer>) -> HostOptions {
    let lane = Lane::start().unwrap_or_else(|error| panic!("no threads for long calls: {error}"));
    HostOptions {
        lane: Some(lane),
        ..HostOptions::new(1, observer)
    }
}

/// A host that has seen everything once.
pub struct Running {
    runtime: Runtime,
    server: Server,
    count: Arc<Count>,
    host: Host,
}

impl Running {
    /// Starts it as it runs everywhere, and waits until each object was reconciled once.
    pub fn start() -> Self {
        let runtime = Runtime::new().unwrap_or_else(|error| panic!("no tokio runtime: {error}"));
        Self::on(runtime, None)
    }

    /// The same on a runtime of the caller's choice, with `settings` as the plugin's own file where there are any.
    pub fn on(runtime: Runtime, settings: Option<&str>) -> Self {
        let directory = tempfile::tempdir().unwrap_or_else(|error| panic!("no temporary directory: {error}"));
        // Each of its writes is another: the same again would not be sent.
        let module = altered(&[("\"name\": \"busy\"", "\"name\": \"vary\"")]);
        put(directory.path(), PLUGIN, &module);
        if let Some(settings) = settings {
            let file = directory.path().join(format!("{PLUGIN}.yaml"));
            std::fs::write(&file, settings).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        }
        let (server, count) = (Server::default(), Arc::new(Count::default()));
        let host = runtime.block_on(async {
            let engine = Engine::new(EngineConfig::default()).unwrap_or_else(|error| panic!("{error}"));
            let modules = Modules::new(engine, Compiler::InProcess);
            let config = Config::default().granting_what_is_asked(true);
            let loaded = load_all(&modules, directory.path(), &config)
                .await
                .unwrap_or_else(|error| panic!("{error}"));
            let plugins = loaded
                .plugins
                .into_iter()
                .map(|plugin| Arc::new(plugin.unwrap_or_else(|refusal| panic!("{refusal}"))))
                .collect();
            let client = kube::Client::new(server.clone(), "default");
            Host::start(client, plugins, options(count.clone()))
        });
        let running = Self {
            runtime,
            server,
            count,
            host,
        };
        running.wait(&running.count.empty, OBJECTS as u64);
        running.wait(&running.count.busy, OBJECTS as u64);
        running
    }

    /// Changes every object of the controller's kind and waits until each was reconciled: the time it took.
    pub fn round(&self, controller: &str) -> Duration {
        let (plural, count) = match controller {
            "empty" => ("empties", &self.count.empty),
            _ => ("busies", &self.count.busy),
        };
        let send = self.server.change_all(plural);
        let before = count.load(Ordering::Acquire);
        let start = now();
        send();
        self.wait(count, before + OBJECTS as u64);
        let took = start.elapsed();
        self.nothing_failed();
        took
    }

    /// Every key of `empty` stands in the queue, its object in the cache, and nothing else is to be done; then the keys
    /// run one after the other: the time from the end of each run to that of the next.
    pub fn drain(&self) -> Vec<Duration> {
        let id = ControllerId::new(PLUGIN, "empty");
        assert!(self.host.set_concurrency(&id, Concurrency::Fixed(1)) && self.host.quarantine(PLUGIN));
        self.server.change_all("empties")();
        self.runtime.block_on(async {
            while self.queued(&id) < OBJECTS {
                tokio::task::yield_now().await;
            }
        });
        *self.count.ends() = Some(Vec::with_capacity(OBJECTS));
        let mut before = now();
        self.host.reset_breaker(PLUGIN);
        self.runtime.block_on(async {
            while self.count.ends().as_ref().is_some_and(|ends| ends.len() < OBJECTS) {
                self.count.ran.notified().await;
            }
        });
        let ends = self.count.ends().take().unwrap_or_default();
        self.nothing_failed();
        let each = ends
            .into_iter()
            .map(|end| end.duration_since(std::mem::replace(&mut before, end)));
        each.collect()
    }

    /// How many keys of a controller stand in its queue.
    fn queued(&self, id: &ControllerId) -> usize {
        let series = format!("workqueue_depth{{name=\"{id}\",");
        let metrics = self.host.metrics();
        let values = metrics
            .lines()
            .filter_map(|line| line.strip_prefix(&series)?.rsplit(' ').next());
        values.filter_map(|value| value.parse::<usize>().ok()).sum()
    }

    fn nothing_failed(&self) {
        assert_eq!(
            self.count.failed.load(Ordering::Acquire),
            0,
            "a run failed: what was measured is not the work"
        );
    }

    fn wait(&self, count: &AtomicU64, target: u64) {
        self.runtime.block_on(async {
            while count.load(Ordering::Acquire) < target {
                self.count.ran.notified().await;
            }
        });
    }
}
