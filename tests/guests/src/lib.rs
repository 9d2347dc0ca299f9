//! Compiles plugins ("guests") for `wasm32-wasip2`, for tests and for xtask.
//!
//! Promises:
//! - Two ways to a compiler, tried in this order: rustup's `wasm32-wasip2` target, if it is there or can be added
//!   (network), else Debian's packages `rustc-web`, `rust-web-src` and `wasi-libc` (root and network, if they are not
//!   installed yet). Which way was taken is reported; so is what needs root or network, *before* it is tried.
//!   `PILOTHOUSE_GUEST_TOOLCHAIN=rustup` or `=debian` forces one.
//! - The environment of an outer `cargo test` or `cargo xtask` (its `RUSTFLAGS`, wrappers, jobserver, target
//!   directory, …) does not leak into the guest's build.
//! - Guests have their own target directory, so that an outer cargo that holds the lock of `target/` is no deadlock.
//! - A failed build carries the compiler's own text.
//!
//! It does not bound how long a compiler runs, and it trusts what it compiles: build scripts run as they are.
//!
//! ```no_run
//! // In a test: the workspace's package `greeting` as a component.
//! let wasm = pilothouse_guests::component("greeting");
//! // A directory of somebody's own, with lines of progress on stderr.
//! let toolchain = pilothouse_guests::Toolchain::find(&mut |line| eprintln!("{line}"))?;
//! let other = toolchain.build_dir("my-plugin".as_ref(), "my-plugin/target".as_ref())?;
//! # Ok::<(), pilothouse_guests::GuestError>(())
//! ```

mod build;
pub mod bytes;
mod find;
mod run;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

pub use find::{DEBIAN_PACKAGES, FORCE, Toolchain, Way};

/// The target all guests are compiled for.
pub const TARGET: &str = "wasm32-wasip2";

/// The target of core modules, for the tests of what turns them into components.
pub const CORE_TARGET: &str = "wasm32-wasip1";

/// Why there is no component.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuestError {
    /// No way to a compiler for the target; each way that was tried with what it lacks and the command that mends it.
    #[error("found no way to compile plugins:\n{}", .tried.iter().map(|line| format!("  - {line}")).collect::<Vec<_>>().join("\n"))]
    NoToolchain {
        /// One line for each way.
        tried: Vec<String>,
    },
    /// The environment variable [`FORCE`] holds something else than `rustup` or `debian`.
    #[error("{FORCE}={0:?}: only \"rustup\" and \"debian\" mean something; unset it to let the tool choose")]
    UnknownWay(String),
    /// A program could not be started at all.
    #[error("could not start `{command}`: {source}")]
    Start {
        /// The command line.
        command: String,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// cargo failed; its own text is in here.
    #[error("`{command}` failed ({status}):\n{output}")]
    Build {
        /// The command line.
        command: String,
        /// How it ended.
        status: String,
        /// The end of what it wrote to stderr, at most 32 KiB.
        output: String,
    },
    /// cargo succeeded, but there is no component among what it built.
    #[error(
        "`{command}` built no component: the package's Cargo.toml needs `[lib]` with `crate-type = [\"cdylib\"]` \
         (and \"rlib\" for its native tests)"
    )]
    NoComponent {
        /// The command line.
        command: String,
    },
    /// A path given by the caller does not exist or can't be read.
    #[error("{path}: {source}")]
    Path {
        /// The path as it was given.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
}

/// The root of this workspace.
pub fn workspace_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// Where the workspace's own guests are built: `target/guest` under the root, apart from the outer cargo's.
pub fn guest_target_dir() -> PathBuf {
    workspace_root().join("target").join("guest")
}

/// The component of a package of this workspace, built with `--profile guest` if it isn't up to date. For tests: each
/// package is asked for once in a process; cargo's lock keeps processes apart. Progress goes to stderr.
///
/// # Panics
/// If there is no toolchain or the package doesn't compile, with the whole error: a test can do nothing else about it.
#[track_caller]
pub fn component(package: &str) -> PathBuf {
    static TOOLCHAIN: OnceLock<Result<Toolchain, String>> = OnceLock::new();
    built(&TOOLCHAIN, TARGET, package)
}

/// As [`component`], but the core module that the package becomes for [`CORE_TARGET`].
///
/// # Panics
/// As [`component`].
#[track_caller]
pub fn core_module(package: &str) -> PathBuf {
    static TOOLCHAIN: OnceLock<Result<Toolchain, String>> = OnceLock::new();
    built(&TOOLCHAIN, CORE_TARGET, package)
}

#[track_caller]
fn built(found: &OnceLock<Result<Toolchain, String>>, target: &'static str, package: &str) -> PathBuf {
    type Built = Arc<OnceLock<Result<PathBuf, String>>>;
    type Packages = HashMap<(&'static str, String), Built>;
    static BUILT: OnceLock<Mutex<Packages>> = OnceLock::new();

    let slot = {
        let mut built = BUILT
            .get_or_init(Mutex::default)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Arc::clone(built.entry((target, package.to_owned())).or_default())
    };
    let result = slot.get_or_init(|| {
        let mut report = |line: &str| eprintln!("guests: {line}");
        let toolchain = found
            .get_or_init(|| Toolchain::find_for(target, &mut report).map_err(|error| error.to_string()))
            .as_ref()
            .map_err(Clone::clone)?;
        toolchain
            .build_package(package, &guest_target_dir())
            .map_err(|error| error.to_string())
    });
    match result {
        Ok(path) => path.clone(),
        Err(error) => panic!("no {target} of `{package}`: {error}"),
    }
}
