//! What the caches hold, and for whom.

use std::sync::Arc;

use pilothouse_informer::{Charge, Counters};
use pilothouse_object::Gvk;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByPluginKind {
    plugin: String,
    kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByKind {
    kind: String,
}

/// Gauges of the caches.
#[derive(Default)]
pub(crate) struct CacheMetrics {
    bytes: Family<ByPluginKind, Gauge>,
    objects: Family<ByPluginKind, Gauge>,
    held: Family<ByKind, Gauge>,
}

fn gauge(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl CacheMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "pilothouse_cache_bytes",
            "What the cache would hold for the plugin alone, its indexes included",
            self.bytes.clone(),
        );
        registry.register(
            "pilothouse_cache_objects",
            "Cached objects that the plugin sees",
            self.objects.clone(),
        );
        registry.register(
            "pilothouse_cache_held_bytes",
            "What the cache holds for all plugins together, indexes included",
            self.held.clone(),
        );
    }

    /// Takes in what stands in the caches now.
    pub(crate) fn set(&self, charges: &[(Gvk, Arc<str>, Charge)], counters: &[(Gvk, Counters)]) {
        self.bytes.clear();
        self.objects.clear();
        self.held.clear();
        for (kind, plugin, charge) in charges {
            let labels = ByPluginKind {
                plugin: plugin.to_string(),
                kind: kind.to_string(),
            };
            // A kind may have several caches: one for each field selector.
            self.bytes.get_or_create(&labels).inc_by(gauge(charge.bytes));
            self.objects.get_or_create(&labels).inc_by(gauge(charge.objects));
        }
        for (kind, counters) in counters {
            let labels = ByKind { kind: kind.to_string() };
            let held = counters.weight.saturating_add(counters.index_weight);
            self.held.get_or_create(&labels).inc_by(gauge(held));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_is_shown_with_what_it_is_charged_and_the_kind_with_what_is_held() {
        let (metrics, mut registry) = (CacheMetrics::default(), Registry::default());
        metrics.register(&mut registry);
        let kind = Gvk::new("apps", "v1", "Deployment");
        let charge = Charge { objects: 2, bytes: 50 };
        let charges = [
            (kind.clone(), "a".into(), charge),
            (kind.clone(), "b".into(), charge),
            (kind.clone(), "a".into(), charge),
        ];
        let counters = Counters {
            weight: 60,
            index_weight: 7,
            ..Counters::default()
        };
        metrics.set(&charges, &[(kind.clone(), counters)]);
        let text = |registry: &Registry| {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
            text
        };
        let have = text(&registry);
        for line in [
            "pilothouse_cache_bytes{plugin=\"a\",kind=\"apps/v1 Deployment\"} 100",
            "pilothouse_cache_bytes{plugin=\"b\",kind=\"apps/v1 Deployment\"} 50",
            "pilothouse_cache_objects{plugin=\"a\",kind=\"apps/v1 Deployment\"} 4",
            "pilothouse_cache_held_bytes{kind=\"apps/v1 Deployment\"} 67",
        ] {
            assert!(have.lines().any(|has| has == line), "{line} is not in\n{have}");
        }
        metrics.set(&[], &[]);
        assert!(!text(&registry).contains("Deployment"), "who has left is not shown");
    }
}
