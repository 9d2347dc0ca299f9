//! Keys that go round in circles: a plugin's own writes wake it again and again, and nothing comes of it.
//!
//! # Promised
//! A key is taken to loop when
//! - for the third time one of its runs makes an object what it was, though nothing came of it before: its last run
//!   that wrote had made the same of it and somebody undid that (so it goes where two writers want different things),
//!   or the plugin's own writes alone asked for the run;
//! - or after ten runs in a row that were asked for by the plugin's own writes alone and changed no other paths of no
//!   other objects than those before them (so it goes with a counter or a time stamp, in one object or in several).
//!
//! Each further such run makes its pause longer, up to five minutes. It is never stopped, and forgotten once it has not
//! written for a minute beyond its pause: what comes round more slowly than that is no hot loop. A run in between that
//! is no part of it has no pause, and the next that is goes on with the pauses where they were. Memory is bounded: of
//! very many keys that write, those that wrote least recently are forgotten.
//!
//! # Not promised
//! It knows hashes alone. Which field flaps and who is on the other side is for the caller, who has seen the objects.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

/// The same content for the so-manieth time.
const RETURNS: u32 = 3;
/// So many runs in a row, asked for by own writes, that changed the same paths.
const OWN_RUNS: u32 = 10;
/// Writes remembered of one key, 48 bytes each; of a key that writes less there is less. Runs that change more objects
/// than this are known again where each changes the same as the one before it.
const WRITES: usize = 64;
/// Keys remembered: this many, and as many again that wrote before them.
const KEYS: usize = 4_096;
/// Without a write for so long beyond its pause, a key is as new.
pub const QUIET: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// A write that went through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wrote {
    /// Hash of what names the object.
    pub object: u64,
    /// Hash of what the object is after it, without its version and who wrote when.
    pub content: u64,
    /// Hash of its version after it: by that a write is known that changed nothing.
    pub version: u64,
    /// Hash of the paths that it changed; looked at only where own writes asked for the run.
    pub paths: u64,
}

/// A run that ended.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// Whether nothing but the plugin's own writes asked for it.
    pub own: bool,
    /// What it wrote, in order.
    pub wrote: &'a [Wrote],
}

/// A key that loops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looping {
    /// Which of the run's writes shows it, counted from 0.
    pub write: usize,
    /// The same content came back; else it is the same paths in many runs.
    pub came_back: bool,
    /// The key should not run again before this time is over.
    pub pause: Duration,
    /// 1 for the first run that was found to loop.
    pub round: u32,
}

/// What is known of the keys of one controller.
#[derive(Debug, Default)]
pub struct HotLoops {
    recent: HashMap<u64, Track>,
    before: HashMap<u64, Track>,
}

#[derive(Debug, Default)]
struct Track {
    last: Duration,
    pause: Duration,
    writes: VecDeque<Seen>,
    /// Counts the runs that wrote.
    runs: u32,
    /// Hash of all that the last run changed, where own writes asked for it.
    same: u64,
    own_runs: u32,
    round: u32,
    /// When it was last found to loop.
    looped: Duration,
}

/// A write of an earlier run.
#[derive(Debug)]
struct Seen {
    object: u64,
    content: u64,
    version: u64,
    paths: u64,
    run: u32,
    /// For the so-manieth time.
    times: u32,
}

impl HotLoops {
    /// A run of this key (its hash) ended. Answers whether the key loops.
    pub fn ended(&mut self, now: Duration, key: u64, run: Run<'_>) -> Option<Looping> {
        if run.wrote.is_empty() {
            self.rested(key);
            return None;
        }
        let known = self.recent.remove(&key).or_else(|| self.before.remove(&key));
        let known = known.filter(|track| now.saturating_sub(track.last) <= QUIET + track.pause);
        let mut track = known.unwrap_or_default();
        track.last = now;
        let looping = track.see(now, run);
        if self.recent.len() >= KEYS {
            self.before = std::mem::take(&mut self.recent);
        }
        self.recent.insert(key, track);
        looping
    }

    /// Whether a run of this key made this version of the object (their hashes), as far as is remembered.
    pub fn made(&self, key: u64, object: u64, version: u64) -> bool {
        let track = self.recent.get(&key).or_else(|| self.before.get(&key));
        track.is_some_and(|track| {
            let mut writes = track.writes.iter();
            writes.any(|seen| (seen.object, seen.version) == (object, version))
        })
    }

    /// It came to rest. Where two writers disagree it does so after each of its writes: these stay known.
    fn rested(&mut self, key: u64) {
        let tracks = [self.recent.get_mut(&key), self.before.get_mut(&key)];
        for track in tracks.into_iter().flatten() {
            track.own_runs = 0;
        }
    }

    /// Nothing is known any more of a key: somebody looked into it.
    pub fn forget(&mut self, key: u64) {
        self.recent.remove(&key);
        self.before.remove(&key);
    }
}

impl Track {
    fn see(&mut self, now: Duration, run: Run<'_>) -> Option<Looping> {
        let this = self.runs.wrapping_add(1);
        let (mut found, mut changes, mut all_familiar) = (None, Vec::new(), true);
        for (number, wrote) in run.wrote.iter().enumerate() {
            let of_object = || self.writes.iter().rev().filter(|seen| seen.object == wrote.object);
            if of_object().next().is_some_and(|seen| seen.version == wrote.version) {
                continue;
            }
            let before = || self.writes.iter().filter(|seen| seen.run != this);
            let familiar = before().any(|seen| (seen.object, seen.paths) == (wrote.object, wrote.paths));
            all_familiar &= familiar;
            changes.push((wrote.object, wrote.paths));
            let mut before = of_object().filter(|seen| seen.content == wrote.content);
            // What an earlier run than the last made of it comes back when whoever decides on it changes his mind.
            let before = before.find(|seen| run.own || seen.run == self.runs);
            let times = before.map_or(1, |seen| seen.times.saturating_add(1));
            if times >= RETURNS {
                found = found.or(Some((number, true)));
            }
            if self.writes.len() == WRITES {
                self.writes.pop_front();
            }
            self.writes.push_back(Seen {
                object: wrote.object,
                content: wrote.content,
                version: wrote.version,
                paths: wrote.paths,
                run: this,
                times,
            });
        }
        if changes.is_empty() {
            self.own_runs = 0;
            return None;
        }
        self.runs = this;
        if run.own {
            let same = hash_of_all(changes);
            let goes_on = self.own_runs > 0 && (all_familiar || self.same == same);
            self.own_runs = if goes_on { self.own_runs.saturating_add(1) } else { 1 };
            self.same = same;
        } else {
            self.own_runs = 0;
        }
        let last = run.wrote.len() - 1;
        let found = found.or((self.own_runs >= OWN_RUNS).then_some((last, false)));
        let (write, came_back) = found?;
        let goes_on = self.round > 0 && now.saturating_sub(self.looped) <= QUIET + self.pause;
        self.round = if goes_on { self.round.saturating_add(1) } else { 1 };
        self.looped = now;
        let doublings = (self.round - 1).min(16);
        self.pause = FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
        Some(Looping {
            write,
            came_back,
            pause: self.pause,
            round: self.round,
        })
    }
}

/// Of what a run changed, in whatever order and how often.
fn hash_of_all(mut changes: Vec<(u64, u64)>) -> u64 {
    changes.sort_unstable();
    changes.dedup();
    let mut hasher = DefaultHasher::new();
    changes.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
#[path = "hot_loop_tests.rs"]
mod tests;
