//! Kubernetes Events of the host itself: what became of plugins that nobody would hear of from those plugins.
//!
//! Best effort as plugins' Events, and limited as theirs by default: identical ones are merged, and a plugin has so
//! many of the host's Events, whatever becomes of the others. What is told before the host runs is held, up to [`HELD`]
//! of them. An Event carries the time when it was told, however long it waited to be sent.

use std::sync::Arc;

use http::StatusCode;
use pilothouse_lifecycle::Budget;
use pilothouse_object::{escape_control, shorten};
use pilothouse_runtime::{ApiError, Gvk, ObjectRef, Severity, Timestamp};
use tokio::sync::mpsc;

use crate::{
    core::Core,
    reporting::events::{self, Action, Correlator, Emitted, PerObject},
};

/// Notices that wait to be sent; more are dropped, and the log says so.
const HELD: usize = 256;
/// Bytes of an Event's text.
const NOTE: usize = 1_024;
/// What is behind a text that was cut.
const CUT: usize = '…'.len_utf8();

/// What the host's own Events are about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The pod that it runs in.
    Pod {
        /// The pod's namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Its uid, by which `kubectl describe` finds Events; empty where it is not known.
        uid: String,
    },
    /// The namespace that it runs in.
    Namespace(String),
}

impl Subject {
    /// Where the Events are written.
    pub fn namespace(&self) -> &str {
        match self {
            Self::Pod { namespace, .. } | Self::Namespace(namespace) => namespace,
        }
    }

    fn regarding(&self) -> (ObjectRef, String) {
        let (kind, name, uid) = match self {
            Self::Pod { name, uid, .. } => ("Pod", name, uid.clone()),
            // It names itself: the API server wants an Event where the object is that it regards.
            Self::Namespace(name) => ("Namespace", name, String::new()),
        };
        let regarding = ObjectRef {
            kind: Gvk {
                group: String::new(),
                version: "v1".to_owned(),
                kind: kind.to_owned(),
            },
            namespace: Some(self.namespace().to_owned()),
            name: name.clone(),
        };
        (regarding, uid)
    }
}

/// Something that became of a plugin, as a warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The plugin.
    pub plugin: String,
    /// What happened, in one word as Kubernetes has them: `LoadFailed`.
    pub reason: &'static str,
    /// What was done or tried, in one word: `Load`.
    pub action: &'static str,
    /// The text; escaped and cut to 1,024 bytes when it is sent.
    pub note: String,
}

/// The wall clock.
type Wall = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A notice, and when it was told.
#[derive(Debug)]
struct Told {
    notice: Notice,
    at: Timestamp,
}

/// Where notices are told; from the start, and whether or not the host runs yet.
#[derive(Clone)]
pub struct NoticeSender {
    queue: mpsc::Sender<Told>,
    wall: Wall,
}

impl NoticeSender {
    /// Tells one, as something that happens now. Never waits: what finds no room is dropped, and logged.
    pub fn tell(&self, notice: Notice) {
        let at = (self.wall)();
        if let Err(error) = self.queue.try_send(Told { notice, at }) {
            let (mpsc::error::TrySendError::Full(told) | mpsc::error::TrySendError::Closed(told)) = error;
            let notice = told.notice;
            tracing::debug!(
                plugin = &*escape_control(&notice.plugin),
                reason = notice.reason,
                "a Kubernetes Event of the host is not sent: too many wait, or the host stops"
            );
        }
    }
}

/// The notices that wait for a host to send them: for [`crate::HostOptions::notices`].
#[derive(Debug)]
pub struct Notices {
    subject: Subject,
    queue: mpsc::Receiver<Told>,
}

impl Notices {
    /// Room for notices that become Events about this. `wall`: the wall clock, read whenever one is told.
    pub fn about(subject: Subject, wall: Arc<dyn Fn() -> Timestamp + Send + Sync>) -> (NoticeSender, Self) {
        let (sender, queue) = mpsc::channel(HELD);
        (NoticeSender { queue: sender, wall }, Self { subject, queue })
    }
}

fn emitted(subject: &Subject, Told { notice, at }: &Told) -> Emitted {
    let (regarding, uid) = subject.regarding();
    let note = escape_control(&notice.note);
    let note = if note.len() > NOTE {
        shorten(&note, NOTE - CUT)
    } else {
        note
    };
    Emitted {
        plugin: Arc::from(&*notice.plugin),
        by_host: true,
        regarding,
        uid,
        severity: Severity::Warning,
        reason: notice.reason.to_owned(),
        action: notice.action.to_owned(),
        note: note.into_owned(),
        user: None,
        at: *at,
        most: PerObject::of(&Budget::default()),
    }
}

/// Sends notices, one after the other.
pub(crate) async fn send(core: Arc<Core>, mut notices: Notices, mut rng: fastrand::Rng) {
    let mut correlator = Correlator::default();
    let mut forbidden = false;
    while let Some(told) = notices.queue.recv().await {
        let event = emitted(&notices.subject, &told);
        let action = correlator.step(core.now(), &mut rng, &event);
        if let Action::Drop { said: Some(others) } = action {
            tracing::warn!(
                plugin = &*escape_control(&told.notice.plugin),
                others,
                "more became of the plugin than is told as Kubernetes Events ({}): the log has it all",
                event.most
            );
        }
        if let Err(error) = events::send(&core.shared.api, &mut correlator, action).await
            && is_forbidden(&error)
            && !std::mem::replace(&mut forbidden, true)
        {
            tracing::warn!(
                "the API server lets the host write no Events in the namespace {namespace}, so failed loads of plugins are \
                 not told there (said once): {}. Allow it create and patch on events there: `pilothouse rbac DIR \
                 --config FILE` prints that too where the file's host.namespace names the namespace",
                escape_control(&shorten(&error.message, 500)),
                namespace = escape_control(notices.subject.namespace()),
            );
        }
    }
}

