//! The plugin directory: which files in it are modules, what the operator says beside them, and reading either.
//!
//! A module is a regular file `NAME.wasm` right in the directory, where NAME is a DNS-1123 label; NAME is the plugin's
//! identity, whatever the plugin says of itself. Beside it may lie `NAME.yaml`, the operator's side of that plugin.
//! Files of other endings and files whose names begin with a dot (what copying tools leave for a moment, and what a
//! mounted ConfigMap consists of) are passed over. A file that can't be taken is refused by name and harms no other.
//!
//! How files are opened, and who may not be able to write them: `open`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{Config, PluginConfig};
use crate::load::Hash;
use crate::problem::{Problem, shown};
use crate::refusal::{Refusal, Step};
use crate::rules::is_label;

mod open;

pub use open::Others;
pub(crate) use open::{Directory, Stamp};
use open::{NotOpened, content};

/// A directory may hold this many entries of whatever kind.
pub const MAX_ENTRIES: usize = 10_000;

/// What stands beside a module may be this long, in bytes.
pub const MAX_BESIDE_BYTES: usize = 64 * 1024;

/// A file that may be a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleFile {
    /// The plugin's identity: the file's name without `.wasm`.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
    /// The plugin directory, by whose rules it is opened; none for a file that a person named.
    within: Option<PathBuf>,
    /// What its content must have for a hash; whatever it has where none is said.
    pin: Option<Hash>,
    /// Its content, where that was read already.
    bytes: Option<Arc<[u8]>>,
}

/// What a directory holds.
#[derive(Debug, Default)]
pub struct Scan {
    /// The modules, sorted by name.
    pub modules: Vec<ModuleFile>,
    /// `.wasm` entries that can't be modules, sorted by name.
    pub refused: Vec<Refusal>,
    /// What an operator should know, and what stops nothing.
    pub warnings: Vec<Problem>,
}

/// What a look at the directory showed of one plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its module, or why it can't be one.
    pub(crate) module: Result<Stamp, Refusal>,
    /// What lies beside it.
    pub(crate) beside: Option<Result<Stamp, Refusal>>,
}

/// Why a directory could not be looked at; no plugin is known then.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// There is nothing at the path.
    #[error("the plugin directory {} does not exist; create it, or name another with --plugins", path.display())]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// Something else than a directory is at the path.
    #[error("{} is no directory; --plugins wants the directory that the modules lie in", path.display())]
    NoDirectory {
        /// The path.
        path: PathBuf,
    },
    /// The system refused.
    #[error("the plugin directory {} can't be read: {error}; check its permissions", path.display())]
    Unreadable {
        /// The path.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// Others than root and the host's own user may put plugins into it.
    #[error(
        "the plugin directory {}: {who}, and so decide what runs with the plugins' grants; {mend}",
        path.display()
    )]
    OthersWrite {
        /// The path.
        path: PathBuf,
        /// Who.
        who: Others,
        /// The command that keeps them from it.
        mend: String,
    },
    /// More than [`MAX_ENTRIES`] entries.
    #[error("the plugin directory {} holds more than {MAX_ENTRIES} entries; keep only modules in it", path.display())]
    TooMany {
        /// The path.
        path: PathBuf,
    },
}

/// Looks at what is in `directory`, without reading any module.
///
/// # Errors
/// If the directory as a whole can't be looked at. What is wrong with a single file stands in [`Scan::refused`].
pub fn scan(directory: &Path) -> Result<Scan, DirectoryError> {
    let (entries, stray) = look(&Directory::open(directory)?)?;
    let mut scan = Scan::default();
    for (name, entry) in entries {
        match entry.module {
            Ok(_) => scan.modules.push(ModuleFile::within(directory, &name)),
            Err(refusal) => scan.refused.push(refusal),
        }
    }
    scan.warnings = stray.iter().map(|name| without_module(directory, name)).collect();
    Ok(scan)
}

