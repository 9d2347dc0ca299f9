//! A plugin that misbehaves in the way that the key's name says: the runtime's tests ask it to loop, to eat memory, to
//! panic, and look at how the host ends it. Built with wit-bindgen alone, without the SDK.

#![allow(
    clippy::disallowed_methods,
    reason = "a guest: its clock and its sleep are the host's, which is what is tested"
)]
#![cfg_attr(
    not(target_arch = "wasm32"),
    allow(dead_code, unused_macros, unused_imports, reason = "exported to WebAssembly only")
)]

use std::cell::Cell;
use std::hint::black_box;
use std::time::Duration;

#[allow(unsafe_code, missing_docs, clippy::all, reason = "generated from wit/plugin.wit")]
mod bindings {
    wit_bindgen::generate!({ path: "../../../../../wit", world: "reconciler" });
    // Only for WebAssembly: other linkers stumble over the names of the exported functions.
    #[cfg(target_arch = "wasm32")]
    use super::Zoo;
    #[cfg(target_arch = "wasm32")]
    export!(Zoo with_types_in self);
}

use bindings::exports::pilothouse::plugin::controller::{Cause, Failure, Guest, ObjectRef, Outcome, Request, Retry};
use bindings::pilothouse::plugin::types::ApiError;
use bindings::pilothouse::plugin::{call, events, log, read, write};

/// The plugin.
struct Zoo;

thread_local! {
    static CALLS: Cell<u32> = const { Cell::new(0) };
}

impl Guest for Zoo {
    fn describe() -> String {
        let now = call::now();
        let started = std::time::Instant::now();
        std::thread::sleep(std::time::Duration::from_millis(20));
        for n in 0..100_000 {
            std::hint::black_box(n);
        }
        let passed = started.elapsed().as_nanos();
        let state = std::hash::RandomState::new();
        let seed = std::hash::BuildHasher::hash_one(&state, 1);
        format!(
            r#"{{"name":"zoo","now":{},"random":{:?},"seed":{seed},"passed":{passed},"left":{}}}"#,
            now.seconds,
            call::random(4),
            call::remaining_ms()
        )
    }

    fn check_config(config: String) -> Result<(), Vec<Cause>> {
        match config.as_str() {
            "loop" => forever(),
            "panic" => panic!("no such configuration"),
            "read" => Err(vec![cause(
                "read",
                read::get(&target("x"), &read::Freshness::Cached).unwrap_err(),
            )]),
            "write" => {
                let refused = write::create(&target("x"), "{}", &options()).unwrap_err();
                Err(vec![cause("write", refused)])
            }
            "big" => {
                let message = "x".repeat(2_000);
                Err((0..1_000)
                    .map(|_| Cause {
                        reason: String::new(),
                        field: String::new(),
                        message: message.clone(),
                    })
                    .collect())
            }
            _ => Ok(()),
        }
    }

