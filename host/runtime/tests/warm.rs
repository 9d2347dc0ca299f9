//! Instances that are kept between calls: when one is, when not, and that each call has its limits all the same. The zoo's
//! `ok` says how many calls its instance has served.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Recorder, engine, error, note, request, roomy, zoo, zoo_bytes};
use pilothouse_runtime::{Backend, Engine, EngineConfig, Limits, Module, Reconciled, Warm};

const WARM: Warm = Warm {
    instances: 1,
    calls: 1_000,
    growth: 64 << 20,
};

async fn call_with(module: &Module, name: &str, limits: &Limits) -> (Reconciled, Arc<Recorder>) {
    let backend = Arc::new(Recorder::default());
    let asked = Arc::clone(&backend) as Arc<dyn Backend>;
    (module.reconcile(request(name), asked, limits).await, backend)
}

async fn call(module: &Module, name: &str) -> Reconciled {
    call_with(module, name, &roomy()).await.0
}

#[track_caller]
fn served(done: &Reconciled) -> u32 {
    note(done).trim_start_matches("call ").parse().unwrap()
}

#[tokio::test]
async fn an_instance_serves_the_next_call_of_its_own_module_alone() {
    let (warm, other) = (zoo().warm(WARM), zoo().warm(WARM));
    assert_eq!(served(&call(&warm, "ok").await), 1);
    assert_eq!(served(&call(&warm.clone(), "ok").await), 2);
    // The same code, loaded another time: another version, or another configuration.
    assert_eq!(served(&call(&other, "ok").await), 1);
    assert_eq!(served(&call(zoo(), "ok").await), 1);
    assert_eq!(served(&call(&warm, "ok").await), 3);
}

#[tokio::test]
async fn where_none_is_kept_each_call_has_its_own() {
    let cold = zoo().warm(Warm { instances: 0, ..WARM });
    for _ in 0..3 {
        assert_eq!(served(&call(&cold, "ok").await), 1);
    }
}

#[tokio::test]
async fn describing_and_checking_have_instances_of_their_own() {
    let warm = zoo().warm(WARM);
    call(&warm, "ok").await;
    assert_eq!(warm.describe().await, zoo().describe().await);
    assert_eq!(warm.check_config("{}").await, Ok(Ok(())));
    assert_eq!(served(&call(&warm, "ok").await), 2);
}

#[tokio::test]
async fn an_instance_ends_after_its_calls() {
    let warm = zoo().warm(Warm { calls: 3, ..WARM });
    let mut counts = Vec::new();
    for _ in 0..7 {
        counts.push(served(&call(&warm, "ok").await));
    }
    assert_eq!(counts, [1, 2, 3, 1, 2, 3, 1]);
}

#[tokio::test]
async fn an_instance_ends_with_a_call_that_did_not_go_well() {
    let warm = zoo().warm(WARM);
    call(&warm, "ok").await;
    for bad in [
        "fail",
        "panic",
        "panic-survived",
        "trap",
        "exit",
        "stack",
        "rubbish",
        "big-output",
        "eat-memory",
        "file",
    ] {
        assert_eq!(served(&call(&warm, "ok").await), 2, "before {bad}");
        call(&warm, bad).await;
        assert_eq!(served(&call(&warm, "ok").await), 1, "after {bad}");
    }
}

#[tokio::test]
async fn an_instance_ends_with_a_call_that_runs_into_a_limit_or_is_dropped() {
    let warm = zoo().warm(WARM);
    let limits = Limits {
        wall: Duration::from_millis(20),
        ..roomy()
    };
    call(&warm, "ok").await;
    let told = error(&call_with(&warm, "sleep", &limits).await.0);
    assert!(told.contains("wall time of 20ms"), "{told}");
    assert_eq!(served(&call(&warm, "ok").await), 1);

    let limits = Limits {
        cpu: Duration::from_millis(20),
        ..roomy()
    };
    let told = error(&call_with(&warm, "loop", &limits).await.0);
    assert!(told.contains("CPU time of 20ms"), "{told}");
    assert_eq!(served(&call(&warm, "ok").await), 1);

    #[allow(clippy::disallowed_methods, reason = "a call that is dropped is what is tested")]
    let dropped = tokio::time::timeout(Duration::from_millis(20), call(&warm, "sleep")).await;
    assert!(dropped.is_err());
    assert_eq!(served(&call(&warm, "ok").await), 1);
}

