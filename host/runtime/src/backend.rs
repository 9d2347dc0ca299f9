//! The host's side of a plugin's imports, as a trait that the room above implements.
//!
//! The runtime bounds what reaches a backend (number of calls, sizes, lines, events); whether the plugin *may* do what
//! it asks for is the backend's to decide, on every call.

use std::pin::Pin;
use std::sync::OnceLock;
use std::time::Duration;

use crate::{ApiError, Change, Freshness, Level, ObjectRef, Options, Page, Propagation, Query, Severity, Timestamp};

/// A future in a box, as [`Backend`]'s methods answer it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The answer to a read or a write: what was asked for, or the error that the guest gets to see.
pub type Reply<'a, T> = BoxFuture<'a, Result<T, ApiError>>;

/// The `reason`s of [`ApiError`] that are the host's own and not the API server's. Part of the contract.
pub mod reason {
    /// The plugin didn't ask for this in its manifest, or the operator didn't grant it, or this function is pure.
    pub const DENIED: &str = "PilothouseDenied";
    /// A cached read of a kind that the manifest does not watch.
    pub const NOT_WATCHED: &str = "PilothouseNotWatched";
    /// A limit of the host: the argument is too large, or too much was asked for.
    pub const LIMIT: &str = "PilothouseLimit";
    /// The API server gave no answer, or the cache is not filled yet.
    pub const UNAVAILABLE: &str = "PilothouseUnavailable";
}

impl ApiError {
    /// An error of the host's own: `reason` is one of [`reason`]'s, there is no HTTP status, and nothing was sent.
    pub fn of_host(reason: &str, message: impl Into<String>) -> Self {
        ApiError {
            reason: reason.to_owned(),
            code: 0,
            message: message.into(),
            causes: Vec::new(),
            retry_after_ms: None,
            maybe_applied: false,
        }
    }
}

/// Answers the imports of one call of `reconcile`; one method for each function of the contract.
///
/// Methods that answer a future may wait as long as they like: the guest is suspended and no thread waits. The future
/// is **dropped** when the call runs into its wall time, so a write that was sent must live on in the backend (a task
/// of its own), not in the future. The other methods must not block.
///
/// Texts come from the guest as they are: whoever shows them escapes control characters.
pub trait Backend: Send + Sync {
    /// `read.get`: the object's JSON, or none if there is no such object.
    fn get(&self, target: ObjectRef, how: Freshness) -> Reply<'_, Option<String>>;
    /// `read.select`: one page of objects.
    fn select(&self, query: Query, how: Freshness) -> Reply<'_, Page>;
    /// `read.digest`: a digest over the object's content, or none if there is no such object.
    fn digest(&self, target: ObjectRef) -> Reply<'_, Option<String>>;

    /// `write.create`: the object as stored.
    fn create(&self, target: ObjectRef, object: String, options: Options) -> Reply<'_, String>;
    /// `write.patch`: the object as stored.
    fn patch(&self, target: ObjectRef, change: Change, options: Options) -> Reply<'_, String>;
    /// `write.replace`: the object as stored.
    fn replace(&self, target: ObjectRef, object: String, options: Options) -> Reply<'_, String>;
    /// `write.remove`: the object, if finalizers still hold it.
    fn remove(&self, target: ObjectRef, propagation: Propagation, options: Options) -> Reply<'_, Option<String>>;

    /// `events.emit`. `reason` and `action` are at most 128 bytes long, `note` at most 1,024: the runtime cuts them, as
    /// the API server would refuse them.
    fn emit_event(&self, regarding: ObjectRef, severity: Severity, reason: String, action: String, note: String);

    /// `log.emit`, and what the guest wrote to stdout and stderr (with a field `stream`).
    fn log(&self, level: Level, message: String, fields: Vec<(String, String)>);

    /// `call.config`: the operator's configuration for this plugin, as JSON.
    fn config(&self) -> String;
    /// `call.now`, and the guest's wall clock: the time that belongs into objects.
    fn now(&self) -> Timestamp;
    /// `call.random`, and the guest's own source of randomness. `count` is at most 256; a longer answer is cut, a
    /// shorter one ends the guest's call if it asked through WASI.
    fn random(&self, count: u32) -> Vec<u8>;
    /// `call.attempt`: 1 for the first try since the key last went well.
    fn attempt(&self) -> u32;
    /// `call.trace-parent`: the W3C traceparent of this call, if it is traced.
    fn trace_parent(&self) -> Option<String>;

    /// Time that never goes backwards, since any origin: wall-time limits, `call.remaining-ms` and the guest's
    /// monotonic clock are measured by it. By default tokio's clock; a simulation passes its own, together with
    /// [`sleep`](Self::sleep).
    fn monotonic(&self) -> Duration {
        static ORIGIN: OnceLock<tokio::time::Instant> = OnceLock::new();
        #[allow(clippy::disallowed_methods, reason = "the clock of hosts that pass no other one in")]
        let now = tokio::time::Instant::now();
        now.saturating_duration_since(*ORIGIN.get_or_init(|| now))
    }

    /// Whether no time passes for the guest: its clocks and `call.remaining-ms` stand, and what it waits for is over at
    /// once. Limits go by [`monotonic`](Self::monotonic) all the same.
    fn time_stands(&self) -> bool {
        false
    }

    /// Ends after `duration` of [`monotonic`](Self::monotonic) time: a guest that sleeps, and the end of a call's wall
    /// time. By default tokio's timer, which needs a tokio runtime with time enabled.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        #[allow(clippy::disallowed_methods, reason = "the timer of hosts that pass no other one in")]
        let sleep = tokio::time::sleep(duration);
        Box::pin(sleep)
    }
}
