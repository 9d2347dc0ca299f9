//! Looking at a module without running or compiling it.

use std::path::Path;

use serde::Serialize;

use super::{Embedded, read, unreadable};
use crate::directory::ModuleFile;
use crate::load::Hash;
use crate::refusal::Refusal;

/// What can be known of a module without compiling or running it. Whether the code keeps what is embedded, only its
/// `describe` tells.
#[derive(Clone, Debug, Serialize)]
pub struct Looked {
    /// The identity it would have: the file's name without `.wasm`.
    pub plugin: String,
    /// The module's length in bytes; none if it could not be read.
    pub size: Option<u64>,
    /// Its SHA-256 in hexadecimal digits; none if it could not be read.
    pub hash: Option<String>,
    /// What is embedded in it; none if that could not be read.
    pub embedded: Option<Embedded>,
    /// Why something could not be read; this host would not load the module then.
    pub refusal: Option<Refusal>,
}

/// Looks at the module at `path`, of which at most `max_bytes` are read. Blocks; not for a thread of the async runtime.
pub fn look(path: &Path, max_bytes: u64) -> Looked {
    let file = ModuleFile::at(path);
    let mut looked = Looked::nothing(&file);
    match file.read(max_bytes) {
        Ok(bytes) => {
            looked.size = Some(bytes.len() as u64);
            looked.hash = Some(Hash::of(&bytes).to_string());
            match read(&bytes) {
                Ok(embedded) => looked.embedded = Some(embedded),
                Err(problem) => looked.refusal = Some(unreadable(&file.name, &problem)),
            }
        }
        Err(refusal) => looked.refusal = Some(refusal),
    }
    looked
}

impl Looked {
    fn nothing(file: &ModuleFile) -> Self {
        Self {
            plugin: file.name.clone(),
            size: None,
            hash: None,
            embedded: None,
            refusal: None,
        }
    }
}
