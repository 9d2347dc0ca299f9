//! The key of Secrets' digests, kept in the state directory so that digests stay what they were over restarts.

use std::{
    fs::OpenOptions,
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use pilothouse_controller::DigestKey;
use pilothouse_lifecycle::kept::files;
use pilothouse_object::escape_control;
use rustix::fs::OFlags;

use crate::exit::Stop;

/// Its file.
const NAME: &str = "digest-key";

/// The key of this directory, which nobody else uses at the same time; made if there is none. One that others may know
/// is replaced, which the log tells: with it they could find out by trying what a Secret holds.
///
/// # Errors
/// The file can't be used: with another key every digest would be another.
pub(crate) fn keep(directory: &Path) -> Result<DigestKey, Stop> {
    let path = directory.join(NAME);
    let shown = escape_control(&path.display().to_string()).into_owned();
    let unusable = |error: io::Error| {
        Stop::usage(format!(
            "{shown}: the key of Secrets' digests can't be used: {error}: remove it for a new one, with which digests are \
             others"
        ))
    };
    match read(&path).map_err(unusable)? {
        Found::Key(key) => return Ok(DigestKey::new(key)),
        Found::Nothing => {}
        Found::Known(why) => tracing::warn!(
            "{shown}: {why}: others may know the key of Secrets' digests, so a new one is made, with which digests are others"
        ),
    }
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|error| unusable(io::Error::other(error.to_string())))?;
    // A name that is a link is replaced, not followed.
    files::replace(directory, NAME, &key).map_err(|error| {
        Stop::usage(format!(
            "{shown}: a key of Secrets' digests can't be kept: {error}; make room there, or give the state directory to the \
             user that pilothouse runs as"
        ))
    })?;
    Ok(DigestKey::new(key))
}

enum Found {
    Nothing,
    Key([u8; 32]),
    /// Others could read or write it: how.
    Known(String),
}

fn read(path: &Path) -> io::Result<Found> {
    // Tells what a link is, which would else be "too many levels of symbolic links".
    if !files::is_file(path)? {
        return Ok(Found::Nothing);
    }
    // Should it have become something else since: no link is followed, no pipe waited for.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    if let Some(why) = known(about.uid(), about.mode(), rustix::process::geteuid().as_raw()) {
        return Ok(Found::Known(why));
    }
    let mut bytes = Vec::new();
    file.take(33).read_to_end(&mut bytes)?;
    <[u8; 32]>::try_from(bytes).map(Found::Key).map_err(|bytes| {
        let length = if bytes.len() > 32 { "more" } else { "less" };
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it has {length} than the 32 bytes of a key"),
        )
    })
}

/// Why others than this user may know what is in such a file.
fn known(owner: u32, mode: u32, own: u32) -> Option<String> {
    if owner != own {
        return Some(format!("it belongs to user {owner}, and pilothouse runs as user {own}"));
    }
    match mode & 0o077 {
        0 => None,
        _ => Some(format!(
            "its mode {:03o} lets others than its owner at it",
            mode & 0o777
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    use super::*;

    fn plant(path: &Path, bytes: &[u8], mode: u32) {
        fs::write(path, bytes).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn assert_new(path: &Path) {
        let about = fs::symlink_metadata(path).unwrap();
        assert!(about.is_file());
        assert_eq!(about.mode() & 0o777, 0o600);
        assert_eq!(about.uid(), rustix::process::geteuid().as_raw());
        let key = fs::read(path).unwrap();
        assert_eq!(key.len(), 32);
        assert_ne!(key, [7; 32]);
    }

    #[test]
    fn a_key_that_others_could_read_or_write_is_made_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(NAME);
        for mode in [0o640, 0o604, 0o620, 0o666] {
            plant(&path, &[7; 32], mode);
            keep(directory.path()).unwrap();
            assert_new(&path);
        }
        plant(&path, &[7; 32], 0o600);
        keep(directory.path()).unwrap();
        assert_eq!(
            fs::read(&path).unwrap(),
            [7; 32],
            "one that nobody else could read stays"
        );
    }

    #[test]
    fn others_know_a_key_of_another_user_whatever_its_mode() {
        for (owner, own) in [(0, 1000), (1000, 0), (1000, 1001)] {
            let why = known(owner, 0o100_600, own).unwrap();
            assert!(why.contains(&format!("belongs to user {owner}")), "{why}");
        }
        assert_eq!(known(1000, 0o100_600, 1000), None);
        assert_eq!(known(1000, 0o100_400, 1000), None);
    }

    #[test]
    fn a_key_that_another_user_planted_is_made_anew() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can give a file to another user");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(NAME);
        plant(&path, &[7; 32], 0o600);
        chown(&path, Some(4242), None).unwrap();
        keep(directory.path()).unwrap();
        assert_new(&path);
    }

    #[test]
    fn a_link_is_never_written_through_nor_read() {
        let directory = tempfile::tempdir().unwrap();
        let victim = directory.path().join("victim");
        plant(&victim, &[7; 32], 0o600);
        for name in ["digest-key.part", "digest-key.new"] {
            symlink(&victim, directory.path().join(name)).unwrap();
        }
        let path = directory.path().join(NAME);
        keep(directory.path()).unwrap();
        assert_new(&path);
        fs::remove_file(&path).unwrap();
        symlink(&victim, &path).unwrap();
        let error = keep(directory.path()).map(drop).unwrap_err().to_string();
        assert!(
            error.contains("it is a symbolic link and no regular file: remove it for a new one"),
            "{error}"
        );
        assert_eq!(fs::read(&victim).unwrap(), [7; 32]);
    }

    #[test]
    fn a_directory_in_the_way_of_a_key_is_told_with_the_mend() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("digest-key.new")).unwrap();
        let error = keep(directory.path()).map(drop).unwrap_err().to_string();
        assert!(
            error.contains("can't be kept: digest-key.new is a directory, where a file is to be: remove it; "),
            "{error}"
        );
    }

    #[test]
    fn a_key_is_kept_and_for_this_user_alone() {
        let directory = tempfile::tempdir().unwrap();
        keep(directory.path()).unwrap();
        let path = directory.path().join(NAME);
        let first = fs::read(&path).unwrap();
        keep(directory.path()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), first);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_key_is_never_replaced_unasked() {
        let directory = tempfile::tempdir().unwrap();
        for wrong in [&b"short"[..], &[7; 33]] {
            plant(&directory.path().join(NAME), wrong, 0o600);
            let error = keep(directory.path()).map(drop).unwrap_err().to_string();
            assert!(error.contains("remove it for a new one"), "{error}");
        }
    }
}
