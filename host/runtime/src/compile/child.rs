//! The process that compiles one module, seen from the host: started, fed, read, and ended in any case.
//!
//! Nothing that it does keeps the host longer than the wall time: its pipes are polled by one thread, and never waited
//! for. It has a process group of its own, which is ended with it.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group};

use super::CompileLimits;
use super::frame::{self, Task};
use crate::LoadError;
use crate::error::WALL_SETTING;
use crate::limits::cut;

/// Bytes that are kept of what it says on stderr, the first ones.
const STDERR: usize = 4 << 10;

/// Bytes that are read at once.
const PIECE: usize = 64 << 10;

/// Has a module compiled.
///
/// # Errors
/// What the process found, the limit that it came to, or why there was no answer.
pub(super) fn compile(
    program: &Path,
    args: &[String],
    limits: &CompileLimits,
    task: &Task,
    bytes: &[u8],
) -> Result<Vec<u8>, LoadError> {
    let started = now();
    let mut command = Command::new(program);
    command
        .args(args)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let child = command.spawn().map_err(|error| LoadError::Compiler {
        message: format!("{} can't be started: {error}", program.display()),
    })?;
    let mut child = Running {
        child,
        waited_for: false,
    };
    let mut talk = Talk::new(&mut child.child, &task.encode(), bytes).map_err(|error| LoadError::Compiler {
        message: error.to_string(),
    })?;
    let most = frame::answer_size(limits.code);
    loop {
        let left = limits.wall.saturating_sub(now().saturating_duration_since(started));
        if left.is_zero() {
            return Err(LoadError::CompileLimit {
                what: "wall time",
                limit: format!("{:?}", limits.wall),
                setting: WALL_SETTING,
            });
        }
        let over = talk.go_on(left).map_err(|error| LoadError::Compiler {
            message: error.to_string(),
        })?;
        if talk.answer.len() as u64 > most {
            return Err(LoadError::CompileLimit {
                what: "size of the compiled code",
                limit: format!("{} bytes", limits.code),
                setting: "host.compile.codeMiB",
            });
        }
        if over {
            break;
        }
    }
    let Talk { answer, said, .. } = talk;
    // It has nothing more to say: a signal that comes after its own end changes nothing of how that was.
    let status = child.end().map_err(|error| LoadError::Compiler {
        message: error.to_string(),
    })?;
    frame::read_answer(answer).unwrap_or_else(|| Err(silence(status, &said, limits)))
}

#[expect(clippy::disallowed_methods, reason = "the driver of a process: its clock")]
fn now() -> Instant {
    Instant::now()
}

/// Why there was no answer.
fn silence(status: ExitStatus, said: &[u8], limits: &CompileLimits) -> LoadError {
    let said = String::from_utf8_lossy(said);
    if status.signal() == Some(Signal::XCPU.as_raw()) {
        return LoadError::CompileLimit {
            what: "CPU time",
            limit: format!("{:?}", limits.cpu.max(Duration::from_secs(1))),
            setting: "host.compile.cpuSeconds",
        };
    }
    // What Rust says before it aborts. There is no other sign: the kernel only refuses.
    if said.contains("memory allocation of") {
        return LoadError::CompileLimit {
            what: "memory",
            limit: format!("{} bytes", limits.memory),
            setting: "host.compile.memoryMiB",
        };
    }
    if status.signal() == Some(Signal::KILL.as_raw()) && said.is_empty() {
        // The second is our own signal to one that is done talking and goes on.
        let message = "it was killed, most likely by the kernel, since the machine's or the container's memory was used up \
                       (give it more, or lower host.compile.memoryMiB), or it closed its stdout without an answer";
        return LoadError::Compiler {
            message: message.to_owned(),
        };
    }
    let said: Vec<&str> = said.split_whitespace().collect();
    let message = match said.is_empty() {
        true => format!("it ended without an answer ({status})"),
        false => format!("it ended without an answer ({status}) and said: {}", said.join(" ")),
    };
    LoadError::Compiler {
        message: cut(message, 1_000),
    }
}

