//! What reaches an API server that dies under 200 watches and comes back.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use kube::client::Body;
use pilothouse_informer::{Clock, Delta, DriverConfig, Handler, SharedInformers, TokioClock, View};
use pilothouse_object::Gvk;
use tokio::sync::mpsc;

const WATCHES: usize = 200;

/// All that a streaming list of nothing brings.
const INITIAL_END: &[u8] = br#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"7","annotations":{"k8s.io/initial-events-end":"true"}}}}
"#;

struct Nobody;
impl Handler for Nobody {
    fn deltas(&self, _: &[Delta]) {}
    fn synced(&self) {}
}

struct Server {
    clock: TokioClock,
    up: bool,
    /// When requests came that were no probes, and those.
    asked: Vec<(Duration, String)>,
    probes: usize,
    watches: BTreeMap<String, mpsc::UnboundedSender<io::Result<Frame<Bytes>>>>,
}

impl Server {
    fn answer(&mut self, path: &str) -> io::Result<http::Response<UnsyncBoxBody<Bytes, io::Error>>> {
        let probe = path == "/readyz";
        if probe {
            self.probes += 1;
        } else {
            self.asked.push((self.clock.now(), path.to_owned()));
        }
        if !self.up {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let text = if probe {
            String::new()
        } else if !path.contains("/w") {
            let one = |n| format!(r#"{{"name":"w{n}","kind":"W{n}","namespaced":true,"verbs":["list","watch"]}}"#);
            let all: Vec<String> = (0..WATCHES).map(one).collect();
            format!(r#"{{"resources":[{}]}}"#, all.join(","))
        } else if path.contains("watch=true") {
            let (sender, receiver) = mpsc::unbounded_channel();
            let kind = path.split('?').next().unwrap_or_default();
            if path.contains("sendInitialEvents=true") {
                sender.send(Ok(Frame::data(Bytes::from_static(INITIAL_END)))).unwrap();
            }
            self.watches.insert(kind.to_owned(), sender);
            let frames = stream::unfold(receiver, |mut frames| async { Some((frames.recv().await?, frames)) });
            return Ok(http::Response::new(StreamBody::new(frames).boxed_unsync()));
        } else {
            r#"{"kind":"List","apiVersion":"ex.io/v1","metadata":{"resourceVersion":"7"},"items":[]}"#.to_owned()
        };
        let never = |never: Infallible| match never {};
        Ok(http::Response::new(Full::from(text).map_err(never).boxed_unsync()))
    }
}

#[expect(clippy::disallowed_methods, reason = "the clock is paused: time goes by at once")]
async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// The most requests that came within one second.
fn most_a_second(asked: &[(Duration, String)]) -> usize {
    let within = |from: Duration| {
        let later = asked.iter().filter(|(at, _)| *at >= from);
        later.take_while(|(at, _)| *at < from + Duration::from_secs(1)).count()
    };
    asked.iter().map(|(at, _)| within(*at)).max().unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn two_hundred_watches_neither_storm_a_dead_server_nor_one_that_is_back() {
    let clock = TokioClock::start();
    let server = Arc::new(Mutex::new(Server {
        clock,
        up: true,
        asked: Vec::new(),
        probes: 0,
        watches: BTreeMap::new(),
    }));
    let answering = server.clone();
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let path = request.uri().to_string();
        std::future::ready(answering.lock().unwrap().answer(&path))
    });
    let client = kube::Client::new(service, "default");
    let runtime = tokio::runtime::Handle::current();
    let informers = SharedInformers::new(client, DriverConfig::default(), Arc::new(clock), runtime, 1);
    let subscriptions: Vec<_> = (0..WATCHES)
        .map(|n| {
            let kind = Gvk::new("ex.io", "v1", &format!("W{n}"));
            informers
                .subscribe(&kind, View::everything(), &[], Arc::new(Nobody))
                .unwrap()
        })
        .collect();
    pass(30).await;
    assert!(subscriptions.iter().all(|subscription| subscription.synced()));
    let started = std::mem::take(&mut server.lock().unwrap().asked);
    assert!(most_a_second(&started) <= 120, "{}", most_a_second(&started));

    // It dies without a word.
    {
        let mut server = server.lock().unwrap();
        server.up = false;
        for (_, watch) in std::mem::take(&mut server.watches) {
            watch.send(Err(io::ErrorKind::ConnectionReset.into())).unwrap();
        }
    }
    pass(120).await;
    let (tried, probes) = {
        let mut server = server.lock().unwrap();
        (std::mem::take(&mut server.asked), std::mem::take(&mut server.probes))
    };
    assert!(
        tried.len() <= WATCHES && most_a_second(&tried) <= 120,
        "{} were tried",
        tried.len()
    );
    assert!((20..=35).contains(&probes), "{probes} probes in two minutes");
    assert!(informers.unreachable_for().is_some());

    server.lock().unwrap().up = true;
    pass(10).await;
    let server = server.lock().unwrap();
    assert_eq!(server.watches.len(), WATCHES, "all are back");
    assert_eq!(server.asked.len(), WATCHES, "with one request each");
    assert!(most_a_second(&server.asked) <= 120, "{}", most_a_second(&server.asked));
    let (first, last) = (server.asked[0].0, server.asked[WATCHES - 1].0);
    assert!(last - first <= Duration::from_secs(3), "{:?}", last - first);
}
