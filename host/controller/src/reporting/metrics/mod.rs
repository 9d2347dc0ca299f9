//! Metrics under controller-runtime's and client-go's names, so that dashboards people have keep working.
//!
//! `controller` and `name` are `plugin/controller`. What has no counterpart there begins with `pilothouse_`. The text
//! is OpenMetrics, which Prometheus reads. Here: the numbers, and when the series of plugins and controllers come and
//! go.
//!
//! | module | what is in it |
//! |---|---|
//! | `labels` | what tells series apart |
//! | `names` | under which name and with which help each is told |
//! | `runs` | what a run counts in |
//! | `scrape` | gauges taken at the moment, and the text |

mod labels;
mod names;
mod runs;
mod scrape;

use std::{
    collections::HashSet,
    sync::{Mutex, atomic::AtomicU64},
};

use pilothouse_apiclient::Meter;
use pilothouse_gate::breaker::Change;
use pilothouse_lifecycle::Plugin;
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use self::labels::{
    ByController, ByEnd, ByPlugin, ByPluginResult, ByPluginState, ByPriority, ByQueue, ByResult, Served, by, by_result,
    queue, served,
};
pub(crate) use self::runs::{Run, Series};
use crate::{ControllerId, ResultLabel, access::Finding, lock::lock, reporting::cache_metrics::CacheMetrics};

/// The content type of [`Host::metrics`](crate::Host::metrics).
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Bounds of `controller_runtime_reconcile_time_seconds`, as controller-runtime has them.
const RECONCILE_SECONDS: [f64; 40] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.25, 1.5,
    1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0,
];

/// Bounds of the workqueue's histograms, as controller-runtime has them.
const QUEUE_SECONDS: [f64; 13] = [
    1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 60.0, 600.0, 1000.0,
];

fn reconcile_seconds() -> Histogram {
    Histogram::new(RECONCILE_SECONDS)
}

