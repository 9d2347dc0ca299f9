//! Which plugins the caches hold more for than they may have. Pure.
//!
//! What a plugin is charged is what the caches would hold for it alone ([`pilothouse_informer::Charge`]): others that
//! come and go change nothing about it, and whoever shares a watch pays for it in full. It is looked at every few
//! seconds, so a first list may go beyond for as long. At the bound the plugin is unloaded, by the room that loads: its
//! watches close, and what only it needed goes from the caches. Nothing else would give the memory back, and a view
//! with a part of its objects would be wrong without a word.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use pilothouse_informer::Charge;
use pilothouse_object::Gvk;

/// Between two looks.
pub(crate) const LOOK: Duration = Duration::from_secs(2);

/// The plugins that are charged more bytes, over all kinds, than `most` lets them have (none: no such plugin serves).
pub(crate) fn outgrown(
    charges: &[(Gvk, Arc<str>, Charge)],
    most: impl Fn(&str) -> Option<u64>,
) -> BTreeMap<Arc<str>, u64> {
    let mut bytes: BTreeMap<Arc<str>, u64> = BTreeMap::new();
    for (_, plugin, charge) in charges {
        let sum = bytes.entry(plugin.clone()).or_default();
        *sum = sum.saturating_add(charge.bytes as u64);
    }
    bytes.retain(|plugin, bytes| most(plugin).is_some_and(|most| *bytes > most));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_is_held_against_its_own_bound_with_all_its_kinds_and_nobody_elses() {
        let charge = |kind: &str, plugin: &str, bytes: usize| {
            let kind = Gvk::new("", "v1", kind);
            (kind, Arc::from(plugin), Charge { objects: 1, bytes })
        };
        let charges = [
            charge("Pod", "large", 60),
            charge("Pod", "small", 60),
            charge("Secret", "large", 41),
            charge("Pod", "gone", 1_000),
        ];
        let most = |plugin: &str| (plugin != "gone").then_some(100);
        let found = outgrown(&charges, most);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [("large".into(), 101)]);
    }
}
