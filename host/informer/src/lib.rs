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
//! Not here yet: resyncs.

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
