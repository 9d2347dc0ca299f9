//! What can go wrong with a request, sorted by what it means for a reflector.

use std::{fmt, time::Duration};

use pilothouse_object::{escape_control, shorten};
use serde::Deserialize;

/// What a failure means for what comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No HTTP answer came: connection refused, reset, timed out, or no credentials could be had.
    Unreachable,
    /// The version or the continue token is too old (410).
    Expired,
    /// The version lies in the server's future (504 with cause `ResourceVersionTooLarge`).
    TooLargeVersion,
    /// 429.
    TooManyRequests,
    /// 401: the server does not take the host's credentials.
    Unauthorized,
    /// 403.
    Forbidden,
    /// 404: the kind is not served.
    NotFound,
    /// Any 5xx.
    Server,
    /// Any other refusal.
    Refused,
    /// An answer that can't be read.
    Garbled,
    /// A stream that broke off at once.
    Cut,
}

/// A failed request, or an `ERROR` event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What it means.
    pub trouble: Trouble,
    /// The HTTP status or the event's code; 0 where there was none.
    pub code: u16,
    /// What the server or the connection said: one line, control characters escaped.
    pub message: String,
    /// How long the server asks to wait.
    pub retry_after: Option<Duration>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            0 => f.write_str(&self.message),
            code => write!(f, "{} (HTTP {code})", self.message),
        }
    }
}

/// The longest message kept, in bytes.
const MAX_MESSAGE: usize = 512;

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    code: Option<u16>,
    reason: Option<String>,
    message: Option<String>,
    details: Option<Details>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Details {
    causes: Option<Vec<Cause>>,
    retry_after_seconds: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Cause {
    reason: Option<String>,
}

impl Failure {
    /// A failure without an answer.
    pub fn new(trouble: Trouble, message: impl AsRef<str>) -> Self {
        Self {
            trouble,
            code: 0,
            message: escape_control(&shorten(message.as_ref(), MAX_MESSAGE)).into_owned(),
            retry_after: None,
        }
    }

    /// A failure from an HTTP status (none for `ERROR` events, which carry their code), a body that should be a
    /// `Status` but may be anything, and the `Retry-After` header's seconds.
    pub fn of_status(http: Option<u16>, body: &[u8], retry_after: Option<u64>) -> Self {
        let status: Status = serde_json::from_slice(body).unwrap_or_default();
        let code = http.or(status.code).unwrap_or(0);
        let details = status.details.unwrap_or_default();
        let too_large = details
            .causes
            .iter()
            .flatten()
            .any(|c| c.reason.as_deref() == Some("ResourceVersionTooLarge"))
            // Servers before 1.18 give no cause (kubernetes #91073).
            || (code == 504 && status.message.as_deref().is_some_and(|m| m.contains("Too large resource version")));
        let reason = status.reason.as_deref().unwrap_or_default();
        let trouble = match (code, reason) {
            _ if too_large => Trouble::TooLargeVersion,
            (410, _) | (_, "Expired" | "Gone") => Trouble::Expired,
            (429, _) => Trouble::TooManyRequests,
            (401, _) => Trouble::Unauthorized,
            (403, _) => Trouble::Forbidden,
            (404, _) => Trouble::NotFound,
            (500..=599, _) => Trouble::Server,
            _ => Trouble::Refused,
        };
        let message = match (status.message, reason) {
            (Some(message), _) if !message.is_empty() => message,
            (_, reason) if !reason.is_empty() => reason.to_owned(),
            _ if body.is_empty() => "the server gave no reason".to_owned(),
            _ => String::from_utf8_lossy(body).trim().to_owned(),
        };
        Self {
            code,
            retry_after: retry_after.or(details.retry_after_seconds).map(Duration::from_secs),
            ..Self::new(trouble, message)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_32_a_410_counts_as_expired_whether_it_is_a_status_or_an_event() {
        let event = br#"{"kind":"Status","message":"too old resource version: 1 (86)","reason":"Expired","code":410}"#;
        assert_eq!(Failure::of_status(None, event, None).trouble, Trouble::Expired);
        assert_eq!(Failure::of_status(Some(410), b"gone", None).trouble, Trouble::Expired);
    }

    #[test]
    fn rule_32_a_version_from_the_future_is_known_by_its_cause_or_its_text() {
        let new = br#"{"code":504,"details":{"causes":[{"reason":"ResourceVersionTooLarge"}],"retryAfterSeconds":1}}"#;
        let failure = Failure::of_status(Some(504), new, None);
        assert_eq!(failure.trouble, Trouble::TooLargeVersion);
        assert_eq!(failure.retry_after, Some(Duration::from_secs(1)));
        let old = br#"{"code":504,"message":"Too large resource version: 9, current: 3"}"#;
        assert_eq!(Failure::of_status(None, old, None).trouble, Trouble::TooLargeVersion);
        assert_eq!(Failure::of_status(Some(504), b"", None).trouble, Trouble::Server);
    }

    #[test]
    fn foreign_text_is_shown_short_and_without_control_characters() {
        let failure = Failure::of_status(Some(500), format!("\x1b[31m{}", "x".repeat(10_000)).as_bytes(), None);
        assert!(
            failure.message.len() < 600 && !failure.message.contains('\x1b'),
            "{failure}"
        );
        let refused = Failure::of_status(Some(401), b"", None);
        assert_eq!(refused.to_string(), "the server gave no reason (HTTP 401)");
        assert_eq!(refused.trouble, Trouble::Unauthorized);
    }
}
