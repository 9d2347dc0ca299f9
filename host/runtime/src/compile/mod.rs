//! From bytes to a module: compiled by another process, kept in a cache, loaded.
//!
//! Promises:
//! - What is compiled is bounded before (`check`) and while it is compiled ([`CompileLimits`]).
//! - Code comes out of the cache as it went in, or not at all (`cache`); what does not verify is deleted, compiled anew
//!   and never run.
//! - Without a usable cache everything works, only slower; the log says so.
//!
//! What is trusted: the compiler, to make of any module code that stays in its sandbox. That it runs in a process of
//! its own bounds what a hostile module costs (time, memory, a crash), and keeps what the compiler may do wrong away
//! from keys, tokens and connections. It does not make the code better: the host runs what comes back. A module that
//! takes the compiler over (it is Rust, its unsafe parts are few) would have the host run code of its choice.

#[cfg(unix)]
pub(crate) mod cache;
pub(crate) mod check;
#[cfg(unix)]
mod child;
#[cfg(unix)]
mod entry;
mod fingerprint;
#[cfg(unix)]
mod frame;
mod precompiled;
#[cfg(unix)]
pub(crate) mod worker;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use check::Caps;
pub(crate) use fingerprint::compatibility;

use sha2::{Digest as _, Sha256};

#[cfg(unix)]
use self::cache::CodeCache;
use crate::{Engine, LoadError, Module, load};

/// What compiling one module may take. Each limit that is hit ends the compiling process with a
/// [`LoadError::CompileLimit`] that names it, and the operator's setting for it (in brackets).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileLimits {
    /// Time by the clock, waiting for a processor included (`host.compile.seconds`). Default: 300 s.
    pub wall: Duration,
    /// CPU time, in whole seconds, at least one (`host.compile.cpuSeconds`). The largest known plugin (Python, 20 MB)
    /// takes some 30 s. Default: 120 s.
    pub cpu: Duration,
    /// Bytes of memory (`host.compile.memoryMiB`). A module of 1 MB takes about 100 MB. Default: 2 GiB.
    pub memory: u64,
    /// Bytes of the compiled code, about three times those of the module (`host.compile.codeMiB`). Default: 512 MiB.
    pub code: u64,
}

impl Default for CompileLimits {
    fn default() -> Self {
        CompileLimits {
            wall: Duration::from_secs(300),
            cpu: Duration::from_secs(120),
            memory: 2 << 30,
            code: 512 << 20,
        }
    }
}

/// Who compiles.
#[derive(Debug, Clone)]
pub enum Compiler {
    /// The calling thread and its helpers. It can't be stopped, and what it takes is not limited: for modules that the
    /// operator built, and for tests.
    InProcess,
    /// A process for each module, which ends with it. The program is started with these arguments and must call
    /// [`compile_child_main`](crate::compile_child_main): it gets no environment and no files but its three pipes (and
    /// what was handed to this process open to its children, which is nothing that this host opened).
    #[cfg(unix)]
    Child {
        /// The program.
        program: PathBuf,
        /// Its arguments.
        args: Vec<String>,
        /// What it may take.
        limits: CompileLimits,
    },
}

impl Compiler {
    /// This same program in a process of its own, started with these arguments; where there are no such processes
    /// ([`Compiler::Child`] is of Unix), in this one.
    ///
    /// # Errors
    /// The operating system does not say which program this is.
    pub fn this_program(args: &[&str], limits: CompileLimits) -> std::io::Result<Compiler> {
        #[cfg(unix)]
        {
            // The program that runs, even if another lies under its name by now.
            let program = match PathBuf::from("/proc/self/exe") {
                own if cfg!(target_os = "linux") && own.exists() => own,
                _ => std::env::current_exe()?,
            };
            let args = args.iter().map(|arg| (*arg).to_owned()).collect();
            Ok(Compiler::Child { program, args, limits })
        }
        #[cfg(not(unix))]
        {
            let (_, _) = (args, limits);
            Ok(Compiler::InProcess)
        }
    }

    fn compile(&self, engine: &Engine, bytes: &[u8]) -> Result<Code, LoadError> {
        match self {
            Compiler::InProcess => engine.precompile(bytes).map(Code),
            #[cfg(unix)]
            Compiler::Child { program, args, limits } => {
                let task = frame::Task {
                    caps: engine.caps(),
                    cpu_seconds: u32::try_from(limits.cpu.as_secs()).unwrap_or(u32::MAX).max(1),
                    memory: limits.memory,
                    compatibility: engine.compatibility(),
                };
                child::compile(program, args, limits, &task, bytes).map(Code)
            }
        }
    }
}

