//! Label and field selectors in Kubernetes' own syntax.

use std::fmt;

use crate::{HeadLabels, Key};

/// The most requirements a selector may have.
const MAX_REQUIREMENTS: usize = 64;

/// A selector that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// The text isn't in Kubernetes' syntax.
    #[error("selector {selector:?}: {why}; write for example app=web,tier in (a, b),!old")]
    Syntax {
        /// The selector, shortened.
        selector: String,
        /// What is wrong.
        why: String,
    },
    /// A field selector on a field that servers don't select by for every kind.
    #[error("field label not supported: {0}")]
    Field(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
    Greater(i64),
    Less(i64),
}

/// What a selector can be held against.
pub trait LabelSource {
    /// The value of a label.
    fn value(&self, key: &str) -> Option<&str>;
}

impl LabelSource for HeadLabels<'_> {
    fn value(&self, key: &str) -> Option<&str> {
        self.get(key)
    }
}

/// Labels that stand for themselves. Those of an object are its [`HeadLabels`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(std::collections::BTreeMap<Box<str>, Box<str>>);

impl LabelSource for Labels {
    fn value(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(|value| &**value)
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Labels {
    /// The later of two values under one key wins.
    fn from_iter<T: IntoIterator<Item = (&'a str, &'a str)>>(iter: T) -> Self {
        Self(iter.into_iter().map(|(k, v)| (k.into(), v.into())).collect())
    }
}

/// A label selector: `app=web,tier in (a, b),env!=prod,!old,level>3`. Every requirement must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LabelSelector {
    requirements: Vec<(String, Test)>,
}

impl LabelSelector {
    /// The selector that matches everything.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Reads a selector; empty text matches everything.
    ///
    /// # Errors
    /// [`SelectorError::Syntax`] with what is wrong; also beyond 64 requirements.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let fail = |why: &str| SelectorError::Syntax {
            selector: crate::shorten(text, 128).into_owned(),
            why: why.to_owned(),
        };
        let mut requirements = Vec::new();
        for part in split_outside_parentheses(text).ok_or_else(|| fail("a parenthesis is not closed"))? {
            let part = part.trim();
            if part.is_empty() {
                if text.trim().is_empty() {
                    break;
                }
                return Err(fail("an empty requirement between commas"));
            }
            if requirements.len() == MAX_REQUIREMENTS {
                return Err(fail("more than 64 requirements"));
            }
            let (key, test) = requirement(part).map_err(|why| fail(&why))?;
            if !is_label_key(key) {
                return Err(fail(&format!("{:?} is no label key", crate::shorten(key, 64))));
            }
            requirements.push((key.to_owned(), test));
        }
        Ok(Self { requirements })
    }

    /// True where it has no requirement.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// The labels that must have exactly one value, and that value.
    pub fn equalities(&self) -> impl Iterator<Item = (&str, &str)> {
        self.requirements.iter().filter_map(|(key, test)| match test {
            Test::In(values) if values.len() == 1 => Some((key.as_str(), values.first()?.as_str())),
            _ => None,
        })
    }

    /// True where every requirement holds. As in Kubernetes, `!=` and `notin` hold for objects without the label.
    pub fn matches(&self, labels: &impl LabelSource) -> bool {
        self.requirements.iter().all(|(key, test)| {
            let value = labels.value(key);
            match test {
                Test::In(values) => value.is_some_and(|v| values.iter().any(|w| w == v)),
                Test::NotIn(values) => value.is_none_or(|v| values.iter().all(|w| w != v)),
                Test::Exists => value.is_some(),
                Test::Absent => value.is_none(),
                Test::Greater(bound) => value.and_then(|v| v.parse::<i64>().ok()).is_some_and(|v| v > *bound),
                Test::Less(bound) => value.and_then(|v| v.parse::<i64>().ok()).is_some_and(|v| v < *bound),
            }
        })
    }
}

