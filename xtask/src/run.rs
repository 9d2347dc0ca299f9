//! Programs that run to their end, scratch directories, signals.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
pub(crate) use pilothouse_realcluster::shell::{last_lines, on_path, shown};

static INTERRUPTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// From now on SIGINT and SIGTERM only raise a flag; whoever waits looks at it. A cargo or Go in the foreground gets
/// the terminal's Ctrl-C itself.
pub(crate) fn heed_signals() -> Result<()> {
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&INTERRUPTED)).context("can't heed signals")?;
    }
    Ok(())
}

/// Whether a signal came.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Waits a little, or fails if a signal came.
pub(crate) fn pause(time: Duration) -> Result<()> {
    if interrupted() {
        bail!("interrupted");
    }
    std::thread::sleep(time);
    Ok(())
}

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(pilothouse_guests::workspace_root)
}

/// The cargo that started us, in the workspace's root.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    cargo.current_dir(root()).stdin(Stdio::null());
    cargo
}

/// Runs to the end, with our own stdout and stderr.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("`{}` can't be started", shown(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", shown(command));
    }
    Ok(())
}

/// Runs to the end and takes what it writes to stdout; an error carries what it wrote to stderr.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("`{}` can't be started", shown(command)))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`{}` failed ({}): {}",
            shown(command),
            output.status,
            last_lines(&stderr, 20)
        );
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{}` wrote something else than UTF-8", shown(command)))
}

/// So many bytes of memory can be had without swapping, where the system tells.
pub(crate) fn available_memory() -> Option<u64> {
    available_in(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

/// From a line like `MemAvailable:   24015876 kB`.
fn available_in(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kib.checked_mul(1024)
}

/// A directory of our own that goes when this is dropped.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Under the workspace's `target/`.
    pub(crate) fn in_target(name: &str) -> Result<Self> {
        let parent = root().join("target").join("xtask");
        let path = parent.join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&parent).with_context(|| format!("{}: can't be made", parent.display()))?;
        // Not `create_dir_all`: a directory that somebody else left under this name would not be ours to remove.
        std::fs::create_dir(&path).with_context(|| format!("{}: can't be made", path.display()))?;
        // As the system sees it: `/tmp` may be a link.
        Ok(Self(path.canonicalize().unwrap_or(path)))
    }

    /// Something in it.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{}: can't be removed: {error}", self.0.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_it_is_typed() {
        let mut command = Command::new("/usr/bin/cargo");
        command.args(["test", "--workspace"]).env("A", "B");
        assert_eq!(shown(&command), "cargo test --workspace");
    }

    #[test]
    fn available_memory_is_read_from_the_systems_own_words() {
        assert_eq!(available_in("MemTotal: 9 kB\nMemAvailable:   1024 kB\n"), Some(1 << 20));
        assert_eq!(available_in("MemTotal: 9 kB\n"), None);
    }

    #[test]
    fn a_failed_program_is_named_with_what_it_said() {
        let error = output(Command::new("sh").args(["-c", "echo words >&2; exit 3"]))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("`sh -c ") && error.contains("exit status: 3): words"),
            "{error}"
        );
    }

    #[test]
    fn a_scratch_directory_goes_with_its_owner() {
        let scratch = Scratch::in_target("scratch-test").unwrap();
        let file = scratch.join("file");
        std::fs::write(&file, "x").unwrap();
        drop(scratch);
        assert!(!file.parent().unwrap().exists());
    }
}
