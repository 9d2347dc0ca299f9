//! What `describe` and `check-config` see of the world: nothing, and always the same nothing.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::backend::{Backend, Reply, reason};
use crate::{ApiError, Change, Freshness, Level, ObjectRef, Options, Page, Propagation, Query, Severity, Timestamp};

/// Refuses reads and writes, drops events and log lines. Where the contract has no room for a refusal, it answers
/// constants: the time is 1970-01-01 and does not pass, the configuration `{}`, and randomness the same sequence in
/// every call, since language runtimes seed their hash maps with it.
#[derive(Debug, Default)]
pub(crate) struct Pure {
    drawn: AtomicU64,
}

fn refuse<T: Send + 'static>(function: &'static str) -> Reply<'static, T> {
    let message = format!(
        "{function} is refused while the plugin describes itself or checks its configuration: both must be pure; do this \
         in reconcile"
    );
    Box::pin(std::future::ready(Err(ApiError::of_host(reason::DENIED, message))))
}

impl Backend for Pure {
    fn get(&self, _: ObjectRef, _: Freshness) -> Reply<'_, Option<String>> {
        refuse("read.get")
    }
    fn select(&self, _: Query, _: Freshness) -> Reply<'_, Page> {
        refuse("read.select")
    }
    fn digest(&self, _: ObjectRef) -> Reply<'_, Option<String>> {
        refuse("read.digest")
    }
    fn create(&self, _: ObjectRef, _: String, _: Options) -> Reply<'_, String> {
        refuse("write.create")
    }
    fn patch(&self, _: ObjectRef, _: Change, _: Options) -> Reply<'_, String> {
        refuse("write.patch")
    }
    fn replace(&self, _: ObjectRef, _: String, _: Options) -> Reply<'_, String> {
        refuse("write.replace")
    }
    fn remove(&self, _: ObjectRef, _: Propagation, _: Options) -> Reply<'_, Option<String>> {
        refuse("write.remove")
    }
    fn emit_event(&self, _: ObjectRef, _: Severity, _: String, _: String, _: String) {}
    fn log(&self, _: Level, _: String, _: Vec<(String, String)>) {}
    fn config(&self) -> String {
        "{}".to_owned()
    }
    fn now(&self) -> Timestamp {
        Timestamp {
            seconds: 0,
            nanoseconds: 0,
        }
    }
    /// SplitMix64, counted on from call to call: no guest that rejects a draw is stuck.
    fn random(&self, count: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < count as usize {
            let step = self.drawn.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
            let mixed = (step ^ (step >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            bytes.extend_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes());
        }
        bytes.truncate(count as usize);
        bytes
    }
    fn time_stands(&self) -> bool {
        true
    }
    fn attempt(&self) -> u32 {
        1
    }
    fn trace_parent(&self) -> Option<String> {
        None
    }
}
