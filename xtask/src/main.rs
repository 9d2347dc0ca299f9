//! The project's errands: `cargo xtask test`, `demo`, `newcomer`, `bench`, `rules`, `zoo`,
//! `realcluster`, and small ones.
//!
//! Promises: each command does its own set-up and says before it tries what needs root or the network; what it starts
//! it ends, on failure and on Ctrl-C too; scratch files lie under `target/` or the system's temporary directory and go
//! with the command. It does not promise anything after a SIGKILL of its own.
#![allow(
    clippy::disallowed_methods,
    reason = "xtask drives real programs: it waits, and reads the clock"
)]

mod background;
mod bench;
mod builds;
mod demo;
mod http;
mod kubectl;
mod newcomer;
mod readme;
mod realcluster;
mod rules;
mod run;
mod story;
mod test;
mod tested;
mod zoo;

use std::process::ExitCode;

use clap::Parser;

use crate::demo::Target;

/// The project's errands.
#[derive(Parser)]
#[command(name = "cargo xtask", arg_required_else_help = true, subcommand_required = true)]
enum Errand {
    /// Run every check there is: format, clippy, docs, plugin builds, all tests, the newcomer and the demo.
    Test,
    /// Build host and plugin, start `pilothouse dev`, and show what happens to a few Greetings.
    Demo {
        /// End by itself: exit code 0 only if everything converged.
        #[arg(long)]
        once: bool,
        /// On a real Kubernetes control plane, compiled with Go the first time, instead of the local cluster.
        #[arg(long)]
        real: bool,
    },
    /// Follow the README's page "Your own plugin" to the letter, in a temporary directory.
    Newcomer,
    /// Compile every plugin of this workspace.
    Plugins,
    /// Print the path of a kubectl: the one KUBECTL names, the one on PATH, or one that is compiled.
    Kubectl,
    /// Measure whole reconciles, and bare wasmtime beside them.
    Bench,
    /// Print every rule of host/RULES.md with the tests that hold it; fail where one is not held.
    Rules {
        /// Name the tests that there are in host/RULES.md.
        #[arg(long)]
        write: bool,
    },
    /// Let each bad plugin of tests/zoo loose beside a quiet one, and print what it tried and what stopped it.
    Zoo {
        /// These alone.
        animals: Vec<String>,
    },
    /// Start a real Kubernetes control plane, say how kubectl reaches it, and end it on Ctrl-C.
    Realcluster,
}

fn main() -> ExitCode {
    let started = std::time::Instant::now();
    let result = run::heed_signals().and_then(|()| match Errand::parse() {
        Errand::Test => test::test(),
        Errand::Demo { once, real } => demo::demo(None, Target::of(real), once, started),
        Errand::Newcomer => newcomer::newcomer(None),
        Errand::Plugins => builds::plugins(),
        Errand::Kubectl => kubectl::kubectl().map(|path| println!("{}", path.display())),
        Errand::Bench => bench::bench(),
        Errand::Rules { write } => rules::rules(write),
        Errand::Zoo { animals } => zoo::zoo(&animals),
        Errand::Realcluster => realcluster::realcluster(),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            if run::interrupted() {
                ExitCode::from(130)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}
