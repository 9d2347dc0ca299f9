//! Compiled code kept over restarts, in a directory that belongs to this host's user alone.
//!
//! Promises:
//! - An entry is written under another name, synced and renamed: it is whole or not there.
//! - An entry is given out only if it is a regular file of this user that nobody else may touch, and its HMAC under the
//!   cache's key verifies; it is read and mapped through one descriptor. Any other is deleted.
//! - A directory of this user's to which others got rights (as volumes in Kubernetes get with `fsGroup`, at each start)
//!   is taken back and emptied, the key as well: whoever could read that could make entries that verify.
//! - Everything is looked up beneath the directory that was opened, whatever its path stands for later.
//! - It stays within [`CacheLimits`]: what was not used for longest goes.
//!
//! It does not guard against this user or root, who can read the key. One host uses a directory at a time; the state
//! directory's lock sees to that.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::{fmt, fs};

use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps, UTIME_NOW};

use super::Code;
use super::entry::{self, Key, Name, Seal, TRAILER};

const KEY: &str = "key";
/// What names of files begin with that were not renamed yet.
const NEW: &str = ".new-";
/// Bytes that are read at once.
const PIECE: usize = 64 << 10;

/// How much a [`CodeCache`] keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheLimits {
    /// Bytes of all entries together. One alone may be larger. Default: 2 GiB.
    pub bytes: u64,
    /// Entries. Default: 4,096.
    pub entries: usize,
}

impl Default for CacheLimits {
    fn default() -> Self {
        CacheLimits {
            bytes: 2 << 30,
            entries: 4_096,
        }
    }
}

/// Why a directory can't be used as a cache.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The operating system refused.
    #[error("{}: {error}; it must be a directory that pilothouse may make or write to", path.display())]
    Io {
        /// What.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// Somebody else may have put there what is there.
    #[error("{}: {what}: code from there could be anybody's. {mend}", path.display())]
    NotOurs {
        /// What.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
        /// What to do about it.
        mend: &'static str,
    },
}

/// Compiled code in a directory.
pub struct CodeCache {
    path: PathBuf,
    directory: File,
    key: Key,
    limits: CacheLimits,
    /// Entries and their bytes, at most; none until they are counted. So that the directory is not gone through for
    /// each.
    held: Mutex<Option<(usize, u64)>>,
}

/// Without the key.
impl fmt::Debug for CodeCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodeCache")
            .field("path", &self.path)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// The open file of an entry whose HMAC was verified. Only [`CodeCache::get`] makes one.
pub(crate) struct Verified(File);

impl Verified {
    #[cfg(target_os = "linux")]
    pub(super) fn file(&self) -> &File {
        &self.0
    }

    /// The code, without what stands behind it.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn read(&self) -> io::Result<Vec<u8>> {
        let length = self.0.metadata()?.len().saturating_sub(TRAILER as u64);
        let mut code = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        self.0.read_exact_at(&mut code, 0)?;
        Ok(code)
    }
}

