//! Running `cargo test`, and counting what passed.

use std::io::{BufRead as _, BufReader, Write};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::run::shown;

/// What selects the real half in a test's name.
pub(crate) const REAL: [&str; 2] = ["::real", "real::"];

/// Runs it with its output on our own stdout and stderr; answers how many tests passed.
///
/// # Errors
/// A test failed, something did not compile, or no test was run at all: then the choice of tests is wrong.
pub(crate) fn run(command: &mut Command) -> Result<usize> {
    run_to(command, &mut std::io::stdout())
}

fn run_to(command: &mut Command, out: &mut dyn Write) -> Result<usize> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("`{}` can't be started", shown(command)))?;
    let mut passed = 0;
    let stdout = child.stdout.take().context("it has no stdout")?;
    for line in BufReader::new(stdout).split(b'\n') {
        let mut line = line.with_context(|| format!("`{}` can't be read", shown(command)))?;
        passed += passed_in(&String::from_utf8_lossy(&line)).unwrap_or_default();
        line.push(b'\n');
        // A reader of ours that has gone is no reason to stop what runs.
        let _ = out.write_all(&line);
    }
    let status = child
        .wait()
        .with_context(|| format!("`{}` can't be waited for", shown(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", shown(command));
    }
    if passed == 0 {
        bail!("`{}` ran no test", shown(command));
    }
    Ok(passed)
}

/// From a closing line of libtest: `test result: ok. 7 passed; 0 failed; …`.
fn passed_in(line: &str) -> Option<usize> {
    let (_, rest) = line.strip_prefix("test result: ")?.split_once(". ")?;
    rest.split_once(" passed;")?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a script; what it writes must come through as it is.
    fn run(script: &str) -> Result<usize> {
        let mut seen = Vec::new();
        let result = run_to(Command::new("sh").args(["-c", script]), &mut seen);
        let said = Command::new("sh").args(["-c", script]).output().unwrap().stdout;
        assert_eq!(seen, said);
        result
    }

    #[test]
    fn what_passed_is_added_up_over_all_programs() {
        let two = "echo 'test result: ok. 7 passed; 0 failed; 1 ignored'; echo 'test result: ok. 12 passed; 0 failed'";
        assert_eq!(run(two).unwrap(), 19);
    }

    #[test]
    fn a_choice_that_chooses_nothing_is_a_failure() {
        let error = run("echo 'test result: ok. 0 passed; 0 failed; 9 filtered out'").unwrap_err();
        assert!(error.to_string().ends_with("ran no test"), "{error}");
        let error = run("echo 'test result: FAILED. 3 passed; 1 failed'; exit 101").unwrap_err();
        assert!(error.to_string().ends_with("failed (exit status: 101)"), "{error}");
    }
}
