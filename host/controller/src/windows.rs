//! A plugin's windows on the caches: which part of which kind each of its controllers sees.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock, atomic::AtomicUsize},
    time::Duration,
};

use pilothouse_informer::{IndexSpec, Names, Projection, Reader, SharedInformers, Subscription, View};
use pilothouse_lifecycle::{Extent, Plugin, Reach, Retrying, Scope, Shown, Verb};
use pilothouse_object::{Gvk, LabelSelector, shorten};
use pilothouse_workqueue::{Limit, Limits};

use crate::{
    ControllerId, Route,
    api::Share,
    call::PluginState,
    core::{Controller, Core},
    feed::Feed,
    intake::Intake,
    lock::lock,
    log_budget::LogBudget,
    parked::{Kept, keeping::Identity},
};

/// Opens a plugin's windows on the kinds it watches and registers its controllers.
///
/// What the last host kept of their parked keys is taken out of `kept` and set down first; none: nothing is kept.
pub(crate) fn open(
    core: &Arc<Core>,
    informers: &SharedInformers,
    plugin: Arc<Plugin>,
    mut kept: Option<&mut Kept>,
) -> Vec<Controller> {
    let name = plugin.name.clone();
    let mut open = Open::default();
    let mut opened = Vec::new();
    for (controller, retrying) in plugin.manifest.controllers.iter().zip(plugin.retrying.iter()) {
        let id = ControllerId {
            plugin: name.clone(),
            controller: controller.name.as_str().into(),
        };
        let concurrency = plugin.concurrency(&controller.name) as usize;
        lock(&core.dispatcher).register(id.clone(), concurrency, limits(retrying));
        if let Some(kept) = kept.as_deref_mut() {
            let records = kept.records.extract_if(.., |record| record.id == id).collect();
            let heard = kept.heard.remove(&id).unwrap_or_default();
            let identity = Identity {
                kind: controller.kind.clone(),
                module: plugin.hash.to_string().into(),
                configuration: plugin.configuration.to_string().into(),
            };
            lock(&core.dispatcher).keep(&id, identity, heard, records);
        }
        core.shared.metrics.registered(&id, concurrency);

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
        let feeds = Feeds {
            core,
            informers,
            plugin: &plugin,
            named: &controller.namespaces,
            id: &id,
            primaries: Arc::new(OnceLock::new()),
            unsynced: Arc::new(AtomicUsize::new(unsynced)),
        };
        // The controller's own kind first: mappings of the other kinds look through its windows.
        let primaries = feeds.open(&primary, reaches(&primary), &mut open);
        // Set once, here.
        let _ = feeds.primaries.set(primaries.clone());
        for window in watched {
            feeds.open(&window, reaches(&window), &mut open);
        }
        opened.push((id, controller.kind.clone(), primaries, controller.resync()));
    }
    for views in open.views.values_mut() {
        // Whoever looks through the first that shows an object sees it whole where any window shows it whole.
        views.sort_by_key(|view| match view.view().projection {
            Projection::Whole | Projection::Uncut => 0,
            Projection::Fields(_) => 1,
            Projection::Metadata => 2,
        });
    }
    let api = core.shared.api.share(&name, Share::of(&plugin));
    let logs = LogBudget::new(&plugin.budget).into();
    let state = Arc::new(PluginState {
        plugin,
        name,
        views: open.views,
        broken: open.broken,
        api,
        logs,
        events_waiting: Arc::default(),
        _subscriptions: open.subscriptions,
    });
    opened
        .into_iter()
        .map(|(id, kind, primaries, resync)| Controller {
            id,
            kind,
            primaries,
            plugin: state.clone(),
            resync,
        })
        .collect()
}

/// What the operator and the plugin's author set, as a queue keeps to it.
fn limits(retrying: &Retrying) -> Limits {
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
    primaries: Arc<OnceLock<Vec<Reader>>>,
    unsynced: Arc<AtomicUsize>,
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
                primaries: self.primaries.clone(),
                unsynced: self.unsynced.clone(),
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

/// What a window is called in the list of parked keys. Grants and manifest decide on the number, and where one of these is
/// another at the next start nothing of the list is held against what comes through its windows.
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
