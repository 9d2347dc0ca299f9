//! The local cluster against a real API server. What is in `real` needs one; all else needs the local cluster alone.

mod list;
mod planted;
mod real;

/// A runtime for one test.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}
