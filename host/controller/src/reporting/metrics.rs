//! Metrics under controller-runtime's and client-go's names, so that dashboards people have keep working.
//!
//! `controller` and `name` are `plugin/controller`. What has no counterpart there begins with `pilothouse_`. The text is
//! OpenMetrics, which Prometheus reads.

use std::{
    collections::HashSet,
    fmt::Write as _,
    sync::{Mutex, atomic::Ordering},
    time::Duration,
};

use pilothouse_apiclient::Meter;
use pilothouse_gate::breaker::{Change, State};
use pilothouse_informer::Reach;
use pilothouse_lifecycle::Plugin;
use pilothouse_object::{escape_control, shorten};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::{
    ControllerId, Dispatcher, ResultLabel, access::Finding, lock::lock, reporting::cache_metrics::CacheMetrics,
};

/// The content type of [`Host::metrics`](crate::Host::metrics).
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByController {
    controller: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResult {
    controller: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByQueue {
    name: String,
    controller: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByPriority {
    name: String,
    controller: String,
    priority: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByEnd {
    controller: String,
    end: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByPlugin {
    plugin: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Served {
    plugin: String,
    version: String,
    module: String,
    configuration: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByPluginResult {
    plugin: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByPluginState {
    plugin: String,
    state: &'static str,
}

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
    unfinished: Family<ByQueue, Gauge<f64, std::sync::atomic::AtomicU64>>,
    longest: Family<ByQueue, Gauge<f64, std::sync::atomic::AtomicU64>>,
    parked: Family<ByController, Gauge>,
    cut: Family<ByEnd, Counter>,
    cpu: Family<ByController, Counter<f64, std::sync::atomic::AtomicU64>>,
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
    unreachable: Counter<f64, std::sync::atomic::AtomicU64>,
    pub(crate) caches: CacheMetrics,
}

impl Metrics {
    pub(crate) fn new(meter: &Meter) -> Self {
        let mut metrics = Self {
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
        let m = &mut metrics;
        let r = &mut m.registry;
        // The library appends `_total` to counters.
        r.register("controller_runtime_reconcile", "Reconciles by result", m.total.clone());
        r.register(
            "controller_runtime_reconcile_errors",
            "Reconciles that failed",
            m.errors.clone(),
        );
        r.register(
            "controller_runtime_terminal_reconcile_errors",
            "Reconciles that failed for good",
            m.terminal.clone(),
        );
        r.register(
            "controller_runtime_reconcile_panics",
            "Reconciles that panicked or trapped",
            m.panics.clone(),
        );
        r.register(
            "controller_runtime_reconcile_timeouts",
            "Reconciles that ran out of wall time",
            m.timeouts.clone(),
        );
        r.register(
            "controller_runtime_reconcile_time_seconds",
            "Time of a reconcile",
            m.seconds.clone(),
        );
        r.register(
            "controller_runtime_max_concurrent_reconciles",
            "Permits",
            m.max_concurrent.clone(),
        );
        r.register(
            "controller_runtime_active_workers",
            "Reconciles that are running",
            m.active.clone(),
        );
        r.register("workqueue_depth", "Keys that are ready, by priority", m.depth.clone());
        r.register("workqueue_adds", "First adds", m.adds.clone());
        r.register("workqueue_retries", "Rate-limited adds", m.retries.clone());
        r.register(
            "workqueue_queue_duration_seconds",
            "Time from add to get",
            m.queue_seconds.clone(),
        );
        r.register(
            "workqueue_work_duration_seconds",
            "Time from get to done",
            m.work_seconds.clone(),
        );
        r.register(
            "workqueue_unfinished_work_seconds",
            "Sum over keys in work",
            m.unfinished.clone(),
        );
        r.register(
            "workqueue_longest_running_processor_seconds",
            "The oldest key in work",
            m.longest.clone(),
        );
        r.register(
            "pilothouse_parked_keys",
            "Keys parked after a terminal failure",
            m.parked.clone(),
        );
        r.register(
            "pilothouse_calls_cut",
            "Calls ended by the host, by what ended them",
            m.cut.clone(),
        );
        r.register(
            "pilothouse_call_cpu_seconds",
            "CPU time of plugins' calls",
            m.cpu.clone(),
        );
        r.register(
            "pilothouse_denied",
            "Import calls refused for want of a permission",
            m.denied.clone(),
        );
        r.register(
            "pilothouse_log_lines_dropped",
            "Log lines of plugins beyond what all their calls together may write",
            m.log_dropped.clone(),
        );
        r.register(
            "pilothouse_stale_cache_runs",
            "Runs begun before the cache held the key's last write",
            m.stale.clone(),
        );
        r.register(
            "pilothouse_hot_loop_runs",
            "Runs after which their key was slowed, since it goes round in circles",
            m.loop_runs.clone(),
        );
        r.register(
            "pilothouse_repeated_writes",
            "Writes that were not sent, since they went through before and nothing has changed since",
            m.repeated.clone(),
        );
        r.register("pilothouse_hot_loops", "Keys that go round in circles", m.loops.clone());
        r.register(
            "pilothouse_events",
            "Events of plugins by what became of them",
            m.events.clone(),
        );
        r.register(
            "pilothouse_plugin_info",
            "1 for the version of each plugin that serves: its own word for it, and the hashes of its module and settings",
            m.served.clone(),
        );
        r.register(
            "pilothouse_plugin_swaps",
            "How often another version of the plugin took over",
            m.swaps.clone(),
        );
        r.register(
            "pilothouse_breaker_state",
            "1 for the state that a plugin's breaker is in, else 0",
            m.breaker_state.clone(),
        );
        r.register(
            "pilothouse_breaker_trips",
            "How often a plugin's breaker opened",
            m.breaker_trips.clone(),
        );
        r.register(
            "pilothouse_plugin_access_allowed",
            "1 while whom the plugin acts as may see what it watches, else 0, and it is not called",
            m.access_allowed.clone(),
        );
        r.register(
            "pilothouse_plugin_access_reviews",
            "Rounds of access reviews by what they found",
            m.access_reviews.clone(),
        );
        r.register(
            "pilothouse_api_server_reachable",
            "1 while the API server answers and takes the credentials, else 0",
            m.reachable.clone(),
        );
        r.register(
            "pilothouse_api_server_outages",
            "How often the API server was found not to",
            m.outages.clone(),
        );
        r.register(
            "pilothouse_api_server_unreachable_seconds",
            "For how long it did not, all together",
            m.unreachable.clone(),
        );
        meter.register(r);
        m.caches.register(r);
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

    /// What each run of a registered controller counts in.
    pub(crate) fn series(&self, id: &ControllerId) -> Series {
        let (by, queue) = (by(id), queue(id));
        let total = |result| self.total.get_or_create_owned(&by_result(id, result));
        Series {
            success: total(ResultLabel::Success),
            requeue_after: total(ResultLabel::RequeueAfter),
            error: total(ResultLabel::Error),
            seconds: self.seconds.get_or_create_owned(&by),
            cpu: self.cpu.get_or_create_owned(&by),
            queue_seconds: self.queue_seconds.get_or_create_owned(&queue),
            work_seconds: self.work_seconds.get_or_create_owned(&queue),
        }
    }

    /// A run ended. `series` are those of its controller.
    pub(crate) fn reconciled(&self, series: &Series, run: &Run<'_>) {
        match run.result {
            ResultLabel::Success => series.success.inc(),
            ResultLabel::RequeueAfter => series.requeue_after.inc(),
            ResultLabel::Error => series.error.inc(),
        };
        series.seconds.observe(run.wall.as_secs_f64());
        series.work_seconds.observe(run.worked_for.as_secs_f64());
        series.cpu.inc_by(run.cpu.as_secs_f64());
        if run.result != ResultLabel::Error && run.cut.is_none() && !run.terminal {
            return;
        }
        let by = by(run.id);
        if run.result == ResultLabel::Error {
            self.errors.get_or_create(&by).inc();
        }
        if run.terminal {
            self.terminal.get_or_create(&by).inc();
        }
        match run.cut {
            Some("Trap" | "Panic") => _ = self.panics.get_or_create(&by).inc(),
            Some("WallTime") => _ = self.timeouts.get_or_create(&by).inc(),
            _ => {}
        }
        if let Some(end) = run.cut {
            let by_end = ByEnd {
                controller: run.id.to_string(),
                end,
            };
            self.cut.get_or_create(&by_end).inc();
            lock(&self.loose).0.insert(by_end);
        }
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

    /// All metrics as text; gauges are taken from the queues, and from the watch on the API server, at this moment.
    pub(crate) fn render(&self, now: Duration, dispatcher: &Dispatcher, reach: &Reach) -> String {
        let totals = reach.totals();
        self.reachable.set(i64::from(!*reach.away().borrow()));
        self.outages.inner().store(totals.outages, Ordering::Relaxed);
        let seconds = totals.lasted.as_secs_f64().to_bits();
        self.unreachable.inner().store(seconds, Ordering::Relaxed);
        self.breaker_state.clear();
        for (plugin, view) in dispatcher.breakers.views(now) {
            let is = match view.state {
                State::Closed => "closed",
                State::Open { .. } => "open",
                State::HalfOpen => "half_open",
                State::Quarantined => "quarantined",
            };
            for state in ["closed", "open", "half_open", "quarantined"] {
                let labels = ByPluginState {
                    plugin: plugin.to_string(),
                    state,
                };
                self.breaker_state.get_or_create(&labels).set(i64::from(state == is));
            }
        }
        self.depth.clear();
        for (id, queue_) in dispatcher.queues() {
            let stats = queue_.stats(now);
            let labels = queue(id);
            let mut depth = stats.depth.clone();
            depth.entry(0).or_insert(0);
            for (priority, keys) in depth {
                let labels = ByPriority {
                    name: labels.name.clone(),
                    controller: labels.controller.clone(),
                    priority: priority.to_string(),
                };
                self.depth.get_or_create(&labels).set(keys as i64);
            }
            self.adds
                .get_or_create(&labels)
                .inner()
                .store(stats.adds, Ordering::Relaxed);
            self.retries
                .get_or_create(&labels)
                .inner()
                .store(stats.retries, Ordering::Relaxed);
            self.unfinished
                .get_or_create(&labels)
                .set(stats.unfinished_work.as_secs_f64());
            self.longest
                .get_or_create(&labels)
                .set(stats.longest_running.as_secs_f64());
            if let Some(limit) = dispatcher.concurrency(id) {
                self.max_concurrent.get_or_create(&by(id)).set(limit as i64);
            }
            self.active.get_or_create(&by(id)).set(dispatcher.running(id) as i64);
            self.parked.get_or_create(&by(id)).set(stats.parked as i64);
            if let Some(slowed) = dispatcher.slowed(id) {
                self.loops.get_or_create(&by(id)).set(slowed.loops(now).count() as i64);
                self.loop_runs
                    .get_or_create(&by(id))
                    .inner()
                    .store(slowed.runs, Ordering::Relaxed);
            }
        }
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            // Writing to a String can't fail; an encoder's own refusal would show as a scrape without its end.
            let _ = writeln!(text, "# the metrics could not be written");
        }
        text
    }
}

/// A controller's series that every run counts in, found once for all runs: to find one by its labels means to make them.
pub(crate) struct Series {
    success: Counter,
    requeue_after: Counter,
    error: Counter,
    seconds: Histogram,
    cpu: Counter<f64, std::sync::atomic::AtomicU64>,
    queue_seconds: Histogram,
    work_seconds: Histogram,
}

impl Series {
    /// A key begins that stood in the queue for so long.
    pub(crate) fn queued_for(&self, time: Duration) {
        self.queue_seconds.observe(time.as_secs_f64());
    }
}

/// One run, as it is counted.
pub(crate) struct Run<'a> {
    pub(crate) id: &'a ControllerId,
    pub(crate) result: ResultLabel,
    pub(crate) terminal: bool,
    /// [`pilothouse_runtime::CallError::kind`] where the host ended the call.
    pub(crate) cut: Option<&'static str>,
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
    pub(crate) worked_for: Duration,
}

fn served(plugin: &Plugin) -> Served {
    Served {
        plugin: plugin.name.to_string(),
        // The plugin's own text.
        version: escape_control(&shorten(&plugin.manifest.version, 64)).into_owned(),
        module: plugin.hash.to_string(),
        configuration: plugin.configuration.to_string(),
    }
}

fn by(id: &ControllerId) -> ByController {
    ByController {
        controller: id.to_string(),
    }
}

fn by_result(id: &ControllerId, result: ResultLabel) -> ByResult {
    ByResult {
        controller: id.to_string(),
        result: result.as_str(),
    }
}

fn queue(id: &ControllerId) -> ByQueue {
    ByQueue {
        name: id.to_string(),
        controller: id.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pilothouse_informer::{DriverConfig, SharedInformers, TokioClock};

    use super::*;

    #[test]
    fn rule_25_a_call_timed_out_only_if_our_own_deadline_ended_it() {
        let (metrics, id) = (Metrics::new(&Meter::default()), ControllerId::new("p", "c"));
        metrics.registered(&id);
        let timeouts = |cut| {
            metrics.reconciled(
                &metrics.series(&id),
                &Run {
                    id: &id,
                    result: ResultLabel::Error,
                    terminal: false,
                    cut,
                    // However long it took.
                    wall: Duration::from_secs(3_600),
                    cpu: Duration::from_secs(3_600),
                    worked_for: Duration::from_secs(3_600),
                },
            );
            metrics.timeouts.get_or_create(&by(&id)).get()
        };
        for other in [None, Some("CpuTime"), Some("Trap"), Some("Memory")] {
            assert_eq!(timeouts(other), 0, "{other:?}");
        }
        assert_eq!(timeouts(Some("WallTime")), 1);
    }

    #[tokio::test]
    async fn a_call_that_was_cut_is_counted_by_its_end_and_under_the_names_that_dashboards_know() {
        let (metrics, id) = (Metrics::new(&Meter::default()), ControllerId::new("p", "c"));
        metrics.registered(&id);
        for cut in ["Trap", "Panic", "WallTime", "Memory", "Memory"] {
            metrics.reconciled(
                &metrics.series(&id),
                &Run {
                    id: &id,
                    result: ResultLabel::Error,
                    terminal: false,
                    cut: Some(cut),
                    wall: Duration::from_millis(3),
                    cpu: Duration::from_millis(2),
                    worked_for: Duration::from_millis(4),
                },
            );
        }
        metrics.stale(&id);
        let client = kube::Client::try_from(kube::Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap();
        let (clock, runtime) = (Arc::new(TokioClock::start()), tokio::runtime::Handle::current());
        let informers = SharedInformers::new(client, DriverConfig::default(), clock, runtime, 1);
        let text = metrics.render(Duration::ZERO, &Dispatcher::new(1), informers.reach());
        for line in [
            "pilothouse_calls_cut_total{controller=\"p/c\",end=\"Memory\"} 2",
            "pilothouse_calls_cut_total{controller=\"p/c\",end=\"Trap\"} 1",
            "controller_runtime_reconcile_panics_total{controller=\"p/c\"} 2",
            "controller_runtime_reconcile_timeouts_total{controller=\"p/c\"} 1",
            "controller_runtime_reconcile_errors_total{controller=\"p/c\"} 5",
            "pilothouse_call_cpu_seconds_total{controller=\"p/c\"} 0.01",
            "pilothouse_stale_cache_runs_total{controller=\"p/c\"} 1",
            "pilothouse_api_server_reachable 1",
            "pilothouse_api_server_outages_total 0",
            "pilothouse_api_server_unreachable_seconds_total 0.0",
        ] {
            assert!(text.lines().any(|have| have == line), "{line} is not in\n{text}");
        }
    }
}
