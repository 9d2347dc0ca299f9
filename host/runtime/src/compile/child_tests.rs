//! Programs that are no compiler, by a shell: whatever they do, the host goes on. What a real one does is tested with
//! the real program (`host/cli/tests/compile.rs`).

use super::*;
use crate::compile::Caps;

fn with(script: &str, limits: CompileLimits, bytes: &[u8]) -> LoadError {
    let task = Task {
        caps: Caps {
            module: 1 << 20,
            functions: 1,
            nesting: 1,
        },
        cpu_seconds: 1,
        memory: 1 << 30,
        compatibility: [0; 32],
    };
    let args = ["-c".to_owned(), script.to_owned()];
    compile(Path::new("/bin/sh"), &args, &limits, &task, bytes).unwrap_err()
}

fn told(script: &str) -> String {
    with(script, CompileLimits::default(), b"").to_string()
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let task = Task::decode(&[0; Task::SIZE]);
    assert_eq!(task, None);
    let error = with("exit 3", CompileLimits::default(), b"");
    assert!(
        error
            .to_string()
            .contains("it ended without an answer (exit status: 3)"),
        "{error}"
    );
}

#[test]
fn its_last_words_are_passed_on() {
    let told = told("echo 'what a\nmess' >&2; kill -SEGV $$");
    assert!(
        told.contains("signal: 11") && told.contains("and said: what a mess"),
        "{told}"
    );
}

#[test]
fn one_that_does_nothing_is_ended_after_its_wall_time() {
    let wall = Duration::from_millis(50);
    let limits = CompileLimits {
        wall,
        ..CompileLimits::default()
    };
    // More bytes than a pipe holds: the host is not held up by one that does not read.
    let error = with("exec sleep 600", limits, &vec![0; 1 << 20]);
    assert_eq!(
        error.to_string(),
        "compiling the module took more than its wall time of 50ms and was ended: build it smaller and optimised, or raise \
         host.compile.seconds in the operator's configuration"
    );
}

/// Whether the process is there and has not ended.
fn lives(pid: &str) -> bool {
    let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    let ended = std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "));
    rustix::process::test_kill_process(pid).is_ok() && !ended
}

#[test]
fn a_helper_that_holds_the_pipe_is_ended_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let helper = directory.path().join("helper");
    let limits = CompileLimits {
        wall: Duration::from_millis(500),
        ..CompileLimits::default()
    };
    let script = format!("sleep 600 & echo $! > {}; exit 0", helper.display());
    let error = with(&script, limits, b"");
    assert!(error.to_string().contains("wall time"), "{error}");
    let helper = std::fs::read_to_string(helper).unwrap();
    while lives(&helper) {
        std::thread::yield_now();
    }
}

#[test]
fn a_helper_that_lives_on_behind_an_answer_is_ended() {
    let directory = tempfile::tempdir().unwrap();
    let helper = directory.path().join("helper");
    let script = format!("sleep 600 >&- 2>&- & echo $! > {}; echo rubbish", helper.display());
    assert!(told(&script).contains("it ended without an answer"));
    let helper = std::fs::read_to_string(helper).unwrap();
    while lives(&helper) {
        std::thread::yield_now();
    }
}

#[test]
fn one_that_talks_without_end_is_ended_after_its_wall_time_and_its_first_words_are_kept() {
    let limits = CompileLimits {
        wall: Duration::from_millis(200),
        ..CompileLimits::default()
    };
    let error = with("cat /dev/zero >&2; exit 0", limits, b"");
    assert!(error.to_string().contains("wall time of 200ms"), "{error}");
}

#[test]
fn one_that_is_killed_points_to_the_memory_of_the_machine() {
    let told = told("kill -KILL $$");
    assert!(
        told.contains("killed, most likely by the kernel") && told.contains("host.compile.memoryMiB"),
        "{told}"
    );
}

#[test]
fn one_that_answers_without_end_is_ended_after_what_code_may_have() {
    let limits = CompileLimits {
        code: 1 << 20,
        ..CompileLimits::default()
    };
    let error = with("exec cat /dev/zero", limits, b"");
    assert!(
        error.to_string().contains("size of the compiled code of 1048576 bytes"),
        "{error}"
    );
}

#[test]
fn one_that_answers_rubbish_has_answered_nothing() {
    assert!(told("echo PHDONE01").contains("it ended without an answer"));
    assert!(told("cat").contains("it ended without an answer"));
}

#[test]
fn it_has_no_environment_and_stands_in_no_directory_of_ours() {
    let told = told("env >&2; pwd >&2; exit 1");
    // A shell sets these itself.
    let words: Vec<&str> = told
        .split_once("and said: ")
        .map(|(_, said)| said.split(". Try").next().unwrap_or_default().split(' ').collect())
        .unwrap_or_default();
    assert!(words.contains(&"/"), "{told}");
    let own = ["PWD=", "OLDPWD=", "_=", "SHLVL="];
    let others = words
        .iter()
        .filter(|word| word.contains('=') && !own.iter().any(|name| word.starts_with(name)));
    assert_eq!(others.count(), 0, "{told}");
}

#[test]
fn memory_and_cpu_time_are_named() {
    let told_of = told("echo 'memory allocation of 5 bytes failed' >&2; kill -ABRT $$");
    assert!(
        told_of.contains("memory of 2147483648 bytes") && told_of.contains("raise host.compile.memoryMiB"),
        "{told_of}"
    );
    let told_of = told("kill -XCPU $$");
    assert!(
        told_of.contains("CPU time of 120s") && told_of.contains("raise host.compile.cpuSeconds"),
        "{told_of}"
    );
}
