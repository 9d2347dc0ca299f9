//! A plugin: its description together with the functions that reconcile.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::context::{Context, parse_config};
use crate::error::{Failure, Outcome};
use crate::kind::Kind;
use crate::manifest::{
    Backoff, ControllerEntry, Index, Limits, Manifest, Mapping, OwnerKind, Permission, Predicate, Verb, Watch,
};
use crate::object::Object;
use crate::read::Misfit;
use crate::wire::{Cause, ObjectRef};

type Reconcile = Box<dyn Fn(&Context, RawRequest) -> Result<Outcome, Failure>>;
type Check = Box<dyn Fn(&str) -> Vec<Cause>>;

/// What a plugin is: who it is, its controllers, what it asks for. A function marked `#[plugin]` returns it.
///
/// What contradicts itself in it is the host's to refuse when it loads the plugin; `pilothouse inspect` shows it.
pub struct Plugin {
    manifest: Manifest,
    reconciles: Vec<Reconcile>,
    check: Option<Check>,
}

impl Plugin {
    /// A plugin of this name, which is for people: what identifies a plugin is its file's name.
    pub fn new(name: impl Into<String>) -> Plugin {
        Plugin {
            manifest: Manifest {
                name: name.into(),
                ..Manifest::default()
            },
            reconciles: Vec::new(),
            check: None,
        }
    }

    /// The plugin's version, for people; `#[plugin]` fills in the crate's.
    pub fn version(mut self, version: impl Into<String>) -> Plugin {
        self.manifest.version = version.into();
        self
    }

    /// What the plugin does, in a sentence.
    pub fn description(mut self, description: impl Into<String>) -> Plugin {
        self.manifest.description = description.into();
        self
    }

    /// Adds a controller. The manifest asks for the permission to watch what it watches by itself.
    pub fn controller(mut self, controller: Controller) -> Plugin {
        let Controller { entry, reconcile } = controller;
        let mut watch = |group: &str, kind: &str, namespaces: &[String]| {
            let wanted = Permission {
                group: group.to_owned(),
                kind: kind.to_owned(),
                verbs: vec![Verb::Watch],
                namespaces: namespaces.to_vec(),
                names: Vec::new(),
                subresources: Vec::new(),
            };
            if !self.manifest.permissions.contains(&wanted) {
                self.manifest.permissions.push(wanted);
            }
        };
        watch(&entry.kind.group, &entry.kind.kind, &entry.namespaces);
        for other in &entry.watches {
            watch(&other.kind.group, &other.kind.kind, &[]);
        }
        self.manifest.controllers.push(entry);
        self.reconciles.push(reconcile);
        self
    }

    /// Asks to do this with objects of a kind.
    pub fn may<K: Kind>(self, verbs: impl IntoIterator<Item = Verb>) -> Plugin {
        self.permission(Permission::of::<K>(verbs))
    }

    /// Asks to save the status of objects of a kind.
    pub fn may_save_status<K: Kind>(self) -> Plugin {
        self.permission(Permission::of::<K>([Verb::Patch]).subresource("status"))
    }

    /// Asks for a permission with all its details.
    pub fn permission(mut self, permission: Permission) -> Plugin {
        self.manifest.permissions.push(permission);
        self
    }

    /// Declares an index over the cached objects of a kind: [`Query::index`](crate::Query::index) finds objects by the
    /// strings at these paths (`spec.items[*].name`).
    pub fn index<K: Kind>(mut self, name: &str, paths: impl IntoIterator<Item = &'static str>) -> Plugin {
        let paths = paths.into_iter().map(str::to_owned).collect();
        self.manifest.indexes.push(Index {
            name: name.to_owned(),
            kind: K::gvk(),
            paths,
        });
        self
    }

