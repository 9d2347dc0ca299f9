//! The reflector: list, watch and come back, as a state machine without I/O.
//!
//! [`Reflector::step`] takes what happened and answers what to do. The caller does the store's part at once and in
//! order ([`Action::Begin`] to [`Action::Apply`]), and at most one piece of I/O at a time: an [`Action::Io`] replaces
//! whatever runs. Every end of that I/O is told by one input, which brings the next order.
//!
//! A list comes as a stream that goes on as the watch, where the server can do that, else in pages and with a watch of
//! its own: see [`ListMode`].
//!
//! Promised: versions are never made up; a version is given up only for a newer one or after a list; nothing asks
//! again without a pause where it could spin. The rules are those of client-go's tools/cache/reflector.go, but for what
//! the comments name.

pub mod backoff;
pub mod config;
pub mod failure;
pub mod messages;
mod streaming;

use std::{cmp::Ordering, time::Duration};

use pilothouse_object::Version;

use self::{
    backoff::{Backoff, BackoffConfig},
    failure::{Failure, Trouble},
    streaming::Streaming,
};
pub use self::{
    config::{ListMode, ReflectorConfig},
    messages::{Action, Counts, Event, Input, ListRequest, Order, WatchRequest},
};
use crate::store::Item;

/// A watch that ends sooner than this and brought nothing is an error, or it would spin.
const SHORT_WATCH: Duration = Duration::from_secs(1);
/// Watch timeouts are spread over one to two times this, so that watches don't come back together.
const MIN_WATCH: Duration = Duration::from_secs(300);
/// A stream that is silent for so long is dead: the server sends a bookmark about every minute, and where it sends none
/// a watch more costs little. Nothing else tells of a connection that some box in between has forgotten.
const SILENCE: Duration = Duration::from_secs(150);
/// Pauses after a 403 grow to this: rights change by hand, and asking often fills the audit log. They begin small,
/// since a server that has just been started refuses everybody until it knows its roles.
const FORBIDDEN_PAUSE: Duration = Duration::from_secs(60);
/// After so many server errors in a row at the start of a watch a list is tried: it may tell more, or work.
const MAX_WATCH_FAILURES: u32 = 5;
/// The most pages of one list: with 500 objects each, five million objects.
const MAX_PAGES: u32 = 10_000;

/// Where a reflector stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Not started.
    New,
    /// Asking under which name the kind is served.
    Discovering,
    /// A page of a list is on its way; what came is staged.
    Listing(ListRequest),
    /// A streaming list was asked for and is not accepted yet.
    Asking {
        /// The version it was asked for.
        version: Version,
    },
    /// The initial events of a streaming list come in and are staged.
    Gathering {
        /// The version it was asked for.
        version: Version,
        /// When it was accepted.
        since: Duration,
        /// When the first change came among them.
        changed: Option<Duration>,
    },
    /// The whole list is there; the store has not answered yet.
    Committing {
        /// The list's version.
        version: Version,
        /// It came as a stream, which goes on.
        streams: bool,
    },
    /// A watch was asked for and is not accepted yet.
    Opening,
    /// Events come in.
    Streaming {
        /// When the watch was accepted.
        since: Duration,
        /// Something came that moved the watch on.
        progressed: bool,
    },
    /// A pause.
    Waiting(Next),
}

/// What follows a pause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Discovery.
    Discover,
    /// This page, anew.
    Page(ListRequest),
    /// A list from its start.
    List,
    /// A watch from the last version.
    Watch,
}

/// Keeps one part of one kind in step with the API server.
#[derive(Clone, Debug)]
pub struct Reflector {
    config: ReflectorConfig,
    state: State,
    /// The newest version seen in a list, an event or a bookmark.
    last: Option<Version>,
    /// The watch starts at no fixed version ("" or "0"): the server first sends what there is, as `ADDED` with versions
    /// of any age, and none of them may be gone on from.
    floating: bool,
    /// Only a quorum list will do: the last version is expired, or from the future.
    quorum: bool,
    /// The version of the running list's first page.
    listed: Option<Version>,
    pages: u32,
    /// Elements of the running list.
    elements: u64,
    /// What the stream brought behind the end of its initial events, while the store takes the list.
    behind: Vec<Event>,
    streaming: Streaming,
    /// The last version expired and nothing moved on since: a second time is a pause, not a spin.
    expired: bool,
    watch_failures: u32,
    backoff: Backoff,
    discovery: Backoff,
    forbidden: Backoff,
    unwell: bool,
    synced: bool,
    counts: Counts,
}

