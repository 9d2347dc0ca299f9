//! From a change to a key that stands in a queue, and why it stands there.
//!
//! Promises: each key that a change maps to is asked for, once, with the cause it came by; what a plugin wrote itself
//! is known again when it comes back as an event. Nothing here calls a plugin or does I/O but `feed`, which informers
//! call.
//!
//! | module | what is in it |
//! |---|---|
//! | `cause` | why a key stands in a queue |
//! | `feed` | informers call it; the one driver of this room |
//! | `intake` | changes into queues: priorities, and what wakes parked keys |
//! | `provenance` | who wrote which version |
//! | `resync` | when which keys have their turn though nothing changed |
//! | `rounds` | the resyncs of all controllers |
//! | `router` | changes to keys: mappings, predicates |

pub(crate) mod cause;
pub(crate) mod feed;
pub(crate) mod intake;
pub(crate) mod provenance;
pub(crate) mod resync;
pub(crate) mod rounds;
pub(crate) mod router;
#[cfg(test)]
pub(crate) mod wake_tests;
