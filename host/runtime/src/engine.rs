//! The engine: one for a process. Configuration, the epoch clock, slots, and linking.

use std::fmt;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::Semaphore;
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails};

use crate::bindings::{Reconciler, ReconcilerPre};
use crate::compile::{self, Caps, check};
use crate::limits::{CORE_INSTANCES, MEMORIES, TABLE_ELEMENTS, TABLES};
use crate::module::Module;
use crate::room::Room;
use crate::state::State;
use crate::warm::{Nest, Nests, SWEEP, Warm};
use crate::{EngineError, Limits, LoadError, load, wasi};

/// How an engine is set up. The defaults suit a host with some dozens of calls at once.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// How many calls may run at once, waiting ones included; further ones wait for a slot before their time begins to
    /// count. Size it to concurrency, not to the number of plugins. Each slot reserves about 8 GiB of address space
    /// (not memory). From 1 to 4,096. Default: 64.
    pub slots: u32,
    /// How many instances may be kept between calls ([`Module::warm`]), over all plugins, besides those that the slots
    /// are for. Each reserves the same address space. Up to 4,096. Default: 64.
    pub warm: u32,
    /// The largest memory that any plugin's [`Limits::memory`] may give it, in bytes; larger limits are cut to it. From
    /// 64 KiB to 4 GiB. Default: 256 MiB.
    pub max_memory: u64,
    /// The largest module that is compiled, in bytes. Default: 64 MiB.
    pub max_module: u64,
    /// The most functions of a module that is compiled. A Python plugin has some 20,000. Default: 100,000.
    pub max_functions: u32,
    /// The deepest nesting of blocks in a function that is compiled. A `switch` in C or `match` in Rust is as deep as
    /// it has arms. Default: 5,000.
    pub max_nesting: u32,
    /// The step of the clock by which guests yield and CPU time is checked. From 1 ms to 1 s. Default: 10 ms.
    pub tick: Duration,
    /// The limits of `describe` and `check-config`. Default: 10 s of wall time, else those of [`Limits::default`].
    pub pure: Limits,
}

impl Default for EngineConfig {
    fn default() -> Self {
        EngineConfig {
            slots: 64,
            warm: 64,
            max_memory: 256 << 20,
            max_module: 64 << 20,
            max_functions: 100_000,
            max_nesting: 5_000,
            tick: Duration::from_millis(10),
            pure: Limits {
                wall: Duration::from_secs(10),
                ..Limits::default()
            },
        }
    }
}

impl EngineConfig {
    fn check(&self) -> Result<(), EngineError> {
        let wrong = |field, value: String, mend| Err(EngineError::Config { field, value, mend });
        if !(1..=4_096).contains(&self.slots) {
            return wrong("slots", self.slots.to_string(), "take 1 to 4096");
        }
        if self.warm > 4_096 {
            return wrong("warm", self.warm.to_string(), "take 0 to 4096");
        }
        if !(64 << 10..=4 << 30).contains(&self.max_memory) {
            return wrong(
                "max_memory",
                self.max_memory.to_string(),
                "take 65536 (64 KiB) to 4294967296 (4 GiB)",
            );
        }
        if !(Duration::from_millis(1)..=Duration::from_secs(1)).contains(&self.tick) {
            return wrong("tick", format!("{:?}", self.tick), "take 1ms to 1s");
        }
        Ok(())
    }
}

