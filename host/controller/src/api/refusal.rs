//! Answers that are no success, and answers that never came, as errors that a guest can read.

use std::{error::Error, time::Duration};

use http::{StatusCode, header};
use pilothouse_apiclient::Unsent;
use pilothouse_object::shorten;
use pilothouse_runtime::{ApiError, Cause, reason};
use serde::Deserialize;

/// What the guest asked for makes no sense; nothing was sent.
pub(crate) fn bad_request(message: impl Into<String>) -> ApiError {
    ApiError {
        code: 400,
        ..ApiError::of_host("BadRequest", message)
    }
}

pub(crate) fn unavailable(message: String, is_write: bool) -> ApiError {
    ApiError {
        maybe_applied: is_write,
        ..ApiError::of_host(reason::UNAVAILABLE, message)
    }
}

/// The cause of a request that was not sent, beside [`reason::LIMIT`]: the server asked this sender for a pause.
pub(crate) const PAUSE: &str = "ApiServerPause";
/// The same: all plugins together have sent too much.
pub(crate) const CROWD: &str = "HostLimit";

/// Whether the API server, or the crowd before it, is to blame: it was unavailable or too slow, shed the request, asked
/// for a pause, or others left no turn to send it in time. A plugin's own bounds are its own, and so is the disruption
/// budget of a pod that it evicts, which says 429 too, and an object that the server's storage finds too large, which
/// says 500.
pub(crate) fn hinders(error: &ApiError) -> bool {
    let of_host = error.reason == reason::UNAVAILABLE;
    let of_others = |cause: &Cause| cause.reason == PAUSE || cause.reason == CROWD;
    let no_turn = error.reason == reason::LIMIT && error.causes.iter().any(of_others);
    let of_server = match error.code {
        429 => !is_of_a_budget(error),
        500 => !is_too_large(error),
        502..=504 => true,
        _ => false,
    };
    of_host || no_turn || of_server
}

/// etcd's word on a request beyond its bound (1.5 MiB unless it is told otherwise), and its client's on one beyond 2
/// MiB: the API server passes both on as faults of its own.
fn is_too_large(error: &ApiError) -> bool {
    let words = ["request is too large", "trying to send message larger than max"];
    words.iter().any(|words| error.message.contains(words))
}

fn is_of_a_budget(error: &ApiError) -> bool {
    error.causes.iter().any(|cause| cause.reason == "DisruptionBudget")
}

/// The server does not take the host's credentials: nothing was done, and no plugin can do anything about it.
pub(crate) fn unauthorized() -> ApiError {
    let message = "the API server refuses this host's credentials (401)".to_owned();
    ApiError {
        code: 401,
        ..unavailable(message, false)
    }
}

