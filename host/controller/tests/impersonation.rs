//! A plugin that acts as another: real components, a local cluster in this process, and an API server's word on who may
//! what that a test writes. The clock is paused, so that minutes pass as soon as nothing else is to do.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Either};
use kube::client::Body;
use pilothouse_controller::{Happening, Host, HostOptions, Observer, Standing};
use pilothouse_lifecycle::{Config, Plugin, Stage, load_all};
use pilothouse_localcluster::{
    Cluster, Request as Asked, User,
    service::LocalService,
    shared::{AnswerBody, SharedCluster},
};
use pilothouse_runtime::{Compiler, Engine, EngineConfig, Modules};
use serde_json::{Value, json};
use tower::Service;

const REVIEWS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";

/// What the API server says to a review.
#[derive(Clone, Copy, Default)]
enum Word {
    #[default]
    Allowed,
    /// To list ConfigMaps is denied, all else allowed.
    Denied,
    /// It does not answer.
    Away,
    /// The host may not ask.
    Forbidden,
}

#[derive(Default)]
struct Seen {
    word: Word,
    /// What was asked.
    reviews: Vec<Value>,
    /// Of every other request that names one: method, and as whom.
    acted: Vec<(Method, String)>,
    /// Requests as the host itself: method, path and query.
    own: Vec<(Method, String)>,
}

/// A local cluster behind it.
#[derive(Clone)]
struct Judge {
    inner: LocalService,
    seen: Arc<Mutex<Seen>>,
}

impl Service<Request<Body>> for Judge {
    type Response = Response<Either<AnswerBody, Body>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<Body>>::poll_ready(&mut self.inner, cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (mut inner, seen) = (self.inner.clone(), self.seen.clone());
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let user = head.headers.get("impersonate-user");
            let groups = head
                .headers
                .keys()
                .filter(|name| name.as_str().starts_with("impersonate-"));
            let user = user.map(|user| user.to_str().unwrap().to_owned());
            assert_eq!(groups.count(), usize::from(user.is_some()), "no groups, no more");
            if head.uri.path() != REVIEWS {
                {
                    let mut seen = seen.lock().unwrap();
                    match user {
                        Some(user) => seen.acted.push((head.method.clone(), user)),
                        None => seen.own.push((head.method.clone(), head.uri.to_string())),
                    }
                }
                let answer = inner.call(Request::from_parts(head, body)).await?;
                return Ok(answer.map(Either::Left));
            }
            assert_eq!((head.method, user), (Method::POST, None), "the host asks, as itself");
            let body = body.collect().await.unwrap().to_bytes();
            let review: Value = serde_json::from_slice(&body).unwrap();
            let mut seen = seen.lock().unwrap();
            let about = &review["spec"]["resourceAttributes"];
            let listed = about["resource"] == "configmaps" && about["verb"] == "list";
            let (status, answer) = match seen.word {
                Word::Allowed => (201, json!({"status": {"allowed": true}})),
                Word::Denied => (201, json!({"status": {"allowed": !listed, "reason": "no such role"}})),
                Word::Away => (503, json!({"kind": "Status", "code": 503, "message": "away"})),
                Word::Forbidden => (
                    403,
                    json!({"kind": "Status", "code": 403, "reason": "Forbidden", "message": "no"}),
                ),
            };
            seen.reviews.push(review["spec"].clone());
            let mut answer = Response::new(Either::Right(Body::from(answer.to_string().into_bytes())));
            *answer.status_mut() = StatusCode::from_u16(status).unwrap();
            Ok(answer)
        })
    }
}

#[derive(Default)]
struct Runs(Mutex<Vec<String>>);

impl Observer for Runs {
    fn happened(&self, happening: &Happening) {
        if let Happening::Reconciled(run) = happening {
            assert!(matches!(run.result, Ok(Ok(_))), "{:?}", run.result);
            self.0
                .lock()
                .unwrap()
                .push(format!("{} {}", run.kind.kind, run.key.name));
        }
    }
}

struct World {
    cluster: SharedCluster,
    seen: Arc<Mutex<Seen>>,
    runs: Arc<Runs>,
    plugin: Arc<Plugin>,
}

#[allow(clippy::disallowed_methods, reason = "the clock is paused: this passes time")]
async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

