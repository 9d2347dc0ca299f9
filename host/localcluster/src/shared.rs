//! A cluster that several clients share: the one place where the faces (`http`, `service`) agree.
//!
//! [`SharedCluster`] puts a lock around a [`Cluster`], reads the clock it was given, and wakes open watches when
//! something may have changed. It starts no task and reads no clock of its own: someone must run
//! [`SharedCluster::drive`] (the HTTP face does), or call [`SharedCluster::advance`], or collection, watch time-outs
//! and bookmarks do not happen. Time never goes backwards for the cluster, whatever the clock says.

use std::convert::Infallible;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt as _, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited, StreamBody};
use hyper::body::Frame;
use tokio::sync::{Notify, watch};

use crate::MAX_BODY;
use crate::cluster::Cluster;
use crate::status::Status;
use crate::wire::{Body, Polled, Request, Response, User, WatchId};

/// The body of an HTTP answer: whole, or the lines of a watch as they come. It never fails; dropping it closes the
/// watch.
pub type AnswerBody = UnsyncBoxBody<Bytes, Infallible>;

/// The least time between two runs of [`SharedCluster::drive`], so that a due time in the past can't keep a core busy.
const LEAST_WAIT: Duration = Duration::from_millis(1);

/// A handle on a cluster; clones share it.
#[derive(Clone)]
pub struct SharedCluster {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    /// Counts what may have changed; open watches wait on it.
    changes: watch::Sender<u64>,
    /// Says to `drive` that something may have become due earlier than it knows.
    rescheduled: Notify,
    clock: Box<dyn Fn() -> Duration + Send + Sync>,
}

struct State {
    cluster: Cluster,
    /// The latest time the cluster was told.
    now: Duration,
}

/// The user that both faces act for: the local cluster has no authentication.
#[must_use]
pub fn admin() -> User {
    User {
        name: "system:admin".to_owned(),
        groups: vec!["system:masters".to_owned(), "system:authenticated".to_owned()],
    }
}

impl SharedCluster {
    /// Shares `cluster`. `clock` tells the time since the Unix epoch: the wall clock for people, a virtual one in
    /// simulations. Where it steps back, the cluster's time stands still.
    pub fn new(cluster: Cluster, clock: impl Fn() -> Duration + Send + Sync + 'static) -> SharedCluster {
        SharedCluster {
            inner: Arc::new(Inner {
                state: Mutex::new(State {
                    cluster,
                    now: Duration::ZERO,
                }),
                changes: watch::Sender::new(0),
                rescheduled: Notify::new(),
                clock: Box::new(clock),
            }),
        }
    }

