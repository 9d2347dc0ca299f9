//! Single requests to the API server: live reads and writes.
//!
//! Promises: every request is bounded in time and in the size of its answer; at most [`ApiConfig::in_flight`] are under
//! way at once, of one plugin no more than three quarters of that; no more get their turn a second than the host and
//! the plugin may (`turns`), in the order in which they were asked for, its writes no more than it may write (whose
//! turn came while the server was slow goes once there is room: as many at once as may be under way); no more bytes of
//! it are under way than it may have; a `Retry-After` holds back whom it was said to; every failure becomes an
//! [`ApiError`] that says whether a write may have happened all the same. It retries nothing: whoever asked decides.
//!
//! Lists and watches of the informers, discovery and probes are not counted here: they are few, they have pauses of
//! their own that grow, and a host that may not watch for want of turns would work on stale caches.

use std::{sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use kube::client::Body;
use pilothouse_apiclient::{Meter, Pace};
use pilothouse_informer::Reach;
use pilothouse_runtime::{ApiError, reason};
use tokio::time::Instant;

pub(crate) use self::turns::Share;
use self::turns::Turns;

use crate::{
    api::refusal::{no_answer, refused, retry_after, sheds, unauthorized, unavailable},
    calls::in_flight::{Full, Held, InFlight},
    lock::lock,
    scheduling::concurrency::ApiLoad,
};

/// The header that says as whom a request is meant.
const IMPERSONATE: HeaderName = HeaderName::from_static("impersonate-user");

/// Bounds of requests.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// Requests under way at once; more wait. One plugin has at most three quarters of them, so that one whose requests
    /// take long (a slow webhook, say) leaves room for others. Over HTTP/1.1 2,000 at once cost seven times the CPU of
    /// 16, and are slower (measured; see `pilothouse_apiclient`). Default 16.
    pub in_flight: usize,
    /// Requests a second of the whole host, 0 for no bound, and how many may go at once after a pause. Default 500 and
    /// 2,000: kube-apiserver with two cores takes some 800 writes a second (measured), and others want their share.
    pub per_second: u32,
    /// See [`ApiConfig::per_second`].
    pub burst: u32,
    /// How long one request may take from being sent to the begin of its answer. Default 30 s: a webhook's may take as
    /// long.
    pub answer: Duration,
    /// And to its end; no longer is a turn waited for either. Default 45 s.
    pub timeout: Duration,
    /// The longest answer in bytes. Default 16 MiB; a guest takes no more than 4 MiB in one piece anyway.
    pub max_answer: usize,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            in_flight: 16,
            per_second: 500,
            burst: 2_000,
            answer: Duration::from_secs(30),
            timeout: Duration::from_secs(45),
            max_answer: 16 << 20,
        }
    }
}

/// A thin client for single requests.
#[derive(Clone)]
pub(crate) struct Api {
    client: kube::Client,
    host: Arc<Host>,
    sender: Arc<Sender>,
    /// As whom, if not as the host itself.
    user: Option<HeaderValue>,
}

/// What all senders have in common.
struct Host {
    config: ApiConfig,
    turns: Turns,
    reach: Reach,
    meter: Meter,
    origin: Instant,
}

/// Who sends: a plugin, or the host for itself.
struct Sender {
    /// The plugin's name.
    plugin: Option<Box<str>>,
    turns: Turns,
    writes: std::sync::Mutex<Pace>,
    in_flight: InFlight,
    load: std::sync::Mutex<ApiLoad>,
}

impl Api {
    /// `reach` hears of requests that got no answer.
    #[allow(clippy::disallowed_methods, reason = "the driver of single requests: its clock")]
    pub(crate) fn new(client: kube::Client, config: ApiConfig, meter: Meter, reach: Reach) -> Self {
        let pace = Pace::new(config.per_second, config.burst);
        let own = Sender {
            plugin: None,
            turns: Turns::new(config.in_flight, Pace::new(0, 1)),
            writes: Pace::new(0, 1).into(),
            in_flight: InFlight::new(u64::MAX),
            load: Default::default(),
        };
        let host = Host {
            turns: Turns::new(config.in_flight, pace),
            config,
            reach,
            meter,
            origin: Instant::now(),
        };
        Self {
            client,
            host: host.into(),
            sender: own.into(),
            user: None,
        }
    }

    /// The same for one plugin, which has no more than its share.
    pub(crate) fn share(&self, plugin: &str, share: Share) -> Self {
        let sender = Sender {
            plugin: Some(plugin.into()),
            turns: Turns::new(self.host.config.in_flight * 3 / 4, share.requests),
            writes: share.writes.into(),
            in_flight: InFlight::new(share.in_flight),
            load: Default::default(),
        };
        Self {
            sender: sender.into(),
            ..self.clone()
        }
    }

    /// What this sender's requests have shown since the last time.
    pub(crate) fn take_load(&self) -> ApiLoad {
        std::mem::take(&mut lock(&self.sender.load))
    }

    /// The same, as that user, or as the host itself. Of groups it names none: the API server gives a user and a
    /// service account those that they have, and the host needs no right to be any group.
    pub(crate) fn acting_as(&self, user: Option<HeaderValue>) -> Self {
        Self { user, ..self.clone() }
    }

