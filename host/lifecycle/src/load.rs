//! Loading: from a file to a plugin that may serve.
//!
//! Steps: read → hash → compile (with the check of world and version) → `describe` → manifest → asked ∩ granted →
//! configuration. A plugin that fails any of them is refused with the step and the mend, and touches no other. What
//! passed is complete: nothing is looked up later.
//!
//! Compiling is [`Modules`]' (in a process of its own, mostly), on a thread here that serves nobody; it can't be
//! cancelled. [`load_all`] takes a directory as it lies there; what changes in it while the host runs is the
//! supervisor's. Here: the steps that need nothing of the operator; the others are in `settle`, what comes of it is in
//! `plugin`, and what tells modules apart in `hash`.

mod hash;
mod plugin;
mod settle;

use std::path::Path;
use std::sync::Arc;

use pilothouse_object::{escape_control, shorten};
use pilothouse_runtime::{LoadError, Module, Modules};

pub use self::hash::Hash;
pub use self::plugin::{Plugin, RequestLimits};
pub use self::settle::effective_limits;
pub(crate) use self::settle::settle;
use crate::config::{Config, PluginConfig};
use crate::directory::{self, Directory, DirectoryError, ModuleFile};
use crate::embedded::{self, Embedded};
use crate::manifest::Manifest;
use crate::problem::Problem;
use crate::refusal::{Refusal, Step};

/// What became of a plugin directory.
#[derive(Debug, Default)]
pub struct Loaded {
    /// For each `.wasm` file that is not disabled, sorted by name: the plugin, or why not.
    pub plugins: Vec<Result<Plugin, Refusal>>,
    /// Plugins that the operator's file disables; nothing of them was read.
    pub disabled: Vec<String>,
    /// What an operator should know, and what stops nothing.
    pub warnings: Vec<Problem>,
}

/// Loads every module in `directory`, one after another. Needs a tokio runtime.
///
/// # Errors
/// Only if the directory as a whole can't be looked at. A plugin that fails stands in [`Loaded::plugins`] with its
/// [`Refusal`], and the others load.
pub async fn load_all(modules: &Modules, directory: &Path, config: &Config) -> Result<Loaded, DirectoryError> {
    let scan = directory::scan(directory)?;
    let mut loaded = Loaded {
        warnings: scan.warnings,
        ..Loaded::default()
    };
    let names = scan.modules.iter().map(|module| module.name.as_str());
    let names = names.chain(scan.refused.iter().map(|refusal| refusal.plugin.as_str()));
    loaded.warnings.extend(config.without_module(names));
    loaded.plugins.extend(scan.refused.into_iter().map(Err));
    let open = Directory::open(directory)?;
    for file in scan.modules {
        let beside = open.beside(&file.name);
        let beside = beside.map(|read| read.map(|(bytes, _)| bytes));
        let own = beside.and_then(|text| directory::own_config(config, directory, &file.name, text.as_deref()));
        let own = match own {
            Ok(own) => own,
            Err(refusal) => {
                loaded.plugins.push(Err(refusal));
                continue;
            }
        };
        if own.enabled {
            loaded
                .plugins
                .push(load(modules, &file, &own, config.host.max_module_bytes()).await);
        } else {
            loaded.disabled.push(file.name);
        }
    }
    loaded.plugins.sort_by(|a, b| name_of(a).cmp(name_of(b)));
    Ok(loaded)
}

fn name_of(result: &Result<Plugin, Refusal>) -> &str {
    match result {
        Ok(plugin) => &plugin.name,
        Err(refusal) => &refusal.plugin,
    }
}

/// Takes one module through every step. `config` is the operator's side of it, `max_bytes` how long it may be. Needs a
/// tokio runtime.
///
/// # Errors
/// A [`Refusal`]: nothing of the module is kept then.
pub async fn load(
    modules: &Modules,
    file: &ModuleFile,
    config: &PluginConfig,
    max_bytes: u64,
) -> Result<Plugin, Refusal> {
    let loaded = load_with_bytes(modules, file, config, max_bytes, &unheard()).await;
    loaded.map(|(plugin, _)| plugin).map_err(|failed| failed.refusal)
}

/// Hears which step a load takes next. Called from any thread; must not block.
pub(crate) type AtStep = Arc<dyn Fn(Step) + Send + Sync>;

/// Where nobody wants to know.
pub(crate) fn unheard() -> AtStep {
    Arc::new(|_| {})
}

/// The same, with the module's bytes, told step by step.
pub(crate) async fn load_with_bytes(
    modules: &Modules,
    file: &ModuleFile,
    config: &PluginConfig,
    max_bytes: u64,
    at: &AtStep,
) -> Result<(Plugin, Arc<[u8]>), Box<Failed>> {
    let file = file.clone().pinned(config.sha256);
    let examined = examine(modules, &file, max_bytes, at).await?;
    at(Step::Config);
    embedded::hold(&file.name, &examined.embedded, &examined.manifest).map_err(Failed::refused)?;
    let bytes = examined.bytes.clone();
    let plugin = settle(modules.engine(), &file, examined, config).await;
    Ok((plugin.map_err(Failed::refused)?, bytes))
}