    /// The lock, with the time brought up to date. What panics in the cluster hurts its own request alone.
    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.inner.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.now = state.now.max((self.inner.clock)());
        state
    }

    fn changed(&self) {
        self.inner.changes.send_modify(|count| *count = count.wrapping_add(1));
        self.inner.rescheduled.notify_one();
    }

    /// Answers one request. A body that is a watch is to be read through [`SharedCluster::lines`].
    pub fn handle(&self, user: &User, request: Request) -> Response {
        let reads = request.method == Method::GET || request.method == Method::HEAD;
        let response = {
            let mut state = self.lock();
            let now = state.now;
            state.cluster.handle(now, user, request)
        };
        // A new watch changes nothing, but its time-out may be the next thing that is due.
        if !reads || matches!(response.body, Body::Watch(_)) {
            self.changed();
        }
        response
    }

    /// Runs `act` on the cluster itself at the present time, with nobody in between, and wakes watches afterwards.
    /// Keep it short: every client waits.
    pub fn with<T>(&self, act: impl FnOnce(&mut Cluster, Duration) -> T) -> T {
        let result = {
            let mut state = self.lock();
            let now = state.now;
            act(&mut state.cluster, now)
        };
        self.changed();
        result
    }

    /// Lets the cluster do what is due (garbage collection, watch time-outs, bookmarks) and wakes open watches.
    /// Returns how long to wait until something is due again if nobody asks for anything; `None`: nothing is.
    pub fn advance(&self) -> Option<Duration> {
        let wait = {
            let mut state = self.lock();
            let now = state.now;
            state.cluster.advance(now);
            state.cluster.next_due().map(|due| due.saturating_sub(now))
        };
        // Not `changed()`: that would wake `drive`, which calls this.
        self.inner.changes.send_modify(|count| *count = count.wrapping_add(1));
        wait
    }

    /// Advances the cluster whenever something is due, for ever: run it beside the clients, and drop it to end.
    /// It waits on tokio's timer, so the clock must run as fast as that one. More than one at a time does no harm.
    pub async fn drive(&self) {
        loop {
            match self.advance() {
                None => self.inner.rescheduled.notified().await,
                Some(wait) => {
                    #[allow(clippy::disallowed_methods, reason = "this is the driver that waits for due times")]
                    let sleep = tokio::time::sleep(wait.max(LEAST_WAIT));
                    tokio::select! {
                        biased;
                        () = sleep => {}
                        () = self.inner.rescheduled.notified() => {}
                    }
                }
            }
        }
    }

    /// The lines of an open watch as they come, one JSON event each, newline included. The stream ends with the watch;
    /// dropping it closes the watch.
    pub fn lines(&self, id: WatchId) -> impl Stream<Item = Bytes> + Send + use<> {
        let watching = Watching {
            cluster: self.clone(),
            id,
            changes: self.inner.changes.subscribe(),
            ended: false,
        };
        stream::unfold(watching, |mut watching| async move {
            Some((watching.next().await?, watching))
        })
        .flat_map(stream::iter)
    }

    /// One HTTP request, its body already read, to the HTTP answer: what both faces do with a request.
    pub(crate) fn answer(&self, user: &User, head: &http::request::Parts, body: Bytes) -> http::Response<AnswerBody> {
        let response = match request(head, body) {
            Ok(request) => self.handle(user, request),
            Err(status) => status.response(),
        };
        self.http(response)
    }

    /// The HTTP form of an answer.
    pub(crate) fn http(&self, response: Response) -> http::Response<AnswerBody> {
        let body = match response.body {
            Body::Whole(bytes) => Full::new(bytes).boxed_unsync(),
            Body::Watch(id) => StreamBody::new(self.lines(id).map(|line| Ok(Frame::data(line)))).boxed_unsync(),
        };
        let mut answer = http::Response::new(body);
        *answer.status_mut() = StatusCode::from_u16(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        answer
            .headers_mut()
            .insert(header::CONTENT_TYPE, header_value(&response.content_type));
        for (name, value) in &response.headers {
            match HeaderName::try_from(name) {
                Ok(name) => {
                    answer.headers_mut().append(name, header_value(value));
                }
                Err(error) => tracing::warn!(header = name, %error, "an answer's header has an impossible name"),
            }
        }
        answer
    }
}

/// An open watch; dropping it closes it.
struct Watching {
    cluster: SharedCluster,
    id: WatchId,
    changes: watch::Receiver<u64>,
    ended: bool,
}

impl Watching {
    /// What the watch has to say next, as soon as it has something; `None` when it is over.
    async fn next(&mut self) -> Option<Vec<Bytes>> {
        while !self.ended {
            // Before the poll: what changes from here on is seen by `changed` below.
            self.changes.mark_unchanged();
            let polled = {
                let mut state = self.cluster.lock();
                let now = state.now;
                state.cluster.poll(now, self.id)
            };
            match polled {
                Polled::Lines(lines) if lines.is_empty() => {
                    // The sender lives as long as `self.cluster`: this can't fail, and ending is right if it did.
                    if self.changes.changed().await.is_err() {
                        return None;
                    }
                }
                Polled::Lines(lines) => return Some(lines),
                Polled::Ended => self.ended = true,
            }
        }
        None
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        if !self.ended {
            self.cluster.lock().cluster.close(self.id);
        }
    }
}

