//! Opening what lies in the plugin directory: once, beneath it, and only what nobody else may write.
//!
//! A file is opened by its name relative to the open directory, then everything that is asked of it is asked of the
//! open file: whoever exchanges the name meanwhile changes nothing. Symbolic links are followed as long as the way
//! stays beneath the directory (so a mounted ConfigMap can be one: `NAME.wasm` → `..data/NAME.wasm`, `..data` →
//! `..2026_…`). Linux sees to it by itself (`openat2` with `RESOLVE_BENEATH`); elsewhere, and in sandboxes that don't
//! know that call, the whole way is resolved first and compared.
//!
//! Who may write a file decides what runs with its plugin's grants: files and directories that their group or everyone
//! may write are refused, and those that belong neither to root nor to the host's own user, since who owns a file may
//! change its mode at any time. On a mount that is read-only nobody may, whatever owner and mode are; a mounted
//! ConfigMap is 0777 there.

use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::{DirectoryError, MAX_ENTRIES};

/// An open plugin directory.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    handle: File,
}

/// What the system says of a file: as long as it says the same, the content is the same, but for a change in the very
/// tick of the file system's clock in which it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Its length in bytes.
    pub(crate) length: u64,
    /// Device and inode, then seconds and nanoseconds of the last change of content, and of whatever else.
    pub(crate) rest: [i128; 6],
}

/// Why a file was not opened.
#[derive(Debug)]
pub(crate) enum NotOpened {
    /// Its name leads out of the directory.
    Outside,
    /// It is no regular file.
    NoFile,
    /// Others may write it, or a directory that it lies in.
    OthersWrite {
        /// Who.
        who: Others,
        /// What.
        path: PathBuf,
    },
    /// What the system said.
    System(io::Error),
}

/// Who besides root and the host's own user may write a file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Others {
    /// Its group.
    Group,
    /// Everyone.
    Everyone,
    /// Its owner, who is neither.
    Owner {
        /// The owner's number.
        uid: u32,
        /// The number of the host's own user.
        own: u32,
    },
}

impl fmt::Display for Others {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group => f.write_str("its group may write it"),
            Self::Everyone => f.write_str("everyone may write it"),
            Self::Owner { uid, .. } => write!(f, "it belongs to the user {uid}, who may change it at any time"),
        }
    }
}

impl Others {
    /// By whom a file may be changed that belongs to `uid` and has this mode, where the host runs as `own`; none where
    /// that is nobody else.
    fn of(uid: u32, mode: u32, own: u32) -> Option<Self> {
        match mode & 0o022 {
            0 if uid == 0 || uid == own => None,
            0 => Some(Self::Owner { uid, own }),
            0o020 => Some(Self::Group),
            _ => Some(Self::Everyone),
        }
    }

    /// The command that keeps them from it.
    pub(crate) fn mend(self, path: &str) -> String {
        match self {
            Self::Group | Self::Everyone => format!("chmod go-w {path}"),
            Self::Owner { own, .. } => format!("chown {own} {path}, or let it belong to root"),
        }
    }
}

