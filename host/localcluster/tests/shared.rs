//! What the faces rest on: one cluster shared by several clients, on a clock that is passed in. No sockets, no runtime.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use http::Method;
use http_body_util::{BodyExt as _, Full};
use pilothouse_localcluster::service::LocalService;
use pilothouse_localcluster::shared::{SharedCluster, admin};
use pilothouse_localcluster::{Body, Cluster, Request, Response, WatchId};
use serde_json::Value;
use tower::Service as _;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A cluster whose clock is set by hand, in seconds.
fn shared() -> (SharedCluster, Arc<AtomicU64>) {
    let clock = Arc::new(AtomicU64::new(1_000_000));
    let read = clock.clone();
    let cluster = SharedCluster::new(Cluster::new(1), move || {
        Duration::from_secs(read.load(Ordering::Relaxed))
    });
    (cluster, clock)
}

fn ask(cluster: &SharedCluster, request: Request) -> Response {
    cluster.handle(&admin(), request)
}

fn create(cluster: &SharedCluster, name: &str) {
    let body = format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}"}}}}"#);
    let created = ask(
        cluster,
        Request::with_body(Method::POST, CONFIG_MAPS, "application/json", body),
    );
    assert_eq!(created.status, 201);
}

fn watch(cluster: &SharedCluster, query: &str) -> WatchId {
    let response = ask(
        cluster,
        Request::new(Method::GET, &format!("{CONFIG_MAPS}?watch=true{query}")),
    );
    match response.body {
        Body::Watch(id) => id,
        Body::Whole(body) => panic!("{} {}", response.status, String::from_utf8_lossy(&body)),
    }
}

fn told(line: Option<Option<Bytes>>) -> String {
    let line = line.expect("the watch says nothing").expect("the watch is over");
    let event: Value = serde_json::from_slice(&line).unwrap();
    format!(
        "{} {}",
        event["type"].as_str().unwrap(),
        event["object"]["metadata"]["name"].as_str().unwrap()
    )
}

#[test]
fn a_watch_hears_of_writes_that_others_make() {
    let (cluster, _) = shared();
    let mut lines = pin!(cluster.lines(watch(&cluster, "&resourceVersion=0")));
    assert_eq!(lines.next().now_or_never(), None);
    create(&cluster, "a");
    create(&cluster, "b");
    assert_eq!(told(lines.next().now_or_never()), "ADDED a");
    assert_eq!(told(lines.next().now_or_never()), "ADDED b");
    assert_eq!(lines.next().now_or_never(), None);
}

#[test]
fn a_watch_ends_when_its_time_is_up_and_somebody_advances_the_cluster() {
    let (cluster, clock) = shared();
    let mut lines = pin!(cluster.lines(watch(&cluster, "&timeoutSeconds=30")));
    assert_eq!(lines.next().now_or_never(), None);
    let wait = cluster.advance().expect("the time-out is due some time");
    assert!(wait <= Duration::from_secs(30), "{wait:?}");
    clock.fetch_add(30, Ordering::Relaxed);
    cluster.advance();
    assert_eq!(lines.next().now_or_never(), Some(None), "over");
}

#[test]
fn a_watch_that_nobody_reads_any_more_is_closed() {
    let (cluster, _) = shared();
    let open = || cluster.with(|cluster, _| cluster.open_watches());
    let lines = Box::pin(cluster.lines(watch(&cluster, "")));
    assert_eq!(open(), 1);
    drop(lines);
    assert_eq!(open(), 0);
}

#[test]
fn time_stands_still_where_the_clock_steps_back() {
    let (cluster, clock) = shared();
    let now = || cluster.with(|_, now| now.as_secs());
    assert_eq!(now(), 1_000_000);
    clock.store(5, Ordering::Relaxed);
    assert_eq!(now(), 1_000_000);
    clock.store(1_000_001, Ordering::Relaxed);
    assert_eq!(now(), 1_000_001);
}

#[test]
fn the_face_in_the_process_takes_any_body_and_needs_no_runtime() {
    let (cluster, _) = shared();
    let mut service = LocalService::new(cluster.clone());
    let body = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}"#;
    let post = http::Request::post(CONFIG_MAPS)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    let created = service.call(post).now_or_never().expect("it is ready at once").unwrap();
    assert_eq!(created.status(), 201);
    let list = http::Request::get(CONFIG_MAPS).body(String::new()).unwrap();
    let listed = service.call(list).now_or_never().unwrap().unwrap();
    assert_eq!(listed.headers()["content-type"], "application/json");
    let body = listed.into_body().collect().now_or_never().unwrap().unwrap().to_bytes();
    let list: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(list["items"][0]["metadata"]["name"], "a");
    let large = http::Request::post(CONFIG_MAPS)
        .body(Full::new(Bytes::from(vec![b' '; 4 << 20])))
        .unwrap();
    assert_eq!(service.call(large).now_or_never().unwrap().unwrap().status(), 413);
}

#[test]
fn clones_share_one_cluster_and_forks_do_not() {
    let (cluster, _) = shared();
    let clone = cluster.clone();
    let mut fork = cluster.with(|cluster, _| cluster.clone());
    create(&clone, "a");
    let one = Request::new(Method::GET, &format!("{CONFIG_MAPS}/a"));
    assert_eq!(ask(&cluster, one.clone()).status, 200);
    assert_eq!(fork.handle(Duration::from_secs(1_000_000), &admin(), one).status, 404);
}
