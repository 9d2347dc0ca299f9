//! Field paths: reading single fields out of an object's bytes.

use std::fmt;

use serde_json::value::RawValue;

use crate::raw;

/// The most segments a path may have; Kubernetes objects nest far less deep.
const MAX_SEGMENTS: usize = 32;
/// The most values one path yields for one object; more are left out.
const MAX_VALUES: usize = 1_000;

/// A path to fields of an object, such as `spec.configRef.name`, `.spec.ports[*].name`, `metadata.labels['a/b']` or
/// `spec.items[0]`.
///
/// A leading dot is allowed; `[*]` stands for every element of a list or every value of a map; names with dots or slashes stand
/// in `['…']`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldPath {
    text: String,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Segment {
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

    /// The strings that stand at the path: strings without their quotes, numbers and booleans as their text. Null,
    /// objects and lists yield nothing. At most 1,000.
    pub fn strings(&self, json: &str) -> Vec<String> {
        let mut out = Vec::new();
        self.visit(json, &mut |raw| match raw.get().as_bytes().first() {
            Some(b'"') => out.extend(raw::string(raw).map(Into::into)),
            Some(b'{' | b'[' | b'n') | None => {}
            Some(_) => out.push(raw.get().to_owned()),
        });
        out
    }

    /// The JSON text of what stands at the path, as it came. At most 1,000 values.
    pub fn texts<'a>(&self, json: &'a str) -> Vec<&'a str> {
        let mut out = Vec::new();
        self.visit(json, &mut |raw| out.push(raw.get()));
        out
    }

    fn visit<'a>(&self, json: &'a str, found: &mut dyn FnMut(&'a RawValue)) {
        let Some((first, rest)) = self.segments.split_first() else {
            return;
        };
        let mut left = MAX_VALUES;
        step(json, first, rest, found, &mut left);
    }
}

fn step<'a>(json: &'a str, segment: &Segment, rest: &[Segment], found: &mut dyn FnMut(&'a RawValue), left: &mut usize) {
    let mut go = |value: &'a RawValue| {
        if *left == 0 {
            return;
        }
        match rest.split_first() {
            // Recursion is bounded by the path's length, not by the input's depth.
            Some((next, rest)) => step(value.get(), next, rest, found, left),
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
            if let Some(value) = raw::elements(json).and_then(|e| e.get(*index).copied()) {
                go(value);
            }
        }
        Segment::Every => {
            if json.starts_with('[') {
                raw::elements(json).unwrap_or_default().into_iter().for_each(go);
            } else if json.starts_with('{') {
                raw::members(json)
                    .unwrap_or_default()
                    .into_iter()
                    .for_each(|(_, value)| go(value));
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
    fn deep_nesting_costs_no_stack() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200_000), "]".repeat(200_000));
        assert_eq!(FieldPath::parse("b").unwrap().strings(&deep), Vec::<String>::new());
        assert_eq!(FieldPath::parse("a[0][0]").unwrap().texts(&deep).len(), 1);
    }
}
