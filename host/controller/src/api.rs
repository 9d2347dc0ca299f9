//! Single requests to the API server: live reads and writes.
//!
//! Promises: every request is bounded in time and in the size of its answer, at most [`ApiConfig::in_flight`] are under
//! way at once, of one plugin no more than three quarters of that, and every failure becomes an [`ApiError`] that says whether a write may have happened all the same.
//! It retries nothing: whoever asked decides.

use std::{sync::Arc, time::Duration};

use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use kube::client::Body;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use pilothouse_informer::{Reach, Resource};
use pilothouse_object::{Gvk, check_path_segment, shorten};
use pilothouse_runtime::{ApiError, Cause, reason};
use serde::Deserialize;
use tokio::sync::{Semaphore, SemaphorePermit};

/// What may stand in a path segment or query value as it is.
const KEEP: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':');

/// Bounds of requests.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// Requests under way at once; more wait. One plugin has at most three quarters of them, so that one whose requests
    /// take long (a slow webhook, say) leaves room for others. kube's client opens a connection for each, and 2,000 at once cost 3.5
    /// times the CPU of four (measured). Default 16.
    pub in_flight: usize,
    /// How long one request may take from being sent to the end of its answer. Default 30 s, the API server's own for
    /// most requests is 60 s.
    pub timeout: Duration,
    /// The longest answer in bytes. Default 16 MiB; a guest takes no more than 4 MiB in one piece anyway.
    pub max_answer: usize,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            in_flight: 16,
            timeout: Duration::from_secs(30),
            max_answer: 16 << 20,
        }
    }
}

/// A thin client for single requests.
#[derive(Clone)]
pub(crate) struct Api {
    client: kube::Client,
    config: ApiConfig,
    permits: Arc<Semaphore>,
    /// Those that one plugin may have at once; taken before the common ones.
    own: Option<Arc<Semaphore>>,
    reach: Reach,
}

impl Api {
    /// `reach` hears of requests that got no answer.
    pub(crate) fn new(client: kube::Client, config: ApiConfig, reach: Reach) -> Self {
        let permits = Arc::new(Semaphore::new(config.in_flight.max(1)));
        Self {
            client,
            config,
            permits,
            reach,
            own: None,
        }
    }

    /// The same for one plugin, which has no more than its share.
    pub(crate) fn share(&self) -> Self {
        let share = (self.config.in_flight * 3 / 4).max(1);
        Self {
            own: Some(Arc::new(Semaphore::new(share))),
            ..self.clone()
        }
    }

    /// Ends when no request is under way any more; bounded by their time-outs.
    pub(crate) async fn quiet(&self) {
        let all = u32::try_from(self.config.in_flight.max(1)).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        let _all = self.permits.acquire_many(all).await;
    }

    /// The plugin's own permit and a common one. The semaphores are never closed.
    async fn acquire(&self) -> (Option<SemaphorePermit<'_>>, Option<SemaphorePermit<'_>>) {
        let own = match &self.own {
            Some(own) => own.acquire().await.ok(),
            None => None,
        };
        (own, self.permits.acquire().await.ok())
    }

