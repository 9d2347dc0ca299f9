//! `cargo xtask test`: every check there is, in order, until the first that fails.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::{builds, demo, go, newcomer, run};

/// One check.
struct Check {
    name: &'static str,
    /// The command that runs it alone.
    alone: &'static str,
    run: Box<dyn Fn() -> Result<()>>,
}

/// Runs them.
///
/// # Errors
/// The first that fails, with the command that repeats it alone.
pub(crate) fn test() -> Result<()> {
    let checks = checks();
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
    println!("\n{} passed, 0 failed", done.len());
    Ok(())
}

fn summary(done: &[(&str, Duration)], started: Instant) {
    println!("\nAfter {:.1} s:", started.elapsed().as_secs_f64());
    for (name, took) in done {
        println!("  ok     {name:<24} {:>7.1} s", took.as_secs_f64());
    }
}

fn checks() -> Vec<Check> {
    let check = |name, alone, run| Check { name, alone, run };
    vec![
        check(
            "format",
            "cargo fmt --all --check",
            Box::new(|| cargo(&["fmt", "--all", "--check"], &[])),
        ),
        check(
            "clippy",
            "cargo clippy --workspace --all-targets -- -D warnings",
            Box::new(|| cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"], &[])),
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
                println!("  kubectl is {}", go::kubectl()?.display());
                Ok(())
            }),
        ),
        check(
            "tests",
            "KUBECTL=$(cargo xtask kubectl) cargo test --workspace --lib --bins --tests --examples",
            Box::new(|| {
                let path = go::kubectl()?.to_string_lossy().into_owned();
                let args = ["test", "--workspace", "--lib", "--bins", "--tests", "--examples"];
                // End-to-end tests start the host that this very build makes, instead of building one themselves.
                let host = builds::Workspace::read()?.host()?.to_string_lossy().into_owned();
                cargo(&args, &[("KUBECTL", &path), ("PILOTHOUSE_BIN", &host)])
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
            Box::new(|| newcomer::newcomer(Some(&builds::Workspace::read()?.tested_host()?))),
        ),
        check(
            "demo",
            "cargo xtask demo --once",
            Box::new(|| demo::demo(Some(&builds::Workspace::read()?.tested_host()?), true, Instant::now())),
        ),
    ]
}

fn cargo(args: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    run::run(run::cargo().args(args).envs(environment.iter().copied()))
}
