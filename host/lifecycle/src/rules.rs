//! What single texts and numbers in manifests and configuration must look like, as pieces for serde: a value that
//! breaks its rule is an error at its own path, with the rule in its words.

use std::fmt::Display;

use pilothouse_object::{FieldPath, Gvk, LabelSelector};
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};

use crate::problem::shown;

/// How one text is read: into what, and what it must look like.
pub(crate) trait Rule {
    type Out;
    fn read(text: String) -> Result<Self::Out, String>;
}

/// A rule of which it can be said without the text what is wrong with one that breaks it.
pub(crate) trait Word: Rule<Out = String> {
    /// `is no …`, and what is needed.
    const NONE: &'static str;
}

/// A text that follows rule `R`.
struct Ruled<R: Rule>(R::Out);

impl<'de, R: Rule> Deserialize<'de> for Ruled<R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        R::read(String::deserialize(deserializer)?)
            .map(Ruled)
            .map_err(D::Error::custom)
    }
}

/// For `#[serde(deserialize_with = "one::<_, RULE>")]`.
pub(crate) fn one<'de, D: Deserializer<'de>, R: Rule>(deserializer: D) -> Result<R::Out, D::Error> {
    Ruled::<R>::deserialize(deserializer).map(|ruled| ruled.0)
}

/// A list of at most `MAX` texts.
pub(crate) fn list<'de, D: Deserializer<'de>, R: Rule, const MAX: usize>(
    deserializer: D,
) -> Result<Vec<R::Out>, D::Error> {
    Ok(items::<D, Ruled<R>, MAX>(deserializer)?
        .into_iter()
        .map(|ruled| ruled.0)
        .collect())
}

/// A list of at most `MAX` anything.
pub(crate) fn items<'de, D: Deserializer<'de>, T: Deserialize<'de>, const MAX: usize>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let items = Vec::deserialize(deserializer)?;
    if items.len() > MAX {
        return Err(D::Error::custom(format!(
            "has {} entries; at most {MAX} are allowed",
            items.len()
        )));
    }
    Ok(items)
}

/// A whole number from `MIN` to `MAX`.
pub(crate) fn number<'de, D: Deserializer<'de>, const MIN: u32, const MAX: u32>(
    deserializer: D,
) -> Result<u32, D::Error> {
    let number = u32::deserialize(deserializer)?;
    if !(MIN..=MAX).contains(&number) {
        return Err(D::Error::custom(format!("must be from {MIN} to {MAX}")));
    }
    Ok(number)
}

/// A whole number from `MIN` to `MAX`, or null.
pub(crate) fn maybe_number<'de, D: Deserializer<'de>, const MIN: u32, const MAX: u32>(
    deserializer: D,
) -> Result<Option<u32>, D::Error> {
    match Option::<u32>::deserialize(deserializer)? {
        Some(number) if !(MIN..=MAX).contains(&number) => Err(D::Error::custom(format!("must be from {MIN} to {MAX}"))),
        number => Ok(number),
    }
}

/// A field whose value was left empty, as when all that stood below it was commented out, has its default.
pub(crate) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Writes a value as its text; the counterpart of a rule that compiles one.
pub(crate) fn text<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// Writes each value as its text.
pub(crate) fn texts<S: Serializer, T: Display>(values: &[T], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(values.iter().map(ToString::to_string))
}

/// `group`, `version`, `kind` as an object of three fields, all of them required: an omitted group would quietly be the
/// core group's.
pub(crate) mod gvk {
    use super::*;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Fields {
        #[serde(deserialize_with = "one::<_, Group>")]
        group: String,
        #[serde(deserialize_with = "one::<_, ApiVersion>")]
        version: String,
        #[serde(deserialize_with = "one::<_, KindName>")]
        kind: String,
    }

