//! The program's own log, on stderr: stdout is for data.
//!
//! Promises: an event is one line, whatever texts of guests and servers are in it, so that none of them can look like
//! an event of its own or steer a terminal. On a terminal an event with several lines has them, indented, for whoever
//! reads there; nobody parses that.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};

use pilothouse_object::{escape_control, must_escape};
use pilothouse_runtime::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::args::LogFormat;

/// kube logs every failed request as an error of its own; what fails is told by whoever sent the request.
const QUIET: [&str; 2] = ["kube_client::client::builder=off", "hyper_util=warn"];

/// Starts logging. `level` was checked by the command line. Called once.
pub(crate) fn start(format: LogFormat, level: &str) {
    let filter = QUIET
        .iter()
        .filter_map(|directive| directive.parse().ok())
        .fold(EnvFilter::builder().parse_lossy(level), EnvFilter::add_directive);
    let terminal = std::io::stderr().is_terminal();
    let form = match format {
        LogFormat::Json => Form::Json,
        LogFormat::Text if terminal => Form::Terminal,
        LogFormat::Text => Form::Line,
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(form);
    match format {
        LogFormat::Text => {
            let colour = terminal && !no_colour();
            builder.with_ansi(colour).with_target(false).init();
        }
        LogFormat::Json => builder.json().flatten_event(false).init(),
    }
}

/// How an event is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// A line of text.
    Line,
    /// Lines of text, coloured maybe, for a person.
    Terminal,
    /// A line of JSON.
    Json,
}

impl MakeWriter<'_> for Form {
    type Writer = Lines;

    fn make_writer(&self) -> Lines {
        Lines(*self)
    }
}

/// Writes to stderr. It is given an event as a whole, with its line break.
struct Lines(Form);

impl io::Write for Lines {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = line(self.0, &text);
        io::Write::write_all(&mut io::stderr().lock(), line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::Write::flush(&mut io::stderr().lock())
    }
}

/// An event as it is written, with the line break that ends it.
fn line(form: Form, event: &str) -> Cow<'_, str> {
    let body = event.strip_suffix('\n').unwrap_or(event);
    if body.len() < event.len() && !body.contains(must_escape) {
        return Cow::Borrowed(event);
    }
    let mut out = String::with_capacity(event.len() + 16);
    let mut rest = body.chars();
    while let Some(c) = rest.next() {
        match (form, c) {
            (_, c) if !must_escape(c) => out.push(c),
            (Form::Terminal, '\n') => out.push_str("\n    "),
            (Form::Terminal, '\u{1b}') if is_colour(rest.as_str()) => out.push(c),
            // Within a text, since nothing else in an event's JSON can hold it. Writing to a String can't fail.
            (Form::Json, c) => _ = write!(out, "\\u{:04x}", c as u32),
            (_, c) => out.push_str(&escape_control(c.encode_utf8(&mut [0; 4]))),
        }
    }
    out.push('\n');
    Cow::Owned(out)
}

/// A message as lines for a person, of which none but the first begins a line: what it quotes can't look like another.
pub(crate) fn indented(message: &str) -> String {
    line(Form::Terminal, message).into_owned()
}

/// Whether this, behind an escape, makes colour, bold, dim or italic of what follows, or ends that: the log's own
/// signs, and harmless where somebody else puts one into an event.
fn is_colour(rest: &str) -> bool {
    let digits = rest.strip_prefix('[').and_then(|rest| rest.split_once('m'));
    digits.is_some_and(|(digits, _)| matches!(digits, "0" | "1" | "2" | "3" | "31" | "32" | "33" | "34" | "35" | "36"))
}

/// Whether the environment asks for no colours (<https://no-color.org>: set and not empty).
pub(crate) fn no_colour() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// Which of a plugin's log lines `dev` shows: those that `--log-level` names without a part of the host.
pub(crate) fn plugin_level(level: &str) -> Level {
    let bare = level
        .split(',')
        .rfind(|directive| !directive.contains('='))
        .unwrap_or("info");
    match bare.trim().to_ascii_lowercase().as_str() {
        "off" | "error" => Level::Error,
        "warn" => Level::Warn,
        "debug" => Level::Debug,
        "trace" => Level::Trace,
        _ => Level::Info,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_is_in_it() {
        for (form, event, expected) in [
            (Form::Line, "INFO a plain line\n", "INFO a plain line\n"),
            (
                Form::Line,
                "WARN it said\nERROR forged\r\u{1b}[2J\u{9b}\u{2028}\u{202e}\n",
                "WARN it said\\nERROR forged\\r\\u{1b}[2J\\u{9b}\\u{2028}\\u{202e}\n",
            ),
            (Form::Line, "no end", "no end\n"),
            (Form::Line, "ends twice\n\n", "ends twice\\n\n"),
            (
                Form::Terminal,
                "\u{1b}[33mWARN\u{1b}[0m it said\nERROR forged\r\u{9b}\u{1b}[8m\u{1b}[2J\n",
                "\u{1b}[33mWARN\u{1b}[0m it said\n    ERROR forged\\r\\u{9b}\\u{1b}[8m\\u{1b}[2J\n",
            ),
            (Form::Json, "{\"a\":\"b\\n\"}\n", "{\"a\":\"b\\n\"}\n"),
            (
                Form::Json,
                "{\"a\":\"\u{9b}\u{202e}\"}\n",
                "{\"a\":\"\\u009b\\u202e\"}\n",
            ),
        ] {
            assert_eq!(line(form, event), expected, "{form:?}");
        }
        assert_eq!(indented("error: a\nERROR b\r"), "error: a\n    ERROR b\\r\n");
        let json: serde_json::Value = serde_json::from_str(&line(Form::Json, "{\"a\":\"\u{9b}\"}\n")).unwrap();
        assert_eq!(json["a"], "\u{9b}", "what is told stays the same");
    }

    #[test]
    fn the_level_of_plugins_is_the_one_without_a_part() {
        assert_eq!(plugin_level("debug"), Level::Debug);
        assert_eq!(plugin_level("pilothouse_informer=trace,warn"), Level::Warn);
        assert_eq!(plugin_level("pilothouse_informer=trace"), Level::Info);
    }
}
