//! Keeps copies of Kubernetes objects in step with an API server, and tells subscribers of every change.
//!
//! ```text
//! API server ──list/watch──▶ reflector ──▶ store + indexes ──▶ handlers of subscriptions, each through its view
//! ```
//! What decides is synchronous and takes time and randomness as arguments; [`driver`] alone does I/O.
//!
//! | module | what is in it |
//! |---|---|
//! | [`driver`] | [`SharedInformers`]: subscribe over a `kube::Client` |
//! | [`subscription`] | [`Subscription`]: reads through a view, freshness |
//! | [`view`] | [`View`], [`Delta`] |
//! | [`informer`] | [`Informer`]: one kind; [`Handler`] and what it may rely on |
//! | [`shared`], [`need`], [`registry`] | which watches and informers are needed |
//! | [`reflector`], [`messages`] | [`Reflector`](reflector::Reflector): list, watch, come back |
//! | [`config`] | how a reflector asks: page by page or as a stream, how often |
//! | [`store`] | [`Store`]: objects, indexes, versions |
//! | [`read`] | lists and watch lines out of bytes |
//! | [`status`] | how watches fare |
//! | [`reach`] | whether the API server answers this host at all |
//!
//! Resyncs are not here: nothing that did not change is told. Whoever wants to look at every object from time to time walks
//! through the store in slices ([`Reader::keys_after`](subscription::Reader::keys_after)).
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

mod audience;
mod awaited;
pub mod backoff;
mod charges;
pub mod config;
pub mod driver;
pub mod failure;
pub mod index;
pub mod informer;
pub mod messages;
pub mod need;
mod outage;
pub mod reach;
pub mod read;
pub mod reflector;
pub mod registry;
pub mod shared;
mod shelf;
mod slot;
pub mod status;
pub mod store;
pub mod subscription;
mod sync;
mod task;
#[cfg(test)]
mod testing;
mod transport;
pub mod view;
pub mod wire;

pub use charges::Charge;
pub use driver::{Clock, DriverConfig, SharedInformers, SubscribeError, TokioClock};
pub use failure::{Failure, Trouble};
pub use index::IndexError;
pub use informer::{Handler, IndexSpec, Informer};
pub use outage::Totals as OutageTotals;
pub use reach::Reach;
pub use status::{Counters, Phase, WatchStatus};
pub use store::{Scope, Store};
pub use subscription::{Holds, Listing, Query, ReadError, Reader, Slice, Subscription};
pub use transport::{Patience, Resource, discover};
pub use view::{Delta, Names, Projection, View};
