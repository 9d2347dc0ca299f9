//! Runs plugins: WebAssembly components of the world `reconciler` (`wit/plugin.wit`), with wasmtime.
//!
//! [`Modules`] makes a [`Module`] of bytes (compiled by another process, or found compiled in a [`CodeCache`]), for an
//! [`Engine`] to run; a module is asked for its manifest ([`Module::describe`]), about a
//! configuration ([`Module::check_config`]), and to reconcile a key ([`Module::reconcile`]), whose imports a
//! [`Backend`] answers.
//!
//! Promises:
//! - Each call has a fresh store and instance; nothing of one call reaches the next. Only where it is asked for
//!   ([`Module::warm`]) an instance is kept for further calls of the same plugin.
//! - [`Limits`] cut: wall time, CPU time, memory, host calls and sizes, each with a [`CallError`] that names the limit
//!   and what to do. Log lines and events beyond their budget are dropped and counted.
//! - A guest in an endless loop yields at each tick of the engine's clock; its neighbours go on.
//! - Nothing is ambient: time and randomness (WASI's too) come from the backend; there are no files, no sockets, no
//!   environment, no arguments; stdin is at its end; stdout and stderr end in the call's log.
//! - No guest makes the host panic, and no module that can't run here is loaded: [`LoadError`] says why. One too many
//!   for the kernel's bounds on a process is refused as well.
//!
//! It does not: check what a manifest says, or decide what a plugin may touch (the backend does).
//! Texts of guests are passed on as they are; escape control
//! characters before showing them.

mod backend;
mod bindings;
mod call;
mod capture;
mod compile;
mod ending;
mod engine;
mod error;
mod imports;
mod limits;
mod load;
mod meter;
mod module;
mod panics;
mod pure;
mod room;
mod state;
mod warm;
mod wasi;

pub use backend::{Backend, BoxFuture, Reply, reason};
pub use bindings::exports::pilothouse::plugin::controller::{Failure, Outcome, Request, Retry};
pub use bindings::pilothouse::plugin::events::Severity;
pub use bindings::pilothouse::plugin::log::Level;
pub use bindings::pilothouse::plugin::read::{Freshness, Page, Query};
pub use bindings::pilothouse::plugin::types::{
    ApiError, Cause, GvkParam as GivenGvk, GvkResult as Gvk, ObjectRefParam as GivenRef, ObjectRefResult as ObjectRef,
    Timestamp,
};
pub use bindings::pilothouse::plugin::write::{Change, Options, Propagation};
#[cfg(unix)]
pub use compile::cache::{CacheError, CacheLimits, CodeCache};
#[cfg(unix)]
pub use compile::worker::compile_child_main;
pub use compile::{CompileLimits, Compiler, Modules};
pub use engine::{Engine, EngineConfig};
pub use error::{CallError, EngineError, LoadError};
pub use limits::Limits;
pub use module::{Module, Reconciled};
#[cfg(unix)]
pub use room::raise_open_files;
pub use room::{Look, memory_maps, open_files};
pub use warm::Warm;

/// The version of `wit/plugin.wit` that this host speaks. Plugins built for the same major and minor version run here.
pub const CONTRACT_VERSION: &str = "0.1.0";
