//! Field paths: reading single fields out of an object's bytes.

use std::{borrow::Cow, fmt};

use crate::{
    Object,
    raw::{self, Span},
};

/// The most segments a path may have; Kubernetes objects nest far less deep.
const MAX_SEGMENTS: usize = 32;
/// The most values one path yields for one object; more are left out.
const MAX_VALUES: usize = 1_000;

/// A path to fields of an object, such as `spec.configRef.name`, `.spec.ports[*].name`, `metadata.labels['a/b']` or
/// `spec.items[0]`.
///
/// A leading dot is allowed; `[*]` stands for every element of a list or every value of a map; names with dots or
/// slashes stand in `['…']`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldPath {
    text: String,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Segment {
    Name(String),
    Index(usize),
    Every,
}

/// A path that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("field path {path:?}: {why} at position {at}; write for example spec.ports[*].name or metadata.labels['a/b']")]
pub struct PathError {
    path: String,
    why: &'static str,
    at: usize,
}

impl FieldPath {
    /// Reads a path.
    ///
    /// # Errors
    /// Empty, an unclosed or empty segment, or more than 32 segments; the error names the place.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let fail = |why, at| PathError {
            path: crate::shorten(text, 128).into_owned(),
            why,
            at,
        };
        let mut segments = Vec::new();
        let start = usize::from(text.starts_with('.'));
        let mut rest = &text[start..];
        let at = |rest: &str| text.len() - rest.len();
        if rest.is_empty() {
            return Err(fail("it is empty", 0));
        }
        let mut want_name = true;
        while !rest.is_empty() {
            if segments.len() == MAX_SEGMENTS {
                return Err(fail("more than 32 segments", at(rest)));
            }
            if let Some(inner) = rest.strip_prefix('[') {
                if let Some(quoted) = inner.strip_prefix('\'') {
                    let end = quoted
                        .find("']")
                        .ok_or_else(|| fail("a ['…'] without its end", at(rest)))?;
                    segments.push(Segment::Name(quoted[..end].to_owned()));
                    rest = &quoted[end + 2..];
                } else {
                    let end = inner.find(']').ok_or_else(|| fail("a [ without its ]", at(rest)))?;
                    segments.push(match &inner[..end] {
                        "*" => Segment::Every,
                        index => Segment::Index(
                            index
                                .parse()
                                .map_err(|_| fail("neither a number, * nor '…' in [ ]", at(rest) + 1))?,
                        ),
                    });
                    rest = &inner[end + 1..];
                }
                want_name = false;
            } else {
                if !want_name {
                    rest = rest
                        .strip_prefix('.')
                        .ok_or_else(|| fail("a . or [ is missing", at(rest)))?;
                }
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                if end == 0 {
                    return Err(fail("an empty segment", at(rest)));
                }
                segments.push(Segment::Name(rest[..end].to_owned()));
                rest = &rest[end..];
                want_name = false;
                if rest == "." {
                    return Err(fail("an empty segment", text.len()));
                }
            }
        }
        Ok(Self {
            text: text.to_owned(),
            segments,
        })
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// True where it leads into `metadata`, or to `apiVersion` or `kind`: what is kept of every object.
    pub fn is_metadata(&self) -> bool {
        matches!(self.segments.first(), Some(Segment::Name(name)) if matches!(name.as_str(), "metadata" | "apiVersion" | "kind"))
    }

    /// The strings that stand at the path: strings without their quotes, numbers and booleans as their text. Null,
    /// objects and lists yield nothing. At most 1,000.
    ///
    /// Of two members under one name the first counts, and what stands behind what was looked for is not looked at: the
    /// text should be JSON throughout, as an object's is.
    pub fn strings(&self, json: &str) -> Vec<String> {
        let mut out = Vec::new();
        visit(json, &self.segments, &mut |value| {
            out.extend(scalar(value).map(Cow::into_owned))
        });
        out
    }

    /// The same of an object, without copies and without another look at what its head tells.
    pub fn each_string<'a>(&self, object: &'a Object, mut found: impl FnMut(Cow<'a, str>)) {
        if let Some(label) = self.label() {
            match object.head().labels.get(label) {
                // Empty, or null: the text tells.
                Some("") => {}
                Some(value) => return found(Cow::Borrowed(value)),
                None => return,
            }
        }
        let mut found = |value: &'a str| {
            if let Some(text) = scalar(value) {
                found(text);
            }
        };
        match self.segments.split_first() {
            Some((Segment::Name(name), rest)) => {
                let metadata = object.metadata();
                let value = match &**name {
                    "metadata" => Some(metadata.of(object.json())),
                    name => member_beside(object.json(), name, metadata),
                };
                if let Some(value) = value {
                    visit(value, rest, &mut found);
                }
            }
            _ => visit(object.json(), &self.segments, &mut found),
        }
    }

    /// The label that this path reads, where it reads one: `metadata.labels['app']`.
    pub fn label(&self) -> Option<&str> {
        match &*self.segments {
            [Segment::Name(metadata), Segment::Name(labels), Segment::Name(label)]
                if metadata == "metadata" && labels == "labels" =>
            {
                Some(label)
            }
            _ => None,
        }
    }

    /// The JSON text of what stands at the path, as it came. At most 1,000 values.
    pub fn texts<'a>(&self, json: &'a str) -> Vec<&'a str> {
        let mut out = Vec::new();
        visit(json, &self.segments, &mut |value| out.push(value));
        out
    }
}

