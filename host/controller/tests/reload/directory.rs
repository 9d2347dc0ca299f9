//! Through all that an operator touches: files in a plugin directory, which the supervisor watches, loads from and has
//! the host serve, over a cache of compiled code and a state directory.
//!
//! The clock stands still while anything works or files are written or read, and jumps where everything waits: so the
//! time in which files settle costs nothing, and a thousand reloads take about as long as a thousand loads. Changes of
//! objects come from a thread by the real clock.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    os::unix::fs::symlink,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::Method;
use pilothouse_controller::{ControllerId, Host, HostOptions};
use pilothouse_lifecycle::{
    Config, Control, LifeEvent, LifeObserver, Order, Supervisor, SupervisorOptions, What, kept::PluginStore,
};
use pilothouse_localcluster::shared::SharedCluster;
use pilothouse_object::Key;
use pilothouse_runtime::{CacheLimits, CodeCache, Compiler, Engine, EngineConfig, Modules};
use serde_json::json;
use tokio::{sync::mpsc, task::JoinSet};

use crate::world::{ALONE, Mark, OBJECTS, Told, busy, cluster, modules, pause, reconciled, rest, write};

/// How often the plugin is reloaded.
const RELOADS: usize = 1_000;

/// Between two changes, by the real clock.
const BETWEEN: Duration = Duration::from_millis(4);

/// Passes on what happens to the plugin.
struct Lives(mpsc::UnboundedSender<What>);

impl LifeObserver for Lives {
    fn happened(&self, event: &LifeEvent) {
        // An error: the test is over.
        let _ = self.0.send(event.what.clone());
    }
}

/// The files of a plugin as they are to be: which of the modules, and which settings.
struct Files {
    modules: [Vec<u8>; 2],
    module: usize,
    settings: usize,
}

/// How what changed comes into the directory.
#[derive(Clone, Copy)]
enum Way {
    /// Written beside it and renamed into place.
    Renamed,
    /// Over the old bytes.
    InPlace,
    /// Both in a new directory, to which a link is pointed: a mounted ConfigMap.
    Mounted,
}

impl Files {
    /// Another module, or other settings: never a version that served before.
    fn advance(&mut self, number: usize) {
        if number.is_multiple_of(2) {
            self.settings += 1;
        } else {
            self.module = 1 - self.module;
        }
    }

    fn content(&self, name: &str) -> Vec<u8> {
        match name {
            "bench.wasm" => self.modules[self.module].clone(),
            // Time enough, each time another one.
            _ => format!("limits: {{wallMs: {}}}\n", 20_000 + self.settings).into_bytes(),
        }
    }

    fn put(&self, directory: &Path, number: usize, way: Way) {
        let changed = ["bench.wasm", "bench.yaml"][(number + 1) % 2];
        match way {
            Way::Renamed => rename(directory, changed, |path| {
                fs::write(path, self.content(changed)).unwrap()
            }),
            Way::InPlace => {
                // The settle time is what keeps two writes a tick of the file system's clock apart; it passes at once
                // here.
                by_the_real_clock(Duration::from_millis(20));
                fs::write(directory.join(changed), self.content(changed)).unwrap();
            }
            Way::Mounted => {
                let own = format!("..{number}");
                fs::create_dir(directory.join(&own)).unwrap();
                for name in ["bench.wasm", "bench.yaml"] {
                    fs::write(directory.join(&own).join(name), self.content(name)).unwrap();
                }
                let before = fs::read_link(directory.join("..data")).ok();
                rename(directory, "..data", |path| symlink(&own, path).unwrap());
                match before {
                    Some(before) => fs::remove_dir_all(directory.join(before)).unwrap(),
                    // From now on the plugin's files are links into it.
                    None => {
                        for name in ["bench.wasm", "bench.yaml"] {
                            rename(directory, name, |path| symlink(format!("..data/{name}"), path).unwrap());
                        }
                    }
                }
            }
        }
    }
}

/// Makes something beside the directory's plugins and renames it into place.
fn rename(directory: &Path, name: &str, make: impl FnOnce(&Path)) {
    let beside = directory.join(format!("..new-{name}"));
    make(&beside);
    fs::rename(beside, directory.join(name)).unwrap();
}

#[allow(clippy::disallowed_methods, reason = "a thread of its own waits by the real clock")]
fn by_the_real_clock(time: Duration) {
    std::thread::sleep(time);
}

/// On a thread that may block; the test's clock stands still meanwhile.
#[allow(clippy::disallowed_methods, reason = "files block")]
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// A thread that changes objects until it is told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<(usize, BTreeMap<usize, Change>)>,
}

/// The last change of an object.
struct Change {
    /// The version that it made.
    version: u64,
    /// How many reloads had been seen to serve before.
    served: usize,
}

