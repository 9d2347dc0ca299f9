//! Plugins come, are exchanged and go under load: real components, a local cluster, everything in this process.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, Weak},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http::{Method, Request};
use kube::client::Body;
use pilothouse_controller::{ControllerId, Happening, Host, HostOptions, Observer};
use pilothouse_lifecycle::{Config, Hash, Plugin, Stage, Trouble, TroubleKind, load_all};
use pilothouse_localcluster::{
    Cluster, Request as Asked, User,
    service::LocalService,
    shared::{AnswerBody, SharedCluster},
};
use pilothouse_object::Key;
use pilothouse_runtime::{Compiler, Engine, EngineConfig, Modules};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tower::Service;

/// One after the other: what the process holds is looked at.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Objects of each kind.
const OBJECTS: usize = 20;

/// A local cluster that counts the lists it was asked for and looks whether two runs write for one key at once.
#[derive(Clone)]
struct Counting {
    inner: LocalService,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    lists: BTreeMap<String, usize>,
    writing: HashMap<String, usize>,
    overlaps: Vec<String>,
    /// Patches that came.
    patches: usize,
    /// Lists and watches of these plurals are refused.
    forbidden: Option<&'static str>,
}

impl Service<Request<Body>> for Counting {
    type Response = http::Response<AnswerBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<Body>>::poll_ready(&mut self.inner, cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let (mut inner, seen) = (self.inner.clone(), self.seen.clone());
        let path = request.uri().path().to_owned();
        let query = request.uri().query().unwrap_or_default();
        let collection = request.method() == Method::GET && query.contains("resourceVersion");
        let streams = query.contains("watch=true") && !query.contains("sendInitialEvents=true");
        let patches = request.method() == Method::PATCH;
        Box::pin(async move {
            {
                let mut seen = seen.lock().unwrap();
                if collection && !streams {
                    *seen.lists.entry(path.clone()).or_default() += 1;
                }
                if patches {
                    seen.patches += 1;
                    let writing = seen.writing.entry(path.clone()).or_default();
                    *writing += 1;
                    if *writing > 1 {
                        seen.overlaps.push(path.clone());
                    }
                }
            }
            if patches {
                // So that others come in between.
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                }
            }
            let forbidden = seen.lock().unwrap().forbidden;
            let forbidden = collection && forbidden.is_some_and(|plural| path.ends_with(plural));
            if forbidden {
                *request.uri_mut() = http::Uri::from_static("/nothing");
            }
            let mut answer = inner.call(request).await?;
            if forbidden {
                *answer.status_mut() = http::StatusCode::FORBIDDEN;
            }
            if patches {
                seen.lock()
                    .unwrap()
                    .writing
                    .entry(path)
                    .and_modify(|writing| *writing -= 1);
            }
            Ok(answer)
        })
    }
}

/// What a key's last run was.
#[derive(Clone, Debug, PartialEq)]
struct Ran {
    version: Option<u64>,
    configuration: Hash,
}

#[derive(Default)]
struct Told(Mutex<Telling>);

#[derive(Default)]
struct Telling {
    /// Of each key, in order: on which version of the object and of the plugin.
    runs: HashMap<(ControllerId, Key), Vec<Ran>>,
    swaps: usize,
    unloaded: Vec<String>,
    /// When the first run of each version ended.
    first: HashMap<Hash, Instant>,
}

impl Observer for Told {
    fn happened(&self, happening: &Happening) {
        let mut told = self.0.lock().unwrap();
        match happening {
            Happening::Reconciled(run) => {
                assert!(matches!(run.result, Ok(Ok(_))), "{:?}", run.result);
                told.first.entry(run.configuration).or_insert_with(moment);
                let version = run
                    .version
                    .as_ref()
                    .and_then(|version| version.to_string().parse().ok());
                told.runs
                    .entry((run.id.clone(), run.key.clone()))
                    .or_default()
                    .push(Ran {
                        version,
                        configuration: run.configuration,
                    });
            }
            Happening::Swapped { .. } => told.swaps += 1,
            Happening::Unloaded { plugin } => told.unloaded.push(plugin.to_string()),
            _ => {}
        }
    }
}

