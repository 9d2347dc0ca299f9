//! `cargo xtask demo`: `pilothouse dev` with the greeting, and a small story played on it, on the local cluster or on a
//! real control plane.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use pilothouse_realcluster::ControlPlane;

use crate::background::Background;
use crate::http::Api;
use crate::run::{self, Scratch};
use crate::{builds, realcluster, story};

/// `pilothouse dev` may take so long to stop: its own grace for reconciles is 5 s.
const STOP: Duration = Duration::from_secs(15);

/// Which cluster the demo is played on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// The one in memory.
    Local,
    /// A real control plane.
    Real,
}

impl Target {
    /// By the flag.
    pub(crate) fn of(real: bool) -> Self {
        if real { Self::Real } else { Self::Local }
    }
}

/// The cluster, and how the story reaches it.
enum Cluster {
    /// `pilothouse dev` makes it, and writes this kubeconfig.
    Local { kubeconfig: PathBuf },
    /// It is there, and behind a `kubectl proxy` it speaks plain HTTP.
    Real {
        plane: Box<ControlPlane>,
        proxy: Background,
    },
}

/// Builds what it needs (but for a host that is given), plays the story, and stays up unless `once`.
///
/// # Errors
/// What did not build, start, converge or stop.
pub(crate) fn demo(host: Option<&Path>, target: Target, once: bool, started: Instant) -> Result<()> {
    println!("Building the plugin greeting, and the host:");
    let toolchain = builds::toolchain()?;
    let greeting = builds::plugin(&toolchain, "greeting")?;
    let host = match host {
        Some(host) => host.to_owned(),
        None => builds::host()?,
    };
    println!("  built ({:.1} s)\n", started.elapsed().as_secs_f64());

    let scratch = Scratch::in_target("demo")?;
    let plugins = scratch.join("plugins");
    builds::install(&greeting, &plugins, "greeting")?;
    let mut cluster = Cluster::start(target, &scratch)?;
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
        .arg(&plugins);
    cluster.name_to(&mut command);
    let mut dev = Background::start("`pilothouse dev`", &mut command, true)?;
    let api = Api::new(&cluster.server(&mut dev, deadline)?);

    let played = play(&api, &mut dev, deadline);
    if played.is_ok() {
        let seconds = started.elapsed().as_secs_f64();
        let place = match target {
            Target::Local => "",
            Target::Real => " on the real API server",
        };
        tell(
            &dev,
            &format!("Everything converged{place}, {seconds:.1} s after the start of this command."),
        )?;
        if !once {
            stay(&mut dev, cluster.kubeconfig())?;
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

impl Cluster {
    fn start(target: Target, scratch: &Scratch) -> Result<Self> {
        if target == Target::Local {
            let kubeconfig = scratch.join("kubeconfig");
            return Ok(Self::Local { kubeconfig });
        }
        println!("Building a real control plane, or taking the one built before:");
        let (plane, took) = realcluster::start()?;
        println!("  it is up ({:.1} s)\n", took.as_secs_f64());
        let proxy = Background::start("`kubectl proxy`", plane.kubectl().args(["proxy", "--port=0"]), false)?;
        Ok(Self::Real {
            plane: Box::new(plane),
            proxy,
        })
    }

    /// Tells `pilothouse dev` of it.
    fn name_to(&self, command: &mut Command) {
        match self {
            Self::Local { kubeconfig } => command.arg("--kubeconfig-out").arg(kubeconfig),
            Self::Real { plane, .. } => command.arg("--kubeconfig").arg(plane.kubeconfig()),
        };
    }

    fn kubeconfig(&self) -> &Path {
        match self {
            Self::Local { kubeconfig } => kubeconfig,
            Self::Real { plane, .. } => plane.kubeconfig(),
        }
    }

    /// Where it speaks plain HTTP, once it does.
    fn server(&mut self, dev: &mut Background, deadline: Instant) -> Result<String> {
        loop {
            let found = match self {
                // An error: it is not there yet.
                Self::Local { kubeconfig } => {
                    server_in(&std::fs::read_to_string(kubeconfig).unwrap_or_default()).map(str::to_owned)
                }
                Self::Real { proxy, .. } => {
                    proxy.must_run()?;
                    served(&proxy.said()).map(|address| format!("http://{address}"))
                }
            };
            if let Some(server) = found {
                return Ok(server);
            }
            dev.must_run()?;
            if Instant::now() > deadline {
                bail!("no API server can be reached within {} s", story::PATIENCE.as_secs());
            }
            run::pause(Duration::from_millis(5))?;
        }
    }
}

/// The address in what `kubectl proxy` says.
fn served(said: &str) -> Option<&str> {
    said.lines().find_map(|line| line.strip_prefix("Starting to serve on "))
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

/// The address in the kubeconfig that `dev` writes once it listens. Only from a whole line: the file may be half
/// written.
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

    #[test]
    fn a_proxy_says_where_it_serves() {
        assert_eq!(served("Starting to serve on 127.0.0.1:8001\n"), Some("127.0.0.1:8001"));
        assert_eq!(served("error: no such thing\n"), None);
    }
}
