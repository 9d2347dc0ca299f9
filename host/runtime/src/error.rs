//! What can go wrong: starting an engine, loading a module, calling it.

use std::time::Duration;

use crate::CONTRACT_VERSION;

/// Why there is no engine. Nothing can be loaded then; the host should end with this.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A value of the configuration makes no sense.
    #[error("engine configuration: {field} is {value}: {mend}")]
    Config {
        /// Which field of [`EngineConfig`](crate::EngineConfig).
        field: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        mend: &'static str,
    },
    /// wasmtime refused: most often the operating system gave no address space.
    #[error(
        "the WebAssembly engine could not start: {message}. It reserves about 8 GiB of address space (not memory) for \
         each of {slots} slots: lower host.poolSize or lift the limit on address space (ulimit -v)"
    )]
    Engine {
        /// What wasmtime says.
        message: String,
        /// How many slots were asked for.
        slots: u32,
    },
    /// The thread of the epoch clock could not be started.
    #[error("the thread of the engine's clock could not be started: {message}; raise the limit on threads (ulimit -u)")]
    Clock {
        /// What the operating system says.
        message: String,
    },
}

/// Why a file is not a plugin that this host can run. Nothing of it is kept; other modules are not touched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// More bytes than [`EngineConfig::max_module`](crate::EngineConfig::max_module); not even looked at.
    #[error(
        "the module has {size} bytes and at most {limit} are taken: build it optimised and stripped (for Rust: \
         `opt-level = \"z\"`, `lto = true`, `strip = true`), or raise host.maxModuleMiB in the operator's \
         configuration"
    )]
    TooLarge {
        /// Its bytes.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// More functions than [`EngineConfig::max_functions`](crate::EngineConfig::max_functions); not compiled.
    #[error(
        "the module has more than {limit} functions: build it optimised (for Rust: `opt-level = \"z\"`, `lto = true`), \
         split it, or raise host.compile.functions in the operator's configuration"
    )]
    TooManyFunctions {
        /// The limit.
        limit: u32,
    },
    /// A function nests deeper than [`EngineConfig::max_nesting`](crate::EngineConfig::max_nesting), or components nest
    /// in components beyond any use; not compiled.
    #[error(
        "the module nests {what} deeper than {limit}: no compiler writes this from usual code; build it anew{}",
        if *what == "blocks" { ", or raise host.compile.nesting in the operator's configuration" } else { "" }
    )]
    TooDeep {
        /// What: blocks or components.
        what: &'static str,
        /// The limit.
        limit: u32,
    },
    /// Compiling came to one of [`CompileLimits`](crate::CompileLimits) and was ended.
    #[error(
        "compiling the module took more than its {what} of {limit} and was ended: build it smaller and optimised, or \
         raise {setting} in the operator's configuration"
    )]
    CompileLimit {
        /// What there was too little of.
        what: &'static str,
        /// How much there was, with its unit.
        limit: String,
        /// The operator's setting, as it stands in the file.
        setting: &'static str,
    },
    /// The process that compiles could not be started or failed: whether the module is any good is not known.
    #[error(
        "the process that compiles modules failed: {message}. Try again; if it stays and the machine has memory left, \
         report it with the module: it is a bug of this host"
    )]
    Compiler {
        /// What is known.
        message: String,
    },
    /// With it this process would come near a bound of the kernel's, at which the whole host ends. What is loaded goes
    /// on.
    #[error(
        "there is no room for another plugin: the host has {count} {what} of {limit} that the kernel gives it, and keeps \
         {kept_free} free for calls and connections. {mend}"
    )]
    NoRoom {
        /// What there is too little of: memory maps or open files.
        what: &'static str,
        /// How many this process has.
        count: u64,
        /// How many it may have.
        limit: u64,
        /// How many of these are for what is loaded already.
        kept_free: u64,
        /// What to do about it.
        mend: &'static str,
    },
    /// No WebAssembly of any kind.
    #[error("this is no WebAssembly: {found}. A plugin is a component: compile it for wasm32-wasip2{rust}", rust = RUST)]
    NotWasm {
        /// What it looks like.
        found: String,
    },
    /// A core module: the inside of a component without its types.
    #[error(
        "this is a core WebAssembly module and no component: compile it for wasm32-wasip2{rust}, or, if it is one for \
         wasm32-wasip1, turn it into a component with `pilothouse pack`",
        rust = RUST
    )]
    CoreModule,
    /// WebAssembly, but neither a module nor a component of the version that is standardised.
    #[error("this is WebAssembly of an unknown format ({found}): build it with the current tools for wasm32-wasip2")]
    UnknownFormat {
        /// The version and layer bytes.
        found: String,
    },
    /// The component exports no controller: it was built for something else.
    #[error(
        "this component is no Pilothouse plugin: it does not export {missing} (it exports {exports}). Build it against \
         the world `reconciler` of wit/plugin.wit, most simply with the SDK",
        exports = list(exports)
    )]
    OtherWorld {
        /// The export that is not there.
        missing: String,
        /// The exports that are.
        exports: Vec<String>,
    },
    /// Built for a version of the contract that this host does not speak.
    #[error(
        "found {found}, this host speaks {CONTRACT_VERSION}: rebuild the plugin with an SDK for {CONTRACT_VERSION}, or \
         take a host that speaks the plugin's version"
    )]
    ContractVersion {
        /// The interface with its version, as the component names it.
        found: String,
    },
    /// It wants something that plugins don't get.
    #[error("the component imports {import}, which plugins don't have: {mend}")]
    UnknownImport {
        /// The import's name.
        import: String,
        /// What to do about it.
        mend: &'static str,
    },
    /// It imports an interface that this host has, but with other functions or types than the host's.
    #[error(
        "the component's imports or exports don't fit this host (contract {CONTRACT_VERSION}): {message}. It was built \
         against a newer or a changed wit/plugin.wit: rebuild it with an SDK for {CONTRACT_VERSION}, or update the host"
    )]
    Contract {
        /// Which one, and what differs.
        message: String,
    },
    /// It needs more memory, tables or instances than this host gives to any plugin, whatever its limits.
    #[error(
        "the component needs more than this host gives to any plugin: {message}. Build it with a smaller memory to start \
         with (for C: `-Wl,-z,stack-size=65536`), or let one plugin have more by limits.memoryMiB"
    )]
    Demanding {
        /// What it needs, and the limit.
        message: String,
    },
    /// It has the header of a component, but is broken, or uses what this host has switched off.
    #[error("the component could not be compiled: {message}. Build it again with current tools for wasm32-wasip2")]
    Compile {
        /// What the compiler says.
        message: String,
    },
}

