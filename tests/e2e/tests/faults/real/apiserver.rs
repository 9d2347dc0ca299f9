//! The API server itself goes away.

use pilothouse_e2e::{Bounds, Ordeal, Setup};

use super::{AWAY, BACK, plane};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_that_is_killed_and_started_again_costs_no_change() {
    let mut ordeal = Ordeal::begin(Setup::default()).await;
    let fault = ordeal.fault();
    plane(|| {
        ordeal.plane.apiserver().kill();
        Ok(())
    });
    ordeal.connections(&fault, 4).await;
    plane(|| ordeal.plane.apiserver().start());
    ordeal.over("killed", fault, Bounds::default()).await;
    assert_eq!((ordeal.said(&fault, AWAY), ordeal.said(&fault, BACK)), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_that_is_restarted_in_order_costs_no_change() {
    let setup = Setup {
        seed: 2,
        // Else it waits a minute for watches over HTTP/1.1 to end by themselves.
        flags: &["--shutdown-watch-termination-grace-period=2s"],
        ..Setup::default()
    };
    let mut ordeal = Ordeal::begin(setup).await;
    let fault = ordeal.fault();
    plane(|| {
        ordeal.plane.apiserver().stop();
        ordeal.plane.apiserver().start()
    });
    ordeal.over("restarted", fault, Bounds::default()).await;
    // It may be back before anybody is sure.
    let said = ordeal.said(&fault, AWAY);
    assert!(said <= 1 && ordeal.said(&fault, BACK) == said);
}
