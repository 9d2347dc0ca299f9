//! A cluster in memory, for native tests: the plugin's own functions run against it in a plain `#[test]`.
//!
//! It keeps the rules that reconcile functions stumble over: resource versions and conflicts, generation, the status
//! subresource, finalizers, owner references, preconditions, AlreadyExists and NotFound; it refuses what the plugin's
//! manifest does not watch or ask for, as the host would; it records what was written, told and logged; its clock stands
//! still until it is moved, and its random numbers are the same in every run. Failures can be injected.
//!
//! It does not know schemas, admission, defaulting, server-side apply or strategic merge patches, it takes every kind to
//! have a status subresource, and its cache is never behind. `pilothouse test` and `pilothouse dev` have more of a cluster.
//!
//! The test itself acts as a user with all rights; only what runs through [`Fake::context`] or [`Fake::settle`] is bound
//! by the manifest.

mod cluster;
mod host;
mod select;
mod settle;

use std::cell::{RefCell, RefMut};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;

use crate::context::{Context, whole};
use crate::diff;
use crate::error::{ApiError, Failure, Outcome};
use crate::kind::{Kind, Meta};
use crate::manifest::Verb;
use crate::object::Object;
use crate::plugin::{Plugin, RawRequest};
use crate::wire::{Cause, Level, ObjectRef, Severity, Timestamp, WriteOptions};
use cluster::{Cluster, place};
pub use settle::{Run, Settled};

/// A write that the plugin made and that was answered well.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// How: `Create`, `Patch`, `Replace` or `Delete`.
    pub verb: Verb,
    /// Of what.
    pub target: ObjectRef,
    /// `status`, …; none for the object itself.
    pub subresource: Option<String>,
    /// What was sent: the object, the patch, or null for a deletion.
    pub body: Value,
}

/// A Kubernetes Event that the plugin emitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// About what.
    pub regarding: ObjectRef,
    /// Normal or warning.
    pub severity: Severity,
    /// One word for programs.
    pub reason: String,
    /// What was being done.
    pub action: String,
    /// For people.
    pub note: String,
}

/// A log line of the plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// How much it matters.
    pub level: Level,
    /// What it says.
    pub message: String,
    /// Its fields.
    pub fields: Vec<(String, String)>,
}

/// The cluster in memory, and a plugin in it. Clones are the same cluster.
#[derive(Clone)]
pub struct Fake {
    plugin: Rc<Plugin>,
    state: Rc<RefCell<State>>,
}

struct State {
    cluster: Cluster,
    config: String,
    now: Timestamp,
    random: u64,
    attempt: u32,
    faults: VecDeque<(Verb, ApiError)>,
    writes: Vec<Write>,
    events: Vec<Event>,
    lines: Vec<Line>,
}

/// 2026-01-01T00:00:00Z: where the fake's clock stands at first.
const START: Timestamp = Timestamp {
    seconds: 1_767_225_600,
    nanoseconds: 0,
};

impl Fake {
    /// An empty cluster with this plugin. The clock stands at 2026-01-01T00:00:00Z.
    pub fn new(plugin: Plugin) -> Fake {
        let state = State {
            cluster: Cluster::default(),
            config: "{}".to_owned(),
            now: START,
            random: 0,
            attempt: 1,
            faults: VecDeque::new(),
            writes: Vec::new(),
            events: Vec::new(),
            lines: Vec::new(),
        };
        Fake {
            plugin: Rc::new(plugin),
            state: Rc::new(RefCell::new(state)),
        }
    }

