//! The form of what is kept: a line that tells the form and the hash of what follows, then a life (`life.json`), or the
//! failed compiles (`failures.json`).

use serde::{Deserialize, Serialize};

use super::failures::Failure;
use crate::config::PluginConfig;
use crate::lives::Mark;
use crate::load::Hash;

/// The form's name.
const FORM: &str = "plugin-life/v1";

/// That of failed compiles.
const FAILURES: &str = "plugin-failures/v1";

/// More than failed compiles take: they are few, and what is said of each is short.
pub(crate) const MAX_FAILURES_BYTES: u64 = 2 << 20;

/// A life may take so many bytes. The configurations in it are at most as long as the operator's file, 1 MiB, and there
/// are few.
pub(crate) const MAX_BYTES: u64 = 32 << 20;

/// More versions and rejections than any host writes.
const MAX_ENTRIES: usize = 64;

/// A version that can be brought back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct KeptVersion {
    pub(crate) module: Hash,
    /// What it calls itself: its author's text.
    pub(crate) version: String,
    /// [`PluginConfig::hash`] of the next; what doesn't agree is not taken.
    pub(crate) configuration: Hash,
    pub(crate) config: PluginConfig,
    /// It was on probation when another took its place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) unproven: bool,
}

/// A version that is not loaded again by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct KeptRejected {
    pub(crate) module: Hash,
    pub(crate) configuration: Hash,
    pub(crate) why: String,
    /// When, in seconds since the Unix epoch.
    pub(crate) at: u64,
}

/// What is kept of a plugin's life.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct KeptLife {
    /// A person's word on whether it runs.
    pub(crate) enabled: Option<bool>,
    /// Whether the configuration said that it is not to run when it could be read last.
    #[serde(default)]
    pub(crate) off: bool,
    /// Since when its file has been gone, in seconds since the Unix epoch.
    #[serde(default)]
    pub(crate) gone_since: Option<u64>,
    /// What serves, or is to serve where nothing newer can.
    pub(crate) serving: Option<KeptVersion>,
    /// Until when that is on probation, in seconds since the Unix epoch.
    pub(crate) probation_until: Option<u64>,
    /// How often it trapped on it.
    #[serde(default)]
    pub(crate) probation_traps: u32,
    /// Those before it, the newest first.
    pub(crate) previous: Vec<KeptVersion>,
    pub(crate) rejected: Vec<KeptRejected>,
    pub(crate) rolled_back_from: Option<Mark>,
    pub(crate) quarantine: Option<Mark>,
}

impl KeptLife {
    /// Says where this host lives, which is not kept: it may be another place, and grants that hold there are
    /// dangerous.
    pub(crate) fn at_home_in(&mut self, namespace: Option<&str>) {
        for version in self.serving.iter_mut().chain(&mut self.previous) {
            version.config.host_namespace = namespace.map(str::to_owned);
        }
    }

    /// The modules whose bytes it needs, the most important first.
    pub(crate) fn modules(&self) -> Vec<Hash> {
        let mut modules = Vec::new();
        for version in self.serving.iter().chain(&self.previous) {
            if !modules.contains(&version.module) {
                modules.push(version.module);
            }
        }
        modules
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    pilothouse: String,
    sha256: Hash,
}

/// As it is written.
pub(crate) fn write(life: &KeptLife) -> String {
    // A plain structure without maps of other keys than strings: it can't fail.
    sealed(FORM, &serde_json::to_string(life).unwrap_or_default())
}

/// What was written.
///
/// # Errors
/// Why it is not what a host of this form wrote; quotes nothing of it.
pub(crate) fn read(bytes: &[u8]) -> Result<KeptLife, String> {
    let body = unsealed(FORM, bytes, MAX_BYTES)?;
    // Errors of serde quote what they find, and a configuration stands in there.
    let life: KeptLife =
        serde_json::from_str(body).map_err(|error| format!("column {} of its second line", error.column()))?;
    if life.previous.len() > MAX_ENTRIES || life.rejected.len() > MAX_ENTRIES {
        return Err("it names more versions than a host keeps".to_owned());
    }
    let versions = life.serving.iter().chain(&life.previous);
    for version in versions {
        if version.config.hash() != version.configuration {
            return Err("a configuration in it is not understood as it was by the host that wrote it".to_owned());
        }
    }
    Ok(life)
}

/// Failed compiles as they are written.
pub(crate) fn write_failures(failures: &[Failure]) -> String {
    // As above.
    sealed(FAILURES, &serde_json::to_string(failures).unwrap_or_default())
}

/// What was written of failed compiles.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_failures(bytes: &[u8]) -> Result<Vec<Failure>, String> {
    let body = unsealed(FAILURES, bytes, MAX_FAILURES_BYTES)?;
    serde_json::from_str(body).map_err(|error| format!("column {} of its second line", error.column()))
}

fn sealed(form: &str, body: &str) -> String {
    let head = Head {
        pilothouse: form.to_owned(),
        sha256: Hash::of(body.as_bytes()),
    };
    format!("{}\n{body}\n", serde_json::to_string(&head).unwrap_or_default())
}

/// The body, where it is as it was written.
fn unsealed<'a>(form: &str, bytes: &'a [u8], most: u64) -> Result<&'a str, String> {
    if bytes.len() as u64 > most {
        return Err(format!("it is longer than {} MiB", most >> 20));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "it is no UTF-8".to_owned())?;
    let (head, body) = text.split_once('\n').ok_or("its first line is missing")?;
    let head: Head = serde_json::from_str(head).map_err(|_| "its first line is not what a host writes".to_owned())?;
    if head.pilothouse != form {
        return Err(format!("it is of another form than this host reads ({form})"));
    }
    let body = body.strip_suffix('\n').ok_or("it was cut")?;
    if Hash::of(body.as_bytes()) != head.sha256 {
        return Err("it is not as it was written: its hash is another".to_owned());
    }
    Ok(body)
}
