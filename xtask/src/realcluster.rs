//! `cargo xtask realcluster-check`: the demo's story on a real kube-apiserver, with `pilothouse run` and no more rights
//! than `pilothouse inspect` tells an operator to grant.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::background::Background;
use crate::http::Api;
use crate::run::{self, Scratch};
use crate::{builds, go, story};

/// Of the one user there is; the server listens on this machine alone and goes with this command.
const TOKEN: &str = "pilothouse-realcluster-check";

/// A part of the control plane may take so long until it answers.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often to look.
const LOOK: Duration = Duration::from_millis(100);

/// Starts a control plane, runs host and greeting against it, plays the story.
///
/// # Errors
/// What could not be built or started, or did not converge.
pub(crate) fn check() -> Result<()> {
    println!("Building the control plane, the plugin greeting, and the host:");
    let bin = go::built(&[go::ETCD, go::APISERVER, go::CONTROLLER_MANAGER, go::KUBECTL])?;
    let toolchain = builds::toolchain()?;
    let greeting = builds::plugin(&toolchain, "greeting")?;
    let host = builds::host()?;

    let scratch = Scratch::in_target("realcluster")?;
    let plugins = scratch.join("plugins");
    builds::install(&greeting, &plugins, "greeting")?;
    let config = config(&host, &plugins.join("greeting.wasm"), &scratch)?;

    let mut plane = Plane::start(&bin, &scratch)?;
    let result = on(&mut plane, &host, &plugins, &config);
    if result.is_err() {
        plane.tell_last_words();
    }
    plane.stop();
    result
}

/// What an operator would paste from `pilothouse inspect`.
fn config(host: &Path, module: &Path, scratch: &Scratch) -> Result<PathBuf> {
    let seen = run::output(Command::new(host).args(["inspect", "-o", "json"]).arg(module))?;
    let seen: Value =
        serde_json::from_str(&seen).context("`pilothouse inspect -o json` wrote something else than JSON")?;
    let grants = seen["grantsToPaste"]
        .as_str()
        .context("`pilothouse inspect -o json` has no grantsToPaste")?;
    let file = scratch.join("pilothouse.yaml");
    fs::write(&file, format!("apiVersion: pilothouse.dev/v1\n{grants}\n"))
        .with_context(|| format!("{}: can't be written", file.display()))?;
    Ok(file)
}

fn on(plane: &mut Plane, host: &Path, plugins: &Path, config: &Path) -> Result<()> {
    let version = run::output(&mut plane.kubectl(&["version", "-o", "json"]))?;
    let version: Value = serde_json::from_str(&version).context("`kubectl version` wrote something else than JSON")?;
    println!("  the API server is {}", version["serverVersion"]["gitVersion"]);
    run::run(&mut plane.kubectl(&["create", "-f", story::CRD]))?;
    run::run(&mut plane.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "-f", story::CRD]))?;

    let mut command = Command::new(host);
    command
        .current_dir(run::root())
        .args([
            "run",
            "--metrics-address",
            "off",
            "--log-level",
            "info,pilothouse=debug",
        ])
        .arg("--plugins")
        .arg(plugins)
        .arg("--config")
        .arg(config)
        .arg("--kubeconfig")
        .arg(&plane.kubeconfig);
    let mut running = Background::start("`pilothouse run`", &mut command, true)?;
    run::run(&mut plane.kubectl(&["create", "-f", story::SAMPLES]))?;

    let api = Api::new(&plane.proxy()?);
    let played = {
        let running = std::cell::RefCell::new(&mut running);
        let mut tell = |line: &str| {
            running.borrow().wait_for_silence()?;
            println!("==> {line}");
            Ok(())
        };
        let mut alive = || {
            running.borrow_mut().must_run()?;
            plane.must_run()
        };
        story::play(&api, Instant::now() + story::PATIENCE, &mut tell, &mut alive)
    };
    let stopped = running.stop(Duration::from_secs(40));
    played?;
    let status = stopped?;
    if !status.success() {
        bail!("everything converged, but `pilothouse run` ended with {status} after SIGINT");
    }
    println!("==> Everything converged on the real API server, and the host stopped as asked.");
    Ok(())
}

/// etcd, kube-apiserver, kube-controller-manager, and a `kubectl proxy` through which plain HTTP reaches them.
struct Plane {
    bin: PathBuf,
    home: PathBuf,
    kubeconfig: PathBuf,
    /// In the order of their start.
    parts: Vec<Background>,
    proxy: Option<String>,
}

