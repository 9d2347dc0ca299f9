//! What a reconcile ends with: an [`Outcome`], or a [`Failure`] with the word when to try again; and the [`ApiError`]s
//! on the way, which `?` turns into failures.

use std::fmt;
use std::time::Duration;

use crate::read::Misfit;
use crate::wire::{Cause, ObjectRef};

/// A reconcile that went well: the object is as it should be, as far as can be told now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Run again after this time even if nothing changes.
    pub requeue_after: Option<Duration>,
    /// One line for people: what this object waits for.
    pub note: Option<String>,
}

impl Outcome {
    /// Nothing more to do until something changes.
    pub fn done() -> Outcome {
        Outcome::default()
    }

    /// Look again after this time even if nothing changes (at most 49 days; finer than milliseconds is cut).
    pub fn after(delay: Duration) -> Outcome {
        Outcome {
            requeue_after: Some(delay),
            note: None,
        }
    }

    /// The same, with a line for people on what the object waits for.
    pub fn note(mut self, note: impl Into<String>) -> Outcome {
        self.note = Some(note.into());
        self
    }
}

/// When a failed reconcile is tried again. Any change of the object or of what it watches wakes it in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// After the queue's own back-off: milliseconds at first, doubled with every failure, minutes at most.
    Backoff,
    /// After this time.
    After(Duration),
    /// Not before something changes; until then the key stands among the parked ones, for people to see.
    Never,
}

/// A reconcile that did not reach its goal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// When to try again.
    pub retry: Retry,
    /// A word for programs: `InvalidSpec`, `Conflict`.
    pub reason: String,
    /// What, where, why and the mend, for people.
    pub message: String,
}

impl Failure {
    /// Try again with the queue's back-off: for what may well go better in a moment.
    pub fn retry(reason: impl Into<String>, message: impl Into<String>) -> Failure {
        Failure {
            retry: Retry::Backoff,
            reason: reason.into(),
            message: message.into(),
        }
    }

    /// Try again after this time: for what is known to take a while.
    pub fn after(delay: Duration, reason: impl Into<String>, message: impl Into<String>) -> Failure {
        Failure {
            retry: Retry::After(delay),
            reason: reason.into(),
            message: message.into(),
        }
    }

    /// Don't try again before something changes: for what the same input will always lead to.
    pub fn never(reason: impl Into<String>, message: impl Into<String>) -> Failure {
        Failure {
            retry: Retry::Never,
            reason: reason.into(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.message)
    }
}

impl std::error::Error for Failure {}

/// Why a read or a write failed: the API server's answer, the host's refusal, or an object that does not fit its type.
///
/// In a reconcile, `?` turns it into a [`Failure`] with a fitting [`Retry`]:
///
/// | reason | retry | since |
/// |---|---|---|
/// | any, with a time the server asks for | after that time | the server knows |
/// | `Conflict`, `AlreadyExists`, `NotFound`, `Expired` | back-off | the cache was behind; it catches up in milliseconds |
/// | `Invalid`, `BadRequest`, `MethodNotAllowed`, `NotAcceptable`, `UnsupportedMediaType`, `RequestEntityTooLarge` | never | the same request gets the same answer |
/// | [`Unreadable`](ApiError::UNREADABLE) | never | the object must change first, or the plugin |
/// | `PilothouseDenied`, `PilothouseNotWatched` | never | the manifest or the grant must change first, which wakes parked keys |
/// | `Forbidden` in a namespace that is being deleted | after 30 s | it will be gone soon |
/// | `Forbidden`, `Unauthorized` else | after 1 min | rights and quotas change without an event |
/// | all others (`TooManyRequests`, `InternalError`, `PilothouseUnavailable`, `PilothouseLimit`, no answer, …) | back-off | it may pass |
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiError {
    /// The reason in the API server's answer (`NotFound`, `Conflict`, `Invalid`, …), one of the host's (`PilothouseDenied`,
    /// `PilothouseNotWatched`, `PilothouseLimit`, `PilothouseUnavailable`) or [`ApiError::UNREADABLE`]. More may come.
    pub reason: String,
    /// The HTTP status, or 0 where no answer came.
    pub code: u16,
    /// What was tried, on which object, and why it failed.
    pub message: String,
    /// The fields that are wrong, where the server names them.
    pub causes: Vec<Cause>,
    /// How long the server asks to wait.
    pub retry_after: Option<Duration>,
    /// No answer came to a write that was sent: it may have happened all the same.
    pub maybe_applied: bool,
}

impl ApiError {
    /// The reason where an object was read that does not fit the type it was read as.
    pub const UNREADABLE: &'static str = "Unreadable";

