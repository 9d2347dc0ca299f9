//! What a call costs in the runtime alone, fresh and warm, beside bare wasmtime in the same process; what a loaded plugin
//! costs in memory; and how long loading takes with the code at hand: `cargo bench -p pilothouse-bench --bench runtime`.
//!
//! A call here is `Module::reconcile` with everything that bounds it (slot, wall and CPU time, memory, budgets), and a request
//! with an object of 4 KB that is made for it, as the host does; bare wasmtime has none of the bounds, calls without a
//! fiber, and makes the same request. The rounds of all four take turns, so that a noisy machine is noisy for all.
//!
//! Plugins for the other two are the same module with another custom section each: another hash, and so another entry of the
//! code cache. They are loaded by a process of their own, which has compiled nothing before.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pilothouse_bench::{bare::Bare, object};
use pilothouse_lifecycle::{Config, load_all};
use pilothouse_runtime::{
    Backend, CacheLimits, Change, CodeCache, Compiler, Engine, EngineConfig, Freshness, Gvk, Level, Limits, Module,
    Modules, ObjectRef, Options, Page, Propagation, Query, Reply, Request, Severity, Timestamp, Warm,
};

const ROUNDS: usize = 40;
const CALLS: usize = 500;
/// Plugins that are loaded and idle.
const IDLE: usize = 1_000;
/// Plugins of the host that starts.
const START: usize = 100;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "compile", directory, ..] => compile(Path::new(directory)),
        [_, "load", directory, count, ..] => load(Path::new(directory), count.parse()?),
        [_, "calls", ..] => calls(),
        _ => {
            calls()?;
            plugins()
        }
    }
}

fn calls() -> Outcome<()> {
    let wasm = std::fs::read(pilothouse_guests::component("bench-plugin"))?;
    let bare = Bare::new(&wasm, object("bench.io/v1", "Empty", 1, 1))?;
    let engine = Engine::new(EngineConfig::default())?;
    let fresh = engine.compile(&wasm)?;
    let warm = fresh.warm(Warm {
        instances: 1,
        calls: 1_000,
        growth: 16 << 20,
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let json = object("bench.io/v1", "Empty", 1, 1);
    let backend: Arc<dyn Backend> = Arc::new(Nobody);
    let limits = Limits::default();
    let (mut store, live) = bare.instance()?;
    let mut taken: [Vec<Duration>; 4] = Default::default();
    for round in 0..ROUNDS {
        let of_ours = |module: &Module| {
            runtime.block_on(async {
                let mut taken = Vec::with_capacity(CALLS);
                for _ in 0..CALLS {
                    let start = now();
                    let done = module.reconcile(request(&json), Arc::clone(&backend), &limits).await;
                    taken.push(start.elapsed());
                    done.result?.map_err(|failure| failure.message)?;
                }
                Outcome::Ok(taken)
            })
        };
        let of_bare = |call: &mut dyn FnMut() -> wasmtime::Result<()>| {
            let mut taken = Vec::with_capacity(CALLS);
            for _ in 0..CALLS {
                let start = now();
                call()?;
                taken.push(start.elapsed());
            }
            Outcome::Ok(taken)
        };
        let of_round = [
            of_bare(&mut || {
                let (mut store, plugin) = bare.instance()?;
                bare.reconcile(&mut store, &plugin, "empty")
            })?,
            of_ours(&fresh)?,
            of_bare(&mut || bare.reconcile(&mut store, &live, "empty"))?,
            of_ours(&warm)?,
        ];
        // The first rounds touch memory for the first time.
        if round >= ROUNDS / 10 {
            taken.iter_mut().zip(of_round).for_each(|(all, more)| all.extend(more));
        }
    }
    let scan = if engine.pagemap_scan() { "has" } else { "has not" };
    println!("\nThis kernel {scan} PAGEMAP_SCAN. {} calls each.\n", taken[0].len());
    println!("| a call that does nothing, with an object of 4 KB | median, µs | p99, µs |");
    println!("|---|---|---|");
    let names = [
        "bare wasmtime, fresh instance",
        "runtime, fresh instance",
        "bare wasmtime, live instance",
        "runtime, warm instance",
    ];
    for (name, mut taken) in names.into_iter().zip(taken) {
        taken.sort_unstable();
        let at = |part: f64| {
            let at = (taken.len() as f64 * part) as usize;
            taken.get(at).map_or(0.0, |took| took.as_secs_f64() * 1e6)
        };
        println!("| {name} | {:.2} | {:.2} |", at(0.5), at(0.99));
    }
    Ok(())
}

fn plugins() -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    let wasm = std::fs::read(pilothouse_guests::component("bench-plugin"))?;
    for (name, count) in [("idle", IDLE), ("start", START)] {
        let modules = directory.path().join(name);
        std::fs::create_dir(&modules)?;
        for n in 0..count {
            std::fs::write(modules.join(format!("{name}-{n}.wasm")), distinct(&wasm, n))?;
        }
    }
    let own = std::env::current_exe()?;
    let run = |args: &[&str]| {
        let ended = Command::new(&own).args(args).arg(directory.path()).status()?;
        ended.success().then_some(()).ok_or("a process of the bench failed")?;
        Outcome::Ok(())
    };
    run(&["compile"])?;
    for (name, count) in [("start", START), ("idle", IDLE)] {
        let ended = Command::new(&own)
            .arg("load")
            .args([directory.path().join(name).as_os_str(), count.to_string().as_ref()])
            .status()?;
        ended.success().then_some(()).ok_or("a process of the bench failed")?;
    }
    Ok(())
}

/// The same module to everybody but to who hashes it: with a custom section at its end.
fn distinct(wasm: &[u8], n: usize) -> Vec<u8> {
    let name = b"bench";
    let section = [&[name.len() as u8][..], name, &n.to_le_bytes()].concat();
    [wasm, &[0, section.len() as u8], &section].concat()
}

/// Fills the cache.
fn compile(directory: &Path) -> Outcome<()> {
    let modules = modules(directory)?;
    let start = now();
    let mut count = 0_u32;
    // The others are the first of these.
    for file in std::fs::read_dir(directory.join("idle"))? {
        modules.load(&std::fs::read(file?.path())?)?;
        count += 1;
    }
    let each = start.elapsed() / count.max(1);
    println!("\ncompiled and kept: {count} modules, {each:.2?} each");
    Ok(())
}

/// A host's start, as far as its plugins go.
fn load(files: &Path, count: usize) -> Outcome<()> {
    let state = files.parent().ok_or("no directory of the bench's")?;
    let config = Config::default().granting_what_is_asked(true);
    let start = now();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let modules = modules(state)?;
    let before = memory()?;
    let loaded = runtime.block_on(load_all(&modules, files, &config))?;
    let took = start.elapsed();
    let plugins = loaded.plugins.into_iter().collect::<Result<Vec<_>, _>>()?;
    assert_eq!(plugins.len(), count);
    let after = memory()?;
    let each = |of: fn(&Memory) -> u64| (of(&after).saturating_sub(of(&before))) as f64 / count as f64;
    println!(
        "{count} plugins with their code at hand: loaded in {took:.2?}; each takes {:.0} KiB of private memory of its own, and \
         {:.0} KiB of pages of the code's file that the kernel can drop",
        each(|memory| memory.dirty),
        each(|memory| memory.clean)
    );
    Ok(())
}

fn modules(state: &Path) -> Outcome<Modules> {
    let engine = Engine::new(EngineConfig::default())?;
    let cache = CodeCache::open(&state.join("code"), CacheLimits::default())?;
    Ok(Modules::with_cache(engine, Compiler::InProcess, cache))
}

/// Private memory of this process, in KiB.
struct Memory {
    dirty: u64,
    clean: u64,
}

fn memory() -> Outcome<Memory> {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup")?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches(" kB").parse().ok()
    };
    let missing = "the kernel does not tell what memory is private";
    Ok(Memory {
        dirty: field("Private_Dirty:").ok_or(missing)?,
        clean: field("Private_Clean:").ok_or(missing)?,
    })
}

