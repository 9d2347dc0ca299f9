//! One of the two servers as a transcript sees it: a namespace, a folder, and kubectl on the path.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::compared::Said;

/// A command that takes longer hangs. kubectl's own time-outs in the transcripts are shorter.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often to look.
const LOOK: Duration = Duration::from_millis(10);

/// A server, and where a transcript's commands run.
pub(crate) struct Side {
    /// For messages.
    server: &'static str,
    /// Where the commands run; what they say stands in files next to it.
    folder: PathBuf,
    /// What they find in their environment.
    kubeconfig: PathBuf,
    home: PathBuf,
    path: std::ffi::OsString,
}

impl Side {
    /// A side whose files all lie below `root`; `home` is where kubectl keeps what it learned about the server.
    pub(crate) fn new(server: &'static str, root: &Path, home: &Path, kubeconfig: &Path, kubectl: &Path) -> Self {
        let folder = root.join("here");
        let own = root.join("kubeconfig");
        for folder in [&folder, home] {
            std::fs::create_dir_all(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        }
        std::fs::copy(kubeconfig, &own).unwrap_or_else(|error| panic!("{}: {error}", kubeconfig.display()));
        let mut path = kubectl
            .parent()
            .expect("kubectl lies in a folder")
            .to_owned()
            .into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        Self {
            server,
            folder,
            kubeconfig: own,
            home: home.to_owned(),
            path,
        }
    }

    /// Puts a file where the commands run.
    pub(crate) fn file(&self, name: &str, text: &str) {
        let path = self.folder.join(name);
        std::fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Starts a command line. What it writes goes to files, so that it can be looked at while the command runs.
    pub(crate) fn start(&self, line: &str, number: usize) -> Running {
        let file = |what: &str| self.folder.with_file_name(format!("{number}.{what}"));
        let (stdout, stderr) = (file("stdout"), file("stderr"));
        let create = |path: &Path| File::create(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut command = Command::new("sh");
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("KUBE")) {
                command.env_remove(name);
            }
        }
        let child = command
            .args(["-c", line])
            .current_dir(&self.folder)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", &self.home)
            .env("PATH", &self.path)
            .env("TZ", "UTC")
            .env("LC_ALL", "C")
            // kubectl ends before it could run out of memory; hundreds of runs spare a quarter of their time.
            .env("GOGC", "off")
            .stdin(Stdio::null())
            .stdout(create(&stdout))
            .stderr(create(&stderr))
            .spawn()
            .unwrap_or_else(|error| panic!("sh: {error}"));
        Running {
            what: format!("{}: {line}", self.server),
            child,
            stdout,
            stderr,
        }
    }

    /// Runs a command line that must succeed, for what a transcript needs before it begins.
    pub(crate) fn must(&self, line: &str) {
        let said = self.start(line, 0).end();
        assert!(said.code == Some(0), "{}: {line}: {}", self.server, said.whole());
    }
}

/// A command that runs; it is ended with this value.
pub(crate) struct Running {
    what: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Running {
    /// Waits until it ends by itself.
    pub(crate) fn end(mut self) -> Said {
        let end = now() + PATIENCE;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Said::new(status, &read(&self.stdout), &read(&self.stderr)),
                Ok(None) if now() < end => pause(),
                Ok(None) => panic!(
                    "{} hangs, and has said {} {}",
                    self.what,
                    read(&self.stdout),
                    read(&self.stderr)
                ),
                Err(error) => panic!("{}: {error}", self.what),
            }
        }
    }

    /// Waits until a text stands in its output so often; false if it doesn't come.
    pub(crate) fn shows(&mut self, text: &str, times: usize) -> bool {
        self.waits(|running| read(&running.stdout).matches(text).count() >= times)
    }

    /// Waits until its log, at level 6, says that it watches; false if it never does.
    pub(crate) fn watches(&mut self) -> bool {
        self.waits(|running| read(&running.stderr).contains("watch=true"))
    }

    fn waits(&mut self, holds: impl Fn(&Self) -> bool) -> bool {
        let end = now() + PATIENCE / 4;
        while !holds(self) {
            if now() > end || matches!(self.child.try_wait(), Ok(Some(_))) {
                return holds(self);
            }
            pause();
        }
        true
    }

    /// Ends it, and answers what it has said.
    pub(crate) fn stop(mut self) -> Said {
        // Errs only if it has ended by itself, which its exit code shows.
        _ = self.child.kill();
        self.end()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Errs only if it has ended, as it mostly has.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn read(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    String::from_utf8_lossy(&bytes).into_owned()
}

#[expect(clippy::disallowed_methods, reason = "real programs are waited for")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "real programs are waited for")]
fn pause() {
    std::thread::sleep(LOOK);
}
