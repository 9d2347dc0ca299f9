//! What stays parked over a restart and what is tried again: as `wake_tests`, with what one host kept handed to the
//! next, through the file's text.

use std::time::Duration;

use pilothouse_object::{Key, Version};
use serde_json::{Value, json};

use crate::{
    Verdict,
    parked::{Kept, Stood, keeping::Identity, text},
    waking::provenance::Mark,
    waking::wake_tests::{CONFIG_MAPS, WIDGETS, World, key, object, park},
};

fn identity(module: &str, configuration: &str) -> Identity {
    Identity {
        kind: pilothouse_object::Gvk::new("ex.io", "v1", "Widget"),
        module: module.into(),
        configuration: configuration.into(),
    }
}

/// A host that starts with what another one kept; its lists have not come.
fn starting(kept: Kept, identity: Identity) -> World {
    let mut world = World::unlisted(&json!([]));
    world.now = Duration::from_secs(1_000_000);
    world.dispatcher.expect(world.now, kept);
    world.dispatcher.keep(&world.id, identity);
    world
}

/// Its first lists come, and it starts.
fn listed(world: World, widgets: &[Value], config_maps: &[Value]) -> World {
    listed_at(100, world, widgets, config_maps)
}

fn listed_at(version: u64, mut world: World, widgets: &[Value], config_maps: &[Value]) -> World {
    world.list(WIDGETS, version, widgets);
    world.list(CONFIG_MAPS, version, config_maps);
    world.dispatcher.returned(world.now, &world.id, |_| true);
    world.dispatcher.start(&world.id);
    world
}

/// The file that this host leaves behind, read by the next one.
fn kept(world: &mut World) -> Kept {
    let kept = world.dispatcher.kept();
    let (text, left_out) = text::write(&kept, world.now);
    assert_eq!(left_out, 0);
    let read = text::read(text.as_bytes()).expect("what was written is read");
    assert_eq!(read, kept);
    read
}

fn widget() -> Value {
    object(5, &Value::Null)
}

fn config_map() -> Value {
    object(6, &Value::Null)
}

/// A host that has a Widget `a` at version 5, and a ConfigMap at version 6 that maps to it.
fn unparked() -> World {
    let world = starting(Kept::default(), identity("m", "c"));
    listed_at(10, world, &[widget()], &[config_map()])
}

/// The same, and `a` is parked.
fn first() -> World {
    let mut world = unparked();
    assert!(world.run(&park()).parked);
    world
}

fn restart(world: &mut World, widgets: &[Value], config_maps: &[Value]) -> World {
    listed(starting(kept(world), identity("m", "c")), widgets, config_maps)
}

#[test]
fn a_key_whose_object_did_not_change_stays_parked_over_a_restart_as_it_stood() {
    let mut world = first();
    let before = world.dispatcher.kept();
    let mut again = restart(&mut world, &[widget()], &[config_map()]);
    assert!(!again.runs());
    again.now += Duration::from_secs(1_000_000);
    assert!(!again.runs());
    assert_eq!(again.dispatcher.kept().records, before.records);
    let record = &before.records[0];
    assert_eq!((record.attempts, &*record.reason), (1, "Invalid: no"));
    assert_eq!((record.since, record.errors.len()), (Duration::from_secs(1_000_000), 1));
    let stood = Stood {
        uid: "u".into(),
        version: Version::new("5"),
    };
    assert_eq!(record.object, Some(stood));
    let mut third = restart(&mut again, &[widget()], &[config_map()]);
    assert!(!third.runs(), "nor after one more");
}

#[test]
fn a_key_that_stayed_parked_is_woken_by_later_changes() {
    let mut again = restart(&mut first(), &[widget()], &[config_map()]);
    again.event(CONFIG_MAPS, "MODIFIED", &object(101, &Value::Null));
    assert!(again.runs());
    let mut again = restart(&mut first(), &[widget()], &[config_map()]);
    again.event(WIDGETS, "DELETED", &object(101, &Value::Null));
    assert!(again.runs());
}

#[test]
fn a_key_whose_object_changed_while_no_host_ran_is_tried_again() {
    let changed = object(55, &Value::Null);
    let mut again = restart(&mut first(), &[changed], &[config_map()]);
    assert_eq!(again.why().unwrap(), "Widget ns/a found");
}

