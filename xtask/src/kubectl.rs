//! A kubectl for tests and for the newcomer. Progress goes to stderr: stdout is for the path.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use pilothouse_realcluster::{Binaries, Binary, Go};

use crate::run::on_path;

/// A kubectl: the one `KUBECTL` names, the one on `PATH`, or one that is built from `tests/realcluster`.
///
/// # Errors
/// None is there and none can be built: what to install.
pub(crate) fn kubectl() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("KUBECTL").filter(|named| !named.is_empty()) {
        let named = PathBuf::from(named);
        if !named.is_file() {
            bail!(
                "KUBECTL={}: there is no such file: correct the variable, or unset it",
                named.display()
            );
        }
        return std::path::absolute(&named).with_context(|| format!("KUBECTL={}", named.display()));
    }
    if let Some(found) = on_path("kubectl") {
        return Ok(found);
    }
    built().context(
        "there is no kubectl on PATH and none could be built: install one (https://kubernetes.io/docs/tasks/tools), or \
         set KUBECTL",
    )
}

fn built() -> Result<PathBuf> {
    let mut tell = |line: &str| eprintln!("  {line}");
    let go = Go::fetch(&mut tell)?;
    Ok(Binaries::built(&go, &[Binary::Kubectl], &mut tell)?.path(Binary::Kubectl))
}
