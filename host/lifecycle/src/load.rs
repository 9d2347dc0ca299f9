//! Loading: from a file to a plugin that may serve.
//!
//! Steps: read → hash → compile (with the check of world and version) → `describe` → manifest → asked ∩ granted →
//! configuration. A plugin that fails any of them is refused with the step and the mend, and touches no other. What
//! passed is complete: nothing is looked up later.
//!
//! Compiling is [`Modules`]' (in a process of its own, mostly), on a thread here that serves nobody; it can't be
//! cancelled. [`load_all`] takes a directory as it lies there; what changes in it while the host runs is the
//! supervisor's.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pilothouse_object::{escape_control, shorten};
use pilothouse_runtime::{Engine, Limits, Module, Modules};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::capabilities::Capabilities;
use crate::config::{
    BreakerSettings, Budget, Concurrency, Config, ControllerOverrides, Impersonate, LimitOverrides, PluginConfig,
};
use crate::config_schema::ConfigSchema;
use crate::directory::{self, Directory, DirectoryError, ModuleFile};
use crate::embedded::{self, Embedded};
use crate::grant::missing;
use crate::manifest::{Controller, Manifest, SuggestedLimits};
use crate::paste::not_granted;
use crate::problem::{Problem, nearest, shown};
use crate::queue_settings::Retrying;
use crate::refusal::{Refusal, Step};

/// A plugin that passed every step. Clones share what is large.
#[derive(Clone, Debug)]
pub struct Plugin {
    /// Its identity: the file's name without `.wasm`.
    pub name: Arc<str>,
    /// Where the module lay.
    pub path: PathBuf,
    /// Which bytes these are.
    pub hash: Hash,
    /// What it says of itself.
    pub manifest: Arc<Manifest>,
    /// The code.
    pub module: Module,
    /// What it may do.
    pub capabilities: Capabilities,
    /// Its configuration as JSON text, which it found good.
    pub config: Arc<str>,
    /// Which words of the operator's file it runs by: its configuration, grants and settings. Another hash may mean another
    /// outcome of a reconcile that failed for good.
    pub configuration: Hash,
    /// The limits of each of its calls: the operator's, else the manifest's suggestion, else the host's default.
    pub limits: Limits,
    /// Whether it may emit Kubernetes Events.
    pub events: bool,
    /// As whom its own requests go out; none: as the host.
    pub impersonate: Option<Impersonate>,
    /// How many single requests to the API server it may send, over all its calls.
    pub requests: RequestLimits,
    /// What else all its calls together may use.
    pub budget: Budget,
    /// How each of its controllers, in the manifest's order, tries failed keys again.
    pub retrying: Arc<[Retrying]>,
    /// When it is not called for a while because it fails.
    pub breaker: BreakerSettings,
    /// How many turns it gets for each one of a plugin of weight 1.
    pub weight: u32,
    /// The namespaces of its keys take turns.
    pub fair_namespaces: bool,
    controllers: Arc<BTreeMap<String, ControllerOverrides>>,
}

impl Plugin {
    /// How many keys of that controller may be in work at once: the operator's word, else the manifest's.
    pub fn concurrency(&self, controller: &str) -> Concurrency {
        let set = self
            .controllers
            .get(controller)
            .and_then(|overrides| overrides.concurrency);
        let own = || self.manifest.controller(controller).map_or(1, |own| own.concurrency);
        set.unwrap_or_else(|| Concurrency::Fixed(own()))
    }

    /// The same version and words, but for how many keys may be in work at once.
    pub(crate) fn with_concurrency_of(&self, config: &PluginConfig) -> Self {
        Self {
            controllers: Arc::new(config.controllers.clone()),
            ..self.clone()
        }
    }
}

/// How many single requests to the API server a plugin may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    /// A second; 0 is no bound.
    pub per_second: u32,
    /// At once after a pause; at least 1.
    pub burst: u32,
}

/// The SHA-256 of a module: what tells versions apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash([u8; 32]);

impl Hash {
    /// Stands for bytes that are not read since they are too many. No module has it, and nobody is shown it.
    pub(crate) const UNREAD: Self = Self([0; 32]);

    /// The hash of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The hash that these 64 hexadecimal digits name; none where they are none.
    pub fn from_hex(digits: &str) -> Option<Self> {
        let mut hash = [0; 32];
        if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        for (i, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(digits.get(2 * i..2 * i + 2)?, 16).ok()?;
        }
        Some(Self(hash))
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits = String::deserialize(deserializer)?;
        Self::from_hex(&digits).ok_or_else(|| D::Error::custom("is no SHA-256"))
    }
}

impl From<[u8; 32]> for Hash {
    fn from(hash: [u8; 32]) -> Self {
        Self(hash)
    }
}

