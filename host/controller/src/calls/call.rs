//! The backend of one call: what a plugin's imports reach. Reads are in [`crate::calls::reads`], writes in
//! [`crate::writing::writes`].

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use pilothouse_gate::breaker;
use pilothouse_informer::{Phase, Projection, Reader, Resource, Subscription, View};
use pilothouse_lifecycle::{Plugin, Trouble, Verb};
use pilothouse_object::{Gvk, Key, Object};
use pilothouse_runtime::{
    ApiError, Backend, Change, Freshness, Level, ObjectRef, Options, Page, Propagation, Query, Reply, Severity,
    Timestamp, reason,
};
use tokio::{sync::Notify, time::Instant};

use crate::lock::lock;
use crate::{
    Cause, ControllerId, Happening, Observer,
    access::Access,
    api::{kinds::Kinds, refusal, requests::Api},
    calls::{
        digest::DigestKey,
        log_budget::{Line, LogBudget},
    },
    reporting::events::{Emitted, PerObject, Place},
    versions::stage::End,
    writing::{ledger::Ledger, repeats::Repeats},
};
use crate::{reporting::metrics::Metrics, waking::provenance::Provenance};

/// What all calls of a host share.
pub(crate) struct Shared {
    pub(crate) api: Api,
    pub(crate) kinds: Kinds,
    pub(crate) metrics: Metrics,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) provenance: Mutex<Provenance>,
    /// To the task that sends Events; what doesn't fit is dropped and counted.
    pub(crate) events: tokio::sync::mpsc::Sender<(Emitted, Place)>,
    /// What digests of Secrets are made with.
    pub(crate) digest_key: DigestKey,
    /// Jitter of retries. What plugins get is not from here: they could tell what comes next.
    pub(crate) random: Mutex<fastrand::Rng>,
    pub(crate) bytes: Arc<dyn Fn(usize) -> Vec<u8> + Send + Sync>,
    pub(crate) wall: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    pub(crate) trouble: Arc<dyn Fn(Trouble) + Send + Sync>,
}

impl Shared {
    /// Tells what breakers did to whoever listens. Not while the dispatcher is locked: listeners may want it.
    pub(crate) fn tell_breakers(&self, changes: Vec<(Arc<str>, breaker::Change)>) {
        for (plugin, change) in changes {
            self.metrics.breaker(&plugin, &change);
            self.observer.happened(&Happening::Breaker { plugin, change });
        }
    }
}

/// What all calls of one version of a plugin share.
pub(crate) struct PluginState {
    pub(crate) plugin: Arc<Plugin>,
    pub(crate) name: Arc<str>,
    /// The plugin's windows on the caches, by kind: one for each watch and reach.
    /// Those that show objects whole come first.
    pub(crate) views: HashMap<Gvk, Vec<Reader>>,
    /// Windows that could not be opened, and why.
    pub(crate) broken: Vec<String>,
    /// What it wrote, to know it again.
    pub(crate) repeats: Mutex<Repeats>,
    /// Its share of the requests to the API server, as whom it acts.
    pub(crate) api: Api,
    /// What is known of what the other may see as whom it acts; none where it acts as the host.
    pub(crate) access: Option<Arc<Access>>,
    /// How many log lines it may still write.
    pub(crate) logs: Arc<Mutex<LogBudget>>,
    /// How many of its Events wait to be sent.
    pub(crate) events_waiting: Arc<AtomicUsize>,
    /// Keeps the windows open.
    pub(crate) _subscriptions: Vec<Subscription>,
    /// The last field: it tells that all else is gone.
    pub(crate) end: End,
}

/// One call of `reconcile`, and what goes on after it until its writes are settled.
#[derive(Clone)]
pub(crate) struct Call(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) plugin: Arc<PluginState>,
    pub(crate) id: ControllerId,
    pub(crate) key: Key,
    pub(crate) attempt: u32,
    pub(crate) cause: Option<Cause>,
    pub(crate) ledger: Mutex<Ledger>,
    /// Lists that were answered in part, for their next pages: one snapshot each.
    pub(crate) snapshots: Mutex<Vec<Arc<[Object]>>>,
    in_flight: AtomicUsize,
    settled: Notify,
    /// When the guest's time is up; not set before the guest is called.
    ends: OnceLock<Instant>,
}

impl std::ops::Deref for Call {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Call {
    pub(crate) fn new(
        shared: Arc<Shared>,
        plugin: Arc<PluginState>,
        id: ControllerId,
        key: Key,
        attempt: u32,
        cause: Option<Cause>,
    ) -> Self {
        Self(Arc::new(Inner {
            shared,
            plugin,
            id,
            key,
            attempt,
            cause,
            ledger: Mutex::default(),
            snapshots: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            settled: Notify::new(),
            ends: OnceLock::new(),
        }))
    }

