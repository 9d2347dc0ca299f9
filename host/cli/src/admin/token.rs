//! The token with which operators' commands come over HTTP.

use std::{fs::File, io::Read as _, path::Path};

use pilothouse_lifecycle::Hash;
use pilothouse_object::escape_control;

/// Bytes of a token, at least: what can be guessed is none.
const LEAST: usize = 16;

/// Bytes of a token, at most.
const MOST: usize = 512;

/// A token, as its hash: what is compared takes the same time whatever was sent.
#[derive(Clone)]
pub(crate) struct Token([u8; 64]);

impl Token {
    fn of(text: &[u8]) -> Self {
        let mut digits = [0; 64];
        let hash = Hash::of(text).to_string();
        digits.copy_from_slice(hash.as_bytes());
        Self(digits)
    }

    /// Whether that is it. Takes as long for every text of a length.
    pub(crate) fn is(&self, text: &[u8]) -> bool {
        let other = Self::of(text);
        let differing = self
            .0
            .iter()
            .zip(other.0)
            .fold(0, |all, (own, other)| all | (own ^ other));
        std::hint::black_box(differing) == 0
    }
}

/// The token of a file, for whoever lets others in by it.
///
/// # Errors
/// What is wrong with it, where, and the mend.
pub(crate) fn read(path: &Path) -> Result<Token, String> {
    text(path).map(|text| Token::of(text.as_bytes()))
}

/// The token of a file as text: a regular file of this user's or root's, that nobody else can read or write.
///
/// # Errors
/// What is wrong with it, where, and the mend.
pub(crate) fn text(path: &Path) -> Result<String, String> {
    let shown = path.display().to_string();
    let wrong = |why: String| format!("token file (--admin-token-file) {}: {why}", escape_control(&shown));
    let file = open(path).map_err(|error| wrong(error.to_string()))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        // Of the open file: nobody can put another one in its place meanwhile.
        let about = file.metadata().map_err(|error| wrong(error.to_string()))?;
        if !about.is_file() {
            return Err(wrong("is no regular file".to_owned()));
        }
        let own = rustix::process::geteuid().as_raw();
        if about.uid() != own && about.uid() != 0 {
            return Err(wrong(format!(
                "belongs to the user {}: make one of your own",
                about.uid()
            )));
        }
        if about.mode() & 0o077 != 0 {
            let mode = about.mode() & 0o777;
            return Err(wrong(format!(
                "others can read or write it (mode {mode:04o}): make it yours alone with `chmod 600`, and take another token"
            )));
        }
    }
    let mut bytes = Vec::new();
    let read = file.take(MOST as u64 + 2).read_to_end(&mut bytes);
    read.map_err(|error| wrong(error.to_string()))?;
    let text = bytes.trim_ascii();
    if !(LEAST..=MOST).contains(&text.len()) || !text.iter().all(u8::is_ascii_graphic) {
        return Err(wrong(format!(
            "a token is {LEAST} to {MOST} letters, digits and signs on one line: make one with `openssl rand -hex 32`"
        )));
    }
    String::from_utf8(text.to_vec()).map_err(|_| wrong("is no text".to_owned()))
}

/// Without waiting for whoever writes into a pipe.
#[cfg(unix)]
fn open(path: &Path) -> std::io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

#[cfg(not(unix))]
fn open(path: &Path) -> std::io::Result<File> {
    File::open(path)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_token_is_itself_and_nothing_else() {
        let token = Token::of(b"0123456789abcdef");
        assert!(token.is(b"0123456789abcdef"));
        for other in [&b""[..], b"0123456789abcde", b"0123456789abcdeF", b"0123456789abcdef0"] {
            assert!(!token.is(other));
        }
    }

    #[test]
    fn a_token_file_is_of_this_user_alone_and_holds_one_token() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let read_with = |text: &[u8], mode: u32| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            super::text(&path)
        };
        assert_eq!(read_with(b"0123456789abcdef\n", 0o600).unwrap(), "0123456789abcdef");
        assert!(read_with(b"0123456789abcdef\n", 0o400).is_ok());
        for mode in [0o640, 0o604, 0o620] {
            let error = read_with(b"0123456789abcdef\n", mode).unwrap_err();
            assert!(error.contains("chmod 600"), "{error}");
        }
        let long = vec![b'x'; MOST + 1];
        for text in [
            &b"short"[..],
            b"",
            b"0123456789 abcdef",
            b"0123456789abcdef\n0123456789abcdef",
            b"\xff\xfe0123456789abcdef",
            &long,
        ] {
            let error = read_with(text, 0o600).unwrap_err();
            assert!(error.contains("openssl rand -hex 32"), "{error}");
        }
        assert!(super::text(folder.path()).unwrap_err().contains("no regular file"));
        assert!(super::text(&folder.path().join("none")).is_err());
    }
}
