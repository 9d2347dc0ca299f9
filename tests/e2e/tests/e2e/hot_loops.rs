//! Keys that go round in circles are slowed, never stopped, and named.

use pilothouse_e2e::{CONFIG_MAPS, Host, On, Scene, on_both};
use serde_json::{Value, json};

/// Waits for the line of the stream that names the loop.
async fn named(host: &Host) -> Value {
    host.until("that the loop is named", async || {
        host.events().into_iter().find(|event| event["event"] == "hotLoop")
    })
    .await
}

async fn diary(host: &Host, namespace: &str) {
    let labels = json!({"zoo.pilothouse.dev/beast": "b"});
    let diary = json!({"metadata": {"labels": labels}, "data": {"owner": "nobody"}});
    host.api().create(CONFIG_MAPS, namespace, "diary", diary).await;
}

on_both!(a_plugin_that_wakes_itself_with_each_write_is_slowed_and_named_and_goes_on);
async fn a_plugin_that_wakes_itself_with_each_write_is_slowed_and_named_and_goes_on(on: On) {
    let scene = Scene::with_zoo().on(on);
    let host = scene.dev().await;
    diary(&host, scene.namespace()).await;
    host.api().beast("b", "count").await;
    let named = named(&host).await;
    assert_eq!(
        (&named["fields"], &named["other"]),
        (&json!(["data.line"]), &json!("itself"))
    );
    assert_eq!(
        (&named["object"]["kind"], &named["object"]["name"]),
        (&json!("ConfigMap"), &json!("diary"))
    );
    let line = async || {
        host.api()
            .get(CONFIG_MAPS, scene.namespace(), "diary")
            .await
            .map(|diary| diary["data"]["line"].clone())
    };
    let before = line().await;
    host.until("another write", async || (line().await != before).then_some(()))
        .await;
    // Without pauses there would be hundreds by now: each is as long as all before it.
    assert!(host.runs("Beast", "b").len() < 40);
}

on_both!(a_plugin_that_fights_with_somebody_else_is_slowed_and_the_other_is_named);
async fn a_plugin_that_fights_with_somebody_else_is_slowed_and_the_other_is_named(on: On) {
    let scene = Scene::with_zoo().on(on);
    let host = scene.dev().await;
    let api = host.api();
    diary(&host, scene.namespace()).await;
    api.beast("b", "insist").await;
    let owner = async |wanted: &str| {
        let diary = api.get(CONFIG_MAPS, scene.namespace(), "diary").await?;
        (diary["data"]["owner"] == wanted).then_some(())
    };
    for _ in 0..4 {
        host.until("the beast's word", async || owner("beast").await).await;
        let other = json!({"data": {"owner": "test"}});
        api.merge(CONFIG_MAPS, scene.namespace(), "diary", other).await;
    }
    let named = named(&host).await;
    assert_eq!(named["fields"], json!(["data.owner"]));
    // The local API server keeps no managed fields. On a real one a client that names none is the manager `unknown`.
    let (other, manager) = match on {
        On::Local => (json!("unknown"), Value::Null),
        On::Real => (json!("manager"), json!("unknown")),
    };
    assert_eq!((&named["other"], &named["otherManager"]), (&other, &manager), "{named}");
    host.until("the beast's word, later", async || owner("beast").await)
        .await;
}
