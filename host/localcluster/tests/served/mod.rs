//! What the tests of the faces share: a local cluster on a port of its own, with a kubeconfig in a folder of its own.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(
    clippy::disallowed_methods,
    reason = "tests of the real faces need the real clock and real processes"
)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use pilothouse_localcluster::Cluster;
use pilothouse_localcluster::http::{Limits, serve_with};
use pilothouse_localcluster::shared::SharedCluster;
use tokio::sync::oneshot;

pub(crate) mod kubectl;

/// A cluster on the wall clock.
pub(crate) fn cluster() -> SharedCluster {
    SharedCluster::new(Cluster::new(1), || {
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or(Duration::ZERO)
    })
}

/// A served cluster; dropping it stops the server and removes its folder.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) cluster: SharedCluster,
    /// Home of the clients: nothing they write stays.
    pub(crate) home: tempfile::TempDir,
    pub(crate) runtime: tokio::runtime::Runtime,
    stop: Option<oneshot::Sender<()>>,
    served: Option<tokio::task::JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start() -> Server {
        Server::start_with(Limits::default())
    }

    pub(crate) fn start_with(limits: Limits) -> Server {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let cluster = cluster();
        let (stop, stopped) = oneshot::channel();
        let served = runtime.spawn(serve_with(listener, cluster.clone(), limits, async {
            let _ = stopped.await;
        }));
        let home = tempfile::tempdir().unwrap();
        let server = Server {
            address,
            cluster,
            home,
            runtime,
            stop: Some(stop),
            served: Some(served),
        };
        pilothouse_localcluster::kubeconfig::write(&server.kubeconfig(), address).unwrap();
        server
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.home.path().join("kubeconfig")
    }

    /// Asks the server to stop and waits until it has.
    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(served) = self.served.take() {
            self.runtime.block_on(served).expect("the server panicked");
        }
    }
}

/// A CRD with everything the tests look at: schema, status, scale, columns, names.
pub(crate) const WIDGETS: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: widgets.ex.io
spec:
  group: ex.io
  scope: Namespaced
  names: { plural: widgets, singular: widget, kind: Widget, listKind: WidgetList, shortNames: [wd], categories: [all] }
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale: { specReplicasPath: .spec.size, statusReplicasPath: .status.size }
    additionalPrinterColumns:
    - { name: Size, type: integer, jsonPath: .spec.size }
    - { name: Ready, type: string, jsonPath: '.status.conditions[?(@.type=="Ready")].status' }
    - { name: Color, type: string, jsonPath: .spec.color, priority: 1 }
    - { name: Age, type: date, jsonPath: .metadata.creationTimestamp }
    schema:
      openAPIV3Schema:
        type: object
        description: A widget is what tests are made of.
        properties:
          spec:
            type: object
            description: What is wanted.
            properties:
              size: { type: integer, description: How large it shall be., minimum: 0 }
              color: { type: string }
          status:
            type: object
            properties:
              size: { type: integer }
              conditions:
                type: array
                items: { type: object, x-kubernetes-preserve-unknown-fields: true }
"#;
