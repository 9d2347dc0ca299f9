//! The directories in which lives and versions lie.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use pilothouse_object::escape_control;

use super::failures::Failure;
use super::files::{self, NEW};
use super::text::{self, KeptLife, MAX_BYTES, MAX_FAILURES_BYTES};
use crate::directory::MAX_ENTRIES;
use crate::load::Hash;
use crate::rules::is_label;

/// The versions of one plugin that are kept may take so many bytes together. The one that serves is kept in any case.
pub const MAX_VERSION_BYTES: u64 = 256 << 20;

const LIFE: &str = "life.json";
/// Beside the plugins' directories; no plugin has such a name.
const FAILURES: &str = "failures.json";
/// A life that could not be taken; an older one of this name is replaced.
const REFUSED: &str = "life.json.refused";

/// Why a directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("{}: {error}; it must be a directory that pilothouse may make or write to", path.display())]
    Io {
        /// What.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// Somebody else may have put there what is there.
    #[error("{}: {what}, and it says which versions of plugins run: {mend}", path.display())]
    NotOurs {
        /// Which directory.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
        /// What to do about it.
        mend: &'static str,
    },
}

/// Keeps lives and versions of plugins. All of it blocks; not for a thread that serves.
#[derive(Debug)]
pub struct PluginStore {
    path: PathBuf,
}

impl PluginStore {
    /// Takes the directory, which is made if need be.
    ///
    /// # Errors
    /// It is no directory, belongs to another user, or others may look into it or write there. Don't run with it then:
    /// what it says decides what runs.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        ours(path)?;
        Ok(Self { path: path.to_owned() })
    }

    /// Reads all lives, and clears away what no life needs: writes that were cut, versions that none names, plugins of
    /// which nothing is kept. What can't be taken is moved aside and told.
    pub(crate) fn read(&self) -> BTreeMap<String, KeptLife> {
        let names = match names(&self.path) {
            Ok(names) => names,
            Err(error) => {
                tracing::warn!(
                    "{}: {error}: nothing that it keeps of plugins is known",
                    shown(&self.path)
                );
                return BTreeMap::new();
            }
        };
        let mut lives = BTreeMap::new();
        // Whatever else lies there is none of ours.
        for name in names.into_iter().filter(|name| is_label(name)) {
            match self.read_one(&name) {
                Ok(Some(life)) => _ = lives.insert(name, life),
                Ok(None) => self.forget(&name, None),
                Err(why) => tracing::warn!(
                    "what was kept of plugin {name} is not used, and it begins as if nothing were known of it: {why}"
                ),
            }
        }
        lives
    }

    pub(super) fn read_one(&self, name: &str) -> Result<Option<KeptLife>, String> {
        let directory = self.path.join(name);
        ours(&directory).map_err(|error| error.to_string())?;
        let path = directory.join(LIFE);
        let bytes = files::read(&path, MAX_BYTES).map_err(|error| {
            format!(
                "{}: {error}: remove it, or give it to the user that pilothouse runs as",
                shown(&path)
            )
        })?;
        let Some(bytes) = bytes else {
            return Ok(None);
        };
        match text::read(&bytes) {
            Ok(life) => {
                self.sweep(name, &life, None);
                Ok(Some(life))
            }
            Err(why) => {
                let became = match fs::rename(&path, directory.join(REFUSED)) {
                    Ok(()) => format!("it was moved to {REFUSED}, to be looked at or deleted"),
                    Err(error) => format!(
                        "it can't be moved to {REFUSED} ({error}), and is replaced by what is kept next: remove what lies \
                         there"
                    ),
                };
                self.sweep(name, &KeptLife::default(), None);
                Err(format!("{}: {why}; {became}", shown(&path)))
            }
        }
    }

    /// Keeps the bytes of a version, before a life names it. They are not written again where they lie there.
    ///
    /// # Errors
    /// What the system said; without them the version can't be brought back after a restart.
    pub(crate) fn put(&self, name: &str, hash: Hash, bytes: &[u8]) -> Result<(), String> {
        let directory = self.directory(name)?;
        let file = module(hash);
        let path = directory.join(&file);
        // Its content is checked when it is needed.
        let lies_there =
            fs::symlink_metadata(&path).is_ok_and(|found| found.is_file() && found.len() == bytes.len() as u64);
        if lies_there {
            return Ok(());
        }
        files::replace(&directory, &file, bytes).map_err(|error| format!("{}: {error}", shown(&path)))
    }

    /// The bytes of a version.
    ///
    /// # Errors
    /// They are not there, are longer than `most`, or others than the hash says.
    pub(crate) fn get(&self, name: &str, hash: Hash, most: u64) -> Result<Vec<u8>, String> {
        let path = self.path.join(name).join(module(hash));
        match files::read(&path, most) {
            Ok(Some(bytes)) if bytes.len() as u64 > most => {
                Err(format!("{} is longer than {most} bytes", shown(&path)))
            }
            Ok(Some(bytes)) if Hash::of(&bytes) == hash => Ok(bytes),
            Ok(Some(_)) => {
                // Kept again when it is at hand again; until then there is nothing to gain from it.
                let became =
                    files::remove(&path).map_or_else(|error| error.to_string(), |()| "it is deleted".to_owned());
                Err(format!(
                    "{} is not what was kept there: its hash is another; {became}",
                    shown(&path)
                ))
            }
            Ok(None) => Err(format!("{} is not there any more", shown(&path))),
            Err(error) => Err(format!("{} can't be read: {error}", shown(&path))),
        }
    }

    /// Replaces what is kept of a plugin; the versions that it names lie there already.
    ///
    /// # Errors
    /// What the system said; what was kept before still is.
    pub(crate) fn write(&self, name: &str, life: &KeptLife) -> Result<(), String> {
        let directory = self.directory(name)?;
        files::replace(&directory, LIFE, text::write(life).as_bytes())
            .map_err(|error| format!("{}: {error}", shown(&directory)))
    }

    /// Clears away what a plugin's life does not need: the bytes of other versions, those that have no room, and writes
    /// that were cut. Those of the candidate stay, and one that may be at work on them is not disturbed.
    pub(crate) fn sweep(&self, name: &str, life: &KeptLife, candidate: Option<Hash>) {
        let directory = self.path.join(name);
        let Ok(found) = names(&directory) else { return };
        let mut room = MAX_VERSION_BYTES;
        let mut keep = vec![LIFE.to_owned(), REFUSED.to_owned()];
        keep.extend(
            candidate
                .into_iter()
                .flat_map(|hash| [module(hash), module(hash) + NEW]),
        );
        for (number, hash) in life.modules().into_iter().enumerate() {
            let file = module(hash);
            let size = fs::symlink_metadata(directory.join(&file)).map_or(0, |found| found.len());
            if number == 0 || size <= room {
                room = room.saturating_sub(size);
                keep.push(file);
            }
        }
        let ours = |name: &String| name.ends_with(".wasm") || name.ends_with(NEW);
        for file in found.iter().filter(|file| ours(file) && !keep.contains(file)) {
            if let Err(error) = files::remove(&directory.join(file)) {
                tracing::warn!(
                    "{}: {} can't be deleted: {error}",
                    shown(&directory),
                    escape_control(file)
                );
            }
        }
    }

    /// Nothing is kept of this plugin any more, but the bytes of the candidate if there is one.
    pub(crate) fn forget(&self, name: &str, candidate: Option<Hash>) {
        let directory = self.path.join(name);
        // First: what it names goes next.
        let gone = files::remove(&directory.join(LIFE));
        self.sweep(name, &KeptLife::default(), candidate);
        if candidate.is_some() {
            // Its bytes are about to be written there.
            if let Err(error) = gone {
                tracing::warn!("{}: can't be deleted: {error}", shown(&directory.join(LIFE)));
            }
            return;
        }
        // A life that was set aside stays for a person, and the directory with it.
        let removed = gone.and_then(|()| match fs::remove_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        });
        if let Err(error) = removed {
            tracing::warn!("{}: can't be deleted: {error}", shown(&directory));
        }
    }

    /// The modules that could not be compiled. What can't be taken is told, and as good as not known.
    pub(crate) fn read_failures(&self) -> Vec<Failure> {
        let path = self.path.join(FAILURES);
        // Of a write that was cut.
        if let Err(error) = files::remove(&self.path.join(format!("{FAILURES}{NEW}"))) {
            tracing::warn!("{}: {error}", shown(&self.path));
        }
        let read = match files::read(&path, MAX_FAILURES_BYTES) {
            Ok(None) => return Vec::new(),
            Ok(Some(bytes)) => text::read_failures(&bytes).map_err(|why| format!("{why}; it is replaced by the next")),
            Err(error) => Err(format!(
                "{error}; remove it, or give it to the user that pilothouse runs as"
            )),
        };
        read.unwrap_or_else(|why| {
            tracing::warn!(
                "{}: {why}: which modules could not be compiled is not known, and they are compiled again",
                shown(&path)
            );
            Vec::new()
        })
    }

    /// Replaces them.
    ///
    /// # Errors
    /// What the system said; what was kept before still is.
    pub(crate) fn write_failures(&self, failures: &[Failure]) -> Result<(), String> {
        files::replace(&self.path, FAILURES, text::write_failures(failures).as_bytes())
            .map_err(|error| format!("{}: {error}", shown(&self.path.join(FAILURES))))
    }

    fn directory(&self, name: &str) -> Result<PathBuf, String> {
        let directory = self.path.join(name);
        ours(&directory).map_err(|error| error.to_string())?;
        Ok(directory)
    }
}

