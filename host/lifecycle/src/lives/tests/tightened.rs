//! Limits that the operator lowers, and what a rollback makes of them.

use super::*;
use crate::config::LimitOverrides;

/// The operator's words with this wall time, and this configuration of the plugin's own.
fn walled(wall_ms: u32, own: u8) -> Arc<PluginConfig> {
    let limits = LimitOverrides {
        wall_ms: Some(wall_ms),
        ..LimitOverrides::default()
    };
    Arc::new(PluginConfig {
        limits,
        ..(*config(own)).clone()
    })
}

/// It comes to serve.
fn serve(life: &mut Life<Loaded>, now: u64, module: u8, config: &Arc<PluginConfig>) {
    life.step(at(now), Input::Found(wanted_with(module, config)));
    let config = config.clone();
    let plugin = Loaded { module, config };
    if life.is_busy() {
        life.step(at(now), Input::Loaded(Ok(plugin.clone())));
        life.step(at(now), Input::Served(Ok(())));
    }
    assert_eq!(life.serving.as_ref().map(|own| &own.plugin), Some(&plugin));
}

/// Whether this much trouble brings another version back.
fn is_rolled_back(life: &mut Life<Loaded>, now: u64) -> bool {
    let mark = life.serving.as_ref().unwrap().plugin.mark();
    let mut done = Vec::new();
    for kind in [
        TroubleKind::Trapped,
        TroubleKind::Trapped,
        TroubleKind::Trapped,
        TroubleKind::Tripped,
    ] {
        done.extend(super::done(life.step(at(now), Input::Trouble(mark, kind))));
    }
    !done.is_empty()
}

#[test]
fn a_limit_that_the_operator_lowered_is_not_raised_again_by_a_rollback() {
    let mut life = life();
    serve(&mut life, 0, 1, &walled(30_000, 0));
    serve(&mut life, 1, 1, &walled(1_000, 0));
    assert_eq!(life.status(at(1)).probation_seconds, None, "the module is what it was");
    assert!(!is_rolled_back(&mut life, 2));
    assert!(life.status(at(2)).rejected.is_empty());
    let mark = life.serving.as_ref().unwrap().plugin.mark();
    let acts = life.step(at(3), Input::Trouble(mark, TroubleKind::Quarantined));
    assert_eq!(told(&acts), [What::Quarantined], "its breaker is what holds it");

    life.order(at(4), Order::Rollback).unwrap();
    life.step(at(4), Input::Served(Ok(())));
    assert_eq!(
        life.serving.as_ref().map(|own| own.wanted.config.limits.wall_ms),
        Some(Some(30_000)),
        "a person may"
    );
}

#[test]
fn a_limit_that_was_lowered_while_the_plugin_or_the_host_did_not_run_is_not_raised_again_either() {
    let mut life = life_of(true);
    serve(&mut life, 0, 1, &walled(30_000, 0));
    let mut after = restarted_with(&life, life.rules);
    serve(&mut after, 1, 1, &walled(1_000, 0));
    assert!(!is_rolled_back(&mut after, 2));

    life.order(at(1), Order::Disable).unwrap();
    life.step(at(1), Input::Withdrawn);
    life.step(at(2), Input::Found(wanted_with(1, &walled(1_000, 0))));
    life.order(at(3), Order::Enable).unwrap();
    serve(&mut life, 3, 1, &walled(1_000, 0));
    assert!(!is_rolled_back(&mut life, 4));
}

#[test]
fn another_module_and_another_configuration_are_on_probation_whatever_limits_were_lowered_before() {
    for (module, config) in [(2, walled(1_000, 0)), (1, walled(30_000, 7)), (1, walled(60_000, 0))] {
        let mut life = life();
        serve(&mut life, 0, 1, &walled(30_000, 0));
        serve(&mut life, 1, module, &config);
        assert!(is_rolled_back(&mut life, 2), "{module} with {config:?}");
    }
    let mut life = life();
    serve(&mut life, 0, 1, &walled(30_000, 0));
    serve(&mut life, 1, 1, &walled(1_000, 0));
    serve(&mut life, 2, 1, &walled(1_000, 7));
    assert!(is_rolled_back(&mut life, 3));
    life.step(at(4), Input::Served(Ok(())));
    let back = life.serving.as_ref().map(|own| own.wanted.config.clone());
    assert_eq!(back, Some(walled(1_000, 0)), "with the limit that was lowered");
}
