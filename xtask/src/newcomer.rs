//! `cargo xtask newcomer`: what the README's page tells a plugin author to do, done to the letter in a directory that
//! is not part of the workspace. Commands, files and what must be seen are taken from the README itself.
//!
//! What it adds to the page, since a person has it already: `pilothouse` and kubectl on `PATH`, and the clone of the
//! repository beside the new plugin. What it changes, so that it is quick and the same every day: compiled dependencies
//! are kept under `target/newcomer`, and their versions are those of the workspace's Cargo.lock. Where rustup has no
//! wasm target and Debian's compiler is used instead, the documented `cargo build` is made with that.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use pilothouse_guests::{Toolchain, Way};

use crate::background::Background;
use crate::readme::{self, Block, Mark};
use crate::run::{self, root};
use crate::{builds, kubectl};

/// What the page tells authors to compile with.
const BUILD: &str = "cargo build --release --target wasm32-wasip2";

/// What is tried may take so long until it shows what it must.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is tried.
const AGAIN: Duration = Duration::from_millis(250);

/// Follows the page, with a host that is given or is built.
///
/// # Errors
/// The line of the README that does not work, and how.
pub(crate) fn newcomer(host: Option<&Path>) -> Result<()> {
    let file = root().join("README.md");
    let text = fs::read_to_string(&file).with_context(|| format!("{}: can't be read", file.display()))?;
    let blocks = readme::blocks(&text)?;
    check_marks(&blocks)?;
    let toolchain = builds::toolchain()?;
    let host = match host {
        Some(host) => host.to_owned(),
        None => builds::host()?,
    };
    let place = Place::make(&host, &kubectl::kubectl()?)?;
    let mut person = Person {
        place: &place,
        toolchain,
        state: String::new(),
        started: None,
        seen: None,
        trying: None,
    };
    for block in &blocks {
        person
            .follow(block)
            .with_context(|| format!("README.md:{}", block.line))?;
    }
    if let Some(mut started) = person.started.take() {
        let status = started.stop(Duration::from_secs(15))?;
        if !status.success() {
            bail!(
                "what the README starts ended with {status} after Ctrl-C; its last words:\n{}",
                run::last_lines(&started.said(), 30)
            );
        }
    }
    println!("The README's page works.");
    Ok(())
}

/// A page that lost its marks would pass by doing nothing.
fn check_marks(blocks: &[Block]) -> Result<()> {
    let has = |wanted: fn(&Mark) -> bool| blocks.iter().any(|block| wanted(&block.mark));
    let all = has(|mark| matches!(mark, Mark::File(path) if path.ends_with(".rs")))
        && has(|mark| *mark == Mark::Start)
        && has(|mark| *mark == Mark::Try)
        && has(|mark| *mark == Mark::See)
        && blocks
            .iter()
            .any(|block| block.mark == Mark::Run && block.text.contains(BUILD));
    if !all {
        bail!(
            "README.md: the page on writing a plugin has lost marks: a `file ….rs`, a `run` with `{BUILD}`, a `start`, a \
             `try` and a `see` are needed"
        );
    }
    Ok(())
}

/// The directory in which the clone and the new plugin lie. Always the same one, or cargo would compile the SDK anew
/// each time; a lock sees to it that it is used once at a time.
struct Place {
    path: PathBuf,
    _lock: File,
}

impl Place {
    fn make(host: &Path, kubectl: &Path) -> Result<Self> {
        let locks = root().join("target").join("xtask");
        fs::create_dir_all(&locks).with_context(|| format!("{}: can't be made", locks.display()))?;
        let lock = File::create(locks.join("newcomer.lock")).context("target/xtask/newcomer.lock can't be made")?;
        lock.lock().context("target/xtask/newcomer.lock can't be locked")?;
        let mut hasher = DefaultHasher::new();
        root().hash(&mut hasher);
        let path = std::env::temp_dir().join(format!("pilothouse-newcomer-{:016x}", hasher.finish()));
        if path.exists() {
            // Left by one that was killed: the lock is ours, so it is nobody's.
            fs::remove_dir_all(&path).with_context(|| format!("{}: can't be removed", path.display()))?;
        }
        let place = Self { path, _lock: lock };
        let bin = place.path.join("bin");
        fs::create_dir_all(&bin).with_context(|| format!("{}: can't be made", bin.display()))?;
        link(root(), &place.path.join("pilothouse"))?;
        link(host, &bin.join("pilothouse"))?;
        link(kubectl, &bin.join("kubectl"))?;
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("{}: can't be removed: {error}", self.path.display());
        }
    }
}

