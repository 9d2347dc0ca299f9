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
fn of_a_key_that_writes_very_much_only_the_last_writes_are_kept() {
    let mut loops = HotLoops::default();
    for time in 0..10 {
        let wrote: Vec<Wrote> = (0..WRITES as u64)
            .map(|object| Wrote {
                object,
                ..wrote(time, time)
            })
            .collect();
        let (own, wrote) = (false, &wrote[..]);
        loops.ended(second(time), 1, Run { own, wrote });
    }
    let writes = loops.recent.values().map(|track| track.writes.len());
    assert_eq!(writes.collect::<Vec<_>>(), [WRITES]);
    assert!(loops.made(1, 0, 9) && !loops.made(1, 0, 8));
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
