//! What needs the real server.

use std::path::PathBuf;
use std::sync::OnceLock;

use pilothouse_conformance::script::Step;
use pilothouse_conformance::session::{differences, differences_forgetting};
use pilothouse_conformance::walk::{Ground, TOPIC};
use pilothouse_conformance::{Difference, Differences, LocalServer, Script, Server};
use pilothouse_localcluster::ClusterConfig;
use pilothouse_realcluster::{ControlPlane, Controllers, Options};

/// The real one, with the controllers that the local cluster has, too: others would write where nobody asked them to.
fn real() -> &'static ControlPlane {
    static PLACE: OnceLock<Result<ControlPlane, String>> = OnceLock::new();
    let options = Options {
        controllers: Controllers::GarbageCollection,
        ..Options::default()
    };
    ControlPlane::shared_as(&PLACE, &options)
}

/// A local cluster with a history that a script can outgrow.
fn local() -> LocalServer {
    LocalServer::start_with(ClusterConfig {
        history: 150,
        ..ClusterConfig::default()
    })
}

/// A name that no other test takes, also on a control plane that outlives this process.
fn space(topic: &str) -> String {
    format!("{topic}-{}", std::process::id())
}

/// Runs a script on both servers and holds what differs against the list.
fn run(topic: &str) {
    let (script, local, real) = (Script::load(topic), local(), real());
    let found = crate::runtime().block_on(async {
        let (real, ours) = (
            Server::at(real.kubeconfig()).await,
            Server::at(&local.kubeconfig()).await,
        );
        differences([&real, &ours], topic, &space(topic), &script).await
    });
    check(topic, &script, &found);
}

fn check(topic: &str, script: &Script, found: &[Difference]) {
    if let Err(why) = Differences::load().check(topic, found) {
        panic!("{topic}: {} of {} steps differ\n{why}", found.len(), script.steps.len());
    }
}

/// This one takes a server of its own: it restarts it, and compacts its storage.
#[test]
fn expired() {
    let (topic, local) = ("expired", local());
    let script = Script::load(topic);
    let plane =
        ControlPlane::start(&Options::default()).unwrap_or_else(|error| panic!("no real control plane: {error}"));
    let forget = |_: &Step| {
        let forgotten = plane.compact().and_then(|()| {
            plane.apiserver().kill();
            plane.apiserver().start()
        });
        forgotten.unwrap_or_else(|error| panic!("the real server can't forget: {error}"));
    };
    let found = crate::runtime().block_on(async {
        let (real, ours) = (
            Server::at(plane.kubeconfig()).await,
            Server::at(&local.kubeconfig()).await,
        );
        differences_forgetting([&real, &ours], topic, &space(topic), &script, forget).await
    });
    check(topic, &script, &found);
}

macro_rules! scripts {
    ($($name:ident: $file:literal,)*) => {
        /// The scripts that have a test.
        pub(crate) const TESTED: &[&str] = &["expired", $($file,)*];
        $(
        #[test]
        fn $name() {
            run($file);
        }
        )*
    };
}

scripts! {
    apply: "apply",
    concurrency: "concurrency",
    crds: "crds",
    crud: "crud",
    delete_and_finalizers: "delete-and-finalizers",
    discovery: "discovery",
    errors: "errors",
    lists_and_paging: "lists-and-paging",
    openapi: "openapi",
    patches: "patches",
    selectors: "selectors",
    status: "status",
    tables: "tables",
    walked: "walked",
    watches_and_bookmarks: "watches-and-bookmarks",
}

/// The seeds of the walks: `PILOTHOUSE_WALK_SEEDS=7,100-120` asks for others.
fn seeds() -> Vec<u64> {
    let asked = std::env::var("PILOTHOUSE_WALK_SEEDS").unwrap_or_else(|_| "1-8".to_owned());
    let ranges = asked.split(',').flat_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| -> u64 {
            text.trim()
                .parse()
                .unwrap_or_else(|error| panic!("PILOTHOUSE_WALK_SEEDS={asked}: {error}; write for example 7,100-120"))
        };
        number(first)..=number(last)
    });
    ranges.collect()
}

/// `PILOTHOUSE_WALK_STEPS` asks for walks of another length.
#[test]
fn random_walks_differ_as_listed_alone() {
    let length = std::env::var("PILOTHOUSE_WALK_STEPS").map_or(200, |text| {
        text.parse()
            .unwrap_or_else(|error| panic!("PILOTHOUSE_WALK_STEPS={text}: {error}"))
    });
    let (local, real) = (LocalServer::start(), real());
    let known = Differences::load();
    let mut listed = Vec::new();
    let mut report = String::new();
    crate::runtime().block_on(async {
        let (real, ours) = (Server::at(real.kubeconfig()).await, Server::at(&local.kubeconfig()).await);
        let ground = Ground::prepare([&real, &ours], &space(TOPIC)).await;
        for seed in seeds() {
            let walked = ground.walk(seed, length, &known).await;
            listed.extend(walked.listed);
            if let Some((difference, script)) = walked.found {
                let kept = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("walk-{seed}.yaml"));
                std::fs::write(&kept, script.text()).unwrap_or_else(|error| panic!("{}: {error}", kept.display()));
                report += &format!(
                    "The walk from the seed {seed} found a difference. Mend it and keep the script as a topic of its own \
                     ({}), or list:\n{difference}The script:\n{}\n",
                    kept.display(),
                    script.text()
                );
            }
        }
    });
    assert!(report.is_empty(), "{report}");
    listed.sort_by(|a: &Difference, b| a.request.cmp(&b.request));
    listed.dedup();
    if let Err(why) = known.check(TOPIC, &listed) {
        panic!("{why}");
    }
}
