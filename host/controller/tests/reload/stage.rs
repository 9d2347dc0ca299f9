//! Through the stage alone: versions follow each other as fast as they can be switched to.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use http::Method;
use pilothouse_controller::{ControllerId, Host, HostOptions};
use pilothouse_lifecycle::{Config, Hash, Plugin, Stage, Trouble, TroubleKind, load_all};
use pilothouse_localcluster::{Request as Asked, User, shared::SharedCluster};
use pilothouse_object::Key;
use pilothouse_runtime::{Compiler, Engine, EngineConfig, Modules};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::world::{ALONE, OBJECTS, Seen, Told, busy, cluster, modules, moment, reconciled, resident, rest, write};

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

async fn versions() -> [Plugin; 2] {
    let engine = Engine::new(EngineConfig::default()).unwrap();
    let compiling = Modules::new(engine, Compiler::InProcess);
    let mut versions = Vec::new();
    for module in modules() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("bench.wasm"), module).unwrap();
        let config = Config::default().granting_what_is_asked(true);
        let loaded = load_all(&compiling, directory.path(), &config).await.unwrap();
        versions.extend(loaded.plugins.into_iter().map(|plugin| plugin.unwrap()));
    }
    versions.try_into().unwrap()
}

impl World {
    async fn new(lists_within: Duration) -> Self {
        let (service, cluster, seen) = cluster();
        let told = Arc::<Told>::default();
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
        rest(&world.host).await;
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

    fn in_memory(&self) -> usize {
        self.served.iter().filter(|plugin| plugin.strong_count() > 0).count()
    }

    fn lists(&self) -> BTreeMap<String, usize> {
        self.seen.lock().unwrap().lists.clone()
    }
}

fn configuration(number: usize) -> Hash {
    Hash::of(&number.to_le_bytes())
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
            rest(&world.host).await;
            early = resident();
        }
    }
    for (number, version) in &newest {
        reconciled(&world.told, "busy", &format!("o{number}"), *version).await;
    }
    rest(&world.host).await;
    let grown = resident().saturating_sub(early);
    {
        let told = world.told.0.lock().unwrap();
        assert_eq!(told.swaps.len(), swaps);
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
                        runs.iter().map(|run| numbers[&run.mark.1]).collect()
                    };
                    assert!(order.is_sorted(), "{key} went back to an older version: {order:?}");
                }
                assert!(
                    runs.iter().any(|run| run.mark.1 == configuration(swaps)),
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
    rest(&world.host).await;
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
    reconciled(&world.told, "empty", "o1", version).await;
    {
        let told = world.told.0.lock().unwrap();
        let key = (ControllerId::new("bench", "empty"), Key::new(Some("default"), "o1"));
        let last = told.runs[&key].last().unwrap();
        assert_eq!((last.version, last.mark.1), (Some(version), configuration(1)));
        assert_eq!(told.swaps.len(), 1);
    }

    world.seen.lock().unwrap().forbidden = None;
    world.serve(3).await;
    rest(&world.host).await;
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
        reconciled(&world.told, "busy", "o1", version).await;
        rest(&world.host).await;
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
    // The plugin is not woken by this; a run before the cache has heard of it leaves the write out, and a later one
    // does not.
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
    // Three kinds of small objects, as heavy as the metric says.
    let metrics = world.host.metrics();
    let lines = metrics
        .lines()
        .filter(|line| line.starts_with("pilothouse_cache_bytes{plugin=\"bench\""));
    let charged: u64 = lines
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum();
    assert_eq!(bytes, charged);
}
