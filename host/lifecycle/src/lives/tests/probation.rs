//! Versions that fail while they serve: rollback by itself, and quarantine.

use super::*;

#[test]
fn a_version_that_trips_on_probation_is_rolled_back_and_not_loaded_again() {
    let mut life = life();
    served(&mut life, 0, 1);
    served(&mut life, 10, 2);
    assert_eq!(life.status(at(10)).probation_seconds, Some(600));
    let mark = loaded(2).mark();
    assert_eq!(
        done(life.step(at(609), Input::Trouble(mark, TroubleKind::Tripped))),
        [Act::Serve(loaded(1))]
    );
    let acts = life.step(at(610), Input::Served(Ok(())));
    assert!(matches!(&told(&acts)[0], What::RolledBack { from, why } if *from == hash(2) && why.contains("breaker")));
    // What lies in the directory is the version that was rolled back: that was told, and nothing besides.
    assert_eq!(acts.len(), 1, "{acts:?}");
    assert_eq!(serving(&life), Some(1));
    let status = life.status(at(610));
    assert_eq!(status.rolled_back_from, Some(hash(2).to_string()));
    assert_eq!(
        status.probation_seconds, None,
        "the older version is on none, so that nothing goes back and forth"
    );
    let held = status.held_back.unwrap();
    assert!(
        held.why.contains("it was rolled back") && held.mend.contains("promote"),
        "{held:?}"
    );
    assert_eq!((held.hash, held.at), (hash(2).to_string(), Some(609)));
    assert_eq!(status.refusal, None, "nothing is wrong with the file");
    assert_eq!(life.step(at(611), Input::Found(wanted(2))), []);
    assert_eq!(
        done(life.step(at(612), Input::Found(wanted_with(2, &config(1))))).len(),
        1,
        "another configuration"
    );
}

#[test]
fn a_version_that_trips_while_the_next_one_comes_takes_nothing_back_once_that_serves() {
    let mut life = life();
    served(&mut life, 0, 1);
    served(&mut life, 10, 2);
    life.step(at(11), Input::Found(wanted(3)));
    assert_eq!(
        done(life.step(at(11), Input::Loaded(Ok(loaded(3))))),
        [Act::Serve(loaded(3))]
    );
    assert_eq!(
        life.step(at(12), Input::Trouble(loaded(2).mark(), TroubleKind::Tripped)),
        []
    );
    let acts = life.step(at(13), Input::Served(Ok(())));
    assert!(matches!(told(&acts)[..], [What::Serving { .. }]), "{acts:?}");
    assert_eq!(done(acts), []);
    assert_eq!(serving(&life), Some(3));

    // Where the switch fails what tripped is rolled back.
    let mut life = self::life();
    served(&mut life, 0, 1);
    served(&mut life, 10, 2);
    life.step(at(11), Input::Found(wanted(3)));
    life.step(at(11), Input::Loaded(Ok(loaded(3))));
    life.step(at(12), Input::Trouble(loaded(2).mark(), TroubleKind::Tripped));
    let (why, mend) = ("no lists".to_owned(), "wait".to_owned());
    let acts = life.step(at(13), Input::Served(Err(NotServed { why, mend })));
    assert_eq!(done(acts), [Act::Serve(loaded(1))]);
}

#[test]
fn so_many_traps_on_probation_roll_back_and_afterwards_none_do() {
    let mut life = life();
    served(&mut life, 0, 1);
    served(&mut life, 0, 2);
    assert_eq!(trap(&mut life, 1, 2), []);
    assert_eq!(trap(&mut life, 2, 1), [], "of a version that serves no longer");
    assert_eq!(trap(&mut life, 3, 2), []);
    assert_eq!(done(trap(&mut life, 4, 2)), [Act::Serve(loaded(1))]);

    let mut life = self::life();
    served(&mut life, 0, 1);
    served(&mut life, 0, 2);
    for second in 600..700 {
        assert_eq!(trap(&mut life, second, 2), [], "probation is over");
    }
}

#[test]
fn the_first_version_has_nothing_to_be_rolled_back_to() {
    let mut life = life();
    served(&mut life, 0, 1);
    assert_eq!(
        life.step(at(1), Input::Trouble(loaded(1).mark(), TroubleKind::Tripped)),
        []
    );
    assert_eq!(serving(&life), Some(1));
}

#[test]
fn a_plugin_in_quarantine_comes_back_with_another_version_or_configuration() {
    let mut life = life();
    served(&mut life, 0, 1);
    let acts = life.step(at(1), Input::Trouble(loaded(1).mark(), TroubleKind::Quarantined));
    assert_eq!(told(&acts), [What::Quarantined]);
    assert_eq!(life.status(at(1)).quarantined, Some(hash(1).to_string()));
    served(&mut life, 2, 2);
    assert_eq!(
        life.step(at(3), Input::Found(wanted(1))).len(),
        1,
        "and not with the same again"
    );
    assert_eq!(serving(&life), Some(2));
    assert!(life.status(at(3)).held_back.unwrap().why.contains("in quarantine"));
}

/// The module serves, with that configuration.
fn served_with(life: &mut Life<Loaded>, now: u64, module: u8, own: &Arc<PluginConfig>) {
    life.step(at(now), Input::Found(wanted_with(module, own)));
    let config = own.clone();
    life.step(at(now), Input::Loaded(Ok(Loaded { module, config })));
    life.step(at(now), Input::Served(Ok(())));
    assert_eq!(serving(life), Some(module));
}