/// What lies in the directory, by plugin, and the names beside which there is no module.
pub(crate) fn look(directory: &Directory) -> Result<(BTreeMap<String, Entry>, Vec<String>), DirectoryError> {
    let (mut entries, mut beside) = (BTreeMap::new(), BTreeMap::new());
    for file_name in directory.names()? {
        if let Some(name) = file_name.strip_suffix(".wasm") {
            let module = directory.module(name).map(|(_, stamp)| stamp);
            entries.insert(name.to_owned(), Entry { module, beside: None });
        } else if let Some(name) = file_name.strip_suffix(".yaml") {
            // Who keeps other YAML files here is not bothered.
            if is_label(name) {
                let file = directory.file(&file_name).map(|(_, stamp)| stamp);
                beside.insert(name.to_owned(), file.map_err(|why| why.refusal(name, &file_name)));
            }
        }
    }
    let mut stray = Vec::new();
    for (name, file) in beside {
        match entries.get_mut(&name) {
            Some(entry) => entry.beside = Some(file),
            None => stray.push(name),
        }
    }
    Ok((entries, stray))
}

/// What an operator should know of a `NAME.yaml` alone.
pub(crate) fn without_module(directory: &Path, name: &str) -> Problem {
    Problem::new(
        directory.join(format!("{name}.yaml")).to_string_lossy(),
        format!("there is no {name}.wasm beside it"),
        "it is named like the module that it is about",
    )
}

impl NotOpened {
    fn refusal(&self, plugin: &str, file_name: &str) -> Refusal {
        let refuse = |why: String, mend: &str| Refusal::new(plugin, Step::Read, why, mend);
        let file_name = shown(file_name);
        match self {
            Self::Outside => refuse(
                format!("{file_name} is a symbolic link that leads out of the plugin directory"),
                "put the file itself into the directory; links are followed where they are relative and stay beneath it",
            ),
            Self::NoFile => refuse(
                format!("{file_name} is no regular file"),
                "only modules are named .wasm here, and what is said of them .yaml; move it elsewhere",
            ),
            Self::OthersWrite { who, path } => {
                let path = shown(&path.to_string_lossy()).into_owned();
                refuse(
                    format!("{path}: {who}, and so decide what runs with this plugin's grants"),
                    &who.mend(&path),
                )
            }
            Self::System(error) => refuse(
                format!("{file_name} can't be read: {error}"),
                "check that the file is there and that the host's user may read it",
            ),
        }
    }
}

impl Directory {
    /// Opens the module of this plugin.
    pub(crate) fn module(&self, name: &str) -> Result<(File, Stamp), Refusal> {
        if !is_label(name) {
            return Err(Refusal::new(
                name,
                Step::Read,
                format!("`{}` is no plugin name", shown(name)),
                "rename the file: 1 to 63 of a-z, 0-9 and `-`, with a letter or digit at both ends, and then .wasm",
            ));
        }
        let file_name = format!("{name}.wasm");
        self.file(&file_name).map_err(|why| why.refusal(name, &file_name))
    }

