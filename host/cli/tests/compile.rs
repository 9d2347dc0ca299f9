//! `pilothouse compile` as the host calls it: the real program in a process of its own, with its limits.
#![cfg(unix)]

use std::path::PathBuf;
use std::time::Duration;

use pilothouse_guests::bytes::{core_module_of, section, slow_to_compile};
use pilothouse_runtime::{CompileLimits, Compiler, Engine, EngineConfig, LoadError, Modules};

fn modules(limits: CompileLimits) -> Modules {
    let config = EngineConfig {
        slots: 1,
        ..EngineConfig::default()
    };
    let compiler = Compiler::Child {
        program: PathBuf::from(env!("CARGO_BIN_EXE_pilothouse")),
        args: vec!["compile".to_owned()],
        limits,
    };
    Modules::new(Engine::new(config).unwrap(), compiler)
}

/// A component with this core module.
fn component(core: &[u8]) -> Vec<u8> {
    [&b"\0asm\x0d\0\x01\0"[..], &section(1, core)].concat()
}

/// One function with this code.
fn function(code: &[u8]) -> Vec<u8> {
    component(&core_module_of(1, &[&[0][..], code].concat()))
}

fn slow() -> Vec<u8> {
    component(&slow_to_compile())
}

#[test]
fn a_module_is_compiled_by_another_process() {
    // It comes as far as its world, which is none: so it was compiled, and what came back was loaded.
    let refused = modules(CompileLimits::default()).load(&function(&[0x0b])).unwrap_err();
    assert!(matches!(refused, LoadError::OtherWorld { .. }), "{refused}");
}

#[test]
fn a_module_that_is_slow_to_compile_is_ended_by_its_cpu_time() {
    let limits = CompileLimits {
        cpu: Duration::from_secs(1),
        ..CompileLimits::default()
    };
    let refused = modules(limits).load(&slow()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "compiling the module took more than its CPU time of 1s and was ended: build it smaller and optimised, or raise \
         host.compile.cpuSeconds in the operator's configuration"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn where_memory_runs_out_the_kernel_takes_the_compiler_before_the_host() {
    use std::fs::{read_dir, read_to_string};
    let own = std::process::id().to_string();
    // The second field after the name, which may hold anything, is the parent.
    let is_ours = |pid: &std::path::Path| {
        let stat = read_to_string(pid.join("stat")).unwrap_or_default();
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        after_name.split_whitespace().nth(1) == Some(&own)
    };
    let limits = CompileLimits {
        cpu: Duration::from_secs(2),
        ..CompileLimits::default()
    };
    std::thread::scope(|scope| {
        let compiling = scope.spawn(|| modules(limits).load(&slow()).is_err());
        let mut scores = std::collections::BTreeSet::new();
        while !compiling.is_finished() && !scores.contains("1000\n") {
            let processes = read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
            let ours = processes.filter(|pid| is_ours(pid));
            scores.extend(ours.filter_map(|pid| read_to_string(pid.join("oom_score_adj")).ok()));
        }
        assert!(scores.contains("1000\n"), "{scores:?}");
        assert!(compiling.join().unwrap());
    });
}

#[test]
fn a_module_that_is_slow_to_compile_is_ended_by_its_wall_time() {
    let limits = CompileLimits {
        wall: Duration::from_millis(200),
        ..CompileLimits::default()
    };
    let refused = modules(limits).load(&slow()).unwrap_err();
    assert!(
        matches!(refused, LoadError::CompileLimit { what: "wall time", .. }),
        "{refused}"
    );
}

#[test]
fn a_compiler_without_memory_ends_and_the_limit_is_named() {
    let limits = CompileLimits {
        memory: 1 << 20,
        ..CompileLimits::default()
    };
    let refused = modules(limits).load(&slow()).unwrap_err();
    assert!(
        matches!(refused, LoadError::CompileLimit { what: "memory", .. }),
        "{refused}"
    );
}

#[test]
fn what_the_compiler_finds_wrong_comes_back() {
    // An `end` too many.
    let refused = modules(CompileLimits::default())
        .load(&function(&[0x0b, 0x0b]))
        .unwrap_err();
    assert!(matches!(refused, LoadError::Compile { .. }), "{refused}");
    let deep = [[0x02, 0x40].repeat(5_001), [0x0b].repeat(5_002)].concat();
    let refused = modules(CompileLimits::default()).load(&function(&deep)).unwrap_err();
    let limit = 5_000;
    assert_eq!(refused, LoadError::TooDeep { what: "blocks", limit });
}

#[test]
fn the_command_is_not_for_people() {
    let told = |stdin: std::process::Stdio| {
        let ended = std::process::Command::new(env!("CARGO_BIN_EXE_pilothouse"))
            .arg("compile")
            .stdin(stdin)
            .output()
            .unwrap();
        assert!(!ended.status.success() && ended.stdout.is_empty());
        let told = String::from_utf8(ended.stderr).unwrap();
        assert!(
            told.contains("is started by a running pilothouse") && told.contains("pilothouse inspect FILE"),
            "{told}"
        );
    };
    told(std::process::Stdio::null());
    // The side of a terminal that nobody types into: read from, it would wait for ever.
    #[cfg(target_os = "linux")]
    told(
        std::fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/ptmx")
            .unwrap()
            .into(),
    );
}
