use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::life::{Act, Input, Life, Rules};
use super::version::{Candidate, Mark, Wanted};
use super::{LifeState, Order, OrderError, What, beyond};
use crate::config::{Concurrency, ControllerOverrides, PluginConfig};
use crate::grant::Grants;
use crate::load::Hash;
use crate::manifest::SuggestedLimits;
use crate::refusal::{Refusal, Step};
use crate::stage::{NotServed, TroubleKind};

mod tightened;

/// A module of that number, loaded with that configuration. Modules from 50 on ask for more than is granted by default.
#[derive(Clone, Debug, PartialEq)]
struct Loaded {
    module: u8,
    config: Arc<PluginConfig>,
}

impl Candidate for Loaded {
    fn mark(&self) -> Mark {
        wanted_with(self.module, &self.config).mark()
    }

    fn version(&self) -> &str {
        "1"
    }

    /// The weight stands for how far grants reach.
    fn fits(&self, config: &PluginConfig) -> bool {
        config.grants == Some(Grants::Asked) && self.config.weight <= config.weight
    }

    fn has_controller(&self, name: &str) -> bool {
        name == "c"
    }

    fn adjusted(&self, config: &PluginConfig) -> Self {
        Self {
            config: Arc::new(config.clone()),
            ..self.clone()
        }
    }

    fn suggested_limits(&self) -> SuggestedLimits {
        SuggestedLimits::default()
    }
}

fn config(number: u8) -> Arc<PluginConfig> {
    Arc::new(PluginConfig {
        config: json!(number),
        grants: Some(Grants::Asked),
        ..PluginConfig::default()
    })
}

fn wanted_with(module: u8, config: &Arc<PluginConfig>) -> Wanted {
    Wanted {
        module: Hash::of(&[module]),
        config: config.clone(),
    }
}

fn wanted(module: u8) -> Wanted {
    wanted_with(module, &config(0))
}

fn loaded(module: u8) -> Loaded {
    Loaded {
        module,
        config: config(0),
    }
}

fn hash(module: u8) -> Hash {
    Hash::of(&[module])
}

