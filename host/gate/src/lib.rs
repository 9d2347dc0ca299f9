//! May a key of this controller run now, and how many of them? Every answer is a step of a pure state machine: nothing
//! here reads a clock, draws randomness of its own or waits. Time comes in as a monotonic `now` since an origin that
//! the caller chose, randomness as a generator.
//!
//! | module | what it answers |
//! |---|---|
//! | `permits` ([`Gate`]) | whose turn it is: limits of controllers, one pool, fair turns of plugins |
//! | [`breaker`] | whether a plugin that fails is called at all |
//! | [`concurrency`] | how many keys may be in work at once, where nobody says a number |
//! | [`hot_loop`] | whether a key goes round in circles that its own writes keep going |

pub mod breaker;
pub mod concurrency;
pub mod hot_loop;
mod permits;

pub use permits::{Gate, MAX_WEIGHT, PoolUse};
