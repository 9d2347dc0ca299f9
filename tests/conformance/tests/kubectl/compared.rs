//! What kubectl said on two servers, and a short rendering of what differs.

use std::process::ExitStatus;

use crate::normal::normal;

/// So many lines of a difference are shown, the rest is counted.
const LINES: usize = 3;
/// So many characters of a line are shown.
const WIDTH: usize = 160;
/// So many of them stand before the first one that differs.
const LEAD: usize = 40;

/// What kubectl said, made comparable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    /// The exit code; none if it was ended by a signal.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<String>,
    pub(crate) stderr: Vec<String>,
}

impl Said {
    pub(crate) fn new(status: ExitStatus, stdout: &str, stderr: &str) -> Self {
        Self {
            code: status.code(),
            stdout: normal(stdout),
            stderr: normal(stderr),
        }
    }

    /// All of it, for the message of a failed test.
    pub(crate) fn whole(&self) -> String {
        format!(
            "{}\n{}\n{}",
            self.exit(),
            self.stdout.join("\n"),
            self.stderr.join("\n")
        )
    }

    fn exit(&self) -> String {
        self.code
            .map_or_else(|| "killed".to_owned(), |code| format!("exit {code}"))
    }
}

/// What differs, as each of the two has it; none where nothing does.
pub(crate) fn difference(real: &Said, ours: &Said) -> Option<[String; 2]> {
    let mut parts: [Vec<String>; 2] = Default::default();
    if real.code != ours.code {
        parts[0].push(real.exit());
        parts[1].push(ours.exit());
    }
    for (label, real, ours) in [
        ("", &real.stdout, &ours.stdout),
        ("stderr: ", &real.stderr, &ours.stderr),
    ] {
        if real != ours {
            for (parts, text) in parts.iter_mut().zip(shown(real, ours)) {
                parts.push(format!("{label}{text}"));
            }
        }
    }
    (!parts[0].is_empty()).then(|| parts.map(|parts| parts.join("; ")))
}

/// The first lines of what is left when what both begin and end with is taken off.
fn shown(real: &[String], ours: &[String]) -> [String; 2] {
    let same = |pairs: &mut dyn Iterator<Item = (&String, &String)>| pairs.take_while(|(a, b)| a == b).count();
    let start = same(&mut real.iter().zip(ours));
    let (real, ours) = (&real[start..], &ours[start..]);
    let end = same(&mut real.iter().rev().zip(ours.iter().rev()));
    let (real, ours) = (&real[..real.len() - end], &ours[..ours.len() - end]);
    let differs_at = match (real.first(), ours.first()) {
        (Some(a), Some(b)) => a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count(),
        _ => 0,
    };
    [real, ours].map(|lines| {
        let mut shown: Vec<String> = lines
            .iter()
            .take(LINES)
            .enumerate()
            .map(|(index, line)| cut(line, if index == 0 { differs_at } else { 0 }))
            .collect();
        match lines.len() {
            0 => shown.push("nothing".to_owned()),
            count if count > LINES => shown.push(format!("and {} lines more", count - LINES)),
            _ => {}
        }
        shown.join(" | ")
    })
}

/// A line without its indent and, if it is long, with what surrounds the place alone.
fn cut(line: &str, differs_at: usize) -> String {
    if line.chars().count() <= WIDTH {
        return line.trim().to_owned();
    }
    let skipped = differs_at.saturating_sub(LEAD);
    let mut text: String = line.chars().skip(skipped).take(WIDTH).collect();
    if skipped > 0 {
        text.insert(0, '…');
    }
    if line.chars().count() > skipped + WIDTH {
        text.push('…');
    }
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(code: i32, stdout: &str, stderr: &str) -> Said {
        Said {
            code: Some(code),
            stdout: normal(stdout),
            stderr: normal(stderr),
        }
    }

    fn differs(real: &Said, ours: &Said, shown: [&str; 2]) {
        assert_eq!(difference(real, ours), Some(shown.map(str::to_owned)));
    }

    #[test]
    fn what_is_the_same_but_for_ages_does_not_differ() {
        let said = |age: &str| said(0, &format!("NAME   AGE\none    {age}"), "");
        assert_eq!(difference(&said("3s"), &said("1m")), None);
    }

    #[test]
    fn only_what_differs_is_shown() {
        let real = said(0, "a\nb\nc", "");
        differs(&real, &said(0, "a\nx\nc", ""), ["b", "x"]);
        differs(&real, &said(0, "a\nc", ""), ["b", "nothing"]);
        differs(&real, &said(1, "a\nb\nc", ""), ["exit 0", "exit 1"]);
        differs(
            &real,
            &said(1, "", "no"),
            ["exit 0; a | b | c; stderr: nothing", "exit 1; nothing; stderr: no"],
        );
        differs(
            &said(0, "a\n1\n2\n3\n4\n5\nc", ""),
            &said(0, "a\nc", ""),
            ["1 | 2 | 3 | and 2 lines more", "nothing"],
        );
    }

    #[test]
    fn a_long_line_is_shown_where_it_differs() {
        let long = |end: &str| said(0, &format!("{}{end}", "x".repeat(300)), "");
        let [real, ours] = difference(&long("a"), &long("b")).unwrap();
        assert!(real.ends_with("xa") && ours.ends_with("xb"), "{real} {ours}");
        assert!(real.chars().count() <= WIDTH + 2, "{real}");
    }
}
