//! The program under test.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::Value;

/// The one that the environment variable `PILOTHOUSE_BIN` names, or else it is built.
///
/// # Panics
/// If there is no such file, or it does not build.
#[track_caller]
pub(crate) fn binary() -> &'static Path {
    // What does not build is built once, and every test says why.
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match BINARY.get_or_init(build) {
        Ok(path) => path,
        Err(why) => panic!("{why}"),
    }
}

fn build() -> Result<PathBuf, String> {
    if let Some(named) = std::env::var_os("PILOTHOUSE_BIN").filter(|named| !named.is_empty()) {
        let path = PathBuf::from(named);
        let named = format!("PILOTHOUSE_BIN={}: there is no such file", path.display());
        return path.is_file().then_some(path).ok_or(named);
    }
    let mut cargo = std::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What cargo tells the tests it runs: build scripts that look at it would be run again, and what hangs on them.
    for (name, _) in std::env::vars_os() {
        let about_this_package = name.to_str().is_some_and(|name| {
            let starts = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];
            starts.iter().any(|start| name.starts_with(start)) || name == "CARGO_PRIMARY_PACKAGE" || name == "OUT_DIR"
        });
        if about_this_package {
            cargo.env_remove(name);
        }
    }
    cargo.args([
        "build",
        "--package",
        "pilothouse",
        "--bin",
        "pilothouse",
        "--message-format=json-render-diagnostics",
    ]);
    cargo.current_dir(pilothouse_guests::workspace_root());
    let built = cargo
        .output()
        .map_err(|error| format!("cargo can't be started: {error}"))?;
    if !built.status.success() {
        let why = String::from_utf8_lossy(&built.stderr);
        return Err(format!("the binary under test does not build:\n{why}"));
    }
    String::from_utf8_lossy(&built.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact" && message["target"]["name"] == "pilothouse")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .ok_or_else(|| "cargo names no binary that it built".to_owned())
}
