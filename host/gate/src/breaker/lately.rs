//! How the last calls of a plugin's keys ended, key by key, in bounded memory. It has no window: in a plugin that is
//! not busy what was seen an hour ago is all that is known.

use super::Outcome;

/// So many keys are remembered: those that were called last.
const REMEMBERED: usize = 64;

/// The keys that were called last, and how the last call of each ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lately {
    /// Those called last stand last.
    keys: Vec<(u64, Outcome)>,
}

impl Lately {
    /// A call of this key ended. One that says nothing about the plugin changes nothing.
    pub(crate) fn tell(&mut self, key: u64, outcome: Outcome) {
        if outcome == Outcome::Ignored {
            return;
        }
        if let Some(at) = self.keys.iter().position(|(told, _)| *told == key) {
            self.keys.remove(at);
        } else if self.keys.len() >= REMEMBERED {
            self.keys.remove(0);
        }
        self.keys.push((key, outcome));
    }

    /// Whether the key is remembered, and its last call went well and was not slow.
    pub(crate) fn went_well(&self, key: u64) -> bool {
        self.keys.contains(&(key, Outcome::Success))
    }

    /// Whether more of the keys did not fail at their last call than did.
    pub(crate) fn mostly_well(&self) -> bool {
        let failed = self.keys.iter().filter(|(_, last)| *last == Outcome::Failure).count();
        failed < self.keys.len() - failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_remembered_by_its_last_call_and_one_that_says_nothing_changes_nothing() {
        let mut lately = Lately::default();
        assert!(!lately.mostly_well(), "nothing is known");
        lately.tell(1, Outcome::Success);
        lately.tell(2, Outcome::Failure);
        assert!(lately.went_well(1) && !lately.went_well(2) && !lately.mostly_well());
        lately.tell(2, Outcome::Slow);
        lately.tell(1, Outcome::Ignored);
        assert!(lately.went_well(1) && !lately.went_well(2) && lately.mostly_well());
        lately.tell(2, Outcome::Success);
        lately.tell(1, Outcome::Failure);
        assert!(!lately.went_well(1) && lately.went_well(2));
    }

    #[test]
    fn the_keys_that_were_called_longest_ago_are_forgotten_first() {
        let mut lately = Lately::default();
        for key in 0..64 {
            lately.tell(key, Outcome::Success);
        }
        for key in 100..131 {
            lately.tell(key, Outcome::Failure);
            lately.tell(0, Outcome::Success);
        }
        assert!(lately.went_well(0) && !lately.went_well(31) && lately.went_well(32));
        assert!(lately.mostly_well(), "thirty-one of sixty-four failed");
        lately.tell(131, Outcome::Failure);
        assert!(!lately.mostly_well(), "thirty-two did");
        assert_eq!(lately.keys.len(), REMEMBERED);
    }
}