#[test]
fn nothing_goes_back_by_itself_to_a_version_that_was_on_probation_when_another_took_its_place() {
    let tripped = |own: &Arc<PluginConfig>| Input::Trouble(wanted_with(2, own).mark(), TroubleKind::Tripped);
    // Version 2 is no good, and its configuration is changed before that is seen.
    let mut life = life_of(true);
    served(&mut life, 0, 1);
    served(&mut life, 1, 2);
    served_with(&mut life, 2, 2, &config(7));
    let mut after = restarted_with(&life, life.rules);
    assert_eq!(
        done(life.clone().step(at(3), tripped(&config(7)))),
        [Act::Serve(loaded(1))]
    );
    // A person may go back to it.
    assert_eq!(
        done(life.order(at(3), Order::Rollback).unwrap()),
        [Act::Serve(loaded(2))]
    );
    // Also after a restart, and where it was exchanged while it did not run.
    served_with(&mut after, 3, 2, &config(7));
    assert_eq!(done(after.step(at(4), tripped(&config(7)))), [Act::Revive(wanted(1))]);
    let mut disabled = self::life();
    served(&mut disabled, 0, 1);
    served(&mut disabled, 1, 2);
    disabled.order(at(2), Order::Disable).unwrap();
    disabled.step(at(2), Input::Withdrawn);
    disabled.step(at(3), Input::Found(wanted_with(2, &config(7))));
    disabled.order(at(3), Order::Enable).unwrap();
    served_with(&mut disabled, 3, 2, &config(7));
    assert_eq!(done(disabled.step(at(4), tripped(&config(7)))), [Act::Serve(loaded(1))]);
    // Once it stood its probation it is as good as any.
    let mut later = self::life();
    served(&mut later, 0, 1);
    served(&mut later, 1, 2);
    served_with(&mut later, 601, 2, &config(7));
    assert_eq!(done(later.step(at(602), tripped(&config(7)))), [Act::Serve(loaded(2))]);
}

#[test]
fn of_many_changes_in_a_short_time_the_last_version_that_stood_its_probation_stays_at_hand() {
    let mut life = life();
    for (now, module) in [(0, 1), (1_000, 2), (2_000, 3), (2_001, 4), (2_002, 5), (2_003, 6)] {
        served(&mut life, now, module);
    }
    let at_hand: Vec<_> = life.previous.iter().map(|past| past.mark.module).collect();
    assert_eq!(at_hand, [hash(5), hash(2)]);
    let tripped = Input::Trouble(loaded(6).mark(), TroubleKind::Tripped);
    assert_eq!(done(life.step(at(2_004), tripped)), [Act::Serve(loaded(2))]);
    // Where none is known to be good there is nothing to go back to.
    let mut narrow = Life::new(
        "p",
        Rules {
            kept: 1,
            ..Rules::default()
        },
    );
    served(&mut narrow, 0, 1);
    served(&mut narrow, 1, 2);
    assert_eq!(narrow.previous.len(), 0);
}

#[test]
fn a_probation_lasts_no_longer_than_it_would_if_it_began_now() {
    let mut life = life();
    served(&mut life, 0, 1);
    served(&mut life, 1_000, 2);
    // The operator has made it shorter, or the system's clock was set back.
    let shorter = Rules {
        probation: at(60),
        ..Rules::default()
    };
    let mut after = restarted_with(&life, shorter);
    served(&mut after, 1_010, 2);
    assert_eq!(after.status(at(1_010)).probation_seconds, Some(60));
    let mut early = restarted(&life);
    served(&mut early, 100, 2);
    assert_eq!(early.status(at(100)).probation_seconds, Some(600));
}

#[test]
fn a_probation_ends_with_what_was_unloaded_for_good() {
    let full = TroubleKind::CacheFull { bytes: 2, most_mib: 0 };
    let mut outgrown = life();
    served(&mut outgrown, 0, 1);
    served(&mut outgrown, 1, 2);
    outgrown.step(at(2), Input::Trouble(loaded(2).mark(), full));
    let mut revoked = life();
    served(&mut revoked, 0, 1);
    served(&mut revoked, 1, 2);
    revoked.step(at(2), Input::Found(wanted_with(2, &Arc::default())));
    revoked.step(at(2), Input::Loaded(Err(refusal(Step::Grants))));
    for mut life in [outgrown, revoked] {
        assert_eq!(told(&life.step(at(3), Input::Withdrawn)), [What::Unloaded]);
        assert_eq!((serving(&life), life.status(at(3)).probation_seconds), (None, None));
        // What comes next is not taken for something that was on it.
        served_with(&mut life, 4, 3, &config(0));
        assert_eq!(life.status(at(4)).probation_seconds, None);
    }
}

#[test]
fn a_way_back_that_failed_leaves_what_serves_as_good_as_it_was() {
    let not_served = || NotServed {
        why: "its lists did not come".to_owned(),
        mend: String::new(),
    };
    for kept in [false, true] {
        for by_person in [false, true] {
            let mut life = life();
            served(&mut life, 0, 1);
            served(&mut life, 1, 2);
            if kept {
                life = restarted(&life);
                served(&mut life, 1, 2);
            }
            if by_person {
                life.order(at(2), Order::Rollback).unwrap();
            } else {
                life.step(at(2), Input::Trouble(loaded(2).mark(), TroubleKind::Tripped));
            }
            assert_eq!(life.status(at(2)).rejected.len(), 1);
            let acts = if kept {
                life.step(at(3), Input::Loaded(Err(refusal(Step::Read))))
            } else {
                life.step(at(3), Input::Served(Err(not_served())))
            };
            assert!(
                matches!(&told(&acts)[..], [What::Refused { old_serves: true, .. }]),
                "{acts:?}"
            );
            assert_eq!((done(acts), serving(&life)), (vec![], Some(2)));
            assert_eq!(
                (life.status(at(3)).rejected, life.status(at(3)).held_back),
                (vec![], None)
            );
            // So it serves after a restart as well.
            served(&mut restarted(&life), 4, 2);
        }
    }
}
