//! Kubernetes Events of plugins (and the host's own about them): merged and limited by a pure step, sent by tasks of
//! their own.
//!
//! Best effort, as everywhere: an Event that the API server refuses or that comes too fast is counted and dropped, and
//! never delays or fails a reconcile.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{HeaderValue, Method};
use pilothouse_informer::Resource;
use pilothouse_lifecycle::Budget;
use pilothouse_object::{Gvk, escape_control, shorten};
use pilothouse_runtime::{ApiError, ObjectRef, Severity, Timestamp};
use serde_json::{Value, json};

use crate::{
    api::{path::uri, requests::Api},
    reporting::rarely::Rarely,
};

/// The same text on the same object within this time raises a count instead of making another Event (client-go's own
/// correlator uses 10 minutes).
const MERGE: Duration = Duration::from_secs(600);
/// Remembered Events at most, and for each plugin objects; the oldest are forgotten first.
const REMEMBERED: usize = 4_096;
/// Events of one plugin that wait to be sent; more are dropped and counted, so that there is room for those of others.
const WAITING: usize = 256;

/// Events about one object: so many at once after a pause, and one more after each of these times. By default 25 and 5
/// minutes (client-go's spam filter).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PerObject {
    burst: u32,
    refill: Duration,
}

impl PerObject {
    /// As the operator set it.
    pub(crate) fn of(budget: &Budget) -> Self {
        Self {
            burst: budget.events_per_object,
            refill: Duration::from_secs(budget.event_refill_seconds.max(1).into()),
        }
    }
}

impl fmt::Display for PerObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} and one more every {} s", self.burst, self.refill.as_secs())
    }
}

/// One call of `events.emit`, or what the host itself has to say of a plugin.
#[derive(Clone, Debug)]
pub(crate) struct Emitted {
    pub(crate) plugin: Arc<str>,
    /// The host reports it, not the plugin.
    pub(crate) by_host: bool,
    pub(crate) regarding: ObjectRef,
    /// The object's uid, where the cache knows it: `kubectl describe` finds Events by it.
    pub(crate) uid: String,
    pub(crate) severity: Severity,
    pub(crate) reason: String,
    pub(crate) action: String,
    pub(crate) note: String,
    /// Who sends it, if not the host itself.
    pub(crate) user: Option<HeaderValue>,
    pub(crate) at: Timestamp,
    /// How many its plugin may have about one object.
    pub(crate) most: PerObject,
}

