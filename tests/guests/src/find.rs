//! Which compiler makes guests on this machine.

use std::path::{Path, PathBuf};

use crate::{GuestError, TARGET, run, workspace_root};

/// The environment variable that forces a way: `rustup` or `debian`.
pub const FORCE: &str = "PILOTHOUSE_GUEST_TOOLCHAIN";

/// What the Debian way needs installed.
pub const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "rust-web-src", "wasi-libc"];

/// Where the compiler for guests comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// rustup's (or the distribution's) Rust with the `wasm32-wasip2` target.
    Rustup,
    /// Debian's `rustc-web`, which builds std from `rust-web-src`, with the linker of the Rust that is on the path.
    Debian,
}

/// A compiler for guests. Found once, used for many builds; cheap to clone.
#[derive(Clone, Debug)]
pub struct Toolchain {
    pub(crate) way: Way,
    /// The sysroot of the Rust on the path: its cargo, rustc and linkers.
    pub(crate) sysroot: PathBuf,
    pub(crate) debian: Option<Debian>,
    /// What it compiles for.
    pub(crate) target: &'static str,
}

/// The pieces of the Debian way.
#[derive(Clone, Debug)]
pub(crate) struct Debian {
    pub(crate) rustc: PathBuf,
    /// The directory of wasi-libc's `libc.a`.
    pub(crate) libc: PathBuf,
    /// Directories with `rust-lld` and `wasm-component-ld`, to stand first in the path.
    pub(crate) linkers: [PathBuf; 2],
}

impl Toolchain {
    /// Finds a compiler, installing one if need be; `report` gets lines for people: what was taken, and what needs root
    /// or network before it is tried. Honours [`FORCE`].
    ///
    /// # Errors
    /// [`GuestError::NoToolchain`] names for each way what it lacks and the command that mends it.
    pub fn find(report: &mut dyn FnMut(&str)) -> Result<Toolchain, GuestError> {
        Self::find_for(TARGET, report)
    }

    /// As [`Toolchain::find`], for another target than [`TARGET`].
    ///
    /// # Errors
    /// As [`Toolchain::find`].
    pub fn find_for(target: &'static str, report: &mut dyn FnMut(&str)) -> Result<Toolchain, GuestError> {
        match std::env::var(FORCE).as_deref() {
            Err(_) | Ok("") => Self::search(target, &[Way::Rustup, Way::Debian], report),
            Ok("rustup") => Self::search(target, &[Way::Rustup], report),
            Ok("debian") => Self::search(target, &[Way::Debian], report),
            Ok(other) => Err(GuestError::UnknownWay(other.to_owned())),
        }
    }

    /// As [`Toolchain::find`], with the ways to try in their order, and without a look at [`FORCE`].
    ///
    /// # Errors
    /// As [`Toolchain::find`].
    pub fn find_by(ways: &[Way], report: &mut dyn FnMut(&str)) -> Result<Toolchain, GuestError> {
        Self::search(TARGET, ways, report)
    }

    fn search(target: &'static str, ways: &[Way], report: &mut dyn FnMut(&str)) -> Result<Toolchain, GuestError> {
        let mut tried = Vec::new();
        let sysroot = match sysroot() {
            Ok(sysroot) => sysroot,
            Err(error) => {
                return Err(GuestError::NoToolchain {
                    tried: vec![format!("{error}; install Rust first (https://rustup.rs)")],
                });
            }
        };
        for way in ways {
            let found = match way {
                Way::Rustup => rustup(&sysroot, target, report).map(|()| None),
                Way::Debian => debian(&sysroot, report).map(Some),
            };
            match found {
                Ok(debian) => {
                    return Ok(Toolchain {
                        way: *way,
                        sysroot,
                        debian,
                        target,
                    });
                }
                Err(error) => {
                    report(&error);
                    tried.push(error);
                }
            }
        }
        Err(GuestError::NoToolchain { tried })
    }

    /// Which way was taken.
    pub fn way(&self) -> Way {
        self.way
    }
}

/// Asked for in the workspace, so that its rust-toolchain.toml counts.
fn sysroot() -> Result<PathBuf, String> {
    run::stdout(
        run::command("rustc")
            .args(["--print", "sysroot"])
            .current_dir(workspace_root()),
    )
    .map(PathBuf::from)
}

fn has_target(sysroot: &Path, target: &str) -> bool {
    let libs = sysroot.join("lib/rustlib").join(target).join("lib");
    let Ok(entries) = std::fs::read_dir(libs) else {
        return false;
    };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        name.to_string_lossy().starts_with("libstd-")
    })
}