    /// Sends one request and reads its whole answer.
    pub(crate) async fn send(
        &self,
        method: Method,
        uri: String,
        content_type: Option<&'static str>,
        body: Vec<u8>,
    ) -> Result<Vec<u8>, ApiError> {
        let is_write = method != Method::GET;
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .header(header::ACCEPT, "application/json");
        if let Some(content_type) = content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        let request = request
            .body(Body::from(body))
            .map_err(|error| ApiError::of_host(reason::DENIED, format!("the request can't be made: {error}")))?;
        #[allow(
            clippy::disallowed_methods,
            reason = "the driver of single requests: each is bounded in time"
        )]
        let permits = tokio::time::timeout(self.config.timeout, self.acquire()).await;
        let Ok(_permits) = permits else {
            let message = format!(
                "{} requests were under way for {:?} and none ended: the API server is too slow",
                self.config.in_flight, self.config.timeout
            );
            return Err(unavailable(message, false));
        };
        let exchange = async {
            let response = self
                .client
                .send(request)
                .await
                .map_err(|error| no_answer(&error, is_write))?;
            let (head, body) = response.into_parts();
            if head.status == StatusCode::UNAUTHORIZED {
                return Err(unauthorized());
            }
            let body = Limited::new(body, self.config.max_answer)
                .collect()
                .await
                .map_err(|error| {
                    if error.downcast_ref::<LengthLimitError>().is_some() {
                        let message = format!(
                            "the answer is longer than {} bytes: read in pages",
                            self.config.max_answer
                        );
                        ApiError {
                            maybe_applied: is_write,
                            ..ApiError::of_host(reason::LIMIT, message)
                        }
                    } else {
                        unavailable(format!("the answer broke off: {error}"), is_write)
                    }
                })?;
            let body: Vec<u8> = body.to_bytes().into();
            if head.status.is_success() {
                Ok(body)
            } else {
                Err(refused(head.status, &head.headers, &body, is_write))
            }
        };
        #[allow(
            clippy::disallowed_methods,
            reason = "the driver of single requests: each is bounded in time"
        )]
        let answer = tokio::time::timeout(self.config.timeout, exchange).await;
        let answer = answer.unwrap_or_else(|_| {
            let message = format!("the API server did not answer within {:?}", self.config.timeout);
            Err(unavailable(message, is_write))
        });
        if answer.as_ref().is_err_and(|error| error.reason == reason::UNAVAILABLE) {
            self.reach.suspect();
        }
        answer
    }
}

/// The path of an object, of a collection (`name` none), or of an object's subresource, with a query behind it.
pub(crate) fn uri(
    gvk: &Gvk,
    resource: &Resource,
    namespace: Option<&str>,
    name: Option<&str>,
    subresource: Option<&str>,
    query: &[(&str, &str)],
) -> Result<String, ApiError> {
    let bad = |message: String| ApiError::of_host(reason::DENIED, message);
    for segment in [namespace, name, subresource].into_iter().flatten() {
        check_path_segment(segment).map_err(|error| bad(error.to_string()))?;
    }
    let mut uri = if gvk.group.is_empty() {
        "/api/".to_owned()
    } else {
        format!("/apis/{}/", utf8_percent_encode(&gvk.group, KEEP))
    };
    uri.extend(utf8_percent_encode(&gvk.version, KEEP));
    if let Some(namespace) = namespace {
        if !resource.namespaced {
            return Err(bad(format!("{} is cluster-scoped: leave the namespace out", gvk.kind)));
        }
        uri.push_str("/namespaces/");
        uri.extend(utf8_percent_encode(namespace, KEEP));
    } else if resource.namespaced && name.is_some() {
        return Err(bad(format!("{} lives in namespaces: name the object's", gvk.kind)));
    }
    uri.push('/');
    uri.push_str(&resource.plural);
    for segment in [name, subresource].into_iter().flatten() {
        uri.push('/');
        uri.extend(utf8_percent_encode(segment, KEEP));
    }
    for (i, (key, value)) in query.iter().enumerate() {
        uri.push(if i == 0 { '?' } else { '&' });
        uri.push_str(key);
        uri.push('=');
        uri.extend(utf8_percent_encode(value, KEEP));
    }
    Ok(uri)
}

/// What the guest asked for makes no sense; nothing was sent.
pub(crate) fn bad_request(message: impl Into<String>) -> ApiError {
    ApiError {
        code: 400,
        ..ApiError::of_host("BadRequest", message)
    }
}

fn unavailable(message: String, is_write: bool) -> ApiError {
    ApiError {
        maybe_applied: is_write,
        ..ApiError::of_host(reason::UNAVAILABLE, message)
    }
}

/// The server does not take the host's credentials: nothing was done, and no plugin can do anything about it.
fn unauthorized() -> ApiError {
    let message = "the API server refuses this host's credentials (401)".to_owned();
    ApiError {
        code: 401,
        ..unavailable(message, false)
    }
}