fn scalar(value: &str) -> Option<Cow<'_, str>> {
    match value.as_bytes().first() {
        Some(b'"') => raw::string_text(value),
        Some(b'{' | b'[' | b'n') | None => None,
        Some(_) => Some(Cow::Borrowed(value)),
    }
}

/// A member at the top of an object whose metadata stands at this place, which is stepped over.
fn member_beside<'a>(json: &'a str, name: &str, metadata: Span) -> Option<&'a str> {
    let text = json.as_bytes();
    let mut value = None;
    raw::walk(text, raw::space(text, 0), |member| {
        if member.value.start == metadata.start {
            return Ok(Some(metadata.end as usize));
        }
        let start = member.value.start as usize;
        if member.is(text, name) {
            value = json.get(start..);
            return Ok(None);
        }
        raw::value(text, start).map(Some)
    })
    .ok()?;
    value
}

/// Each value at the path within `json`, which may have more behind its end.
fn visit<'a>(json: &'a str, path: &[Segment], found: &mut dyn FnMut(&'a str)) {
    let mut left = MAX_VALUES;
    match path.split_first() {
        Some((first, rest)) => step(json, first, rest, found, &mut left),
        None => {
            if let Ok(end) = raw::value(json.as_bytes(), 0) {
                found(json.get(..end).unwrap_or_default());
            }
        }
    }
}

