//! What serde_json reads in the same bytes.

use std::{borrow::Cow, collections::BTreeSet, fmt};

use pilothouse_informer::{
    read::Format,
    reflector,
    store::{Change, Item},
};
use pilothouse_object::{Keep, Object};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, value::RawValue};

/// An element of a list, or the object of an event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Element {
    /// Key, uid, version, text.
    Object(String, String, String, String),
    Unreadable(String),
}

impl Element {
    pub(crate) fn of(item: &Item) -> Self {
        match item {
            Item::Object(object) => Self::object(object),
            Item::Unreadable(key) => Self::Unreadable(key.to_string()),
            Item::Gone(key) => panic!("a list that names a deletion: {key}"),
        }
    }

    fn object(object: &Object) -> Self {
        let head = object.head();
        Self::Object(
            object.key().to_string(),
            head.uid.to_string(),
            head.version.to_string(),
            object.json().to_owned(),
        )
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Object(key, uid, version, text) => key.len() + uid.len() + version.len() + text.len(),
            Self::Unreadable(key) => key.len(),
        }
    }
}

/// A list as it was read.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct List {
    pub(crate) items: Vec<Element>,
    pub(crate) unreadable: usize,
    pub(crate) version: String,
    pub(crate) token: Option<String>,
}

/// An event as it was read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    Added(Element),
    Changed(Element),
    Deleted(Element),
    Bookmark(String),
    InitialEnd(String),
    Error,
    Unknown,
}

impl Event {
    pub(crate) fn of(event: &reflector::Event) -> Self {
        use reflector::Event as Read;
        match event {
            Read::Added(Change::Put(object)) => Self::Added(Element::object(object)),
            Read::Changed(Change::Put(object)) => Self::Changed(Element::object(object)),
            Read::Changed(Change::Deleted(object)) => Self::Deleted(Element::object(object)),
            Read::Added(Change::Deleted(_)) | Read::Unreadable(_) => panic!("the reader makes no such: {event:?}"),
            Read::Bookmark(version) => Self::Bookmark(version.to_string()),
            Read::InitialEnd(version) => Self::InitialEnd(version.to_string()),
            Read::Error(_) => Self::Error,
            Read::Unknown => Self::Unknown,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Added(_) => "added",
            Self::Changed(_) => "changed",
            Self::Deleted(_) => "deleted",
            Self::Bookmark(_) => "bookmark",
            Self::InitialEnd(_) => "initial end",
            Self::Error => "error",
            Self::Unknown => "unknown",
        }
    }
}

/// The members of a JSON object, in order; none where a name is written with escapes, which no server does and the
/// reader of lists does not look for.
struct Members<'a>(Option<Vec<(&'a str, &'a RawValue)>>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                #[derive(serde::Deserialize)]
                struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
                let mut all = Some(Vec::new());
                while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &RawValue>()? {
                    match name {
                        Cow::Borrowed(name) => all.iter_mut().for_each(|all| all.push((name, value))),
                        Cow::Owned(_) => all = None,
                    }
                }
                Ok(Members(all))
            }
        }
        deserializer.deserialize_map(All)
    }
}