impl Reflector {
    /// A reflector that will go on from `last`, where the store holds this part already.
    pub fn new(config: ReflectorConfig, last: Option<Version>) -> Self {
        Self {
            state: State::New,
            last,
            floating: false,
            quorum: false,
            listed: None,
            pages: 0,
            elements: 0,
            behind: Vec::new(),
            streaming: Streaming::default(),
            expired: false,
            watch_failures: 0,
            backoff: Backoff::new(config.backoff),
            discovery: Backoff::new(config.discovery),
            forbidden: Backoff::new(BackoffConfig {
                cap: FORBIDDEN_PAUSE,
                ..config.backoff
            }),
            unwell: false,
            synced: false,
            counts: Counts::default(),
            config,
        }
    }

    /// Where it stands.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The newest version seen.
    pub fn last(&self) -> Option<&Version> {
        self.last.as_ref()
    }

    /// What it has done.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Takes what happened at `now` (monotonic) and answers what to do. An input that doesn't fit the state, such as
    /// the end of a request that was dropped, is ignored.
    pub fn step(&mut self, now: Duration, input: Input, rng: &mut fastrand::Rng) -> Vec<Action> {
        let mut out = Vec::new();
        match (&self.state, input) {
            (State::New, Input::Start) => self.discover(&mut out),
            (State::Discovering, Input::Found) => self.list(now, rng, &mut out),
            (State::Listing(_), Input::Items(items, unreadable)) => {
                self.counts.unreadable += unreadable;
                self.stage(items, now, rng, &mut out);
            }
            (State::Asking { version }, Input::Opened) => {
                self.state = State::Gathering {
                    version: version.clone(),
                    since: now,
                    changed: None,
                };
            }
            (State::Gathering { .. }, Input::Events(events)) => self.gather(events, now, rng, &mut out),
            (State::Gathering { since, .. }, input @ (Input::Closed | Input::Cut(_) | Input::Silent(_))) => {
                let lasted = now.saturating_sub(*since);
                self.broke_off(lasted, input, now, rng, &mut out);
            }
            (State::Listing(request), Input::Page { version, token }) => {
                let request = request.clone();
                self.page(request, version, token, now, rng, &mut out);
            }
            (State::Committing { version, streams }, Input::Committed) => {
                let streams = *streams;
                self.last = Some(version.clone());
                self.floating = version.is_empty() || version.as_str() == "0";
                self.quorum = false;
                self.synced = true;
                if streams {
                    self.goes_on(now, rng, &mut out);
                } else {
                    self.watch(rng, &mut out);
                }
            }
            (State::Committing { .. }, Input::Refused) => {
                self.behind = Vec::new();
                self.quorum = true;
                self.list(now, rng, &mut out);
            }
            (State::Opening, Input::Opened) => {
                self.watch_failures = 0;
                self.state = State::Streaming {
                    since: now,
                    progressed: false,
                };
                self.well(&mut out);
            }
            (State::Streaming { .. }, Input::Events(events)) => self.events(events, now, rng, &mut out),
            (State::Streaming { since, progressed }, input @ (Input::Closed | Input::Cut(_) | Input::Silent(_))) => {
                let idle = !progressed && now.saturating_sub(*since) < SHORT_WATCH;
                self.ended(idle, input, now, rng, &mut out);
            }
            (State::Waiting(next), Input::Timer) => match next.clone() {
                Next::Discover => self.discover(&mut out),
                Next::Page(request) => self.ask(request, &mut out),
                Next::List => self.list(now, rng, &mut out),
                Next::Watch => self.watch(rng, &mut out),
            },
            (_, Input::Failed(failure)) => self.failed(failure, now, rng, &mut out),
            _ => {}
        }
        out
    }

    fn discover(&mut self, out: &mut Vec<Action>) {
        self.state = State::Discovering;
        out.push(Action::Io(Order::Discover));
    }

    /// A list from its start: the first from the server's cache, later ones not older than the last version, and a
    /// quorum read where neither will do.
    fn list(&mut self, now: Duration, rng: &mut fastrand::Rng, out: &mut Vec<Action>) {
        let version = match &self.last {
            _ if self.quorum => Version::default(),
            Some(last) if !last.is_empty() && last.as_str() != "0" => last.clone(),
            _ => Version::new("0"),
        };
        if self.synced {
            self.counts.relists += 1;
        }
        if self.streaming.wanted(self.config.lists, now) {
            self.ask_stream(version, rng, out);
        } else {
            self.list_pages(version, out);
        }
    }

