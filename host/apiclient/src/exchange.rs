//! Sends requests over as few connections as will do.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use http::{
    HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH},
};
use http_body::{Frame, SizeHint};
use http_body_util::Either;
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::{
    client::legacy::Client as Http1,
    rt::{TokioExecutor, TokioTimer},
};
use kube::client::Body;
use tower::{BoxError, Service};

use crate::{
    Settings,
    connect::{Connector, Unsent, is_h2},
    gunzip::Gunzip,
    identity::Identity,
    lanes::{Id, Lanes},
    meter::Meter,
};

/// A request that was given up after this long, while nothing at all came over its connection, makes that connection
/// doubtful: what comes next takes another one.
const DOUBT: Duration = Duration::from_secs(3);

/// A connection may be closed just when a request goes out. So often another one is taken.
const TRIES: usize = 3;

/// Connections of HTTP/1.1 that are kept while nothing is sent over them.
const IDLE: usize = 16;

/// One API server. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Exchange(Arc<Inner>);

struct Inner {
    server: Uri,
    settings: Settings,
    identity: Option<Identity>,
    meter: Meter,
    /// None: HTTP/2 is not wanted, or can't be had without TLS.
    offers: Option<Connector>,
    plain: Connector,
    /// With the number of the credentials it was made with.
    http1: Mutex<(u64, Http1<Connector, Body>)>,
    /// The server was offered HTTP/2 and chose HTTP/1.1.
    declined: AtomicBool,
    lanes: Mutex<Lanes<Arc<Line>>>,
    origin: Instant,
}

/// What belongs to a lane.
struct Line {
    /// None: the server speaks HTTP/1.1 alone.
    opened: Shared<BoxFuture<'static, Result<Option<http2::SendRequest<Body>>, Unsent>>>,
    /// When something came over it last, in milliseconds since the origin.
    heard: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn legacy(connector: &Connector) -> Http1<Connector, Body> {
    Http1::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_max_idle_per_host(IDLE)
        .build(connector.clone())
}

impl Exchange {
    pub(crate) fn new(
        server: Uri,
        settings: Settings,
        identity: Option<Identity>,
        (offers, plain): (Connector, Connector),
        meter: Meter,
    ) -> Self {
        let secure = server.scheme() == Some(&http::uri::Scheme::HTTPS);
        #[expect(clippy::disallowed_methods, reason = "this is a driver: its clock")]
        let origin = Instant::now();
        Self(Arc::new(Inner {
            server,
            settings,
            identity,
            meter,
            offers: (secure && settings.http2).then_some(offers),
            http1: Mutex::new((0, legacy(&plain))),
            plain,
            declined: AtomicBool::new(false),
            lanes: Mutex::default(),
            origin,
        }))
    }

    fn now(&self) -> Duration {
        self.0.origin.elapsed()
    }

    /// One request from its begin to the begin of its answer.
    async fn exchange(&self, mut request: Request<Body>) -> Result<Response<Answer>, BoxError> {
        let generation = self.0.identity.as_ref().map_or(0, |files| files.look(self.now()));
        let mut tries = TRIES;
        while let Some(connector) = self.lane_connector() {
            let place = self.take(generation, connector);
            let mut sender = match place.line.opened.clone().await {
                Ok(Some(sender)) => sender,
                Ok(None) => {
                    self.0.declined.store(true, Ordering::Relaxed);
                    lock(&self.0.lanes).close(place.id);
                    break;
                }
                Err(unsent) => {
                    lock(&self.0.lanes).close(place.id);
                    return Err(unsent.into());
                }
            };
            match sender.try_send_request(request).await {
                Ok(answer) => return Ok(self.heard(generation, answer, Some(place))),
                Err(mut failed) => {
                    let unsent = failed.take_message();
                    let closed = sender.is_closed();
                    if closed || unsent.is_some() {
                        lock(&self.0.lanes).close(place.id);
                    }
                    match unsent {
                        Some(unsent) if tries > 1 => request = unsent,
                        Some(_) => return Err(Unsent::Closed.into()),
                        None => return Err(failed.into_error().into()),
                    }
                    tries -= 1;
                }
            }
        }
        let answer = self.http1(generation).request(request).await?;
        Ok(self.heard(generation, answer, None))
    }

    fn lane_connector(&self) -> Option<&Connector> {
        let offers = self.0.offers.as_ref()?;
        (!self.0.declined.load(Ordering::Relaxed)).then_some(offers)
    }

    fn http1(&self, generation: u64) -> Http1<Connector, Body> {
        let mut held = lock(&self.0.http1);
        if generation > held.0 {
            // Idle connections of the old one are closed; those in use end with their requests.
            *held = (generation, legacy(&self.0.plain));
        }
        held.1.clone()
    }