#[allow(clippy::disallowed_methods, reason = "a bench measures time")]
fn now() -> Instant {
    Instant::now()
}

fn request(json: &str) -> Request {
    Request {
        controller: "empty".to_owned(),
        key: ObjectRef {
            kind: Gvk {
                group: "bench.io".into(),
                version: "v1".into(),
                kind: "Empty".into(),
            },
            namespace: Some("default".into()),
            name: "o1".into(),
        },
        object: Some(json.to_owned()),
    }
}

/// Is asked for nothing by the plugin that does nothing.
struct Nobody;

fn unasked<T: Send + 'static>() -> Reply<'static, T> {
    Box::pin(std::future::pending())
}

impl Backend for Nobody {
    fn get(&self, _: ObjectRef, _: Freshness) -> Reply<'_, Option<String>> {
        unasked()
    }
    fn select(&self, _: Query, _: Freshness) -> Reply<'_, Page> {
        unasked()
    }
    fn digest(&self, _: ObjectRef) -> Reply<'_, Option<String>> {
        unasked()
    }
    fn create(&self, _: ObjectRef, _: String, _: Options) -> Reply<'_, String> {
        unasked()
    }
    fn patch(&self, _: ObjectRef, _: Change, _: Options) -> Reply<'_, String> {
        unasked()
    }
    fn replace(&self, _: ObjectRef, _: String, _: Options) -> Reply<'_, String> {
        unasked()
    }
    fn remove(&self, _: ObjectRef, _: Propagation, _: Options) -> Reply<'_, Option<String>> {
        unasked()
    }
    fn emit_event(&self, _: ObjectRef, _: Severity, _: String, _: String, _: String) {}
    fn log(&self, _: Level, _: String, _: Vec<(String, String)>) {}
    fn config(&self) -> String {
        "{}".to_owned()
    }
    fn now(&self) -> Timestamp {
        Timestamp {
            seconds: 0,
            nanoseconds: 0,
        }
    }
    fn random(&self, count: u32) -> Vec<u8> {
        vec![0; count as usize]
    }
    fn attempt(&self) -> u32 {
        1
    }
    fn trace_parent(&self) -> Option<String> {
        None
    }
}
