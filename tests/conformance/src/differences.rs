//! The list of differences, and its check.
//!
//! Promises: the list is sorted, holds each request once, and is held against what was found in both directions. It
//! knows nothing of how differences are found; scripts, the random walk and kubectl's transcripts share it.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde_json::json;

/// Where the list stands, from the repository's root.
pub const PLACE: &str = "tests/conformance/differences.yaml";

/// One request that the two servers answer differently.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// The script's name; `walk` for the random walk, `kubectl` for transcripts.
    pub topic: String,
    /// The step's name, or kubectl's command line; unique within its topic.
    pub request: String,
    /// What differs, as the real server answers it.
    pub real: String,
    /// What differs, as the local cluster answers it.
    pub ours: String,
}

impl Difference {
    fn key(&self) -> (&str, &str) {
        (&self.topic, &self.request)
    }
}

/// The entry as it stands in the list.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "- topic: {}", self.topic)?;
        for (name, text) in [("request", &self.request), ("real", &self.real), ("ours", &self.ours)] {
            // A JSON string is a YAML string, whatever is in it.
            writeln!(f, "  {name}: {}", json!(text))?;
        }
        Ok(())
    }
}

/// The list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences(Vec<Difference>);

impl Differences {
    /// The repository's list.
    ///
    /// # Panics
    /// If it is not there or in disorder, with the place and the mend.
    #[must_use]
    pub fn load() -> Self {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/differences.yaml"));
        let list = text
            .map_err(|error| error.to_string())
            .and_then(|text| Self::parse(&text));
        list.unwrap_or_else(|why| panic!("{PLACE}: {why}"))
    }

    /// A list from its text.
    ///
    /// # Errors
    /// If it is no list of entries, is not sorted, or holds a request twice.
    pub fn parse(text: &str) -> Result<Self, String> {
        let list: Vec<Difference> = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        for pair in list.windows(2) {
            let (first, second) = (&pair[0], &pair[1]);
            if first.key() == second.key() {
                return Err(format!(
                    "this request stands there twice, delete one of the two:\n{second}"
                ));
            }
            if first.key() > second.key() {
                return Err(format!(
                    "the entries are sorted by topic, then request; move this one up:\n{second}"
                ));
            }
        }
        for entry in &list {
            if entry.real == entry.ours {
                return Err(format!("this is no difference, delete it:\n{entry}"));
            }
        }
        Ok(Self(list))
    }

    /// Every entry, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Difference> {
        self.0.iter()
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many entries each topic has.
    #[must_use]
    pub fn by_topic(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for entry in &self.0 {
            *counts.entry(entry.topic.as_str()).or_default() += 1;
        }
        counts
    }

    /// Whether exactly this difference is listed.
    #[must_use]
    pub fn has(&self, found: &Difference) -> bool {
        self.0.contains(found)
    }

    /// The entries of a topic whose requests begin with this text, for a test that makes only these.
    #[must_use]
    pub fn beginning(&self, topic: &str, request: &str) -> Self {
        let of = |entry: &&Difference| entry.topic == topic && entry.request.starts_with(request);
        Self(self.0.iter().filter(of).cloned().collect())
    }