fn is_forbidden(error: &ApiError) -> bool {
    error.code == StatusCode::FORBIDDEN.as_u16()
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU32, Ordering},
        time::Duration,
    };

    use serde_json::{Value, json};

    use super::*;

    fn notice(plugin: &str, note: &str) -> Notice {
        Notice {
            plugin: plugin.to_owned(),
            reason: "LoadFailed",
            action: "Load",
            note: note.to_owned(),
        }
    }

    fn told(plugin: &str, note: &str) -> Told {
        Told {
            notice: notice(plugin, note),
            at: AT,
        }
    }

    const AT: Timestamp = Timestamp {
        seconds: 1_800_000_000,
        nanoseconds: 0,
    };

    fn created(subject: &Subject, told: &Told) -> (String, Value) {
        let (mut correlator, mut rng) = (Correlator::default(), fastrand::Rng::with_seed(1));
        match correlator.step(Duration::ZERO, &mut rng, &emitted(subject, told)) {
            Action::Create { namespace, body } => (namespace, body),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_host_itself_reports_a_warning_about_its_pod() {
        let pod = Subject::Pod {
            namespace: "ops".to_owned(),
            name: "pilothouse-0".to_owned(),
            uid: "u-1".to_owned(),
        };
        let (namespace, body) = created(&pod, &told("greeting", "no"));
        assert_eq!(namespace, "ops");
        assert_eq!(
            body["involvedObject"],
            json!({"apiVersion": "v1", "kind": "Pod", "name": "pilothouse-0", "namespace": "ops", "uid": "u-1"})
        );
        assert_eq!(
            (
                &body["type"],
                &body["reason"],
                &body["reportingComponent"],
                &body["source"]
            ),
            (
                &json!("Warning"),
                &json!("LoadFailed"),
                &json!("pilothouse"),
                &json!({"component": "pilothouse"})
            )
        );
    }

    #[test]
    fn without_a_pod_it_is_about_the_namespace_and_written_there() {
        let (namespace, body) = created(&Subject::Namespace("ops".to_owned()), &told("greeting", "no"));
        assert_eq!(namespace, "ops");
        assert_eq!(
            body["involvedObject"],
            json!({"apiVersion": "v1", "kind": "Namespace", "name": "ops", "namespace": "ops"})
        );
    }

    #[test]
    fn text_from_outside_is_escaped_and_then_cut_to_1024_bytes() {
        let subject = Subject::Namespace("ops".to_owned());
        let (_, body) = created(&subject, &told("p", "\u{1b}[2Jx"));
        assert_eq!(body["message"], "\\u{1b}[2Jx");
        let exact = "x".repeat(NOTE);
        assert_eq!(created(&subject, &told("p", &exact)).1["message"], exact);
        for long in ["\u{1b}".repeat(NOTE), "ü".repeat(NOTE)] {
            let (_, body) = created(&subject, &told("p", &long));
            let message = body["message"].as_str().unwrap();
            assert!(message.len() <= NOTE && message.ends_with('…'), "{}", message.len());
        }
    }

    #[test]
    fn a_plugin_that_fails_again_and_again_takes_no_events_away_from_others() {
        let (mut correlator, mut rng) = (Correlator::default(), fastrand::Rng::with_seed(1));
        let subject = Subject::Namespace("ops".to_owned());
        let mut step = |plugin: &str, note: &str| {
            let event = emitted(&subject, &told(plugin, note));
            correlator.step(Duration::ZERO, &mut rng, &event)
        };
        assert!(matches!(step("bad", "same"), Action::Create { .. }));
        assert!(matches!(step("bad", "same"), Action::Count { .. }));
        let dropped = (0..100).filter(|i| matches!(step("bad", &i.to_string()), Action::Drop { .. }));
        assert_eq!(dropped.count(), 77);
        assert!(matches!(step("other", "no"), Action::Create { .. }));
    }

    #[test]
    fn what_is_told_before_the_host_runs_is_held_up_to_a_bound() {
        let (sender, mut notices) = Notices::about(Subject::Namespace("ops".to_owned()), Arc::new(|| AT));
        for i in 0..2 * HELD {
            sender.tell(notice(&i.to_string(), "no"));
        }
        let mut held = Vec::new();
        while let Ok(told) = notices.queue.try_recv() {
            held.push(told.notice.plugin);
        }
        assert_eq!((held.len(), &*held[0]), (HELD, "0"));
    }

    #[test]
    fn an_event_carries_the_time_when_it_was_told_however_long_it_waits() {
        let seconds = Arc::new(AtomicU32::new(AT.seconds));
        let clock = seconds.clone();
        let wall = move || Timestamp {
            seconds: clock.load(Ordering::Relaxed),
            nanoseconds: 0,
        };
        let (sender, mut notices) = Notices::about(Subject::Namespace("ops".to_owned()), Arc::new(wall));
        for plugin in ["first", "second"] {
            sender.tell(notice(plugin, "no"));
            seconds.fetch_add(60, Ordering::Relaxed);
        }
        for time in ["2027-01-15T08:00:00Z", "2027-01-15T08:01:00Z"] {
            let (_, body) = created(&notices.subject, &notices.queue.try_recv().unwrap());
            assert_eq!(
                (&body["firstTimestamp"], &body["lastTimestamp"]),
                (&json!(time), &json!(time))
            );
        }
    }
}