/// Compiles modules and runs their calls. Clones share everything; the clock's thread ends with the last clone and the
/// last [`Module`].
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) wasm: wasmtime::Engine,
    pub(crate) config: EngineConfig,
    pub(crate) slots: Semaphore,
    /// Places of instances that are kept.
    pub(crate) places: Arc<Semaphore>,
    pub(crate) nests: Arc<Nests>,
    linker: Linker<State>,
    room: Mutex<Room>,
    pagemap_scan: bool,
    _clock: Clock,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner {
            config,
            slots,
            pagemap_scan,
            ..
        } = &*self.inner;
        f.debug_struct("Engine")
            .field("config", config)
            .field("free_slots", &slots.available_permits())
            .field("pagemap_scan", pagemap_scan)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Starts an engine and the thread of its clock. One is enough for a process; it takes some milliseconds.
    ///
    /// # Errors
    /// If the configuration makes no sense, or the operating system gives no address space or no thread.
    pub fn new(config: EngineConfig) -> Result<Engine, EngineError> {
        config.check()?;
        let pagemap_scan = pagemap_scan_available();
        // Instances at once: each is in a call or kept.
        let slots = config.slots.saturating_add(config.warm);
        let refused = |error: wasmtime::Error| EngineError::Engine {
            message: format!("{error:#}"),
            slots,
        };
        let wasm = wasmtime::Engine::new(&settings(&config, slots, pagemap_scan)).map_err(refused)?;
        let mut linker = Linker::new(&wasm);
        Reconciler::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state).map_err(refused)?;
        wasi::add_to_linker(&mut linker).map_err(refused)?;
        let nests = Arc::new(Nests::default());
        let clock = Clock::start(&wasm, config.tick, Arc::clone(&nests))?;
        Ok(Engine {
            inner: Arc::new(Inner {
                wasm,
                slots: Semaphore::new(config.slots as usize),
                places: Arc::new(Semaphore::new(config.warm as usize)),
                nests,
                config,
                linker,
                room: Mutex::new(Room::new(slots)),
                pagemap_scan,
                _clock: clock,
            }),
        })
    }

    /// The configuration it was started with.
    pub fn config(&self) -> &EngineConfig {
        &self.inner.config
    }

    /// Whether instances are cleaned with the kernel's `PAGEMAP_SCAN` (Linux 6.7 and later), which makes a fresh one
    /// three times cheaper.
    pub fn pagemap_scan(&self) -> bool {
        self.inner.pagemap_scan
    }

    /// Checks and compiles a module, and links it, so that a call only has to instantiate.
    ///
    /// It takes 0.1 s for a small Rust plugin and up to 15 s for a Python one, uses all processors, and **can't be
    /// stopped**: don't run it on a thread of the async runtime, and take [`Modules`](crate::Modules) for what you
    /// don't trust.
    ///
    /// # Errors
    /// If the bytes are no plugin for this host: [`LoadError`] names what they are and what to do.
    pub fn compile(&self, bytes: &[u8]) -> Result<Module, LoadError> {
        check::check(bytes, &self.caps())?;
        self.make_room()?;
        self.link(Component::new(&self.inner.wasm, bytes), bytes.len() as u64)
    }

    /// Checks and compiles a module to the code that this engine loads. It costs what [`Engine::compile`] does, and
    /// can't be stopped either; whether the world and the version are right is seen only when the code is loaded.
    ///
    /// # Errors
    /// If the bytes are no component, are beyond a cap of [`EngineConfig`], or can't be compiled.
    pub fn precompile(&self, bytes: &[u8]) -> Result<Vec<u8>, LoadError> {
        compile::precompile(&self.inner.wasm, &self.caps(), bytes)
    }

    /// What code must have been compiled under for this engine to take it: a hash over the version and settings of
    /// wasmtime, the processor's features, the caps of [`EngineConfig`] and the version of our contract.
    pub fn compatibility(&self) -> [u8; 32] {
        compile::compatibility(&self.inner.wasm, &self.caps())
    }

    pub(crate) fn caps(&self) -> Caps {
        let config = &self.inner.config;
        Caps {
            module: config.max_module,
            functions: config.max_functions,
            nesting: config.max_nesting,
        }
    }

    /// Before a module is loaded, since that is what takes maps and file descriptors.
    ///
    /// # Errors
    /// There is no room for another one.
    pub(crate) fn make_room(&self) -> Result<(), LoadError> {
        self.inner.room.lock().unwrap_or_else(PoisonError::into_inner).admit()
    }

    /// For the instances of one plugin.
    pub(crate) fn nest(&self, warm: Warm) -> Arc<Nest> {
        let nest = Arc::new(Nest::new(warm, Arc::clone(&self.inner.places)));
        self.inner.nests.add(&nest);
        nest
    }

    pub(crate) fn wasm(&self) -> &wasmtime::Engine {
        &self.inner.wasm
    }

    /// The steps after the compiler: is it of our world, and does everything that it imports fit?
    pub(crate) fn link(&self, compiled: wasmtime::Result<Component>, size: u64) -> Result<Module, LoadError> {
        let broken = |error: wasmtime::Error| LoadError::Compile {
            message: load::told(&error),
        };
        let component = compiled.map_err(|error| match load::told(&error) {
            // The pool's limits: memory, tables, instances. There is no type to tell these by.
            message if message.contains("pooling allocator") => LoadError::Demanding { message },
            message => LoadError::Compile { message },
        })?;
        let load::Interfaces {
            imports,
            exports,
            forbidden,
        } = load::check_interfaces(&component)?;
        let misfit = |error: wasmtime::Error| LoadError::Contract {
            message: load::told(&error),
        };
        let mut linker = self.inner.linker.clone();
        wasi::forbid(&mut linker, &component, &forbidden).map_err(misfit)?;
        let instance = linker.instantiate_pre(&component).map_err(misfit)?;
        let pre = ReconcilerPre::new(instance).map_err(misfit)?;
        // Else the first call would pay for it.
        component.initialize_copy_on_write_image().map_err(broken)?;
        Ok(Module::new(self.clone(), pre, size, imports, exports))
    }
}

