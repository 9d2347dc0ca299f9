//! Delayed keys, in the order in which they fall due: a hierarchical timer wheel.
//!
//! A time is written as digits of six bits, the lowest a nanosecond. A wheel of one level has 64 spans, one for each
//! value of its digit; a span is either the list of the keys in it, or a wheel of the next finer level. Lists are
//! threaded through the slots of the entries, so a key costs nothing here but the two links that its slot has anyway.
//!
//! Where common wheels differ: their spans lie relative to now, and a whole span is dealt out to the finer level when
//! its time comes. A million keys in one span stop the queue then, and until then nobody knows the first time in it
//! without a walk. Here a span becomes a wheel as soon as it holds more than [`CROWD`] keys, or more than [`FRONT`]
//! where it is the first; and a wheel that is nearly empty becomes a list again. So each operation walks at most the
//! levels and one short list, the first time is always known to the nanosecond, and the wheel doesn't ask what time it
//! is: time that jumps or runs backwards can't upset it.
//!
//! A wheel takes 1 KB. Where delays are spread as they are in a house, a million keys take some hundred wheels; a
//! handful of keys that lie close together in time, far from all others, can take one for each level.
//!
//! Keys of one time always stand in one list and are appended to it, so they stay in the order in which they came.

use crate::slab::{List, Slab, Thread};
use std::time::Duration;

/// Bits of a digit: with 64 spans the used ones fit a word.
const BITS: u32 = 6;
const SPANS: usize = 1 << BITS;

/// 64 bits of seconds and 30 of nanoseconds make 16 digits.
const LEVELS: usize = 16;

/// The level of the wheel that holds the others: one span for each number of digits a time has, so that the leading
/// zeros of all times there are cost no wheels.
const ROOT: u8 = LEVELS as u8;

/// A span with more keys becomes a wheel. Smaller costs memory (1 KB a wheel), larger costs walking.
const CROWD: usize = 64;

/// The first span is walked for each key that falls due, so it is kept shorter.
const FRONT: usize = 8;

/// A wheel with this few keys becomes a list again: well below [`FRONT`], or one key that comes and goes would build
/// and tear down a wheel each time.
const FEW: usize = 4;

/// So many wheels are kept when the last key leaves, for the next that comes.
const KEPT: usize = 32;

/// What knows when it is due. Its time must not change while it stands in the wheel.
pub(crate) trait Timed {
    fn due(&self) -> Duration;
}

#[derive(Debug)]
enum Span {
    Keys(List),
    /// The number of a wheel one level finer.
    Finer(u32),
}

const EMPTY: Span = Span::Keys(List::new(Thread::Stage));

#[derive(Debug)]
struct Wheel {
    level: u8,
    /// How many keys stand in it and below it.
    len: usize,
    /// A bit for each span that holds a key.
    used: u64,
    spans: [Span; SPANS],
}

/// The way from the root to the list of one time: wheels and the spans taken in them.
struct Path {
    steps: [(u32, u8); LEVELS + 1],
    len: usize,
}

/// All delayed keys. Links slots by [`Thread::Stage`].
#[derive(Debug)]
pub(crate) struct Timers {
    /// The first is the root. Those in `free` are empty.
    wheels: Vec<Wheel>,
    free: Vec<u32>,
    /// The first time. Always true: the queue compares it with `now` in each operation.
    first: Option<Duration>,
}

