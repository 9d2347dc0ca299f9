//! The life of a Greeting.

use pilothouse_e2e::{Api, CONFIG_MAPS, GREETINGS, Host, On, Scene, on_both};
use serde_json::{Value, json};

async fn world(on: On) -> (Scene, Host, Api) {
    let scene = Scene::with_greeting().on(on);
    let host = scene.dev().await;
    let api = host.api();
    (scene, host, api)
}

async fn event_about(host: &Host, api: &Api, ns: &str, name: &str, reason: &str) -> Value {
    host.until("the Event", async || {
        let events = api.events_about(ns, name).await;
        events.into_iter().find(|event| event["reason"] == reason)
    })
    .await
}

on_both!(a_greeting_gets_its_config_map_status_finalizer_and_event);
async fn a_greeting_gets_its_config_map_status_finalizer_and_event(on: On) {
    let (scene, host, api) = world(on).await;
    let ns = scene.namespace();
    api.create(
        GREETINGS,
        ns,
        "ada",
        json!({"spec": {"name": "Ada", "salutation": "Good morning"}}),
    )
    .await;
    assert_eq!(host.greeted(&api, "ada").await, "Good morning, Ada!");

    let greeting = api.get(GREETINGS, ns, "ada").await.unwrap();
    assert_eq!(
        greeting["metadata"]["finalizers"],
        json!(["demo.pilothouse.dev/goodbye"])
    );
    assert_eq!(greeting["status"]["observedGeneration"], 1);
    let condition = &greeting["status"]["conditions"][0];
    assert_eq!(
        (&condition["type"], &condition["reason"]),
        (&json!("Ready"), &json!("Greeted"))
    );

    let child = api.get(CONFIG_MAPS, ns, "ada").await.unwrap();
    let owner = &child["metadata"]["ownerReferences"][0];
    assert_eq!(
        (&owner["kind"], &owner["controller"]),
        (&json!("Greeting"), &json!(true))
    );
    assert_eq!(owner["uid"], greeting["metadata"]["uid"]);

    let event = event_about(&host, &api, ns, "ada", "Greeted").await;
    assert_eq!(event["involvedObject"]["uid"], greeting["metadata"]["uid"]);
    assert_eq!(event["source"]["component"], "pilothouse/greeting");
    assert_eq!(
        (&event["type"], &event["message"]),
        (&json!("Normal"), &json!("ConfigMap ada created: Good morning, Ada!"))
    );
}

on_both!(a_changed_greeting_changes_its_config_map);
async fn a_changed_greeting_changes_its_config_map(on: On) {
    let (scene, host, api) = world(on).await;
    let ns = scene.namespace();
    api.greet("world").await;
    host.greeted(&api, "world").await;
    api.merge(GREETINGS, ns, "world", json!({"spec": {"salutation": "Good evening"}}))
        .await;
    host.until("the new greeting", async || {
        api.greeted("world").await.filter(|said| said == "Good evening, world!")
    })
    .await;
    let greeting = api.get(GREETINGS, ns, "world").await.unwrap();
    assert_eq!(greeting["status"]["observedGeneration"], 2);
}

on_both!(a_config_map_that_somebody_changed_or_deleted_is_made_as_it_was);
async fn a_config_map_that_somebody_changed_or_deleted_is_made_as_it_was(on: On) {
    let (scene, host, api) = world(on).await;
    let ns = scene.namespace();
    api.greet("world").await;
    host.greeted(&api, "world").await;
    let changed = json!({"data": {"message": "Go away", "other": "stays"}});
    api.merge(CONFIG_MAPS, ns, "world", changed).await;
    host.until("the mended greeting", async || {
        api.greeted("world").await.filter(|said| said == "Hello, world!")
    })
    .await;
    let child = api.get(CONFIG_MAPS, ns, "world").await.unwrap();
    assert_eq!(child["data"]["other"], "stays", "what the plugin says nothing of stays");

    api.delete(CONFIG_MAPS, ns, "world").await;
    let again = host.until("a new ConfigMap", async || {
        let again = api.get(CONFIG_MAPS, ns, "world").await?;
        (again["metadata"]["uid"] != child["metadata"]["uid"]).then_some(again)
    });
    assert_eq!(again.await["data"]["message"], "Hello, world!");
    // It says the same of the second ConfigMap as of the first.
    let counted = host.until("one Event for both", async || {
        let events = api.events_about(ns, "world").await;
        let mut created = events
            .iter()
            .filter(|event| event["message"] == "ConfigMap world created: Hello, world!");
        let (event, more) = (created.next()?, created.count());
        assert_eq!(more, 0, "{events:#?}");
        (event["count"] == 2).then_some(())
    });
    counted.await;
}

