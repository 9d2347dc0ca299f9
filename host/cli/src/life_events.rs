//! Failed loads of plugins as Kubernetes Events, about the pod that the host runs in, or else about its namespace:
//! which turns of a plugin's life are told, and in which words. The controller room sends them.

use std::sync::Arc;

use pilothouse_controller::{Notice, NoticeSender, Notices, Subject, system_time};
use pilothouse_lifecycle::{LifeEvent, LifeObserver, What};

/// Tells of plugins' lives as Events besides, where it is known what those are about; what it answers is for the host.
pub(crate) fn telling(
    next: Arc<dyn LifeObserver>,
    namespace: Option<&str>,
) -> (Arc<dyn LifeObserver>, Option<Notices>) {
    let of_process = |name: &str| {
        let value = std::env::var(name).ok();
        value.filter(|value| !value.is_empty())
    };
    let Some(subject) = subject(of_process, namespace) else {
        tracing::info!(
            "failed loads of plugins are not told as Kubernetes Events, since it is not known where the host runs: set \
             host.namespace in the configuration file, or POD_NAME and POD_NAMESPACE (and POD_UID) from the pod's fields"
        );
        return (next, None);
    };
    let (events, notices) = Notices::about(subject, Arc::new(system_time));
    (Arc::new(Telling { events, next }), Some(notices))
}

/// What the Events are about; `namespace` is the host's own by its configuration or its pod.
fn subject(variable: impl Fn(&str) -> Option<String>, namespace: Option<&str>) -> Option<Subject> {
    // The configuration may name another than the pod's, and a pod is in its own.
    let pods = variable("POD_NAMESPACE").or_else(|| namespace.map(str::to_owned))?;
    match variable("POD_NAME") {
        Some(name) => Some(Subject::Pod {
            namespace: pods,
            name,
            uid: variable("POD_UID").unwrap_or_default(),
        }),
        None => Some(Subject::Namespace(namespace.map_or(pods, str::to_owned))),
    }
}

struct Telling {
    events: NoticeSender,
    next: Arc<dyn LifeObserver>,
}

impl LifeObserver for Telling {
    fn happened(&self, event: &LifeEvent) {
        self.next.happened(event);
        if let Some(notice) = notice(event) {
            self.events.tell(notice);
        }
    }
}

/// What went wrong, in words; none where nothing did.
fn notice(event: &LifeEvent) -> Option<Notice> {
    let plugin = &event.plugin;
    let module = event.hash.map(|hash| format!(" (module {hash})")).unwrap_or_default();
    let (reason, action, note) = match &event.what {
        What::Refused { refusal, old_serves } => {
            let serves = if *old_serves {
                "the version before it serves on: "
            } else {
                ""
            };
            // Several lines, where there is something to paste: that is for the log.
            (
                "LoadFailed",
                "Load",
                format!("{serves}{refusal}{module}").replace('\n', " "),
            )
        }
        What::RolledBack { from, why } => {
            let note = format!("plugin {plugin} was rolled back from module {from}: {why}{module}");
            ("RolledBack", "RollBack", note)
        }
        What::Revoked => {
            let note = format!(
                "plugin {plugin} asks for more than it is granted now: it is unloaded, and nothing takes its place{module}"
            );
            ("GrantRevoked", "Unload", note)
        }
        What::Quarantined => {
            let note = format!(
                "plugin {plugin} is in quarantine: its breaker opened too often; another version or configuration ends \
                 that, or `pilothouse plugins reset {plugin}`{module}"
            );
            ("Quarantined", "Quarantine", note)
        }
        // That was told when it was decided.
        What::HeldBack(_) => return None,
        What::Serving { .. } | What::Unloaded => return None,
    };
    Some(Notice {
        plugin: plugin.clone(),
        reason,
        action,
        note,
    })
}

#[cfg(test)]
mod tests {
    use pilothouse_lifecycle::{Hash, Refusal, Step};

    use super::*;

    fn about(variables: &[(&str, &str)], namespace: Option<&str>) -> Option<Subject> {
        let variable = |name: &str| {
            let mut found = variables.iter().filter(|(own, _)| *own == name);
            found.next().map(|(_, value)| (*value).to_owned())
        };
        subject(variable, namespace)
    }

    #[test]
    fn events_are_about_the_pod_else_about_the_hosts_namespace_else_there_are_none() {
        let pod = |namespace: &str, uid: &str| {
            Some(Subject::Pod {
                namespace: namespace.to_owned(),
                name: "p-0".to_owned(),
                uid: uid.to_owned(),
            })
        };
        let all = [("POD_NAME", "p-0"), ("POD_NAMESPACE", "ops"), ("POD_UID", "u")];
        assert_eq!(about(&all, Some("ops")), pod("ops", "u"));
        assert_eq!(
            about(&all[..2], Some("of-file")),
            pod("ops", ""),
            "a pod is in its own namespace"
        );
        assert_eq!(about(&all[..1], Some("of-file")), pod("of-file", ""));
        assert_eq!(
            about(&all[1..2], Some("of-file")),
            Some(Subject::Namespace("of-file".to_owned()))
        );
        assert_eq!(about(&all[..1], None), None);
        assert_eq!(about(&[], None), None);
    }

    fn told(what: What) -> Option<Notice> {
        notice(&LifeEvent {
            plugin: "a".to_owned(),
            version: None,
            hash: Some(Hash::of(b"module")),
            what,
        })
    }

    #[test]
    fn what_went_wrong_is_told_with_step_cause_and_mend() {
        let refusal = Refusal {
            plugin: "a".to_owned(),
            step: Step::Compile,
            why: "it is a text file".to_owned(),
            mend: "Build it:\nagain".to_owned(),
        };
        let failed = told(What::Refused {
            refusal,
            old_serves: true,
        });
        let failed = failed.unwrap();
        assert_eq!(
            (failed.reason, failed.action, &*failed.plugin),
            ("LoadFailed", "Load", "a")
        );
        let module = Hash::of(b"module").to_string();
        assert_eq!(
            failed.note,
            format!(
                "the version before it serves on: plugin a was not loaded: compile: it is a text file Build it: again \
                 (module {module})"
            )
        );
        let back = told(What::RolledBack {
            from: Hash::of(b"other"),
            why: "3 traps".to_owned(),
        });
        assert!(back.is_some_and(|back| back.reason == "RolledBack" && back.note.contains("3 traps")));
        assert!(told(What::Quarantined).is_some_and(|notice| notice.reason == "Quarantined"));
        assert!(told(What::Revoked).is_some_and(|notice| notice.reason == "GrantRevoked"));
    }

    #[test]
    fn what_goes_well_is_not_told() {
        assert_eq!(told(What::Serving { instead_of: None }), None);
        assert_eq!(told(What::Unloaded), None);
    }
}
