//! Entries in numbered slots, and lists threaded through those slots.
//!
//! The queue holds each entry once; the lists (one for each priority, one of all that is ready, one of what is in
//! work, one for each span of the timer wheel) link slots to one another. So an entry leaves any list in constant time,
//! nothing stale stays behind, and no key is cloned to stand in a second place.

/// No slot.
const NIL: u32 = u32::MAX;

/// Which of its two pairs of links a list uses. A slot can stand in one list of each thread at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Thread {
    /// What waits in the same way: the ready keys of one priority, or the delayed ones of one span of time.
    Stage,
    /// All that is ready, or all that is in work.
    Age,
}

#[derive(Clone, Copy, Debug)]
struct Links {
    previous: u32,
    next: u32,
}

const UNLINKED: Links = Links {
    previous: NIL,
    next: NIL,
};

#[derive(Debug)]
struct Slot<T> {
    links: [Links; 2],
    value: T,
}

/// Values that keep their number until they are removed. Numbers are used again.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    slots: Vec<Option<Slot<T>>>,
    free: Vec<usize>,
    keep: usize,
}

impl<T> Slab<T> {
    pub(crate) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            keep: 0,
        }
    }

    pub(crate) fn insert(&mut self, value: T) -> usize {
        let slot = Some(Slot {
            links: [UNLINKED; 2],
            value,
        });
        if let Some(number) = self.free.pop() {
            self.slots[number] = slot;
            number
        } else {
            self.slots.push(slot);
            self.slots.len() - 1
        }
    }

    /// The caller has taken the slot out of every list before.
    pub(crate) fn remove(&mut self, number: usize) -> Option<T> {
        let value = self.slots[number].take()?.value;
        self.free.push(number);
        if self.free.len() == self.slots.len() {
            // Empty. A burst must not hold its memory for ever, but the next one shall find it if it comes at once:
            // what was used since the table was empty last is kept, what was not is given back.
            self.keep = self.slots.len().max(KEPT_WHEN_EMPTY);
            self.slots.clear();
            self.free.clear();
            self.slots.shrink_to(self.keep);
            self.free.shrink_to(self.keep);
        }
        Some(value)
    }

    /// How much room whoever keeps a table beside this one should keep when both are empty.
    pub(crate) fn keep(&self) -> usize {
        self.keep
    }

    /// In order of their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().flatten().map(|slot| &slot.value)
    }

    /// Of `most` numbers from that one on, those in use, in their order; and the number to go on with, if there is one.
    pub(crate) fn slice(&self, from: usize, most: usize) -> (impl Iterator<Item = &T>, Option<usize>) {
        let end = from.saturating_add(most).min(self.slots.len());
        let slice = self.slots.get(from..end).unwrap_or_default();
        let next = (end < self.slots.len()).then_some(end);
        (slice.iter().flatten().map(|slot| &slot.value), next)
    }

    /// A number that `insert` gave and `remove` has not taken back. Anything else is a bug of the queue itself.
    fn slot(&self, number: usize) -> &Slot<T> {
        self.slots[number].as_ref().expect("a slot in use")
    }

    fn slot_mut(&mut self, number: usize) -> &mut Slot<T> {
        self.slots[number].as_mut().expect("a slot in use")
    }
}

impl<T> std::ops::Index<usize> for Slab<T> {
    type Output = T;

    fn index(&self, number: usize) -> &T {
        &self.slot(number).value
    }
}

impl<T> std::ops::IndexMut<usize> for Slab<T> {
    fn index_mut(&mut self, number: usize) -> &mut T {
        &mut self.slot_mut(number).value
    }
}

/// How many slots an empty table keeps allocated at least.
const KEPT_WHEN_EMPTY: usize = 1024;

/// A doubly linked list through the slots of a [`Slab`].
#[derive(Debug)]
pub(crate) struct List {
    thread: Thread,
    head: u32,
    tail: u32,
    len: u32,
}

