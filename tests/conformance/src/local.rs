//! The local cluster as people reach it: behind HTTP on a port of its own, on the wall clock.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use pilothouse_localcluster::http::serve;
use pilothouse_localcluster::shared::SharedCluster;
use pilothouse_localcluster::{Cluster, ClusterConfig, kubeconfig};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// A local cluster that is served; dropping it ends the server and removes its kubeconfig.
pub struct LocalServer {
    address: SocketAddr,
    home: tempfile::TempDir,
    /// The server's own threads, so that tests that are not async can use it.
    runtime: Option<Runtime>,
    stop: Option<oneshot::Sender<()>>,
}

#[expect(
    clippy::disallowed_methods,
    reason = "it is compared with a server that is on the wall clock"
)]
fn wall_clock() -> Duration {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

impl LocalServer {
    /// Starts one that holds the default namespaces and nothing else.
    ///
    /// # Panics
    /// If the system gives no port, folder or threads.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(ClusterConfig::default())
    }

    /// The same with other bounds.
    ///
    /// # Panics
    /// As [`LocalServer::start`] does.
    #[must_use]
    pub fn start_with(config: ClusterConfig) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("local-cluster")
            .enable_all()
            .build()
            .expect("a thread for the local cluster");
        let listener = runtime
            .block_on(TcpListener::bind("127.0.0.1:0"))
            .expect("a port for the local cluster");
        let address = listener.local_addr().expect("a listener has an address");
        let cluster = SharedCluster::new(Cluster::with_config(1, config), wall_clock);
        let (stop, stopped) = oneshot::channel::<()>();
        runtime.spawn(serve(listener, cluster, async {
            // Stopped, or dropped: it ends either way.
            _ = stopped.await;
        }));
        let home = tempfile::tempdir().expect("a temporary folder");
        let server = Self {
            address,
            home,
            runtime: Some(runtime),
            stop: Some(stop),
        };
        kubeconfig::write(&server.kubeconfig(), address).expect("a kubeconfig");
        server
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A kubeconfig that reaches it.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.home().join("kubeconfig")
    }

    /// A folder that goes with the server, for what its clients write.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.home.path()
    }
}

impl Drop for LocalServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(runtime) = self.runtime.take() {
            // Not waiting: this may be dropped within another runtime.
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn the_local_cluster_answers_over_http_and_its_kubeconfig_says_where() {
        let server = LocalServer::start();
        let kubeconfig = std::fs::read_to_string(server.kubeconfig()).unwrap();
        assert!(
            kubeconfig.contains(&format!("http://{}", server.address())),
            "{kubeconfig}"
        );
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream
            .write_all(b"GET /api/v1/namespaces/default HTTP/1.1\r\nHost: local\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}
