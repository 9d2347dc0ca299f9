//! What a breaker is told and tells: ends of calls, states, and changes with their reasons.

use std::time::Duration;

/// How a call ended, as far as its plugin is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It went well.
    Success,
    /// It went well, and took longer than it may.
    Slow,
    /// It failed.
    Failure,
    /// It says nothing about the plugin: the API server was to blame, say, or the call was not begun.
    Ignored,
}

/// A call that began. What it counts for is settled by when it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Hash of its key.
    pub key: u64,
    /// How often the key failed in a row before, as the queue counts it.
    pub failures: u32,
    /// Which state it began in.
    pub epoch: u64,
}

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Calls are made.
    Closed,
    /// None are, until this time.
    Open {
        /// When it becomes half-open.
        until: Duration,
    },
    /// A few are, to see whether they go well.
    HalfOpen,
    /// None are, until somebody resets it.
    Quarantined,
}

/// Why a breaker opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// So many of so many calls failed.
    Failures {
        /// Failed ones.
        failed: u32,
        /// All.
        calls: u32,
    },
    /// So many of so many calls were slow.
    Slow {
        /// Slow ones.
        slow: u32,
        /// All.
        calls: u32,
    },
    /// So many failed in a row.
    InARow {
        /// How many.
        failed: u32,
    },
    /// Half-open, calls of so many keys failed or were slow.
    Probes {
        /// How many.
        failed: usize,
    },
}

/// A breaker changed its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// No calls for a while.
    Opened {
        /// For how long.
        lasts: Duration,
        /// What opened it.
        why: Why,
    },
    /// A few calls, to see how they go.
    HalfOpened,
    /// Everything goes again, slowly at first.
    Closed,
    /// It opened too often: no calls until it is reset.
    Quarantined {
        /// What opened it the last time.
        why: Why,
        /// How often it opened within [`Settings::quarantine_within`](super::Settings::quarantine_within).
        trips: usize,
    },
}

/// Which key a half-open breaker would rather see called; the smaller the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// It last went well.
    WentWell,
    /// Nothing is known of it.
    Unknown,
    /// It last failed.
    Failed,
}

/// What can be seen of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Where it stands.
    pub state: State,
    /// Since when.
    pub since: Duration,
    /// What opened it last; none where it never did, or was reset since.
    pub why: Option<Why>,
    /// How often it opened, all in all.
    pub trips: u64,
    /// Calls of the window.
    pub calls: u32,
    /// Failed ones among them.
    pub failed: u32,
    /// Slow ones among them.
    pub slow: u32,
}