#[test]
fn a_key_whose_object_was_made_anew_is_tried_again_whatever_its_version() {
    for version in [4, 5, 55] {
        let anew = object(version, &json!({"uid": "another"}));
        let mut again = restart(&mut first(), &[anew], &[config_map()]);
        assert!(again.runs(), "at version {version}");
    }
}

#[test]
fn a_key_whose_server_was_set_back_is_tried_again() {
    let earlier = object(4, &Value::Null);
    assert!(restart(&mut first(), &[earlier], &[config_map()]).runs());
}

#[test]
fn a_key_whose_object_went_while_no_host_ran_is_tried_again() {
    let mut again = restart(&mut first(), &[], &[config_map()]);
    assert_eq!(
        again.why().unwrap(),
        "woken by the object's deletion while it was not watched"
    );
}

#[test]
fn a_key_that_was_parked_on_nothing_stays_so_until_there_is_an_object() {
    let mut world = first();
    world.event(WIDGETS, "DELETED", &object(11, &Value::Null));
    assert!(world.run(&park()).parked);
    let mut again = restart(&mut world, &[], &[config_map()]);
    assert!(!again.runs());
    let mut third = restart(&mut again, &[object(12, &Value::Null)], &[config_map()]);
    assert!(third.runs());
}

#[test]
fn an_object_of_another_kind_that_changed_or_came_while_no_host_ran_wakes_the_key_it_maps_to() {
    let mut again = restart(&mut first(), &[widget()], &[object(55, &Value::Null)]);
    assert_eq!(again.why().unwrap(), "ConfigMap ns/a found [same-name]");

    let mut world = listed_at(10, starting(Kept::default(), identity("m", "c")), &[widget()], &[]);
    world.run(&park());
    assert!(!restart(&mut world, &[widget()], &[]).runs());
    assert!(restart(&mut world, &[widget()], &[config_map()]).runs());
}

/// What is gone is in no list: stated among what is not promised.
#[test]
fn an_object_of_another_kind_that_went_while_no_host_ran_wakes_nothing() {
    assert!(!restart(&mut first(), &[widget()], &[]).runs());
}

#[test]
fn what_the_plugin_wrote_itself_after_it_parked_the_key_is_no_change() {
    let mut world = first();
    world.wrote(WIDGETS, 11, "p");
    world.event(WIDGETS, "MODIFIED", &object(11, &Value::Null));
    world.wrote(CONFIG_MAPS, 12, "p");
    world.event(CONFIG_MAPS, "MODIFIED", &object(12, &Value::Null));
    let (widgets, config_maps) = ([object(11, &Value::Null)], [object(12, &Value::Null)]);
    assert!(!restart(&mut world, &widgets, &config_maps).runs());
}

#[test]
fn another_module_or_configuration_has_every_key_tried_again_once() {
    for (module, configuration, why) in [
        ("another", "c", "woken by a new module"),
        ("m", "another", "woken by new configuration"),
    ] {
        // Also where no list would ask for it.
        let mut world = first();
        world.event(WIDGETS, "DELETED", &object(11, &Value::Null));
        assert!(world.run(&park()).parked);
        let starts = starting(kept(&mut world), identity(module, configuration));
        let mut again = listed(starts, &[], &[]);
        assert_eq!(again.why().unwrap(), why);
        assert!(!again.runs(), "once");
    }
}

#[test]
fn a_key_that_the_controller_does_not_see_any_more_is_not_tried_again() {
    let mut world = first();
    let mut again = starting(kept(&mut world), identity("another", "c"));
    again.dispatcher.returned(again.now, &again.id, |_| false);
    again.dispatcher.start(&again.id);
    assert!(!again.runs());
}

#[test]
fn versions_that_do_not_compare_leave_a_key_parked_only_if_they_are_the_same() {
    let odd = |version: &str| {
        let mut odd = widget();
        odd["metadata"]["resourceVersion"] = version.into();
        odd
    };
    let mut world = listed_at(10, starting(Kept::default(), identity("m", "c")), &[odd("x1")], &[]);
    assert!(world.run(&park()).parked);
    assert!(!restart(&mut world, &[odd("x1")], &[]).runs());
    assert!(restart(&mut world, &[odd("x0")], &[]).runs());
    assert!(restart(&mut world, &[odd("7")], &[]).runs());
}

