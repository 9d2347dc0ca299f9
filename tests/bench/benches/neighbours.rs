//! What plugins cost each other: `cargo xtask bench`.
//!
//! A quiet plugin is sent 1,000 changes a second, some percent of what one core does, and each change is timed from the
//! bytes of its event to the end of its reconcile. Then something happens beside it: its module is exchanged, another
//! module is compiled, another plugin is bad. What is printed is how long changes waited in quiet times and then.

use std::{path::PathBuf, sync::Arc, time::Duration};

use pilothouse_bench::{
    host::options,
    percentile,
    plugins::{altered, put},
    server::Server,
    steady::{Steady, Waits},
};
use pilothouse_controller::Host;
use pilothouse_lifecycle::{Config, LifeEvent, LifeObserver, Supervisor, SupervisorOptions, What, kept::PluginStore};
use pilothouse_runtime::{CacheLimits, CodeCache, CompileLimits, Compiler, Engine, EngineConfig, Modules};

/// The argument with which this program is a compiler.
const COMPILE: &str = "compile";

fn main() -> std::process::ExitCode {
    if std::env::args().nth(1).as_deref() == Some(COMPILE) {
        return pilothouse_runtime::compile_child_main();
    }
    println!("| a quiet plugin's changes waited (ms) | median | p99 | longest | changes |");
    println!("|---|---|---|---|---|");
    swaps();
    compiling();
    neighbours();
    std::process::ExitCode::SUCCESS
}

fn row(what: &str, sorted: &[Duration]) {
    assert!(!sorted.is_empty(), "{what}: no change was reconciled");
    let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
    println!(
        "| {what} | {:.2} | {:.2} | {:.2} | {} |",
        ms(percentile(sorted, 0.5)),
        ms(percentile(sorted, 0.99)),
        ms(percentile(sorted, 1.0)),
        sorted.len()
    );
}

/// What something beside it makes of the quiet plugin's p99.
fn ratio(quiet: &[Duration], busy: &[Duration], goal: &str) {
    let p99 = |sorted: &[Duration]| percentile(sorted, 0.99).as_secs_f64();
    println!(
        "| → p99 is {:.2} times the quiet one's; {goal} | | | | |",
        p99(busy) / p99(quiet)
    );
}

/// Says what goes wrong, and nothing else.
struct Complaints;

impl LifeObserver for Complaints {
    fn happened(&self, event: &LifeEvent) {
        if let What::Refused { refusal, .. } = &event.what {
            panic!("{refusal}");
        }
    }
}

/// A supervised host with some plugins, and a steady load on the one called `bench`.
struct Scene {
    directory: PathBuf,
    steady: Steady,
    modules: Modules,
    _host: Arc<Host>,
    _runtime: tokio::runtime::Runtime,
    _place: tempfile::TempDir,
}

#[allow(clippy::disallowed_methods, reason = "a bench looks on from outside")]
fn wait(length: Duration) {
    std::thread::sleep(length);
}

fn compiler() -> Compiler {
    Compiler::this_program(&[COMPILE], CompileLimits::default()).unwrap_or_else(|error| panic!("{error}"))
}

fn engine() -> Engine {
    Engine::new(EngineConfig::default()).unwrap_or_else(|error| panic!("{error}"))
}

impl Scene {
    fn start(config: &str, plugins: &[(&str, Vec<u8>)]) -> Self {
        let place = tempfile::tempdir().unwrap_or_else(|error| panic!("no temporary directory: {error}"));
        let directory = place.path().join("plugins");
        std::fs::create_dir(&directory).unwrap_or_else(|error| panic!("{error}"));
        for (name, module) in plugins {
            put(&directory, name, module);
        }
        let cache = CodeCache::open(&place.path().join("code"), CacheLimits::default());
        let cache = cache.unwrap_or_else(|error| panic!("{error}"));
        let modules = Modules::with_cache(engine(), compiler(), cache);
        let config = format!("apiVersion: pilothouse.dev/v1\nplugins: {config}\n");
        let config = Config::parse(&config, "bench.yaml".as_ref()).unwrap_or_else(|error| panic!("{error}"));
        let store = PluginStore::open(&place.path().join("lives")).unwrap_or_else(|error| panic!("{error}"));
        let supervised = SupervisorOptions {
            directory: directory.clone(),
            config: config.granting_what_is_asked(true),
            modules: modules.clone(),
            observer: Arc::new(Complaints),
            store: Some(Arc::new(store)),
        };
        let runtime = tokio::runtime::Runtime::new().unwrap_or_else(|error| panic!("no tokio runtime: {error}"));
        let (server, waits) = (Server::default(), Arc::new(Waits::default()));
        let client = runtime.block_on(async { kube::Client::new(server.clone(), "default") });
        let host = runtime.block_on(async {
            let mut supervisor = Supervisor::new(supervised);
            let plugins = supervisor.load().await.unwrap_or_else(|error| panic!("{error}"));
            let (tell, trouble) = tokio::sync::mpsc::channel(1_024);
            let mut options = options(waits.clone());
            options.trouble = Arc::new(move |trouble| {
                // Full: a plugin's trouble that nobody has heard of is one among a thousand.
                let _ = tell.try_send(trouble);
            });
            let host = Arc::new(Host::start(client, plugins, options));
            #[allow(clippy::disallowed_methods, reason = "a bench starts what the program would")]
            tokio::spawn(supervisor.run(host.clone(), trouble));
            host
        });
        let steady = Steady::start(server, waits);
        // All objects have been seen, and what was cold is warm.
        wait(Duration::from_secs(3));
        Self {
            directory,
            steady,
            modules,
            _host: host,
            _runtime: runtime,
            _place: place,
        }
    }

