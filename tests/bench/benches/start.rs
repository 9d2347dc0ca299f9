//! What an idle plugin costs in memory, and how long a host takes to start with the code at hand:
//! `cargo bench -p pilothouse-bench --bench start`. What a call costs is in `path`.
//!
//! The plugins are the same module with another custom section each: another hash, and so another entry of the code
//! cache. A process of its own, which has compiled nothing before, loads them and runs a host with them against the
//! scripted API server, which has none of their objects: two controllers and three watched kinds each, all of which
//! they share. What is told of the start goes from the process's first line to the moment at which the host is ready.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use pilothouse_bench::{host::options, now, server::Server};
use pilothouse_controller::{Happening, Host, Observer};
use pilothouse_guests::bytes::{length, section};
use pilothouse_lifecycle::{Config, load_all};
use pilothouse_runtime::{CacheLimits, CodeCache, Compiler, Engine, EngineConfig, Modules};

/// Plugins of the host that is idle.
const IDLE: usize = 1_000;
/// Plugins of the host that starts.
const START: usize = 100;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "compile", directory, ..] => compile(Path::new(directory)),
        [_, "host", directory, count, ..] => host(Path::new(directory), count.parse()?),
        _ => plugins(),
    }
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
            .arg("host")
            .args([directory.path().join(name).as_os_str(), count.to_string().as_ref()])
            .status()?;
        ended.success().then_some(()).ok_or("a process of the bench failed")?;
    }
    Ok(())
}

/// The same module to everybody but to who hashes it: with a custom section at its end.
fn distinct(wasm: &[u8], n: usize) -> Vec<u8> {
    let name = b"bench";
    let content = [&length(name.len())[..], name, &n.to_le_bytes()].concat();
    [wasm, &section(0, &content)].concat()
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

/// A host's start, until it is ready, and what its plugins take when it has nothing to do.
fn host(files: &Path, count: usize) -> Outcome<()> {
    let start = now();
    let state = files.parent().ok_or("no directory of the bench's")?;
    let config = Config::default().granting_what_is_asked(true);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let modules = modules(state)?;
    let options = options(Arc::new(Nobody));
    let before = memory()?;
    let loaded = runtime.block_on(load_all(&modules, files, &config))?;
    let plugins = loaded.plugins.into_iter().map(|plugin| plugin.map(Arc::new));
    let plugins = plugins.collect::<Result<Vec<_>, _>>()?;
    assert_eq!(plugins.len(), count);
    let (loaded, after_loading) = (start.elapsed(), memory()?);
    let ready = runtime.block_on(async {
        let host = Host::start(kube::Client::new(Server::empty(), "default"), plugins, options);
        while !host.waiting_for().is_empty() {
            pause(Duration::from_millis(1)).await;
        }
        let ready = start.elapsed();
        // What the start alone needed is given back by then.
        pause(Duration::from_secs(2)).await;
        assert!(host.is_idle() && host.waiting_for().is_empty());
        Outcome::Ok((ready, memory()?))
    });
    let (ready, idle) = ready?;
    let each = |after: &Memory, of: fn(&Memory) -> u64| of(after).saturating_sub(of(&before)) as f64 / count as f64;
    println!(
        "{count} plugins with their code at hand: loaded after {loaded:.2?}, the host ready after {ready:.2?}. Each takes \
         {:.0} KiB of private memory in the idle host, {:.0} of them by being loaded, and {:.0} KiB of pages of the code's \
         file that the kernel can drop.",
        each(&idle, |memory| memory.dirty),
        each(&after_loading, |memory| memory.dirty),
        each(&idle, |memory| memory.clean)
    );
    Ok(())
}

/// Hears of nothing: nothing runs.
struct Nobody;

impl Observer for Nobody {
    fn happened(&self, happening: &Happening) {
        assert!(
            !matches!(happening, Happening::Reconciled(_)),
            "a host that runs something is not idle"
        );
    }
}

#[allow(clippy::disallowed_methods, reason = "a bench waits")]
async fn pause(length: Duration) {
    tokio::time::sleep(length).await;
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
