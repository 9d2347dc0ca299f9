//! The key of digests: what a plugin is told of a Secret that it may not read.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// The key that digests of Secrets are made with. The same content has another digest under another key, so it is kept
/// over restarts where anything else is.
#[derive(Clone)]
pub struct DigestKey([u8; 32]);

impl DigestKey {
    /// A key of these bytes, which nobody may be able to guess.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The keyed digest of a digest, 64 hexadecimal digits.
    pub(crate) fn of(&self, digest: &str) -> String {
        use fmt::Write as _;
        // Key first and of one length, and nobody is to take this for a proof of anything: a plain hash will do.
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update(digest);
        hash.finalize().iter().fold(String::with_capacity(64), |mut out, byte| {
            // Writing to a String can't fail.
            let _ = write!(out, "{byte:02x}");
            out
        })
    }
}

/// Shows nothing of it.
impl fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DigestKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_tells_content_apart_and_takes_the_key_to_make() {
        let (one, other) = (DigestKey::new([1; 32]), DigestKey::new([2; 32]));
        assert_eq!(one.of("a"), DigestKey::new([1; 32]).of("a"));
        assert_ne!(one.of("a"), one.of("b"));
        assert_ne!(one.of("a"), other.of("a"));
        assert_eq!(one.of("a").len(), 64);
        assert_eq!(format!("{one:?}"), "DigestKey(…)");
    }
}