impl From<Sha256> for Hash {
    fn from(hasher: Sha256) -> Self {
        Self(hasher.finalize().into())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

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

/// Reading and compiling block, so they have a thread of their own; a compiler that panics ends that thread's task only.
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
    // Asked once for each load: whatever it says is held against the grants of that moment. The runtime gives it a fresh
    // instance in which no time passes and nothing is random, so it can't change its mind between two of them.
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

/// The steps that depend on the operator's file.
pub(crate) async fn settle(
    engine: &Engine,
    file: &ModuleFile,
    examined: Examined,
    config: &PluginConfig,
) -> Result<Plugin, Refusal> {
    let Examined {
        hash, module, manifest, ..
    } = examined;
    let granted = config.granted();
    let lacking = missing(&manifest.permissions, &granted);
    if !lacking.is_empty() {
        return Err(not_granted(&file.name, &lacking, config));
    }
    check_controllers(&file.name, &manifest, config)?;
    let retrying = retrying(&file.name, &manifest, config)
        .map_err(|problem| Refusal::new(&file.name, Step::Config, problem.to_string(), ""))?;
    let limits = effective_limits(&manifest.limits, &config.limits);
    let most = engine.config().max_memory;
    if limits.memory > most {
        return Err(Refusal::new(
            &file.name,
            Step::Config,
            format!(
                "its memory limit is above what this host's engine gives, {} MiB",
                most >> 20
            ),
            format!("lower {}", config.place_of(&file.name, "limits.memoryMiB")),
        ));
    }
    check_config(&file.name, &module, &manifest, config).await?;
    Ok(Plugin {
        capabilities: Capabilities::new(&file.name, &manifest.permissions, &granted),
        name: file.name.as_str().into(),
        path: file.path.clone(),
        hash,
        manifest: Arc::new(manifest),
        module: module.warm(config.instances.warm()),
        config: config.config.to_string().into(),
        configuration: config.hash(),
        limits,
        events: config.events,
        impersonate: config.impersonate.clone(),
        requests: RequestLimits {
            per_second: config.api_requests_per_second,
            burst: config.api_request_burst,
        },
        budget: config.budget,
        retrying,
        breaker: config.breaker,
        weight: config.weight,
        fair_namespaces: config.fair_namespaces,
        controllers: Arc::new(config.controllers.clone()),
    })
}

/// A setting for a controller that isn't there would be in force nowhere.
fn check_controllers(plugin: &str, manifest: &Manifest, config: &PluginConfig) -> Result<(), Refusal> {
    let names = || manifest.controllers.iter().map(|controller| controller.name.as_str());
    match config
        .controllers
        .keys()
        .find(|name| manifest.controller(name).is_none())
    {
        None => Ok(()),
        Some(unknown) => {
            let mend = match nearest(unknown, names()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("it has: {}", names().collect::<Vec<_>>().join(", ")),
            };
            // Which one is not told: it stands in an operator's file.
            let place = config.place_of(plugin, "controllers");
            let why = format!("{place}: the plugin has no controller of one of the names there");
            Err(Refusal::new(plugin, Step::Config, why, mend))
        }
    }
}

fn retrying(plugin: &str, manifest: &Manifest, config: &PluginConfig) -> Result<Arc<[Retrying]>, Problem> {
    let of = |controller: &Controller| {
        let own = config.controllers.get(&controller.name).copied().unwrap_or_default();
        Retrying::of(controller, &own.queue, &config.queue).map_err(|problem| Problem {
            at: config.place_of(plugin, &problem.at),
            ..problem
        })
    };
    manifest.controllers.iter().map(of).collect()
}

/// The limits of a call: the operator's, else what the manifest suggests, else the host's default.
pub fn effective_limits(suggested: &SuggestedLimits, set: &LimitOverrides) -> Limits {
    let default = Limits::default();
    let time = |set: Option<u32>, suggested: Option<u32>, default: Duration| {
        set.or(suggested).map_or(default, |ms| Duration::from_millis(ms.into()))
    };
    let kib = |set: Option<u32>, default: u64| set.map_or(default, |kib| u64::from(kib) << 10);
    Limits {
        wall: time(set.wall_ms, suggested.wall_ms, default.wall),
        cpu: time(set.cpu_ms, suggested.cpu_ms, default.cpu),
        memory: set
            .memory_mib
            .or(suggested.memory_mib)
            .map_or(default.memory, |mib| u64::from(mib) << 20),
        host_calls: set.host_calls.or(suggested.host_calls).unwrap_or(default.host_calls),
        writes: set.writes.unwrap_or(default.writes),
        output: kib(set.output_kib, default.output),
        argument: kib(set.object_kib, default.argument),
        log_lines: set.log_lines.unwrap_or(default.log_lines),
        log_bytes: kib(set.log_kib, default.log_bytes),
        events: set.events.unwrap_or(default.events),
    }
}

/// What the schema refuses is told without a word of the configuration. The plugin's own `check-config` was given it, and
/// says what it likes.
async fn check_config(plugin: &str, module: &Module, manifest: &Manifest, own: &PluginConfig) -> Result<(), Refusal> {
    let at = own.path_of(plugin, "config");
    let config = &own.config;
    let refuse = |why: String| {
        let mend = format!("correct {}", own.place_of(plugin, "config"));
        Err(Refusal::new(plugin, Step::Config, told(&why), mend))
    };
    if let Some(schema) = &manifest.config_schema {
        let schema = ConfigSchema::compile(schema)
            .map_err(|problem| Refusal::new(plugin, Step::Manifest, problem.to_string(), ""))?;
        let problems = schema.check(config, &at);
        if !problems.is_empty() {
            return refuse(listed(&problems));
        }
    }
    match module.check_config(&config.to_string()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(causes)) => {
            let problems: Vec<Problem> = causes
                .iter()
                .take(20)
                .map(|cause| {
                    let field = cause.field.trim_start_matches('.');
                    let at = if field.is_empty() {
                        at.clone()
                    } else {
                        format!("{at}.{}", shown(field))
                    };
                    let what = if cause.message.is_empty() {
                        &cause.reason
                    } else {
                        &cause.message
                    };
                    Problem::new(at, escape_control(&shorten(what, 1000)), "")
                })
                .collect();
            if problems.is_empty() {
                return refuse(format!("{at}: the plugin refuses it and doesn't say why"));
            }
            refuse(listed(&problems))
        }
        Err(error) => Err(Refusal::new(
            plugin,
            Step::Config,
            format!("its `check-config` failed: {}", told(&error.to_string())),
            "the plugin's author mends it: whatever the configuration, `check-config` must answer",
        )),
    }
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
