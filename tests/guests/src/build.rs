//! Running cargo for guests.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::{GuestError, Toolchain, run, workspace_root};

impl Toolchain {
    /// Builds a package of this workspace with `--profile guest`; answers the path of its component.
    ///
    /// # Errors
    /// [`GuestError::Build`] with the compiler's text; [`GuestError::NoComponent`] if the package is no `cdylib`.
    pub fn build_package(&self, package: &str, target_dir: &Path) -> Result<PathBuf, GuestError> {
        let mut cargo = self.cargo(target_dir, "guest");
        cargo.current_dir(workspace_root()).args(["--package", package]);
        component(&mut cargo, |artifact| {
            // The id is `path+file:///…/greeting#0.1.0` or `…/directory#greeting@0.1.0`.
            let id = artifact["package_id"].as_str().unwrap_or_default();
            let (url, version) = id.rsplit_once('#').unwrap_or((id, ""));
            match version.split_once('@') {
                Some((name, _)) => name == package,
                None => url.rsplit('/').next() == Some(package),
            }
        })
    }

    /// Builds the package in a directory, which may belong to no workspace of ours, with its own release profile;
    /// answers the path of its component.
    ///
    /// # Errors
    /// [`GuestError::Path`] if there is no Cargo.toml; else as [`Toolchain::build_package`].
    pub fn build_dir(&self, manifest_dir: &Path, target_dir: &Path) -> Result<PathBuf, GuestError> {
        let manifest = manifest_dir.join("Cargo.toml");
        let manifest = manifest
            .canonicalize()
            .map_err(|source| GuestError::Path { path: manifest, source })?;
        let target_dir = std::path::absolute(target_dir).map_err(|source| GuestError::Path {
            path: target_dir.to_path_buf(),
            source,
        })?;
        let mut cargo = self.cargo(&target_dir, "release");
        // In its directory, so that a .cargo/config.toml of its own counts.
        cargo
            .current_dir(manifest.parent().unwrap_or(&manifest))
            .arg("--manifest-path")
            .arg(&manifest);
        component(&mut cargo, |artifact| {
            artifact["manifest_path"]
                .as_str()
                .map(Path::new)
                .and_then(|path| path.canonicalize().ok())
                .as_deref()
                == Some(&manifest)
        })
    }

    fn cargo(&self, target_dir: &Path, profile: &str) -> Command {
        // The sysroot's own programs where it has them: rustup's proxies choose by directory.
        let own = |name: &str| Some(self.sysroot.join("bin").join(name)).filter(|path| path.is_file());
        let mut cargo = run::command(own("cargo").map_or_else(|| OsString::from("cargo"), OsString::from));
        cargo.args([
            "build",
            "--profile",
            profile,
            "--target",
            self.target,
            "--message-format=json-render-diagnostics",
        ]);
        match &self.debian {
            None => {
                if let Some(rustc) = own("rustc") {
                    cargo.env("RUSTC", rustc);
                }
                cargo.arg("--target-dir").arg(target_dir);
            }
            Some(debian) => {
                let mut path: Vec<PathBuf> = debian.linkers.to_vec();
                path.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths));
                if let Ok(path) = std::env::join_paths(path) {
                    cargo.env("PATH", path);
                }
                let mut flags = OsString::from("-L\u{1f}native=");
                flags.push(&debian.libc);
                cargo
                    .env("CARGO_ENCODED_RUSTFLAGS", flags)
                    .env("RUSTC", &debian.rustc)
                    // Debian's compiler calls itself stable; building std is a nightly's right.
                    .env("RUSTC_BOOTSTRAP", "1")
                    .args(["-Z", "build-std=std,panic_abort"])
                    // Two compilers in one directory would build everything anew at each change of way.
                    .arg("--target-dir")
                    .arg(target_dir.join("debian"));
            }
        }
        cargo
    }
}

/// Runs cargo and picks the component of the package that `wanted` recognises among cargo's messages.
fn component(cargo: &mut Command, wanted: impl Fn(&Value) -> bool) -> Result<PathBuf, GuestError> {
    let output = run::output(cargo)?;
    let command = run::shown(cargo);
    if !output.status.success() {
        return Err(GuestError::Build {
            command,
            status: output.status.to_string(),
            output: run::tail(&output.stderr),
        });
    }
    pick(&output.stdout, wanted).ok_or(GuestError::NoComponent { command })
}

fn pick(messages: &[u8], wanted: impl Fn(&Value) -> bool) -> Option<PathBuf> {
    messages
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact" && wanted(message))
        .flat_map(|message| message["filenames"].as_array().cloned().unwrap_or_default())
        .filter_map(|name| name.as_str().map(PathBuf::from))
        .rfind(|path| path.extension().is_some_and(|extension| extension == "wasm"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_component_is_the_wanted_packages_and_not_a_dependencys() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","package_id":"path+file:///a/other#0.1.0","filenames":["/t/other.wasm"]}"#,
            "\nno json\n",
            r#"{"reason":"compiler-artifact","package_id":"path+file:///a/mine#0.1.0","filenames":["/t/mine.wasm","/t/libmine.rlib"]}"#,
            "\n",
        );
        let of = |name: &'static str| {
            move |artifact: &Value| artifact["package_id"].as_str().unwrap_or_default().contains(name)
        };
        assert_eq!(
            pick(messages.as_bytes(), of("/mine#")),
            Some(PathBuf::from("/t/mine.wasm"))
        );
        assert_eq!(pick(messages.as_bytes(), of("/absent#")), None);
    }

    #[test]
    fn a_directory_without_a_manifest_is_named() {
        let toolchain = Toolchain {
            way: crate::Way::Rustup,
            target: crate::TARGET,
            sysroot: PathBuf::new(),
            debian: None,
        };
        let error = toolchain
            .build_dir(Path::new("no/such/place"), Path::new("t"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("no/such/place/Cargo.toml"), "{error}");
    }
}
