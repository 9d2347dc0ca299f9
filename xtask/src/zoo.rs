//! `cargo xtask zoo`: every bad plugin of `tests/zoo` in a real host, beside a quiet neighbour.

use anyhow::{Result, bail};

use crate::{builds, run};

/// The package of the zoo.
const PACKAGE: &str = "pilothouse-zoo";

/// Builds host and plugins, and lets the animals loose: all of them, or those that are named.
///
/// # Errors
/// What does not build; an animal that was not stopped as expected, or that hurt its neighbour.
pub(crate) fn zoo(animals: &[String]) -> Result<()> {
    let workspace = builds::Workspace::read()?;
    if !workspace.has(PACKAGE) {
        bail!("this workspace has no package {PACKAGE}: its Cargo.toml must name it among the members");
    }
    let host = builds::host()?;
    let mut cargo = run::cargo();
    cargo.args(["run", "--quiet", "--package", PACKAGE, "--"]).args(animals);
    run::run(cargo.env("PILOTHOUSE_BIN", host))
}
