//! The driver on a real directory, with real modules and a stage that only remembers.

#[cfg(unix)]
mod slow;

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use pilothouse_runtime::Modules;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Control, Supervisor, SupervisorOptions};
use crate::config::{Concurrency, Config};
use crate::directory::DirectoryError;
use crate::kept::PluginStore;
use crate::lives::{LifeEvent, LifeObserver, LifeState, Order, OrderError, What};
use crate::load::{Hash, Plugin};
use crate::refusal::Step;
use crate::stage::{NotServed, Stage, StageFuture, Trouble, TroubleKind};
use crate::tests::load::{MODULES, module_that_says};
use crate::tests::{least_manifest, with};

/// What is told, and what the stage was asked for, one after the other.
struct Told(mpsc::UnboundedSender<String>);

impl LifeObserver for Told {
    fn happened(&self, event: &LifeEvent) {
        let what = match &event.what {
            What::Refused { refusal, old_serves } => format!("refused at {}, old serves: {old_serves}", refusal.step),
            What::Serving { .. } => "serving".to_owned(),
            What::RolledBack { .. } => "rolled back".to_owned(),
            What::HeldBack(held) => format!("waits: {}", held.why),
            other => format!("{other:?}"),
        };
        self.0.send(format!("{} {what}", event.plugin)).unwrap();
    }
}

/// Serves at once, but for those of version 0.0.9, which wait for ever, and 0.0.8, which it does not take.
#[derive(Default)]
struct FakeStage(Mutex<Vec<Arc<Plugin>>>);

impl Stage for FakeStage {
    fn serve(&self, plugin: Arc<Plugin>, _: bool) -> StageFuture<'_, Result<(), NotServed>> {
        Box::pin(async move {
            if plugin.manifest.version == "0.0.9" {
                std::future::pending::<()>().await;
            }
            if plugin.manifest.version == "0.0.8" {
                let (why, mend) = ("it is 0.0.8".to_owned(), "be another".to_owned());
                return Err(NotServed { why, mend });
            }
            let mut serving = self.0.lock().unwrap();
            serving.retain(|other| other.name != plugin.name);
            serving.push(plugin);
            Ok(())
        })
    }

    fn adjust(&self, plugin: &Plugin) {
        let mut serving = self.0.lock().unwrap();
        for own in serving.iter_mut().filter(|own| own.name == plugin.name) {
            assert_eq!((own.hash, own.configuration), (plugin.hash, plugin.configuration));
            *own = Arc::new(plugin.clone());
        }
    }

    fn release(&self, _: &str) {}

    fn withdraw<'a>(&'a self, name: &'a str) -> StageFuture<'a, bool> {
        Box::pin(async move {
            let mut serving = self.0.lock().unwrap();
            let before = serving.len();
            serving.retain(|other| &*other.name != name);
            serving.len() < before
        })
    }
}

async fn loaded(options: SupervisorOptions) -> Result<(Supervisor, Vec<Arc<Plugin>>), DirectoryError> {
    let mut supervisor = Supervisor::new(options);
    let plugins = supervisor.load().await?;
    Ok((supervisor, plugins))
}

struct Scene {
    dir: tempfile::TempDir,
    told: mpsc::UnboundedReceiver<String>,
    stage: Arc<FakeStage>,
    control: Control,
    trouble: mpsc::Sender<Trouble>,
    _running: JoinSet<()>,
}

