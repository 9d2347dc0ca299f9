//! The control plane: its parts in their order, and how they are reached.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::apiserver::{ApiServer, Site};
use crate::credentials::{self, Credentials};
use crate::supervisor::Supervisor;
use crate::{Binaries, Binary, Error, Go, Program, free_port, shell};

/// A part may take so long until it answers: ten times what it takes on a machine that does nothing else.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often to look.
const LOOK: Duration = Duration::from_millis(50);

/// Another process may take a port between its choice and its use; then all is tried again with others.
const TRIES: usize = 3;

/// Which controllers of kube-controller-manager run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Controllers {
    /// None: nothing is collected, and a namespace that is deleted stays in Terminating.
    #[default]
    None,
    /// Those that our local cluster has as well: garbage collection and the deletion of namespaces.
    GarbageCollection,
    /// All: Deployments make Pods (which nothing runs), every namespace gets its `kube-root-ca.crt`.
    All,
}

/// How a control plane is started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Which controllers run.
    pub controllers: Controllers,
    /// Objects, as YAML or JSON for `kubectl create -f -`, that are there before the controllers start. Garbage
    /// collection learns of CustomResourceDefinitions that come later only after half a minute.
    pub objects: Vec<String>,
    /// More flags for kube-apiserver.
    pub apiserver_flags: Vec<String>,
}

/// A running control plane; everything of it ends and goes when it is dropped.
#[derive(Debug)]
pub struct ControlPlane {
    // In the order in which they are dropped: nothing waits for an orderly end, since without etcd an API server would
    // take more than a minute for it.
    controller_manager: Option<Program>,
    apiserver: ApiServer,
    etcd: Program,
    etcd_port: u16,
    kubeconfig: PathBuf,
    site: Arc<Site>,
}

impl ControlPlane {
    /// Builds the programs if need be, starts them, and waits until the API server is ready. Progress goes to stderr.
    ///
    /// # Errors
    /// There is no Go, something does not compile, or a part does not start; then with the end of its log.
    pub fn start(options: &Options) -> Result<Self, Error> {
        let mut tell = |line: &str| eprintln!("  real control plane: {line}");
        let mut wanted = vec![Binary::Etcd, Binary::ApiServer, Binary::Kubectl];
        if options.controllers != Controllers::None {
            wanted.push(Binary::ControllerManager);
        }
        let binaries = Binaries::built(&Go::find()?, &wanted, &mut tell)?;
        let mut tries = 1;
        loop {
            match Self::start_once(&binaries, options) {
                Err(Error::NotReady { last_words, .. })
                    if tries < TRIES && last_words.contains("address already in use") =>
                {
                    tries += 1;
                }
                started => return started,
            }
        }
    }