/// No answer came. A connection that was refused sent nothing; anything else may have.
fn no_answer(error: &kube::Error, is_write: bool) -> ApiError {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let mut never_sent = false;
    let mut message = String::new();
    while let Some(error) = source {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            never_sent |= io.kind() == std::io::ErrorKind::ConnectionRefused;
        }
        let text = error.to_string();
        if !message.contains(&text) {
            if !message.is_empty() {
                message.push_str(": ");
            }
            message.push_str(&text);
        }
        source = error.source();
    }
    unavailable(
        format!("the API server gave no answer: {}", shorten(&message, 512)),
        is_write && !never_sent,
    )
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    reason: Option<String>,
    message: Option<String>,
    details: Option<Details>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Details {
    causes: Option<Vec<StatusCause>>,
    retry_after_seconds: Option<u32>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct StatusCause {
    reason: Option<String>,
    message: Option<String>,
    field: Option<String>,
}

/// At most so many causes of one refusal reach a guest.
const MAX_CAUSES: usize = 32;

/// An answer that is no success. What isn't a Status (a proxy's page, say) keeps its text as the message.
fn refused(code: StatusCode, headers: &http::HeaderMap, body: &[u8], is_write: bool) -> ApiError {
    let status: Status = serde_json::from_slice(body).unwrap_or_default();
    let details = status.details.unwrap_or_default();
    let header_seconds = headers
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse::<u32>().ok());
    let retry_after_ms = details
        .retry_after_seconds
        .filter(|s| *s > 0)
        .or(header_seconds)
        .map(|seconds| seconds.saturating_mul(1_000));
    let message = status
        .message
        .filter(|m| !m.is_empty())
        .unwrap_or_else(|| shorten(String::from_utf8_lossy(body).trim(), 512).into_owned());
    ApiError {
        reason: status
            .reason
            .filter(|r| !r.is_empty())
            .unwrap_or_else(|| reason_of(code).to_owned()),
        code: code.as_u16(),
        message,
        causes: details
            .causes
            .unwrap_or_default()
            .into_iter()
            .take(MAX_CAUSES)
            .map(|cause| Cause {
                reason: cause.reason.unwrap_or_default(),
                field: cause.field.unwrap_or_default(),
                message: cause.message.unwrap_or_default(),
            })
            .collect(),
        retry_after_ms,
        // 5xx: the server, or what stands before it, may have failed after it was done.
        maybe_applied: is_write && code.is_server_error(),
    }
}

