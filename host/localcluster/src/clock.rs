//! Wall-clock times as text. The times come from outside; nothing here reads a clock.

use std::time::Duration;

use jiff::Timestamp;

/// `now` as Kubernetes writes it in metadata, to the second: `2026-11-22T01:38:37Z`.
pub(crate) fn timestamp(now: Duration) -> String {
    i64::try_from(now.as_secs())
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .unwrap_or(Timestamp::MAX)
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}

/// Whether a text is an RFC 3339 time.
pub(crate) fn is_timestamp(text: &str) -> bool {
    text.len() <= 64 && text.parse::<Timestamp>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_to_the_second_and_never_fail() {
        assert_eq!(
            timestamp(Duration::from_millis(1_795_310_317_999)),
            "2026-11-22T01:18:37Z"
        );
        assert_eq!(timestamp(Duration::ZERO), "1970-01-01T00:00:00Z");
        assert!(is_timestamp(&timestamp(Duration::MAX)));
    }
}
