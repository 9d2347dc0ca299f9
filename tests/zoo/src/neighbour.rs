//! The quiet neighbour: the greeting, one object after the other.

use std::time::{Duration, Instant};

use pilothouse_e2e::{Api, Host, Metrics, PATIENCE};

/// How often it is looked whether an object is as it should be: the grain of what is measured.
const GRAIN: Duration = Duration::from_millis(2);

/// How the neighbour was served.
#[derive(Clone, Copy, Debug, Default)]
pub struct Served {
    /// Objects that were reconciled.
    pub keys: u32,
    /// The longest time from the API server's answer to the object's creation until its status told that all is done.
    pub worst: Duration,
}

/// The neighbour.
pub(crate) struct Neighbour<'a> {
    api: Api,
    host: &'a Host,
    pub(crate) served: Served,
}

impl<'a> Neighbour<'a> {
    pub(crate) fn new(api: Api, host: &'a Host) -> Self {
        let served = Served::default();
        Self { api, host, served }
    }

    /// Has one more object reconciled.
    ///
    /// # Panics
    /// If it is not within [`PATIENCE`].
    #[expect(clippy::disallowed_methods, reason = "it measures a real process")]
    pub(crate) async fn key(&mut self) {
        let name = format!("n{}", self.served.keys);
        self.api.greet(&name).await;
        let began = Instant::now();
        while self.api.greeted(&name).await.is_none() {
            let said = || self.host.stderr().join("\n");
            assert!(
                began.elapsed() < PATIENCE,
                "the neighbour's {name} was not reconciled within {PATIENCE:?}:\n{}",
                said()
            );
            tokio::time::sleep(GRAIN).await;
        }
        self.served.worst = self.served.worst.max(began.elapsed());
        self.served.keys += 1;
    }

    /// None of its calls failed.
    ///
    /// # Panics
    /// If one did, or the host serves no metrics.
    pub(crate) async fn is_well(&self, address: &str) {
        let metrics = Metrics::scrape(address)
            .await
            .expect("the host lives and serves metrics");
        let own = [("controller", "greeting/greeting")];
        for name in [
            "controller_runtime_reconcile_errors_total",
            "pilothouse_calls_cut_total",
        ] {
            let said = || self.host.stderr().join("\n");
            assert_eq!(
                metrics.sum(name, &own),
                0.0,
                "the neighbour's calls go well: {name}\n{}",
                said()
            );
        }
        let went_well = metrics.sum("controller_runtime_reconcile_total", &own);
        assert!(
            went_well >= f64::from(self.served.keys),
            "each object takes a call: {went_well}"
        );
    }
}
