//! Calls without a guest, for tests: a host with the smallest plugin there is over a local cluster, whose answers a
//! test may change. What a plugin imports is called as the runtime calls it.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::StreamExt as _;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, BodyStream, Full, StreamBody};
use kube::client::Body;
use pilothouse_lifecycle::{Capabilities, Config, Granted, Grants, Permission, Plugin, load_all};
use pilothouse_localcluster::{
    Cluster, Request as Asked, User,
    service::LocalService,
    shared::{AnswerBody, SharedCluster},
};
use pilothouse_object::{Gvk, Key};
use pilothouse_runtime::{Compiler, Engine, EngineConfig, Modules, ObjectRef, Options};
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::Service;

use crate::{
    ControllerId, Happening, Host, HostOptions, Observer,
    calls::call::{Call, PluginState, gvk_of},
    lock::lock,
};

/// What a test says to the API server.
#[derive(Default)]
pub(crate) struct Script {
    /// Writes that were sent, whatever came of them.
    pub(crate) sent: usize,
    /// What access reviews say.
    pub(crate) allows: bool,
    /// Requests of this method whose paths end so are not carried out, and answered with this status.
    pub(crate) fails: Option<(Method, &'static str, u16)>,
}

/// A local cluster behind the script.
#[derive(Clone)]
struct Scripted {
    inner: LocalService,
    script: Arc<Mutex<Script>>,
    /// Watches end when this is told.
    cut: watch::Receiver<()>,
}

impl Service<Request<Body>> for Scripted {
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<Body>>::poll_ready(&mut self.inner, cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (path, method) = (request.uri().path().to_owned(), request.method().clone());
        let scripted = {
            let mut script = self.script.lock().unwrap();
            if path.ends_with("/subjectaccessreviews") {
                Some((
                    201,
                    json!({"status": {"allowed": script.allows, "reason": "no such role"}}),
                ))
            } else {
                script.sent += usize::from(method != Method::GET);
                let fails = script.fails.as_ref();
                let fails = fails.filter(|(of, end, _)| *of == method && path.ends_with(end));
                fails.map(|(.., code)| {
                    (
                        *code,
                        json!({"kind": "Status", "code": code, "message": "as the test says"}),
                    )
                })
            }
        };
        let (mut inner, mut cut) = (self.inner.clone(), self.cut.clone());
        cut.mark_unchanged();
        Box::pin(async move {
            let Some((code, answer)) = scripted else {
                let answer = inner.call(request).await?;
                return Ok(answer.map(|body| {
                    let ends = Box::pin(async move { _ = cut.changed().await });
                    StreamBody::new(BodyStream::new(body).take_until(ends)).boxed_unsync()
                }));
            };
            let mut answer = Response::new(Full::new(answer.to_string().into_bytes().into()).boxed_unsync());
            *answer.status_mut() = StatusCode::from_u16(code).unwrap();
            Ok(answer)
        })
    }
}

struct Nobody;

impl Observer for Nobody {
    fn happened(&self, _: &Happening) {}
}

/// See the module.
pub(crate) struct Scene {
    pub(crate) host: Host,
    pub(crate) script: Arc<Mutex<Script>>,
    cluster: SharedCluster,
    cut: watch::Sender<()>,
}

impl Scene {
    /// A plugin `bench` that watches ConfigMaps, and may do this besides: group, kind and verbs.
    pub(crate) async fn new(may: &[(&str, &str, &[&str])]) -> Self {
        Self::with("", may).await
    }

    /// One that acts as another besides.
    pub(crate) async fn acting_as_another(may: &[(&str, &str, &[&str])]) -> Self {
        Self::with("impersonate: {serviceAccount: team/bench}", may).await
    }

