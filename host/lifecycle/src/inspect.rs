//! What a module is, without serving it: for the command `inspect`.

use std::path::Path;

use pilothouse_runtime::{Engine, Modules};
use serde::Serialize;

use crate::config::{LimitOverrides, PluginConfig};
use crate::directory::ModuleFile;
use crate::embedded::{self, Embedded};
use crate::load::{self, Examined, Failed, effective_limits};
use crate::manifest::Manifest;
use crate::paste::grants_of_config;
use crate::refusal::{Refusal, Step};
use crate::rules::is_label;

/// What a module is, watches and asks for, and whether this host would load it. Texts in the manifest are the author's:
/// escape them before showing them on a terminal.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inspection {
    /// The identity it would have: the file's name without `.wasm`.
    pub plugin: String,
    /// The module's length in bytes; none if it could not be read.
    pub size: Option<u64>,
    /// Its SHA-256 in hexadecimal digits; none if it could not be read.
    pub hash: Option<String>,
    /// The interfaces that it imports, sorted; empty if it could not be compiled.
    pub imports: Vec<String>,
    /// The interfaces that it exports, sorted; empty if it could not be compiled.
    pub exports: Vec<String>,
    /// What it says of itself; none if it did not come so far.
    pub manifest: Option<Manifest>,
    /// What `pilothouse pack` put into it; none if that could not be read.
    pub embedded: Option<Embedded>,
    /// The limits that its calls would have; none without a manifest.
    pub limits: Option<LimitOverrides>,
    /// Lines for the operator's file that grant everything it asks for; empty if it asks for nothing.
    pub grants_to_paste: String,
    /// Whether grants and configuration were judged, too: only with an operator's file.
    pub judged_with_config: bool,
    /// Whether this host would load it, as far as it was judged.
    pub would_load: bool,
    /// Why it would not.
    pub refusal: Option<Refusal>,
}

/// Takes the module at `path` through the steps of loading and says how far it comes. With what the operator says of
/// it, all of them; without, those that need nothing of an operator. `max_bytes` is how long it may be. Needs a tokio
/// runtime.
pub async fn inspect(modules: &Modules, path: &Path, own: Option<&PluginConfig>, max_bytes: u64) -> Inspection {
    let file = ModuleFile::at(path).pinned(own.and_then(|own| own.sha256));
    let mut seen = Inspection {
        plugin: file.name.clone(),
        size: None,
        hash: None,
        imports: Vec::new(),
        exports: Vec::new(),
        manifest: None,
        embedded: None,
        limits: None,
        grants_to_paste: String::new(),
        judged_with_config: own.is_some(),
        would_load: false,
        refusal: None,
    };
    let judged = match load::examine(modules, &file, max_bytes, &load::unheard()).await {
        Ok(examined) => {
            seen.take(&file, &examined, own);
            match embedded::hold(&file.name, &examined.embedded, &examined.manifest) {
                Ok(()) => judge(modules.engine(), &file, examined, own).await,
                Err(refusal) => Err(refusal),
            }
        }
        Err(failed) => {
            let Failed {
                refusal,
                size,
                hash,
                module,
                embedded,
                lasting: _,
                crowded: _,
            } = *failed;
            seen.embedded = embedded;
            seen.size = size;
            seen.hash = hash.map(|hash| hash.to_string());
            if let Some(module) = module {
                seen.imports = module.imports();
                seen.exports = module.exports();
            }
            Err(refusal)
        }
    };
    seen.would_load = judged.is_ok();
    seen.refusal = judged.err();
    seen
}

impl Inspection {
    fn take(&mut self, file: &ModuleFile, examined: &Examined, own: Option<&PluginConfig>) {
        let manifest = &examined.manifest;
        self.size = Some(examined.module.size());
        self.hash = Some(examined.hash.to_string());
        self.embedded = examined.embedded.clone().ok();
        self.imports = examined.module.imports();
        self.exports = examined.module.exports();
        let limits = effective_limits(&manifest.limits, &own.map(|own| own.limits).unwrap_or_default());
        // All of them come from milliseconds, MiB, KiB and counts of 32 bits.
        let kib = |bytes: u64| u32::try_from(bytes >> 10).ok();
        self.limits = Some(LimitOverrides {
            wall_ms: u32::try_from(limits.wall.as_millis()).ok(),
            cpu_ms: u32::try_from(limits.cpu.as_millis()).ok(),
            memory_mib: u32::try_from(limits.memory >> 20).ok(),
            host_calls: Some(limits.host_calls),
            writes: Some(limits.writes),
            output_kib: kib(limits.output),
            object_kib: kib(limits.argument),
            log_lines: Some(limits.log_lines),
            log_kib: kib(limits.log_bytes),
            events: Some(limits.events),
        });
        if !manifest.permissions.is_empty() {
            let host_namespace = own.and_then(|own| own.host_namespace.as_deref());
            self.grants_to_paste = grants_of_config(&file.name, &manifest.permissions, host_namespace);
        }
        self.manifest = Some(manifest.clone());
    }
}

async fn judge(
    engine: &Engine,
    file: &ModuleFile,
    examined: Examined,
    own: Option<&PluginConfig>,
) -> Result<(), Refusal> {
    if !is_label(&file.name) || file.path.extension().is_none_or(|ending| ending != "wasm") {
        return Err(Refusal::new(
            &file.name,
            Step::Read,
            "the file's name is no NAME.wasm",
            "rename it: 1 to 63 of a-z, 0-9 and `-`, with a letter or digit at both ends, and then .wasm",
        ));
    }
    match own {
        None => Ok(()),
        Some(own) if !own.enabled => Err(Refusal::new(
            &file.name,
            Step::Config,
            "the operator disables it",
            format!("set {} to true", own.place_of(&file.name, "enabled")),
        )),
        Some(own) => load::settle(engine, file, examined, own).await.map(|_| ()),
    }
}
