//! What outlives the host, and how the next one begins.

use super::*;

#[test]
fn what_served_serves_again_after_a_restart_and_its_probation_goes_on() {
    let mut life = life();
    served(&mut life, 0, 1);
    served(&mut life, 10, 2);
    let mut life = restarted(&life);
    served(&mut life, 100, 2);
    let status = life.status(at(100));
    assert_eq!(status.probation_seconds, Some(510));
    assert_eq!(status.previous.len(), 1, "and the one before it is at hand");
    let tripped = Input::Trouble(loaded(2).mark(), TroubleKind::Tripped);
    assert_eq!(
        done(life.step(at(101), tripped)),
        [Act::Revive(wanted(1))],
        "its bytes are"
    );
    assert_eq!(
        done(life.step(at(102), Input::Loaded(Ok(loaded(1))))),
        [Act::Serve(loaded(1))]
    );
    let acts = life.step(at(103), Input::Served(Ok(())));
    assert!(matches!(&told(&acts)[0], What::RolledBack { from, .. } if *from == hash(2)));
}

#[test]
fn a_version_that_was_rolled_back_stays_so_after_a_restart_and_the_one_before_it_serves() {
    let mut life = life();
    served(&mut life, 0, 1);
    served(&mut life, 10, 2);
    life.step(at(20), Input::Trouble(loaded(2).mark(), TroubleKind::Tripped));
    life.step(at(21), Input::Served(Ok(())));
    let kept = life.kept();
    let mut life = restarted(&life);
    let acts = life.step(at(30), Input::Found(wanted(2)));
    assert!(matches!(&told(&acts)[..], [What::HeldBack(held)] if held.hash == hash(2).to_string()));
    assert_eq!(done(acts), [Act::Revive(wanted(1))]);
    assert_eq!(life.kept(), kept, "nothing is forgotten meanwhile");
    life.step(at(31), Input::Loaded(Ok(loaded(1))));
    life.step(at(32), Input::Served(Ok(())));
    assert_eq!((serving(&life), life.kept()), (Some(1), kept));
    let rejected = &life.status(at(33)).rejected[0];
    assert_eq!((&rejected.hash, rejected.at), (&hash(2).to_string(), 20));
    assert_eq!(life.step(at(34), Input::Found(wanted(2))), []);
    // Promoted, it is what serves after the next restart.
    life.order(at(35), Order::Promote(hash(2))).unwrap();
    life.step(at(36), Input::Loaded(Ok(loaded(2))));
    life.step(at(37), Input::Served(Ok(())));
    served(&mut restarted(&life), 40, 2);
}

#[test]
fn a_host_that_ends_amid_a_rollback_does_not_begin_with_what_was_bad() {
    let mut life = life();
    served(&mut life, 0, 1);
    served(&mut life, 10, 2);
    life.step(at(20), Input::Trouble(loaded(2).mark(), TroubleKind::Tripped));
    let mut life = restarted(&life);
    assert_eq!(
        done(life.step(at(30), Input::Found(wanted(2)))),
        [Act::Revive(wanted(1))]
    );
}

/// What served before the restart is brought back first.
fn resumed(life: &mut Life<Loaded>, now: u64, found: u8, served: u8) -> Vec<Act<Loaded>> {
    assert_eq!(
        done(life.step(at(now), Input::Found(wanted(found)))),
        [Act::Revive(wanted(served))]
    );
    let acts = life.step(at(now), Input::Loaded(Ok(loaded(served))));
    assert_eq!(done(acts), [Act::Serve(loaded(served))]);
    let acts = life.step(at(now), Input::Served(Ok(())));
    assert!(matches!(&told(&acts)[0], What::Serving { instead_of: None }));
    done(acts)
}

