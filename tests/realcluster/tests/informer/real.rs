//! Random changes and disconnections for two informers at once, one that lists in streams and one that lists in pages,
//! as in the informer's own soak on the local cluster: fewer of them, since each change is a request to a server that
//! writes to a disk, and with an API server that is killed and has forgotten what happened when it is back.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, Config,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    client::Body,
    config::{KubeConfigOptions, Kubeconfig},
};
use pilothouse_informer::{DriverConfig, ListMode, Names, SharedInformers, Subscription, TokioClock, View};
use pilothouse_object::{Gvk, LabelSelector};
use pilothouse_realcluster::{ControlPlane, Options};
use serde_json::json;
use tokio::{runtime::Handle, sync::watch};

use crate::{
    broken::{self, AnyBody},
    oracle::{Held, Oracle},
};

const CHANGES: u32 = 3_000;
const DISCONNECTIONS: u32 = 30;
/// Every so many disconnections the API server is killed, and etcd's history is thrown away.
const RESTARTS_EVERY: u32 = 10;
const NAMES: u32 = 100;

/// The way to the server, and what is wrong with it.
struct Line {
    client: Client,
    wrong: Mutex<Wrong>,
    /// Counts cuts; open answers end with the next one.
    cuts: watch::Sender<u64>,
}

struct Wrong {
    rng: fastrand::Rng,
    down: bool,
    /// The next so many answers break off somewhere.
    breaking: u32,
}

impl Line {
    fn wrong(&self) -> std::sync::MutexGuard<'_, Wrong> {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, request: http::Request<Body>) -> io::Result<http::Response<AnyBody>> {
        let left = {
            let mut wrong = self.wrong();
            if wrong.down {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            match wrong.breaking.checked_sub(1) {
                Some(less) => {
                    wrong.breaking = less;
                    // From nothing to about what a whole list has, all sizes alike.
                    let bits = wrong.rng.u32(0..16);
                    Some(wrong.rng.usize(0..1 << bits))
                }
                None => None,
            }
        };
        let cuts = self.cuts.subscribe();
        let answer = self.client.send(request).await.map_err(io::Error::other)?;
        Ok(answer.map(|body| broken::frames(body, cuts, left)))
    }
}

struct Watcher {
    informers: SharedInformers,
    subscription: Subscription,
    oracle: Arc<Oracle>,
}

impl Watcher {
    fn new(lists: ListMode, line: &Arc<Line>, namespace: &str) -> Self {
        let line = line.clone();
        let service = tower::service_fn(move |request| {
            let line = line.clone();
            async move { line.answer(request).await }
        });
        let mut config = DriverConfig::default();
        config.reflector.lists = lists;
        config.reflector.page_size = 10;
        let clock = Arc::new(TokioClock::start());
        let client = Client::new(service, "default");
        let informers = SharedInformers::new(client, config, clock, Handle::current(), 5);
        let oracle = Oracle::new();
        let view = View {
            namespaces: Names::of([namespace]),
            ..View::everything()
        };
        let kind = Gvk::new("", "v1", "ConfigMap");
        let subscription = informers
            .subscribe(&kind, view, &[], oracle.clone())
            .expect("a subscription");
        Self {
            informers,
            subscription,
            oracle,
        }
    }

    fn cached(&self) -> Option<Held> {
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
}

/// What the server holds.
async fn truth(api: &Api<ConfigMap>) -> Held {
    let list = api.list(&ListParams::default()).await.expect("the server lists");
    let state = |map: ConfigMap| {
        let meta = map.metadata;
        let text = |text: Option<String>| text.expect("a server's object has it");
        let key = format!("{}/{}", text(meta.namespace), text(meta.name));
        (key, (text(meta.uid), text(meta.resource_version)))
    };
    list.items.into_iter().map(state).collect()
}

fn is_missing<T>(answer: Result<T, kube::Error>) -> bool {
    match answer {
        Ok(_) => false,
        Err(kube::Error::Api(status)) if status.code == 404 => true,
        Err(error) => panic!("{error}"),
    }
}

/// One random change: something new, something changed, something gone.
async fn change(api: &Api<ConfigMap>, rng: &mut fastrand::Rng) {
    let name = format!("m{}", rng.u32(0..NAMES));
    let data = json!({"n": rng.u32(..).to_string(), "text": "x]}\"\\\n".repeat(rng.usize(..60))});
    let missing = match rng.u8(0..10) {
        0..=1 => is_missing(api.delete(&name, &DeleteParams::default()).await),
        _ => {
            let patch = Patch::Merge(json!({ "data": data }));
            is_missing(api.patch(&name, &PatchParams::default(), &patch).await)
        }
    };
    if missing {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data});
        let map = serde_json::from_value(map).expect("a ConfigMap");
        api.create(&PostParams::default(), &map).await.expect("it is not there");
    }
}

