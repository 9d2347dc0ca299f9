//! The face inside the process: a [`tower::Service`] that answers HTTP requests without any socket.
//!
//! `kube::Client::new(LocalService::new(cluster), "default")` is a client of the local cluster; nothing here depends
//! on `kube`, any body will do. Time passes only when someone runs [`SharedCluster::drive`] or calls
//! [`SharedCluster::advance`]: without either, watches still see every write at once, but nothing is collected and no
//! watch times out.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Buf;

use crate::shared::{AnswerBody, SharedCluster, admin, read_body};
use crate::wire::User;

/// Answers requests on a cluster in this process; clones share the cluster.
#[derive(Clone)]
pub struct LocalService {
    cluster: SharedCluster,
    user: User,
}

impl LocalService {
    /// A service whose requests come from the administrator.
    #[must_use]
    pub fn new(cluster: SharedCluster) -> LocalService {
        LocalService { cluster, user: admin() }
    }

    /// A service whose requests come from `user`.
    #[must_use]
    pub fn as_user(cluster: SharedCluster, user: User) -> LocalService {
        LocalService { cluster, user }
    }
}

impl<B> tower::Service<http::Request<B>> for LocalService
where
    B: hyper::body::Body<Data: Buf + Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    type Response = http::Response<AnswerBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            Ok(match read_body(body).await {
                Ok(body) => this.cluster.answer(&this.user, &head, body),
                Err(status) => this.cluster.http(status.response()),
            })
        })
    }
}
