//! `cargo xtask rules`: every numbered rule of `host/RULES.md` with the tests that hold it.
//!
//! A test holds rule 7 if its name begins with `rule_07_`. The page names the tests, so that none can be renamed, moved
//! or dropped unseen: a rule without a test, a test that the page names and that does not exist or did not pass, and a
//! test that the page does not name are failures. Tests against a real control plane are not looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::tested::REAL;
use crate::{builds, run};

/// The page, seen from the root of the workspace.
const PAGE: &str = "host/RULES.md";

/// Before a test's name in the page.
const TEST: &str = "- `";

/// Prints the rules, and checks them.
///
/// # Errors
/// A rule is not held, or the page does not say what is.
pub(crate) fn rules(write: bool) -> Result<()> {
    let path = run::root().join(PAGE);
    let text = std::fs::read_to_string(&path).with_context(|| format!("{} can't be read", path.display()))?;
    let mut page = Page::parse(&text)?;
    let ran = run_tests(&programs()?)?;
    if write {
        page.name(&ran);
        std::fs::write(&path, page.to_string()).with_context(|| format!("{} can't be written", path.display()))?;
    }
    for rule in page.rules() {
        println!("{:>3}. {}", rule.number, rule.text);
        for test in &rule.tests {
            println!(
                "       {test} ... {}",
                ran.get(test).map_or("MISSING", |ended| ended.word())
            );
        }
    }
    let problems = page.problems(&ran);
    let rules = page.rules().count();
    if problems.is_empty() {
        println!(
            "\n{rules} rules, each held by at least one of {} tests that ran and passed",
            ran.len()
        );
        return Ok(());
    }
    for problem in &problems {
        println!("  {problem}");
    }
    bail!(
        "{PAGE}: {} of what it says about {rules} rules is not so; where tests were only added, renamed or moved, `cargo xtask \
         rules --write` names them anew",
        problems.len()
    );
}

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Passed,
    Failed,
    /// It is marked `#[ignore]`.
    Ignored,
}

impl Ended {
    fn word(&self) -> &'static str {
        match self {
            Self::Passed => "ok",
            Self::Failed => "FAILED",
            Self::Ignored => "DID NOT RUN",
        }
    }
}

/// Tests by the name that the page has for them: the package (and the program of its tests, where that is not the
/// library), a blank, and libtest's name.
type Ran = BTreeMap<String, Ended>;

/// The number in `a::b::rule_07_some_sentence`.
fn number(test: &str) -> Option<u32> {
    let name = test.rsplit("::").next()?.rsplit(' ').next()?;
    let (number, _) = name.strip_prefix("rule_")?.split_once('_')?;
    number.parse().ok()
}

struct Rule {
    number: u32,
    text: String,
    tests: Vec<String>,
}

enum Part {
    Rule(Rule),
    /// Anything else, a line.
    Line(String),
}

struct Page(Vec<Part>);

impl Page {
    /// A rule is a line that begins with its number and a dot, and the lines after it that are indented; those of them
    /// that begin a list name tests.
    ///
    /// # Errors
    /// The numbers don't run from 1 on.
    fn parse(text: &str) -> Result<Self> {
        let mut parts: Vec<Part> = Vec::new();
        let mut next = 1;
        for line in text.lines() {
            let numbered = line
                .split_once(". ")
                .and_then(|(n, text)| Some((n.parse::<u32>().ok()?, text)));
            if let Some((number, text)) = numbered {
                if number != next {
                    bail!("{PAGE}: rule {number} stands where {next} is expected");
                }
                next += 1;
                parts.push(Part::Rule(Rule {
                    number,
                    text: text.to_owned(),
                    tests: Vec::new(),
                }));
                continue;
            }
            match (parts.last_mut(), line.strip_prefix("   ")) {
                (Some(Part::Rule(rule)), Some(rest)) => match rest.trim_start().strip_prefix(TEST) {
                    Some(test) => rule.tests.push(test.trim_end_matches('`').to_owned()),
                    None if rule.tests.is_empty() => {
                        rule.text.push(' ');
                        rule.text.push_str(rest.trim());
                    }
                    None => bail!("{PAGE}: {rest:?} stands behind the tests of rule {}", rule.number),
                },
                _ => parts.push(Part::Line(line.to_owned())),
            }
        }
        if next == 1 {
            bail!("{PAGE}: there is no rule");
        }
        Ok(Self(parts))
    }

    fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.0.iter().filter_map(|part| match part {
            Part::Rule(rule) => Some(rule),
            Part::Line(_) => None,
        })
    }

    /// Names the tests that there are.
    fn name(&mut self, ran: &Ran) {
        for part in &mut self.0 {
            if let Part::Rule(rule) = part {
                let tests = ran.keys().filter(|test| number(test) == Some(rule.number));
                rule.tests = tests.cloned().collect();
            }
        }
    }

    /// What is not as it should be, a line each.
    fn problems(&self, ran: &Ran) -> Vec<String> {
        let mut problems = Vec::new();
        let mut named = BTreeSet::new();
        for rule in self.rules() {
            if rule.tests.is_empty() {
                problems.push(format!("rule {} has no test", rule.number));
            }
            for test in &rule.tests {
                named.insert(test.as_str());
                match ran.get(test) {
                    _ if number(test) != Some(rule.number) => {
                        problems.push(format!(
                            "rule {} names {test}, whose own number is another",
                            rule.number
                        ));
                    }
                    None => problems.push(format!("rule {} names {test}, which does not exist", rule.number)),
                    Some(Ended::Passed) => {}
                    Some(result) => problems.push(format!("rule {} names {test}: {}", rule.number, result.word())),
                }
            }
        }
        for test in ran.keys().filter(|test| !named.contains(test.as_str())) {
            problems.push(format!("no rule names {test}"));
        }
        problems
    }
}

