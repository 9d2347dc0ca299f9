use pilothouse_runtime::{Freshness, Query};
use serde_json::json;

use super::*;
use crate::{
    Standing,
    calls::scene::{Scene, target, until},
};

fn query() -> Query {
    Query {
        kind: target("", "ConfigMap", "").kind,
        namespace: Some("default".into()),
        labels: String::new(),
        index: None,
        limit: 0,
        page: None,
    }
}

/// What became of every kind of read.
async fn reads(call: &Call) -> Vec<(&'static str, Result<(), ApiError>)> {
    let map = || target("", "ConfigMap", "m");
    vec![
        ("get cached", call.get(map(), Freshness::Cached).await.map(|_| ())),
        ("get live", call.get(map(), Freshness::Live).await.map(|_| ())),
        (
            "select cached",
            call.select(query(), Freshness::Cached).await.map(|_| ()),
        ),
        ("select live", call.select(query(), Freshness::Live).await.map(|_| ())),
        ("digest", call.digest(map()).await.map(|_| ())),
    ]
}

#[tokio::test(start_paused = true)]
async fn no_read_is_answered_while_whom_the_plugin_acts_as_may_not_see_what_it_watches() {
    let scene = Scene::acting_as_another(&[("", "ConfigMap", &["get", "list"])]).await;
    scene.object("configmaps", &json!({"metadata": {"name": "m"}}));
    let standing = || scene.host.access("bench").unwrap();
    assert_eq!(standing(), Standing::Unreviewed(None));
    let call = scene.call();
    for (read, answer) in reads(&call).await {
        let error = answer.expect_err(read);
        assert_eq!((error.code, &*error.reason), (403, reason::DENIED), "{read}");
        assert!(error.message.contains("has not been reviewed yet"), "{read}: {error:?}");
    }
    until(|| matches!(standing(), Standing::Denied(_))).await;
    for (read, answer) in reads(&call).await {
        let error = answer.expect_err(read);
        assert_eq!((error.code, &*error.reason), (403, reason::DENIED), "{read}");
        assert!(error.message.contains("no such role"), "{read}: {error:?}");
    }
    let denied = "pilothouse_denied_total{plugin=\"bench\"} 10";
    assert!(scene.host.metrics().contains(denied), "{}", scene.host.metrics());
    scene.says(|script| script.allows = true);
    until(|| standing() == Standing::Allowed && scene.host.waiting_for().is_empty()).await;
    for (read, answer) in reads(&call).await {
        assert_eq!(answer, Ok(()), "{read}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_the_api_server_could_not_be_asked_for_excuses_the_call() {
    let scene = Scene::new(&[("", "Secret", &["get"])]).await;
    let (secret, hindered) = (|| target("", "Secret", "s"), |call: &Call| lock(&call.ledger).hindered);
    scene.says(|script| script.fails = Some((http::Method::GET, "/api/v1", 503)));
    let call = scene.call();
    let error = call.get(secret(), Freshness::Live).await.unwrap_err();
    assert_eq!(&*error.reason, reason::UNAVAILABLE, "{error:?}");
    assert!(hindered(&call));
    scene.says(|script| script.fails = None);
    let call = scene.call();
    assert_eq!(call.get(secret(), Freshness::Live).await, Ok(None));
    assert!(!hindered(&call), "that there is no such object is nobody's fault");
}
