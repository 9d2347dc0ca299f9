//! Reading YAML from people: bounded, without anchors, aliases, tags or merge keys, and with errors that name the place
//! and quote nothing of the file.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy};

use super::words::problem_of;
use super::{ConfigError, Place};
use crate::problem::Problem;

/// Mappings and lists within each other.
pub(super) const MAX_DEPTH: usize = 64;
/// Values of whatever kind, keys included.
pub(super) const MAX_NODES: usize = 100_000;

/// What stands in the file, at most `limit` bytes of it.
pub(super) fn text_of(file: &Path, limit: usize) -> Result<String, ConfigError> {
    let unreadable = |error| ConfigError::Unreadable {
        file: file.to_owned(),
        error,
    };
    let mut text = Vec::new();
    let reader = File::open(file).map_err(unreadable)?;
    reader
        .take(limit as u64 + 1)
        .read_to_end(&mut text)
        .map_err(unreadable)?;
    if text.len() > limit {
        return Err(ConfigError::TooLong {
            file: file.to_owned(),
            limit,
        });
    }
    utf8(text, file)
}

/// The bytes as text.
pub(super) fn utf8(bytes: Vec<u8>, file: &Path) -> Result<String, ConfigError> {
    String::from_utf8(bytes).map_err(|_| ConfigError::Wrong {
        file: file.to_owned(),
        place: Place::default(),
        problem: Problem::new("", "is no UTF-8 text", "save it as UTF-8"),
    })
}

/// Whether nothing but comments stands there.
pub(super) fn holds_nothing(text: &str) -> bool {
    let nothing = |line: &str| matches!(line.trim(), "" | "---") || line.trim_start().starts_with('#');
    text.lines().all(nothing)
}

/// Reads a bounded text; `file` names it in errors.
pub(super) fn parse<T: DeserializeOwned>(text: &str, file: &Path) -> Result<T, ConfigError> {
    let mut path = None;
    let parsed = serde_saphyr::with_deserializer_from_str_with_options(text, options(), |deserializer| {
        serde_path_to_error::deserialize(deserializer).map_err(|error| {
            path = Some(error.path().clone());
            error.into_inner()
        })
    });
    parsed.map_err(|error| {
        let place = error
            .location()
            .filter(|l| l.line() > 0)
            .map(|l| (l.line(), l.column()));
        ConfigError::Wrong {
            file: file.to_owned(),
            place: Place(place),
            problem: problem_of(path.as_ref(), &error),
        }
    })
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_anchors: 0,
            max_aliases: 0,
            max_documents: 1,
            max_depth: MAX_DEPTH,
            max_nodes: MAX_NODES,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Error,
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}