    /// A limit goes only with a read from the server's cache and with a quorum read: beside any other version it would
    /// mean "exactly that version".
    fn list_pages(&mut self, version: Version, out: &mut Vec<Action>) {
        let limit = (version.is_empty() || version.as_str() == "0").then_some(self.config.page_size);
        self.begin(
            ListRequest {
                version,
                limit,
                token: None,
            },
            out,
        );
    }

    fn begin(&mut self, request: ListRequest, out: &mut Vec<Action>) {
        self.listed = None;
        self.pages = 0;
        self.elements = 0;
        out.push(Action::Begin);
        self.ask(request, out);
    }

    fn ask(&mut self, request: ListRequest, out: &mut Vec<Action>) {
        self.counts.lists += 1;
        self.state = State::Listing(request.clone());
        out.push(Action::Io(Order::List(request)));
    }

    /// Stages a part of the running list, unless it has grown beyond all measure; whether it has not.
    fn stage(&mut self, items: Vec<Item>, now: Duration, rng: &mut fastrand::Rng, out: &mut Vec<Action>) -> bool {
        self.elements = self.elements.saturating_add(items.len() as u64);
        if self.elements > self.config.max_elements {
            let why = format!("the list has no end: more than {} elements", self.config.max_elements);
            self.failed(Failure::new(Trouble::Garbled, why), now, rng, out);
            return false;
        }
        out.push(Action::Stage(items));
        true
    }

    fn page(
        &mut self,
        request: ListRequest,
        version: Version,
        token: Option<String>,
        now: Duration,
        rng: &mut fastrand::Rng,
        out: &mut Vec<Action>,
    ) {
        // The first page's: should later ones be newer, going on from the older one misses nothing.
        let version = self.listed.get_or_insert(version).clone();
        self.pages += 1;
        match token {
            Some(_) if self.pages >= MAX_PAGES => {
                let failure = Failure::new(Trouble::Garbled, "the list has no end: more than 10,000 pages");
                self.failed(failure, now, rng, out);
            }
            Some(token) => self.ask(
                ListRequest {
                    token: Some(token),
                    ..request
                },
                out,
            ),
            None => {
                out.push(Action::Commit {
                    version: version.clone(),
                    quorum: request.version.is_empty(),
                });
                self.state = State::Committing {
                    version,
                    streams: false,
                };
            }
        }
    }

    fn watch(&mut self, rng: &mut fastrand::Rng, out: &mut Vec<Action>) {
        self.counts.watches += 1;
        self.state = State::Opening;
        let request = watch_request(self.last.clone().unwrap_or_default(), None, rng);
        out.push(Action::Io(Order::Watch(request)));
    }