#[test]
fn a_version_that_came_while_no_host_ran_follows_what_served_before_and_passes_every_step() {
    let mut life = life();
    served(&mut life, 0, 1);
    let mut after = restarted(&life);
    assert_eq!(resumed(&mut after, 10, 2, 1), [Act::Load(wanted(2))]);
    assert_eq!(
        done(after.step(at(11), Input::Loaded(Ok(loaded(2))))),
        [Act::Serve(loaded(2))]
    );
    assert_eq!(done(after.step(at(12), Input::Served(Ok(())))), []);
    assert_eq!(serving(&after), Some(2));
    assert_eq!(after.status(at(12)).probation_seconds, Some(600));
    assert_eq!(after.status(at(12)).previous.len(), 1);

    let mut after = restarted(&life);
    resumed(&mut after, 10, 2, 1);
    let acts = after.step(at(11), Input::Loaded(Err(refusal(Step::Compile))));
    assert_eq!(done(acts), []);
    assert_eq!(serving(&after), Some(1));
    assert_eq!(after.status(at(13)).refusal, Some(refusal(Step::Compile)));

    let mut after = restarted(&life);
    assert_eq!(
        done(after.step(at(10), Input::Unfit(refusal(Step::Read)))),
        [Act::Revive(wanted(1))]
    );

    // It is lost: then what lies there is all there is.
    let mut after = restarted(&life);
    after.step(at(10), Input::Found(wanted(2)));
    let acts = after.step(at(11), Input::Loaded(Err(refusal(Step::Read))));
    assert_eq!(done(acts), [Act::Load(wanted(2))]);
}

#[test]
fn a_host_that_ends_amid_a_switch_begins_with_what_served() {
    let mut life = life();
    served(&mut life, 0, 1);
    life.step(at(10), Input::Found(wanted(2)));
    life.step(at(10), Input::Loaded(Ok(loaded(2))));
    let mut after = restarted(&life);
    assert_eq!(resumed(&mut after, 20, 2, 1), [Act::Load(wanted(2))]);
    after.step(at(21), Input::Loaded(Ok(loaded(2))));
    let (why, mend) = ("no lists".to_owned(), "wait".to_owned());
    after.step(at(81), Input::Served(Err(NotServed { why, mend })));
    assert_eq!(serving(&after), Some(1));
}

#[test]
fn a_version_that_can_not_be_brought_back_gives_way_to_the_one_before_it() {
    let mut life = life();
    for module in 1..=3 {
        served(&mut life, 0, module);
    }
    let mut after = restarted(&life);
    after.step(at(10), Input::Unfit(refusal(Step::Read)));
    let acts = after.step(at(11), Input::Loaded(Err(refusal(Step::Read))));
    assert_eq!(done(acts), [Act::Revive(wanted(2))]);
    let acts = after.step(at(12), Input::Loaded(Err(refusal(Step::Read))));
    assert_eq!(done(acts), [Act::Revive(wanted(1))]);
    let acts = after.step(at(13), Input::Loaded(Err(refusal(Step::Read))));
    assert_eq!((done(acts), serving(&after)), (vec![], None), "then none is left");
    assert_eq!(after.kept(), None);
}

#[test]
fn a_rollback_whose_version_is_lost_leaves_what_serves() {
    let mut life = life();
    served(&mut life, 0, 1);
    served(&mut life, 1, 2);
    let mut life = restarted(&life);
    served(&mut life, 2, 2);
    assert_eq!(life.order(at(3), Order::Rollback).unwrap(), [Act::Revive(wanted(1))]);
    let acts = life.step(at(4), Input::Loaded(Err(refusal(Step::Read))));
    assert!(matches!(told(&acts)[0], What::Refused { old_serves: true, .. }));
    assert_eq!((done(acts), serving(&life)), (vec![], Some(2)));
    served(&mut restarted(&life), 5, 2);
}

#[test]
fn grants_that_were_taken_away_while_no_host_ran_are_not_in_force() {
    let mut life = life();
    served(&mut life, 0, 1);
    let mut life = restarted(&life);
    let none = Arc::new(PluginConfig {
        grants: Some(Grants::default()),
        ..PluginConfig::default()
    });
    life.step(at(2), Input::Found(wanted_with(1, &none)));
    let acts = life.step(at(3), Input::Loaded(Err(refusal(Step::Grants))));
    assert_eq!(done(acts), [Act::Revive(wanted(1))]);
    let acts = life.step(at(4), Input::Loaded(Ok(loaded(1))));
    assert!(matches!(&told(&acts)[0], What::Refused { refusal, .. } if refusal.step == Step::Grants));
    assert_eq!((done(acts), serving(&life)), (vec![], None));
}

