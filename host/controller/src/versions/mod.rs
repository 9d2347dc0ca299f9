//! Plugins come, are exchanged and go while the host runs.
//!
//! Promises: no key begins on a version after the switch to the next, none is in work on two, and none is lost between
//! them; windows on the caches that both versions want are kept. It does not load or judge modules: that is
//! `lifecycle`.
//!
//! | module | what is in it |
//! |---|---|
//! | `exchange` | what becomes of queues and keys at a switch; pure |
//! | `live` | which versions serve now |
//! | `stage` | the switch itself: the driver |
//! | `tenure` | whose feeds are heard |
//! | `windows` | which part of which kind each controller sees |

pub(crate) mod exchange;
#[cfg(test)]
mod exchange_tests;
pub(crate) mod live;
pub(crate) mod stage;
pub(crate) mod tenure;
pub(crate) mod windows;