fn module(hash: Hash) -> String {
    format!("{hash}.wasm")
}

fn shown(path: &Path) -> String {
    escape_control(&path.display().to_string()).into_owned()
}

/// The names in a directory; what is no UTF-8 is nothing of ours.
fn names(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)?.take(MAX_ENTRIES) {
        names.extend(entry?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

/// Makes a directory that is this user's alone, if need be, and checks that it is.
fn ours(path: &Path) -> Result<(), StoreError> {
    let failed = |error| StoreError::Io {
        path: path.to_owned(),
        error,
    };
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    // Of the name itself: a link could lead to a directory of somebody else's making.
    let metadata = fs::symlink_metadata(path).map_err(failed)?;
    let not_ours = |what, mend| {
        let path = path.to_owned();
        Err(StoreError::NotOurs { path, what, mend })
    };
    if !metadata.is_dir() {
        let what = if metadata.is_symlink() {
            "is a symbolic link"
        } else {
            "is no directory"
        };
        return not_ours(what, "remove it, and pilothouse makes the directory itself");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return not_ours(
                "belongs to another user",
                "delete what is in it, and give it to the user that pilothouse runs as",
            );
        }
        if metadata.mode() & 0o077 != 0 {
            return not_ours(
                "others than its user have rights to it",
                "delete what is in it if you don't trust them, and `chmod 700` it",
            );
        }
    }
    Ok(())
}
