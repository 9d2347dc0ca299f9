//! The clients that are measured, all over the same server in the same process: ours with three indexes and the router
//! behind it, and kube-rs's reflector and Controller, which have no indexes.

use std::{
    fmt::Debug,
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, future::BoxFuture};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, Resource,
    api::{ApiResource, DynamicObject},
    runtime::{
        Controller, WatchStreamExt as _,
        controller::Action,
        reflector,
        watcher::{self, Event},
    },
};
use pilothouse_bench_informer::{pod_server::PodServer, pods};
use pilothouse_informer::{Delta, DriverConfig, Handler, SharedInformers, Subscription, TokioClock, View};
use pilothouse_object::Key;
use serde::de::DeserializeOwned;

/// What a subscriber that does nothing notes: how many events came, and where it is asked for how long each took.
pub struct Heard {
    pub events: AtomicU64,
    pub relists: AtomicU64,
    start: Instant,
    /// By version, from the first that counts: when its event was sent, and then how long it took, in nanoseconds.
    pub first: AtomicU64,
    pub times: Vec<AtomicU64>,
}

impl Heard {
    pub fn new(timed: usize) -> Arc<Self> {
        Arc::new(Self {
            events: AtomicU64::new(0),
            relists: AtomicU64::new(0),
            start: Instant::now(),
            first: AtomicU64::new(u64::MAX),
            times: (0..timed).map(|_| AtomicU64::new(0)).collect(),
        })
    }

    pub fn count(&self) -> u64 {
        self.events.load(Ordering::Acquire)
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    pub fn sent(&self, i: usize) {
        self.times[i].store(self.now(), Ordering::Release);
    }

    fn came(&self, version: Option<&str>) {
        if !self.times.is_empty() {
            let at = version
                .and_then(|version| version.parse::<u64>().ok())
                .unwrap_or_default();
            let place = at.checked_sub(self.first.load(Ordering::Acquire));
            if let Some(time) = place.and_then(|at| self.times.get(at as usize)) {
                time.store(self.now() - time.load(Ordering::Acquire), Ordering::Release);
            }
        }
        self.events.fetch_add(1, Ordering::AcqRel);
    }
}

/// Maps each change to its key, as the router does for a controller's own kind: `host/controller` has its cost.
struct Router(Arc<Heard>);

impl Handler for Router {
    fn deltas(&self, deltas: &[Delta]) {
        for delta in deltas {
            let object = delta.new.as_ref().or(delta.old.as_ref());
            let keys: Vec<Key> = object.map(|object| object.key().clone()).into_iter().collect();
            assert_eq!(std::hint::black_box(keys).len(), 1);
            self.0.came(Some(delta.version.as_str()));
        }
    }
    fn synced(&self) {}
}

/// A running client; ends when it is dropped.
pub enum Running {
    Ours(SharedInformers, Subscription),
    Theirs(tokio::task::JoinHandle<()>),
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Self::Theirs(task) = self {
            task.abort();
        }
    }
}

/// Starts a client by its name and waits until it has all pods and watches.
pub async fn start(name: &str, server: &PodServer, heard: &Arc<Heard>) -> Running {
    let client = Client::new(server.clone(), "default");
    let running = match name {
        "pilothouse" => ours(client, heard),
        "kube-rs reflector, DynamicObject" => theirs::<DynamicObject>(client, heard, ApiResource::erase::<Pod>(&())),
        "kube-rs reflector, Pod" => theirs::<Pod>(client, heard, ()),
        "kube-rs Controller, DynamicObject" => {
            controller::<DynamicObject>(client, heard, ApiResource::erase::<Pod>(&()))
        }
        "kube-rs Controller, Pod" => controller::<Pod>(client, heard, ()),
        other => panic!("no client {other}"),
    };
    until(|| heard.count() >= pods::PODS as u64 && server.watches() >= 1).await;
    // What the last bytes left is let go.
    tokio::time::sleep(Duration::from_millis(300)).await;
    running
}

pub async fn until(done: impl Fn() -> bool) {
    let patience = Instant::now();
    while !done() {
        assert!(patience.elapsed() < Duration::from_secs(120), "it takes too long");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn ours(client: Client, heard: &Arc<Heard>) -> Running {
    let runtime = tokio::runtime::Handle::current();
    let informers = SharedInformers::new(
        client,
        DriverConfig::default(),
        Arc::new(TokioClock::start()),
        runtime,
        1,
    );
    let router = Arc::new(Router(heard.clone()));
    let subscription = informers
        .subscribe(&pods::gvk(), View::everything(), &pods::indexes(), router)
        .unwrap_or_else(|error| panic!("{error}"));
    Running::Ours(informers, subscription)
}

fn theirs<K>(client: Client, heard: &Arc<Heard>, kind: K::DynamicType) -> Running
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Send + Sync,
{
    let api: Api<K> = Api::all_with(client, &kind);
    let writer = reflector::store::Writer::<K>::new(kind);
    let heard = heard.clone();
    let events = kube::runtime::watcher(api, watcher::Config::default())
        .default_backoff()
        .reflect(writer);
    Running::Theirs(tokio::spawn(async move {
        events
            .for_each(|event| {
                match &event {
                    Ok(Event::InitApply(_)) => heard.came(None),
                    Ok(Event::Apply(object)) => heard.came(object.meta().resource_version.as_deref()),
                    Ok(Event::InitDone) => {
                        heard.relists.fetch_add(1, Ordering::AcqRel);
                    }
                    _ => {}
                }
                std::future::ready(())
            })
            .await;
    }))
}

fn controller<K>(client: Client, heard: &Arc<Heard>, kind: K::DynamicType) -> Running
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Debug + Unpin + Send + Sync,
{
    let api: Api<K> = Api::all_with(client, &kind);
    let reconcile =
        |object: Arc<K>, heard: Arc<Heard>| -> BoxFuture<'static, Result<Action, std::convert::Infallible>> {
            heard.came(object.meta().resource_version.as_deref());
            Box::pin(std::future::ready(Ok(Action::await_change())))
        };
    let controller = Controller::new_with(api, watcher::Config::default(), kind);
    let running = controller.run(reconcile, |_, _, _| Action::await_change(), heard.clone());
    Running::Theirs(tokio::spawn(running.for_each(|_| std::future::ready(()))))
}
