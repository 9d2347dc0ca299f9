//! From what a call of `reconcile` ended with to what becomes of its key. Pure.

use std::time::Duration;

use pilothouse_gate::breaker;
use pilothouse_lifecycle::BreakerSettings;
use pilothouse_runtime::{CallError, Failure, Outcome, Retry};

use crate::Verdict;

/// A plugin may ask for no earlier retry than this: "after 0 ms" would be a loop without a pause.
pub const MIN_RETRY: Duration = Duration::from_millis(10);

/// The `result` label of `controller_runtime_reconcile_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResultLabel {
    /// `success`
    Success,
    /// `requeue_after`
    RequeueAfter,
    /// `error`
    Error,
}

impl ResultLabel {
    pub(crate) const ALL: [Self; 3] = [Self::Success, Self::RequeueAfter, Self::Error];

    /// As it stands in the metric.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::RequeueAfter => "requeue_after",
            Self::Error => "error",
        }
    }
}

/// What a call ended with: the plugin's own answer, or how it was cut short.
pub type CallResult = Result<Result<Outcome, Failure>, CallError>;

/// What becomes of the key, and how the run is counted.
pub fn judge(result: &CallResult) -> (Verdict, ResultLabel) {
    match result {
        Ok(Ok(outcome)) => match outcome.requeue_after_ms {
            Some(ms) => {
                let after = Duration::from_millis(ms.into()).max(MIN_RETRY);
                (Verdict::RequeueAfter(after), ResultLabel::RequeueAfter)
            }
            None => (Verdict::Done, ResultLabel::Success),
        },
        Ok(Err(failure)) => {
            let reason = format!("{}: {}", failure.reason, failure.message);
            let verdict = match failure.retry {
                Retry::Backoff => Verdict::Retry { reason },
                Retry::AfterMs(ms) => Verdict::RetryAfter {
                    after: Duration::from_millis(ms.into()).max(MIN_RETRY),
                    reason,
                },
                Retry::Never => Verdict::Park { reason },
            };
            (verdict, ResultLabel::Error)
        }
        Err(error) => (
            Verdict::Retry {
                reason: error.to_string(),
            },
            ResultLabel::Error,
        ),
    }
}

/// Whether nobody but the plugin can have ended a call: it trapped, or used up what is its own. A time limit by the
/// clock may be the API server's doing, which the host sees in the call.
pub(crate) fn is_its_own_end(error: &CallError) -> bool {
    !matches!(error, CallError::WallTime { .. } | CallError::Start { .. })
}

/// What a run says about its plugin, for the plugin's breaker. `hindered`: the host saw in this call that the API
/// server did not do its part; then a failure is no fault of the plugin's, whatever the plugin says of it, unless it
/// ended so as no answer of a server makes it end. A slow run is neither well nor badly done then.
pub(crate) fn blame(
    result: &CallResult,
    wall: Duration,
    hindered: bool,
    settings: &BreakerSettings,
) -> breaker::Outcome {
    let slow = wall >= Duration::from_millis(settings.slow_ms.into());
    match result {
        Ok(Ok(_)) if slow && hindered => breaker::Outcome::Ignored,
        Ok(Ok(_)) if slow => breaker::Outcome::Slow,
        Ok(Ok(_)) => breaker::Outcome::Success,
        Err(error) if is_its_own_end(error) => breaker::Outcome::Failure,
        _ if hindered => breaker::Outcome::Ignored,
        Ok(Err(failure)) if failure.retry == Retry::Never && !settings.count_terminal => breaker::Outcome::Ignored,
        Ok(Err(_)) | Err(_) => breaker::Outcome::Failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(retry: Retry) -> CallResult {
        Ok(Err(Failure {
            retry,
            reason: "Why".into(),
            message: "because".into(),
        }))
    }

    #[test]
    fn rule_19_each_end_of_a_call_has_its_verdict_and_a_failure_no_other_wish() {
        let reason = "Why: because".to_owned();
        let ok = |ms| {
            Ok(Ok(Outcome {
                requeue_after_ms: ms,
                note: None,
            }))
        };
        for (result, verdict, label) in [
            (ok(None), Verdict::Done, "success"),
            (
                ok(Some(5_000)),
                Verdict::RequeueAfter(Duration::from_secs(5)),
                "requeue_after",
            ),
            (
                failure(Retry::Backoff),
                Verdict::Retry { reason: reason.clone() },
                "error",
            ),
            (
                failure(Retry::AfterMs(70)),
                Verdict::RetryAfter {
                    after: Duration::from_millis(70),
                    reason: reason.clone(),
                },
                "error",
            ),
            (failure(Retry::Never), Verdict::Park { reason }, "error"),
        ] {
            let (got, got_label) = judge(&result);
            assert_eq!((got, got_label.as_str()), (verdict, label));
        }
    }

    #[test]
    fn rule_23_a_trap_is_an_error_that_backs_off() {
        let result = Err(CallError::Trap { message: "boom".into() });
        let (verdict, label) = judge(&result);
        assert_eq!(label, ResultLabel::Error);
        assert!(matches!(verdict, Verdict::Retry { reason } if reason.contains("boom")));
    }

    #[test]
    fn what_the_api_server_did_is_not_the_plugins_fault_and_neither_is_a_final_failure_unless_it_is_to_count() {
        use breaker::Outcome::{Failure, Ignored, Slow, Success};
        let trap = || -> CallResult { Err(CallError::Trap { message: "boom".into() }) };
        let limit = Duration::from_secs(25);
        let waited = || -> CallResult { Err(CallError::WallTime { limit }) };
        let ok = || -> CallResult {
            Ok(Ok(Outcome {
                requeue_after_ms: None,
                note: None,
            }))
        };
        let (quick, long) = (Duration::from_millis(1), Duration::from_secs(25));
        for (result, wall, hindered, counted, otherwise) in [
            (ok(), quick, false, Success, Success),
            (ok(), long, false, Slow, Slow),
            (ok(), long, true, Ignored, Ignored),
            (ok(), quick, true, Success, Success),
            (failure(Retry::Backoff), quick, false, Failure, Failure),
            (failure(Retry::AfterMs(1)), quick, false, Failure, Failure),
            (failure(Retry::Backoff), quick, true, Ignored, Ignored),
            (trap(), quick, false, Failure, Failure),
            (trap(), quick, true, Failure, Failure),
            (waited(), long, false, Failure, Failure),
            (waited(), long, true, Ignored, Ignored),
            (failure(Retry::Never), quick, false, Failure, Ignored),
            (failure(Retry::Never), quick, true, Ignored, Ignored),
        ] {
            for (count_terminal, expected) in [(true, counted), (false, otherwise)] {
                let settings = BreakerSettings {
                    count_terminal,
                    ..BreakerSettings::default()
                };
                assert_eq!(blame(&result, wall, hindered, &settings), expected, "{result:?}");
            }
        }
    }

    #[test]
    fn asking_for_a_run_at_once_is_not_a_loop_without_a_pause() {
        let result = Ok(Ok(Outcome {
            requeue_after_ms: Some(0),
            note: None,
        }));
        assert_eq!(judge(&result).0, Verdict::RequeueAfter(MIN_RETRY));
    }
}
