//! The values that cross between a plugin and its host, as plain Rust types: the contract `pilothouse:plugin` in words.
//! Natively and in a component they are the same, so that a plugin's code is too.

use std::fmt;
use std::time::Duration;

/// Group, version and kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Gvk {
    /// The API group, empty for the core group.
    pub group: String,
    /// The version within the group.
    pub version: String,
    /// The kind's name.
    pub kind: String,
}

impl fmt::Display for Gvk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() {
            write!(f, "{} {}", self.version, self.kind)
        } else {
            write!(f, "{}/{} {}", self.group, self.version, self.kind)
        }
    }
}

/// Names an object, whether or not it exists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectRef {
    /// Its kind.
    pub kind: Gvk,
    /// Its namespace; none for cluster-scoped kinds.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

/// One thing wrong with an object or a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    /// A word for programs: `FieldValueRequired`, `FieldValueInvalid`, ….
    pub reason: String,
    /// The path of the field: `spec.items[2].name`. Empty for the whole.
    pub field: String,
    /// What is wrong and how to mend it, for people.
    pub message: String,
}

impl Cause {
    /// A field that holds what it may not hold.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Cause {
        Cause {
            reason: "FieldValueInvalid".to_owned(),
            field: field.into(),
            message: message.into(),
        }
    }
}

/// How fresh a read must be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Freshness {
    /// From the host's cache, together with what this call wrote. Costs microseconds.
    #[default]
    Cached,
    /// From the cache, once it is at this resourceVersion or later.
    AtLeast(String),
    /// From the API server; needs the permission `get` or `list`, and a round trip.
    Live,
}

/// Which objects of a kind to list, from the cache unless [`Query::live`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// None: every namespace that the plugin may see.
    pub namespace: Option<String>,
    /// A label selector in Kubernetes' syntax; empty for all.
    pub labels: String,
    /// Name and value of an index that the manifest declares.
    pub index: Option<(String, String)>,
    /// How fresh the answer must be.
    pub how: Freshness,
    /// Objects in a page; 0 for the host's own limit.
    pub page_size: u32,
}

impl Query {
    /// Every object in every namespace that the plugin may see.
    pub fn all() -> Query {
        Query::default()
    }

    /// Only in this namespace.
    pub fn in_namespace(mut self, namespace: impl Into<String>) -> Query {
        self.namespace = Some(namespace.into());
        self
    }

    /// Only with labels that this selector selects: `app=web,tier!=cache`, `env in (a, b)`.
    pub fn labels(mut self, selector: impl Into<String>) -> Query {
        self.labels = selector.into();
        self
    }

    /// Only what a declared index holds under this value.
    pub fn index(mut self, name: impl Into<String>, value: impl Into<String>) -> Query {
        self.index = Some((name.into(), value.into()));
        self
    }

    /// From the API server instead of the cache; needs the permission `list`.
    pub fn live(mut self) -> Query {
        self.how = Freshness::Live;
        self
    }
}

/// A part of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// JSON texts of the objects.
    pub items: Vec<String>,
    /// What to ask for the next page with; none if this is the last.
    pub next: Option<String>,
    /// The version of the snapshot that all pages of one list are of.
    pub resource_version: String,
}

/// What a patch does; each holds JSON text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A merge patch, RFC 7386.
    Merge(String),
    /// A JSON patch, RFC 6902.
    JsonPatch(String),
    /// Kubernetes' strategic merge patch; built-in kinds only.
    Strategic(String),
    /// Server-side apply.
    Apply(String),
}

/// What happens to the objects that a deleted one owns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Propagation {
    /// They are deleted some time after it.
    #[default]
    Background,
    /// They are deleted before it vanishes.
    Foreground,
    /// They stay, without owner.
    Orphan,
}

/// What else a write says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// `status`, `scale`, …; each needs its own permission.
    pub subresource: Option<String>,
    /// Fail with Conflict unless the object has this uid.
    pub uid: Option<String>,
    /// Fail with Conflict unless the object has this resourceVersion.
    pub resource_version: Option<String>,
    /// Take over fields that another manager owns (apply only).
    pub force: bool,
    /// Check everything and store nothing.
    pub dry_run: bool,
    /// The field manager is `pilothouse/PLUGIN`, or `pilothouse/PLUGIN/SUFFIX`.
    pub manager_suffix: Option<String>,
}

