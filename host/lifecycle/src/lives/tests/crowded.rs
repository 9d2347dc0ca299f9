//! What there was no room for in this process.

use super::*;

fn no_room() -> Input<Loaded> {
    Input::Crowded(refusal(Step::Compile))
}

/// Nothing of it serves, for want of room.
fn crowded(now: u64) -> Life<Loaded> {
    let mut life = life();
    life.step(at(now), Input::Found(wanted(1)));
    let acts = life.step(at(now), no_room());
    assert!(
        matches!(&told(&acts)[..], [What::Refused { old_serves: false, .. }]),
        "{acts:?}"
    );
    assert_eq!(done(acts), []);
    assert!(life.waits_for_room());
    life
}

#[test]
fn what_there_was_no_room_for_is_tried_again_soon_after_something_was_unloaded_and_every_minute_besides() {
    let mut life = crowded(100);
    assert_eq!(life.status(at(100)).state, LifeState::Refused);
    assert_eq!(life.due(), Some(at(160)));
    assert_eq!(life.step(at(159), Input::Passed), []);
    assert_eq!(
        life.step(at(101), Input::Room),
        [],
        "not at once: it may take a moment to go"
    );
    assert_eq!(life.due(), Some(at(105)));
    assert_eq!(life.step(at(105), Input::Passed), [Act::Load(wanted(1))]);
    assert_eq!(life.due(), None, "it is being tried");
    // That it is refused again is no news, but its figures are shown.
    let other = Refusal::new("p", Step::Compile, "62 open files", "");
    assert_eq!(life.step(at(106), Input::Crowded(other.clone())), []);
    assert_eq!((life.status(at(106)).refusal, life.due()), (Some(other), Some(at(166))));
    // What was unloaded before that attempt counts no longer.
    assert_eq!(life.step(at(111), Input::Passed), []);
    assert_eq!(life.step(at(166), Input::Passed), [Act::Load(wanted(1))]);
    assert_eq!(
        done(life.step(at(167), Input::Loaded(Ok(loaded(1))))),
        [Act::Serve(loaded(1))]
    );
    life.step(at(167), Input::Served(Ok(())));
    assert_eq!(
        (serving(&life), life.status(at(167)).refusal, life.due()),
        (Some(1), None, None)
    );
    assert!(!life.waits_for_room());
}

#[test]
fn a_new_version_that_there_was_no_room_for_is_tried_again_and_the_old_one_serves_meanwhile() {
    let mut life = life();
    served(&mut life, 0, 1);
    life.step(at(10), Input::Found(wanted(2)));
    let acts = life.step(at(10), no_room());
    assert!(matches!(&told(&acts)[..], [What::Refused { old_serves: true, .. }]));
    assert_eq!((done(acts), serving(&life)), (vec![], Some(1)));
    assert_eq!(life.step(at(70), Input::Passed), [Act::Load(wanted(2))]);
    // Something else may be wrong with it then, and that is told and lasts.
    let acts = life.step(at(71), Input::Loaded(Err(refusal(Step::Describe))));
    assert!(matches!(&told(&acts)[..], [What::Refused { .. }]));
    assert_eq!((life.due(), life.waits_for_room()), (None, false));
}

#[test]
fn what_is_gone_or_disabled_or_another_by_now_is_not_tried_again_for_want_of_room() {
    let mut gone = crowded(0);
    gone.step(at(1), Input::Gone);
    assert!(gone.is_over() && gone.due().is_none());
    let mut disabled = crowded(0);
    disabled.order(at(1), Order::Disable).unwrap();
    assert_eq!((disabled.due(), disabled.step(at(99), Input::Passed)), (None, vec![]));
    let mut other = crowded(0);
    assert_eq!(other.step(at(1), Input::Found(wanted(2))), [Act::Load(wanted(2))]);
    let acts = other.step(at(2), no_room());
    assert_eq!(told(&acts).len(), 1, "that is another one, and told");
    assert_eq!(other.due(), Some(at(62)));
    other.step(at(3), Input::Unfit(refusal(Step::Read)));
    assert_eq!(other.due(), None);
}

#[test]
fn what_served_before_a_restart_is_not_given_up_for_want_of_room() {
    let mut life = life_of(true);
    served(&mut life, 0, 1);
    served(&mut life, 10, 2);
    let kept = life.kept();
    // It lies in the directory, or what lies there can't be read.
    let mut after = restarted_with(&life, life.rules);
    after.step(at(20), Input::Found(wanted(2)));
    assert_eq!(done(after.step(at(20), no_room())), []);
    let mut unfit = restarted_with(&life, life.rules);
    assert_eq!(
        done(unfit.step(at(20), Input::Unfit(refusal(Step::Read)))),
        [Act::Revive(wanted(2))]
    );
    assert_eq!(done(unfit.step(at(20), no_room())), []);
    assert_eq!((after.kept(), unfit.kept()), (kept.clone(), kept));
    assert_eq!(done(after.step(at(80), Input::Passed)), [Act::Load(wanted(2))]);
    assert_eq!(done(unfit.step(at(80), Input::Passed)), [Act::Revive(wanted(2))]);
    assert_eq!(unfit.step(at(81), no_room()), []);
    // A way back that there is no room for leaves what serves, and the version at hand.
    let mut back = restarted_with(&life, life.rules);
    served(&mut back, 20, 2);
    assert_eq!(back.order(at(21), Order::Rollback).unwrap(), [Act::Revive(wanted(1))]);
    assert_eq!(done(back.step(at(22), no_room())), []);
    let status = back.status(at(22));
    assert_eq!(
        (serving(&back), status.previous.len(), status.rejected.len()),
        (Some(2), 1, 0)
    );
}
