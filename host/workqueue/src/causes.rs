//! Why an entry is in the queue: the first few causes, and a count of the rest.

use std::iter::Chain;
use std::{option, vec};

/// How many causes an entry keeps. What comes later is only counted: a key that changes a million times while it
/// waits must not cost a million causes of memory.
pub const MAX_CAUSES: usize = 8;

/// The causes of one run, oldest first: at most [`MAX_CAUSES`] of them, and how many more there were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Causes<C> {
    // Nearly every run has one cause: it stands inline, so that adding a key allocates nothing for it.
    first: Option<C>,
    more: Option<Box<More<C>>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct More<C> {
    kept: Vec<C>,
    omitted: u64,
}

impl<C> Default for Causes<C> {
    fn default() -> Self {
        Self {
            first: None,
            more: None,
        }
    }
}

impl<C> Causes<C> {
    /// Keeps the cause while there is room; counts it otherwise.
    pub(crate) fn push(&mut self, cause: C) {
        if self.first.is_none() {
            self.first = Some(cause);
            return;
        }
        let more = self.more.get_or_insert_with(|| {
            Box::new(More {
                kept: Vec::new(),
                omitted: 0,
            })
        });
        if more.kept.len() + 1 < MAX_CAUSES {
            more.kept.push(cause);
        } else {
            more.omitted = more.omitted.saturating_add(1);
        }
    }

    /// The cause that asked first. `None` only for entries that wait for nothing.
    pub fn first(&self) -> Option<&C> {
        self.first.as_ref()
    }

    /// The causes that were kept, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &C> {
        self.first.iter().chain(self.more.iter().flat_map(|more| &more.kept))
    }

    /// How many causes were kept: at most [`MAX_CAUSES`].
    pub fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.more.as_ref().map_or(0, |more| more.kept.len())
    }

    /// True where there is no cause at all.
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// How many causes came after those that were kept.
    pub fn omitted(&self) -> u64 {
        self.more.as_ref().map_or(0, |more| more.omitted)
    }
}

impl<C> IntoIterator for Causes<C> {
    type Item = C;
    type IntoIter = Chain<option::IntoIter<C>, vec::IntoIter<C>>;

    fn into_iter(self) -> Self::IntoIter {
        self.first
            .into_iter()
            .chain(self.more.map(|more| more.kept).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_causes_are_kept_and_the_rest_is_counted() {
        let mut causes = Causes::default();
        assert!(causes.is_empty());
        for number in 0..MAX_CAUSES as u64 + 5 {
            causes.push(number);
        }
        assert_eq!(causes.first(), Some(&0));
        assert_eq!(causes.len(), MAX_CAUSES);
        assert_eq!(causes.omitted(), 5);
        assert_eq!(
            causes.iter().copied().collect::<Vec<_>>(),
            (0..MAX_CAUSES as u64).collect::<Vec<_>>()
        );
        assert_eq!(causes.into_iter().count(), MAX_CAUSES);
    }
}