#[test]
fn a_change_that_comes_while_the_host_stops_is_for_the_next_one() {
    for window in [WIDGETS, CONFIG_MAPS] {
        let mut world = first();
        world.dispatcher.shut_down();
        world.event(window, "MODIFIED", &object(11, &Value::Null));
        let mut now = [widget(), config_map()];
        now[window] = object(11, &Value::Null);
        let [widgets, config_maps] = now;
        assert!(restart(&mut world, &[widgets], &[config_maps]).runs());
    }
}

#[test]
fn a_change_during_the_last_run_of_a_host_that_stops_is_for_the_next_one() {
    let mut world = listed(
        starting(Kept::default(), identity("m", "c")),
        &[widget()],
        &[config_map()],
    );
    let finished = world.run_while(&park(), |world| {
        world.dispatcher.shut_down();
        world.event(CONFIG_MAPS, "MODIFIED", &object(11, &Value::Null));
    });
    assert!(finished.parked, "it can't be run any more");
    assert!(restart(&mut world, &[widget()], &[object(11, &Value::Null)]).runs());
}

#[test]
fn a_change_of_which_it_is_not_known_yet_whose_it_is_counts_as_one() {
    let mut world = first();
    let kind = world.windows[CONFIG_MAPS].intake.kind.clone();
    world.provenance.sends(&kind, &key(), &"p".into(), None);
    world.event(CONFIG_MAPS, "MODIFIED", &object(11, &Value::Null));
    assert!(!world.runs());
    assert!(restart(&mut world, &[widget()], &[object(11, &Value::Null)]).runs());

    // The same where it comes while the key is in work.
    let mut world = listed(
        starting(Kept::default(), identity("m", "c")),
        &[widget()],
        &[config_map()],
    );
    world.run_while(&park(), |world| {
        world.provenance.sends(&kind, &key(), &"p".into(), None);
        world.event(CONFIG_MAPS, "MODIFIED", &object(11, &Value::Null));
    });
    assert!(restart(&mut world, &[widget()], &[object(11, &Value::Null)]).runs());
}

#[test]
fn a_host_that_ends_before_its_lists_came_leaves_what_it_found() {
    let mut world = first();
    let mut between = starting(kept(&mut world), identity("m", "c"));
    let left = kept(&mut between);
    assert_eq!(left, world.dispatcher.kept());
    assert!(!listed(starting(left, identity("m", "c")), &[widget()], &[config_map()]).runs());

    // Also of a key that it would have tried again.
    let mut between = starting(kept(&mut world), identity("another", "c"));
    let left = kept(&mut between);
    assert_eq!(left, world.dispatcher.kept());
}

#[test]
fn a_key_that_is_not_parked_any_more_is_not_kept() {
    let mut world = first();
    let changes = world.dispatcher.parked_changes();
    assert!(world.dispatcher.wake(world.now, &world.id, &key()));
    assert!(world.dispatcher.kept().records.is_empty() && world.dispatcher.parked_changes() > changes);
    let changes = world.dispatcher.parked_changes();
    world.run(&Verdict::Done);
    assert_eq!(world.dispatcher.parked_changes(), changes, "nothing new to write");
    assert!(world.dispatcher.kept().records.is_empty());
}

#[test]
fn a_key_that_was_parked_without_an_attempt_is_not_kept() {
    let mut world = first();
    world.dispatcher.parked_on(&world.id, &key(), None);
    assert!(world.dispatcher.kept().records.is_empty());
}

#[test]
fn everything_that_parks_or_wakes_is_worth_a_write_and_nothing_else() {
    let mut world = first();
    let mut last = world.dispatcher.parked_changes();
    let mut moved = |world: &World| {
        let now = world.dispatcher.parked_changes();
        std::mem::replace(&mut last, now) != now
    };
    world.wrote(WIDGETS, 11, "p");
    world.event(WIDGETS, "MODIFIED", &object(11, &Value::Null));
    assert!(!moved(&world), "an own write");
    world.event(WIDGETS, "MODIFIED", &object(12, &Value::Null));
    assert!(moved(&world), "woken");
    world.event(WIDGETS, "MODIFIED", &object(13, &Value::Null));
    assert!(!moved(&world), "awake already");
    world.run(&park());
    assert!(moved(&world), "parked");
}

