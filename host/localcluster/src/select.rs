//! Label and field selectors of lists and watches.

use pilothouse_object::{LabelSelector, Labels};
use serde_json::Value;

use crate::meta;
use crate::status::Status;
use crate::types::ResourceType;

/// A field selector has at most this many requirements.
const MAX_REQUIREMENTS: usize = 64;

/// Which objects a list or watch shows.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    labels: Option<LabelSelector>,
    fields: Vec<Requirement>,
}

#[derive(Clone, Debug)]
struct Requirement {
    path: Vec<String>,
    equal: bool,
    value: String,
}

impl Selection {
    /// Reads both selectors; field labels that the resource does not support are refused with 400.
    pub(crate) fn parse(type_: &ResourceType, labels: &str, fields: &str) -> Result<Selection, Status> {
        let labels = if labels.trim().is_empty() {
            None
        } else {
            let parsed = LabelSelector::parse(labels)
                .map_err(|error| Status::bad_request(format!("unable to parse requirement: {error}")))?;
            (!parsed.is_everything()).then_some(parsed)
        };
        Ok(Selection {
            labels,
            fields: parse_fields(type_, fields)?,
        })
    }

    /// Whether there is no requirement at all.
    pub(crate) fn is_everything(&self) -> bool {
        self.labels.is_none() && self.fields.is_empty()
    }

    /// Whether the object is shown. Fields are those of the version the client speaks.
    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.labels
            .as_ref()
            .is_none_or(|selector| selector.matches(&labels_of(object)))
            && self.fields.iter().all(|requirement| {
                let have = lookup(object, &requirement.path);
                (have == requirement.value) == requirement.equal
            })
    }
}

fn labels_of(object: &Value) -> Labels {
    meta::get(object, "labels")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
        .collect()
}

fn lookup(object: &Value, path: &[String]) -> String {
    let mut at = object;
    for step in path {
        match at.get(step) {
            Some(next) => at = next,
            None => return String::new(),
        }
    }
    match at {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        _ => String::new(),
    }
}

fn parse_fields(type_: &ResourceType, text: &str) -> Result<Vec<Requirement>, Status> {
    let mut requirements = Vec::new();
    for part in text.split(',').filter(|part| !part.trim().is_empty()) {
        if requirements.len() == MAX_REQUIREMENTS {
            return Err(Status::bad_request(format!(
                "field selector has more than {MAX_REQUIREMENTS} requirements"
            )));
        }
        let (field, equal, value) = if let Some((field, value)) = part.split_once("!=") {
            (field, false, value)
        } else if let Some((field, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
            (field, true, value)
        } else {
            return Err(Status::bad_request(format!(
                "invalid selector: '{text}'; can't understand '{part}'"
            )));
        };
        let field = field.trim();
        let known = matches!(field, "metadata.name" | "metadata.namespace")
            || type_.selectable.iter().any(|known| &**known == field);
        if !known {
            // Kinds that know no other fields say it in other words.
            let plain = !type_.custom && type_.selectable.is_empty();
            return Err(Status::bad_request(if plain {
                format!("{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
            } else {
                format!("field label not supported: {field}")
            }));
        }
        requirements.push(Requirement {
            path: field.split('.').map(str::to_owned).collect(),
            equal,
            value: value.replace("\\,", ",").replace("\\=", "=").replace("\\\\", "\\"),
        });
    }
    Ok(requirements)
}
