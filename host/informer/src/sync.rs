//! The locks where threads meet: the standard library's, or in tests of their order those of a scheduler that tries
//! other orders each time.
//!
//! With the feature `shuttle` an informer can be used in such a test alone (`tests/threads.rs`); never build a host
//! with it.

#[cfg(feature = "shuttle")]
pub(crate) use shuttle::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
#[cfg(not(feature = "shuttle"))]
pub(crate) use std::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
