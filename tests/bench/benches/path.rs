//! What a call that does nothing costs through the host's own path, fresh and warm, beside the runtime alone and bare
//! wasmtime in the same process: `cargo bench -p pilothouse-bench --bench path`.
//!
//! *The host's own path* is what each key has from its place in the queue to the next key's: the dispatcher's choice
//! (turn, permit, breaker), a task, the object out of the cache, the request, the call with its capabilities, limits,
//! deadline and budgets, its outcome, what hot loops and breaker make of it, the verdict, metrics, and the observer. A
//! host runs against the scripted server on one thread; its keys come from events while the plugin is quarantined, so
//! that reading events is in none of the figures, and then run one after the other: concurrency 1, the time from the
//! end of a run to that of the next.
//!
//! *The runtime alone* is `Module::reconcile` with everything that bounds it, and a request made for it as the host
//! does. Bare wasmtime has none of the bounds, calls without a fiber, and makes the same request. The object has 4 KB.
//! The rounds of all six take turns, so that a noisy machine is noisy for all.

use std::{sync::Arc, time::Duration};

use pilothouse_bench::{
    OBJECTS,
    alone::{Nobody, request},
    bare::Bare,
    host::Running,
    now, object, percentile,
};
use pilothouse_controller::{Cause, ControllerId, Dispatcher, Verdict, What};
use pilothouse_gate::breaker;
use pilothouse_object::Key;
use pilothouse_runtime::{Backend, Engine, EngineConfig, Limits, Module, Warm};
use pilothouse_workqueue::QueueConfig;
use tokio::runtime::Runtime;

const ROUNDS: usize = 40;
/// Calls that an instance lives for.
const CALLS: u32 = 1_000;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().collect();
    // For a profiler: nothing but the host's path, fresh or warm.
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "turns", ..] => {
            turns();
            Ok(())
        }
        [_, "host", how @ ("fresh" | "warm"), ..] => {
            let settings = (how == "warm").then(warm);
            let host = Running::on(one_thread()?, settings.as_deref());
            let taken: Vec<Duration> = (0..ROUNDS * 10).flat_map(|_| host.drain()).collect();
            println!("{:.2} µs", median(taken).0);
            Ok(())
        }
        _ => {
            all()?;
            turns();
            Ok(())
        }
    }
}

fn all() -> Outcome<()> {
    let wasm = std::fs::read(pilothouse_guests::component("bench-plugin"))?;
    let bare = Bare::new(&wasm, object("bench.io/v1", "Empty", 1, 1))?;
    let (mut store, live) = bare.instance()?;
    let engine = Engine::new(EngineConfig::default())?;
    let fresh = engine.compile(&wasm)?;
    let kept = fresh.warm(Warm {
        instances: 1,
        calls: CALLS,
        growth: 16 << 20,
    });
    let runtime = one_thread()?;
    let hosts = (
        Running::on(one_thread()?, None),
        Running::on(one_thread()?, Some(&warm())),
    );
    let mut taken: [Vec<Duration>; 6] = Default::default();
    for round in 0..ROUNDS {
        let of_round = [
            of_bare(&mut || {
                let (mut store, plugin) = bare.instance()?;
                bare.reconcile(&mut store, &plugin, "empty")
            })?,
            of_runtime(&runtime, &fresh)?,
            hosts.0.drain(),
            of_bare(&mut || bare.reconcile(&mut store, &live, "empty"))?,
            of_runtime(&runtime, &kept)?,
            hosts.1.drain(),
        ];
        // The first rounds touch memory for the first time.
        if round >= ROUNDS / 10 {
            taken.iter_mut().zip(of_round).for_each(|(all, more)| all.extend(more));
        }
    }
    let scan = if engine.pagemap_scan() { "has" } else { "has not" };
    println!("\nThis kernel {scan} PAGEMAP_SCAN. {} calls each.\n", taken[0].len());
    println!("| a call that does nothing, with an object of 4 KB | median, µs | mean, µs | p99, µs |");
    println!("|---|---|---|---|");
    let names = [
        "bare wasmtime, fresh instance",
        "runtime alone, fresh instance",
        "the host's own path, fresh instance",
        "bare wasmtime, live instance",
        "runtime alone, warm instance",
        "the host's own path, warm instance",
    ];
    for (name, taken) in names.into_iter().zip(taken) {
        let (median, mean, p99) = median(taken);
        println!("| {name} | {median:.2} | {mean:.2} | {p99:.2} |");
    }
    Ok(())
}

