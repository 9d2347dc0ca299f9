//! Measurements in processes of their own, and what is made of them.

use std::{collections::BTreeMap, process::Command, time::Duration};

/// What a measurement said.
pub type Figures = BTreeMap<String, f64>;

const CHILD: &str = "--measure";

/// What a child shall measure, where this process is one.
pub fn child_args(args: &[String]) -> Option<[&str; 2]> {
    let at = args.iter().position(|arg| arg == CHILD)?;
    Some([args.get(at + 1)?, args.get(at + 2)?])
}

/// Says a figure to the parent.
pub fn say(name: &str, figure: f64) {
    println!("{name}={figure}");
}

/// Runs a measurement in a process of its own: this program, called anew.
pub fn run(name: &str, what: &str) -> Figures {
    let program = std::env::current_exe().unwrap_or_else(|error| panic!("this program has no path: {error}"));
    let output = Command::new(program).args([CHILD, name, what]).output();
    let output = output.unwrap_or_else(|error| panic!("{name} can't be started: {error}"));
    let (text, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "{name}, {what}: {}\n{text}{errors}",
        output.status
    );
    text.lines()
        .filter_map(|line| {
            let (name, figure) = line.split_once('=')?;
            Some((name.to_owned(), figure.parse().ok()?))
        })
        .collect()
}

/// A figure of `/proc/self/status`, such as `VmRSS`, in bytes.
pub fn status_bytes(name: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<usize>().ok());
    kilobytes.unwrap_or_default() * 1024
}

/// CPU time of this thread.
pub fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// Targets, and whether they were met.
#[derive(Default)]
pub struct Check {
    lines: Vec<String>,
    missed: bool,
}

impl Check {
    /// A figure that should not be greater.
    pub fn at_most(&mut self, name: &str, figure: f64, target: f64) {
        self.met(name, figure, format!("at most {target}"), figure <= target);
    }

    /// A figure that should not be less.
    pub fn at_least(&mut self, name: &str, figure: f64, target: f64) {
        self.met(name, figure, format!("at least {target}"), figure >= target);
    }

    /// A remark.
    pub fn note(&mut self, text: &str) {
        self.lines.push(format!("- {text}"));
    }

    fn met(&mut self, name: &str, figure: f64, target: String, met: bool) {
        let word = if met { "met" } else { "MISSED" };
        self.lines.push(format!("- {name}: {figure:.3} ({target}: {word})"));
        let json = serde_json::json!({"figure": name, "is": figure, "target": target, "met": met});
        self.lines.push(format!("  {json}"));
        self.missed |= !met;
    }

    /// Says all of it; ends the process with an error where a target was missed and `--check` asks for that.
    pub fn end(self, args: &[String]) {
        println!("\n{}", self.lines.join("\n"));
        if self.missed && args.iter().any(|arg| arg == "--check") {
            std::process::exit(1);
        }
    }
}