    /// As whom it sends, if not as the host itself.
    pub(crate) fn user(&self) -> Option<HeaderValue> {
        self.user.clone()
    }

    /// Ends when no request is under way any more; bounded by their time-outs.
    pub(crate) async fn quiet(&self) {
        let all = u32::try_from(self.host.config.in_flight.max(1)).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        let _all = self.host.turns.permits.acquire_many(all).await;
    }

    /// There is no room for the bytes of a request, or of its answer.
    fn full(&self, Full { most }: Full, maybe_applied: bool) -> ApiError {
        let message = format!(
            "the requests and answers of this plugin that are under way hold {} MiB, which is all it may have: send and \
             read less at once, or raise budget.inFlightMiB ({0} now) in the operator's configuration",
            most >> 20
        );
        ApiError {
            maybe_applied,
            ..ApiError::of_host(reason::LIMIT, message)
        }
    }

    /// Sends one request and reads its whole answer.
    pub(crate) async fn send(
        &self,
        method: Method,
        uri: String,
        content_type: Option<&'static str>,
        body: Vec<u8>,
    ) -> Result<Vec<u8>, ApiError> {
        self.send_within(Duration::MAX, method, uri, content_type, body).await
    }

    /// The same for a sender that does not wait longer than `most` for its turn: it hears of its own bound then, and
    /// not of the one that would have ended it meanwhile.
    pub(crate) async fn send_within(
        &self,
        most: Duration,
        method: Method,
        uri: String,
        content_type: Option<&'static str>,
        body: Vec<u8>,
    ) -> Result<Vec<u8>, ApiError> {
        let config = &self.host.config;
        let is_write = method != Method::GET;
        let mut held = self.sender.in_flight.hold();
        held.grow(body.len()).map_err(|full| self.full(full, false))?;
        let mut request = Request::builder()
            .method(method.clone())
            .uri(uri)
            .header(header::ACCEPT, "application/json");
        if let Some(user) = &self.user {
            request = request.header(IMPERSONATE, user);
        }
        if let Some(content_type) = content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        let request = request
            .body(Body::from(body))
            .map_err(|error| ApiError::of_host(reason::DENIED, format!("the request can't be made: {error}")))?;
        let waited = self.own_turn(&method, most.min(config.timeout)).await?;
        #[allow(
            clippy::disallowed_methods,
            reason = "the driver of single requests: each is bounded in time"
        )]
        let room = tokio::time::timeout(config.timeout, self.room(&method, waited)).await;
        let Ok(room) = room else {
            let message = format!(
                "this request got no turn within {:?}: the API server is too slow for the requests before it ({} at once)",
                config.timeout, config.in_flight
            );
            return Err(unavailable(message, false));
        };
        let _permits = room?;
        let sent = self.host.origin.elapsed();
        #[allow(
            clippy::disallowed_methods,
            reason = "the driver of single requests: each is bounded in time"
        )]
        let answer = tokio::time::timeout(config.timeout, self.exchange(request, is_write, &mut held)).await;
        let answer = answer.unwrap_or_else(|_| {
            let message = format!("the API server's answer did not end within {:?}", config.timeout);
            Err(unavailable(message, is_write))
        });
        let took = self.host.origin.elapsed().saturating_sub(sent);
        lock(&self.sender.load).add(took, answer.as_ref().is_err_and(sheds));
        if answer.as_ref().is_err_and(|error| error.reason == reason::UNAVAILABLE) {
            self.host.reach.suspect();
        }
        answer
    }

    async fn exchange(&self, request: Request<Body>, is_write: bool, held: &mut Held) -> Result<Vec<u8>, ApiError> {
        let config = &self.host.config;
        #[allow(
            clippy::disallowed_methods,
            reason = "the driver of single requests: each is bounded in time"
        )]
        let response = tokio::time::timeout(config.answer, self.client.send(request))
            .await
            .map_err(|_| {
                let message = format!("the API server did not answer within {:?}", config.answer);
                unavailable(message, is_write)
            })?
            .map_err(|error| no_answer(&error, is_write))?;
        let (head, mut frames) = response.into_parts();
        if head.status == StatusCode::UNAUTHORIZED {
            return Err(unauthorized());
        }
        let mut body = Vec::new();
        while let Some(frame) = frames.frame().await {
            let frame = frame.map_err(|error| unavailable(format!("the answer broke off: {error}"), is_write))?;
            // Trailers say nothing here.
            let Ok(data) = frame.into_data() else { continue };
            if data.len() > config.max_answer - body.len() {
                let message = format!("the answer is longer than {} bytes: read in pages", config.max_answer);
                return Err(ApiError {
                    maybe_applied: is_write,
                    ..ApiError::of_host(reason::LIMIT, message)
                });
            }
            held.grow(data.len()).map_err(|full| self.full(full, is_write))?;
            body.extend_from_slice(&data);
        }
        if head.status.is_success() {
            return Ok(body);
        }
        let error = refused(head.status, &head.headers, &body, is_write);
        if let Some(pause) = retry_after(&error) {
            lock(&self.sender.turns.pace).hold(self.host.origin.elapsed(), pause);
        }
        Err(error)
    }
}

#[cfg(test)]
mod tests;
mod turns;
