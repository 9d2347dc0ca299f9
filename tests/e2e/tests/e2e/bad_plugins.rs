//! Plugins that load and then misbehave: each end of a call has its message, and the greeting goes on.

use pilothouse_e2e::{Host, On, Scene, on_both};
use serde_json::{Value, json};

/// Lets a Beast misbehave beside the greeting; answers the end of its first run. Limits are small, so that the tests
/// are quick; the wall time where it is what ends the call.
async fn misbehaves(on: On, behaviour: &str) -> (Scene, Host, Value) {
    let scene = Scene::with_zoo().on(on);
    let wall = if behaviour == "wait" { 1_000 } else { 60_000 };
    let limits = json!({"wallMs": wall, "cpuMs": 300, "memoryMiB": 16, "hostCalls": 200});
    scene.config(&json!({"greeting": {}, "zoo": {"limits": limits}}));
    let host = scene.dev().await;
    let api = host.api();
    api.beast("b", behaviour).await;
    // While the Beast is at it, and comes back to it again and again.
    api.greet("neighbour").await;
    assert_eq!(host.greeted(&api, "neighbour").await, "Hello, neighbour!");
    let run = host.run_of("Beast", "b", |run| run["result"] == "error").await;
    let again = host.run_of("Beast", "b", |run| run["attempt"] == 2).await;
    assert_eq!(
        again["error"]["reason"], run["error"]["reason"],
        "every call starts afresh and ends alike"
    );
    api.greet("later").await;
    assert_eq!(host.greeted(&api, "later").await, "Hello, later!");
    assert!(
        host.runs("Greeting", "neighbour")
            .iter()
            .all(|run| run["result"] == "success"),
        "the neighbour goes on"
    );
    (scene, host, run)
}

#[track_caller]
fn ended(run: &Value, reason: &str, parts: &[&str]) {
    assert_eq!(run["error"]["reason"], reason, "{run}");
    let message = run["error"]["message"].as_str().unwrap();
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
    assert_eq!(run["parked"], false, "it is tried again");
    assert!(run["againAfterMs"].is_u64(), "{run}");
}

on_both!(a_plugin_that_traps);
async fn a_plugin_that_traps(on: On) {
    let (_scene, _host, run) = misbehaves(on, "trap").await;
    ended(&run, "Trap", &["the plugin trapped: ", "unreachable"]);
}

on_both!(a_plugin_that_panics_is_told_with_file_and_line);
async fn a_plugin_that_panics_is_told_with_file_and_line(on: On) {
    let (_scene, _host, run) = misbehaves(on, "panic").await;
    let source = include_str!("../../../guests/zoo/src/lib.rs");
    let line = 1 + source
        .lines()
        .position(|line| line.contains("the beast shows its teeth"))
        .unwrap();
    let place = format!("zoo/src/lib.rs:{line}: the beast shows its teeth");
    ended(&run, "Panic", &["the plugin panicked at ", &place]);
}

on_both!(a_plugin_that_loops_for_ever_in_its_own_code);
async fn a_plugin_that_loops_for_ever_in_its_own_code(on: On) {
    let (_scene, _host, run) = misbehaves(on, "loop").await;
    ended(
        &run,
        "CpuTime",
        &[
            "used up its CPU time of 300ms",
            "look for an endless loop",
            "limits.cpuMs (300 now)",
        ],
    );
    let cpu = run["cpuMs"].as_f64().unwrap();
    assert!((300.0..2_000.0).contains(&cpu), "cut soon after its limit: {run}");
}

on_both!(a_plugin_that_reads_for_ever);
async fn a_plugin_that_reads_for_ever(on: On) {
    let (_scene, _host, run) = misbehaves(on, "read-loop").await;
    ended(
        &run,
        "HostCalls",
        &[
            "made more than 200 reads, writes and events",
            "limits.hostCalls (200 now)",
        ],
    );
}

on_both!(a_plugin_that_loops_for_ever_in_host_calls_that_do_not_count);
async fn a_plugin_that_loops_for_ever_in_host_calls_that_do_not_count(on: On) {
    let (_scene, _host, run) = misbehaves(on, "cheap-loop").await;
    ended(&run, "CpuTime", &["used up its CPU time of 300ms"]);
}

on_both!(a_plugin_that_waits_for_ever);
async fn a_plugin_that_waits_for_ever(on: On) {
    let (_scene, _host, run) = misbehaves(on, "wait").await;
    ended(
        &run,
        "WallTime",
        &[
            "took longer than its wall time of 1s",
            "requeue instead of sleeping",
            "limits.wallMs (1000 now)",
        ],
    );
}

on_both!(a_plugin_that_eats_memory);
async fn a_plugin_that_eats_memory(on: On) {
    let (_scene, _host, run) = misbehaves(on, "eat").await;
    ended(
        &run,
        "Memory",
        &["bytes of memory and may have 16777216", "limits.memoryMiB (16 now)"],
    );
}
