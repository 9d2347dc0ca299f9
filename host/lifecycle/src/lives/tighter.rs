//! Whether the operator left a module less than before.
//!
//! A version that comes with less than the one before it of the same bytes is not on probation. That its calls come to
//! a limit now, or its breaker opens, is what the operator asked for and no fault of the module's; and to go back would
//! be to give it again what was taken from it, by nobody's word, maybe in the very hour when somebody tries to hold it
//! down. So it is with grants that are taken away. The breaker protects the cluster meanwhile, and `plugins rollback`
//! is at hand.
//!
//! Another `config`, or more of a limit, is on probation as ever. Where both come at once with less of something,
//! nobody can tell what it was: there is no probation then either. With other bytes there is: the limits that came with
//! them are theirs.

use crate::config::{Budget, PluginConfig};
use crate::load::effective_limits;
use crate::manifest::SuggestedLimits;

/// Whether a module that suggests these limits may use less by `now` than by `before`, or is judged by another breaker.
pub(super) fn is_tighter(suggested: &SuggestedLimits, now: &PluginConfig, before: &PluginConfig) -> bool {
    let (own, old) = (amounts(suggested, now), amounts(suggested, before));
    now.breaker != before.breaker || own.iter().zip(&old).any(|(own, old)| own < old)
}

/// All that a call may fail by where there is too little of it. What is dropped instead (log lines, Events) fails none,
/// and what the caches hold is no matter of a rollback.
fn amounts(suggested: &SuggestedLimits, config: &PluginConfig) -> [u64; 12] {
    let limits = effective_limits(suggested, &config.limits);
    let Budget {
        writes_per_second,
        write_burst,
        in_flight_mib,
        ..
    } = config.budget;
    // 0 is no bound.
    let rate = |rate: u32| if rate == 0 { u64::MAX } else { rate.into() };
    let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    [
        millis(limits.wall),
        millis(limits.cpu),
        limits.memory,
        limits.host_calls.into(),
        limits.writes.into(),
        limits.output,
        limits.argument,
        rate(writes_per_second),
        write_burst.into(),
        in_flight_mib.into(),
        rate(config.api_requests_per_second),
        config.api_request_burst.into(),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn config(value: Value) -> PluginConfig {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn less_of_a_limit_is_tighter_also_where_it_was_suggested_or_a_default_before() {
        let suggested = SuggestedLimits {
            wall_ms: Some(5_000),
            ..SuggestedLimits::default()
        };
        let tighter = |now, before| is_tighter(&suggested, &config(now), &config(before));
        for (less, more) in [
            (json!({"limits": {"wallMs": 4_999}}), json!({})),
            (json!({}), json!({"limits": {"wallMs": 5_001}})),
            (json!({"limits": {"cpuMs": 1_999}}), json!({})),
            (json!({"limits": {"memoryMiB": 1}}), json!({"limits": {"memoryMiB": 2}})),
            (json!({"limits": {"hostCalls": 1}}), json!({})),
            (json!({"limits": {"writes": 1}}), json!({})),
            (json!({"limits": {"outputKiB": 1}}), json!({})),
            (json!({"limits": {"objectKiB": 1}}), json!({})),
            (
                json!({"budget": {"writesPerSecond": 1}}),
                json!({"budget": {"writesPerSecond": 0}}),
            ),
            (json!({"budget": {"writeBurst": 1}}), json!({})),
            (json!({"budget": {"inFlightMiB": 1}}), json!({})),
            (json!({"apiRequestsPerSecond": 1}), json!({"apiRequestsPerSecond": 0})),
            (json!({"apiRequestBurst": 1}), json!({})),
        ] {
            assert!(tighter(less.clone(), more.clone()), "{less} after {more}");
            assert!(!tighter(more.clone(), less.clone()), "{more} after {less}");
            assert!(!tighter(less.clone(), less), "the same");
        }
        // What one gains does not make up for what another loses.
        assert!(tighter(json!({"limits": {"wallMs": 9_000, "writes": 1}}), json!({})));
        let (other, none) = (json!({"breaker": {"failurePercent": 80}}), json!({}));
        assert!(tighter(other.clone(), none.clone()) && tighter(none.clone(), other));
        for fails_no_call in [
            json!({"config": {"a": 1}}),
            json!({"weight": 3}),
            json!({"limits": {"logLines": 1, "events": 1}}),
            json!({"instances": {"warm": 1}}),
        ] {
            assert!(!tighter(fails_no_call.clone(), none.clone()), "{fails_no_call}");
        }
    }
}
