//! Under which name and with which help each number is told.
//!
//! controller-runtime's and client-go's names where they have one, `pilothouse_` before all others.

use pilothouse_apiclient::Meter;

use super::Metrics;

impl Metrics {
    /// Enters every family into the registry, and those of the client and the caches with them.
    pub(super) fn register(&mut self, meter: &Meter) {
        let m = self;
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
    }
}
