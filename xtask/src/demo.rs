//! `cargo xtask demo`: `pilothouse dev` with the greeting, and a small story played on it.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::background::Background;
use crate::http::Api;
use crate::run::{self, Scratch};
use crate::{builds, story};

/// `pilothouse dev` may take so long to stop: its own grace for reconciles is 5 s.
const STOP: Duration = Duration::from_secs(15);

/// Builds what it needs (but for a host that is given), plays the story, and stays up unless `once`.
///
/// # Errors
/// What did not build, start, converge or stop.
pub(crate) fn demo(host: Option<&Path>, once: bool, started: Instant) -> Result<()> {
    println!("Building the plugin greeting, and the host:");
    let toolchain = builds::toolchain()?;
    let greeting = builds::plugin(&toolchain, "greeting")?;
    let host = match host {
        Some(host) => host.to_owned(),
        None => builds::host()?,
    };
    println!("  built ({:.1} s)\n", started.elapsed().as_secs_f64());

    let scratch = Scratch::in_target("demo")?;
    let (plugins, kubeconfig) = (scratch.join("plugins"), scratch.join("kubeconfig"));
    builds::install(&greeting, &plugins, "greeting")?;
    let deadline = Instant::now() + story::PATIENCE;
    let mut command = Command::new(&host);
    command
        .current_dir(run::root())
        .args([
            "dev",
            "--apply",
            story::CRD,
            "--apply",
            story::SAMPLES,
            "--color",
            colour(),
        ])
        .arg("--plugins")
        .arg(&plugins)
        .arg("--kubeconfig-out")
        .arg(&kubeconfig);
    let mut dev = Background::start("`pilothouse dev`", &mut command, true)?;
    let api = Api::new(&server(&kubeconfig, &mut dev, deadline)?);

    let played = play(&api, &mut dev, deadline);
    if played.is_ok() {
        let seconds = started.elapsed().as_secs_f64();
        tell(
            &dev,
            &format!("Everything converged, {seconds:.1} s after the start of this command."),
        )?;
        if !once {
            stay(&mut dev, &kubeconfig)?;
        }
    }
    let stopped = dev.stop(STOP);
    played?;
    let status = stopped?;
    if !status.success() {
        bail!("everything converged, but `pilothouse dev` ended with {status} after SIGINT");
    }
    Ok(())
}

fn play(api: &Api, dev: &mut Background, deadline: Instant) -> Result<()> {
    // Both closures look at it, one after the other.
    let dev = std::cell::RefCell::new(dev);
    story::play(api, deadline, &mut |line| tell(&dev.borrow(), line), &mut || {
        dev.borrow_mut().must_run()
    })
}

fn tell(dev: &Background, line: &str) -> Result<()> {
    dev.wait_for_silence()?;
    let mut out = std::io::stdout().lock();
    let line = match (colour(), line.split_once('\n')) {
        ("always", None) => format!("\u{1b}[1m==> {line}\u{1b}[0m"),
        ("always", Some((head, rest))) => format!("\u{1b}[1m==> {head}\u{1b}[0m\n{rest}"),
        _ => format!("==> {line}"),
    };
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .context("stdout can't be written")
}

fn stay(dev: &mut Background, kubeconfig: &Path) -> Result<()> {
    let export = format!("export KUBECONFIG='{}'", kubeconfig.display());
    tell(
        dev,
        &format!("It stays up until Ctrl-C. In another terminal:\n\n  {export}\n  kubectl get greetings,configmaps\n"),
    )?;
    while !run::interrupted() {
        dev.must_run()?;
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// The address in the kubeconfig that `dev` writes once it listens.
fn server(kubeconfig: &Path, dev: &mut Background, deadline: Instant) -> Result<String> {
    loop {
        // An error: it is not there yet.
        let text = std::fs::read_to_string(kubeconfig).unwrap_or_default();
        if let Some(server) = server_in(&text) {
            return Ok(server.to_owned());
        }
        dev.must_run()?;
        if Instant::now() > deadline {
            bail!(
                "`pilothouse dev` has written no kubeconfig within {} s",
                story::PATIENCE.as_secs()
            );
        }
        run::pause(Duration::from_millis(5))?;
    }
}

/// Only from a whole line: the file may be half written.
fn server_in(kubeconfig: &str) -> Option<&str> {
    let lines = kubeconfig
        .split_inclusive('\n')
        .filter_map(|line| line.strip_suffix('\n'));
    lines
        .map(|line| line.trim().trim_start_matches("- "))
        .find_map(|line| line.strip_prefix("server: "))
        .map(str::trim)
}

/// As for `--color` of `pilothouse`, which itself sees a pipe.
fn colour() -> &'static str {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
    if std::io::stdout().is_terminal() && !refused && !dumb {
        "always"
    } else {
        "never"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_read_from_whole_lines_only() {
        let text = "apiVersion: v1\nclusters:\n- name: a\n  cluster:\n    server: http://127.0.0.1:12345\n";
        assert_eq!(server_in(text), Some("http://127.0.0.1:12345"));
        assert_eq!(server_in(&text[..text.len() - 3]), None);
    }
}
