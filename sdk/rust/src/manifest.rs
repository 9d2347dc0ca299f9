//! The manifest: what `describe` returns, as `wit/manifest.schema.json` has it. The builders are in `plugin`.

use serde_json::{Map, Value};

use crate::kind::{Kind, Scope};
use crate::wire::Gvk;

#[derive(Clone, Debug, Default)]
pub(crate) struct Manifest {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) description: String,
    pub(crate) controllers: Vec<ControllerEntry>,
    pub(crate) indexes: Vec<Index>,
    pub(crate) permissions: Vec<Permission>,
    pub(crate) config_schema: Option<Value>,
    pub(crate) limits: Limits,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct ControllerEntry {
    pub(crate) name: String,
    pub(crate) kind: Gvk,
    pub(crate) scope: Scope,
    pub(crate) selector: String,
    pub(crate) namespaces: Vec<String>,
    pub(crate) predicates: Vec<Predicate>,
    pub(crate) changes: Vec<String>,
    pub(crate) fields: Vec<String>,
    pub(crate) concurrency: Option<u32>,
    pub(crate) resync_seconds: Option<u32>,
    pub(crate) max_attempts: Option<u32>,
    pub(crate) backoff: Option<Backoff>,
    pub(crate) watches: Vec<Watch>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    pub(crate) base_ms: u32,
    pub(crate) max_ms: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Index {
    pub(crate) name: String,
    pub(crate) kind: Gvk,
    pub(crate) paths: Vec<String>,
}

/// What of an updated primary object must have changed for a reconcile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Predicate {
    /// The spec. Not for kinds without a generation (ConfigMap, …): no update of theirs would pass.
    Generation,
    /// The labels.
    Labels,
    /// The annotations.
    Annotations,
    /// The finalizers.
    Finalizers,
    /// The time of deletion; it passes in any case.
    Deletion,
}

/// From an object of a watched kind to the primary objects that its changes wake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// The primaries named by its owner references.
    Owner(OwnerKind),
    /// The primaries, of the same namespace, whose index of this name holds its name.
    Index(String),
    /// The primary of the same namespace and name.
    SameName,
    /// The primary, of the same namespace, that the value of this label names.
    Label(String),
    /// The primaries that the strings at this path name, as `name` or `namespace/name`.
    Field(String),
    /// Every primary. Dear where there are many.
    All,
}

/// Which owner references count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerKind {
    /// The one that is the controller.
    Controller,
    /// All of them.
    Any,
}

/// A kind that a controller watches beside its own.
#[derive(Clone, Debug)]
pub struct Watch {
    pub(crate) kind: Gvk,
    pub(crate) scope: Scope,
    pub(crate) metadata_only: bool,
    pub(crate) fields: Vec<String>,
    pub(crate) selector: String,
    pub(crate) map: Mapping,
}

impl Watch {
    /// All objects of a kind, whole.
    pub fn of<K: Kind>(map: Mapping) -> Watch {
        Watch {
            kind: K::gvk(),
            scope: K::SCOPE,
            metadata_only: false,
            fields: Vec::new(),
            selector: String::new(),
            map,
        }
    }

    /// Only objects that this label selector selects.
    pub fn selector(mut self, selector: impl Into<String>) -> Watch {
        self.selector = selector.into();
        self
    }

    /// Only their metadata: reads see no more, and the cache holds no more. Not together with [`fields`](Watch::fields).
    pub fn metadata_only(mut self) -> Watch {
        self.metadata_only = true;
        self
    }

    /// Only their metadata and what stands at these paths, at most 64: cached reads show no more, and the cache holds no
    /// more unless others need it. What the mapping and indexes read is kept besides. Not for Secrets.
    ///
    /// Name everything that the plugin reads, and that [`Context::ensure_owned`](crate::Context::ensure_owned) makes so,
    /// or each reconcile will write what it does not see. The `fields` of a kind add up over the plugin's controllers. In
    /// lists, `[*]` keeps some fields of each element; an index means every element, too.
    ///
    /// ```
    /// use pilothouse_sdk::{Watch, kinds::ConfigMap, prelude::*};
    ///
    /// let watch = Watch::of::<ConfigMap>(Mapping::SameName).fields(["data.mode", "data['app.conf']"]);
    /// ```
    pub fn fields<S: Into<String>>(mut self, paths: impl IntoIterator<Item = S>) -> Watch {
        self.fields.extend(paths.into_iter().map(Into::into));
        self
    }
}

