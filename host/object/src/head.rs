//! What the host decides by: an object's head, read once. Its texts are places in the object's own text.

use std::{borrow::Cow, sync::Arc};

use crate::{
    Gvk, Key, ObjectError, Version,
    raw::{self, Member, Span},
};

/// What the host decides by, as it stands in the object: a view, cheap to make and to copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// The kind, from the object itself or from the list it came in.
    pub gvk: &'a Gvk,
    /// Namespace and name.
    pub key: &'a Key,
    /// Tells an object from another one made later under the same name. May be empty.
    pub uid: &'a str,
    /// The `resourceVersion`. May be empty.
    pub version: &'a Version,
    /// Counts changes of the spec; some kinds have none.
    pub generation: Option<i64>,
    /// The object's labels.
    pub labels: HeadLabels<'a>,
    /// The object's owners, in their order.
    pub owners: Owners<'a>,
    /// When deletion was asked for, where it was and finalizers still hold the object.
    pub deletion: Option<&'a str>,
}

impl<'a> Head<'a> {
    /// The owner that manages the object.
    pub fn controller_owner(&self) -> Option<Owner<'a>> {
        self.owners.iter().find(|owner| owner.controller)
    }
}

/// Labels of an object, sorted by key.
#[derive(Clone, Copy)]
pub struct HeadLabels<'a> {
    text: &'a str,
    /// Key and value in turn.
    spans: &'a [Span],
}

impl<'a> HeadLabels<'a> {
    fn at(&self, i: usize) -> Option<(&'a str, &'a str)> {
        let pair = self.spans.get(2 * i..2 * i + 2)?;
        Some((pair[0].of(self.text), pair[1].of(self.text)))
    }

    /// The value of a label.
    pub fn get(&self, key: &str) -> Option<&'a str> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            let (own, value) = self.at(middle)?;
            match own.cmp(key) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Some(value),
            }
        }
        None
    }

    /// All of them, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let labels = *self;
        (0..self.len()).filter_map(move |i| labels.at(i))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.spans.len() / 2
    }

    /// True where there are none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }
}

impl PartialEq for HeadLabels<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for HeadLabels<'_> {}

impl std::fmt::Debug for HeadLabels<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// One of an object's owner references.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner<'a> {
    /// The owner's `apiVersion`.
    pub api_version: &'a str,
    /// The owner's kind.
    pub kind: &'a str,
    /// The owner's name; it stands in the object's namespace or in none.
    pub name: &'a str,
    /// The owner's uid: an owner made anew under the same name is another one.
    pub uid: &'a str,
    /// True for the one owner that manages the object.
    pub controller: bool,
    /// Foreground deletion of the owner waits for the object.
    pub block_deletion: bool,
}

impl Owner<'_> {
    /// True where the owner is of this group and kind, in whatever version.
    pub fn is_of(&self, gvk: &Gvk) -> bool {
        let group = self.api_version.split_once('/').map_or("", |(group, _)| group);
        *self.kind == *gvk.kind && *group == *gvk.group
    }
}

/// An object's owners, in their order.
#[derive(Clone, Copy)]
pub struct Owners<'a> {
    text: &'a str,
    spans: &'a [Span],
}

/// Spans of one owner: four texts and the two flags.
const OWNER: usize = 5;

impl<'a> Owners<'a> {
    /// The owner at this place.
    pub fn get(&self, i: usize) -> Option<Owner<'a>> {
        let spans: &[Span; OWNER] = self.spans.get(OWNER * i..)?.first_chunk()?;
        let [api_version, kind, name, uid, flags] = spans.map(|span| (span, span.of(self.text)));
        Some(Owner {
            api_version: api_version.1,
            kind: kind.1,
            name: name.1,
            uid: uid.1,
            controller: flags.0.start == 1,
            block_deletion: flags.0.end == 1,
        })
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Owner<'a>> + use<'a> {
        let owners = *self;
        (0..self.len()).filter_map(move |i| owners.get(i))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.spans.len() / OWNER
    }

    /// True where there are none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }
}

impl PartialEq for Owners<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for Owners<'_> {}

impl std::fmt::Debug for Owners<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// A head as an object holds it.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) key: Key,
    version: Version,
    generation: Option<i64>,
    uid: Span,
    /// Empty where there is none.
    deletion: Span,
    /// Labels, sorted, then owners.
    spans: Box<[Span]>,
    /// How many of the spans are labels'.
    labels: u32,
}

impl Stored {
    pub(crate) fn view<'a>(&'a self, gvk: &'a Gvk, text: &'a str) -> Head<'a> {
        let (labels, owners) = self
            .spans
            .split_at_checked(self.labels as usize)
            .unwrap_or((&self.spans, &[]));
        Head {
            gvk,
            key: &self.key,
            uid: self.uid.of(text),
            version: &self.version,
            generation: self.generation,
            labels: HeadLabels { text, spans: labels },
            owners: Owners { text, spans: owners },
            deletion: Some(self.deletion.of(text)).filter(|text| !text.is_empty()),
        }
    }

    /// Heap bytes of its own; the namespace's text is shared by all objects of a store.
    pub(crate) fn weight(&self) -> usize {
        crate::names::shared_weight(&self.key.name) + self.version.weight() + size_of_val(&*self.spans)
    }
}

/// An object's text with room behind the JSON for what stands escaped in it.
pub(crate) struct Texts {
    /// The JSON, then the rest.
    pub(crate) text: String,
    json: usize,
}

impl Texts {
    pub(crate) fn new(json: String) -> Self {
        Self {
            json: json.len(),
            text: json,
        }
    }

