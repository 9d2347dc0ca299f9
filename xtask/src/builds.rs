//! Building the host and the plugins.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use pilothouse_guests::{Toolchain, guest_target_dir};
use serde_json::Value;

use crate::run;

/// The compiler for plugins; says which it took.
pub(crate) fn toolchain() -> Result<Toolchain> {
    Ok(Toolchain::find(&mut |line| println!("  {line}"))?)
}

/// Builds a plugin of this workspace; answers its component.
pub(crate) fn plugin(toolchain: &Toolchain, package: &str) -> Result<PathBuf> {
    toolchain
        .build_package(package, &guest_target_dir())
        .with_context(|| format!("the plugin `{package}` does not build"))
}

/// Builds each plugin of the workspace, the tests' own included.
pub(crate) fn plugins() -> Result<()> {
    let toolchain = toolchain()?;
    for package in Workspace::read()?.plugins() {
        let began = Instant::now();
        let component = plugin(&toolchain, &package)?;
        let size = std::fs::metadata(&component)
            .with_context(|| format!("{}", component.display()))?
            .len();
        println!(
            "  {package}: {} KiB ({:.1} s)",
            size / 1024,
            began.elapsed().as_secs_f64()
        );
    }
    Ok(())
}

/// Builds the binary `pilothouse` (profile dev); answers its path.
pub(crate) fn host() -> Result<PathBuf> {
    let mut cargo = run::cargo();
    cargo.args([
        "build",
        "--package",
        "pilothouse",
        "--bin",
        "pilothouse",
        "--message-format=json-render-diagnostics",
    ]);
    let messages = run_showing_errors(&mut cargo)?;
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact" && message["target"]["name"] == "pilothouse")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .with_context(|| format!("`{}` built no binary", run::shown(&cargo)))
}

/// stderr is ours: people see what is compiled, and what is wrong.
pub(crate) fn run_showing_errors(command: &mut Command) -> Result<String> {
    let output = command
        .stderr(std::process::Stdio::inherit())
        .output()
        .with_context(|| format!("`{}` can't be started", run::shown(command)))?;
    if !output.status.success() {
        bail!("`{}` failed ({})", run::shown(command), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What `cargo metadata` says of this workspace.
pub(crate) struct Workspace(Value);

impl Workspace {
    /// Asks cargo.
    pub(crate) fn read() -> Result<Self> {
        let text = run::output(run::cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
        Ok(Self(
            serde_json::from_str(&text).context("`cargo metadata` wrote something else than JSON")?,
        ))
    }

    /// Where a build of the dev profile puts the host.
    pub(crate) fn host(&self) -> Result<PathBuf> {
        let target = self.0["target_directory"]
            .as_str()
            .context("`cargo metadata` names no target directory")?;
        Ok(Path::new(target).join("debug").join("pilothouse"))
    }

    /// The binary that `cargo test --workspace` leaves, since tests of the package run it. Not the same build as
    /// [`host`]'s: tests bring features of their own, and building it once more would take minutes.
    pub(crate) fn tested_host(&self) -> Result<PathBuf> {
        let binary = self.host()?;
        if !binary.is_file() {
            bail!("{}: is not there, though the tests were built", binary.display());
        }
        Ok(binary)
    }

    /// The packages that are plugins: their library is a `cdylib`.
    pub(crate) fn plugins(&self) -> Vec<String> {
        let is_plugin = |package: &Value| {
            let targets = package["targets"].as_array().cloned().unwrap_or_default();
            targets.iter().any(|target| {
                target["crate_types"]
                    .as_array()
                    .is_some_and(|types| types.contains(&"cdylib".into()))
            })
        };
        let packages = self.0["packages"].as_array().cloned().unwrap_or_default();
        packages
            .iter()
            .filter(|package| is_plugin(package))
            .filter_map(|package| package["name"].as_str().map(str::to_owned))
            .collect()
    }

    /// The name of the package with this manifest.
    pub(crate) fn package_of(&self, manifest: &str) -> Option<String> {
        let packages = self.0["packages"].as_array()?;
        let package = packages.iter().find(|package| package["manifest_path"] == manifest)?;
        package["name"].as_str().map(str::to_owned)
    }

    /// Whether there is a package of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0["packages"]
            .as_array()
            .is_some_and(|packages| packages.iter().any(|package| package["name"] == name))
    }
}

/// Copies a component into a plugin directory: its file name is the plugin's identity.
pub(crate) fn install(component: &Path, directory: &Path, name: &str) -> Result<()> {
    std::fs::create_dir_all(directory).with_context(|| format!("{}: can't be made", directory.display()))?;
    let to = directory.join(format!("{name}.wasm"));
    std::fs::copy(component, &to)
        .with_context(|| format!("{} can't be copied to {}", component.display(), to.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_are_told_by_their_crate_type() {
        let workspace = Workspace::read().unwrap();
        let plugins = workspace.plugins();
        assert!(plugins.iter().any(|name| name == "greeting"), "{plugins:?}");
        assert!(!plugins.iter().any(|name| name == "xtask"), "{plugins:?}");
        assert!(workspace.has("xtask") && !workspace.has("none-of-ours"));
    }
}
