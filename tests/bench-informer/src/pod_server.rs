//! A scripted API server of pods, inside the process. It holds a number for each pod and makes its text while it is
//! sent, so that the heap that is measured is the client's.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::{StreamExt as _, future::BoxFuture, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use kube::client::Body;
use tokio::sync::mpsc;

use crate::pods::{PODS, pod};

/// Bytes that come at once, as one read of a busy connection brings them.
pub const PIECE: usize = 16 << 10;

type Answer = Response<UnsyncBoxBody<Bytes, std::convert::Infallible>>;

/// The server.
#[derive(Clone)]
pub struct PodServer(Arc<Mutex<State>>);

struct State {
    versions: Vec<u64>,
    version: u64,
    watch: Option<mpsc::UnboundedSender<Bytes>>,
    watches: usize,
}

impl Default for PodServer {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State {
            versions: (1..=PODS as u64).collect(),
            version: PODS as u64,
            watch: None,
            watches: 0,
        })))
    }
}

/// The text that is cut into pieces wherever it happens to be.
pub fn pieces(texts: impl Iterator<Item = String>) -> impl Iterator<Item = Bytes> {
    let mut texts = texts.fuse();
    let mut held = String::with_capacity(2 * PIECE);
    std::iter::from_fn(move || {
        while held.len() < PIECE {
            match texts.next() {
                Some(text) => held.push_str(&text),
                None if held.is_empty() => return None,
                None => return Some(Bytes::from(std::mem::take(&mut held))),
            }
        }
        let piece = Bytes::copy_from_slice(&held.as_bytes()[..PIECE]);
        held.drain(..PIECE);
        Some(piece)
    })
}

/// A list's text, in parts.
pub fn list(range: std::ops::Range<usize>, versions: Vec<u64>, version: u64) -> impl Iterator<Item = String> {
    let token = if range.end < PODS {
        range.end.to_string()
    } else {
        String::new()
    };
    let head = format!(
        r#"{{"kind":"PodList","apiVersion":"v1","metadata":{{"resourceVersion":"{version}","continue":"{token}"}},"items":["#
    );
    let first = range.start;
    let items = range.zip(versions).map(move |(i, version)| {
        let comma = if i == first { "" } else { "," };
        format!("{comma}{}", pod(i, version))
    });
    std::iter::once(head)
        .chain(items)
        .chain(std::iter::once("]}".to_owned()))
}

impl PodServer {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many watches there were.
    pub fn watches(&self) -> usize {
        self.state().watches
    }

    /// Changes every `step`th pod, of which no watch tells.
    pub fn change_silently(&self, step: usize) {
        let mut state = self.state();
        for i in (0..PODS).step_by(step) {
            state.version += 1;
            state.versions[i] = state.version;
        }
    }

    /// Changes pods: the events' bytes and the version that the first of them has.
    pub fn change(&self, pods: impl Iterator<Item = usize>) -> (Vec<String>, u64) {
        let mut state = self.state();
        let first = state.version + 1;
        let lines = pods
            .map(|i| {
                state.version += 1;
                state.versions[i] = state.version;
                format!("{{\"type\":\"MODIFIED\",\"object\":{}}}\n", pod(i, state.version))
            })
            .collect();
        (lines, first)
    }

    /// Sends bytes on the watch.
    pub fn sender(&self) -> mpsc::UnboundedSender<Bytes> {
        self.state().watch.clone().unwrap_or_else(|| panic!("nobody watches"))
    }

    /// Ends the watch with 410, so that the client lists again.
    pub fn expire(&self) {
        let gone = r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old resource version","reason":"Expired","code":410}}"#;
        let watch = self.state().watch.take();
        if let Some(watch) = watch {
            // A client that has gone hears nothing.
            let _ = watch.send(Bytes::from(format!("{gone}\n")));
        }
    }

    fn answer(&self, path: &str, query: &str) -> Answer {
        if path == "/api/v1" {
            let found = r#"{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"v1","resources":[{"name":"pods","kind":"Pod","namespaced":true,"verbs":["list","watch"],"singularName":""}]}"#;
            return Response::new(Full::from(found).boxed_unsync());
        }
        let of = |name: &str| {
            let mut all = query.split('&').filter_map(|pair| pair.split_once('='));
            all.find(|(own, _)| *own == name).map(|(_, value)| value)
        };
        let mut state = self.state();
        if matches!(of("watch"), Some("true" | "1")) {
            let (sender, receiver) = mpsc::unbounded_channel::<Bytes>();
            state.watch = Some(sender);
            state.watches += 1;
            let lines = stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)));
            return Response::new(StreamBody::new(lines.map(|line| Ok(Frame::data(line)))).boxed_unsync());
        }
        let start = of("continue").and_then(|token| token.parse().ok()).unwrap_or(0);
        let limit = of("limit").and_then(|limit| limit.parse().ok()).unwrap_or(PODS);
        let range = start..PODS.min(start + limit);
        let list = list(range.clone(), state.versions[range].to_vec(), state.version);
        let body = stream::iter(pieces(list).map(|piece| Ok(Frame::data(piece))));
        Response::new(StreamBody::new(body).boxed_unsync())
    }
}

impl tower::Service<Request<Body>> for PodServer {
    type Response = Answer;
    type Error = std::convert::Infallible;
    type Future = BoxFuture<'static, Result<Answer, Self::Error>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let uri = request.uri();
        let mut answer = self.answer(uri.path(), uri.query().unwrap_or_default());
        answer.headers_mut().insert(
            http::header::CONTENT_TYPE,
            http::HeaderValue::from_static("application/json"),
        );
        Box::pin(async move { Ok(answer) })
    }
}