    fn state(&self) -> RefMut<'_, State> {
        self.state.borrow_mut()
    }

    /// What reconcile functions get: a context that is bound by the manifest.
    pub fn context(&self) -> Context {
        Context::new(Rc::new(self.clone()))
    }

    // As a user.

    /// Creates an object, as a user would; its status, if it has one, stays. Answers it as stored.
    ///
    /// # Errors
    /// `AlreadyExists`; `BadRequest` if it has no name.
    pub fn create<K: Kind>(&self, object: &K) -> Result<Object<K>, ApiError> {
        self.create_json(
            K::reference(object.meta().namespace(), object.meta().name()),
            whole(object)?,
        )
    }

    /// The same from JSON, for fields that the type doesn't know.
    ///
    /// # Errors
    /// As [`Fake::create`]; [`ApiError::UNREADABLE`] if it doesn't fit the type.
    pub fn create_json<K: Kind>(&self, target: ObjectRef, object: Value) -> Result<Object<K>, ApiError> {
        let mut state = self.state();
        let now = state.now;
        if target.name.is_empty() || !object.is_object() {
            return Err(ApiError::new("BadRequest", 400, "an object needs a name"));
        }
        if state.cluster.get(&place(&target)).is_some() {
            return Err(ApiError::new("AlreadyExists", 409, format!("{target} already exists")));
        }
        Object::parse(state.cluster.put(&target, object, now).to_string())
    }

    /// An object as it is now.
    ///
    /// # Errors
    /// [`ApiError::UNREADABLE`] if it doesn't fit the type.
    pub fn get<'a, K: Kind>(
        &self,
        namespace: impl Into<Option<&'a str>>,
        name: &str,
    ) -> Result<Option<Object<K>>, ApiError> {
        let found = self.json(&K::reference(namespace.into(), name));
        found.map(|object| Object::parse(object.to_string())).transpose()
    }

    /// An object's JSON as it is now.
    pub fn json(&self, target: &ObjectRef) -> Option<Value> {
        self.state().cluster.get(&place(target)).cloned()
    }

    /// Changes an object, as a user would: what the closure does to it is sent as a merge patch, status included.
    ///
    /// # Errors
    /// `NotFound`; what [`Object::save`] fails with.
    pub fn edit<'a, K: Kind>(
        &self,
        namespace: impl Into<Option<&'a str>>,
        name: &str,
        edit: impl FnOnce(&mut K),
    ) -> Result<Object<K>, ApiError> {
        let target = K::reference(namespace.into(), name);
        let Some(raw) = self.json(&target) else {
            return Err(ApiError::new("NotFound", 404, format!("{target} not found")));
        };
        let before: K = crate::object::read(&raw.to_string())?;
        let mut after: K = crate::object::read(&raw.to_string())?;
        edit(&mut after);
        let patch = diff::changed(&crate::object::typed(&before)?, &crate::object::typed(&after)?, &raw);
        let mut stored = raw;
        if let Some(patch) = patch {
            let change = crate::wire::Change::Merge(patch.to_string());
            let mut state = self.state();
            stored = state.cluster.patch(&target, &change, &WriteOptions::default())?;
            if patch.get("status").is_some() {
                let options = WriteOptions {
                    subresource: Some("status".to_owned()),
                    ..WriteOptions::default()
                };
                stored = state.cluster.patch(&target, &change, &options)?;
            }
        }
        Object::parse(stored.to_string())
    }

    /// Deletes an object, as a user would: finalizers hold it.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn delete<'a, K: Kind>(&self, namespace: impl Into<Option<&'a str>>, name: &str) -> Result<(), ApiError> {
        let mut state = self.state();
        let now = state.now;
        state
            .cluster
            .remove(&K::reference(namespace.into(), name), &WriteOptions::default(), now)
            .map(|_| ())
    }

    // Surroundings.

    /// Sets the operator's configuration, if the plugin's check lets it pass.
    ///
    /// # Errors
    /// What the check finds wrong with it.
    pub fn set_config(&self, config: &Value) -> Result<(), Vec<Cause>> {
        let text = config.to_string();
        let causes = self.plugin.check_config(&text);
        if causes.is_empty() {
            self.state().config = text;
            Ok(())
        } else {
            Err(causes)
        }
    }

    /// The fake's clock.
    pub fn now(&self) -> Timestamp {
        self.state().now
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let mut state = self.state();
        let now = state.now.since_epoch() + by;
        state.now = Timestamp {
            seconds: u32::try_from(now.as_secs()).unwrap_or(u32::MAX),
            nanoseconds: now.subsec_nanos(),
        };
    }

    /// Starts another sequence of random numbers.
    pub fn seed(&self, seed: u64) {
        self.state().random = seed;
    }

    /// What [`Context::attempt`] answers from now on; 1 at first.
    pub fn set_attempt(&self, attempt: u32) {
        self.state().attempt = attempt;
    }

    /// Lets the plugin's next call of this kind fail (`Watch`: a read from the cache; `Get` and `List`: live reads). With
    /// `maybe_applied` the write happens all the same. Several wait in line, each for its verb.
    pub fn fail_next(&self, verb: Verb, error: ApiError) {
        self.state().faults.push_back((verb, error));
    }

    // What the plugin did.

    /// The plugin's writes so far, oldest first.
    pub fn writes(&self) -> Vec<Write> {
        self.state().writes.clone()
    }

    /// The plugin's writes since this was last called.
    pub fn take_writes(&self) -> Vec<Write> {
        std::mem::take(&mut self.state().writes)
    }

    /// The Events that the plugin emitted so far, oldest first.
    pub fn events(&self) -> Vec<Event> {
        self.state().events.clone()
    }

    /// The plugin's log lines so far, oldest first.
    pub fn lines(&self) -> Vec<Line> {
        self.state().lines.clone()
    }

    // Running the plugin.

    /// Runs the plugin's first controller of this kind once for an object, whether it is there or gone.
    ///
    /// # Errors
    /// What the reconcile failed with; `UnknownController` if no controller is for this kind.
    pub fn reconcile<'a, K: Kind>(
        &self,
        namespace: impl Into<Option<&'a str>>,
        name: &str,
    ) -> Result<Outcome, Failure> {
        let kind = K::gvk();
        let controllers = &self.plugin.manifest().controllers;
        match controllers
            .iter()
            .find(|entry| entry.kind.group == kind.group && entry.kind.kind == kind.kind)
        {
            Some(entry) => self.run(&entry.name, K::reference(namespace.into(), name)),
            None => Err(Failure::never(
                "UnknownController",
                format!("no controller of the plugin is for {kind}"),
            )),
        }
    }

    fn run(&self, controller: &str, key: ObjectRef) -> Result<Outcome, Failure> {
        let object = self.json(&key);
        let object = object.map(|object| self.seen(&key.kind, &object, Verb::Watch));
        let request = RawRequest {
            controller: controller.to_owned(),
            key,
            object,
        };
        self.plugin.reconcile(&self.context(), request)
    }
}