#[cfg(target_os = "linux")]
fn pagemap_scan_available() -> bool {
    PoolingAllocationConfig::is_pagemap_scan_available()
}

#[cfg(not(target_os = "linux"))]
fn pagemap_scan_available() -> bool {
    false
}

fn settings(config: &EngineConfig, slots: u32, pagemap_scan: bool) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_core_instances(slots.saturating_mul(CORE_INSTANCES))
        .total_memories(slots.saturating_mul(MEMORIES))
        .total_tables(slots.saturating_mul(TABLES))
        .total_stacks(slots)
        .max_core_instances_per_component(CORE_INSTANCES)
        .max_memories_per_component(MEMORIES)
        .max_tables_per_component(TABLES)
        .max_tables_per_module(TABLES)
        .table_elements(TABLE_ELEMENTS)
        .max_memory_size(usize::try_from(config.max_memory).unwrap_or(usize::MAX));
    if pagemap_scan {
        pool.pagemap_scan(Enabled::Yes)
            .linear_memory_keep_resident(2 << 20)
            .table_keep_resident(64 << 10);
    } else {
        // Kept pages would have to be overwritten whole, and would stay with every slot that was ever used.
        pool.decommit_batch_size(32);
    }
    let mut settings = code_settings();
    settings
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .memory_init_cow(true);
    settings
}

/// The part of the settings that compiled code depends on.
fn code_settings() -> Config {
    let mut settings = Config::new();
    settings
        .epoch_interruption(true)
        // Guests block; a call costs a third without it.
        .concurrency_support(false)
        .relaxed_simd_deterministic(true)
        // The default asks the environment.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable);
    settings
}

/// An engine whose code ours takes, and that runs nothing: no pool, no clock, and no thread but the one that calls.
///
/// # Errors
/// If there is no compiler for this processor.
pub(crate) fn compile_only() -> wasmtime::Result<wasmtime::Engine> {
    let mut settings = code_settings();
    settings.parallel_compilation(false);
    wasmtime::Engine::new(&settings)
}

/// The thread that ticks: without it no guest would ever yield or be cut, and no idle instance would end.
struct Clock {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Clock {
    fn start(wasm: &wasmtime::Engine, tick: Duration, nests: Arc<Nests>) -> Result<Clock, EngineError> {
        let (stop, stopped) = mpsc::channel::<()>();
        let engine = wasm.weak();
        let thread = std::thread::Builder::new()
            .name("pilothouse-clock".to_owned())
            .spawn(move || {
                let mut since_sweep = Duration::ZERO;
                while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(tick) {
                    let Some(engine) = engine.upgrade() else { return };
                    engine.increment_epoch();
                    since_sweep += tick;
                    if since_sweep >= SWEEP {
                        since_sweep = Duration::ZERO;
                        nests.sweep();
                    }
                }
            })
            .map_err(|error| EngineError::Clock {
                message: error.to_string(),
            })?;
        Ok(Clock {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        // Wakes the thread at once, so this waits for microseconds.
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Its body can't panic; and if it did, there is nobody left to tell.
            let _ended = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_ends_with_the_last_clone_of_its_engine() {
        let engine = Engine::new(EngineConfig {
            slots: 1,
            ..EngineConfig::default()
        })
        .unwrap();
        let weak = engine.inner.wasm.weak();
        let other = engine.clone();
        drop(engine);
        assert!(weak.upgrade().is_some());
        // Joins the thread: would hang if it didn't end.
        drop(other);
        assert!(weak.upgrade().is_none());
    }

    #[test]
    fn a_configuration_that_makes_no_sense_is_refused_with_its_field() {
        let refused = |config| Engine::new(config).map(|_| ()).unwrap_err().to_string();
        let config = EngineConfig {
            slots: 0,
            ..EngineConfig::default()
        };
        assert_eq!(refused(config), "engine configuration: slots is 0: take 1 to 4096");
        let config = EngineConfig {
            max_memory: 1,
            ..EngineConfig::default()
        };
        assert!(refused(config).starts_with("engine configuration: max_memory is 1: take 65536"));
        let config = EngineConfig {
            tick: Duration::ZERO,
            ..EngineConfig::default()
        };
        assert_eq!(refused(config), "engine configuration: tick is 0ns: take 1ms to 1s");
    }
}
