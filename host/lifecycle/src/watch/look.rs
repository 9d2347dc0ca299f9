//! One look at the plugin directory: every file's stamp, and the hash of those whose stamp is new.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::settling::{Beside, Print, Settling, Sighting};
use crate::directory::{self, Directory, DirectoryError, Stamp};
use crate::load::Hash;
use crate::refusal::{Refusal, Step};

/// What lies in the directory, and the names of `NAME.yaml` without a module. Blocks. Modules longer than `most` bytes
/// are refused unread.
///
/// # Errors
/// The directory as a whole can't be looked at; nothing is known then.
pub(crate) fn look(
    path: &Path,
    most: u64,
    before: &Settling,
) -> Result<(BTreeMap<String, Sighting>, Vec<String>), DirectoryError> {
    let directory = Directory::open(path)?;
    let (entries, stray) = directory::look(&directory)?;
    let looked = entries.into_iter().map(|(name, entry)| {
        let settled = before.settled(&name);
        let module = entry.module.and_then(|stamp| {
            let known = settled.and_then(|settled| settled.module.as_ref().ok());
            match known.filter(|known| known.stamp == stamp) {
                Some(known) => Ok(*known),
                // Opened anew: the stamp and the hash are of one open file.
                None => directory
                    .module(&name)
                    .and_then(|(file, stamp)| print(&name, file, stamp, most)),
            }
        });
        let beside = entry.beside.and_then(|stamp| {
            let known = settled.and_then(|settled| settled.beside.as_ref()?.as_ref().ok());
            match (stamp, known) {
                (Ok(stamp), Some(known)) if known.stamp == stamp => Some(Ok(known.clone())),
                (Err(refusal), _) => Some(Err(refusal)),
                (Ok(_), _) => {
                    let read = directory.beside(&name).transpose()?;
                    Some(read.map(|(text, stamp)| Beside {
                        stamp,
                        text: text.into(),
                    }))
                }
            }
        });
        (name, Sighting { module, beside })
    });
    Ok((looked.collect(), stray))
}

fn print(name: &str, file: File, stamp: Stamp, most: u64) -> Result<Print, Refusal> {
    // What is too long is refused by the loader in its words; here it is only not read.
    if stamp.length > most {
        return Ok(Print {
            stamp,
            hash: Hash::UNREAD,
        });
    }
    let hash = hash_of(file.take(most.saturating_add(1)));
    let hash = hash.map_err(|error| {
        let mend = "check that the file is there and that the host's user may read it";
        Refusal::new(name, Step::Read, format!("{name}.wasm can't be read: {error}"), mend)
    })?;
    Ok(Print { stamp, hash })
}

fn hash_of(mut file: impl io::Read) -> io::Result<Hash> {
    let (mut hasher, mut piece) = (Sha256::new(), vec![0; 64 * 1024]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(Hash::from(hasher)),
            length => hasher.update(piece.get(..length).unwrap_or_default()),
        }
    }
}
