//! The host running the bench plugin against the scripted server.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use pilothouse_controller::{Happening, Host, HostOptions, Observer};
use pilothouse_lifecycle::{Config, load_all};
use pilothouse_runtime::{Compiler, Engine, EngineConfig, Modules};
use tokio::{runtime::Runtime, sync::Notify};

use crate::{
    OBJECTS,
    plugins::{altered, put},
    server::Server,
};

/// Counts runs of each controller.
#[derive(Default)]
pub struct Count {
    empty: AtomicU64,
    busy: AtomicU64,
    failed: AtomicU64,
    ran: Notify,
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
            self.ran.notify_one();
        }
    }
}

/// A host that has seen everything once.
pub struct Running {
    runtime: Runtime,
    server: Server,
    count: Arc<Count>,
    // Stops when it goes.
    _host: Host,
}

impl Running {
    /// Starts it and waits until each object was reconciled once.
    pub fn start() -> Self {
        let runtime = Runtime::new().unwrap_or_else(|error| panic!("no tokio runtime: {error}"));
        let directory = tempfile::tempdir().unwrap_or_else(|error| panic!("no temporary directory: {error}"));
        // Each of its writes is another: the same again would not be sent.
        let module = altered(&[("\"name\": \"busy\"", "\"name\": \"vary\"")]);
        put(directory.path(), "bench", &module);
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
            Host::start(client, plugins, HostOptions::new(1, count.clone()))
        });
        let running = Self {
            runtime,
            server,
            count,
            _host: host,
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
        #[allow(clippy::disallowed_methods, reason = "a bench measures time")]
        let start = std::time::Instant::now();
        send();
        self.wait(count, before + OBJECTS as u64);
        let took = start.elapsed();
        assert_eq!(
            self.count.failed.load(Ordering::Acquire),
            0,
            "a run failed: what was measured is not the work"
        );
        took
    }

    fn wait(&self, count: &AtomicU64, target: u64) {
        self.runtime.block_on(async {
            while count.load(Ordering::Acquire) < target {
                self.count.ran.notified().await;
            }
        });
    }
}
