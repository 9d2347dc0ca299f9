//! What the benches share: an API server that costs next to nothing, the host running the bench plugin against it, and
//! bare wasmtime calling the same plugin.
//!
//! The server is a script, not a cluster: it lists prepared objects, passes on prepared event lines and answers a patch
//! with a prepared object and its event. So what is measured is the host: bytes of an event in, reconcile done.

use std::time::{Duration, Instant};

pub mod alone;
pub mod bare;
pub mod host;
pub mod plugins;
pub mod server;
pub mod steady;

/// Objects of each kind. Each is about 4 KB, as the ConfigMaps of the peers' measurements are.
pub const OBJECTS: usize = 1_000;

/// An object's JSON of about 4 KB.
pub fn object(api_version: &str, kind: &str, i: usize, version: u64) -> String {
    let padding = "x".repeat(180);
    let data: Vec<String> = (0..20).map(|n| format!(r#""key-{n:02}":"{padding}""#)).collect();
    format!(
        r#"{{"apiVersion":"{api_version}","kind":"{kind}","metadata":{{"name":"o{i}","namespace":"default","uid":"{kind}-{i}","resourceVersion":"{version}","generation":{version},"labels":{{"app":"bench"}}}},"data":{{{}}}}}"#,
        data.join(",")
    )
}

/// CPU time that this process has used, in seconds, as the kernel counts it (in ticks of 10 ms).
pub fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the command's name, which may hold spaces: field 3 is the first; 14 and 15 are user and system time.
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |i: usize| {
        fields
            .get(i)
            .and_then(|field| field.parse::<f64>().ok())
            .unwrap_or_default()
    };
    (ticks(11) + ticks(12)) / 100.0
}

/// The moment.
#[allow(clippy::disallowed_methods, reason = "a bench measures time")]
pub fn now() -> Instant {
    Instant::now()
}

/// The value below which this share of sorted values lies; zero if there are none.
pub fn percentile(sorted: &[Duration], share: f64) -> Duration {
    let last = sorted.len().saturating_sub(1);
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index into what is there"
    )]
    let at = (last as f64 * share).ceil() as usize;
    sorted.get(at).copied().unwrap_or_default()
}
