//! What becomes of plugins, as log lines and as a metric.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use pilothouse_controller::system_time;
use pilothouse_lifecycle::{LifeEvent, LifeObserver, What};
use pilothouse_object::escape_control;

use crate::present::duration;

/// Counts and logs it.
#[derive(Default)]
pub(crate) struct Lives {
    /// By plugin, result, and the step that a refused version came to.
    loads: Mutex<BTreeMap<(String, &'static str, String), u64>>,
}

impl LifeObserver for Lives {
    fn happened(&self, event: &LifeEvent) {
        let plugin = &*event.plugin;
        let version = event.version.as_deref().map(escape_control).unwrap_or_default();
        let hash = event.hash.map(|hash| hash.to_string()).unwrap_or_default();
        match &event.what {
            What::Refused { refusal, old_serves } => {
                self.count(plugin, "refused", &refusal.step.to_string());
                if *old_serves {
                    tracing::warn!(plugin, hash, step = %refusal.step, "{refusal}\nthe version before it serves on");
                } else {
                    tracing::error!(plugin, hash, step = %refusal.step, "{refusal}");
                }
            }
            // No failure, and told before: it was decided, and whoever reads the log of this start wants to know why
            // what lies there is not what serves.
            What::HeldBack(held) => {
                let ago = ago(held.at).map(|ago| format!(" {ago} ago")).unwrap_or_default();
                tracing::warn!(
                    plugin,
                    hash,
                    "the version in the plugin directory waits: {}{ago}; {}",
                    held.why,
                    held.mend
                );
            }
            What::Serving { instead_of } => {
                self.count(plugin, "serving", "");
                match instead_of {
                    None => tracing::info!(plugin, version = &*version, hash, "plugin loaded"),
                    Some(old) => tracing::info!(plugin, version = &*version, hash, %old, "plugin exchanged"),
                }
            }
            What::RolledBack { from, why } => {
                self.count(plugin, "rolled_back", "");
                tracing::warn!(plugin, version = &*version, hash, %from, "plugin rolled back: {why}");
            }
            What::Revoked => tracing::warn!(
                plugin,
                "what serves asks for more than it is granted now: it is unloaded, and nothing takes its place"
            ),
            What::Quarantined => tracing::warn!(
                plugin,
                hash,
                "plugin in quarantine: its breaker opened too often; another version or configuration ends that, or \
                 `pilothouse plugins reset {plugin}`"
            ),
            What::Unloaded => {
                self.forget(plugin);
                tracing::info!(plugin, hash, "plugin unloaded");
            }
        }
    }
}

/// How long that is ago, which was at so many seconds since the Unix epoch.
fn ago(at: Option<u64>) -> Option<String> {
    let now = u64::from(system_time().seconds);
    Some(duration(Duration::from_secs(now.saturating_sub(at?))))
}

impl Lives {
    fn count(&self, plugin: &str, result: &'static str, step: &str) {
        let mut loads = self.loads.lock().unwrap_or_else(PoisonError::into_inner);
        *loads.entry((plugin.to_owned(), result, step.to_owned())).or_default() += 1;
    }

    /// A plugin that is gone leaves no series behind.
    fn forget(&self, plugin: &str) {
        self.keep_only(|own| own != plugin);
    }

    /// Nor does one that never served, whose file is gone: nothing is told of that.
    pub(crate) fn keep_only(&self, is_there: impl Fn(&str) -> bool) {
        let mut loads = self.loads.lock().unwrap_or_else(PoisonError::into_inner);
        loads.retain(|(own, ..), _| is_there(own));
    }

    /// The counts, for an OpenMetrics exposition.
    pub(crate) fn metrics(&self) -> String {
        let mut text =
            "# HELP pilothouse_plugin_loads What became of plugins' versions, and at which step one was refused.\n\
                        # TYPE pilothouse_plugin_loads counter\n"
                .to_owned();
        for ((plugin, result, step), count) in &*self.loads.lock().unwrap_or_else(PoisonError::into_inner) {
            // A name that was refused may hold anything.
            let plugin = escape_control(plugin).replace('\\', "\\\\").replace('"', "\\\"");
            // Writing to a String can't fail.
            let _ = writeln!(
                text,
                "pilothouse_plugin_loads_total{{plugin=\"{plugin}\",result=\"{result}\",step=\"{step}\"}} {count}"
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_are_counted_by_plugin_result_and_step_until_the_plugin_is_gone() {
        let lives = Lives::default();
        let tell = |plugin: &str, what| {
            let plugin = plugin.to_owned();
            lives.happened(&LifeEvent {
                plugin,
                version: None,
                hash: None,
                what,
            });
        };
        tell("a", What::Serving { instead_of: None });
        tell("a", What::Serving { instead_of: None });
        tell("q\"\\", What::Serving { instead_of: None });
        let text = lives.metrics();
        assert!(
            text.contains("pilothouse_plugin_loads_total{plugin=\"a\",result=\"serving\",step=\"\"} 2\n"),
            "{text}"
        );
        assert!(text.contains("{plugin=\"q\\\"\\\\\","), "{text}");
        tell("a", What::Unloaded);
        assert!(!lives.metrics().contains("plugin=\"a\""));
        lives.keep_only(|plugin| plugin != "q\"\\");
        assert!(!lives.metrics().contains("plugin="));
    }
}
