//! What is remembered of a plugin whose file is gone.

use super::*;

const DAY: u64 = 24 * 60 * 60;

/// The file is gone, and the plugin has drained.
fn gone(life: &mut Life<Loaded>, now: u64) {
    assert_eq!(life.step(at(now), Input::Gone), [Act::Withdraw]);
    assert_eq!(told(&life.step(at(now), Input::Withdrawn)), [What::Unloaded]);
    assert!(life.is_over());
}

#[test]
fn what_was_decided_against_a_version_holds_also_where_its_file_was_gone_meanwhile() {
    for stored in [false, true] {
        // Version 2 was rolled back, and its file is gone.
        let mut life = life_of(stored);
        served(&mut life, 0, 1);
        served(&mut life, 1, 2);
        life.step(at(2), Input::Trouble(loaded(2).mark(), TroubleKind::Tripped));
        life.step(at(3), Input::Served(Ok(())));
        gone(&mut life, 10);
        life.step(at(70), Input::Passed);
        let held = |life: &mut Life<Loaded>, now: u64| {
            let acts = life.step(at(now), Input::Found(wanted(2)));
            assert!(matches!(&told(&acts)[..], [What::HeldBack(_)]), "{acts:?}");
            assert_eq!(done(acts), []);
        };
        held(&mut life.clone(), 100);
        held(&mut life.clone(), 29 * DAY);
        // Also after a restart, and one with no file there.
        held(&mut restarted(&life), 100);
        let mut after = restarted(&life);
        after.step(at(100), Input::Gone);
        held(&mut restarted(&after), 200);
        // Another version, another configuration or a person ends it, and time does.
        served(&mut life.clone(), 100, 3);
        let other = wanted_with(2, &config(7));
        assert_eq!(
            done(life.clone().step(at(100), Input::Found(other.clone()))),
            [Act::Load(other)]
        );
        let mut promoted = life.clone();
        held(&mut promoted, 100);
        assert_eq!(
            promoted.order(at(101), Order::Promote(hash(2))).unwrap(),
            [Act::Load(wanted(2))]
        );
        served(&mut life, 31 * DAY, 2);
    }
}

#[test]
fn a_quarantine_lasts_where_the_file_was_gone_meanwhile() {
    for stored in [false, true] {
        let mut life = life_of(stored);
        served(&mut life, 0, 1);
        life.step(at(1), Input::Trouble(loaded(1).mark(), TroubleKind::Quarantined));
        gone(&mut life, 10);
        let mut later = life.clone();
        later.step(at(70), Input::Passed);
        for mut later in [restarted(&later), later] {
            assert_eq!(done(later.step(at(100), Input::Found(wanted(1)))), []);
            assert!(later.status(at(100)).held_back.unwrap().why.contains("in quarantine"));
            assert_eq!(later.order(at(101), Order::Reset).unwrap(), [Act::Load(wanted(1))]);
        }
        // Back within a moment it serves as after a restart, with its breaker open, where its bytes were kept.
        assert_eq!(
            done(life.step(at(12), Input::Found(wanted(1)))).len(),
            usize::from(stored)
        );
        assert!(life.is_quarantined(loaded(1).mark()));
    }
}

#[test]
fn what_comes_within_a_moment_replaces_what_is_gone() {
    let mut life = life_of(true);
    served(&mut life, 0, 1);
    served(&mut life, 1, 2);
    trap(&mut life, 2, 2);
    gone(&mut life, 10);
    assert_eq!(life.due(), Some(at(70)));
    assert!(
        life.previous.iter().all(|past| past.plugin.is_none()),
        "nothing is held in memory"
    );
    // The same again: its probation goes on, with its traps, and what it followed is at hand.
    let mut same = life.clone();
    served(&mut same, 20, 2);
    assert_eq!(same.status(at(20)).probation_seconds, Some(581));
    trap(&mut same, 21, 2);
    assert_eq!(done(trap(&mut same, 22, 2)), [Act::Revive(wanted(1))]);
    // One that is no good: what served comes back.
    let mut bad = life.clone();
    bad.step(at(20), Input::Found(wanted(3)));
    let acts = bad.step(at(21), Input::Loaded(Err(refusal(Step::Compile))));
    assert_eq!(done(acts), [Act::Revive(wanted(2))]);
    // One that had been rolled back: what served in its place does so again.
    let mut back = life_of(true);
    served(&mut back, 0, 1);
    served(&mut back, 1, 2);
    back.order(at(2), Order::Rollback).unwrap();
    back.step(at(2), Input::Served(Ok(())));
    gone(&mut back, 10);
    assert_eq!(
        done(back.step(at(15), Input::Found(wanted(2)))),
        [Act::Revive(wanted(1))]
    );
    // And after a restart of the host just then.
    let mut after = restarted_with(&life, life.rules);
    after.step(at(20), Input::Gone);
    served(&mut after, 30, 2);
    assert_eq!(after.status(at(30)).previous.len(), 1);
}

#[test]
fn what_was_deleted_comes_back_by_nothing_but_its_file() {
    let mut life = life_of(true);
    served(&mut life, 0, 1);
    gone(&mut life, 10);
    life.step(at(69), Input::Passed);
    assert!(life.remembered_since().is_some());
    let mut after = restarted_with(&life, life.rules);
    life.step(at(70), Input::Passed);
    assert_eq!((life.remembered_since(), life.due(), life.kept()), (None, None, None));
    // Nor does a restart make the moment longer.
    after.step(at(80), Input::Gone);
    assert_eq!((after.remembered_since(), after.kept()), (None, None));
    for mut later in [life, after] {
        later.step(at(90), Input::Found(wanted(3)));
        let acts = later.step(at(91), Input::Loaded(Err(refusal(Step::Compile))));
        assert_eq!((done(acts), serving(&later)), (vec![], None));
    }
}

#[test]
fn of_many_that_are_gone_those_are_forgotten_that_went_first() {
    let mut lives: BTreeMap<String, Life<Loaded>> = BTreeMap::new();
    for (name, at) in [("a", 30), ("b", 10), ("c", 20)] {
        let mut life = life_of(true);
        served(&mut life, 0, 1);
        gone(&mut life, at);
        lives.insert(name.to_owned(), life);
    }
    // What is there counts for nothing, nor what a person said something of.
    let mut there = life_of(true);
    served(&mut there, 0, 1);
    lives.insert("d".to_owned(), there);
    let mut said = life_of(true);
    served(&mut said, 0, 1);
    said.order(at(1), Order::Enable).unwrap();
    said.step(at(2), Input::Gone);
    said.step(at(2), Input::Withdrawn);
    lives.insert("e".to_owned(), said);
    assert_eq!(beyond(&lives, 3), Vec::<String>::new());
    assert_eq!(beyond(&lives, 1), ["b", "c"]);
}

#[test]
fn a_clock_that_was_set_back_does_not_make_what_is_gone_last() {
    let mut life = life_of(true);
    served(&mut life, 0, 1);
    gone(&mut life, 5_000);
    let mut after = restarted_with(&life, life.rules);
    after.step(at(100), Input::Gone);
    assert_eq!(after.due(), Some(at(160)));
}
