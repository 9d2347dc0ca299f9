//! Why a file of the operator's was not taken.

use std::fmt;
use std::path::PathBuf;

use crate::problem::Problem;

/// Why the operator's file was not taken. Nothing of it is in force then.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It could not be read.
    #[error("{}: can't be read: {error}; check the path given with --config and the file's permissions", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        #[source]
        error: std::io::Error,
    },
    /// It is longer than such a file may be.
    #[error("{}: is longer than {limit} bytes; is it a configuration file?", file.display())]
    TooLong {
        /// The file.
        file: PathBuf,
        /// How long it may be.
        limit: usize,
    },
    /// Something in it is wrong.
    #[error("{}{}: {problem}", file.display(), place)]
    Wrong {
        /// The file.
        file: PathBuf,
        /// Line and column, where known.
        place: Place,
        /// Which field, what is wrong and the mend.
        problem: Problem,
    },
}

/// Line and column, both from 1, where they are known; shown as `:3:5`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place(pub Option<(u64, u64)>);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some((line, column)) => write!(f, ":{line}:{column}"),
            None => Ok(()),
        }
    }
}