impl Load {
    #[allow(
        clippy::disallowed_methods,
        reason = "what changes objects is not on the host's threads"
    )]
    fn start(cluster: SharedCluster, served: Arc<AtomicUsize>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut rng = fastrand::Rng::with_seed(6);
            let (mut changes, mut last) = (0, BTreeMap::new());
            while !stopped.load(Ordering::Relaxed) {
                let object = rng.usize(..OBJECTS);
                // So that the plugin has something to write: what is there already is not sent again.
                let map = format!("/api/v1/namespaces/default/configmaps/o{object}");
                write(&cluster, Method::PATCH, &map, &json!({"data": {"seen": "no"}}));
                let served = served.load(Ordering::SeqCst);
                let change = json!({"spec": {"salt": rng.u32(..)}});
                let version = write(&cluster, Method::PATCH, &busy(object), &change);
                last.insert(object, Change { version, served });
                changes += 1;
                by_the_real_clock(BETWEEN);
            }
            (changes, last)
        });
        Self { stop, thread }
    }

    /// How many changes there were, and the last one of each object.
    fn stop(self) -> (usize, BTreeMap<usize, Change>) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// What the process and its directories hold.
#[derive(Debug)]
struct Held {
    /// Memory that no other process shares, in bytes.
    private: usize,
    maps: usize,
    descriptors: usize,
    /// Files beneath the plugin's cache and state.
    files: BTreeSet<String>,
    /// Versions of the plugin in memory.
    versions: usize,
}

impl Held {
    fn now(place: &Path, told: &Told) -> Self {
        let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap();
        let kib = rollup.lines().filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            let value = value.trim().strip_suffix(" kB")?;
            name.starts_with("Private_")
                .then(|| value.trim().parse::<usize>().ok())?
        });
        let mut files = BTreeSet::new();
        for directory in ["code", "lives"] {
            list(&place.join(directory), &mut files);
        }
        let told = told.0.lock().unwrap();
        Self {
            private: kib.sum::<usize>() << 10,
            maps: fs::read_to_string("/proc/self/maps").unwrap().lines().count(),
            descriptors: fs::read_dir("/proc/self/fd").unwrap().count(),
            files,
            versions: told
                .swaps
                .iter()
                .filter(|(_, plugin)| plugin.strong_count() > 0)
                .count(),
        }
    }
}

fn list(directory: &Path, files: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            list(&path, files);
        } else {
            files.insert(path.display().to_string());
        }
    }
}

/// A supervised host over a plugin directory and a state directory.
struct World {
    host: Arc<Host>,
    told: Arc<Told>,
    control: Control,
    lives: mpsc::UnboundedReceiver<What>,
    _running: JoinSet<()>,
}

impl World {
    async fn start(place: &Path, service: crate::world::Counting) -> Self {
        let engine = Engine::new(EngineConfig::default()).unwrap();
        let cache = CodeCache::open(&place.join("code"), CacheLimits::default()).unwrap();
        let (tell, lives) = mpsc::unbounded_channel();
        let supervised = SupervisorOptions {
            directory: place.join("plugins"),
            config: Config::default().granting_what_is_asked(true),
            modules: Modules::with_cache(engine, Compiler::InProcess, cache),
            observer: Arc::new(Lives(tell)),
            store: Some(Arc::new(PluginStore::open(&place.join("lives")).unwrap())),
        };
        let mut supervisor = Supervisor::new(supervised);
        let plugins = supervisor.load().await.unwrap();
        let told = Arc::<Told>::default();
        let mut options = HostOptions::new(1, told.clone());
        let (tell, trouble) = mpsc::channel(1_024);
        // An error: the test is over.
        options.trouble = Arc::new(move |trouble| _ = tell.try_send(trouble));
        // What is looked at here is order, not pace.
        options.api.per_second = 0;
        let host = Arc::new(Host::start(kube::Client::new(service, "default"), plugins, options));
        let control = supervisor.control();
        let mut running = JoinSet::new();
        #[allow(clippy::disallowed_methods, reason = "a test starts what the program would")]
        running.spawn(supervisor.run(host.clone(), trouble));
        Self {
            host,
            told,
            control,
            lives,
            _running: running,
        }
    }

    /// Waits until another version serves, and nothing else happened to the plugin.
    #[allow(clippy::disallowed_methods, reason = "the clock is the test's")]
    async fn serves(&mut self, what: &str) {
        let next = tokio::time::timeout(Duration::from_secs(3_600), self.lives.recv()).await;
        let next = next.unwrap_or_else(|_| panic!("{what}: nothing happened; {:?}", self.control.status()));
        assert!(matches!(next, Some(What::Serving { .. })), "{what}: {next:?}");
    }