/// Reads a request's body, at most [`MAX_BODY`] bytes of it.
pub(crate) async fn read_body<B>(body: B) -> Result<Bytes, Status>
where
    B: hyper::body::Body<Data: Buf, Error: Into<Box<dyn Error + Send + Sync>>>,
{
    let too_large = || {
        Status::new(
            413,
            "RequestEntityTooLarge",
            format!("Request entity too large: limit is {MAX_BODY}"),
        )
    };
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Err(too_large()); // it says so itself: no need to read it
    }
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(error) => Err(Status::bad_request(format!(
            "the body of the request could not be read: {error}"
        ))),
    }
}

/// The request as the cluster takes it.
fn request(head: &http::request::Parts, body: Bytes) -> Result<Request, Status> {
    let encoding = text(&head.headers, &header::CONTENT_ENCODING)?;
    if !encoding.is_empty() && !encoding.eq_ignore_ascii_case("identity") {
        return Err(Status::new(
            415,
            "UnsupportedMediaType",
            format!("the body is encoded as {encoding:?}; send it without Content-Encoding"),
        ));
    }
    let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
    for (what, text) in [("path", path), ("query", query)] {
        if !well_encoded(text) {
            let message = format!("the {what} of the request is no percent-encoded UTF-8: {text:?}");
            return Err(Status::bad_request(message));
        }
    }
    Ok(Request {
        method: head.method.clone(),
        path: path.to_owned(),
        query: query.to_owned(),
        accept: text(&head.headers, &header::ACCEPT)?,
        content_type: text(&head.headers, &header::CONTENT_TYPE)?,
        body,
    })
}

/// Whether every `%` begins a byte in hexadecimal, and the bytes are UTF-8.
fn well_encoded(text: &str) -> bool {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        match (digit(), digit()) {
            (Some(high), Some(low)) => bytes.push((high << 4 | low) as u8),
            _ => return false,
        }
    }
    std::str::from_utf8(&bytes).is_ok()
}

/// A header's values, joined; empty where there is none.
fn text(headers: &HeaderMap, name: &HeaderName) -> Result<String, Status> {
    let values: Result<Vec<&str>, _> = headers.get_all(name).iter().map(HeaderValue::to_str).collect();
    match values {
        Ok(values) => Ok(values.join(",")),
        Err(_) => Err(Status::bad_request(format!(
            "the header {name} holds characters that are not visible ASCII"
        ))),
    }
}

/// A header's value, with what can't stand in one replaced: texts may come from authors of CRDs.
fn header_value(text: &str) -> HeaderValue {
    let visible: String = text
        .chars()
        .map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' })
        .collect();
    HeaderValue::try_from(visible).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_authors_cannot_break_out_of_a_header() {
        let cluster = SharedCluster::new(Cluster::new(1), || Duration::ZERO);
        let mut response = Response::bytes(200, "text/plain", "x");
        response
            .headers
            .push(("Warning".to_owned(), "299 - \"old\r\nSet-Cookie: ü\"".to_owned()));
        response.headers.push(("bad name".to_owned(), "x".to_owned()));
        let answer = cluster.http(response);
        assert_eq!(answer.headers()["warning"], "299 - \"old??Set-Cookie: ?\"");
        assert_eq!(answer.headers().len(), 2, "the other one is the content type");
    }

    #[test]
    fn only_percent_encoded_utf8_is_well_encoded() {
        for text in ["", "a=b", "%41", "%c3%bc", "%C3%BC", "+"] {
            assert!(well_encoded(text), "{text}");
        }
        for text in ["%", "%4", "%zz", "%+1", "%ff", "a%c3b"] {
            assert!(!well_encoded(text), "{text}");
        }
    }
}