impl LoadError {
    /// Whether the compiler took much to come to this, and would come to it again: at a limit other than that of time
    /// by the clock, which depends on what else the machine does.
    pub fn is_costly_and_lasting(&self) -> bool {
        matches!(self, LoadError::CompileLimit { setting, .. } if *setting != WALL_SETTING)
    }
}

/// The setting of [`CompileLimits::wall`](crate::CompileLimits::wall).
pub(crate) const WALL_SETTING: &str = "host.compile.seconds";

const RUST: &str = " (for Rust: `cargo build --release --target wasm32-wasip2`)";

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(", ")
    }
}

/// How a call ended without an answer of the plugin's. The instance is gone; the next call gets a fresh one.
///
/// Texts that come from the guest are as the guest wrote them: escape control characters before showing them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The guest did something that WebAssembly forbids, or gave up without a panic's text, or exited.
    #[error("the plugin trapped: {message}")]
    Trap {
        /// What happened, where it is known, and the last words on stderr.
        message: String,
    },
    /// The guest panicked.
    #[error("the plugin panicked{}: {message}", place(file.as_deref(), *line))]
    Panic {
        /// The panic's message.
        message: String,
        /// The source file, as the guest's compiler named it.
        file: Option<String>,
        /// The line in it.
        line: Option<u32>,
    },
    /// [`Limits::wall`](crate::Limits::wall).
    #[error(
        "the call took longer than its wall time of {limit:?} and was ended: wait for less in one call (requeue \
         instead of sleeping), or raise limits.wallMs ({} now) in the manifest or the operator's configuration",
        limit.as_millis()
    )]
    WallTime {
        /// The limit.
        limit: Duration,
    },
    /// [`Limits::cpu`](crate::Limits::cpu).
    #[error(
        "the call used up its CPU time of {limit:?} and was ended: look for an endless loop, do less in one call, or \
         raise limits.cpuMs ({} now) in the manifest or the operator's configuration",
        limit.as_millis()
    )]
    CpuTime {
        /// The limit.
        limit: Duration,
    },
    /// [`Limits::memory`](crate::Limits::memory).
    #[error(
        "the plugin wanted {asked} bytes of memory and may have {limit}: read in pages instead of everything at once, or \
         raise limits.memoryMiB ({} now) in the manifest or the operator's configuration",
        limit >> 20
    )]
    Memory {
        /// The limit, in bytes.
        limit: u64,
        /// What the guest would have had, in bytes.
        asked: u64,
    },
    /// The function tables of the component are too large.
    #[error("the plugin wanted {asked} table elements and may have {limit}: a plugin this size must be split")]
    Table {
        /// The limit.
        limit: u64,
        /// What the guest would have had.
        asked: u64,
    },
    /// [`Limits::host_calls`](crate::Limits::host_calls).
    #[error(
        "the call made more than {limit} reads, writes and events and was ended: use `select` instead of many `get`s, \
         look for an endless loop, or raise limits.hostCalls ({limit} now) in the manifest or the operator's configuration"
    )]
    HostCalls {
        /// The limit.
        limit: u32,
    },
    /// [`Limits::writes`](crate::Limits::writes).
    #[error(
        "the call made more than {limit} writes and was ended: write only what differs, spread the work over more keys, \
         look for an endless loop, or raise limits.writes ({limit} now) in the operator's configuration"
    )]
    Writes {
        /// The limit.
        limit: u32,
    },
    /// [`Limits::output`](crate::Limits::output).
    #[error(
        "the plugin answered {size} bytes and may answer {limit}: shorten the manifest, note or message, or raise \
         limits.outputKiB ({} now) in the operator's configuration",
        limit >> 10
    )]
    Output {
        /// The limit, in bytes.
        limit: u64,
        /// The size of the answer, in bytes.
        size: u64,
    },
    /// More in one piece than the host copies at all.
    #[error(
        "the plugin passed more than {limit} bytes to the host in one piece (the arguments of a host call, or an answer): \
         no object, log line or answer may be that large"
    )]
    Transfer {
        /// The limit, in bytes.
        limit: u64,
    },
    /// A function was called that the component may import, because language runtimes do, but not use.
    #[error(
        "the plugin called {import}: plugins have no file system. Take data from objects (a ConfigMap, say) or the \
         plugin's configuration, or compile it in"
    )]
    Forbidden {
        /// The function.
        import: String,
    },
    /// One of the limits of `describe` and `check-config`, which are the host's.
    #[error(
        "it may take {limit} and took more: no setting raises that. Answer from what is compiled in, and leave the work to \
         reconciles"
    )]
    Pure {
        /// The limit, with its unit.
        limit: String,
        /// Which one, as [`CallError::kind`] names it.
        kind: &'static str,
    },
    /// The host could not start an instance: nothing the plugin did.
    #[error("the host could not start an instance: {message}")]
    Start {
        /// Why not.
        message: String,
    },
}

