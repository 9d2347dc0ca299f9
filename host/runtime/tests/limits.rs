//! Guests that misbehave: each is ended with an error that names what it hit and what to do, the next call works, and
//! neighbours are served meanwhile.

mod common;

use std::time::Duration;

use common::{Asked, error, note, roomy, visit};
use pilothouse_runtime::{CallError, Level, Limits};

/// The call is ended with exactly this text; the next one goes well.
async fn ends(name: &str, limits: &Limits, text: &str) {
    let (done, _) = visit(name, limits).await;
    assert_eq!(error(&done), text, "{name}");
    let (done, _) = visit("ok", &roomy()).await;
    assert_eq!(note(&done), "call 1", "after {name}");
}

const ENDED: Duration = Duration::from_millis(200);

#[tokio::test]
async fn an_endless_loop_runs_out_of_cpu_time() {
    let text = "the call used up its CPU time of 200ms and was ended: look for an endless loop, do less in one call, or \
                raise limits.cpuMs (200 now) in the manifest or the operator's configuration";
    ends("loop", &Limits { cpu: ENDED, ..roomy() }, text).await;
}

#[tokio::test]
async fn an_endless_loop_runs_out_of_wall_time() {
    let text = "the call took longer than its wall time of 200ms and was ended: wait for less in one call (requeue instead \
                of sleeping), or raise limits.wallMs (200 now) in the manifest or the operator's configuration";
    ends("loop", &Limits { wall: ENDED, ..roomy() }, text).await;
    ends("sleep", &Limits { wall: ENDED, ..roomy() }, text).await;
}

#[tokio::test]
async fn a_host_call_that_never_answers_runs_out_of_wall_time() {
    let backend = std::sync::Arc::new(common::Recorder::default());
    let mut request = common::request("read");
    request.key.namespace = Some("never");
    let limits = Limits { wall: ENDED, ..roomy() };
    let done = common::zoo().reconcile(request, backend, &limits).await;
    assert_eq!(done.result, Err(CallError::WallTime { limit: ENDED }));
    assert!(done.wall >= ENDED, "{:?}", done.wall);
    assert!(done.cpu < roomy().cpu, "{:?}", done.cpu);
}

#[tokio::test]
async fn an_endless_loop_of_host_calls_runs_out_of_them() {
    let text = "the call made more than 50 reads, writes and events and was ended: use `select` instead of many `get`s, look \
                for an endless loop, or raise limits.hostCalls (50 now) in the manifest or the operator's configuration";
    let limits = Limits {
        host_calls: 50,
        ..roomy()
    };
    ends("host-call-loop", &limits, text).await;
    let (done, backend) = visit("host-call-loop", &limits).await;
    assert_eq!((done.host_calls, backend.asked().len()), (50, 50));
}

#[tokio::test]
async fn an_endless_loop_of_writes_runs_out_of_those_first() {
    let text = "the call made more than 20 writes and was ended: write only what differs, spread the work over more keys, \
                look for an endless loop, or raise limits.writes (20 now) in the operator's configuration";
    let limits = Limits {
        host_calls: 50,
        writes: 20,
        ..roomy()
    };
    ends("write-loop", &limits, text).await;
    let (done, _) = visit("write-loop", &limits).await;
    assert_eq!(done.host_calls, 20);
}

#[tokio::test]
async fn an_endless_loop_of_calls_that_are_not_counted_runs_out_of_cpu_time() {
    let limits = Limits { cpu: ENDED, ..roomy() };
    for name in ["cheap-call-loop", "log-loop"] {
        let (done, _) = visit(name, &limits).await;
        assert_eq!(done.result, Err(CallError::CpuTime { limit: ENDED }), "{name}");
        assert!(done.cpu >= ENDED, "{:?}", done.cpu);
    }
}

#[tokio::test]
async fn memory_is_cut_and_the_error_names_both_sizes() {
    let limits = Limits {
        memory: 16 << 20,
        ..roomy()
    };
    let (done, _) = visit("eat-memory", &limits).await;
    let Err(CallError::Memory { limit, asked }) = done.result else {
        panic!("{:?}", done.result)
    };
    assert!(
        limit == 16 << 20 && asked > limit && asked < limit + (4 << 20),
        "{asked}"
    );
    assert!(done.memory <= limit && done.memory > 12 << 20, "{}", done.memory);
    let text = format!(
        "the plugin wanted {asked} bytes of memory and may have 16777216: read in pages instead of everything at once, or \
         raise limits.memoryMiB (16 now) in the manifest or the operator's configuration"
    );
    ends("eat-memory", &limits, &text).await;
    let (done, _) = visit("use-memory", &limits).await;
    assert_eq!(note(&done), "8388608");
    assert!(done.memory > 8 << 20, "{}", done.memory);
}