    /// An error with a reason, a status code and a message; for [`Fake::fail_next`](crate::testing::Fake) and the like.
    pub fn new(reason: impl Into<String>, code: u16, message: impl Into<String>) -> ApiError {
        ApiError {
            reason: reason.into(),
            code,
            message: message.into(),
            ..ApiError::default()
        }
    }

    /// There is no such object (or no such kind).
    pub fn is_not_found(&self) -> bool {
        self.reason == "NotFound"
    }

    /// The object was changed since it was read, or is another one by now.
    pub fn is_conflict(&self) -> bool {
        self.reason == "Conflict"
    }

    /// There is such an object already.
    pub fn is_already_exists(&self) -> bool {
        self.reason == "AlreadyExists"
    }

    /// When to try again: the table above.
    pub fn retry(&self) -> Retry {
        if let Some(delay) = self.retry_after {
            return Retry::After(delay);
        }
        match self.reason.as_str() {
            "Invalid"
            | "BadRequest"
            | "MethodNotAllowed"
            | "NotAcceptable"
            | "UnsupportedMediaType"
            | "RequestEntityTooLarge"
            | "PilothouseDenied"
            | "PilothouseNotWatched"
            | Self::UNREADABLE => Retry::Never,
            "Forbidden" if self.causes.iter().any(|cause| cause.reason == "NamespaceTerminating") => {
                Retry::After(Duration::from_secs(30))
            }
            "Forbidden" | "Unauthorized" => Retry::After(Duration::from_secs(60)),
            _ => Retry::Backoff,
        }
    }

    pub(crate) fn unreadable(what: &str, misfit: Misfit) -> ApiError {
        let Misfit { field, why } = misfit;
        ApiError {
            reason: Self::UNREADABLE.to_owned(),
            message: format!("{what} does not fit the plugin's type{}: {why}", at_field(&field)),
            causes: vec![Cause::invalid(field, why)],
            ..ApiError::default()
        }
    }

    pub(crate) fn unwritable(what: &str, error: &serde_json::Error) -> ApiError {
        ApiError::new("BadRequest", 0, format!("{what} can't be written as JSON: {error}"))
    }

    /// The same error, with what was tried before its message.
    pub(crate) fn at(mut self, verb: &str, target: &ObjectRef) -> ApiError {
        self.message = format!("{verb} {target}: {}", self.message);
        self
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)?;
        if self.code != 0 {
            write!(f, " ({})", self.code)?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for ApiError {}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Failure {
        Failure {
            retry: error.retry(),
            reason: error.reason,
            message: error.message,
        }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Failure {
        Failure::never("Json", error.to_string())
    }
}

/// ` at `spec.name``, or nothing for the whole.
pub(crate) fn at_field(field: &str) -> String {
    if field.is_empty() {
        String::new()
    } else {
        format!(" at `{field}`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_tried_again_as_the_table_says() {
        let retry = |reason: &str| Failure::from(ApiError::new(reason, 0, "x")).retry;
        for reason in [
            "Conflict",
            "AlreadyExists",
            "NotFound",
            "PilothouseUnavailable",
            "InternalError",
            "Whatever",
        ] {
            assert_eq!(retry(reason), Retry::Backoff, "{reason}");
        }
        for reason in [
            "Invalid",
            "BadRequest",
            "PilothouseDenied",
            "PilothouseNotWatched",
            ApiError::UNREADABLE,
        ] {
            assert_eq!(retry(reason), Retry::Never, "{reason}");
        }
        assert_eq!(retry("Forbidden"), Retry::After(Duration::from_secs(60)));
    }

    #[test]
    fn a_time_the_server_asks_for_is_kept() {
        let error = ApiError {
            retry_after: Some(Duration::from_secs(7)),
            ..ApiError::new("TooManyRequests", 429, "x")
        };
        assert_eq!(error.retry(), Retry::After(Duration::from_secs(7)));
    }

    #[test]
    fn a_namespace_that_is_being_deleted_is_waited_for() {
        let cause = Cause {
            reason: "NamespaceTerminating".to_owned(),
            ..Cause::default()
        };
        let error = ApiError {
            causes: vec![cause],
            ..ApiError::new("Forbidden", 403, "x")
        };
        assert_eq!(error.retry(), Retry::After(Duration::from_secs(30)));
    }
}
