//! How the program ends: a code that scripts can tell apart, and one message.

use std::fmt;

/// It ended as asked.
pub(crate) const OK: u8 = 0;
/// Something went wrong while running, or `inspect` found a module that would not load.
pub(crate) const FAILED: u8 = 1;
/// Wrong usage or configuration: the command line, the configuration file, the kubeconfig, a file to apply.
pub(crate) const USAGE: u8 = 2;
/// `dev`: there were plugins to load, and none could be loaded. `rbac`: there was none, or all were disabled.
pub(crate) const NO_PLUGIN: u8 = 3;
/// A second signal forced the end: running reconciles were cut.
pub(crate) const FORCED: u8 = 130;

/// Why the program ends early: what goes to stderr, and the exit code. Messages name what, where, and the mend.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stop {
    pub(crate) code: u8,
    pub(crate) message: String,
}

impl Stop {
    /// Something went wrong while running.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self {
            code: FAILED,
            message: message.into(),
        }
    }

    /// The command line, or a file it names, is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self {
            code: USAGE,
            message: message.into(),
        }
    }

    /// No plugin could be loaded.
    pub(crate) fn no_plugin(message: impl Into<String>) -> Self {
        Self {
            code: NO_PLUGIN,
            message: message.into(),
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
