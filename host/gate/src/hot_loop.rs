//! Keys that go round in circles: a plugin's own writes wake it again and again, and nothing comes of it.
//!
//! # Promised
//! A key is taken to loop when
//! - for the third time one of its runs makes an object what it was, though nothing came of it before: its last run that
//!   wrote had made the same of it and somebody undid that (so it goes where two writers want different things), or the
//!   plugin's own writes alone asked for the run;
//! - or after ten runs in a row that were asked for by the plugin's own writes alone and changed no other paths of no other
//!   objects than those before them (so it goes with a counter or a time stamp, in one object or in several).
//!
//! Each further such run makes its pause longer, up to five minutes. It is never stopped, and forgotten once it has not
//! written for a minute beyond its pause: what comes round more slowly than that is no hot loop. A run in between that is
//! no part of it has no pause, and the next that is goes on with the pauses where they were. Memory is bounded: of very
//! many keys that write, those that wrote least recently are forgotten.
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
/// Writes remembered of one key, 48 bytes each; of a key that writes less there is less. Runs that change more objects than
/// this are known again where each changes the same as the one before it.
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
mod tests {
    use super::*;

    fn wrote(content: u64, version: u64) -> Wrote {
        Wrote {
            object: 1,
            content,
            version,
            paths: 1,
        }
    }

