//! A plugin's windows on the caches: which part of which kind each of its controllers sees.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, atomic::AtomicBool},
    time::Duration,
};

use pilothouse_informer::{IndexSpec, Names, Projection, Reader, SharedInformers, Subscription, View};
use pilothouse_lifecycle::{Extent, Plugin, Reach, Retrying, Scope, Shown, Verb};
use pilothouse_object::{Gvk, LabelSelector, shorten};
use pilothouse_workqueue::{Limit, Limits};
use tokio::sync::Notify;

use crate::{
    ControllerId, Route,
    access::Access,
    api::requests::Share,
    calls::{call::PluginState, log_budget::LogBudget},
    core::{Controller, Core},
    parked::keeping::Identity,
    versions::{
        stage::End,
        tenure::{Meanwhile, Phase, Tenure},
    },
    waking::{feed::Feed, intake::Intake},
};

/// A version whose windows are open.
pub(crate) struct Opened {
    pub(crate) state: Arc<PluginState>,
    /// In the manifest's order.
    pub(crate) controllers: Vec<Arc<Controller>>,
    /// Told whenever one of the controllers has all its first lists.
    pub(crate) ready: Arc<Notify>,
}

/// Opens the windows of a version on the kinds that it watches.
///
/// Where there is none before it, it serves from now on: its controllers are registered, and run after one more
/// [`Tenure::arrived`] than they have windows. Otherwise it comes, and remembers what it hears. With `access` its
/// requests go out as whom that is about.
pub(crate) fn open(
    core: &Arc<Core>,
    informers: &SharedInformers,
    plugin: Arc<Plugin>,
    before: Option<&PluginState>,
    access: Option<Arc<Access>>,
) -> Opened {
    let name = plugin.name.clone();
    let ready = Arc::new(Notify::new());
    let mut open = Open::default();
    let mut opened = Vec::new();
    for controller in &plugin.manifest.controllers {
        let id = ControllerId::new(&name, &controller.name);
        let primary = Window {
            kind: &controller.kind,
            scope: controller.scope,
            selector: &controller.selector,
            projection: projection(plugin.manifest.shown_of_primary(controller)),
            route: Route::primary(controller),
        };
        let watched = controller.watches.iter().map(|watch| Window {
            kind: &watch.kind,
            scope: watch.scope,
            selector: &watch.selector,
            projection: projection(plugin.manifest.shown_of_watched(watch)),
            route: Route::watched(controller, watch),
        });
        let reaches = |window: &Window<'_>| plugin.capabilities.reach(Verb::Watch, window.kind, None);
        let unsynced = reaches(&primary).len() + watched.clone().map(|window| reaches(&window).len()).sum::<usize>();
        let (phase, awaited) = match before {
            None => (Phase::Serving, unsynced + 1),
            Some(_) => (Phase::Coming(Meanwhile::default()), unsynced),
        };
        let feeds = Feeds {
            core,
            informers,
            plugin: &plugin,
            named: &controller.namespaces,
            id: &id,
            tenure: Arc::new(Tenure::new(phase, awaited, ready.clone())),
        };
        // The controller's own kind first: mappings of the other kinds look through its windows.
        let primaries = feeds.open(&primary, reaches(&primary), &mut open);
        feeds.tenure.set_primaries(primaries.clone());
        for window in watched {
            feeds.open(&window, reaches(&window), &mut open);
        }
        let tenure = feeds.tenure;
        opened.push((id, controller.kind.clone(), primaries, controller.resync(), tenure));
    }
    for views in open.views.values_mut() {
        // Whoever looks through the first that shows an object sees it whole where any window shows it whole.
        views.sort_by_key(|view| match view.view().projection {
            Projection::Whole | Projection::Uncut => 0,
            Projection::Fields(_) => 1,
            Projection::Metadata => 2,
        });
    }
    // Versions of one plugin share what it may send and log: another one is no reason for a new burst.
    let same =
        before.filter(|before| (before.plugin.requests, before.plugin.budget) == (plugin.requests, plugin.budget));
    let api = match same {
        Some(before) => before.api.clone(),
        None => core.shared.api.share(&name, Share::of(&plugin)),
    };
    let api = api.acting_as(access.as_ref().map(|access| access.user.clone()));
    let logs = match same {
        Some(before) => before.logs.clone(),
        None => Arc::new(Mutex::new(LogBudget::new(&plugin.budget))),
    };
    let state = Arc::new(PluginState {
        end: End::new(name.clone(), core, before),
        plugin,
        name,
        views: open.views,
        broken: open.broken,
        repeats: Mutex::default(),
        api,
        access,
        logs,
        events_waiting: before.map(|before| before.events_waiting.clone()).unwrap_or_default(),
        _subscriptions: open.subscriptions,
    });
    let controllers = opened
        .into_iter()
        .map(|(id, kind, primaries, resync, tenure)| {
            Arc::new(Controller {
                id,
                kind,
                primaries,
                tenure,
                plugin: state.clone(),
                resync,
                series: OnceLock::new(),
                heavy: AtomicBool::new(false),
            })
        })
        .collect();
    Opened {
        state,
        controllers,
        ready,
    }
}

