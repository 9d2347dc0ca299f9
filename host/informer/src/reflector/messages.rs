//! What goes into a [`crate::reflector::Reflector`] and what comes out.

use std::time::Duration;

use pilothouse_object::{Key, Version};

use crate::{
    reflector::failure::Failure,
    store::{Change, Item},
};

/// A list request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListRequest {
    /// `0`: whatever the server has at hand; empty: a quorum read; else: not older than this.
    pub version: Version,
    /// Objects in a page; none for all at once.
    pub limit: Option<u32>,
    /// Where the page before ended. Goes without a version.
    pub token: Option<String>,
}

/// A watch request. Bookmarks are always asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchRequest {
    /// The version to go on from. Of a streaming list: as in [`ListRequest::version`].
    pub version: Version,
    /// Set for a streaming list: the stream brings what there is first, and a bookmark that ends it. Until then the
    /// stream is dead after so long without a byte.
    pub initial: Option<Duration>,
    /// After this the server ends the stream.
    pub timeout: Duration,
    /// After this long without a byte the stream is dead: cut it.
    pub silence: Duration,
}

/// The I/O to do next; whatever runs is dropped for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Ask under which name the kind is served. Ends with [`Input::Found`] or [`Input::Failed`].
    Discover,
    /// Ask for a page. Ends with [`Input::Page`] or [`Input::Failed`].
    List(ListRequest),
    /// Open a watch. Ends with [`Input::Closed`], [`Input::Cut`], [`Input::Silent`] or [`Input::Failed`].
    Watch(WatchRequest),
    /// Do nothing for so long. Ends with [`Input::Timer`].
    Wait(Duration),
}

/// What to do, in order.
#[derive(Clone, Debug)]
pub enum Action {
    /// A list begins: forget what is staged.
    Begin,
    /// Stage what came of the list.
    Stage(Vec<Item>),
    /// Put the staged list in place of what the store holds. Answer at once with [`Input::Committed`] or
    /// [`Input::Refused`].
    Commit {
        /// The list's version.
        version: Version,
        /// A quorum list wins over a newer store.
        quorum: bool,
    },
    /// Apply events, then move the store's version on.
    Apply {
        /// The events, in order.
        changes: Vec<Change>,
        /// The version the watch is at now.
        version: Option<Version>,
    },
    /// Streaming lists don't work here, for this reason; lists come in pages for a while. For the log.
    FellBack(Failure),
    /// Something went wrong, or (none) all is well again. For status and log.
    Health(Option<Failure>),
    /// Do this next.
    Io(Order),
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// Begin. Once.
    Start,
    /// The kind is served.
    Found,
    /// Some elements of a page, and how many more couldn't be read.
    Items(Vec<Item>, u64),
    /// A page has ended.
    Page {
        /// The list's version.
        version: Version,
        /// Set where there are more pages.
        token: Option<String>,
    },
    /// Discovery, list or watch failed, before or within its answer.
    Failed(Failure),
    /// The store took the list.
    Committed,
    /// The store is newer than the list.
    Refused,
    /// The watch was accepted.
    Opened,
    /// Events, in order.
    Events(Vec<Event>),
    /// The server ended the watch.
    Closed,
    /// The watch broke off: why.
    Cut(String),
    /// The watch was silent for as long as its request allows.
    Silent(Duration),
    /// The pause is over.
    Timer,
}

/// One line of a watch.
#[derive(Clone, Debug)]
pub enum Event {
    /// `ADDED`.
    Added(Change),
    /// `MODIFIED` or `DELETED`.
    Changed(Change),
    /// `BOOKMARK`.
    Bookmark(Version),
    /// The `BOOKMARK` that ends the initial events of a streaming list.
    InitialEnd(Version),
    /// `ERROR`.
    Error(Failure),
    /// A line that can't be read, and the object it is about where that much could be read.
    Unreadable(Option<Key>),
    /// A type of event this host does not know.
    Unknown,
}

/// What a reflector has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests for lists, a page each.
    pub lists: u64,
    /// Requests for streaming lists.
    pub streams: u64,
    /// Times that streaming lists were given up for a while.
    pub fallbacks: u64,
    /// Lists that came after the first.
    pub relists: u64,
    /// Watches opened, streaming lists that became one among them.
    pub watches: u64,
    /// Events of objects.
    pub events: u64,
    /// Bookmarks.
    pub bookmarks: u64,
    /// Failed requests, `ERROR` events, cut streams.
    pub errors: u64,
    /// Objects and lines that couldn't be read.
    pub unreadable: u64,
    /// Events of a type this host does not know.
    pub unknown: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.lists += other.lists;
        self.streams += other.streams;
        self.fallbacks += other.fallbacks;
        self.relists += other.relists;
        self.watches += other.watches;
        self.events += other.events;
        self.bookmarks += other.bookmarks;
        self.errors += other.errors;
        self.unreadable += other.unreadable;
        self.unknown += other.unknown;
    }
}
