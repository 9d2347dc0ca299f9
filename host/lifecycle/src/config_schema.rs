//! A plugin's configuration against the JSON schema that its manifest brings.
//!
//! The schema is foreign: it must not make the host fetch anything, loop, or take unbounded time or memory. So it is
//! measured before it is compiled: references stay inside it and never lead back to where they came from, all of it
//! written out is bounded, and patterns are matched in linear time. Recursive schemas are therefore refused; a
//! configuration that needs one is checked by the plugin's own `check-config`.

use std::collections::BTreeSet;

use jsonschema::error::ValidationErrorKind;
use jsonschema::paths::{Location, LocationSegment};
use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::{Map, Value};

use crate::problem::{Problem, nearest, shown};

/// A schema with its references written out may have this many subschemas.
const MAX_SUBSCHEMAS: usize = 10_000;
/// Regular expressions in one schema; each may take [`MAX_PATTERN_BYTES`] when compiled.
const MAX_PATTERNS: usize = 64;
/// What one compiled regular expression may take.
const MAX_PATTERN_BYTES: usize = 256 * 1024;
/// Subschemas within subschemas. serde_json bounds the text's nesting already; references add to it.
const MAX_DEPTH: usize = 128;
/// More problems than this in one configuration help nobody.
const MAX_PROBLEMS: usize = 20;

/// Keywords whose value is a schema.
const ONE: [&str; 12] = [
    "not",
    "if",
    "then",
    "else",
    "additionalProperties",
    "additionalItems",
    "contains",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
    "contentSchema",
    "items",
];
/// Keywords whose value is a list of schemas.
const MANY: [&str; 5] = ["allOf", "anyOf", "oneOf", "prefixItems", "items"];
/// Keywords whose value is a map of schemas.
const NAMED: [&str; 6] = [
    "properties",
    "patternProperties",
    "dependentSchemas",
    "dependencies",
    "$defs",
    "definitions",
];

/// A schema that has been measured and compiled.
pub(crate) struct ConfigSchema {
    validator: Validator,
    /// Every name of a field that stands in it.
    names: BTreeSet<String>,
}

impl ConfigSchema {
    /// Measures and compiles `schema`. The problem names the place within the manifest.
    pub(crate) fn compile(schema: &Value) -> Result<Self, Problem> {
        let mut measure = Measure {
            root: schema,
            subschemas: 0,
            patterns: 0,
            refs: Vec::new(),
        };
        measure.walk(schema, "configSchema", 0)?;
        let validator = jsonschema::options()
            .offline()
            .with_pattern_options(PatternOptions::regex().size_limit(MAX_PATTERN_BYTES))
            .build(schema)
            .map_err(|error| {
                Problem::new(
                    format!("configSchema{}", dotted(&error.instance_path().to_string())),
                    format!("is no JSON schema: {}", cut(&error.to_string())),
                    "",
                )
            })?;
        let mut names = BTreeSet::new();
        names_in(schema, &mut names);
        Ok(Self { validator, names })
    }

    /// What is wrong with `config`, at most [`MAX_PROBLEMS`]; paths begin with `at`. Neither values nor names of the
    /// configuration are quoted, but for names that the schema knows: it may hold what should not stand in a log.
    pub(crate) fn check(&self, config: &Value, at: &str) -> Vec<Problem> {
        self.validator
            .iter_errors(config)
            .take(MAX_PROBLEMS)
            .map(|error: ValidationError<'_>| {
                let path = format!("{at}{}", self.place(error.instance_path(), config));
                let (what, mend) = self.told(&error);
                Problem::new(path.trim_start_matches('.'), cut(&what), mend)
            })
            .collect()
    }

    /// A place in `config` as the rest of a dotted path, with `*` for names that the schema does not know.
    fn place(&self, location: &Location, config: &Value) -> String {
        let mut path = String::new();
        let mut within = Some(config);
        for segment in location {
            // A name of digits alone looks like an index.
            match (segment, within) {
                (LocationSegment::Index(index), Some(Value::Array(items))) => {
                    path.push_str(&format!("[{index}]"));
                    within = items.get(index);
                }
                (segment, object) => {
                    let name = segment.to_string();
                    path.push('.');
                    path.push_str(self.names.get(&name).map_or("*", String::as_str));
                    within = object.and_then(|object| object.get(&name));
                }
            }
        }
        path
    }

    /// What is wrong, and the mend.
    fn told(&self, error: &ValidationError<'_>) -> (String, String) {
        use ValidationErrorKind as Kind;
        match error.kind() {
            Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
                let known = || self.names.iter().map(String::as_str);
                let mend = unexpected.iter().find_map(|name| nearest(name, known()));
                let what = match unexpected.len() {
                    1 => "holds a field that the schema does not know".to_owned(),
                    more => format!("holds {more} fields that the schema does not know"),
                };
                let known = known().collect::<Vec<_>>().join(", ");
                let mend = match mend {
                    Some(near) => format!("did you mean `{near}`?"),
                    None if known.is_empty() => String::new(),
                    None => format!("it knows {}", shown(&known)),
                };
                (what, mend)
            }
            Kind::PropertyNames { error } => (
                format!("the name of a field in it: {}", self.told(error).0),
                String::new(),
            ),
            _ => (error.masked().to_string(), String::new()),
        }
    }
}

