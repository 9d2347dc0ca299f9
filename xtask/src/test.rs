//! `cargo xtask test`: every check there is, in order, until the first that fails.
//!
//! The tests have two halves. Those whose names have a part `real` run against a real Kubernetes control plane,
//! compiled with Go; all others need nothing but Rust. Where there is no Go the real half is left out and the end says
//! so, but not in CI (`CI=true`), where that is a failure.

use std::cell::RefCell;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use pilothouse_realcluster::Go;

use crate::demo::Target;
use crate::{builds, demo, kubectl, newcomer, realcluster, rules, run, tested};

/// The Go build and the Rust build run side by side where so much memory is free; each takes about half of it at most.
const SIDE_BY_SIDE: u64 = 8 << 30;

/// Tests of the real half mostly wait for other processes: one more at a time than there are cores takes a third off.
/// More of them at once would make each wait longer than its patience on a busy machine.
const REAL_AT_ONCE: &str = "3";

/// One check.
struct Check<'a> {
    name: &'static str,
    /// The command that runs it alone.
    alone: &'static str,
    run: Box<dyn Fn() -> Result<()> + 'a>,
}

/// What the checks tell each other.
#[derive(Default)]
struct State {
    /// Builds the control plane meanwhile.
    building: RefCell<Option<JoinHandle<Result<()>>>>,
    /// What ran on what, for the last lines.
    ran: RefCell<Vec<String>>,
}

/// Whether the real half runs, and if not why.
enum RealHalf {
    Runs,
    Skipped(String),
}

/// Runs them.
///
/// # Errors
/// The first that fails, with the command that repeats it alone.
pub(crate) fn test() -> Result<()> {
    let real = real_half()?;
    let state = State::default();
    if matches!(real, RealHalf::Runs) && run::available_memory().is_some_and(|free| free >= SIDE_BY_SIDE) {
        let build = || realcluster::build(&mut |line| println!("  control plane: {line}"));
        *state.building.borrow_mut() = Some(std::thread::spawn(build));
    }
    let checks = checks(&state, &real);
    let all = checks.len();
    let mut done: Vec<(&str, Duration)> = Vec::new();
    let started = Instant::now();
    for (number, check) in checks.iter().enumerate() {
        println!("\n=== {}/{all} {}: {}", number + 1, check.name, check.alone);
        let began = Instant::now();
        let result = (check.run)();
        let took = began.elapsed();
        if let Err(error) = result {
            summary(&done, started);
            println!("  FAILED {:<24} {:>7.1} s", check.name, took.as_secs_f64());
            println!(
                "\n{}: {error:#}\nTo repeat this check alone: {}\n",
                check.name, check.alone
            );
            println!("{} passed, 1 failed", done.len());
            anyhow::bail!(
                "{} failed; {} checks were not run any more",
                check.name,
                all - number - 1
            );
        }
        println!(
            "=== {}/{all} {}: ok ({:.1} s)",
            number + 1,
            check.name,
            took.as_secs_f64()
        );
        done.push((check.name, took));
    }
    summary(&done, started);
    println!("\nWhat ran on what:");
    for line in state.ran.borrow().iter() {
        println!("  {line}");
    }
    if let RealHalf::Skipped(why) = &real {
        println!("  a real API server: SKIPPED, since {why}");
    }
    println!("\n{} passed, 0 failed", done.len());
    Ok(())
}

/// # Errors
/// There is no Go, in CI.
fn real_half() -> Result<RealHalf> {
    match Go::find() {
        Ok(_) => Ok(RealHalf::Runs),
        Err(why) if std::env::var_os("CI").is_some_and(|ci| ci == "true") => {
            Err(why).context("CI runs the tests against a real API server too, and")
        }
        Err(why) => Ok(RealHalf::Skipped(why.to_string())),
    }
}

fn summary(done: &[(&str, Duration)], started: Instant) {
    println!("\nAfter {:.1} s:", started.elapsed().as_secs_f64());
    for (name, took) in done {
        println!("  ok     {name:<24} {:>7.1} s", took.as_secs_f64());
    }
}

