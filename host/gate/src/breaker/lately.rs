//! How the last calls of a plugin's keys ended, key by key, in bounded memory. It has no window: in a plugin that is
//! not busy what was seen an hour ago is all that is known.

use super::Outcome;

/// So many keys are remembered: those that were called last.
const REMEMBERED: usize = 64;

/// The keys that were called last, and how the last call of each ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lately {
    /// Those called last stand last.
    keys: Vec<Key>,
}

#[derive(Clone, Copy, Debug)]
struct Key {
    hash: u64,
    last: Outcome,
    /// The epoch of the first call since which each ended so.
    since: u64,
}

impl Lately {
    /// A call of this key ended, which began in this epoch. One that says nothing about the plugin changes nothing.
    pub(crate) fn tell(&mut self, hash: u64, epoch: u64, last: Outcome) {
        if last == Outcome::Ignored {
            return;
        }
        let mut since = epoch;
        if let Some(at) = self.keys.iter().position(|key| key.hash == hash) {
            let before = self.keys.remove(at);
            if before.last == last {
                since = before.since.min(epoch);
            }
        } else if self.keys.len() >= REMEMBERED {
            self.keys.remove(0);
        }
        self.keys.push(Key { hash, last, since });
    }

    /// Whether the key is remembered, and its last call went well and was not slow.
    pub(crate) fn went_well(&self, hash: u64) -> bool {
        let mut keys = self.keys.iter();
        keys.any(|key| key.hash == hash && key.last == Outcome::Success)
    }

    /// Whether the key is remembered, and has not done but fail since an earlier epoch than this.
    pub(crate) fn fails_since_before(&self, hash: u64, epoch: u64) -> bool {
        let mut keys = self.keys.iter();
        keys.any(|key| key.hash == hash && key.last == Outcome::Failure && key.since < epoch)
    }

    /// Whether more of the keys did not fail at their last call than did.
    pub(crate) fn mostly_well(&self) -> bool {
        let failed = self.keys.iter().filter(|key| key.last == Outcome::Failure).count();
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
        lately.tell(1, 0, Outcome::Success);
        lately.tell(2, 0, Outcome::Failure);
        assert!(lately.went_well(1) && !lately.went_well(2) && !lately.mostly_well());
        lately.tell(2, 0, Outcome::Slow);
        lately.tell(1, 0, Outcome::Ignored);
        assert!(lately.went_well(1) && !lately.went_well(2) && lately.mostly_well());
        lately.tell(2, 0, Outcome::Success);
        lately.tell(1, 0, Outcome::Failure);
        assert!(!lately.went_well(1) && lately.went_well(2));
    }

    #[test]
    fn the_keys_that_were_called_longest_ago_are_forgotten_first() {
        let mut lately = Lately::default();
        for key in 0..64 {
            lately.tell(key, 0, Outcome::Success);
        }
        for key in 100..131 {
            lately.tell(key, 0, Outcome::Failure);
            lately.tell(0, 0, Outcome::Success);
        }
        assert!(lately.went_well(0) && !lately.went_well(31) && lately.went_well(32));
        assert!(lately.mostly_well(), "thirty-one of sixty-four failed");
        lately.tell(131, 0, Outcome::Failure);
        assert!(!lately.mostly_well(), "thirty-two did");
        assert_eq!(lately.keys.len(), REMEMBERED);
    }

    #[test]
    fn a_key_fails_since_its_first_failure_after_it_went_well() {
        let mut lately = Lately::default();
        for (epoch, last) in [(1, Outcome::Success), (2, Outcome::Failure), (3, Outcome::Failure)] {
            lately.tell(1, epoch, last);
        }
        assert!(lately.fails_since_before(1, 3) && !lately.fails_since_before(1, 2));
        lately.tell(1, 1, Outcome::Failure);
        assert!(
            lately.fails_since_before(1, 2),
            "that call began earlier and ended later"
        );
        lately.tell(1, 4, Outcome::Success);
        assert!(!lately.fails_since_before(1, 9));
        lately.tell(1, 4, Outcome::Failure);
        assert!(!lately.fails_since_before(1, 4) && !lately.fails_since_before(2, 9));
    }
}