    async fn with(settings: &str, may: &[(&str, &str, &[&str])]) -> Self {
        let cluster = SharedCluster::new(Cluster::new(1), || Duration::from_secs(1_000_000));
        let script = Arc::<Mutex<Script>>::default();
        let cut = watch::Sender::new(());
        let service = Scripted {
            inner: LocalService::new(cluster.clone()),
            script: script.clone(),
            cut: cut.subscribe(),
        };
        let scene = |host| Self {
            host,
            script,
            cluster: cluster.clone(),
            cut,
        };
        for (plural, kind) in [("empties", "Empty"), ("busies", "Busy")] {
            let definition = json!({
                "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": {"name": format!("{plural}.bench.io")},
                "spec": {"group": "bench.io", "scope": "Namespaced",
                    "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List")},
                    "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema":
                        {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]},
            });
            post(
                &cluster,
                "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
                &definition,
            );
        }
        let plugin = Arc::new(plugin(settings, may).await);
        let options = HostOptions::new(1, Arc::new(Nobody));
        let host = Host::start(kube::Client::new(service, "default"), vec![plugin], options);
        scene(host)
    }

    /// Creates an object of the core group.
    pub(crate) fn object(&self, plural: &str, object: &Value) {
        post(&self.cluster, &format!("/api/v1/namespaces/default/{plural}"), object);
    }

    /// A new call of the plugin.
    pub(crate) fn call(&self) -> Call {
        let state: Arc<PluginState> = lock(&self.host.live).plugin("bench").unwrap().clone();
        let (id, key) = (
            ControllerId::new("bench", "busy"),
            Key::new(Some("default"), "somebody"),
        );
        Call::new(self.host.core.shared.clone(), state, id, key, 1, None)
    }

    pub(crate) fn says(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.script.lock().unwrap());
    }

    /// Writes that were sent so far.
    pub(crate) fn sent(&self) -> usize {
        self.script.lock().unwrap().sent
    }

    /// Every watch ends, and is opened anew where the server lets it.
    pub(crate) fn cut_watches(&self) {
        self.cut.send_replace(());
    }

    /// Waits until the plugin's cache holds this state of an object.
    pub(crate) async fn hears_of(&self, target: &ObjectRef, answer: &str) {
        let answer: Value = serde_json::from_str(answer).unwrap();
        let version = answer["metadata"]["resourceVersion"].as_str().unwrap();
        let (kind, key) = (gvk_of(&target.kind), crate::writing::body::key_of(target));
        let call = self.call();
        until(|| {
            call.watched(&kind, &key)
                .is_some_and(|has| has.head().version.as_str() == version)
        })
        .await;
    }
}

/// Passes time until it is so.
#[allow(clippy::disallowed_methods, reason = "the clock is paused: this passes time")]
pub(crate) async fn until(mut is: impl FnMut() -> bool) {
    for _ in 0..100_000 {
        if is() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it was not so within 1,000 s");
}

/// An object of that kind in the namespace `default`.
pub(crate) fn target(group: &str, kind: &str, name: &str) -> ObjectRef {
    ObjectRef {
        kind: pilothouse_runtime::Gvk {
            group: group.into(),
            version: "v1".into(),
            kind: kind.into(),
        },
        namespace: Some("default".into()),
        name: name.into(),
    }
}

/// No preconditions, and nothing else that is special.
pub(crate) fn plain() -> Options {
    Options {
        subresource: None,
        uid: None,
        resource_version: None,
        force: false,
        dry_run: false,
        manager_suffix: None,
    }
}

/// A ConfigMap's kind, as the host names it.
pub(crate) fn config_maps() -> Gvk {
    Gvk::new("", "v1", "ConfigMap")
}

fn post(cluster: &SharedCluster, path: &str, body: &Value) {
    let asked = Asked::with_body(Method::POST, path, "application/json", body.to_string());
    let answer = cluster.handle(&User::default(), asked);
    assert!(answer.status < 300, "{}", String::from_utf8_lossy(answer.whole()));
}

async fn plugin(settings: &str, may: &[(&str, &str, &[&str])]) -> Plugin {
    let modules = Modules::new(Engine::new(EngineConfig::default()).unwrap(), Compiler::InProcess);
    let directory = tempfile::tempdir().unwrap();
    let module = std::fs::read(pilothouse_guests::component("bench-plugin")).unwrap();
    std::fs::write(directory.path().join("bench.wasm"), module).unwrap();
    let text = format!("apiVersion: pilothouse.dev/v1\nplugins: {{bench: {{{settings}}}}}");
    let config = Config::parse(&text, "c.yaml".as_ref()).unwrap();
    let config = config.granting_what_is_asked(true);
    let mut loaded = load_all(&modules, directory.path(), &config).await.unwrap();
    let mut plugin = loaded.plugins.pop().unwrap().unwrap();
    let watches: &[&str] = &["watch"];
    let watched = [
        ("bench.io", "Empty", watches),
        ("bench.io", "Busy", watches),
        ("", "ConfigMap", watches),
    ];
    let asked = watched.iter().chain(may).map(|(group, kind, verbs)| {
        let permission = json!({"group": group, "kind": kind, "verbs": verbs});
        serde_json::from_value(permission).unwrap()
    });
    let asked: Vec<Permission> = asked.collect();
    plugin.capabilities = Capabilities::new("bench", &asked, &Granted::from(Grants::Everything));
    plugin
}
