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