impl CodeCache {
    /// Opens the directory; makes it, and its key, if need be. What a write that was cut left there goes.
    ///
    /// # Errors
    /// It is a link, belongs to another user, or is on a file system that does not keep others out of it. Don't run
    /// with it then: it may hold code of somebody else.
    pub fn open(path: &Path, limits: CacheLimits) -> Result<CodeCache, CacheError> {
        let failed = |error: io::Error| CacheError::Io {
            path: path.to_owned(),
            error,
        };
        match std::os::unix::fs::DirBuilderExt::mode(&mut fs::DirBuilder::new(), 0o700).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
            _ => {}
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| not_opened(path, error.into()))?;
        let directory = File::from(directory);
        let mut cache = CodeCache {
            path: path.to_owned(),
            directory,
            key: Key([0; 32]),
            limits,
            held: Mutex::default(),
        };
        if let Some(what) = others(&cache.directory.metadata().map_err(failed)?) {
            cache.take_back(path, what)?;
        }
        cache.key = match cache.read_key()? {
            Ok(key) => key,
            Err(why) => {
                if let Some(what) = why {
                    cache.take_back(&path.join(KEY), what)?;
                }
                cache.make_key()?
            }
        };
        for name in cache.names().map_err(failed)? {
            if name.starts_with(NEW) {
                cache.remove(&name);
            }
        }
        Ok(cache)
    }

    /// Keeps others out of the directory, and deletes what they may have read or written there.
    fn take_back(&self, path: &Path, what: &'static str) -> Result<(), CacheError> {
        let failed = |error: io::Error| CacheError::Io {
            path: self.path.clone(),
            error,
        };
        let not_ours = |what| CacheError::NotOurs {
            path: self.path.clone(),
            what,
            mend: "Give it to the user that pilothouse runs as, on a file system that knows users and modes, or name another \
                   state directory",
        };
        let owner = |metadata: &fs::Metadata| metadata.uid() == rustix::process::geteuid().as_raw();
        if !owner(&self.directory.metadata().map_err(failed)?) {
            return Err(not_ours(what));
        }
        // First of all: then nobody adds to what is deleted.
        let mode = Mode::RUSR | Mode::WUSR | Mode::XUSR;
        rustix::fs::fchmod(&self.directory, mode).map_err(|error| failed(error.into()))?;
        if let Some(what) = others(&self.directory.metadata().map_err(failed)?) {
            return Err(not_ours(what));
        }
        tracing::warn!(
            "code cache: {} {what}: somebody else may know its key, so it is emptied, and modules are compiled anew",
            path.display()
        );
        for name in self.names().map_err(failed)? {
            if name == KEY || name.starts_with(NEW) || entry::is_name(&name) {
                let gone = rustix::fs::unlinkat(&self.directory, &name, AtFlags::empty());
                gone.map_err(|error| failed(error.into()))?;
            }
        }
        Ok(())
    }

    /// Inside, why there is none that can be used: what is wrong with it, or nothing if it is not there.
    fn read_key(&self) -> Result<Result<Key, Option<&'static str>>, CacheError> {
        let failed = |error: io::Error| CacheError::Io {
            path: self.path.join(KEY),
            error,
        };
        let file = match self.open_entry(KEY) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Err(None)),
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
                return Ok(Err(Some("is a symbolic link")));
            }
            Err(error) => return Err(failed(error)),
        };
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            // It may be somebody's: a person removes it.
            return Err(CacheError::NotOurs {
                path: self.path.join(KEY),
                what: "is a directory, where a file is to be",
                mend: "Remove it, and pilothouse makes the file itself",
            });
        }
        if let Some(what) = others(&metadata).or_else(|| irregular(&metadata)) {
            return Ok(Err(Some(what)));
        }
        let mut key = Vec::new();
        file.take(33).read_to_end(&mut key).map_err(failed)?;
        let key = <[u8; 32]>::try_from(key);
        Ok(key.map(Key).map_err(|_| Some("is no key of 32 bytes")))
    }

    fn make_key(&self) -> Result<Key, CacheError> {
        let failed = |error: io::Error| CacheError::Io {
            path: self.path.join(KEY),
            error,
        };
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|error| failed(io::Error::other(error)))?;
        self.write(KEY, &[&key]).map_err(failed)?;
        Ok(Key(key))
    }

    /// The entry of this name, if there is one that verifies.
    pub(crate) fn get(&self, name: &Name) -> Option<Verified> {
        let file_name = name.to_string();
        let file = match self.open_entry(&file_name) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => return self.unusable(name, &error),
        };
        if let Err(error) = self.verify(&file, name) {
            return self.unusable(name, &error);
        }
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_NOW,
        };
        let times = Timestamps {
            last_access: now,
            last_modification: now,
        };
        if let Err(error) = rustix::fs::futimens(&file, &times) {
            self.complain(&file_name, "can't be marked as used", &error.into());
        }
        Some(Verified(file))
    }

    fn verify(&self, file: &File, name: &Name) -> io::Result<()> {
        let metadata = file.metadata()?;
        if let Some(what) = others(&metadata).or_else(|| irregular(&metadata)) {
            return Err(io::Error::other(what));
        }
        let too_short = || io::Error::other("it is too short");
        let length = metadata.len().checked_sub(TRAILER as u64).ok_or_else(too_short)?;
        let mut seal = Seal::new(&self.key);
        let mut piece = vec![0; PIECE];
        let mut at = 0;
        while at < length {
            let most = usize::try_from(length - at).unwrap_or(PIECE).min(PIECE);
            let read = file.read_at(piece.get_mut(..most).unwrap_or_default(), at)?;
            if read == 0 {
                return Err(too_short());
            }
            seal.update(piece.get(..read).unwrap_or_default());
            at += read as u64;
        }
        let mut trailer = [0; TRAILER];
        file.read_exact_at(&mut trailer, length)?;
        match seal.verify(name, length, &trailer) {
            true => Ok(()),
            false => Err(io::Error::other(
                "it is not what this host wrote: its HMAC does not verify",
            )),
        }
    }

    /// Keeps code. If it can't, that is said in the log, and it is compiled again another time.
    pub(super) fn put(&self, name: &Name, code: &Code) {
        let file_name = name.to_string();
        let trailer = entry::trailer(&self.key, name, code.bytes());
        let parts = [code.bytes(), &trailer];
        if let Err(error) = self.write(&file_name, &parts) {
            self.complain(
                &file_name,
                "can't be written, and its module is compiled again next time",
                &error,
            );
        }
        let size = parts.iter().map(|part| part.len() as u64).sum();
        if let Err(error) = self.keep_within_limits(&file_name, size) {
            self.complain(&file_name, "no room can be made for it", &error);
        }
    }

    /// What can't be read now may be as it was; any other entry goes.
    fn unusable(&self, name: &Name, error: &io::Error) -> Option<Verified> {
        if is_passing(error) {
            self.complain(
                &name.to_string(),
                "can't be read now, and its module is compiled anew",
                error,
            );
        } else {
            self.unloadable(name, &error.to_string());
        }
        None
    }

    /// Deletes an entry that is not to be used, and says so.
    pub(super) fn unloadable(&self, name: &Name, why: &str) {
        let file_name = name.to_string();
        tracing::warn!(
            "code cache {}: {file_name}: {why}; it is deleted, and its module compiled anew",
            self.path.display()
        );
        self.remove(&file_name);
    }

    fn complain(&self, file_name: &str, what: &str, error: &io::Error) {
        tracing::warn!("code cache {}: {file_name}: {what}: {error}", self.path.display());
    }

    fn remove(&self, file_name: &str) {
        match rustix::fs::unlinkat(&self.directory, file_name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(rustix::io::Errno::ISDIR) => {
                let error = io::Error::other("remove it");
                self.complain(file_name, "it is a directory, where a file is to be", &error);
            }
            Err(error) => self.complain(file_name, "can't be deleted", &error.into()),
        }
    }

    /// Neither follows a link nor waits for the other end of a pipe.
    fn open_entry(&self, file_name: &str) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.directory, file_name, flags, Mode::empty())?.into())
    }

    fn write(&self, file_name: &str, parts: &[&[u8]]) -> io::Result<()> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let new = format!("{NEW}{:016x}", u64::from_le_bytes(random));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let mut file = File::from(rustix::fs::openat(&self.directory, &new, flags, mode)?);
        let written = parts
            .iter()
            .try_for_each(|part| file.write_all(part))
            .and_then(|()| file.sync_all())
            .and_then(|()| Ok(rustix::fs::renameat(&self.directory, &new, &self.directory, file_name)?));
        if written.is_err() {
            self.remove(&new);
        }
        written?;
        // The name as well.
        self.directory.sync_all()
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.directory)? {
            // What is no UTF-8 is nothing of ours.
            if let Ok(name) = entry?.file_name().to_str() {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// To be called once this entry is there.
    fn keep_within_limits(&self, file_name: &str, size: u64) -> io::Result<()> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = held.map(|(entries, bytes)| (entries.saturating_add(1), bytes.saturating_add(size)));
        *held = match counted {
            Some((entries, bytes)) if entries <= self.limits.entries && bytes <= self.limits.bytes => counted,
            _ => Some(self.make_room(file_name)?),
        };
        Ok(())
    }

    /// Deletes what was not used for longest, until the limits hold; never `keep`. Answers how many entries and bytes
    /// are left.
    fn make_room(&self, keep: &str) -> io::Result<(usize, u64)> {
        let mut entries = Vec::new();
        for name in self.names()?.into_iter().filter(|name| entry::is_name(name)) {
            let stat = rustix::fs::statat(&self.directory, &name, AtFlags::SYMLINK_NOFOLLOW)?;
            let used = (stat.st_mtime, stat.st_mtime_nsec);
            entries.push((name == keep, used, u64::try_from(stat.st_size).unwrap_or(0), name));
        }
        // The one to keep comes last.
        entries.sort();
        let mut bytes = entries.iter().map(|(_, _, size, _)| size).sum::<u64>();
        let mut count = entries.len();
        for (kept, _, size, name) in entries {
            if kept || (bytes <= self.limits.bytes && count <= self.limits.entries) {
                break;
            }
            self.remove(&name);
            bytes = bytes.saturating_sub(size);
            count -= 1;
        }
        Ok((count, bytes))
    }
}