/// What a controller is, as far as parked keys are concerned.
pub(crate) fn identity(plugin: &Plugin, controller: &pilothouse_lifecycle::Controller) -> Identity {
    Identity {
        kind: controller.kind.clone(),
        module: plugin.hash.to_string().into(),
        configuration: plugin.configuration.to_string().into(),
    }
}

/// What the operator and the plugin's author set, as a queue keeps to it.
pub(crate) fn limits(retrying: &Retrying) -> Limits {
    let backoff = Limit::Exponential {
        base: Duration::from_millis(retrying.base_ms.into()),
        cap: Duration::from_millis(retrying.max_ms.into()),
        jitter: retrying.jitter,
    };
    let fast_slow = retrying.fast_slow.map(|waits| Limit::FastSlow {
        fast: waits.fast(),
        slow: waits.slow(),
        quick: waits.quick,
    });
    let bucket = retrying.rate.map(|rate| Limit::Bucket {
        every: Duration::from_secs(1) / rate.per_second.max(1),
        burst: rate.burst,
    });
    let end = retrying.max_attempts.map(|most| Limit::Attempts { most });
    Limits::new([Some(backoff), fast_slow, bucket, end].into_iter().flatten())
}

/// What has been opened so far for a plugin.
#[derive(Default)]
struct Open {
    views: HashMap<Gvk, Vec<Reader>>,
    subscriptions: Vec<Subscription>,
    broken: Vec<String>,
}

/// What the feeds of one controller have in common.
struct Feeds<'a> {
    core: &'a Arc<Core>,
    informers: &'a SharedInformers,
    plugin: &'a Plugin,
    named: &'a [String],
    id: &'a ControllerId,
    tenure: Arc<Tenure>,
}

impl Feeds<'_> {
    /// Opens a window for each part of the kind that the plugin may watch.
    fn open(&self, window: &Window<'_>, reaches: Vec<Reach>, open: &mut Open) -> Vec<Reader> {
        let indexes: Vec<IndexSpec> = self
            .plugin
            .manifest
            .indexes
            .iter()
            .filter(|index| index.kind == *window.kind)
            .map(|index| IndexSpec {
                name: index.name.clone(),
                paths: index.paths.clone(),
            })
            .collect();
        // The namespaces that a controller names are those of its own objects; what belongs to the cluster has none.
        let named = if window.scope == Scope::Cluster {
            &[]
        } else {
            self.named
        };
        let mut opened = Vec::new();
        for (number, reach) in reaches.iter().enumerate() {
            let view = View {
                owner: self.id.plugin.clone(),
                namespaces: within(reach, named),
                names: names(&reach.names),
                selector: window.selector.clone(),
                fields: None,
                projection: window.projection.clone(),
            };
            let feed = Feed {
                core: self.core.clone(),
                intake: Intake {
                    id: self.id.clone(),
                    kind: window.kind.clone(),
                    route: window.route.clone(),
                    window: window_name(window, number),
                },
                tenure: self.tenure.clone(),
            };
            match self.informers.subscribe(window.kind, view, &indexes, Arc::new(feed)) {
                Ok(subscription) => {
                    opened.push(subscription.reader());
                    open.subscriptions.push(subscription);
                }
                // The manifest's check is meant to let nothing through that fails here. If something does, the
                // controller never starts, and readiness says why.
                Err(error) => {
                    tracing::error!(controller = %self.id, kind = %window.kind, %error, "a watch could not be opened");
                    open.broken
                        .push(format!("{}: {} can't be watched: {error}", self.id, window.kind));
                }
            }
        }
        open.views
            .entry(window.kind.clone())
            .or_default()
            .extend(opened.iter().cloned());
        opened
    }
}

fn projection(shown: Shown) -> Projection {
    match shown {
        Shown::Metadata => Projection::Metadata,
        Shown::Fields(fields) => Projection::Fields(Arc::new(fields)),
        Shown::Whole => Projection::Whole,
    }
}

/// What a window is called in the list of parked keys. Grants and manifest decide on the number, and where one of these
/// is another at the next start nothing of the list is held against what comes through its windows.
fn window_name(window: &Window<'_>, number: usize) -> Arc<str> {
    let name = format!("{} {}", window.kind, window.route.via());
    let name = shorten(&name, 512);
    match number {
        0 => name.into(),
        _ => format!("{name} #{number}").into(),
    }
}

#[derive(Clone)]
struct Window<'a> {
    kind: &'a Gvk,
    scope: Scope,
    selector: &'a LabelSelector,
    projection: Projection,
    route: Route,
}

/// The namespaces that are both granted and named in the manifest (none named: all granted).
fn within(reach: &Reach, named: &[String]) -> Names {
    match (&reach.namespaces, named) {
        (extent, []) => names(extent),
        (Extent::All, named) => Names::of(named.iter().map(String::as_str)),
        (Extent::Only(granted), named) => Names::of(
            granted
                .iter()
                .map(|n| &**n)
                .filter(|granted| named.iter().any(|named| named == granted)),
        ),
    }
}

fn names(extent: &Extent) -> Names {
    match extent {
        Extent::All => Names::All,
        Extent::Only(some) => Names::of(some.iter().map(|name| &**name)),
    }
}

#[cfg(test)]
#[path = "windows_tests.rs"]
mod tests;