    /// The one control plane of this process, with all controllers, for tests that break nothing; each takes a
    /// [`ControlPlane::namespace`] of its own. It ends with the process.
    ///
    /// # Panics
    /// If it can't be had, with the whole error: a test can do nothing else about it.
    #[track_caller]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Result<ControlPlane, String>> = OnceLock::new();
        Self::shared_as(
            &SHARED,
            &Options {
                controllers: Controllers::All,
                ..Options::default()
            },
        )
    }

    /// The same, started with options of the caller's, who owns the place for it.
    ///
    /// # Panics
    /// As [`ControlPlane::shared`].
    #[track_caller]
    pub fn shared_as(place: &'static OnceLock<Result<Self, String>>, options: &Options) -> &'static Self {
        match place.get_or_init(|| Self::start(options).map_err(|error| error.to_string())) {
            Ok(plane) => plane,
            Err(why) => panic!("no real control plane: {why}"),
        }
    }

    fn start_once(binaries: &Binaries, options: &Options) -> Result<Self, Error> {
        let home = tempfile::Builder::new()
            .prefix("pilothouse-realcluster-")
            .tempdir()
            .map_err(Error::file(&std::env::temp_dir()))?;
        // From here on the supervisor removes it.
        let supervisor = Supervisor::start(home.path())?;
        let home = home.keep();
        let credentials = Credentials::make(&home)?;
        let (etcd_port, peer_port) = (free_port(), free_port());
        let etcd = Program::start(
            Binary::Etcd.name(),
            Command::new(binaries.path(Binary::Etcd)).args([
                format!("--data-dir={}", home.join("etcd").display()),
                format!("--listen-client-urls=http://127.0.0.1:{etcd_port}"),
                format!("--advertise-client-urls=http://127.0.0.1:{etcd_port}"),
                format!("--listen-peer-urls=http://127.0.0.1:{peer_port}"),
                "--log-level=warn".to_owned(),
                // A test's data need not outlive the machine.
                "--unsafe-no-fsync".to_owned(),
            ]),
            &home,
            supervisor.group(),
        )?;
        let site = Arc::new(Site {
            home,
            binaries: binaries.clone(),
            credentials,
            etcd_port,
            flags: options.apiserver_flags.clone(),
            supervisor,
        });
        let apiserver = ApiServer::prepare(&site, "kube-apiserver", free_port())?;
        apiserver.launch()?;
        let kubeconfig = apiserver.kubeconfig().to_owned();
        let mut plane = Self {
            controller_manager: None,
            apiserver,
            etcd,
            etcd_port,
            kubeconfig,
            site,
        };
        // Else it would be the API server that is blamed.
        plane.apiserver.wait_until_ready(&|| plane.etcd.must_run())?;
        for objects in &options.objects {
            plane.create(objects)?;
        }
        plane.controller_manager = plane.start_controllers(options.controllers)?;
        Ok(plane)
    }

    fn start_controllers(&self, controllers: Controllers) -> Result<Option<Program>, Error> {
        let which = match controllers {
            Controllers::None => return Ok(None),
            Controllers::GarbageCollection => "garbage-collector-controller,namespace-controller",
            Controllers::All => "*",
        };
        let file = |name: &str| self.site.home.join(name);
        let program = Program::start(
            Binary::ControllerManager.name(),
            Command::new(self.site.binaries.path(Binary::ControllerManager)).args([
                format!("--kubeconfig={}", self.kubeconfig.display()),
                format!("--controllers={which}"),
                "--leader-elect=false".to_owned(),
                "--secure-port=0".to_owned(),
                format!(
                    "--service-account-private-key-file={}",
                    file(credentials::ACCOUNTS_KEY).display()
                ),
                format!("--root-ca-file={}", file(credentials::CA).display()),
            ]),
            &self.site.home,
            self.site.supervisor.group(),
        )?;
        Ok(Some(program))
    }

    /// The administrator's kubeconfig. The administrator is in `system:masters`: nothing is refused.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Where everything of it lies: logs as `NAME.log`, kubeconfigs, certificates.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.site.home
    }

    /// Where the module's kubectl is.
    #[must_use]
    pub fn kubectl_path(&self) -> PathBuf {
        self.site.binaries.path(Binary::Kubectl)
    }

    /// The module's kubectl as the administrator, with nothing of the user's own configuration.
    #[must_use]
    pub fn kubectl(&self) -> Command {
        self.site.kubectl(&self.kubeconfig)
    }

    /// The API server.
    #[must_use]
    pub fn apiserver(&self) -> &ApiServer {
        &self.apiserver
    }

    /// What it keeps everything in.
    #[must_use]
    pub fn etcd(&self) -> &Program {
        &self.etcd
    }

    /// kube-controller-manager, if it was asked for.
    #[must_use]
    pub fn controller_manager(&self) -> Option<&Program> {
        self.controller_manager.as_ref()
    }

    /// Fails if a part of it that should run has ended, with the part's last words.
    ///
    /// # Errors
    /// [`Error::NotReady`].
    pub fn must_run(&self) -> Result<(), Error> {
        self.etcd.must_run()?;
        self.apiserver.must_run()?;
        self.controller_manager.as_ref().map_or(Ok(()), Program::must_run)
    }

    /// Where etcd listens, over plain HTTP.
    #[must_use]
    pub fn etcd_port(&self) -> u16 {
        self.etcd_port
    }

    pub(crate) fn site(&self) -> &Arc<Site> {
        &self.site
    }

    /// Starts another API server on the same etcd, with a port and a kubeconfig of its own, as a highly available
    /// control plane has them. It ends when it is dropped.
    ///
    /// # Errors
    /// It is not ready in time.
    pub fn another_apiserver(&self) -> Result<ApiServer, Error> {
        self.another_apiserver_through(self.etcd_port)
    }

    /// The same, reaching etcd at another port: that of a test's proxy. What it serves from its own cache is as stale
    /// as the proxy makes it.
    ///
    /// # Errors
    /// It is not ready in time.
    pub fn another_apiserver_through(&self, etcd_port: u16) -> Result<ApiServer, Error> {
        static NEXT: AtomicU32 = AtomicU32::new(2);
        let name = format!("kube-apiserver-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let another = ApiServer::prepare(&self.site, &name, free_port())?.through(etcd_port);
        another.start()?;
        Ok(another)
    }

    /// Creates objects from YAML or JSON.
    ///
    /// # Errors
    /// What the API server or kubectl says.
    pub fn create(&self, objects: &str) -> Result<(), Error> {
        self.site
            .kubectl_with_input(&self.kubeconfig, &["create", "-f", "-"], objects)
    }

    /// Creates a namespace that is nobody else's, and answers its name: the prefix with a number.
    ///
    /// # Errors
    /// What the API server says.
    pub fn namespace(&self, prefix: &str) -> Result<String, Error> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("{prefix}-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        shell::output(self.kubectl().args(["create", "namespace", &name]))?;
        Ok(name)
    }
}

/// Looks again and again until it is so, until something is wrong for good, or until patience ends; then the error is
/// why it is not so.
pub(crate) fn patiently(
    mut look: impl FnMut() -> Result<(), String>,
    alive: impl Fn() -> Result<(), Error>,
    late: impl FnOnce(String) -> Error,
) -> Result<(), Error> {
    let end = now() + PATIENCE;
    loop {
        let why = match look() {
            Ok(()) => return Ok(()),
            Err(why) => why,
        };
        alive()?;
        if now() > end {
            return Err(late(why));
        }
        pause();
    }
}

#[expect(clippy::disallowed_methods, reason = "real programs are waited for")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "real programs are waited for")]
fn pause() {
    std::thread::sleep(LOOK);
}
