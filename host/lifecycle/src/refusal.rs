//! Why a plugin was not loaded.

use std::fmt;

use serde::Serialize;

use crate::problem::shown;

/// Why a plugin was not loaded, at which step, and what to do. It touches no other plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
pub struct Refusal {
    /// The plugin: its file's name without `.wasm`.
    pub plugin: String,
    /// How far it came.
    pub step: Step,
    /// What was wrong; may have several lines.
    pub why: String,
    /// What to do about it; may have several lines, and is empty where `why` says it.
    pub mend: String,
}

/// The steps of loading, in their order. What passes one goes on to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Finding and reading the file.
    Read,
    /// Compiling it, and checking that it is a component of a world and version that this host runs.
    Compile,
    /// Calling its `describe`.
    Describe,
    /// Reading the manifest that it returned.
    Manifest,
    /// Comparing what it asks for with what the operator grants.
    Grants,
    /// Checking the operator's configuration of it: against its schema, and by its own `check-config`.
    Config,
    /// Letting it serve, by itself or in the place of the version before it.
    Serve,
}

impl Step {
    fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Compile => "compile",
            Self::Describe => "describe",
            Self::Manifest => "manifest",
            Self::Grants => "grants",
            Self::Config => "config",
            Self::Serve => "serve",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Refusal {
    pub(crate) fn new(plugin: &str, step: Step, why: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            plugin: shown(plugin).into_owned(),
            step,
            why: why.into(),
            mend: mend.into(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plugin {} was not loaded: {}: {}", self.plugin, self.step, self.why)?;
        if !self.mend.is_empty() {
            // A mend of several lines is something to paste.
            f.write_str(if self.mend.contains('\n') { "\n" } else { "; " })?;
            f.write_str(&self.mend)?;
        }
        Ok(())
    }
}
