//! What the cache of a kind costs whom.
//!
//! The rule: an owner (a plugin) is charged for each object that any of its views shows, as heavy as the view shows it
//! (of several views the heaviest), and for each index that it declared; always in full. So the charge is what the
//! cache would hold for it alone: it does not change when others come and go, and where owners share, the charges
//! together are more than what is held. What is held stands beside it: see [`Counters`](crate::Counters).
//!
//! Events are counted as they come. Whatever changes more (who comes or leaves, a list, a change of what is needed)
//! only marks the charges as stale, and the next one who asks has them counted anew, once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use pilothouse_object::Object;

use crate::{informer::audience, informer::audience::Subscriber, store::Store, view::Delta};

/// What one owner is charged for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    /// Objects that its views show.
    pub objects: usize,
    /// Heap bytes of them, as they are shown, and of its indexes.
    pub bytes: usize,
}

/// The charges of a kind, without indexes.
#[derive(Debug, Default)]
pub(crate) struct Charges {
    by_owner: BTreeMap<Arc<str>, Charge>,
    stale: bool,
}

/// What an object weighs for an owner; none where no view of its shows it.
fn weigh(views: &[&Subscriber], object: &Object, uncut: bool) -> Option<usize> {
    views
        .iter()
        .filter(|subscriber| subscriber.view.sees(object.head()))
        .map(|subscriber| audience::shown(&subscriber.view, object, uncut).weight())
        .max()
}

fn by_owner(subscribers: &BTreeMap<u64, Subscriber>) -> BTreeMap<&Arc<str>, Vec<&Subscriber>> {
    let mut owners: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for subscriber in subscribers.values() {
        owners.entry(&subscriber.view.owner).or_default().push(subscriber);
    }
    owners
}

impl Charges {
    /// More has changed than events tell.
    pub(crate) fn outdated(&mut self) {
        self.stale = true;
    }

    /// Changes that every subscriber hears of.
    pub(crate) fn take(&mut self, subscribers: &BTreeMap<u64, Subscriber>, deltas: &[Delta], uncut: bool) {
        if self.stale || deltas.is_empty() {
            return;
        }
        for (owner, views) in by_owner(subscribers) {
            let charge = match self.by_owner.get_mut(owner) {
                Some(charge) => charge,
                None => self.by_owner.entry(owner.clone()).or_default(),
            };
            for delta in deltas {
                let weight = |object: &Option<Object>| object.as_ref().and_then(|object| weigh(&views, object, uncut));
                if let Some(weight) = weight(&delta.old) {
                    charge.objects = charge.objects.saturating_sub(1);
                    charge.bytes = charge.bytes.saturating_sub(weight);
                }
                if let Some(weight) = weight(&delta.new) {
                    charge.objects += 1;
                    charge.bytes += weight;
                }
            }
        }
    }

    /// The charges, by owner.
    pub(crate) fn read(
        &mut self,
        subscribers: &BTreeMap<u64, Subscriber>,
        store: &Store,
        uncut: bool,
    ) -> Vec<(Arc<str>, Charge)> {
        let owners = by_owner(subscribers);
        if std::mem::take(&mut self.stale) {
            self.by_owner.clear();
            for (owner, views) in &owners {
                let mut charge = Charge::default();
                for weight in store.iter().filter_map(|object| weigh(views, object, uncut)) {
                    charge.objects += 1;
                    charge.bytes += weight;
                }
                self.by_owner.insert((*owner).clone(), charge);
            }
        }
        let charged = |(owner, views): (&Arc<str>, Vec<&Subscriber>)| {
            let mut charge = self.by_owner.get(owner).copied().unwrap_or_default();
            let indexes: BTreeSet<&String> = views.iter().flat_map(|subscriber| &subscriber.indexes).collect();
            charge.bytes += indexes.iter().map(|index| store.index_weight(index)).sum::<usize>();
            (owner.clone(), charge)
        };
        owners.into_iter().map(charged).collect()
    }
}