    fn second(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    #[test]
    fn what_is_undone_and_made_again_for_the_third_time_is_a_loop_and_each_time_pauses_longer() {
        let mut loops = HotLoops::default();
        let mut run = |time| {
            let run = Run {
                own: false,
                wrote: &[wrote(7, time)],
            };
            let looping = loops.ended(second(time), 1, run);
            // Its own event: there is nothing to do.
            assert_eq!(loops.ended(second(time), 1, Run { own: true, wrote: &[] }), None);
            looping.map(|looping| (looping.round, looping.pause.as_millis(), looping.came_back))
        };
        let found: Vec<_> = (0..6).map(&mut run).collect();
        assert_eq!(
            found,
            [
                None,
                None,
                Some((1, 100, true)),
                Some((2, 200, true)),
                Some((3, 400, true)),
                Some((4, 800, true))
            ]
        );
        for time in 6..20 {
            run(time);
        }
        assert_eq!(run(20).map(|(_, pause, _)| pause), Some(300_000), "no pause is longer");
        assert_eq!(
            run(375).map(|(_, pause, _)| pause),
            Some(300_000),
            "nor is it forgotten within"
        );
        assert_eq!(run(1_000), None, "as new");
    }

    #[test]
    fn a_plugin_that_goes_to_and_fro_by_itself_is_found_too() {
        let mut loops = HotLoops::default();
        let found = (0..6).map(|time| {
            let run = Run {
                own: time > 0,
                wrote: &[wrote(time % 2, time)],
            };
            loops.ended(second(time), 1, run).map(|looping| looping.came_back)
        });
        assert_eq!(Vec::from_iter(found), [None, None, None, None, Some(true), Some(true)]);
    }

    #[test]
    fn who_wants_one_thing_and_then_another_and_the_first_again_is_no_loop() {
        let mut loops = HotLoops::default();
        for time in 0..50 {
            let run = Run {
                own: false,
                wrote: &[wrote(time % 2, time)],
            };
            assert_eq!(loops.ended(second(time), 1, run), None, "run {time}");
        }
    }

    #[test]
    fn a_write_that_changes_nothing_is_no_return() {
        let mut loops = HotLoops::default();
        for time in 0..50 {
            let run = Run {
                own: true,
                wrote: &[wrote(7, 1)],
            };
            assert_eq!(loops.ended(second(time), 1, run), None, "run {time}");
        }
    }

    #[test]
    fn the_tenth_run_that_only_own_writes_asked_for_and_that_changes_the_same_paths_is_a_loop() {
        let mut loops = HotLoops::default();
        for time in 0..9 {
            let run = Run {
                own: true,
                wrote: &[wrote(100 + time, time)],
            };
            assert_eq!(loops.ended(second(time), 1, run), None, "run {time}");
        }
        let tenth = Run {
            own: true,
            wrote: &[wrote(200, 200)],
        };
        let looping = loops.ended(second(9), 1, tenth).unwrap();
        assert_eq!(
            (looping.came_back, looping.round, looping.pause),
            (false, 1, FIRST_PAUSE)
        );
    }

    #[test]
    fn progress_is_no_loop_changes_from_elsewhere_other_paths_or_rest_in_between() {
        for rest in 0..3 {
            let mut loops = HotLoops::default();
            for time in 0..50 {
                let other = Wrote {
                    paths: 100 + time,
                    ..wrote(1_000 + time, time)
                };
                let (own, wrote): (bool, &[Wrote]) = match (time % 8, rest) {
                    (7, 0) => (false, &[wrote(time, time)]),
                    (7, 1) => (true, &[other]),
                    (7, _) => (true, &[]),
                    _ => (true, &[wrote(time, time)]),
                };
                assert_eq!(
                    loops.ended(second(time), 1, Run { own, wrote }),
                    None,
                    "{rest}, run {time}"
                );
            }
        }
    }

    #[test]
    fn a_run_that_writes_several_objects_is_known_again_as_one_is_in_whatever_order_and_however_many_they_are() {
        for objects in [2, 3, WRITES as u64 + 1] {
            let mut loops = HotLoops::default();
            let mut rounds = Vec::new();
            for time in 0..12 {
                let mut wrote: Vec<Wrote> = (0..objects)
                    .map(|object| Wrote {
                        object,
                        ..wrote(100 + time, time)
                    })
                    .collect();
                if time % 2 == 1 {
                    wrote.reverse();
                }
                let (own, wrote) = (true, &wrote[..]);
                let looping = loops.ended(second(time), 1, Run { own, wrote });
                rounds.push(looping.map_or(0, |looping| looping.round));
            }
            assert_eq!(rounds, [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3], "{objects} objects");
        }
    }

    #[test]
    fn runs_that_write_the_same_objects_by_turns_are_a_loop_and_runs_that_come_to_new_ones_are_none() {
        for (objects, loops_at) in [(2, Some(10)), (u64::MAX, None)] {
            let mut loops = HotLoops::default();
            let found = (0..50).find(|time| {
                let wrote = [Wrote {
                    object: time % objects,
                    ..wrote(100 + time, *time)
                }];
                let run = Run {
                    own: true,
                    wrote: &wrote,
                };
                loops.ended(second(*time), 1, run).is_some()
            });
            assert_eq!(found, loops_at);
        }
    }

    #[test]
    fn a_run_that_is_no_part_of_it_has_no_pause_and_the_next_that_is_goes_on_where_the_pauses_were() {
        let mut loops = HotLoops::default();
        let mut run = |time, own| {
            let run = Run {
                own,
                wrote: &[wrote(1_000 + time, time)],
            };
            loops.ended(second(time), 1, run).map(|looping| looping.round)
        };
        let mut found: Vec<_> = (0..12).filter_map(|time| run(time, true)).collect();
        assert_eq!(run(12, false), None);
        found.extend((13..24).filter_map(|time| run(time, true)));
        assert_eq!(found, [1, 2, 3, 4, 5]);
        for time in 0..10 {
            assert_eq!(run(24 + 8 * time, false), None);
        }
        let found: Vec<_> = (100..110).filter_map(|time| run(time, true)).collect();
        assert_eq!(found, [1], "a minute without it is the end of it");
    }

    #[test]
    fn a_key_that_has_not_written_for_a_while_is_as_new() {
        let mut loops = HotLoops::default();
        let mut run = |time| {
            let run = Run {
                own: false,
                wrote: &[wrote(7, time)],
            };
            loops.ended(second(time), 1, run)
        };
        for time in [0, 1, 62, 63] {
            assert_eq!(run(time), None);
        }
        assert!(run(64).is_some());
    }

    #[test]
    fn a_key_that_loops_is_known_by_itself_and_however_many_write_only_so_many_are_kept() {
        let mut loops = HotLoops::default();
        for key in 0..3 * KEYS as u64 {
            let run = Run {
                own: false,
                wrote: &[wrote(7, key)],
            };
            assert_eq!(loops.ended(second(1), key, run), None);
        }
        assert!(loops.recent.len() + loops.before.len() <= 2 * KEYS);
    }
}
