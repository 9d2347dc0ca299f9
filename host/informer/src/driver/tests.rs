//! The driver against a scripted API server in the same process, on a paused clock.

use std::{collections::VecDeque, convert::Infallible, io};

use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use kube::client::Body;
use pilothouse_object::{Key, LabelSelector};
use tokio::sync::{Notify, mpsc};

use super::*;
use crate::{
    reflector::ListMode,
    status::Phase,
    subscription::ReadError,
    testing::{Recorder, gvk, json},
};

type Pieces = mpsc::UnboundedSender<io::Result<Bytes>>;

enum Answer {
    /// The connection is refused.
    Refuse,
    /// The request gets no answer.
    Hang,
    Status(u16, &'static str, String),
    Stream(mpsc::UnboundedReceiver<io::Result<Bytes>>),
}

/// Answers requests in order and writes them down.
#[derive(Default)]
struct Server {
    script: Mutex<VecDeque<Answer>>,
    requests: Mutex<Vec<String>>,
    news: Notify,
    /// How probes are answered; the connection is refused where none is left, and at 0.
    health: Mutex<VecDeque<u16>>,
    probes: Mutex<u32>,
}

impl Server {
    fn then(&self, answer: Answer) -> &Self {
        lock(&self.script).push_back(answer);
        self
    }

    fn ok(&self, body: impl Into<String>) -> &Self {
        self.then(Answer::Status(200, "", body.into()))
    }

    fn discovery(&self) -> &Self {
        self.ok(r#"{"resources":[{"name":"widgets","kind":"Widget","namespaced":true,"verbs":["list","watch"]}]}"#)
    }

    fn list(&self, version: &str, items: &[&str]) -> &Self {
        self.ok(format!(
            r#"{{"kind":"WidgetList","apiVersion":"ex.io/v1","metadata":{{"resourceVersion":"{version}"}},"items":[{}]}}"#,
            items.join(",")
        ))
    }

    fn stream(&self) -> Pieces {
        let (pieces, receiver) = mpsc::unbounded_channel();
        self.then(Answer::Stream(receiver));
        pieces
    }

    fn status(&self, code: u16, body: &str) -> &Self {
        self.then(Answer::Status(code, "", body.to_owned()))
    }

    /// The requests since the last time, once there are so many.
    async fn requests(&self, count: usize) -> Vec<String> {
        loop {
            let news = self.news.notified();
            if lock(&self.requests).len() >= count {
                return lock(&self.requests).drain(..count).collect();
            }
            news.await;
        }
    }

    async fn answer(&self, path: String) -> Result<http::Response<UnsyncBoxBody<Bytes, io::Error>>, io::Error> {
        if path == "/readyz" {
            *lock(&self.probes) += 1;
            let Some(code) = lock(&self.health).pop_front().filter(|code| *code != 0) else {
                return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused"));
            };
            let body = UnsyncBoxBody::new(Full::from("").map_err(|never: Infallible| match never {}));
            return Ok(http::Response::builder().status(code).body(body).unwrap());
        }
        lock(&self.requests).push(path);
        self.news.notify_waiters();
        let answer = lock(&self.script).pop_front().unwrap_or(Answer::Hang);
        let never = |never: Infallible| match never {};
        let response = http::Response::builder();
        Ok(match answer {
            Answer::Refuse => return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused")),
            Answer::Hang => std::future::pending().await,
            Answer::Status(code, retry_after, body) => {
                let response = match retry_after {
                    "" => response.status(code),
                    after => response.status(code).header("Retry-After", after),
                };
                response.body(Full::from(body).map_err(never).boxed_unsync()).unwrap()
            }
            Answer::Stream(pieces) => {
                let frames = stream::unfold(pieces, |mut pieces| async {
                    let piece = pieces.recv().await?;
                    Some((piece.map(Frame::data), pieces))
                });
                response.body(StreamBody::new(frames).boxed_unsync()).unwrap()
            }
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "the clock is paused: time goes by at once")]
async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

struct Rig {
    server: Arc<Server>,
    informers: SharedInformers,
    heard: Arc<Recorder>,
    clock: Arc<TokioClock>,
    streams: bool,
}

fn rig() -> Rig {
    rig_with(DriverConfig::default())
}

/// Lists come in pages.
fn paged() -> Rig {
    let mut config = DriverConfig::default();
    config.reflector.lists = ListMode::Paged;
    rig_with(config)
}

fn rig_with(config: DriverConfig) -> Rig {
    let server = Arc::new(Server::default());
    let answering = server.clone();
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let server = answering.clone();
        let mut path = request.uri().to_string();
        let accept = request.headers()[http::header::ACCEPT].to_str().unwrap();
        if accept != "application/json" {
            path = format!("{path} as {accept}");
        }
        async move { server.answer(path).await }
    });
    let client = Client::new(service, "default");
    let clock = Arc::new(TokioClock::start());
    Rig {
        server,
        informers: SharedInformers::new(client, config, clock.clone(), Handle::current(), 1),
        heard: Recorder::new(),
        clock,
        streams: config.reflector.lists == ListMode::Streaming,
    }
}

impl Rig {
    fn subscribe(&self) -> Subscription {
        self.subscribe_to(View::everything())
    }