/// Pieces between the commas that stand outside parentheses; none where a parenthesis is left open.
fn split_outside_parentheses(text: &str) -> Option<Vec<&str>> {
    let (mut parts, mut start, mut open) = (Vec::new(), 0, false);
    for (i, c) in text.char_indices() {
        match c {
            '(' if open => return None,
            '(' => open = true,
            ')' if !open => return None,
            ')' => open = false,
            ',' if !open => {
                parts.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    (!open).then_some(parts)
}

fn requirement(part: &str) -> Result<(&str, Test), String> {
    if let Some(key) = part.strip_prefix('!') {
        return Ok((key.trim(), Test::Absent));
    }
    let one = |value: &str| {
        let value = value.trim();
        if is_label_value(value) {
            Ok(vec![value.to_owned()])
        } else {
            Err(format!("{:?} is no label value", crate::shorten(value, 64)))
        }
    };
    if let Some((key, value)) = part.split_once("!=") {
        return Ok((key.trim(), Test::NotIn(one(value)?)));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Ok((key.trim(), Test::In(one(value)?)));
    }
    let number = |value: &str| {
        value
            .trim()
            .parse()
            .map_err(|_| format!("{:?} is no integer", value.trim()))
    };
    if let Some((key, value)) = part.split_once('>') {
        return Ok((key.trim(), Test::Greater(number(value)?)));
    }
    if let Some((key, value)) = part.split_once('<') {
        return Ok((key.trim(), Test::Less(number(value)?)));
    }
    if let Some((before, list)) = part.split_once('(') {
        let values = list.strip_suffix(')').ok_or("text behind the parenthesis")?;
        let mut set = Vec::new();
        for value in values.split(',') {
            set.extend(one(value)?);
        }
        set.sort();
        set.dedup();
        let mut words = before.split_whitespace();
        return match (words.next(), words.next(), words.next()) {
            (Some(key), Some("in"), None) => Ok((key, Test::In(set))),
            (Some(key), Some("notin"), None) => Ok((key, Test::NotIn(set))),
            _ => Err("a list needs `KEY in (…)` or `KEY notin (…)`".into()),
        };
    }
    if part.contains(char::is_whitespace) {
        return Err(format!("{part:?} has no operator"));
    }
    Ok((part, Test::Exists))
}

/// `name` or `dns.prefix/name`; the rules of the API server, without its separate messages.
fn is_label_key(key: &str) -> bool {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let dns = |p: &str| {
        !p.is_empty()
            && p.len() <= 253
            && p.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
    };
    prefix.is_none_or(dns) && !name.is_empty() && is_label_value(name)
}

/// At most 63 of letters, digits, `-`, `_`, `.`, beginning and ending with a letter or digit; or empty.
fn is_label_value(value: &str) -> bool {
    let bytes = value.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return true;
    };
    bytes.len() <= 63
        && first.is_ascii_alphanumeric()
        && last.is_ascii_alphanumeric()
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (key, test)) in self.requirements.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            match test {
                Test::In(values) if values.len() == 1 => write!(f, "{key}={}", values[0])?,
                Test::NotIn(values) if values.len() == 1 => write!(f, "{key}!={}", values[0])?,
                Test::In(values) => write!(f, "{key} in ({})", values.join(","))?,
                Test::NotIn(values) => write!(f, "{key} notin ({})", values.join(","))?,
                Test::Exists => f.write_str(key)?,
                Test::Absent => write!(f, "!{key}")?,
                Test::Greater(bound) => write!(f, "{key}>{bound}")?,
                Test::Less(bound) => write!(f, "{key}<{bound}")?,
            }
        }
        Ok(())
    }
}