fn link(to: &Path, at: &Path) -> Result<()> {
    std::os::unix::fs::symlink(to, at).with_context(|| format!("{}: can't be made", at.display()))
}

/// Somebody who follows the page in terminals.
struct Person<'a> {
    place: &'a Place,
    toolchain: Toolchain,
    /// The `cd`s and `export`s so far.
    state: String,
    started: Option<Background>,
    /// What the last command wrote.
    seen: Option<String>,
    /// The command that is to show what comes next.
    trying: Option<String>,
}

impl Person<'_> {
    fn follow(&mut self, block: &Block) -> Result<()> {
        if !matches!(block.mark, Mark::See | Mark::From(_)) {
            self.trying = None;
        }
        match &block.mark {
            Mark::From(_) => Ok(()),
            Mark::File(path) => self.write(path, &block.text, false),
            Mark::Append(path) => self.write(path, &block.text, true),
            Mark::Run => {
                let mut seen = String::new();
                for line in lines(&block.text) {
                    if is_state(&line) {
                        self.state.push_str(&line);
                        self.state.push('\n');
                    } else {
                        seen.push_str(&self.run(&line)?);
                    }
                }
                self.seen = Some(seen);
                Ok(())
            }
            Mark::Start => self.start(&block.text),
            Mark::Try => {
                let mut command = String::new();
                for line in lines(&block.text) {
                    if is_state(&line) {
                        self.state.push_str(&line);
                        self.state.push('\n');
                    } else {
                        // Writing to a String can't fail.
                        let _ = writeln!(command, "{line}");
                    }
                }
                self.trying = Some(command);
                Ok(())
            }
            Mark::See => self.see(&block.text),
        }
    }

    fn write(&self, path: &str, text: &str, append: bool) -> Result<()> {
        let file = self.here()?.join(path);
        println!("  {} {path}", if append { "appending to" } else { "writing" });
        if let Some(directory) = file.parent() {
            fs::create_dir_all(directory).with_context(|| format!("{path}: its directory can't be made"))?;
        }
        let mut options = OpenOptions::new();
        // What is appended to must be there: the page says so.
        let opened = if append {
            options.append(true).open(&file)
        } else {
            options.write(true).create(true).truncate(true).open(&file)
        };
        opened
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(|| format!("{path}: can't be written"))
    }

    /// The directory that the person is in.
    fn here(&self) -> Result<PathBuf> {
        Ok(PathBuf::from(
            run::output(&mut self.shell("pwd"))?.trim_end_matches('\n'),
        ))
    }

    fn run(&self, line: &str) -> Result<String> {
        println!("  $ {line}");
        let here = self.here()?;
        keep_compiled(&here)?;
        if line == BUILD && self.toolchain.way() == Way::Debian {
            println!("    (with Debian's compiler: rustup has no wasm target here)");
            return build_with_debian(&self.toolchain, &here);
        }
        let output = self
            .shell(line)
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("`{line}` can't be started"))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        print!("{}", indented(&text));
        if !output.status.success() {
            bail!("`{line}` failed ({})", output.status);
        }
        Ok(text)
    }

    fn start(&mut self, text: &str) -> Result<()> {
        let lines = lines(text);
        let [line] = lines.as_slice() else {
            bail!("one command is to be started, and here stand {}", lines.len())
        };
        println!("  $ {line}");
        if self.started.is_some() {
            bail!("something runs already");
        }
        // Without a shell between, which would get the Ctrl-C too.
        let started = Background::start(&format!("`{line}`"), &mut self.shell(&format!("exec {line}")), true)?;
        self.started = Some(started);
        Ok(())
    }

    fn see(&mut self, wanted: &str) -> Result<()> {
        let Some(command) = self.trying.take() else {
            let Some(seen) = &self.seen else {
                bail!("there is no command whose output this could be")
            };
            return readme::shows(seen, wanted)
                .map_err(|line| anyhow::anyhow!("`{line}` is not in the output:\n{seen}"));
        };
        println!("  $ {}", command.trim_end().replace('\n', "\n    "));
        let end = Instant::now() + PATIENCE;
        loop {
            let output = self
                .shell(&command)
                .stdin(Stdio::null())
                .output()
                .with_context(|| format!("`{command}` can't be started"))?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let lacking = readme::shows(&text, wanted);
            if output.status.success() && lacking.is_ok() {
                print!("{}", indented(&text));
                return Ok(());
            }
            if let Some(started) = &mut self.started {
                started.must_run()?;
            }
            if Instant::now() > end {
                let errors = String::from_utf8_lossy(&output.stderr);
                let lacking = lacking.err().unwrap_or_default();
                bail!(
                    "after {} s `{}` still does not show `{lacking}` but:\n{text}{errors}",
                    PATIENCE.as_secs(),
                    command.trim_end()
                );
            }
            run::pause(AGAIN)?;
        }
    }

    /// A shell in the place, in the state that the commands so far have led to, with a person's environment.
    fn shell(&self, line: &str) -> Command {
        let mut shell = Command::new("sh");
        shell
            .args(["-euc", &format!("{}{line}", self.state)])
            .current_dir(&self.place.path)
            .stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(is_ours) {
                shell.env_remove(name);
            }
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = [self.place.path.join("bin")]
            .into_iter()
            .chain(std::env::split_paths(&path));
        // An error: a name with a colon in it, which PATH could not have held before either.
        if let Ok(path) = std::env::join_paths(path) {
            shell.env("PATH", path);
        }
        shell
    }
}