/// A module and what it says of itself: the steps that need nothing of the operator.
pub(crate) struct Examined {
    pub(crate) bytes: Arc<[u8]>,
    pub(crate) hash: Hash,
    pub(crate) module: Module,
    pub(crate) manifest: Manifest,
    /// What is embedded in it, or why that can't be read.
    pub(crate) embedded: Result<Embedded, Problem>,
}

/// How far a module came that failed a step.
pub(crate) struct Failed {
    pub(crate) refusal: Refusal,
    /// Compiling it took much, and would end the same way again.
    pub(crate) lasting: bool,
    /// Nothing is wrong with it: this process has no room for it now.
    pub(crate) crowded: bool,
    pub(crate) size: Option<u64>,
    pub(crate) hash: Option<Hash>,
    pub(crate) module: Option<Module>,
    pub(crate) embedded: Option<Embedded>,
}

impl Failed {
    /// With nothing more to say of it.
    pub(crate) fn refused(refusal: Refusal) -> Box<Self> {
        Box::new(Self {
            refusal,
            lasting: false,
            crowded: false,
            size: None,
            hash: None,
            module: None,
            embedded: None,
        })
    }
}

/// A module's bytes, looked at before anything is compiled or run.
struct Read {
    bytes: Arc<[u8]>,
    hash: Hash,
    embedded: Result<Embedded, Problem>,
}

impl Read {
    fn of(bytes: Arc<[u8]>) -> Self {
        Self {
            hash: Hash::of(&bytes),
            embedded: embedded::read(&bytes),
            bytes,
        }
    }

    fn failed(self, refusal: Refusal, module: Option<Module>) -> Box<Failed> {
        Box::new(Failed {
            refusal,
            lasting: false,
            crowded: false,
            size: Some(self.bytes.len() as u64),
            hash: Some(self.hash),
            module,
            embedded: self.embedded.ok(),
        })
    }
}

pub(crate) async fn examine(
    modules: &Modules,
    file: &ModuleFile,
    max_bytes: u64,
    at: &AtStep,
) -> Result<Examined, Box<Failed>> {
    let (read, module) = read_and_compile(modules, file, max_bytes, at).await?;
    at(Step::Describe);
    match describe(&file.name, &module).await {
        Ok(manifest) => Ok(Examined {
            bytes: read.bytes,
            hash: read.hash,
            module,
            manifest,
            embedded: read.embedded,
        }),
        Err(refusal) => Err(read.failed(refusal, Some(module))),
    }
}

/// Reading and compiling block, so they have a thread of their own; a compiler that panics ends that thread's task
/// only.
#[allow(
    clippy::disallowed_methods,
    reason = "compiling must not hold a thread that serves; loading is a driver"
)]
async fn read_and_compile(
    modules: &Modules,
    file: &ModuleFile,
    max: u64,
    at: &AtStep,
) -> Result<(Read, Module), Box<Failed>> {
    let (modules, own, at) = (modules.clone(), file.clone(), at.clone());
    let work = move || {
        at(Step::Read);
        let bytes = own.read(max).map_err(Failed::refused)?;
        let read = Read::of(bytes);
        at(Step::Compile);
        match modules.load(&read.bytes) {
            Ok(module) => Ok((read, module)),
            Err(error) => {
                let refusal = Refusal::new(&own.name, Step::Compile, told(&error.to_string()), "");
                let mut failed = read.failed(refusal, None);
                failed.lasting = error.is_costly_and_lasting();
                failed.crowded = matches!(error, LoadError::NoRoom { .. });
                Err(failed)
            }
        }
    };
    let ended = tokio::task::spawn_blocking(work).await;
    ended.unwrap_or_else(|_| {
        let refusal = Refusal::new(
            &file.name,
            Step::Compile,
            "the compiler failed on this module",
            "build it again with current tools; if that doesn't help, report it with the module: it is a bug of this host",
        );
        Err(Failed::refused(refusal))
    })
}

async fn describe(plugin: &str, module: &Module) -> Result<Manifest, Refusal> {
    // Asked once for each load: whatever it says is held against the grants of that moment. The runtime gives it a
    // fresh instance in which no time passes and nothing is random, so it can't change its mind between two of them.
    let json = module.describe().await.map_err(|error| {
        Refusal::new(
            plugin,
            Step::Describe,
            told(&error.to_string()),
            "`describe` only returns the manifest: it reads, writes and computes nothing",
        )
    })?;
    Manifest::parse(&json).map_err(|error| {
        Refusal::new(
            plugin,
            Step::Manifest,
            told(&listed(&error.problems)),
            "the plugin's author mends its manifest (wit/manifest.schema.json says what it may hold)",
        )
    })
}

fn listed(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n  ")
}

/// A text with parts from a guest, bounded and with its control characters escaped but for line breaks of ours.
pub(crate) fn told(text: &str) -> String {
    let text = shorten(text, 8000);
    text.split('\n')
        .map(|line| escape_control(line).into_owned())
        .collect::<Vec<_>>()
        .join("\n")
}
