//! The README as something that can be followed: code blocks that HTML comments before them mark.
//!
//! `<!-- newcomer: run -->`, `start`, `try`, `see`, `file PATH` and `append PATH` are for `cargo xtask newcomer`;
//! `<!-- from PATH -->` says that the block quotes a file of the repository, which a test holds it to.

use anyhow::{Context as _, Result, bail};

/// What a block is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Commands that must succeed, each line for itself.
    Run,
    /// A command that goes on running.
    Start,
    /// A command that is tried until its output is what the next `See` shows.
    Try,
    /// Lines of the output of the command before.
    See,
    /// The content of a file.
    File(String),
    /// What is appended to a file.
    Append(String),
    /// A piece of a file of the repository.
    From(String),
}

/// A marked code block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// What it is for.
    pub(crate) mark: Mark,
    /// What stands in it.
    pub(crate) text: String,
    /// The line of its mark, from 1.
    pub(crate) line: usize,
}

/// All marked blocks, in their order.
///
/// # Errors
/// A mark that means nothing, or behind which no code block stands.
pub(crate) fn blocks(markdown: &str) -> Result<Vec<Block>> {
    let mut blocks = Vec::new();
    let mut lines = markdown.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(comment) = line
            .trim()
            .strip_prefix("<!--")
            .and_then(|rest| rest.strip_suffix("-->"))
        else {
            continue;
        };
        let place = || format!("README.md:{}", number + 1);
        let Some(mark) = mark(comment.trim()).with_context(place)? else {
            continue;
        };
        let opened = lines
            .by_ref()
            .map(|(_, line)| line)
            .find(|line| !line.trim().is_empty());
        if !opened.is_some_and(|line| line.starts_with("```")) {
            bail!("{}: no code block follows the mark", place());
        }
        let mut text = String::new();
        let mut closed = false;
        for (_, line) in lines.by_ref() {
            if line == "```" {
                closed = true;
                break;
            }
            text.push_str(line);
            text.push('\n');
        }
        if !closed {
            bail!("{}: the code block has no end", place());
        }
        blocks.push(Block {
            mark,
            text,
            line: number + 1,
        });
    }
    Ok(blocks)
}

fn mark(comment: &str) -> Result<Option<Mark>> {
    if let Some(path) = comment.strip_prefix("from ") {
        return Ok(Some(Mark::From(path.trim().to_owned())));
    }
    let Some(what) = comment.strip_prefix("newcomer:").map(str::trim) else {
        return Ok(None);
    };
    Ok(Some(match what.split_once(' ') {
        None if what == "run" => Mark::Run,
        None if what == "start" => Mark::Start,
        None if what == "try" => Mark::Try,
        None if what == "see" => Mark::See,
        Some(("file", path)) => Mark::File(path.trim().to_owned()),
        Some(("append", path)) => Mark::Append(path.trim().to_owned()),
        _ => bail!("`newcomer: {what}` means nothing: run, start, try, see, file PATH and append PATH do"),
    }))
}

/// Whether the output shows these lines in this order: blanks count as one, and `…` stands for anything.
///
/// # Errors
/// The line that is not there.
pub(crate) fn shows(output: &str, wanted: &str) -> Result<(), String> {
    let mut lines = output.lines().map(squeezed);
    for line in wanted.lines().map(squeezed).filter(|line| !line.is_empty()) {
        if !lines.any(|shown| fits(&shown, &line)) {
            return Err(line);
        }
    }
    Ok(())
}

fn squeezed(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn fits(shown: &str, wanted: &str) -> bool {
    let Some((first, rest)) = wanted.split_once('…') else {
        return shown == wanted;
    };
    let Some(mut shown) = shown.strip_prefix(first) else {
        return false;
    };
    let mut pieces: Vec<&str> = rest.split('…').collect();
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        let Some((_, after)) = shown.split_once(piece) else {
            return false;
        };
        shown = after;
    }
    shown.ends_with(last)
}

#[cfg(test)]
mod tests {
    use crate::run::root;

    use super::*;

    fn readme() -> String {
        std::fs::read_to_string(root().join("README.md")).unwrap()
    }

    #[test]
    fn marked_blocks_are_found_and_others_are_passed_over() {
        let text = "a\n```sh\nno\n```\n<!-- newcomer: run -->\n\n```sh\nls\ncd x\n```\n<!-- a note -->\n\
                    <!-- newcomer: file src/lib.rs -->\n```rust\nfn f() {}\n```\n<!-- from a/b.rs -->\n```rust\n```\n";
        let found: Vec<(Mark, String)> = blocks(text)
            .unwrap()
            .into_iter()
            .map(|block| (block.mark, block.text))
            .collect();
        assert_eq!(
            found,
            [
                (Mark::Run, "ls\ncd x\n".to_owned()),
                (Mark::File("src/lib.rs".to_owned()), "fn f() {}\n".to_owned()),
                (Mark::From("a/b.rs".to_owned()), String::new()),
            ]
        );
    }

    #[test]
    fn a_mark_that_leads_nowhere_is_named_with_its_line() {
        let error = |text: &str| format!("{:#}", blocks(text).unwrap_err());
        assert!(error("x\n<!-- newcomer: walk -->\n").contains("README.md:2: `newcomer: walk` means nothing"));
        assert!(error("<!-- newcomer: run -->\ntext\n").contains("README.md:1: no code block follows"));
        assert!(error("<!-- newcomer: run -->\n```sh\nls\n").contains("has no end"));
    }

    #[test]
    fn output_is_held_against_lines_with_gaps() {
        let output = "NAME   SIZE   READY   AGE\nblue   3      True    12s\n";
        assert_eq!(shows(output, "NAME SIZE READY AGE\nblue  3  True …\n"), Ok(()));
        assert_eq!(shows(output, "blue … True …s\n"), Ok(()));
        assert_eq!(shows(output, "blue 4 …\n"), Err("blue 4 …".to_owned()));
        assert_eq!(
            shows(output, "blue 3 True …\nNAME …\n"),
            Err("NAME …".to_owned()),
            "the order counts"
        );
        assert!(!fits("abc", "abc…d") && !fits("xabc", "abc…"));
    }

    #[test]
    fn what_the_readme_quotes_stands_in_the_file_it_names() {
        let mut quoted = 0;
        for block in blocks(&readme()).unwrap() {
            let Mark::From(path) = &block.mark else { continue };
            let source = std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
            assert!(
                source.contains(&block.text),
                "README.md:{}: is not in {path}:\n{}",
                block.line,
                block.text
            );
            quoted += 1;
        }
        assert!(quoted > 0, "the README teaches from the greeting's source");
    }

    #[test]
    fn the_readme_links_only_to_files_that_are_there() {
        let text = readme();
        let links: Vec<&str> = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
            .filter(|link| !link.starts_with("http") && !link.starts_with('#'))
            .collect();
        assert!(!links.is_empty());
        for link in links {
            let path = link.split('#').next().unwrap_or(link);
            assert!(
                root().join(path).exists(),
                "README.md links to {path}, which is not there"
            );
        }
    }
}
