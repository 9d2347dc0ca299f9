//! The plugin directory: which files in it are modules, and reading one of them.
//!
//! A module is a regular file `NAME.wasm` right in the directory, where NAME is a DNS-1123 label; NAME is the plugin's
//! identity, whatever the plugin says of itself. Files of other endings and files whose names begin with a dot (what
//! copying tools leave for a moment) are passed over. A `.wasm` file that can't be a module is refused by name and harms
//! no other. Nothing is followed: no symbolic links, no directories below.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::problem::{Problem, shown};
use crate::refusal::{Refusal, Step};
use crate::rules::is_label;

/// A directory may hold this many entries of whatever kind.
pub const MAX_ENTRIES: usize = 10_000;

/// A file that may be a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleFile {
    /// The plugin's identity: the file's name without `.wasm`.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
}

/// What a directory holds.
#[derive(Debug, Default)]
pub struct Scan {
    /// The modules, sorted by name.
    pub modules: Vec<ModuleFile>,
    /// `.wasm` entries that can't be modules, sorted by name.
    pub refused: Vec<Refusal>,
    /// What an operator should know, and what stops nothing.
    pub warnings: Vec<Problem>,
}

/// Why a directory could not be looked at; no plugin is known then.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// There is nothing at the path.
    #[error("the plugin directory {} does not exist; create it, or name another with --plugins", path.display())]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// Something else than a directory is at the path.
    #[error("{} is no directory; --plugins wants the directory that the modules lie in", path.display())]
    NoDirectory {
        /// The path.
        path: PathBuf,
    },
    /// The system refused.
    #[error("the plugin directory {} can't be read: {error}; check its permissions", path.display())]
    Unreadable {
        /// The path.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// More than [`MAX_ENTRIES`] entries.
    #[error("the plugin directory {} holds more than {MAX_ENTRIES} entries; keep only modules in it", path.display())]
    TooMany {
        /// The path.
        path: PathBuf,
    },
}

/// Looks at what is in `directory`, without reading any module.
///
/// # Errors
/// If the directory as a whole can't be looked at. What is wrong with a single file stands in [`Scan::refused`].
pub fn scan(directory: &Path) -> Result<Scan, DirectoryError> {
    let path = || directory.to_owned();
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => DirectoryError::Missing { path: path() },
        _ => DirectoryError::Unreadable { path: path(), error },
    };
    let metadata = fs::metadata(directory).map_err(failed)?;
    if !metadata.is_dir() {
        return Err(DirectoryError::NoDirectory { path: path() });
    }
    let mut scan = Scan::default();
    warn_if_others_write(directory, &metadata, &mut scan.warnings);
    for (seen, entry) in fs::read_dir(directory).map_err(failed)?.enumerate() {
        if seen == MAX_ENTRIES {
            return Err(DirectoryError::TooMany { path: path() });
        }
        let entry = entry.map_err(failed)?;
        // What is no UTF-8 becomes a replacement character, which no name may hold.
        let file_name = entry.file_name().to_string_lossy().into_owned();
        let Some(name) = file_name.strip_suffix(".wasm").filter(|_| !file_name.starts_with('.')) else {
            continue;
        };
        match look_at(name, &entry.path()) {
            Ok(metadata) => {
                warn_if_others_write(&entry.path(), &metadata, &mut scan.warnings);
                scan.modules.push(ModuleFile {
                    name: name.to_owned(),
                    path: entry.path(),
                });
            }
            Err(refusal) => scan.refused.push(refusal),
        }
    }
    scan.modules.sort_by(|a, b| a.name.cmp(&b.name));
    scan.refused.sort_by(|a, b| a.plugin.cmp(&b.plugin));
    scan.warnings.sort_by(|a, b| a.at.cmp(&b.at));
    Ok(scan)
}

fn look_at(name: &str, path: &Path) -> Result<Metadata, Refusal> {
    let refuse = |why: String, mend: &str| Err(Refusal::new(name, Step::Read, why, mend));
    if !is_label(name) {
        return refuse(
            format!("`{}` is no plugin name", shown(name)),
            "rename the file: 1 to 63 of a-z, 0-9 and `-`, with a letter or digit at both ends, and then .wasm",
        );
    }
    // Not followed: a link could lead anywhere, and be turned elsewhere after it was checked.
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => return Err(unreadable(name, path, &error)),
    };
    if metadata.file_type().is_symlink() {
        return refuse(
            "is a symbolic link".to_owned(),
            "put the module itself into the directory",
        );
    }
    if !metadata.is_file() {
        return refuse(
            "is no regular file".to_owned(),
            "only modules are named .wasm here; move it elsewhere",
        );
    }
    Ok(metadata)
}

fn unreadable(name: &str, path: &Path, error: &io::Error) -> Refusal {
    Refusal::new(
        name,
        Step::Read,
        format!("{} can't be read: {error}", shown(&path.to_string_lossy())),
        "check that the file is there and that the host's user may read it",
    )
}

impl ModuleFile {
    /// The file at `path` as a module, whatever its name: for `inspect`. The name is the file's, without its ending.
    pub fn at(path: &Path) -> Self {
        let name = path
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
            .unwrap_or_default();
        Self {
            name,
            path: path.to_owned(),
        }
    }

    /// Reads the module, at most `max_bytes` of it. Blocks; not for a thread of the async runtime.
    ///
    /// # Errors
    /// A [`Refusal`] if it is no regular file any more, is longer, is empty, or can't be read.
    pub fn read(&self, max_bytes: u64) -> Result<Vec<u8>, Refusal> {
        let refuse = |why: String, mend: String| Err(Refusal::new(&self.name, Step::Read, why, mend));
        let unreadable = |error: io::Error| unreadable(&self.name, &self.path, &error);
        // Looked at before it is opened, since opening a pipe would wait for its other end.
        if !fs::metadata(&self.path).map_err(unreadable)?.is_file() {
            return refuse("is no regular file".to_owned(), "name a .wasm file".to_owned());
        }
        let file = File::open(&self.path).map_err(unreadable)?;
        // Looked at again through the open file, since the name may stand for another one by now.
        if !file.metadata().map_err(unreadable)?.is_file() {
            return refuse("is no regular file".to_owned(), "name a .wasm file".to_owned());
        }
        let mut bytes = Vec::new();
        file.take(max_bytes.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
        if bytes.len() as u64 > max_bytes {
            return refuse(
                format!("is longer than {} MiB", max_bytes >> 20),
                "build it optimised and stripped, or raise host.maxModuleMiB in the operator's file".to_owned(),
            );
        }
        if bytes.is_empty() {
            return refuse("the file is empty".to_owned(), "copy the module again".to_owned());
        }
        Ok(bytes)
    }
}

#[cfg(unix)]
fn warn_if_others_write(path: &Path, metadata: &Metadata, warnings: &mut Vec<Problem>) {
    use std::os::unix::fs::PermissionsExt;
    let others = match metadata.permissions().mode() & 0o022 {
        0 => return,
        0o020 => "its group",
        _ => "everyone",
    };
    warnings.push(Problem::new(
        path.to_string_lossy(),
        format!("{others} may write it, and so decide what runs with this plugin's grants"),
        "chmod go-w",
    ));
}

#[cfg(not(unix))]
fn warn_if_others_write(_: &Path, _: &Metadata, _: &mut Vec<Problem>) {}