#[tokio::test]
async fn an_instance_whose_memory_has_grown_too_much_is_not_kept() {
    let warm = |growth| zoo().warm(Warm { growth, ..WARM });
    for (growth, expected) in [(4 << 20, 1), (64 << 20, 3)] {
        let warm = warm(growth);
        call(&warm, "ok").await;
        call(&warm, "use-memory").await;
        assert_eq!(served(&call(&warm, "ok").await), expected, "{growth}");
    }
}

#[tokio::test]
async fn the_memory_limit_is_that_of_the_instance_and_the_peak_that_of_the_call() {
    let warm = zoo().warm(WARM);
    let before = call(&warm, "ok").await.memory;
    let peak = call(&warm, "use-memory").await.memory;
    assert!(peak >= before + (8 << 20), "{before} {peak}");
    // Linear memory never shrinks: what it had is what the next call begins with.
    assert_eq!(call(&warm, "ok").await.memory, peak);
    let told = error(&call(&warm, "eat-memory").await);
    assert!(told.contains("bytes of memory and may have 67108864"), "{told}");
}

#[tokio::test]
async fn each_call_has_its_own_budgets_and_its_own_words() {
    let warm = zoo().warm(WARM);
    for round in 1..4 {
        let (done, backend) = call_with(&warm, "log-flood", &roomy()).await;
        assert_eq!((done.log_lines, done.log_dropped), (200, 800), "round {round}");
        // One more: that what follows is dropped.
        assert_eq!(backend.lines().len(), 201);
        let (done, backend) = call_with(&warm, "print", &roomy()).await;
        assert_eq!(done.log_lines, 3, "{:?}", backend.lines());
        let (done, backend) = call_with(&warm, "read", &roomy()).await;
        assert_eq!(done.host_calls, 1);
        assert_eq!(backend.asked().len(), 1);
        let (done, _) = call_with(&warm, "event-flood", &roomy()).await;
        assert_eq!(done.events_dropped, 80);
    }
    assert_eq!(served(&call(&warm, "ok").await), 13);
}

#[tokio::test]
async fn its_clock_goes_on_and_nothing_of_a_call_is_kept_alive() {
    let warm = zoo().warm(WARM);
    for _ in 0..3 {
        let (done, backend) = call_with(&warm, "nap", &roomy()).await;
        assert_eq!(note(&done), "true");
        assert_eq!(Arc::strong_count(&backend), 1);
    }
    assert_eq!(served(&call(&warm, "ok").await), 4);
}

#[tokio::test]
async fn calls_at_once_have_instances_of_their_own() {
    let warm = zoo().warm(WARM);
    call(&warm, "ok").await;
    let mut waiting = request("read");
    waiting.key.namespace = Some("never");
    let limits = roomy();
    let waits = warm.reconcile(waiting, Arc::new(Recorder::default()), &limits);
    let others = async {
        // The instance of before is in the call that waits.
        assert_eq!(served(&call(&warm, "ok").await), 1);
        assert_eq!(served(&call(&warm, "ok").await), 2);
    };
    tokio::select! {
        biased;
        _ = waits => panic!("the read is never answered"),
        () = others => {}
    }
    assert_eq!(served(&call(&warm, "ok").await), 3);
}

#[tokio::test]
async fn what_is_kept_takes_no_slot_from_others_and_is_bounded_over_all_plugins() {
    let small = Engine::new(EngineConfig {
        slots: 1,
        warm: 1,
        ..engine().config().clone()
    })
    .unwrap();
    let cold = small.compile(zoo_bytes()).unwrap();
    let (first, second) = (cold.warm(WARM), cold.warm(WARM));
    assert_eq!(served(&call(&first, "ok").await), 1);
    assert_eq!(served(&call(&first, "ok").await), 2);
    // The one place is taken.
    for _ in 0..2 {
        assert_eq!(served(&call(&second, "ok").await), 1);
        assert_eq!(served(&call(&cold, "ok").await), 1);
    }
    assert_eq!(served(&call(&first, "ok").await), 3);
    // With its plugin an instance goes, and its place is free.
    drop(first);
    assert_eq!(served(&call(&second, "ok").await), 1);
    assert_eq!(served(&call(&second, "ok").await), 2);
}
