//! An object: its kept bytes and its head.

use std::{fmt, fmt::Write as _, sync::Arc};

use sha2::{Digest, Sha256};

use crate::{
    FieldSet, Gvk, Head, Key,
    head::{self, Stored, Texts},
    kept,
    raw::{self, Member, Span},
};

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
    gvk: Gvk,
    head: Stored,
    /// The kept JSON; behind it the texts of the head that stand escaped in it, and the digest where the data was
    /// dropped and it can't be made later.
    text: Box<str>,
    json: u32,
    /// Where `metadata` stands in the JSON.
    metadata: Span,
    digest: Span,
}

impl Object {
    /// Reads an object's bytes and keeps what `keep` says.
    ///
    /// `default_gvk` stands in where the object lacks `apiVersion` and `kind`, as items of lists do, and where metadata
    /// alone is kept and it is a `PartialObjectMetadata`.
    ///
    /// # Errors
    /// [`ObjectError`]: skip this object, count it, go on with the rest.
    pub fn parse(json: &[u8], default_gvk: Option<&Gvk>, keep: Keep) -> Result<Self, ObjectError> {
        let text = std::str::from_utf8(json).map_err(|_| ObjectError::Utf8)?.trim();
        let parsed = Parsed::read(text.as_bytes(), 0)?;
        if parsed.end != text.len() {
            return Err(ObjectError::Json(serde::de::Error::custom(
                "something stands behind the object",
            )));
        }
        parsed.keep(text, default_gvk, keep)
    }

    /// Reads the object that begins at `at`, whatever stands behind it; answers where it ends too.
    ///
    /// # Errors
    /// As [`Object::parse`]; also where the bytes end before the object does.
    pub fn parse_at(
        json: &[u8],
        at: usize,
        default_gvk: Option<&Gvk>,
        keep: Keep,
    ) -> Result<(Self, usize), ObjectError> {
        let json = json.get(at..).unwrap_or_default();
        let parsed = Parsed::read(json, 0)?;
        let end = parsed.end;
        let text = std::str::from_utf8(json.get(..end).unwrap_or_default()).map_err(|_| ObjectError::Utf8)?;
        Ok((parsed.keep(text, default_gvk, keep)?, at + end))
    }

    /// The parsed head.
    pub fn head(&self) -> Head<'_> {
        self.0.head.view(&self.0.gvk, &self.0.text)
    }

    /// Namespace and name.
    pub fn key(&self) -> &Key {
        &self.0.head.key
    }

    /// The kept JSON.
    pub fn json(&self) -> &str {
        self.0.text.get(..self.0.json as usize).unwrap_or_default()
    }

    /// Takes another one's key, which is equal, so that both share its texts. Nothing where this object is shared
    /// itself.
    pub fn share_key(&mut self, key: &Key) {
        if self.0.head.key == *key
            && let Some(inner) = Arc::get_mut(&mut self.0)
        {
            inner.head.key = key.clone();
        }
    }

    /// Takes another one's namespace, which is equal, as [`Object::share_key`] does.
    pub fn share_namespace(&mut self, namespace: &Arc<str>) {
        if self.0.head.key.namespace.as_ref() == Some(namespace)
            && let Some(inner) = Arc::get_mut(&mut self.0)
        {
            inner.head.key.namespace = Some(namespace.clone());
        }
    }

    /// The same object with `apiVersion`, `kind` and metadata alone.
    pub fn metadata_only(&self) -> Self {
        let mut parsed = Parsed {
            metadata: Some(self.0.metadata),
            ..Parsed::default()
        };
        let json = self.json();
        let kept = raw::members(json.as_bytes(), self.0.metadata.start as usize, &mut parsed.members)
            .map_err(|bad| ObjectError::Json(bad.into()))
            .and_then(|_| {
                parsed.assemble(
                    json,
                    self.0.gvk.clone(),
                    Keep::Metadata,
                    Some(self.0.digest.of(&self.0.text)),
                )
            });
        // It was read once already.
        kept.unwrap_or_else(|_| self.clone())
    }

    /// The same object with `apiVersion`, `kind`, metadata and these fields alone.
    pub fn fields_only(&self, fields: &FieldSet) -> Self {
        let object = self.metadata_only();
        if fields.is_empty() {
            return object;
        }
        let mut json = object.json().to_owned();
        json.pop();
        fields.write_rest(self.json(), &mut json);
        json.push('}');
        self.reread(&json, Keep::All).unwrap_or(object)
    }

    /// The same object without managedFields and `kubectl apply`'s copy.
    pub fn cut(&self) -> Self {
        match self.reread(self.json(), Keep::Cut) {
            Some(cut) if cut.json() != self.json() => cut,
            // Nothing to cut.
            _ => self.clone(),
        }
    }

    /// Reads JSON that is a part of this object's.
    fn reread(&self, json: &str, keep: Keep) -> Option<Self> {
        let parsed = Parsed::read(json.as_bytes(), 0).ok()?;
        let digest = Some(self.0.digest.of(&self.0.text));
        parsed.assemble(json, self.0.gvk.clone(), keep, digest).ok()
    }

    /// A digest over everything but metadata and status, salted with the uid: tells that a Secret changed without
    /// showing what is in it. Members count in the order of their names, their values in the server's own writing.
    pub fn digest(&self) -> String {
        if self.0.digest.is_empty() {
            let json = self.json();
            return digest_of(self.head().uid, json, &raw::members_of(json).unwrap_or_default());
        }
        self.0.digest.of(&self.0.text).to_owned()
    }

    /// The text of one member of `metadata`, such as `annotations`, as it stands.
    pub fn metadata_text(&self, name: &str) -> Option<&str> {
        raw::member(self.0.metadata.of(&self.0.text), name)
    }

    /// Where `metadata` stands in the JSON.
    pub(crate) fn metadata(&self) -> Span {
        self.0.metadata
    }

    /// Heap bytes that this object holds: kept JSON, head and their book-keeping. Without what the allocator adds, and
    /// without the texts of kind and namespace, which objects of a store share.
    pub fn weight(&self) -> usize {
        // Two counters stand before what is shared.
        2 * size_of::<usize>() + size_of::<Inner>() + self.0.text.len() + self.0.head.weight()
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
    /// The head but for a kind that the object does not tell itself, and the digest, stand in the text.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || (self.0.json == other.0.json && self.0.text == other.0.text && self.0.gvk == other.0.gvk)
    }
}

