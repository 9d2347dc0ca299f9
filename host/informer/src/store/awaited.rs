//! Objects that this process has written and whose watch has not told of them yet.
//!
//! A watch that is interrupted may never tell of some: an object that was made and deleted while nobody watched stands
//! in no list. Whoever made it would wait for its deletion for ever. So the list that should hold it and does not is
//! its deletion.

use std::collections::BTreeMap;

use pilothouse_object::{Key, Object, Version};

/// Heap bytes of the objects that are kept at most. What is written beyond is not awaited.
const MOST: usize = 32 << 20;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Awaited {
    objects: BTreeMap<Key, Object>,
    weight: usize,
}

impl Awaited {
    /// An object was written.
    pub(crate) fn insert(&mut self, object: Object) {
        self.remove(object.key());
        if self.weight + object.weight() <= MOST {
            self.weight += object.weight();
            self.objects.insert(object.key().clone(), object);
        }
    }

    /// A watch told of an object at this version.
    pub(crate) fn heard(&mut self, key: &Key, version: &Version) {
        let awaited = self.objects.get(key);
        if awaited.is_some_and(|awaited| !awaited.head().version.is_newer_than(version)) {
            self.remove(key);
        }
    }

    /// A list at this version came, of the keys that are covered: takes those out that it should hold.
    pub(crate) fn listed(&mut self, version: &Version, covers: impl Fn(&Key) -> bool) -> Vec<Object> {
        let old_enough = |object: &Object| !object.head().version.is_newer_than(version);
        let keys: Vec<Key> = self
            .objects
            .iter()
            .filter(|(key, object)| covers(key) && old_enough(object))
            .map(|(key, _)| key.clone())
            .collect();
        keys.iter().filter_map(|key| self.remove(key)).collect()
    }

    fn remove(&mut self, key: &Key) -> Option<Object> {
        let object = self.objects.remove(key)?;
        self.weight -= object.weight();
        Some(object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::object;

    #[test]
    fn what_is_awaited_is_bounded_and_let_go_when_it_is_heard_of() {
        let mut awaited = Awaited::default();
        awaited.insert(object("a", "x", "u", 5));
        awaited.insert(object("a", "x", "u", 7));
        awaited.insert(object("a", "y", "u", 8));
        let key = Key::new(Some("a"), "x");
        awaited.heard(&key, &Version::new("6"));
        assert_eq!(awaited.listed(&Version::new("7"), |_| true).len(), 1);
        awaited.heard(&Key::new(Some("a"), "y"), &Version::new("8"));
        assert_eq!((awaited.objects.len(), awaited.weight), (0, 0));
        for n in 0..200_000 {
            awaited.insert(object("a", &format!("x{n}"), "u", 5));
        }
        assert!(awaited.weight <= MOST && awaited.objects.len() > 1_000);
    }
}