    fn events(&mut self, events: Vec<Event>, now: Duration, rng: &mut fastrand::Rng, out: &mut Vec<Action>) {
        let mut changes = Vec::new();
        let mut moved = false;
        let mut failure = None;
        for event in events {
            match event {
                Event::Added(change) | Event::Changed(change) if change.object().head().version.is_empty() => {
                    self.counts.events += 1;
                    changes.push(change);
                }
                Event::Added(change) => {
                    self.counts.events += 1;
                    moved |= !self.floating && self.move_on(change.object().head().version);
                    changes.push(change);
                }
                Event::Changed(change) => {
                    self.counts.events += 1;
                    moved |= self.move_on(change.object().head().version);
                    changes.push(change);
                }
                Event::Bookmark(version) | Event::InitialEnd(version) => {
                    self.counts.bookmarks += 1;
                    moved |= !version.is_empty() && self.move_on(&version);
                }
                Event::Unreadable(_) => self.counts.unreadable += 1,
                Event::Unknown => self.counts.unknown += 1,
                Event::Error(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        if moved {
            self.expired = false;
            if let State::Streaming { progressed, .. } = &mut self.state {
                *progressed = true;
            }
        }
        if moved || !changes.is_empty() {
            out.push(Action::Apply {
                changes,
                version: self.last.clone().filter(|_| !self.floating),
            });
        }
        if let Some(failure) = failure {
            self.failed(failure, now, rng, out);
        }
    }

    /// Takes a version that the stream told, unless it is older; true where it is another one than before.
    fn move_on(&mut self, version: &Version) -> bool {
        let floating = std::mem::replace(&mut self.floating, false);
        let moves = floating
            || match &self.last {
                Some(last) => last != version && version.compare(last) != Some(Ordering::Less),
                None => true,
            };
        if moves {
            self.last = Some(version.clone());
        }
        moves
    }

    fn ended(&mut self, idle: bool, how: Input, now: Duration, rng: &mut fastrand::Rng, out: &mut Vec<Action>) {
        if !matches!(how, Input::Closed) {
            self.counts.errors += 1;
        }
        // A stream that started at no version may have missed deletions: only a list tells.
        let next = if self.floating { Next::List } else { Next::Watch };
        if idle {
            let why = match how {
                Input::Cut(why) => why,
                Input::Silent(bound) => silent(bound),
                _ => {
                    self.counts.errors += 1;
                    "the server ended the watch at once and without an event".to_owned()
                }
            };
            self.pause(Failure::new(Trouble::Cut, why), next, now, rng, out);
        } else if self.floating {
            self.list(now, rng, out);
        } else {
            self.watch(rng, out);
        }
    }

    fn failed(&mut self, failure: Failure, now: Duration, rng: &mut fastrand::Rng, out: &mut Vec<Action>) {
        self.streaming.heard(&failure);
        let next = match (&self.state, failure.trouble) {
            (State::New | State::Committing { .. } | State::Waiting(_), _) => return,
            (State::Discovering, _) | (_, Trouble::NotFound) => Next::Discover,
            // A token that expired: the same list, all at once.
            (State::Listing(request), Trouble::Expired) if request.token.is_some() => {
                self.counts.errors += 1;
                let request = ListRequest {
                    version: request.version.clone(),
                    limit: None,
                    token: None,
                };
                return self.begin(request, out);
            }
            (state, Trouble::Expired | Trouble::TooLargeVersion) => {
                let again = match state {
                    State::Listing(ListRequest { version, .. })
                    | State::Asking { version }
                    | State::Gathering { version, .. } => version.is_empty(),
                    _ => false,
                };
                self.quorum = true;
                if !again && !std::mem::replace(&mut self.expired, true) {
                    self.counts.errors += 1;
                    return self.list(now, rng, out);
                }
                Next::List
            }
            (State::Asking { version } | State::Gathering { version, .. }, trouble) => {
                if self.streaming.is_in_vain(trouble) {
                    let version = version.clone();
                    return self.fall_back(version, failure, now, out);
                }
                Next::List
            }
            (State::Listing(_), Trouble::Garbled | Trouble::Forbidden) => Next::List,
            // Asked again it would be refused again: a token or a version that this server can't read, as after it was
            // replaced by another one.
            (State::Listing(request), Trouble::Refused) => {
                self.quorum |=
                    request.token.is_none() && !request.version.is_empty() && request.version.as_str() != "0";
                Next::List
            }
            (State::Listing(request), _) => Next::Page(request.clone()),
            // The version is as good as before: no list.
            (_, Trouble::Unreachable | Trouble::Unauthorized | Trouble::TooManyRequests) => Next::Watch,
            (State::Opening, Trouble::Server) if self.watch_failures < MAX_WATCH_FAILURES => {
                self.watch_failures += 1;
                Next::Watch
            }
            _ => Next::List,
        };
        self.counts.errors += 1;
        self.pause(failure, next, now, rng, out);
    }

    fn pause(&mut self, failure: Failure, next: Next, now: Duration, rng: &mut fastrand::Rng, out: &mut Vec<Action>) {
        let pause = match (&next, failure.trouble) {
            (_, Trouble::Forbidden) => self.forbidden.next(now, failure.retry_after, rng),
            (Next::Discover, Trouble::NotFound) => self.discovery.next(now, failure.retry_after, rng),
            _ => self.backoff.next(now, failure.retry_after, rng),
        };
        self.unwell = true;
        self.state = State::Waiting(next);
        out.push(Action::Health(Some(failure)));
        out.push(Action::Io(Order::Wait(pause)));
    }

    fn well(&mut self, out: &mut Vec<Action>) {
        if std::mem::replace(&mut self.unwell, false) {
            out.push(Action::Health(None));
        }
    }
}

fn watch_request(version: Version, initial: Option<Duration>, rng: &mut fastrand::Rng) -> WatchRequest {
    WatchRequest {
        version,
        initial,
        timeout: MIN_WATCH + Duration::from_secs(rng.u64(0..MIN_WATCH.as_secs())),
        silence: SILENCE,
    }
}

fn silent(bound: Duration) -> String {
    format!("nothing came for {} s", bound.as_secs())
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod streaming_tests;
