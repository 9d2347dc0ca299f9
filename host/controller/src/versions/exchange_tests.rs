//! What becomes of keys when a plugin's versions change places or go: as `wake_tests`.

use std::time::Duration;

use pilothouse_object::{Gvk, Key, Version};
use pilothouse_workqueue::{Limit, QueueConfig};
use serde_json::Value;

use crate::{
    Job, Verdict, Waker,
    parked::{Heard, keeping::Identity},
    versions::{exchange::Succession, tenure::Meanwhile},
    waking::wake_tests::{CONFIG_MAPS, WIDGETS, World, key, object, park},
};

/// Another version takes over, and runs.
fn switch(world: &mut World) {
    switch_to(world, &|_| true, false);
}

fn switch_to(world: &mut World, sees: &dyn Fn(&Key) -> bool, other_kind: bool) {
    let new = Succession {
        sees,
        other_kind,
        by: Waker::NewModule,
        keeping: None,
    };
    world.dispatcher.succeed(world.now, &world.id, new);
    world.dispatcher.start(&world.id);
}

/// One whose only key went well and has nothing more to do.
fn rested() -> World {
    let mut world = World::new();
    world.run(&Verdict::Done);
    assert!(!world.runs());
    world
}

fn begin(world: &mut World) -> Job {
    world.event(WIDGETS, "MODIFIED", &object(11, &Value::Null));
    world.dispatcher.next(world.now).expect("it changed")
}

fn end(world: &mut World, job: &Job, verdict: &Verdict) -> bool {
    let mut rng = fastrand::Rng::with_seed(1);
    world.dispatcher.finished(world.now, &mut rng, job, verdict).parked
}

fn retry() -> Verdict {
    Verdict::Retry { reason: "no".into() }
}

#[test]
fn a_key_in_work_on_the_old_version_waits_for_it_and_then_runs_on_the_new_one() {
    let mut world = rested();
    let job = begin(&mut world);
    switch(&mut world);
    world.event(WIDGETS, "MODIFIED", &object(12, &Value::Null));
    assert!(world.dispatcher.next(world.now).is_none(), "one version at a time");
    end(&mut world, &job, &Verdict::Done);
    assert_eq!(world.why().unwrap(), "woken by a new module");
}

#[test]
fn a_key_that_waits_goes_to_the_new_version_with_its_cause() {
    let mut world = rested();
    world.event(WIDGETS, "MODIFIED", &object(11, &Value::Null));
    switch(&mut world);
    assert_eq!(world.why().unwrap(), "Widget ns/a updated");
}

#[test]
fn failures_stay_counted_and_delays_stay_as_they_are() {
    let mut world = World::new();
    let after = world.run(&retry()).again_after.expect("it is tried again");
    let due = world.dispatcher.next_due();
    // The new version may have more keys in work, and waits longer for the next attempt.
    let limits = Limit::Exponential {
        base: Duration::from_secs(60),
        cap: Duration::from_secs(60),
        jitter: false,
    };
    world.dispatcher.register(world.id.clone(), 2, limits);
    switch(&mut world);
    assert_eq!(world.dispatcher.next_due(), due, "what is delayed keeps its time");
    world.now += after;
    let job = world.dispatcher.next(world.now).expect("its time has come");
    assert_eq!(job.taken.attempt, 2);
    let mut rng = fastrand::Rng::with_seed(1);
    let finished = world.dispatcher.finished(world.now, &mut rng, &job, &retry());
    assert_eq!(
        finished.again_after,
        Some(Duration::from_secs(60)),
        "the new bounds hold"
    );
}

#[test]
fn a_key_that_failed_runs_on_the_new_version_at_once_where_its_lists_hold_it_and_counts_on() {
    let mut world = World::new();
    world.run(&retry());
    switch(&mut world);
    let id = world.id.clone();
    world
        .dispatcher
        .hand_over(world.now, &id, key(), Waker::NewModule, false);
    let job = world.dispatcher.next(world.now).expect("handed over");
    assert_eq!(job.taken.attempt, 2);
}

#[test]
fn a_parked_key_gets_a_new_chance() {
    let mut world = World::new();
    assert!(world.run(&park()).parked && !world.runs());
    switch(&mut world);
    assert_eq!(world.why().unwrap(), "woken by a new module");
    assert!(!world.runs(), "one chance, and it is parked again");
}

#[test]
fn what_the_old_version_parks_after_the_switch_gets_a_chance_on_the_new_one() {
    let mut world = rested();
    let job = begin(&mut world);
    switch(&mut world);
    assert!(!end(&mut world, &job, &park()));
    assert!(world.runs());
}

#[test]
fn what_the_new_version_has_parked_is_not_tried_again_by_its_own_first_lists() {
    let mut world = World::new();
    switch(&mut world);
    assert!(world.run(&park()).parked);
    let id = world.id.clone();
    world
        .dispatcher
        .hand_over(world.now, &id, key(), Waker::NewModule, false);
    assert!(!world.runs());
}