impl World {
    async fn new(word: Word) -> Self {
        let cluster = SharedCluster::new(Cluster::new(1), || Duration::from_secs(1_000_000));
        for (plural, kind) in [("empties", "Empty"), ("busies", "Busy")] {
            let definition = json!({
                "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": {"name": format!("{plural}.bench.io")},
                "spec": {"group": "bench.io", "scope": "Namespaced",
                    "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List")},
                    "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema":
                        {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]},
            });
            write(
                &cluster,
                "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
                &definition,
            );
        }
        let world = Self {
            cluster,
            seen: Arc::default(),
            runs: Arc::default(),
            plugin: plugin().await,
        };
        world.says(word);
        world.object("first");
        world
    }

    fn says(&self, word: Word) {
        self.seen.lock().unwrap().word = word;
    }

    /// One that is reconciled by patching the ConfigMap of its name.
    fn object(&self, name: &str) {
        let own = |api: &str, kind: &str| json!({"apiVersion": api, "kind": kind, "metadata": {"name": name}});
        write(
            &self.cluster,
            "/api/v1/namespaces/default/configmaps",
            &own("v1", "ConfigMap"),
        );
        let busies = "/apis/bench.io/v1/namespaces/default/busies";
        write(&self.cluster, busies, &own("bench.io/v1", "Busy"));
    }

    fn host(&self, plugins: Vec<Arc<Plugin>>) -> Host {
        let service = Judge {
            inner: LocalService::new(self.cluster.clone()),
            seen: self.seen.clone(),
        };
        let mut options = HostOptions::new(1, self.runs.clone());
        options.lists_within = Duration::from_secs(60);
        Host::start(kube::Client::new(service, "default"), plugins, options)
    }

    fn ran(&self, name: &str) -> bool {
        self.runs.0.lock().unwrap().contains(&format!("Busy {name}"))
    }

    fn reviews(&self) -> usize {
        self.seen.lock().unwrap().reviews.len()
    }
}

fn write(cluster: &SharedCluster, path: &str, body: &Value) {
    let asked = Asked::with_body(Method::POST, path, "application/json", body.to_string());
    let answer = cluster.handle(&User::default(), asked);
    assert!(answer.status < 300, "{}", String::from_utf8_lossy(answer.whole()));
}

async fn plugin() -> Arc<Plugin> {
    let engine = Engine::new(EngineConfig::default()).unwrap();
    let modules = Modules::new(engine, Compiler::InProcess);
    let directory = tempfile::tempdir().unwrap();
    let module = std::fs::read(pilothouse_guests::component("bench-plugin")).unwrap();
    std::fs::write(directory.path().join("bench.wasm"), module).unwrap();
    let text = "apiVersion: pilothouse.dev/v1\nplugins: {bench: {impersonate: {serviceAccount: team/bench}}}";
    let config = Config::parse(text, "c.yaml".as_ref())
        .unwrap()
        .granting_what_is_asked(true);
    let mut loaded = load_all(&modules, directory.path(), &config).await.unwrap();
    Arc::new(loaded.plugins.pop().unwrap().unwrap())
}

#[tokio::test(start_paused = true)]
async fn own_requests_go_out_as_the_other_and_watches_and_reviews_as_the_host() {
    let world = World::new(Word::Allowed).await;
    let host = world.host(Vec::new());
    host.serve(world.plugin.clone(), false).await.unwrap();
    pass(30).await;
    assert!(world.ran("first"));
    assert_eq!(host.access("bench"), Some(Standing::Allowed));
    let seen = world.seen.lock().unwrap();
    assert!(!seen.acted.is_empty());
    for acted in &seen.acted {
        assert_eq!(*acted, (Method::PATCH, "system:serviceaccount:team:bench".to_owned()));
    }
    assert!(
        seen.own.iter().all(|(method, _)| *method == Method::GET),
        "{:?}",
        seen.own
    );
    let mut asked: Vec<String> = Vec::new();
    for spec in &seen.reviews {
        assert_eq!(spec["user"], "system:serviceaccount:team:bench");
        let groups = json!([
            "system:serviceaccounts",
            "system:serviceaccounts:team",
            "system:authenticated"
        ]);
        assert_eq!(spec["groups"], groups);
        let about = &spec["resourceAttributes"];
        asked.push(format!(
            "{} {}",
            about["verb"].as_str().unwrap(),
            about["resource"].as_str().unwrap()
        ));
    }
    asked.sort();
    asked.dedup();
    let mut all = Vec::new();
    for verb in ["get", "list", "watch"] {
        all.extend(["busies", "configmaps", "empties"].map(|plural| format!("{verb} {plural}")));
    }
    assert_eq!(asked, all);
}

