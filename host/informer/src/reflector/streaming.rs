//! The part of the reflector that has to do with streaming lists: the initial events of a watch are the list, a
//! bookmark ends it, and the same stream goes on as the watch.
//!
//! What comes before that bookmark is staged like the pages of a list and commits in one replacement; whatever ends the
//! stream sooner throws it away. Where streaming does not work lists come in pages, and it is tried again later.

use std::time::Duration;

use pilothouse_object::Version;

use super::{Action, Event, Input, ListMode, MIN_WATCH, Order, Reflector, State, silent, watch_request};
use crate::{
    reflector::failure::{Failure, Trouble},
    store::{Change, Item},
};

/// Initial events that stop for so long, and no bookmark: the server does not know the parameter and has taken the
/// request for a common watch. Three times what a real server waits before it says one or the other (3 s, kubernetes'
/// storage/cacher), since falling back too early costs no more than a list in pages.
const SILENCE: Duration = Duration::from_secs(10);
/// Changes for so long, and no bookmark: the same, of a kind that is never silent. A server that knows the parameter
/// sends what changes meanwhile behind the list, and the bookmark within those 3 s.
const CHANGES: Duration = SILENCE;
/// The longest that initial events may take. A server ends a stream after the time that was asked for, which is less.
const LONGEST: Duration = Duration::from_secs(600);
/// After so many streams in a row that ended before their bookmark lists come in pages: something may stand in between
/// that does not let streams through.
const MAX_FAILURES: u32 = 3;
/// After so long streaming is tried again: the server may be another one.
const AGAIN: Duration = Duration::from_secs(3600);

/// What is known about streaming lists at this server.
#[derive(Clone, Debug, Default)]
pub(super) struct Streaming {
    /// When they were given up.
    given_up: Option<Duration>,
    /// The server could not be reached since: it may be another one, or an upgraded one.
    away: bool,
    /// Streams in a row that ended before their bookmark.
    failures: u32,
}

impl Streaming {
    /// Whether the next list is to come as a stream.
    pub(super) fn wanted(&mut self, mode: ListMode, now: Duration) -> bool {
        match (mode, self.given_up) {
            (ListMode::Paged, _) => false,
            (ListMode::Streaming, None) => true,
            (ListMode::Streaming, Some(since)) => {
                let again = self.away || now.saturating_sub(since) >= AGAIN;
                if again {
                    *self = Self::default();
                }
                again
            }
        }
    }

    /// Takes in that something failed, be it a streaming list or not.
    pub(super) fn heard(&mut self, failure: &Failure) {
        self.away |= failure.trouble == Trouble::Unreachable;
    }

    /// Whether a streaming list that failed like this is not worth another try. What says nothing about streaming lists
    /// (the server is away or busy, the host is not allowed to watch) leaves them as they are.
    pub(super) fn is_in_vain(&mut self, trouble: Trouble) -> bool {
        match trouble {
            Trouble::Refused | Trouble::Garbled => true,
            Trouble::Server | Trouble::Cut => {
                self.failures += 1;
                self.failures >= MAX_FAILURES
            }
            _ => false,
        }
    }
}

impl Reflector {
    pub(super) fn ask_stream(&mut self, version: Version, rng: &mut fastrand::Rng, out: &mut Vec<Action>) {
        self.counts.streams += 1;
        self.elements = 0;
        out.push(Action::Begin);
        let request = watch_request(version.clone(), Some(SILENCE), rng);
        self.state = State::Asking { version };
        out.push(Action::Io(Order::Watch(request)));
    }

