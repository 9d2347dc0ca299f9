//! Permits and turns, one promise at a time.

use pilothouse_gate::{Gate, PoolUse};

fn gate(pool: usize, controllers: &[(&'static str, usize)]) -> Gate<&'static str, &'static str> {
    let mut gate = Gate::new(pool);
    for (id, limit) in controllers {
        gate.register(*id, *id, *limit);
    }
    gate
}

/// Takes turns until nobody can run.
fn turns(gate: &mut Gate<&'static str, &'static str>) -> Vec<&'static str> {
    std::iter::from_fn(|| gate.next_turn(|_| true)).collect()
}

#[test]
fn a_controller_gets_permits_up_to_its_limit() {
    let mut gate = gate(10, &[("a", 2)]);
    assert!(gate.acquire(&"a") && gate.acquire(&"a"));
    assert!(!gate.acquire(&"a"));
    assert!(gate.next_turn(|_| true).is_none());
    assert!(gate.release(&"a"));
    assert_eq!(gate.next_turn(|_| true), Some("a"));
    assert_eq!((gate.running(&"a"), gate.limit(&"a")), (2, Some(2)));
}

#[test]
fn all_together_get_permits_up_to_the_pool() {
    let mut gate = gate(3, &[("a", 2), ("b", 2)]);
    assert_eq!(turns(&mut gate), ["a", "b", "a"]);
    assert!(!gate.acquire(&"b"));
    assert_eq!(gate.pool(), PoolUse { size: 3, running: 3 });
    assert!(gate.release(&"a"));
    assert!(gate.acquire(&"b"));
}

#[test]
fn turns_go_round_whatever_the_backlogs_are() {
    let mut gate = gate(1, &[("a", 5), ("b", 1), ("c", 1)]);
    let mut backlog = |id: &&str| *id == "a" || *id == "c";
    let mut served = Vec::new();
    for _ in 0..6 {
        let id = gate.next_turn(&mut backlog).expect("a and c have work");
        gate.release(&id);
        served.push(id);
    }
    assert_eq!(served, ["a", "c", "a", "c", "a", "c"]);
    gate.wake(&"b");
    assert_eq!(gate.next_turn(|_| true), Some("b"), "it was served longest ago");
}

#[test]
fn who_has_no_free_permit_is_skipped_and_not_asked_for_work() {
    let mut gate = gate(10, &[("a", 1), ("b", 3), ("paused", 0)]);
    assert_eq!(gate.next_turn(|_| true), Some("a"));
    let mut asked = Vec::new();
    let turn = gate.next_turn(|id| {
        asked.push(*id);
        true
    });
    assert_eq!((turn, asked), (Some("b"), vec!["b"]));
}

#[test]
fn where_nobody_has_work_no_permit_is_taken() {
    let mut gate = gate(10, &[("a", 1), ("b", 1)]);
    assert_eq!(gate.next_turn(|_| false), None);
    assert_eq!(gate.pool().running, 0);
}

#[test]
fn a_plugin_that_was_asked_in_vain_is_asked_again_once_it_may_have_work() {
    let mut gate = gate(10, &[("a", 1), ("b", 1)]);
    assert_eq!(gate.next_turn(|_| false), None);
    assert_eq!(gate.next_turn(|_| panic!("asked again")), None);
    assert!(gate.wake(&"b") && gate.wake(&"a") && !gate.wake(&"unknown"));
    assert_eq!(
        gate.line().copied().collect::<Vec<_>>(),
        ["a", "b"],
        "each has the place it had"
    );
    assert_eq!(turns(&mut gate), ["a", "b"]);
}

#[test]
fn a_permit_or_a_limit_gives_a_plugin_its_turn_without_being_woken() {
    let mut gate = gate(10, &[("a", 1)]);
    assert_eq!(turns(&mut gate), ["a"]);
    assert!(gate.release(&"a"));
    assert_eq!(turns(&mut gate), ["a"], "its permit came back");
    assert!(gate.set_limit(&"a", 2));
    assert_eq!(turns(&mut gate), ["a"], "it may have more");
    gate.register("a", "a", 3);
    assert_eq!(turns(&mut gate), ["a"], "its next version may have more");
}

#[test]
fn where_the_pool_is_used_up_nobody_is_asked() {
    let mut gate = gate(1, &[("a", 1), ("b", 1)]);
    assert!(gate.acquire(&"a"));
    assert_eq!(gate.next_turn(|_| panic!("asked for work")), None);
}

#[test]
fn a_limit_that_shrinks_while_runs_are_out_gives_nothing_until_enough_are_back() {
    let mut gate = gate(10, &[("a", 3)]);
    assert_eq!(turns(&mut gate), ["a"; 3]);
    assert!(gate.set_limit(&"a", 1));
    for still_out in [2, 1] {
        assert!(gate.release(&"a"));
        assert_eq!(gate.running(&"a"), still_out);
        assert!(!gate.acquire(&"a") && gate.next_turn(|_| true).is_none());
    }
    assert!(gate.release(&"a"));
    assert_eq!(turns(&mut gate), ["a"]);
}

#[test]
fn a_pool_that_shrinks_while_runs_are_out_gives_nothing_until_enough_are_back() {
    let mut gate = gate(3, &[("a", 9)]);
    assert_eq!(turns(&mut gate), ["a"; 3]);
    gate.set_pool(1);
    assert_eq!(gate.pool(), PoolUse { size: 1, running: 3 });
    assert!(gate.release(&"a") && gate.release(&"a"));
    assert!(turns(&mut gate).is_empty());
    assert!(gate.release(&"a"));
    assert_eq!(turns(&mut gate), ["a"]);
}

#[test]
fn releasing_what_is_not_out_changes_nothing_and_says_so() {
    let mut gate = gate(2, &[("a", 1), ("b", 1)]);
    assert!(gate.acquire(&"a"));
    assert!(!gate.release(&"b") && !gate.release(&"unknown"));
    assert_eq!(gate.pool().running, 1);
    assert!(gate.release(&"a"));
    assert!(!gate.release(&"a"));
    assert_eq!(gate.pool().running, 0);
}

#[test]
fn a_controller_that_is_removed_gets_no_permit_and_its_runs_count_until_they_end() {
    let mut gate = gate(2, &[("a", 2), ("b", 2)]);
    assert!(gate.acquire(&"a"));
    assert!(gate.remove(&"a"));
    assert!(!gate.remove(&"a") && !gate.remove(&"unknown"));
    assert!(!gate.acquire(&"a") && !gate.set_limit(&"a", 5));
    assert_eq!((gate.limit(&"a"), gate.running(&"a")), (None, 1));
    assert_eq!(turns(&mut gate), ["b"], "the pool holds the run of the removed one");
    assert!(gate.release(&"a"));
    assert_eq!((gate.running(&"a"), turns(&mut gate)), (0, vec!["b"]));
}

#[test]
fn a_controller_that_comes_back_finds_its_runs_counted() {
    let mut gate = gate(10, &[("a", 2)]);
    assert_eq!(turns(&mut gate), ["a"; 2]);
    assert!(gate.remove(&"a"));
    gate.register("a", "a", 2);
    assert!(turns(&mut gate).is_empty(), "the old version's runs hold the permits");
    assert!(gate.release(&"a"));
    assert_eq!(turns(&mut gate), ["a"]);
}

#[test]
fn registering_again_sets_the_limit_and_keeps_the_place() {
    let mut gate = gate(10, &[("a", 1), ("b", 1)]);
    gate.register("a", "a", 2);
    assert_eq!(gate.line().copied().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(turns(&mut gate), ["a", "b", "a"]);
}

#[test]
fn a_controller_that_leaves_and_comes_back_all_the_time_passes_nobody() {
    let mut gate = gate(1, &[("reloading", 1), ("steady", 1)]);
    for _ in 0..10 {
        gate.remove(&"reloading");
        gate.register("reloading", "reloading", 1);
        assert_eq!(gate.next_turn(|_| true), Some("steady"));
        gate.release(&"steady");
    }
    assert_eq!(
        gate.next_turn(|_| true),
        Some("reloading"),
        "once it stays it has its turn"
    );
}

/// Of so many turns, one permit at a time, how many each one has.
fn shares(gate: &mut Gate<&'static str, &'static str>, turns: usize, prefix: &str) -> usize {
    let mut of_it = 0;
    for _ in 0..turns {
        let id = gate.next_turn(|_| true).expect("all have work");
        gate.release(&id);
        of_it += usize::from(id.starts_with(prefix));
    }
    of_it
}

#[test]
fn a_plugin_with_many_controllers_has_no_more_turns_than_one_with_a_single_one() {
    let mut gate = Gate::new(1);
    for id in ["many/1", "many/2", "many/3"] {
        gate.register("many", id, 5);
    }
    gate.register("one", "one/1", 5);
    assert_eq!(shares(&mut gate, 60, "one"), 30);
    assert_eq!(shares(&mut gate, 60, "many/2"), 10, "its controllers take turns");
}

#[test]
fn turns_are_shared_out_by_weight() {
    let mut gate = gate(1, &[("light", 1), ("heavy", 1)]);
    assert!(gate.set_weight(&"heavy", 3) && !gate.set_weight(&"unknown", 3));
    assert_eq!(shares(&mut gate, 400, "heavy"), 300);
    gate.set_weight(&"heavy", 0);
    shares(&mut gate, 4, "heavy");
    assert_eq!(shares(&mut gate, 400, "heavy"), 200, "no weight is below 1");
}

#[test]
fn who_had_no_work_for_long_saves_up_no_turns() {
    let mut gate = gate(1, &[("busy", 1), ("idle", 1)]);
    for _ in 0..1_000 {
        assert_eq!(gate.next_turn(|id| *id == "busy"), Some("busy"));
        gate.release(&"busy");
    }
    gate.wake(&"idle");
    assert_eq!(gate.next_turn(|_| true), Some("idle"), "once it comes first");
    gate.release(&"idle");
    assert_eq!(shares(&mut gate, 100, "busy"), 50);
}
