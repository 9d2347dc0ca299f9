//! Two API servers, of which one is behind: its etcd is cut off, and what it serves is what it had.

use std::time::Duration;

use pilothouse_e2e::{Bounds, Ordeal, Proxy, Setup, Way};

use super::plane;

/// What the host would say if its cache had followed the stale server back.
const BACKWARDS: &str = "the API server's data went back to an older version";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_is_led_to_a_stale_server_does_not_go_back() {
    let mut ordeal = Ordeal::begin(Setup {
        seed: 12,
        ..Setup::default()
    })
    .await;
    let etcd = Proxy::before(ordeal.plane.etcd_port()).await;
    let stale = plane(|| ordeal.plane.another_apiserver_through(etcd.port()));
    etcd.be(Way::Held);
    ordeal.changes(40).await;
    let fault = ordeal.fault();
    ordeal.proxy.lead_to(stale.port());
    ordeal.proxy.cut();
    ordeal.changes(40).await;
    ordeal.lasts(&fault, Duration::from_secs(8)).await;
    ordeal.proxy.lead_to(ordeal.plane.apiserver().port());
    ordeal.proxy.cut();
    ordeal.over("led to a stale server", fault, Bounds::default()).await;
    assert_eq!(ordeal.said(&fault, BACKWARDS), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_done_while_the_watches_were_stale_is_put_right() {
    let mut ordeal = Ordeal::begin(Setup {
        seed: 13,
        ..Setup::default()
    })
    .await;
    let etcd = Proxy::before(ordeal.plane.etcd_port()).await;
    let stale = plane(|| ordeal.plane.another_apiserver_through(etcd.port()));
    ordeal.proxy.lead_to(stale.port());
    ordeal.proxy.cut();
    ordeal.changes(20).await;
    let fault = ordeal.fault();
    // The watches stay where nothing comes any more; everything else goes where the load is.
    etcd.be(Way::Held);
    ordeal.changes(20).await;
    ordeal.proxy.lead_to(ordeal.plane.apiserver().port());
    ordeal.proxy.cut_those_that_spoke_since(fault.began());
    ordeal.changes(40).await;
    ordeal.lasts(&fault, Duration::from_secs(8)).await;
    etcd.be(Way::Open);
    ordeal.over("stale watches", fault, Bounds::default()).await;
    assert_eq!(ordeal.said(&fault, BACKWARDS), 0);
}