/// What a plugin asks to be allowed; the operator grants it or doesn't.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    pub(crate) group: String,
    pub(crate) kind: String,
    pub(crate) verbs: Vec<Verb>,
    pub(crate) namespaces: Vec<String>,
    pub(crate) names: Vec<String>,
    pub(crate) subresources: Vec<String>,
}

impl Permission {
    /// To do this with objects of a kind, wherever the operator grants it.
    pub fn of<K: Kind>(verbs: impl IntoIterator<Item = Verb>) -> Permission {
        Permission {
            group: K::GROUP.to_owned(),
            kind: K::KIND.to_owned(),
            verbs: verbs.into_iter().collect(),
            namespaces: Vec::new(),
            names: Vec::new(),
            subresources: Vec::new(),
        }
    }

    /// Only in these namespaces.
    pub fn in_namespaces<S: Into<String>>(mut self, namespaces: impl IntoIterator<Item = S>) -> Permission {
        self.namespaces = namespaces.into_iter().map(Into::into).collect();
        self
    }

    /// Only for objects of these names.
    pub fn named<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Permission {
        self.names = names.into_iter().map(Into::into).collect();
        self
    }

    /// For this subresource (`status`, `scale`), instead of the object itself.
    pub fn subresource(mut self, subresource: impl Into<String>) -> Permission {
        self.subresources.push(subresource.into());
        self
    }
}

/// What can be done with objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    /// Read one from the API server.
    Get,
    /// List from the API server.
    List,
    /// Read and list from the cache, and be woken by changes. The manifest asks for it by itself where it watches.
    Watch,
    /// Read the digest of a Secret: whether it changed, not what is in it. The operator grants it by the Secret's name.
    Digest,
    /// Create.
    Create,
    /// Patch, in whatever form; what `save` and `ensure_owned` need.
    Patch,
    /// Replace the whole object.
    Replace,
    /// Delete.
    Delete,
}

/// What the author holds for fitting limits of one call; the operator's file wins over it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Milliseconds from start to end, host functions included.
    pub wall_ms: Option<u32>,
    /// Milliseconds that the plugin itself computes.
    pub cpu_ms: Option<u32>,
    /// MiB of memory.
    pub memory_mib: Option<u32>,
    /// Calls of host functions.
    pub host_calls: Option<u32>,
}

/// A JSON object without the fields that say nothing: null, empty, or false.
fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let mut map = Map::new();
    for (name, value) in fields {
        let says_nothing = match &value {
            Value::Null | Value::Bool(false) => true,
            Value::Array(list) => list.is_empty(),
            Value::Object(fields) => fields.is_empty(),
            Value::String(text) => text.is_empty(),
            Value::Bool(true) | Value::Number(_) => false,
        };
        if !says_nothing {
            map.insert(name.to_owned(), value);
        }
    }
    Value::Object(map)
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn list<T>(items: &[T], json: impl Fn(&T) -> Value) -> Value {
    Value::Array(items.iter().map(json).collect())
}

fn texts(items: &[String]) -> Value {
    list(items, |item| text(item))
}

fn number(number: Option<u32>) -> Value {
    number.map_or(Value::Null, Value::from)
}

fn gvk(kind: &Gvk) -> Value {
    let Gvk { group, version, kind } = kind;
    let mut map = Map::new();
    for (name, value) in [("group", group), ("version", version), ("kind", kind)] {
        map.insert(name.to_owned(), text(value));
    }
    Value::Object(map)
}

fn scope(scope: Scope) -> Value {
    text(match scope {
        Scope::Namespaced => "Namespaced",
        Scope::Cluster => "Cluster",
    })
}

