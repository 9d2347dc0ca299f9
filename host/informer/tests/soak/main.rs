//! A hundred thousand random changes and a hundred disconnections on the local cluster, for two informers at once, one
//! that lists in streams and one that lists in pages: at every checkpoint their caches equal the server, and who
//! listened has heard of everything without a gap and without a double.
//!
//! All on a paused clock and from one seed: hours of a cluster's life in seconds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod broken;
#[path = "../scripted/oracle.rs"]
mod oracle;

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::Method;
use kube::{Client, client::Body};
use pilothouse_informer::{DriverConfig, ListMode, SharedInformers, Subscription, TokioClock, View, driver::Clock};
use pilothouse_localcluster::{
    Cluster, ClusterConfig, Request,
    service::LocalService,
    shared::{SharedCluster, admin},
};
use pilothouse_object::{Gvk, LabelSelector};
use serde_json::{Value, json};
use tokio::{runtime::Handle, sync::watch};
use tower::Service;

use crate::{
    broken::AnyBody,
    oracle::{Held, Oracle},
};

const CHANGES: u32 = 100_000;
const DISCONNECTIONS: u32 = 100;
/// What the server remembers. An outage often has more changes than that.
const HISTORY: usize = 300;
const NAMESPACES: [&str; 3] = ["default", "kube-system", "kube-public"];
const NAMES: u32 = 60;

/// The way to the server, and what is wrong with it.
struct Line {
    cluster: SharedCluster,
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
                    // From nothing to more than a whole list has, all sizes alike.
                    let bits = wrong.rng.u32(0..18);
                    Some(wrong.rng.usize(0..1 << bits))
                }
                None => None,
            }
        };
        let cuts = self.cuts.subscribe();
        let Ok(answer) = LocalService::new(self.cluster.clone()).call(request).await;
        Ok(answer.map(|body| broken::frames(body, cuts, left)))
    }
}

struct Watcher {
    informers: SharedInformers,
    subscription: Subscription,
    oracle: Arc<Oracle>,
}

impl Watcher {
    fn new(lists: ListMode, line: &Arc<Line>) -> Self {
        let line = line.clone();
        let service = tower::service_fn(move |request| {
            let line = line.clone();
            async move { line.answer(request).await }
        });
        let mut config = DriverConfig::default();
        config.reflector.lists = lists;
        config.reflector.page_size = 20;
        let clock = Arc::new(TokioClock::start());
        let client = Client::new(service, "default");
        let informers = SharedInformers::new(client, config, clock, Handle::current(), 5);
        let oracle = Oracle::new();
        let kind = Gvk::new("", "v1", "ConfigMap");
        let subscription = informers
            .subscribe(&kind, View::everything(), &[], oracle.clone())
            .unwrap();
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
fn truth(cluster: &SharedCluster) -> Held {
    let answer = cluster.handle(&admin(), Request::new(Method::GET, "/api/v1/configmaps"));
    let list: Value = serde_json::from_slice(answer.whole()).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let items = list["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| {
            let meta = &item["metadata"];
            (
                format!("{}/{}", text(&meta["namespace"]), text(&meta["name"])),
                (text(&meta["uid"]), text(&meta["resourceVersion"])),
            )
        })
        .collect()
}

/// One random change: something new, something changed, something gone.
fn change(cluster: &SharedCluster, rng: &mut fastrand::Rng) {
    let collection = format!("/api/v1/namespaces/{}/configmaps", rng.choice(NAMESPACES).unwrap());
    let name = format!("m{}", rng.u32(0..NAMES));
    let path = format!("{collection}/{name}");
    let data = json!({"n": rng.u32(..).to_string(), "text": "x]}\"\\\n".repeat(rng.usize(..6))});
    let send = |request| cluster.handle(&admin(), request).status;
    let there = match rng.u8(0..10) {
        0..=1 => send(Request::new(Method::DELETE, &path)),
        _ => {
            let body = json!({ "data": data }).to_string();
            send(Request::with_body(
                Method::PATCH,
                &path,
                "application/merge-patch+json",
                body,
            ))
        }
    };
    if there == 404 {
        let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data});
        let made = send(Request::with_body(
            Method::POST,
            &collection,
            "application/json",
            body.to_string(),
        ));
        assert_eq!(made, 201);
    } else {
        assert_eq!(there, 200);
    }
}

