//! An object: its kept bytes and its head.

use std::{borrow::Cow, fmt, fmt::Write as _, sync::Arc};

use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::{Gvk, Key, Version, raw};

/// The annotation in which `kubectl apply` keeps a whole second copy of the object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What is kept of an object's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Keep {
    /// Everything, as it came.
    All,
    /// Everything but `metadata.managedFields` and `kubectl apply`'s copy: about a third less. The default for caches.
    Cut,
    /// `apiVersion`, `kind` and the cut metadata.
    Metadata,
    /// A Secret: `apiVersion`, `kind`, `type` and the cut metadata; of its data only a digest.
    Secret,
}

/// Labels of an object, sorted by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(Box<[(Box<str>, Box<str>)]>);

impl Labels {
    /// The value of a label.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0
            .binary_search_by(|(k, _)| (**k).cmp(key))
            .ok()
            .map(|i| &*self.0[i].1)
    }

    /// All of them, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (&**k, &**v))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True where there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Labels {
    /// The later of two values under one key wins.
    fn from_iter<T: IntoIterator<Item = (&'a str, &'a str)>>(iter: T) -> Self {
        let map: std::collections::BTreeMap<&str, &str> = iter.into_iter().collect();
        Self(map.into_iter().map(|(k, v)| (k.into(), v.into())).collect())
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = std::collections::BTreeMap::<Box<str>, Option<Box<str>>>::deserialize(deserializer)?;
        Ok(Self(map.into_iter().map(|(k, v)| (k, v.unwrap_or_default())).collect()))
    }
}

/// One of an object's owner references.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// The owner's `apiVersion`.
    #[serde(default)]
    pub api_version: Box<str>,
    /// The owner's kind.
    #[serde(default)]
    pub kind: Box<str>,
    /// The owner's name; it stands in the object's namespace or in none.
    #[serde(default)]
    pub name: Box<str>,
    /// The owner's uid: an owner made anew under the same name is another one.
    #[serde(default)]
    pub uid: Box<str>,
    /// True for the one owner that manages the object.
    #[serde(default, deserialize_with = "null_is_false")]
    pub controller: bool,
    /// Foreground deletion of the owner waits for the object.
    #[serde(default, rename = "blockOwnerDeletion", deserialize_with = "null_is_false")]
    pub block_deletion: bool,
}

fn null_is_false<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(Option::<bool>::deserialize(deserializer)?.unwrap_or(false))
}

impl Owner {
    /// True where the owner is of this group and kind, in whatever version.
    pub fn is_of(&self, gvk: &Gvk) -> bool {
        let group = self.api_version.split_once('/').map_or("", |(group, _)| group);
        *self.kind == *gvk.kind && *group == *gvk.group
    }
}

/// What the host decides by, parsed once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The kind, from the object itself or from the list it came in.
    pub gvk: Gvk,
    /// Namespace and name.
    pub key: Key,
    /// Tells an object from another one made later under the same name. May be empty.
    pub uid: Arc<str>,
    /// The `resourceVersion`. May be empty.
    pub version: Version,
    /// Counts changes of the spec; some kinds have none.
    pub generation: Option<i64>,
    /// The object's labels.
    pub labels: Labels,
    /// The object's owners, in their order.
    pub owners: Box<[Owner]>,
    /// When deletion was asked for, where it was and finalizers still hold the object.
    pub deletion: Option<Arc<str>>,
}

impl Head {
    /// The owner that manages the object.
    pub fn controller_owner(&self) -> Option<&Owner> {
        self.owners.iter().find(|owner| owner.controller)
    }
}

