//! What a watch or a list is to go on from is not there any more.

use pilothouse_e2e::{Bounds, CONFIG_MAPS, Fault, Ordeal, Setup, Way};
use serde_json::json;

use super::plane;

/// Cuts the host off, lets the load go on, and has the API server forget what happened.
async fn forget(ordeal: &Ordeal) {
    ordeal.proxy.be(Way::Closed);
    ordeal.changes(40).await;
    plane(|| {
        ordeal.plane.compact()?;
        ordeal.plane.apiserver().kill();
        ordeal.plane.apiserver().start()
    });
}

/// The lists of ConfigMaps that take whatever there is now, as they follow only on a version that is too old.
fn quorum_lists(ordeal: &Ordeal, fault: &Fault) -> Vec<(String, Option<u64>)> {
    let requests = ordeal.requests(fault).into_iter();
    requests
        .filter(|(verb, uri, _)| verb == "list" || uri.contains("sendInitialEvents=true"))
        .filter(|(_, uri, _)| uri.contains("/configmaps") && !uri.contains("resourceVersion="))
        .map(|(_, uri, code)| (uri, code))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_whose_history_is_gone_is_begun_anew_from_a_list() {
    let mut ordeal = Ordeal::begin(Setup {
        seed: 4,
        ..Setup::default()
    })
    .await;
    let fault = ordeal.fault();
    forget(&ordeal).await;
    ordeal.proxy.be(Way::Open);
    ordeal.over("history gone", fault, Bounds::default()).await;
    assert!(
        !quorum_lists(&ordeal, &fault).is_empty(),
        "{:#?}",
        ordeal.requests(&fault)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_whose_next_page_is_gone_is_begun_anew() {
    let setup = Setup {
        seed: 5,
        // Else pages come from the API server's cache, which remembers some of what etcd has forgotten.
        // And lists would come as streams.
        flags: &["--feature-gates=ListFromCacheSnapshot=false,WatchList=false"],
        ..Setup::default()
    };
    let mut ordeal = Ordeal::begin(setup).await;
    // More than one page.
    for n in 0..520 {
        let data = json!({"data": {"filling": "x".repeat(1_000)}});
        let name = format!("filling-{n}");
        ordeal.api.create(CONFIG_MAPS, &ordeal.namespace, &name, data).await;
    }
    let fault = ordeal.fault();
    forget(&ordeal).await;
    // The server has written the first page long before the host has read it and asks for the second.
    ordeal.proxy.be(Way::Slow(150_000));
    ordeal
        .host
        .until("the first page", async || {
            quorum_lists(&ordeal, &fault)
                .iter()
                .any(|(_, code)| *code == Some(200))
                .then_some(())
        })
        .await;
    ordeal.changes(2).await;
    plane(|| ordeal.plane.compact());
    ordeal
        .host
        .until("that the second page is gone", async || {
            let gone = |(uri, code): &(String, Option<u64>)| uri.contains("continue=") && *code == Some(410);
            quorum_lists(&ordeal, &fault).iter().any(gone).then_some(())
        })
        .await;
    ordeal.proxy.be(Way::Open);
    ordeal.over("next page gone", fault, Bounds::default()).await;
}
