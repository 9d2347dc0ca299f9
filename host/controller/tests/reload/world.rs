//! What all reloads are tested in: a local cluster that looks on, and an observer that keeps what it was told.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, Weak},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http::{Method, Request};
use kube::client::Body;
use pilothouse_controller::{ControllerId, Happening, Host, Observer};
use pilothouse_lifecycle::{Hash, Plugin};
use pilothouse_localcluster::{
    Cluster, ClusterConfig, Request as Asked, User,
    service::LocalService,
    shared::{AnswerBody, SharedCluster},
};
use pilothouse_object::Key;
use serde_json::{Value, json};
use tower::Service;

/// One after the other: what the process holds is looked at.
pub(crate) static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Objects of each kind.
pub(crate) const OBJECTS: usize = 10;

/// A local cluster that counts the lists it was asked for and looks whether two runs write for one key at once.
#[derive(Clone)]
pub(crate) struct Counting {
    inner: LocalService,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) lists: BTreeMap<String, usize>,
    pub(crate) writing: HashMap<String, usize>,
    pub(crate) overlaps: Vec<String>,
    /// Patches that plugins sent.
    pub(crate) patches: usize,
    /// Lists and watches of these plurals are refused.
    pub(crate) forbidden: Option<&'static str>,
}

impl Service<Request<Body>> for Counting {
    type Response = http::Response<AnswerBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<Body>>::poll_ready(&mut self.inner, cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let (mut inner, seen) = (self.inner.clone(), self.seen.clone());
        let path = request.uri().path().to_owned();
        let query = request.uri().query().unwrap_or_default();
        let collection = request.method() == Method::GET && query.contains("resourceVersion");
        let streams = query.contains("watch=true") && !query.contains("sendInitialEvents=true");
        let patches = request.method() == Method::PATCH;
        Box::pin(async move {
            {
                let mut seen = seen.lock().unwrap();
                if collection && !streams {
                    *seen.lists.entry(path.clone()).or_default() += 1;
                }
                if patches {
                    seen.patches += 1;
                    let writing = seen.writing.entry(path.clone()).or_default();
                    *writing += 1;
                    if *writing > 1 {
                        seen.overlaps.push(path.clone());
                    }
                }
            }
            if patches {
                // So that others come in between.
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                }
            }
            let forbidden = seen.lock().unwrap().forbidden;
            let forbidden = collection && forbidden.is_some_and(|plural| path.ends_with(plural));
            if forbidden {
                *request.uri_mut() = http::Uri::from_static("/nothing");
            }
            let mut answer = inner.call(request).await?;
            if forbidden {
                *answer.status_mut() = http::StatusCode::FORBIDDEN;
            }
            if patches {
                seen.lock()
                    .unwrap()
                    .writing
                    .entry(path)
                    .and_modify(|writing| *writing -= 1);
            }
            Ok(answer)
        })
    }
}

/// What a key's last run was.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ran {
    pub(crate) version: Option<u64>,
    pub(crate) mark: Mark,
}

/// Which module, by which words of the operator's.
pub(crate) type Mark = (Hash, Hash);

#[derive(Default)]
pub(crate) struct Told(pub(crate) Mutex<Telling>);

#[derive(Default)]
pub(crate) struct Telling {
    /// Of each key, in order: on which version of the object and of the plugin.
    pub(crate) runs: HashMap<(ControllerId, Key), Vec<Ran>>,
    /// What served after each switch.
    pub(crate) swaps: Vec<(Mark, Weak<Plugin>)>,
    pub(crate) unloaded: Vec<String>,
    /// When the first run of each version ended.
    pub(crate) first: HashMap<Hash, Instant>,
}

impl Observer for Told {
    fn happened(&self, happening: &Happening) {
        let mut told = self.0.lock().unwrap();
        match happening {
            Happening::Reconciled(run) => {
                assert!(matches!(run.result, Ok(Ok(_))), "{:?}", run.result);
                told.first.entry(run.configuration).or_insert_with(moment);
                let version = run
                    .version
                    .as_ref()
                    .and_then(|version| version.to_string().parse().ok());
                told.runs
                    .entry((run.id.clone(), run.key.clone()))
                    .or_default()
                    .push(Ran {
                        version,
                        mark: (run.module, run.configuration),
                    });
            }
            Happening::Swapped { now, .. } => {
                let mark = (now.hash, now.configuration);
                told.swaps.push((mark, Arc::downgrade(now)));
            }
            Happening::Unloaded { plugin } => told.unloaded.push(plugin.to_string()),
            _ => {}
        }
    }
}