/// An object that can't be read. It costs that object alone, never the page or the stream it came in.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The bytes are no UTF-8.
    #[error("the object is no UTF-8 text")]
    Utf8,
    /// The bytes are no JSON object, or a field of the head has another type than Kubernetes gives it.
    #[error("the object can't be read: {0}")]
    Json(#[from] serde_json::Error),
    /// A field that every object has is missing.
    #[error("the object has no {0}")]
    Missing(&'static str),
}

/// An object's kept JSON and its head. Cheap to clone: both are shared.
#[derive(Clone)]
pub struct Object(Arc<Inner>);

struct Inner {
    head: Head,
    json: Box<str>,
    /// Set where the data was dropped and the digest can't be made later.
    digest: Option<Box<str>>,
}

impl Object {
    /// Reads an object's bytes and keeps what `keep` says.
    ///
    /// `default_gvk` stands in where the object lacks `apiVersion` and `kind`, as items of lists do.
    ///
    /// # Errors
    /// [`ObjectError`]: skip this object, count it, go on with the rest.
    pub fn parse(json: &[u8], default_gvk: Option<&Gvk>, keep: Keep) -> Result<Self, ObjectError> {
        let text = std::str::from_utf8(json).map_err(|_| ObjectError::Utf8)?.trim();
        let top = raw::members(text)?;
        let field = |name: &str| top.iter().find(|(key, _)| key == name).map(|(_, value)| *value);
        let string = |name: &str| field(name).and_then(raw::string);

        let gvk = match (string("apiVersion"), string("kind")) {
            (Some(api_version), Some(kind)) => match default_gvk {
                // Shares the strings of the expected kind: millions of heads, one name.
                Some(gvk) if *gvk.kind == *kind && gvk.api_version() == *api_version => gvk.clone(),
                _ => Gvk::from_api_version(&api_version, &kind),
            },
            _ => default_gvk.cloned().ok_or(ObjectError::Missing("apiVersion or kind"))?,
        };
        let metadata = field("metadata").ok_or(ObjectError::Missing("metadata"))?;
        let members = raw::members(metadata.get())?;
        let head = head(gvk, &members)?;

        let (json, digest) = match keep {
            Keep::All => (text.into(), None),
            Keep::Cut => (cut(text, metadata, &members), None),
            Keep::Metadata => (partial(&head.gvk, metadata, &members, None), None),
            Keep::Secret => {
                let digest = digest_of(&head.uid, &top);
                (
                    partial(&head.gvk, metadata, &members, field("type")),
                    Some(digest.into()),
                )
            }
        };
        Ok(Self(Arc::new(Inner { head, json, digest })))
    }

    /// The parsed head.
    pub fn head(&self) -> &Head {
        &self.0.head
    }

    /// Namespace and name.
    pub fn key(&self) -> &Key {
        &self.0.head.key
    }

    /// The kept JSON.
    pub fn json(&self) -> &str {
        &self.0.json
    }

    /// The same object with `apiVersion`, `kind` and metadata alone.
    pub fn metadata_only(&self) -> Self {
        let Some(metadata) = raw::member(self.json(), "metadata") else {
            return self.clone();
        };
        let members = raw::members(metadata.get()).unwrap_or_default();
        let json = partial(&self.head().gvk, metadata, &members, None);
        Self(Arc::new(Inner {
            head: self.head().clone(),
            json,
            digest: self.0.digest.clone(),
        }))
    }

    /// A digest over everything but metadata and status, salted with the uid: tells that a Secret changed without
    /// showing what is in it. Members count in the order of their names, their values in the server's own writing.
    pub fn digest(&self) -> String {
        match &self.0.digest {
            Some(digest) => digest.to_string(),
            None => digest_of(&self.head().uid, &raw::members(self.json()).unwrap_or_default()),
        }
    }

    /// The text of one member of `metadata`, such as `annotations`, as it stands.
    pub fn metadata_text(&self, name: &str) -> Option<&str> {
        raw::member(self.json(), "metadata")
            .and_then(|m| raw::member(m.get(), name))
            .map(RawValue::get)
    }

    /// Heap bytes this object holds, roughly: kept JSON and the head's texts.
    pub fn weight(&self) -> usize {
        let head = self.head();
        let labels: usize = head.labels.iter().map(|(k, v)| k.len() + v.len() + 32).sum();
        let owners: usize = head
            .owners
            .iter()
            .map(|o| o.name.len() + o.uid.len() + o.kind.len() + 80)
            .sum();
        size_of::<Inner>() + self.json().len() + head.key.name.len() + head.uid.len() + 48 + labels + owners
    }
}

impl fmt::Debug for Object {
    /// Kind, key and version; never the content, which may be somebody's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = self.head();
        write!(f, "Object({} {} @{})", head.gvk, head.key, head.version)
    }
}

impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || (self.0.head == other.0.head && self.0.json == other.0.json)
    }
}

type Members<'a> = [(Cow<'a, str>, &'a RawValue)];

fn head(gvk: Gvk, members: &Members<'_>) -> Result<Head, ObjectError> {
    let mut head = Head {
        gvk,
        key: Key {
            namespace: None,
            name: "".into(),
        },
        uid: "".into(),
        version: Version::default(),
        generation: None,
        labels: Labels::default(),
        owners: Box::default(),
        deletion: None,
    };
    let text = |value: &RawValue| -> Result<Option<Arc<str>>, serde_json::Error> {
        Ok(serde_json::from_str::<Option<String>>(value.get())?
            .filter(|t| !t.is_empty())
            .map(Into::into))
    };
    for (name, value) in members {
        match &**name {
            "name" => head.key.name = text(value)?.unwrap_or_default(),
            "namespace" => head.key.namespace = text(value)?,
            "uid" => head.uid = text(value)?.unwrap_or_default(),
            "resourceVersion" => head.version = Version::new(&text(value)?.unwrap_or_default()),
            "generation" => head.generation = serde_json::from_str(value.get())?,
            "labels" => head.labels = serde_json::from_str::<Option<Labels>>(value.get())?.unwrap_or_default(),
            "ownerReferences" => {
                head.owners = serde_json::from_str::<Option<Box<[Owner]>>>(value.get())?.unwrap_or_default();
            }
            "deletionTimestamp" => head.deletion = text(value)?,
            _ => {}
        }
    }
    if head.key.name.is_empty() {
        return Err(ObjectError::Missing("metadata.name"));
    }
    Ok(head)
}

/// The metadata without what caches don't need, or none where there is nothing to cut.
fn cut_metadata(members: &Members<'_>) -> Option<String> {
    let cut_here = |name: &str, value: &RawValue| {
        name == "managedFields" || (name == "annotations" && raw::member(value.get(), LAST_APPLIED).is_some())
    };
    if !members.iter().any(|(name, value)| cut_here(name, value)) {
        return None;
    }
    let mut out = String::new();
    write_members(
        &mut out,
        members.iter().filter_map(|(name, value)| match &**name {
            "managedFields" => None,
            "annotations" if cut_here(name, value) => {
                let annotations = raw::members(value.get()).unwrap_or_default();
                let mut kept = String::new();
                write_members(
                    &mut kept,
                    annotations
                        .iter()
                        .filter(|(n, _)| n != LAST_APPLIED)
                        .map(|(n, v)| (&**n, Cow::Borrowed(v.get()))),
                );
                Some((&**name, Cow::Owned(kept)))
            }
            _ => Some((&**name, Cow::Borrowed(value.get()))),
        }),
    );
    Some(out)
}

fn write_members<'a>(out: &mut String, members: impl Iterator<Item = (&'a str, Cow<'a, str>)>) {
    out.push('{');
    for (i, (name, value)) in members.enumerate() {
        if i > 0 {
            out.push(',');
        }
        write_string(out, name);
        out.push(':');
        out.push_str(&value);
    }
    out.push('}');
}

