//! Files of a state directory: read within a bound, replaced as a whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use pilothouse_object::escape_control;

/// What the name of a file ends with while it is written. One that a host left that was killed is replaced, or removed.
pub const NEW: &str = ".new";

/// False where there is nothing of this name.
///
/// # Errors
/// Something else stands there: a link would be followed, a pipe would keep the host waiting.
pub fn is_file(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
        Ok(metadata) if !metadata.is_file() => Err(io::Error::other(match metadata.file_type() {
            kind if kind.is_dir() => "it is a directory and no file",
            kind if kind.is_symlink() => "it is a symbolic link and no regular file",
            _ => "it is no regular file",
        })),
        Ok(_) => Ok(true),
    }
}

/// What stands in a file, none where there is none. One byte more than `most` is read: enough to tell that it is too
/// long.
///
/// # Errors
/// It is no regular file, or the system refuses.
pub fn read(path: &Path, most: u64) -> io::Result<Option<Vec<u8>>> {
    if !is_file(path)? {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// For the host's user alone: what is kept may tell what others must not know. An existing file keeps its content.
pub fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Replaces the file of this name by one that holds these bytes: whoever reads it, now or after a crash, finds the old
/// bytes or the new ones. Blocks until they are on the disk.
///
/// # Errors
/// What the system said; the old bytes are still there, or the new ones.
pub fn replace(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let new = directory.join(format!("{name}{NEW}"));
    // One of a write that was cut, or whatever else: never followed, never written through.
    remove(&new)?;
    step()?;
    let mut file = options().write(true).create_new(true).open(&new)?;
    #[cfg(test)]
    if cut(bytes.len()) {
        // As a crash within a write leaves it.
        file.write_all(bytes.get(..bytes.len() / 2).unwrap_or_default())?;
    }
    step()?;
    file.write_all(bytes)?;
    file.sync_all()?;
    step()?;
    let path = directory.join(name);
    fs::rename(&new, &path).map_err(|error| in_the_way(&path, error))?;
    // The name as well.
    step()?;
    File::open(directory)?.sync_all()
}

/// Deletes a file, or whatever else than a directory has this name; nothing of this name is fine.
///
/// # Errors
/// What the system said; that a directory has this name, and the mend.
pub fn remove(path: &Path) -> io::Result<()> {
    step()?;
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(in_the_way(path, error)),
        _ => Ok(()),
    }
}

/// A directory where a file is to be: the system says nothing of which name it is, and something else on each. It may
/// be somebody's, so it is for a person to remove.
fn in_the_way(path: &Path, error: io::Error) -> io::Error {
    if !fs::symlink_metadata(path).is_ok_and(|about| about.is_dir()) {
        return error;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    io::Error::other(format!(
        "{} is a directory, where a file is to be: remove it",
        escape_control(&name)
    ))
}

#[cfg(not(test))]
#[expect(clippy::unnecessary_wraps, reason = "fails in tests alone")]
fn step() -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
fn step() -> io::Result<()> {
    crash::LEFT.with(|left| match left.get() {
        None => Ok(()),
        Some(0) => Err(io::Error::other("killed")),
        Some(more) => {
            left.set(Some(more - 1));
            Ok(())
        }
    })
}

#[cfg(test)]
fn cut(_: usize) -> bool {
    crash::LEFT.with(|left| left.get() == Some(0))
}

/// In tests a thread's disk may stop to work after so many steps, as it does for a host that is killed.
#[cfg(test)]
pub(crate) mod crash {
    use std::cell::Cell;

    thread_local! {
        /// How many steps are left; none: no end.
        pub(crate) static LEFT: Cell<Option<u32>> = const { Cell::new(None) };
    }
}
