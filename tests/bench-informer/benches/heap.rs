//! What 20,000 pods cost on the heap, at rest and while they are listed anew: ours beside kube-rs's reflector.
//!
//! Every client runs in a process of its own, with an allocator that counts the bytes asked for. `--check` ends with an
//! error where a figure misses its target.

#![allow(missing_docs, clippy::disallowed_methods, reason = "a bench measures time")]

use std::sync::atomic::Ordering;

use peak_alloc::PeakAlloc;
use pilothouse_bench_informer::{
    pod_server::PodServer,
    pods::{PODS, pod},
    report,
};
use pilothouse_informer::Query;

#[allow(dead_code, unreachable_pub, reason = "two benches share it, each uses its part")]
#[path = "informer/clients.rs"]
mod clients;
use clients::{Heard, Running, start, until};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

const CLIENTS: [&str; 3] = [
    "pilothouse",
    "kube-rs reflector, DynamicObject",
    "kube-rs reflector, Pod",
];

/// Measures one client, of which every `step`th pod changes before it lists anew.
fn child(name: &str, step: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (server, heard) = (PodServer::default(), Heard::new(0));
        let (before, resident) = (HEAP.current_usage(), report::status_bytes("VmRSS"));
        let running = start(name, &server, &heard).await;
        let steady = HEAP.current_usage() - before;
        report::say("steady", steady as f64);
        report::say("resident", (report::status_bytes("VmRSS") - resident) as f64);
        server.change_silently(step);
        HEAP.reset_peak_usage();
        let (watches, relists) = (server.watches(), heard.relists.load(Ordering::Acquire));
        let told = heard.count() + (PODS / step) as u64;
        server.expire();
        match &running {
            Running::Ours(..) => until(|| heard.count() >= told && server.watches() > watches).await,
            Running::Theirs(_) => {
                until(|| heard.relists.load(Ordering::Acquire) > relists && server.watches() > watches).await
            }
        }
        report::say("peak", (HEAP.peak_usage() - before) as f64);
        report::say("peak resident", (report::status_bytes("VmHWM") - resident) as f64);
        if let Running::Ours(informers, subscription) = &running {
            let all = subscription.query(&Query::default()).unwrap();
            report::say(
                "kept",
                all.items.iter().map(|object| object.json().len()).sum::<usize>() as f64,
            );
            report::say("weight", informers.counters()[0].1.weight as f64);
        }
    });
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let Some([name, step]) = report::child_args(&args) {
        return child(name, step.parse().unwrap());
    }
    let bytes: usize = (0..100).map(|i| pod(i * 199, 30_000).len()).sum::<usize>() / 100;
    println!("\n20,000 pods of {bytes} bytes, the heap in bytes a pod:\n");
    println!("| client | at rest | resident | relist, 10 % changed: peak | relist, all changed: peak |");
    println!("|---|---|---|---|---|");
    let mut check = report::Check::default();
    let each = |bytes: f64| bytes / PODS as f64;
    for name in CLIENTS {
        let (some, all) = (report::run(name, "10"), report::run(name, "1"));
        let (steady, resident) = (some["steady"], some["resident"]);
        let ratio = |run: &report::Figures| run["peak"] / run["steady"];
        println!(
            "| {name} | {:.0} | {:.0} | {:.0} ({:.2} ×) | {:.0} ({:.2} ×) |",
            each(steady),
            each(resident),
            each(some["peak"]),
            ratio(&some),
            each(all["peak"]),
            ratio(&all)
        );
        if let Some(kept) = some.get("kept") {
            check.at_most("heap a pod / bytes kept", steady / kept, 1.2);
            check.at_most("relist peak / at rest, 10 % changed", ratio(&some), 1.3);
            check.at_most("relist peak / at rest, all changed", ratio(&all), 2.1);
            check.note(&format!(
                "of a pod {:.0} bytes are kept; `weight` says {:.0}, and {:.1} % of the heap at rest are not in it (indexes, the store's own, the watch)",
                each(*kept),
                each(some["weight"]),
                (1.0 - some["weight"] / steady) * 100.0
            ));
        }
    }
    check.end(&args);
}
