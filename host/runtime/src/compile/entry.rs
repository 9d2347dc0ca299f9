//! The form of an entry of the code cache: the code, and behind it what it is and the proof of it.
//!
//! The code comes first, so that the file can be mapped as it is. The HMAC goes over the code and the whole
//! description, which names the module and what the code fits: no entry passes for another one.

use std::fmt;

use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

const MAGIC: &[u8; 8] = b"PHCODE01";

/// Bytes behind the code: magic, the code's length, the module's hash, what it fits, HMAC.
pub(super) const TRAILER: usize = DESCRIPTION + 32;
const DESCRIPTION: usize = 8 + 8 + 32 + 32;

/// Which code: of which module, and for which engine.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name {
    module: [u8; 32],
    compatibility: [u8; 32],
}

impl Name {
    pub(crate) fn new(module: &[u8], compatibility: [u8; 32]) -> Self {
        Name {
            module: Sha256::digest(module).into(),
            compatibility,
        }
    }

    fn description(&self, length: u64) -> [u8; DESCRIPTION] {
        let mut out = [0; DESCRIPTION];
        let parts: [&[u8]; 4] = [MAGIC, &length.to_le_bytes(), &self.module, &self.compatibility];
        let bytes = parts.into_iter().flatten();
        out.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        out
    }
}

/// Its file's name.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.module.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("-")?;
        // Half of it tells them apart; the whole stands in the entry.
        let (half, _) = self.compatibility.split_at(16);
        half.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(".code")
    }
}

/// Whether a file's name has the form of an entry's.
pub(super) fn is_name(name: &str) -> bool {
    let hex =
        |text: &str, digits| text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    name.strip_suffix(".code")
        .and_then(|name| name.split_once('-'))
        .is_some_and(|(module, fits)| hex(module, 64) && hex(fits, 32))
}

/// What stands behind this code.
pub(super) fn trailer(key: &Key, name: &Name, code: &[u8]) -> Vec<u8> {
    let mut seal = Seal::new(key);
    seal.update(code);
    let description = name.description(code.len() as u64);
    seal.0.update(&description);
    [&description[..], &seal.0.finalize().into_bytes()].concat()
}

/// The secret of one cache.
#[derive(Clone)]
pub(super) struct Key(pub(super) [u8; 32]);

/// Reads an entry's code piece by piece, and judges it at the end.
pub(super) struct Seal(Hmac<Sha256>);

impl Seal {
    pub(super) fn new(key: &Key) -> Self {
        // HMAC fills a key up to a block with zeros; done here, since this way can't fail.
        let mut block = [0; 64];
        block.iter_mut().zip(key.0).for_each(|(to, from)| *to = from);
        Seal(Hmac::new(&block.into()))
    }

    pub(super) fn update(&mut self, code: &[u8]) {
        self.0.update(code);
    }

    /// Whether this trailer is the one that belongs behind `length` bytes of code that were read. Takes the same time
    /// wherever they differ.
    pub(super) fn verify(mut self, name: &Name, length: u64, trailer: &[u8]) -> bool {
        let Some((description, mac)) = trailer.split_at_checked(DESCRIPTION) else {
            return false;
        };
        let expected = name.description(length);
        self.0.update(&expected);
        description == expected && self.0.verify_slice(mac).is_ok()
    }
}
