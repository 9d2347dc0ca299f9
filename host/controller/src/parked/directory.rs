//! Whose the state directory is: what others may write there would be taken for the host's own.
//!
//! It does not look at the directories above it, and does not guard against root.

use std::path::Path;
use std::{fs, io};

use super::StateError;

/// Makes the directory, for this user alone, or sees to it that it is this user's and that nobody else may write there.
///
/// # Errors
/// It is a link or no directory, belongs to another user, or others can't be kept out of it.
#[cfg(unix)]
pub(super) fn make_ours(path: &Path) -> Result<(), StateError> {
    use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
    use std::path::PathBuf;

    use pilothouse_object::escape_control;
    use rustix::fs::OFlags;

    let unusable = |error| StateError::Unusable {
        path: path.to_owned(),
        error,
    };
    let not_ours = |what, mend| StateError::NotOurs {
        path: path.to_owned(),
        what,
        mend,
    };
    // Without a slash at its end, behind which a link would be followed.
    let name: PathBuf = path.components().collect();
    if let Some(parent) = name.parent() {
        fs::create_dir_all(parent).map_err(unusable)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(&name) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(unusable(error)),
        _ => {}
    }
    if fs::symlink_metadata(&name).map_err(unusable)?.is_symlink() {
        return Err(not_ours(
            "it is a symbolic link".to_owned(),
            "name the directory itself as the state directory",
        ));
    }
    // What is judged is what is changed, whatever the name stands for meanwhile.
    let flags = (OFlags::DIRECTORY | OFlags::NOFOLLOW).bits().cast_signed();
    let opened = fs::OpenOptions::new().read(true).custom_flags(flags).open(&name);
    let directory = opened.map_err(unusable)?;
    let about = || directory.metadata().map_err(unusable);
    let judge = |about: &fs::Metadata| judge(about.uid(), about.mode(), rustix::process::geteuid().as_raw());
    match judge(&about()?) {
        Whose::Ours => return Ok(()),
        Whose::Another(what) => {
            return Err(not_ours(
                what,
                "give it to the user that pilothouse runs as, or name a directory within it, which pilothouse makes",
            ));
        }
        Whose::Everybodys => {
            return Err(not_ours(
                "everybody may make files there (its sticky bit is set, as that of /tmp)".to_owned(),
                "name a directory within it, which pilothouse makes",
            ));
        }
        Whose::Shared => {}
    }
    let private = fs::Permissions::from_mode(0o700);
    directory.set_permissions(private).map_err(unusable)?;
    if judge(&about()?) != Whose::Ours {
        return Err(not_ours(
            "others may write there, and its file system does not let that be changed".to_owned(),
            "name a state directory on a file system that knows users and modes",
        ));
    }
    tracing::warn!(
        "{}: others could write to the state directory; now its owner alone may (a volume's fsGroup widens it at each \
         start). If somebody else may have written there, delete what is in it",
        escape_control(&path.display().to_string())
    );
    Ok(())
}

/// Where there are no owners and modes to look at.
///
/// # Errors
/// It can't be made.
#[cfg(not(unix))]
pub(super) fn make_ours(path: &Path) -> Result<(), StateError> {
    fs::create_dir_all(path).map_err(|error: io::Error| StateError::Unusable {
        path: path.to_owned(),
        error,
    })
}

/// Who may write to a directory.
#[cfg(unix)]
#[derive(Debug, PartialEq, Eq)]
enum Whose {
    /// This user alone.
    Ours,
    /// This user, who owns it, and others.
    Shared,
    /// Meant for all users: it would harm them to shut them out.
    Everybodys,
    /// Another user owns it: why it is refused.
    Another(String),
}

#[cfg(unix)]
fn judge(owner: u32, mode: u32, own: u32) -> Whose {
    if owner != own {
        return Whose::Another(format!(
            "it belongs to user {owner}, and pilothouse runs as user {own}: others could change what it keeps there"
        ));
    }
    match (mode & 0o022, mode & 0o1000) {
        (0, _) => Whose::Ours,
        (_, 0) => Whose::Shared,
        _ => Whose::Everybodys,
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_new_directory_is_for_this_user_alone() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("its parent/state");
        make_ours(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        make_ours(&path).unwrap();
        make_ours(&path.join("")).unwrap();
    }

    #[test]
    fn a_directory_that_others_may_only_read_stays_as_it_is() {
        let scratch = tempfile::tempdir().unwrap();
        fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
        make_ours(scratch.path()).unwrap();
        assert_eq!(mode(scratch.path()), 0o755);
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_taken_from_them() {
        let scratch = tempfile::tempdir().unwrap();
        for wide in [0o770, 0o702, 0o777] {
            fs::set_permissions(scratch.path(), fs::Permissions::from_mode(wide)).unwrap();
            make_ours(scratch.path()).unwrap();
            assert_eq!(mode(scratch.path()) & 0o777, 0o700, "{wide:o}");
        }
    }

    #[test]
    fn a_directory_like_tmp_is_refused_and_left_to_everybody() {
        let scratch = tempfile::tempdir().unwrap();
        fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        let error = make_ours(scratch.path()).unwrap_err().to_string();
        assert!(error.contains("everybody may make files there"), "{error}");
        assert_eq!(mode(scratch.path()), 0o1777);
    }

    #[test]
    fn a_link_is_refused_with_or_without_a_slash() {
        let scratch = tempfile::tempdir().unwrap();
        let (target, link) = (scratch.path().join("target"), scratch.path().join("link"));
        fs::create_dir(&target).unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(0o777)).unwrap();
        symlink(&target, &link).unwrap();
        for path in [link.clone(), link.join("")] {
            let error = make_ours(&path).unwrap_err().to_string();
            assert!(error.contains("link"), "{error}");
            assert!(
                error.contains("it is a symbolic link; name the directory itself"),
                "{error}"
            );
        }
        assert_eq!(mode(&target), 0o777, "what it points to is not touched");
    }

    #[test]
    fn a_directory_of_another_user_is_refused_be_it_roots_or_ours_to_change() {
        for (owner, own) in [(0, 1000), (1000, 0), (1000, 1001)] {
            for mode in [0o700, 0o777] {
                let Whose::Another(why) = judge(owner, mode, own) else {
                    panic!("{owner} {own} {mode:o}");
                };
                assert!(why.contains(&format!("belongs to user {owner}, and pilothouse runs as user {own}")));
            }
        }
        assert_eq!(judge(1000, 0o40755, 1000), Whose::Ours);
        assert_eq!(judge(1000, 0o42770, 1000), Whose::Shared);
    }

    #[test]
    fn root_does_not_use_what_another_user_may_change() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can give a directory to another user");
            return;
        }
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("state");
        fs::create_dir(&path).unwrap();
        std::os::unix::fs::chown(&path, Some(4242), None).unwrap();
        let error = make_ours(&path).unwrap_err().to_string();
        assert!(error.contains("it belongs to user 4242"), "{error}");
        assert!(error.contains("name a directory within it"), "{error}");
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0, "nothing was written there");
    }
}