    /// A write is on its way until the guard goes.
    pub(crate) fn sending(&self) -> Sending {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        Sending(self.clone())
    }

    /// Ends when nothing that this call sent is under way any more. Bounded by the requests' own time-outs.
    pub(crate) async fn settled(&self) {
        loop {
            let settled = self.settled.notified();
            if self.in_flight.load(Ordering::Acquire) == 0 {
                return;
            }
            settled.await;
        }
    }
}

/// See [`Call::sending`].
pub(crate) struct Sending(Call);

impl Drop for Sending {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.settled.notify_waiters();
        }
    }
}

impl Inner {
    /// The guest is called, and has so much time.
    #[expect(clippy::disallowed_methods, reason = "the driver: the call's clock")]
    pub(crate) fn begins(&self, wall: Duration) {
        if let Some(ends) = Instant::now().checked_add(wall) {
            // Once: a call is one call.
            let _ = self.ends.set(ends);
        }
    }

    /// How much of it is left; without end before the guest is called.
    #[expect(clippy::disallowed_methods, reason = "the driver: the call's clock")]
    fn left(&self) -> Duration {
        let ends = self.ends.get();
        ends.map_or(Duration::MAX, |ends| ends.saturating_duration_since(Instant::now()))
    }

    /// Whether the plugin may do this; a refusal is counted and reads as an error the guest can show.
    pub(crate) fn check(
        &self,
        verb: Verb,
        kind: &Gvk,
        namespace: Option<&str>,
        name: Option<&str>,
        subresource: Option<&str>,
    ) -> Result<(), ApiError> {
        self.plugin
            .plugin
            .capabilities
            .allows(verb, kind, namespace, name, subresource)
            .map_err(|denied| {
                self.shared.metrics.denied(&self.plugin.name);
                ApiError {
                    code: 403,
                    ..ApiError::of_host(reason::DENIED, denied.to_string())
                }
            })
    }

    /// Whether whom the plugin acts as may see what it reads.
    fn may_read(&self) -> Result<(), ApiError> {
        let Some(access) = &self.plugin.access else {
            return Ok(());
        };
        access
            .check()
            .inspect_err(|_| self.shared.metrics.denied(&self.plugin.name))
    }

    /// Sends a request of this call, and remembers where the API server did not do its part.
    pub(crate) async fn request(
        &self,
        method: http::Method,
        uri: String,
        content_type: Option<&'static str>,
        body: Vec<u8>,
    ) -> Result<Vec<u8>, ApiError> {
        let left = self.left();
        let answer = self.plugin.api.send_within(left, method, uri, content_type, body).await;
        if answer.as_ref().is_err_and(refusal::hinders) {
            lock(&self.ledger).hindered = true;
        }
        answer
    }

    /// Looks a kind up, and remembers where the API server could not be asked.
    pub(crate) async fn resolve(&self, kind: &Gvk) -> Result<Arc<Resource>, ApiError> {
        let resource = self.shared.kinds.resolve(kind).await;
        if resource.as_ref().is_err_and(refusal::hinders) {
            lock(&self.ledger).hindered = true;
        }
        resource
    }

    /// An object as the API server has it, for the host's own eyes, whatever the plugin may read; none where it does
    /// not answer with it.
    pub(crate) async fn stored(&self, kind: &Gvk, key: &Key) -> Option<String> {
        let resource = self.resolve(kind).await.ok()?;
        let uri = crate::api::path::uri(kind, &resource, key.namespace.as_deref(), Some(&key.name), None, &[]).ok()?;
        let answer = self.request(http::Method::GET, uri, None, Vec::new()).await.ok()?;
        String::from_utf8(answer).ok()
    }

    /// An object as a cache has it whose watch is there at this moment; only for what the host itself needs.
    pub(crate) fn watched(&self, kind: &Gvk, key: &Key) -> Option<Object> {
        let view = self
            .plugin
            .views
            .get(kind)?
            .iter()
            .find(|view| view.view().sees_key(key))?;
        let object = view.get(key).ok().flatten()?;
        let watching = view.statuses().iter().all(|status| status.phase == Phase::Watching);
        watching.then_some(object)
    }

    /// Whether one of the plugin's windows shows an object whole.
    pub(crate) fn sees_whole(&self, kind: &Gvk, key: &Key) -> bool {
        let whole = |view: &View| matches!(view.projection, Projection::Whole | Projection::Uncut);
        let mut views = self.plugin.views.get(kind).into_iter().flatten().map(Reader::view);
        views.any(|view| whole(view) && view.sees_key(key))
    }

    /// What the plugin's caches know of an object; only for what the host itself needs, never handed to the guest.
    pub(crate) fn cached(&self, kind: &Gvk, key: &Key) -> Option<Object> {
        self.plugin
            .views
            .get(kind)?
            .iter()
            .find_map(|view| view.get(key).ok().flatten())
    }
}