impl Directory {
    /// Opens it and checks who may write it.
    pub(crate) fn open(path: &Path) -> Result<Self, DirectoryError> {
        let owned = || path.to_owned();
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => DirectoryError::Missing { path: owned() },
            _ => DirectoryError::Unreadable { path: owned(), error },
        };
        // Looked at before it is opened, since opening a pipe would wait for its other end.
        if !fs::metadata(path).map_err(failed)?.is_dir() {
            return Err(DirectoryError::NoDirectory { path: owned() });
        }
        let handle = File::open(path).map_err(failed)?;
        let metadata = handle.metadata().map_err(failed)?;
        if !metadata.is_dir() {
            return Err(DirectoryError::NoDirectory { path: owned() });
        }
        match others_write(&handle, &metadata) {
            None => Ok(Self { path: owned(), handle }),
            Some(who) => {
                let mend = who.mend(&path.display().to_string());
                let path = owned();
                Err(DirectoryError::OthersWrite { path, who, mend })
            }
        }
    }

    /// The names of its entries but for those that begin with a dot, in no order.
    pub(crate) fn names(&self) -> Result<Vec<String>, DirectoryError> {
        let path = || self.path.clone();
        let failed = |error| DirectoryError::Unreadable { path: path(), error };
        let mut names = Vec::new();
        for (entries, name) in (1..).zip(self.entries().map_err(failed)?) {
            // The directory itself and the one above are among them.
            if entries > MAX_ENTRIES + 2 {
                return Err(DirectoryError::TooMany { path: path() });
            }
            let name = name.map_err(failed)?;
            if !name.starts_with('.') {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// What is listed is the open directory, whatever its path stands for by now. What is no UTF-8 becomes a
    /// replacement character, which no name may hold.
    #[cfg(unix)]
    fn entries(&self) -> io::Result<impl Iterator<Item = io::Result<String>>> {
        let entries = rustix::fs::Dir::read_from(&self.handle)?;
        Ok(entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())))
    }

    #[cfg(not(unix))]
    fn entries(&self) -> io::Result<impl Iterator<Item = io::Result<String>>> {
        let entries = fs::read_dir(&self.path)?;
        Ok(entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())))
    }

    /// Opens the file of this name for reading, once, and checks it through the open file. Never waits for a pipe.
    pub(crate) fn file(&self, name: &str) -> Result<(File, Stamp), NotOpened> {
        let file = beneath(&self.path, &self.handle, name)?;
        let metadata = file.metadata().map_err(NotOpened::System)?;
        if !metadata.is_file() {
            return Err(NotOpened::NoFile);
        }
        let path = self.path.join(name);
        if let Some(who) = others_write(&file, &metadata) {
            return Err(NotOpened::OthersWrite { who, path });
        }
        self.check_folders(&path)?;
        Ok((file, Stamp::of(&metadata)))
    }

    /// Where links lead elsewhere beneath the directory, who may write the folder there could exchange the file.
    fn check_folders(&self, path: &Path) -> Result<(), NotOpened> {
        if !fs::symlink_metadata(path).map_err(NotOpened::System)?.is_symlink() {
            return Ok(());
        }
        let target = fs::canonicalize(path).map_err(NotOpened::System)?;
        let root = fs::canonicalize(&self.path).map_err(NotOpened::System)?;
        for folder in target.ancestors().skip(1).take_while(|folder| **folder != root) {
            if !folder.starts_with(&root) {
                return Err(NotOpened::Outside);
            }
            let handle = File::open(folder).map_err(NotOpened::System)?;
            let metadata = handle.metadata().map_err(NotOpened::System)?;
            if let Some(who) = others_write(&handle, &metadata) {
                let path = folder.to_owned();
                return Err(NotOpened::OthersWrite { who, path });
            }
        }
        Ok(())
    }
}

#[cfg(target_os = "linux")]
fn beneath(directory: &Path, handle: &File, name: &str) -> Result<File, NotOpened> {
    use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
    use rustix::io::Errno;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    match openat2(handle, name, flags, Mode::empty(), resolve) {
        Ok(file) => Ok(file.into()),
        // A rename while it resolved; nothing that lasts. The other way settles it.
        Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN) => resolved(directory, name),
        Err(Errno::XDEV) => Err(NotOpened::Outside),
        Err(error) => Err(NotOpened::System(error.into())),
    }
}

#[cfg(not(target_os = "linux"))]
fn beneath(directory: &Path, _: &File, name: &str) -> Result<File, NotOpened> {
    resolved(directory, name)
}