    fn subscribe_to(&self, view: View) -> Subscription {
        self.informers.subscribe(&gvk(), view, &[], self.heard.clone()).unwrap()
    }

    /// What was heard, once there is so much.
    async fn heard(&self, count: usize) -> Vec<String> {
        for _ in 0..10_000 {
            if self.heard.len() >= count {
                return self.heard.take();
            }
            tokio::task::yield_now().await;
        }
        panic!("heard only {:?}", self.heard.take());
    }

    /// Lists this and opens a watch, whose other end is answered.
    async fn watching(&self, version: &str, items: &[&str]) -> (Subscription, Pieces) {
        self.server.discovery();
        if !self.streams {
            self.server.list(version, items);
        }
        let pieces = self.server.stream();
        let subscription = self.subscribe();
        if self.streams {
            self.server.requests(2).await;
            initial(&pieces, version, items);
        } else {
            self.server.requests(3).await;
        }
        self.heard(items.len() + 1).await;
        (subscription, pieces)
    }
}

fn widget(name: &str, version: u64) -> String {
    json("a", name, "u", version, ("", ""), "red")
}

fn line(kind: &str, object: &str) -> io::Result<Bytes> {
    Ok(format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n").into())
}

/// The initial events of a streaming list, and their end.
fn initial(pieces: &Pieces, version: &str, items: &[&str]) {
    for item in items {
        pieces.send(line("ADDED", item)).unwrap();
    }
    let end = format!(
        r#"{{"kind":"Widget","metadata":{{"resourceVersion":"{version}","annotations":{{"k8s.io/initial-events-end":"true"}}}}}}"#
    );
    pieces.send(line("BOOKMARK", &end)).unwrap();
}

const EXPIRED: &str = r#"{"kind":"Status","message":"too old resource version: 1 (86)","reason":"Expired","code":410}"#;

fn without_timeout(request: &str) -> &str {
    request.split("&timeoutSeconds=").next().unwrap_or_default()
}

const LIST: &str = "/apis/ex.io/v1/widgets?limit=500&resourceVersion=0";
const QUORUM: &str = "/apis/ex.io/v1/widgets?limit=500";
const STREAM: &str = "/apis/ex.io/v1/widgets?watch=true&allowWatchBookmarks=true&sendInitialEvents=true\
                      &resourceVersionMatch=NotOlderThan";
const WATCH: &str = "/apis/ex.io/v1/widgets?watch=true&allowWatchBookmarks=true&resourceVersion=";

#[tokio::test(start_paused = true)]
async fn it_discovers_lists_watches_and_tells_what_happens() {
    let rig = paged();
    rig.server.discovery().list("10", &[&widget("x", 3)]);
    let pieces = rig.server.stream();
    let subscription = rig.subscribe();
    let requests = rig.server.requests(3).await;
    assert_eq!(requests[..2], ["/apis/ex.io/v1", LIST]);
    assert_eq!(without_timeout(&requests[2]), format!("{WATCH}10"));
    let timeout: u64 = requests[2].rsplit_once('=').unwrap().1.parse().unwrap();
    assert!((300..600).contains(&timeout));
    assert_eq!(rig.heard(2).await, ["!+a/x@3", "synced"]);
    // An event in two pieces, two events in one, `object` before `type`.
    let text = line("ADDED", &widget("y", 11)).unwrap();
    pieces.send(Ok(text.slice(..40))).unwrap();
    tokio::task::yield_now().await;
    let swapped = format!("{{\"object\":{},\"type\":\"MODIFIED\"}}\n", widget("x", 12));
    pieces
        .send(Ok([&text[40..], swapped.as_bytes()].concat().into()))
        .unwrap();
    pieces.send(line("DELETED", &widget("y", 13))).unwrap();
    assert_eq!(rig.heard(3).await, ["+a/y@11", "~a/x@12", "-a/y@13"]);
    let found = subscription.get(&Key::new(Some("a"), "x")).unwrap().unwrap();
    assert_eq!(found.head().version.as_str(), "12");
    assert_eq!(subscription.version(None).unwrap().as_str(), "13");
    let status = &rig.informers.statuses()[0];
    assert_eq!(
        (status.phase, status.synced, status.objects, status.restarts),
        (Phase::Watching, true, 1, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn expired_as_an_http_status_is_followed_by_a_quorum_list() {
    let rig = paged();
    rig.server
        .discovery()
        .list("10", &[&widget("x", 3)])
        .status(410, EXPIRED)
        .list("90", &[]);
    let _pieces = rig.server.stream();
    let _subscription = rig.subscribe();
    let requests = rig.server.requests(5).await;
    assert_eq!(requests[3], QUORUM);
    assert_eq!(without_timeout(&requests[4]), format!("{WATCH}90"));
    assert_eq!(rig.heard(3).await, ["!+a/x@3", "synced", "-a/x@90?"]);
    assert_eq!(rig.clock.now(), Duration::ZERO, "at once");
}

#[tokio::test(start_paused = true)]
async fn expired_as_an_event_is_followed_by_a_quorum_list() {
    let rig = paged();
    let (_subscription, pieces) = rig.watching("10", &[&widget("x", 3)]).await;
    rig.server.list("90", &[&widget("x", 80)]);
    let _next = rig.server.stream();
    pieces.send(line("ERROR", EXPIRED)).unwrap();
    assert_eq!(rig.server.requests(1).await, [QUORUM]);
    assert_eq!(rig.heard(1).await, ["~a/x@80"]);
    pieces.closed().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_off_is_opened_again_from_the_last_version() {
    let rig = rig();
    let (_subscription, pieces) = rig.watching("10", &[]).await;
    let again = rig.server.stream();
    pieces.send(line("ADDED", &widget("x", 11))).unwrap();
    pieces
        .send(Ok(Bytes::from_static(b"{\"type\":\"ADDED\",\"object\":{\"kind")))
        .unwrap();
    pieces.send(Err(io::ErrorKind::ConnectionReset.into())).unwrap();
    assert_eq!(without_timeout(&rig.server.requests(1).await[0]), format!("{WATCH}11"));
    again.send(line("ADDED", &widget("y", 12))).unwrap();
    assert_eq!(rig.heard(2).await, ["+a/x@11", "+a/y@12"]);
    let counters = rig.informers.counters()[0].1.reflectors;
    assert_eq!((counters.errors, counters.relists, counters.unreadable), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn rule_39_a_silent_stream_is_cut_though_its_connection_lives() {
    let rig = rig();
    let (_subscription, _silent) = rig.watching("10", &[]).await;
    let _again = rig.server.stream();
    let request = rig.server.requests(1).await;
    assert_eq!(without_timeout(&request[0]), format!("{WATCH}10"));
    assert_eq!(rig.clock.now(), Duration::from_secs(150));
}

#[tokio::test(start_paused = true)]
async fn rule_34_too_many_requests_are_obeyed_and_cost_no_list() {
    let rig = paged();
    rig.server.discovery().list("10", &[]);
    rig.server.then(Answer::Status(
        429,
        "7",
        "Too many requests, please try again later.".to_owned(),
    ));
    let _pieces = rig.server.stream();
    let _subscription = rig.subscribe();
    let requests = rig.server.requests(4).await;
    assert_eq!(without_timeout(&requests[3]), format!("{WATCH}10"));
    assert_eq!(rig.clock.now().as_secs(), 7);
}

#[tokio::test(start_paused = true)]
async fn server_errors_on_a_list_are_tried_again_with_growing_pauses() {
    let rig = paged();
    rig.server.discovery();
    for _ in 0..5 {
        rig.server
            .status(500, r#"{"kind":"Status","message":"etcd is away","code":500}"#);
    }
    rig.server.list("10", &[]);
    let _pieces = rig.server.stream();
    let subscription = rig.subscribe();
    assert_eq!(rig.server.requests(3).await[1..], [LIST, LIST]);
    let status = &subscription.statuses()[0];
    assert_eq!(status.last_error.as_deref(), Some("etcd is away (HTTP 500)"));
    rig.server.requests(5).await;
    assert_eq!(rig.heard(1).await, ["synced"]);
    let waited = rig.clock.now();
    assert!(
        waited >= Duration::from_secs(24) && waited < Duration::from_secs(60),
        "{waited:?}"
    );
    assert_eq!(subscription.statuses()[0].last_error, None);
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_not_there_yet_is_waited_for() {
    let rig = paged();
    rig.server.then(Answer::Refuse).discovery().list("10", &[]);
    lock(&rig.server.health).extend([0, 0, 200]);
    let _pieces = rig.server.stream();
    let mut away = rig.informers.reach().away();
    let subscription = rig.subscribe();
    rig.server.requests(1).await;
    away.wait_for(|away| *away).await.unwrap();
    assert!(rig.informers.unreachable_for().is_some());
    let status = &subscription.statuses()[0];
    assert!(
        status.last_error.as_deref().unwrap().contains("connection refused"),
        "{status:?}"
    );
    rig.server.requests(3).await;
    assert_eq!(rig.heard(1).await, ["synced"]);
    assert_eq!(rig.informers.unreachable_for(), None);
    let totals = rig.informers.reach().totals();
    assert_eq!(totals.outages, 1);
    assert!(totals.lasted > Duration::from_secs(2) && totals.lasted <= Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_goes_away_and_comes_back_costs_no_list() {
    let rig = rig();
    let (_subscription, pieces) = rig.watching("10", &[&widget("x", 3)]).await;
    rig.server.then(Answer::Refuse).then(Answer::Refuse).then(Answer::Hang);
    lock(&rig.server.health).extend([200, 0, 200, 200]);
    let again = rig.server.stream();
    drop(pieces);
    let requests = rig.server.requests(4).await;
    assert!(
        requests
            .iter()
            .all(|request| without_timeout(request) == format!("{WATCH}10")),
        "{requests:?}"
    );
    again.send(line("MODIFIED", &widget("x", 11))).unwrap();
    assert_eq!(rig.heard(1).await, ["~a/x@11"]);
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_is_not_installed_is_waited_for_and_then_served() {
    let rig = paged();
    rig.server
        .status(404, "404 page not found")
        .ok(r#"{"resources":[]}"#)
        .status(404, "404 page not found");
    rig.server.discovery().list("10", &[&widget("x", 3)]);
    let _pieces = rig.server.stream();
    let subscription = rig.subscribe();
    rig.server.requests(2).await;
    assert_eq!(subscription.statuses()[0].phase, Phase::WaitingForKind);
    let error = subscription.get(&Key::new(Some("a"), "x")).unwrap_err();
    assert!(matches!(&error, ReadError::NotSynced { .. }), "{error}");
    rig.server.requests(4).await;
    assert_eq!(rig.heard(2).await, ["!+a/x@3", "synced"]);
    assert!(rig.clock.now() < Duration::from_secs(5), "people wait for it");
}

#[tokio::test(start_paused = true)]
async fn a_forbidden_kind_is_said_so_and_asked_for_again_more_and_more_slowly() {
    let rig = paged();
    rig.server.discovery();
    for _ in 0..7 {
        rig.server.status(
            403,
            r#"{"kind":"Status","reason":"Forbidden","message":"widgets.ex.io is forbidden","code":403}"#,
        );
    }
    let subscription = rig.subscribe();
    rig.server.requests(2).await;
    tokio::task::yield_now().await;
    assert_eq!(subscription.statuses()[0].phase, Phase::Forbidden);
    rig.server.requests(1).await;
    assert!(
        rig.clock.now() < Duration::from_secs(2),
        "a server that starts refuses everybody"
    );
    let mut better = rig.informers.reach().better();
    rig.server.list("10", &[]);
    let _pieces = rig.server.stream();
    rig.server.requests(6).await;
    assert!(rig.clock.now() >= Duration::from_secs(30));
    assert_eq!(*lock(&rig.server.probes), 0, "it is no outage");
    better.changed().await.unwrap();
    rig.heard(1).await;
}

#[tokio::test(start_paused = true)]
async fn while_the_api_server_is_away_it_is_probed_and_watches_come_back_with_it() {
    let rig = rig();
    let (_subscription, pieces) = rig.watching("10", &[]).await;
    rig.server.then(Answer::Refuse);
    let (mut away, better) = (rig.informers.reach().away(), rig.informers.reach().better());
    drop(pieces);
    rig.server.requests(1).await;
    away.wait_for(|away| *away).await.unwrap();
    // Long enough for a watch to have waited for half a minute.
    pass(Duration::from_secs(60)).await;
    assert_eq!(*lock(&rig.server.requests), [""; 0], "probes tell enough");
    let asked = *lock(&rig.server.probes);
    assert!((14..=18).contains(&asked), "{asked} probes in a minute");
    // It starts, and knows no roles yet.
    lock(&rig.server.health).extend([500, 403, 403, 200]);
    let again = rig.server.stream();
    let began = rig.clock.now();
    rig.server.requests(1).await;
    assert!(rig.clock.now() >= began + Duration::from_secs(2));
    assert!(
        rig.clock.now() < began + Duration::from_secs(9),
        "{:?}",
        rig.clock.now() - began
    );
    again.send(line("ADDED", &widget("x", 11))).unwrap();
    rig.heard(1).await;
    assert!(!*away.borrow() && rig.informers.unreachable_for().is_none());
    assert!(better.has_changed().unwrap(), "what failed may go well now");
}

#[tokio::test(start_paused = true)]
async fn credentials_that_are_refused_hold_everything_up_until_they_are_taken() {
    let rig = paged();
    let (_subscription, pieces) = rig.watching("10", &[]).await;
    rig.server.status(401, r#"{"reason":"Unauthorized","code":401}"#);
    let _again = rig.server.stream();
    lock(&rig.server.health).extend([401, 200]);
    let mut away = rig.informers.reach().away();
    drop(pieces);
    away.wait_for(|away| *away).await.unwrap();
    let began = rig.clock.now();
    away.wait_for(|away| !*away).await.unwrap();
    assert!(rig.clock.now() - began <= Duration::from_secs(1));
    let requests = rig.server.requests(2).await;
    assert_eq!(without_timeout(&requests[1]), format!("{WATCH}10"));
    assert!(
        rig.clock.now() - began <= Duration::from_millis(1_500),
        "not after its own pause"
    );
    assert_eq!(*lock(&rig.server.probes), 2, "and none more");
}

#[tokio::test(start_paused = true)]
async fn rights_that_come_back_for_one_watch_are_tried_by_the_others_at_once() {
    let rig = paged();
    rig.server.discovery();
    for _ in 0..8 {
        rig.server.status(403, r#"{"reason":"Forbidden","code":403}"#);
    }
    let _subscription = rig.subscribe();
    rig.server.requests(9).await;
    rig.server.list("10", &[]);
    let began = rig.clock.now();
    // As another watch does.
    tokio::task::yield_now().await;
    rig.informers.reach().allowed();
    rig.server.requests(1).await;
    assert!(rig.clock.now() - began <= Duration::from_millis(500));
    rig.heard(1).await;
}

#[tokio::test(start_paused = true)]
async fn one_request_without_an_answer_is_no_outage() {
    let rig = rig();
    let (_subscription, pieces) = rig.watching("10", &[]).await;
    rig.server.then(Answer::Refuse);
    let _again = rig.server.stream();
    lock(&rig.server.health).push_back(200);
    drop(pieces);
    rig.server.requests(2).await;
    assert!(!rig.informers.reach().away().has_changed().unwrap());
    assert_eq!(*lock(&rig.server.probes), 1);
}

#[tokio::test(start_paused = true)]
async fn named_namespaces_have_a_watch_each() {
    let rig = paged();
    let view = View {
        namespaces: Names::of(["a"]),
        ..View::everything()
    };
    rig.server.discovery().list("10", &[&widget("x", 3)]);
    let _pieces = rig.server.stream();
    let _subscription = rig.subscribe_to(view);
    let requests = rig.server.requests(3).await;
    assert_eq!(
        requests[1],
        "/apis/ex.io/v1/namespaces/a/widgets?limit=500&resourceVersion=0"
    );
    assert!(requests[2].starts_with("/apis/ex.io/v1/namespaces/a/widgets?watch=true"));
}

#[tokio::test(start_paused = true)]
async fn metadata_alone_is_asked_for_where_no_more_is_needed_and_taken_in_either_form() {
    let rig = paged();
    let partial = widget("x", 3)
        .replace("ex.io/v1", "meta.k8s.io/v1")
        .replace("Widget", "PartialObjectMetadata");
    rig.server.discovery().list("10", &[&partial, &widget("y", 4)]);
    let pieces = rig.server.stream();
    let subscription = rig.subscribe_to(View {
        projection: crate::Projection::Metadata,
        selector: LabelSelector::parse("!a").unwrap(),
        ..View::everything()
    });
    let requests = rig.server.requests(3).await;
    assert_eq!(
        requests[1],
        format!(
            "{LIST}&labelSelector=%21a as application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
        )
    );
    assert!(requests[2].starts_with(WATCH), "{}", requests[2]);
    assert!(
        requests[2].ends_with(
            "&labelSelector=%21a as application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
        ),
        "{}",
        requests[2]
    );
    pieces
        .send(line("MODIFIED", &partial.replace("\"3\"", "\"11\"")))
        .unwrap();
    assert_eq!(rig.heard(4).await, ["!+a/x@3", "!+a/y@4", "synced", "~a/x@11"]);
    for name in ["x", "y"] {
        let object = subscription.get(&Key::new(Some("a"), name)).unwrap().unwrap();
        let json = object.json();
        assert!(
            json.starts_with(r#"{"apiVersion":"ex.io/v1","kind":"Widget","metadata":{"#),
            "{json}"
        );
        assert!(!json.contains("spec"), "{json}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_field_selector_that_the_server_alone_can_evaluate_has_a_watch_of_its_own() {
    let rig = paged();
    let picking = |fields: &str| View {
        fields: Some(fields.into()),
        ..of_a()
    };
    rig.server.discovery().list("10", &[]);
    let _one = rig.subscribe_to(picking("spec.color=red"));
    let requests = rig.server.requests(3).await;
    let list = LIST.replace("widgets", "namespaces/a/widgets");
    assert_eq!(requests[1], format!("{list}&fieldSelector=spec.color%3Dred"));
    let _same = rig.subscribe_to(picking("spec.color=red"));
    assert_eq!(rig.informers.counters().len(), 1);
    let _other = rig.subscribe_to(picking("spec.color=blue"));
    assert_eq!(rig.informers.counters().len(), 2);
}

fn of_a() -> View {
    View {
        namespaces: Names::of(["a"]),
        ..View::everything()
    }
}

#[tokio::test(start_paused = true)]
async fn pages_are_read_one_after_the_other() {
    let rig = paged();
    let page = |token: &str, item: &str| {
        format!(r#"{{"metadata":{{"resourceVersion":"10","continue":"{token}"}},"items":[{item}]}}"#)
    };
    rig.server.discovery().ok(page("t/1", &widget("x", 1)));
    rig.server.status(500, "").ok(page("", &widget("y", 2)));
    let _pieces = rig.server.stream();
    let _subscription = rig.subscribe();
    let requests = rig.server.requests(5).await;
    assert_eq!(requests[2], "/apis/ex.io/v1/widgets?limit=500&continue=t%2F1");
    assert_eq!(requests[3], requests[2]);
    assert_eq!(rig.heard(3).await, ["!+a/x@1", "!+a/y@2", "synced"]);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_cut_off_commits_nothing_and_is_asked_for_again() {
    let rig = paged();
    rig.server.discovery();
    let pieces = rig.server.stream();
    rig.server.list("11", &[&widget("y", 5)]);
    let _watch = rig.server.stream();
    let _subscription = rig.subscribe();
    rig.server.requests(2).await;
    let half = format!(
        r#"{{"metadata":{{"resourceVersion":"10"}},"items":[{},"#,
        widget("x", 1)
    );
    pieces.send(Ok(half.into())).unwrap();
    drop(pieces);
    rig.server.requests(2).await;
    assert_eq!(rig.heard(2).await, ["!+a/y@5", "synced"]);
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_read_costs_itself_alone() {
    let rig = paged();
    rig.server
        .discovery()
        .list("10", &[r#"{"metadata":{"name":5}}"#, &widget("x", 3)]);
    let pieces = rig.server.stream();
    let _subscription = rig.subscribe();
    rig.server.requests(3).await;
    pieces.send(Ok(Bytes::from_static(b"rubbish\n"))).unwrap();
    pieces.send(line("ADDED", r#"{"metadata":{}}"#)).unwrap();
    pieces.send(line("STRANGE", "{}")).unwrap();
    pieces.send(line("ADDED", &widget("y", 11))).unwrap();
    assert_eq!(rig.heard(3).await, ["!+a/x@3", "synced", "+a/y@11"]);
    let counts = rig.informers.counters()[0].1.reflectors;
    assert_eq!((counts.unreadable, counts.unknown, counts.errors), (3, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_subscription_ends_the_watch() {
    let rig = rig();
    let (first, pieces) = rig.watching("10", &[&widget("x", 3)]).await;
    let second = rig.subscribe();
    assert_eq!(rig.heard(2).await, ["!+a/x@3", "synced"]);
    drop(first);
    assert!(!pieces.is_closed());
    drop(second);
    pieces.closed().await;
    assert!(rig.informers.statuses().is_empty() && rig.informers.counters().is_empty());
    assert!(lock(&rig.informers.0.tasks).running.is_empty());
}

#[tokio::test(start_paused = true)]
async fn after_stop_nothing_is_heard_and_what_was_cached_stays_readable() {
    let rig = rig();
    let (subscription, pieces) = rig.watching("10", &[&widget("x", 3)]).await;
    rig.informers.stop();
    pieces.closed().await;
    assert_eq!(rig.heard.len(), 0);
    assert_eq!(
        subscription
            .list(None, &LabelSelector::everything())
            .unwrap()
            .items
            .len(),
        1
    );
    let refused = rig
        .informers
        .subscribe(&gvk(), View::everything(), &[], rig.heard.clone());
    assert_eq!(refused.unwrap_err(), SubscribeError::Stopped);
}

#[tokio::test(start_paused = true)]
async fn names_that_would_leave_their_place_in_the_path_are_refused() {
    let rig = rig();
    let view = View {
        namespaces: Names::of(["../kube-system"]),
        ..View::everything()
    };
    let refused = rig.informers.subscribe(&gvk(), view, &[], rig.heard.clone());
    assert!(matches!(refused, Err(SubscribeError::Name { .. })));
    assert!(rig.informers.statuses().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_index_on_more_than_metadata_makes_the_cache_keep_more() {
    let rig = paged();
    let index = |path: &str| IndexSpec {
        name: "mine".to_owned(),
        paths: vec![pilothouse_object::FieldPath::parse(path).unwrap()],
    };
    let view = View {
        projection: crate::Projection::Metadata,
        ..View::everything()
    };
    rig.server.discovery().list("10", &[&widget("x", 3)]);
    let _pieces = rig.server.stream();
    let subscribe = |kind: &Gvk, path: &str| {
        rig.informers
            .subscribe(kind, view.clone(), &[index(path)], rig.heard.clone())
    };
    let subscription = subscribe(&gvk(), "spec.color").unwrap();
    rig.heard(2).await;
    let found = subscription.by_index("mine", "red").unwrap();
    assert_eq!(found.len(), 1);
    assert!(!found[0].json().contains("spec"), "the view still shows metadata alone");
    let secret = Gvk::new("", "v1", "Secret");
    assert!(matches!(
        subscribe(&secret, "data.password"),
        Err(SubscribeError::SecretIndex { .. })
    ));
    assert!(subscribe(&secret, ".metadata.labels['a/b']").is_ok());
}

#[tokio::test(start_paused = true)]
async fn rule_38_a_streaming_list_commits_at_its_bookmark_and_goes_on_as_the_watch() {
    let rig = rig();
    rig.server.discovery();
    let pieces = rig.server.stream();
    let subscription = rig.subscribe();
    let requests = rig.server.requests(2).await;
    assert_eq!(without_timeout(&requests[1]), format!("{STREAM}&resourceVersion=0"));
    pieces.send(line("ADDED", &widget("x", 3))).unwrap();
    tokio::task::yield_now().await;
    assert!(
        subscription.get(&Key::new(Some("a"), "x")).is_err(),
        "not before the end"
    );
    assert_eq!(subscription.statuses()[0].phase, Phase::Listing);
    initial(&pieces, "10", &[&widget("y", 4)]);
    pieces.send(line("MODIFIED", &widget("x", 11))).unwrap();
    assert_eq!(rig.heard(4).await, ["!+a/x@3", "!+a/y@4", "synced", "~a/x@11"]);
    let status = &subscription.statuses()[0];
    assert_eq!((status.phase, status.restarts, status.relists), (Phase::Watching, 0, 0));
    assert_eq!(rig.informers.0.lists.available_permits(), 4);
    // The same stream, and the common silence.
    let _again = rig.server.stream();
    let request = rig.server.requests(1).await;
    assert_eq!(without_timeout(&request[0]), format!("{WATCH}11"));
    assert_eq!(rig.clock.now(), Duration::from_secs(150));
}

#[tokio::test(start_paused = true)]
async fn rule_38_a_stream_that_is_cut_before_its_bookmark_is_thrown_away() {
    let rig = rig();
    rig.server.discovery();
    let pieces = rig.server.stream();
    let again = rig.server.stream();
    let _subscription = rig.subscribe();
    rig.server.requests(2).await;
    pieces.send(line("ADDED", &widget("x", 3))).unwrap();
    tokio::task::yield_now().await;
    drop(pieces);
    let request = rig.server.requests(1).await;
    assert_eq!(without_timeout(&request[0]), format!("{STREAM}&resourceVersion=0"));
    initial(&again, "10", &[&widget("y", 4)]);
    assert_eq!(rig.heard(2).await, ["!+a/y@4", "synced"]);
}

#[tokio::test(start_paused = true)]
async fn rule_38_a_server_that_refuses_streaming_lists_is_asked_for_pages_at_once() {
    let rig = rig();
    rig.server
        .discovery()
        .status(422, r#"{"kind":"Status","reason":"Invalid","code":422}"#)
        .list("10", &[&widget("x", 3)]);
    let _pieces = rig.server.stream();
    let _subscription = rig.subscribe();
    let requests = rig.server.requests(4).await;
    assert_eq!(requests[2], LIST);
    assert_eq!(without_timeout(&requests[3]), format!("{WATCH}10"));
    assert_eq!(rig.heard(2).await, ["!+a/x@3", "synced"]);
    assert_eq!(rig.clock.now(), Duration::ZERO);
    let counts = rig.informers.counters()[0].1.reflectors;
    assert_eq!((counts.streams, counts.fallbacks, counts.lists), (1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn rule_38_a_server_that_does_not_know_the_parameter_is_asked_for_pages_after_ten_seconds() {
    let rig = rig();
    rig.server.discovery();
    let ignorant = rig.server.stream();
    rig.server.list("10", &[&widget("x", 3)]);
    let _pieces = rig.server.stream();
    let _subscription = rig.subscribe();
    rig.server.requests(2).await;
    ignorant.send(line("ADDED", &widget("x", 3))).unwrap();
    tokio::task::yield_now().await;
    assert_eq!(rig.informers.0.lists.available_permits(), 3);
    let requests = rig.server.requests(2).await;
    assert_eq!(requests[0], LIST);
    assert_eq!(rig.heard(2).await, ["!+a/x@3", "synced"]);
    assert_eq!(rig.clock.now(), Duration::from_secs(10));
    ignorant.closed().await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_streaming_list_gives_its_turn_to_another() {
    let rig = rig();
    rig.server.discovery();
    let _ignorant = rig.server.stream();
    let _subscription = rig.subscribe();
    rig.server.requests(2).await;
    while rig.informers.0.lists.available_permits() < 4 {
        #[expect(clippy::disallowed_methods, reason = "the clock is paused")]
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(rig.clock.now() < Duration::from_millis(1_200), "{:?}", rig.clock.now());
}

#[tokio::test(start_paused = true)]
async fn rule_38_a_relist_by_streaming_is_not_older_than_the_last_version_and_silent_where_nothing_changed() {
    let rig = rig();
    let (_subscription, pieces) = rig.watching("10", &[&widget("x", 3), &widget("y", 4)]).await;
    let again = rig.server.stream();
    let boom = r#"{"kind":"Status","message":"boom","code":500}"#;
    pieces.send(line("ERROR", boom)).unwrap();
    let request = rig.server.requests(1).await;
    assert_eq!(without_timeout(&request[0]), format!("{STREAM}&resourceVersion=10"));
    initial(&again, "20", &[&widget("x", 3), &widget("z", 15)]);
    assert_eq!(rig.heard(2).await, ["-a/y@20?", "+a/z@15"]);
    pieces.closed().await;
}

#[tokio::test(start_paused = true)]
async fn rule_38_expired_as_an_event_is_followed_by_a_streaming_list_with_a_quorum() {
    let rig = rig();
    let (_subscription, pieces) = rig.watching("10", &[&widget("x", 3)]).await;
    let again = rig.server.stream();
    pieces.send(line("ERROR", EXPIRED)).unwrap();
    assert_eq!(without_timeout(&rig.server.requests(1).await[0]), STREAM);
    initial(&again, "90", &[&widget("x", 80)]);
    assert_eq!(rig.heard(1).await, ["~a/x@80"]);
    assert_eq!(rig.clock.now(), Duration::ZERO, "at once");
}

#[tokio::test(start_paused = true)]
async fn rule_40_what_can_not_be_read_among_the_initial_events_stays_as_it_was() {
    let rig = rig();
    let (_subscription, pieces) = rig.watching("10", &[&widget("x", 3), &widget("y", 4)]).await;
    let again = rig.server.stream();
    pieces.send(line("ERROR", EXPIRED)).unwrap();
    rig.server.requests(1).await;
    again
        .send(line("ADDED", r#"{"metadata":{"namespace":"a","name":"x","labels":5}}"#))
        .unwrap();
    initial(&again, "90", &["17"]);
    assert_eq!(rig.heard(1).await, ["-a/y@90?"]);
    assert_eq!(rig.informers.counters()[0].1.reflectors.unreadable, 2);
}

#[tokio::test(start_paused = true)]
async fn rule_39_a_watch_that_sends_bytes_for_ever_and_never_a_line_is_cut() {
    let rig = rig();
    let (_subscription, pieces) = rig.watching("10", &[]).await;
    let _again = rig.server.stream();
    while !pieces.is_closed() {
        let _ = pieces.send(Ok(Bytes::from_static(b"x")));
        #[expect(clippy::disallowed_methods, reason = "the clock is paused")]
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let ended = rig.clock.now();
    assert!(
        ended > Duration::from_secs(330) && ended < Duration::from_secs(640),
        "{ended:?}"
    );
    assert_eq!(without_timeout(&rig.server.requests(1).await[0]), format!("{WATCH}10"));
}

#[tokio::test(start_paused = true)]
async fn a_list_that_sends_bytes_for_ever_is_given_up() {
    let rig = paged();
    rig.server.discovery();
    let pieces = rig.server.stream();
    rig.server.list("10", &[]);
    let _watch = rig.server.stream();
    let _subscription = rig.subscribe();
    rig.server.requests(2).await;
    pieces.send(Ok(Bytes::from_static(b"{"))).unwrap();
    while !pieces.is_closed() {
        let _ = pieces.send(Ok(Bytes::from_static(b" ")));
        #[expect(clippy::disallowed_methods, reason = "the clock is paused")]
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    assert!(rig.clock.now() < Duration::from_secs(640), "{:?}", rig.clock.now());
    assert_eq!(rig.heard(1).await, ["synced"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_a_panic_has_ended_says_so_and_begins_anew() {
    /// Panics once, at the deletion of an object.
    struct Panics(Arc<Recorder>);
    impl Handler for Panics {
        fn deltas(&self, deltas: &[crate::Delta]) {
            assert!(deltas.iter().all(|delta| delta.new.is_some()), "a fault that is meant");
            self.0.deltas(deltas);
        }
        fn synced(&self) {
            self.0.synced();
        }
    }
    let rig = paged();
    rig.server.discovery().list("10", &[&widget("x", 3), &widget("y", 4)]);
    let pieces = rig.server.stream();
    let panics = Arc::new(Panics(rig.heard.clone()));
    let subscription = rig
        .informers
        .subscribe(&gvk(), View::everything(), &[], panics)
        .unwrap();
    rig.server.requests(3).await;
    rig.heard(3).await;
    pieces.send(line("DELETED", &widget("x", 11))).unwrap();
    pieces.closed().await;
    // The panic is over, and what follows it is done.
    pass(Duration::from_millis(1)).await;
    let status = &rig.informers.statuses()[0];
    assert_eq!((status.phase, status.synced), (Phase::BackingOff, false));
    assert!(status.last_error.as_ref().unwrap().contains("a fault of this host"));
    assert_eq!(
        subscription
            .list(None, &LabelSelector::everything())
            .unwrap()
            .items
            .len(),
        1
    );
    // Not at once.
    pass(super::task::AFTER_FAULT / 2).await;
    assert!(lock(&rig.server.requests).is_empty());
    rig.server.discovery().list("12", &[&widget("y", 4), &widget("z", 12)]);
    let _pieces = rig.server.stream();
    rig.server.requests(3).await;
    assert_eq!(rig.heard(1).await, ["+a/z@12"]);
    let status = &rig.informers.statuses()[0];
    assert_eq!((status.synced, &status.last_error), (true, &None));
    assert_eq!(lock(&rig.informers.0.tasks).running.len(), 1);
}
