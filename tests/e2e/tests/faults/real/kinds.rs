//! What the plugins work on is removed as a whole, and is there again.

use pilothouse_e2e::{Bounds, CRDS, GREETING_CRD, GREETINGS, NAMESPACES, Ordeal, Rights, Setup, yaml};
use serde_json::json;

/// The CustomResourceDefinition's name.
const NAME: &str = "greetings.demo.pilothouse.dev";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crd_that_is_deleted_and_created_again_while_it_is_watched_costs_no_change() {
    let mut ordeal = Ordeal::begin(Setup {
        seed: 10,
        ..Setup::default()
    })
    .await;
    let fault = ordeal.fault();
    ordeal.api.delete(CRDS, "", NAME).await;
    ordeal
        .host
        .until("that the kind is gone", async || {
            ordeal.api.get(CRDS, "", NAME).await.is_none().then_some(())
        })
        .await;
    let missing = "the API server does not serve this kind";
    ordeal
        .host
        .until("that it says so", async || {
            (ordeal.said(&fault, missing) >= 1).then_some(())
        })
        .await;
    ordeal.load().doubt();
    ordeal.api.create(CRDS, "", NAME, yaml(GREETING_CRD)).await;
    ordeal.over("CRD gone", fault, Bounds::default()).await;
    assert_eq!(ordeal.said(&fault, missing), 1);
    assert!(!ordeal.api.list(GREETINGS, &ordeal.namespace).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_that_is_deleted_under_the_plugins_goes_and_its_successor_is_served() {
    let setup = Setup {
        rights: Rights::Cluster,
        seed: 11,
        ..Setup::default()
    };
    let mut ordeal = Ordeal::begin(setup).await;
    let fault = ordeal.fault();
    let namespace = ordeal.namespace.clone();
    ordeal.api.delete(NAMESPACES, "", &namespace).await;
    let gone = async || ordeal.api.get(NAMESPACES, "", &namespace).await.is_none().then_some(());
    ordeal.host.until("that the namespace is gone", gone).await;
    ordeal.load().doubt();
    ordeal.api.create(NAMESPACES, "", &namespace, json!({})).await;
    ordeal.over("namespace gone", fault, Bounds::default()).await;
    assert!(!ordeal.api.list(GREETINGS, &namespace).await.is_empty());
}
