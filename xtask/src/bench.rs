//! `cargo xtask bench`: the benches of the work queue, of the whole host and of the informer, with everything they need
//! built first.

use anyhow::{Result, bail};

use crate::{builds, run};

/// The packages of benches, each run by itself: so each is built with its own features, as a program of its own would
/// be.
const PACKAGES: [&str; 2] = ["pilothouse-bench-informer", "pilothouse-bench"];

/// Builds the plugins and runs the benches, which print their own tables.
///
/// # Errors
/// What does not build, or a bench that fails.
pub(crate) fn bench() -> Result<()> {
    let workspace = builds::Workspace::read()?;
    if let Some(missing) = PACKAGES.into_iter().find(|package| !workspace.has(package)) {
        bail!("this workspace has no package {missing}: its Cargo.toml must name it among the members");
    }
    run::run(run::cargo().args(["bench", "--package", "pilothouse-workqueue"]))?;
    builds::plugins()?;
    PACKAGES
        .into_iter()
        .try_for_each(|package| run::run(run::cargo().args(["bench", "--package", package])))
}
