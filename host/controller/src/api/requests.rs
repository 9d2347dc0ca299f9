//! Single requests to the API server: live reads and writes.
//!
//! Promises: every request is bounded in time and in the size of its answer; at most [`ApiConfig::in_flight`] are under
//! way at once, of one plugin no more than three quarters of that; no more get their turn a second than the host and the
//! plugin may, in the order in which they were asked for, its writes no more than it may write (whose turn came while the
//! server was slow goes once there is room: as many at once as may be under way); no more bytes of it
//! are under way than it may have; a `Retry-After` holds back whom it was said to; every failure
//! becomes an [`ApiError`] that says whether a write may have happened all the same. It retries nothing: whoever asked
//! decides.
//!
//! Lists and watches of the informers, discovery and probes are not counted here: they are few, they have pauses of their
//! own that grow, and a host that may not watch for want of turns would work on stale caches.

use std::{sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use kube::client::Body;
use pilothouse_apiclient::{Meter, Pace, TooLong};
use pilothouse_informer::Reach;
use pilothouse_lifecycle::Plugin;
use pilothouse_runtime::{ApiError, Cause, reason};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};

use crate::{
    api::refusal::{CROWD, PAUSE, no_answer, refused, retry_after, sheds, unauthorized, unavailable},
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
    /// take long (a slow webhook, say) leaves room for others. Over HTTP/1.1 2,000 at once cost seven times the CPU of 16, and
    /// are slower (measured; see `pilothouse_apiclient`). Default 16.
    pub in_flight: usize,
    /// Requests a second of the whole host, 0 for no bound, and how many may go at once after a pause. Default 500 and
    /// 2,000: kube-apiserver with two cores takes some 800 writes a second (measured), and others want their share.
    pub per_second: u32,
    /// See [`ApiConfig::per_second`].
    pub burst: u32,
    /// How long one request may take from being sent to the begin of its answer. Default 30 s: a webhook's may take as long.
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

/// What one plugin may send.
pub(crate) struct Share {
    /// All its requests.
    pub(crate) requests: Pace,
    /// Its writes among them.
    pub(crate) writes: Pace,
    /// Bytes of its requests and of their answers under way at once.
    pub(crate) in_flight: u64,
}

impl Share {
    pub(crate) fn of(plugin: &Plugin) -> Self {
        let (requests, budget) = (plugin.requests, plugin.budget);
        Self {
            requests: Pace::new(requests.per_second, requests.burst),
            writes: Pace::new(budget.writes_per_second, budget.write_burst),
            in_flight: u64::from(budget.in_flight_mib) << 20,
        }
    }
}

struct Turns {
    permits: Semaphore,
    pace: std::sync::Mutex<Pace>,
}

impl Turns {
    fn new(permits: usize, pace: Pace) -> Self {
        Self {
            permits: Semaphore::new(permits.max(1)),
            pace: pace.into(),
        }
    }
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

    /// The same, as that user, or as the host itself. Of groups it names none: the API server gives a user and a service
    /// account those that they have, and the host needs no right to be any group.
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

    /// Waits until the sender may send by what it has sent before, no longer than `most`. Holds nothing meanwhile that
    /// others wait for: whoever is slow by its own bounds is not to be taken for one whom the server keeps waiting.
    async fn own_turn(&self, method: &Method, most: Duration) -> Result<Duration, ApiError> {
        let (sender, mut waited) = (&self.sender, Duration::ZERO);
        if *method != Method::GET {
            waited += self.paced(&sender.writes, most).await.map_err(|wait| {
                let most = lock(&sender.writes).per_second();
                self.too_many(wait, "writes", &raise("budget.writesPerSecond", most), None)
            })?;
        }
        let pace = &sender.turns.pace;
        waited += self.paced(pace, most.saturating_sub(waited)).await.map_err(|wait| {
            let (held, most) = {
                let pace = lock(pace);
                (pace.is_held(self.host.origin.elapsed()), pace.per_second())
            };
            if held {
                let bound = "the API server asked for a pause with its Retry-After: try again after it";
                self.too_many(wait, "requests", bound, Some(PAUSE))
            } else {
                self.too_many(wait, "requests", &raise("apiRequestsPerSecond", most), None)
            }
        })?;
        Ok(waited)
    }

    /// Waits until there is room among what is under way, and the host may send.
    async fn room(&self, method: &Method, waited: Duration) -> Result<[Option<SemaphorePermit<'_>>; 2], ApiError> {
        let host = &self.host.turns;
        // The semaphores are never closed.
        let own = self.sender.turns.permits.acquire().await.ok();
        let for_host = self.paced(&host.pace, self.host.config.timeout).await;
        let for_host = for_host.map_err(|wait| host_too_many(wait, lock(&host.pace).per_second()))?;
        self.host.meter.waited(method, waited + for_host);
        Ok([own, host.permits.acquire().await.ok()])
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "the driver of single requests: waits for a turn"
    )]
    async fn paced(&self, pace: &std::sync::Mutex<Pace>, most: Duration) -> Result<Duration, TooLong> {
        let wait = lock(pace).turn(self.host.origin.elapsed(), most)?;
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        Ok(wait)
    }

    fn too_many(&self, TooLong(wait): TooLong, what: &str, bound: &str, others: Option<&str>) -> ApiError {
        let plugin = self.sender.plugin.as_deref().unwrap_or("the host");
        waits(
            format!(
                "{plugin} has sent too many {what}: this one would have to wait {:.1} s for its turn, longer than it may; \
                 {bound}",
                wait.as_secs_f64()
            ),
            wait,
            others,
        )
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

    /// The same for a sender that does not wait longer than `most` for its turn: it hears of its own bound then, and not of
    /// the one that would have ended it meanwhile.
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

fn raise(setting: &str, now: u32) -> String {
    format!("send fewer, or raise {setting} ({now} now) in the plugin's part of the operator's configuration")
}

fn host_too_many(TooLong(wait): TooLong, now: u32) -> ApiError {
    waits(
        format!(
            "all plugins together have sent too many requests: this one would have to wait {:.1} s for its turn, longer \
             than it may; send fewer, or raise host.apiRequestsPerSecond ({now} now) in the operator's configuration",
            wait.as_secs_f64()
        ),
        wait,
        Some(CROWD),
    )
}

/// Nothing was sent, since it would have to wait for so long; `others`: the cause, where that is not the sender's doing.
fn waits(message: String, wait: Duration, others: Option<&str>) -> ApiError {
    let cause = |reason: &str| Cause {
        reason: reason.to_owned(),
        field: String::new(),
        message: "not by what this plugin has sent".to_owned(),
    };
    ApiError {
        causes: others.map(cause).into_iter().collect(),
        retry_after_ms: Some(u32::try_from(wait.as_millis()).unwrap_or(u32::MAX)),
        ..ApiError::of_host(reason::LIMIT, message)
    }
}

#[cfg(test)]
mod tests {
    use pilothouse_apiclient::Settings;
    use pilothouse_informer::{DriverConfig, SharedInformers, TokioClock};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
        sync::mpsc,
    };

    use super::*;
    use crate::api::refusal::hinders;

    /// Answers `/quick`, sends away from `/shed`, and lets everything else wait for ever, but tells of it.
    #[allow(clippy::disallowed_methods, reason = "a test's server is a driver")]
    async fn server() -> (String, mpsc::UnboundedReceiver<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (heard, hears) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let heard = heard.clone();
                tokio::spawn(async move {
                    let mut head = [0; 4096];
                    let length = stream.read(&mut head).await.unwrap_or_default();
                    let path = head[..length].split(|byte| *byte == b' ').nth(1).unwrap_or_default();
                    let answer: &[u8] = match path {
                        b"/quick" => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
                        b"/shed" => {
                            b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\
                              Connection: close\r\n\r\n"
                        }
                        _ => {
                            // An error: the test is over.
                            let _ = heard.send(());
                            std::future::pending().await
                        }
                    };
                    stream.write_all(answer).await.unwrap();
                });
            }
        });
        (address, hears)
    }

    fn api(address: &str, config: ApiConfig) -> Api {
        let server = kube::Config::new(address.parse().unwrap());
        let client = pilothouse_apiclient::client(server, Settings::default(), Meter::default()).unwrap();
        let runtime = tokio::runtime::Handle::current();
        let clock = Arc::new(TokioClock::start());
        let informers = SharedInformers::new(client.clone(), DriverConfig::default(), clock, runtime, 1);
        Api::new(client, config, Meter::default(), informers.reach().clone())
    }

    fn share(requests: Pace) -> Share {
        Share {
            requests,
            writes: Pace::new(0, 1),
            in_flight: u64::MAX,
        }
    }

    /// One request a second, of which so many have had their turns.
    fn spent(turns: u32) -> Pace {
        let mut pace = Pace::new(1, 1);
        for _ in 0..turns {
            pace.turn(Duration::ZERO, Duration::MAX).unwrap();
        }
        pace
    }

    async fn get(api: &Api, path: &str) -> Result<Vec<u8>, ApiError> {
        api.send(Method::GET, path.into(), None, Vec::new()).await
    }

    #[tokio::test]
    #[allow(clippy::disallowed_methods, reason = "a test that sends many requests at once")]
    async fn a_plugin_whose_requests_wait_for_ever_leaves_room_for_others() {
        let (address, mut heard) = server().await;
        let api = api(&address, ApiConfig::default());
        let share = |name| api.share(name, share(Pace::new(0, 1)));
        let (slow, quick) = (share("slow"), share("quick"));
        for _ in 0..20 {
            let slow = slow.clone();
            tokio::spawn(async move { get(&slow, "/slow").await });
        }
        for _ in 0..12 {
            heard.recv().await.unwrap();
        }
        assert_eq!(get(&quick, "/quick").await, Ok(b"{}".to_vec()));
        assert!(heard.try_recv().is_err(), "no more of the slow ones were sent");
    }

    #[tokio::test]
    async fn a_retry_after_holds_back_whom_it_was_said_to_and_nobody_else() {
        let (address, _heard) = server().await;
        let api = api(&address, ApiConfig::default());
        let share = |name| api.share(name, share(Pace::new(0, 1)));
        let (eager, other) = (share("eager"), share("other"));
        let shed = get(&eager, "/shed").await.unwrap_err();
        assert_eq!((shed.code, shed.retry_after_ms), (429, Some(3_600_000)));
        // An hour is longer than a request may wait, so that it is refused instead.
        let refused = get(&eager, "/quick").await.unwrap_err();
        assert_eq!((refused.code, &*refused.reason), (0, reason::LIMIT));
        assert!(refused.message.starts_with("eager has sent too many"), "{refused:?}");
        assert!(hinders(&refused), "the server asked for the pause");
        assert!(refused.retry_after_ms.unwrap() > 3_500_000 && !refused.maybe_applied);
        assert_eq!(get(&other, "/quick").await, Ok(b"{}".to_vec()));
        assert_eq!(
            get(&api, "/quick").await,
            Ok(b"{}".to_vec()),
            "the host's own requests go on"
        );
    }

    #[tokio::test]
    async fn writes_have_a_bound_of_their_own_and_reads_go_on() {
        let (address, _heard) = server().await;
        let api = api(&address, ApiConfig::default());
        let writes = spent(60);
        let api = api.share(
            "busy",
            Share {
                writes,
                ..share(Pace::new(0, 1))
            },
        );
        let refused = api
            .send(Method::POST, "/quick".into(), None, Vec::new())
            .await
            .unwrap_err();
        assert!(refused.message.contains("too many writes"), "{refused:?}");
        assert!(
            refused.message.contains("raise budget.writesPerSecond (1 now)"),
            "{refused:?}"
        );
        assert!(!refused.maybe_applied);
        assert!(!hinders(&refused), "its own bound is its own doing");
        assert_eq!(get(&api, "/quick").await, Ok(b"{}".to_vec()));
    }

    #[tokio::test]
    async fn a_plugin_whose_bytes_under_way_are_used_up_is_told_which_bound_and_has_them_back_afterwards() {
        let (address, _heard) = server().await;
        let api = api(&address, ApiConfig::default());
        let small = |in_flight| Share {
            in_flight,
            ..share(Pace::new(0, 1))
        };
        let api = api.share("small", small(10));
        let post = |bytes| api.send(Method::POST, "/quick".into(), None, vec![b' '; bytes]);
        let refused = post(11).await.unwrap_err();
        assert!(refused.message.contains("budget.inFlightMiB"), "{refused:?}");
        assert!(!refused.maybe_applied, "nothing was sent");
        let refused = post(9).await.unwrap_err();
        assert!(
            refused.maybe_applied,
            "the answer has no room beside the body: {refused:?}"
        );
        assert_eq!(post(8).await, Ok(b"{}".to_vec()));
        assert_eq!(post(8).await, Ok(b"{}".to_vec()), "the bytes came back");
    }

    #[tokio::test]
    async fn what_would_wait_for_too_long_is_refused_and_says_whose_bound_it_is() {
        let (address, _heard) = server().await;
        let api = api(&address, ApiConfig::default());
        let refused = get(&api.share("busy", share(spent(60))), "/quick").await.unwrap_err();
        assert!(
            refused
                .message
                .contains("raise apiRequestsPerSecond (1 now) in the plugin's part"),
            "{refused:?}"
        );
        assert_eq!(refused.reason, reason::LIMIT);
        assert_eq!(
            get(&api.share("idle", share(Pace::new(1, 1))), "/quick").await,
            Ok(b"{}".to_vec())
        );
        *lock(&api.host.turns.pace) = spent(60);
        let refused = get(&api.share("idle", share(Pace::new(1, 1))), "/quick")
            .await
            .unwrap_err();
        assert!(
            refused.message.contains("raise host.apiRequestsPerSecond (1 now)"),
            "{refused:?}"
        );
    }

    #[tokio::test]
    async fn who_has_less_time_left_than_its_own_bound_makes_it_wait_is_refused_at_once() {
        let (address, _heard) = server().await;
        let api = api(&address, ApiConfig::default());
        let api = api.share("paced", share(spent(2)));
        let send = |most| api.send_within(most, Method::GET, "/quick".into(), None, Vec::new());
        let refused = send(Duration::from_millis(100)).await.unwrap_err();
        assert!(refused.message.contains("longer than it may"), "{refused:?}");
        assert!(!hinders(&refused));
        assert_eq!(send(Duration::from_secs(60)).await, Ok(b"{}".to_vec()));
    }

    #[tokio::test]
    #[allow(clippy::disallowed_methods, reason = "a test that sends many requests at once")]
    async fn those_that_wait_by_their_own_bound_take_no_room_from_others_of_the_plugin() {
        let (address, _heard) = server().await;
        let api = api(&address, ApiConfig::default());
        let writes = spent(30);
        let api = api.share(
            "paced",
            Share {
                writes,
                ..share(Pace::new(0, 1))
            },
        );
        let mut paced = tokio::task::JoinSet::new();
        for _ in 0..12 {
            let api = api.clone();
            paced.spawn(async move { api.send(Method::POST, "/quick".into(), None, Vec::new()).await });
        }
        tokio::task::yield_now().await;
        assert_eq!(get(&api, "/quick").await, Ok(b"{}".to_vec()));
        assert!(paced.try_join_next().is_none(), "the writes still wait");
    }

    #[tokio::test]
    async fn an_answer_that_does_not_begin_in_time_may_be_that_of_a_write_that_was_done() {
        let (address, _heard) = server().await;
        let config = ApiConfig {
            answer: Duration::from_millis(20),
            ..ApiConfig::default()
        };
        let api = api(&address, config);
        for (method, maybe) in [(Method::GET, false), (Method::POST, true)] {
            let error = api.send(method, "/slow".into(), None, Vec::new()).await.unwrap_err();
            assert_eq!((&*error.reason, error.maybe_applied), (reason::UNAVAILABLE, maybe));
            assert!(error.message.contains("did not answer within 20ms"), "{error:?}");
        }
    }
}
