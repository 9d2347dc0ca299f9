//! The key of Secrets' digests, kept in the state directory so that digests stay what they were over restarts.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use pilothouse_controller::DigestKey;
use pilothouse_object::escape_control;

use crate::exit::Stop;

/// Its file.
const NAME: &str = "digest-key";

/// The key of this directory, which nobody else uses at the same time; made if there is none.
///
/// # Errors
/// The file can't be used: with another key every digest would be another.
pub(crate) fn keep(directory: &Path) -> Result<DigestKey, Stop> {
    let path = directory.join(NAME);
    let unusable = |error: io::Error| {
        Stop::usage(format!(
            "{}: the key of Secrets' digests can't be used: {error}: remove it for a new one, with which digests are others",
            escape_control(&path.display().to_string())
        ))
    };
    match read(&path) {
        Ok(key) => return Ok(DigestKey::new(key)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(unusable(error)),
    }
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|error| unusable(io::Error::other(error.to_string())))?;
    write(&path, &key).map_err(unusable)?;
    Ok(DigestKey::new(key))
}

fn read(path: &Path) -> io::Result<[u8; 32]> {
    let mut key = [0; 32];
    let mut file = File::open(path)?;
    file.read_exact(&mut key)?;
    if file.read(&mut [0])? > 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is longer than 32 bytes"));
    }
    Ok(key)
}

/// All at once: a host that ends meanwhile leaves no half of a key.
fn write(path: &Path, key: &[u8; 32]) -> io::Result<()> {
    let part = path.with_extension("part");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&part)?;
    file.write_all(key)?;
    file.sync_all()?;
    fs::rename(&part, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

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
            fs::write(directory.path().join(NAME), wrong).unwrap();
            let error = keep(directory.path()).map(drop).unwrap_err().to_string();
            assert!(error.contains("remove it for a new one"), "{error}");
        }
    }
}
