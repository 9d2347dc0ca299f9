//! Loading compiled code: the one place of this crate with unsafe code, and the proof that belongs to it.
//!
//! wasmtime runs such code as it is. It checks that the code was made by its own version under the same settings, which
//! guards against mistakes, not against malice; that the bytes are a compiler's is the caller's promise. This module
//! keeps it by taking nothing but the two types below, and the fields of both are private to where they are made.
#![allow(
    unsafe_code,
    reason = "wasmtime's functions that load compiled code are unsafe to call; see the proofs"
)]

use wasmtime::component::Component;

use super::Code;
#[cfg(unix)]
use super::cache::Verified;

/// Loads code that was just compiled.
pub(crate) fn load(engine: &wasmtime::Engine, code: &Code) -> wasmtime::Result<Component> {
    // SAFETY: a `Code` holds what our compiler answered: `wasmtime::Engine::precompile_component` in this process
    // (`super::precompile`), or the same function in the process that `super::child` started from the operator's
    // program, read from a pipe that nobody else holds. That such a process answers what the compiler made is what is
    // trusted: see the head of `super`. The bytes are copied here, so that nobody changes them later.
    unsafe { Component::deserialize(engine, code.bytes()) }
}

/// Maps code from the cache.
#[cfg(target_os = "linux")]
pub(crate) fn map(engine: &wasmtime::Engine, file: &Verified) -> wasmtime::Result<Component> {
    use std::os::fd::AsRawFd;
    // The very file that was verified, whatever its name stands for by now: this opens the descriptor's file, no name.
    let path = format!("/proc/self/fd/{}", file.file().as_raw_fd());
    // SAFETY: a `Verified` is made in one place, `CodeCache::get`, after the code in this file and its description,
    // read through this descriptor, matched the HMAC under the key of the cache; only a process that can read that key
    // makes such a file, and ours makes it of a `Code` (see above) alone. The mapping is private, but pages of it that
    // were not touched yet would show later writes to the file: it is a regular file of this user with one name and no
    // right for anybody else, in a directory of the same kind (all looked at through descriptors), and this program
    // never opens an entry for writing once it has its name. Who could write into it is this user or root, who can
    // write into this process's memory as well.
    unsafe { Component::deserialize_file(engine, path) }
}

/// Loads code from the cache, where files can't be mapped by their descriptor.
#[cfg(all(unix, not(target_os = "linux")))]
pub(crate) fn map(engine: &wasmtime::Engine, file: &Verified) -> wasmtime::Result<Component> {
    let bytes = file.read()?;
    // SAFETY: as above; the bytes were read again through the same descriptor, and what was said of later writes holds
    // for them.
    unsafe { Component::deserialize(engine, bytes) }
}
