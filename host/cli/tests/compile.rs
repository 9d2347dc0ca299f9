//! `pilothouse compile` as the host calls it: the real program in a process of its own, with its limits.
#![cfg(unix)]

use std::path::PathBuf;
use std::time::Duration;

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

fn length(mut n: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while n > 0x7f {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
    out
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id][..], &length(content.len()), content].concat()
}

/// A component with one core module of `count` functions with this code.
fn component(count: usize, code: &[u8]) -> Vec<u8> {
    let body = [&length(code.len() + 1), &[0][..], code].concat();
    let core = [
        &b"\0asm\x01\0\0\0"[..],
        &section(1, &[1, 0x60, 0, 0]),
        &section(3, &[length(count), vec![0; count]].concat()),
        &section(10, &[length(count), body.repeat(count)].concat()),
    ]
    .concat();
    [&b"\0asm\x0d\0\x01\0"[..], &section(1, &core)].concat()
}

/// Seconds of work for the compiler: a jump to each of many blocks, from each of them, in many functions.
fn slow() -> Vec<u8> {
    let blocks = 500;
    let mut code = [0x02, 0x40].repeat(blocks);
    for ended in 0..blocks {
        // Labels count outwards, and there are fewer of them behind each end.
        let labels = (0..=blocks).flat_map(|label| length(label.min(blocks - ended)));
        code.extend([0x41, 0, 0x0e]);
        code.extend(length(blocks));
        code.extend(labels);
        code.push(0x0b);
    }
    code.push(0x0b);
    component(100, &code)
}

#[test]
fn a_module_is_compiled_by_another_process() {
    // It comes as far as its world, which is none: so it was compiled, and what came back was loaded.
    let refused = modules(CompileLimits::default())
        .load(&component(1, &[0x0b]))
        .unwrap_err();
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
        .load(&component(1, &[0x0b, 0x0b]))
        .unwrap_err();
    assert!(matches!(refused, LoadError::Compile { .. }), "{refused}");
    let deep = [[0x02, 0x40].repeat(5_001), [0x0b].repeat(5_002)].concat();
    let refused = modules(CompileLimits::default())
        .load(&component(1, &deep))
        .unwrap_err();
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