pub(crate) fn gvk_of(kind: &pilothouse_runtime::Gvk) -> Gvk {
    Gvk::new(&kind.group, &kind.version, &kind.kind)
}

impl Backend for Call {
    fn get(&self, target: ObjectRef, how: Freshness) -> Reply<'_, Option<String>> {
        Box::pin(async {
            self.may_read()?;
            self.read_one(target, how).await
        })
    }

    fn select(&self, query: Query, how: Freshness) -> Reply<'_, Page> {
        Box::pin(async {
            self.may_read()?;
            self.read_many(query, how).await
        })
    }

    fn digest(&self, target: ObjectRef) -> Reply<'_, Option<String>> {
        Box::pin(async {
            self.may_read()?;
            self.read_digest(target).await
        })
    }

    fn create(&self, target: ObjectRef, object: String, options: Options) -> Reply<'_, String> {
        Box::pin(self.write_create(target, object, options))
    }

    fn patch(&self, target: ObjectRef, change: Change, options: Options) -> Reply<'_, String> {
        Box::pin(self.write_patch(target, change, options))
    }

    fn replace(&self, target: ObjectRef, object: String, options: Options) -> Reply<'_, String> {
        Box::pin(self.write_replace(target, object, options))
    }

    fn remove(&self, target: ObjectRef, propagation: Propagation, options: Options) -> Reply<'_, Option<String>> {
        Box::pin(self.write_remove(target, propagation, options))
    }

    fn emit_event(&self, regarding: ObjectRef, severity: Severity, reason: String, action: String, note: String) {
        let kind = gvk_of(&regarding.kind);
        let key = crate::writing::body::key_of(&regarding);
        let cached = self.cached(&kind, &key);
        let (own, known) = {
            let ledger = lock(&self.ledger);
            (ledger.has_own(&kind, &key), ledger.over(&kind, &key, cached))
        };
        let uid = known.map(|object| object.head().uid.to_string()).unwrap_or_default();
        // An Event is about what the plugin can see or may write to; anything else would be a way to write elsewhere.
        let within = !uid.is_empty() || (kind == self.primary_kind() && key == self.key) || own;
        if !within || !self.plugin.plugin.events {
            self.shared.metrics.event(&self.plugin.name, "refused");
            return;
        }
        let event = Emitted {
            plugin: self.plugin.name.clone(),
            by_host: false,
            regarding,
            uid,
            severity,
            reason,
            action,
            note,
            user: self.plugin.api.user(),
            at: (self.shared.wall)(),
            most: PerObject::of(&self.plugin.plugin.budget),
        };
        let sent = Place::take(&self.plugin.events_waiting)
            .is_some_and(|place| self.shared.events.try_send((event, place)).is_ok());
        if !sent {
            self.shared.metrics.event(&self.plugin.name, "dropped");
        }
    }

    fn log(&self, level: Level, message: String, fields: Vec<(String, String)>) {
        let size = fields
            .iter()
            .fold(message.len(), |sum, (name, value)| sum + name.len() + value.len());
        let line = lock(&self.plugin.logs).line(self.monotonic(), size);
        if let Line::Dropped(said) = line {
            self.shared.metrics.log_dropped(&self.plugin.name);
            if let Some(others) = said {
                let budget = self.plugin.plugin.budget;
                tracing::warn!(
                    plugin = &*self.plugin.name,
                    others,
                    "the plugin logs more than budget.logLinesPerSecond ({}) or budget.logKiBPerSecond ({}) let pass: what \
                     is above is dropped and counted (said once a minute; `others` is how many were dropped since the last \
                     time)",
                    budget.log_lines_per_second,
                    budget.log_kib_per_second
                );
            }
            return;
        }
        self.shared.observer.happened(&Happening::Logged {
            id: self.id.clone(),
            key: self.key.clone(),
            level,
            message,
            fields,
        });
    }

    fn config(&self) -> String {
        self.plugin.plugin.config.to_string()
    }

    fn now(&self) -> Timestamp {
        (self.shared.wall)()
    }

    fn random(&self, count: u32) -> Vec<u8> {
        (self.shared.bytes)(count as usize)
    }

    fn attempt(&self) -> u32 {
        self.attempt
    }

    fn trace_parent(&self) -> Option<String> {
        None
    }
}

impl Inner {
    /// The kind that the running controller reconciles.
    pub(crate) fn primary_kind(&self) -> Gvk {
        let controller = self.plugin.plugin.manifest.controller(&self.id.controller);
        controller.map_or_else(|| Gvk::new("", "", ""), |controller| controller.kind.clone())
    }
}

#[cfg(test)]
#[path = "call_tests.rs"]
mod tests;
