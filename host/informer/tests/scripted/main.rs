//! Informers against a scripted API server that cuts, splits, repeats, refuses and lies. After each of it the cache
//! equals what the server holds, and who listened has heard of it without a gap and without a double.
//!
//! What the server answers follows from a small model of it ([`model`]); a test changes the answers on their way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod answers;
mod cuts;
mod model;
mod oracle;
mod server;
