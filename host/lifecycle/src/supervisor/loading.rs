//! One load: the bytes from where they lie, through every step, and kept for the next host.

use std::sync::Arc;
use std::time::Duration;

use pilothouse_runtime::Modules;

use super::settled::settled;
use super::turns::{Load, Source};
use super::{SETTLE, keeping};
use crate::directory::ModuleFile;
use crate::kept::PluginStore;
use crate::kept::failures::{COUNTS, Failure};
use crate::load::{AtStep, Failed, Plugin, load_with_bytes, told};
use crate::refusal::{Refusal, Step};

/// Takes a module through the steps. `file` is where it lies in the plugin directory, `most` how long it may be; `at`
/// hears of the steps.
///
/// # Errors
/// How far it came.
pub(super) async fn load(
    modules: Modules,
    store: Option<Arc<PluginStore>>,
    file: ModuleFile,
    load: Load,
    most: u64,
    at: AtStep,
) -> Result<Plugin, Box<Failed>> {
    at(Step::Read);
    let Load { name, wanted, source } = load;
    let refused = |why: String, mend: &str| Err(Failed::refused(Refusal::new(&name, Step::Read, why, mend)));
    let file = match (source, &store) {
        (Source::Directory, _) => settled(file, wanted.module, most, SETTLE)
            .await
            .map_err(Failed::refused)?,
        (Source::Store, Some(store)) => match keeping::get(store.clone(), &name, wanted.module, most).await {
            Ok(bytes) => file.holding(bytes),
            Err(why) => {
                let why = format!("the version that was kept can't be brought back: {why}");
                return refused(why, "put its file into the plugin directory");
            }
        },
        (Source::Store, None) => {
            return refused(
                "no version is kept over a restart".to_owned(),
                "set host.stateDirectory",
            );
        }
    };
    let (plugin, bytes) = load_with_bytes(&modules, &file, &wanted.config, most, &at).await?;
    if let Some(store) = store.filter(|_| source == Source::Directory) {
        keeping::put(store, &name, plugin.hash, bytes).await;
    }
    Ok(plugin)
}

/// What is said where there was no room: when it is tried again.
pub(super) fn crowded(refusal: Refusal) -> Refusal {
    let mend = "it is tried again when another plugin's file is deleted, and every minute";
    Refusal {
        mend: mend.to_owned(),
        ..refusal
    }
}

/// What is said instead of a load of which it is known how it ends: the same words, and how to have it tried again.
pub(super) fn known(name: &str, failure: &Failure, now: Duration) -> Refusal {
    let minutes = now.as_secs().saturating_sub(failure.at) / 60;
    let mend = format!(
        "that was found {minutes} min ago, and is not tried again for {} h unless the file or these limits change; \
         `pilothouse plugins promote {name} {}` has it tried again at once",
        COUNTS.as_secs() / 3600,
        failure.module
    );
    Refusal::new(name, Step::Compile, told(&failure.why), mend)
}