    /// Takes initial events in, up to the bookmark that ends them.
    pub(super) fn gather(&mut self, events: Vec<Event>, now: Duration, rng: &mut fastrand::Rng, out: &mut Vec<Action>) {
        let State::Gathering {
            version: asked,
            since,
            changed,
        } = &mut self.state
        else {
            return;
        };
        if events.iter().any(|event| matches!(event, Event::Changed(_))) {
            changed.get_or_insert(now);
        }
        let (asked, since, changed) = (asked.clone(), *since, *changed);
        let mut items = Vec::new();
        let mut end = None;
        let mut events = events.into_iter();
        for event in events.by_ref() {
            match event {
                // What changes meanwhile may come as such, among the rest.
                Event::Added(Change::Put(object)) | Event::Changed(Change::Put(object)) => {
                    items.push(Item::Object(object));
                }
                Event::Added(Change::Deleted(object)) | Event::Changed(Change::Deleted(object)) => {
                    items.push(Item::Gone(object.key().clone()));
                }
                Event::Unreadable(key) => {
                    self.counts.unreadable += 1;
                    items.extend(key.map(Item::Unreadable));
                }
                Event::Unknown => self.counts.unknown += 1,
                Event::InitialEnd(version) => {
                    self.counts.bookmarks += 1;
                    end = Some(version);
                    break;
                }
                // A server that knows streaming lists sends no other bookmark before that one.
                Event::Bookmark(_) => {
                    let why = "the server sent a common bookmark before the end of the initial events: it does not \
                               know streaming lists";
                    return self.fall_back(asked, Failure::new(Trouble::Refused, why), now, out);
                }
                Event::Error(failure) => return self.failed(failure, now, rng, out),
            }
        }
        if !items.is_empty() && !self.stage(items, now, rng, out) {
            return;
        }
        if let Some(version) = end {
            self.behind = events.collect();
            out.push(Action::Commit {
                version: version.clone(),
                quorum: asked.is_empty(),
            });
            self.state = State::Committing { version, streams: true };
        } else if changed.is_some_and(|changed| now.saturating_sub(changed) > CHANGES) {
            let why = format!(
                "changes came for {} s and no end of the initial events: it does not know streaming lists",
                CHANGES.as_secs()
            );
            self.fall_back(asked, Failure::new(Trouble::Refused, why), now, out);
        } else if now.saturating_sub(since) > LONGEST {
            let why = format!("the initial events have no end: {} s", LONGEST.as_secs());
            self.fall_back(asked, Failure::new(Trouble::Refused, why), now, out);
        }
    }

    /// The store took the list; its stream is the watch now.
    pub(super) fn goes_on(&mut self, now: Duration, rng: &mut fastrand::Rng, out: &mut Vec<Action>) {
        self.counts.watches += 1;
        self.streaming.failures = 0;
        self.watch_failures = 0;
        self.state = State::Streaming {
            since: now,
            progressed: true,
        };
        self.well(out);
        let behind = std::mem::take(&mut self.behind);
        if !behind.is_empty() {
            self.events(behind, now, rng, out);
        }
    }

    /// The stream ended before its bookmark, after it has `lasted` so long.
    pub(super) fn broke_off(
        &mut self,
        lasted: Duration,
        how: Input,
        now: Duration,
        rng: &mut fastrand::Rng,
        out: &mut Vec<Action>,
    ) {
        let failure = match how {
            Input::Cut(why) => Failure::new(Trouble::Cut, why),
            Input::Silent(bound) => {
                let why = format!("{} before the end of the initial events", silent(bound));
                Failure::new(Trouble::Refused, why)
            }
            // The whole time that was asked for, and no bookmark.
            _ if lasted >= MIN_WATCH => Failure::new(Trouble::Refused, "the initial events never ended"),
            _ => Failure::new(
                Trouble::Cut,
                "the server ended the stream before the end of the initial events",
            ),
        };
        self.failed(failure, now, rng, out);
    }

    /// The same list in pages, at once: it can't spin, since pages that fail pause.
    pub(super) fn fall_back(&mut self, version: Version, failure: Failure, now: Duration, out: &mut Vec<Action>) {
        self.counts.errors += 1;
        self.counts.fallbacks += 1;
        self.streaming = Streaming {
            given_up: Some(now),
            ..Streaming::default()
        };
        out.push(Action::FellBack(failure));
        self.list_pages(version, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_up_is_tried_again_after_an_hour_or_an_outage() {
        let given_up = Streaming {
            given_up: Some(Duration::from_secs(7)),
            ..Streaming::default()
        };
        let wanted = |mut streaming: Streaming, at| streaming.wanted(ListMode::Streaming, Duration::from_secs(at));
        assert!(!wanted(given_up.clone(), 3606) && wanted(given_up.clone(), 3607));
        let mut after = given_up;
        after.heard(&Failure::new(Trouble::Server, "busy"));
        assert!(!wanted(after.clone(), 8));
        after.heard(&Failure::new(Trouble::Unreachable, "refused"));
        assert!(wanted(after.clone(), 8));
        assert!(!after.wanted(ListMode::Paged, Duration::from_secs(8)));
    }
}
