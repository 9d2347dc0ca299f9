//! Ages as tables show them: `7s`, `3m20s`, `5d`. The rules are those of Kubernetes' `HumanDuration`.

use std::time::Duration;

/// The age at `now` (since the Unix epoch) of the RFC 3339 time `since`.
///
/// A time that is missing is `<unknown>`, one that does not parse or lies more than a second ahead is `<invalid>`:
/// real servers answer the same.
pub(crate) fn age(since: Option<&str>, now: Duration) -> String {
    let Some(text) = since.filter(|text| !text.is_empty()) else {
        return "<unknown>".to_owned();
    };
    let Ok(time) = text.parse::<jiff::Timestamp>() else {
        return "<invalid>".to_owned();
    };
    let now = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
    human(now.saturating_sub(time.as_millisecond()).div_euclid(1000))
}

/// `seconds` in at most two units, the smaller one left out where it is zero or the larger one says enough.
fn human(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let (days, years) = (hours / 24, hours / 24 / 365);
    match () {
        () if seconds < -1 => "<invalid>".to_owned(),
        () if seconds < 0 => "0s".to_owned(),
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => two(minutes, 'm', seconds % 60, 's'),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => two(hours, 'h', minutes % 60, 'm'),
        () if hours < 48 => format!("{hours}h"),
        () if days < 8 => two(days, 'd', hours % 24, 'h'),
        () if days < 365 * 2 => format!("{days}d"),
        () if years < 8 => two(years, 'y', days % 365, 'd'),
        () => format!("{years}y"),
    }
}

fn two(large: i64, large_unit: char, small: i64, small_unit: char) -> String {
    if small == 0 {
        format!("{large}{large_unit}")
    } else {
        format!("{large}{large_unit}{small}{small_unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_kubectl_shows_them() {
        let cases = [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (130, "2m10s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (10_860, "3h1m"),
            (28_800, "8h"),
            (172_799, "47h"),
            (172_800, "2d"),
            (176_400, "2d1h"),
            (691_200, "8d"),
            (62_985_600, "729d"),
            (63_072_000, "2y"),
            (63_158_400, "2y1d"),
            (252_288_000, "8y"),
        ];
        for (seconds, text) in cases {
            assert_eq!(human(seconds), text, "{seconds} s");
        }
    }

    #[test]
    fn missing_and_broken_times_are_named_so() {
        let now = Duration::from_secs(100);
        assert_eq!(age(Some("1970-01-01T00:01:30Z"), now), "10s");
        assert_eq!(age(Some("1970-01-01T00:01:30.5Z"), now), "9s");
        assert_eq!(age(None, now), "<unknown>");
        assert_eq!(age(Some("yesterday"), now), "<invalid>");
        assert_eq!(age(Some("2999-01-01T00:00:00Z"), now), "<invalid>");
    }
}