/// The same without the system's help. Only who may write in the directory could turn a link between the steps, and who
/// may do that may as well write the module.
fn resolved(directory: &Path, name: &str) -> Result<File, NotOpened> {
    let target = fs::canonicalize(directory.join(name)).map_err(NotOpened::System)?;
    let root = fs::canonicalize(directory).map_err(NotOpened::System)?;
    if !target.starts_with(root) {
        return Err(NotOpened::Outside);
    }
    // Looked at before it is opened, since opening a pipe would wait for its other end.
    if !fs::metadata(&target).map_err(NotOpened::System)?.is_file() {
        return Err(NotOpened::NoFile);
    }
    File::open(&target).map_err(NotOpened::System)
}

impl Stamp {
    #[cfg(unix)]
    fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        let rest = [
            metadata.dev().into(),
            metadata.ino().into(),
            metadata.mtime().into(),
            metadata.mtime_nsec().into(),
            metadata.ctime().into(),
            metadata.ctime_nsec().into(),
        ];
        Self {
            length: metadata.len(),
            rest,
        }
    }

    #[cfg(not(unix))]
    fn of(metadata: &Metadata) -> Self {
        let since = metadata
            .modified()
            .ok()
            .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        let since = since.unwrap_or_default();
        let rest = [0, 0, since.as_secs().into(), since.subsec_nanos().into(), 0, 0];
        Self {
            length: metadata.len(),
            rest,
        }
    }
}

/// Who else may write it.
#[cfg(unix)]
fn others_write(file: &File, metadata: &Metadata) -> Option<Others> {
    use std::os::unix::fs::MetadataExt as _;
    let who = Others::of(metadata.uid(), metadata.mode(), rustix::process::geteuid().as_raw())?;
    // A system that doesn't say has a mount like others.
    let read_only =
        rustix::fs::fstatvfs(file).is_ok_and(|mount| mount.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY));
    (!read_only).then_some(who)
}

#[cfg(not(unix))]
fn others_write(_: &File, _: &Metadata) -> Option<Others> {
    None
}

/// What stands in an open file, or none where it is longer than `most`.
pub(crate) fn content(file: File, most: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= most).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_root_or_to_the_host_and_nobody_else_may_write_is_taken() {
        for (uid, mode, own) in [
            (0, 0o644, 0),
            (0, 0o755, 1_000),
            (1_000, 0o600, 1_000),
            (1_000, 0o100_644, 1_000),
        ] {
            assert_eq!(Others::of(uid, mode, own), None, "{uid} {mode:o} {own}");
        }
    }

    #[test]
    fn what_belongs_to_somebody_else_is_not_whatever_its_mode() {
        for (uid, own) in [(1_000, 0), (1_000, 1_001), (65_534, 1_000)] {
            let who = Others::of(uid, 0o400, own).unwrap();
            assert_eq!(who, Others::Owner { uid, own });
            assert!(
                who.to_string().contains(&format!("the user {uid}, who may change it")),
                "{who}"
            );
            assert_eq!(
                who.mend("a.wasm"),
                format!("chown {own} a.wasm, or let it belong to root")
            );
        }
    }

    #[test]
    fn what_others_may_write_is_not_whoever_owns_it() {
        assert_eq!(Others::of(0, 0o664, 0), Some(Others::Group));
        assert_eq!(Others::of(0, 0o646, 0), Some(Others::Everyone));
        assert_eq!(Others::of(1_000, 0o666, 0), Some(Others::Everyone));
    }

    #[cfg(unix)]
    #[test]
    fn what_is_listed_is_the_directory_that_was_opened() {
        let folder = tempfile::tempdir().unwrap();
        let (plugins, away) = (folder.path().join("plugins"), folder.path().join("away"));
        fs::create_dir(&plugins).unwrap();
        fs::write(plugins.join("a.wasm"), b"x").unwrap();
        let open = Directory::open(&plugins).unwrap();
        fs::rename(&plugins, &away).unwrap();
        fs::create_dir(&plugins).unwrap();
        fs::write(plugins.join("b.wasm"), b"x").unwrap();
        assert_eq!(open.names().unwrap(), ["a.wasm"]);
        assert_eq!(open.names().unwrap(), ["a.wasm"], "each time anew");
    }
}
