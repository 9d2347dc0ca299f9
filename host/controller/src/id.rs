//! What a controller is called.

use std::{
    cmp::Ordering,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    ops::Deref,
    sync::Arc,
};

/// Names a controller of a plugin; shown as `plugin/controller`, which is also its label in metrics. Cheap to clone, to
/// compare with its clones, and to look up: each key is looked up by it a dozen times.
#[derive(Clone)]
pub struct ControllerId(Arc<Names>);

/// The two names of a [`ControllerId`].
pub struct Names {
    /// The plugin: its file name without `.wasm`.
    pub plugin: Arc<str>,
    /// The controller's name in the plugin's manifest.
    pub controller: Arc<str>,
    /// Of both.
    hash: u64,
}

impl ControllerId {
    /// A controller of a plugin.
    pub fn new(plugin: &str, controller: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        (plugin, controller).hash(&mut hasher);
        Self(Arc::new(Names {
            plugin: plugin.into(),
            controller: controller.into(),
            hash: hasher.finish(),
        }))
    }
}

impl Deref for ControllerId {
    type Target = Names;
    fn deref(&self) -> &Names {
        &self.0
    }
}

impl PartialEq for ControllerId {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for ControllerId {}

impl Hash for ControllerId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.hash.hash(state);
    }
}

impl PartialOrd for ControllerId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ControllerId {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) {
            return Ordering::Equal;
        }
        (&self.plugin, &self.controller).cmp(&(&other.plugin, &other.controller))
    }
}

impl fmt::Debug for ControllerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ControllerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.plugin, self.controller)
    }
}