on_both!(a_deleted_greeting_says_goodbye_and_takes_its_config_map_along);
async fn a_deleted_greeting_says_goodbye_and_takes_its_config_map_along(on: On) {
    let (scene, host, api) = world(on).await;
    let ns = scene.namespace();
    api.greet("world").await;
    host.greeted(&api, "world").await;
    api.delete(GREETINGS, ns, "world").await;
    host.until("both to be gone", async || {
        let greeting = api.get(GREETINGS, ns, "world").await;
        let child = api.get(CONFIG_MAPS, ns, "world").await;
        (greeting.is_none() && child.is_none()).then_some(())
    })
    .await;
    assert_eq!(
        event_about(&host, &api, ns, "world", "Goodbye").await["message"],
        "Goodbye, world!"
    );
}

on_both!(a_greeting_that_is_deleted_in_the_foreground_goes_after_its_config_map);
async fn a_greeting_that_is_deleted_in_the_foreground_goes_after_its_config_map(on: On) {
    let (scene, host, api) = world(on).await;
    let ns = scene.namespace();
    api.greet("world").await;
    host.greeted(&api, "world").await;
    // Nobody takes this one's finalizer away yet, so the ConfigMap is seen going.
    let holding = json!({"metadata": {"finalizers": ["example.com/hold"]}});
    api.merge(CONFIG_MAPS, ns, "world", holding).await;
    api.delete_with(GREETINGS, ns, "world", json!({"propagationPolicy": "Foreground"}))
        .await;
    host.until("that only the ConfigMap holds the Greeting", async || {
        let child = api.get(CONFIG_MAPS, ns, "world").await.expect("it is held");
        let greeting = api.get(GREETINGS, ns, "world").await.expect("its ConfigMap holds it");
        let by_gc = json!(["foregroundDeletion"]);
        (child["metadata"]["deletionTimestamp"].is_string() && greeting["metadata"]["finalizers"] == by_gc)
            .then_some(())
    })
    .await;
    api.merge(CONFIG_MAPS, ns, "world", json!({"metadata": {"finalizers": null}}))
        .await;
    host.until("both to be gone", async || {
        let greeting = api.get(GREETINGS, ns, "world").await;
        let child = api.get(CONFIG_MAPS, ns, "world").await;
        (greeting.is_none() && child.is_none()).then_some(())
    })
    .await;
}

on_both!(a_greeting_that_makes_no_sense_says_so_is_parked_and_wakes_when_it_changes);
async fn a_greeting_that_makes_no_sense_says_so_is_parked_and_wakes_when_it_changes(on: On) {
    let (scene, host, api) = world(on).await;
    let ns = scene.namespace();
    api.create(GREETINGS, ns, "nobody", json!({"spec": {"name": " "}}))
        .await;
    let parked = host.run_of("Greeting", "nobody", |run| run["parked"] == true).await;
    assert_eq!(
        (&parked["result"], &parked["againAfterMs"]),
        (&json!("error"), &Value::Null)
    );
    assert_eq!(parked["error"]["message"], "spec.name is empty: say whom to greet");
    let greeting = api.get(GREETINGS, ns, "nobody").await.unwrap();
    let condition = &greeting["status"]["conditions"][0];
    assert_eq!(
        (&condition["status"], &condition["reason"]),
        (&json!("False"), &json!("InvalidSpec"))
    );
    assert!(api.get(CONFIG_MAPS, ns, "nobody").await.is_none());

    api.merge(GREETINGS, ns, "nobody", json!({"spec": {"name": "Somebody"}}))
        .await;
    assert_eq!(host.greeted(&api, "nobody").await, "Hello, Somebody!");
}
