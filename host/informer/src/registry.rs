//! Which informers a process has: one for each kind and form. Pure.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicU64},
};

use pilothouse_object::{Gvk, Keep};

use crate::{informer::Informer, reflector::ReflectorConfig, view::Projection};

/// The informers of a process.
///
/// A subscriber that needs less is served by an informer that keeps more, if there is one when it comes; it gets one of
/// its own otherwise. So a kind has at most three.
pub struct Registry {
    informers: BTreeMap<(Gvk, Projection), Arc<Informer>>,
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

    /// The informer for a subscriber of this kind and projection, made if there is none that keeps enough.
    pub fn informer(&mut self, gvk: &Gvk, projection: Projection) -> Arc<Informer> {
        // Of a Secret no more than this is ever kept.
        let projection = match projection {
            Projection::Uncut if gvk.is_secret() => Projection::Whole,
            other => other,
        };
        let range = (gvk.clone(), projection)..=(gvk.clone(), Projection::Uncut);
        if let Some((_, informer)) = self.informers.range(range).next() {
            return informer.clone();
        }
        let keep = match projection {
            Projection::Metadata => Keep::Metadata,
            Projection::Whole if gvk.is_secret() => Keep::Secret,
            Projection::Whole => Keep::Cut,
            Projection::Uncut => Keep::All,
        };
        let informer = Arc::new(Informer::new(
            gvk.clone(),
            keep,
            self.config,
            self.ids.clone(),
            self.rng.fork(),
        ));
        self.informers.insert((gvk.clone(), projection), informer.clone());
        informer
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
    fn one_informer_serves_equal_and_lesser_needs() {
        let mut registry = Registry::new(ReflectorConfig::default(), 1);
        let whole = registry.informer(&gvk(), Projection::Whole);
        assert!(Arc::ptr_eq(&whole, &registry.informer(&gvk(), Projection::Whole)));
        assert!(Arc::ptr_eq(&whole, &registry.informer(&gvk(), Projection::Metadata)));
        let uncut = registry.informer(&gvk(), Projection::Uncut);
        assert!(!Arc::ptr_eq(&whole, &uncut));
        assert_eq!((whole.keep(), uncut.keep()), (Keep::Cut, Keep::All));
    }

    #[test]
    fn a_secrets_data_is_never_kept() {
        let mut registry = Registry::new(ReflectorConfig::default(), 1);
        let secret = Gvk::new("", "v1", "Secret");
        for projection in [Projection::Whole, Projection::Uncut] {
            assert_eq!(registry.informer(&secret, projection).keep(), Keep::Secret);
        }
        let metadata = Registry::new(ReflectorConfig::default(), 1).informer(&secret, Projection::Metadata);
        assert_eq!(metadata.keep(), Keep::Metadata);
    }

    #[test]
    fn an_informer_without_subscribers_is_dropped() {
        let mut registry = Registry::new(ReflectorConfig::default(), 1);
        let weak = Arc::downgrade(&registry.informer(&gvk(), Projection::Whole));
        registry.forget_idle();
        assert!(weak.upgrade().is_none());
        assert_eq!(registry.iter().count(), 0);
    }
}