/// A field selector on `metadata.name` and `metadata.namespace`, the two that every kind has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FieldSelector {
    requirements: Vec<(Field, bool, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Field {
    Name,
    Namespace,
}

impl FieldSelector {
    /// Reads a selector such as `metadata.name=a,metadata.namespace!=b`; empty text matches everything.
    ///
    /// # Errors
    /// [`SelectorError::Field`] for any other field, [`SelectorError::Syntax`] for a requirement without `=`.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut requirements = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            if requirements.len() == MAX_REQUIREMENTS {
                return Err(SelectorError::Syntax {
                    selector: crate::shorten(text, 128).into_owned(),
                    why: "more than 64 requirements".into(),
                });
            }
            let (field, equal, value) = if let Some((field, value)) = part.split_once("!=") {
                (field, false, value)
            } else if let Some((field, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
                (field, true, value)
            } else {
                return Err(SelectorError::Syntax {
                    selector: crate::shorten(text, 128).into_owned(),
                    why: format!("{:?} has no =", crate::shorten(part, 64)),
                });
            };
            let field = match field.trim() {
                "metadata.name" => Field::Name,
                "metadata.namespace" => Field::Namespace,
                other => return Err(SelectorError::Field(crate::shorten(other, 64).into_owned())),
            };
            requirements.push((field, equal, value.trim().to_owned()));
        }
        Ok(Self { requirements })
    }

    /// True where it has no requirement.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// True where every requirement holds; a cluster-scoped object's namespace counts as empty.
    pub fn matches(&self, key: &Key) -> bool {
        self.requirements.iter().all(|(field, equal, value)| {
            let have = match field {
                Field::Name => &*key.name,
                Field::Namespace => key.namespace.as_deref().unwrap_or_default(),
            };
            (have == value) == *equal
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().copied().collect()
    }

    #[test]
    fn selectors_match_as_kubernetes_does() {
        let web = labels(&[("app", "web"), ("level", "5"), ("ex.io/x", "")]);
        for yes in [
            "",
            "app=web",
            "app==web",
            "app",
            "app in (api, web)",
            "app!=api",
            "tier!=a",
            "tier notin (a,b)",
            "!tier",
            "level>4",
            "level<6",
            "app=web,!tier,level>4",
            "ex.io/x=",
            " app = web ",
        ] {
            assert!(LabelSelector::parse(yes).unwrap().matches(&web), "{yes:?}");
        }
        for no in [
            "app=api",
            "tier",
            "tier=a",
            "app notin (web)",
            "!app",
            "level>5",
            "tier>1",
            "app in (a),app=web",
        ] {
            assert!(!LabelSelector::parse(no).unwrap().matches(&web), "{no:?}");
        }
    }

    #[test]
    fn bad_selectors_are_refused_with_a_reason() {
        for bad in [
            "a=b,,c",
            "a in (b",
            "a in b)",
            "a b",
            "=x",
            "a=b c",
            "-a",
            "a in (b) c",
            "a>x",
            "a like (b)",
            ",",
        ] {
            let error = LabelSelector::parse(bad).unwrap_err();
            assert!(error.to_string().contains("selector"), "{bad:?}: {error}");
        }
    }

    #[test]
    fn a_selector_that_is_written_reads_back_the_same() {
        for text in ["app=web,tier in (a,b),x notin (c,d),y!=z,e,!f,g>1,h<2", ""] {
            let selector = LabelSelector::parse(text).unwrap();
            assert_eq!(selector.to_string(), text);
            assert_eq!(LabelSelector::parse(&selector.to_string()).unwrap(), selector);
        }
    }

    #[test]
    fn field_selectors_know_name_and_namespace_only() {
        let key = Key::new(Some("ns"), "a");
        assert!(
            FieldSelector::parse("metadata.name=a,metadata.namespace!=other")
                .unwrap()
                .matches(&key)
        );
        assert!(!FieldSelector::parse("metadata.name!=a").unwrap().matches(&key));
        assert_eq!(
            FieldSelector::parse("spec.size=1"),
            Err(SelectorError::Field("spec.size".into()))
        );
        assert!(FieldSelector::parse("metadata.name").is_err());
    }
}