/// What a compiler of ours made; see `precompiled`. Only [`Compiler::compile`] makes one.
struct Code(Vec<u8>);

impl Code {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Makes modules for one engine. Clones share everything.
#[derive(Debug, Clone)]
pub struct Modules {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    engine: Engine,
    compiler: Compiler,
    #[cfg(unix)]
    cache: Option<CodeCache>,
}

impl Modules {
    /// Without a cache: every module is compiled.
    pub fn new(engine: Engine, compiler: Compiler) -> Modules {
        Modules {
            inner: Arc::new(Inner {
                engine,
                compiler,
                #[cfg(unix)]
                cache: None,
            }),
        }
    }

    /// With a cache: what stands in it is not compiled.
    #[cfg(unix)]
    pub fn with_cache(engine: Engine, compiler: Compiler, cache: CodeCache) -> Modules {
        let cache = Some(cache);
        Modules {
            inner: Arc::new(Inner {
                engine,
                compiler,
                cache,
            }),
        }
    }

    /// The engine that the modules run in.
    pub fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    /// A hash of what decides whether the same bytes can be compiled: [`Engine::compatibility`], and the limits of the
    /// process that compiles but for its time by the clock.
    pub fn conditions(&self) -> [u8; 32] {
        let Inner { engine, compiler, .. } = &*self.inner;
        let mut hasher = Sha256::new();
        hasher.update(engine.compatibility());
        match compiler {
            Compiler::InProcess => hasher.update([0]),
            #[cfg(unix)]
            Compiler::Child { limits, .. } => {
                hasher.update([1]);
                hasher.update(limits.cpu.as_secs().to_le_bytes());
                hasher.update(limits.memory.to_le_bytes());
                hasher.update(limits.code.to_le_bytes());
            }
        }
        hasher.finalize().into()
    }

    /// Makes a module of these bytes: finds its code in the cache, or has it compiled and keeps it there.
    ///
    /// It blocks, for a millisecond where the code is at hand and for as long as [`CompileLimits::wall`] where it is
    /// not: not for a thread of the async runtime. It can't be cancelled.
    ///
    /// # Errors
    /// If the bytes are no plugin for this host, or can't be compiled within the limits. What is wrong with the cache
    /// is no error: it is said in the log, and the module is compiled.
    pub fn load(&self, bytes: &[u8]) -> Result<Module, LoadError> {
        let Inner { engine, compiler, .. } = &*self.inner;
        check::check_size_and_header(bytes, &engine.caps())?;
        engine.make_room()?;
        let size = bytes.len() as u64;
        #[cfg(unix)]
        if let Some(cache) = &self.inner.cache {
            return self.load_by(cache, bytes);
        }
        let code = compiler.compile(engine, bytes)?;
        engine.link(precompiled::load(engine.wasm(), &code), size)
    }

    #[cfg(unix)]
    fn load_by(&self, cache: &CodeCache, bytes: &[u8]) -> Result<Module, LoadError> {
        let Inner { engine, compiler, .. } = &*self.inner;
        let size = bytes.len() as u64;
        let name = entry::Name::new(bytes, engine.compatibility());
        let mapped = || {
            let file = cache.get(&name)?;
            let mapped = precompiled::map(engine.wasm(), &file);
            mapped
                .map_err(|error| cache.unloadable(&name, &load::told(&error)))
                .ok()
        };
        if let Some(component) = mapped() {
            return engine.link(Ok(component), size);
        }
        let code = compiler.compile(engine, bytes)?;
        cache.put(&name, &code);
        // From the file, so that its pages are the page cache's and not this process's own.
        match mapped() {
            Some(component) => engine.link(Ok(component), size),
            None => engine.link(precompiled::load(engine.wasm(), &code), size),
        }
    }
}

/// Checks the bytes against the caps, and compiles them.
pub(crate) fn precompile(wasm: &wasmtime::Engine, caps: &Caps, bytes: &[u8]) -> Result<Vec<u8>, LoadError> {
    check::check(bytes, caps)?;
    wasm.precompile_component(bytes).map_err(|error| LoadError::Compile {
        message: load::told(&error),
    })
}
