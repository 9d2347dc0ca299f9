//! The HTTP/1.1 face: serves a [`SharedCluster`] on a TCP listener, for kubectl and every other client.
//!
//! Plain HTTP, no authentication: bind it to a loopback address. Connections are kept alive; watches are chunked
//! bodies that get a chunk for each event as it happens. Requests are bounded ([`Limits`]) in the size of head and
//! body and in the time they take; what breaks a bound gets an error or its connection closed, and nobody else
//! notices. The face also drives the cluster's time, see [`SharedCluster::drive`].

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Body as _, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::shared::{AnswerBody, SharedCluster, admin, read_body};
use crate::status::Status;

/// How much, how long, how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a client may take to send the head of a request, and how long a connection may idle between two.
    /// Longer than the 90 s after which common clients drop idle connections, so that they go first.
    pub head_time: Duration,
    /// How long a client may take to send the body after the head.
    pub body_time: Duration,
    /// How many bytes the head of a request may have; at least 8192.
    pub head_size: usize,
    /// How many connections there may be; further ones wait until one ends.
    pub connections: usize,
    /// How long open connections may go on after shutdown was asked for; watches end at once.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            head_time: Duration::from_secs(120),
            body_time: Duration::from_secs(30),
            head_size: 64 * 1024,
            connections: 1024,
            grace: Duration::from_secs(2),
        }
    }
}

/// How long to wait after an accept that failed: mostly for file descriptors to become free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `cluster` on `listener` with the default [`Limits`] until `shutdown` is ready; then watches end, requests
/// in flight get their grace, and this returns.
pub async fn serve(listener: TcpListener, cluster: SharedCluster, shutdown: impl Future<Output = ()>) {
    serve_with(listener, cluster, Limits::default(), shutdown).await;
}

/// [`serve`] with other limits.
pub async fn serve_with(
    listener: TcpListener,
    cluster: SharedCluster,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) {
    let mut shutdown = pin!(shutdown);
    let mut drive = pin!(cluster.drive());
    let stopping = watch::Sender::new(false);
    let mut connections = JoinSet::new();
    loop {
        let room = connections.len() < limits.connections;
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            () = &mut drive => {} // never ready
            Some(ended) = connections.join_next() => report(ended),
            accepted = listener.accept(), if room => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, cluster.clone(), limits, stopping.subscribe()));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    #[allow(clippy::disallowed_methods, reason = "this is a driver")]
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
    drop(listener);
    stopping.send_replace(true);
    let all_ended = async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    };
    #[allow(clippy::disallowed_methods, reason = "this is a driver")]
    if tokio::time::timeout(limits.grace, all_ended).await.is_err() {
        connections.shutdown().await;
    }
}

/// A connection's task ends with its connection. One that panicked took nobody with it, but is a bug worth a line.
fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection's task panicked");
    }
}

async fn connection(stream: TcpStream, cluster: SharedCluster, limits: Limits, stopping: watch::Receiver<bool>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot turn off Nagle's algorithm: events may come late");
    }
    let for_watches = stopping.clone();
    let service = service_fn(|request| respond(&cluster, limits, for_watches.clone(), request));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .max_buf_size(limits.head_size.max(8192));
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = stopped(stopping) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // Clients that hang up or send what is no HTTP (hyper has answered that with a 400, 414 or 431).
        tracing::debug!(%error, "a connection ended with an error");
    }
}

async fn respond(
    cluster: &SharedCluster,
    limits: Limits,
    stopping: watch::Receiver<bool>,
    request: http::Request<Incoming>,
) -> Result<http::Response<AnswerBody>, Infallible> {
    let (head, body) = request.into_parts();
    #[allow(clippy::disallowed_methods, reason = "this is a driver")]
    let read = tokio::time::timeout(limits.body_time, read_body(body)).await;
    let answer = match read {
        Ok(Ok(body)) => cluster.answer(&admin(), &head, body),
        Ok(Err(status)) => closing(cluster.http(status.response())),
        Err(_) => {
            closing(cluster.http(Status::new(408, "Timeout", "the body of the request took too long").response()))
        }
    };
    if answer.body().size_hint().exact().is_some() {
        return Ok(answer);
    }
    // A watch: it ends when the server does.
    Ok(answer.map(|body| {
        let frames = body.into_data_stream().map(|data| data.map(Frame::data));
        StreamBody::new(frames.take_until(Box::pin(stopped(stopping)))).boxed_unsync()
    }))
}

/// Ready when the server stops, or is gone, which is the same.
async fn stopped(mut stopping: watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// The rest of a body that was not read would be taken for the next request.
fn closing(mut answer: http::Response<AnswerBody>) -> http::Response<AnswerBody> {
    answer
        .headers_mut()
        .insert(http::header::CONNECTION, http::HeaderValue::from_static("close"));
    answer
}
