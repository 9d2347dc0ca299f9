//! The programs, built once into a cache.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use sha2::{Digest as _, Sha256};

use crate::{Error, Go, shell, workspace_root};

/// What nobody has used for so long goes when something new is built.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// How often a build tells how far it is.
const TELL: Duration = Duration::from_secs(10);

/// A program of the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// What the API server keeps everything in.
    Etcd,
    /// The API server.
    ApiServer,
    /// Garbage collection, namespaces, Deployments and the like.
    ControllerManager,
    /// The client.
    Kubectl,
}

impl Binary {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Etcd, Self::ApiServer, Self::ControllerManager, Self::Kubectl];

    /// Its file name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Kubectl => "kubectl",
        }
    }

    fn package(self) -> &'static str {
        match self {
            Self::Etcd => "go.etcd.io/etcd/server/v3",
            Self::ApiServer => "k8s.io/kubernetes/cmd/kube-apiserver",
            Self::ControllerManager => "k8s.io/kubernetes/cmd/kube-controller-manager",
            Self::Kubectl => "k8s.io/kubernetes/cmd/kubectl",
        }
    }
}

/// A directory that holds programs.
#[derive(Clone, Debug)]
pub struct Binaries(PathBuf);

impl Binaries {
    /// These programs, compiled with this Go if they aren't in the cache. The cache is `PILOTHOUSE_CACHE`, or
    /// `pilothouse` in the user's cache directory (`XDG_CACHE_HOME`, `~/.cache`), or `target/realcluster` where there
    /// is none; the key within it is made of go.mod, go.sum and the Go version. `tell` hears how far it is.
    ///
    /// # Errors
    /// [`Error::Failed`] if something does not compile (or its modules can't be fetched), [`Error::File`] if the cache
    /// can't be written.
    pub fn built(go: &Go, wanted: &[Binary], tell: &mut dyn FnMut(&str)) -> Result<Self, Error> {
        let module = workspace_root().join("tests").join("realcluster");
        let read = |name: &str| {
            let path = module.join(name);
            fs::read_to_string(&path).map_err(Error::file(&path))
        };
        let (go_mod, go_sum) = (read("go.mod")?, read("go.sum")?);
        let key = key(&[&go_mod, &go_sum, &go.version(&module)?]);
        let cache = cache();
        let directory = cache.join(&key);
        fs::create_dir_all(&directory).map_err(Error::file(&directory))?;
        let missing = || -> Vec<Binary> {
            let is_missing = |binary: &Binary| !directory.join(binary.name()).is_file();
            wanted.iter().copied().filter(is_missing).collect()
        };
        if !missing().is_empty() {
            let _lock = lock(&directory.join("lock"), tell)?;
            // Whoever held the lock may have built them.
            let missing = missing();
            if !missing.is_empty() {
                forget_old(&cache, &key);
                let version = pinned(&go_mod).unwrap_or("v0.0.0");
                build(go, &module, &directory, &missing, version, tell)?;
            }
        }
        // For `forget_old`. An error: it is forgotten a little earlier, and built again.
        let _ = File::open(&directory).and_then(|open| open.set_modified(now()));
        Ok(Self(directory))
    }

    /// Where a program is.
    #[must_use]
    pub fn path(&self, binary: Binary) -> PathBuf {
        self.0.join(binary.name())
    }
}

fn cache() -> PathBuf {
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let users = || {
        let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))?;
        Some(base.join("pilothouse"))
    };
    match set("PILOTHOUSE_CACHE").or_else(users) {
        Some(base) => base.join("realcluster"),
        None => workspace_root().join("target").join("realcluster").join("cache"),
    }
}

fn key(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        // The length first: no two lists of parts give the same bytes.
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    hash.finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Held until it is dropped, or the process ends.
fn lock(path: &Path, tell: &mut dyn FnMut(&str)) -> Result<File, Error> {
    let file = File::create(path).map_err(Error::file(path))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => tell("another process builds the control plane; waiting for it"),
        Err(TryLockError::Error(source)) => return Err(Error::file(path)(source)),
    }
    file.lock().map_err(Error::file(path))?;
    Ok(file)
}

