//! Which versions serve now.

use std::{collections::BTreeMap, sync::Arc};

use crate::{ControllerId, calls::call::PluginState, core::Controller};

/// The plugins that serve, and their controllers. Where the dispatcher is locked too, it is locked first.
#[derive(Default)]
pub(crate) struct Live {
    plugins: BTreeMap<Arc<str>, Arc<PluginState>>,
    controllers: BTreeMap<ControllerId, Arc<Controller>>,
    /// Counts what comes and goes.
    changes: u64,
}

/// What no longer serves. To be dropped where nothing is locked: with the last run of it its windows close, and that
/// waits for handlers, which lock the dispatcher.
#[must_use = "it is to be dropped where nothing is locked"]
pub(crate) struct Past {
    _plugin: Option<Arc<PluginState>>,
    pub(crate) controllers: Vec<Arc<Controller>>,
}

impl Live {
    /// From now on this version serves.
    pub(crate) fn put(&mut self, plugin: Arc<PluginState>, controllers: Vec<Arc<Controller>>) -> Past {
        let past = self.take(&plugin.name.clone());
        self.plugins.insert(plugin.name.clone(), plugin);
        let new = controllers
            .into_iter()
            .map(|controller| (controller.id.clone(), controller));
        self.controllers.extend(new);
        past
    }

    /// No version of this plugin serves any more.
    pub(crate) fn take(&mut self, name: &str) -> Past {
        self.changes += 1;
        let controllers = self.controllers.extract_if(.., |id, _| *id.plugin == *name);
        Past {
            controllers: controllers.map(|(_, controller)| controller).collect(),
            _plugin: self.plugins.remove(name),
        }
    }

    pub(crate) fn plugin(&self, name: &str) -> Option<&Arc<PluginState>> {
        self.plugins.get(name)
    }

    pub(crate) fn plugins(&self) -> impl Iterator<Item = &Arc<PluginState>> {
        self.plugins.values()
    }

    pub(crate) fn controller(&self, id: &ControllerId) -> Option<&Arc<Controller>> {
        self.controllers.get(id)
    }

    pub(crate) fn controllers(&self) -> impl Iterator<Item = &Arc<Controller>> {
        self.controllers.values()
    }

    /// Grows whenever something comes or goes.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }
}
