//! What the end-to-end tests need: which API server they meet ([`On`]), a place with plugins ([`Scene`]), the host as a
//! process ([`Host`]), a face of the API server that a test can stop, hold and break ([`Server`]), objects ([`Api`]),
//! components that are spoilt on purpose ([`wasm`]).
//!
//! Promises: every test has processes, ports, folders and namespaces of its own, and leaves none of the first three
//! behind; nothing waits for a fixed time, everything for what it needs, at most [`PATIENCE`]; what did not happen is
//! told together with what the host said.
//!
//! Not promised: a real control plane of a test's own. It is one for all tests of a program, so a host must be granted
//! the test's namespaces only ([`Scene::grants`]), and what belongs to no namespace needs a name of its own.
//!
//! The binary is the one that the environment variable `PILOTHOUSE_BIN` names, or else is built. A panic in here is a
//! failed test, which is why these functions panic.

#![cfg(unix)]

mod api;
mod audit;
mod backend;
mod binary;
mod checker;
mod host;
mod load;
mod metrics;
mod on;
mod ordeal;
mod proxy;
mod scene;
mod server;
pub mod wasm;

use std::time::Duration;

pub use api::{Api, BEASTS, CONFIG_MAPS, CRDS, EVENTS, GREETINGS, Kind, NAMESPACES, SECRETS};
pub use host::{Ended, Host, field, message};
pub use load::{Ended as EndedLoad, Load};
pub use metrics::{Metrics, get};
pub use on::On;
pub use ordeal::{Bounds, Fault, Ordeal, Rights, Setup};
pub(crate) use pilothouse_realcluster::free_port;
pub use proxy::{Proxy, Way};
pub use scene::Scene;
pub use server::{Hold, Server};

/// The bound of every wait: longer than anything takes on a machine that is busy with other things. Only what fails
/// waits so long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How often a wait looks.
const LOOK: Duration = Duration::from_millis(20);

/// The CustomResourceDefinition of Greetings, as the example has it.
pub const GREETING_CRD: &str = include_str!("../../../examples/rust/greeting/crd.yaml");

/// The Greeting `world`, as the example has it.
const GREETING_SAMPLE: &str = include_str!("../../../examples/rust/greeting/samples/world.yaml");

/// The CustomResourceDefinition of Beasts.
pub const BEAST_CRD: &str = include_str!("../../guests/zoo/crd.yaml");

/// Waits until `look` answers something.
///
/// # Panics
/// After [`PATIENCE`], with `what`.
#[track_caller]
pub fn wait_until<T, F: AsyncFnMut() -> Option<T>>(what: &str, look: F) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        match within_patience(look).await {
            Some(found) => found,
            None => panic!("{caller}: not within {PATIENCE:?}: {what}"),
        }
    }
}

/// What `look` answers at last; none after [`PATIENCE`].
pub(crate) async fn within_patience<T>(mut look: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let waiting = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            #[expect(clippy::disallowed_methods, reason = "a test of real processes waits for them")]
            tokio::time::sleep(LOOK).await;
        }
    };
    #[expect(clippy::disallowed_methods, reason = "a test of real processes bounds its waits")]
    tokio::time::timeout(PATIENCE, waiting).await.ok()
}

/// A YAML document as JSON.
///
/// # Panics
/// If it is none.
#[track_caller]
pub fn yaml(text: &str) -> serde_json::Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}:\n{text}"))
}