/// Lets time pass on the paused clock.
#[expect(clippy::disallowed_methods, reason = "this is what drives the paused clock")]
async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Waits until everybody knows what the server holds, at most ten minutes.
async fn settles(cluster: &SharedCluster, watchers: &[Watcher], what: u32) {
    let right = truth(cluster);
    for _ in 0..6_000 {
        if watchers.iter().all(|watcher| watcher.cached().as_ref() == Some(&right)) {
            break;
        }
        pass(Duration::from_millis(100)).await;
    }
    for (i, watcher) in watchers.iter().enumerate() {
        assert_eq!(
            watcher.cached().as_ref(),
            Some(&right),
            "watcher {i} after {what}: {:?}",
            watcher.informers.statuses()
        );
        assert_eq!(watcher.oracle.held(), right, "who listens to watcher {i} after {what}");
        assert!(watcher.oracle.synced());
    }
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_changes_and_a_hundred_disconnections_leave_no_difference() {
    let config = ClusterConfig {
        history: HISTORY,
        ..ClusterConfig::default()
    };
    let clock = TokioClock::start();
    let cluster = SharedCluster::new(Cluster::with_config(1, config), move || clock.now());
    let driven = cluster.clone();
    let driver = Handle::current().spawn(async move { driven.drive().await });
    let line = Arc::new(Line {
        cluster: cluster.clone(),
        wrong: Mutex::new(Wrong {
            rng: fastrand::Rng::with_seed(2),
            down: false,
            breaking: 0,
        }),
        cuts: watch::Sender::new(0),
    });
    let watchers = [ListMode::Streaming, ListMode::Paged].map(|lists| Watcher::new(lists, &line));
    let mut rng = fastrand::Rng::with_seed(3);
    let mut done = 0;
    for n in 1..=DISCONNECTIONS {
        // Mostly connected.
        let until = CHANGES / DISCONNECTIONS * n;
        while done < until - 500 {
            for _ in 0..rng.u32(1..40) {
                change(&cluster, &mut rng);
                done += 1;
            }
            pass(Duration::from_millis(rng.u64(..200))).await;
        }
        // Then not, for less or for more than the server remembers.
        let missed = if rng.bool() { rng.u32(..20) } else { until - done };
        {
            let mut wrong = line.wrong();
            wrong.down = rng.bool();
            wrong.breaking = rng.u32(..5);
        }
        line.cuts.send_modify(|cuts| *cuts += 1);
        for i in 0..missed {
            change(&cluster, &mut rng);
            done += 1;
            if i % 16 == 0 {
                pass(Duration::from_millis(rng.u64(..2_000))).await;
            }
        }
        line.wrong().down = false;
        while done < until {
            change(&cluster, &mut rng);
            done += 1;
        }
        if n % 5 == 0 {
            settles(&cluster, &watchers, n).await;
        }
    }
    driver.abort();
    assert_eq!(done, CHANGES);
    let oracles = watchers.each_ref().map(|watcher| watcher.oracle.clone());
    let [streaming, paged] = watchers.map(|watcher| watcher.informers.counters()[0].1.reflectors);
    for oracle in &oracles {
        let (_, went) = oracle.came_and_went();
        assert!(went > 5_000, "{went} deletions");
    }
    // The way was as bad as it was meant to be.
    for counts in [streaming, paged] {
        assert!(
            counts.relists > 25 && counts.errors > 150 && counts.watches > 90,
            "{counts:?}"
        );
    }
    assert!(streaming.streams > 40 && streaming.bookmarks > 40, "{streaming:?}");
    assert!(paged.lists > 2 * paged.relists && paged.streams == 0, "{paged:?}");
}
