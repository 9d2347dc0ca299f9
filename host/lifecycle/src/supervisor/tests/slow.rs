//! Modules that are slow to compile, and those beside them.

use std::path::PathBuf;
use std::time::Duration;

use pilothouse_runtime::{CacheLimits, CodeCache, CompileLimits, Compiler};

use super::super::first::{HOST_WAITS, READINESS_WAITS};
use super::super::turns::PATIENCE;
use super::*;

/// A compiler that takes as long as the test wants, or lives, and then fails; and a cache, so that what stands there
/// needs none.
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

    /// A compiler that comes to a limit of CPU time at once.
    fn spent(&self, limits: CompileLimits) -> Modules {
        let script = "ulimit -c 0; echo >> \"$0/begun\"; kill -s XCPU $$; sleep 9";
        self.shell(script, limits)
    }

    fn child(&self) -> Modules {
        let script = "echo >> \"$0/begun\"; while [ -d \"$0\" ] && [ ! -e \"$0/end\" ]; do sleep 0.02; done";
        self.shell(script, CompileLimits::default())
    }

    fn shell(&self, script: &str, limits: CompileLimits) -> Modules {
        let args = ["-c", script, self.0.path().to_str().unwrap()];
        self.modules(Compiler::Child {
            program: PathBuf::from("/bin/sh"),
            args: args.map(str::to_owned).to_vec(),
            limits,
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
    let mut supervisor = Supervisor::new(options);
    let control = supervisor.control();
    let mut starting = JoinSet::new();
    starting.spawn(async move {
        let plugins = supervisor.load().await.unwrap();
        (supervisor, plugins)
    });
    until(|| slow.begun() == 1).await;
    let shown = |name: &str| {
        let life = control.status().into_iter().find(|life| life.name == name).unwrap();
        (life.state, control.progress(name).and_then(|progress| progress.step))
    };
    assert_eq!(
        shown("a"),
        (LifeState::Loading, Some(Step::Compile)),
        "also in the start"
    );
    assert_eq!(shown("b"), (LifeState::Loading, None), "it waits its turn");
    assert_eq!(control.starting(), ["a", "b"]);
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
    let (supervisor, plugins) = starting.join_next().await.unwrap().unwrap();
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
    let (_, plugins) = loaded(first).await.unwrap();
    assert_eq!(plugins.len(), 1);

    fs::write(dir.path().join("a.wasm"), module("0.0.2")).unwrap();
    let (second, told) = options(dir.path(), Some(&path), slow.child());
    let (supervisor, plugins) = loaded(second).await.unwrap();
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

#[tokio::test(start_paused = true)]
async fn while_a_module_is_compiled_it_is_told_that_it_is_and_for_how_long_and_who_waits() {
    let slow = Slow::new();
    let dir = tempfile::tempdir().unwrap();
    for (name, version) in [("a.wasm", "0.0.1"), ("b.wasm", "0.0.2"), ("c.wasm", "0.0.3")] {
        fs::write(dir.path().join(name), module(version)).unwrap();
    }
    let (options, _told) = options(dir.path(), None, slow.child());
    let mut starting = JoinSet::new();
    starting.spawn(loaded(options));
    until(|| slow.begun() == 1).await;
    tokio::time::advance(PATIENCE).await;
    until(|| slow.begun() == 2).await;
    tokio::time::advance(HOST_WAITS - PATIENCE).await;
    let (supervisor, _) = starting.join_next().await.unwrap().unwrap().unwrap();
    let control = supervisor.control();
    let progress = ["a", "b", "c", "d"].map(|name| control.progress(name).map(|own| (own.step, own.seconds)));
    let compile = Some(Step::Compile);
    let (all, since_patience) = (HOST_WAITS.as_secs(), (HOST_WAITS - PATIENCE).as_secs());
    assert_eq!(
        progress,
        [
            Some((compile, all)),
            Some((compile, since_patience)),
            Some((None, all)),
            None
        ]
    );
}

#[tokio::test]
async fn what_came_to_a_limit_of_the_compiler_is_refused_at_once_by_the_next_host_until_something_changes() {
    let slow = Slow::new();
    let state = tempfile::tempdir().unwrap();
    let path = state.path().join("plugins");
    let bytes = module("0.0.1");
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.wasm"), &bytes).unwrap();
    let limits = CompileLimits::default();
    let mut whys = Vec::new();
    for mend in [false, true, true] {
        let (options, _told) = options(dir.path(), Some(&path), slow.spent(limits));
        let (supervisor, _) = loaded(options).await.unwrap();
        assert_eq!(slow.begun(), 1, "compiled once");
        let refusal = supervisor.control().status().remove(0).refusal.unwrap();
        assert_eq!(refusal.mend.contains("plugins promote a "), mend, "{refusal}");
        whys.push(refusal.why);
    }
    assert!(whys[0].contains("CPU time"), "{whys:?}");
    assert_eq!((&whys[0], &whys[0]), (&whys[1], &whys[2]), "the same words");

    // Another configuration is no reason either; a person's word is.
    let (again, told) = options(dir.path(), Some(&path), slow.spent(limits));
    let (supervisor, plugins) = loaded(again).await.unwrap();
    let mut scene = Scene::running(dir, told, supervisor, plugins);
    scene.put("a.yaml", "weight: 2");
    for _ in 0..2 {
        assert_eq!(scene.next().await, "a refused at compile, old serves: false");
    }
    assert_eq!(slow.begun(), 1);
    let order = scene.control.order("a", Order::Promote(Hash::of(&bytes)));
    order.await.unwrap();
    assert_eq!(scene.next().await, "a refused at compile, old serves: false");
    assert_eq!(slow.begun(), 2);

    // What loads after all, by a person's word, loads in the next host as well.
    slow.at_hand("0.0.1");
    let order = scene.control.order("a", Order::Promote(Hash::of(&bytes)));
    order.await.unwrap();
    assert_eq!(scene.next().await, "a serving");
    let dir = scene.end();
    let (options, _told) = options(dir.path(), Some(&path), slow.spent(limits));
    let (_, plugins) = loaded(options).await.unwrap();
    assert_eq!((plugins.len(), slow.begun()), (1, 2));
}

#[tokio::test]
async fn what_came_to_a_limit_of_the_compiler_is_tried_again_under_other_limits() {
    let slow = Slow::new();
    let state = tempfile::tempdir().unwrap();
    let path = state.path().join("plugins");
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.wasm"), module("0.0.1")).unwrap();
    for (seconds, begun) in [(120, 1), (120, 1), (240, 2), (240, 2)] {
        let limits = CompileLimits {
            cpu: Duration::from_secs(seconds),
            ..CompileLimits::default()
        };
        let (options, _told) = options(dir.path(), Some(&path), slow.spent(limits));
        let (supervisor, _) = loaded(options).await.unwrap();
        assert_eq!(slow.begun(), begun);
        let refusal = supervisor.control().status().remove(0).refusal.unwrap();
        assert!(refusal.why.contains(&format!("{seconds}s")), "{refusal}");
    }
}

#[tokio::test]
async fn what_came_to_the_limit_of_time_by_the_clock_is_tried_again_at_each_start() {
    let slow = Slow::new();
    let state = tempfile::tempdir().unwrap();
    let path = state.path().join("plugins");
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.wasm"), module("0.0.1")).unwrap();
    let limits = CompileLimits {
        wall: Duration::from_millis(300),
        ..CompileLimits::default()
    };
    for begun in [1, 2] {
        let modules = slow.shell("echo >> \"$0/begun\"; sleep 9", limits);
        let (options, _told) = options(dir.path(), Some(&path), modules);
        let (supervisor, _) = loaded(options).await.unwrap();
        let refusal = supervisor.control().status().remove(0).refusal.unwrap();
        assert!(refusal.why.contains("wall time"), "{refusal}");
        assert_eq!(slow.begun(), begun);
    }
}
