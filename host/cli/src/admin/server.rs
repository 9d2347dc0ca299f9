//! Connections of operators' commands.
//!
//! Each serves one request: a head of at most [`HEAD`] bytes within [`HEAD_TIME`], no body, and an answer that is read
//! within [`WHOLE_TIME`]. At most [`CONNECTIONS`] are open at once, at each door; where all are taken, the oldest whose
//! client has not shown the token yet gives way to the next, and where all have, further ones wait.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
};

use super::{
    answers::{Admin, Answer, failed},
    route::{self, MAX_WAIT},
    token::Token,
};

/// Connections at once.
const CONNECTIONS: usize = 32;

/// Bytes of a request's head.
const HEAD: usize = 16 * 1024;

/// How long a client may take for it.
const HEAD_TIME: Duration = Duration::from_secs(5);

/// How long a connection lasts at most: the longest order, and some time to read the answer.
const WHOLE_TIME: Duration = Duration::from_secs(MAX_WAIT + 30);

/// How long to wait after an accept that failed, mostly for file descriptors to become free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A door.
pub(super) enum Listener {
    /// For this user and root.
    #[cfg(unix)]
    Unix(tokio::net::UnixListener),
    /// For who has the token.
    Tcp(TcpListener, Token),
}

/// Who came in.
enum Stream {
    #[cfg(unix)]
    Unix(tokio::net::UnixStream),
    Tcp(TcpStream),
}

impl Listener {
    /// The next connection; none for one that is not let in.
    async fn accept(&self) -> io::Result<Option<Stream>> {
        match self {
            #[cfg(unix)]
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let peer = stream.peer_cred()?;
                if is_let_in(peer.uid(), rustix::process::geteuid().as_raw()) {
                    return Ok(Some(Stream::Unix(stream)));
                }
                tracing::warn!(user = peer.uid(), "another user was refused at the admin socket");
                Ok(None)
            }
            Self::Tcp(listener, _) => Ok(Some(Stream::Tcp(listener.accept().await?.0))),
        }
    }

    fn token(&self) -> Option<Token> {
        match self {
            #[cfg(unix)]
            Self::Unix(_) => None,
            Self::Tcp(_, token) => Some(token.clone()),
        }
    }
}

/// Whether that user is answered by a host of this one.
#[cfg(unix)]
fn is_let_in(peer: u32, own: u32) -> bool {
    peer == own || peer == 0
}

/// Serves until it is dropped.
pub(super) async fn serve(listener: Listener, admin: Arc<Admin>) {
    let mut connections = JoinSet::new();
    // The oldest first.
    let mut open: Vec<Open> = Vec::new();
    let token = listener.token();
    loop {
        let room = open.len() < CONNECTIONS || open.iter().any(Open::is_unknown);
        tokio::select! {
            biased;
            Some(ended) = connections.join_next() => {
                match ended {
                    Err(error) if error.is_cancelled() => tracing::debug!("a connection without the token gave way"),
                    Err(error) => tracing::error!(%error, "an operator's connection broke off"),
                    Ok(()) => {}
                }
                open.retain(|one| !one.task.is_finished());
            }
            accepted = listener.accept(), if room => match accepted {
                Ok(Some(stream)) => {
                    // None: the last one has shown the token just now. Then there is one more, and no further is taken.
                    if open.len() >= CONNECTIONS && let Some(oldest) = open.iter().position(Open::is_unknown) {
                        open.remove(oldest).task.abort();
                    }
                    let known = Arc::new(AtomicBool::new(token.is_none()));
                    let task = connections.spawn(connection(stream, token.clone(), known.clone(), admin.clone()));
                    open.push(Open { task, known });
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "can't accept an operator's connection");
                    #[expect(clippy::disallowed_methods, reason = "this is a driver")]
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// A connection that is open.
struct Open {
    task: AbortHandle,
    /// Whether its client may ask.
    known: Arc<AtomicBool>,
}

impl Open {
    fn is_unknown(&self) -> bool {
        !self.known.load(Ordering::Relaxed)
    }
}

async fn connection(stream: Stream, token: Option<Token>, known: Arc<AtomicBool>, admin: Arc<Admin>) {
    let service = service_fn(|request: Request<Incoming>| {
        let (admin, token, known) = (admin.clone(), token.as_ref(), known.clone());
        async move { Ok::<_, Infallible>(response(&request, token, &known, &admin).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .keep_alive(false)
        .max_buf_size(HEAD);
    let served = http.serve_connection(TokioIo::new(stream), service);
    #[expect(clippy::disallowed_methods, reason = "this is a driver")]
    let served = tokio::time::timeout(WHOLE_TIME, served).await;
    match served {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an operator's connection ended with an error"),
        Err(_) => tracing::debug!("an operator's connection was cut: it lasted too long"),
    }
}

async fn response(
    request: &Request<Incoming>,
    token: Option<&Token>,
    known: &AtomicBool,
    admin: &Admin,
) -> Response<Full<Bytes>> {
    let (status, body) = answer(request, token, known, admin).await;
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

async fn answer<B>(request: &Request<B>, token: Option<&Token>, known: &AtomicBool, admin: &Admin) -> Answer {
    // Before anything of the request is looked at.
    if let Some(token) = token
        && !bearer(request).is_some_and(|sent| token.is(sent))
    {
        let message = "this needs the host's token: `Authorization: Bearer TOKEN` (--admin-token-file)";
        return failed(StatusCode::UNAUTHORIZED, message);
    }
    known.store(true, Ordering::Relaxed);
    match route::asked(request.method(), request.uri().path(), request.uri().query()) {
        Ok(asked) => admin.answer(&asked).await,
        Err((status, message)) => failed(status, &message),
    }
}

fn bearer<B>(request: &Request<B>) -> Option<&[u8]> {
    let mut sent = request.headers().get_all(header::AUTHORIZATION).iter();
    let value = sent.next()?.as_bytes();
    // Two of them: who knows which is meant.
    if sent.next().is_some() {
        return None;
    }
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
}

macro_rules! either {
    ($self:ident, $stream:ident => $act:expr) => {
        match $self.get_mut() {
            #[cfg(unix)]
            Self::Unix($stream) => $act,
            Self::Tcp($stream) => $act,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_read(cx, into))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

#[cfg(all(test, unix))]
mod tests;
