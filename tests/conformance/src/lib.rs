//! The local cluster against a real API server: the same requests to both, and where the answers differ.
//!
//! What differs stands in one list, `differences.yaml` ([`differences`]), which is checked in both directions: it is the
//! local cluster's work list. [`LocalServer`] is the local cluster as it is compared: behind real HTTP, on the wall
//! clock, so that both servers are reached in the same way.
//!
//! A panic in here is a failed test, which is why these functions panic.

pub mod differences;
mod local;

pub use differences::{Difference, Differences};
pub use local::LocalServer;