fn write_string(out: &mut String, text: &str) {
    // A string always serialises.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

fn cut(text: &str, metadata: &RawValue, members: &Members<'_>) -> Box<str> {
    let Some(kept) = cut_metadata(members) else {
        return text.into();
    };
    let start = raw::offset_in(text, metadata.get());
    let mut out = String::with_capacity(text.len() - metadata.get().len() + kept.len());
    out.push_str(&text[..start]);
    out.push_str(&kept);
    out.push_str(&text[start + metadata.get().len()..]);
    out.into_boxed_str()
}

fn partial(gvk: &Gvk, metadata: &RawValue, members: &Members<'_>, secret_type: Option<&RawValue>) -> Box<str> {
    let mut out = String::new();
    out.push_str("{\"apiVersion\":");
    write_string(&mut out, &gvk.api_version());
    out.push_str(",\"kind\":");
    write_string(&mut out, &gvk.kind);
    out.push_str(",\"metadata\":");
    match cut_metadata(members) {
        Some(kept) => out.push_str(&kept),
        None => out.push_str(metadata.get()),
    }
    if let Some(secret_type) = secret_type {
        out.push_str(",\"type\":");
        out.push_str(secret_type.get());
    }
    out.push('}');
    out.into_boxed_str()
}

fn digest_of(uid: &str, top: &Members<'_>) -> String {
    let mut hash = Sha256::new();
    hash.update((uid.len() as u64).to_le_bytes());
    hash.update(uid);
    let mut parts: Vec<_> = top
        .iter()
        .filter(|(name, _)| !matches!(&**name, "metadata" | "status" | "apiVersion" | "kind"))
        .map(|(name, value)| (&**name, value.get()))
        .collect();
    parts.sort_unstable();
    for (name, value) in parts {
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update((value.len() as u64).to_le_bytes());
        hash.update(value);
    }
    hash.finalize().iter().fold(String::with_capacity(64), |mut out, byte| {
        // Writing to a String can't fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = r#" {"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","namespace":"ns","uid":"u1",
      "resourceVersion":"12","generation":3,"labels":{"b":"2","a":"1"},"managedFields":[{"manager":"m"}],
      "annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{}","note":"kept"},
      "ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"rs","uid":"u0","controller":true}],
      "deletionTimestamp":"2026-01-01T00:00:00Z"},"spec":{"big":12345678901234567890123456789,"ratio":1.10}} "#;

    fn pod(keep: Keep) -> Object {
        Object::parse(POD.as_bytes(), None, keep).unwrap()
    }

    #[test]
    fn the_head_tells_what_the_host_decides_by() {
        let pod = pod(Keep::All);
        let head = pod.head();
        assert_eq!(head.gvk.to_string(), "v1 Pod");
        assert_eq!(head.key.to_string(), "ns/p");
        assert_eq!(
            (&*head.uid, head.version.as_str(), head.generation),
            ("u1", "12", Some(3))
        );
        assert_eq!(head.labels.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "2")]);
        assert_eq!(head.deletion.as_deref(), Some("2026-01-01T00:00:00Z"));
        let owner = head.controller_owner().unwrap();
        assert!(owner.is_of(&Gvk::new("apps", "v1beta9", "ReplicaSet")));
        assert!(!owner.is_of(&Gvk::new("", "v1", "ReplicaSet")));
        assert_eq!(pod.json(), POD.trim());
    }

    #[test]
    fn cutting_takes_managed_fields_and_the_applied_copy_and_nothing_else() {
        let pod = pod(Keep::Cut);
        let json = pod.json();
        assert!(
            !json.contains("managedFields") && !json.contains("last-applied"),
            "{json}"
        );
        assert!(json.contains(r#""annotations":{"note":"kept"}"#), "{json}");
        let mut want: serde_json::Value = serde_json::from_str(POD).unwrap();
        want["metadata"].as_object_mut().unwrap().remove("managedFields");
        want["metadata"]["annotations"]
            .as_object_mut()
            .unwrap()
            .remove(LAST_APPLIED);
        assert_eq!(serde_json::from_str::<serde_json::Value>(json).unwrap(), want);
    }

    #[test]
    fn numbers_keep_their_text() {
        let pod = pod(Keep::Cut);
        assert!(
            pod.json()
                .contains(r#""spec":{"big":12345678901234567890123456789,"ratio":1.10}"#)
        );
    }

    #[test]
    fn metadata_only_drops_the_rest() {
        for object in [
            pod(Keep::Metadata),
            pod(Keep::Cut).metadata_only(),
            pod(Keep::All).metadata_only(),
        ] {
            let value: serde_json::Value = serde_json::from_str(object.json()).unwrap();
            let keys: Vec<_> = value.as_object().unwrap().keys().collect();
            assert_eq!(keys, ["apiVersion", "kind", "metadata"]);
            assert!(value["metadata"].get("managedFields").is_none());
            assert_eq!(object.head(), pod(Keep::All).head());
        }
    }

    #[test]
    fn a_secrets_data_is_not_kept_but_its_change_is_seen() {
        let secret = |data: &str, uid: &str| {
            let json = format!(
                r#"{{"kind":"Secret","apiVersion":"v1","metadata":{{"name":"s","uid":"{uid}"}},"data":{{"k":"{data}"}},"type":"Opaque"}}"#
            );
            Object::parse(json.as_bytes(), None, Keep::Secret).unwrap()
        };
        let object = secret("aHVudGVyMg==", "u");
        assert!(!object.json().contains("aHVudGVyMg"), "{}", object.json());
        assert!(object.json().contains("Opaque"));
        assert!(!format!("{object:?}").contains("aHVudGVyMg"));
        assert_eq!(object.digest(), secret("aHVudGVyMg==", "u").digest());
        assert_ne!(object.digest(), secret("b3RoZXI=", "u").digest());
        assert_ne!(object.digest(), secret("aHVudGVyMg==", "v").digest());
    }

    #[test]
    fn the_digest_leaves_metadata_and_status_out() {
        let object = |rest: &str, version: &str| {
            let json = format!(
                r#"{{"apiVersion":"v1","kind":"X","metadata":{{"name":"a","uid":"u","resourceVersion":"{version}"}}{rest}}}"#
            );
            Object::parse(json.as_bytes(), None, Keep::All).unwrap().digest()
        };
        assert_eq!(
            object(r#","spec":{"a":1},"status":{"b":1}"#, "1"),
            object(r#","status":{"b":2},"spec":{"a":1}"#, "2")
        );
        assert_ne!(object(r#","spec":{"a":1}"#, "1"), object(r#","spec":{"a":2}"#, "1"));
    }

    #[test]
    fn items_of_lists_take_the_lists_kind() {
        let gvk = Gvk::new("", "v1", "ConfigMap");
        let item = Object::parse(br#"{"metadata":{"name":"a"}}"#, Some(&gvk), Keep::Cut).unwrap();
        assert_eq!(item.head().gvk, gvk);
        assert!(Object::parse(br#"{"metadata":{"name":"a"}}"#, None, Keep::Cut).is_err());
    }

    #[test]
    fn broken_objects_are_errors_and_never_panics() {
        for bad in [
            &b""[..],
            b"null",
            b"[]",
            b"{",
            b"{}",
            b"\xff\xfe",
            br#"{"apiVersion":"v1","kind":"X"}"#,
            br#"{"apiVersion":"v1","kind":"X","metadata":[]}"#,
            br#"{"apiVersion":"v1","kind":"X","metadata":{}}"#,
            br#"{"apiVersion":"v1","kind":"X","metadata":{"name":1}}"#,
            br#"{"apiVersion":"v1","kind":"X","metadata":{"name":"a","labels":[]}}"#,
            br#"{"apiVersion":"v1","kind":"X","metadata":{"name":"a"}} trailing"#,
        ] {
            assert!(
                Object::parse(bad, None, Keep::Cut).is_err(),
                "{:?}",
                String::from_utf8_lossy(bad)
            );
        }
    }

    #[test]
    fn nesting_without_end_costs_no_stack() {
        let deep = format!(
            r#"{{"apiVersion":"v1","kind":"X","metadata":{{"name":"a"}},"spec":{}{}}}"#,
            "[".repeat(500_000),
            "]".repeat(500_000)
        );
        let object = Object::parse(deep.as_bytes(), None, Keep::Cut).unwrap();
        assert_eq!(object.json(), deep);
        assert_eq!(object.digest().len(), 64);
    }

    #[test]
    fn nulls_in_the_head_count_as_absent() {
        let json = br#"{"apiVersion":"v1","kind":"X","metadata":{"name":"a","namespace":null,"labels":null,"ownerReferences":null,"generation":null,"creationTimestamp":null}}"#;
        let object = Object::parse(json, None, Keep::Cut).unwrap();
        assert_eq!(object.head().key, Key::new(None, "a"));
    }
}
