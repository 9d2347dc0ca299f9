//! The Unix socket: where it is, and how it is taken.
//!
//! Promises: it lies in a directory that is this user's alone and has the mode 0600; what a killed host left there is
//! replaced without a person; the socket of a host that lives, and whatever is no socket of this user's, never is. Two
//! hosts that begin at once don't take it from one another: the directory is locked meanwhile.

use std::{
    env,
    ffi::OsString,
    fs, io,
    os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use pilothouse_object::escape_control;
use rustix::{
    fs::{FlockOperation, Mode, OFlags},
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with},
};
use tokio::net::UnixListener;

/// Bytes of a socket's path that the system takes, less the one that ends it (on Linux; fewer elsewhere, which it
/// says).
const LONGEST: usize = 107;

/// The mend where a directory can't be had.
const ELSEWHERE: &str = "name a place in a directory of your own with --admin-socket";

/// Where the socket is if nothing is said: in the user's runtime directory, or else beneath the temporary one.
pub(crate) fn default_path() -> PathBuf {
    by_default(|name| env::var_os(name), rustix::process::geteuid().as_raw())
}

fn by_default(variable: impl Fn(&str) -> Option<OsString>, user: u32) -> PathBuf {
    // As its rules want it, one that is not absolute is none.
    let runtime = variable("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    let directory = match runtime {
        Some(runtime) => runtime.join("pilothouse"),
        None => PathBuf::from(format!("/tmp/pilothouse-{user}")),
    };
    directory.join("admin.sock")
}

/// A socket that is listened on.
#[derive(Debug)]
pub(crate) struct Bound {
    listener: UnixListener,
    guard: Guard,
}

/// Takes the socket away when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Guard(Option<Left>);

#[derive(Debug)]
struct Left {
    path: PathBuf,
    /// Device and number: what lies there may be another's by then.
    file: (u64, u64),
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(Left { path, file }) = self.0.take() else {
            return;
        };
        if identity(&path).is_ok_and(|there| there == file) {
            // What can't be taken away is replaced at the next start.
            let _ = fs::remove_file(&path);
        }
    }
}

impl Bound {
    pub(crate) fn split(self) -> (UnixListener, Guard) {
        (self.listener, self.guard)
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let about = fs::symlink_metadata(path)?;
    Ok((about.dev(), about.ino()))
}

/// Takes the socket. Needs a tokio runtime.
///
/// # Errors
/// Why it can't be had, where, and the mend.
pub(crate) fn bind(path: &Path) -> Result<Bound, String> {
    let shown = path.display().to_string();
    let wrong = |why: &str| format!("{}: {why}", escape_control(&shown));
    let system = |what: &str, error: io::Error| wrong(&format!("{what}: {error}"));
    if path.as_os_str().len() > LONGEST {
        return Err(wrong(&format!(
            "is longer than the {LONGEST} bytes of a socket's path: choose a shorter one"
        )));
    }
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    // Held until the end of this: no other host looks at it and takes it meanwhile.
    let _lock = own_directory(&directory)?;
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(system("can't be looked at", error)),
        Ok(about) => {
            if !about.file_type().is_socket() || about.uid() != rustix::process::geteuid().as_raw() {
                return Err(wrong(
                    "something else than a socket of this user's lies there: name another place",
                ));
            }
            match knock(path) {
                // Nobody listens: it is what a killed host left.
                Err(Errno::CONNREFUSED) => {
                    fs::remove_file(path)
                        .map_err(|error| system("what a host left there can't be taken away", error))?;
                }
                Err(Errno::NOENT) => {}
                Ok(()) | Err(_) => {
                    return Err(wrong(
                        "another host is reached there: stop it, or name another place with --admin-socket",
                    ));
                }
            }
        }
    }
    let listener = UnixListener::bind(path).map_err(|error| system("can't be listened on", error))?;
    let guard = Guard(Some(Left {
        path: path.to_owned(),
        file: identity(path).map_err(|error| system("can't be looked at", error))?,
    }));
    // Nobody else comes as far as to it before: the directory is this user's alone.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
        .map_err(|error| system("can't be made private", error))?;
    Ok(Bound { listener, guard })
}

/// Whether somebody listens there. Does not wait, not even for one who lives and does not accept.
fn knock(path: &Path) -> Result<(), Errno> {
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
        None,
    )?;
    connect(&socket, &SocketAddrUnix::new(path)?)
}