/// What kind of Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// For information.
    Normal,
    /// Something that people should look at.
    Warning,
}

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something failed that should not.
    Error,
    /// Something looks wrong.
    Warn,
    /// Something worth knowing happened.
    Info,
    /// For whoever looks for a fault in the plugin.
    Debug,
    /// Everything.
    Trace,
}

/// A wall-clock time: seconds and nanoseconds since 1970 in UTC, until the year 2106.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Since 1970-01-01T00:00:00Z.
    pub seconds: u32,
    /// Below one billion.
    pub nanoseconds: u32,
}

impl Timestamp {
    /// As objects carry it, to the second: `2026-01-31T12:00:00Z`.
    pub fn rfc3339(self) -> String {
        let (days, second) = (i64::from(self.seconds / 86_400), self.seconds % 86_400);
        // From days to a civil date: eras of 400 years that begin in March.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 {
            month_from_march + 3
        } else {
            month_from_march - 9
        };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        format!(
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
            second / 3600,
            second / 60 % 60,
            second % 60
        )
    }

    /// Reads what [`Timestamp::rfc3339`] writes, which is what API servers write; fractions of a second are allowed,
    /// other zones than `Z` are not. None for anything else.
    pub fn parse(text: &str) -> Option<Timestamp> {
        let number = |range: std::ops::Range<usize>| -> Option<i64> {
            let digits = text.get(range)?;
            digits
                .bytes()
                .all(|byte| byte.is_ascii_digit())
                .then(|| digits.parse().ok())?
        };
        let bytes = text.as_bytes();
        let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
        if marks.iter().any(|(at, mark)| bytes.get(*at) != Some(mark)) {
            return None;
        }
        let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
        let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
        let nanoseconds = match text.get(19..)?.strip_suffix('Z')? {
            "" => 0,
            fraction => {
                let digits = fraction
                    .strip_prefix('.')
                    .filter(|digits| (1..=9).contains(&digits.len()))?;
                digits
                    .bytes()
                    .all(|byte| byte.is_ascii_digit())
                    .then(|| format!("{digits:0<9}").parse().ok())??
            }
        };
        if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let from_march = if month > 2 { year } else { year - 1 };
        let era = from_march.div_euclid(400);
        let year_of_era = from_march.rem_euclid(400);
        let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
        let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
        let seconds = u32::try_from(days * 86_400 + hour * 3600 + minute * 60 + second).ok()?;
        Some(Timestamp { seconds, nanoseconds })
    }

    /// How long after `earlier` this is; zero if it isn't.
    pub fn since(self, earlier: Timestamp) -> Duration {
        self.since_epoch().saturating_sub(earlier.since_epoch())
    }

    /// The same as a duration since 1970.
    pub fn since_epoch(self) -> Duration {
        Duration::new(self.seconds.into(), self.nanoseconds)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_api_servers_write_them() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_210_096, "2024-02-29T12:34:56Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (u32::MAX, "2106-02-07T06:28:15Z"),
        ] {
            let time = Timestamp {
                seconds,
                nanoseconds: 0,
            };
            assert_eq!(time.rfc3339(), text);
            assert_eq!(Timestamp::parse(text), Some(time));
        }
    }

    #[test]
    fn every_day_of_the_range_is_read_back_as_it_was_written() {
        for day in 0..u32::MAX / 86_400 {
            let time = Timestamp {
                seconds: day * 86_400 + day % 86_400,
                nanoseconds: 0,
            };
            assert_eq!(Timestamp::parse(&time.rfc3339()), Some(time));
        }
    }

    #[test]
    fn what_is_no_time_is_none_and_no_panic() {
        for text in [
            "",
            "yesterday",
            "2024-13-01T00:00:00Z",
            "2024-02-29T12:34:56",
            "2024-02-29T12:34:56+01:00",
            "1969-01-01T00:00:00Z",
            "äöüßäöüßäöüß",
            "+024-02-29T12:34:56Z",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
        let fraction = Timestamp::parse("2024-02-29T12:34:56.25Z").unwrap();
        assert_eq!(fraction.nanoseconds, 250_000_000);
    }
}