/// The names of fields that stand in the schema, wherever they do.
fn names_in(schema: &Value, names: &mut BTreeSet<String>) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::Object(own)) = fields.get("properties") {
                names.extend(own.keys().map(|name| shown(name).into_owned()));
            }
            fields.values().for_each(|inner| names_in(inner, names));
        }
        Value::Array(inner) => inner.iter().for_each(|inner| names_in(inner, names)),
        _ => {}
    }
}

struct Measure<'a> {
    root: &'a Value,
    subschemas: usize,
    patterns: usize,
    /// The references that led here.
    refs: Vec<&'a str>,
}

impl<'a> Measure<'a> {
    fn walk(&mut self, schema: &'a Value, at: &str, depth: usize) -> Result<(), Problem> {
        let refuse = |what: String| {
            Err(Problem::new(
                at,
                what,
                "check such a configuration in `check-config` instead",
            ))
        };
        self.subschemas += 1;
        if self.subschemas > MAX_SUBSCHEMAS {
            return refuse(format!(
                "with its references written out the schema has more than {MAX_SUBSCHEMAS} parts"
            ));
        }
        if depth > MAX_DEPTH {
            return refuse(format!("the schema nests deeper than {MAX_DEPTH}"));
        }
        let Value::Object(fields) = schema else { return Ok(()) };
        for keyword in ["$dynamicRef", "$recursiveRef"] {
            if fields.contains_key(keyword) {
                return refuse(format!("`{keyword}` is not supported"));
            }
        }
        if depth > 0 && fields.contains_key("$id") {
            return refuse("`$id` is allowed in the root of the schema only".to_owned());
        }
        self.count_patterns(fields, at)?;
        for keyword in ONE {
            if let Some(inner @ Value::Object(_)) = fields.get(keyword) {
                self.walk(inner, &format!("{at}.{keyword}"), depth + 1)?;
            }
        }
        for keyword in MANY {
            if let Some(Value::Array(inner)) = fields.get(keyword) {
                for (i, inner) in inner.iter().enumerate() {
                    self.walk(inner, &format!("{at}.{keyword}[{i}]"), depth + 1)?;
                }
            }
        }
        for keyword in NAMED {
            if let Some(Value::Object(inner)) = fields.get(keyword) {
                for (name, inner) in inner {
                    self.walk(inner, &format!("{at}.{keyword}.{}", shown(name)), depth + 1)?;
                }
            }
        }
        match fields.get("$ref") {
            Some(Value::String(reference)) => self.follow(reference, &format!("{at}.$ref"), depth),
            _ => Ok(()),
        }
    }

    fn follow(&mut self, reference: &'a str, at: &str, depth: usize) -> Result<(), Problem> {
        let refuse = |what: String, mend: &str| Err(Problem::new(at, what, mend));
        let name = shown(reference);
        let Some(pointer) = reference
            .strip_prefix('#')
            .filter(|p| p.is_empty() || p.starts_with('/'))
        else {
            return refuse(
                format!("`{name}` leads out of the schema"),
                "references look like #/$defs/NAME; nothing is fetched",
            );
        };
        if pointer.contains('%') {
            return refuse(format!("`{name}` holds a %"), "give the definition a plain name");
        }
        if pointer.is_empty() || self.refs.contains(&reference) {
            return refuse(
                format!("`{name}` leads back to where it came from, and recursive schemas are not supported"),
                "check such a configuration in `check-config` instead",
            );
        }
        let Some(target) = self.root.pointer(pointer) else {
            return refuse(format!("`{name}` leads nowhere"), "define it under $defs");
        };
        self.refs.push(reference);
        let walked = self.walk(target, at, depth + 1);
        self.refs.pop();
        walked
    }

    fn count_patterns(&mut self, fields: &Map<String, Value>, at: &str) -> Result<(), Problem> {
        self.patterns += usize::from(fields.contains_key("pattern"));
        if let Some(Value::Object(patterns)) = fields.get("patternProperties") {
            self.patterns += patterns.len();
        }
        if self.patterns > MAX_PATTERNS {
            return Err(Problem::new(
                at,
                format!("the schema has more than {MAX_PATTERNS} regular expressions"),
                "check the rest in `check-config` instead",
            ));
        }
        Ok(())
    }
}

/// A JSON pointer as the rest of a dotted path: `/a/0/b` becomes `.a[0].b`.
fn dotted(pointer: &str) -> String {
    let mut path = String::new();
    for segment in pointer.split('/').skip(1) {
        let segment = segment.replace("~1", "/").replace("~0", "~");
        if !segment.is_empty() && segment.bytes().all(|b| b.is_ascii_digit()) {
            path.push_str(&format!("[{segment}]"));
        } else {
            path.push('.');
            path.push_str(&shown(&segment));
        }
    }
    path
}

fn cut(message: &str) -> String {
    pilothouse_object::escape_control(&pilothouse_object::shorten(message, 1000)).into_owned()
}
