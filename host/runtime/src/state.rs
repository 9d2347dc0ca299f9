//! What belongs to one call: its backend, its budgets, what it used, and its last words; and, where the instance is
//! kept for another one, what goes on with it: its memory's size, its streams and other handles.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use wasmtime::ResourceLimiter;
use wasmtime::component::ResourceTable;

use crate::backend::Backend;
use crate::capture::Capture;
use crate::limits::{CORE_INSTANCES, HANDLES, Limits, MEMORIES, TABLE_ELEMENTS, TABLES};
use crate::meter::Meter;
use crate::panics::Panic;
use crate::pure::Pure;
use crate::{CallError, Level};

/// The data of a call's store.
pub(crate) struct State {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) limits: Limits,
    pub(crate) meter: Arc<Meter>,
    /// The backend's monotonic clock when the instance's first call began: what its own clock counts from.
    pub(crate) born: Duration,
    /// The backend's monotonic clock when the call began.
    pub(crate) began: Duration,
    pub(crate) table: ResourceTable,
    pub(crate) stdout: Capture,
    pub(crate) stderr: Capture,
    /// The last panic that was logged and not reported otherwise.
    pub(crate) panic: Option<Panic>,
    pub(crate) used: Used,
    memory: u64,
    /// What it had once its first call was over; none until then.
    memory_at_first: Option<u64>,
    table_elements: u64,
    log_bytes: u64,
}

/// What a call used.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Used {
    pub(crate) memory_peak: u64,
    pub(crate) host_calls: u32,
    pub(crate) writes: u32,
    pub(crate) log_lines: u32,
    pub(crate) log_dropped: u32,
    pub(crate) events: u32,
    pub(crate) events_dropped: u32,
}

impl State {
    pub(crate) fn new(backend: Arc<dyn Backend>, limits: Limits) -> Self {
        let began = backend.monotonic();
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES);
        State {
            backend,
            limits,
            meter: Arc::default(),
            born: began,
            began,
            table,
            stdout: Capture::default(),
            stderr: Capture::default(),
            panic: None,
            used: Used::default(),
            memory: 0,
            memory_at_first: None,
            table_elements: 0,
            log_bytes: 0,
        }
    }

    /// Begins another call in the same instance.
    pub(crate) fn renew(&mut self, backend: Arc<dyn Backend>, limits: Limits) {
        self.began = backend.monotonic();
        self.backend = backend;
        self.limits = limits;
        self.meter.reset();
        self.panic = None;
        self.log_bytes = 0;
        self.used = Used {
            memory_peak: self.memory,
            ..Used::default()
        };
    }

    /// Lets go of what belongs to the call that is over: between two calls there is nobody to ask.
    pub(crate) fn forget(&mut self) {
        static NOBODY: LazyLock<Arc<Pure>> = LazyLock::new(Arc::default);
        self.backend = Arc::clone(&*NOBODY) as Arc<dyn Backend>;
    }

    /// By how many bytes its linear memory has grown since its first call was over. To be asked after each call.
    pub(crate) fn growth(&mut self) -> u64 {
        let first = *self.memory_at_first.get_or_insert(self.memory);
        self.memory.saturating_sub(first)
    }

    /// Monotonic time since the call began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.backend.monotonic().saturating_sub(self.began)
    }

    /// What the clock's tick and each host call ask: may this call go on?
    pub(crate) fn check_time(&self) -> Result<(), CallError> {
        if self.elapsed() >= self.limits.wall {
            return Err(CallError::WallTime {
                limit: self.limits.wall,
            });
        }
        if self.meter.has_used(self.limits.cpu) {
            return Err(CallError::CpuTime { limit: self.limits.cpu });
        }
        Ok(())
    }

    /// Counts a read, a write or an event.
    pub(crate) fn admit(&mut self) -> wasmtime::Result<()> {
        if self.used.host_calls >= self.limits.host_calls {
            let limit = self.limits.host_calls;
            return Err(wasmtime::Error::new(CallError::HostCalls { limit }));
        }
        self.used.host_calls += 1;
        self.check_time().map_err(wasmtime::Error::new)
    }

    /// Counts a write.
    pub(crate) fn admit_write(&mut self) -> wasmtime::Result<()> {
        let limit = self.limits.writes;
        if self.used.writes >= limit {
            return Err(wasmtime::Error::new(CallError::Writes { limit }));
        }
        self.used.writes += 1;
        Ok(())
    }

    /// Passes a log line on, if the budget has room for it.
    pub(crate) fn log(&mut self, level: Level, message: String, fields: Vec<(String, String)>) {
        // 16 bytes for each field and line stand for what the host adds: quotes, keys, a time.
        let size = fields.iter().fold(message.len() + 16, |sum, (key, value)| {
            sum + key.len() + value.len() + 16
        });
        let bytes = self.log_bytes.saturating_add(u64::try_from(size).unwrap_or(u64::MAX));
        if self.used.log_lines >= self.limits.log_lines || bytes > self.limits.log_bytes {
            if self.used.log_dropped == 0 {
                let Limits {
                    log_lines, log_bytes, ..
                } = self.limits;
                let said = format!(
                    "the plugin logged more than {log_lines} lines or {log_bytes} bytes in one call: what does not fit is \
                     dropped and counted (limits.logLines, limits.logKiB)"
                );
                self.backend.log(Level::Warn, said, Vec::new());
            }
            self.used.log_dropped = self.used.log_dropped.saturating_add(1);
            return;
        }
        self.used.log_lines += 1;
        self.log_bytes = bytes;
        self.backend.log(level, message, fields);
    }

    /// Passes on, line by line, what the guest wrote to a stream.
    pub(crate) fn log_stream(&mut self, level: Level, stream: &str, text: &str, dropped: u64) {
        if dropped > 0 {
            let said = format!("{dropped} bytes that the plugin wrote to {stream} before this are not kept");
            self.log(Level::Warn, said, vec![("stream".to_owned(), stream.to_owned())]);
        }
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            self.log(level, line.to_owned(), vec![("stream".to_owned(), stream.to_owned())]);
        }
    }

    /// Passes on a panic that did not end the call, or was followed by another one.
    pub(crate) fn log_panic(&mut self, panic: Panic) {
        let mut fields = vec![("panic".to_owned(), "true".to_owned())];
        fields.extend(panic.file.map(|file| ("file".to_owned(), file)));
        fields.extend(panic.line.map(|line| ("line".to_owned(), line.to_string())));
        self.log(Level::Error, panic.message, fields);
    }
}

/// Answers `Err` and not `Ok(false)`: the guest is ended with the limit's name instead of an unexplained `unreachable`.
impl ResourceLimiter for State {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let asked = self.memory.saturating_add((desired.saturating_sub(current)) as u64);
        if asked > self.limits.memory {
            let limit = self.limits.memory;
            return Err(wasmtime::Error::new(CallError::Memory { limit, asked }));
        }
        self.memory = asked;
        self.used.memory_peak = self.used.memory_peak.max(asked);
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let asked = self
            .table_elements
            .saturating_add((desired.saturating_sub(current)) as u64);
        let limit = TABLE_ELEMENTS as u64;
        if asked > limit {
            return Err(wasmtime::Error::new(CallError::Table { limit, asked }));
        }
        self.table_elements = asked;
        Ok(true)
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES as usize
    }

    fn tables(&self) -> usize {
        TABLES as usize
    }

    fn memories(&self) -> usize {
        MEMORIES as usize
    }
}