impl Scene {
    async fn new(prepare: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path());
        Self::over(dir, None).await
    }

    /// Version 0.0.1 of `a` serves, and this has been told; what is decided is kept in `state`, if anywhere.
    async fn serving_a(state: Option<&Path>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.wasm"), module("0.0.1")).unwrap();
        let mut scene = Self::over(dir, state).await;
        assert_eq!(scene.next().await, "a serving");
        scene
    }

    /// On that directory, keeping what is decided there.
    async fn over(dir: tempfile::TempDir, state: Option<&Path>) -> Self {
        let (options, told) = options(dir.path(), state, MODULES.clone());
        let (supervisor, plugins) = loaded(options).await.unwrap();
        Self::running(dir, told, supervisor, plugins)
    }

    /// After the start.
    fn running(
        dir: tempfile::TempDir,
        told: mpsc::UnboundedReceiver<String>,
        supervisor: Supervisor,
        plugins: Vec<Arc<Plugin>>,
    ) -> Self {
        let stage = Arc::new(FakeStage(Mutex::new(plugins)));
        let control = supervisor.control();
        let (trouble, troubles) = mpsc::channel(16);
        let mut running = JoinSet::new();
        running.spawn(supervisor.run(stage.clone(), troubles));
        Self {
            dir,
            told,
            stage,
            control,
            trouble,
            _running: running,
        }
    }

    /// The host ends; the directory stays.
    fn end(self) -> tempfile::TempDir {
        self.dir
    }

    fn put(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.dir.path().join(name), content).unwrap();
    }

    async fn next(&mut self) -> String {
        self.told.recv().await.unwrap()
    }

    /// The version of a plugin that serves.
    fn version(&self, name: &str) -> Option<String> {
        let serving = self.stage.0.lock().unwrap();
        serving
            .iter()
            .find(|plugin| &*plugin.name == name)
            .map(|plugin| plugin.manifest.version.clone())
    }
}

fn options(dir: &Path, state: Option<&Path>, modules: Modules) -> (SupervisorOptions, mpsc::UnboundedReceiver<String>) {
    let (tell, told) = mpsc::unbounded_channel();
    let options = SupervisorOptions {
        directory: dir.to_owned(),
        config: Config::default().granting_what_is_asked(false),
        modules,
        observer: Arc::new(Told(tell)),
        store: state.map(|path| Arc::new(PluginStore::open(path).unwrap())),
    };
    (options, told)
}

fn module(version: &str) -> Vec<u8> {
    module_that_says(&with(least_manifest(), "/version", version.into()).to_string())
}

#[tokio::test]
async fn what_lies_there_serves_from_the_start_and_what_comes_and_goes_follows() {
    let mut scene = Scene::new(|dir| {
        fs::write(dir.join("a.wasm"), module("0.0.1")).unwrap();
        fs::write(dir.join("bad.wasm"), b"no component").unwrap();
    })
    .await;
    assert_eq!(scene.next().await, "a serving");
    assert_eq!(scene.next().await, "bad refused at compile, old serves: false");
    assert_eq!(scene.version("a").as_deref(), Some("0.0.1"));

    scene.put("a.wasm", module("0.0.2"));
    assert_eq!(scene.next().await, "a serving");
    assert_eq!(scene.version("a").as_deref(), Some("0.0.2"));
    scene.put("a.wasm", &module("0.0.3")[..1000]);
    assert_eq!(scene.next().await, "a refused at compile, old serves: true");
    assert_eq!(scene.version("a").as_deref(), Some("0.0.2"));
    let status = &scene.control.status()[0];
    assert_eq!((status.state, status.previous.len()), (LifeState::Serving, 1));
    assert_eq!(status.serving.as_ref().unwrap().version.as_deref(), Some("0.0.2"));

    scene.put("bad.wasm", module("0.0.1"));
    assert_eq!(scene.next().await, "bad serving");
    fs::remove_file(scene.dir.path().join("a.wasm")).unwrap();
    assert_eq!(scene.next().await, "a Unloaded");
    assert_eq!(scene.version("a"), None);
    let names: Vec<String> = scene.control.status().into_iter().map(|status| status.name).collect();
    assert_eq!(names, ["bad"], "nothing is remembered of what is gone");
}

#[tokio::test]
async fn a_version_that_widens_what_it_asks_for_waits_until_it_is_granted() {
    let granted = |verbs: &str| format!("grants: [{{group: '', kind: ConfigMap, verbs: [{verbs}]}}]");
    let wider = with(
        least_manifest(),
        "/permissions/0/verbs",
        serde_json::json!(["watch", "create"]),
    );
    let wider = with(wider, "/version", "0.0.2".into());
    let mut scene = Scene::new(|dir| {
        fs::write(dir.join("a.wasm"), module("0.0.1")).unwrap();
        fs::write(dir.join("a.yaml"), granted("watch")).unwrap();
    })
    .await;
    assert_eq!(scene.next().await, "a serving");
    scene.put("a.wasm", module_that_says(&wider.to_string()));
    assert_eq!(scene.next().await, "a refused at grants, old serves: true");
    assert_eq!(scene.version("a").as_deref(), Some("0.0.1"));
    scene.put("a.yaml", granted("watch, create"));
    assert_eq!(scene.next().await, "a serving");
    assert_eq!(scene.version("a").as_deref(), Some("0.0.2"));
    scene.put("a.yaml", "limits: {wallMs: rubbish}");
    assert_eq!(scene.next().await, "a refused at config, old serves: true");
    scene.put("a.yaml", granted("watch"));
    assert_eq!(scene.next().await, "a refused at grants, old serves: true");
    assert_eq!(scene.next().await, "a Revoked");
    assert_eq!(scene.next().await, "a Unloaded");
}

