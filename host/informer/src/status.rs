//! How watches fare, for readiness, `inspect` and metrics.

use pilothouse_object::{Gvk, Version};

use crate::{reflector::Counts, store::Scope};

/// What a watch is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Asking under which name the kind is served.
    Starting,
    /// The API server does not serve the kind (yet): no CRD. It is asked again.
    WaitingForKind,
    /// A list is on its way.
    Listing,
    /// Events come in.
    Watching,
    /// A pause after an error.
    BackingOff,
    /// The server forbids it; asked again about twice a minute.
    Forbidden,
    /// The API server can't be reached.
    Unreachable,
}

impl Phase {
    /// One word for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::WaitingForKind => "waiting for the kind",
            Self::Listing => "listing",
            Self::Watching => "watching",
            Self::BackingOff => "backing off",
            Self::Forbidden => "forbidden",
            Self::Unreachable => "unreachable",
        }
    }
}

/// How one watch fares.
#[derive(Clone, Debug)]
pub struct WatchStatus {
    /// The kind.
    pub kind: Gvk,
    /// All namespaces or one.
    pub scope: Scope,
    /// What it is doing.
    pub phase: Phase,
    /// Its first list is in the store.
    pub synced: bool,
    /// The newest version it has seen.
    pub version: Option<Version>,
    /// What is wrong, while something is. Control characters are escaped.
    pub last_error: Option<String>,
    /// Watches opened after the first.
    pub restarts: u64,
    /// Lists after the first.
    pub relists: u64,
    /// Objects in the store that it holds.
    pub objects: usize,
    /// Subscribers of the kind, of all its watches together.
    pub subscribers: usize,
}

/// What a kind has cost and brought. Counts start at zero when the first subscriber comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests, events, errors.
    pub reflectors: Counts,
    /// Answers that were discarded for being older than the store.
    pub stale: u64,
    /// Times that the server's data went back to an older version and the store followed.
    pub went_back: u64,
    /// Index values left out for being too long.
    pub index_failures: u64,
    /// Objects in the store.
    pub objects: usize,
    /// Heap bytes of the objects, roughly.
    pub weight: usize,
    /// Heap bytes of the indexes, roughly.
    pub index_weight: usize,
    /// Subscribers.
    pub subscribers: usize,
}