/// No answer came. Without a connection nothing was sent; else it may have been.
pub(crate) fn no_answer(error: &kube::Error, is_write: bool) -> ApiError {
    let mut source: Option<&(dyn Error + 'static)> = Some(error);
    let mut never_sent = false;
    let mut message = String::new();
    while let Some(error) = source {
        never_sent |= error.is::<Unsent>();
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            never_sent |= io.kind() == std::io::ErrorKind::ConnectionRefused;
        }
        let text = error.to_string();
        if !message.contains(&text) {
            if !message.is_empty() {
                message.push_str(": ");
            }
            message.push_str(&text);
        }
        source = error.source();
    }
    unavailable(
        format!("the API server gave no answer: {}", shorten(&message, 512)),
        is_write && !never_sent,
    )
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    reason: Option<String>,
    message: Option<String>,
    details: Option<Details>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Details {
    causes: Option<Vec<StatusCause>>,
    retry_after_seconds: Option<u32>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct StatusCause {
    reason: Option<String>,
    message: Option<String>,
    field: Option<String>,
}

/// At most so many causes of one refusal reach a guest.
const MAX_CAUSES: usize = 32;

/// An answer that is no success. What isn't a Status (a proxy's page, say) keeps its text as the message.
pub(crate) fn refused(code: StatusCode, headers: &http::HeaderMap, body: &[u8], is_write: bool) -> ApiError {
    let status: Status = serde_json::from_slice(body).unwrap_or_default();
    let details = status.details.unwrap_or_default();
    let header_seconds = headers
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse::<u32>().ok());
    let retry_after_ms = details
        .retry_after_seconds
        .filter(|s| *s > 0)
        .or(header_seconds)
        .map(|seconds| seconds.saturating_mul(1_000));
    let message = status
        .message
        .filter(|m| !m.is_empty())
        .unwrap_or_else(|| shorten(String::from_utf8_lossy(body).trim(), 512).into_owned());
    ApiError {
        reason: status
            .reason
            .filter(|r| !r.is_empty())
            .unwrap_or_else(|| reason_of(code).to_owned()),
        code: code.as_u16(),
        message,
        causes: details
            .causes
            .unwrap_or_default()
            .into_iter()
            .take(MAX_CAUSES)
            .map(|cause| Cause {
                reason: cause.reason.unwrap_or_default(),
                field: cause.field.unwrap_or_default(),
                message: cause.message.unwrap_or_default(),
            })
            .collect(),
        retry_after_ms,
        // 5xx: the server, or what stands before it, may have failed after it was done.
        maybe_applied: is_write && code.is_server_error(),
    }
}

/// Whether the server shed this request: it has too many, or is not there. A disruption budget says 429 too, but that
/// is about one pod.
pub(crate) fn sheds(error: &ApiError) -> bool {
    error.reason == reason::UNAVAILABLE || (matches!(error.code, 429 | 503 | 504) && !is_of_a_budget(error))
}

/// For how long whoever sent this is to send nothing, by the server's word: it sheds load. A disruption budget says 429
/// too, but that is about one pod.
pub(crate) fn retry_after(error: &ApiError) -> Option<Duration> {
    let pause = error
        .retry_after_ms
        .filter(|_| matches!(error.code, 429 | 503) && !is_of_a_budget(error))?;
    Some(Duration::from_millis(pause.into()))
}

/// The reason that Kubernetes gives to a code, for answers that are no Status.
fn reason_of(code: StatusCode) -> &'static str {
    match code.as_u16() {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        405 => "MethodNotAllowed",
        406 => "NotAcceptable",
        409 => "Conflict",
        410 => "Gone",
        413 => "RequestEntityTooLarge",
        415 => "UnsupportedMediaType",
        422 => "Invalid",
        429 => "TooManyRequests",
        500 => "InternalError",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_becomes_an_error_the_guest_can_read() {
        let body = br#"{"kind":"Status","status":"Failure","message":"no","reason":"Invalid","code":422,
            "details":{"retryAfterSeconds":2,"causes":[{"reason":"FieldValueRequired","message":"Required value","field":"spec.size"}]}}"#;
        let error = refused(StatusCode::UNPROCESSABLE_ENTITY, &http::HeaderMap::new(), body, true);
        assert_eq!(
            (&*error.reason, error.code, error.retry_after_ms),
            ("Invalid", 422, Some(2_000))
        );
        assert_eq!((&*error.causes[0].field, error.maybe_applied), ("spec.size", false));
    }

    #[test]
    fn a_write_that_failed_in_the_server_may_have_happened_and_a_read_has_not() {
        for code in [500, 502, 503, 504] {
            let code = StatusCode::from_u16(code).unwrap();
            assert!(
                refused(code, &http::HeaderMap::new(), b"", true).maybe_applied,
                "{code}"
            );
            assert!(
                !refused(code, &http::HeaderMap::new(), b"", false).maybe_applied,
                "{code}"
            );
        }
        assert!(!refused(StatusCode::CONFLICT, &http::HeaderMap::new(), b"", true).maybe_applied);
    }

    #[test]
    fn an_answer_that_is_no_status_keeps_its_text_and_retry_after() {
        let mut headers = http::HeaderMap::new();
        headers.insert(header::RETRY_AFTER, http::HeaderValue::from_static("1"));
        let error = refused(
            StatusCode::TOO_MANY_REQUESTS,
            &headers,
            b"Too many requests, please try again later.\n",
            true,
        );
        assert_eq!((&*error.reason, error.retry_after_ms), ("TooManyRequests", Some(1_000)));
        assert_eq!(error.message, "Too many requests, please try again later.");
    }

    #[test]
    fn what_the_server_can_not_do_is_its_own_and_what_it_does_not_take_is_the_plugin_s() {
        let hinders = |code: u16, message: &str| {
            let body = serde_json::json!({"kind": "Status", "code": code, "message": message}).to_string();
            let code = StatusCode::from_u16(code).unwrap();
            hinders(&refused(code, &http::HeaderMap::new(), body.as_bytes(), true))
        };
        for (code, message) in [
            (429, "too many requests"),
            (500, "etcdserver: leader changed"),
            (500, "etcdserver: request timed out"),
            (502, ""),
            (503, ""),
            (504, "context deadline exceeded"),
        ] {
            assert!(hinders(code, message), "{code} {message}");
        }
        for (code, message) in [
            (400, ""),
            (403, ""),
            (409, ""),
            (413, "Request entity too large: limit is 3145728"),
            (422, ""),
            (500, "etcdserver: request is too large"),
            (
                500,
                "rpc error: code = ResourceExhausted desc = trying to send message larger than max (2100000 vs. 2097152)",
            ),
            (501, ""),
        ] {
            assert!(!hinders(code, message), "{code} {message}");
        }
    }

    #[test]
    fn a_server_that_sheds_load_slows_its_sender_and_a_disruption_budget_does_not() {
        let mut headers = http::HeaderMap::new();
        headers.insert(header::RETRY_AFTER, http::HeaderValue::from_static("2"));
        let pause = |code: u16, body: &str| {
            let code = StatusCode::from_u16(code).unwrap();
            retry_after(&refused(code, &headers, body.as_bytes(), true))
        };
        assert_eq!(pause(429, "Too many requests"), Some(Duration::from_secs(2)));
        assert_eq!(pause(503, ""), Some(Duration::from_secs(2)));
        assert_eq!(pause(504, ""), None);
        let budget = r#"{"kind":"Status","reason":"TooManyRequests","code":429,"details":{"causes":[{"reason":"DisruptionBudget"}]}}"#;
        assert_eq!(pause(429, budget), None);
    }

    #[test]
    fn a_server_sheds_what_it_has_no_room_or_no_time_for_or_does_not_answer_and_nothing_else() {
        let refused = |code: u16, body: &str| {
            let code = StatusCode::from_u16(code).unwrap();
            refused(code, &http::HeaderMap::new(), body.as_bytes(), false)
        };
        for code in [429, 503, 504] {
            assert!(sheds(&refused(code, "")), "{code}");
        }
        assert!(sheds(&unavailable("the API server gave no answer".into(), false)));
        for code in [400, 403, 404, 409, 410, 422, 500] {
            assert!(!sheds(&refused(code, "")), "{code}");
        }
        let budget = r#"{"kind":"Status","code":429,"details":{"causes":[{"reason":"DisruptionBudget"}]}}"#;
        assert!(!sheds(&refused(429, budget)));
        assert!(!sheds(&ApiError::of_host(reason::LIMIT, "its own pace")));
    }
}
