//! Calls that go well: what plugins see, what they pass on, and that nothing of one call reaches the next.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Asked, Recorder, error, note, request, roomy, target, visit, zoo};
use pilothouse_runtime::{Backend, Cause, Failure, Level, Limits, Retry, reason};

#[tokio::test]
async fn an_answer_comes_back_with_what_it_cost() {
    let (done, _) = visit("ok", &roomy()).await;
    assert_eq!(note(&done), "call 1");
    assert!(done.cpu > Duration::ZERO && done.cpu < roomy().cpu, "{:?}", done.cpu);
    assert!(done.memory >= 64 << 10 && done.memory < 4 << 20, "{}", done.memory);
    assert_eq!(
        (done.host_calls, done.log_lines, done.log_dropped, done.events_dropped),
        (0, 0, 0, 0)
    );
}

#[tokio::test]
async fn each_call_has_an_instance_of_its_own() {
    for _ in 0..3 {
        let (done, _) = visit("ok", &roomy()).await;
        assert_eq!(note(&done), "call 1");
    }
}

#[tokio::test]
async fn request_and_failure_cross_as_they_are() {
    let (done, _) = visit("echo", &roomy()).await;
    assert_eq!(note(&done), r#"zoo Some("{\"a\":1}")"#);
    let (done, _) = visit("fail", &roomy()).await;
    let failure = Failure {
        retry: Retry::AfterMs(7),
        reason: "Why".into(),
        message: "because".into(),
    };
    assert_eq!(done.result, Ok(Err(failure)));
}

#[tokio::test]
async fn reads_and_writes_reach_the_backend_and_are_counted() {
    let (done, backend) = visit("read", &roomy()).await;
    assert_eq!(note(&done), r#"Ok(Some("{\"kind\":\"ConfigMap\"}"))"#);
    assert_eq!(backend.asked(), [Asked::Get(target("read"))]);
    assert_eq!(done.host_calls, 1);
    let (done, backend) = visit("write", &roomy()).await;
    assert_eq!(note(&done), r#"Ok("{}")"#);
    assert_eq!(backend.asked(), [Asked::Patch(target("write"))]);
}

#[tokio::test]
async fn the_call_interface_is_answered() {
    let (done, _) = visit("about", &roomy()).await;
    assert_eq!(note(&done), r#"{"colour":"blue"} 3 Some("00-aa-bb-01") true"#);
}

#[tokio::test]
async fn the_guests_own_clock_and_randomness_are_the_backends() {
    let (done, _) = visit("clock", &roomy()).await;
    assert_eq!(note(&done), "1800000000000042000 1800000000 42000");
    let (first, _) = visit("random", &roomy()).await;
    let (second, _) = visit("random", &roomy()).await;
    assert_eq!(note(&first), note(&second));
    assert!(note(&first).ends_with("] 256"), "{}", note(&first));
}

#[tokio::test]
async fn a_guest_may_sleep_within_its_time() {
    let (done, _) = visit("nap", &roomy()).await;
    assert_eq!(note(&done), "true");
}

#[tokio::test]
async fn there_are_no_variables_no_arguments_and_no_input() {
    let (done, _) = visit("environment", &roomy()).await;
    assert_eq!(note(&done), r#"0 0 Ok("")"#);
}

#[tokio::test]
async fn what_is_printed_ends_in_the_log() {
    let (done, backend) = visit("print", &roomy()).await;
    assert_eq!(note(&done), "printed");
    let line = |level, message: &str, stream: &str| {
        let fields = vec![("stream".to_owned(), stream.to_owned())];
        Asked::Log {
            level,
            message: message.to_owned(),
            fields,
        }
    };
    let expected = [
        line(Level::Info, "out 1", "stdout"),
        line(Level::Info, "out 2", "stdout"),
        line(Level::Warn, "err 1", "stderr"),
    ];
    assert_eq!(backend.asked(), expected);
}

#[tokio::test]
async fn describing_is_pure_and_always_the_same() {
    let first = zoo().describe().await.unwrap();
    assert!(first.starts_with(r#"{"name":"zoo","now":0,"random":["#), "{first}");
    // It slept and computed before it looked at the clock.
    assert!(first.contains(r#""passed":0,"left":"#), "{first}");
    assert_eq!(zoo().describe().await, Ok(first));
}

#[tokio::test]
async fn checking_a_configuration_is_pure() {
    assert_eq!(zoo().check_config("{}").await, Ok(Ok(())));
    for (config, function) in [("read", "read.get"), ("write", "write.create")] {
        let expected = Cause {
            reason: reason::DENIED.into(),
            field: config.into(),
            message: format!(
                "{function} is refused while the plugin describes itself or checks its configuration: both must be pure; \
                 do this in reconcile"
            ),
        };
        assert_eq!(zoo().check_config(config).await, Ok(Err(vec![expected])));
    }
}

#[tokio::test]
async fn a_check_that_panics_loops_or_says_too_much_is_ended() {
    let panicked = zoo().check_config("panic").await.unwrap_err().to_string();
    assert!(
        panicked.starts_with("the plugin panicked at ") && panicked.ends_with(": no such configuration"),
        "{panicked}"
    );
    let loops = zoo().check_config("loop").await.unwrap_err();
    assert_eq!(loops.kind(), "CpuTime");
    assert_eq!(
        loops.to_string(),
        "it may take 500ms of CPU time and took more: no setting raises that. Answer from what is compiled in, and leave the \
         work to reconciles"
    );
    let big = zoo().check_config("big").await.unwrap_err();
    assert_eq!(big.kind(), "Output");
    assert_eq!(zoo().check_config("{}").await, Ok(Ok(())));
}

#[test]
fn calls_can_move_between_threads() {
    fn movable<T: Send>(_: &T) {}
    let limits = Limits::default();
    movable(&zoo().reconcile(request("ok"), Arc::new(Recorder::default()), &limits));
    movable(&zoo().describe());
    movable(&zoo().check_config("{}"));
}

#[tokio::test]
async fn more_calls_than_slots_wait_and_are_all_served() {
    let calls = (0..64).map(|_| visit("ok", &LIMITS));
    static LIMITS: std::sync::LazyLock<Limits> = std::sync::LazyLock::new(roomy);
    let done = futures_util::future::join_all(calls).await;
    assert!(done.iter().all(|(done, _)| note(done) == "call 1"));
}

#[tokio::test]
async fn a_call_that_is_dropped_leaves_nothing_behind() {
    let limits = Limits::default();
    for _ in 0..32 {
        let backend = Arc::new(Recorder::default());
        let mut call = Box::pin(zoo().reconcile(request("loop"), backend as Arc<dyn Backend>, &limits));
        assert!(futures_util::poll!(call.as_mut()).is_pending());
    }
    // Twice as many as there are slots: had one been lost, this would wait for ever.
    let (done, _) = visit("ok", &roomy()).await;
    assert_eq!(note(&done), "call 1");
}

#[tokio::test]
async fn an_unknown_key_is_the_guests_affair() {
    let (done, _) = visit("unicorn", &roomy()).await;
    assert!(
        matches!(&done.result, Ok(Err(failure)) if failure.retry == Retry::Never),
        "{:?}",
        done.result
    );
    let (done, _) = visit("exit", &roomy()).await;
    assert_eq!(
        error(&done),
        "the plugin trapped: it exited with a failure instead of returning from the call; on stderr: good bye"
    );
}
