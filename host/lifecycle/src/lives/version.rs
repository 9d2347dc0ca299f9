//! Versions of a plugin: which one is which, what one must be able to say, and those that served before.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::capabilities::Capabilities;
use crate::config::PluginConfig;
use crate::grant::missing;
use crate::load::{Hash, Plugin};
use crate::manifest::SuggestedLimits;

/// What tells versions apart: the module, and what the operator says of the plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Mark {
    /// The module's hash.
    pub(crate) module: Hash,
    /// [`PluginConfig::hash`].
    pub(crate) configuration: Hash,
}

/// A version that passed every step of loading.
pub(crate) trait Candidate: Clone {
    /// Which one it is.
    fn mark(&self) -> Mark;
    /// What it calls itself: its author's text.
    fn version(&self) -> &str;
    /// Whether everything that it asks for is granted there, nothing that it holds was taken away, and it acts as whom
    /// that says.
    fn fits(&self, config: &PluginConfig) -> bool;
    /// Whether it has a controller of this name.
    fn has_controller(&self, name: &str) -> bool;
    /// The same, with as many keys in work at once as that says.
    fn adjusted(&self, config: &PluginConfig) -> Self;
    /// The limits that its author suggests.
    fn suggested_limits(&self) -> SuggestedLimits;
}

impl Candidate for Arc<Plugin> {
    fn mark(&self) -> Mark {
        Mark {
            module: self.hash,
            configuration: self.configuration,
        }
    }

    fn version(&self) -> &str {
        &self.manifest.version
    }

    fn fits(&self, config: &PluginConfig) -> bool {
        // As another than it is said to be it would have rights that it is to have no longer.
        let (asked, granted) = (&self.manifest.permissions, config.granted());
        self.impersonate == config.impersonate
            && self.events <= config.events
            && missing(asked, &granted).is_empty()
            // And nothing that it holds reaches further than what it would be given now.
            && self.capabilities.is_within(&Capabilities::new(&self.name, asked, &granted))
    }

    fn has_controller(&self, name: &str) -> bool {
        self.manifest.controller(name).is_some()
    }

    fn adjusted(&self, config: &PluginConfig) -> Self {
        Arc::new(self.with_concurrency_of(config))
    }

    fn suggested_limits(&self) -> SuggestedLimits {
        self.manifest.limits
    }
}

/// What the directory holds for a plugin.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    /// The module's hash.
    pub(crate) module: Hash,
    /// The operator's side.
    pub(crate) config: Arc<PluginConfig>,
}

impl Wanted {
    pub(crate) fn mark(&self) -> Mark {
        Mark {
            module: self.module,
            configuration: self.config.hash(),
        }
    }
}

/// A version at hand, with what it was loaded for.
#[derive(Clone, Debug)]
pub(super) struct Version<P> {
    pub(super) plugin: P,
    pub(super) wanted: Wanted,
}

impl<P: Candidate> Version<P> {
    /// Whether this one serves what is wanted once it has another concurrency.
    pub(super) fn is_adjusted_by(&self, wanted: &Wanted) -> bool {
        self.wanted.module == wanted.module
            && self.wanted.config.differs_in_concurrency_alone(&wanted.config)
            && wanted
                .config
                .controllers
                .keys()
                .all(|name| self.plugin.has_controller(name))
    }
}

/// A version that served before.
#[derive(Clone, Debug)]
pub(super) struct Past<P> {
    pub(super) mark: Mark,
    /// What it calls itself.
    pub(super) version: String,
    pub(super) wanted: Wanted,
    /// None where the host was started since then: only its bytes are kept.
    pub(super) plugin: Option<P>,
    /// It was on probation when another took its place: whether it is any good is not known, and nothing goes back to
    /// it by itself.
    pub(super) unproven: bool,
}

impl<P: Candidate> From<Version<P>> for Past<P> {
    fn from(version: Version<P>) -> Self {
        Self {
            mark: version.plugin.mark(),
            version: version.plugin.version().to_owned(),
            wanted: version.wanted,
            plugin: Some(version.plugin),
            unproven: false,
        }
    }
}

impl<P: Candidate> Past<P> {
    /// False where it certainly asks for more than that; what was not loaded yet is asked once it is.
    pub(super) fn may_fit(&self, config: &PluginConfig) -> bool {
        self.plugin.as_ref().is_none_or(|plugin| plugin.fits(config))
    }
}
