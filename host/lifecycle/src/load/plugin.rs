//! What a load makes: all that is known of a plugin that may serve.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use pilothouse_runtime::{Limits, Module};

use super::Hash;
use crate::capabilities::Capabilities;
use crate::config::{BreakerSettings, Budget, Concurrency, ControllerOverrides, Impersonate, PluginConfig};
use crate::manifest::Manifest;
use crate::queue_settings::Retrying;

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
    /// Which words of the operator's file it runs by: its configuration, grants and settings. Another hash may mean
    /// another outcome of a reconcile that failed for good.
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
    pub(super) controllers: Arc<BTreeMap<String, ControllerOverrides>>,
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