fn rustup(sysroot: &Path, target: &str, report: &mut dyn FnMut(&str)) -> Result<(), String> {
    let shown = sysroot.display();
    if has_target(sysroot, target) {
        report(&format!("compiling plugins with the {target} target of {shown}"));
        return Ok(());
    }
    // The toolchain by its directory's name: what `rustup target add` would take by itself depends on where it runs.
    let name = sysroot
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let add = ["target", "add", "--toolchain", &name, target];
    let by_hand = format!("rustup {}", add.join(" "));
    if run::stdout(run::command("rustup").arg("--version")).is_err() {
        return Err(format!(
            "rustup: the Rust in {shown} has no {target} target, and there is no rustup to add it"
        ));
    }
    report(&format!(
        "the Rust in {shown} has no {target} target: `{by_hand}` (needs the network, about 20 MB)"
    ));
    run::stdout(run::command("rustup").args(add))
        .map_err(|error| format!("rustup: {error}. With a network, run `{by_hand}`"))?;
    if !has_target(sysroot, target) {
        return Err(format!(
            "rustup: `{by_hand}` went well, yet {shown} has no {target} target"
        ));
    }
    report(&format!(
        "compiling plugins with the {target} target of {shown}, just added"
    ));
    Ok(())
}

fn debian(sysroot: &Path, report: &mut dyn FnMut(&str)) -> Result<Debian, String> {
    let host = run::stdout(run::command("rustc").arg("-vV").current_dir(workspace_root()))?
        .lines()
        .find_map(|line| line.strip_prefix("host: ").map(str::to_owned))
        .ok_or("debian: `rustc -vV` names no host")?;
    let linkers = sysroot.join("lib/rustlib").join(&host).join("bin");
    for linker in ["rust-lld", "wasm-component-ld"] {
        if !linkers.join(linker).is_file() {
            return Err(format!(
                "debian: {linker} is not in {}: it comes with rustup's stable Rust",
                linkers.display()
            ));
        }
    }
    let missing: Vec<&str> = DEBIAN_PACKAGES
        .into_iter()
        .filter(|package| !installed(package))
        .collect();
    if !missing.is_empty() {
        install(&missing, report)?;
    }
    let rustc = package_file("rustc-web", "/bin/rustc")?;
    let libc = package_file("wasi-libc", "/libc.a")?;
    let libc = libc
        .parent()
        .ok_or("debian: libc.a lies in no directory")?
        .to_path_buf();
    report(&format!(
        "compiling plugins with Debian's {} (the first build also builds std, which takes about a minute)",
        DEBIAN_PACKAGES.join(", ")
    ));
    Ok(Debian {
        rustc,
        libc,
        linkers: [linkers.clone(), linkers.join("gcc-ld")],
    })
}

fn installed(package: &str) -> bool {
    run::stdout(run::command("dpkg-query").args(["-W", "-f", "${db:Status-Status}", package]))
        .is_ok_and(|status| status == "installed")
}

fn install(packages: &[&str], report: &mut dyn FnMut(&str)) -> Result<(), String> {
    let line = format!("apt-get install -y --no-install-recommends {}", packages.join(" "));
    if run::stdout(run::command("apt-get").arg("--version")).is_err() {
        return Err(format!(
            "debian: {} are not installed, and there is no apt-get",
            packages.join(", ")
        ));
    }
    if run::stdout(run::command("id").arg("-u")).is_ok_and(|id| id != "0") {
        return Err(format!(
            "debian: {} need root to be installed. Run `sudo {line}`",
            packages.join(", ")
        ));
    }
    report(&format!(
        "Debian's {} are not installed: `{line}` (needs root, which you are, and the network, about 200 MB)",
        packages.join(", ")
    ));
    let apt = |arguments: &[&str]| {
        run::stdout(
            run::command("apt-get")
                .env("DEBIAN_FRONTEND", "noninteractive")
                .args(arguments),
        )
    };
    let mut arguments = vec!["install", "-y", "--no-install-recommends"];
    arguments.extend_from_slice(packages);
    if apt(&arguments).is_err() {
        // A fresh machine has no package lists yet.
        report("the installation failed; once more after `apt-get update`");
        apt(&["update"])
            .and_then(|_| apt(&arguments))
            .map_err(|error| format!("debian: {error}. With a network, run `apt-get update && {line}`"))?;
    }
    Ok(())
}

fn package_file(package: &str, end: &str) -> Result<PathBuf, String> {
    run::stdout(run::command("dpkg").args(["-L", package]))?
        .lines()
        .map(Path::new)
        .find(|path| path.to_string_lossy().ends_with(end) && path.is_file())
        .map(Path::to_path_buf)
        .ok_or_else(|| format!("debian: the package {package} holds no …{end}"))
}
