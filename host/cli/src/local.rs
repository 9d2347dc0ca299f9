//! The cluster in memory that `dev` works on unless it is given another: an API server on the loopback interface, and a
//! kubeconfig for it.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use kube::Client;
use pilothouse_apiclient::{Meter, Settings};
use pilothouse_localcluster::{Cluster, http as face, kubeconfig, shared::SharedCluster};
use tokio::{sync::oneshot, task::JoinSet};

use crate::{exit::Stop, serve, signals::Signals};

/// A cluster in memory that is served.
pub(crate) struct Local {
    cluster: SharedCluster,
    server: String,
    tasks: JoinSet<()>,
    shut: oneshot::Sender<()>,
}

impl Local {
    /// Starts one, and writes its kubeconfig.
    ///
    /// # Errors
    /// The port is taken, or the kubeconfig can't be written.
    pub(crate) async fn start(port: u16, kubeconfig: &Path) -> Result<Self, Stop> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener = serve::bind(address).await.map_err(|error| {
            Stop::usage(format!(
                "the local API server: {error}: choose another with --port, or leave --port out for a free one"
            ))
        })?;
        let address = listener
            .local_addr()
            .map_err(|error| Stop::failed(format!("the local API server: {error}")))?;
        let cluster = SharedCluster::new(Cluster::new(fastrand::u64(..)), wall_clock);
        let mut tasks = JoinSet::new();
        let (shut, shutting) = oneshot::channel::<()>();
        tasks.spawn(face::serve(listener, cluster.clone(), async move {
            // An error: the sender is gone, which means the same.
            let _ = shutting.await;
        }));
        write_kubeconfig(kubeconfig, address)?;
        Ok(Self {
            cluster,
            server: format!("http://{address}"),
            tasks,
            shut,
        })
    }

    /// `http://127.0.0.1:PORT`.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// A client of it, over HTTP like everybody's.
    ///
    /// # Errors
    /// The operating system gives none.
    pub(crate) fn client(&self, settings: Settings, meter: &Meter) -> Result<Client, Stop> {
        let failed = |error: &dyn std::fmt::Display| Stop::failed(format!("{}: {error}", self.server));
        let config = kube::Config::new(self.server.parse().map_err(|error| failed(&error))?);
        pilothouse_apiclient::client(config, settings, meter.clone()).map_err(|error| failed(&error))
    }

    /// A number that grows with each change in it.
    pub(crate) fn version(&self) -> u64 {
        self.cluster.with(|cluster, _| cluster.version())
    }

    /// Ends it once its clients have their answers.
    ///
    /// # Errors
    /// The signal that came before that; then they are cut off.
    pub(crate) async fn stop(mut self, signals: &mut Signals) -> Result<(), &'static str> {
        // An error: the face has ended already.
        let _ = self.shut.send(());
        tokio::select! {
            biased;
            _ = self.tasks.join_next() => Ok(()),
            signal = signals.next() => Err(signal),
        }
    }
}

/// Writes the kubeconfig; its directory is made where it is missing. In the default directory nothing is for version
/// control.
fn write_kubeconfig(path: &Path, address: SocketAddr) -> Result<(), Stop> {
    let failed = |error: io::Error| {
        Stop::usage(format!(
            "{}: can't be written: {error}: choose another place with --kubeconfig-out",
            path.display()
        ))
    };
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        fs::create_dir_all(directory).map_err(failed)?;
        let ignore = directory.join(".gitignore");
        if directory == Path::new(".pilothouse") && !ignore.exists() {
            fs::write(ignore, "*\n").map_err(failed)?;
        }
    }
    kubeconfig::write(path, address).map_err(|error| Stop::usage(error.to_string()))
}

#[expect(clippy::disallowed_methods, reason = "the driver's wall clock")]
fn wall_clock() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
