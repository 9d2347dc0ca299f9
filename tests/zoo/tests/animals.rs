//! Each animal of the zoo, let loose beside a quiet neighbour: [`pilothouse_zoo::visit`] says what that asks of the
//! host.
#![cfg(unix)]

use std::collections::BTreeSet;

use pilothouse_e2e::{On, on_both, on_local};
use pilothouse_zoo::{ANIMALS, named, visit};

/// A test for each animal, and one that none is forgotten.
macro_rules! animals {
    ($($on:ident: $test:ident, $name:literal;)*) => {
        $(
            $on!($test);
            async fn $test(on: On) {
                visit(named($name), on).await;
            }
        )*

        #[test]
        fn every_animal_has_its_test() {
            let all: BTreeSet<&str> = ANIMALS.iter().map(|animal| animal.name).collect();
            assert_eq!(all.len(), ANIMALS.len(), "each has a name of its own");
            assert_eq!(BTreeSet::from([$($name),*]), all);
        }
    };
}

animals! {
    on_both: an_endless_loop_is_cut_by_its_cpu_time, "endless-loop";
    on_local: a_loop_of_host_calls_that_do_not_count_is_cut_by_its_cpu_time, "loop-of-host-calls";
    on_local: a_thousand_host_calls_are_enough_for_one_call, "thousand-host-calls";
    on_local: a_sleeper_is_woken_by_its_wall_time, "sleeper";
    on_local: a_memory_bomb_gets_no_more_than_it_may_have, "memory-bomb";
    on_local: a_stack_bomb_is_a_trap, "stack-bomb";
    on_both: who_traps_every_third_call_is_tried_again_until_its_breaker_opens, "trap-every-third-call";
    on_local: an_answer_of_bytes_that_are_no_text_is_a_trap, "rubbish-output";
    on_local: a_result_of_100_mb_is_not_even_copied, "huge-result";
    on_local: deep_json_is_refused, "deep-json";
    on_local: a_flood_of_log_lines_is_dropped_and_orders_no_terminal, "log-flood";
    on_both: a_storm_of_writes_ends_at_its_limit, "write-storm";
    on_both: a_storm_of_events_is_dropped, "event-storm";
    on_local: no_import_shows_what_is_outside_a_plugins_view, "reads-outside-its-view";
    on_both: a_hot_loop_is_slowed_and_named_and_goes_on, "hot-loop";
    on_both: two_plugins_that_undo_each_others_writes_are_slowed_and_name_each_other_and_go_on, "hot-loop-with-another";
    on_local: what_traps_as_it_starts_is_not_loaded, "trap-at-start";
    on_local: a_table_bomb_is_not_loaded, "table-bomb";
    on_local: what_panics_in_describe_is_not_loaded, "trap-in-describe";
    on_local: what_never_ends_to_describe_itself_is_not_loaded, "loop-in-describe";
    on_local: what_describes_itself_in_rubbish_is_not_loaded, "rubbish-in-describe";
    on_local: what_would_describe_itself_otherwise_at_each_call_can_not, "changes-its-mind";
    on_local: what_describes_itself_otherwise_than_it_was_packed_is_not_loaded, "two-faced";
    on_local: who_asks_for_everything_gets_nothing, "asks-for-everything";
    on_local: a_claimed_name_brings_no_grants, "claims-anothers-name";
    on_local: a_module_that_is_slow_to_compile_is_given_up, "slow-to-compile";
}