fn step<'a>(json: &'a str, segment: &Segment, rest: &[Segment], found: &mut dyn FnMut(&'a str), left: &mut usize) {
    let mut go = |value: &'a str| {
        if *left == 0 {
            return;
        }
        match rest.split_first() {
            // Recursion is bounded by the path's length, not by the input's depth.
            Some((next, rest)) => step(value, next, rest, found, left),
            None => {
                *left -= 1;
                found(value);
            }
        }
    };
    match segment {
        Segment::Name(name) => {
            if let Some(value) = raw::member(json, name) {
                go(value);
            }
        }
        Segment::Index(index) => {
            let (mut at, mut value) = (0, None);
            let list = raw::elements(json, |element| {
                at += 1;
                if at > *index {
                    value = Some(element);
                }
                value.is_none()
            });
            if let Some(value) = value.filter(|_| list) {
                go(value);
            }
        }
        Segment::Every => {
            if json.starts_with('[') {
                let mut all = Vec::new();
                raw::elements(json, |element| {
                    all.push(element);
                    true
                });
                all.into_iter().for_each(go);
            } else if json.starts_with('{') {
                let members = raw::members_of(json).unwrap_or_default();
                members.into_iter().for_each(|member| go(member.value.of(json)));
            }
        }
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"{"metadata":{"labels":{"a/b":"x","c":"y"}},"spec":{"size":1.10,"on":true,"none":null,
        "ports":[{"name":"http"},{"name":"dns"},{"port":1}],"text":"q\"uote"}}"#;

    fn strings(path: &str) -> Vec<String> {
        FieldPath::parse(path).unwrap().strings(JSON)
    }

    #[test]
    fn a_path_yields_the_strings_that_stand_there() {
        assert_eq!(strings("spec.ports[*].name"), ["http", "dns"]);
        assert_eq!(strings(".spec.ports[1].name"), ["dns"]);
        assert_eq!(strings("metadata.labels['a/b']"), ["x"]);
        assert_eq!(strings("metadata.labels[*]"), ["x", "y"]);
        assert_eq!(strings("spec.text"), ["q\"uote"]);
        assert_eq!(strings("spec.on"), ["true"]);
    }

    #[test]
    fn numbers_keep_their_text() {
        assert_eq!(strings("spec.size"), ["1.10"]);
    }

    #[test]
    fn what_is_not_there_or_no_scalar_yields_nothing() {
        for path in [
            "spec.none",
            "spec.ports",
            "spec",
            "nothing.at.all",
            "spec.size.deeper",
            "spec.ports[9]",
        ] {
            assert_eq!(strings(path), Vec::<String>::new(), "{path}");
        }
    }

    #[test]
    fn a_path_yields_the_text_of_whole_fields() {
        assert_eq!(
            FieldPath::parse("spec.ports[2]").unwrap().texts(JSON),
            [r#"{"port":1}"#]
        );
    }

    #[test]
    fn bad_paths_name_the_place() {
        for (path, at) in [
            ("", 0),
            (".", 0),
            ("a..b", 2),
            ("a.", 2),
            ("a[", 1),
            ("a[x]", 2),
            ("a['b", 1),
            ("a[0]b", 4),
        ] {
            let error = FieldPath::parse(path).unwrap_err();
            assert_eq!(error.at, at, "{path:?}: {error}");
        }
    }

    #[test]
    fn a_path_finds_in_an_object_what_it_finds_in_its_text() {
        let json = r#"{"apiVersion":"v1","kind":"X","spec":{"size":1.10,"ports":[{"name":"a"},{"name":"b"}]},
            "metadata":{"name":"x","labels":{"a/b":"x","c":"\u0079","none":null,"empty":""}},"last":"text","no":null}"#;
        let object = Object::parse(json.as_bytes(), None, crate::Keep::Cut).unwrap();
        for path in [
            "metadata.labels['a/b']",
            "metadata.labels.c",
            "metadata.labels.none",
            "metadata.labels.empty",
            "metadata.labels.missing",
            "metadata.labels[*]",
            "metadata.name",
            "spec.ports[*].name",
            "spec.size",
            "last",
            "no",
            "kind",
            "[*]",
            "metadata",
        ] {
            let path = FieldPath::parse(path).unwrap();
            let mut found = Vec::new();
            path.each_string(&object, |text| found.push(text.into_owned()));
            assert_eq!(found, path.strings(object.json()), "{path}");
        }
        assert_eq!(FieldPath::parse("metadata.labels['a/b']").unwrap().label(), Some("a/b"));
        assert_eq!(FieldPath::parse("metadata.labels[*]").unwrap().label(), None);
    }

    #[test]
    fn deep_nesting_costs_no_stack() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200_000), "]".repeat(200_000));
        assert_eq!(FieldPath::parse("b").unwrap().strings(&deep), Vec::<String>::new());
        assert_eq!(FieldPath::parse("a[0][0]").unwrap().texts(&deep).len(), 1);
    }
}
