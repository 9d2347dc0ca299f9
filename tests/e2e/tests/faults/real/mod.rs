//! Each test has a real control plane of its own, which it breaks.

mod apiserver;
mod credentials;
mod etcd;
mod history;
mod kinds;
mod network;
mod stale;

use pilothouse_realcluster::Error;

/// How the host says that it is cut off, and that this is over.
const AWAY: &str = "the API server can't be reached";
const BACK: &str = "the API server answers again";

/// Does something to the control plane without holding up the proxy and the load.
fn plane<T>(work: impl FnOnce() -> Result<T, Error>) -> T {
    tokio::task::block_in_place(work).unwrap_or_else(|error| panic!("{error}"))
}
