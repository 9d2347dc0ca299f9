//! Write Kubernetes controllers as Pilothouse plugins: one function and a description.
//!
//! ```
//! use pilothouse_sdk::kinds::ConfigMap;
//! use pilothouse_sdk::prelude::*;
//! use serde::{Deserialize, Serialize};
//!
//! // A kind: a struct with the fields you care about. What it doesn't know it never touches.
//! #[derive(Serialize, Deserialize, Kind)]
//! #[kind("demo.example.com/v1")]
//! struct Note {
//!     metadata: Metadata,
//!     spec: NoteSpec,
//! }
//!
//! #[derive(Serialize, Deserialize)]
//! struct NoteSpec {
//!     text: String,
//! }
//!
//! // What the plugin is, what wakes it, and what it asks to be allowed.
//! #[plugin]
//! fn plugin() -> Plugin {
//!     Plugin::new("note")
//!         .controller(Controller::new("note", reconcile).owns::<ConfigMap>())
//!         .may::<ConfigMap>([Verb::Create, Verb::Patch])
//! }
//!
//! // Makes the world as one Note says. Runs when the Note or its ConfigMap changed, and may run at any other time.
//! fn reconcile(cx: &Context, note: Object<Note>) -> Result<Outcome, Failure> {
//!     let child = ConfigMap::named(note.name()).with("text", &note.spec.text);
//!     let child = cx.ensure_owned(&note, child)?;
//!     cx.info(format!("{} {}", child.object.reference(), child.did));
//!     Ok(Outcome::done())
//! }
//!
//! // And a test of it, which needs no cluster: the same functions run natively.
//! # fn a_note_gets_its_config_map() {
//! use pilothouse_sdk::testing::Fake;
//!
//! let fake = Fake::new(plugin());
//! let spec = NoteSpec { text: "hello".to_owned() };
//! fake.create(&Note { metadata: Metadata::named("first").in_namespace("default"), spec }).unwrap();
//! assert!(fake.settle().failures().is_empty());
//! let child = fake.get::<ConfigMap>("default", "first").unwrap().unwrap();
//! assert_eq!(child.data["text"], "hello");
//! # }
//! # a_note_gets_its_config_map();
//! ```
//!
//! The crate of a plugin is a `cdylib` (with `rlib` beside it for its tests), depends on this crate and on `serde`, and is
//! compiled with `cargo build --release --target wasm32-wasip2`.
//!
//! What to know:
//! - [`Object::save`] and [`Object::save_status`] send a merge patch of what changed and nothing else, on condition that
//!   nobody changed the object meanwhile. [`Context::ensure_owned`] keeps a child as it should be,
//!   [`Context::finalizer`] cleans up at the end, [`Conditions`] report.
//! - Reads come from the host's cache. It holds what the description watches, and what this call wrote.
//! - `?` on an [`ApiError`] ends the reconcile with a [`Failure`] that is tried again when that makes sense:
//!   [the table](ApiError).
//! - A panic ends the call; the host learns the message with file and line, and backs off. Every call starts afresh: no
//!   variable lives from one to the next, and nothing may rely on one that does.
//! - A plugin has no clock, randomness, files, network or environment but through [`Context`].
//! - The feature `k8s-openapi` makes all types of that crate kinds. They know every field, which is comfortable and makes
//!   the component several times as large. The plugin's own Cargo.toml depends on k8s-openapi with its version feature.
//!
//! What it does not promise: that a write was made when a call ends before it returns (the host finishes what was sent),
//! that the cache is up to date (the host wakes the plugin again once it is), nor that every change is seen (only the last).

// The macros write `::pilothouse_sdk`, in this crate too.
extern crate self as pilothouse_sdk;
mod condition;
mod context;
mod diff;
mod ensure;
mod error;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod guest;
mod host;
#[cfg(feature = "k8s-openapi")]
mod k8s;
mod kind;
pub mod kinds;
mod manifest;
mod object;
mod plugin;
mod read;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod wire;

pub use condition::{Condition, Conditions};
pub use context::Context;
pub use ensure::{Did, Ensured, Life};
pub use error::{ApiError, Failure, Outcome, Retry};
pub use host::Host;
pub use kind::{Kind, Meta, Metadata, OwnerReference, Scope};
pub use manifest::{Limits, Mapping, OwnerKind, Permission, Predicate, Verb, Watch};
pub use object::Object;
pub use pilothouse_sdk_macros::{Kind, plugin};
pub use plugin::{Controller, Handler, Plugin, RawRequest, Request};
pub use serde_json;
pub use wire::{
    Cause, Change, Freshness, Gvk, Level, ObjectRef, Page, Propagation, Query, Severity, Timestamp, WriteOptions,
};

/// What nearly every plugin needs: `use pilothouse_sdk::prelude::*;`
pub mod prelude {
    pub use crate::{
        ApiError, Condition, Conditions, Context, Controller, Did, Failure, Kind, Life, Mapping, Meta, Metadata,
        Object, Outcome, Plugin, Predicate, Query, Request, Severity, Verb, plugin,
    };
}