fn queue_seconds() -> Histogram {
    Histogram::new(QUEUE_SECONDS)
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// Everything that is counted.
pub(crate) struct Metrics {
    /// Held by a scrape from its first look to the end of its text: gauges are cleared and set anew, and another one
    /// would meet them half set.
    pub(crate) scraping: Mutex<()>,
    registry: Registry,
    total: Family<ByResult, Counter>,
    errors: Family<ByController, Counter>,
    terminal: Family<ByController, Counter>,
    panics: Family<ByController, Counter>,
    timeouts: Family<ByController, Counter>,
    seconds: Histograms<ByController>,
    max_concurrent: Family<ByController, Gauge>,
    active: Family<ByController, Gauge>,
    depth: Family<ByPriority, Gauge>,
    adds: Family<ByQueue, Counter>,
    retries: Family<ByQueue, Counter>,
    queue_seconds: Histograms<ByQueue>,
    work_seconds: Histograms<ByQueue>,
    unfinished: Family<ByQueue, Gauge<f64, AtomicU64>>,
    longest: Family<ByQueue, Gauge<f64, AtomicU64>>,
    parked: Family<ByController, Gauge>,
    cut: Family<ByEnd, Counter>,
    cpu: Family<ByController, Counter<f64, AtomicU64>>,
    denied: Family<ByPlugin, Counter>,
    log_dropped: Family<ByPlugin, Counter>,
    stale: Family<ByController, Counter>,
    loop_runs: Family<ByController, Counter>,
    repeated: Family<ByController, Counter>,
    loops: Family<ByController, Gauge>,
    events: Family<ByPluginResult, Counter>,
    served: Family<Served, Gauge>,
    swaps: Family<ByPlugin, Counter>,
    /// Series whose labels are not known beforehand, to be removed with their plugin.
    loose: Mutex<(HashSet<ByEnd>, HashSet<ByPluginResult>, HashSet<Served>)>,
    breaker_state: Family<ByPluginState, Gauge>,
    breaker_trips: Family<ByPlugin, Counter>,
    access_allowed: Family<ByPlugin, Gauge>,
    access_reviews: Family<ByPluginResult, Counter>,
    reachable: Gauge,
    outages: Counter,
    unreachable: Counter<f64, AtomicU64>,
    pub(crate) caches: CacheMetrics,
}

impl Metrics {
    pub(crate) fn new(meter: &Meter) -> Self {
        let mut metrics = Self {
            scraping: Mutex::default(),
            registry: Registry::default(),
            total: Family::default(),
            errors: Family::default(),
            terminal: Family::default(),
            panics: Family::default(),
            timeouts: Family::default(),
            seconds: Family::new_with_constructor(reconcile_seconds),
            max_concurrent: Family::default(),
            active: Family::default(),
            depth: Family::default(),
            adds: Family::default(),
            retries: Family::default(),
            queue_seconds: Family::new_with_constructor(queue_seconds),
            work_seconds: Family::new_with_constructor(queue_seconds),
            unfinished: Family::default(),
            longest: Family::default(),
            parked: Family::default(),
            cut: Family::default(),
            cpu: Family::default(),
            denied: Family::default(),
            log_dropped: Family::default(),
            stale: Family::default(),
            loop_runs: Family::default(),
            repeated: Family::default(),
            loops: Family::default(),
            events: Family::default(),
            served: Family::default(),
            swaps: Family::default(),
            loose: Mutex::default(),
            breaker_state: Family::default(),
            breaker_trips: Family::default(),
            access_allowed: Family::default(),
            access_reviews: Family::default(),
            reachable: Gauge::default(),
            outages: Counter::default(),
            unreachable: Counter::default(),
            caches: CacheMetrics::default(),
        };
        metrics.register(meter);
        metrics
    }

    /// How many runs of a controller ended, and how many of them in an error.
    pub(crate) fn runs(&self, id: &ControllerId) -> (u64, u64) {
        let of = |result: ResultLabel| {
            // One that is not there has not run: looking must not make it.
            self.total
                .get(&by_result(id, result))
                .map_or(0, |counter| counter.get())
        };
        let errors = of(ResultLabel::Error);
        (
            of(ResultLabel::Success) + of(ResultLabel::RequeueAfter) + errors,
            errors,
        )
    }

    /// Counters that a controller has one of each.
    fn counted_by_controller(&self) -> [&Family<ByController, Counter>; 7] {
        [
            &self.errors,
            &self.terminal,
            &self.panics,
            &self.timeouts,
            &self.stale,
            &self.loop_runs,
            &self.repeated,
        ]
    }

    pub(crate) fn registered(&self, id: &ControllerId) {
        // The series exist from the start: a rate over a counter that appears with its first error misses that error.
        for result in ResultLabel::ALL {
            let _ = self.total.get_or_create(&by_result(id, result));
        }
        for family in self.counted_by_controller() {
            let _ = family.get_or_create(&by(id));
        }
        for family in [&self.denied, &self.log_dropped, &self.breaker_trips] {
            let _ = family.get_or_create(&ByPlugin {
                plugin: id.plugin.to_string(),
            });
        }
    }

    /// This version of a plugin serves from now on, after another one or as the first.
    pub(crate) fn serves(&self, before: Option<&Plugin>, now: &Plugin) {
        let plugin = ByPlugin {
            plugin: now.name.to_string(),
        };
        let swaps = self.swaps.get_or_create_owned(&plugin);
        let mut loose = lock(&self.loose);
        if let Some(before) = before {
            let before = served(before);
            self.served.remove(&before);
            loose.2.remove(&before);
            swaps.inc();
        }
        let now = served(now);
        self.served.get_or_create(&now).set(1);
        loose.2.insert(now);
    }

    /// The controller is gone, and so are its series.
    pub(crate) fn forget(&self, id: &ControllerId) {
        let (by, queue) = (by(id), queue(id));
        for result in ResultLabel::ALL {
            self.total.remove(&by_result(id, result));
        }
        for family in self.counted_by_controller() {
            family.remove(&by);
        }
        for family in [&self.max_concurrent, &self.active, &self.parked, &self.loops] {
            family.remove(&by);
        }
        self.seconds.remove(&by);
        self.cpu.remove(&by);
        self.adds.remove(&queue);
        self.retries.remove(&queue);
        self.queue_seconds.remove(&queue);
        self.work_seconds.remove(&queue);
        self.unfinished.remove(&queue);
        self.longest.remove(&queue);
        lock(&self.loose)
            .0
            .retain(|end| end.controller != by.controller || !self.cut.remove(end));
    }

    /// The plugin is gone, and so are its series.
    pub(crate) fn forget_plugin(&self, plugin: &str) {
        let by = ByPlugin {
            plugin: plugin.to_owned(),
        };
        for family in [&self.denied, &self.log_dropped, &self.breaker_trips, &self.swaps] {
            family.remove(&by);
        }
        self.access_allowed.remove(&by);
        for result in Finding::ALL {
            let plugin = plugin.to_owned();
            self.access_reviews.remove(&ByPluginResult { plugin, result });
        }
        let mut loose = lock(&self.loose);
        loose
            .1
            .retain(|event| event.plugin != plugin || !self.events.remove(event));
        loose
            .2
            .retain(|served| served.plugin != plugin || !self.served.remove(served));
    }

    pub(crate) fn denied(&self, plugin: &str) {
        self.denied
            .get_or_create(&ByPlugin {
                plugin: plugin.to_owned(),
            })
            .inc();
    }

    pub(crate) fn log_dropped(&self, plugin: &str) {
        self.log_dropped
            .get_or_create(&ByPlugin {
                plugin: plugin.to_owned(),
            })
            .inc();
    }

    pub(crate) fn breaker(&self, plugin: &str, change: &Change) {
        if matches!(change, Change::Opened { .. } | Change::Quarantined { .. }) {
            let plugin = plugin.to_owned();
            self.breaker_trips.get_or_create(&ByPlugin { plugin }).inc();
        }
    }

    /// Whether whom a plugin acts as may see what it watches; none where it acts as the host.
    pub(crate) fn access(&self, plugin: &str, allowed: Option<bool>) {
        let plugin = ByPlugin {
            plugin: plugin.to_owned(),
        };
        match allowed {
            Some(allowed) => _ = self.access_allowed.get_or_create(&plugin).set(allowed.into()),
            None => _ = self.access_allowed.remove(&plugin),
        }
    }

    pub(crate) fn reviewed(&self, plugin: &str, found: &'static str) {
        self.access_reviews
            .get_or_create(&ByPluginResult {
                plugin: plugin.to_owned(),
                result: found,
            })
            .inc();
    }

    pub(crate) fn stale(&self, id: &ControllerId) {
        self.stale.get_or_create(&by(id)).inc();
    }

    pub(crate) fn repeated(&self, id: &ControllerId) {
        self.repeated.get_or_create(&by(id)).inc();
    }

    pub(crate) fn event(&self, plugin: &str, result: &'static str) {
        let plugin = plugin.to_owned();
        let known = self.denied.get(&ByPlugin { plugin: plugin.clone() }).is_some();
        // One that was still to be sent when its plugin went must not bring back what is gone.
        if known {
            let by_result = ByPluginResult { plugin, result };
            self.events.get_or_create(&by_result).inc();
            lock(&self.loose).1.insert(by_result);
        }
    }
}
