//! Starting other programs without the environment of the cargo that started us.

use std::process::{Command, Output};

use crate::GuestError;

/// Most of a program's stderr that an error carries.
const KEPT: usize = 32 * 1024;

/// Whether a variable of an outer cargo would change what the inner one does. `CARGO_HOME`, network and registry
/// settings stay: without them a machine behind a proxy builds nothing.
pub(crate) fn leaks(variable: &str) -> bool {
    const EXACT: &[&str] = &[
        "RUSTC",
        "RUSTDOC",
        "RUSTFLAGS",
        "RUSTDOCFLAGS",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_BOOTSTRAP",
        "RUSTC_LINKER",
        "CARGO",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_ENCODED_RUSTDOCFLAGS",
        "CARGO_TARGET_DIR",
        "CARGO_INCREMENTAL",
        "CARGO_MAKEFLAGS",
        "CARGO_PRIMARY_PACKAGE",
        "CARGO_CRATE_NAME",
        "MAKEFLAGS",
        "MFLAGS",
        "OUT_DIR",
        "TARGET",
        "HOST",
        "PROFILE",
        "OPT_LEVEL",
        "DEBUG",
        "NUM_JOBS",
    ];
    const PREFIXES: &[&str] = &[
        "CARGO_BUILD_",
        "CARGO_TARGET_",
        "CARGO_PROFILE_",
        "CARGO_PKG_",
        "CARGO_MANIFEST_",
        "CARGO_BIN_",
        "CARGO_CFG_",
        "CARGO_FEATURE_",
        "CARGO_UNSTABLE_",
    ];
    EXACT.contains(&variable) || PREFIXES.iter().any(|prefix| variable.starts_with(prefix))
}

/// A command without what [`leaks`].
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(leaks) {
            command.env_remove(name);
        }
    }
    command
}

/// The command as a person would type it, without the environment.
pub(crate) fn shown(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

/// Runs to the end and takes both outputs.
pub(crate) fn output(command: &mut Command) -> Result<Output, GuestError> {
    command
        .stdin(std::process::Stdio::null())
        .output()
        .map_err(|source| GuestError::Start {
            command: shown(command),
            source,
        })
}

/// Runs to the end; what it wrote to stdout if it went well.
pub(crate) fn stdout(command: &mut Command) -> Result<String, String> {
    let output = output(command).map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(format!(
            "`{}` failed ({}): {}",
            shown(command),
            output.status,
            last_lines(&output.stderr, 3)
        ))
    }
}

/// The end of a text, cut at a character and at [`KEPT`] bytes.
pub(crate) fn tail(bytes: &[u8]) -> String {
    let from = bytes.len().saturating_sub(KEPT);
    String::from_utf8_lossy(&bytes[from..]).trim_end().to_owned()
}

/// The last lines that hold something, joined with "; ".
pub(crate) fn last_lines(bytes: &[u8], count: usize) -> String {
    let text = tail(bytes);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_outer_cargo_sets_for_itself_does_not_leak() {
        for name in [
            "RUSTFLAGS",
            "RUSTC",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_TARGET_DIR",
            "CARGO_PROFILE_DEV_DEBUG",
        ] {
            assert!(leaks(name), "{name}");
        }
    }

    #[test]
    fn what_the_machine_needs_to_reach_a_registry_stays() {
        for name in [
            "CARGO_HOME",
            "CARGO_NET_OFFLINE",
            "CARGO_REGISTRIES_X_INDEX",
            "RUSTUP_TOOLCHAIN",
            "PATH",
            "HTTPS_PROXY",
        ] {
            assert!(!leaks(name), "{name}");
        }
    }

    #[test]
    fn an_error_carries_the_end_of_a_long_output_and_not_all_of_it() {
        let mut long = vec![b'x'; 100_000];
        long.extend_from_slice(b"\nerror: here\n");
        let tail = tail(&long);
        assert!(tail.len() <= KEPT && tail.ends_with("error: here"));
        assert_eq!(last_lines(b"a\n\nb\nc\n", 2), "b; c");
    }
}