impl List {
    pub(crate) const fn new(thread: Thread) -> Self {
        Self {
            thread,
            head: NIL,
            tail: NIL,
            len: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn head(&self) -> Option<usize> {
        (self.head != NIL).then_some(self.head as usize)
    }

    /// The slot stands in no other list of this thread.
    pub(crate) fn push_back<T>(&mut self, slab: &mut Slab<T>, number: usize) {
        let thread = self.thread as usize;
        slab.slot_mut(number).links[thread] = Links {
            previous: self.tail,
            next: NIL,
        };
        let number = short(number);
        if self.tail == NIL {
            self.head = number;
        } else {
            slab.slot_mut(self.tail as usize).links[thread].next = number;
        }
        self.tail = number;
        self.len += 1;
    }

    /// The slot stands in this list.
    pub(crate) fn unlink<T>(&mut self, slab: &mut Slab<T>, number: usize) {
        let thread = self.thread as usize;
        let Links { previous, next } = std::mem::replace(&mut slab.slot_mut(number).links[thread], UNLINKED);
        if previous == NIL {
            self.head = next;
        } else {
            slab.slot_mut(previous as usize).links[thread].next = next;
        }
        if next == NIL {
            self.tail = previous;
        } else {
            slab.slot_mut(next as usize).links[thread].previous = previous;
        }
        self.len -= 1;
    }

    /// The numbers of the slots, from the head on.
    pub(crate) fn numbers<'a, T>(&self, slab: &'a Slab<T>) -> impl Iterator<Item = usize> + use<'a, T> {
        let thread = self.thread as usize;
        let mut at = self.head;
        std::iter::from_fn(move || {
            let number = (at != NIL).then_some(at as usize)?;
            at = slab.slot(number).links[thread].next;
            Some(number)
        })
    }

    pub(crate) fn iter<'a, T>(&self, slab: &'a Slab<T>) -> impl Iterator<Item = &'a T> + use<'a, T> {
        self.numbers(slab).map(|number| &slab[number])
    }
}

/// Links are half as wide as a word: a million delayed keys have four million of them. Memory ends long before four
/// thousand million slots.
fn short(number: usize) -> u32 {
    u32::try_from(number)
        .ok()
        .filter(|number| *number != NIL)
        .expect("fewer than 2^32 slots")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(list: &List, slab: &Slab<u32>) -> Vec<u32> {
        list.iter(slab).copied().collect()
    }

    #[test]
    fn a_list_keeps_its_order_whichever_end_or_middle_is_taken_out() {
        let mut slab = Slab::new();
        let mut list = List::new(Thread::Stage);
        let numbers: Vec<usize> = (0..5).map(|value| slab.insert(value)).collect();
        for number in &numbers {
            list.push_back(&mut slab, *number);
        }
        list.unlink(&mut slab, numbers[2]);
        assert_eq!(values(&list, &slab), [0, 1, 3, 4]);
        list.unlink(&mut slab, numbers[0]);
        list.unlink(&mut slab, numbers[4]);
        assert_eq!(values(&list, &slab), [1, 3]);
        list.push_back(&mut slab, numbers[2]);
        assert_eq!(values(&list, &slab), [1, 3, 2]);
        for number in [numbers[1], numbers[3], numbers[2]] {
            list.unlink(&mut slab, number);
        }
        assert!(list.is_empty() && list.head().is_none());
    }

    #[test]
    fn a_slot_stands_in_one_list_of_each_thread_at_once() {
        let mut slab = Slab::new();
        let (mut level, mut age) = (List::new(Thread::Stage), List::new(Thread::Age));
        let (one, two) = (slab.insert(1), slab.insert(2));
        level.push_back(&mut slab, one);
        level.push_back(&mut slab, two);
        age.push_back(&mut slab, two);
        age.push_back(&mut slab, one);
        level.unlink(&mut slab, one);
        assert_eq!((values(&level, &slab), values(&age, &slab)), (vec![2], vec![2, 1]));
    }

    #[test]
    fn numbers_are_used_again_and_an_emptied_table_gives_its_memory_back() {
        let mut slab = Slab::new();
        let first = slab.insert(0);
        assert_eq!(slab.remove(first), Some(0));
        let numbers: Vec<usize> = (0..10_000).map(|value| slab.insert(value)).collect();
        assert_eq!(slab.remove(numbers[7]), Some(7));
        assert_eq!(slab.insert(77), numbers[7]);
        assert_eq!(slab.iter().count(), 10_000);
        for number in numbers {
            slab.remove(number);
        }
        assert!(
            slab.slots.capacity() >= 10_000,
            "a second burst of this size finds the memory of the first"
        );
        let one = slab.insert(1);
        slab.remove(one);
        assert!(slab.slots.capacity() <= KEPT_WHEN_EMPTY);
    }
}
