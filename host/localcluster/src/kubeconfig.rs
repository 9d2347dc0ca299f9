//! Writes the kubeconfig with which kubectl and other clients reach the local cluster's HTTP face.
//!
//! Promises: the file is readable by its owner only (0600 on Unix), it appears whole or not at all (written beside
//! its place and renamed), and it holds no credentials, since the face asks for none. Not promised: an existing file
//! at that place is replaced, never merged into; callers choose a path of their own, never `~/.kube/config`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Name of the context, the cluster and the user in the file that [`write()`] writes.
pub const CONTEXT: &str = "pilothouse-local";

/// How many left-over temporary names [`write()`] steps over before it gives up.
const MAX_TEMPORARY_NAMES: u32 = 100;

/// A kubeconfig could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the kubeconfig {}: {what}: {source}; choose a place in a folder that exists and is writable", .path.display())]
pub struct KubeconfigError {
    path: PathBuf,
    what: &'static str,
    source: io::Error,
}

/// The kubeconfig's text for a local cluster that serves at `address`.
///
/// An unspecified address (0.0.0.0 or ::) becomes the loopback address of its family, since nobody can connect to it.
#[must_use]
pub fn text(address: SocketAddr) -> String {
    let mut address = address;
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    format!(
        "apiVersion: v1\n\
         kind: Config\n\
         clusters:\n\
         - name: {CONTEXT}\n\
         \x20 cluster:\n\
         \x20   server: http://{address}\n\
         users:\n\
         - name: {CONTEXT}\n\
         \x20 user: {{}}\n\
         contexts:\n\
         - name: {CONTEXT}\n\
         \x20 context:\n\
         \x20   cluster: {CONTEXT}\n\
         \x20   user: {CONTEXT}\n\
         \x20   namespace: default\n\
         current-context: {CONTEXT}\n"
    )
}

/// Writes [`text`] to `path`, whole or not at all, readable by the owner only. A file that stands there is replaced.
///
/// # Errors
/// When the folder does not exist or can't be written to; nothing is left behind then, and the message names the path.
pub fn write(path: &Path, address: SocketAddr) -> Result<(), KubeconfigError> {
    let failed = |what| {
        move |source| KubeconfigError {
            path: path.to_owned(),
            what,
            source,
        }
    };
    let (mut file, temporary) = create_beside(path).map_err(failed("no temporary file beside it"))?;
    let written = file
        .write_all(text(address).as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(failed("writing failed"))
        .and_then(|()| fs::rename(&temporary, path).map_err(failed("renaming into place failed")));
    if written.is_err() {
        // The error that is reported is the first one; that the temporary file is gone too is all we can still do.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// A new file in the folder of `path`: renaming is atomic only within one file system.
fn create_beside(path: &Path) -> io::Result<(File, PathBuf)> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
    for n in 0..MAX_TEMPORARY_NAMES {
        let mut temporary = std::ffi::OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{}-{n}.tmp", std::process::id()));
        let temporary = path.with_file_name(temporary);
        match options.open(&temporary) {
            Ok(file) => return Ok((file, temporary)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 8001))
    }

    #[test]
    fn the_file_names_the_server_and_is_the_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kubeconfig");
        fs::write(&path, "old").unwrap();
        write(&path, address()).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("    server: http://127.0.0.1:8001\n"), "{text}");
        assert!(text.contains("current-context: pilothouse-local\n"), "{text}");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(names, ["kubeconfig"], "no temporary file stays");
    }

    #[test]
    fn a_left_over_temporary_file_is_stepped_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kubeconfig");
        fs::write(
            folder.path().join(format!(".kubeconfig.{}-0.tmp", std::process::id())),
            "",
        )
        .unwrap();
        write(&path, address()).unwrap();
        assert!(path.exists());
    }

    #[test]
    fn a_missing_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("none").join("kubeconfig");
        let message = write(&path, address()).unwrap_err().to_string();
        assert!(
            message.contains("none/kubeconfig") && message.contains("folder that exists"),
            "{message}"
        );
    }

    #[test]
    fn a_folder_in_the_way_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kubeconfig");
        fs::create_dir(&path).unwrap();
        assert!(write(&path, address()).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_unspecified_address_becomes_one_that_can_be_reached() {
        assert!(text(SocketAddr::from(([0, 0, 0, 0], 1))).contains("http://127.0.0.1:1\n"));
        assert!(text("[::]:1".parse().unwrap()).contains("http://[::1]:1\n"));
    }
}
