//! An index: from strings to the objects that hold them.
//!
//! It holds each value once and the numbers of the objects' places in the store, both ways: so an object's old values
//! are known without reading the old object again, and a change that changes none of them costs nothing but reading the
//! new.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    hash::{BuildHasher, RandomState},
};

use hashbrown::HashTable;
use pilothouse_object::{FieldPath, Object};

use crate::store::shelf::Place;

/// The longest string that is indexed, in bytes. Names, label values and URLs are shorter; a longer one is left out and
/// counted, so that no object can make an index outgrow the store.
pub const MAX_INDEX_VALUE: usize = 1024;

/// Up to so many places of one value are a sorted list, more are a tree: moving a list costs with its length.
const LIST: usize = 512;

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

/// What an index reads.
#[derive(Debug)]
enum Source {
    /// The strings at any of these paths.
    Paths(Vec<FieldPath>),
    /// The uids of the owners.
    Owners,
}

impl Default for Source {
    fn default() -> Self {
        Self::Paths(Vec::new())
    }
}

/// The places of one value; never empty.
#[derive(Debug)]
enum Places {
    One(Place),
    List(Vec<Place>),
    Tree(BTreeSet<Place>),
}

impl Places {
    fn insert(&mut self, place: Place) {
        match self {
            Self::One(one) if *one == place => {}
            Self::One(one) => {
                let both = if *one < place { [*one, place] } else { [place, *one] };
                *self = Self::List(both.to_vec());
            }
            Self::List(list) => {
                if let Err(at) = list.binary_search(&place) {
                    list.insert(at, place);
                }
                if list.len() > LIST {
                    *self = Self::Tree(list.iter().copied().collect());
                }
            }
            Self::Tree(tree) => {
                tree.insert(place);
            }
        }
    }

    /// True where none is left.
    fn remove(&mut self, place: Place) -> bool {
        match self {
            Self::One(one) => *one == place,
            Self::List(list) => {
                if let Ok(at) = list.binary_search(&place) {
                    list.remove(at);
                }
                if list.len() * 4 < list.capacity() {
                    list.shrink_to(list.len() * 2);
                }
                list.is_empty()
            }
            Self::Tree(tree) => {
                tree.remove(&place);
                if tree.len() <= LIST / 2 {
                    *self = Self::List(tree.iter().copied().collect());
                }
                false
            }
        }
    }

    /// Heap bytes, roughly.
    fn weight(&self) -> usize {
        match self {
            Self::One(_) => 0,
            Self::List(list) => list.capacity() * size_of::<Place>(),
            // Nodes are two thirds full as a rule.
            Self::Tree(tree) => tree.len() * size_of::<Place>() * 3 / 2,
        }
    }

    fn iter(&self) -> impl Iterator<Item = Place> {
        let (list, tree): (&[Place], Option<&BTreeSet<Place>>) = match self {
            Self::One(one) => (std::slice::from_ref(one), None),
            Self::List(list) => (list, None),
            Self::Tree(tree) => (&[], Some(tree)),
        };
        list.iter().chain(tree.into_iter().flatten()).copied()
    }
}

#[derive(Debug)]
struct Value {
    text: Box<str>,
    places: Places,
}

/// Of a place: the number of its value.
const NONE: u32 = u32::MAX;
/// Of a place: it has several values, which stand in `many`.
const MANY: u32 = u32::MAX - 1;

#[derive(Debug, Default)]
pub(crate) struct Index {
    source: Source,
    users: usize,
    values: Vec<Option<Value>>,
    free: Vec<u32>,
    by_text: HashTable<u32>,
    hasher: RandomState,
    /// By place.
    of: Vec<u32>,
    /// Sorted numbers of values.
    many: BTreeMap<Place, Box<[u32]>>,
}

impl Index {
    pub(crate) fn new(paths: &[FieldPath]) -> Self {
        Self {
            source: Source::Paths(paths.to_vec()),
            users: 1,
            ..Self::default()
        }
    }

    pub(crate) fn of_owners() -> Self {
        Self {
            source: Source::Owners,
            ..Self::new(&[])
        }
    }

    pub(crate) fn share(&mut self, name: &str, paths: &[FieldPath]) -> Result<(), IndexError> {
        match &self.source {
            Source::Paths(own) if own == paths => self.users += 1,
            _ => return Err(IndexError::Taken(name.to_owned())),
        }
        Ok(())
    }

    /// True where the last user left.
    pub(crate) fn unshare(&mut self) -> bool {
        self.users = self.users.saturating_sub(1);
        self.users == 0
    }

    /// The label whose values this index holds, and no others.
    pub(crate) fn label(&self) -> Option<&str> {
        match &self.source {
            Source::Paths(paths) if paths.len() == 1 => paths.first()?.label(),
            _ => None,
        }
    }

    /// The places of the objects that hold the value, by number; none where there are none.
    pub(crate) fn places(&self, value: &str) -> Option<impl Iterator<Item = Place>> {
        let value = self.values.get(self.find(value)? as usize)?.as_ref()?;
        Some(value.places.iter())
    }