    fn waits(&self) -> &Waits {
        self.steady.waits()
    }

    /// What waits in a span of this length that begins now.
    fn during(&self, length: Duration) -> Vec<Duration> {
        let from = self.waits().now();
        wait(length);
        let to = self.waits().now();
        wait(Duration::from_millis(200));
        self.waits().between(from, to)
    }
}

/// Versions that have served already come in turn, so their code is at hand.
fn swaps() {
    let swaps = 40;
    let versions = ["0.1.0", "0.1.1"].map(|version| {
        let said = |version: &str| format!("\"version\": \"{version}\"");
        altered(&[(&said("0.1.0"), &said(version))])
    });
    let scene = Scene::start("{}", &[("bench", versions[0].clone())]);
    let waits = scene.waits();
    let swap = |number: usize| {
        let (from, before) = (waits.now(), waits.swaps().len());
        put(&scene.directory, "bench", &versions[number % 2]);
        while waits.swaps().len() == before {
            assert!(waits.now() < from + Duration::from_secs(60), "no swap within a minute");
            wait(Duration::from_millis(5));
        }
        from
    };
    // Both have been compiled then.
    swap(1);
    swap(2);
    wait(Duration::from_secs(1));
    let quiet = scene.during(Duration::from_secs(10));
    let (mut all, mut longest) = (Vec::new(), Vec::new());
    for number in 1..=swaps {
        let from = swap(number);
        wait(Duration::from_millis(700));
        // From the file's coming to half a second after the switch.
        let waited = waits.between(from, waits.now() - Duration::from_millis(200));
        longest.extend(waited.last().copied());
        all.extend(waited);
    }
    all.sort_unstable();
    longest.sort_unstable();
    row("nothing happens", &quiet);
    row(&format!("its module is exchanged {swaps} times"), &all);
    println!(
        "\nOf each exchange the change that waited longest: median {:.2} ms, worst {:.2} ms.\n",
        percentile(&longest, 0.5).as_secs_f64() * 1e3,
        percentile(&longest, 1.0).as_secs_f64() * 1e3
    );
}

/// Modules that nobody has seen are compiled one after the other.
fn compiling() {
    let scene = Scene::start("{}", &[("bench", altered(&[]))]);
    let path = pilothouse_guests::component("greeting");
    let greeting = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let modules = Modules::new(scene.modules.engine().clone(), compiler());
    let (mut quiet, mut busy) = (Vec::new(), Vec::new());
    let mut compiled = 0;
    for _ in 0..5 {
        quiet.extend(scene.during(Duration::from_secs(4)));
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let compiling = scope.spawn(|| {
                let mut compiled = 0;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    modules.load(&greeting).unwrap_or_else(|error| panic!("{error}"));
                    compiled += 1;
                }
                compiled
            });
            wait(Duration::from_millis(200));
            busy.extend(scene.during(Duration::from_secs(4)));
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            compiled += compiling.join().unwrap_or_default();
        });
        wait(Duration::from_millis(300));
    }
    quiet.sort_unstable();
    busy.sort_unstable();
    assert!(compiled > 0, "nothing was compiled meanwhile");
    row("nothing happens", &quiet);
    row(
        &format!(
            "a module of {} KB is compiled beside it, {compiled} times",
            greeting.len() >> 10
        ),
        &busy,
    );
    ratio(&quiet, &busy, "at most 1.2 are wanted");
}

/// Another plugin whose every key computes, or asks, until it is ended.
fn neighbours() {
    let alone = Scene::start("{}", &[("bench", altered(&[]))]);
    let quiet = alone.during(Duration::from_secs(20));
    drop(alone);
    row("nothing happens", &quiet);
    let unstopped = "{loops: {breaker: {enabled: false}}}";
    for (what, word, kind, config) in [
        ("a neighbour computes for ever", "spins", "Spins", "{}"),
        ("the same, and no breaker stops it", "spins", "Spins", unstopped),
        (
            "a neighbour asks the host for ever, and no breaker stops it",
            "reads",
            "Reads",
            unstopped,
        ),
    ] {
        let own = altered(&[
            ("\"name\": \"bench\"", "\"name\": \"loops\""),
            ("\"name\": \"empty\"", &format!("\"name\": \"{word}\"")),
            ("\"kind\": \"Empty\"", &format!("\"kind\": \"{kind}\"")),
        ]);
        let scene = Scene::start(config, &[("bench", altered(&[])), ("loops", own)]);
        let before = scene.waits().others();
        let waited = scene.during(Duration::from_secs(20));
        let after = scene.waits().others();
        let cut = after[1] - before[1];
        row(&format!("{what} ({cut} of its runs were ended)"), &waited);
        ratio(&quiet, &waited, "at most 2 are wanted");
        assert!(cut > 0, "the neighbour ran into no limit");
    }
}