impl std::fmt::Display for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for part in &self.0 {
            match part {
                Part::Line(line) => writeln!(f, "{line}")?,
                Part::Rule(rule) => {
                    let number = format!("{}. ", rule.number);
                    let indent = " ".repeat(number.len());
                    let mut column = number.len();
                    f.write_str(&number)?;
                    for (i, word) in rule.text.split_whitespace().enumerate() {
                        if i > 0 && column + 1 + word.len() > 120 {
                            write!(f, "\n{indent}")?;
                            column = indent.len();
                        } else if i > 0 {
                            f.write_str(" ")?;
                            column += 1;
                        }
                        f.write_str(word)?;
                        column += word.len();
                    }
                    f.write_str("\n")?;
                    for test in &rule.tests {
                        writeln!(f, "{indent}{TEST}{test}`")?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// A program of tests.
struct Program {
    /// What the page calls it.
    name: String,
    /// Where cargo would run it.
    directory: PathBuf,
    executable: PathBuf,
}

/// Builds the very programs that the check "tests" runs, so that nothing is compiled twice.
fn programs() -> Result<Vec<Program>> {
    let mut cargo = run::cargo();
    cargo
        .args(["test", "--workspace", "--lib", "--bins", "--tests", "--examples"])
        .args(["--no-run", "--message-format=json-render-diagnostics"]);
    let messages = builds::run_showing_errors(&mut cargo)?;
    let workspace = builds::Workspace::read()?;
    let mut programs = Vec::new();
    for message in messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
    {
        let (Some(executable), Some(manifest)) = (message["executable"].as_str(), message["manifest_path"].as_str())
        else {
            continue;
        };
        if message["profile"]["test"] != true {
            continue;
        }
        let package = workspace
            .package_of(manifest)
            .with_context(|| format!("{manifest} is of no package of this workspace"))?;
        let kind = message["target"]["kind"][0].as_str().unwrap_or_default();
        let name = match (kind, message["target"]["name"].as_str()) {
            ("lib" | "proc-macro", _) | (_, None) => package,
            (_, Some(target)) => format!("{package}/{target}"),
        };
        programs.push(Program {
            name,
            directory: Path::new(manifest).parent().unwrap_or(run::root()).to_owned(),
            executable: executable.into(),
        });
    }
    Ok(programs)
}

fn run_tests(programs: &[Program]) -> Result<Ran> {
    let mut ran = Ran::new();
    for program in programs {
        let command = || {
            let mut command = Command::new(&program.executable);
            command
                .current_dir(&program.directory)
                .stdin(Stdio::null())
                .arg("rule_");
            command.args(REAL.map(|real| ["--skip", real]).concat());
            command.env("CARGO_MANIFEST_DIR", &program.directory);
            command
        };
        if run::output(command().arg("--list"))?
            .lines()
            .all(|line| number_of_listed(line).is_none())
        {
            continue;
        }
        let output = command()
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("{} can't be started", program.executable.display()))?;
        let said = String::from_utf8_lossy(&output.stdout);
        let results = results(&said);
        if !output.status.success() && results.iter().all(|(_, result)| *result != Ended::Failed) {
            bail!(
                "{} ended badly ({}):\n{}",
                program.name,
                output.status,
                run::last_lines(&said, 20)
            );
        }
        ran.extend(
            results
                .into_iter()
                .map(|(test, result)| (format!("{} {test}", program.name), result)),
        );
    }
    Ok(ran)
}

/// From a line of `--list`: `a::rule_07_some_sentence: test`.
fn number_of_listed(line: &str) -> Option<u32> {
    number(line.strip_suffix(": test")?)
}

/// From libtest's lines: `test a::rule_07_some_sentence ... ok`.
fn results(said: &str) -> Vec<(String, Ended)> {
    let lines = said
        .lines()
        .filter_map(|line| line.strip_prefix("test ")?.rsplit_once(" ... "));
    lines
        .filter_map(|(test, end)| {
            let test = test.split(" - ").next().unwrap_or(test);
            number(test)?;
            let result = match end {
                "ok" => Ended::Passed,
                end if end.starts_with("ignored") => Ended::Ignored,
                _ => Ended::Failed,
            };
            Some((test.to_owned(), result))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Rules\n\n## Queue\n\n1. One entry\n   a key.\n   - `p/rules a::rule_01_one`\n2. Two.\n   - `p b::rule_02_two`\n\nEnd.\n";

    fn ran(tests: &[(&str, Ended)]) -> Ran {
        tests
            .iter()
            .map(|(test, result)| ((*test).to_owned(), *result))
            .collect()
    }

    fn problems(tests: &[(&str, Ended)]) -> Vec<String> {
        Page::parse(TEXT).unwrap().problems(&ran(tests))
    }

    const ONE: (&str, Ended) = ("p/rules a::rule_01_one", Ended::Passed);
    const TWO: (&str, Ended) = ("p b::rule_02_two", Ended::Passed);

    #[test]
    fn a_page_whose_tests_all_passed_has_no_problem_and_is_written_as_it_was_but_for_its_lines() {
        assert!(problems(&[ONE, TWO]).is_empty());
        let mut page = Page::parse(TEXT).unwrap();
        page.name(&ran(&[ONE, TWO]));
        assert_eq!(page.to_string(), TEXT.replace("entry\n   a", "entry a"));
    }

    #[test]
    fn a_test_that_is_gone_failed_was_left_out_or_is_not_named_is_a_problem() {
        assert_eq!(
            problems(&[ONE]),
            ["rule 2 names p b::rule_02_two, which does not exist"]
        );
        assert_eq!(
            problems(&[ONE, (TWO.0, Ended::Ignored)]),
            ["rule 2 names p b::rule_02_two: DID NOT RUN"]
        );
        assert_eq!(
            problems(&[ONE, (TWO.0, Ended::Failed)]),
            ["rule 2 names p b::rule_02_two: FAILED"]
        );
        assert_eq!(
            problems(&[ONE, TWO, ("p c::rule_02_more", Ended::Passed)]),
            ["no rule names p c::rule_02_more"]
        );
    }

    #[test]
    fn a_rule_without_a_test_and_a_gap_in_the_numbers_are_problems() {
        let mut page = Page::parse(TEXT).unwrap();
        page.name(&ran(&[ONE]));
        assert_eq!(page.problems(&ran(&[ONE])), ["rule 2 has no test"]);
        assert!(Page::parse(&TEXT.replace("2. Two", "3. Two")).is_err());
        assert!(Page::parse("# Rules\n").is_err());
    }

    #[test]
    fn what_libtest_says_is_read_and_other_tests_are_left_out() {
        let said = "running 4 tests\ntest a::rule_07_x ... ok\ntest a::rule_08_y ... ignored, why\ntest a::other ... ok\n\
                    test a::rule_09_z - should panic ... FAILED\n\ntest result: FAILED. 1 passed; 1 failed\n";
        let want = [
            ("a::rule_07_x", Ended::Passed),
            ("a::rule_08_y", Ended::Ignored),
            ("a::rule_09_z", Ended::Failed),
        ];
        assert_eq!(results(said), want.map(|(test, result)| (test.to_owned(), result)));
        assert_eq!(number_of_listed("a::rule_07_x: test"), Some(7));
        assert_eq!(number_of_listed("a::rules_of_7: test"), None);
    }
}