fn checks<'a>(state: &'a State, real: &RealHalf) -> Vec<Check<'a>> {
    let check = |name, alone, run| Check { name, alone, run };
    let mut checks = vec![
        check(
            "format",
            "cargo fmt --all --check",
            Box::new(|| cargo(&["fmt", "--all", "--check"], &[])),
        ),
        check(
            "clippy",
            "cargo clippy --workspace --all-targets --all-features -- -D warnings",
            Box::new(|| {
                let what = ["clippy", "--workspace", "--all-targets", "--all-features"];
                cargo(&[&what[..], &["--", "-D", "warnings"]].concat(), &[])
            }),
        ),
        check(
            "docs",
            "RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps",
            Box::new(|| cargo(&["doc", "--workspace", "--no-deps"], &[("RUSTDOCFLAGS", "-D warnings")])),
        ),
        check("plugin builds", "cargo xtask plugins", Box::new(builds::plugins)),
        check(
            "kubectl",
            "cargo xtask kubectl",
            Box::new(|| {
                println!("  kubectl is {}", kubectl::kubectl()?.display());
                Ok(())
            }),
        ),
        check(
            "tests",
            "KUBECTL=$(cargo xtask kubectl) cargo test --workspace --lib --bins --tests --examples -- --skip ::real --skip real::",
            Box::new(|| {
                let passed = tests(&tested::REAL.map(|real| ["--skip", real]).concat(), &[])?;
                note(state, format!("the local cluster, or none: {passed} tests"));
                Ok(())
            }),
        ),
        check("rules", "cargo xtask rules", Box::new(|| rules::rules(false))),
        check(
            "threads",
            "cargo test --workspace --features pilothouse-informer/shuttle --test threads",
            Box::new(|| {
                let what = ["test", "--workspace", "--test", "threads"];
                let passed = tested::run(
                    run::cargo()
                        .args(what)
                        .args(["--features", "pilothouse-informer/shuttle"]),
                )?;
                note(
                    state,
                    format!("a scheduler that tries many orders of threads: {passed} tests"),
                );
                Ok(())
            }),
        ),
        check(
            "doc tests",
            "cargo test --workspace --doc",
            Box::new(|| cargo(&["test", "--workspace", "--doc"], &[])),
        ),
        check(
            "newcomer",
            "cargo xtask newcomer",
            Box::new(|| {
                newcomer::newcomer(Some(&tested_host()?))?;
                note(state, "the local cluster: the newcomer".to_owned());
                Ok(())
            }),
        ),
        check(
            "demo",
            "cargo xtask demo --once",
            Box::new(|| {
                demo::demo(Some(&tested_host()?), Target::Local, true, Instant::now())?;
                note(state, "the local cluster: the demo".to_owned());
                Ok(())
            }),
        ),
    ];
    if matches!(real, RealHalf::Runs) {
        checks.extend([
            check(
                "real control plane",
                "cargo xtask realcluster",
                Box::new(|| match state.building.take() {
                    Some(building) => match building.join() {
                        Ok(built) => built,
                        Err(panic) => std::panic::resume_unwind(panic),
                    },
                    None => realcluster::build(&mut |line| println!("  {line}")),
                }),
            ),
            check(
                "tests, real half",
                "KUBECTL=$(cargo xtask kubectl) cargo test --workspace --lib --bins --tests --examples -- ::real real::",
                Box::new(|| {
                    let passed = tests(&tested::REAL, &[("RUST_TEST_THREADS", REAL_AT_ONCE)])?;
                    note(state, format!("a real API server: {passed} tests"));
                    Ok(())
                }),
            ),
            check(
                "demo, real half",
                "cargo xtask demo --real --once",
                Box::new(|| {
                    demo::demo(Some(&tested_host()?), Target::Real, true, Instant::now())?;
                    note(state, "a real API server: the demo".to_owned());
                    Ok(())
                }),
            ),
        ]);
    }
    checks
}

fn note(state: &State, line: String) {
    state.ran.borrow_mut().push(line);
}

fn tested_host() -> Result<PathBuf> {
    builds::Workspace::read()?.tested_host()
}

/// Runs those of the workspace's tests that the arguments to their programs choose; answers how many passed, which is
/// at least one.
fn tests(choice: &[&str], environment: &[(&str, &str)]) -> Result<usize> {
    let kubectl = kubectl::kubectl()?;
    // End-to-end tests start the host that this very build makes, instead of building one themselves.
    let host = builds::Workspace::read()?.host()?;
    let mut command = run::cargo();
    command
        .args(["test", "--workspace", "--lib", "--bins", "--tests", "--examples", "--"])
        .args(choice)
        .env("KUBECTL", kubectl)
        .env("PILOTHOUSE_BIN", host)
        .envs(environment.iter().copied());
    tested::run(&mut command)
}

fn cargo(args: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    run::run(run::cargo().args(args).envs(environment.iter().copied()))
}