/// Any JSON in which no object has a name twice: readers may take the first or the last.
struct Unique;

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        macro_rules! scalars {
            ($($name:ident($type:ty)),*) => { $(fn $name<E>(self, _: $type) -> Result<Unique, E> { Ok(Unique) })* };
        }
        impl<'de> Visitor<'de> for Any {
            type Value = Unique;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON without doubles")
            }
            scalars!(
                visit_bool(bool),
                visit_i64(i64),
                visit_u64(u64),
                visit_f64(f64),
                visit_str(&str)
            );
            fn visit_unit<E>(self) -> Result<Unique, E> {
                Ok(Unique)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Unique, A::Error> {
                while seq.next_element::<Unique>()?.is_some() {}
                Ok(Unique)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unique, A::Error> {
                let mut names = BTreeSet::new();
                while let Some((name, Unique)) = map.next_entry::<String, Unique>()? {
                    if !names.insert(name) {
                        return Err(serde::de::Error::custom("a name twice"));
                    }
                }
                Ok(Unique)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// A JSON object that says one thing to every reader: its members, else none.
fn plain(bytes: &[u8]) -> Option<Vec<(&str, &RawValue)>> {
    serde_json::from_slice::<Unique>(bytes).ok()?;
    serde_json::from_slice::<Members<'_>>(bytes).ok()?.0
}

/// Whether the object was read as what serde_json reads.
fn check(object: &Object, raw: &str, keep: Keep) {
    let value: Value = serde_json::from_str(raw).unwrap();
    let text = |name: &str| value["metadata"][name].as_str().unwrap_or_default();
    let head = object.head();
    assert_eq!(*object.key().name, *text("name"));
    assert_eq!(object.key().namespace.as_deref().unwrap_or_default(), text("namespace"));
    assert_eq!(
        (head.uid, head.version.as_str()),
        (text("uid"), text("resourceVersion"))
    );
    if let Some(labels) = value["metadata"]["labels"].as_object() {
        for (key, label) in labels {
            // Go reads null as the empty text.
            let label = if label.is_null() { Some("") } else { label.as_str() };
            assert_eq!(head.labels.get(key), label);
        }
        assert_eq!(head.labels.len(), labels.len());
    }
    let mut kept: Value = serde_json::from_str(object.json()).unwrap();
    if keep == Keep::All {
        assert_eq!(object.json(), raw.trim());
        return;
    }
    let mut value = value;
    for value in [&mut value, &mut kept] {
        let Some(metadata) = value["metadata"].as_object_mut() else {
            continue;
        };
        metadata.remove("managedFields");
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        }
        metadata.retain(|name, value| name != "annotations" || value.as_object().is_none_or(|map| !map.is_empty()));
    }
    assert_eq!(kept, value);
}

/// The object in this JSON; none where it is none of the kind.
fn object(raw: &str, format: &Format) -> Option<Element> {
    let object = Object::parse(raw.as_bytes(), Some(&format.gvk), format.keep).ok()?;
    check(&object, raw, format.keep);
    let kind = (*object.head().gvk == format.gvk).then_some(object);
    kind.as_ref().map(Element::object)
}

/// A text that may be missing or null; an error where it is something else.
fn text(value: &Value, name: &str) -> Result<Option<String>, ()> {
    match value.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(()),
    }
}

/// serde takes an array for a structure, its fields in order; no server writes that, and nothing is claimed of it.
fn is_array_as_structure(raw: &str) -> bool {
    let value: Value = serde_json::from_str(raw).unwrap_or_default();
    let metadata = &value["metadata"];
    value.is_array() || metadata.is_array() || metadata["annotations"].is_array()
}

/// What a list must be read as: nothing is claimed of what is no plain JSON object; none where it is no list.
#[expect(clippy::option_option, reason = "no claim is not the claim that there is none")]
pub(crate) fn list(bytes: &[u8], format: &Format) -> Option<Option<List>> {
    let members = plain(bytes)?;
    let member = |wanted: &str| {
        members
            .iter()
            .find(|(name, _)| *name == wanted)
            .map(|(_, value)| value.get())
    };
    if member("metadata").is_some_and(|metadata| metadata.starts_with('[')) {
        return None;
    }
    if let Some(Ok(items)) = member("items").map(serde_json::from_str::<Vec<&RawValue>>)
        && items.iter().any(|item| is_array_as_structure(item.get()))
    {
        return None;
    }
    let read = || {
        let metadata: Value = serde_json::from_str(member("metadata")?).ok()?;
        if !metadata.is_object() {
            return None;
        }
        let (version, token) = (
            text(&metadata, "resourceVersion").ok()?,
            text(&metadata, "continue").ok()?,
        );
        let items: Option<Vec<&RawValue>> = serde_json::from_str(member("items")?).ok()?;
        let mut list = List {
            version: version.unwrap_or_default(),
            token: token.filter(|token| !token.is_empty()),
            ..List::default()
        };
        for item in items.unwrap_or_default() {
            match object(item.get(), format) {
                Some(object) => list.items.push(object),
                None => {
                    list.unreadable += 1;
                    list.items.extend(name_of(item.get()).map(Element::Unreadable));
                }
            }
        }
        Some(list)
    };
    Some(read())
}

/// The key of an object that can't be read.
fn name_of(raw: &str) -> Option<String> {
    let value: Value = serde_json::from_str(raw).ok()?;
    let metadata = value.as_object()?.get("metadata")?.as_object()?;
    let name = metadata.get("name")?.as_str()?;
    match metadata.get("namespace") {
        None | Some(Value::Null) => Some(pilothouse_object::Key::new(None, name).to_string()),
        Some(Value::String(namespace)) => Some(pilothouse_object::Key::new(Some(namespace), name).to_string()),
        Some(_) => None,
    }
}

/// What a line of a watch must be read as: nothing is claimed of what is no plain JSON object.
#[expect(clippy::option_option, reason = "no claim is not the claim that there is none")]
pub(crate) fn event(line: &[u8], format: &Format) -> Option<Option<Event>> {
    let members = plain(line)?;
    let member = |wanted: &str| {
        members
            .iter()
            .find(|(name, _)| *name == wanted)
            .map(|(_, value)| value.get())
    };
    if member("object").is_some_and(is_array_as_structure) {
        return None;
    }
    let read = || {
        let kind: String = serde_json::from_str(member("type")?).ok()?;
        let raw = member("object")?;
        Some(match &*kind {
            "ADDED" => Event::Added(object(raw, format)?),
            "MODIFIED" => Event::Changed(object(raw, format)?),
            "DELETED" => Event::Deleted(object(raw, format)?),
            "BOOKMARK" => {
                let value: Value = serde_json::from_str(raw).ok()?;
                let metadata = value.as_object()?.get("metadata")?.as_object()?;
                let version = metadata.get("resourceVersion")?.as_str()?.to_owned();
                let mark = match metadata.get("annotations") {
                    None | Some(Value::Null) => None,
                    Some(annotations) if annotations.is_object() => {
                        text(annotations, "k8s.io/initial-events-end").ok()?
                    }
                    Some(_) => return None,
                };
                match mark.as_deref() {
                    Some("true") => Event::InitialEnd(version),
                    _ => Event::Bookmark(version),
                }
            }
            "ERROR" => Event::Error,
            _ => Event::Unknown,
        })
    };
    Some(read())
}
