//! Resource versions of two servers: which are each other's, and in which order they stand.

use std::collections::{BTreeMap, BTreeSet};

/// What is known of the versions of both servers.
#[derive(Debug, Default)]
pub(crate) struct Versions {
    /// Which versions of the second server stand for which of the first's; all of them in the same order.
    order: BTreeMap<u64, u64>,
    /// These and those that were told to differ once: what is told once is not told in each later answer.
    pairs: BTreeSet<(u64, u64)>,
    /// At which step a version was seen first, by server.
    seen: [BTreeMap<u64, String>; 2],
}

impl Versions {
    /// Compares the versions of one object. None if they are each other's, or both new and in the same order among all
    /// others; else how they differ.
    pub(crate) fn of_objects(&mut self, step: &str, real: &str, ours: &str) -> Option<[String; 2]> {
        let (Ok(first), Ok(second)) = (real.parse::<u64>(), ours.parse::<u64>()) else {
            return (real != ours).then(|| [format!("{real:?}"), format!("{ours:?}")]);
        };
        let labels = [self.label(0, first), self.label(1, second)];
        let is_known = [(0, first), (1, second)].map(|(side, version)| self.seen[side].contains_key(&version));
        let differs = match is_known {
            [false, false] => {
                let before = self
                    .order
                    .range(..first)
                    .next_back()
                    .is_none_or(|(_, pair)| *pair < second);
                let after = self.order.range(first..).next().is_none_or(|(_, pair)| *pair > second);
                !(before && after)
            }
            _ => !self.pairs.contains(&(first, second)),
        };
        for (side, version) in [(0, first), (1, second)] {
            self.seen[side].entry(version).or_insert_with(|| step.to_owned());
        }
        self.pairs.insert((first, second));
        if !differs {
            self.order.insert(first, second);
        }
        differs.then_some(labels)
    }

    /// Compares versions of lists or bookmarks: neither or both are older than what was seen.
    pub(crate) fn of_lists(&self, real: &Option<String>, ours: &Option<String>) -> Option<[String; 2]> {
        let label = |side: usize, version: &Option<String>| {
            let Some(text) = version else {
                return "–".to_owned();
            };
            let Ok(number) = text.parse::<u64>() else {
                return format!("{text:?}");
            };
            let newest = self.seen[side].last_key_value().map_or(0, |(version, _)| *version);
            if number >= newest { "<current>" } else { "<old>" }.to_owned()
        };
        let labels = [label(0, real), label(1, ours)];
        (labels[0] != labels[1]).then_some(labels)
    }

    fn label(&self, side: usize, version: u64) -> String {
        match self.seen[side].get(&version) {
            Some(step) => format!("<as at {step:?}>"),
            None if self.seen[side].range(version..).next().is_some() => "<an older version>".into(),
            None => "<a new version>".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_map_one_to_one_and_keep_their_order() {
        let mut versions = Versions::default();
        assert_eq!(versions.of_objects("a", "100", "5"), None);
        assert_eq!(versions.of_objects("b", "120", "6"), None);
        assert_eq!(versions.of_objects("c", "100", "5"), None);
        assert_eq!(
            versions.of_objects("d", "110", "5"),
            Some(["<an older version>".into(), "<as at \"a\">".into()])
        );
    }

    #[test]
    fn a_version_that_should_have_stayed_differs_once() {
        let mut versions = Versions::default();
        versions.of_objects("a", "100", "5");
        let differs = Some(["<as at \"a\">".to_owned(), "<a new version>".to_owned()]);
        assert_eq!(versions.of_objects("b", "100", "6"), differs);
        assert_eq!(versions.of_objects("c", "100", "6"), None);
        assert_eq!(versions.of_objects("d", "130", "7"), None);
    }

    #[test]
    fn versions_in_the_wrong_order_differ() {
        let mut versions = Versions::default();
        versions.of_objects("a", "100", "5");
        assert!(versions.of_objects("b", "120", "4").is_some());
        assert!(versions.of_objects("c", "x", "y").is_some());
    }

    #[test]
    fn lists_must_not_be_older_than_what_was_seen() {
        let mut versions = Versions::default();
        versions.of_objects("a", "100", "5");
        let text = |number: &str| Some(number.to_owned());
        assert_eq!(versions.of_lists(&text("130"), &text("5")), None);
        assert!(versions.of_lists(&text("130"), &text("4")).is_some());
        assert!(versions.of_lists(&text("130"), &None).is_some());
    }
}
