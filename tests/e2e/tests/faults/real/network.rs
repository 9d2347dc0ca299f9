//! What lies between the host and the API server.

use std::time::Duration;

use pilothouse_e2e::{Bounds, Ordeal, Setup, Way};

use super::{AWAY, BACK};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_cut_again_and_again_cost_no_change() {
    let mut ordeal = Ordeal::begin(Setup {
        seed: 6,
        ..Setup::default()
    })
    .await;
    let fault = ordeal.fault();
    for _ in 0..10 {
        ordeal.proxy.cut();
        ordeal.changes(15).await;
    }
    let closed = ordeal.fault();
    ordeal.proxy.be(Way::Closed);
    ordeal.connections(&closed, 3).await;
    ordeal.lasts(&closed, Duration::from_secs(5)).await;
    ordeal.proxy.be(Way::Open);
    let bounds = Bounds {
        // Eleven faults in one.
        warnings: 40,
        ..Bounds::default()
    };
    ordeal.over("cut", fault, bounds).await;
    // The last fault was long enough to be told.
    let said = (ordeal.said(&fault, AWAY), ordeal.said(&fault, BACK));
    assert!((1..=11).contains(&said.0) && said.0 == said.1, "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_slow_and_then_dead_cost_no_change() {
    let mut ordeal = Ordeal::begin(Setup {
        seed: 7,
        ..Setup::default()
    })
    .await;
    let fault = ordeal.fault();
    ordeal.proxy.be(Way::Slow(4_000));
    ordeal.changes(60).await;
    ordeal.proxy.cut();
    ordeal.changes(60).await;
    let dead = ordeal.fault();
    ordeal.proxy.be(Way::Held);
    ordeal.lasts(&dead, Duration::from_secs(6)).await;
    ordeal.proxy.be(Way::Open);
    ordeal.over("slow", fault, Bounds::default()).await;
}
