//! Keys that go round in circles: a plugin's own writes wake it again and again, and nothing comes of it.
//!
//! # Promised
//! A key is taken to loop when one of its runs makes an object the same again for the third time, with something else
//! in between (so it goes where two writers want different things), or after ten runs in a row that were woken by the
//! plugin's own writes alone and changed the same paths of the same object (so it goes with a counter or a time stamp).
//! Each further such run makes its pause longer, up to five minutes. It is never stopped, and forgotten once it has not
//! written for a while. Memory is bounded: of very many keys that write, those that wrote least recently are forgotten.
//!
//! # Not promised
//! It knows hashes alone. Which field flaps and who is on the other side is for the caller, who has seen the objects.
//! Writes that changed nothing are not told here: nobody is woken by them.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// The same content for the so-manieth time.
const RETURNS: usize = 3;
/// So many runs in a row, woken by own writes, that changed the same paths.
const OWN_RUNS: u32 = 10;
/// Contents remembered of one key.
const CONTENTS: usize = 16;
/// Keys remembered: this many, and as many again that wrote before them.
const KEYS: usize = 4_096;
/// Without a write for so long, a key is as new. Longer than the longest pause, or it would never grow beyond.
const FORGOTTEN: Duration = Duration::from_secs(900);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// A write that changed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wrote {
    /// Hash of what names the object.
    pub object: u64,
    /// Hash of what the object is after it, without its version and who wrote when.
    pub content: u64,
    /// Hash of the paths that it changed.
    pub paths: u64,
}

/// A run that ended.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// Whether nothing but the plugin's own writes asked for it.
    pub own: bool,
    /// What it changed, in order.
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
    /// Objects with what was made of them.
    contents: VecDeque<(u64, u64)>,
    /// What the last runs that were woken by own writes changed: object and paths.
    same: (u64, u64),
    own_runs: u32,
    round: u32,
}

impl HotLoops {
    /// A run of this key (its hash) ended. Answers whether the key loops.
    pub fn ended(&mut self, now: Duration, key: u64, run: Run<'_>) -> Option<Looping> {
        if run.wrote.is_empty() {
            // It came to rest. Where two writers disagree it does so after each of its writes: contents stay.
            for track in [self.recent.get_mut(&key), self.before.get_mut(&key)]
                .into_iter()
                .flatten()
            {
                track.own_runs = 0;
            }
            return None;
        }
        let mut track = self
            .recent
            .remove(&key)
            .or_else(|| self.before.remove(&key))
            .unwrap_or_default();
        if now.saturating_sub(track.last) > FORGOTTEN {
            track = Track::default();
        }
        track.last = now;
        let found = track.see(run);
        let looping = match found {
            Some((write, came_back)) => {
                track.round = track.round.saturating_add(1);
                let doubled = FIRST_PAUSE.saturating_mul(1 << (track.round - 1).min(16));
                Some(Looping {
                    write,
                    came_back,
                    pause: doubled.min(LONGEST_PAUSE),
                    round: track.round,
                })
            }
            None => {
                track.round = 0;
                None
            }
        };
        if self.recent.len() >= KEYS {
            self.before = std::mem::take(&mut self.recent);
        }
        self.recent.insert(key, track);
        looping
    }

    /// Nothing is known any more of a key: somebody looked into it.
    pub fn forget(&mut self, key: u64) {
        self.recent.remove(&key);
        self.before.remove(&key);
    }
}

impl Track {
    /// The write that shows a loop, and whether it is that its content came back.
    fn see(&mut self, run: Run<'_>) -> Option<(usize, bool)> {
        let mut found = None;
        for (number, wrote) in run.wrote.iter().enumerate() {
            let what = (wrote.object, wrote.content);
            let times = self.contents.iter().filter(|known| **known == what).count() + 1;
            if times >= RETURNS {
                found = found.or(Some((number, true)));
            }
            if self.contents.len() == CONTENTS {
                self.contents.pop_front();
            }
            self.contents.push_back(what);
        }
        let same = run.wrote.last().map_or((0, 0), |wrote| (wrote.object, wrote.paths));
        let alike = run.wrote.iter().all(|wrote| (wrote.object, wrote.paths) == same);
        self.own_runs = match (run.own, alike, self.own_runs) {
            (false, ..) | (_, false, _) => 0,
            (_, _, runs) if runs > 0 && self.same == same => runs.saturating_add(1),
            _ => 1,
        };
        self.same = same;
        found.or((self.own_runs >= OWN_RUNS).then_some((0, false)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrote(object: u64, content: u64) -> Wrote {
        Wrote {
            object,
            content,
            paths: 1,
        }
    }

    fn second(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    #[test]
    fn what_comes_back_for_the_third_time_is_a_loop_and_each_time_pauses_longer() {
        let mut loops = HotLoops::default();
        let mut run = |time| {
            let run = Run {
                own: false,
                wrote: &[wrote(1, 7)],
            };
            let looping = loops.ended(second(time), 1, run);
            // Its own event: there is nothing to do.
            assert_eq!(loops.ended(second(time), 1, Run { own: true, wrote: &[] }), None);
            looping.map(|looping| (looping.round, looping.pause.as_secs(), looping.came_back))
        };
        let found: Vec<_> = (0..6).map(&mut run).collect();
        assert_eq!(
            found,
            [
                None,
                None,
                Some((1, 1, true)),
                Some((2, 2, true)),
                Some((3, 4, true)),
                Some((4, 8, true))
            ]
        );
        for time in 6..20 {
            run(time);
        }
        assert_eq!(run(20).map(|(_, pause, _)| pause), Some(300), "no pause is longer");
    }

    #[test]
    fn the_tenth_run_that_only_its_own_writes_woke_and_that_changes_the_same_paths_is_a_loop() {
        let mut loops = HotLoops::default();
        for time in 0..9 {
            let run = Run {
                own: true,
                wrote: &[wrote(1, 100 + time)],
            };
            assert_eq!(loops.ended(second(time), 1, run), None, "run {time}");
        }
        let tenth = Run {
            own: true,
            wrote: &[wrote(1, 200)],
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
                    object: 1,
                    content: 1_000 + time,
                    paths: time,
                };
                let (own, wrote): (bool, &[Wrote]) = match (time % 8, rest) {
                    (7, 0) => (false, &[wrote(1, time)]),
                    (7, 1) => (true, &[other]),
                    (7, _) => (true, &[]),
                    _ => (true, &[wrote(1, time)]),
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
    fn a_key_that_has_not_written_for_a_while_is_as_new() {
        let mut loops = HotLoops::default();
        let run = Run {
            own: false,
            wrote: &[wrote(1, 7)],
        };
        for time in [0, 1, 1_000, 1_001] {
            assert_eq!(loops.ended(second(time), 1, run), None);
        }
        assert!(loops.ended(second(1_002), 1, run).is_some());
    }

    #[test]
    fn a_key_that_loops_is_known_by_itself_and_however_many_write_only_so_many_are_kept() {
        let mut loops = HotLoops::default();
        for key in 0..3 * KEYS as u64 {
            let run = Run {
                own: false,
                wrote: &[wrote(1, 7)],
            };
            assert_eq!(loops.ended(second(1), key, run), None);
        }
        assert!(loops.recent.len() + loops.before.len() <= 2 * KEYS);
    }
}
