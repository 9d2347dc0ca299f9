//! What a run counts in, and how.

use std::{sync::atomic::AtomicU64, time::Duration};

use prometheus_client::metrics::{counter::Counter, histogram::Histogram};

use super::{
    Metrics,
    labels::{ByEnd, by, by_result, queue},
};
use crate::{ControllerId, ResultLabel, lock::lock};

/// A controller's series that every run counts in, found once for all runs: to find one by its labels means to make
/// them.
pub(crate) struct Series {
    success: Counter,
    requeue_after: Counter,
    error: Counter,
    seconds: Histogram,
    cpu: Counter<f64, AtomicU64>,
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

impl Metrics {
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
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pilothouse_apiclient::Meter;
    use pilothouse_informer::{DriverConfig, SharedInformers, TokioClock};

    use super::*;
    use crate::Dispatcher;

    /// A run that took so long failed.
    fn failed(metrics: &Metrics, id: &ControllerId, cut: Option<&'static str>, took: Duration) {
        let run = Run {
            id,
            result: ResultLabel::Error,
            terminal: false,
            cut,
            wall: took,
            cpu: took,
            worked_for: took,
        };
        metrics.reconciled(&metrics.series(id), &run);
    }

    #[test]
    fn rule_25_a_call_timed_out_only_if_our_own_deadline_ended_it() {
        let (metrics, id) = (Metrics::new(&Meter::default()), ControllerId::new("p", "c"));
        metrics.registered(&id);
        let timeouts = |cut| {
            // However long it took.
            failed(&metrics, &id, cut, Duration::from_secs(3_600));
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
            failed(&metrics, &id, Some(cut), Duration::from_millis(2));
        }
        metrics.stale(&id);
        let client = kube::Client::try_from(kube::Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap();
        let (clock, runtime) = (Arc::new(TokioClock::start()), tokio::runtime::Handle::current());
        let informers = SharedInformers::new(client, DriverConfig::default(), clock, runtime, 1);
        metrics.look(Duration::ZERO, &Dispatcher::new(1), informers.reach());
        let text = metrics.text();
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
