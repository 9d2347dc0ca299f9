//! An index: from the strings at some field paths to the objects that hold them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use pilothouse_object::{FieldPath, Key, Object};

/// The longest string that is indexed, in bytes. Names, label values and URLs are shorter; a longer one is left out and
/// counted, so that no object can make an index outgrow the store.
pub const MAX_INDEX_VALUE: usize = 1024;

/// An index that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// Nobody declared it.
    #[error("there is no index {0:?}; declare it in the manifest's `indexes`")]
    Unknown(String),
    /// Two declarations under one name.
    #[error("the index {0:?} is declared twice with different paths; give one of them another name")]
    Taken(String),
}

#[derive(Debug)]
pub(crate) struct Index {
    paths: Vec<FieldPath>,
    users: usize,
    /// No value has an empty set.
    values: BTreeMap<Arc<str>, BTreeSet<Key>>,
}

impl Index {
    pub(crate) fn new(paths: &[FieldPath]) -> Self {
        Self {
            paths: paths.to_vec(),
            users: 1,
            values: BTreeMap::new(),
        }
    }

    pub(crate) fn share(&mut self, name: &str, paths: &[FieldPath]) -> Result<(), IndexError> {
        if self.paths != paths {
            return Err(IndexError::Taken(name.to_owned()));
        }
        self.users += 1;
        Ok(())
    }

    /// True where the last user left.
    pub(crate) fn unshare(&mut self) -> bool {
        self.users = self.users.saturating_sub(1);
        self.users == 0
    }

    pub(crate) fn keys(&self, value: &str) -> Option<&BTreeSet<Key>> {
        self.values.get(value)
    }

    /// Takes an object in; answers how many values were too long.
    pub(crate) fn insert(&mut self, object: &Object) -> u64 {
        let mut failures = 0;
        for value in self.values_of(object) {
            if value.len() > MAX_INDEX_VALUE {
                failures += 1;
                continue;
            }
            match self.values.get_mut(value.as_str()) {
                Some(keys) => {
                    keys.insert(object.key().clone());
                }
                None => {
                    self.values.insert(value.into(), BTreeSet::from([object.key().clone()]));
                }
            }
        }
        failures
    }

    /// Takes an object out. It must be the very state that was put in: its values are read again from its bytes.
    pub(crate) fn remove(&mut self, object: &Object) {
        for value in self.values_of(object) {
            if let Some(keys) = self.values.get_mut(value.as_str()) {
                keys.remove(object.key());
                if keys.is_empty() {
                    self.values.remove(value.as_str());
                }
            }
        }
    }

    fn values_of(&self, object: &Object) -> BTreeSet<String> {
        self.paths.iter().flat_map(|path| path.strings(object.json())).collect()
    }
}
