//! Finds a panic's message and place: in the log line of the SDK's panic hook, or in what Rust's std writes to stderr.

use crate::limits::{TEXT, cut};

/// A panic, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Panic {
    pub(crate) message: String,
    pub(crate) file: Option<String>,
    pub(crate) line: Option<u32>,
}

impl Panic {
    /// From a log line at error level, if its fields say that it tells of a panic (`panic` = `true`).
    pub(crate) fn from_log(message: &str, fields: &[(String, String)]) -> Option<Panic> {
        let field = |name: &str| {
            fields
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.as_str())
        };
        if field("panic") != Some("true") {
            return None;
        }
        Some(Panic {
            message: cut(message.to_owned(), TEXT),
            file: field("file").map(|file| cut(file.to_owned(), TEXT)),
            line: field("line").and_then(|line| line.parse().ok()),
        })
    }

    /// From what std's own panic hook writes: `thread 'x' panicked at FILE:LINE:COLUMN:`, then the message, then
    /// perhaps a note about backtraces. The last one, if there are several.
    pub(crate) fn from_stderr(text: &str) -> Option<Panic> {
        const MARK: &str = "panicked at ";
        let (_, after) = text.rsplit_once(MARK)?;
        let (place, message) = after.split_once('\n').unwrap_or((after, ""));
        let place = place.trim_end_matches(':');
        let (file, line) = match place.rsplitn(3, ':').collect::<Vec<_>>()[..] {
            [_, line, file] => (file, line.parse().ok()),
            _ => (place, None),
        };
        let message: Vec<&str> = message
            .lines()
            .take_while(|line| {
                !line.starts_with("note: run with `RUST_BACKTRACE") && !line.starts_with("stack backtrace:")
            })
            .collect();
        Some(Panic {
            message: cut(message.join("\n").trim_end().to_owned(), TEXT),
            file: Some(cut(file.to_owned(), TEXT)),
            line,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panic(message: &str, file: Option<&str>, line: Option<u32>) -> Option<Panic> {
        let file = file.map(str::to_owned);
        Some(Panic {
            message: message.to_owned(),
            file,
            line,
        })
    }

    #[test]
    fn a_log_line_is_a_panic_only_if_its_field_says_so() {
        let field = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let fields = [field("panic", "true"), field("file", "src/lib.rs"), field("line", "7")];
        assert_eq!(Panic::from_log("oh", &fields), panic("oh", Some("src/lib.rs"), Some(7)));
        assert_eq!(Panic::from_log("oh", &fields[..1]), panic("oh", None, None));
        assert_eq!(Panic::from_log("oh", &fields[1..]), None);
        assert_eq!(Panic::from_log("oh", &[field("panic", "no")]), None);
        let fields = [field("panic", "true"), field("line", "seven")];
        assert_eq!(Panic::from_log("oh", &fields), panic("oh", None, None));
    }

    #[test]
    fn std_writes_place_and_message_on_stderr() {
        let text = "\nthread '<unnamed>' (1) panicked at src/lib.rs:12:5:\nindex out of bounds\nsecond line\n\
                    note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n";
        let expected = panic("index out of bounds\nsecond line", Some("src/lib.rs"), Some(12));
        assert_eq!(Panic::from_stderr(text), expected);
    }

    #[test]
    fn the_last_of_several_panics_counts() {
        let text = "thread 'a' panicked at a.rs:1:1:\nfirst\nthread 'a' panicked at b.rs:2:1:\nlast\n";
        assert_eq!(Panic::from_stderr(text), panic("last", Some("b.rs"), Some(2)));
    }

    #[test]
    fn odd_texts_give_what_there_is() {
        assert_eq!(Panic::from_stderr("all is well\n"), None);
        assert_eq!(Panic::from_stderr("panicked at "), panic("", Some(""), None));
        assert_eq!(
            Panic::from_stderr("panicked at somewhere"),
            panic("", Some("somewhere"), None)
        );
        assert_eq!(
            Panic::from_stderr("panicked at C:\\x.rs:3:4:\nm"),
            panic("m", Some("C:\\x.rs"), Some(3))
        );
        let long = format!("panicked at a.rs:1:1:\n{}", "é".repeat(TEXT));
        let message = Panic::from_stderr(&long).map(|panic| panic.message).unwrap_or_default();
        assert!(message.ends_with('…') && message.len() <= TEXT + 3, "{}", message.len());
    }
}
