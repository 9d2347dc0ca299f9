//! How fast lists and events are read: ours beside kube-rs's reflector and Controller.
//!
//! Every client runs in a process of its own, on one thread; costs are that thread's CPU time, medians of several
//! rounds. `--check` ends with an error where a figure misses its target.

#![allow(missing_docs, clippy::disallowed_methods, reason = "a bench measures time")]

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use bytes::Bytes;
use k8s_openapi::api::core::v1::Pod;
use kube::{api::DynamicObject, core::ObjectList};
use pilothouse_bench_informer::{
    pod_server::{PodServer, list, pieces},
    pods::{PODS, gvk},
    report::{self, thread_cpu},
};
use pilothouse_informer::read::{Format, ListReader};
use pilothouse_object::Keep;

#[allow(dead_code, unreachable_pub, reason = "two benches share it, each uses its part")]
#[path = "informer/clients.rs"]
mod clients;
use clients::{Heard, start, until};

const READERS: [&str; 4] = ["pilothouse", "DynamicObject", "Pod", "check only"];
const EVENTS: [&str; 5] = [
    "pilothouse",
    "kube-rs reflector, DynamicObject",
    "kube-rs reflector, Pod",
    "kube-rs Controller, DynamicObject",
    "kube-rs Controller, Pod",
];
/// Events of the latency's measurement, and how many of them a second.
const TIMED: usize = 30_000;
const RATE: u64 = 10_000;

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// CPU time a pod, for a page of a list.
fn read(name: &str) {
    const PAGE: usize = 500;
    let page: Vec<Bytes> = pieces(list(0..PAGE, vec![30_000; PAGE], 30_000)).collect();
    let whole = page.concat();
    let rounds = (0..41).map(|_| {
        let start = thread_cpu();
        let items = match name {
            "pilothouse" => {
                let mut reader = ListReader::new(Format {
                    gvk: gvk(),
                    keep: Keep::Cut,
                });
                let pages: Vec<_> = page.iter().map(|piece| reader.push(piece).unwrap()).collect();
                let items = pages.iter().map(|page| page.items.len()).sum();
                let took = thread_cpu() - start;
                reader.finish().unwrap();
                drop(pages);
                return (took, items);
            }
            "DynamicObject" => {
                let list: ObjectList<DynamicObject> = serde_json::from_slice(&whole).unwrap();
                let took = thread_cpu() - start;
                return (took, list.items.len());
            }
            "Pod" => {
                let list: ObjectList<Pod> = serde_json::from_slice(&whole).unwrap();
                let took = thread_cpu() - start;
                return (took, list.items.len());
            }
            // What serde_json needs to find the end of the list, with nothing made of it.
            _ => {
                let _: &serde_json::value::RawValue = serde_json::from_slice(&whole).unwrap();
                PAGE
            }
        };
        (thread_cpu() - start, items)
    });
    let rounds: Vec<f64> = rounds
        .map(|(took, items)| {
            assert_eq!(items, PAGE);
            took.as_secs_f64() / PAGE as f64
        })
        .collect();
    report::say("micros", median(rounds) * 1e6);
}

/// CPU time an event, for as many as can be had.
fn events(name: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (server, heard) = (PodServer::default(), Heard::new(0));
        let _running = start(name, &server, &heard).await;
        let mut rounds = Vec::new();
        for round in 0..9 {
            let batch: Vec<Bytes> = {
                // In another order than the store's.
                let (lines, _) = server.change((0..PODS).map(|i| i * 7_919 % PODS));
                pieces(lines.into_iter()).collect()
            };
            let (sender, target) = (server.sender(), heard.count() + PODS as u64);
            let start = thread_cpu();
            for piece in batch {
                sender.send(piece).unwrap();
            }
            until(|| heard.count() >= target).await;
            if round > 0 {
                rounds.push((thread_cpu() - start).as_secs_f64() / PODS as f64);
            }
        }
        report::say("micros", median(rounds) * 1e6);
    });
}

/// From the bytes' sending to the key, at a steady rate.
fn latency(name: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (server, heard) = (PodServer::default(), Heard::new(TIMED));
        let _running = start(name, &server, &heard).await;
        let (lines, first) = server.change((0..TIMED).map(|i| i * 7_919 % PODS));
        heard.first.store(first, Ordering::Release);
        let (sender, target) = (server.sender(), heard.count() + TIMED as u64);
        let lines: Vec<Bytes> = lines.into_iter().map(Bytes::from).collect();
        let timed = heard.clone();
        // Another core's work: the events come from outside.
        let pace = std::thread::spawn(move || {
            let start = Instant::now();
            for (i, line) in lines.into_iter().enumerate() {
                let due = Duration::from_nanos(i as u64 * 1_000_000_000 / RATE);
                // A sleeping thread takes no core from the client; what it oversleeps comes as a burst.
                while let Some(left) = due.checked_sub(start.elapsed()) {
                    std::thread::sleep(left);
                }
                timed.sent(i);
                sender.send(line).unwrap();
            }
        });
        // An event that was overtaken by the next of its object is never told by a queue: three rounds of all pods are
        // sent.
        let enough = target
            - if name.contains("Controller") {
                TIMED as u64 / 10
            } else {
                0
            };
        until(|| heard.count() >= enough).await;
        pace.join().unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        // What was never told holds the time of its sending, which is far greater than any wait.
        let mut times: Vec<u64> = heard.times.iter().map(|time| time.load(Ordering::Acquire)).collect();
        times.sort_unstable();
        let told = (heard.count() + TIMED as u64 - target).min(TIMED as u64) as usize;
        let at = |share: f64| times[((told - 1) as f64 * share) as usize] as f64 / 1e6;
        report::say("p50", at(0.5));
        report::say("p99", at(0.99));
        report::say("worst", at(1.0));
    });
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let Some([name, what]) = report::child_args(&args) {
        return match what {
            "read" => read(name),
            "events" => events(name),
            _ => latency(name),
        };
    }
    let mut check = report::Check::default();
    println!("\n| a list of pods, read | CPU a pod, µs | of DynamicObject's time |\n|---|---|---|");
    let reads: Vec<_> = READERS.map(|name| report::run(name, "read")["micros"]).to_vec();
    for (name, micros) in READERS.iter().zip(&reads) {
        println!("| {name} | {micros:.2} | 1/{:.1} |", reads[1] / micros);
    }
    check.at_least(
        "list parsing, times as fast as DynamicObject's",
        reads[1] / reads[0],
        4.0,
    );
    println!("\n| update events | CPU an event, µs | events a second and core |\n|---|---|---|");
    let mut ours = 0.0;
    for name in EVENTS {
        let micros = report::run(name, "events")["micros"];
        if ours == 0.0 {
            ours = 1e6 / micros;
        }
        println!("| {name} | {micros:.1} | {:.0} |", 1e6 / micros);
    }
    check.at_least("events a second on one core", ours, 80_000.0);
    println!("\n| event to key at {RATE} a second, ms | p50 | p99 | worst |\n|---|---|---|---|");
    for name in EVENTS {
        // The machine may be busy with something else: of three runs the one in the middle.
        let mut runs: Vec<_> = (0..3).map(|_| report::run(name, "latency")).collect();
        runs.sort_by(|a, b| a["p99"].total_cmp(&b["p99"]));
        let run = &runs[1];
        println!(
            "| {name} | {:.3} | {:.3} | {:.1} |",
            run["p50"], run["p99"], run["worst"]
        );
        if name == "pilothouse" {
            check.at_most("event to key, p99 in ms", run["p99"], 1.0);
        }
    }
    check.end(&args);
}