    pub(crate) fn serialize<S: Serializer>(gvk: &Gvk, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = Fields {
            group: gvk.group.to_string(),
            version: gvk.version.to_string(),
            kind: gvk.kind.to_string(),
        };
        fields.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Gvk, D::Error> {
        let fields = Fields::deserialize(deserializer)?;
        Ok(Gvk::new(&fields.group, &fields.version, &fields.kind))
    }
}

/// A DNS-1123 label: plugin, controller and index names, namespaces.
pub(crate) struct Label;
impl Rule for Label {
    type Out = String;
    fn read(text: String) -> Result<String, String> {
        if is_label(&text) {
            return Ok(text);
        }
        Err(format!("`{}` {}", shown(&text), Self::NONE))
    }
}
impl Word for Label {
    const NONE: &'static str =
        "is no name: 1 to 63 of a-z, 0-9 and `-`, with a letter or digit at both ends, are needed";
}

/// An API group: empty for the core group, else a DNS name.
pub(crate) struct Group;
impl Rule for Group {
    type Out = String;
    fn read(text: String) -> Result<String, String> {
        if text.is_empty() || (text.len() <= 253 && text.split('.').all(is_label)) {
            return Ok(text);
        }
        Err(format!("`{}` {}", shown(&text), Self::NONE))
    }
}
impl Word for Group {
    const NONE: &'static str =
        "is no API group: \"\" (the core group) or a DNS name such as apps or demo.example.com is needed";
}

/// An API version such as `v1` or `v1beta2`.
pub(crate) struct ApiVersion;
impl Rule for ApiVersion {
    type Out = String;
    fn read(text: String) -> Result<String, String> {
        if is_label(&text) && text.starts_with(|c: char| c.is_ascii_lowercase()) {
            return Ok(text);
        }
        let hint = if text.contains('/') {
            "; the group stands in `group`"
        } else {
            ""
        };
        Err(format!(
            "`{}` is no API version such as v1 or v1beta1{hint}",
            shown(&text)
        ))
    }
}

/// A kind such as `ConfigMap`.
pub(crate) struct KindName;
impl Rule for KindName {
    type Out = String;
    fn read(text: String) -> Result<String, String> {
        // The API server's own rule for a CRD's kind: lower-cased it is a DNS-1035 label.
        let lower = text.to_ascii_lowercase();
        if is_label(&lower) && lower.starts_with(|c: char| c.is_ascii_lowercase()) {
            return Ok(text);
        }
        Err(format!("`{}` {}", shown(&text), Self::NONE))
    }
}
impl Word for KindName {
    const NONE: &'static str = "is no kind such as ConfigMap: 1 to 63 letters and digits are needed";
}

/// The name of an object. What the kinds demand differs; this is the rule that they share.
pub(crate) struct ObjectName;
impl Rule for ObjectName {
    type Out = String;
    fn read(text: String) -> Result<String, String> {
        let fits = (1..=253).contains(&text.len())
            && text != "."
            && text != ".."
            && text
                .bytes()
                .all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b'%' | b'*'));
        if fits {
            return Ok(text);
        }
        let hint = if text.contains('*') {
            "; an empty list means every name"
        } else {
            ""
        };
        Err(format!("`{}` {}{hint}", shown(&text), Self::NONE))
    }
}
impl Word for ObjectName {
    const NONE: &'static str = "is no object name";
}

/// The name of a subresource such as `status`.
pub(crate) struct Subresource;
impl Rule for Subresource {
    type Out = String;
    fn read(text: String) -> Result<String, String> {
        if is_label(&text) {
            return Ok(text);
        }
        Err(format!("`{}` {}", shown(&text), Self::NONE))
    }
}
impl Word for Subresource {
    const NONE: &'static str = "is no subresource such as status or scale";
}

/// A version a person reads: one word.
pub(crate) struct ReleaseVersion;
impl Rule for ReleaseVersion {
    type Out = String;
    fn read(text: String) -> Result<String, String> {
        if (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
            return Ok(text);
        }
        Err(format!(
            "`{}` is no version: 1 to 64 visible ASCII characters such as 0.1.0 are needed",
            shown(&text)
        ))
    }
}

/// Free text of at most 1024 characters.
pub(crate) struct Description;
impl Rule for Description {
    type Out = String;
    fn read(text: String) -> Result<String, String> {
        let length = text.chars().count();
        if length > 1024 {
            return Err(format!("is {length} characters long; at most 1024 are allowed"));
        }
        Ok(text)
    }
}

/// The key of a label: an optional DNS prefix and a name.
pub(crate) struct LabelKey;
impl Rule for LabelKey {
    type Out = String;
    fn read(text: String) -> Result<String, String> {
        let (prefix, name) = match text.split_once('/') {
            Some((prefix, name)) => (Some(prefix), name),
            None => (None, text.as_str()),
        };
        let prefix_fits = prefix.is_none_or(|p| p.len() <= 253 && p.split('.').all(is_label));
        let edge = |c: char| c.is_ascii_alphanumeric();
        let name_fits = (1..=63).contains(&name.len())
            && name.starts_with(edge)
            && name.ends_with(edge)
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if prefix_fits && name_fits {
            return Ok(text);
        }
        Err(format!(
            "`{}` is no label key such as app or example.com/app",
            shown(&text)
        ))
    }
}

/// A label selector in Kubernetes' syntax, compiled.
pub(crate) struct Selector;
impl Rule for Selector {
    type Out = LabelSelector;
    fn read(text: String) -> Result<LabelSelector, String> {
        if text.len() > 4096 {
            return Err(format!("is {} bytes long; at most 4096 are allowed", text.len()));
        }
        LabelSelector::parse(&text).map_err(|error| error.to_string())
    }
}

/// A field path, compiled.
pub(crate) struct Path;
impl Rule for Path {
    type Out = FieldPath;
    fn read(text: String) -> Result<FieldPath, String> {
        if text.len() > 1024 {
            return Err(format!("is {} bytes long; at most 1024 are allowed", text.len()));
        }
        FieldPath::parse(&text).map_err(|error| error.to_string())
    }
}

/// Whether `text` is a DNS-1123 label.
pub(crate) fn is_label(text: &str) -> bool {
    let edge = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes.first().is_some_and(edge)
        && bytes.last().is_some_and(edge)
        && bytes.iter().all(|b| edge(b) || *b == b'-')
}
