//! Modules that are slow to compile, and those beside them.

use std::path::PathBuf;
use std::time::Duration;

use pilothouse_runtime::{CacheLimits, CodeCache, CompileLimits, Compiler};

use super::super::first::{HOST_WAITS, READINESS_WAITS};
use super::super::turns::PATIENCE;
use super::*;

/// A compiler that takes as long as the test wants, and then fails; and a cache, so that what stands there needs none.
struct Slow(tempfile::TempDir);

impl Slow {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn modules(&self, compiler: Compiler) -> Modules {
        let cache = CodeCache::open(&self.0.path().join("code"), CacheLimits::default()).unwrap();
        Modules::with_cache(MODULES.engine().clone(), compiler, cache)
    }

    /// A module that needs no compiler any more.
    fn at_hand(&self, version: &str) -> Vec<u8> {
        let bytes = module(version);
        self.modules(Compiler::InProcess).load(&bytes).unwrap();
        bytes
    }

    fn child(&self) -> Modules {
        let script = "echo >> \"$0/begun\"; while [ ! -e \"$0/end\" ]; do sleep 0.02; done";
        let args = ["-c", script, self.0.path().to_str().unwrap()];
        self.modules(Compiler::Child {
            program: PathBuf::from("/bin/sh"),
            args: args.map(str::to_owned).to_vec(),
            limits: CompileLimits::default(),
        })
    }

    /// How many compilers were started.
    fn begun(&self) -> usize {
        fs::read(self.0.path().join("begun")).map_or(0, |lines| lines.len())
    }

    fn end(&self) {
        fs::write(self.0.path().join("end"), "").unwrap();
    }
}

/// Else a test that fails would wait for its compilers.
impl Drop for Slow {
    fn drop(&mut self) {
        self.end();
    }
}

/// The clock stands still meanwhile: something is always about to run.
async fn until(mut done: impl FnMut() -> bool) {
    while !done() {
        tokio::task::yield_now().await;
    }
}

/// The clock goes on meanwhile.
async fn in_time(mut done: impl FnMut() -> bool) {
    while !done() {
        tokio::time::advance(Duration::from_millis(20)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_module_that_is_slow_to_compile_holds_up_neither_the_start_nor_the_loads_of_other_plugins() {
    let slow = Slow::new();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.wasm"), module("0.0.1")).unwrap();
    fs::write(dir.path().join("b.wasm"), slow.at_hand("0.0.2")).unwrap();
    let (options, mut told) = options(dir.path(), None, slow.child());
    let mut starting = JoinSet::new();
    starting.spawn(Supervisor::load(options));
    until(|| slow.begun() == 1).await;
    assert!(
        told.try_recv().is_err(),
        "one after another, as long as each may be quick"
    );
    tokio::time::advance(PATIENCE).await;
    let mut heard = None;
    until(|| {
        heard = told.try_recv().ok();
        heard.is_some()
    })
    .await;
    assert_eq!(heard.as_deref(), Some("b serving"));
    assert!(starting.try_join_next().is_none());
    tokio::time::advance(HOST_WAITS).await;
    let (supervisor, plugins) = starting.join_next().await.unwrap().unwrap().unwrap();
    let names: Vec<_> = plugins.iter().map(|plugin| &*plugin.name).collect();
    assert_eq!(names, ["b"]);

    let mut scene = Scene::running(dir, told, supervisor, plugins);
    assert_eq!(scene.control.starting(), ["a"], "the host is not ready yet");
    let status = scene.control.status();
    let states: Vec<_> = status.iter().map(|life| (&*life.name, life.state)).collect();
    assert_eq!(states, [("a", LifeState::Loading), ("b", LifeState::Serving)]);
    scene.put("b.wasm", slow.at_hand("0.0.3"));
    in_time(|| scene.version("b").as_deref() == Some("0.0.3")).await;
    assert_eq!(scene.next().await, "b serving");
    tokio::time::advance(READINESS_WAITS).await;
    in_time(|| scene.control.starting().is_empty()).await;
    assert_eq!(scene.control.status()[0].state, LifeState::Loading);

    slow.end();
    assert_eq!(scene.next().await, "a refused at compile, old serves: false");
}

#[tokio::test(start_paused = true)]
async fn what_served_when_the_last_host_ended_serves_at_the_start_though_what_follows_it_is_slow_to_compile() {
    let slow = Slow::new();
    let state = tempfile::tempdir().unwrap();
    let path = state.path().join("plugins");
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.wasm"), slow.at_hand("0.0.1")).unwrap();
    let (first, _told) = options(dir.path(), Some(&path), slow.child());
    let (_, plugins) = Supervisor::load(first).await.unwrap();
    assert_eq!(plugins.len(), 1);

    fs::write(dir.path().join("a.wasm"), module("0.0.2")).unwrap();
    let (second, told) = options(dir.path(), Some(&path), slow.child());
    let (supervisor, plugins) = Supervisor::load(second).await.unwrap();
    assert_eq!(plugins[0].manifest.version, "0.0.1");
    assert_eq!(slow.begun(), 0);
    let mut scene = Scene::running(dir, told, supervisor, plugins);
    assert_eq!(scene.next().await, "a serving");
    assert_eq!(scene.control.starting(), [""; 0], "it is ready with what serves");
    until(|| slow.begun() == 1).await;
    slow.end();
    assert_eq!(scene.next().await, "a refused at compile, old serves: true");
    assert_eq!(scene.version("a").as_deref(), Some("0.0.1"));
}
