//! Watches: from a version on, or from the present state; through selectors; with bookmarks and an end.

use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::cluster::{Cluster, type_id};
use crate::convert;
use crate::query::ListOptions;
use crate::read::parse_version;
use crate::route::{Cx, Target};
use crate::select::Selection;
use crate::status::Status;
use crate::store::{Event, Key, Objects};
use crate::table::View;
use crate::types::ResourceType;
use crate::wire::{Body, Polled, Response, WatchId};

/// A poll gives at most this many events.
const MAX_LINES: usize = 512;
/// A watch that names no time ends after this, plus as much again at random.
const DEFAULT_TIMEOUT: u64 = 1800;
/// A watch ends after a day at the latest.
const MAX_TIMEOUT: u64 = 86_400;
/// The annotation of the bookmark that ends the initial events.
const INITIAL_END: &str = "k8s.io/initial-events-end";

/// An open watch.
#[derive(Clone)]
pub(crate) struct Watch {
    type_: Arc<ResourceType>,
    namespace: Option<Arc<str>>,
    selection: Arc<Selection>,
    view: View,
    /// Whether nothing was sent yet: tables describe their columns in the first event.
    first: bool,
    /// What is still to be sent of the state at the start, and from which key on.
    initial: Option<(Objects, Option<Key>)>,
    /// Whether a bookmark ends the initial events.
    mark_initial: bool,
    /// Everything up to this version was sent, or lies before the start.
    cursor: u64,
    bookmarks: bool,
    next_bookmark: Duration,
    deadline: Duration,
}

impl Watch {
    /// When it has something to say even if nothing happens.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        if self.bookmarks {
            Some(self.deadline.min(self.next_bookmark))
        } else {
            Some(self.deadline)
        }
    }

    fn shows(&self, key_namespace: &str, object: &Value) -> bool {
        self.namespace
            .as_deref()
            .is_none_or(|namespace| namespace == key_namespace)
            && self.selection.matches(object)
    }

    fn line(&mut self, kind: &str, object: &Value, now: Duration) -> Bytes {
        let shown = self.view.object(&self.type_, object, now, self.first);
        self.first = false;
        line(kind, &shown)
    }

    fn bookmark(&mut self, version: u64, initial: bool) -> Bytes {
        let mut meta = Map::new();
        meta.insert("resourceVersion".into(), version.to_string().into());
        if initial {
            meta.insert("annotations".into(), json!({ INITIAL_END: "true" }));
        }
        let object = match self.view {
            View::Metadata => {
                json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": meta})
            }
            View::Table { .. } => {
                // The mark of the initial events stands in the object of the one row, where clients look for it.
                let inner = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": meta});
                json!({
                    "kind": "Table", "apiVersion": "meta.k8s.io/v1",
                    "metadata": {"resourceVersion": version.to_string()},
                    "columnDefinitions": null, "rows": [{"cells": [], "object": inner}],
                })
            }
            View::Full => {
                json!({"kind": &*self.type_.kind, "apiVersion": self.type_.api_version(), "metadata": meta})
            }
        };
        line("BOOKMARK", &object)
    }

    /// The line that an event makes for this watch, if any.
    fn event(&mut self, event: &Event, now: Duration) -> Option<Bytes> {
        let namespace = crate::meta::text(&event.object, "namespace").to_owned();
        let new = convert::from_stored(&self.type_, &event.object);
        let old = event.old.as_ref().map(|old| convert::from_stored(&self.type_, old));
        let showed = old.as_ref().is_some_and(|old| self.shows(&namespace, old));
        let shows = !event.deleted && self.shows(&namespace, &new);
        match (showed, shows) {
            (false, false) => None,
            (false, true) => Some(self.line("ADDED", &new, now)),
            (true, true) => Some(self.line("MODIFIED", &new, now)),
            (true, false) => {
                // Whether deleted or only out of sight: the object as it last was in sight, under the new version.
                let mut gone = Value::clone(old.as_deref().unwrap_or(&new));
                crate::meta::set(&mut gone, "resourceVersion", event.version.to_string().into());
                Some(self.line("DELETED", &gone, now))
            }
        }
    }
}

/// One event as a line: the type first, as clients that look at the beginning expect it.
fn line(kind: &str, object: &Value) -> Bytes {
    format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n").into()
}

