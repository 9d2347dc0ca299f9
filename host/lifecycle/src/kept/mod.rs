//! What outlives a restart of the host: of each plugin which versions served and serve, which were rejected and why,
//! its quarantine, and what a person said of it.
//!
//! ```text
//! STATE/plugins/NAME/life.json     what was decided
//! STATE/plugins/NAME/HASH.wasm     the bytes of the versions that it names
//! STATE/plugins/failures.json      modules that can't be compiled within the limits
//! ```
//! # Promised
//! - **Whole or refused.** Each file is written beside, synced and renamed; a version's bytes are there before
//!   `life.json` names it, and go after it no longer does. A host that is killed at any moment leaves nothing to clean
//!   by hand.
//! - **Hostile until checked.** The directories are this user's alone, files regular and bounded; `life.json` carries
//!   its own hash, and what it says of a version's configuration and module is held against their hashes before that
//!   serves. What can't be taken is moved aside and told, and the plugin begins as if nothing were known of it.
//! - **Bounded**, at all times: so many versions of a plugin as its life remembers, together [`MAX_VERSION_BYTES`], and
//!   the one that is on its way.
//!
//! # Not promised
//! It does not guard against this user or root. One host uses a state directory at a time: the caller locks it.
//!
//! | module | what is in it | I/O |
//! |---|---|---|
//! | `files` | reading within a bound, and replacing as a whole | yes |
//! | `text` | the form of what is kept: to text and back | no |
//! | `failures` | which modules are known to come to a limit of the compiler | no |
//! | `store` | [`PluginStore`]: the directories | yes |
//!
//! What a life keeps, and what becomes of that at the start, is decided in `lives`.

pub(crate) mod failures;
pub mod files;
mod store;
#[cfg(test)]
mod tests;
pub(crate) mod text;

pub(crate) use failures::Failures;
pub use store::{MAX_VERSION_BYTES, PluginStore, StoreError};
pub(crate) use text::{KeptLife, KeptRejected, KeptVersion};
