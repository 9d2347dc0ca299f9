//! `wit/manifest.schema.json`, compiled into the host.

use std::sync::LazyLock;

use serde_json::Value;

use crate::config_schema::ConfigSchema;
use crate::problem::Problem;

/// The published JSON schema of the manifest: for editors, SDKs and people. [`Manifest::parse`](crate::Manifest::parse)
/// holds manifests against it, too.
pub const MANIFEST_SCHEMA: &str = include_str!("../../../wit/manifest.schema.json");

static SCHEMA: LazyLock<Result<ConfigSchema, Problem>> = LazyLock::new(|| {
    let schema: Value =
        serde_json::from_str(MANIFEST_SCHEMA).map_err(|error| Problem::new("", error.to_string(), ""))?;
    ConfigSchema::compile(&schema)
});

/// What the schema finds wrong with a manifest.
pub(crate) fn check(json: &str) -> Vec<Problem> {
    let manifest: Value = match serde_json::from_str(json) {
        Ok(manifest) => manifest,
        Err(error) => return vec![Problem::new("", error.to_string(), "")],
    };
    match &*SCHEMA {
        Ok(schema) => schema.check(&manifest, ""),
        // A test loads the schema; a host that was built with a broken one loads nothing.
        Err(problem) => vec![Problem::new(
            "",
            format!("this host's manifest schema is broken: {problem}"),
            "",
        )],
    }
}
