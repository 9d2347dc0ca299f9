//! Locking without poison.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks. What these mutexes guard is whole between statements; a panic elsewhere doesn't spoil it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