#[test]
fn keys_are_kept_in_the_order_in_which_they_were_parked() {
    let mut world = first();
    let other = Key::new(Some("ns"), "0");
    let cause = crate::Cause::new(crate::What::Resync, None);
    world.now += Duration::from_secs(1);
    world
        .dispatcher
        .add(world.now, &world.id, other.clone(), 0, cause, true);
    let job = world.dispatcher.next(world.now).unwrap();
    let mut rng = fastrand::Rng::with_seed(1);
    assert!(world.dispatcher.finished(world.now, &mut rng, &job, &park()).parked);
    world.dispatcher.parked_on(&world.id, &other, Some(None));
    let keys: Vec<Key> = world.dispatcher.kept().records.into_iter().map(|r| r.key).collect();
    assert_eq!(keys, [key(), other]);
}

#[test]
fn a_removal_by_the_plugin_itself_is_heard_of_too() {
    let mut world = first();
    world.did(CONFIG_MAPS, Mark::Gone("u".into()), "p");
    world.event(CONFIG_MAPS, "DELETED", &object(11, &Value::Null));
    world.wrote(CONFIG_MAPS, 12, "p");
    let anew = object(12, &json!({"uid": "another"}));
    world.event(CONFIG_MAPS, "ADDED", &anew);
    assert_eq!(restart(&mut world, &[widget()], &[anew]).why(), None);
}

#[test]
fn no_more_parked_keys_are_copied_than_are_written_and_the_oldest_are() {
    let template = first().dispatcher.kept().records.remove(0);
    let all: Vec<_> = (0..crate::parked::MAX_KEYS + 3)
        .map(|n| crate::parked::Record {
            key: Key::new(Some("ns"), &format!("k{n:06}")),
            // The other way round than the names go.
            since: Duration::from_secs(1_000_000 - n as u64),
            ..template.clone()
        })
        .collect();
    let file = Kept {
        records: all.clone(),
        ..Kept::default()
    };
    let mut world = starting(file, identity("m", "c"));
    let kept = world.dispatcher.kept();
    let oldest: Vec<_> = all.iter().rev().take(crate::parked::MAX_KEYS).cloned().collect();
    assert!(kept.records == oldest);
    assert_eq!((kept.no_room, text::write(&kept, world.now).1), (3, 3));
}

/// A host whose plugin has not come, with what this one kept.
fn without(world: &mut World) -> World {
    let mut next = World::unlisted(&json!([]));
    next.now = world.now;
    next.dispatcher.expect(next.now, kept(world));
    next
}

/// The plugin is unloaded while the host runs, and comes back.
fn away_and_back(world: &mut World, identity: Identity, widgets: &[Value], config_maps: &[Value]) -> World {
    world.dispatcher.set_aside(&world.id);
    world.dispatcher.retire(&world.id);
    world.dispatcher.remove_retired(&world.id.plugin);
    let mut back = World::unlisted(&json!([]));
    back.now = world.now;
    back.dispatcher.absent = std::mem::take(&mut world.dispatcher.absent);
    back.dispatcher.keep(&back.id, identity);
    listed(back, widgets, config_maps)
}

#[test]
fn the_keys_of_a_plugin_that_goes_and_comes_back_as_it_was_stay_parked() {
    let mut world = first();
    let before = world.dispatcher.kept();
    let mut back = away_and_back(&mut world, identity("m", "c"), &[widget()], &[config_map()]);
    assert!(!back.runs());
    assert_eq!(back.dispatcher.kept().records, before.records, "as they stood");
    let mut again = away_and_back(&mut back, identity("m", "c"), &[widget()], &[config_map()]);
    assert!(!again.runs(), "nor the next time");
    // And they are woken as ever.
    again.event(CONFIG_MAPS, "MODIFIED", &object(101, &Value::Null));
    assert!(again.runs());
}

