//! What a reconcile costs through the whole host, and what of it is the sandbox's: `cargo xtask bench`.
//!
//! `host/…` is the way from the bytes of an event to the end of the run: watch line, store, router, queue, gate, a
//! fresh instance, outcome; `busy` adds one cached read and one write (the scripted server answers at once, and its
//! event of the write is read and stored too). `bare wasmtime/…` is the same plugin called by hand. `router/…` is the
//! step from a change in the store to the keys it wakes, which `tests/bench-informer` leaves out.

#![allow(missing_docs, reason = "criterion's macros make functions without")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pilothouse_bench::{OBJECTS, bare::Bare, cpu_seconds, host::Running, object};
use pilothouse_controller::{Primaries, Route};
use pilothouse_informer::Delta;
use pilothouse_lifecycle::Manifest;
use pilothouse_object::{Keep, Key, Object};

fn bare(c: &mut Criterion) {
    let component = pilothouse_guests::component("bench-plugin");
    let wasm = std::fs::read(&component).unwrap();
    let bare = Bare::new(&wasm, object("bench.io/v1", "Empty", 1, 1)).unwrap();
    let mut group = c.benchmark_group("bare wasmtime");
    group.throughput(Throughput::Elements(1));
    for controller in ["empty", "busy"] {
        group.bench_function(format!("{controller}, fresh instance"), |b| {
            b.iter(|| {
                let (mut store, plugin) = bare.instance().unwrap();
                bare.reconcile(&mut store, &plugin, black_box(controller)).unwrap();
            });
        });
        group.bench_function(format!("{controller}, live instance"), |b| {
            let (mut store, plugin) = bare.instance().unwrap();
            b.iter(|| bare.reconcile(&mut store, &plugin, black_box(controller)).unwrap());
        });
    }
    group.finish();
}

/// Nothing that the routes measured here ask for.
struct Nobody;

impl Primaries for Nobody {
    fn all(&self) -> Vec<Key> {
        Vec::new()
    }
    fn by_index(&self, _: &str, _: &str, _: Option<&str>) -> Vec<Key> {
        Vec::new()
    }
}

fn router(c: &mut Criterion) {
    let manifest = serde_json::json!({
        "name": "p", "version": "0.1.0",
        "permissions": [{"group": "bench.io", "kind": "Empty", "verbs": ["watch"]},
                        {"group": "", "kind": "ConfigMap", "verbs": ["watch"]}],
        "controllers": [{"name": "c", "kind": {"group": "bench.io", "version": "v1", "kind": "Empty"},
            "watches": [{"kind": {"group": "", "version": "v1", "kind": "ConfigMap"}, "map": {"owner": "controller"}}]}],
    });
    let manifest = Manifest::parse(&manifest.to_string()).unwrap();
    let controller = &manifest.controllers[0];
    let routes = [
        ("primary", "bench.io/v1", "Empty", Route::primary(controller)),
        (
            "owner",
            "v1",
            "ConfigMap",
            Route::watched(controller, &controller.watches[0]),
        ),
    ];
    let mut group = c.benchmark_group("router");
    group.throughput(Throughput::Elements(1));
    for (name, api_version, kind, route) in &routes {
        let state = |version| {
            let json = object(api_version, kind, 1, version);
            Object::parse(json.as_bytes(), None, Keep::Cut).unwrap()
        };
        let (old, new) = (state(1), state(2));
        let delta = Delta {
            key: new.key().clone(),
            version: new.head().version.clone(),
            old: Some(old),
            new: Some(new),
            last: None,
            initial: false,
            final_state_unknown: false,
        };
        group.bench_function(*name, |b| b.iter(|| route.keys(black_box(&delta), &Nobody)));
    }
    group.finish();
}

fn host(c: &mut Criterion) {
    let running = Running::start();
    let mut group = c.benchmark_group("host");
    group
        .throughput(Throughput::Elements(1))
        .sample_size(10)
        .measurement_time(Duration::from_secs(5));
    for controller in ["empty", "busy"] {
        group.bench_function(controller, |b| {
            b.iter_custom(|iterations| {
                // Whole rounds of every object once; the time is that of as many runs as were asked for.
                let rounds = iterations.div_ceil(OBJECTS as u64);
                let took: Duration = (0..rounds).map(|_| running.round(controller)).sum();
                took.mul_f64(iterations as f64 / (rounds * OBJECTS as u64) as f64)
            });
        });
    }
    group.finish();
    println!("\n| through the whole host | reconciles a second | CPU a reconcile | reconciles a second and core |");
    println!("|---|---|---|---|");
    for controller in ["empty", "busy"] {
        let rounds = 30;
        let before = cpu_seconds();
        let wall: Duration = (0..rounds).map(|_| running.round(controller)).sum();
        let cpu = cpu_seconds() - before;
        let runs = f64::from(rounds) * OBJECTS as f64;
        println!(
            "| {controller} | {:.0} | {:.1} µs | {:.0} |",
            runs / wall.as_secs_f64(),
            cpu / runs * 1e6,
            runs / cpu
        );
    }
}

criterion_group!(benches, router, bare, host);
criterion_main!(benches);