/// What to do about an emitted Event.
#[derive(Debug, PartialEq)]
pub(crate) enum Action {
    /// Create this one in this namespace.
    Create { namespace: String, body: Value },
    /// Raise the count of one that was created before.
    Count {
        namespace: String,
        name: String,
        patch: Value,
    },
    /// Too many about this object. To be said now where it tells how many more were dropped since it was said last.
    Drop { said: Option<u64> },
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Series {
    plugin: Arc<str>,
    object: (String, String, Option<String>, String, String),
    warning: bool,
    reason: String,
    note: String,
}

struct Seen {
    name: String,
    count: u32,
    last: Duration,
}

struct Bucket {
    tokens: f64,
    last: Duration,
}

/// What tells objects apart here: kind, namespace, name.
type Regarded = (String, Option<String>, String);

/// A plugin's place among the Events that wait to be sent. It is free again once this is dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<AtomicUsize>);

impl Place {
    /// One more of the places that are counted here; none where the plugin has [`WAITING`] already.
    pub(crate) fn take(waiting: &Arc<AtomicUsize>) -> Option<Self> {
        let place = Self(waiting.clone());
        (waiting.fetch_add(1, Ordering::AcqRel) < WAITING).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Decides what becomes of each Event.
#[derive(Default)]
pub(crate) struct Correlator {
    seen: HashMap<Series, Seen>,
    order: VecDeque<Series>,
    /// For each plugin its own, so that none uses up the room of others.
    plugins: HashMap<Arc<str>, OfPlugin>,
}

#[derive(Default)]
struct OfPlugin {
    buckets: HashMap<Regarded, Bucket>,
    dropped: Rarely,
}

impl Correlator {
    pub(crate) fn step(&mut self, now: Duration, rng: &mut fastrand::Rng, event: &Emitted) -> Action {
        let object = &event.regarding;
        // Names of files that were refused come from outside, and must not fill the memory: every limit begins anew.
        if self.plugins.len() >= REMEMBERED && !self.plugins.contains_key(&event.plugin) {
            self.plugins.clear();
        }
        let plugin = self.plugins.entry(event.plugin.clone()).or_default();
        if !plugin.take_token(now, event) {
            return Action::Drop {
                said: plugin.dropped.say(now),
            };
        }
        let namespace = object.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let series = Series {
            plugin: event.plugin.clone(),
            object: (
                object.kind.group.clone(),
                object.kind.kind.clone(),
                object.namespace.clone(),
                object.name.clone(),
                event.uid.clone(),
            ),
            warning: matches!(event.severity, Severity::Warning),
            reason: event.reason.clone(),
            note: event.note.clone(),
        };
        let time = rfc3339(event.at);
        if let Some(seen) = self.seen.get_mut(&series)
            && now.saturating_sub(seen.last) < MERGE
        {
            seen.count = seen.count.saturating_add(1);
            seen.last = now;
            let patch = json!({"count": seen.count, "lastTimestamp": time});
            return Action::Count {
                namespace,
                name: seen.name.clone(),
                patch,
            };
        }
        // Names of Events are the object's name and something unique, cut to what a name may be long.
        let name = format!(
            "{}.{:016x}",
            shorten(&object.name, 200).trim_end_matches('…'),
            rng.u64(..)
        );
        self.remember(
            series,
            Seen {
                name: name.clone(),
                count: 1,
                last: now,
            },
        );
        Action::Create {
            body: body(event, &namespace, &name, &time),
            namespace,
        }
    }

    fn remember(&mut self, series: Series, seen: Seen) {
        if self.seen.insert(series.clone(), seen).is_none() {
            self.order.push_back(series);
        }
        while self.order.len() > REMEMBERED {
            if let Some(oldest) = self.order.pop_front() {
                self.seen.remove(&oldest);
            }
        }
    }

    /// An Event that could not be counted up (it expired on the server) is made anew next time.
    pub(crate) fn forget(&mut self, name: &str) {
        self.seen.retain(|_, seen| seen.name != name);
        let seen = &self.seen;
        self.order.retain(|series| seen.contains_key(series));
    }
}

impl OfPlugin {
    fn take_token(&mut self, now: Duration, event: &Emitted) -> bool {
        let object = &event.regarding;
        let buckets = &mut self.buckets;
        let (most, per_second) = (f64::from(event.most.burst), event.most.refill.as_secs_f64().recip());
        let key = (object.kind.kind.clone(), object.namespace.clone(), object.name.clone());
        if buckets.len() >= REMEMBERED && !buckets.contains_key(&key) {
            // A full bucket says nothing that a new one wouldn't. Where none is full, the oldest gets a new burst.
            buckets.retain(|_, b| b.tokens + now.saturating_sub(b.last).as_secs_f64() * per_second < most);
            let oldest = buckets
                .iter()
                .min_by_key(|(_, bucket)| bucket.last)
                .map(|(key, _)| key.clone());
            if let Some(oldest) = oldest.filter(|_| buckets.len() >= REMEMBERED) {
                buckets.remove(&oldest);
            }
        }
        let bucket = buckets.entry(key).or_insert(Bucket {
            tokens: most,
            last: now,
        });
        bucket.tokens = (bucket.tokens + now.saturating_sub(bucket.last).as_secs_f64() * per_second).min(most);
        bucket.last = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }
}

fn body(event: &Emitted, namespace: &str, name: &str, time: &str) -> Value {
    let object = &event.regarding;
    let api_version = if object.kind.group.is_empty() {
        object.kind.version.clone()
    } else {
        format!("{}/{}", object.kind.group, object.kind.version)
    };
    let component = if event.by_host {
        "pilothouse".to_owned()
    } else {
        format!("pilothouse/{}", event.plugin)
    };
    let mut involved = json!({"apiVersion": api_version, "kind": object.kind.kind, "name": object.name});
    if let Some(namespace) = &object.namespace {
        involved["namespace"] = json!(namespace);
    }
    if !event.uid.is_empty() {
        involved["uid"] = json!(event.uid);
    }
    json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": involved,
        "type": if matches!(event.severity, Severity::Warning) { "Warning" } else { "Normal" },
        "reason": escape_control(&event.reason),
        "action": escape_control(&event.action),
        "message": escape_control(&event.note),
        "source": {"component": component},
        "reportingComponent": component,
        "reportingInstance": component,
        "firstTimestamp": time, "lastTimestamp": time, "count": 1,
    })
}

/// Carries an action out: what became of the Event, for the metric.
///
/// # Errors
/// The API server didn't store it: that is for the log, and the Event is lost.
pub(crate) async fn send(api: &Api, correlator: &mut Correlator, action: Action) -> Result<&'static str, ApiError> {
    let kind = Gvk::new("", "v1", "Event");
    let resource = Resource {
        plural: "events".into(),
        namespaced: true,
    };
    let (method, namespace, name, content_type, body) = match &action {
        Action::Drop { .. } => return Ok("limited"),
        Action::Create { namespace, body } => (Method::POST, namespace, None, "application/json", body),
        Action::Count { namespace, name, patch } => (
            Method::PATCH,
            namespace,
            Some(name.as_str()),
            "application/merge-patch+json",
            patch,
        ),
    };
    let uri = uri(&kind, &resource, Some(namespace), name, None, &[])?;
    match api
        .send(method, uri, Some(content_type), body.to_string().into_bytes())
        .await
    {
        Ok(_) => Ok("sent"),
        Err(error) => {
            // Not created, or expired on the server meanwhile: the next one is made anew.
            let made = name.or_else(|| body["metadata"]["name"].as_str());
            if let Some(name) = made {
                correlator.forget(name);
            }
            tracing::debug!(reason = %error.reason, why = %escape_control(&error.message), "an Event was not stored");
            Err(error)
        }
    }
}