    /// The operator's configuration has this type: before it takes effect it is read as such, and one that does not fit is
    /// refused with the field named. Give the type `#[serde(deny_unknown_fields)]` so that misspelt fields are, too, and
    /// defaults where it must not be configured. [`Context::config`] reads it in a reconcile.
    pub fn config<C: DeserializeOwned + 'static>(self) -> Plugin {
        self.config_checked::<C>(|_| Vec::new())
    }

    /// The same with a check of the values, which answers what is wrong with them.
    pub fn config_checked<C: DeserializeOwned + 'static>(
        mut self,
        check: impl Fn(&C) -> Vec<Cause> + 'static,
    ) -> Plugin {
        self.check = Some(Box::new(move |text| match parse_config::<C>(text) {
            Ok(config) => check(&config),
            Err(Misfit { field, why }) => vec![Cause::invalid(field, why)],
        }));
        self
    }

    /// A JSON schema of the configuration, which people and tools can read and the host checks.
    pub fn config_schema(mut self, schema: Value) -> Plugin {
        self.manifest.config_schema = Some(schema);
        self
    }

    /// Limits of one call that fit this plugin, where the host's own don't.
    pub fn limits(mut self, limits: Limits) -> Plugin {
        self.manifest.limits = limits;
        self
    }

    /// The manifest as JSON text: what `describe` returns.
    pub fn describe(&self) -> String {
        self.manifest.json().to_string()
    }

    /// What is wrong with a configuration; empty if nothing is.
    pub fn check_config(&self, config: &str) -> Vec<Cause> {
        self.check.as_ref().map_or_else(Vec::new, |check| check(config))
    }

    /// Runs the controller that a request is for.
    ///
    /// # Errors
    /// The controller's; `UnknownController` if there is none of that name; `Unreadable` if the object doesn't fit its type.
    pub fn reconcile(&self, cx: &Context, request: RawRequest) -> Result<Outcome, Failure> {
        let mut controllers = self.manifest.controllers.iter().zip(&self.reconciles);
        match controllers.find(|(entry, _)| entry.name == request.controller) {
            Some((_, reconcile)) => reconcile(cx, request),
            None => Err(Failure::never(
                "UnknownController",
                format!(
                    "the plugin {} has no controller `{}`",
                    self.manifest.name, request.controller
                ),
            )),
        }
    }

    /// What `#[plugin]` adds.
    #[doc(hidden)]
    pub fn or_version(self, version: &str) -> Plugin {
        if self.manifest.version.is_empty() {
            self.version(version)
        } else {
            self
        }
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn manifest(&self) -> &Manifest {
        &self.manifest
    }
}

/// A request as it crosses from the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawRequest {
    /// Which of the manifest's controllers.
    pub controller: String,
    /// Which object.
    pub key: ObjectRef,
    /// The object's JSON text; none when it is gone.
    pub object: Option<String>,
}

/// A request as a reconcile function may take it, where it also wants to hear of objects that are gone.
#[derive(Clone, Debug)]
pub struct Request<K> {
    /// Which object.
    pub key: ObjectRef,
    /// The object; none when it is gone. Nothing promises that this is ever seen (the host may have been down when it
    /// went): whoever must clean up holds a [finalizer](Context::finalizer).
    pub object: Option<Object<K>>,
}

/// A function that reconciles: it takes the context and an [`Object`], or a [`Request`] to hear of objects that are gone too.
pub trait Handler<Arguments>: 'static {
    /// The kind it reconciles.
    type Kind: Kind;

    /// Runs it.
    ///
    /// # Errors
    /// The function's own.
    fn handle(&self, cx: &Context, request: Request<Self::Kind>) -> Result<Outcome, Failure>;
}

impl<K: Kind, F: Fn(&Context, Object<K>) -> Result<Outcome, Failure> + 'static> Handler<(Object<K>,)> for F {
    type Kind = K;

    fn handle(&self, cx: &Context, request: Request<K>) -> Result<Outcome, Failure> {
        request
            .object
            .map_or_else(|| Ok(Outcome::done()), |object| self(cx, object))
    }
}

impl<K: Kind, F: Fn(&Context, Request<K>) -> Result<Outcome, Failure> + 'static> Handler<(Request<K>,)> for F {
    type Kind = K;

    fn handle(&self, cx: &Context, request: Request<K>) -> Result<Outcome, Failure> {
        self(cx, request)
    }
}

/// One controller: a function, the kind whose objects it reconciles (the one its argument has), and what wakes it.
pub struct Controller {
    entry: ControllerEntry,
    reconcile: Reconcile,
}

