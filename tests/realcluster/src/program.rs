//! A program of the control plane.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Error, shell};

/// A program that runs in the background, its output in a file; killed when it is dropped.
#[derive(Debug)]
pub struct Program {
    name: String,
    log: PathBuf,
    child: Mutex<Child>,
}

impl Program {
    /// Starts it in a process group, with a log of its name in `directory`, to which it appends.
    pub(crate) fn start(name: &str, command: &mut Command, directory: &Path, group: Pid) -> Result<Self, Error> {
        let log = directory.join(format!("{name}.log"));
        let open = || File::options().create(true).append(true).open(&log);
        let out = open().map_err(Error::file(&log))?;
        let err = open().map_err(Error::file(&log))?;
        let child = command
            .current_dir(directory)
            .env("HOME", directory)
            .process_group(group.as_raw_nonzero().get())
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .map_err(|source| Error::Start {
                command: shell::shown(command),
                source,
            })?;
        Ok(Self {
            name: name.to_owned(),
            log,
            child: Mutex::new(child),
        })
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child().id()
    }

    /// The last lines of what it wrote.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        shell::last_lines(&String::from_utf8_lossy(&bytes), lines)
    }

    /// Fails if it has ended, with its last words.
    ///
    /// # Errors
    /// [`Error::NotReady`].
    pub fn must_run(&self) -> Result<(), Error> {
        match self.child().try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(Error::NotReady {
                what: self.name.clone(),
                why: format!("it has ended ({status})"),
                last_words: self.log_tail(12),
            }),
            Err(source) => Err(Error::Start {
                command: self.name.clone(),
                source,
            }),
        }
    }

    /// SIGSTOP: it keeps its connections and does nothing.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT: it goes on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
        self.wait();
    }

    /// SIGTERM, and waits until it has ended.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
        self.wait();
    }

    fn wait(&self) {
        // An error: it has been waited for.
        let _ = self.child().wait();
    }

    fn signal(&self, signal: Signal) {
        let mut child = self.child();
        // Not to whoever has its number now.
        if matches!(child.try_wait(), Ok(None)) {
            // An error: it ended just now.
            let _ = kill_process(Pid::from_child(&child), signal);
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}