#[tokio::test]
async fn a_version_that_trips_is_rolled_back_and_a_person_may_promote_it() {
    let mut scene = Scene::serving_a(None).await;
    scene.put("a.wasm", module("0.0.2"));
    assert_eq!(scene.next().await, "a serving");
    let bad = scene.stage.0.lock().unwrap()[0].clone();
    let trouble = Trouble {
        plugin: "a".into(),
        hash: bad.hash,
        configuration: bad.configuration,
        what: TroubleKind::Tripped,
    };
    scene.trouble.send(trouble).await.unwrap();
    assert_eq!(scene.next().await, "a rolled back");
    assert_eq!(scene.version("a").as_deref(), Some("0.0.1"));
    scene.control.order("a", Order::Promote(bad.hash)).await.unwrap();
    assert_eq!(scene.next().await, "a serving");
    assert_eq!(scene.version("a").as_deref(), Some("0.0.2"));
    assert_eq!(
        scene.control.order("b", Order::Disable).await,
        Err(OrderError::NoPlugin)
    );
    scene.control.order("a", Order::Disable).await.unwrap();
    assert_eq!(scene.next().await, "a Unloaded");
}

#[tokio::test]
async fn a_switch_that_waits_for_ever_gives_way_to_a_newer_version_and_holds_up_no_other_plugin() {
    let mut scene = Scene::serving_a(None).await;
    scene.put("a.wasm", module("0.0.9"));
    scene.put("b.wasm", module("0.0.1"));
    assert_eq!(scene.next().await, "b serving");
    assert_eq!(scene.version("a").as_deref(), Some("0.0.1"));
    let step = |scene: &Scene| scene.control.progress("a").map(|progress| progress.step);
    assert_eq!(step(&scene), Some(Some(Step::Serve)), "it is told what it waits for");
    scene.put("a.wasm", module("0.0.2"));
    assert_eq!(scene.next().await, "a serving");
    assert_eq!(step(&scene), None);
    assert_eq!(scene.version("a").as_deref(), Some("0.0.2"));
}

#[tokio::test]
async fn a_change_of_concurrency_alone_reaches_the_stage_without_another_version() {
    let mut scene = Scene::serving_a(None).await;
    let name = {
        let serving = scene.stage.0.lock().unwrap();
        serving[0].manifest.controllers[0].name.clone()
    };
    let concurrency = || scene.stage.0.lock().unwrap()[0].concurrency(&name);
    assert_eq!(concurrency(), Concurrency::Fixed(1));
    scene.put(
        "a.yaml",
        format!("controllers: {{{name}: {{concurrency: {{auto: {{min: 2, max: 9}}}}}}}}"),
    );
    while concurrency() != (Concurrency::Auto { min: 2, max: 9 }) {
        tokio::task::yield_now().await;
    }
    // What is told next is of a change that is one: none was told of that.
    scene.put("a.wasm", module("0.0.2"));
    assert_eq!(scene.next().await, "a serving");
    assert_eq!(scene.version("a").as_deref(), Some("0.0.2"));
    assert_eq!(
        scene.stage.0.lock().unwrap()[0].concurrency(&name),
        Concurrency::Auto { min: 2, max: 9 }
    );
}

