//! What can go wrong.

use std::io;
use std::path::{Path, PathBuf};

/// Why there is no control plane, or why it did not do as it was told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no Go to compile the programs with.
    #[error("{0}")]
    NoGo(String),
    /// A program could not be started at all.
    #[error("`{command}` can't be started: {source}")]
    Start {
        /// The command line.
        command: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// A program ended with an error; the end of what it wrote is in here.
    #[error("`{command}` failed ({status}): {said}")]
    Failed {
        /// The command line.
        command: String,
        /// How it ended.
        status: String,
        /// The end of what it wrote.
        said: String,
    },
    /// A file or directory that can't be read, made or written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// A part of the control plane ended although nobody asked it to, or is not ready in time.
    #[error("{what}: {why}; the end of what it wrote:\n{last_words}")]
    NotReady {
        /// Which part.
        what: String,
        /// What it lacks.
        why: String,
        /// The last lines of its log.
        last_words: String,
    },
    /// etcd did not do what it was asked.
    #[error("etcd: {0}")]
    Etcd(String),
    /// No certificate or key could be made.
    #[error("no certificates could be made: {0}")]
    Credentials(#[from] rcgen::Error),
}

impl Error {
    /// An error about a file.
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::File { path, source }
    }
}