/// An object's frame: where its parts stand.
#[derive(Default)]
struct Parsed {
    top: Vec<Member>,
    metadata: Option<Span>,
    /// Of the metadata.
    members: Vec<Member>,
    end: usize,
}

impl Parsed {
    /// One pass over the object that begins at `at`, which checks every byte of it but for UTF-8.
    fn read(json: &[u8], at: usize) -> Result<Self, ObjectError> {
        if json.len() > Span::MAX {
            return Err(ObjectError::Json(serde::de::Error::custom("it is longer than 4 GiB")));
        }
        let mut parsed = Self {
            top: Vec::with_capacity(8),
            members: Vec::with_capacity(16),
            ..Self::default()
        };
        let end = raw::walk(json, at, |mut member| {
            let start = member.value.start as usize;
            let end = if parsed.metadata.is_none() && member.is(json, "metadata") {
                let end = raw::members(json, start, &mut parsed.members)?;
                parsed.metadata = Some(Span::new(start, end));
                end
            } else {
                raw::value(json, start)?
            };
            member.value = Span::new(start, end);
            parsed.top.push(member);
            Ok(Some(end))
        });
        parsed.end = end.map_err(serde_json::Error::from)?.unwrap_or(json.len());
        Ok(parsed)
    }

    fn field<'a>(&self, text: &'a str, name: &str) -> Option<&'a str> {
        let member = self.top.iter().find(|member| member.is(text.as_bytes(), name))?;
        Some(member.value.of(text))
    }

    fn keep(&self, text: &str, default_gvk: Option<&Gvk>, keep: Keep) -> Result<Object, ObjectError> {
        let string = |name: &str| self.field(text, name).and_then(raw::string_text);
        let gvk = match (string("apiVersion"), string("kind")) {
            (Some(api_version), Some(kind)) => match default_gvk {
                // Shares the expected kind: millions of objects, one name.
                Some(gvk) if gvk.is_written(&api_version, &kind) => gvk.clone(),
                // An answer of metadata alone does not say of what.
                Some(gvk)
                    if keep == Keep::Metadata && kind == "PartialObjectMetadata" && api_version == "meta.k8s.io/v1" =>
                {
                    gvk.clone()
                }
                _ => Gvk::from_api_version(&api_version, &kind),
            },
            _ => default_gvk.cloned().ok_or(ObjectError::Missing("apiVersion or kind"))?,
        };
        self.assemble(text, gvk, keep, None)
    }

    /// `digest` is that of an object whose data was dropped before.
    fn assemble(&self, text: &str, gvk: Gvk, keep: Keep, digest: Option<&str>) -> Result<Object, ObjectError> {
        let metadata = self.metadata.ok_or(ObjectError::Missing("metadata"))?;
        let mut out = kept::Kept::default();
        match keep {
            Keep::All => out.all(text, metadata, &self.members),
            Keep::Cut => out.cut(text, metadata, &self.members),
            Keep::Metadata => out.partial(text, &gvk, metadata, &self.members, None),
            Keep::Secret => out.partial(text, &gvk, metadata, &self.members, self.field(text, "type")),
        }
        let mut texts = Texts::new(out.json);
        let json = Span::new(0, texts.text.len()).end;
        let head = head::read(&mut texts, &out.members)?;
        let digest = match digest {
            Some(digest) => texts.add(digest),
            None if keep == Keep::Secret => {
                let uid = head.view(&gvk, &texts.text).uid;
                let digest = digest_of(uid, text, &self.top);
                texts.add(&digest)
            }
            None => Span::default(),
        };
        Ok(Object(Arc::new(Inner {
            gvk,
            head,
            text: texts.text.into_boxed_str(),
            json,
            metadata: out.metadata,
            digest,
        })))
    }
}

fn digest_of(uid: &str, text: &str, top: &[Member]) -> String {
    let mut hash = Sha256::new();
    hash.update((uid.len() as u64).to_le_bytes());
    hash.update(uid);
    let mut parts: Vec<_> = top
        .iter()
        .map(|member| (member.name(text), member.value.of(text)))
        .filter(|(name, _)| !matches!(&**name, "metadata" | "status" | "apiVersion" | "kind"))
        .collect();
    parts.sort_unstable();
    for (name, value) in parts {
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(&*name);
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
#[path = "object_tests.rs"]
mod tests;