    /// Holds the list's entries of one topic against everything that was found to differ in it.
    ///
    /// # Errors
    /// If they are not the same, with what is to be added to the list, changed, and deleted from it.
    pub fn check(&self, topic: &str, found: &[Difference]) -> Result<(), String> {
        use fmt::Write as _;
        let (mut add, mut change, mut delete) = (String::new(), String::new(), String::new());
        // Writing to a String can't fail.
        for difference in found {
            assert_eq!(difference.topic, topic, "a difference of another topic:\n{difference}");
            match self.0.iter().find(|entry| entry.key() == difference.key()) {
                None => _ = write!(add, "{difference}"),
                Some(entry) if entry != difference => _ = write!(change, "{difference}"),
                Some(_) => {}
            }
        }
        for entry in self.0.iter().filter(|entry| entry.topic == topic) {
            if found.iter().all(|difference| difference.key() != entry.key()) {
                _ = write!(delete, "{entry}");
            }
        }
        let mut all = String::new();
        for (what, entries) in [
            ("Not listed: mend the local cluster, or add to", add),
            (
                "Listed, but they differ otherwise now: put this in the place of what stands in",
                change,
            ),
            ("Listed, but gone (well done): delete from", delete),
        ] {
            if !entries.is_empty() {
                _ = write!(all, "{what} {PLACE}:\n{entries}");
            }
        }
        if all.is_empty() { Ok(()) } else { Err(all) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(topic: &str, request: &str, real: &str) -> Difference {
        Difference {
            topic: topic.to_owned(),
            request: request.to_owned(),
            real: real.to_owned(),
            ours: "200".to_owned(),
        }
    }

    fn list(entries: &[Difference]) -> Result<Differences, String> {
        Differences::parse(&entries.iter().map(Difference::to_string).collect::<String>())
    }

    #[test]
    fn the_repositorys_list_is_in_order() {
        assert_eq!(Differences::load().iter().count(), Differences::load().len());
    }

    #[test]
    fn what_is_printed_is_what_can_be_pasted() {
        let odd = difference("crud", "get \"a\": #b\n- c", "404; message: \u{e4}\\{}");
        assert_eq!(list(std::slice::from_ref(&odd)).unwrap(), Differences(vec![odd]));
    }

    #[test]
    fn a_list_in_disorder_is_refused() {
        let (a, b) = (difference("crud", "a", "1"), difference("crud", "b", "1"));
        assert!(list(&[a.clone(), b.clone()]).is_ok());
        let refused = |entries: &[Difference], why: &str| {
            let error = list(entries).unwrap_err();
            assert!(error.contains(why), "{error}");
        };
        refused(&[b.clone(), a.clone()], "move this one up");
        refused(&[a.clone(), difference("crud", "a", "2")], "twice");
        refused(&[difference("crud", "a", "200")], "no difference");
        assert!(Differences::parse("- {topic: a, request: b, real: c, ours: d, why: e}").is_err());
        assert!(Differences::parse("[]").unwrap().is_empty());
    }

    #[test]
    fn what_differs_as_listed_passes() {
        let all = [difference("crud", "a", "1"), difference("walk", "b", "1")];
        let list = list(&all).unwrap();
        assert_eq!(list.check("crud", &all[..1]), Ok(()));
        assert_eq!(list.check("patches", &[]), Ok(()));
        assert_eq!(list.by_topic(), BTreeMap::from([("crud", 1), ("walk", 1)]));
    }

    #[test]
    fn a_test_can_hold_its_own_requests_against_the_list() {
        let all = [
            difference("crud", "a: b", "1"),
            difference("kubectl", "a: b", "1"),
            difference("kubectl", "b: c", "1"),
        ];
        assert_eq!(
            list(&all).unwrap().beginning("kubectl", "a: "),
            Differences(vec![all[1].clone()])
        );
    }

    #[test]
    fn what_differs_and_is_not_listed_fails_with_the_entry() {
        let found = difference("crud", "a", "1");
        let error = Differences::default()
            .check("crud", std::slice::from_ref(&found))
            .unwrap_err();
        assert!(error.starts_with("Not listed"), "{error}");
        assert!(error.contains(&found.to_string()), "{error}");
    }

    #[test]
    fn what_is_listed_and_differs_no_more_fails() {
        let gone = difference("crud", "a", "1");
        let error = list(std::slice::from_ref(&gone))
            .unwrap()
            .check("crud", &[])
            .unwrap_err();
        assert!(error.starts_with("Listed, but gone"), "{error}");
        assert!(error.contains(&gone.to_string()), "{error}");
    }

    #[test]
    fn what_differs_otherwise_than_listed_fails_with_the_new_entry() {
        let (before, now) = (difference("crud", "a", "1"), difference("crud", "a", "2"));
        let error = list(&[before])
            .unwrap()
            .check("crud", std::slice::from_ref(&now))
            .unwrap_err();
        assert!(error.starts_with("Listed, but they differ otherwise"), "{error}");
        assert!(error.contains(&now.to_string()), "{error}");
    }
}