#[test]
fn keys_that_the_new_version_does_not_see_are_dropped_and_so_are_all_where_it_reconciles_another_kind() {
    for (sees, other_kind) in [(false, false), (true, true)] {
        for state in ["waiting", "delayed", "parked"] {
            let mut world = World::new();
            match state {
                "delayed" => _ = world.run(&retry()),
                "parked" => _ = world.run(&park()),
                _ => {}
            }
            switch_to(&mut world, &|_| sees, other_kind);
            world.now += Duration::from_secs(1_000_000);
            assert!(!world.runs(), "{state}");
            let (_, queue) = world.dispatcher.queues().next().unwrap();
            assert_eq!(queue.entries().count(), 0, "{state}: nothing is known of it");
        }
    }
}

#[test]
fn what_an_old_run_asks_for_beyond_the_new_view_is_ended_without_a_run() {
    let mut world = rested();
    let job = begin(&mut world);
    switch_to(&mut world, &|_| false, false);
    end(&mut world, &job, &Verdict::RequeueAfter(Duration::from_secs(1)));
    world.now += Duration::from_secs(1);
    let job = world.dispatcher.next(world.now).expect("the old run asked for it");
    world.dispatcher.skip(world.now, &job);
    assert!(!world.runs());
    assert_eq!(
        (world.dispatcher.in_work(), world.dispatcher.running(&world.id)),
        (0, 0)
    );
}

#[test]
fn a_retired_controller_begins_nothing_and_is_gone_when_its_last_run_ends() {
    let mut world = rested();
    let job = begin(&mut world);
    world.event(WIDGETS, "MODIFIED", &object(12, &Value::Null));
    let id = world.id.clone();
    world.dispatcher.retire(&id);
    assert!(world.dispatcher.next(world.now).is_none());
    assert_eq!(world.dispatcher.remove_retired(&id.plugin), (vec![], false), "it works");
    end(&mut world, &job, &retry());
    world.now += Duration::from_secs(1_000_000);
    assert!(
        world.dispatcher.next(world.now).is_none(),
        "nor is what failed tried again"
    );
    assert!(world.dispatcher.is_idle());
    assert_eq!(world.dispatcher.remove_retired(&id.plugin), (vec![id.clone()], true));
    assert_eq!(world.dispatcher.queues().count(), 0);
    assert_eq!((world.dispatcher.running(&id), world.dispatcher.next_due()), (0, None));
    assert_eq!(world.dispatcher.concurrency(&id), None, "no turns are kept for it");
}

#[test]
fn a_retired_controller_that_comes_back_waits_for_the_run_that_is_left() {
    let mut world = rested();
    let job = begin(&mut world);
    let id = world.id.clone();
    world.dispatcher.retire(&id);
    world.dispatcher.register(id.clone(), 1, QueueConfig::default());
    switch(&mut world);
    assert!(world.dispatcher.next(world.now).is_none(), "one version at a time");
    assert_eq!(world.dispatcher.remove_retired(&id.plugin), (vec![], false));
    end(&mut world, &job, &Verdict::Done);
    assert!(world.runs());
}

#[test]
fn what_is_parked_after_a_switch_is_kept_as_the_new_versions() {
    let identity = |module: &str| Identity {
        kind: Gvk::new("ex.io", "v1", "Widget"),
        module: module.into(),
        configuration: "c".into(),
    };
    let mut world = World::unlisted(&serde_json::json!([]));
    let id = world.id.clone();
    world.dispatcher.keep(&id, identity("old"));
    world.list(WIDGETS, 10, &[object(5, &Value::Null)]);
    world.list(CONFIG_MAPS, 10, &[object(6, &Value::Null)]);
    let new = Succession {
        sees: &|_| true,
        other_kind: false,
        by: Waker::NewModule,
        keeping: Some((identity("new"), Heard::default())),
    };
    world.dispatcher.succeed(world.now, &id, new);
    world.dispatcher.start(&id);
    assert!(world.run(&park()).parked);
    let kept = world.dispatcher.kept();
    let modules: Vec<&str> = kept.records.iter().map(|record| &*record.module).collect();
    assert_eq!(modules, ["new"]);
}

#[test]
fn a_version_that_comes_remembers_what_its_lists_and_later_changes_map_to_and_asks_for_nothing() {
    let world = rested();
    let intake = &world.windows[WIDGETS].intake;
    let delta = |name: &str, version: &str| pilothouse_informer::Delta {
        key: Key::new(Some("ns"), name),
        old: None,
        new: None,
        last: None,
        initial: false,
        final_state_unknown: false,
        version: Version::new(version),
    };
    let (first, second) = (delta("a", "7"), delta("b", "9"));
    let mut meanwhile = Meanwhile::default();
    meanwhile.take(intake, &[(&first, vec![key()])]);
    meanwhile.take(intake, &[(&second, vec![key()]), (&second, vec![])]);
    assert_eq!(Vec::from_iter(meanwhile.keys), [key()]);
    let heard = |version: &str| meanwhile.heard.has(&intake.window, Some("ns"), &Version::new(version));
    assert_eq!((heard("9"), heard("10")), (true, false));
    assert!(world.dispatcher.is_idle());
}