#[test]
fn what_changed_while_a_plugin_was_away_has_its_key_tried_again() {
    let changed = object(55, &Value::Null);
    let own = identity("m", "c");
    let mut back = away_and_back(&mut first(), own.clone(), &[changed], &[config_map()]);
    assert_eq!(back.why().unwrap(), "Widget ns/a found");
    let mut back = away_and_back(&mut first(), own.clone(), &[widget()], &[object(55, &Value::Null)]);
    assert!(back.runs());
    let mut back = away_and_back(&mut first(), own.clone(), &[], &[config_map()]);
    assert_eq!(
        back.why().unwrap(),
        "woken by the object's deletion while it was not watched"
    );
    // Woken, and not run before it went.
    let mut world = first();
    world.event(CONFIG_MAPS, "MODIFIED", &object(11, &Value::Null));
    let mut back = away_and_back(&mut world, own, &[widget()], &[object(11, &Value::Null)]);
    assert!(back.runs());
}

#[test]
fn a_plugin_that_comes_back_as_another_version_or_configuration_has_its_keys_tried_again() {
    for (own, why) in [
        (identity("another", "c"), "woken by a new module"),
        (identity("m", "another"), "woken by new configuration"),
    ] {
        let mut back = away_and_back(&mut first(), own, &[widget()], &[config_map()]);
        let told = back.why().unwrap();
        assert!(told == why || told == "Widget ns/a found", "{told}");
        assert!(!back.runs(), "once");
    }
}

#[test]
fn the_keys_of_a_plugin_that_is_away_are_kept_over_a_restart() {
    let mut world = first();
    let before = kept(&mut world);
    world.dispatcher.set_aside(&world.id);
    world.dispatcher.retire(&world.id);
    assert_eq!(kept(&mut world), before);
}

#[test]
fn the_keys_of_a_plugin_that_comes_later_wait_for_it_and_stay_parked() {
    let mut waits = without(&mut first());
    waits.now += Duration::from_secs(3_600);
    waits.dispatcher.keep(&waits.id, identity("m", "c"));
    assert!(!listed(waits, &[widget()], &[config_map()]).runs());
}

#[test]
fn the_keys_of_a_plugin_that_comes_later_as_another_version_are_tried_again() {
    let mut waits = without(&mut first());
    waits.dispatcher.keep(&waits.id, identity("m", "another"));
    assert!(listed(waits, &[widget()], &[config_map()]).runs());
}

#[test]
fn the_keys_of_a_plugin_that_did_not_come_are_there_for_one_host_after_the_other() {
    let mut world = first();
    let before = world.dispatcher.kept();
    let mut second = without(&mut world);
    assert_eq!(second.dispatcher.kept(), before);
    let mut third = without(&mut second);
    assert_eq!(third.dispatcher.kept(), before);
    assert!(!restart(&mut third, &[widget()], &[config_map()]).runs());
}

#[test]
fn the_keys_of_a_plugin_that_never_comes_are_let_go_of() {
    let mut world = first();
    let parked = world.dispatcher.kept().records[0].since;
    world.now = parked + crate::parked::WAITS;
    let mut next = without(&mut world);
    assert_eq!(next.dispatcher.kept().records.len(), 1);
    next.now += Duration::from_secs(1);
    assert_eq!(without(&mut next).dispatcher.kept(), Kept::default());
}

#[test]
fn a_controller_that_its_plugin_has_no_more_leaves_no_keys() {
    let mut waits = without(&mut first());
    waits.dispatcher.absent.forget("another");
    assert_eq!(waits.dispatcher.kept().records.len(), 1);
    waits.dispatcher.absent.forget("p");
    assert_eq!(waits.dispatcher.kept(), Kept::default());
}

#[test]
fn the_keys_of_plugins_that_did_not_come_give_way_to_those_of_others() {
    let template = first().dispatcher.kept().records.remove(0);
    let record = |plugin: &str, n: usize| crate::parked::Record {
        id: crate::ControllerId::new(plugin, "c"),
        key: Key::new(Some("ns"), &format!("k{n:06}")),
        since: Duration::from_secs(900_000 + n as u64),
        ..template.clone()
    };
    // Those of the absent plugin were parked before all others.
    let absent: Vec<_> = (0..5).map(|n| record("absent", n)).collect();
    let own: Vec<_> = (5..crate::parked::MAX_KEYS + 3).map(|n| record("p", n)).collect();
    let file = Kept {
        records: [absent.clone(), own.clone()].concat(),
        ..Kept::default()
    };
    let kept = starting(file, identity("m", "c")).dispatcher.kept();
    assert_eq!(kept.no_room, 3);
    assert!(kept.records == [own, absent[..2].to_vec()].concat());
}
