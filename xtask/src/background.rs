//! Programs that run in the background until they are stopped.

use std::collections::VecDeque;
use std::io::{Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::run;

/// So much of what a program wrote is kept for messages.
const KEPT: usize = 64 * 1024;

/// How often to look whether a program has ended.
const LOOK: Duration = Duration::from_millis(10);

/// A program in a process group of its own, so that the terminal's Ctrl-C reaches us alone and we can stop things in
/// their order. Dropped, it is killed together with what it started.
pub(crate) struct Background {
    name: String,
    child: Child,
    written: Arc<Mutex<Written>>,
    readers: Vec<JoinHandle<()>>,
}

/// What a program wrote to stdout and stderr.
struct Written {
    bytes: VecDeque<u8>,
    last: Instant,
}

impl Background {
    /// Starts it. `show` passes what it writes on to our own stdout; in any case the end of it is kept.
    pub(crate) fn start(name: &str, command: &mut Command, show: bool) -> Result<Self> {
        let mut child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("`{}` can't be started", run::shown(command)))?;
        let written = Arc::new(Mutex::new(Written {
            bytes: VecDeque::new(),
            last: Instant::now(),
        }));
        let mut readers = Vec::new();
        if let Some(out) = child.stdout.take() {
            readers.push(reader(out, Arc::clone(&written), show));
        }
        if let Some(err) = child.stderr.take() {
            readers.push(reader(err, Arc::clone(&written), show));
        }
        Ok(Self {
            name: name.to_owned(),
            child,
            written,
            readers,
        })
    }

    /// The end of what it wrote.
    pub(crate) fn said(&self) -> String {
        let bytes: Vec<u8> = lock(&self.written).bytes.iter().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Fails if it has ended, with its last words.
    pub(crate) fn must_run(&mut self) -> Result<()> {
        let status = self
            .child
            .try_wait()
            .with_context(|| format!("{}: its state can't be read", self.name))?;
        if let Some(status) = status {
            self.read_up();
            bail!(
                "{} has ended ({status}); its last words:\n{}",
                self.name,
                run::last_lines(&self.said(), 30)
            );
        }
        Ok(())
    }

    /// Waits until it has written nothing for a moment, so that what we write next stands below what it wrote.
    pub(crate) fn wait_for_silence(&self) -> Result<()> {
        let end = Instant::now() + Duration::from_millis(500);
        while lock(&self.written).last.elapsed() < Duration::from_millis(60) && Instant::now() < end {
            run::pause(LOOK)?;
        }
        Ok(())
    }

    /// Asks it to stop, and kills it if it has not within `patience`, which is an error.
    pub(crate) fn stop(&mut self, patience: Duration) -> Result<ExitStatus> {
        self.signal(Signal::INT);
        let end = Instant::now() + patience;
        loop {
            if let Some(status) = self
                .child
                .try_wait()
                .with_context(|| format!("{}: its state can't be read", self.name))?
            {
                self.read_up();
                return Ok(status);
            }
            if Instant::now() > end {
                self.kill();
                bail!(
                    "{} did not stop within {} s of SIGINT and was killed",
                    self.name,
                    patience.as_secs()
                );
            }
            // Not `run::pause`: it is being stopped because of that very signal, perhaps.
            std::thread::sleep(LOOK);
        }
    }

    /// Kills it at once.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
        if let Err(error) = self.child.wait() {
            eprintln!("{}: can't be waited for: {error}", self.name);
        }
        self.read_up();
    }

    fn signal(&self, signal: Signal) {
        // The group has the leader's id. An error: all of it has ended, which is what is wanted.
        let _ = kill_process_group(Pid::from_child(&self.child), signal);
    }

    fn read_up(&mut self) {
        for reader in self.readers.drain(..) {
            if reader.join().is_err() {
                eprintln!("{}: what it wrote can't be read any more", self.name);
            }
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.kill();
        }
    }
}

fn lock(written: &Mutex<Written>) -> MutexGuard<'_, Written> {
    written.lock().unwrap_or_else(PoisonError::into_inner)
}

fn reader(mut from: impl Read + Send + 'static, written: Arc<Mutex<Written>>, show: bool) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        loop {
            let read = match from.read(&mut buffer) {
                Ok(0) => return,
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            let Some(bytes) = buffer.get(..read) else { return };
            if show {
                let mut out = std::io::stdout().lock();
                // A reader of ours that has gone is no reason to stop what runs.
                let _ = out.write_all(bytes).and_then(|()| out.flush());
            }
            let mut written = lock(&written);
            written.bytes.extend(bytes);
            let over = written.bytes.len().saturating_sub(KEPT);
            written.bytes.drain(..over);
            written.last = Instant::now();
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Background {
        Background::start("the script", Command::new("sh").args(["-c", script]), false).unwrap()
    }

    #[test]
    fn a_program_that_ended_is_named_with_its_last_words() {
        let mut ended = shell("echo the reason >&2; exit 4");
        let error = loop {
            if let Err(error) = ended.must_run() {
                break error.to_string();
            }
        };
        assert!(
            error.contains("the script has ended (exit status: 4)") && error.contains("the reason"),
            "{error}"
        );
    }

    #[test]
    fn stopping_is_asked_for_before_it_is_forced() {
        let mut polite = shell("trap 'echo bye; exit 7' INT; echo up; while :; do sleep 0.01; done");
        while !polite.said().contains("up") {
            polite.must_run().unwrap();
        }
        assert_eq!(polite.stop(Duration::from_secs(30)).unwrap().code(), Some(7));
        assert!(polite.said().ends_with("bye\n"));
    }

    #[test]
    fn what_does_not_stop_is_killed_with_all_that_it_started() {
        let mut stubborn = shell("trap '' INT; echo up; sleep 600 & wait; wait");
        while !stubborn.said().contains("up") {
            stubborn.must_run().unwrap();
        }
        // Were the `sleep` left, its hold on the pipes would keep this from returning.
        let error = stubborn.stop(Duration::ZERO).unwrap_err().to_string();
        assert!(error.contains("was killed"), "{error}");
    }
}