    /// Waits until nothing is left to do, nor to be written into the state directory.
    async fn rests(&self) {
        rest(&self.host).await;
        // What was decided is on the disk before an order is answered; this one changes nothing.
        self.control.order("bench", Order::Reset).await.unwrap();
        // The clock goes on only where everything waits: what was released is gone by then.
        pause().await;
    }
}

/// On one thread, so that runs are told in the order in which they ended.
#[tokio::test(start_paused = true)]
async fn a_thousand_reloads_by_files_under_load_lose_nothing_run_nothing_twice_at_once_and_leave_nothing_behind() {
    let _alone = ALONE.lock().await;
    let place = tempfile::tempdir().unwrap();
    let path = place.path().to_owned();
    let directory = path.join("plugins");
    fs::create_dir(&directory).unwrap();
    let mut files = Files {
        modules: modules(),
        module: 0,
        settings: 0,
    };
    for name in ["bench.wasm", "bench.yaml"] {
        fs::write(directory.join(name), files.content(name)).unwrap();
    }
    let (service, cluster, seen) = cluster();
    let mut world = World::start(&path, service).await;
    world.serves("the first one").await;
    world.rests().await;
    let first: Mark = {
        let plugins = world.host.plugins();
        (plugins[0].hash, plugins[0].configuration)
    };

    let served = Arc::new(AtomicUsize::new(0));
    let load = Load::start(cluster.clone(), served.clone());
    let mut early = None;
    for number in 1..=RELOADS {
        let way = if number > RELOADS / 2 {
            Way::Mounted
        } else if number % 4 < 2 {
            Way::Renamed
        } else {
            Way::InPlace
        };
        files.advance(number);
        let (own, to) = (files, directory.clone());
        files = apart(move || {
            own.put(&to, number, way);
            own
        })
        .await;
        world.serves(&format!("reload {number}")).await;
        served.store(number, Ordering::SeqCst);
        if number == RELOADS / 10 {
            world.rests().await;
            early = Some(Held::now(&path, &world.told));
        }
    }
    let (changes, last) = apart(move || load.stop()).await;
    for (object, change) in &last {
        reconciled(&world.told, "busy", &format!("o{object}"), change.version).await;
    }
    world.rests().await;
    let (early, late) = (early.unwrap(), Held::now(&path, &world.told));
    println!(
        "{RELOADS} reloads, {changes} changes, {} writes; held after a tenth: {early:#?}; at the end: {late:#?}",
        seen.lock().unwrap().patches
    );

    let told = world.told.0.lock().unwrap();
    assert_eq!(told.swaps.len(), RELOADS, "each file was one switch");
    let order = std::iter::once(first).chain(told.swaps.iter().map(|(mark, _)| *mark));
    let order: HashMap<Mark, usize> = order.zip(0..).collect();
    assert_eq!(order.len(), RELOADS + 1, "each was a version of its own");
    for object in 0..OBJECTS {
        let key = Key::new(Some("default"), &format!("o{object}"));
        for controller in ["busy", "empty"] {
            let runs = &told.runs[&(ControllerId::new("bench", controller), key.clone())];
            let versions: Vec<usize> = runs.iter().map(|run| order[&run.mark]).collect();
            assert!(
                versions.is_sorted(),
                "{key} went back to an older version: {versions:?}"
            );
            assert_eq!(versions.last(), Some(&RELOADS), "{key} did not run on the last version");
        }
        let runs = &told.runs[&(ControllerId::new("bench", "busy"), key.clone())];
        let change = &last[&object];
        let after = runs.iter().find(|run| run.version == Some(change.version));
        let after = after.unwrap_or_else(|| panic!("{key} was not reconciled after its last change"));
        assert!(
            order[&after.mark] >= change.served,
            "{key} ran on a version that had been replaced before its last change"
        );
    }
    {
        let seen = seen.lock().unwrap();
        assert_eq!(seen.overlaps, Vec::<String>::new(), "two runs of one key wrote at once");
        assert!(seen.patches > RELOADS, "that would have been seen: {}", seen.patches);
    }
    assert_eq!(late.files, early.files, "nothing is kept of versions that are gone");
    assert_eq!(late.versions, early.versions);
    // What grew by one with each reload would have grown by 900; the runtime's threads come and go.
    assert!(
        late.maps < early.maps + 100,
        "{} → {} memory maps",
        early.maps,
        late.maps
    );
    assert!(late.descriptors < early.descriptors + 20, "{early:?} → {late:?}");
    // A version that stayed would be some 100 KB with its windows: 90 MB for those that came since.
    assert!(late.private < early.private + (24 << 20), "{early:?} → {late:?}");
}
