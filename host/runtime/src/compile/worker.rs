//! The process that compiles one module, seen from within: it takes its limits, reads, compiles, answers and ends.

use std::io::{self, IsTerminal as _, Read, Write};
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::frame::{self, Task};
use super::{compatibility, precompile};
use crate::LoadError;
use crate::engine::compile_only;

/// What is mapped without being used: the program, its libraries, stacks, the allocator's reserve.
const ADDRESS_SPACE: u64 = 2 << 30;

const NOT_FOR_PEOPLE: &str = "`pilothouse compile` is started by a running pilothouse, which writes a module to its stdin and \
                              reads the compiled code; there is nothing in it for people. To see whether a module is a \
                              plugin, call `pilothouse inspect FILE`";

/// The whole of the program that [`Compiler::Child`](crate::Compiler::Child) starts: call it before anything else (no
/// threads, no logging), and end with its code. It reads a task and a module from stdin and answers on stdout.
///
/// Before it reads the module it limits itself: CPU time, memory, no core dump, no file written, few open files, no
/// further processes (which the kernel does not hold root to), no new privileges, the lowest priority, and an end with
/// the thread that started it. Where the machine has no memory left, the kernel takes it before the host.
pub fn compile_child_main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The host reads it; if it is gone, nobody does.
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    let not_for_people = || io::Error::other(NOT_FOR_PEOPLE);
    if io::stdin().is_terminal() {
        return Err(not_for_people());
    }
    let mut stdin = io::stdin().lock();
    let mut head = [0; Task::SIZE];
    stdin.read_exact(&mut head).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => not_for_people(),
        _ => error,
    })?;
    let task = Task::decode(&head).ok_or_else(not_for_people)?;
    confine(&task)?;
    let mut bytes = Vec::new();
    let read = stdin.take(task.caps.module.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|error| match error.kind() {
        // As Rust says it where it has to give up: the host knows these words.
        io::ErrorKind::OutOfMemory => io::Error::other("memory allocation of the module failed"),
        _ => error,
    })?;
    let result = compile(&task, &bytes);
    let (head, payload) = frame::answer(result);
    let mut stdout = io::stdout().lock();
    stdout.write_all(&head)?;
    stdout.write_all(&payload)?;
    stdout.flush()
}

fn compile(task: &Task, bytes: &[u8]) -> Result<Vec<u8>, LoadError> {
    let failed = |message: String| LoadError::Compiler { message };
    let wasm = compile_only().map_err(|error| failed(format!("{error:#}")))?;
    if compatibility(&wasm, &task.caps) != task.compatibility {
        return Err(failed(
            "its program is of another build than the host's: restart the host after an update".to_owned(),
        ));
    }
    precompile(&wasm, &task.caps, bytes)
}

fn confine(task: &Task) -> io::Result<()> {
    let at_most = |resource, most: u64, last: u64| {
        // A limit that is lower already can't be raised, and holds.
        let already = getrlimit(resource);
        let lower = |ours: u64, theirs: Option<u64>| Some(theirs.map_or(ours, |theirs| ours.min(theirs)));
        let current = lower(most, already.maximum);
        let maximum = lower(last, already.maximum);
        setrlimit(resource, Rlimit { current, maximum })
    };
    // First of all, while a file can be opened. Where the system has no such thing, or lets nobody say it, it is as
    // without.
    #[cfg(target_os = "linux")]
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    at_most(Resource::Core, 0, 0)?;
    at_most(Resource::Fsize, 0, 0)?;
    at_most(Resource::Nofile, 16, 16)?;
    at_most(Resource::Nproc, 0, 0)?;
    let cpu = u64::from(task.cpu_seconds);
    // The first is a signal that the host can tell; the second can't be caught.
    at_most(Resource::Cpu, cpu, cpu + 1)?;
    at_most(Resource::Data, task.memory, task.memory)?;
    let space = task.memory.saturating_add(ADDRESS_SPACE);
    at_most(Resource::As, space, space)?;
    // What serves goes first.
    rustix::process::setpriority_process(None, 19)?;
    #[cfg(target_os = "linux")]
    {
        rustix::thread::set_no_new_privs(true)?;
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    }
    Ok(())
}
