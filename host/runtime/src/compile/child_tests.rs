//! Programs that are no compiler, by a shell: whatever they do, the host goes on. What a real one does is tested with the
//! real program (`host/cli/tests/compile.rs`).

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
         CompileLimits::wall"
    );
}

#[test]
fn a_helper_that_holds_the_pipe_is_ended_with_it() {
    let limits = CompileLimits {
        wall: Duration::from_millis(50),
        ..CompileLimits::default()
    };
    let error = with("sleep 600 & exit 0", limits, b"");
    assert!(error.to_string().contains("wall time"), "{error}");
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
        told_of.contains("memory of 2147483648 bytes") && told_of.ends_with("CompileLimits::memory"),
        "{told_of}"
    );
    let told_of = told("kill -XCPU $$");
    assert!(
        told_of.contains("CPU time of 120s") && told_of.ends_with("CompileLimits::cpu"),
        "{told_of}"
    );
}
