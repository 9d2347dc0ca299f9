//! Showing text that comes from guests and servers.

use std::{borrow::Cow, fmt::Write};

/// Text with control characters (among them the escape that starts terminal sequences) made visible, so that foreign
/// text can be shown on a terminal or stand in a log line. Newlines and tabs are escaped too.
pub fn escape_control(text: &str) -> Cow<'_, str> {
    if !text.chars().any(must_escape) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if must_escape(c) => {
                // Writing to a String can't fail.
                let _ = write!(out, "\\u{{{:x}}}", c as u32);
            }
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// What [`escape_control`] makes visible: control characters, and the marks that turn the direction of text around.
pub fn must_escape(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

/// The text, or its first `max` bytes (cut at a character's border) with `…` behind.
pub fn shorten(text: &str, max: usize) -> Cow<'_, str> {
    if text.len() <= max {
        return Cow::Borrowed(text);
    }
    let end = (0..=max).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
    Cow::Owned(format!("{}…", &text[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_sequences_become_visible() {
        assert_eq!(
            escape_control("\u{1b}[31mred\u{1b}[0m\nnext"),
            "\\u{1b}[31mred\\u{1b}[0m\\nnext"
        );
        assert_eq!(escape_control("a\u{202e}b"), "a\\u{202e}b");
        assert!(matches!(escape_control("plain – ü"), Cow::Borrowed(_)));
    }

    #[test]
    fn long_text_is_cut_at_a_characters_border() {
        assert_eq!(shorten("äöü", 3), "ä…");
        assert_eq!(shorten("abc", 3), "abc");
    }
}
