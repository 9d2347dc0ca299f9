//! Which informers a process has. Pure.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicU64},
};

use pilothouse_object::Gvk;

use crate::{informer::Informer, reflector::ReflectorConfig};

/// The informers of a process: one for each kind, and one for each field selector on it that the server alone can
/// evaluate.
pub struct Registry {
    informers: BTreeMap<(Gvk, Option<Arc<str>>), Arc<Informer>>,
    config: ReflectorConfig,
    ids: Arc<AtomicU64>,
    rng: fastrand::Rng,
}

impl Registry {
    /// A registry without informers; `seed` is where their jitter comes from.
    pub fn new(config: ReflectorConfig, seed: u64) -> Self {
        Self {
            informers: BTreeMap::new(),
            config,
            ids: Arc::new(AtomicU64::new(1)),
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// The informer of a kind, or of what a field selector picks of it (empty picks all), made if there is none.
    pub fn informer(&mut self, gvk: &Gvk, fields: Option<&str>) -> Arc<Informer> {
        let fields: Option<Arc<str>> = fields.filter(|fields| !fields.is_empty()).map(Into::into);
        let (config, ids, rng) = (self.config, &self.ids, &mut self.rng);
        let informer = self
            .informers
            .entry((gvk.clone(), fields.clone()))
            .or_insert_with(|| Arc::new(Informer::new(gvk.clone(), config, ids.clone(), rng.fork()).selecting(fields)));
        informer.clone()
    }

    /// Drops the informers that nobody subscribes to.
    pub fn forget_idle(&mut self) {
        self.informers.retain(|_, informer| !informer.is_idle());
    }

    /// All informers, by kind.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Informer>> {
        self.informers.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::gvk;

    #[test]
    fn a_kind_has_one_informer_and_each_field_selector_one_of_its_own() {
        let mut registry = Registry::new(ReflectorConfig::default(), 1);
        let all = registry.informer(&gvk(), None);
        assert!(Arc::ptr_eq(&all, &registry.informer(&gvk(), Some(""))));
        let picked = registry.informer(&gvk(), Some("spec.nodeName=a"));
        assert!(!Arc::ptr_eq(&all, &picked));
        assert!(Arc::ptr_eq(
            &picked,
            &registry.informer(&gvk(), Some("spec.nodeName=a"))
        ));
    }

    #[test]
    fn an_informer_without_subscribers_is_dropped() {
        let mut registry = Registry::new(ReflectorConfig::default(), 1);
        let weak = Arc::downgrade(&registry.informer(&gvk(), None));
        registry.forget_idle();
        assert!(weak.upgrade().is_none());
        assert_eq!(registry.iter().count(), 0);
    }
}
