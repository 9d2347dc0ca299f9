//! Tables for people: columns that fit the terminal. Pure.
//!
//! Cells are foreign text: they are bounded and escaped here, whatever they hold. Widths count characters; signs that a
//! terminal shows twice as wide only shift what follows.

use pilothouse_object::{escape_control, shorten};

use crate::present::{Ink, Style};

/// Bytes of one cell.
const CELL: usize = 2_000;

/// Between two columns.
const GAP: &str = "  ";

/// Characters that the last column keeps, however narrow the terminal is.
const LAST: usize = 20;

/// One cell.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    text: String,
    ink: Ink,
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self {
            text: escape_control(&shorten(text.as_ref(), CELL)).into_owned(),
            ink: Ink::Plain,
        }
    }
}

impl Cell {
    pub(super) fn inked(text: impl AsRef<str>, ink: Ink) -> Self {
        Self {
            ink,
            ..Self::from(text)
        }
    }

    #[cfg(test)]
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

/// Rows under their heads.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(super) fn new<const N: usize>(heads: [&str; N]) -> Self {
        Self {
            rows: vec![heads.iter().map(|head| Cell::inked(head, Ink::Bold)).collect()],
        }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// As text; where the terminal has so many columns, the last one is cut to fit.
    pub(super) fn text(&self, style: Style, columns: Option<usize>) -> String {
        let mut widths: Vec<usize> = Vec::new();
        for row in &self.rows {
            for (at, cell) in row.iter().enumerate() {
                match widths.get_mut(at) {
                    Some(width) => *width = cell.width().max(*width),
                    None => widths.push(cell.width()),
                }
            }
        }
        let before: usize = widths.iter().rev().skip(1).map(|width| width + GAP.len()).sum();
        let left = columns.map(|columns| columns.saturating_sub(before).max(LAST));
        let mut out = String::new();
        for row in &self.rows {
            for (at, cell) in row.iter().enumerate() {
                let is_last = at + 1 == row.len();
                let text = match left.filter(|_| is_last && at + 1 == widths.len()) {
                    Some(left) => style.cut(&cell.text, left),
                    None => cell.text.clone(),
                };
                let width = text.chars().count();
                out.push_str(&style.ink(cell.ink, &text));
                if !is_last {
                    let fill = widths.get(at).copied().unwrap_or_default().saturating_sub(width);
                    out.extend(std::iter::repeat_n(' ', fill));
                    out.push_str(GAP);
                }
            }
            out.truncate(out.trim_end_matches(' ').len());
            out.push('\n');
        }
        out
    }
}

/// How many columns the terminal on stdout has; none where there is none.
pub(super) fn columns() -> Option<usize> {
    #[cfg(unix)]
    {
        let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
        Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
    }
    #[cfg(not(unix))]
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Style = Style {
        colour: false,
        unicode: true,
    };

    fn table() -> Table {
        let mut table = Table::new(["NAME", "WHY"]);
        table.row(["a".into(), "short".into()]);
        table.row(["longer".into(), "a reason that goes on and on and on".into()]);
        table
    }

    #[test]
    fn columns_stand_under_their_heads_and_nothing_is_cut_where_there_is_no_terminal() {
        assert_eq!(
            table().text(PLAIN, None),
            "NAME    WHY\na       short\nlonger  a reason that goes on and on and on\n"
        );
    }

    #[test]
    fn on_a_terminal_the_last_column_is_cut_to_fit() {
        let text = table().text(PLAIN, Some(30));
        assert!(text.lines().all(|line| line.chars().count() <= 30), "{text}");
        assert!(text.ends_with("longer  a reason that goes on…\n"), "{text}");
        // A terminal that is far too narrow still shows something.
        assert!(table().text(PLAIN, Some(1)).contains("a reason that goes"));
    }

    #[test]
    fn what_a_cell_holds_can_not_steer_the_terminal() {
        let mut table = Table::new(["NAME", "WHY"]);
        table.row(["a\u{1b}[2J".into(), "x\ny\u{202e}".into()]);
        assert_eq!(
            table.text(PLAIN, None),
            "NAME        WHY\na\\u{1b}[2J  x\\ny\\u{202e}\n"
        );
    }

    #[test]
    fn colours_do_not_shift_the_columns() {
        let mut table = Table::new(["A", "B"]);
        table.row([Cell::inked("x", Ink::Red), "y".into()]);
        let style = Style { colour: true, ..PLAIN };
        let text = table.text(style, None);
        assert!(text.ends_with("\u{1b}[31mx\u{1b}[0m  y\n"), "{text:?}");
    }
}