fn refusal(step: Step) -> Refusal {
    Refusal::new("p", step, "it is no good", "mend it")
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn life() -> Life<Loaded> {
    Life::new("p", Rules::default())
}

/// What is done, without what is told.
fn done(acts: Vec<Act<Loaded>>) -> Vec<Act<Loaded>> {
    acts.into_iter().filter(|act| !matches!(act, Act::Tell(_))).collect()
}

fn told(acts: &[Act<Loaded>]) -> Vec<What> {
    let what = |act: &Act<Loaded>| match act {
        Act::Tell(event) => Some(event.what.clone()),
        _ => None,
    };
    acts.iter().filter_map(what).collect()
}

/// A module is put into the directory and comes to serve.
fn served(life: &mut Life<Loaded>, now: u64, module: u8) {
    assert_eq!(
        done(life.step(at(now), Input::Found(wanted(module)))),
        [Act::Load(wanted(module))]
    );
    assert_eq!(
        done(life.step(at(now), Input::Loaded(Ok(loaded(module))))),
        [Act::Serve(loaded(module))]
    );
    assert_eq!(done(life.step(at(now), Input::Served(Ok(())))), []);
    assert_eq!(serving(life), Some(module));
}

fn serving(life: &Life<Loaded>) -> Option<u8> {
    life.serving.as_ref().map(|version| version.plugin.module)
}

fn trap(life: &mut Life<Loaded>, now: u64, module: u8) -> Vec<Act<Loaded>> {
    life.step(at(now), Input::Trouble(loaded(module).mark(), TroubleKind::Trapped))
}

#[test]
fn a_module_that_is_found_is_loaded_and_then_serves() {
    let mut life = life();
    assert_eq!(life.status(at(0)).state, LifeState::Waiting);
    assert_eq!(done(life.step(at(0), Input::Found(wanted(1)))), [Act::Load(wanted(1))]);
    assert_eq!(life.status(at(0)).state, LifeState::Loading);
    life.step(at(1), Input::Loaded(Ok(loaded(1))));
    let acts = life.step(at(2), Input::Served(Ok(())));
    assert_eq!(told(&acts), [What::Serving { instead_of: None }]);
    let status = life.status(at(10));
    assert_eq!(
        (status.state, status.serving_seconds, status.probation_seconds),
        (LifeState::Serving, Some(8), None)
    );
    assert_eq!(
        life.step(at(11), Input::Found(wanted(1))),
        [],
        "the same again is nothing new"
    );
}

#[test]
fn a_version_that_fails_a_step_leaves_the_one_before_it_serving_and_is_not_tried_again() {
    let mut life = life();
    served(&mut life, 0, 1);
    life.step(at(1), Input::Found(wanted(2)));
    let acts = life.step(at(1), Input::Loaded(Err(refusal(Step::Compile))));
    assert_eq!(
        told(&acts),
        [What::Refused {
            refusal: refusal(Step::Compile),
            old_serves: true
        }]
    );
    assert_eq!(done(acts), []);
    assert_eq!(serving(&life), Some(1));
    assert_eq!(life.status(at(1)).refusal, Some(refusal(Step::Compile)));
    assert_eq!(
        life.step(at(2), Input::Found(wanted(2))),
        [],
        "until the file or its configuration changes"
    );
    let other = wanted_with(2, &config(7));
    assert_eq!(done(life.step(at(3), Input::Found(other.clone()))), [Act::Load(other)]);
}

#[test]
fn a_file_that_can_not_be_taken_changes_nothing_but_the_status() {
    let mut life = life();
    served(&mut life, 0, 1);
    let acts = life.step(at(1), Input::Unfit(refusal(Step::Read)));
    assert_eq!((done(acts), serving(&life)), (vec![], Some(1)));
    assert_eq!(life.status(at(1)).refusal, Some(refusal(Step::Read)));
    assert_eq!(life.step(at(2), Input::Found(wanted(1))), []);
    assert_eq!(life.status(at(2)).refusal, None, "mended");
}

#[test]
fn a_module_that_is_too_long_to_be_read_is_told_without_a_hash() {
    let mut life = life();
    let unread = Wanted {
        module: Hash::UNREAD,
        ..wanted(1)
    };
    life.step(at(0), Input::Found(unread));
    assert_eq!(life.status(at(0)).candidate, None);
    let acts = life.step(at(1), Input::Loaded(Err(refusal(Step::Read))));
    let hash = |act: &Act<Loaded>| match act {
        Act::Tell(event) => Some(event.hash),
        _ => None,
    };
    assert_eq!(acts.iter().filter_map(hash).collect::<Vec<_>>(), [None]);
}

#[test]
fn what_is_left_of_a_plugin_whose_file_is_gone_is_told_as_that() {
    let mut life = life();
    served(&mut life, 0, 1);
    life.order(at(1), Order::Enable).unwrap();
    assert!(!life.status(at(1)).absent);
    life.step(at(2), Input::Gone);
    assert!(!life.status(at(2)).absent, "it drains yet");
    life.step(at(3), Input::Withdrawn);
    let status = life.status(at(3));
    assert_eq!((status.state, status.absent), (LifeState::Waiting, true));
    assert!(!life.is_over(), "the person's word is kept");
    life.step(at(4), Input::Found(wanted(1)));
    assert!(!life.status(at(4)).absent);
}

#[test]
fn a_change_while_another_is_loaded_has_its_turn_afterwards() {
    let mut life = life();
    life.step(at(0), Input::Found(wanted(1)));
    assert_eq!(life.step(at(1), Input::Found(wanted(2))), []);
    assert_eq!(
        done(life.step(at(2), Input::Loaded(Ok(loaded(1))))),
        [Act::Load(wanted(2))],
        "1 is passed over"
    );
}

#[test]
fn a_switch_that_waits_is_cut_for_something_newer_and_believed_where_it_ended_first() {
    for ended in [
        Ok(()),
        Err(NotServed {
            why: "cut".into(),
            mend: String::new(),
        }),
    ] {
        let mut life = life();
        served(&mut life, 0, 1);
        life.step(at(1), Input::Found(wanted(2)));
        life.step(at(1), Input::Loaded(Ok(loaded(2))));
        assert_eq!(life.step(at(2), Input::Found(wanted(3))), [Act::Cancel]);
        assert_eq!(life.step(at(2), Input::Found(wanted(4))), [], "cut once");
        let acts = life.step(at(3), Input::Served(ended.clone()));
        assert_eq!(serving(&life), Some(if ended.is_ok() { 2 } else { 1 }));
        assert_eq!(done(acts), [Act::Load(wanted(4))]);
        assert_eq!(life.status(at(3)).refusal, None, "nothing to complain of");
    }
}

#[test]
fn a_switch_that_fails_is_a_refusal_at_its_step() {
    let mut life = life();
    served(&mut life, 0, 1);
    life.step(at(1), Input::Found(wanted(2)));
    life.step(at(1), Input::Loaded(Ok(loaded(2))));
    life.step(
        at(2),
        Input::Served(Err(NotServed {
            why: "why".into(),
            mend: "mend".into(),
        })),
    );
    let refusal = life.status(at(2)).refusal.unwrap();
    assert_eq!((refusal.step, serving(&life)), (Step::Serve, Some(1)));
}

#[test]
fn a_file_that_is_gone_unloads_the_plugin_and_leaves_nothing_to_remember() {
    let mut life = life();
    served(&mut life, 0, 1);
    served(&mut life, 1, 2);
    assert_eq!(life.step(at(2), Input::Gone), [Act::Withdraw]);
    assert_eq!(life.status(at(2)).state, LifeState::Draining);
    // It comes back before it has drained: once it has.
    assert_eq!(life.step(at(3), Input::Found(wanted(3))), []);
    let acts = life.step(at(4), Input::Withdrawn);
    assert_eq!(told(&acts), [What::Unloaded]);
    assert_eq!(done(acts), [Act::Load(wanted(3))]);
    life.step(at(5), Input::Gone);
    life.step(at(5), Input::Loaded(Ok(loaded(3))));
    assert!(life.is_over());
}

#[test]
fn grants_that_are_taken_away_are_not_in_force_any_longer() {
    let mut life = life();
    served(&mut life, 0, 1);
    served(&mut life, 1, 2);
    let none = Arc::new(PluginConfig {
        grants: Some(Grants::default()),
        ..PluginConfig::default()
    });
    life.step(at(2), Input::Found(wanted_with(2, &none)));
    let acts = life.step(at(2), Input::Loaded(Err(refusal(Step::Grants))));
    assert!(told(&acts).contains(&What::Revoked));
    assert_eq!(done(acts), [Act::Withdraw]);
    life.step(at(3), Input::Withdrawn);
    assert_eq!(
        life.order(at(0), Order::Rollback),
        Err(OrderError::NoEarlier),
        "nor by an older version"
    );
}

#[test]
fn a_version_whose_grants_reach_further_than_the_present_ones_does_not_come_back() {
    let reaching = |weight| {
        let narrower = PluginConfig {
            weight,
            ..(*config(0)).clone()
        };
        Arc::new(narrower)
    };
    let with = |weight| Loaded {
        module: 1,
        config: reaching(weight),
    };
    let mut life = life();
    for (now, weight) in [(0, 3), (1, 1)] {
        life.step(at(now), Input::Found(wanted_with(1, &reaching(weight))));
        life.step(at(now), Input::Loaded(Ok(with(weight))));
        life.step(at(now), Input::Served(Ok(())));
    }
    assert_eq!(
        life.serving.as_ref().map(|version| version.plugin.config.weight),
        Some(1)
    );
    assert_eq!(life.order(at(2), Order::Rollback), Err(OrderError::NotGranted));
    let tripped = Input::Trouble(with(1).mark(), TroubleKind::Tripped);
    assert_eq!(life.step(at(3), tripped), [], "it serves on, with its breaker open");
    // Where the present ones can't be loaded, what reaches further does not serve on either.
    life.step(at(4), Input::Found(wanted_with(2, &reaching(0))));
    let acts = life.step(at(4), Input::Loaded(Err(refusal(Step::Read))));
    assert_eq!(done(acts), [Act::Withdraw]);
}

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

#[test]
fn a_version_at_hand_that_lies_in_the_directory_again_needs_no_loading() {
    let mut life = life();
    served(&mut life, 0, 1);
    served(&mut life, 1, 2);
    assert_eq!(done(life.step(at(2), Input::Found(wanted(1)))), [Act::Serve(loaded(1))]);
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

#[derive(Clone, Debug)]
enum Move {
    Found(u8, u8),
    Unfit,
    Gone,
    End(bool),
    Trouble(u8, u8),
    Order(u8, u8),
    Restart,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        3 => (0_u8..4, 0_u8..2).prop_map(|(module, config)| Move::Found(module, config)),
        1 => Just(Move::Unfit),
        1 => Just(Move::Gone),
        6 => prop::bool::weighted(0.7).prop_map(Move::End),
        2 => (0_u8..4, 0_u8..4).prop_map(|(module, kind)| Move::Trouble(module, kind)),
        1 => (0_u8..4, 0_u8..4).prop_map(|(order, module)| Move::Order(order, module)),
        1 => Just(Move::Restart),
    ];
    prop::collection::vec(one, 1..60)
}

proptest! {
    /// Whatever happens in whatever order: one thing is done at a time; only a switch that ended well changes what
    /// serves, and only draining takes it away; and once nothing more happens, it comes to rest.
    #[test]
    fn one_thing_at_a_time_and_only_a_good_switch_changes_what_serves(
        moves in moves(), stored in any::<bool>(), pace in prop_oneof![Just(20_u64), Just(100)],
    ) {
        let rules = Rules { stored, ..Rules::default() };
        let mut life = Life::new("p", rules);
        let mut doing: Option<Act<Loaded>> = None;
        let mut serves: Option<Loaded> = None;
        let mut now = 0;
        let finish = vec![Move::End(true); 9];
        for one in moves.into_iter().chain(finish) {
            now += pace;
            let input = match one {
                Move::Found(module, number) => Input::Found(wanted_with(module, &config(number))),
                Move::Unfit => Input::Unfit(refusal(Step::Read)),
                Move::Restart => {
                    life = match life.kept() {
                        Some(kept) => Life::restored("p", rules, kept),
                        None => Life::new("p", rules),
                    };
                    (doing, serves) = (None, None);
                    Input::Found(wanted_with(0, &config(0)))
                }
                Move::Gone => Input::Gone,
                Move::Trouble(module, kind) => {
                    let kind = [TroubleKind::Trapped, TroubleKind::Tripped, TroubleKind::Quarantined, TroubleKind::CacheFull { bytes: 2, most_mib: 0 }][usize::from(kind)];
                    Input::Trouble(loaded(module).mark(), kind)
                }
                Move::End(well) => match doing.take() {
                    None => continue,
                    Some(Act::Load(wanted) | Act::Revive(wanted)) => Input::Loaded(match well {
                        true => {
                            let module = (0..4).find(|module| hash(*module) == wanted.module).unwrap();
                            Ok(Loaded { module, config: wanted.config })
                        }
                        false => Err(refusal(Step::Describe)),
                    }),
                    Some(Act::Serve(plugin)) => Input::Served(match well {
                        true => { serves = Some(plugin); Ok(()) }
                        false => Err(NotServed { why: "why".into(), mend: "mend".into() }),
                    }),
                    Some(Act::Withdraw) => { serves = None; Input::Withdrawn }
                    Some(other) => panic!("{other:?} is nothing that lasts"),
                },
                Move::Order(order, module) => {
                    let order = [Order::Enable, Order::Disable, Order::Rollback, Order::Promote(hash(module))][usize::from(order)];
                    for act in done(life.order(at(now), order).unwrap_or_default()).into_iter().filter(|act| *act != Act::Release) {
                        prop_assert!(doing.replace(act).is_none(), "one thing at a time");
                    }
                    prop_assert_eq!(life.serving.as_ref().map(|version| &version.plugin), serves.as_ref());
                    continue;
                }
            };
            for act in done(life.step(at(now), input)) {
                if act == Act::Cancel {
                    prop_assert!(matches!(doing, Some(Act::Serve(_))), "only a switch is cut");
                } else {
                    prop_assert!(doing.replace(act).is_none(), "one thing at a time");
                }
            }
            prop_assert_eq!(life.serving.as_ref().map(|version| &version.plugin), serves.as_ref());
            prop_assert!(life.previous.len() <= 2 + usize::from(life.resumes) && life.rejected.len() <= 16);
            // Nothing of what is gone is in memory, and what is kept of it for a moment has an end.
            if life.is_over() {
                prop_assert!(life.previous.iter().all(|past| past.plugin.is_none()));
                prop_assert_eq!(life.due().is_some(), !life.previous.is_empty());
            }
        }
        prop_assert!(doing.is_none(), "it comes to rest: {:?}", doing);
    }
}

#[test]
fn another_concurrency_is_in_force_at_once_and_no_other_version() {
    let with = |controller: &str, concurrency: u32| {
        let own = ControllerOverrides {
            concurrency: Some(Concurrency::Fixed(concurrency)),
            ..ControllerOverrides::default()
        };
        let config = PluginConfig {
            controllers: [(controller.to_owned(), own)].into(),
            ..(*config(0)).clone()
        };
        wanted_with(1, &Arc::new(config))
    };
    let mut life = life();
    served(&mut life, 0, 1);
    let mark = life.serving.as_ref().unwrap().plugin.mark();
    for concurrency in [4, 5] {
        let wanted = with("c", concurrency);
        let adjusted = Loaded {
            module: 1,
            config: wanted.config.clone(),
        };
        assert_eq!(life.step(at(1), Input::Found(wanted.clone())), [Act::Adjust(adjusted)]);
        assert_eq!(life.step(at(2), Input::Found(wanted)), [], "it is so");
        assert_eq!(life.serving.as_ref().unwrap().plugin.mark(), mark);
    }
    let unknown = with("d", 4);
    assert_eq!(
        life.step(at(3), Input::Found(unknown.clone())),
        [Act::Load(unknown)],
        "loading tells that there is no such controller"
    );
}

#[test]
fn a_plugin_that_the_caches_hold_too_much_for_is_unloaded_until_it_may_have_more() {
    let full = |module: u8| {
        let what = TroubleKind::CacheFull {
            bytes: (512 << 20) + 1,
            most_mib: 512,
        };
        Input::Trouble(wanted(module).mark(), what)
    };
    let mut life = life();
    served(&mut life, 0, 1);
    served(&mut life, 1, 2);
    assert_eq!(life.step(at(2), full(1)), [], "an older one's, that drains");
    let acts = life.step(at(2), full(2));
    assert!(matches!(&told(&acts)[0], What::Refused { refusal, .. }
        if refusal.to_string().contains("hold 513 MiB") && refusal.to_string().contains("budget.cacheMiB")));
    assert_eq!(done(acts), [Act::Withdraw]);
    assert_eq!(life.step(at(3), full(2)), [], "it goes already");
    life.step(at(4), Input::Withdrawn);
    assert_eq!(serving(&life), None);
    assert_eq!(life.step(at(5), Input::Found(wanted(2))), [], "nothing has changed");
    let more = wanted_with(2, &config(7));
    assert_eq!(life.step(at(6), Input::Found(more.clone())), [Act::Load(more)]);
}

/// The host ends, in whatever way, and another begins with what was kept.
fn restarted(life: &Life<Loaded>) -> Life<Loaded> {
    restarted_with(life, Rules::default())
}

fn restarted_with(life: &Life<Loaded>, rules: Rules) -> Life<Loaded> {
    match life.kept() {
        Some(kept) => Life::restored("p", rules, kept),
        None => Life::new("p", rules),
    }
}

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

const DAY: u64 = 24 * 60 * 60;

/// Whose versions lie in a state directory, or don't.
fn life_of(stored: bool) -> Life<Loaded> {
    let rules = Rules {
        stored,
        ..Rules::default()
    };
    Life::new("p", rules)
}

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