/// Makes the directory if need be, sees that it is this user's alone, and locks it.
fn own_directory(directory: &Path) -> Result<fs::File, String> {
    let shown = directory.display().to_string();
    let wrong = |why: &str| format!("{}: {why}", escape_control(&shown));
    let made = fs::DirBuilder::new().mode(0o700).create(directory);
    match made {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(wrong(&format!("the directory can't be made: {error}: {ELSEWHERE}"))),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = rustix::fs::open(directory, flags, Mode::empty());
    let open = open.map_err(|error| match fs::symlink_metadata(directory) {
        Ok(about) if about.is_symlink() => wrong(&format!("the directory is a symbolic link: {ELSEWHERE}")),
        _ => wrong(&format!("the directory can't be opened: {error}: {ELSEWHERE}")),
    });
    let open = fs::File::from(open?);
    let about = open.metadata().map_err(|error| wrong(&error.to_string()))?;
    if about.uid() != rustix::process::geteuid().as_raw() {
        return Err(wrong(&format!("the directory is another user's: {ELSEWHERE}")));
    }
    if about.mode() & 0o077 != 0 {
        let mode = about.mode() & 0o777;
        return Err(wrong(&format!(
            "others can enter the directory (mode {mode:04o}): `chmod 700` it, or name a place in one that is yours alone \
             with --admin-socket"
        )));
    }
    rustix::fs::flock(&open, FlockOperation::LockExclusive)
        .map_err(|error| wrong(&format!("the directory can't be locked: {error}")))?;
    Ok(open)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let private = fs::Permissions::from_mode(0o700);
        tempfile::Builder::new().permissions(private).tempdir().unwrap()
    }

    #[test]
    fn the_default_is_in_the_runtime_directory_or_else_one_of_the_users_own() {
        let of = |value: Option<&str>| by_default(|_| value.map(Into::into), 7);
        assert_eq!(of(Some("/run/user/7")), Path::new("/run/user/7/pilothouse/admin.sock"));
        for none in [None, Some(""), Some("relative")] {
            assert_eq!(of(none), Path::new("/tmp/pilothouse-7/admin.sock"));
        }
    }

    #[tokio::test]
    async fn the_socket_and_its_directory_are_this_users_alone_and_it_goes_in_the_end() {
        let folder = folder();
        let path = folder.path().join("own/admin.sock");
        let bound = bind(&path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        drop(bound);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_a_killed_host_left_is_replaced_and_what_lives_is_not() {
        let folder = folder();
        let path = folder.path().join("admin.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "as a killed host leaves it");
        let living = bind(&path).unwrap();
        let error = bind(&path).unwrap_err();
        assert!(error.contains("another host is reached there"), "{error}");
        assert!(path.exists());
        drop(living);

        fs::write(&path, "somebody's").unwrap();
        let error = bind(&path).unwrap_err();
        assert!(error.contains("something else than a socket"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "somebody's");
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &path).unwrap();
        assert!(bind(&path).unwrap_err().contains("something else than a socket"));
    }

    #[tokio::test]
    async fn what_came_in_its_place_is_left_alone_in_the_end() {
        let folder = folder();
        let path = folder.path().join("admin.sock");
        let bound = bind(&path).unwrap();
        // Made before the other is gone, so that it can't get its number.
        fs::write(folder.path().join("new"), "somebody's").unwrap();
        fs::rename(folder.path().join("new"), &path).unwrap();
        drop(bound);
        assert_eq!(fs::read_to_string(&path).unwrap(), "somebody's");
    }

    #[tokio::test]
    async fn a_directory_that_others_enter_and_one_behind_a_link_are_refused() {
        let folder = folder();
        let open = folder.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
        let error = bind(&open.join("admin.sock")).unwrap_err();
        assert!(error.contains("`chmod 700` it"), "{error}");
        assert_eq!(fs::read_dir(&open).unwrap().count(), 0);
        std::os::unix::fs::symlink(folder.path(), folder.path().join("link")).unwrap();
        let error = bind(&folder.path().join("link/admin.sock")).unwrap_err();
        let said =
            "link: the directory is a symbolic link: name a place in a directory of your own with --admin-socket";
        assert!(error.ends_with(said), "{error}");
        let error = bind(&folder.path().join("none/own/admin.sock")).unwrap_err();
        assert!(
            error.contains("can't be made") && error.ends_with("with --admin-socket"),
            "{error}"
        );
        let long = folder.path().join("x".repeat(LONGEST));
        assert!(bind(&long).unwrap_err().contains("choose a shorter one"));
    }

    #[tokio::test]
    async fn of_many_that_begin_at_once_one_has_it() {
        let folder = folder();
        let path = folder.path().join("admin.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let runtime = tokio::runtime::Handle::current();
        let bound: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        let _runtime = runtime.enter();
                        bind(&path)
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(bound.iter().filter(|bound| bound.is_ok()).count(), 1, "{bound:?}");
        knock(&path).unwrap();
    }
}
