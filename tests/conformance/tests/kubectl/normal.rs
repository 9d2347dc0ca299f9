//! What kubectl writes, made comparable.
//!
//! The rules, each for one thing that no two runs share:
//! - A uid is `<uid>`, a time `<time>`, an age `<age>`, an address of a server `<server>`, of a Service `<ip>`.
//! - A resourceVersion is its rank among those of the same output: equal stays equal, order stays order.
//! - The widths of columns follow the ages in them: a gap within a line is two blanks, at its end none. The indent
//!   stays.
//! - Temporary files are named without their number, warnings and errors of kubectl's own log without time and process.
//!   What else it logs, and all about its watches, is left out: that is about connections, and races with its end.
//!
//! `managedFields` need no rule: kubectl shows them only when asked to.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::{Captures, Regex};

/// Patterns and what they are replaced by, in this order.
static RULES: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    [
        // A line of kubectl's log: `E1125 15:07:47.123456   12345 memcache.go:265] …`.
        (
            r"(?m)^(I\d{4} [\d:.]+ +\d+ \S+|[EW]\d{4} [\d:.]+ +\d+ reflector)\.go:\d+\].*\n",
            "",
        ),
        (r"(?m)^([EW])\d{4} [\d:.]+ +\d+ (\S+\.go):\d+\]", "$1 <time> $2]"),
        (r"(https?://)?127\.0\.0\.1:\d+", "<server>"),
        // The real server's Services have theirs in 10.0.0.0/24, ours in 10.96.0.0/16.
        (r"\b10\.(0\.0|96\.\d+)\.\d+\b", "<ip>"),
        (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "<uid>"),
        (r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "<time>"),
        // In the output of `describe`, and in the heads of `diff`.
        (r"\b\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}", "<time>"),
        (r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ [+-]\d{4}", "<time>"),
        (r"\S*/(LIVE|MERGED)-\d+/", "$1/"),
        (r"\S*/kubectl-edit-\d+\.", "kubectl-edit."),
        (r"(?m)[ \t]+$", ""),
        (r"(\S)(?:  +|\t+)", "$1  "),
    ]
    .map(|(pattern, text)| (Regex::new(pattern).expect("a pattern"), text))
    .into()
});

static VERSION: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"(resourceVersion\\?"?: ?\\?"?|Resource Version: +)(\d+)\b"#).expect("a pattern"));

static WORD: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"[^\s()]+").expect("a pattern"));

/// `<unknown>` and `<invalid>` are none: they would be wrong.
static AGE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^(\d+y)?(\d+d)?(\d+h)?(\d+m)?(\d+s)?$").expect("a pattern"));

/// The lines of an output without what no two runs share.
pub(crate) fn normal(output: &str) -> Vec<String> {
    let mut text = ranked(output);
    for (pattern, replacement) in RULES.iter() {
        text = pattern.replace_all(&text, *replacement).into_owned();
    }
    let age = |word: &Captures<'_>| {
        if AGE.is_match(&word[0]) {
            "<age>".into()
        } else {
            word[0].to_owned()
        }
    };
    let text = WORD.replace_all(&text, age);
    text.lines().map(str::to_owned).collect()
}

fn ranked(text: &str) -> String {
    let number = |found: &Captures<'_>| found[2].parse::<u64>().unwrap_or(u64::MAX);
    let versions: BTreeSet<u64> = VERSION.captures_iter(text).map(|found| number(&found)).collect();
    let rank = |found: &Captures<'_>| {
        let rank = versions.range(..=number(found)).count();
        format!("{}<version {rank}>", &found[1])
    };
    VERSION.replace_all(text, rank).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> String {
        normal(line).join("\n")
    }

    #[test]
    fn what_no_two_runs_share_is_named() {
        assert_eq!(one("uid: 0b9d5b1c-2d5e-4c0e-9d4b-3a1f0e6c7d8a"), "uid: <uid>");
        assert_eq!(one("at: \"2026-11-25T15:07:47Z\""), "at: \"<time>\"");
        assert_eq!(one("At:   Wed, 25 Nov 2026 15:07:47 +0000"), "At:  <time>");
        assert_eq!(
            one("Get \"https://127.0.0.1:6443/api\": no"),
            "Get \"<server>/api\": no"
        );
        assert_eq!(
            normal(
                "E1125 15:07:47.123456   12345 memcache.go:265] no\nI1125 15:07:47.123456   12345 a.go:1] x\n\
                     W1125 15:07:47.123456   12345 reflector.go:1] x\nyes"
            ),
            ["E <time> memcache.go] no", "yes"]
        );
        assert_eq!(
            one("--- /tmp/LIVE-123/v1.ConfigMap.a.one\t2026-11-25 15:07:47.123456789 +0000"),
            "--- LIVE/v1.ConfigMap.a.one  <time>"
        );
    }

    #[test]
    fn an_age_is_a_word_of_its_own() {
        assert_eq!(one("one   2      13s"), "one  2  <age>");
        assert_eq!(one("one   2      2m3s   a=b"), "one  2  <age>  a=b");
        assert_eq!(one("3s (x2 over 5d4h)"), "<age> (x2 over <age>)");
        assert_eq!(one("1m 2m"), "<age> <age>");
        assert_eq!(one("one   5s5s"), "one  5s5s");
        assert_eq!(one("one   <unknown>   v1s"), "one  <unknown>  v1s");
    }

    #[test]
    fn versions_keep_equality_and_order() {
        let text =
            "resourceVersion: \"20\"\nresourceVersion: \"9\"\n\"resourceVersion\": \"20\"\nresourceVersion: \"\"";
        assert_eq!(
            normal(text),
            [
                "resourceVersion: \"<version 2>\"",
                "resourceVersion: \"<version 1>\"",
                "\"resourceVersion\": \"<version 2>\"",
                "resourceVersion: \"\"",
            ]
        );
    }

    #[test]
    fn gaps_have_one_width_and_the_indent_stays() {
        assert_eq!(normal("NAME     DATA   \n    a:  b"), ["NAME  DATA", "    a:  b"]);
        assert_eq!(one("a b"), "a b");
    }
}
