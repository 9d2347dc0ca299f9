//! A real Kubernetes control plane for tests: etcd, kube-apiserver, kube-controller-manager and kubectl, compiled from
//! the Go module that stands beside this crate (`go.mod` pins the versions) and started on this machine.
//!
//! Promises:
//! - The programs are built once into a cache that outlives checkouts, keyed by what the module pins and by the Go
//!   version; of two processes at once one builds and the other waits. Progress goes to stderr: the first build takes
//!   minutes, needs the network, and says so.
//! - [`ControlPlane::start`] returns once the API server is ready. Ports are free ones, files lie in a temporary
//!   directory.
//! - Every process ends with the [`ControlPlane`], also when the test that holds it panics, and when its process is
//!   killed: a small supervisor holds the other end of a pipe, and kills them all once the pipe breaks. Parent-death
//!   signals would not do, since they come when the *thread* that started a process ends.
//! - Credentials are made anew for each control plane and are good on this machine only.
//!
//! It promises no security worth the name: whoever may read the temporary directory is the administrator. It runs on
//! Unix only.
//!
//! ```no_run
//! use pilothouse_realcluster::{ControlPlane, Options};
//!
//! let plane = ControlPlane::start(&Options::default())?;
//! let status = plane.kubectl().args(["get", "namespaces"]).status();
//! # Ok::<(), pilothouse_realcluster::Error>(())
//! ```
#![cfg(unix)]

mod apiserver;
mod binaries;
#[cfg(feature = "client")]
mod client;
mod credentials;
mod error;
mod etcd;
mod go;
mod plane;
mod ports;
mod program;
pub mod shell;
mod supervisor;
mod users;

pub use apiserver::ApiServer;
pub use binaries::{Binaries, Binary};
pub use error::Error;
pub use go::{Go, OLDEST_GO};
pub use plane::{ControlPlane, Controllers, Options};
pub use ports::free_port;
pub use program::Program;
pub use users::{Scope, User};

/// The root of this workspace.
pub(crate) fn workspace_root() -> std::path::PathBuf {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}