/// What the cargo around us, or a person's own cluster, would change.
fn is_ours(variable: &str) -> bool {
    const STAYS: [&str; 6] = [
        "CARGO_HOME",
        "CARGO_NET_",
        "CARGO_HTTP_",
        "CARGO_REGISTR",
        "CARGO_SOURCE_",
        "CARGO_TERM_",
    ];
    let of_cargo = variable == "CARGO" || variable.starts_with("CARGO_");
    (of_cargo && !STAYS.iter().any(|stays| variable.starts_with(stays)))
        || matches!(
            variable,
            "RUSTFLAGS" | "RUSTDOCFLAGS" | "RUSTC" | "RUSTC_WRAPPER" | "MAKEFLAGS" | "KUBECONFIG" | "LD_LIBRARY_PATH"
        )
}

/// Commands, one a line; a backslash at the end joins two; comments and empty lines are left out.
fn lines(text: &str) -> Vec<String> {
    let text = text.replace("\\\n", " ");
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

fn is_state(line: &str) -> bool {
    line.starts_with("cd ") || line.starts_with("export ")
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}

/// Lets a new package share what was compiled before, and the versions of its dependencies.
fn keep_compiled(here: &Path) -> Result<()> {
    if !here.join("Cargo.toml").exists() {
        return Ok(());
    }
    let target = here.join("target");
    if !target.exists() {
        let kept = root().join("target").join("newcomer");
        fs::create_dir_all(&kept).with_context(|| format!("{}: can't be made", kept.display()))?;
        link(&kept, &target)?;
    }
    let lock = here.join("Cargo.lock");
    if !lock.exists() {
        fs::copy(root().join("Cargo.lock"), &lock).context("Cargo.lock can't be copied")?;
    }
    Ok(())
}

/// The documented build by other means; its result lies where the documented one would.
fn build_with_debian(toolchain: &Toolchain, here: &Path) -> Result<String> {
    let built = toolchain.build_dir(here, &here.join("target"))?;
    let name = built.file_name().context("the component has no name")?;
    let release = here.join("target").join(pilothouse_guests::TARGET).join("release");
    fs::create_dir_all(&release).with_context(|| format!("{}: can't be made", release.display()))?;
    fs::copy(&built, release.join(name)).with_context(|| format!("{}: can't be copied", built.display()))?;
    Ok(String::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_has_all_the_marks_that_the_newcomer_needs() {
        let text = fs::read_to_string(root().join("README.md")).unwrap();
        check_marks(&readme::blocks(&text).unwrap()).unwrap();
        assert!(check_marks(&[]).is_err());
    }

    #[test]
    fn commands_are_lines_but_for_comments_and_joined_ones() {
        assert_eq!(lines("# first\nls \\\n  -l\n\ncd x\n"), ["ls    -l", "cd x"]);
        assert!(is_state("cd x") && is_state("export A=b") && !is_state("cdx"));
    }

    #[test]
    fn what_cargo_sets_for_us_does_not_reach_the_newcomer() {
        for name in [
            "CARGO",
            "CARGO_TARGET_DIR",
            "CARGO_MANIFEST_DIR",
            "KUBECONFIG",
            "RUSTFLAGS",
        ] {
            assert!(is_ours(name), "{name}");
        }
        for name in [
            "CARGO_HOME",
            "CARGO_NET_OFFLINE",
            "CARGO_REGISTRIES_X_INDEX",
            "PATH",
            "RUSTUP_TOOLCHAIN",
            "HOME",
        ] {
            assert!(!is_ours(name), "{name}");
        }
    }
}
