//! What a plugin can do during a call.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::diff;
use crate::error::{ApiError, Failure, at_field};
use crate::host::Host;
use crate::kind::{Kind, Meta};
use crate::object::{self, Object};
use crate::read::{Misfit, read};
use crate::wire::{Change, Freshness, Level, ObjectRef, Propagation, Query, Severity, Timestamp, WriteOptions};

/// The way to the host during one call: reads, writes, Events, log lines, time, randomness and configuration.
///
/// Reads come from the host's cache unless they say `live`; the cache holds the kinds that the manifest watches, together
/// with what this call wrote. Every function that reaches for objects fails with an [`ApiError`], which `?` turns into a
/// [`Failure`] that is tried again when it makes sense.
#[derive(Clone)]
pub struct Context {
    host: Backend,
}

/// In a component there is one host, and what of it isn't called isn't linked.
#[cfg(target_arch = "wasm32")]
type Backend = crate::guest::Imports;
#[cfg(not(target_arch = "wasm32"))]
type Backend = std::rc::Rc<dyn Host>;

impl Context {
    /// A context on the component's imports.
    #[cfg(target_arch = "wasm32")]
    pub(crate) fn imports() -> Context {
        Context {
            host: crate::guest::Imports,
        }
    }

    /// A context on a host of your own; only natively, for what [`Fake`](crate::testing::Fake) can't do.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn new(host: std::rc::Rc<dyn Host>) -> Context {
        Context { host }
    }

    /// The host's functions as they are, for what this type does not offer.
    pub fn host(&self) -> &dyn Host {
        self.backend()
    }

    #[cfg(target_arch = "wasm32")]
    pub(crate) fn backend(&self) -> &crate::guest::Imports {
        &self.host
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn backend(&self) -> &dyn Host {
        &*self.host
    }

    // Reading.

    /// An object from the cache; none if there is none. The namespace is `"name"`, or `None` for cluster-scoped kinds.
    ///
    /// # Errors
    /// `PilothouseNotWatched` if the manifest doesn't watch the kind; [`ApiError::UNREADABLE`] if it does not fit `K`.
    pub fn get<'a, K: Kind>(
        &self,
        namespace: impl Into<Option<&'a str>>,
        name: &str,
    ) -> Result<Option<Object<K>>, ApiError> {
        self.read(namespace.into(), name, &Freshness::Cached)
    }

    /// The same from the API server: a round trip, with the permission `get`. For what is not watched, for Secrets' data,
    /// and where the cache's milliseconds of delay matter.
    ///
    /// # Errors
    /// `PilothouseDenied` without the permission; else as [`Context::get`].
    pub fn get_live<'a, K: Kind>(
        &self,
        namespace: impl Into<Option<&'a str>>,
        name: &str,
    ) -> Result<Option<Object<K>>, ApiError> {
        self.read(namespace.into(), name, &Freshness::Live)
    }

    fn read<K: Kind>(
        &self,
        namespace: Option<&str>,
        name: &str,
        how: &Freshness,
    ) -> Result<Option<Object<K>>, ApiError> {
        let target = K::reference(namespace, name);
        let found = self.host.get(&target, how).map_err(|error| error.at("get", &target))?;
        found
            .map(|raw| Object::parse(raw).map_err(|error| error.at("get", &target)))
            .transpose()
    }

    /// All objects of a kind that a query asks for, every page of it, as one snapshot.
    ///
    /// # Errors
    /// `PilothouseNotWatched`, or `PilothouseDenied` for a list that is wider than what was granted.
    pub fn list<K: Kind>(&self, query: &Query) -> Result<Vec<Object<K>>, ApiError> {
        let kind = K::gvk();
        let at = |error: ApiError| error.at("list", &K::reference(query.namespace.as_deref(), "*"));
        let mut objects = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let page = self.host.select(&kind, query, next.as_deref()).map_err(at)?;
            for raw in page.items {
                objects.push(Object::parse(raw).map_err(at)?);
            }
            if page.next.is_none() {
                return Ok(objects);
            }
            next = page.next;
        }
    }

    /// A digest over everything in an object but metadata and status: tells that a Secret changed without showing what is
    /// in it. None if there is no such object.
    ///
    /// # Errors
    /// As [`Context::get`].
    pub fn digest<'a, K: Kind>(
        &self,
        namespace: impl Into<Option<&'a str>>,
        name: &str,
    ) -> Result<Option<String>, ApiError> {
        let target = K::reference(namespace.into(), name);
        self.host.digest(&target).map_err(|error| error.at("digest", &target))
    }

    // Writing. Each needs its permission in the manifest.

    /// Creates an object; answers it as stored.
    ///
    /// # Errors
    /// `AlreadyExists`; `Invalid` with its causes; `PilothouseDenied` without the permission `create`.
    pub fn create<K: Kind>(&self, object: &K) -> Result<Object<K>, ApiError> {
        let target = K::reference(object.meta().namespace(), object.meta().name());
        let text = whole(object)?.to_string();
        let answer = self.host.create(&target, &text, &WriteOptions::default());
        answer
            .and_then(Object::parse)
            .map_err(|error| error.at("create", &target))
    }

    /// Server-side apply: makes the fields that `object` holds so, and lets go of those that it held before and no longer
    /// does. `force` takes over fields that others own.
    ///
    /// # Errors
    /// `Conflict` where others own a field; `UnsupportedMediaType` from servers without server-side apply.
    pub fn apply<K: Kind>(&self, object: &K, force: bool) -> Result<Object<K>, ApiError> {
        let target = K::reference(object.meta().namespace(), object.meta().name());
        let text = whole(object)?.to_string();
        let options = WriteOptions {
            force,
            ..WriteOptions::default()
        };
        let answer = self.host.patch(&target, &Change::Apply(text), &options);
        answer
            .and_then(Object::parse)
            .map_err(|error| error.at("apply", &target))
    }

    /// Sends a merge patch (RFC 7386) of your own, without any condition.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` with its causes; `PilothouseDenied` without the permission `patch`.
    pub fn patch_merge<'a, K: Kind>(
        &self,
        namespace: impl Into<Option<&'a str>>,
        name: &str,
        patch: &Value,
    ) -> Result<Object<K>, ApiError> {
        self.patch(&K::reference(namespace.into(), name), &Change::Merge(patch.to_string()))
    }

    /// Sends a JSON patch (RFC 6902) of your own: a list of operations.
    ///
    /// # Errors
    /// As [`Context::patch_merge`]; `Invalid` if a `test` operation does not hold.
    pub fn patch_json<'a, K: Kind>(
        &self,
        namespace: impl Into<Option<&'a str>>,
        name: &str,
        patch: &Value,
    ) -> Result<Object<K>, ApiError> {
        self.patch(
            &K::reference(namespace.into(), name),
            &Change::JsonPatch(patch.to_string()),
        )
    }

    fn patch<K: Kind>(&self, target: &ObjectRef, change: &Change) -> Result<Object<K>, ApiError> {
        let answer = self.host.patch(target, change, &WriteOptions::default());
        answer
            .and_then(Object::parse)
            .map_err(|error| error.at("patch", target))
    }

    /// Deletes exactly this object, and not one that was created under its name since. It is no error if it is gone
    /// already. Finalizers may hold it for a while.
    ///
    /// # Errors
    /// `Conflict` if there is another object of that name by now; `PilothouseDenied` without the permission `delete`.
    pub fn delete<K: Kind>(&self, object: &Object<K>) -> Result<(), ApiError> {
        let uid = Some(object.uid().to_owned()).filter(|uid| !uid.is_empty());
        self.remove(&object.reference(), uid)
    }

    /// Deletes whatever has this name. It is no error if nothing has.
    ///
    /// # Errors
    /// As [`Context::delete`].
    pub fn delete_named<'a, K: Kind>(&self, namespace: impl Into<Option<&'a str>>, name: &str) -> Result<(), ApiError> {
        self.remove(&K::reference(namespace.into(), name), None)
    }

    fn remove(&self, target: &ObjectRef, uid: Option<String>) -> Result<(), ApiError> {
        let options = WriteOptions {
            uid,
            ..WriteOptions::default()
        };
        match self.host.remove(target, Propagation::Background, &options) {
            Err(error) if error.is_not_found() => Ok(()),
            other => other.map(|_| ()).map_err(|error| error.at("delete", target)),
        }
    }

    // Telling.

    /// Records a Kubernetes Event about an object: `reason` is one word in CamelCase, `note` is for people. The host merges
    /// and rate-limits Events; the plugin hears nothing of their fate.
    pub fn event<K: Kind>(&self, regarding: &Object<K>, severity: Severity, reason: &str, note: impl AsRef<str>) {
        self.host
            .event(&regarding.reference(), severity, reason, "Reconcile", note.as_ref());
    }

    /// Writes a log line with fields. The host adds which plugin, which object and which attempt.
    pub fn log(&self, level: Level, message: impl AsRef<str>, fields: &[(&str, &str)]) {
        self.host.log(level, message.as_ref(), fields);
    }

    /// A log line at level info.
    pub fn info(&self, message: impl AsRef<str>) {
        self.log(Level::Info, message, &[]);
    }

    /// A log line at level debug.
    pub fn debug(&self, message: impl AsRef<str>) {
        self.log(Level::Debug, message, &[]);
    }

    /// A log line at level warn.
    pub fn warn(&self, message: impl AsRef<str>) {
        self.log(Level::Warn, message, &[]);
    }

    // About the call.

    /// The wall clock; virtual in tests. Use it, not the standard library's, which isn't there.
    pub fn now(&self) -> Timestamp {
        self.host.now()
    }

    /// Random bytes, at most 256; seeded in tests.
    pub fn random(&self, count: u32) -> Vec<u8> {
        self.host.random(count)
    }

    /// 1 for the first try since the object last went well.
    pub fn attempt(&self) -> u32 {
        self.host.attempt()
    }

    /// What is left until the host ends this call.
    pub fn remaining(&self) -> Duration {
        Duration::from_millis(self.host.remaining_ms().into())
    }

    /// The W3C traceparent of this reconcile, if it is traced.
    pub fn trace_parent(&self) -> Option<String> {
        self.host.trace_parent()
    }

    /// The operator's configuration for this plugin. With [`Plugin::config`](crate::Plugin::config) it was checked before.
    ///
    /// # Errors
    /// `InvalidConfig`, never tried again before the configuration changes, with the field that is wrong.
    pub fn config<C: DeserializeOwned>(&self) -> Result<C, Failure> {
        parse_config(&self.host.config()).map_err(|Misfit { field, why }| {
            Failure::never(
                "InvalidConfig",
                format!("the plugin's configuration is wrong{}: {why}", at_field(&field)),
            )
        })
    }
}

/// Reads a configuration. None is an empty one.
pub(crate) fn parse_config<C: DeserializeOwned>(text: &str) -> Result<C, Misfit> {
    let text = match text.trim() {
        "" | "null" => "{}",
        text => text,
    };
    read(text)
}

/// A typed object as the server takes it: with apiVersion and kind, without nulls.
pub(crate) fn whole<K: Kind>(object: &K) -> Result<Value, ApiError> {
    let mut value = diff::without_nulls(&object::typed(object)?);
    if let Value::Object(map) = &mut value {
        map.insert("apiVersion".to_owned(), K::api_version().into());
        map.insert("kind".to_owned(), K::KIND.into());
    }
    Ok(value)
}
