//! An API server in the test's process: a face over the local cluster, or over the real API server, that the test can
//! stop, hold and break.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower::BoxError;

use crate::backend::{Backend, Body};
use crate::{Api, LOOK, NAMESPACES, Scene, wait_until};

/// An API server; it ends when it is dropped.
///
/// It does not listen before [`Server::start`], and again after [`Server::stop`]; the cluster behind it lives on, and
/// [`Server::api`] reaches it at any time.
pub struct Server {
    backend: Backend,
    namespace: String,
    port: u16,
    broken: Arc<Broken>,
    /// Lets the cluster's time pass.
    _tasks: JoinSet<()>,
    face: JoinSet<()>,
}

/// What the test has the server do, and what the server saw.
#[derive(Default)]
struct Broken {
    rules: Mutex<Vec<Arc<Rule>>>,
    seen: Mutex<Vec<(Method, String)>>,
    /// Connections are closed as soon as they come.
    hanging_up: Mutex<Option<u64>>,
}

impl Broken {
    /// The first rule that holds and is meant.
    fn rule(&self, is_meant: impl Fn(&Rule) -> bool) -> Option<Arc<Rule>> {
        let mut rules = lock(&self.rules);
        rules.retain(|rule| !*rule.over.borrow());
        rules.iter().find(|rule| is_meant(rule)).cloned()
    }
}

type Meant = Box<dyn Fn(&Method, &str, &str) -> bool + Send + Sync>;

struct Rule {
    meant: Meant,
    act: Act,
    /// How many requests met this rule.
    met: watch::Sender<u64>,
    /// The rule holds no longer.
    over: watch::Sender<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Act {
    /// The request waits before the cluster sees it.
    Before,
    /// The cluster does it, and the answer waits.
    After,
    /// The cluster does it, and the connection breaks off instead of an answer.
    Lose,
    /// This status instead.
    Fail(u16),
    /// What watches have to tell waits.
    Events,
}

/// A rule of the server's, until it is released or dropped.
pub struct Hold(Arc<Rule>);

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    /// A server for a test that listens, with both CustomResourceDefinitions and the test's namespace.
    pub async fn started(scene: &Scene) -> Self {
        let mut server = Self::new(scene).await;
        server.start().await;
        server
    }

    /// The same, but it does not listen yet.
    pub async fn new(scene: &Scene) -> Self {
        let mut tasks = JoinSet::new();
        let server = Self {
            backend: Backend::new(scene.cluster(), &mut tasks).await,
            namespace: scene.namespace().to_owned(),
            port: crate::free_port(),
            broken: Arc::default(),
            _tasks: tasks,
            face: JoinSet::new(),
        };
        server.api().create(NAMESPACES, "", scene.namespace(), json!({})).await;
        server
    }

    /// Listens, on the same port each time.
    ///
    /// # Panics
    /// If the port can't be had.
    pub async fn start(&mut self) {
        // What was stopped a moment ago may take a moment more to let go of the port.
        let port = self.port;
        let listener = wait_until("the server's port", async || {
            TcpListener::bind(("127.0.0.1", port)).await.ok()
        })
        .await;
        let (backend, broken) = (self.backend.clone(), self.broken.clone());
        self.face.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    Some(_) = connections.join_next() => {}
                    accepted = listener.accept() => match accepted {
                        Ok((stream, _)) => {
                            let hangs_up = lock(&broken.hanging_up).as_mut().map(|count| *count += 1).is_some();
                            if !hangs_up {
                                connections.spawn(connection(stream, backend.clone(), broken.clone()));
                            }
                        }
                        Err(error) => panic!("the server can't accept: {error}"),
                    }
                }
            }
        });
    }

    /// Listens no more, and breaks off every connection.
    pub async fn stop(&mut self) {
        self.face.shutdown().await;
    }

    /// From now on every connection is closed as soon as it comes. Those that are open stay.
    pub fn hang_up(&self) {
        *lock(&self.broken.hanging_up) = Some(0);
    }

    /// No longer; answers how many connections were closed.
    pub fn pick_up(&self) -> u64 {
        lock(&self.broken.hanging_up).take().unwrap_or_default()
    }

    /// How many connections were closed since [`Server::hang_up`].
    pub fn hung_up(&self) -> u64 {
        lock(&self.broken.hanging_up).unwrap_or_default()
    }

    /// Requests of this method and path (watches left out, but for streaming lists) wait before the cluster sees them.
    pub fn hold(&self, method: Method, path: &str) -> Hold {
        self.rule(exactly(method, path), Act::Before)
    }

    /// The cluster does them, and their answers wait.
    pub fn hold_answers(&self, method: Method, path: &str) -> Hold {
        self.rule(exactly(method, path), Act::After)
    }

    /// The cluster does them, and the connection breaks off instead of an answer.
    pub fn lose_answers(&self, method: Method, path: &str) -> Hold {
        self.rule(exactly(method, path), Act::Lose)
    }

    /// Every request fails with this status, watches included. Those that are open stay.
    pub fn fail(&self, status: u16) -> Hold {
        self.rule(Box::new(|_, _, _| true), Act::Fail(status))
    }

    /// What the watches of this path have to tell waits, also of those that are open.
    pub fn hold_events(&self, path: &str) -> Hold {
        let path = path.to_owned();
        self.rule(Box::new(move |_, p, query| p == path && is_watch(query)), Act::Events)
    }

    fn rule(&self, meant: Meant, act: Act) -> Hold {
        let rule = Arc::new(Rule {
            meant,
            act,
            met: watch::Sender::new(0),
            over: watch::Sender::new(false),
        });
        lock(&self.broken.rules).push(rule.clone());
        Hold(rule)
    }

    /// How many requests of this method and path there were, from the host.
    pub fn seen(&self, method: &Method, path: &str) -> usize {
        lock(&self.broken.seen)
            .iter()
            .filter(|(m, p)| m == method && p == path)
            .count()
    }

    /// A client of the cluster, past everything that is broken.
    pub fn api(&self) -> Api {
        Api::new(self.backend.client(), &self.namespace)
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The text of a kubeconfig for it.
    pub fn kubeconfig(&self) -> String {
        pilothouse_localcluster::kubeconfig::text(([127, 0, 0, 1], self.port).into())
    }
}