    fn reconcile(request: Request) -> Result<Outcome, Failure> {
        // Tells whether an instance served a call before.
        CALLS.set(CALLS.get() + 1);
        let note = |text: String| {
            Ok(Outcome {
                requeue_after_ms: None,
                note: Some(text),
            })
        };
        match request.key.name.as_str() {
            "ok" => note(format!("call {}", CALLS.get())),
            "echo" => note(format!("{} {:?}", request.controller, request.object)),
            "fail" => Err(Failure {
                retry: Retry::AfterMs(7),
                reason: "Why".into(),
                message: "because".into(),
            }),
            "loop" => forever(),
            "host-call-loop" => loop {
                let _ = black_box(read::get(&target("x"), &read::Freshness::Cached));
            },
            "write-loop" => loop {
                let change = write::Change::Merge("{}".into());
                let _ = black_box(write::patch(&target("x"), &change, &options()));
            },
            "cheap-call-loop" => loop {
                black_box(call::attempt());
            },
            "log-loop" => loop {
                log::emit(log::Level::Info, "again", &[]);
            },
            "eat-memory" => {
                let mut eaten: Vec<Vec<u8>> = Vec::new();
                loop {
                    eaten.push(black_box(vec![1; 1 << 20]));
                }
            }
            "use-memory" => note(format!("{}", black_box(vec![1_u8; 8 << 20]).len())),
            "panic" => {
                let empty: Vec<u8> = black_box(Vec::new());
                note(format!("{}", empty[3]))
            }
            "panic-hook" => {
                std::panic::set_hook(Box::new(|panic| tell(&panic.to_string())));
                tell("earlier");
                panic!("hooked")
            }
            "panic-survived" => {
                tell("not the end");
                note("alive".into())
            }
            "trap" => {
                #[cfg(target_arch = "wasm32")]
                core::arch::wasm32::unreachable();
                #[cfg(not(target_arch = "wasm32"))]
                unreachable!()
            }
            "exit" => {
                eprintln!("good bye");
                std::process::exit(3)
            }
            "stack" => note(format!("{}", dive(0))),
            "rubbish" => note(rubbish()),
            "big-output" => note("x".repeat(2 << 20)),
            "huge-output" => note("x".repeat(5 << 20)),
            "big-argument" => {
                let object = "x".repeat(2 << 20);
                note(format!(
                    "{:?}",
                    write::create(&target("x"), &object, &options()).map_err(|e| (e.reason, e.message))
                ))
            }
            "huge-argument" => {
                let object = "x".repeat(5 << 20);
                note(format!(
                    "{:?}",
                    write::create(&target("x"), &object, &options()).is_ok()
                ))
            }
            "log-flood" => {
                for n in 0..1_000 {
                    log::emit(log::Level::Info, &format!("line {n}"), &[("n".into(), n.to_string())]);
                }
                note("flooded".into())
            }
            "log-large" => {
                log::emit(log::Level::Info, &"x".repeat(1 << 20), &[]);
                log::emit(log::Level::Info, "small", &[]);
                note("logged".into())
            }
            "event-flood" => {
                for n in 0..100 {
                    let text = "é".repeat(1_000);
                    events::emit(
                        &target("x"),
                        events::Severity::Normal,
                        &format!("Reason{n}"),
                        "Act",
                        &text,
                    );
                }
                note("emitted".into())
            }
            "print" => {
                println!("out 1\nout 2");
                eprintln!("err 1");
                note("printed".into())
            }
            "print-flood" => {
                for n in 0..100_000 {
                    println!("line {n}");
                }
                note("printed".into())
            }
            "sleep" => {
                std::thread::sleep(Duration::from_secs(3_600));
                note("slept".into())
            }
            "nap" => {
                let before = std::time::Instant::now();
                std::thread::sleep(Duration::from_millis(1));
                note(format!("{}", before.elapsed() >= Duration::from_millis(1)))
            }
            "file" => note(format!("{:?}", std::fs::read("/etc/passwd"))),
            "environment" => {
                let variables = std::env::vars().count();
                let arguments = std::env::args().count();
                let read = std::io::read_to_string(std::io::stdin()).map_err(|error| error.kind());
                note(format!("{variables} {arguments} {read:?}"))
            }
            "clock" => {
                let wasi = std::time::SystemTime::now()
                    .duration_since(std::time::UNIX_EPOCH)
                    .unwrap_or_default();
                let ours = call::now();
                note(format!("{} {} {}", wasi.as_nanos(), ours.seconds, ours.nanoseconds))
            }
            "random" => {
                let state = std::hash::RandomState::new();
                let hash = std::hash::BuildHasher::hash_one(&state, "x");
                note(format!("{hash} {:?} {}", call::random(3), call::random(100_000).len()))
            }
            "about" => note(format!(
                "{} {} {:?} {}",
                call::config(),
                call::attempt(),
                call::trace_parent(),
                call::remaining_ms() > 0
            )),
            "read" => note(format!(
                "{:?}",
                read::get(&request.key, &read::Freshness::Cached).map_err(|error| error.reason)
            )),
            "write" => {
                let change = write::Change::Merge("{}".into());
                note(format!(
                    "{:?}",
                    write::patch(&request.key, &change, &options()).map_err(|error| error.reason)
                ))
            }
            other => Err(Failure {
                retry: Retry::Never,
                reason: "Unknown".into(),
                message: format!("no such animal: {other}"),
            }),
        }
    }
}

fn target(name: &str) -> ObjectRef {
    let kind = bindings::pilothouse::plugin::types::Gvk {
        group: String::new(),
        version: "v1".into(),
        kind: "ConfigMap".into(),
    };
    ObjectRef {
        kind,
        namespace: Some("default".into()),
        name: name.into(),
    }
}

fn options() -> write::Options {
    write::Options {
        subresource: None,
        uid: None,
        resource_version: None,
        force: false,
        dry_run: false,
        manager_suffix: None,
    }
}

fn cause(field: &str, error: ApiError) -> Cause {
    Cause {
        reason: error.reason,
        field: field.into(),
        message: error.message,
    }
}

/// Tells of a panic as the SDK's hook does.
fn tell(message: &str) {
    let field = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let fields = [
        field("panic", "true"),
        field("file", "src/hook.rs"),
        field("line", "42"),
    ];
    log::emit(log::Level::Error, message, &fields);
}

fn forever() -> ! {
    let mut n = 0_u64;
    loop {
        n = black_box(n.wrapping_add(1));
    }
}

fn dive(depth: u64) -> u64 {
    let ballast = black_box([depth; 64]);
    if black_box(false) {
        0
    } else {
        dive(depth + 1) + ballast[3]
    }
}

#[allow(unsafe_code, reason = "a text that is none: what the host does with it is tested")]
fn rubbish() -> String {
    // SAFETY: none. It is wrong, as a broken guest is; nothing looks at the text but the host, which checks it.
    unsafe { String::from_utf8_unchecked(black_box(vec![0xff, 0xfe, 0xfd])) }
}