/// The modules of the plugin's two versions.
pub(crate) fn modules() -> [Vec<u8>; 2] {
    let module = std::fs::read(pilothouse_guests::component("bench-plugin")).unwrap();
    let said = |version: &str| format!("\"version\": \"{version}\"");
    ["0.1.0", "0.1.1"].map(|version| replaced(&module, &said("0.1.0"), &said(version)))
}

fn replaced(module: &[u8], text: &str, by: &str) -> Vec<u8> {
    assert_eq!(text.len(), by.len(), "sections know their lengths");
    let at = module.windows(text.len()).position(|window| window == text.as_bytes());
    let at = at.expect("the text is in the module");
    let mut module = module.to_vec();
    module[at..at + text.len()].copy_from_slice(by.as_bytes());
    module
}

fn definition(plural: &str, kind: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.bench.io")},
        "spec": {"group": "bench.io", "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List")},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema":
                {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]},
    })
}

/// Writes, and answers the version that this made.
pub(crate) fn write(cluster: &SharedCluster, method: Method, path: &str, body: &Value) -> u64 {
    let kind = if method == Method::PATCH {
        "application/merge-patch+json"
    } else {
        "application/json"
    };
    let answer = cluster.handle(&User::default(), Asked::with_body(method, path, kind, body.to_string()));
    assert!(answer.status < 300, "{}", String::from_utf8_lossy(answer.whole()));
    let object: Value = serde_json::from_slice(answer.whole()).unwrap();
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

pub(crate) fn busy(number: usize) -> String {
    format!("/apis/bench.io/v1/namespaces/default/busies/o{number}")
}

/// A cluster with `OBJECTS` of each kind, and what looks on.
pub(crate) fn cluster() -> (Counting, SharedCluster, Arc<Mutex<Seen>>) {
    // Full early: what it remembers of writes is memory of this process, too.
    let config = ClusterConfig {
        history: 2_000,
        ..ClusterConfig::default()
    };
    let cluster = SharedCluster::new(Cluster::with_config(1, config), || Duration::from_secs(1_000_000));
    for (plural, kind) in [("empties", "Empty"), ("busies", "Busy")] {
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        write(&cluster, Method::POST, path, &definition(plural, kind));
    }
    for number in 0..OBJECTS {
        let own = |api: &str, kind: &str| json!({"apiVersion": api, "kind": kind, "metadata": {"name": format!("o{number}")}});
        let namespace = "/apis/bench.io/v1/namespaces/default";
        write(
            &cluster,
            Method::POST,
            &format!("{namespace}/busies"),
            &own("bench.io/v1", "Busy"),
        );
        write(
            &cluster,
            Method::POST,
            &format!("{namespace}/empties"),
            &own("bench.io/v1", "Empty"),
        );
        write(
            &cluster,
            Method::POST,
            "/api/v1/namespaces/default/configmaps",
            &own("v1", "ConfigMap"),
        );
    }
    let seen = Arc::<Mutex<Seen>>::default();
    let service = Counting {
        inner: LocalService::new(cluster.clone()),
        seen: seen.clone(),
    };
    (service, cluster, seen)
}

/// Waits until nothing is left to do.
pub(crate) async fn rest(host: &Host) {
    let rests = until(|| host.is_idle()).await;
    assert!(rests, "not idle after a minute: {:?}", host.waiting_for());
}

/// Waits until a run of the key was on this version of its object: events take their time.
pub(crate) async fn reconciled(told: &Told, controller: &str, name: &str, version: u64) {
    let key = (ControllerId::new("bench", controller), Key::new(Some("default"), name));
    let ran = || {
        let told = told.0.lock().unwrap();
        let runs = told.runs.get(&key);
        runs.is_some_and(|runs| runs.iter().any(|run| run.version == Some(version)))
    };
    assert!(
        until(ran).await,
        "{controller} {name} was not reconciled after its last change, at version {version}"
    );
}

/// Whether that came to hold within a minute of the test's clock: the bound only ends a test that would hang.
async fn until(holds: impl Fn() -> bool) -> bool {
    for _ in 0..6_000 {
        if holds() {
            return true;
        }
        pause().await;
    }
    false
}

#[allow(
    clippy::disallowed_methods,
    reason = "a test over real components looks again and again"
)]
pub(crate) async fn pause() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}

#[allow(
    clippy::disallowed_methods,
    reason = "tells how long new keys waited; nothing is held against it"
)]
pub(crate) fn moment() -> Instant {
    Instant::now()
}

/// Memory of this process in bytes, as the kernel counts it.
pub(crate) fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: Option<usize> = status.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or_default() * 4_096
}