fn exactly(method: Method, path: &str) -> Meant {
    let path = path.to_owned();
    Box::new(move |m, p, query| *m == method && *p == path && (!is_watch(query) || is_list(query)))
}

/// A watch that is a list first.
fn is_list(query: &str) -> bool {
    query.contains("sendInitialEvents=true")
}

fn is_watch(query: &str) -> bool {
    query.contains("watch=")
}

impl Hold {
    /// Waits until so many requests met the rule.
    #[track_caller]
    pub fn met(&self, requests: u64) -> impl Future<Output = ()> {
        let rule = self.0.clone();
        wait_until("a request that the server is to hold or break", async move || {
            (*rule.met.borrow() >= requests).then_some(())
        })
    }

    /// How many requests met the rule.
    pub fn count(&self) -> u64 {
        *self.0.met.borrow()
    }

    /// Ends the rule: what waits goes on.
    pub fn release(self) {}
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.over.send_replace(true);
    }
}

async fn connection(stream: TcpStream, backend: Backend, broken: Arc<Broken>) {
    let service = service_fn(move |request| respond(backend.clone(), broken.clone(), request));
    // An error: the client hung up, or the test had the connection break off.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn respond(
    backend: Backend,
    broken: Arc<Broken>,
    request: Request<Incoming>,
) -> Result<Response<Body>, BoxError> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let query = request.uri().query().unwrap_or_default().to_owned();
    lock(&broken.seen).push((method.clone(), path.clone()));
    let rule = broken.rule(|rule| rule.act != Act::Events && (rule.meant)(&method, &path, &query));
    let act = rule.as_ref().map(|rule| rule.act);
    if let (Some(rule), Some(Act::Before | Act::Fail(_))) = (&rule, act) {
        rule.met.send_modify(|met| *met += 1);
    }
    match (&rule, act) {
        (Some(rule), Some(Act::Before)) => over(rule).await,
        (_, Some(Act::Fail(status))) => return Ok(failure(status)),
        _ => {}
    }
    let answer = backend.answer(request).await?;
    if let (Some(rule), Some(Act::After | Act::Lose)) = (&rule, act) {
        rule.met.send_modify(|met| *met += 1);
        if act == Some(Act::Lose) {
            return Err("the test has this answer get lost".into());
        }
        over(rule).await;
    }
    if !is_watch(&query) {
        return Ok(answer);
    }
    let events = |body| Events {
        body,
        target: (method, path, query),
        broken,
        waiting: None,
    };
    Ok(answer.map(|body| events(body).boxed_unsync()))
}

/// What a watch tells, in so far as no rule holds it.
struct Events {
    body: Body,
    target: (Method, String, String),
    broken: Arc<Broken>,
    /// Ends with the rule that holds it now.
    waiting: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl http_body::Body for Events {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let (method, path, query) = &this.target;
        while let Some(rule) = this
            .broken
            .rule(|rule| rule.act == Act::Events && (rule.meant)(method, path, query))
        {
            let waiting = this
                .waiting
                .get_or_insert_with(|| Box::pin(async move { over(&rule).await }));
            ready!(waiting.as_mut().poll(cx));
            this.waiting = None;
        }
        Pin::new(&mut this.body).poll_frame(cx)
    }
}

async fn over(rule: &Rule) {
    // An error: the rule is gone, which means the same.
    let _ = rule.over.subscribe().wait_for(|over| *over).await;
}

fn failure(status: u16) -> Response<Body> {
    let body = Full::new(Bytes::from_static(b"the test has this request fail\n"));
    let body = body.map_err(|never| match never {}).boxed_unsync();
    let mut answer = Response::new(body);
    *answer.status_mut() = status.try_into().expect("a status");
    answer
}

// The look interval also bounds how late a test sees that a rule was met.
const _: () = assert!(LOOK.as_millis() <= 50);
