//! The manifest: what a plugin says that it is, watches and needs (the JSON that its `describe` returns).
//!
//! [`Manifest::parse`] promises that what it returns is sound in itself: every text follows its rule, selectors and
//! paths are compiled, names are unique, mappings name indexes that exist, and every watched kind is asked for in
//! `permissions`. It does not promise that the kinds exist on any API server, nor that anything was granted.
//! `wit/manifest.schema.json` says the same as these types for editors and other languages: a manifest must pass both,
//! and a test sees that they judge alike.

use std::fmt;
use std::time::Duration;

use pilothouse_object::{FieldPath, Gvk, LabelSelector};
use serde::{Deserialize, Serialize};
use serde_json::{Value, error::Category};

use crate::permission::Permission;
use crate::problem::{self, Problem};
use crate::rules::{self, Description, Label, LabelKey, Path, ReleaseVersion, Selector, items, list, number, one};

/// A manifest may be this long, in bytes.
pub const MAX_MANIFEST_BYTES: usize = 256 * 1024;

/// What a plugin says of itself. Nothing in it is trusted: it asks, the operator grants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Manifest {
    /// The plugin's name, for people only: its identity is its file name.
    #[serde(deserialize_with = "one::<_, Label>")]
    pub name: String,
    /// The plugin's own version, for people only: what is told apart is the module's hash.
    #[serde(deserialize_with = "one::<_, ReleaseVersion>")]
    pub version: String,
    /// What the plugin does, in a sentence. Free text of at most 1024 characters: escape it before showing it.
    #[serde(
        default,
        deserialize_with = "one::<_, Description>",
        skip_serializing_if = "String::is_empty"
    )]
    pub description: String,
    /// The plugin's controllers, 1 to 64, each with a name of its own.
    #[serde(deserialize_with = "items::<_, _, 64>")]
    pub controllers: Vec<Controller>,
    /// Indexes over cached objects, at most 64. Names are unique within a kind.
    #[serde(
        default,
        deserialize_with = "items::<_, _, 64>",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub indexes: Vec<Index>,
    /// What the plugin asks for, at most 256 entries.
    #[serde(
        default,
        deserialize_with = "items::<_, _, 256>",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub permissions: Vec<Permission>,
    /// A JSON schema (draft 2020-12 unless `$schema` says otherwise) of the plugin's configuration; none: any
    /// configuration goes to the plugin's own check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_schema: Option<Value>,
    /// Limits the author holds for fitting. The operator's file wins over them.
    #[serde(default, skip_serializing_if = "SuggestedLimits::is_empty")]
    pub limits: SuggestedLimits,
}

/// One controller: a primary kind whose objects it reconciles, and what else wakes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Controller {
    /// Its name, unique within the plugin.
    #[serde(deserialize_with = "one::<_, Label>")]
    pub name: String,
    /// The kind whose objects it reconciles; keys of its queue are keys of this kind.
    #[serde(with = "rules::gvk")]
    pub kind: Gvk,
    /// Whether the primary kind's objects live in namespaces.
    #[serde(default)]
    pub scope: Scope,
    /// Which of the primary kind's objects; everything by default.
    #[serde(
        default,
        deserialize_with = "one::<_, Selector>",
        serialize_with = "rules::text",
        skip_serializing_if = "LabelSelector::is_everything"
    )]
    pub selector: LabelSelector,
    /// Paths of the fields that the plugin sees of the primary kind beside metadata, at most 64; empty for whole
    /// objects. [`Manifest::shown_of_primary`] says what is shown in all.
    #[serde(
        default,
        deserialize_with = "list::<_, Path, 64>",
        serialize_with = "rules::texts",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub fields: Vec<FieldPath>,
    /// Which namespaces, at most 256; empty for all that are granted.
    #[serde(
        default,
        deserialize_with = "list::<_, Label, 256>",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub namespaces: Vec<String>,
    /// An update of a primary object passes only if one of these changed (or one of `changes`); with both empty every
    /// update passes. Creations and deletions always pass.
    #[serde(
        default,
        deserialize_with = "items::<_, _, 5>",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub predicates: Vec<Predicate>,
    /// Paths of which one must have changed for an update to pass, in one set (or) with `predicates`; at most 64.
    #[serde(
        default,
        deserialize_with = "list::<_, Path, 64>",
        serialize_with = "rules::texts",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub changes: Vec<FieldPath>,
    /// How many of this controller's keys may be in work at once, 1 to 1000. The operator's file wins.
    #[serde(default = "default_concurrency", deserialize_with = "number::<_, 1, 1000>")]
    pub concurrency: u32,
    /// Every object is reconciled again after this many seconds even if nothing changed; 0: never. At most 30 days.
    #[serde(default, deserialize_with = "number::<_, 0, 2_592_000>")]
    pub resync_seconds: u32,
    /// After this many failed attempts in a row a key is parked; none: attempts never end. 1 to 1,000,000.
    #[serde(default, deserialize_with = "rules::maybe_number::<_, 1, 1_000_000>")]
    pub max_attempts: Option<u32>,
    /// How failed keys back off.
    #[serde(default)]
    pub backoff: Backoff,
    /// Other kinds whose changes wake this controller's keys, at most 64, each kind once.
    #[serde(
        default,
        deserialize_with = "items::<_, _, 64>",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub watches: Vec<Watch>,
}