impl Controller {
    /// A controller of this name, unique within the plugin.
    pub fn new<Arguments, H: Handler<Arguments>>(name: impl Into<String>, handler: H) -> Controller {
        let entry = ControllerEntry {
            name: name.into(),
            kind: H::Kind::gvk(),
            scope: H::Kind::SCOPE,
            ..ControllerEntry::default()
        };
        let reconcile = move |cx: &Context, request: RawRequest| {
            let object = request.object.map(Object::parse).transpose()?;
            handler.handle(
                cx,
                Request {
                    key: request.key,
                    object,
                },
            )
        };
        Controller {
            entry,
            reconcile: Box::new(reconcile),
        }
    }

    /// Watches a kind whose objects this controller's objects own: a change there wakes the owner.
    pub fn owns<K: Kind>(self) -> Controller {
        self.watch(Watch::of::<K>(Mapping::Owner(OwnerKind::Controller)))
    }

    /// Watches a kind, with a mapping from its objects to this controller's.
    pub fn watches<K: Kind>(self, map: Mapping) -> Controller {
        self.watch(Watch::of::<K>(map))
    }

    /// Watches a kind with all details.
    pub fn watch(mut self, watch: Watch) -> Controller {
        self.entry.watches.push(watch);
        self
    }

    /// Reconciles only objects that this label selector selects.
    pub fn selector(mut self, selector: impl Into<String>) -> Controller {
        self.entry.selector = selector.into();
        self
    }

    /// Reconciles only objects in these namespaces; otherwise in all that the operator grants.
    pub fn namespaces<S: Into<String>>(mut self, namespaces: impl IntoIterator<Item = S>) -> Controller {
        self.entry.namespaces = namespaces.into_iter().map(Into::into).collect();
        self
    }

    /// Updates of an object reconcile it only if one of these changed (or a path of [`when_path`](Controller::when_path));
    /// otherwise every update does, the plugin's own too. Creation and deletion always do.
    pub fn when(mut self, changed: impl IntoIterator<Item = Predicate>) -> Controller {
        self.entry.predicates.extend(changed);
        self
    }

    /// The same for what stands at a path: `spec.size`.
    pub fn when_path(mut self, path: impl Into<String>) -> Controller {
        self.entry.changes.push(path.into());
        self
    }

    /// Shows of this controller's objects only the metadata and what stands at these paths, at most 64, and lets the cache
    /// hold no more unless others need it: worth it where there are many large objects. What
    /// [`when_path`](Controller::when_path) and indexes read is kept besides. Otherwise objects are whole.
    ///
    /// Name everything that the type requires and that the plugin reads or saves. [`Object::save`] leaves alone what it
    /// does not see; a list of which it does not see the whole, it is not allowed to replace.
    ///
    /// ```
    /// use pilothouse_sdk::{kinds::ConfigMap, prelude::*};
    ///
    /// fn reconcile(_: &Context, config_map: Object<ConfigMap>) -> Result<Outcome, Failure> {
    ///     // Holds this one entry, whatever else the object has.
    ///     assert!(config_map.data.keys().all(|key| key == "mode"));
    ///     Ok(Outcome::done())
    /// }
    ///
    /// let controller = Controller::new("modes", reconcile).fields(["data.mode"]);
    /// ```
    pub fn fields<S: Into<String>>(mut self, paths: impl IntoIterator<Item = S>) -> Controller {
        self.entry.fields.extend(paths.into_iter().map(Into::into));
        self
    }

    /// How many objects may be reconciled at the same time; 1 unless said.
    pub fn concurrency(mut self, concurrency: u32) -> Controller {
        self.entry.concurrency = Some(concurrency);
        self
    }

    /// Reconciles every object again after this time (whole seconds) even if nothing changed; never unless said.
    pub fn resync(mut self, every: Duration) -> Controller {
        self.entry.resync_seconds = Some(u32::try_from(every.as_secs()).unwrap_or(u32::MAX));
        self
    }

    /// Parks an object after this many failures in a row; unless said it is tried for ever, more and more rarely.
    pub fn max_attempts(mut self, attempts: u32) -> Controller {
        self.entry.max_attempts = Some(attempts);
        self
    }

    /// How long a failed object waits: `base` at first, doubled with every failure, at most `max`.
    pub fn backoff(mut self, base: Duration, max: Duration) -> Controller {
        let ms = |duration: Duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
        self.entry.backoff = Some(Backoff {
            base_ms: ms(base),
            max_ms: ms(max),
        });
        self
    }
}