/// A host over a cluster with `OBJECTS` of each kind, and two versions of its plugin's module.
struct World {
    cluster: SharedCluster,
    seen: Arc<Mutex<Seen>>,
    told: Arc<Told>,
    host: Host,
    /// What the host told of.
    trouble: mpsc::UnboundedReceiver<Trouble>,
    versions: [Plugin; 2],
    /// All that were served, so that it can be looked which are still in memory.
    served: Vec<Weak<Plugin>>,
}

fn replaced(module: &[u8], text: &str, by: &str) -> Vec<u8> {
    assert_eq!(text.len(), by.len(), "sections know their lengths");
    let at = module.windows(text.len()).position(|window| window == text.as_bytes());
    let at = at.expect("the text is in the module");
    let mut module = module.to_vec();
    module[at..at + text.len()].copy_from_slice(by.as_bytes());
    module
}

async fn versions() -> [Plugin; 2] {
    let engine = Engine::new(EngineConfig::default()).unwrap();
    let modules = Modules::new(engine, Compiler::InProcess);
    let module = std::fs::read(pilothouse_guests::component("bench-plugin")).unwrap();
    let mut versions = Vec::new();
    for version in ["0.1.0", "0.1.1"] {
        let directory = tempfile::tempdir().unwrap();
        let said = |version: &str| format!("\"version\": \"{version}\"");
        let module = replaced(&module, &said("0.1.0"), &said(version));
        std::fs::write(directory.path().join("bench.wasm"), module).unwrap();
        let config = Config::default().granting_what_is_asked(true);
        let loaded = load_all(&modules, directory.path(), &config).await.unwrap();
        versions.extend(loaded.plugins.into_iter().map(|plugin| plugin.unwrap()));
    }
    versions.try_into().unwrap()
}

fn definition(plural: &str, kind: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.bench.io")},
        "spec": {"group": "bench.io", "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List")},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema":
                {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]},
    })
}