#[expect(clippy::disallowed_methods, reason = "a test of real processes waits for them")]
async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Waits until everybody knows what the server holds, at most two minutes.
async fn settles(api: &Api<ConfigMap>, watchers: &[Watcher], what: u32) {
    let right = truth(api).await;
    for _ in 0..1_200 {
        if watchers.iter().all(|watcher| watcher.cached().as_ref() == Some(&right)) {
            break;
        }
        pass(Duration::from_millis(100)).await;
    }
    for (i, watcher) in watchers.iter().enumerate() {
        let statuses = watcher.informers.statuses();
        assert_eq!(
            watcher.cached().as_ref(),
            Some(&right),
            "watcher {i} after {what}: {statuses:?}"
        );
        assert_eq!(watcher.oracle.held(), right, "who listens to watcher {i} after {what}");
        assert!(watcher.oracle.synced());
    }
}

/// The administrator's client; a test sees what the server answers, not what a client made of it.
async fn client(plane: &ControlPlane) -> Client {
    let kubeconfig = Kubeconfig::read_from(plane.kubeconfig()).expect("a kubeconfig of our own");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let mut config = config.expect("a kubeconfig of our own");
    config.default_retry = false;
    Client::try_from(config).expect("a client with a certificate of our own")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_thousand_changes_thirty_disconnections_and_restarts_that_forget_leave_no_difference() {
    let plane = tokio::task::block_in_place(|| ControlPlane::start(&Options::default())).expect("a control plane");
    let namespace = tokio::task::block_in_place(|| plane.namespace("soak")).expect("a namespace");
    let api: Api<ConfigMap> = Api::namespaced(client(&plane).await, &namespace);
    let line = Arc::new(Line {
        client: client(&plane).await,
        wrong: Mutex::new(Wrong {
            rng: fastrand::Rng::with_seed(2),
            down: false,
            breaking: 0,
        }),
        cuts: watch::Sender::new(0),
    });
    let watchers = [ListMode::Streaming, ListMode::Paged].map(|lists| Watcher::new(lists, &line, &namespace));
    let mut rng = fastrand::Rng::with_seed(3);
    for n in 1..=DISCONNECTIONS {
        let changes = CHANGES / DISCONNECTIONS;
        let missed = rng.u32(..changes);
        for _ in missed..changes {
            change(&api, &mut rng).await;
        }
        let restart = n % RESTARTS_EVERY == 0;
        {
            let mut wrong = line.wrong();
            wrong.down = restart || rng.bool();
            wrong.breaking = rng.u32(..5);
        }
        line.cuts.send_modify(|cuts| *cuts += 1);
        for _ in 0..missed {
            change(&api, &mut rng).await;
        }
        if restart {
            tokio::task::block_in_place(|| {
                plane.compact().expect("etcd compacts");
                plane.apiserver().kill();
                plane.apiserver().start().expect("the API server starts again");
            });
        }
        line.wrong().down = false;
        if n % 5 == 0 {
            settles(&api, &watchers, n).await;
        }
    }
    for watcher in &watchers {
        let (_, went) = watcher.oracle.came_and_went();
        assert!(went > 100, "{went} deletions");
    }
    let [streaming, paged] = watchers.map(|watcher| watcher.informers.counters()[0].1.reflectors);
    // The way was as bad as it was meant to be, and each of the two has listed in its own way.
    for counts in [streaming, paged] {
        assert!(
            counts.relists > 0 && counts.errors > 20 && counts.watches > 20,
            "{counts:?}"
        );
    }
    assert!(streaming.streams > 1, "{streaming:?}");
    assert!(paged.lists > 1 && paged.streams == 0, "{paged:?}");
}
