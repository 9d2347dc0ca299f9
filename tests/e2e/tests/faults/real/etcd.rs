//! What the API server keeps everything in hangs.

use std::time::Duration;

use pilothouse_e2e::{Bounds, Ordeal, Setup};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_that_is_frozen_for_twenty_seconds_costs_no_change() {
    let mut ordeal = Ordeal::begin(Setup {
        seed: 3,
        ..Setup::default()
    })
    .await;
    let fault = ordeal.fault();
    ordeal.plane.etcd().freeze();
    let before = ordeal.load().changes();
    ordeal.lasts(&fault, Duration::from_secs(20)).await;
    // What was under way when it froze may still have been answered.
    let changes = ordeal.load().changes() - before;
    assert!(changes <= 5, "it is frozen, and {changes} changes were made");
    ordeal.plane.etcd().thaw();
    ordeal.over("etcd frozen", fault, Bounds::default()).await;
}
