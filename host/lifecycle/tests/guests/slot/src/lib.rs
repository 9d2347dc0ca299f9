//! A plugin whose manifest is a slot of fixed length in its data, which a test fills in the compiled module: so one
//! compilation serves every manifest that the lifecycle's tests need. Built with wit-bindgen alone, without the SDK.

#[allow(unsafe_code, missing_docs, clippy::all, reason = "generated from wit/plugin.wit")]
mod bindings {
    wit_bindgen::generate!({ path: "../../../../../wit", world: "reconciler" });
    use super::Slot;
    export!(Slot with_types_in self);
}

use bindings::exports::pilothouse::plugin::controller::{Cause, Failure, Guest, Outcome, Request};
use bindings::pilothouse::plugin::call;

/// The plugin.
struct Slot;

/// How long the slot is. The test looks for [`MARK`] and knows this length.
const LENGTH: usize = 16 * 1024;
/// How an unfilled slot begins.
const MARK: &[u8] = b"PILOTHOUSE MANIFEST SLOT";

static SLOT: [u8; LENGTH] = {
    let mut slot = [b' '; LENGTH];
    let mut i = 0;
    while i < MARK.len() {
        slot[i] = MARK[i];
        i += 1;
    }
    slot
};

/// Another number at each call, by all that may differ between two: whatever tells the time, or is random.
#[allow(
    clippy::disallowed_methods,
    reason = "a guest: its clock and its sleep are the host's, which is what is tried"
)]
fn chance() -> u64 {
    let started = std::time::Instant::now();
    std::thread::sleep(std::time::Duration::from_millis(1));
    for n in 0..10_000 {
        std::hint::black_box(n);
    }
    let seen = (
        std::time::SystemTime::now(),
        started.elapsed(),
        call::random(8),
        call::remaining_ms(),
        call::attempt(),
        call::config(),
    );
    // Its keys are random.
    std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), seen) % 1_000_000
}

impl Guest for Slot {
    fn describe() -> String {
        // Read where it stands, not as the compiler knows it: the test has changed the bytes.
        let slot = std::hint::black_box(&SLOT);
        let text = String::from_utf8_lossy(slot).trim_end().to_owned();
        match text.as_str() {
            "!panic" => panic!("no manifest today"),
            "!loop" => loop {
                std::hint::black_box(0);
            },
            "!long" => " ".repeat(300 * 1024),
            text => match text.strip_prefix("!chance ") {
                Some(text) => text.replace("CHANCE", &chance().to_string()),
                None => text.to_owned(),
            },
        }
    }

    fn check_config(config: String) -> Result<(), Vec<Cause>> {
        let cause = |field: &str, message: &str| Cause {
            reason: "Invalid".into(),
            field: field.into(),
            message: message.into(),
        };
        if config.contains("!refuse-silently") {
            Err(Vec::new())
        } else if config.contains("!refuse") {
            Err(vec![
                cause("greeting", "is\u{1b}[31m no greeting"),
                cause("", "nothing fits"),
            ])
        } else if config.contains("!panic") {
            panic!("no such configuration")
        } else {
            Ok(())
        }
    }

    fn reconcile(_: Request) -> Result<Outcome, Failure> {
        Ok(Outcome {
            requeue_after_ms: None,
            note: None,
        })
    }
}