/// The process and its group; they do not outlive this.
struct Running {
    child: Child,
    /// Its number may be another process's by now: no more signals to it.
    waited_for: bool,
}

impl Running {
    /// Ends it if it still runs, and says how it ended.
    fn end(&mut self) -> io::Result<ExitStatus> {
        self.kill();
        let status = self.child.wait();
        self.waited_for = status.is_ok();
        status
    }

    fn kill(&mut self) {
        // Not waited for yet, so the number is still its own, and its group's. Whoever is gone already needs no signal.
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _gone = kill_process_group(group, Signal::KILL);
        }
        let _gone = self.child.kill();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Also where it has ended by itself: what it started may live on. After this signal all end at once, and nobody
        // is left to tell how.
        if !self.waited_for {
            let _status = self.end();
        }
    }
}

/// What goes through its three pipes.
struct Talk<'a> {
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    head: Vec<u8>,
    body: &'a [u8],
    sent: usize,
    answer: Vec<u8>,
    said: Vec<u8>,
}

impl<'a> Talk<'a> {
    fn new(child: &mut Child, head: &[u8], body: &'a [u8]) -> io::Result<Self> {
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        for pipe in [
            stdin.as_ref().map(AsFd::as_fd),
            stdout.as_ref().map(AsFd::as_fd),
            stderr.as_ref().map(AsFd::as_fd),
        ] {
            let pipe = pipe.ok_or_else(|| io::Error::other("a pipe to it is missing"))?;
            rustix::io::ioctl_fionbio(pipe, true)?;
        }
        Ok(Self {
            stdin,
            stdout,
            stderr,
            head: head.to_vec(),
            body,
            sent: 0,
            answer: Vec::new(),
            said: Vec::new(),
        })
    }

    /// Waits for a pipe, at most this long, and does what can be done. True once the answer is at its end.
    fn go_on(&mut self, left: Duration) -> io::Result<bool> {
        let mut pipes = Vec::with_capacity(3);
        pipes.extend(self.stdin.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::OUT)));
        pipes.extend(self.stdout.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        pipes.extend(self.stderr.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        let wait = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut pipes, Some(&wait)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        self.send()?;
        if receive(&mut self.stderr, &mut self.said)? {
            self.stderr = None;
        }
        self.said.truncate(STDERR);
        let over = receive(&mut self.stdout, &mut self.answer)?;
        if over {
            // Said before it ended, perhaps after it was read last.
            receive(&mut self.stderr, &mut self.said)?;
            self.said.truncate(STDERR);
        }
        Ok(over)
    }

    fn send(&mut self) -> io::Result<()> {
        let Some(stdin) = &mut self.stdin else { return Ok(()) };
        let left = match self.head.get(self.sent..) {
            Some(head @ [_, ..]) => head,
            _ => self.body.get(self.sent - self.head.len()..).unwrap_or_default(),
        };
        match stdin.write(left) {
            Ok(written) => self.sent += written,
            Err(error) if is_later(&error) => return Ok(()),
            // It reads no more: it has refused the module, or ended. Its answer tells.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.stdin = None,
            Err(error) => return Err(error),
        }
        if self.sent >= self.head.len() + self.body.len() {
            // The end of the module.
            self.stdin = None;
        }
        Ok(())
    }
}

fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Reads one piece, if there is one. True at the end.
fn receive(pipe: &mut Option<impl Read>, into: &mut Vec<u8>) -> io::Result<bool> {
    let Some(pipe) = pipe else { return Ok(true) };
    let mut piece = [0; PIECE];
    match pipe.read(&mut piece) {
        Ok(0) => Ok(true),
        Ok(read) => {
            into.extend(piece.iter().take(read));
            Ok(false)
        }
        Err(error) if is_later(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
#[path = "child_tests.rs"]
mod tests;
