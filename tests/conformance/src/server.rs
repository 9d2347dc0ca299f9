//! One of the two servers, and its answers as they came.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use http::{Method, Request, header};
use http_body_util::BodyExt as _;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;

/// The headers that are compared. All others depend on the server's build, its load and the moment.
const HEADERS: [header::HeaderName; 4] = [
    header::ALLOW,
    header::CONTENT_TYPE,
    header::RETRY_AFTER,
    header::WARNING,
];

/// The bound of every request.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request, its names filled in.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The method.
    pub method: Method,
    /// The path with the query.
    pub path: String,
    /// Headers that are not empty.
    pub headers: Vec<(header::HeaderName, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The status code.
    pub code: u16,
    /// The headers that are compared, by name.
    pub headers: BTreeMap<String, Vec<String>>,
    /// The body: JSON as it is, any other text as a string, what is no text as its length; null where there is none,
    /// and for a watch.
    pub body: Value,
}

/// Spoils the answers of a server: for tests that must find something.
pub type Fault = Box<dyn Fn(&Sent, &mut Answer) + Send + Sync>;

/// A server, reached over HTTP by its kubeconfig. It belongs to the tokio runtime in which it was made.
pub struct Server {
    client: kube::Client,
    fault: Option<Fault>,
}

impl Server {
    /// The server of a kubeconfig's current context.
    ///
    /// # Panics
    /// If the kubeconfig is none.
    pub async fn at(kubeconfig: &Path) -> Self {
        let place = kubeconfig.display();
        let text = Kubeconfig::read_from(kubeconfig).unwrap_or_else(|error| panic!("{place}: {error}"));
        let mut config = kube::Config::from_custom_kubeconfig(text, &KubeConfigOptions::default())
            .await
            .unwrap_or_else(|error| panic!("{place}: {error}"));
        // Each answer is compared, also those that say that one should ask again.
        config.default_retry = false;
        config.read_timeout = None;
        let client = kube::Client::try_from(config).unwrap_or_else(|error| panic!("{place}: {error}"));
        Self { client, fault: None }
    }

    /// The same server, each of its answers spoilt by `fault`.
    #[must_use]
    pub fn with_fault(mut self, fault: Fault) -> Self {
        self.fault = Some(fault);
        self
    }

    async fn open(&self, sent: &Sent) -> http::Response<Body> {
        let mut request = Request::builder().method(sent.method.clone()).uri(&sent.path);
        for (name, value) in &sent.headers {
            request = request.header(name, value);
        }
        let what = format!("{} {}", sent.method, sent.path);
        let request = request
            .body(Body::from(sent.body.clone()))
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        let answer = self.client.send(request).await;
        answer.unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    /// The whole answer to a request.
    ///
    /// # Panics
    /// If there is none, or it does not end.
    pub async fn ask(&self, sent: &Sent) -> Answer {
        let whole = async {
            let (head, body) = self.open(sent).await.into_parts();
            let collected = body.collect().await;
            let bytes = collected
                .unwrap_or_else(|error| panic!("{} {}: the body broke off: {error}", sent.method, sent.path))
                .to_bytes();
            answer(&head, content(&bytes))
        };
        #[expect(clippy::disallowed_methods, reason = "a test of real servers bounds its waits")]
        let mut answer = tokio::time::timeout(PATIENCE, whole).await.unwrap_or_else(|_| {
            panic!(
                "{} {}: the answer does not end within {PATIENCE:?}; a watch is opened with `watch`",
                sent.method, sent.path
            )
        });
        if let Some(fault) = &self.fault {
            fault(sent, &mut answer);
        }
        answer
    }

    /// The head of an answer, and its body where that is a watch.
    ///
    /// # Panics
    /// If there is no answer.
    pub async fn watch(&self, sent: &Sent) -> (Answer, Option<Body>) {
        #[expect(clippy::disallowed_methods, reason = "a test of real servers bounds its waits")]
        let opened = tokio::time::timeout(PATIENCE, self.open(sent)).await;
        let (head, body) = opened
            .unwrap_or_else(|_| panic!("{} {}: no answer within {PATIENCE:?}", sent.method, sent.path))
            .into_parts();
        if head.status == 200 {
            return (answer(&head, Value::Null), Some(body));
        }
        let bytes = body
            .collect()
            .await
            .unwrap_or_else(|error| panic!("{} {}: the body broke off: {error}", sent.method, sent.path))
            .to_bytes();
        (answer(&head, content(&bytes)), None)
    }
}

fn answer(head: &http::response::Parts, body: Value) -> Answer {
    let mut headers = BTreeMap::new();
    for name in HEADERS {
        let values = head.headers.get_all(&name).iter();
        let values: Vec<String> = values
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .collect();
        if !values.is_empty() {
            headers.insert(name.to_string(), values);
        }
    }
    Answer {
        code: head.status.as_u16(),
        headers,
        body,
    }
}

fn content(bytes: &[u8]) -> Value {
    if bytes.is_empty() {
        return Value::Null;
    }
    match (serde_json::from_slice(bytes), std::str::from_utf8(bytes)) {
        (Ok(value), _) => value,
        (Err(_), Ok(text)) => text.into(),
        (Err(_), Err(_)) => bytes.len().into(),
    }
}