#[tokio::test]
async fn what_was_rolled_back_stays_so_in_the_next_host_and_the_version_before_it_comes_from_the_state_directory() {
    let state = tempfile::tempdir().unwrap();
    let path = state.path().join("plugins");
    let mut scene = Scene::serving_a(Some(&path)).await;
    scene.put("a.wasm", module("0.0.2"));
    assert_eq!(scene.next().await, "a serving");
    scene.control.order("a", Order::Rollback).await.unwrap();
    assert_eq!(scene.next().await, "a rolled back");
    // What was decided before an order is answered is kept.
    scene.control.order("a", Order::Enable).await.unwrap();

    for time in 0..2 {
        scene = Scene::over(scene.end(), Some(&path)).await;
        let mut told = [scene.next().await, scene.next().await];
        told.sort();
        assert_eq!(told, ["a serving", "a waits: an operator rolled it back"]);
        assert_eq!(scene.version("a").as_deref(), Some("0.0.1"), "{time}");
        let status = &scene.control.status()[0];
        assert_eq!((status.rejected.len(), status.enabled_by_person), (1, Some(true)));
    }

    // Nor does a new version that is no good keep what served from serving.
    let dir = scene.end();
    fs::write(dir.path().join("a.wasm"), &module("0.0.3")[..1000]).unwrap();
    scene = Scene::over(dir, Some(&path)).await;
    assert_eq!(scene.version("a").as_deref(), Some("0.0.1"));
    scene.put("a.wasm", module("0.0.3"));
    while scene.version("a").as_deref() != Some("0.0.3") {
        scene.next().await;
    }
    // Its file is gone for a moment: what was said against it holds, and what served does again.
    scene.control.order("a", Order::Rollback).await.unwrap();
    while scene.next().await != "a rolled back" {}
    fs::remove_file(scene.dir.path().join("a.wasm")).unwrap();
    while scene.next().await != "a Unloaded" {}
    assert_eq!(scene.version("a"), None);
    scene.put("a.wasm", module("0.0.3"));
    assert_eq!(scene.next().await, "a waits: an operator rolled it back");
    assert_eq!(scene.next().await, "a serving");
    assert_eq!(scene.version("a").as_deref(), Some("0.0.1"));
}

#[tokio::test]
async fn of_a_plugin_that_is_gone_nothing_is_seen_and_no_order_is_taken() {
    let state = tempfile::tempdir().unwrap();
    let path = state.path().join("plugins");
    let mut scene = Scene::serving_a(Some(&path)).await;
    fs::remove_file(scene.dir.path().join("a.wasm")).unwrap();
    assert_eq!(scene.next().await, "a Unloaded");
    assert_eq!(scene.control.order("a", Order::Reset).await, Err(OrderError::NoPlugin));
    assert!(scene.control.status().is_empty());
}

#[tokio::test]
async fn the_bytes_of_versions_that_waited_or_were_refused_do_not_pile_up() {
    let state = tempfile::tempdir().unwrap();
    let path = state.path().join("plugins");
    let lies_there = |name: &str| -> Vec<String> {
        let Ok(entries) = fs::read_dir(path.join(name)) else {
            return Vec::new();
        };
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    };
    let file = |bytes: &[u8]| format!("{}.wasm", Hash::of(bytes));
    let mut scene = Scene::serving_a(Some(&path)).await;

    // Each waits for ever, and gives way to the next.
    for wall in 1..5 {
        let manifest = with(least_manifest(), "/version", "0.0.9".into());
        let manifest = with(manifest, "/limits", serde_json::json!({ "wallMs": wall }));
        let waits = module_that_says(&manifest.to_string());
        scene.put("a.wasm", &waits);
        let mut expected = vec![file(&module("0.0.1")), file(&waits), "life.json".to_owned()];
        expected.sort();
        while lies_there("a") != expected {
            assert!(
                lies_there("a").len() <= expected.len() + 1,
                "the one on its way may be written: {:?}",
                lies_there("a")
            );
            tokio::task::yield_now().await;
        }
    }
    scene.put("a.wasm", module("0.0.2"));
    assert_eq!(scene.next().await, "a serving");

    // The first of its plugin, which never served: nothing is left of it.
    scene.put("b.wasm", module("0.0.8"));
    assert_eq!(scene.next().await, "b refused at serve, old serves: false");
    scene.control.order("a", Order::Enable).await.unwrap();
    assert!(!path.join("b").exists());
    let mut expected = vec![file(&module("0.0.1")), file(&module("0.0.2")), "life.json".to_owned()];
    expected.sort();
    assert_eq!(lies_there("a"), expected);
}