impl CallError {
    /// A short stable name for metrics and records: `Trap`, `Panic`, `WallTime`, `CpuTime`, `Memory`, `Table`,
    /// `HostCalls`, `Writes`, `Output`, `Transfer`, `Forbidden` or `Start`.
    pub fn kind(&self) -> &'static str {
        match self {
            CallError::Trap { .. } => "Trap",
            CallError::Panic { .. } => "Panic",
            CallError::WallTime { .. } => "WallTime",
            CallError::CpuTime { .. } => "CpuTime",
            CallError::Memory { .. } => "Memory",
            CallError::Table { .. } => "Table",
            CallError::HostCalls { .. } => "HostCalls",
            CallError::Writes { .. } => "Writes",
            CallError::Output { .. } => "Output",
            CallError::Transfer { .. } => "Transfer",
            CallError::Forbidden { .. } => "Forbidden",
            CallError::Pure { kind, .. } => kind,
            CallError::Start { .. } => "Start",
        }
    }

    /// As it is told of `describe` and `check-config`: nobody can raise their limits.
    pub(crate) fn of_pure(self) -> Self {
        let limit = match &self {
            CallError::WallTime { limit } => format!("{limit:?}"),
            CallError::CpuTime { limit } => format!("{limit:?} of CPU time"),
            CallError::Memory { limit, .. } => format!("{} KiB of memory", limit >> 10),
            CallError::Output { limit, .. } => format!("{} KiB for its answer", limit >> 10),
            _ => return self,
        };
        let kind = self.kind();
        CallError::Pure { limit, kind }
    }
}

fn place(file: Option<&str>, line: Option<u32>) -> String {
    match (file, line) {
        (Some(file), Some(line)) => format!(" at {file}:{line}"),
        (Some(file), None) => format!(" at {file}"),
        _ => String::new(),
    }
}
