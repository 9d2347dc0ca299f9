//! The local cluster against a real API server: the same requests to both, and where the answers differ.
//!
//! Requests come from scripts, one topic a file in `scripts` ([`script`]), and from a random walk ([`walk`]). A
//! [`Session`] sends them to both servers; [`compare`] says what is compared, and how. What differs stands in one list,
//! `differences.yaml` ([`differences`]), which is checked in both directions: it is the local cluster's work list.
//! [`LocalServer`] is the local cluster as it is compared: behind real HTTP, on the wall clock, so that both servers
//! are reached in the same way.
//!
//! Not compared: how long anything takes, headers other than those that [`server`] names, what
//! [`compare`] leaves out, and requests of users who may not do everything.
//!
//! The tests whose names begin with `real::` start the real server (see `tests/realcluster`), all others need none:
//! `cargo test -p pilothouse-conformance real::` and `… -- --skip real::`. `PILOTHOUSE_WALK_SEEDS=7,100-120` walks from
//! other seeds, `PILOTHOUSE_WALK_STEPS=500` further.
//!
//! A panic in here is a failed test, which is why these functions panic.

pub mod compare;
pub mod differences;
mod local;
pub mod script;
pub mod server;
pub mod session;
pub mod shrink;
mod texts;
mod versions;
pub mod walk;

pub use differences::{Difference, Differences};
pub use local::LocalServer;
pub use script::Script;
pub use server::Server;
pub use session::Session;