impl Plane {
    fn start(bin: &Path, scratch: &Scratch) -> Result<Self> {
        let [etcd, peers, secure] = free_ports()?;
        let dir = |name: &str| scratch.join(name).to_string_lossy().into_owned();
        let key = scratch.join("sa.key");
        run::output(Command::new("openssl").args(["genrsa", "-out"]).arg(&key).arg("2048"))
            .context("a key for service accounts can't be made: install openssl (apt-get install openssl)")?;
        fs::write(scratch.join("tokens.csv"), format!("{TOKEN},admin,1,system:masters\n")).context("tokens.csv")?;
        let kubeconfig = scratch.join("kubeconfig");
        let ca = scratch.join("certs").join("apiserver.crt");
        fs::write(&kubeconfig, kubeconfig_text(secure, &ca)).context("kubeconfig")?;
        let mut plane = Self {
            bin: bin.to_owned(),
            home: scratch.path().to_owned(),
            kubeconfig,
            parts: Vec::new(),
            proxy: None,
        };

        let began = Instant::now();
        plane.part(
            "etcd",
            &[
                format!("--data-dir={}", dir("etcd")),
                format!("--listen-client-urls=http://127.0.0.1:{etcd}"),
                format!("--advertise-client-urls=http://127.0.0.1:{etcd}"),
                format!("--listen-peer-urls=http://127.0.0.1:{peers}"),
                "--unsafe-no-fsync".to_owned(),
            ],
        )?;
        plane.part(
            "kube-apiserver",
            &[
                format!("--etcd-servers=http://127.0.0.1:{etcd}"),
                "--bind-address=127.0.0.1".to_owned(),
                "--advertise-address=127.0.0.1".to_owned(),
                format!("--secure-port={secure}"),
                format!("--cert-dir={}", dir("certs")),
                "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
                // A private key holds the public one.
                format!("--service-account-key-file={}", key.display()),
                format!("--service-account-signing-key-file={}", key.display()),
                format!("--token-auth-file={}", dir("tokens.csv")),
                "--authorization-mode=RBAC".to_owned(),
                "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
                "--disable-admission-plugins=ServiceAccount".to_owned(),
            ],
        )?;
        plane.wait_for("the API server", |plane| {
            run::output(&mut plane.kubectl(&["get", "--raw", "/readyz"])).map_err(|error| error.to_string())?;
            run::output(&mut plane.kubectl(&["get", "namespace", "default"])).map_err(|error| error.to_string())
        })?;
        plane.part(
            "kube-controller-manager",
            &[
                format!("--kubeconfig={}", plane.kubeconfig.display()),
                "--leader-elect=false".to_owned(),
                "--secure-port=0".to_owned(),
                format!("--service-account-private-key-file={}", key.display()),
                format!("--root-ca-file={}", ca.display()),
            ],
        )?;
        let args = [
            format!("--kubeconfig={}", plane.kubeconfig.display()),
            "proxy".to_owned(),
            "--port=0".to_owned(),
        ];
        plane.part("kubectl", &args)?;
        let proxy = plane.wait_for("`kubectl proxy`", |plane| {
            let said = plane.parts.last().map(Background::said).unwrap_or_default();
            let address = said.lines().find_map(|line| line.strip_prefix("Starting to serve on "));
            address
                .map(|address| format!("http://{address}"))
                .ok_or_else(|| "it has not said where it serves".to_owned())
        })?;
        plane.proxy = Some(proxy);
        println!("  the control plane is up ({:.1} s)", began.elapsed().as_secs_f64());
        Ok(plane)
    }

    fn part(&mut self, program: &str, args: &[String]) -> Result<()> {
        let mut command = Command::new(self.bin.join(program));
        command.args(args).current_dir(&self.home).env("HOME", &self.home);
        self.parts.push(Background::start(program, &mut command, false)?);
        Ok(())
    }

    fn wait_for<T>(&mut self, what: &str, ready: impl Fn(&Self) -> Result<T, String>) -> Result<T> {
        let end = Instant::now() + PATIENCE;
        loop {
            let why = match ready(self) {
                Ok(ready) => return Ok(ready),
                Err(why) => why,
            };
            self.must_run()?;
            if Instant::now() > end {
                self.tell_last_words();
                bail!("{what} is not ready after {} s: {why}", PATIENCE.as_secs());
            }
            run::pause(LOOK)?;
        }
    }

    fn kubectl(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.bin.join("kubectl"));
        command
            .current_dir(run::root())
            .env("HOME", &self.home)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(args);
        command
    }

    fn proxy(&self) -> Result<String> {
        self.proxy.clone().context("there is no `kubectl proxy`")
    }

    fn must_run(&mut self) -> Result<()> {
        self.parts.iter_mut().try_for_each(Background::must_run)
    }

    fn tell_last_words(&self) {
        for (name, part) in ["etcd", "kube-apiserver", "kube-controller-manager", "kubectl proxy"]
            .iter()
            .zip(&self.parts)
        {
            eprintln!(
                "--- the end of what {name} wrote:\n{}",
                run::last_lines(&part.said(), 12)
            );
        }
    }

    /// Nothing of it is of use any more, so nothing waits for an orderly end: without etcd the API server would take
    /// more than a minute.
    fn stop(&mut self) {
        while let Some(mut part) = self.parts.pop() {
            part.kill();
        }
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.stop();
    }
}

fn kubeconfig_text(port: u16, ca: &Path) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: real\n\
         clusters:\n- name: real\n  cluster:\n    server: https://127.0.0.1:{port}\n    certificate-authority: '{}'\n\
         users:\n- name: admin\n  user:\n    token: {TOKEN}\n\
         contexts:\n- name: real\n  context:\n    cluster: real\n    user: admin\n",
        ca.display()
    )
}

/// Ports that nobody has at this moment.
fn free_ports<const N: usize>() -> Result<[u16; N]> {
    // All at once, or the same could come twice.
    let listeners: Vec<TcpListener> = (0..N)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<Result<_, _>>()
        .context("no free port")?;
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr().context("no free port")?.port();
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free_and_different() {
        let [a, b, c] = free_ports::<3>().unwrap();
        assert!(a != b && b != c && a != c && a != 0);
    }
}