/// Removes what other checkouts built and nobody used for long.
fn forget_old(cache: &Path, key: &str) {
    let entries = fs::read_dir(cache).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name() != OsStr::new(key)) {
        let used = entry.metadata().and_then(|metadata| metadata.modified());
        if used.is_ok_and(|used| now().duration_since(used).is_ok_and(|age| age > KEPT)) {
            // An error: it stays until the next time.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn build(
    go: &Go,
    module: &Path,
    directory: &Path,
    missing: &[Binary],
    version: &str,
    tell: &mut dyn FnMut(&str),
) -> Result<(), Error> {
    let names: Vec<&str> = missing.iter().map(|binary| binary.name()).collect();
    tell(&format!(
        "building {} of Kubernetes {version} (needs the network for its modules; with nothing built before, minutes)",
        names.join(", ")
    ));
    let began = instant();
    // Elsewhere first: a build that is cut short must not leave something that looks whole.
    let part = directory.join("part");
    fs::create_dir_all(&part).map_err(Error::file(&part))?;
    // etcd's package is called `v3`, and Go would call its program so: it is built apart.
    let (etcd, others): (Vec<Binary>, Vec<Binary>) = missing.iter().partition(|binary| **binary == Binary::Etcd);
    for (together, out) in [(etcd, part.join("etcd")), (others, part.join(""))] {
        if together.is_empty() {
            continue;
        }
        let mut command = go.command(module);
        command
            .args(["build", "-v", "-trimpath", "-ldflags"])
            // Without a version the server calls itself v0.0.0-master, and kubectl complains.
            .arg(format!("-s -w -X k8s.io/component-base/version.gitVersion={version}"))
            .arg("-o")
            .arg(out)
            .args(together.iter().map(|binary| binary.package()));
        run(&mut command, tell)?;
    }
    for name in names {
        let to = directory.join(name);
        fs::rename(part.join(name), &to).map_err(Error::file(&to))?;
    }
    tell(&format!("built ({:.0} s)", began.elapsed().as_secs_f64()));
    Ok(())
}

/// Runs a build that names each package it has compiled on stderr.
fn run(command: &mut Command, tell: &mut dyn FnMut(&str)) -> Result<(), Error> {
    let shown = shell::shown(command);
    let start = |source| Error::Start {
        command: shown.clone(),
        source,
    };
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(start)?;
    let (mut count, mut last, mut told) = (0_usize, VecDeque::new(), instant());
    let stderr = child.stderr.take();
    for line in stderr.into_iter().flat_map(|stderr| BufReader::new(stderr).lines()) {
        // An error: it says nothing more that can be read; how it ended tells all.
        let Ok(line) = line else { break };
        count += 1;
        if told.elapsed() >= TELL {
            tell(&format!("… {count} packages"));
            told = instant();
        }
        last.push_back(line);
        if last.len() > 30 {
            last.pop_front();
        }
    }
    let status = child.wait().map_err(start)?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Failed {
        command: shown,
        status: status.to_string(),
        said: last.into_iter().collect::<Vec<_>>().join("\n"),
    })
}

/// The version of Kubernetes in a go.mod.
fn pinned(go_mod: &str) -> Option<&str> {
    go_mod
        .lines()
        .find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes "))
        .and_then(|rest| rest.split(' ').next())
}

#[expect(clippy::disallowed_methods, reason = "a build of minutes says how long it took")]
fn instant() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "files carry the wall clock's times")]
fn now() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_pins_a_version_of_kubernetes_and_every_program() {
        let go_mod = fs::read_to_string(workspace_root().join("tests/realcluster/go.mod")).unwrap();
        assert!(pinned(&go_mod).unwrap().starts_with("v1."));
        for binary in Binary::ALL {
            let package = binary.package();
            assert!(
                go_mod.contains(&format!("\t{package}\n")),
                "{package} is no tool of go.mod"
            );
        }
    }

    #[test]
    fn another_go_sum_or_another_go_is_another_key() {
        let one = key(&["mod", "sum", "go1.26"]);
        assert_eq!(one, key(&["mod", "sum", "go1.26"]));
        assert_ne!(one, key(&["mod", "sun", "go1.26"]));
        assert_ne!(one, key(&["mod", "sum", "go1.27"]));
        assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
    }

    #[test]
    fn a_lock_that_somebody_holds_is_told_and_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let held = lock(&path, &mut |line| panic!("{line}")).unwrap();
        let mut told = Vec::new();
        std::thread::scope(|scope| {
            let (send, waits) = std::sync::mpsc::channel();
            let (told, path) = (&mut told, &path);
            let second = scope.spawn(move || {
                lock(path, &mut |line| {
                    told.push(line.to_owned());
                    send.send(()).unwrap();
                })
                .map(drop)
            });
            waits.recv().unwrap();
            drop(held);
            second.join().unwrap().unwrap();
        });
        assert_eq!(told, ["another process builds the control plane; waiting for it"]);
    }

    #[test]
    fn a_build_that_fails_carries_what_the_compiler_said() {
        let error = run(
            Command::new("sh").args(["-c", "echo k8s.io/api >&2; echo 'no such module' >&2; exit 1"]),
            &mut |_| {},
        )
        .unwrap_err()
        .to_string();
        assert!(
            error.ends_with("failed (exit status: 1): k8s.io/api\nno such module"),
            "{error}"
        );
    }
}
