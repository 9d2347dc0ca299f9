//! The model behind a `kube::Client` in this process, with faults: bytes are frames of a body, and time is tokio's
//! paused clock, so nothing here depends on how fast anything runs.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use kube::{Client, client::Body};
use pilothouse_informer::{DriverConfig, ListMode, SharedInformers, Subscription, TokioClock, View};
use pilothouse_object::{Gvk, LabelSelector};
use tokio::runtime::Handle;

use crate::{
    model::Model,
    oracle::{Held, Oracle},
};

/// A part of an answer's body.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    Bytes(Bytes),
    Wait(Duration),
    /// The connection breaks off.
    Break,
    /// Nothing more comes, and no end.
    Hang,
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<u32>,
    pub(crate) body: Vec<Part>,
}

impl Reply {
    pub(crate) fn ok(body: impl Into<Bytes>) -> Self {
        Self {
            status: 200,
            retry_after: None,
            body: vec![Part::Bytes(body.into())],
        }
    }

    pub(crate) fn status(status: u16, body: &str) -> Self {
        Self {
            status,
            ..Self::ok(body.to_owned())
        }
    }

    pub(crate) fn then(mut self, part: Part) -> Self {
        self.body.push(part);
        self
    }

    /// All bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for part in &self.body {
            if let Part::Bytes(bytes) = part {
                all.extend_from_slice(bytes);
            }
        }
        all
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.bytes()).unwrap()
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Discovery,
    List,
    /// A streaming list.
    Stream,
    Watch,
}

/// Changes an answer: gets what is asked for, how often that was asked before, and the right answer.
pub(crate) type Fault = Box<dyn FnMut(Asked, u32, Reply) -> Reply + Send>;

struct Server {
    model: Model,
    fault: Mutex<Fault>,
    asked: Mutex<Vec<(Asked, String)>>,
}

impl Server {
    fn answer(&self, path: &str) -> Reply {
        if path == "/readyz" {
            return Reply::ok("ok");
        }
        let asked = match path {
            _ if path.contains("sendInitialEvents=true") => Asked::Stream,
            _ if path.contains("watch=true") => Asked::Watch,
            _ if path.contains("/widgets") => Asked::List,
            _ => Asked::Discovery,
        };
        let (body, goes_on) = self.model.answer(path);
        let right = match goes_on {
            true => Reply::ok(body).then(Part::Hang),
            false => Reply::ok(body),
        };
        let mut past = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let before = past.iter().filter(|(other, _)| *other == asked).count();
        past.push((asked, path.to_owned()));
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        (*fault)(asked, u32::try_from(before).unwrap(), right)
    }
}

fn response(reply: Reply) -> http::Response<UnsyncBoxBody<Bytes, io::Error>> {
    let mut response = http::Response::builder().status(reply.status);
    if let Some(seconds) = reply.retry_after {
        response = response.header("Retry-After", seconds);
    }
    let frames = stream::unfold(reply.body.into_iter(), |mut parts| async {
        loop {
            match parts.next()? {
                Part::Bytes(bytes) => return Some((Ok(Frame::data(bytes)), parts)),
                Part::Break => return Some((Err(io::ErrorKind::ConnectionReset.into()), parts)),
                Part::Hang => std::future::pending().await,
                Part::Wait(pause) => pass(pause).await,
            }
        }
    });
    response.body(StreamBody::new(frames).boxed_unsync()).unwrap()
}

/// Lets time pass on the paused clock.
#[expect(clippy::disallowed_methods, reason = "this is what drives the paused clock")]
pub(crate) async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

/// An informer of widgets against the model with its faults.
pub(crate) struct Rig {
    server: Arc<Server>,
    pub(crate) informers: SharedInformers,
    subscription: Subscription,
    pub(crate) oracle: Arc<Oracle>,
    began: tokio::time::Instant,
}

pub(crate) fn gvk() -> Gvk {
    Gvk::new("ex.io", "v1", "Widget")
}

impl Rig {
    pub(crate) fn new(lists: ListMode, model: &Model, fault: Fault) -> Self {
        let mut config = DriverConfig::default();
        config.reflector.lists = lists;
        Self::with(config, model, fault)
    }

    #[expect(clippy::disallowed_methods, reason = "the paused clock")]
    pub(crate) fn with(config: DriverConfig, model: &Model, fault: Fault) -> Self {
        let server = Arc::new(Server {
            model: model.clone(),
            fault: Mutex::new(fault),
            asked: Mutex::default(),
        });
        let answering = server.clone();
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let reply = answering.answer(&request.uri().to_string());
            async move { Ok::<_, io::Error>(response(reply)) }
        });
        let client = Client::new(service, "default");
        let clock = Arc::new(TokioClock::start());
        let informers = SharedInformers::new(client, config, clock, Handle::current(), 1);
        let oracle = Oracle::new();
        let subscription = informers
            .subscribe(&gvk(), View::everything(), &[], oracle.clone())
            .unwrap();
        Self {
            server,
            informers,
            subscription,
            oracle,
            began: tokio::time::Instant::now(),
        }
    }

    /// What was asked for so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        let asked = self.server.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().map(|(asked, _)| *asked).collect()
    }

    /// The same as paths.
    pub(crate) fn paths(&self) -> Vec<String> {
        let asked = self.server.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().map(|(_, path)| path.clone()).collect()
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// What the cache holds; none before it is synced.
    pub(crate) fn cached(&self) -> Option<Held> {
        let list = self.subscription.list(None, &LabelSelector::everything()).ok()?;
        let state = |object: &pilothouse_object::Object| {
            let head = object.head();
            (
                object.key().to_string(),
                (head.uid.to_string(), head.version.to_string()),
            )
        };
        Some(list.items.iter().map(state).collect())
    }

    /// Waits until the cache holds what the server holds, at most ten minutes of the paused clock; then who listened
    /// knows the same, and nothing was told that doesn't fit.
    pub(crate) async fn settles(&self, what: impl std::fmt::Display) {
        let right = self.server.model.held();
        for _ in 0..6_000 {
            if self.cached().as_ref() == Some(&right) {
                break;
            }
            pass(Duration::from_millis(100)).await;
        }
        // What is behind it is taken in, too.
        pass(Duration::from_millis(1)).await;
        assert_eq!(self.cached().as_ref(), Some(&right), "{what}: the cache");
        assert_eq!(self.oracle.held(), right, "{what}: who listened");
        assert!(self.oracle.synced(), "{what}");
    }
}