#[test]
fn a_quarantine_lasts_over_a_restart_until_a_person_a_new_version_or_a_new_configuration() {
    let mut life = life();
    served(&mut life, 0, 1);
    life.step(at(1), Input::Trouble(loaded(1).mark(), TroubleKind::Quarantined));
    let mut after = restarted(&life);
    served(&mut after, 2, 1);
    assert!(
        after.serves_in_quarantine(),
        "it serves with its breaker open: keys wait, and none is dropped"
    );
    assert_eq!(after.order(at(3), Order::Promote(hash(1))).unwrap(), [Act::Release]);
    assert!(!after.serves_in_quarantine() && !restarted(&after).serves_in_quarantine());

    let mut after = restarted(&life);
    served(&mut after, 2, 2);
    assert!(!after.serves_in_quarantine());
    let mut after = restarted(&life);
    let other = wanted_with(1, &config(1));
    after.step(at(2), Input::Found(other.clone()));
    after.step(
        at(3),
        Input::Loaded(Ok(Loaded {
            module: 1,
            config: other.config,
        })),
    );
    after.step(at(4), Input::Served(Ok(())));
    assert!(serving(&after) == Some(1) && !after.serves_in_quarantine());
}

#[test]
fn a_persons_word_lasts_over_a_restart_also_where_the_file_is_gone() {
    let mut life = life();
    served(&mut life, 0, 1);
    life.order(at(1), Order::Disable).unwrap();
    life.step(at(2), Input::Withdrawn);
    let mut after = restarted(&life);
    assert_eq!(after.step(at(3), Input::Found(wanted(1))), []);
    assert_eq!(after.status(at(3)).state, LifeState::Disabled);
    let mut after = restarted(&life);
    after.step(at(3), Input::Gone);
    let mut after = restarted(&after);
    assert_eq!(after.step(at(4), Input::Found(wanted(1))), []);
    assert_eq!(after.order(at(5), Order::Enable).unwrap(), [Act::Load(wanted(1))]);
}

#[test]
fn traps_on_probation_are_counted_over_a_restart() {
    let mut life = life();
    served(&mut life, 0, 1);
    served(&mut life, 10, 2);
    trap(&mut life, 20, 2);
    let mut life = restarted(&life);
    served(&mut life, 100, 2);
    assert_eq!(done(trap(&mut life, 101, 2)), []);
    let mut life = restarted(&life);
    served(&mut life, 200, 2);
    assert_eq!(done(trap(&mut life, 201, 2)), [Act::Revive(wanted(1))], "the third");
    // Not those of a probation that is over.
    let mut late = self::life();
    served(&mut late, 0, 1);
    served(&mut late, 10, 2);
    trap(&mut late, 20, 2);
    trap(&mut late, 21, 2);
    let mut late = restarted(&late);
    served(&mut late, 611, 2);
    assert_eq!(done(trap(&mut late, 612, 2)), []);
}

#[test]
fn a_version_that_was_rejected_or_is_in_quarantine_does_not_serve_again_before_what_is_new() {
    // The host ended amid the rollback of 2, and 3 lies there by now.
    let mut rejected = life();
    served(&mut rejected, 0, 1);
    served(&mut rejected, 10, 2);
    rejected.step(at(20), Input::Trouble(loaded(2).mark(), TroubleKind::Tripped));
    let mut quarantined = life();
    served(&mut quarantined, 0, 2);
    quarantined.step(at(20), Input::Trouble(loaded(2).mark(), TroubleKind::Quarantined));
    for life in [rejected, quarantined] {
        let mut after = restarted(&life);
        assert_eq!(
            done(after.step(at(30), Input::Found(wanted(3)))),
            [Act::Load(wanted(3))]
        );
    }
}

#[test]
fn a_version_that_was_rejected_does_not_serve_again_where_what_is_new_can_not_be_taken() {
    let mut life = life();
    served(&mut life, 0, 1);
    served(&mut life, 10, 2);
    life.step(at(20), Input::Trouble(loaded(2).mark(), TroubleKind::Tripped));
    for found in [Input::Unfit(refusal(Step::Read)), Input::Found(wanted(2))] {
        assert_eq!(done(restarted(&life).step(at(30), found)), [Act::Revive(wanted(1))]);
    }
    // Not even where it is all there is.
    let mut kept = life.kept().unwrap();
    kept.previous.clear();
    let mut alone: Life<Loaded> = Life::restored("p", Rules::default(), kept);
    assert_eq!(done(alone.step(at(30), Input::Unfit(refusal(Step::Read)))), []);
    assert_eq!((serving(&alone), alone.is_busy()), (None, false));
}
