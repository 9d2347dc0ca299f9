//! The steps that depend on the operator's file: asked ∩ granted, settings, configuration.

use std::sync::Arc;
use std::time::Duration;

use pilothouse_object::{escape_control, shorten};
use pilothouse_runtime::{Engine, Limits, Module};

use super::{Examined, Plugin, RequestLimits, listed, told};
use crate::capabilities::Capabilities;
use crate::config::{LimitOverrides, PluginConfig};
use crate::config_schema::ConfigSchema;
use crate::directory::ModuleFile;
use crate::grant::missing;
use crate::manifest::{Controller, Manifest, SuggestedLimits};
use crate::paste::not_granted;
use crate::problem::{Problem, nearest, shown};
use crate::queue_settings::Retrying;
use crate::refusal::{Refusal, Step};

/// Takes a module that was examined through these steps.
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

/// What the schema refuses is told without a word of the configuration. The plugin's own `check-config` was given it,
/// and says what it likes.
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
