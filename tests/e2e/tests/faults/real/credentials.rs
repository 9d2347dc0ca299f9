//! What the host may do is taken away and given back.

use pilothouse_e2e::{Bounds, Ordeal, Setup};

use super::plane;

/// How the host says that its token is no longer good, and that this is over.
const REFUSED: &str = "the API server refuses this host's credentials";
const TAKEN: &str = "the API server takes this host's credentials again";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_no_longer_valid_is_said_once_and_a_new_one_in_its_file_is_taken() {
    let mut ordeal = Ordeal::begin(Setup {
        seed: 8,
        ..Setup::default()
    })
    .await;
    let fault = ordeal.fault();
    plane(|| ordeal.user.revoke());
    let refused = async |count: usize| {
        let look = async || {
            let requests = ordeal.requests(&fault);
            (requests.iter().filter(|(.., code)| *code == Some(401)).count() >= count).then_some(())
        };
        ordeal.host.until("refused requests", look).await;
    };
    refused(1).await;
    // Watches that are open stay.
    ordeal.proxy.cut();
    let look = async || (ordeal.said(&fault, REFUSED) > 0).then_some(());
    ordeal.host.until("that it is refused", look).await;
    refused(8).await;
    plane(|| ordeal.user.renew());
    ordeal.over("token revoked", fault, Bounds::default()).await;
    assert_eq!(ordeal.said(&fault, REFUSED), 1);
    assert_eq!(ordeal.said(&fault, TAKEN), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_is_taken_away_and_given_back_costs_no_change() {
    let mut ordeal = Ordeal::begin(Setup {
        seed: 9,
        ..Setup::default()
    })
    .await;
    let fault = ordeal.fault();
    ordeal.take_rights();
    ordeal.changes(20).await;
    ordeal.proxy.cut();
    let look = async || (ordeal.said(&fault, "this host may not list and watch the kind") >= 4).then_some(());
    ordeal.host.until("that it may not watch", look).await;
    ordeal.give_rights();
    let bounds = Bounds {
        // A few for each controller and reason, and one for each kind.
        warnings: 32,
        ..Bounds::default()
    };
    ordeal.over("role taken away", fault, bounds).await;
    assert_eq!(ordeal.said(&fault, "this host may not list and watch the kind"), 4);
}
