//! What is wrong in an operator's file, in words that hold nothing of it: neither a key nor a value nor a tag.
//!
//! What lies there may be a Secret that was mounted by mistake, and errors go to logs, Events and status. So the
//! parser's own words are not used: each of its errors is told in ours, with the names of [fields that are
//! known](known) and what is allowed there. The place tells the rest.

use serde_path_to_error::{Path, Segment};
use serde_saphyr::Error as Yaml;
use serde_saphyr::budget::BudgetBreach;

use super::API_VERSION;
use super::fields::known;
use super::yaml::{MAX_DEPTH, MAX_NODES};
use crate::problem::{Problem, nearest};

/// The parser's error as a problem.
pub(super) fn problem_of(path: Option<&Path>, error: &Yaml) -> Problem {
    let error = error.without_snippet();
    let unknown = matches!(error, Yaml::SerdeUnknownField { .. });
    let (what, mend) = told(error);
    Problem::new(path.map(|path| place(path, unknown)).unwrap_or_default(), what, mend)
}

/// The path of known fields, with `*` for any other name. Nothing is said of what is within a plugin's own `config`.
/// The name of an unknown field stands at the end of the path that leads to it, and is left out.
fn place(path: &Path, unknown_field: bool) -> String {
    let mut at = String::new();
    let mut segments: Vec<&Segment> = path.iter().collect();
    if unknown_field && matches!(segments.last(), Some(Segment::Map { .. })) {
        segments.pop();
    }
    for segment in segments {
        let name = match segment {
            Segment::Seq { index } => {
                at.push_str(&format!("[{index}]"));
                continue;
            }
            Segment::Map { key: name } | Segment::Enum { variant: name } => known(name).unwrap_or("*"),
            Segment::Unknown => continue,
        };
        if !at.is_empty() {
            at.push('.');
        }
        at.push_str(name);
        if name == "config" {
            break;
        }
    }
    at
}

/// What is wrong, and the mend.
fn told(error: &Yaml) -> (String, String) {
    let only = |what: &str| (what.to_owned(), String::new());
    let with = |what: &str, mend: &str| (what.to_owned(), mend.to_owned());
    match error {
        // These words are ours, or the standard library's ("invalid socket address syntax"): what reads the fields of
        // an operator's file quotes nothing. A property test holds it to that.
        Yaml::Message { msg, .. } => (msg.clone(), String::new()),
        Yaml::SerdeUnknownField { field, expected, .. } => (
            match &expected[..] {
                [] => "an unknown field; none may stand here".to_owned(),
                some => format!("an unknown field; known are {}", some.join(", ")),
            },
            did_you_mean(field, expected),
        ),
        Yaml::SerdeUnknownVariant { variant, expected, .. } => (
            format!("is none of the words that may stand here: {}", expected.join(", ")),
            did_you_mean(variant, expected),
        ),
        Yaml::SerdeMissingField { field, .. } if *field == "apiVersion" => (
            format!("missing field `{field}`"),
            format!("begin the file with apiVersion: {API_VERSION}"),
        ),
        Yaml::SerdeMissingField { field, .. } => (format!("missing field `{field}`"), String::new()),
        Yaml::SerdeInvalidType { expected, .. } | Yaml::SerdeInvalidValue { expected, .. } => {
            (needed(expected), String::new())
        }
        Yaml::SerdeInvalidLength { expected, .. } => (needed(expected), String::new()),
        Yaml::Unexpected { expected, .. } => (needed(expected), String::new()),
        Yaml::InvalidScalar { ty, .. } => (needed(ty), String::new()),
        Yaml::InvalidBooleanStrict { .. } => (needed("bool"), String::new()),
        Yaml::NullIntoString { .. } | Yaml::TaggedScalarCannotDeserializeIntoString { .. } => {
            (needed("string"), String::new())
        }
        Yaml::QuotingRequired { .. } => with("a text that YAML may read as something else", "put it into quotes"),
        Yaml::ExpectedStringKeyForExternallyTaggedEnum { .. }
        | Yaml::ExternallyTaggedEnumExpectedScalarOrMapping { .. }
        | Yaml::UnexpectedValueForUnitEnumVariant { .. } => only("a single word is needed here"),
        Yaml::DuplicateMappingKey { key, .. } => (
            match key.as_deref().and_then(known) {
                Some(field) => format!("`{field}` stands here twice"),
                None => "one name stands here twice".to_owned(),
            },
            "keep one of the two".to_owned(),
        ),
        Yaml::MergeKeyNotAllowed { .. } | Yaml::MergeValueNotMapOrSeqOfMaps { .. } => {
            with("merge keys (<<) are not allowed", "write the fields out")
        }
        Yaml::UnsupportedTag { .. } | Yaml::TaggedStructFieldName { .. } | Yaml::TaggedEnumMismatch { .. } => {
            with("tags (!) are not allowed", "write the value without one")
        }
        Yaml::MultipleDocuments { .. } => with(SECOND_DOCUMENT, ONE_DOCUMENT),
        Yaml::UnknownAnchor { .. } | Yaml::AliasError { .. } => with(ANCHORS, ONE_DOCUMENT),
        Yaml::Budget { breach, .. } => match breach {
            BudgetBreach::Anchors { .. } | BudgetBreach::Aliases { .. } => with(ANCHORS, ONE_DOCUMENT),
            BudgetBreach::Documents { .. } => with(SECOND_DOCUMENT, ONE_DOCUMENT),
            BudgetBreach::Depth { .. } => too_deep(),
            _ => (
                format!("more than {MAX_NODES} values are not allowed"),
                "leave out what is not needed".to_owned(),
            ),
        },
        Yaml::Eof { .. } => only("the file ends where a value is needed"),
        // The scanner has a bound of its own for brackets, and says it in these words alone.
        Yaml::ExternalMessage { msg, .. } if msg.contains("recursion limit") => too_deep(),
        Yaml::ExternalMessage { msg, .. } => (
            format!("is no YAML: {}", unquoted(msg)),
            "look there and just before it for indents, colons, brackets and quotes".to_owned(),
        ),
        _ => only("is not what may stand here"),
    }
}

const ANCHORS: &str = "anchors and aliases (& and *) are not allowed";
const SECOND_DOCUMENT: &str = "a second document (---) is not allowed";
const ONE_DOCUMENT: &str = "write it out in one document";

fn too_deep() -> (String, String) {
    (
        format!("mappings and lists nest deeper than {MAX_DEPTH} in each other"),
        "look for a bracket or an indent too many; a `config` that really is so deep has to be made flatter".to_owned(),
    )
}

/// What must stand there, where the parser and serde speak of Rust's types and the parser's events.
fn needed(expected: &str) -> String {
    let expected = match expected {
        "mapping start" | "a map" => "a mapping (fields with values)",
        "sequence start" | "a sequence" => "a list",
        "string" | "a string" | "string scalar" | "scalar" => "a text",
        "bool" | "a boolean" => "true or false",
        "u32" | "u64" | "i64" | "integer" => "a whole number, 0 or greater and not too large,",
        struct_ if struct_.starts_with("struct ") => "a mapping (fields with values)",
        other => other,
    };
    format!("{expected} is needed here")
}

/// The scanner's words say what it was about, but for a character here and there that it met, in quotes.
fn unquoted(message: &str) -> &str {
    let end = message.find(['\'', '"', '`', '\n']).unwrap_or(message.len());
    message.get(..end).unwrap_or_default().trim_end_matches([' ', ':'])
}

/// The known word that is spelled nearly so.
fn did_you_mean(unknown: &str, known: &[&str]) -> String {
    match nearest(unknown, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => String::new(),
    }
}
