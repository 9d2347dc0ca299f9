//! The scripted API server, inside the process.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use kube::client::Body;
use tokio::sync::mpsc;

use crate::{OBJECTS, object};

/// A server that knows five kinds.
#[derive(Clone, Default)]
pub struct Server(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    version: u64,
    /// Lists show nothing.
    empty: bool,
    /// Open watches, by plural.
    watches: HashMap<&'static str, Vec<mpsc::UnboundedSender<Bytes>>>,
}

/// Plural, API version, kind.
const KINDS: [(&str, &str, &str); 5] = [
    ("empties", "bench.io/v1", "Empty"),
    ("busies", "bench.io/v1", "Busy"),
    ("spins", "bench.io/v1", "Spins"),
    ("reads", "bench.io/v1", "Reads"),
    ("configmaps", "v1", "ConfigMap"),
];

type Answer = Response<UnsyncBoxBody<Bytes, std::convert::Infallible>>;

fn json(text: impl Into<Bytes>) -> Answer {
    let body = Full::new(text.into()).boxed_unsync();
    let mut answer = Response::new(body);
    answer.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    answer
}

impl Server {
    /// One without any objects.
    pub fn empty() -> Self {
        let server = Self::default();
        server.state().empty = true;
        server
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every object of a kind is changed once: one event each. The lines are made before, so that making them is not
    /// measured; call the answer to send them.
    pub fn change_all(&self, plural: &'static str) -> impl FnOnce() + use<> {
        let mut state = self.state();
        let Some((_, api_version, kind)) = KINDS.iter().find(|(known, ..)| *known == plural) else {
            panic!("no kind {plural}")
        };
        let lines: Vec<Bytes> = (0..OBJECTS)
            .map(|i| {
                state.version += 1;
                let object = object(api_version, kind, i, state.version);
                format!("{{\"type\":\"MODIFIED\",\"object\":{object}}}\n").into()
            })
            .collect();
        let watches = state.watches.get(plural).cloned().unwrap_or_default();
        move || {
            for line in lines {
                for watch in &watches {
                    // A watch that has gone hears nothing.
                    let _ = watch.send(line.clone());
                }
            }
        }
    }

    /// One object of a kind is changed.
    pub fn change(&self, plural: &'static str, i: usize) {
        let mut state = self.state();
        let Some((_, api_version, kind)) = KINDS.iter().find(|(known, ..)| *known == plural) else {
            panic!("no kind {plural}")
        };
        state.version += 1;
        let object = object(api_version, kind, i, state.version);
        let line: Bytes = format!("{{\"type\":\"MODIFIED\",\"object\":{object}}}\n").into();
        for watch in state.watches.get(plural).into_iter().flatten() {
            // A watch that has gone hears nothing.
            let _ = watch.send(line.clone());
        }
    }

    fn answer(&self, method: &Method, path: &str, query: &str) -> Answer {
        let resources = |kinds: &[(&str, &str, &str)]| {
            let resources: Vec<String> = kinds
                .iter()
                .map(|(plural, _, kind)| format!(r#"{{"name":"{plural}","kind":"{kind}","namespaced":true,"verbs":["list","watch"],"singularName":""}}"#))
                .collect();
            json(format!(
                r#"{{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"x","resources":[{}]}}"#,
                resources.join(",")
            ))
        };
        match path {
            "/apis/bench.io/v1" => return resources(&KINDS[..4]),
            "/api/v1" => return resources(&KINDS[4..]),
            _ => {}
        }
        let mut state = self.state();
        let mut segments = path.rsplit('/');
        let last = segments.next().unwrap_or_default();
        if *method == Method::PATCH {
            let i = last.trim_start_matches('o').parse().unwrap_or_default();
            state.version += 1;
            let object = object("v1", "ConfigMap", i, state.version);
            let line: Bytes = format!("{{\"type\":\"MODIFIED\",\"object\":{object}}}\n").into();
            for watch in state.watches.get("configmaps").into_iter().flatten() {
                let _ = watch.send(line.clone());
            }
            return json(object);
        }
        let Some((plural, api_version, kind)) = KINDS.iter().find(|(plural, ..)| *plural == last) else {
            let mut answer = json(r#"{"kind":"Status","status":"Failure","reason":"NotFound","code":404}"#);
            *answer.status_mut() = http::StatusCode::NOT_FOUND;
            return answer;
        };
        // As a server answers that does not stream lists: one that ignored this would be found out only after 10 s.
        if query.contains("sendInitialEvents=true") {
            let mut answer = json(
                r#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":422,"message":"sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"}"#,
            );
            *answer.status_mut() = http::StatusCode::UNPROCESSABLE_ENTITY;
            return answer;
        }
        if query.contains("watch=true") {
            let (sender, receiver) = mpsc::unbounded_channel::<Bytes>();
            state.watches.entry(plural).or_default().push(sender);
            let lines = futures_util::stream::unfold(receiver, async |mut receiver| {
                let line = receiver.recv().await?;
                Some((Ok(Frame::data(line)), receiver))
            });
            return Response::new(StreamBody::new(lines).boxed_unsync());
        }
        state.version += 1;
        let version = state.version;
        let objects = if state.empty { 0 } else { OBJECTS };
        let items: Vec<String> = (0..objects).map(|i| object(api_version, kind, i, version)).collect();
        json(format!(
            r#"{{"kind":"{kind}List","apiVersion":"{api_version}","metadata":{{"resourceVersion":"{version}"}},"items":[{}]}}"#,
            items.join(",")
        ))
    }
}

impl tower::Service<Request<Body>> for Server {
    type Response = Answer;
    type Error = std::convert::Infallible;
    type Future = BoxFuture<'static, Result<Answer, Self::Error>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = self.answer(
            request.method(),
            request.uri().path(),
            request.uri().query().unwrap_or_default(),
        );
        Box::pin(async move { Ok(answer) })
    }
}
