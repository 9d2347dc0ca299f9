//! What is counted, under client-go's names (component-base's metrics/prometheus/restclient).

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};

/// Bounds of both histograms, as client-go has them.
const SECONDS: [f64; 12] = [0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCode {
    code: String,
    method: String,
    host: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByVerb {
    verb: String,
    host: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByProtocol {
    protocol: &'static str,
}

type Histograms = Family<ByVerb, Histogram, fn() -> Histogram>;

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

/// Counts requests. Cheap to clone; all clones count together. One for a process: it is given to [`crate::client`] and
/// to whoever serves the metrics.
#[derive(Clone, Debug)]
pub struct Meter {
    requests: Family<ByCode, Counter>,
    seconds: Histograms,
    waits: Histograms,
    connections: Family<ByProtocol, Counter>,
    /// The API server's.
    host: Arc<OnceLock<String>>,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(seconds),
            waits: Family::new_with_constructor(seconds),
            connections: Family::default(),
            host: Arc::default(),
        }
    }
}

impl Meter {
    /// Makes the counts part of a scrape.
    pub fn register(&self, registry: &mut Registry) {
        // The library appends `_total` to counters.
        registry.register(
            "rest_client_requests",
            "Requests to the API server by status code, method and host; `<error>` where none came",
            self.requests.clone(),
        );
        registry.register(
            "rest_client_request_duration_seconds",
            "Time from a request to the begin of its answer",
            self.seconds.clone(),
        );
        registry.register(
            "rest_client_rate_limiter_duration_seconds",
            "Time that requests waited for the limits on requests a second",
            self.waits.clone(),
        );
        registry.register(
            "pilothouse_api_connections",
            "Connections to the API server that were opened",
            self.connections.clone(),
        );
        for protocol in [H1, H2] {
            let _ = self.connections.get_or_create(&ByProtocol { protocol });
        }
    }

    /// All that is counted goes to this server. The first one stays.
    pub(crate) fn is_for(&self, server: &http::Uri) {
        let _ = self
            .host
            .set(server.authority().map(ToString::to_string).unwrap_or_default());
    }

    fn host(&self) -> String {
        self.host.get().cloned().unwrap_or_default()
    }

    /// An answer began with this status after so long; none: no answer came.
    pub(crate) fn answered(&self, method: &http::Method, status: Option<http::StatusCode>, took: Duration) {
        let code = status.map_or_else(|| "<error>".to_owned(), |status| status.as_u16().to_string());
        self.requests
            .get_or_create(&ByCode {
                code,
                method: method.to_string(),
                host: self.host(),
            })
            .inc();
        self.seconds
            .get_or_create(&ByVerb {
                verb: method.to_string(),
                host: self.host(),
            })
            .observe(took.as_secs_f64());
    }

    /// A request with this method waited so long for its turn, be it not at all.
    pub fn waited(&self, method: &http::Method, time: Duration) {
        self.waits
            .get_or_create(&ByVerb {
                verb: method.to_string(),
                host: self.host(),
            })
            .observe(time.as_secs_f64());
    }

    pub(crate) fn opened(&self, protocol: &'static str) {
        self.connections.get_or_create(&ByProtocol { protocol }).inc();
    }

    /// Connections opened so far, over both protocols.
    pub fn connections(&self) -> u64 {
        [H1, H2]
            .iter()
            .map(|protocol| self.connections.get_or_create(&ByProtocol { protocol }).get())
            .sum()
    }
}

/// HTTP/1.1.
pub(crate) const H1: &str = "http/1.1";
/// HTTP/2.
pub(crate) const H2: &str = "h2";
