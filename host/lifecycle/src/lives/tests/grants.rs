//! What the operator grants and sets while a version serves.

use super::*;

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

/// The module with grants that reach so far; it serves.
fn reaches(life: &mut Life<Loaded>, now: u64, module: u8, weight: u32) {
    let config = Arc::new(PluginConfig {
        weight,
        ..(*config(0)).clone()
    });
    life.step(at(now), Input::Found(wanted_with(module, &config)));
    life.step(at(now), Input::Loaded(Ok(Loaded { module, config })));
    life.step(at(now), Input::Served(Ok(())));
    assert_eq!(serving(life), Some(module));
}

#[test]
fn nobody_promotes_a_version_past_the_grants_of_now() {
    let mut life = life();
    reaches(&mut life, 0, 1, 3);
    reaches(&mut life, 1, 2, 1);
    assert_eq!(life.order(at(2), Order::Promote(hash(1))), Err(OrderError::NotGranted));
    let status = life.status(at(2));
    assert_eq!(
        (serving(&life), status.rejected.len()),
        (Some(2), 0),
        "nothing has changed"
    );
}

#[test]
fn a_version_that_reaches_further_than_what_is_loaded_after_it_is_at_hand_no_longer() {
    let mut life = life();
    reaches(&mut life, 0, 1, 3);
    reaches(&mut life, 1, 2, 1);
    assert_eq!(life.status(at(1)).previous.len(), 1, "it served until just now");
    for well in [true, false] {
        let mut life = life.clone();
        let config = life.serving.as_ref().unwrap().plugin.config.clone();
        life.step(at(2), Input::Found(wanted_with(3, &config)));
        let result = well.then_some(Loaded { module: 3, config });
        life.step(at(2), Input::Loaded(result.ok_or_else(|| refusal(Step::Describe))));
        assert_eq!(life.status(at(2)).previous, [], "loaded: {well}");
    }
}
