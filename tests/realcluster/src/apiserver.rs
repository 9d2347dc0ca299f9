//! An API server of the control plane.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::credentials::{self, Credentials};
use crate::plane::patiently;
use crate::supervisor::Supervisor;
use crate::{Binaries, Binary, Error, Program, shell};

/// What the parts of a control plane have in common.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) home: PathBuf,
    pub(crate) binaries: Binaries,
    pub(crate) credentials: Credentials,
    pub(crate) etcd_port: u16,
    pub(crate) flags: Vec<String>,
    pub(crate) supervisor: Supervisor,
}

impl Site {
    /// kubectl with a kubeconfig, and with nothing of the user's own configuration.
    pub(crate) fn kubectl(&self, kubeconfig: &Path) -> Command {
        let mut command = Command::new(self.binaries.path(Binary::Kubectl));
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("KUBE")) {
                command.env_remove(name);
            }
        }
        command.env("HOME", &self.home).env("KUBECONFIG", kubeconfig);
        command
    }

    /// Runs kubectl to its end with something on its stdin.
    pub(crate) fn kubectl_with_input(&self, kubeconfig: &Path, args: &[&str], input: &str) -> Result<(), Error> {
        let mut command = self.kubectl(kubeconfig);
        command
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let shown = shell::shown(&command);
        let start = |source| Error::Start {
            command: shown.clone(),
            source,
        };
        let mut child = command.spawn().map_err(start)?;
        if let Some(mut stdin) = child.stdin.take() {
            // An error: it has ended without reading, and says why itself.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output().map_err(start)?;
        if output.status.success() {
            return Ok(());
        }
        Err(Error::Failed {
            command: shown,
            status: output.status.to_string(),
            said: shell::last_lines(&String::from_utf8_lossy(&output.stderr), 20),
        })
    }
}

/// An API server, which a test may stop and start, on one port.
#[derive(Debug)]
pub struct ApiServer {
    name: String,
    port: u16,
    /// Where it reaches etcd.
    etcd_port: u16,
    kubeconfig: PathBuf,
    site: Arc<Site>,
    /// None while it is stopped.
    program: Mutex<Option<Program>>,
}

impl ApiServer {
    /// One that does not run yet, with a kubeconfig for its administrator.
    pub(crate) fn prepare(site: &Arc<Site>, name: &str, port: u16) -> Result<Self, Error> {
        let kubeconfig = site.home.join(format!("{name}.kubeconfig"));
        let user = format!("{{token: {}}}", site.credentials.token);
        let text = credentials::kubeconfig(port, &site.home.join(credentials::CA), &user);
        std::fs::write(&kubeconfig, text).map_err(Error::file(&kubeconfig))?;
        Ok(Self {
            name: name.to_owned(),
            port,
            etcd_port: site.etcd_port,
            kubeconfig,
            site: Arc::clone(site),
            program: Mutex::new(None),
        })
    }

    /// The same, reaching etcd at another port.
    pub(crate) fn through(self, etcd_port: u16) -> Self {
        Self { etcd_port, ..self }
    }

    fn program(&self) -> MutexGuard<'_, Option<Program>> {
        self.program.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `https://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The administrator's kubeconfig for this one.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Its process id; none while it is stopped.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.program().as_ref().map(Program::pid)
    }

    /// The last lines of what it wrote.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        self.program()
            .as_ref()
            .map(|program| program.log_tail(lines))
            .unwrap_or_default()
    }

    /// Fails if it has ended although nobody stopped it.
    ///
    /// # Errors
    /// [`Error::NotReady`].
    pub fn must_run(&self) -> Result<(), Error> {
        self.program().as_ref().map_or(Ok(()), Program::must_run)
    }

    /// Starts it without waiting for it.
    pub(crate) fn launch(&self) -> Result<(), Error> {
        let file = |name: &str| self.site.home.join(name).display().to_string();
        let mut command = Command::new(self.site.binaries.path(Binary::ApiServer));
        command.args([
            format!("--etcd-servers=http://127.0.0.1:{}", self.etcd_port),
            "--bind-address=127.0.0.1".to_owned(),
            "--advertise-address=127.0.0.1".to_owned(),
            // Nobody needs the Endpoints of `kubernetes`, which may not be a loopback address anyway.
            "--endpoint-reconciler-type=none".to_owned(),
            format!("--secure-port={}", self.port),
            format!("--cert-dir={}", file("certs")),
            format!("--tls-cert-file={}", file(credentials::CERTIFICATE)),
            format!("--tls-private-key-file={}", file(credentials::KEY)),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", file(credentials::ACCOUNTS_PUBLIC)),
            format!("--service-account-signing-key-file={}", file(credentials::ACCOUNTS_KEY)),
            format!("--token-auth-file={}", file(credentials::TOKENS)),
            "--authorization-mode=RBAC".to_owned(),
            "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
            "--allow-privileged=true".to_owned(),
            // It would wait for tokens that no controller makes, and nothing runs in these Pods.
            "--disable-admission-plugins=ServiceAccount".to_owned(),
            "--profiling=false".to_owned(),
        ]);
        command.args(&self.site.flags);
        let program = Program::start(&self.name, &mut command, &self.site.home, self.site.supervisor.group())?;
        *self.program() = Some(program);
        Ok(())
    }

    /// Returns once it is ready. `alive` fails if what it needs has ended.
    pub(crate) fn wait_until_ready(&self, alive: &dyn Fn() -> Result<(), Error>) -> Result<(), Error> {
        patiently(
            || self.is_ready(),
            || {
                alive()?;
                self.must_run()
            },
            |why| Error::NotReady {
                what: self.name.clone(),
                why,
                last_words: self.log_tail(12),
            },
        )
    }

    fn is_ready(&self) -> Result<(), String> {
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        // Cheaper than a kubectl for each look.
        TcpStream::connect_timeout(&address, Duration::from_secs(1)).map_err(|error| error.to_string())?;
        for args in [&["get", "--raw", "/readyz"][..], &["get", "namespace", "default"][..]] {
            let mut kubectl = self.site.kubectl(&self.kubeconfig);
            shell::output(kubectl.args(args).arg("--request-timeout=5s")).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Starts it, on the same port, and waits until it is ready.
    ///
    /// # Errors
    /// It is not ready in time.
    pub fn start(&self) -> Result<(), Error> {
        self.launch()?;
        self.wait_until_ready(&|| Ok(()))
    }

    /// SIGTERM: it ends its watches and then itself, which takes some seconds.
    pub fn stop(&self) {
        let program = self.program().take();
        if let Some(program) = program {
            program.terminate();
        }
    }

    /// SIGKILL: every connection breaks.
    pub fn kill(&self) {
        let program = self.program().take();
        if let Some(program) = program {
            program.kill();
        }
    }

    /// SIGSTOP: it takes connections and answers nothing.
    pub fn freeze(&self) {
        if let Some(program) = self.program().as_ref() {
            program.freeze();
        }
    }

    /// SIGCONT: it goes on.
    pub fn thaw(&self) {
        if let Some(program) = self.program().as_ref() {
            program.thaw();
        }
    }
}
