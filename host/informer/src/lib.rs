//! Keeps copies of Kubernetes objects in step with an API server, and tells subscribers of every change.
//!
//! ```text
//! API server ──list/watch──▶ reflector ──▶ store + indexes ──▶ handlers of subscriptions, each through its view
//! ```
//! What decides is synchronous and takes time and randomness as arguments; [`driver`] alone does I/O.
//!
//! | module | what is in it |
//! |---|---|
//! | [`driver`] | [`SharedInformers`]: subscribe over a `kube::Client`; tasks, requests, and whether the API server answers at all |
//! | [`subscription`] | [`Subscription`]: reads through a view, freshness |
//! | [`view`] | [`View`], [`Delta`] |
//! | [`informer`] | [`Informer`]: one kind; [`Handler`] and what it may rely on; who is charged for what is kept |
//! | [`shared`] | which watches and informers are needed, and what they bring |
//! | [`reflector`] | [`Reflector`](reflector::Reflector): list, watch, come back; what it asks and hears, its pauses and settings |
//! | [`store`] | [`Store`]: objects, indexes, versions |
//! | [`read`] | lists and watch lines out of bytes |
//! | [`status`] | how watches fare |
//!
//! Resyncs are not here: nothing that did not change is told. Whoever wants to look at every object from time to time
//! walks through the store in slices ([`Reader::keys_after`](subscription::Reader::keys_after)).
//!
//! # Use
//! Kinds, keys and objects are those of `pilothouse-object`. Subscribers of one kind share its watch and its store.
//! ```no_run
//! use std::sync::Arc;
//!
//! use pilothouse_informer::{Delta, DriverConfig, Handler, SharedInformers, TokioClock, View};
//! use pilothouse_object::{Gvk, Key, LabelSelector};
//!
//! struct Print;
//!
//! impl Handler for Print {
//!     fn deltas(&self, deltas: &[Delta]) {
//!         for delta in deltas {
//!             let what = if delta.is_deletion() { "is gone" } else { "is there" };
//!             println!("{} {what} at version {}", delta.key, delta.version);
//!         }
//!     }
//!
//!     fn synced(&self) {
//!         println!("what was there at the start has been told");
//!     }
//! }
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let mut config = kube::Config::infer().await?;
//! // kube's own repetitions would hide from this room what the server answers: see `driver`.
//! config.default_retry = false;
//! let informers = SharedInformers::new(
//!     kube::Client::try_from(config)?,
//!     DriverConfig::default(),
//!     Arc::new(TokioClock::start()),
//!     tokio::runtime::Handle::current(),
//!     fastrand::u64(..),
//! );
//! let view = View { selector: LabelSelector::parse("app=web")?, ..View::everything() };
//! // As long as it is held it is told of changes; the last one of a kind to leave ends the watch.
//! let pods = informers.subscribe(&Gvk::new("", "v1", "Pod"), view, &[], Arc::new(Print))?;
//! // An error until it is synced: what is missing then says nothing.
//! if let Ok(Some(pod)) = pods.get(&Key::new(Some("default"), "web-0")) {
//!     println!("{}", pod.json());
//! }
//! # Ok(())
//! # }
//! ```

pub mod driver;
pub mod informer;
pub mod read;
pub mod reflector;
pub mod shared;
pub mod status;
pub mod store;
pub mod subscription;
mod sync;
#[cfg(test)]
mod testing;
pub mod view;

pub use driver::outage::Totals as OutageTotals;
pub use driver::reach::Reach;
pub use driver::transport::{Patience, Resource, discover};
pub use driver::{Clock, DriverConfig, SharedInformers, SubscribeError, TokioClock};
pub use informer::charges::Charge;
pub use informer::{Handler, IndexSpec, Informer};
pub use reflector::{
    config::{ListMode, ReflectorConfig},
    failure::{Failure, Trouble},
};
pub use status::{Counters, Phase, WatchStatus};
pub use store::index::IndexError;
pub use store::{Scope, Store};
pub use subscription::{Holds, Listing, Query, ReadError, Reader, Slice, Subscription};
pub use view::{Delta, Names, Projection, View};