    /// Reads what stands beside the module of this plugin; none where nothing does.
    pub(crate) fn beside(&self, name: &str) -> Result<Option<(Vec<u8>, Stamp)>, Refusal> {
        let file_name = format!("{name}.yaml");
        let (file, stamp) = match self.file(&file_name) {
            Ok(open) => open,
            Err(NotOpened::System(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(why) => return Err(why.refusal(name, &file_name)),
        };
        match content(file, MAX_BESIDE_BYTES as u64) {
            Ok(Some(bytes)) => Ok(Some((bytes, stamp))),
            Ok(None) => Err(Refusal::new(
                name,
                Step::Read,
                format!("{file_name} is longer than {} KiB", MAX_BESIDE_BYTES >> 10),
                "is it what the operator says of this plugin? shorten it",
            )),
            Err(error) => Err(NotOpened::System(error).refusal(name, &file_name)),
        }
    }
}

/// What the operator says of the plugin whose module lies in `directory`: in `NAME.yaml` beside it, or else in the
/// operator's file `config`; none where neither is there.
///
/// # Errors
/// A [`Refusal`] that names file, line, field and mend, and quotes no value; or both places where both speak of it.
/// Also where something lies beside the module that the directory's rules forbid to read.
pub fn said_of(directory: &Path, name: &str, config: Option<&Config>) -> Result<Option<PluginConfig>, Refusal> {
    let file_name = format!("{name}.yaml");
    // Asked first, since a person may look at modules in directories that plugins are not taken from.
    let nothing =
        fs::symlink_metadata(directory.join(&file_name)).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    let beside = if nothing {
        None
    } else {
        let open = Directory::open(directory);
        let open = open.map_err(|error| Refusal::new(name, Step::Read, error.to_string(), ""))?;
        open.beside(name)?
    };
    match (beside, config) {
        (None, config) => Ok(config.map(|config| config.plugin(name))),
        (Some((text, _)), config) => {
            let config = config.cloned().unwrap_or_default();
            own_config(&config, directory, name, Some(&text)).map(Some)
        }
    }
}

/// The operator's side of a plugin: what stands beside its module, or else in the operator's file.
///
/// # Errors
/// A [`Refusal`] that names file, line, field and mend, and quotes no value; or both places where both speak of it.
pub(crate) fn own_config(
    config: &Config,
    directory: &Path,
    name: &str,
    beside: Option<&[u8]>,
) -> Result<PluginConfig, Refusal> {
    let Some(bytes) = beside else {
        return Ok(config.plugin(name));
    };
    let file = directory.join(format!("{name}.yaml"));
    if config.plugins.contains_key(name) {
        let file = shown(&file.to_string_lossy()).into_owned();
        return Err(Refusal::new(
            name,
            Step::Config,
            format!("two places say what it may do: plugins.{name} in the operator's file (--config), and {file}"),
            "keep one of the two, so that nobody wonders which is in force",
        ));
    }
    let own = PluginConfig::parse(bytes, &file);
    let mut own = own.map_err(|error| Refusal::new(name, Step::Config, error.to_string(), ""))?;
    own.beside = true;
    Ok(config.completed(own))
}

impl ModuleFile {
    /// The module of this plugin in that directory.
    pub(crate) fn within(directory: &Path, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            path: directory.join(format!("{name}.wasm")),
            within: Some(directory.to_owned()),
            pin: None,
            bytes: None,
        }
    }

    /// The file at `path` as a module, whatever its name: for `inspect`. The name is the file's, without its ending. It
    /// is opened wherever links lead, and whoever may write it.
    pub fn at(path: &Path) -> Self {
        let name = path
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
            .unwrap_or_default();
        Self {
            name,
            path: path.to_owned(),
            within: None,
            pin: None,
            bytes: None,
        }
    }

    /// The same, refused when it is read and has another hash; none lets any pass.
    pub(crate) fn pinned(self, pin: Option<Hash>) -> Self {
        Self { pin, ..self }
    }

    /// The same, with this content, whatever lies there.
    pub(crate) fn holding(self, bytes: Arc<[u8]>) -> Self {
        let bytes = Some(bytes);
        Self { bytes, ..self }
    }

    /// Reads the module, at most `max_bytes` of it. Blocks; not for a thread of the async runtime.
    ///
    /// # Errors
    /// A [`Refusal`] if it may not be taken by the directory's rules, is no regular file, is longer, is empty, or can't
    /// be read.
    pub fn read(&self, max_bytes: u64) -> Result<Arc<[u8]>, Refusal> {
        if let Some(bytes) = &self.bytes {
            return Ok(bytes.clone());
        }
        let refuse = |why: &str, mend: &str| Err(Refusal::new(&self.name, Step::Read, why, mend));
        let unreadable = |error: io::Error| NotOpened::System(error).refusal(&self.name, &self.path.to_string_lossy());
        let file = match &self.within {
            Some(directory) => {
                let directory = Directory::open(directory);
                let directory =
                    directory.map_err(|error| Refusal::new(&self.name, Step::Read, error.to_string(), ""))?;
                directory.module(&self.name)?.0
            }
            None => {
                // Looked at before it is opened, since opening a pipe would wait for its other end; and again through
                // the open file, since the name may stand for another one by now.
                let is_file = fs::metadata(&self.path).map_err(unreadable)?.is_file();
                let file = is_file
                    .then(|| File::open(&self.path))
                    .transpose()
                    .map_err(unreadable)?;
                match file {
                    Some(file) if file.metadata().map_err(unreadable)?.is_file() => file,
                    _ => return refuse("is no regular file", "name a .wasm file"),
                }
            }
        };
        match content(file, max_bytes).map_err(unreadable)? {
            None => refuse(
                &format!("is longer than {} MiB", max_bytes >> 20),
                "build it optimised and stripped, or raise host.maxModuleMiB in the operator's file",
            ),
            Some(bytes) if bytes.is_empty() => refuse("the file is empty", "copy the module again"),
            Some(bytes) => match self.pin.map(|pin| (pin, Hash::of(&bytes))) {
                Some((pin, hash)) if pin != hash => refuse(
                    &format!("its SHA-256 is {hash}, and the operator pins another one"),
                    "put the module there that is meant, or correct the plugin's `sha256`",
                ),
                _ => Ok(bytes.into()),
            },
        }
    }
}