fn default_concurrency() -> u32 {
    1
}

impl Controller {
    /// [`Controller::resync_seconds`] as a duration; none where there is no resync.
    pub fn resync(&self) -> Option<Duration> {
        (self.resync_seconds > 0).then(|| Duration::from_secs(self.resync_seconds.into()))
    }
}

/// Whether a kind's objects live in namespaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// Each object lives in a namespace.
    #[default]
    Namespaced,
    /// Objects belong to the cluster as a whole.
    Cluster,
}

/// What must change for an update to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Predicate {
    /// `metadata.generation`: the spec, for kinds with a status subresource.
    Generation,
    /// `metadata.labels`.
    Labels,
    /// `metadata.annotations`.
    Annotations,
    /// `metadata.finalizers`.
    Finalizers,
    /// `metadata.deletionTimestamp`.
    Deletion,
}

/// Exponential back-off of a key that fails: `base`, doubled with each failure, at most `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Backoff {
    /// The wait after the first failure in milliseconds, 1 ms to 1 hour; 5 ms by default.
    #[serde(default = "default_base_ms", deserialize_with = "number::<_, 1, 3_600_000>")]
    pub base_ms: u32,
    /// The longest wait in milliseconds, 1 ms to 1 day and not below `base_ms`; 5 minutes by default.
    #[serde(default = "default_max_ms", deserialize_with = "number::<_, 1, 86_400_000>")]
    pub max_ms: u32,
}

fn default_base_ms() -> u32 {
    5
}

fn default_max_ms() -> u32 {
    300_000
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            base_ms: default_base_ms(),
            max_ms: default_max_ms(),
        }
    }
}

impl Backoff {
    /// The wait after the first failure.
    pub fn base(&self) -> Duration {
        Duration::from_millis(self.base_ms.into())
    }

    /// The longest wait.
    pub fn max(&self) -> Duration {
        Duration::from_millis(self.max_ms.into())
    }
}

/// Another kind that a controller watches, and which of its keys a change there wakes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Watch {
    /// The kind watched.
    #[serde(with = "rules::gvk")]
    pub kind: Gvk,
    /// Whether that kind's objects live in namespaces.
    #[serde(default)]
    pub scope: Scope,
    /// Cache the objects' metadata only; reads of them see no more. Not together with `fields`.
    #[serde(default)]
    pub metadata_only: bool,
    /// Paths of the fields that the plugin sees of that kind's objects beside metadata, at most 64; empty for whole
    /// objects. [`Manifest::shown_of_watched`] says what is shown in all.
    #[serde(
        default,
        deserialize_with = "list::<_, Path, 64>",
        serialize_with = "rules::texts",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub fields: Vec<FieldPath>,
    /// Which objects of that kind; everything by default.
    #[serde(
        default,
        deserialize_with = "one::<_, Selector>",
        serialize_with = "rules::text",
        skip_serializing_if = "LabelSelector::is_everything"
    )]
    pub selector: LabelSelector,
    /// From a changed object (as it was and as it is) to the keys that it wakes.
    pub map: Mapping,
}

/// From an object of a watched kind to keys of the controller's primary kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mapping {
    /// The primaries named by the object's ownerReferences.
    Owner(OwnerKind),
    /// The primaries (of the same namespace, where they live in one) whose index of this name holds the object's name.
    #[serde(deserialize_with = "one::<_, Label>")]
    Index(String),
    /// The primary of the same namespace and name.
    SameName,
    /// The primary (of the same namespace) that the value of this label names.
    #[serde(deserialize_with = "one::<_, LabelKey>")]
    Label(String),
    /// The primaries that the strings at this path name; `namespace/name` is allowed.
    #[serde(deserialize_with = "one::<_, Path>", serialize_with = "rules::text")]
    Field(FieldPath),
    /// Every primary in the plugin's view. Dear where there are many.
    All,
}

impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner(OwnerKind::Controller) => f.write_str("owner (controller)"),
            Self::Owner(OwnerKind::Any) => f.write_str("owner (any)"),
            Self::Index(name) => write!(f, "index {name}"),
            Self::SameName => f.write_str("same-name"),
            Self::Label(key) => write!(f, "label {key}"),
            Self::Field(path) => write!(f, "field {}", problem::shown(&path.to_string())),
            Self::All => f.write_str("all"),
        }
    }
}

/// Which owner references count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OwnerKind {
    /// The one with `controller: true`.
    Controller,
    /// All of them.
    Any,
}

/// An index over the cached objects of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Index {
    /// Its name, unique within its kind.
    #[serde(deserialize_with = "one::<_, Label>")]
    pub name: String,
    /// The kind whose objects it holds; the manifest must watch it.
    #[serde(with = "rules::gvk")]
    pub kind: Gvk,
    /// Where the indexed strings stand, 1 to 16 paths; `[*]` yields several.
    #[serde(deserialize_with = "list::<_, Path, 16>", serialize_with = "rules::texts")]
    pub paths: Vec<FieldPath>,
}

/// Limits of one call that the author holds for fitting; what is not said has the host's default. They are bounded here
/// since a plugin is not trusted; the operator may set more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SuggestedLimits {
    /// Wall time of a call in milliseconds, 1 to 300,000.
    #[serde(
        default,
        deserialize_with = "rules::maybe_number::<_, 1, 300_000>",
        skip_serializing_if = "Option::is_none"
    )]
    pub wall_ms: Option<u32>,
    /// CPU time of a call in milliseconds, 1 to 10,000.
    #[serde(
        default,
        deserialize_with = "rules::maybe_number::<_, 1, 10_000>",
        skip_serializing_if = "Option::is_none"
    )]
    pub cpu_ms: Option<u32>,
    /// Linear memory of an instance in MiB, 1 to 256.
    #[serde(
        default,
        rename = "memoryMiB",
        deserialize_with = "rules::maybe_number::<_, 1, 256>",
        skip_serializing_if = "Option::is_none"
    )]
    pub memory_mib: Option<u32>,
    /// Host calls of a call, 1 to 10,000.
    #[serde(
        default,
        deserialize_with = "rules::maybe_number::<_, 1, 10_000>",
        skip_serializing_if = "Option::is_none"
    )]
    pub host_calls: Option<u32>,
}

impl SuggestedLimits {
    /// True where the author suggests nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Why a manifest is refused: one problem in what it is made of, or all that are in what it says. The author's to mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ManifestError {
    /// What is wrong; never empty, at most 20.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl Manifest {
    /// Reads and checks what `describe` returned.
    ///
    /// # Errors
    /// Longer than [`MAX_MANIFEST_BYTES`], no JSON, an unknown or missing field, a value against its rule, or fields
    /// that contradict each other; each names its path and the mend. The module must then not be loaded.
    pub fn parse(json: &str) -> Result<Self, ManifestError> {
        let refuse = |problem| ManifestError {
            problems: vec![problem],
        };
        if json.len() > MAX_MANIFEST_BYTES {
            return Err(refuse(Problem::new(
                "",
                format!(
                    "the manifest is {} bytes long; at most {MAX_MANIFEST_BYTES} are allowed",
                    json.len()
                ),
                "shorten it; a large configSchema is the usual cause",
            )));
        }
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let manifest: Self = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
            if matches!(error.inner().classify(), Category::Syntax | Category::Eof) {
                return refuse(Problem::new(
                    "",
                    format!("`describe` returned something that is no JSON: {}", error.inner()),
                    "return the manifest as JSON text, most simply with the SDK",
                ));
            }
            refuse(problem::from_serde(
                &error.path().to_string(),
                &error.inner().to_string(),
            ))
        })?;
        deserializer
            .end()
            .map_err(|error| refuse(problem::from_serde("", &error.to_string())))?;
        // The types read a list where the schema wants an object (serde's derived code takes both).
        let problems = crate::manifest_schema::check(json);
        if !problems.is_empty() {
            return Err(ManifestError { problems });
        }
        let problems = crate::manifest_check::check(&manifest);
        if problems.is_empty() {
            Ok(manifest)
        } else {
            Err(ManifestError { problems })
        }
    }

    /// The controller of this name.
    pub fn controller(&self, name: &str) -> Option<&Controller> {
        self.controllers.iter().find(|controller| controller.name == name)
    }

    /// The index of this name over this kind.
    pub fn index(&self, kind: &Gvk, name: &str) -> Option<&Index> {
        self.indexes
            .iter()
            .find(|index| index.name == name && index.kind == *kind)
    }
}
