//! The state directory: where the parked keys lie while no host runs.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use pilothouse_lifecycle::kept::files;
use pilothouse_object::escape_control;

use super::{Kept, MAX_BYTES, directory, text};

/// The list of parked keys.
const NAME: &str = "parked-keys.jsonl";
/// A list that could not be taken; an older one of this name is replaced.
const REFUSED: &str = "parked-keys.jsonl.refused";
/// Locked by the host that uses the directory. Nothing stands in it.
const LOCK: &str = "lock";

/// Where a host keeps its parked keys. What it writes is whole: the old text or the new one.
pub trait ParkedFile: Send + Sync {
    /// Replaces what is kept. May block: called on a thread that serves nobody.
    ///
    /// # Errors
    /// What went wrong and the mend, for the log. It is tried again.
    fn write(&self, text: &str) -> Result<(), String>;
}

/// A directory of the host's own. No other host uses it while this lives.
#[derive(Debug)]
pub struct StateDirectory {
    path: PathBuf,
    _lock: File,
}

/// Why a state directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It can't be made or written to.
    #[error("{}: {error}; it must be a directory that pilothouse may write to", path.display())]
    Unusable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Somebody else may put there what this host would take for its own.
    #[error("{}: {what}; {mend}", path.display())]
    NotOurs {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
        /// What to do about it.
        mend: &'static str,
    },
    /// Another host has it.
    #[error("{}: another pilothouse uses it; give each host a state directory of its own", .0.display())]
    InUse(PathBuf),
}

impl StateDirectory {
    /// Makes the directory if need be, takes it for this process, and reads what the last host kept there.
    ///
    /// It is made for this user alone. One of this user's that others may write to is taken from them, and said in the
    /// log. What can't be taken for whole is moved aside, and said in the log: then this is as without it.
    ///
    /// # Errors
    /// [`StateError`]: the caller should not start a host that would keep nothing though it was told to.
    pub fn open(path: &Path) -> Result<(Self, Kept), StateError> {
        let unusable = |error| StateError::Unusable {
            path: path.to_owned(),
            error,
        };
        directory::make_ours(path)?;
        let name = path.join(LOCK);
        // No file yet is as good as one.
        let no_lock = |mend| {
            let path = name.clone();
            move |error: io::Error| StateError::NotOurs {
                path,
                what: error.to_string(),
                mend,
            }
        };
        files::is_file(&name).map_err(no_lock("remove it, and pilothouse makes the file itself"))?;
        let mend = "the state directory and all in it must belong to the user that pilothouse runs as";
        let lock = files::options().write(true).open(&name).map_err(no_lock(mend))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => StateError::InUse(path.to_owned()),
            TryLockError::Error(error) => unusable(error),
        })?;
        let directory = Self {
            path: path.to_owned(),
            _lock: lock,
        };
        let kept = directory.read();
        Ok((directory, kept))
    }

    fn read(&self) -> Kept {
        let path = self.path.join(NAME);
        let shown = escape_control(&path.display().to_string()).into_owned();
        let again = "every key is tried again";
        let text = match files::read(&path, MAX_BYTES as u64) {
            Ok(Some(text)) => text,
            Ok(None) => return Kept::default(),
            Err(error) => {
                tracing::warn!(
                    "{shown}: the parked keys of the last run can't be read: {error}; {again}. A file is replaced by the \
                     next list; remove what is none, and if no list can be written, give it to the user that pilothouse \
                     runs as"
                );
                return Kept::default();
            }
        };
        match text::read(&text) {
            Ok(kept) => kept,
            Err(refused) => {
                let aside = self.path.join(REFUSED);
                let became = match fs::rename(&path, &aside) {
                    Ok(()) => format!("it was moved to {REFUSED}, to be looked at or deleted"),
                    Err(error) => format!("it can't be moved aside ({error}), and is replaced by the next list"),
                };
                tracing::warn!("{shown}: no list of parked keys: {refused}; {again}, and {became}");
                Kept::default()
            }
        }
    }
}

impl ParkedFile for StateDirectory {
    fn write(&self, text: &str) -> Result<(), String> {
        files::replace(&self.path, NAME, text.as_bytes()).map_err(|error: io::Error| {
            let path = escape_control(&self.path.display().to_string()).into_owned();
            format!("{path}: {error}; make room there, or give the directory to the user that pilothouse runs as")
        })
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
