//! Serves `/metrics`, `/healthz` and `/readyz`.
//!
//! Plain HTTP/1.1 without authentication. Promises: at most [`CONNECTIONS`] connections at once and [`HEAD_TIME`] for a
//! request's head, further connections wait; bodies of requests are never read; a scrape holds no thread that serves.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// Connections at once.
const CONNECTIONS: usize = 32;

/// How long a client may take for the head of a request, idle time between two included.
const HEAD_TIME: Duration = Duration::from_secs(30);

/// How long to wait after an accept that failed, mostly for file descriptors to become free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is served.
pub(crate) trait Health: Send + Sync + 'static {
    /// The metrics' text and its content type. May block: it is asked on a thread where that holds up nobody.
    fn metrics(&self) -> (String, &'static str);
    /// What the host waits for until it is ready, one line each; empty: it is ready.
    fn waiting_for(&self) -> Vec<String>;
}

/// Takes the address.
///
/// # Errors
/// The address and what the system says; the caller adds the mend that its user has.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    let named = |error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => format!("{address} is in use by another program"),
        io::ErrorKind::AddrNotAvailable => format!("{address} is no address of this machine"),
        io::ErrorKind::PermissionDenied => format!("{address} can't be taken: ports below 1024 need privileges"),
        _ => format!("{address} can't be listened on: {error}"),
    };
    TcpListener::bind(address).await.map_err(named)
}

