//! An in-memory Kubernetes API server that is a value, for `pilothouse dev`, for tests, and for whoever wants to run a
//! controller without a cluster.
//!
//! [`Cluster`] does no I/O and is not async: a [`Request`] goes in, a [`Response`] comes out; watches are
//! [polled](Cluster::poll); time passes when [`Cluster::advance`] is called; `clone` forks it. Two thin faces put it on
//! a socket ([`http`]) and behind a call in this process ([`service`]).
//!
//! # What it does as a real server (1.36) does
//! - Namespaces, ConfigMaps, Secrets, Services, Deployments, Pods, ServiceAccounts, Events (one storage for both
//!   groups), Leases, CustomResourceDefinitions and the resources they define.
//! - get, list (selectors, limit and continue on an old snapshot, versions), watch (history, selectors, bookmarks,
//!   streaming lists, 410), create, replace, merge patch, JSON patch, delete, deletecollection; `/status` and `/scale`;
//!   dry run; field validation; tables and metadata-only answers.
//! - Optimistic concurrency, generations, finalizers, owner references with background, foreground and orphan
//!   deletion, namespaces and CRDs that empty themselves.
//! - Structural schemas: validation, pruning, defaults; several versions of a CRD without conversion.
//!
//! # What it does not do
//! - Refused with 415: server-side apply, strategic merge patches, protobuf and YAML bodies. Refused with 422: CRDs
//!   with conversion webhooks.
//! - Accepted with a warning: CRDs with CEL rules, which are not evaluated.
//! - There is no authorization: every user may do everything. There are no admission webhooks, no quotas, no service
//!   account tokens. `metadata.managedFields` is dropped.
//! - No controllers run: Deployments make no Pods, Services have no endpoints, Events are kept for ever. Pods go at
//!   once when they are deleted, and may be changed freely.
//! - A list at a version in the future is answered with 504 at once, not after three seconds.
//! - Built-in kinds are held against the types of their fields and against the rules that controllers commonly meet,
//!   not against everything a real server checks.
//!
//! # Bounds
//! Bodies have at most [`MAX_BODY`] bytes and 128 levels; the history and the number of watches are bounded by
//! [`ClusterConfig`]. How many objects there are is up to the user. No request makes it panic.

mod accept;
mod age;
mod body;
mod builtin;
mod checks;
mod clock;
pub mod cluster;
mod columns;
mod convert;
mod crd;
mod decode;
mod delete;
pub mod discovery;
mod gc;
pub mod http;
mod jsonpath;
pub mod kubeconfig;
mod meta;
pub mod openapi;
mod patch;
mod query;
mod read;
mod route;
mod scale;
pub mod schema;
mod select;
pub mod service;
pub mod shared;
pub mod status;
mod store;
pub mod table;
pub mod types;
mod watch;
pub mod wire;
mod write;

pub use cluster::{Cluster, ClusterConfig};
pub use status::Status;
pub use types::{PrinterColumn, ResourceType};
pub use wire::{Body, Polled, Request, Response, User, WatchId};

/// The largest body of a request, in bytes, as on real servers: more is answered with 413.
pub const MAX_BODY: usize = 3 * 1024 * 1024;