/// The reason that Kubernetes gives to a code, for answers that are no Status.
fn reason_of(code: StatusCode) -> &'static str {
    match code.as_u16() {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        405 => "MethodNotAllowed",
        406 => "NotAcceptable",
        409 => "Conflict",
        410 => "Gone",
        413 => "RequestEntityTooLarge",
        415 => "UnsupportedMediaType",
        422 => "Invalid",
        429 => "TooManyRequests",
        500 => "InternalError",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use pilothouse_informer::{DriverConfig, SharedInformers, TokioClock};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
        sync::mpsc,
    };

    use super::*;

    /// Answers `/quick` and lets everything else wait for ever, but tells of it.
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
                    if head[..length].starts_with(b"GET /quick ") {
                        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
                        stream.write_all(answer).await.unwrap();
                    } else {
                        heard.send(()).unwrap();
                    }
                    std::future::pending::<()>().await;
                });
            }
        });
        (address, hears)
    }

    #[tokio::test]
    #[allow(clippy::disallowed_methods, reason = "a test that sends many requests at once")]
    async fn a_plugin_whose_requests_wait_for_ever_leaves_room_for_others() {
        let (address, mut heard) = server().await;
        let config = kube::Config::new(address.parse().unwrap());
        let client = kube::Client::try_from(config).unwrap();
        let runtime = tokio::runtime::Handle::current();
        let clock = Arc::new(TokioClock::start());
        let informers = SharedInformers::new(client.clone(), DriverConfig::default(), clock, runtime, 1);
        let api = Api::new(client, ApiConfig::default(), informers.reach().clone());
        let (slow, quick) = (api.share(), api.share());
        for _ in 0..20 {
            let slow = slow.clone();
            tokio::spawn(async move { slow.send(Method::GET, "/slow".into(), None, Vec::new()).await });
        }
        for _ in 0..12 {
            heard.recv().await.unwrap();
        }
        let answer = quick.send(Method::GET, "/quick".into(), None, Vec::new()).await;
        assert_eq!(answer, Ok(b"{}".to_vec()));
        assert!(heard.try_recv().is_err(), "no more of the slow ones were sent");
    }

    fn widgets(
        namespace: Option<&str>,
        name: Option<&str>,
        subresource: Option<&str>,
        query: &[(&str, &str)],
    ) -> Result<String, ApiError> {
        let resource = Resource {
            plural: "widgets".into(),
            namespaced: true,
        };
        uri(
            &Gvk::new("ex.io", "v1", "Widget"),
            &resource,
            namespace,
            name,
            subresource,
            query,
        )
    }

    fn nodes(namespace: Option<&str>, name: Option<&str>) -> Result<String, ApiError> {
        let resource = Resource {
            plural: "nodes".into(),
            namespaced: false,
        };
        uri(&Gvk::new("", "v1", "Node"), &resource, namespace, name, None, &[])
    }

    #[test]
    fn paths_are_the_api_servers() {
        assert_eq!(nodes(None, Some("n1")).unwrap(), "/api/v1/nodes/n1");
        assert_eq!(
            widgets(
                Some("a"),
                Some("w"),
                Some("status"),
                &[("fieldManager", "pilothouse/x"), ("force", "true")]
            )
            .unwrap(),
            "/apis/ex.io/v1/namespaces/a/widgets/w/status?fieldManager=pilothouse%2Fx&force=true"
        );
        assert_eq!(widgets(None, None, None, &[]).unwrap(), "/apis/ex.io/v1/widgets");
    }

    #[test]
    fn a_name_from_a_guest_cannot_leave_its_segment() {
        for bad in ["../secrets", "..", "a/b", "a%2fb", ""] {
            assert!(widgets(Some("a"), Some(bad), None, &[]).is_err(), "{bad:?}");
            assert!(widgets(Some(bad), Some("w"), None, &[]).is_err(), "{bad:?}");
        }
        let odd = widgets(Some("a"), Some("w?x=1#y z"), None, &[]).unwrap();
        assert_eq!(odd, "/apis/ex.io/v1/namespaces/a/widgets/w%3Fx%3D1%23y%20z");
    }

    #[test]
    fn namespaced_kinds_need_a_namespace_and_others_refuse_one() {
        assert!(
            widgets(None, Some("w"), None, &[])
                .unwrap_err()
                .message
                .contains("lives in namespaces")
        );
        assert!(
            nodes(Some("a"), Some("n"))
                .unwrap_err()
                .message
                .contains("cluster-scoped")
        );
    }

    #[test]
    fn a_status_becomes_an_error_the_guest_can_read() {
        let body = br#"{"kind":"Status","status":"Failure","message":"no","reason":"Invalid","code":422,
            "details":{"retryAfterSeconds":2,"causes":[{"reason":"FieldValueRequired","message":"Required value","field":"spec.size"}]}}"#;
        let error = refused(StatusCode::UNPROCESSABLE_ENTITY, &http::HeaderMap::new(), body, true);
        assert_eq!(
            (&*error.reason, error.code, error.retry_after_ms),
            ("Invalid", 422, Some(2_000))
        );
        assert_eq!((&*error.causes[0].field, error.maybe_applied), ("spec.size", false));
    }

    #[test]
    fn a_write_that_failed_in_the_server_may_have_happened_and_a_read_has_not() {
        for code in [500, 502, 503, 504] {
            let code = StatusCode::from_u16(code).unwrap();
            assert!(
                refused(code, &http::HeaderMap::new(), b"", true).maybe_applied,
                "{code}"
            );
            assert!(
                !refused(code, &http::HeaderMap::new(), b"", false).maybe_applied,
                "{code}"
            );
        }
        assert!(!refused(StatusCode::CONFLICT, &http::HeaderMap::new(), b"", true).maybe_applied);
    }

    #[test]
    fn an_answer_that_is_no_status_keeps_its_text_and_retry_after() {
        let mut headers = http::HeaderMap::new();
        headers.insert(header::RETRY_AFTER, http::HeaderValue::from_static("1"));
        let error = refused(
            StatusCode::TOO_MANY_REQUESTS,
            &headers,
            b"Too many requests, please try again later.\n",
            true,
        );
        assert_eq!((&*error.reason, error.retry_after_ms), ("TooManyRequests", Some(1_000)));
        assert_eq!(error.message, "Too many requests, please try again later.");
    }
}
