//! Whoever ends everything when the process that started it ends, however that ends.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::Pid;

use crate::{Error, shell};

/// Reads from a pipe that nobody writes to. Once the pipe breaks (its other end is this process's alone, and closes
/// with it) it kills the group and removes the directory. It stands in a process group of its own, so that a terminal's
/// Ctrl-C does not reach it.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
read _
kill -s KILL -- "-$2"
for try in 1 2 3 4 5; do
    rm -rf -- "$1" 2>/dev/null && exit 0
    sleep 0.1
done
exit 1
"#;

/// A running supervisor; once it is dropped its group and its directory are gone.
#[derive(Debug)]
pub(crate) struct Supervisor {
    /// Leads the group, so that the group is there from the first to the last; it ends when its own pipe breaks.
    leader: Child,
    shell: Child,
}

impl Supervisor {
    /// Starts one that removes `directory` in the end.
    pub(crate) fn start(directory: &Path) -> Result<Self, Error> {
        let leader = in_its_own_group(&mut Command::new("cat"))?;
        let group = leader.id().to_string();
        let mut shell = Command::new("sh");
        shell.args(["-c", SCRIPT, "supervisor"]).arg(directory).arg(group);
        Ok(Self {
            leader,
            shell: in_its_own_group(&mut shell)?,
        })
    }

    /// The process group that ends with it.
    pub(crate) fn group(&self) -> Pid {
        Pid::from_child(&self.leader)
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // Errors: somebody else has waited for them, and they have ended.
        let _ = self.shell.wait();
        let _ = self.leader.wait();
    }
}

/// Starts a program that reads from a pipe of ours.
fn in_its_own_group(command: &mut Command) -> Result<Child, Error> {
    command
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|source| Error::Start {
            command: shell::shown(command),
            source,
        })
}
