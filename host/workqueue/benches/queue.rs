//! What a key costs in the work queue, in time and in memory: `cargo bench -p pilothouse-workqueue`.
//!
//! Keys are those of a controller: a namespace and a name, each shared text, the names of the length that pods of a
//! deployment have. Hashing and comparing them is part of what is measured. All times are CPU time of the thread: the
//! queue never waits, and what else the machine does is not its cost. The figures at the end are of one run each and
//! count every allocation; the counting itself is in the times.

#![allow(missing_docs, reason = "criterion's macros make functions without")]

use std::alloc::System;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pilothouse_workqueue::{Queue, QueueConfig};
use rustix::time::{ClockId, clock_gettime};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const READY: usize = 100_000;
const DELAYED: usize = 1_000_000;

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    namespace: Option<Arc<str>>,
    name: Arc<str>,
}

type Q = Queue<Key, Arc<str>>;

fn keys(count: usize) -> Vec<Key> {
    let namespaces: Vec<Arc<str>> = (0..50).map(|number| format!("namespace-{number}").into()).collect();
    (0..count)
        .map(|number| Key {
            namespace: Some(namespaces[number % namespaces.len()].clone()),
            name: format!("web-{:010x}-{number:05x}", number * 7919).into(),
        })
        .collect()
}

fn queue() -> Q {
    Queue::new(QueueConfig::default())
}

/// CPU time of this thread.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn timed(iterations: u64, mut step: impl FnMut()) -> Duration {
    let start = cpu();
    for _ in 0..iterations {
        step();
    }
    cpu() - start
}

/// All keys are added, then all are run; from an empty queue that has never held a key.
fn round(keys: &[Key], cause: &Arc<str>) -> Duration {
    let mut queue = queue();
    timed(1, || {
        for key in keys {
            queue.add(Duration::ZERO, key.clone(), 0, cause.clone());
        }
        while let Some(taken) = queue.get(Duration::ZERO) {
            queue.done(Duration::ZERO, &taken.key);
        }
    })
}

fn ready(c: &mut Criterion) {
    let (keys, cause): (_, Arc<str>) = (keys(READY), "changed".into());
    let mut group = c.benchmark_group("add + get + done, 100,000 keys");
    group.sample_size(20).throughput(Throughput::Elements(READY as u64));
    group.bench_function("all added, then all run", |b| {
        b.iter_custom(|rounds| (0..rounds).map(|_| round(&keys, &cause)).sum());
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("one added and one run, the rest waits", |b| {
        let mut queue = queue();
        for key in &keys {
            queue.add(Duration::ZERO, key.clone(), 0, cause.clone());
        }
        b.iter_custom(|times| {
            timed(times, || {
                let taken = queue.get(Duration::ZERO).expect("one waits");
                queue.done(Duration::ZERO, &taken.key);
                queue.add(Duration::ZERO, taken.key, 0, cause.clone());
            })
        });
    });
    group.finish();
}

/// Delays as they come in a house with many keys: spread over five minutes.
fn delay(rng: &mut fastrand::Rng) -> Duration {
    Duration::from_nanos(rng.u64(1_000_000..300_000_000_000))
}

fn delayed(c: &mut Criterion) {
    let (keys, cause): (_, Arc<str>) = (keys(DELAYED), "again".into());
    let mut rng = fastrand::Rng::with_seed(1);
    let mut queue = queue();
    for key in &keys {
        queue.add_after(Duration::ZERO, key.clone(), delay(&mut rng), 0, cause.clone());
    }
    let mut group = c.benchmark_group("1,000,000 delayed keys");
    group.sample_size(20).throughput(Throughput::Elements(1));
    group.bench_function("next_due", |b| {
        b.iter_custom(|times| {
            timed(times, || {
                black_box(black_box(&queue).next_due());
            })
        });
    });
    group.bench_function("any one cancelled and delayed again", |b| {
        b.iter_custom(|times| {
            timed(times, || {
                let key = &keys[rng.usize(0..keys.len())];
                queue.remove(key);
                queue.add_after(Duration::ZERO, key.clone(), delay(&mut rng), 0, cause.clone());
            })
        });
    });
    group.bench_function("the first falls due, is run and delayed again", |b| {
        b.iter_custom(|times| {
            timed(times, || {
                let due = queue.next_due().expect("all are delayed");
                let taken = queue.get(due).expect("one is due");
                queue.done(due, &taken.key);
                queue.add_after(due, taken.key, delay(&mut rng), 0, cause.clone());
            })
        });
    });
    group.finish();
}

fn per(time: Duration, count: usize) -> String {
    format!("{:.0} ns a key", time.as_secs_f64() * 1e9 / count as f64)
}

/// Plain figures, a table.
fn figures(_: &mut Criterion) {
    if !std::env::args().any(|arg| arg == "--bench") {
        return; // Run as a test: no figures.
    }
    let cause: Arc<str> = "again".into();
    println!("\n| queue, keys of namespace and name | CPU, memory |\n|---|---|");
    let ready = keys(READY);
    println!(
        "| add + get + done, 100,000 keys | {} |",
        per((0..5).map(|_| round(&ready, &cause)).min().unwrap_or_default(), READY)
    );

    let keys = keys(DELAYED);
    let mut rng = fastrand::Rng::with_seed(1);
    let delays: Vec<Duration> = keys.iter().map(|_| delay(&mut rng)).collect();
    let mut order: Vec<usize> = (0..DELAYED).collect();
    rng.shuffle(&mut order);
    let half = &order[..DELAYED / 2];
    for (named, spread) in [("spread over 300 s", true), ("all of one time", false)] {
        let delay = |at: usize| if spread { delays[at] } else { Duration::from_secs(10) };
        let mut queue = queue();
        let memory = Region::new(ALLOCATOR);
        let took = timed(1, || {
            for (at, key) in keys.iter().enumerate() {
                queue.add_after(Duration::ZERO, key.clone(), delay(at), 0, cause.clone());
            }
        });
        let change = memory.change();
        let bytes = change.bytes_allocated as isize - change.bytes_deallocated as isize;
        println!("| 1,000,000 delayed keys, {named} | |");
        println!(
            "| – memory beside the keys' texts | {:.0} bytes a key |",
            bytes as f64 / DELAYED as f64
        );
        println!(
            "| – allocations for all of them | {} |",
            change.allocations + change.reallocations
        );
        println!("| – delayed | {} |", per(took, DELAYED));
        let took = timed(1, || {
            for at in half {
                queue.remove(&keys[*at]);
            }
        });
        println!("| – half of them cancelled, in any order | {} |", per(took, half.len()));
        let mut slowest = Duration::ZERO;
        for at in half {
            let took = timed(1, || {
                queue.add_after(Duration::ZERO, keys[*at].clone(), delay(*at), 0, cause.clone())
            });
            slowest = slowest.max(took);
        }
        println!("| – delayed again, the slowest | {slowest:.1?} |");
        let took = timed(1, || {
            while let Some(due) = queue.next_due() {
                queue.advance(due);
            }
        });
        println!("| – fall due, one time after the other | {} |", per(took, DELAYED));
        while let Some(taken) = queue.get(Duration::from_secs(300)) {
            queue.done(Duration::from_secs(300), &taken.key);
        }
    }
}

criterion_group!(benches, ready, delayed, figures);
criterion_main!(benches);
