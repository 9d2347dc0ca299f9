//! Texts without what can't be equal on two servers.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;

use crate::compare::Rules;

pub(crate) static UID: LazyLock<Regex> =
    LazyLock::new(|| regex("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"));
static TIME: LazyLock<Regex> = LazyLock::new(|| regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"));
pub(crate) static AGE: LazyLock<Regex> = LazyLock::new(|| regex(r"^(\d+[smhd]){1,2}$"));
/// Versions in messages.
static UNKNOWN_VERSIONS: LazyLock<Regex> =
    LazyLock::new(|| regex(r"(current: |ResourceVersion in the precondition \(|ResourceVersion in record \()\d+"));
static ERRORS: LazyLock<Regex> = LazyLock::new(|| regex(r"(?s)^(.* is invalid: )\[(.*)\]$"));

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"))
}

/// What is known of the moment.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    /// The days that the present may be, as `2026-11-25`.
    pub(crate) today: BTreeSet<String>,
}

impl Texts {
    /// A text without what can't be equal on two servers.
    pub(crate) fn text(&self, text: &str, rules: &Rules, side: usize) -> String {
        let mut text = text.to_owned();
        for (value, name) in &rules.saved[side] {
            text = text.replace(value, &format!("<{name}>"));
        }
        for mask in &rules.mask {
            text = mask.replace_all(&text, "<masked>").into_owned();
        }
        text = UNKNOWN_VERSIONS.replace_all(&text, "$1<version>").into_owned();
        let text = TIME.replace_all(&text, |found: &regex::Captures<'_>| {
            let is_now = found[0].get(..10).is_some_and(|day| self.today.contains(day));
            match (is_now, found.get(1)) {
                (true, None) => "<time>".to_owned(),
                (true, Some(_)) => "<time with a fraction>".to_owned(),
                (false, _) => found[0].to_owned(),
            }
        });
        match ERRORS.captures(&text) {
            Some(found) => {
                let mut errors: Vec<&str> = found[2].split(", ").collect();
                errors.sort_unstable();
                format!("{}[{}]", &found[1], errors.join(", "))
            }
            None => text.into_owned(),
        }
    }
}