impl Manifest {
    /// As `wit/manifest.schema.json` has it.
    pub(crate) fn json(&self) -> Value {
        object([
            ("name", text(&self.name)),
            ("version", text(&self.version)),
            ("description", text(&self.description)),
            ("controllers", list(&self.controllers, ControllerEntry::json)),
            ("indexes", list(&self.indexes, Index::json)),
            ("permissions", list(&self.permissions, Permission::json)),
            ("configSchema", self.config_schema.clone().unwrap_or_default()),
            ("limits", self.limits.json()),
        ])
    }
}

impl ControllerEntry {
    fn json(&self) -> Value {
        let backoff = |Backoff { base_ms, max_ms }: Backoff| {
            object([("baseMs", Value::from(base_ms)), ("maxMs", Value::from(max_ms))])
        };
        object([
            ("name", text(&self.name)),
            ("kind", gvk(&self.kind)),
            ("scope", scope(self.scope)),
            ("selector", text(&self.selector)),
            ("namespaces", texts(&self.namespaces)),
            (
                "predicates",
                list(&self.predicates, |predicate| text(predicate.as_str())),
            ),
            ("changes", texts(&self.changes)),
            ("fields", texts(&self.fields)),
            ("concurrency", number(self.concurrency)),
            ("resyncSeconds", number(self.resync_seconds)),
            ("maxAttempts", number(self.max_attempts)),
            ("backoff", self.backoff.map_or(Value::Null, backoff)),
            ("watches", list(&self.watches, Watch::json)),
        ])
    }
}

impl Index {
    fn json(&self) -> Value {
        object([
            ("name", text(&self.name)),
            ("kind", gvk(&self.kind)),
            ("paths", texts(&self.paths)),
        ])
    }
}

impl Predicate {
    fn as_str(self) -> &'static str {
        match self {
            Predicate::Generation => "generation",
            Predicate::Labels => "labels",
            Predicate::Annotations => "annotations",
            Predicate::Finalizers => "finalizers",
            Predicate::Deletion => "deletion",
        }
    }
}

impl Mapping {
    fn json(&self) -> Value {
        match self {
            Mapping::Owner(OwnerKind::Controller) => object([("owner", text("controller"))]),
            Mapping::Owner(OwnerKind::Any) => object([("owner", text("any"))]),
            Mapping::Index(name) => object([("index", text(name))]),
            Mapping::SameName => text("same-name"),
            Mapping::Label(key) => object([("label", text(key))]),
            Mapping::Field(path) => object([("field", text(path))]),
            Mapping::All => text("all"),
        }
    }
}

impl Watch {
    fn json(&self) -> Value {
        object([
            ("kind", gvk(&self.kind)),
            ("scope", scope(self.scope)),
            ("metadataOnly", Value::Bool(self.metadata_only)),
            ("fields", texts(&self.fields)),
            ("selector", text(&self.selector)),
            ("map", self.map.json()),
        ])
    }
}

impl Permission {
    fn json(&self) -> Value {
        let mut json = object([
            ("kind", text(&self.kind)),
            ("verbs", list(&self.verbs, |verb| text(verb.as_str()))),
            ("namespaces", texts(&self.namespaces)),
            ("names", texts(&self.names)),
            ("subresources", texts(&self.subresources)),
        ]);
        // The core group's name is empty, and that says something.
        json["group"] = text(&self.group);
        json
    }
}

impl Verb {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::Digest => "digest",
            Verb::List => "list",
            Verb::Watch => "watch",
            Verb::Create => "create",
            Verb::Patch => "patch",
            Verb::Replace => "replace",
            Verb::Delete => "delete",
        }
    }
}

impl Limits {
    fn json(&self) -> Value {
        object([
            ("wallMs", number(self.wall_ms)),
            ("cpuMs", number(self.cpu_ms)),
            ("memoryMiB", number(self.memory_mib)),
            ("hostCalls", number(self.host_calls)),
        ])
    }
}
