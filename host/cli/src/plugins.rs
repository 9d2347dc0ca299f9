//! From the plugin directory to plugins that run: what `run` and `dev` have in common.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
    sync::Arc,
};

use pilothouse_controller::Lane;
use pilothouse_lifecycle::{Config, Plugin, load_all, scan};
#[cfg(unix)]
use pilothouse_runtime::{CacheLimits, CodeCache};
use pilothouse_runtime::{Compiler, Engine, EngineConfig, EngineError, Modules};

use crate::exit::Stop;

/// What came of a plugin directory.
pub(crate) struct Plugins {
    /// Those that run.
    pub(crate) loaded: Vec<Arc<Plugin>>,
    /// How many were refused; each has been reported.
    pub(crate) refused: usize,
    /// How many the configuration disables.
    pub(crate) disabled: usize,
}

/// Where a pod finds the namespace that it runs in.
const POD: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Reads the configuration file; without one, the defaults. The host's own namespace is the pod's unless the file says.
///
/// # Errors
/// Wrong configuration: file, field, and mend.
pub(crate) fn config(file: Option<&Path>) -> Result<Config, Stop> {
    let mut config = match file {
        None => Config::default(),
        Some(file) => Config::read(file).map_err(|error| Stop::usage(error.to_string()))?,
    };
    if let Some(namespace) = own_namespace()? {
        config
            .host
            .runs_in(&namespace)
            .map_err(|problem| Stop::usage(problem.to_string()))?;
    }
    Ok(config)
}

fn own_namespace() -> Result<Option<String>, Stop> {
    if let Some(named) = std::env::var_os("POD_NAMESPACE").filter(|named| !named.is_empty()) {
        return Ok(Some(named.to_string_lossy().into_owned()));
    }
    // Longer than any name may be, so that what is none is seen to be none.
    let mut text = String::new();
    let read = File::open(POD).and_then(|file| file.take(256).read_to_string(&mut text));
    match read {
        Ok(_) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Stop::usage(format!(
            "{POD}: can't be read: {error}: set host.namespace in the configuration file, or POD_NAMESPACE"
        ))),
    }
}

/// Looks at the plugin directory before anything is started.
///
/// # Errors
/// Wrong usage: it isn't there, or is no directory.
pub(crate) fn check(directory: &Path) -> Result<(), Stop> {
    scan(directory)
        .map(drop)
        .map_err(|error| Stop::usage(error.to_string()))
}

/// Runs what blocks or computes for long on a thread of its own; none if it panicked.
#[expect(
    clippy::disallowed_methods,
    reason = "the commands that use it do this and nothing else"
)]
pub(crate) async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

/// What makes modules, in an engine of the size that the configuration asks for: each is compiled by a process of its
/// own (`pilothouse compile`). With a state directory, what is compiled is kept beneath it.
///
/// # Errors
/// What the engine or the operating system refuses, or a directory for code that is not this user's alone.
pub(crate) fn modules(config: &Config, state_directory: Option<&Path>) -> Result<Modules, Stop> {
    let engine = engine(config)?;
    let compiler = Compiler::this_program(&["compile"], config.host.compile.limits())
        .map_err(|error| Stop::failed(format!("it can't be found out which program this is: {error}")))?;
    #[cfg(unix)]
    if let Some(directory) = state_directory {
        let cache = CodeCache::open(&directory.join("code"), CacheLimits::default())
            .map_err(|error| Stop::usage(format!("compiled code in the state directory: {error}")))?;
        return Ok(Modules::with_cache(engine, compiler, cache));
    }
    #[cfg(not(unix))]
    let _kept_on_unix_alone = state_directory;
    Ok(Modules::new(engine, compiler))
}

fn engine(config: &Config) -> Result<Engine, Stop> {
    let engine = EngineConfig {
        slots: config.host.pool_size.max(1),
        // Idle ones take no turn from anybody: as many again.
        warm: config.host.pool_size.max(1),
        max_memory: config.most_memory(),
        max_module: config.host.max_module_bytes(),
        max_functions: config.host.compile.functions,
        max_nesting: config.host.compile.nesting,
        ..EngineConfig::default()
    };
    Engine::new(engine).map_err(|error| match &error {
        // From the configuration file: the only values that are passed on.
        EngineError::Config { .. } => Stop::usage(error.to_string()),
        _ => Stop::failed(error.to_string()),
    })
}

/// Threads for calls that compute for long.
///
/// # Errors
/// The operating system gives none.
pub(crate) fn lane() -> Result<Lane, Stop> {
    Lane::start().map_err(|error| Stop::failed(format!("threads for plugins that compute for long: {error}")))
}

/// Loads every plugin of the directory, and reports each that is refused and what the operator should know.
///
/// # Errors
/// The directory can't be read.
pub(crate) async fn load(modules: &Modules, directory: &Path, config: &Config) -> Result<Plugins, Stop> {
    let all = load_all(modules, directory, config)
        .await
        .map_err(|error| Stop::usage(error.to_string()))?;
    for warning in &all.warnings {
        tracing::warn!("{warning}");
    }
    let mut plugins = Plugins {
        loaded: Vec::new(),
        refused: 0,
        disabled: all.disabled.len(),
    };
    for plugin in all.plugins {
        match plugin {
            Ok(plugin) => plugins.loaded.push(Arc::new(plugin)),
            Err(refusal) => {
                plugins.refused += 1;
                tracing::error!("{refusal}");
            }
        }
    }
    Ok(plugins)
}

impl Plugins {
    /// Why nothing runs, where nothing does.
    pub(crate) fn none_loaded(&self, directory: &Path) -> Option<Stop> {
        if !self.loaded.is_empty() {
            return None;
        }
        let directory = directory.display();
        Some(Stop::no_plugin(match (self.refused, self.disabled) {
            (0, 0) => {
                format!("{directory}: holds no plugin: put NAME.wasm into it, or name another directory with --plugins")
            }
            (0, _) => {
                format!("{directory}: the configuration disables every plugin in it: set plugins.NAME.enabled to true")
            }
            (1, _) => format!("{directory}: its only plugin was refused, for the reason above"),
            (refused, _) => format!("{directory}: all {refused} plugins were refused, for the reasons above"),
        }))
    }
}
