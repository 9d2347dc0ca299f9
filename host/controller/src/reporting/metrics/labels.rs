//! What tells series apart: the labels, made of names that the host knows, and of guests' words only escaped and cut.

use pilothouse_lifecycle::Plugin;
use pilothouse_object::{escape_control, shorten};
use prometheus_client::encoding::EncodeLabelSet;

use crate::{ControllerId, ResultLabel};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByController {
    pub(super) controller: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByResult {
    pub(super) controller: String,
    pub(super) result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByQueue {
    pub(super) name: String,
    pub(super) controller: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByPriority {
    pub(super) name: String,
    pub(super) controller: String,
    pub(super) priority: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByEnd {
    pub(super) controller: String,
    pub(super) end: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByPlugin {
    pub(super) plugin: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Served {
    pub(super) plugin: String,
    pub(super) version: String,
    pub(super) module: String,
    pub(super) configuration: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByPluginResult {
    pub(super) plugin: String,
    pub(super) result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByPluginState {
    pub(super) plugin: String,
    pub(super) state: &'static str,
}

pub(super) fn served(plugin: &Plugin) -> Served {
    Served {
        plugin: plugin.name.to_string(),
        // The plugin's own text.
        version: escape_control(&shorten(&plugin.manifest.version, 64)).into_owned(),
        module: plugin.hash.to_string(),
        configuration: plugin.configuration.to_string(),
    }
}

pub(super) fn by(id: &ControllerId) -> ByController {
    ByController {
        controller: id.to_string(),
    }
}

pub(super) fn by_result(id: &ControllerId, result: ResultLabel) -> ByResult {
    ByResult {
        controller: id.to_string(),
        result: result.as_str(),
    }
}

pub(super) fn queue(id: &ControllerId) -> ByQueue {
    ByQueue {
        name: id.to_string(),
        controller: id.to_string(),
    }
}