/// A time as it stands in objects: UTC, whole seconds.
pub(crate) fn rfc3339(at: Timestamp) -> String {
    jiff::Timestamp::from_second(at.seconds.into())
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(note: &str) -> Emitted {
        Emitted {
            plugin: "p".into(),
            by_host: false,
            regarding: ObjectRef {
                kind: pilothouse_runtime::Gvk {
                    group: "ex.io".into(),
                    version: "v1".into(),
                    kind: "Widget".into(),
                },
                namespace: Some("a".into()),
                name: "w".into(),
            },
            uid: "u".into(),
            severity: Severity::Normal,
            reason: "Said".into(),
            action: "Say".into(),
            note: note.into(),
            user: None,
            at: Timestamp {
                seconds: 1_800_000_000,
                nanoseconds: 5,
            },
            most: PerObject::of(&Budget::default()),
        }
    }

    #[test]
    fn the_same_event_raises_a_count() {
        let (mut correlator, mut rng) = (Correlator::default(), fastrand::Rng::with_seed(1));
        let Action::Create { namespace, body } = correlator.step(Duration::ZERO, &mut rng, &event("hello")) else {
            panic!("the first is created")
        };
        assert_eq!(namespace, "a");
        assert_eq!(body["involvedObject"]["apiVersion"], "ex.io/v1");
        assert_eq!(body["lastTimestamp"], "2027-01-15T08:00:00Z");
        let Action::Count { name, patch, .. } = correlator.step(Duration::from_secs(9), &mut rng, &event("hello"))
        else {
            panic!("the second is counted")
        };
        assert_eq!(
            (Value::from(name), &patch["count"]),
            (body["metadata"]["name"].clone(), &json!(2))
        );
        assert!(matches!(
            correlator.step(Duration::from_secs(9), &mut rng, &event("other")),
            Action::Create { .. }
        ));
        assert!(matches!(
            correlator.step(Duration::from_secs(700), &mut rng, &event("hello")),
            Action::Create { .. }
        ));
    }

    #[test]
    fn events_about_one_object_come_to_an_end() {
        let (mut correlator, mut rng) = (Correlator::default(), fastrand::Rng::with_seed(1));
        let mut step = |at: u64, i: u64| correlator.step(Duration::from_secs(at), &mut rng, &event(&i.to_string()));
        for i in 0..25 {
            assert!(!matches!(step(0, i), Action::Drop { .. }));
        }
        assert_eq!(step(0, 25), Action::Drop { said: Some(0) });
        assert_eq!(step(1, 26), Action::Drop { said: None }, "said once a minute");
        assert!(!matches!(step(301, 27), Action::Drop { .. }));
        assert_eq!(step(302, 28), Action::Drop { said: Some(1) });
    }

    #[test]
    fn the_operator_says_how_many_events_one_object_may_have() {
        let (mut correlator, mut rng) = (Correlator::default(), fastrand::Rng::with_seed(1));
        let mut step = |at: u64, i: u64| {
            let mut event = event(&i.to_string());
            event.most = PerObject::of(&Budget {
                events_per_object: 2,
                event_refill_seconds: 10,
                ..Budget::default()
            });
            !matches!(
                correlator.step(Duration::from_secs(at), &mut rng, &event),
                Action::Drop { .. }
            )
        };
        let sent: Vec<bool> = [0, 0, 0, 9, 10, 11, 100, 100, 100]
            .into_iter()
            .zip(0..)
            .map(|(at, i)| step(at, i))
            .collect();
        assert_eq!(sent, [true, true, false, false, true, false, true, true, false]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut correlator, mut rng) = (Correlator::default(), fastrand::Rng::with_seed(1));
        for i in 0..10_000 {
            let mut event = event("x");
            event.regarding.name = i.to_string();
            correlator.step(Duration::from_millis(i), &mut rng, &event);
        }
        assert!(correlator.seen.len() <= REMEMBERED && correlator.order.len() <= REMEMBERED);
        assert!(correlator.plugins["p"].buckets.len() <= REMEMBERED);
        for i in 0..10_000 {
            let mut event = event("x");
            event.plugin = i.to_string().into();
            correlator.step(Duration::from_millis(i), &mut rng, &event);
        }
        assert!(correlator.plugins.len() <= REMEMBERED);
    }

    #[test]
    fn a_plugin_with_events_about_many_objects_takes_none_away_from_itself_or_others() {
        let (mut correlator, mut rng) = (Correlator::default(), fastrand::Rng::with_seed(1));
        let mut step = |plugin: &str, object: u64| {
            let mut event = event("x");
            event.plugin = plugin.into();
            event.regarding.name = object.to_string();
            correlator.step(Duration::from_millis(object), &mut rng, &event)
        };
        for object in 0..10_000 {
            assert!(!matches!(step("busy", object), Action::Drop { .. }), "{object}");
        }
        assert!(!matches!(step("other", 10_000), Action::Drop { .. }));
    }

    #[test]
    fn the_places_of_a_plugins_events_are_bounded_and_come_back() {
        let waiting = Arc::default();
        let mut places: Vec<Place> = (0..WAITING).filter_map(|_| Place::take(&waiting)).collect();
        assert_eq!(places.len(), WAITING);
        assert!(Place::take(&waiting).is_none());
        places.pop();
        assert!(Place::take(&waiting).is_some());
    }

    #[test]
    fn text_of_a_guest_is_escaped_in_the_event() {
        let (mut correlator, mut rng) = (Correlator::default(), fastrand::Rng::with_seed(1));
        let Action::Create { body, .. } = correlator.step(Duration::ZERO, &mut rng, &event("\u{1b}[2Jx")) else {
            panic!("created")
        };
        assert_eq!(body["message"], "\\u{1b}[2Jx");
    }
}