/// Writes, and answers the version that this made.
fn write(cluster: &SharedCluster, method: Method, path: &str, body: &Value) -> u64 {
    let kind = if method == Method::PATCH {
        "application/merge-patch+json"
    } else {
        "application/json"
    };
    let answer = cluster.handle(&User::default(), Asked::with_body(method, path, kind, body.to_string()));
    assert!(answer.status < 300, "{}", String::from_utf8_lossy(answer.whole()));
    let object: Value = serde_json::from_slice(answer.whole()).unwrap();
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

fn busy(number: usize) -> String {
    format!("/apis/bench.io/v1/namespaces/default/busies/o{number}")
}

impl World {
    async fn new(lists_within: Duration) -> Self {
        let cluster = SharedCluster::new(Cluster::new(1), || Duration::from_secs(1_000_000));
        for (plural, kind) in [("empties", "Empty"), ("busies", "Busy")] {
            let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
            write(&cluster, Method::POST, path, &definition(plural, kind));
        }
        for number in 0..OBJECTS {
            let own = |api: &str, kind: &str| json!({"apiVersion": api, "kind": kind, "metadata": {"name": format!("o{number}")}});
            let namespace = "/apis/bench.io/v1/namespaces/default";
            write(
                &cluster,
                Method::POST,
                &format!("{namespace}/busies"),
                &own("bench.io/v1", "Busy"),
            );
            write(
                &cluster,
                Method::POST,
                &format!("{namespace}/empties"),
                &own("bench.io/v1", "Empty"),
            );
            write(
                &cluster,
                Method::POST,
                "/api/v1/namespaces/default/configmaps",
                &own("v1", "ConfigMap"),
            );
        }
        let (seen, told) = (Arc::<Mutex<Seen>>::default(), Arc::<Told>::default());
        let service = Counting {
            inner: LocalService::new(cluster.clone()),
            seen: seen.clone(),
        };
        let mut options = HostOptions::new(1, told.clone());
        options.lists_within = lists_within;
        let (tell, trouble) = mpsc::unbounded_channel();
        // An error: the test is over.
        options.trouble = Arc::new(move |trouble| _ = tell.send(trouble));
        // What is looked at here is order, not pace.
        options.api.per_second = 0;
        let host = Host::start(kube::Client::new(service, "default"), Vec::new(), options);
        let mut world = Self {
            cluster,
            seen,
            told,
            host,
            trouble,
            versions: versions().await,
            served: Vec::new(),
        };
        world.serve(0).await;
        world.rest().await;
        world
    }

    /// Version `number` of the plugin: one of two modules, with a configuration of its own.
    fn version(&self, number: usize) -> Plugin {
        let mut plugin = self.versions[number % 2].clone();
        plugin.configuration = configuration(number);
        plugin.requests.per_second = 0;
        plugin
    }

    async fn serve(&mut self, number: usize) {
        let plugin = Arc::new(self.version(number));
        self.served.push(Arc::downgrade(&plugin));
        self.host.serve(plugin, false).await.unwrap();
    }

    /// Waits until nothing is left to do. The bound ends a test that hangs.
    async fn rest(&self) {
        for _ in 0..6_000 {
            if self.host.is_idle() {
                return;
            }
            pause().await;
        }
        panic!("not idle after a minute: {:?}", self.host.waiting_for());
    }

    /// Waits until a run of the key was on this version of its object: events take their time. The bound ends a test that
    /// would hang since a change was lost.
    async fn reconciled(&self, controller: &str, name: &str, version: u64) {
        let key = (ControllerId::new("bench", controller), Key::new(Some("default"), name));
        let ran = || {
            let told = self.told.0.lock().unwrap();
            let runs = told.runs.get(&key);
            runs.is_some_and(|runs| runs.iter().any(|run| run.version == Some(version)))
        };
        for _ in 0..6_000 {
            if ran() {
                return;
            }
            pause().await;
        }
        panic!("{controller} {name} was not reconciled after its last change, at version {version}");
    }

    fn in_memory(&self) -> usize {
        self.served.iter().filter(|plugin| plugin.strong_count() > 0).count()
    }

    fn lists(&self) -> BTreeMap<String, usize> {
        self.seen.lock().unwrap().lists.clone()
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "a test over real components looks again and again"
)]
async fn pause() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}

#[allow(
    clippy::disallowed_methods,
    reason = "tells how long new keys waited; nothing is held against it"
)]
fn moment() -> Instant {
    Instant::now()
}

fn configuration(number: usize) -> Hash {
    Hash::of(&number.to_le_bytes())
}

/// Memory of this process in bytes, as the kernel counts it.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: Option<usize> = status.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or_default() * 4_096
}

