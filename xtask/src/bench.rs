//! `cargo xtask bench`: the benches of the rooms and those of `tests/bench`, with everything they need built first.

use anyhow::{Result, bail};

use crate::{builds, run};

/// The package of the benches.
const PACKAGE: &str = "pilothouse-bench";

/// Builds the plugins and runs the benches, which print their own table.
///
/// # Errors
/// What does not build, or a bench that fails.
pub(crate) fn bench() -> Result<()> {
    let workspace = builds::Workspace::read()?;
    if !workspace.has(PACKAGE) {
        bail!("this workspace has no package {PACKAGE} (tests/bench): its Cargo.toml must name it among the members");
    }
    run::run(run::cargo().args(["bench", "--package", "pilothouse-workqueue"]))?;
    builds::plugins()?;
    run::run(run::cargo().args(["bench", "--package", PACKAGE]))
}
