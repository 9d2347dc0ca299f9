//! What a plugin asks for: verbs on kinds, in namespaces, on names, on subresources.

use std::fmt;

use pilothouse_object::Gvk;
use serde::{Deserialize, Serialize};

use crate::rules::{Group, KindName, Label, ObjectName, Subresource, items, list, one};

/// One thing a plugin asks for. Several entries add up.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Permission {
    /// The API group; empty for the core group.
    #[serde(deserialize_with = "one::<_, Group>")]
    pub group: String,
    /// The kind, of whatever version.
    #[serde(deserialize_with = "one::<_, KindName>")]
    pub kind: String,
    /// What is done with its objects; not empty.
    #[serde(deserialize_with = "items::<_, _, 8>")]
    pub verbs: Vec<Verb>,
    /// In these namespaces, at most 256; empty: wherever the operator grants it.
    #[serde(
        default,
        deserialize_with = "list::<_, Label, 256>",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub namespaces: Vec<String>,
    /// On objects of these names, at most 256; empty: whichever the operator grants.
    #[serde(
        default,
        deserialize_with = "list::<_, ObjectName, 256>",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub names: Vec<String>,
    /// Subresources such as `status`, at most 16. Empty: the objects themselves. Otherwise `get`, `create`, `patch`,
    /// `replace` and `delete` are about these subresources alone; `list`, `watch` and `digest` know none and are always
    /// about the objects themselves.
    #[serde(
        default,
        deserialize_with = "list::<_, Subresource, 16>",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub subresources: Vec<String>,
}

/// What can be done with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Read one live, from the API server.
    Get,
    /// List live, from the API server.
    List,
    /// Watch the kind and read the cache.
    Watch,
    /// Read a Secret's digest, which tells that it changed and not what is in it. Other kinds need no right of their
    /// own for that: who sees an object whole may have its digest.
    Digest,
    /// Create.
    Create,
    /// Patch, in whatever form.
    Patch,
    /// Replace the whole.
    Replace,
    /// Delete.
    Delete,
}

impl Verb {
    /// Every verb there is.
    pub const ALL: [Self; 8] = [
        Self::Get,
        Self::List,
        Self::Watch,
        Self::Digest,
        Self::Create,
        Self::Patch,
        Self::Replace,
        Self::Delete,
    ];

    /// As it is written in manifests and grants.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Digest => "digest",
            Self::Create => "create",
            Self::Patch => "patch",
            Self::Replace => "replace",
            Self::Delete => "delete",
        }
    }

    /// Whether the verb can be about a subresource; `list`, `watch` and `digest` can't.
    pub(crate) fn knows_subresources(self) -> bool {
        !matches!(self, Self::List | Self::Watch | Self::Digest)
    }

    /// Whether it changes something.
    pub(crate) fn writes(self) -> bool {
        matches!(self, Self::Create | Self::Patch | Self::Replace | Self::Delete)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Permission {
    /// Whether this entry is about that kind.
    pub fn is_about(&self, kind: &Gvk) -> bool {
        *self.group == *kind.group && *self.kind == *kind.kind
    }

    /// Whether this entry alone asks for watching objects of that kind in that namespace (none: wherever granted).
    pub(crate) fn asks_to_watch(&self, kind: &Gvk, namespace: Option<&str>) -> bool {
        self.is_about(kind)
            && self.verbs.contains(&Verb::Watch)
            && namespace.is_none_or(|n| self.namespaces.is_empty() || self.namespaces.iter().any(|own| own == n))
    }
}

/// The permission as one line of YAML's flow style, which is good in a list of grants and, up to its quotes, in a
/// manifest: `{group: "", kind: ConfigMap, verbs: [watch, create]}`.
impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verbs: Vec<&str> = self.verbs.iter().map(|verb| verb.as_str()).collect();
        write!(
            f,
            "{{group: {:?}, kind: {}, verbs: [{}]",
            self.group,
            self.kind,
            verbs.join(", ")
        )?;
        for (field, values) in [
            ("namespaces", &self.namespaces),
            ("names", &self.names),
            ("subresources", &self.subresources),
        ] {
            if !values.is_empty() {
                // Quoted, since a name may read as a number or hold a colon.
                write!(f, ", {field}: {values:?}")?;
            }
        }
        f.write_str("}")
    }
}