impl Cluster {
    /// GET with `watch`.
    pub(crate) fn watch(&mut self, cx: &mut Cx<'_>, target: &Target) -> Result<Response, Status> {
        let view = cx.view(false)?;
        let type_ = &target.type_;
        let fields = cx.query.text("fieldSelector");
        // The old `/watch/…/NAME` path watches one object.
        let fields = match &target.name {
            Some(name) if fields.is_empty() => format!("metadata.name={name}"),
            Some(name) => format!("metadata.name={name},{fields}"),
            None => fields.to_owned(),
        };
        let selection = Selection::parse(type_, cx.query.text("labelSelector"), &fields)?;
        let options = ListOptions::parse(&cx.query, true)?;
        let version = parse_version(&options.version).map_err(|why| Status::new(500, "", why))?;
        if self.watches.size() >= self.config.watches {
            let mut status = Status::new(
                429,
                "TooManyRequests",
                format!(
                    "this local cluster has {} open watches, which is all it allows",
                    self.config.watches
                ),
            );
            status.retry_after = Some(1);
            return Err(status);
        }
        let present = self.store.version();
        if options.initial_events.is_some() {
            self.check_future(version)?;
        }
        let with_state = match options.initial_events {
            Some(wanted) => wanted,
            None => version.is_none(),
        };
        let cursor = if with_state {
            present
        } else {
            version.unwrap_or(present)
        };
        let objects = with_state.then(|| self.store.objects(&type_.collection()));
        let timeout = match options.timeout {
            Some(0) | None => DEFAULT_TIMEOUT + self.rng.u64(..DEFAULT_TIMEOUT),
            Some(seconds) => seconds.min(MAX_TIMEOUT),
        };
        let watch = Watch {
            type_: type_.clone(),
            namespace: target.namespace.clone(),
            selection: Arc::new(selection),
            view,
            first: true,
            initial: objects.map(|objects| (objects, None)),
            mark_initial: options.initial_events == Some(true) && options.bookmarks,
            cursor,
            bookmarks: options.bookmarks,
            next_bookmark: self.now.saturating_add(self.config.bookmark_every),
            deadline: self.now.saturating_add(Duration::from_secs(timeout)),
        };
        let id = self.next_watch_id();
        self.watches.insert_mut(id.0, watch);
        Ok(Response {
            status: 200,
            content_type: "application/json".into(),
            headers: Vec::new(),
            body: Body::Watch(id),
        })
    }

    pub(crate) fn poll_watch(&mut self, id: WatchId) -> Polled {
        let Some(mut watch) = self.watches.get(&id.0).cloned() else {
            return Polled::Ended;
        };
        let mut lines = Vec::new();
        self.send_state(&mut watch, &mut lines);
        let mut caught_up = watch.initial.is_none();
        if caught_up && watch.cursor < self.store.compacted() {
            // It begins too early, or was not polled for so long that events are lost to it.
            lines.push(too_old(watch.cursor, self.store.compacted()));
            return self.end(id, lines);
        }
        if caught_up {
            caught_up = self.send_events(&mut watch, &mut lines);
        }
        if caught_up {
            let gone = !self.types.contains_key(&type_id(&watch.type_));
            let over = self.now >= watch.deadline;
            if watch.bookmarks && (over || self.now >= watch.next_bookmark) {
                let version = watch.cursor;
                lines.push(watch.bookmark(version, false));
                watch.next_bookmark = self.now.saturating_add(self.config.bookmark_every);
            }
            if gone || over {
                return self.end(id, lines);
            }
        }
        self.watches.insert_mut(id.0, watch);
        Polled::Lines(lines)
    }

    fn end(&mut self, id: WatchId, lines: Vec<Bytes>) -> Polled {
        self.close(id);
        if lines.is_empty() {
            Polled::Ended
        } else {
            Polled::Lines(lines)
        }
    }

    /// Sends of the state at the start what was not sent yet.
    fn send_state(&self, watch: &mut Watch, lines: &mut Vec<Bytes>) {
        let Some((objects, after)) = watch.initial.take() else {
            return;
        };
        let first = match (&after, &watch.namespace) {
            (Some(key), _) => Bound::Excluded(key.clone()),
            (None, Some(namespace)) => Bound::Included((namespace.clone(), "".into())),
            (None, None) => Bound::Unbounded,
        };
        let mut last = after.as_ref();
        for (key, object) in objects.range((first, Bound::Unbounded)) {
            if watch.namespace.as_ref().is_some_and(|namespace| *namespace != key.0) {
                break;
            }
            if lines.len() == MAX_LINES {
                watch.initial = Some((objects.clone(), last.cloned()));
                return;
            }
            let shown = convert::from_stored(&watch.type_, object);
            last = Some(key);
            if watch.shows(&key.0, &shown) {
                lines.push(watch.line("ADDED", &shown, self.now));
            }
        }
        if watch.mark_initial {
            let version = watch.cursor;
            lines.push(watch.bookmark(version, true));
        }
    }

    /// Sends what happened since; says whether that is all.
    fn send_events(&self, watch: &mut Watch, lines: &mut Vec<Bytes>) -> bool {
        let id = watch.type_.collection();
        for event in self.store.events(&id, watch.cursor) {
            if lines.len() >= MAX_LINES {
                return false;
            }
            if let Some(line) = watch.event(event, self.now) {
                lines.push(line);
            }
            watch.cursor = event.version;
        }
        // A watch from a version in the future waits for it.
        watch.cursor = watch.cursor.max(self.store.version());
        true
    }
}

fn too_old(asked: u64, oldest: u64) -> Bytes {
    let status = Status::new(410, "Expired", format!("too old resource version: {asked} ({oldest})"));
    line("ERROR", &status.to_value())
}
