//! What is wrong with something written by a person: where, what, and how to mend it.
//!
//! Manifests, the operator's file and a plugin's configuration all report in this one form, so that an error reads the
//! same wherever it comes from. What is quoted of a manifest is cut and escaped; of an operator's file nothing is
//! quoted.

use std::borrow::Cow;
use std::fmt;

/// Texts from outside are shown up to this many bytes; what is longer ends in `…`.
const SHOWN: usize = 256;

/// One thing wrong, at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Path of the field, e.g. `controllers[0].watches[1].map`; empty for the document as a whole.
    pub at: String,
    /// What is wrong there.
    pub what: String,
    /// What to do about it; empty where `what` says it already.
    pub mend: String,
}

impl Problem {
    /// A problem at `at`. `mend` may be empty.
    pub fn new(at: impl Into<String>, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            at: at.into(),
            what: what.into(),
            mend: mend.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.at.is_empty() {
            write!(f, "{}: ", pilothouse_object::escape_control(&self.at))?;
        }
        f.write_str(&self.what)?;
        if !self.mend.is_empty() {
            write!(f, "; {}", self.mend)?;
        }
        Ok(())
    }
}

/// `text` from outside, fit for a message: control characters escaped, cut to a bounded length.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    if text.len() <= SHOWN {
        return pilothouse_object::escape_control(text);
    }
    Cow::Owned(pilothouse_object::escape_control(&pilothouse_object::shorten(text, SHOWN)).into_owned())
}

/// The problem behind an error of serde: the path, serde's words made plain, cut and escaped, and for an unknown name
/// the known one that is spelled nearly so.
pub(crate) fn from_serde(path: &str, message: &str) -> Problem {
    // serde lists every known field: longer than what is shown of a value, still bounded.
    let message = pilothouse_object::escape_control(&pilothouse_object::shorten(message, 1000)).into_owned();
    // `.` is what serde_path_to_error writes for the root, `?` for a key that it could not read.
    let at = path.trim_end_matches('?').trim_end_matches('.');
    // With a path, or with a place of its own kind beside it, the position says nothing more.
    let what = match message.rsplit_once(" at line ") {
        Some((what, _)) if !at.is_empty() => what,
        _ => &message,
    };
    let mend = did_you_mean(what)
        .map(|known| format!("did you mean `{known}`?"))
        .unwrap_or_default();
    Problem::new(at, plainly(what), mend)
}

/// serde speaks of Rust's types; people who write JSON know others.
fn plainly(what: &str) -> String {
    if what.contains("unit variant, expected newtype variant") {
        return "needs a value; write it as {\"…\": VALUE}".to_owned();
    }
    if what.contains("newtype variant, expected unit variant") {
        return "takes no value; write it as a plain string".to_owned();
    }
    what.replace(
        "expected u32",
        "expected a whole number, 0 or greater and not too large",
    )
}

/// Of serde's "unknown field `x`, expected one of `a`, `b`" (or "unknown variant"), the expected name nearest to `x`.
fn did_you_mean(message: &str) -> Option<String> {
    let rest = message
        .strip_prefix("unknown field ")
        .or_else(|| message.strip_prefix("unknown variant "))?;
    let (unknown, known) = rest.split_once(", expected ")?;
    let known = known.strip_prefix("one of ").unwrap_or(known);
    let known = known
        .split([',', ' '])
        .map(|word| word.trim_matches('`'))
        .filter(|word| !word.is_empty());
    nearest(unknown.trim_matches('`'), known).map(str::to_owned)
}

/// The candidate that is spelled most like `unknown`, if any is near enough to be what was meant.
pub(crate) fn nearest<'a>(unknown: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if unknown.len() > 64 {
        return None;
    }
    let most = (unknown.chars().count() / 3).clamp(1, 3);
    let lower = unknown.to_lowercase();
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= 64)
        .map(|candidate| (distance(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's edit distance, where swapping two neighbours counts as one edit, too.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut rows = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let differs = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1)
                .min(rows[i][j - 1] + 1)
                .min(rows[i - 1][j - 1] + differs);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}
