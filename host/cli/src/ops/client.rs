//! Asks a running host.
//!
//! Promises: what listens at the socket is asked only if it is this user's or root's; an answer is bounded in size and
//! time; every error says what can be done.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use pilothouse_object::{escape_control, shorten};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinSet,
};

use super::args::Asking;
use crate::{
    admin::{api::Failed, token},
    exit::Stop,
};

/// Bytes of an answer.
const MOST: usize = 64 * 1024 * 1024;

/// How long an answer may take, beside what is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks one host.
pub(crate) struct Client<'a> {
    asking: &'a Asking,
    token: Option<String>,
}

/// A path with its query, each part as it must stand there.
pub(crate) struct Path(String);

impl Path {
    pub(crate) fn new(parts: &[&str]) -> Self {
        let parts = parts
            .iter()
            .map(|part| utf8_percent_encode(part, NON_ALPHANUMERIC).to_string());
        Self(format!("/v1/{}", parts.collect::<Vec<_>>().join("/")))
    }

    pub(crate) fn with(mut self, name: &str, value: Option<&str>) -> Self {
        if let Some(value) = value {
            self.0.push(if self.0.contains('?') { '&' } else { '?' });
            self.0.push_str(name);
            self.0.push('=');
            self.0.extend(utf8_percent_encode(value, NON_ALPHANUMERIC));
        }
        self
    }
}

/// An answer as it came, and as this version reads it.
pub(crate) struct Answered<T> {
    pub(crate) value: Value,
    pub(crate) body: T,
    /// The order was accepted, and what it led to goes on.
    pub(crate) accepted: bool,
}

impl<'a> Client<'a> {
    /// # Errors
    /// The token can't be read.
    pub(crate) fn new(asking: &'a Asking) -> Result<Self, Stop> {
        let token = asking.admin_token_file.as_deref().map(token::text).transpose();
        Ok(Self {
            asking,
            token: token.map_err(Stop::usage)?,
        })
    }

    /// # Errors
    /// No host is there, it refuses, or its answer can't be read.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: Path) -> Result<Answered<T>, Stop> {
        self.ask(Method::GET, path, Duration::ZERO).await
    }

    /// # Errors
    /// As for [`Client::get`].
    pub(crate) async fn post<T: DeserializeOwned>(&self, path: Path, wait: Duration) -> Result<Answered<T>, Stop> {
        self.ask(Method::POST, path, wait).await
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, path: Path, wait: Duration) -> Result<Answered<T>, Stop> {
        let exchange = self.exchange(method, path);
        #[expect(clippy::disallowed_methods, reason = "a driver: a command does not wait for ever")]
        let answer = tokio::time::timeout(wait + PATIENCE, exchange).await;
        let (status, body) = answer.map_err(|_| {
            let seconds = (wait + PATIENCE).as_secs();
            Stop::failed(format!(
                "the host at {} did not answer within {seconds} s",
                self.place()
            ))
        })??;
        if !status.is_success() {
            return Err(self.refused(status, &body));
        }
        let unread = |error: serde_json::Error| {
            let place = self.place();
            Stop::failed(format!(
                "{place}: the answer is none of this version's: {error}; is it a pilothouse?"
            ))
        };
        let value: Value = serde_json::from_slice(&body).map_err(unread)?;
        Ok(Answered {
            body: T::deserialize(&value).map_err(unread)?,
            value,
            accepted: status == StatusCode::ACCEPTED,
        })
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> Stop {
        let message = match serde_json::from_slice::<Failed>(body) {
            Ok(Failed { error }) if !error.is_empty() => escape_control(&shorten(&error, 4_000)).into_owned(),
            _ => format!("{}: it answered {status}; is it a pilothouse?", self.place()),
        };
        match status {
            StatusCode::UNAUTHORIZED => Stop::failed(format!(
                "{}: the host has another token than --admin-token-file",
                self.place()
            )),
            StatusCode::BAD_REQUEST => Stop::usage(message),
            _ => Stop::failed(message),
        }
    }

    async fn exchange(&self, method: Method, path: Path) -> Result<(StatusCode, Bytes), Stop> {
        let mut request = Request::builder()
            .method(method)
            .uri(path.0)
            .header(header::HOST, "pilothouse");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Empty::<Bytes>::new());
        let request = request.map_err(|error| Stop::usage(format!("that can't be asked: {error}")))?;
        match self.asking.admin_address {
            Some(address) => {
                let stream = tokio::net::TcpStream::connect(address).await;
                self.over(stream.map_err(|error| self.nobody(&error))?, request).await
            }
            None => self.over_socket(request).await,
        }
    }

    #[cfg(unix)]
    async fn over_socket(&self, request: Request<Empty<Bytes>>) -> Result<(StatusCode, Bytes), Stop> {
        let stream = tokio::net::UnixStream::connect(self.socket()).await;
        let stream = stream.map_err(|error| self.nobody(&error))?;
        let own = rustix::process::geteuid().as_raw();
        let peer = stream.peer_cred().map_err(|error| self.nobody(&error))?.uid();
        // Root may ask anybody's host; who else could lie there?
        if peer != own && peer != 0 && own != 0 {
            return Err(Stop::failed(format!(
                "{}: it is the user {peer} who listens there: not asked",
                self.place()
            )));
        }
        self.over(stream, request).await
    }

    #[cfg(not(unix))]
    async fn over_socket(&self, _: Request<Empty<Bytes>>) -> Result<(StatusCode, Bytes), Stop> {
        Err(Stop::usage(
            "there are no Unix sockets here: ask with --admin-address and --admin-token-file",
        ))
    }

    async fn over<S>(&self, stream: S, request: Request<Empty<Bytes>>) -> Result<(StatusCode, Bytes), Stop>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let broke = |error: &dyn std::error::Error| {
            let why = escape_control(&error.to_string()).into_owned();
            Stop::failed(format!(
                "{}: the connection broke off ({why}): has the host stopped? Its log says so",
                self.place()
            ))
        };
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| broke(&error))?;
        // Ends with this.
        let mut driving = JoinSet::new();
        driving.spawn(async move { _ = connection.await });
        let response = sender.send_request(request).await.map_err(|error| broke(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MOST).collect().await;
        Ok((status, body.map_err(|error| broke(&*error))?.to_bytes()))
    }

    #[cfg(unix)]
    fn socket(&self) -> std::path::PathBuf {
        self.asking
            .admin_socket
            .clone()
            .unwrap_or_else(crate::admin::socket::default_path)
    }

    fn place(&self) -> String {
        match self.asking.admin_address {
            Some(address) => address.to_string(),
            #[cfg(unix)]
            None => escape_control(&self.socket().display().to_string()).into_owned(),
            #[cfg(not(unix))]
            None => "the admin socket".to_owned(),
        }
    }

    /// No host answers there.
    fn nobody(&self, error: &std::io::Error) -> Stop {
        let place = self.place();
        let mend = match self.asking.admin_address {
            Some(address) => {
                format!("start one with `pilothouse run --admin-address {address} --admin-token-file FILE …`")
            }
            None => "start one with `pilothouse run --plugins DIR`, or name its socket with --admin-socket".to_owned(),
        };
        let why = match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => {
                format!("no host is running at {place}")
            }
            std::io::ErrorKind::PermissionDenied => {
                let why = format!("{place}: it is another user's: run this as the user of the host, or as root");
                return Stop::failed(why);
            }
            _ => format!("no host can be reached at {place} ({error})"),
        };
        Stop::failed(format!("{why}: {mend}"))
    }
}
