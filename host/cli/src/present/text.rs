//! The form for people: a compact block for each run.

use std::{fmt::Write as _, path::Path, time::Duration};

use pilothouse_controller::{ControllerId, HotLoop, Reconciled};
use pilothouse_lifecycle::Plugin;
use pilothouse_object::{Key, escape_control, shorten};
use pilothouse_runtime::Level;

use super::{Moment, Note, level_name};

/// Bytes of one foreign text that are shown.
const SHOWN: usize = 1_000;

/// Causes of a run that are shown.
const SHOWN_CAUSES: usize = 3;

/// Where what belongs to a block's head begins.
const INDENT: &str = "             ";

/// How the stream looks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    /// With terminal colours.
    pub(crate) colour: bool,
    /// With signs beyond ASCII.
    pub(crate) unicode: bool,
}

/// What a text looks like where there are colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ink {
    Plain,
    Bold,
    Dim,
    Green,
    Yellow,
    Red,
}

impl Style {
    pub(crate) fn ink(self, ink: Ink, text: &str) -> String {
        let code = match ink {
            Ink::Bold => "1",
            Ink::Dim => "2",
            Ink::Green => "32",
            Ink::Yellow => "33",
            Ink::Red => "31",
            Ink::Plain => return text.to_owned(),
        };
        if self.colour {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    fn mark(self, unicode: &'static str, ascii: &'static str) -> &'static str {
        if self.unicode { unicode } else { ascii }
    }

    /// The text, or so many characters of it with the sign that something is missing.
    pub(crate) fn cut(self, text: &str, most: usize) -> String {
        if text.chars().count() <= most {
            return text.to_owned();
        }
        let sign = self.mark("…", "...");
        let kept: String = text.chars().take(most.saturating_sub(sign.chars().count())).collect();
        kept + sign
    }

    /// A text of the host's or a foreign one: bounded, escaped, and without the host's signs where they can't be shown.
    pub(crate) fn shown(self, text: &str) -> String {
        let text = escape_control(&shorten(text, SHOWN)).into_owned();
        if self.unicode {
            return text;
        }
        text.replace('←', "<-").replace('–', "-").replace('…', "...")
    }
}

/// The head of a block: time, mark, and what it is about.
fn head(style: Style, at: Moment, ink: Ink, mark: &str, what: &str) -> String {
    format!(
        "{} {} {what}",
        style.ink(Ink::Dim, &clock(at.since_start)),
        style.ink(ink, mark)
    )
}

/// Seconds since the start, so wide that hours don't shift the columns.
fn clock(since_start: Duration) -> String {
    format!("{:>9.3}s", since_start.as_secs_f64())
}

/// One line of a block, behind its label.
fn line(out: &mut String, style: Style, label: &str, text: &str) {
    let label = style.ink(Ink::Dim, &format!("{label:<5}"));
    // Writing to a String can't fail.
    let _ = writeln!(out, "{INDENT}{label} {text}");
}

/// `plugin/controller`, or one word where both are the same.
fn controller(id: &ControllerId) -> String {
    if id.plugin == id.controller {
        id.plugin.to_string()
    } else {
        id.to_string()
    }
}

pub(super) fn reconciled(style: Style, at: Moment, run: &Reconciled, log: &[String]) -> String {
    let (ink, mark, end) = end(style, run);
    let object = style.ink(Ink::Bold, &style.shown(&format!("{} {}", run.kind.kind, run.key)));
    let mut what = format!("{} {object}", style.shown(&controller(&run.id)));
    if run.version.is_none() {
        what.push_str(" (gone)");
    }
    if !end.is_empty() {
        let _ = write!(what, " {} {end}", style.mark("–", "-"));
    }
    let took = format!("({})", duration(run.wall));
    let mut out = format!("{} {}\n", head(style, at, ink, mark, &what), style.ink(Ink::Dim, &took));
    for cause in run.causes.iter().take(SHOWN_CAUSES) {
        line(&mut out, style, "why", &style.shown(&cause.to_string()));
    }
    let more = run.causes.len().saturating_sub(SHOWN_CAUSES) as u64 + run.causes_omitted;
    if more > 0 {
        line(&mut out, style, "", &format!("and {more} more"));
    }
    for (i, write) in run.writes.iter().enumerate() {
        line(
            &mut out,
            style,
            if i == 0 { "wrote" } else { "" },
            &style.shown(&write.to_string()),
        );
    }
    for (i, text) in log.iter().enumerate() {
        line(&mut out, style, if i == 0 { "log" } else { "" }, text);
    }
    if let Ok(Ok(outcome)) = &run.result
        && let Some(note) = &outcome.note
    {
        line(&mut out, style, "note", &style.shown(note));
    }
    out
}

/// How a run ended: colour, mark and words.
fn end(style: Style, run: &Reconciled) -> (Ink, &'static str, String) {
    let again = run.again_after.map(|after| format!("again in {}", duration(after)));
    let failure = match &run.result {
        Ok(Ok(_)) => {
            return match again {
                Some(again) => (Ink::Yellow, style.mark("⏲", "~"), again),
                None => (Ink::Green, style.mark("✓", "+"), String::new()),
            };
        }
        Ok(Err(failure)) if failure.reason.is_empty() => style.shown(&failure.message),
        Ok(Err(failure)) => format!("{}: {}", style.shown(&failure.reason), style.shown(&failure.message)),
        Err(error) => style.shown(&error.to_string()),
    };
    let next = match again {
        _ if run.parked => "parked until something changes".to_owned(),
        Some(again) => again,
        None => "not again by itself".to_owned(),
    };
    let attempt = if run.attempt > 1 {
        format!("attempt {}: ", run.attempt)
    } else {
        String::new()
    };
    (
        Ink::Red,
        style.mark("✗", "x"),
        format!(
            "{attempt}{} {} {next}",
            style.ink(Ink::Red, &failure),
            style.mark("–", "-")
        ),
    )
}

pub(super) fn log_line(style: Style, level: Level, message: &str, fields: &[(String, String)]) -> String {
    let ink = match level {
        Level::Error => Ink::Red,
        Level::Warn => Ink::Yellow,
        Level::Info => Ink::Plain,
        Level::Debug | Level::Trace => Ink::Dim,
    };
    let mut out = style.ink(ink, &format!("{}: {}", level_name(level), style.shown(message)));
    for (name, value) in fields {
        // Quoted, so that a value can't pass for another field.
        let value = style.shown(value);
        let value = if value.is_empty() || value.contains([' ', '=', '"']) {
            format!("{value:?}")
        } else {
            value
        };
        let _ = write!(
            out,
            " {}",
            style.ink(Ink::Dim, &format!("{}={value}", style.shown(name)))
        );
    }
    out
}

pub(super) fn still_running(style: Style, at: Moment, id: &ControllerId, key: &Key, log: &[String]) -> String {
    let object = style.ink(Ink::Bold, &style.shown(&key.to_string()));
    let what = format!("{} {object} is still running", style.shown(&controller(id)));
    let mut out = format!("{}\n", head(style, at, Ink::Dim, style.mark("…", "."), &what));
    for (i, text) in log.iter().enumerate() {
        line(&mut out, style, if i == 0 { "log" } else { "" }, text);
    }
    out
}

pub(super) fn started(style: Style, at: Moment, id: &ControllerId) -> String {
    let what = format!("{} has its first lists and runs", style.shown(&controller(id)));
    format!("{}\n", head(style, at, Ink::Green, style.mark("▶", ">"), &what))
}

pub(super) fn swapped(style: Style, at: Moment, now: &Plugin) -> String {
    let version = shorten(&now.manifest.version, 64);
    let what = format!("{} serves in another version: {version}", now.name);
    format!(
        "{}\n",
        head(style, at, Ink::Green, style.mark("▶", ">"), &style.shown(&what))
    )
}

pub(super) fn unloaded(style: Style, at: Moment, plugin: &str) -> String {
    let what = format!("{} is gone", style.shown(plugin));
    format!("{}\n", head(style, at, Ink::Dim, style.mark("■", "x"), &what))
}

/// What it says of foreign names is escaped already.
pub(super) fn hot_loop(style: Style, at: Moment, found: &HotLoop) -> String {
    let what = format!("{} {} loops: {found}", found.id, escape_control(&found.key.to_string()));
    format!("{}\n", head(style, at, Ink::Red, style.mark("↻", "@"), &what))
}

pub(super) fn note(style: Style, at: Moment, note: &Note<'_>) -> String {
    let what = match note {
        Note::Serving { server, kubeconfig } => {
            let file = absolute(kubeconfig);
            let mut out = format!("The local API server is at {server}. In another terminal:\n\n");
            let _ = writeln!(
                out,
                "  {}\n",
                style.ink(Ink::Bold, &format!("export KUBECONFIG={}", quoted(&file)))
            );
            return out;
        }
        Note::Using { server, source } => {
            format!(
                "the cluster is {} (from {}); what is written there stays",
                style.ink(Ink::Bold, &style.shown(server)),
                style.shown(source)
            )
        }
        Note::Loaded {
            plugin,
            version,
            asked,
            local,
        } => {
            let rights = match asked {
                None => String::new(),
                Some(0) => "; it asks for nothing".to_owned(),
                Some(entries) => {
                    let why = if *local {
                        "this is a local cluster"
                    } else {
                        "no configuration grants otherwise"
                    };
                    format!("; granted what it asks for ({entries} permissions), since {why}")
                }
            };
            format!("loaded {plugin} {}{rights}", style.shown(version))
        }
        Note::Applied { done, kind, key, file } => {
            let object = style.ink(Ink::Bold, &style.shown(&format!("{} {key}", kind.kind)));
            format!("{done} {object} from {}", style.shown(&file.display().to_string()))
        }
        Note::Ready => "every controller runs".to_owned(),
        Note::Settled => "nothing is left to do".to_owned(),
        Note::Stopping { why } => format!("stopping ({why})"),
        Note::Lost { pieces } => format!("{pieces} pieces of this stream were left out: the reader was too slow"),
    };
    format!("{}\n", head(style, at, Ink::Dim, style.mark("·", "."), &what))
}

fn absolute(path: &Path) -> String {
    std::path::absolute(path)
        .unwrap_or_else(|_| path.to_owned())
        .display()
        .to_string()
}

/// A word as a shell reads it back.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// A duration in the unit that fits, in few digits.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    let short = |text: String| text.strip_suffix(".0").map_or(text.clone(), ToOwned::to_owned);
    match duration.as_millis() {
        0 => format!("{:.2}ms", seconds * 1_000.0),
        1..=9 => format!("{}ms", short(format!("{:.1}", seconds * 1_000.0))),
        10..=999 => format!("{:.0}ms", seconds * 1_000.0),
        1_000..=59_999 => format!("{}s", short(format!("{seconds:.1}"))),
        _ => {
            let (minutes, seconds) = (duration.as_secs() / 60, duration.as_secs() % 60);
            let (hours, minutes) = (minutes / 60, minutes % 60);
            match (hours, minutes, seconds) {
                (0, minutes, 0) => format!("{minutes}m"),
                (0, minutes, seconds) => format!("{minutes}m{seconds}s"),
                (hours, 0, _) => format!("{hours}h"),
                (hours, minutes, _) => format!("{hours}h{minutes}m"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        for (millis, text) in [
            (0, "0.00ms"),
            (5, "5ms"),
            (12, "12ms"),
            (1_000, "1s"),
            (1_500, "1.5s"),
            (60_000, "1m"),
            (90_000, "1m30s"),
            (3_600_000, "1h"),
            (5_400_000, "1h30m"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
        assert_eq!(duration(Duration::from_micros(412)), "0.41ms");
    }

    #[test]
    fn a_path_is_quoted_for_the_shell_where_it_must_be() {
        assert_eq!(quoted("/a/b-c.d"), "/a/b-c.d");
        assert_eq!(quoted("/a b/it's"), r"'/a b/it'\''s'");
    }
}
