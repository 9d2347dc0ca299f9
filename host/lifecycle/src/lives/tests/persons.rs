//! What persons say of a plugin, and what becomes of it.

use super::*;

#[test]
fn what_was_disabled_stays_so_while_its_configuration_can_not_be_read() {
    let off = PluginConfig {
        enabled: false,
        ..(*config(0)).clone()
    };
    let mut life = life();
    served(&mut life, 0, 1);
    let acts = life.step(at(1), Input::Found(wanted_with(1, &Arc::new(off))));
    assert_eq!(done(acts), [Act::Withdraw]);
    life.step(at(2), Input::Withdrawn);
    assert_eq!(done(life.step(at(3), Input::Unfit(refusal(Step::Config)))), []);
    // Nor does a restart make it run.
    let mut next = restarted(&life);
    assert_eq!(done(next.step(at(4), Input::Unfit(refusal(Step::Config)))), []);
    assert_eq!(done(next.step(at(5), Input::Found(wanted(1)))), [Act::Load(wanted(1))]);
}

#[test]
fn a_reset_ends_a_quarantine_and_leaves_what_was_said_against_versions() {
    let mut life = life();
    served(&mut life, 0, 1);
    served(&mut life, 1, 2);
    life.order(at(2), Order::Rollback).unwrap();
    life.step(at(2), Input::Served(Ok(())));
    assert_eq!((serving(&life), life.rejected.len()), (Some(1), 1));
    life.step(at(3), Input::Trouble(loaded(1).mark(), TroubleKind::Quarantined));
    let acts = life.order(at(4), Order::Reset).unwrap();
    assert_eq!(done(acts), [Act::Release]);
    assert_eq!(
        (serving(&life), life.rejected.len(), life.quarantine),
        (Some(1), 1, None)
    );
}

#[test]
fn a_version_that_an_operator_rolled_back_waits_and_is_no_failure_also_after_a_restart() {
    let mut life = life();
    served(&mut life, 0, 1);
    served(&mut life, 1, 2);
    life.order(at(7), Order::Rollback).unwrap();
    let acts = life.step(at(8), Input::Served(Ok(())));
    assert!(
        matches!(&told(&acts)[..], [What::RolledBack { why, .. }] if why == "an operator rolled it back"),
        "{acts:?}"
    );
    let waits = |life: &Life<Loaded>, serves: Option<u8>| {
        let status = life.status(at(9));
        let held = status.held_back.unwrap();
        assert_eq!((held.why.as_str(), held.at), ("an operator rolled it back", Some(7)));
        assert!(held.mend.contains("put another version there") && held.mend.contains("plugins promote p "));
        assert_eq!((status.refusal, serving(life)), (None, serves));
    };
    waits(&life, Some(1));
    let mut after = restarted(&life);
    let acts = after.step(at(100), Input::Found(wanted(2)));
    assert!(matches!(&told(&acts)[..], [What::HeldBack(_)]), "{acts:?}");
    after.step(at(101), Input::Loaded(Ok(loaded(1))));
    after.step(at(102), Input::Served(Ok(())));
    waits(&after, Some(1));
    // Once another version lies there, nothing waits.
    after.step(at(103), Input::Found(wanted(3)));
    assert_eq!(after.status(at(103)).held_back, None);
    // Where nothing can serve in its place, it looks like what it is: nothing runs.
    let mut kept = life.kept().unwrap();
    (kept.serving, kept.previous) = (None, Vec::new());
    let mut alone: Life<Loaded> = Life::restored("p", Rules::default(), kept);
    assert_eq!(done(alone.step(at(104), Input::Found(wanted(2)))), []);
    waits(&alone, None);
    assert_eq!(alone.status(at(105)).state, LifeState::Refused);
}

#[test]
fn a_person_rolls_back_and_promotes() {
    let mut life = life();
    assert_eq!(life.order(at(0), Order::Rollback), Err(OrderError::NoEarlier));
    served(&mut life, 0, 1);
    served(&mut life, 1, 2);
    assert_eq!(life.order(at(0), Order::Rollback).unwrap(), [Act::Serve(loaded(1))]);
    life.step(at(2), Input::Served(Ok(())));
    assert_eq!(serving(&life), Some(1));
    assert_eq!(
        life.step(at(3), Input::Found(wanted(2))),
        [],
        "what was rolled back stays so"
    );
    assert_eq!(
        done(life.order(at(0), Order::Promote(hash(2))).unwrap()),
        [Act::Load(wanted(2))]
    );
    life.step(at(4), Input::Loaded(Ok(loaded(2))));
    life.step(at(4), Input::Served(Ok(())));
    // An older one of those at hand, which does not lie in the directory.
    assert_eq!(
        done(life.order(at(0), Order::Promote(hash(1))).unwrap()),
        [Act::Serve(loaded(1))]
    );
    life.step(at(5), Input::Served(Ok(())));
    assert_eq!(
        (serving(&life), life.step(at(6), Input::Found(wanted(2)))),
        (Some(1), vec![])
    );
    assert!(matches!(
        life.order(at(0), Order::Promote(hash(9))),
        Err(OrderError::NoVersion { .. })
    ));
}

#[test]
fn a_person_disables_and_enables_whatever_the_configuration_says() {
    let mut life = life();
    served(&mut life, 0, 1);
    assert_eq!(life.order(at(0), Order::Disable).unwrap(), [Act::Withdraw]);
    life.step(at(1), Input::Withdrawn);
    assert_eq!(life.status(at(1)).state, LifeState::Disabled);
    assert_eq!(life.step(at(2), Input::Found(wanted(2))), []);
    assert_eq!(life.order(at(0), Order::Enable).unwrap(), [Act::Load(wanted(2))]);
    let off = Arc::new(PluginConfig {
        enabled: false,
        ..PluginConfig::default()
    });
    let mut life = self::life();
    assert_eq!(life.step(at(0), Input::Found(wanted_with(1, &off))), []);
    assert_eq!(life.status(at(0)).state, LifeState::Disabled);
}

#[test]
fn a_plugin_that_was_rolled_back_and_then_disabled_is_enabled_as_it_was() {
    let mut life = life();
    served(&mut life, 0, 1);
    served(&mut life, 1, 2);
    life.order(at(2), Order::Rollback).unwrap();
    life.step(at(2), Input::Served(Ok(())));
    life.order(at(3), Order::Disable).unwrap();
    life.step(at(4), Input::Withdrawn);
    assert_eq!(done(life.order(at(5), Order::Enable).unwrap()), [Act::Serve(loaded(1))]);
}
