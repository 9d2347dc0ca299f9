//! A plugin's life as what is done for it: loads, switches and refusals, with what all these tests share. By subject:
//! `probation`, `persons`, `restarts`, `absence`, `grants`, `tightened`, `crowded`; `any_order` is a property.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

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

mod absence;
mod any_order;
mod crowded;
mod grants;
mod persons;
mod probation;
mod restarts;
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
fn a_version_at_hand_that_lies_in_the_directory_again_needs_no_loading() {
    let mut life = life();
    served(&mut life, 0, 1);
    served(&mut life, 1, 2);
    assert_eq!(done(life.step(at(2), Input::Found(wanted(1)))), [Act::Serve(loaded(1))]);
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

/// Whose versions lie in a state directory, or don't.
fn life_of(stored: bool) -> Life<Loaded> {
    let rules = Rules {
        stored,
        ..Rules::default()
    };
    Life::new("p", rules)
}