/// Swaps that often, changing objects all the while, and looks at what is left.
async fn reload_under_load(swaps: usize, in_order: bool) {
    let _alone = ALONE.lock().await;
    let mut world = World::new(Duration::from_secs(60)).await;
    let lists = world.lists();
    let mut newest = BTreeMap::new();
    let mut rng = fastrand::Rng::with_seed(swaps as u64);
    let (mut early, mut begun) = (0, Vec::new());
    for number in 1..=swaps {
        for _ in 0..3 {
            let object = rng.usize(..OBJECTS);
            let change = json!({"spec": {"change": number, "salt": rng.u32(..)}});
            newest.insert(object, write(&world.cluster, Method::PATCH, &busy(object), &change));
            tokio::task::yield_now().await;
        }
        begun.push(moment());
        world.serve(number).await;
        if number == swaps / 4 {
            world.rest().await;
            early = resident();
        }
    }
    for (number, version) in &newest {
        world.reconciled("busy", &format!("o{number}"), *version).await;
    }
    world.rest().await;
    let grown = resident().saturating_sub(early);
    {
        let told = world.told.0.lock().unwrap();
        assert_eq!(told.swaps, swaps);
        let waits = begun.iter().zip(1..);
        let waits = waits.filter_map(|(begun, number)| Some(*told.first.get(&configuration(number))? - *begun));
        let mut waits: Vec<Duration> = waits.collect();
        waits.sort();
        println!(
            "from the begin of a swap to the end of the new version's first run: median {:?}, 99 % {:?}, longest {:?}; grown by {} KiB",
            waits[waits.len() / 2],
            waits[waits.len() * 99 / 100],
            waits.last(),
            grown >> 10
        );
        for number in 0..OBJECTS {
            let key = Key::new(Some("default"), &format!("o{number}"));
            for controller in ["busy", "empty"] {
                let runs = &told.runs[&(ControllerId::new("bench", controller), key.clone())];
                if in_order {
                    let order: Vec<usize> = {
                        let numbers: HashMap<Hash, usize> = (0..=swaps).map(|n| (configuration(n), n)).collect();
                        runs.iter().map(|run| numbers[&run.configuration]).collect()
                    };
                    assert!(order.is_sorted(), "{key} went back to an older version: {order:?}");
                }
                assert!(
                    runs.iter().any(|run| run.configuration == configuration(swaps)),
                    "{key} of {controller} did not run on the last version"
                );
                if let (Some(newest), "busy") = (newest.get(&number), controller) {
                    let last = runs.iter().filter_map(|run| run.version).max();
                    assert_eq!(last, Some(*newest), "{key} was not reconciled after its last change");
                }
            }
        }
    }
    assert_eq!(world.seen.lock().unwrap().overlaps, Vec::<String>::new());
    assert_eq!(world.lists(), lists, "what both versions watch is not listed again");
    assert_eq!(world.in_memory(), 1, "older versions are gone");
    // A version that stayed would be some 100 KB with its windows: 75 MB for those that came since.
    assert!(grown < 24 << 20, "the process grew by {grown} bytes");

    assert!(world.host.withdraw("bench").await);
    assert_eq!(world.in_memory(), 0);
    assert!(world.host.controllers().is_empty() && world.host.plugins().is_empty());
    assert!(!world.host.metrics().contains("\"bench"), "{}", world.host.metrics());
    assert_eq!(world.told.0.lock().unwrap().unloaded, ["bench"]);
    assert!(!world.host.withdraw("bench").await, "there is none any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_reloads_under_load_lose_nothing_run_nothing_twice_at_once_and_leave_nothing_behind() {
    reload_under_load(1_000, false).await;
}

/// On one thread the order in which runs are told is that in which they ended.
#[tokio::test]
async fn no_key_that_ran_on_a_new_version_runs_on_an_older_one_again() {
    reload_under_load(200, true).await;
}

#[tokio::test]
async fn a_version_whose_lists_do_not_come_says_which_and_the_older_one_serves_on() {
    let _alone = ALONE.lock().await;
    let mut world = World::new(Duration::from_millis(300)).await;
    let mut smaller = world.version(1);
    let mut manifest = (*smaller.manifest).clone();
    manifest.controllers.retain(|controller| controller.name == "empty");
    smaller.manifest = Arc::new(manifest);
    world.host.serve(Arc::new(smaller), false).await.unwrap();
    assert_eq!(world.host.controllers(), [ControllerId::new("bench", "empty")]);
    world.rest().await;
    assert!(
        !world.host.metrics().contains("bench/busy"),
        "a controller that is gone is not counted"
    );

    world.seen.lock().unwrap().forbidden = Some("busies");
    let refused = world.host.serve(Arc::new(world.version(2)), false).await.unwrap_err();
    let why = &refused.why;
    assert!(
        why.contains("bench: first list of bench.io/v1 Busy: forbidden"),
        "{refused:?}"
    );
    assert!(!why.contains("Empty"), "that one is there: {refused:?}");
    assert_eq!(world.host.plugins()[0].configuration, configuration(1));
    let path = "/apis/bench.io/v1/namespaces/default/empties/o1";
    let version = write(&world.cluster, Method::PATCH, path, &json!({"spec": {"change": 1}}));
    world.reconciled("empty", "o1", version).await;
    {
        let told = world.told.0.lock().unwrap();
        let key = (ControllerId::new("bench", "empty"), Key::new(Some("default"), "o1"));
        let last = told.runs[&key].last().unwrap();
        assert_eq!((last.version, last.configuration), (Some(version), configuration(1)));
        assert_eq!(told.swaps, 1);
    }

    world.seen.lock().unwrap().forbidden = None;
    world.serve(3).await;
    world.rest().await;
    assert_eq!(world.host.controllers().len(), 2);
}

#[tokio::test]
async fn a_write_that_went_through_before_is_sent_again_only_where_its_object_has_moved() {
    let _alone = ALONE.lock().await;
    let world = World::new(Duration::from_secs(60)).await;
    let map = "/api/v1/namespaces/default/configmaps/o1";
    let sent = || world.seen.lock().unwrap().patches;
    let read = || {
        let answer = world.cluster.handle(&User::default(), Asked::new(Method::GET, map));
        serde_json::from_slice::<Value>(answer.whole()).unwrap()
    };
    let touched = async |salt: u32| {
        let version = write(
            &world.cluster,
            Method::PATCH,
            &busy(1),
            &json!({"spec": {"salt": salt}}),
        );
        world.reconciled("busy", "o1", version).await;
        world.rest().await;
    };
    assert_eq!(sent(), OBJECTS, "each ConfigMap was written to once");
    let before = read();
    for salt in 0..5 {
        touched(salt).await;
    }
    assert_eq!(sent(), OBJECTS, "what changes nothing is not sent");
    assert_eq!(read(), before);
    let line = "pilothouse_repeated_writes_total{controller=\"bench/busy\"} 5";
    let metrics = world.host.metrics();
    assert!(metrics.contains(line), "{metrics}");

    write(&world.cluster, Method::PATCH, map, &json!({"data": {"seen": "no"}}));
    // The plugin is not woken by this; a run before the cache has heard of it leaves the write out, and a later one does not.
    for salt in 100..1_100 {
        touched(salt).await;
        if read()["data"]["seen"] == "yes" {
            break;
        }
    }
    assert_eq!((sent(), &read()["data"]["seen"]), (OBJECTS + 1, &json!("yes")));
    touched(2_000).await;
    assert_eq!(sent(), OBJECTS + 1);
}

#[tokio::test]
async fn a_plugin_that_the_caches_hold_too_much_for_is_told_of_with_what_it_may_have() {
    let _alone = ALONE.lock().await;
    let mut world = World::new(Duration::from_secs(60)).await;
    let mut smaller = world.version(1);
    // Nothing that an operator can write.
    smaller.budget.cache_mib = 0;
    let mark = (smaller.hash, smaller.configuration);
    world.host.serve(Arc::new(smaller), false).await.unwrap();
    let told = world.trouble.recv().await.unwrap();
    assert_eq!((&*told.plugin, (told.hash, told.configuration)), ("bench", mark));
    let TroubleKind::CacheFull { bytes, most_mib: 0 } = told.what else {
        panic!("{told:?}")
    };
    // Three kinds of 20 small objects each, as heavy as the metric says.
    let metrics = world.host.metrics();
    let lines = metrics
        .lines()
        .filter(|line| line.starts_with("pilothouse_cache_bytes{plugin=\"bench\""));
    let charged: u64 = lines
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum();
    assert_eq!(bytes, charged);
}