    fn take(&self, generation: u64, connector: &Connector) -> Place {
        let sent = self.now();
        let open = |id| {
            let opening = open(Arc::downgrade(&self.0), id, connector.clone());
            Arc::new(Line {
                opened: opening.boxed().shared(),
                heard: AtomicU64::new(0),
            })
        };
        let (id, line) = lock(&self.0.lanes).take(generation, open);
        Place {
            exchange: self.clone(),
            id,
            line,
            sent,
            answered: false,
        }
    }

    fn heard(&self, generation: u64, answer: Response<Incoming>, mut place: Option<Place>) -> Response<Answer> {
        if let Some(place) = &mut place {
            place.answered = true;
            place.heard();
        }
        if let (StatusCode::UNAUTHORIZED, Some(files)) = (answer.status(), &self.0.identity) {
            files.refused(generation);
        }
        answer.map(|body| Answer { body, place })
    }
}

/// Opens a lane. Its driver ends with the connection.
async fn open(
    exchange: Weak<Inner>,
    id: Id,
    mut connector: Connector,
) -> Result<Option<http2::SendRequest<Body>>, Unsent> {
    let failed = |error: hyper::Error| Unsent::Failed(Arc::new(error));
    let Some((server, settings)) = exchange.upgrade().map(|inner| (inner.server.clone(), inner.settings)) else {
        return Err(Unsent::Closed);
    };
    poll_fn(|cx| connector.poll_ready(cx)).await?;
    let stream = connector.call(server).await?;
    if !is_h2(&stream) {
        return Ok(None);
    }
    let (sender, mut connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(settings.stream_window)
        .initial_connection_window_size(settings.connection_window)
        .keep_alive_interval(settings.ping)
        .keep_alive_timeout(settings.ping_answer)
        .keep_alive_while_idle(true)
        .handshake(stream)
        .await
        .map_err(failed)?;
    let driver = async move {
        let mut told = 0;
        let ended = poll_fn(|cx| {
            let polled = Pin::new(&mut connection).poll(cx);
            let room = connection.current_max_send_streams();
            if room != told
                && let Some(inner) = exchange.upgrade()
            {
                told = room;
                lock(&inner.lanes).room(id, room);
            }
            polled
        })
        .await;
        if let Some(inner) = exchange.upgrade() {
            lock(&inner.lanes).close(id);
        }
        if let Err(error) = ended {
            // Whoever had a request there hears of it.
            tracing::debug!(%error, "a connection to the API server broke");
        }
    };
    #[expect(clippy::disallowed_methods, reason = "this is a driver: a task for each connection")]
    tokio::spawn(driver);
    Ok(Some(sender))
}

/// A request's place on its lane, until its answer has been read or was given up.
struct Place {
    exchange: Exchange,
    id: Id,
    line: Arc<Line>,
    sent: Duration,
    answered: bool,
}

impl Place {
    fn heard(&self) {
        let now = u64::try_from(self.exchange.now().as_millis()).unwrap_or(u64::MAX);
        self.line.heard.store(now, Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let waited = self.exchange.now().saturating_sub(self.sent);
        let heard = Duration::from_millis(self.line.heard.load(Ordering::Relaxed));
        let mut lanes = lock(&self.exchange.0.lanes);
        lanes.done(self.id);
        if !self.answered && waited >= DOUBT && heard < self.sent && lanes.close(self.id) {
            tracing::debug!("nothing comes over a connection to the API server; another one is opened");
        }
    }
}

/// The body of an answer.
pub(crate) struct Answer {
    body: Incoming,
    place: Option<Place>,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(_))) => {
                if let Some(place) = &self.place {
                    place.heard();
                }
            }
            Poll::Ready(_) => self.place = None,
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A body as its reader gets it: plain.
pub(crate) type Plain = Either<Answer, Gunzip<Answer>>;

fn plain(answer: Response<Answer>) -> Response<Plain> {
    let (mut head, body) = answer.into_parts();
    let packed = head
        .headers
        .get(CONTENT_ENCODING)
        .is_some_and(|coding| coding == "gzip");
    if !packed {
        return Response::from_parts(head, Either::Left(body));
    }
    head.headers.remove(CONTENT_ENCODING);
    head.headers.remove(CONTENT_LENGTH);
    Response::from_parts(head, Either::Right(Gunzip::new(body)))
}

/// Events are small, and must not wait for each other in a compressor.
fn is_watch(uri: &Uri) -> bool {
    let query = uri.query().unwrap_or_default();
    query.split('&').any(|part| part == "watch=true" || part == "watch=1")
}

impl Service<Request<Body>> for Exchange {
    type Response = Response<Plain>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Plain>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let this = self.clone();
        if self.0.settings.compression && request.method() == Method::GET && !is_watch(request.uri()) {
            request
                .headers_mut()
                .insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        }
        Box::pin(async move {
            let (method, sent) = (request.method().clone(), this.now());
            let answer = this.exchange(request).await;
            let took = this.now().saturating_sub(sent);
            let status = answer.as_ref().ok().map(Response::status);
            this.0.meter.answered(&method, status, took);
            answer.map(plain)
        })
    }
}