impl Timers {
    pub(crate) fn new() -> Self {
        Self {
            wheels: Vec::new(),
            free: Vec::new(),
            first: None,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.wheels.first().map_or(0, |root| root.len)
    }

    /// The first time, exactly.
    pub(crate) fn first(&self) -> Option<Duration> {
        self.first
    }

    /// The slot stands in no list of [`Thread::Stage`].
    pub(crate) fn insert<T: Timed>(&mut self, slab: &mut Slab<T>, slot: usize) {
        if self.wheels.is_empty() {
            self.wheel(ROOT);
        }
        let due = slab[slot].due();
        let path = self.path(due);
        for (wheel, _) in path.steps() {
            self.wheels[*wheel as usize].len += 1;
        }
        let (wheel, span) = path.last();
        let Wheel { level, used, spans, .. } = &mut self.wheels[wheel];
        *used |= 1 << span;
        if let Span::Keys(keys) = &mut spans[span] {
            keys.push_back(slab, slot);
            if keys.len() > CROWD && *level > 0 {
                self.open(slab, wheel, span);
            }
        }
        if self.first.is_none_or(|first| due < first) {
            self.first = Some(due);
        }
    }

    /// The slot stands in the wheel.
    pub(crate) fn remove<T: Timed>(&mut self, slab: &mut Slab<T>, slot: usize) {
        let due = slab[slot].due();
        let path = self.path(due);
        let (wheel, span) = path.last();
        if let Span::Keys(keys) = &mut self.wheels[wheel].spans[span] {
            keys.unlink(slab, slot);
            if keys.is_empty() {
                self.wheels[wheel].used &= !(1 << span);
            }
        }
        // From the finest up: what has become nearly empty goes into the span above it as a list.
        let mut emptier = None;
        for (wheel, span) in path.steps().iter().rev() {
            let (wheel, span) = (*wheel as usize, *span as usize);
            if let Some(finer) = emptier.take() {
                let keys = self.fold(slab, finer);
                if keys.is_empty() {
                    self.wheels[wheel].used &= !(1 << span);
                }
                self.wheels[wheel].spans[span] = Span::Keys(keys);
            }
            self.wheels[wheel].len -= 1;
            emptier = (self.wheels[wheel].len <= FEW).then_some(wheel);
        }
        if self.first == Some(due) {
            self.first = self.front(slab).map(|slot| slab[slot].due());
        }
        if self.len() == 0 && self.wheels.len() > KEPT {
            // A burst must not hold its memory for ever.
            *self = Self::new();
        }
    }

    /// Takes out the first slot that is due at `now`: the earliest, of several the one that came first.
    pub(crate) fn pop<T: Timed>(&mut self, slab: &mut Slab<T>, now: Duration) -> Option<usize> {
        self.first.filter(|first| *first <= now)?;
        let slot = self.front(slab)?;
        self.remove(slab, slot);
        Some(slot)
    }

    /// The first slots in the order in which they fall due, at most so many. Looks at little more than those.
    pub(crate) fn head<T: Timed>(&self, slab: &Slab<T>, most: usize) -> Vec<usize> {
        let mut head = Vec::new();
        if self.len() > 0 {
            self.collect(slab, 0, most, &mut head);
        }
        head
    }

    /// Recurs over the levels, of which there are few.
    fn collect<T: Timed>(&self, slab: &Slab<T>, wheel: usize, most: usize, head: &mut Vec<usize>) {
        let wheel = &self.wheels[wheel];
        let mut used = wheel.used;
        while used != 0 && head.len() < most {
            match &wheel.spans[used.trailing_zeros() as usize] {
                Span::Finer(finer) => self.collect(slab, *finer as usize, most, head),
                // All of one time, in order: this list alone can be long.
                Span::Keys(keys) if wheel.level == 0 => head.extend(keys.numbers(slab).take(most - head.len())),
                Span::Keys(keys) => {
                    let from = head.len();
                    head.extend(keys.numbers(slab));
                    head[from..].sort_by_key(|slot| slab[*slot].due());
                }
            }
            used &= used - 1;
        }
        head.truncate(most);
    }

    /// The first slot. Makes the first span finer until its list is short.
    fn front<T: Timed>(&mut self, slab: &mut Slab<T>) -> Option<usize> {
        let mut wheel = 0;
        loop {
            let Wheel { level, used, spans, .. } = self.wheels.get(wheel)?;
            let span = used.trailing_zeros() as usize;
            match spans.get(span)? {
                Span::Finer(finer) => wheel = *finer as usize,
                Span::Keys(keys) if *level == 0 => return keys.head(),
                // `min_by_key` gives the first of several.
                Span::Keys(keys) if keys.len() <= FRONT => {
                    return keys.numbers(slab).min_by_key(|slot| slab[*slot].due());
                }
                Span::Keys(_) => self.open(slab, wheel, span),
            }
        }
    }

    /// Where a time stands, or would stand.
    fn path(&self, due: Duration) -> Path {
        let digits = digits(due);
        let mut path = Path {
            steps: [(0, 0); LEVELS + 1],
            len: 0,
        };
        let mut wheel = 0;
        loop {
            let span = span(digits, self.wheels[wheel as usize].level);
            path.steps[path.len] = (wheel, span as u8);
            path.len += 1;
            match self.wheels[wheel as usize].spans[span] {
                Span::Finer(finer) => wheel = finer,
                Span::Keys(_) => return path,
            }
        }
    }

    /// Makes a wheel of a list that is not of the finest level; and of the one it goes into, where all go into one,
    /// until some part or the finest level is reached.
    fn open<T: Timed>(&mut self, slab: &mut Slab<T>, mut wheel: usize, mut at: usize) {
        let Span::Keys(keys) = &self.wheels[wheel].spans[at] else {
            return;
        };
        let times = || keys.numbers(slab).map(|slot| digits(slab[slot].due()));
        let (low, high) = times().fold((u128::MAX, 0), |(low, high), time| (low.min(time), high.max(time)));
        let mut keys = std::mem::replace(&mut self.wheels[wheel].spans[at], EMPTY);
        let Span::Keys(list) = &mut keys else { return };
        loop {
            // What hangs below a span of the root is of that span's level.
            let level = match self.wheels[wheel].level {
                ROOT => at as u8,
                level => level - 1,
            };
            let finer = self.wheel(level);
            self.wheels[finer].len = list.len();
            self.wheels[wheel].spans[at] = Span::Finer(finer as u32);
            if level > 0 && span(low, level) == span(high, level) {
                (wheel, at) = (finer, span(low, level));
                self.wheels[wheel].used = 1 << at;
                continue;
            }
            if low == high {
                let at = span(low, level);
                self.wheels[finer].used = 1 << at;
                self.wheels[finer].spans[at] = keys;
                return;
            }
            let Wheel { used, spans, .. } = &mut self.wheels[finer];
            while let Some(slot) = list.head() {
                list.unlink(slab, slot);
                let at = span(digits(slab[slot].due()), level);
                *used |= 1 << at;
                if let Span::Keys(keys) = &mut spans[at] {
                    keys.push_back(slab, slot);
                }
            }
            return;
        }
    }

    /// Makes a list of a wheel that holds few keys, and frees it. What is below it holds no more and is a list already.
    fn fold<T>(&mut self, slab: &mut Slab<T>, wheel: usize) -> List {
        let mut all = List::new(Thread::Stage);
        let Wheel { len, used, spans, .. } = &mut self.wheels[wheel];
        while *used != 0 {
            let at = used.trailing_zeros() as usize;
            debug_assert!(matches!(spans[at], Span::Keys(_)));
            if let Span::Keys(keys) = &mut spans[at] {
                while let Some(slot) = keys.head() {
                    keys.unlink(slab, slot);
                    all.push_back(slab, slot);
                }
            }
            *used &= *used - 1;
        }
        *len = 0;
        self.free.push(wheel as u32);
        all
    }

    /// An empty wheel, a used one where there is one.
    fn wheel(&mut self, level: u8) -> usize {
        if let Some(wheel) = self.free.pop() {
            self.wheels[wheel as usize].level = level;
            return wheel as usize;
        }
        self.wheels.push(Wheel {
            level,
            len: 0,
            used: 0,
            spans: [EMPTY; SPANS],
        });
        self.wheels.len() - 1
    }
}

impl Path {
    fn steps(&self) -> &[(u32, u8)] {
        &self.steps[..self.len]
    }

    fn last(&self) -> (usize, usize) {
        let (wheel, span) = self.steps[self.len - 1];
        (wheel as usize, span as usize)
    }
}

/// In the order of the times, though not their number of nanoseconds: a second counts 2^30 of them here, which saves a
/// multiplication and makes the sixth level one of seconds.
fn digits(time: Duration) -> u128 {
    u128::from(time.as_secs()) << 30 | u128::from(time.subsec_nanos())
}

/// Which span of a wheel of this level a time belongs to.
fn span(digits: u128, level: u8) -> usize {
    if level == ROOT {
        let bits = u128::BITS - digits.leading_zeros();
        return (bits.saturating_sub(1) / BITS) as usize;
    }
    (digits >> (u32::from(level) * BITS)) as usize % SPANS
}

#[cfg(test)]
#[path = "wheel_tests.rs"]
mod tests;