/// What a key costs in the dispatcher: added, chosen, done, while time goes on; one plugin has work, all others none.
fn turns() {
    println!("\n| plugins in the host, one of them with work | a key through the dispatcher, µs |");
    println!("|---|---|");
    for plugins in [1, 10, 100, 1_000] {
        let mut dispatcher = Dispatcher::new(64);
        let ids: Vec<_> = (0..plugins)
            .map(|number| ControllerId::new(&format!("plugin-{number}"), "controller"))
            .collect();
        for id in &ids {
            dispatcher.register(id.clone(), 1, QueueConfig::default());
            dispatcher.start(id);
        }
        let (mut rng, mut time) = (fastrand::Rng::with_seed(1), Duration::from_secs(1));
        let keys: Vec<_> = (0..OBJECTS)
            .map(|number| Key::new(Some("default"), &format!("o{number}")))
            .collect();
        let mut taken = Vec::new();
        for round in 0..ROUNDS {
            let start = now();
            for key in &keys {
                time += Duration::from_micros(10);
                let cause = Cause::new(What::Resync, None);
                dispatcher.add(time, &ids[plugins / 2], key.clone(), 0, cause, true);
                let job = dispatcher.next(time).expect("there is one");
                dispatcher.judged(time, &mut rng, &job, breaker::Outcome::Success);
                dispatcher.finished(time, &mut rng, &job, &Verdict::Done);
                assert!(dispatcher.next(time).is_none());
                std::hint::black_box(dispatcher.next_due());
            }
            if round >= ROUNDS / 10 {
                taken.push(start.elapsed() / OBJECTS as u32);
            }
        }
        println!("| {plugins} | {:.2} |", median(taken).0);
    }
}

fn one_thread() -> Outcome<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// The operator's word for an instance that is kept.
fn warm() -> String {
    format!("instances: {{warm: 1, calls: {CALLS}, growthMiB: 16}}\n")
}

fn of_runtime(runtime: &Runtime, module: &Module) -> Outcome<Vec<Duration>> {
    let json = object("bench.io/v1", "Empty", 1, 1);
    let backend: Arc<dyn Backend> = Arc::new(Nobody);
    let limits = Limits::default();
    runtime.block_on(async {
        let mut taken = Vec::with_capacity(OBJECTS);
        for _ in 0..OBJECTS {
            let start = now();
            let done = module.reconcile(request(&json), Arc::clone(&backend), &limits).await;
            taken.push(start.elapsed());
            done.result?.map_err(|failure| failure.message)?;
        }
        Ok(taken)
    })
}

fn of_bare(call: &mut dyn FnMut() -> wasmtime::Result<()>) -> Outcome<Vec<Duration>> {
    let mut taken = Vec::with_capacity(OBJECTS);
    for _ in 0..OBJECTS {
        let start = now();
        call()?;
        taken.push(start.elapsed());
    }
    Ok(taken)
}

/// Median, mean and 99th percentile in µs.
fn median(mut taken: Vec<Duration>) -> (f64, f64, f64) {
    taken.sort_unstable();
    let at = |share: f64| percentile(&taken, share).as_secs_f64() * 1e6;
    let all: Duration = taken.iter().sum();
    (at(0.5), all.as_secs_f64() * 1e6 / taken.len().max(1) as f64, at(0.99))
}