#[tokio::test(start_paused = true)]
async fn what_is_denied_when_it_comes_is_refused_with_the_mend_and_never_runs() {
    let world = World::new(Word::Denied).await;
    let host = world.host(Vec::new());
    let refused = host.serve(world.plugin.clone(), false).await.unwrap_err();
    assert!(
        refused.why.starts_with("service account team/bench, as whom it acts, may not list configmaps in every namespace (no such role): let it"),
        "{}",
        refused.why
    );
    pass(30).await;
    assert!(!world.ran("first") && host.plugins().is_empty());
    let own = &world.seen.lock().unwrap().own;
    assert!(
        own.iter().all(|(_, uri)| !uri.contains("resourceVersion")),
        "nothing was watched: {own:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_denied_later_is_not_called_any_more_until_it_is_allowed() {
    let world = World::new(Word::Allowed).await;
    let host = world.host(vec![world.plugin.clone()]);
    pass(30).await;
    assert!(world.ran("first"));
    let reviews = world.reviews();
    pass(200).await;
    assert_eq!(world.reviews(), reviews, "not before its time");
    world.says(Word::Denied);
    pass(150).await;
    assert!(world.reviews() > reviews, "after five minutes");
    assert!(matches!(host.access("bench"), Some(Standing::Denied(why)) if why.contains("may not list configmaps")));
    assert!(
        host.metrics()
            .contains("pilothouse_plugin_access_allowed{plugin=\"bench\"} 0")
    );
    world.object("second");
    pass(200).await;
    assert!(!world.ran("second"));
    world.says(Word::Allowed);
    pass(90).await;
    assert!(world.ran("second"), "its key waited");
    let metrics = host.metrics();
    assert!(metrics.contains("pilothouse_plugin_access_allowed{plugin=\"bench\"} 1"));
    assert!(
        metrics.contains("pilothouse_plugin_access_reviews_total{plugin=\"bench\",result=\"denied\"}"),
        "{metrics}"
    );
}

#[tokio::test(start_paused = true)]
async fn without_an_answer_nothing_is_called_that_was_not_allowed_and_nothing_stopped_that_was() {
    for silence in [Word::Away, Word::Forbidden] {
        let world = World::new(silence).await;
        let host = world.host(vec![world.plugin.clone()]);
        pass(60).await;
        assert!(!world.ran("first"));
        assert!(matches!(host.access("bench"), Some(Standing::Unreviewed(Some(_)))));
        let waits = host.waiting_for();
        assert_eq!(waits, ["bench: reviews of what service account team/bench may see"]);
        world.says(Word::Allowed);
        pass(120).await;
        assert!(world.ran("first"));
        world.says(silence);
        pass(400).await;
        world.object("second");
        pass(30).await;
        assert!(world.ran("second"), "no answer is no denial");
        assert_eq!(host.access("bench"), Some(Standing::Allowed));
    }
}

#[tokio::test(start_paused = true)]
async fn a_version_that_comes_after_another_waits_for_an_answer_and_the_older_one_serves_on_where_it_is_denied() {
    let world = World::new(Word::Allowed).await;
    let host = world.host(Vec::new());
    host.serve(world.plugin.clone(), false).await.unwrap();
    pass(10).await;
    let mut next = (*world.plugin).clone();
    next.configuration = pilothouse_lifecycle::Hash::of(b"another");
    world.says(Word::Denied);
    assert!(host.serve(Arc::new(next.clone()), false).await.is_err());
    world.object("second");
    pass(10).await;
    assert!(world.ran("second"));
    assert_eq!(host.plugins()[0].configuration, world.plugin.configuration);
    world.says(Word::Away);
    let waited = host.serve(Arc::new(next.clone()), false).await.unwrap_err();
    assert!(waited.why.contains("could not be reviewed"), "{}", waited.why);
    world.says(Word::Allowed);
    host.serve(Arc::new(next.clone()), false).await.unwrap();
    assert_eq!(host.plugins()[0].configuration, next.configuration);
}