#[tokio::test]
async fn a_memory_that_is_too_large_from_the_start_is_the_same_error() {
    let limits = Limits {
        memory: 128 << 10,
        ..roomy()
    };
    let (done, _) = visit("ok", &limits).await;
    assert!(
        matches!(done.result, Err(CallError::Memory { limit: 131_072, asked }) if asked > 131_072),
        "{:?}",
        done.result
    );
}

#[tokio::test]
async fn a_memory_limit_beyond_the_engines_is_cut_to_it() {
    let limits = Limits {
        memory: u64::MAX,
        cpu: Duration::from_secs(600),
        ..roomy()
    };
    let (done, _) = visit("eat-memory", &limits).await;
    assert!(
        matches!(done.result, Err(CallError::Memory { limit: 268_435_456, .. })),
        "{:?}",
        done.result
    );
}

#[tokio::test]
async fn a_panic_is_told_with_message_and_place() {
    let (done, backend) = visit("panic", &roomy()).await;
    let Err(CallError::Panic { message, file, line }) = &done.result else {
        panic!("{:?}", done.result)
    };
    assert_eq!(message, "index out of bounds: the len is 0 but the index is 3");
    assert!(
        file.as_deref().is_some_and(|file| file.ends_with("zoo/src/lib.rs")),
        "{file:?}"
    );
    let (file, line) = (file.as_deref().unwrap(), line.unwrap());
    let text = format!("the plugin panicked at {file}:{line}: index out of bounds: the len is 0 but the index is 3");
    assert_eq!(error(&done), text);
    assert_eq!(backend.asked(), []);
    let (done, _) = visit("ok", &roomy()).await;
    assert_eq!(note(&done), "call 1");
}

#[tokio::test]
async fn a_panic_that_a_hook_logs_is_told_the_same_way() {
    let (done, backend) = visit("panic-hook", &roomy()).await;
    let Err(CallError::Panic { message, file, line }) = &done.result else {
        panic!("{:?}", done.result)
    };
    assert!(message.ends_with("hooked"), "{message}");
    assert_eq!((file.as_deref(), *line), (Some("src/hook.rs"), Some(42)));
    // The one before it did not end the call and stays a log line.
    assert_eq!(backend.lines(), [(Level::Error, "earlier".to_owned())]);
}

#[tokio::test]
async fn a_panic_that_did_not_end_the_call_is_a_log_line() {
    let (done, backend) = visit("panic-survived", &roomy()).await;
    assert_eq!(note(&done), "alive");
    let field = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let fields = vec![
        field("panic", "true"),
        field("file", "src/hook.rs"),
        field("line", "42"),
    ];
    assert_eq!(
        backend.asked(),
        [Asked::Log {
            level: Level::Error,
            message: "not the end".into(),
            fields
        }]
    );
}

#[tokio::test]
async fn a_trap_is_told_by_its_name() {
    let text =
        "the plugin trapped: wasm `unreachable` instruction executed (a panic or abort whose text was compiled out?)";
    ends("trap", &roomy(), text).await;
}

#[tokio::test]
async fn a_stack_overflow_is_told_as_a_recursion() {
    let (done, _) = visit("stack", &roomy()).await;
    let told = error(&done);
    assert!(
        told.starts_with("the plugin trapped: ") && told.contains("recursion too deep?"),
        "{told}"
    );
    let (done, _) = visit("ok", &roomy()).await;
    assert_eq!(note(&done), "call 1");
}

