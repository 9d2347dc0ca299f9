//! How much one call may use.

use std::time::Duration;

/// The bounds of one call. Each that is hit ends the call with the [`CallError`](crate::CallError) that names it,
/// unless its field says otherwise; the next call starts afresh.
///
/// The names in brackets are those of the manifest and of the operator's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Time from the start of the call to its end, waiting included (`limits.wallMs`). Default: 30 s.
    pub wall: Duration,
    /// CPU time of the call, the host's own share (copying, parsing in a backend's method) included
    /// (`limits.cpuMs`). Checked at each tick of the engine's clock, so a call may use up to one tick (10 ms) more.
    /// Default: 2 s.
    pub cpu: Duration,
    /// Bytes of all linear memories together (`limits.memoryMiB`). At most
    /// [`EngineConfig::max_memory`](crate::EngineConfig::max_memory), to which it is cut. Default: 64 MiB.
    pub memory: u64,
    /// Reads, writes and events (`limits.hostCalls`). Asking for the time, logging and the like don't count: what they
    /// cost is CPU time. Default: 1,000.
    pub host_calls: u32,
    /// Writes among them (`limits.writes`). Default: 200.
    pub writes: u32,
    /// Bytes of the answer (`limits.outputKiB`). Default: 1 MiB.
    pub output: u64,
    /// Bytes of all arguments of one read or write (`limits.objectKiB`). What is larger is answered with an `ApiError`
    /// of the reason `PilothouseLimit`, and the call goes on. Default: 3 MiB, the most that an API server takes.
    pub argument: u64,
    /// Log lines, those on stdout and stderr included (`limits.logLines`). Further ones are dropped and counted, which
    /// is said once. Default: 200.
    pub log_lines: u32,
    /// Bytes of all log lines with their fields (`limits.logKiB`). Further ones are dropped and counted. Default:
    /// 64 KiB.
    pub log_bytes: u64,
    /// Events (`limits.events`). Further ones are dropped and counted, which is said once in the log. Default: 20.
    pub events: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            wall: Duration::from_secs(30),
            cpu: Duration::from_secs(2),
            memory: 64 << 20,
            host_calls: 1_000,
            writes: 200,
            output: 1 << 20,
            argument: 3 << 20,
            log_lines: 200,
            log_bytes: 64 << 10,
            events: 20,
        }
    }
}

/// Bytes that the guest may pass to the host in one piece (arguments of a host call, or an answer): the wall behind
/// [`Limits::argument`] and [`Limits::output`], since these are checked only once the host holds a copy.
pub(crate) const TRANSFER: usize = 4 << 20;

/// Elements of all function tables of a call together. Real guests have some hundred, the largest known 10,000.
pub(crate) const TABLE_ELEMENTS: usize = 50_000;

/// Core instances in a component. Rust has 3 or 4, Python some 20.
pub(crate) const CORE_INSTANCES: u32 = 50;

/// Function tables in a component.
pub(crate) const TABLES: u32 = 20;

/// Linear memories in a component.
pub(crate) const MEMORIES: u32 = 2;

/// WASI handles (streams, pollables) that a call may hold at once.
pub(crate) const HANDLES: usize = 1_024;

/// Bytes that are kept of each of stdout and stderr, the last ones.
pub(crate) const STREAM: usize = 16 << 10;

/// Bytes of a text that goes into an error: a panic's message, a trap's, the last words on stderr.
pub(crate) const TEXT: usize = 8 << 10;

/// The most bytes that `call.random` answers at once; the contract says so.
pub(crate) const RANDOM: u32 = 256;

/// The most bytes that WASI's random interfaces answer at once.
pub(crate) const WASI_RANDOM: u64 = 64 << 10;

/// Cuts a text to at most `most` bytes, at a character's boundary, and says so.
pub(crate) fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
        text.push('…');
    }
    text
}