    pub(crate) fn json(&self) -> &str {
        self.text.get(..self.json).unwrap_or_default()
    }

    pub(crate) fn add(&mut self, text: &str) -> Span {
        let start = self.text.len();
        self.text.push_str(text);
        Span::new(start, self.text.len())
    }

    /// The text of a JSON string, without its quotes; empty for null.
    fn string(&mut self, value: Span) -> Result<Span, ObjectError> {
        let json = value.of(self.json());
        if json == "null" {
            return Ok(Span::default());
        }
        match raw::string_text(json) {
            Some(Cow::Borrowed(_)) => Ok(Span {
                start: value.start + 1,
                end: value.end - 1,
            }),
            Some(Cow::Owned(text)) => Ok(self.add(&text)),
            None => Err(serde_json::from_str::<Option<String>>(json).map_or_else(ObjectError::Json, |_| wrong(json))),
        }
    }

    fn name(&mut self, member: Member) -> Span {
        let own = match member.name(self.json()) {
            Cow::Borrowed(_) => return member.plain_name(),
            Cow::Owned(text) => text,
        };
        self.add(&own)
    }
}

fn wrong(what: &str) -> ObjectError {
    let why = format_args!("{} has another type than Kubernetes gives it", crate::shorten(what, 64));
    ObjectError::Json(serde::de::Error::custom(why))
}

fn members(json: &str, value: Span) -> Result<Vec<Member>, ObjectError> {
    let mut members = Vec::with_capacity(8);
    raw::members(json.as_bytes(), value.start as usize, &mut members).map_err(serde_json::Error::from)?;
    Ok(members)
}

/// Reads the head out of metadata whose members' values stand at these places of the text.
pub(crate) fn read(texts: &mut Texts, metadata: &[(Cow<'_, str>, Span)]) -> Result<Stored, ObjectError> {
    let (mut name, mut namespace): (Arc<str>, Option<Arc<str>>) = (Arc::default(), None);
    let mut version = Version::default();
    let (mut uid, mut deletion) = (Span::default(), Span::default());
    let (mut labels, mut owners) = (Vec::new(), Vec::new());
    let mut generation = None;
    for (member, value) in metadata {
        let value = *value;
        match &**member {
            "name" => name = texts.string(value)?.of(&texts.text).into(),
            "namespace" => {
                let text = texts.string(value)?;
                namespace = (!text.is_empty()).then(|| text.of(&texts.text).into());
            }
            "uid" => uid = texts.string(value)?,
            "resourceVersion" => version = Version::new(texts.string(value)?.of(&texts.text)),
            "generation" => generation = serde_json::from_str(value.of(texts.json()))?,
            "labels" => labels = read_labels(texts, value)?,
            "ownerReferences" => owners = read_owners(texts, value)?,
            "deletionTimestamp" => deletion = texts.string(value)?,
            _ => {}
        }
    }
    if name.is_empty() {
        return Err(ObjectError::Missing("metadata.name"));
    }
    let mut spans = Vec::with_capacity(2 * labels.len() + owners.len());
    spans.extend(labels.iter().flat_map(|(key, value)| [*key, *value]));
    let labels = u32::try_from(spans.len()).unwrap_or(u32::MAX);
    spans.append(&mut owners);
    Ok(Stored {
        key: Key { namespace, name },
        version,
        generation,
        uid,
        deletion,
        spans: spans.into_boxed_slice(),
        labels,
    })
}

fn read_labels(texts: &mut Texts, value: Span) -> Result<Vec<(Span, Span)>, ObjectError> {
    if value.of(texts.json()) == "null" {
        return Ok(Vec::new());
    }
    let mut labels = Vec::with_capacity(8);
    for member in members(texts.json(), value)? {
        labels.push((texts.name(member), texts.string(member.value)?));
    }
    // Of two values under one key the later wins.
    labels.reverse();
    labels.sort_by(|(a, _), (b, _)| a.of(&texts.text).cmp(b.of(&texts.text)));
    labels.dedup_by(|(a, _), (b, _)| a.of(&texts.text) == b.of(&texts.text));
    Ok(labels)
}

fn read_owners(texts: &mut Texts, value: Span) -> Result<Vec<Span>, ObjectError> {
    let mut owners = Vec::new();
    let json = value.of(texts.json());
    if json == "null" {
        return Ok(owners);
    }
    let mut places = Vec::with_capacity(1);
    let list = raw::elements(json, |owner| {
        let start = raw::offset_in(json, owner) + value.start as usize;
        places.push(Span::new(start, start + owner.len()));
        true
    });
    if !list {
        return Err(wrong(json));
    }
    owners.reserve_exact(OWNER * places.len());
    for place in places {
        // Texts in the order of their places in an `Owner`, then flags.
        let mut spans = [Span::default(); OWNER];
        let mut seen = [false; 6];
        for member in members(texts.json(), place)? {
            let name = member.name(texts.json());
            let known = ["apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"];
            let Some(i) = known.iter().position(|known| *known == name) else {
                continue;
            };
            let text = member.value.of(texts.json());
            if std::mem::replace(&mut seen[i], true) {
                return Err(wrong(place.of(texts.json())));
            }
            let flag = || match text {
                "true" => Ok(1),
                "false" | "null" => Ok(0),
                other => Err(wrong(other)),
            };
            match i {
                4 => spans[4].start = flag()?,
                5 => spans[4].end = flag()?,
                _ if text == "null" => return Err(wrong(place.of(texts.json()))),
                _ => spans[i] = texts.string(member.value)?,
            }
        }
        owners.extend(spans);
    }
    Ok(owners)
}
