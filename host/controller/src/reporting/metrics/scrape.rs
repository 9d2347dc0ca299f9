//! A scrape: what is not counted as it happens is taken from the queues, breakers and the watch on the API server, and
//! all of it is written as OpenMetrics text.

use std::{fmt::Write as _, sync::atomic::Ordering, time::Duration};

use pilothouse_gate::breaker::State;
use pilothouse_informer::Reach;
use prometheus_client::encoding::text::encode;

use super::{
    Metrics,
    labels::{ByPluginState, ByPriority, by, queue},
};
use crate::Dispatcher;

impl Metrics {
    /// Takes the gauges from the queues, the breakers and the watch on the API server, as they stand at this moment.
    /// Only for who has locked [`Metrics::scraping`].
    pub(crate) fn look(&self, now: Duration, dispatcher: &Dispatcher, reach: &Reach) {
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
    }

    /// All metrics as text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            // Writing to a String can't fail; an encoder's own refusal would show as a scrape without its end.
            let _ = writeln!(text, "# the metrics could not be written");
        }
        text
    }
}