#[tokio::test]
async fn an_answer_that_is_no_text_is_a_trap() {
    let text =
        "the plugin trapped: what it passed to the host was not valid: invalid utf-8 sequence of 1 bytes from index 0";
    ends("rubbish", &roomy(), text).await;
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_told_with_both_sizes() {
    let text = "the plugin answered 2097152 bytes and may answer 1048576: shorten the manifest, note or message, or \
                raise limits.outputKiB (1024 now) in the operator's configuration";
    ends("big-output", &roomy(), text).await;
    let text = "the plugin passed more than 4194304 bytes to the host in one piece (the arguments of a host call, or an \
                answer): no object, log line or answer may be that large";
    ends("huge-output", &roomy(), text).await;
    ends("huge-argument", &roomy(), text).await;
}

#[tokio::test]
async fn an_argument_that_is_too_large_is_an_error_that_the_guest_sees() {
    let limits = Limits {
        argument: 1 << 20,
        ..roomy()
    };
    let (done, backend) = visit("big-argument", &limits).await;
    let told = "the arguments of write.create have 2097171 bytes and may have 1048576: change less of the object at once, \
                split it, or raise limits.objectKiB (1024 now) in the operator's configuration";
    assert_eq!(note(&done), format!(r#"Err(("PilothouseLimit", "{told}"))"#));
    assert_eq!(backend.asked(), []);
    let (done, backend) = visit("big-argument", &roomy()).await;
    assert_eq!(note(&done), r#"Ok("{}")"#);
    assert_eq!(backend.asked(), [Asked::Create(2 << 20)]);
}

#[tokio::test]
async fn a_flood_of_log_lines_is_dropped_counted_and_said_once() {
    let limits = Limits {
        log_lines: 10,
        ..roomy()
    };
    let (done, backend) = visit("log-flood", &limits).await;
    assert_eq!(note(&done), "flooded");
    assert_eq!((done.log_lines, done.log_dropped), (10, 990));
    let lines = backend.lines();
    assert_eq!(lines.len(), 11);
    assert_eq!(lines[9], (Level::Info, "line 9".to_owned()));
    let said = "the plugin logged more than 10 lines or 65536 bytes in one call: what does not fit is dropped and counted \
         (limits.logLines, limits.logKiB)";
    assert_eq!(lines[10], (Level::Warn, said.to_owned()));
}

#[tokio::test]
async fn a_log_line_that_is_too_large_is_dropped_and_a_small_one_after_it_is_kept() {
    let (done, backend) = visit("log-large", &roomy()).await;
    assert_eq!((done.log_lines, done.log_dropped), (1, 1));
    assert_eq!(backend.lines()[1], (Level::Info, "small".to_owned()));
}

#[tokio::test]
async fn a_flood_on_stdout_keeps_its_end_and_the_log_its_budget() {
    let limits = Limits {
        log_lines: 10,
        ..roomy()
    };
    let (done, backend) = visit("print-flood", &limits).await;
    assert_eq!(note(&done), "printed");
    let lines = backend.lines();
    assert_eq!((lines.len(), done.log_lines), (11, 10));
    assert!(
        lines[0]
            .1
            .ends_with("bytes that the plugin wrote to stdout before this are not kept"),
        "{lines:?}"
    );
}

#[tokio::test]
async fn a_flood_of_events_is_dropped_counted_and_said_once() {
    let (done, backend) = visit("event-flood", &Limits { events: 5, ..roomy() }).await;
    assert_eq!(note(&done), "emitted");
    assert_eq!((done.host_calls, done.events_dropped), (100, 95));
    let asked = backend.asked();
    assert_eq!(asked.len(), 6);
    let Asked::Event { reason, note } = &asked[4] else {
        panic!("{asked:?}")
    };
    assert_eq!(reason, "Reason4");
    assert!(
        note.len() <= 1_024 && note.len() > 1_000 && note.ends_with('…'),
        "{}",
        note.len()
    );
    let said = "the plugin emitted more than 5 events in one call: further ones are dropped (limits.events)";
    assert_eq!(backend.lines(), [(Level::Warn, said.to_owned())]);
}

#[tokio::test]
async fn opening_a_file_ends_the_call_by_the_functions_name() {
    let (done, _) = visit("file", &roomy()).await;
    let Err(CallError::Forbidden { import }) = &done.result else {
        panic!("{:?}", done.result)
    };
    assert!(
        import.starts_with("wasi:filesystem/preopens@0.2.") && import.ends_with("#get-directories"),
        "{import}"
    );
    let text = format!(
        "the plugin called {import}: plugins have no file system. Take data from objects (a ConfigMap, say) or the plugin's \
         configuration, or compile it in"
    );
    assert_eq!(error(&done), text);
    let (done, _) = visit("ok", &roomy()).await;
    assert_eq!(note(&done), "call 1");
}

/// On one thread, with limits that the loop does not reach: if it didn't yield, no neighbour would ever be served.
#[tokio::test]
async fn neighbours_are_served_while_another_guest_loops() {
    let limits = roomy();
    let bad = visit("loop", &limits);
    let good = async {
        for _ in 0..10 {
            let (done, _) = visit("ok", &limits).await;
            assert_eq!(note(&done), "call 1");
            // A call that takes less than a tick never yields by itself.
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        (bad, _) = bad => panic!("the loop ended first: {:?}", bad.result),
        () = good => {}
    }
}