/// Serves until it is dropped.
pub(crate) async fn serve(listener: TcpListener, health: Arc<dyn Health>) {
    let mut connections = JoinSet::new();
    loop {
        let room = connections.len() < CONNECTIONS;
        tokio::select! {
            biased;
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection's task broke off");
                }
            }
            accepted = listener.accept(), if room => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, health.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "can't accept a connection for metrics");
                    #[expect(clippy::disallowed_methods, reason = "this is a driver")]
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn connection(stream: TcpStream, health: Arc<dyn Health>) {
    let service = service_fn(|request: Request<Incoming>| {
        let health = health.clone();
        async move { Ok::<_, Infallible>(answer(request.method(), request.uri().path(), health).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(16 * 1024);
    if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a connection for metrics ended with an error");
    }
}

async fn answer(method: &Method, path: &str, health: Arc<dyn Health>) -> Response<Full<Bytes>> {
    const TEXT: &str = "text/plain; charset=utf-8";
    let (status, content_type, text) = match (method, path) {
        (&Method::GET | &Method::HEAD, "/metrics") => match metrics(health).await {
            Some((text, content_type)) => (StatusCode::OK, content_type, text),
            None => (
                StatusCode::INTERNAL_SERVER_ERROR,
                TEXT,
                "the metrics could not be taken: the host's log says why\n".to_owned(),
            ),
        },
        (&Method::GET | &Method::HEAD, "/healthz") => (StatusCode::OK, TEXT, "ok\n".to_owned()),
        (&Method::GET | &Method::HEAD, "/readyz") => match health.waiting_for() {
            waiting if waiting.is_empty() => (StatusCode::OK, TEXT, "ok\n".to_owned()),
            waiting => {
                let lines: String = waiting.iter().map(|line| format!("{}\n", escaped(line))).collect();
                (
                    StatusCode::SERVICE_UNAVAILABLE,
                    TEXT,
                    format!("not ready, waiting for:\n{lines}"),
                )
            }
        },
        (_, "/metrics" | "/healthz" | "/readyz") => (
            StatusCode::METHOD_NOT_ALLOWED,
            TEXT,
            "only GET and HEAD are answered here\n".to_owned(),
        ),
        _ => (
            StatusCode::NOT_FOUND,
            TEXT,
            "there are /metrics, /healthz and /readyz\n".to_owned(),
        ),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response
            .headers_mut()
            .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

/// Taken on a thread that serves nobody else: the kernel counts memory maps, 1 µs for each, and the text is the longer
/// the more plugins there are. None where that broke off, which is logged.
async fn metrics(health: Arc<dyn Health>) -> Option<(String, &'static str)> {
    #[expect(clippy::disallowed_methods, reason = "this is a driver")]
    let taken = tokio::task::spawn_blocking(move || health.metrics()).await;
    taken
        .inspect_err(|error| tracing::error!(%error, "the metrics could not be taken"))
        .ok()
}

fn escaped(line: &str) -> std::borrow::Cow<'_, str> {
    pilothouse_object::escape_control(line)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    struct Fixed(Vec<String>);
    impl Health for Fixed {
        fn metrics(&self) -> (String, &'static str) {
            ("up 1\n".to_owned(), "text/plain; version=0.0.4")
        }
        fn waiting_for(&self) -> Vec<String> {
            self.0.clone()
        }
    }

    async fn ask(method: Method, path: &str, waiting: &[&str]) -> (u16, String, String) {
        let health = Fixed(waiting.iter().map(ToString::to_string).collect());
        let response = answer(&method, path, Arc::new(health)).await;
        let content_type = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, content_type, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readiness_lists_what_is_waited_for() {
        let waiting = [
            "greeting/greeting: first list of v1 Greeting (403 \u{1b}[31m)",
            "another",
        ];
        let (status, _, body) = ask(Method::GET, "/readyz", &waiting).await;
        assert_eq!(status, 503);
        assert_eq!(
            body,
            "not ready, waiting for:\ngreeting/greeting: first list of v1 Greeting (403 \\u{1b}[31m)\nanother\n"
        );
        assert_eq!(ask(Method::GET, "/readyz", &[]).await.0, 200);
        assert_eq!(ask(Method::GET, "/healthz", &waiting).await.0, 200);
    }

    #[tokio::test]
    async fn metrics_come_with_their_content_type_and_other_things_are_refused() {
        let (status, content_type, body) = ask(Method::GET, "/metrics", &[]).await;
        assert_eq!(
            (status, content_type.as_str(), body.as_str()),
            (200, "text/plain; version=0.0.4", "up 1\n")
        );
        assert_eq!(ask(Method::POST, "/metrics", &[]).await.0, 405);
        assert_eq!(ask(Method::GET, "/", &[]).await.0, 404);
    }

    /// Its metrics take until somebody has been told that it lives.
    struct Slow(std::sync::Mutex<std::sync::mpsc::Receiver<()>>);
    impl Health for Slow {
        fn metrics(&self) -> (String, &'static str) {
            let told = self.0.lock().unwrap().recv_timeout(Duration::from_secs(60));
            (format!("told {}\n", u8::from(told.is_ok())), "text/plain")
        }
        fn waiting_for(&self) -> Vec<String> {
            Vec::new()
        }
    }

    // On one thread: where the scrape held it, nothing else would be answered.
    #[tokio::test]
    async fn while_metrics_are_taken_other_requests_are_answered() {
        let (tell, told) = std::sync::mpsc::channel();
        let health: Arc<dyn Health> = Arc::new(Slow(told.into()));
        let scrape = answer(&Method::GET, "/metrics", health.clone());
        let lives = async {
            let response = answer(&Method::GET, "/healthz", health.clone()).await;
            tell.send(()).unwrap();
            response.status()
        };
        let (scraped, lives) = tokio::join!(scrape, lives);
        assert_eq!(lives, StatusCode::OK);
        let body = scraped.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "told 1\n");
    }

    #[tokio::test]
    async fn metrics_that_break_off_are_told_as_that_and_others_are_still_answered() {
        struct Broken;
        impl Health for Broken {
            fn metrics(&self) -> (String, &'static str) {
                panic!("a test of what happens then")
            }
            fn waiting_for(&self) -> Vec<String> {
                Vec::new()
            }
        }
        let health: Arc<dyn Health> = Arc::new(Broken);
        assert_eq!(answer(&Method::GET, "/metrics", health.clone()).await.status(), 500);
        assert_eq!(answer(&Method::GET, "/healthz", health).await.status(), 200);
    }

    #[tokio::test]
    async fn it_answers_over_tcp() {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream
                .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                .await
                .unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let answer = tokio::select! {
            answer = client => answer,
            () = serve(listener, Arc::new(Fixed(Vec::new()))) => unreachable!(),
        };
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok\n"),
            "{answer}"
        );
    }

    #[tokio::test]
    async fn an_address_in_use_is_named() {
        let taken = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = taken.local_addr().unwrap();
        assert_eq!(
            bind(address).await.unwrap_err(),
            format!("{address} is in use by another program")
        );
    }
}
