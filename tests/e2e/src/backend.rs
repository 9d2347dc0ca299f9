//! What answers the requests that come to a [`crate::Server`]: a local cluster, or the real API server.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use kube::Client;
use pilothouse_localcluster::Cluster;
use pilothouse_localcluster::service::LocalService;
use pilothouse_localcluster::shared::SharedCluster;
use tokio::task::JoinSet;
use tower::{BoxError, ServiceExt as _};

use crate::on::Cluster as Place;
use crate::{Api, CRDS, yaml};

/// The body of an answer, as it comes: a watch has no end.
pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;

/// Belongs to one connection, or to whoever sends: not handed on. The test's server asks for no credentials and has the
/// administrator's.
const OF_THE_CONNECTION: [header::HeaderName; 5] = [
    header::HOST,
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::CONTENT_LENGTH,
    header::AUTHORIZATION,
];

/// What answers; clones share it.
#[derive(Clone)]
pub(crate) enum Backend {
    /// A cluster of the test's own.
    Local(SharedCluster),
    /// A real control plane, as its administrator.
    Real(Client),
}

#[expect(
    clippy::disallowed_methods,
    reason = "the cluster's clock is the wall's, as in `pilothouse dev`"
)]
fn wall_clock() -> Duration {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

impl Backend {
    /// One that serves both CustomResourceDefinitions. Tasks of its own run in `tasks`.
    pub(crate) async fn new(place: &Place, tasks: &mut JoinSet<()>) -> Self {
        match place.ready().await {
            None => {
                let cluster = SharedCluster::new(Cluster::new(1), wall_clock);
                let own = cluster.clone();
                tasks.spawn(async move { own.drive().await });
                let local = Self::Local(cluster);
                for crd in [crate::GREETING_CRD, crate::BEAST_CRD] {
                    let crd = yaml(crd);
                    let name = crd["metadata"]["name"].as_str().expect("a CRD has a name").to_owned();
                    Api::new(local.client(), "default").create(CRDS, "", &name, crd).await;
                }
                local
            }
            Some(plane) => Self::Real(plane.client()),
        }
    }

    /// The administrator's client.
    pub(crate) fn client(&self) -> Client {
        match self {
            Self::Local(cluster) => Client::new(LocalService::new(cluster.clone()), "default"),
            Self::Real(client) => client.clone(),
        }
    }

    /// Answers a request, or says why it was not answered.
    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, BoxError> {
        match self {
            Self::Local(cluster) => match LocalService::new(cluster.clone()).oneshot(request).await {
                Ok(answer) => Ok(answer.map(|body| body.map_err(|never| match never {}).boxed_unsync())),
                Err(never) => match never {},
            },
            Self::Real(client) => {
                let (mut head, body) = request.into_parts();
                for name in &OF_THE_CONNECTION {
                    head.headers.remove(name);
                }
                let body = body.collect().await?.to_bytes().to_vec();
                let mut answer = client.send(Request::from_parts(head, body.into())).await?;
                for name in &OF_THE_CONNECTION {
                    answer.headers_mut().remove(name);
                }
                Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync()))
            }
        }
    }
}