/// Why the directory was not opened: what stands there, where that is the reason.
fn not_opened(path: &Path, error: io::Error) -> CacheError {
    let what = match fs::symlink_metadata(path) {
        Ok(about) if about.is_symlink() => "is a symbolic link",
        Ok(about) if !about.is_dir() => "is no directory",
        _ => {
            let path = path.to_owned();
            return CacheError::Io { path, error };
        }
    };
    CacheError::NotOurs {
        path: path.to_owned(),
        what,
        mend: "Remove it, and pilothouse makes the directory itself; or name another state directory",
    }
}

/// Whether it is this process or machine that has no room left, and not the entry that is wrong.
fn is_passing(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let passing = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::INTR].map(|errno| Some(errno.raw_os_error()));
    passing.contains(&error.raw_os_error())
}

/// What lets others than this user at it.
fn others(metadata: &fs::Metadata) -> Option<&'static str> {
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Some("belongs to another user");
    }
    (metadata.mode() & 0o077 != 0).then_some("others than its user have rights to it")
}

/// What keeps a file of this user from being one that this cache wrote.
fn irregular(metadata: &fs::Metadata) -> Option<&'static str> {
    if !metadata.is_file() {
        return Some("is no regular file");
    }
    (metadata.nlink() != 1).then_some("has another name as well")
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
