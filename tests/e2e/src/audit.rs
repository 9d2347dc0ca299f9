//! What an API server saw of one user, from its audit log.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::Value;

/// Everything is written down, without bodies.
const POLICY: &str = r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "Metadata"}]}"#;

/// The audit log of an API server; it goes on when the server is started again.
#[derive(Clone, Debug)]
pub(crate) struct Audit {
    log: PathBuf,
    policy: PathBuf,
}

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// When, by the wall clock, in microseconds since 1970.
    pub(crate) at: u64,
    pub(crate) verb: String,
    pub(crate) uri: String,
    /// The answer's code; none where none was sent.
    pub(crate) code: Option<u64>,
}

impl Audit {
    /// A log in a folder.
    ///
    /// # Panics
    /// If the policy can't be written.
    pub(crate) fn in_folder(folder: &Path) -> Self {
        let policy = folder.join("audit-policy.json");
        std::fs::write(&policy, POLICY).unwrap_or_else(|error| panic!("{}: {error}", policy.display()));
        Self {
            log: folder.join("audit.log"),
            policy,
        }
    }

    /// The API server's flags for it.
    pub(crate) fn flags(&self) -> Vec<String> {
        vec![
            format!("--audit-log-path={}", self.log.display()),
            format!("--audit-policy-file={}", self.policy.display()),
        ]
    }

    /// The requests of a user since then, and those that were refused before the server knew whose they were.
    ///
    /// # Panics
    /// If there is no log.
    pub(crate) fn of(&self, user: &str, since: u64) -> Vec<Seen> {
        let text = std::fs::read(&self.log).unwrap_or_else(|error| panic!("{}: {error}", self.log.display()));
        let text = String::from_utf8_lossy(&text);
        let mut order: Vec<String> = Vec::new();
        let mut seen = std::collections::HashMap::new();
        // A line may be cut off where the server was killed.
        for event in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            let code = event["responseStatus"]["code"].as_u64();
            if event["user"]["username"] != user && code != Some(401) {
                continue;
            }
            let at = micros(event["requestReceivedTimestamp"].as_str().unwrap_or_default());
            if at < since {
                continue;
            }
            let id = event["auditID"].as_str().unwrap_or_default().to_owned();
            let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
            let entry = seen.entry(id.clone()).or_insert_with(|| {
                order.push(id);
                Seen {
                    at,
                    verb: text("verb"),
                    uri: text("requestURI"),
                    code: None,
                }
            });
            entry.code = entry.code.or(code);
        }
        order.iter().filter_map(|id| seen.remove(id)).collect()
    }
}

/// Now, as the log tells times.
#[expect(clippy::disallowed_methods, reason = "the log of a real server is by the wall clock")]
pub(crate) fn wall() -> u64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    since.as_micros().try_into().unwrap_or(u64::MAX)
}

/// `2026-11-25T15:00:00.123456Z` in microseconds since 1970.
fn micros(text: &str) -> u64 {
    let time: Option<k8s_openapi::jiff::Timestamp> = text.parse().ok();
    time.and_then(|time| time.as_microsecond().try_into().ok())
        .unwrap_or_else(|| panic!("no time: {text:?}"))
}