    fn find(&self, text: &str) -> Option<u32> {
        let is = |number: &u32| self.text(*number) == Some(text);
        self.by_text.find(self.hasher.hash_one(text), is).copied()
    }

    fn text(&self, number: u32) -> Option<&str> {
        Some(&self.values.get(number as usize)?.as_ref()?.text)
    }

    /// Takes the object in that stands at a place now, whatever stood there before; answers how many values were too
    /// long.
    pub(crate) fn put(&mut self, place: Place, object: &Object) -> u64 {
        let mut failures = 0;
        // Nearly every object has one value at most.
        let (mut one, mut more) = (None, Vec::new());
        let mut take = |value| match &one {
            None => one = Some(value),
            Some(one) if *one == value => {}
            Some(_) => more.push(value),
        };
        match &self.source {
            Source::Owners => object
                .head()
                .owners
                .iter()
                .filter(|owner| !owner.uid.is_empty())
                .for_each(|owner| take(Cow::Borrowed(owner.uid))),
            Source::Paths(paths) => {
                for path in paths {
                    path.each_string(object, |value| {
                        if value.len() > MAX_INDEX_VALUE {
                            failures += 1;
                        } else {
                            take(value);
                        }
                    });
                }
            }
        }
        let Some(one) = one else {
            self.clear(place);
            return failures;
        };
        if more.is_empty() {
            if self.text(self.held(place)) == Some(&*one) {
                return failures;
            }
            if let Some(number) = self.add(&one, place) {
                self.leave_all_but(place, &[number]);
                self.hold(place, number);
            }
            return failures;
        }
        more.push(one);
        more.sort_unstable();
        more.dedup();
        let mut numbers: Vec<u32> = more.iter().filter_map(|text| self.add(text, place)).collect();
        numbers.sort_unstable();
        self.leave_all_but(place, &numbers);
        self.hold(place, MANY);
        self.many.insert(place, numbers.into_boxed_slice());
        failures
    }

    /// Heap bytes, roughly: walks the values, and nothing as long as the objects.
    pub(crate) fn weight(&self) -> usize {
        let values = self.values.iter().flatten();
        let held: usize = values.map(|value| value.text.len() + value.places.weight()).sum();
        let many: usize = self.many.values().map(|numbers| 4 * numbers.len() + 32).sum();
        held + many
            + self.values.capacity() * size_of::<Option<Value>>()
            + 4 * (self.free.capacity() + self.of.capacity())
            + 5 * self.by_text.capacity()
    }

    /// The object of this place is gone.
    pub(crate) fn clear(&mut self, place: Place) {
        self.leave_all_but(place, &[]);
        if let Some(held) = self.of.get_mut(place as usize) {
            *held = NONE;
        }
    }

    /// All objects are gone.
    pub(crate) fn reset(&mut self) {
        *self = Self {
            source: std::mem::take(&mut self.source),
            users: self.users,
            ..Self::default()
        };
    }

    fn held(&self, place: Place) -> u32 {
        self.of.get(place as usize).copied().unwrap_or(NONE)
    }

    fn hold(&mut self, place: Place, number: u32) {
        let at = place as usize;
        if self.of.len() <= at {
            self.of.resize(at + 1, NONE);
        }
        self.of[at] = number;
    }

    /// Enters a place under a value, and answers the value's number; none where there are no more numbers.
    fn add(&mut self, text: &str, place: Place) -> Option<u32> {
        if let Some(number) = self.find(text) {
            if let Some(Some(value)) = self.values.get_mut(number as usize) {
                value.places.insert(place);
            }
            return Some(number);
        }
        let value = Value {
            text: text.into(),
            places: Places::One(place),
        };
        let number = match self.free.pop() {
            Some(number) => {
                self.values[number as usize] = Some(value);
                number
            }
            None => {
                let number = u32::try_from(self.values.len()).ok().filter(|number| *number < MANY)?;
                self.values.push(Some(value));
                number
            }
        };
        let (values, hasher) = (&self.values, &self.hasher);
        let rehash = |number: &u32| {
            let value = values.get(*number as usize).and_then(Option::as_ref);
            value.map_or(0, |value| hasher.hash_one(&*value.text))
        };
        self.by_text.insert_unique(self.hasher.hash_one(text), number, rehash);
        Some(number)
    }

    /// Takes a place out of all its values but these.
    fn leave_all_but(&mut self, place: Place, stay: &[u32]) {
        match self.held(place) {
            NONE => {}
            MANY => {
                for number in self.many.remove(&place).unwrap_or_default() {
                    if !stay.contains(&number) {
                        self.leave(number, place);
                    }
                }
            }
            number if stay.contains(&number) => {}
            number => self.leave(number, place),
        }
    }

    fn leave(&mut self, number: u32, place: Place) {
        let Some(Some(value)) = self.values.get_mut(number as usize) else {
            return;
        };
        if !value.places.remove(place) {
            return;
        }
        let hash = self.hasher.hash_one(&*value.text);
        if let Ok(entry) = self.by_text.find_entry(hash, |own| *own == number) {
            entry.remove();
        }
        self.values[number as usize] = None;
        self.free.push(number);
    }
}
