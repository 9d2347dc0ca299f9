//! Watches: what they tell, in which order, and how they end.

use std::time::Duration;

use pilothouse_localcluster::{Body, ClusterConfig};
use serde_json::json;

mod asked;
use asked::{CONFIG_MAPS, CRDS, Server, WIDGETS, config_map, widget, widgets};

fn labelled(name: &str, n: &str) -> serde_json::Value {
    let mut object = config_map(name, json!({}));
    object["metadata"]["labels"] = json!({ "n": n });
    object
}

#[test]
fn a_watch_without_a_version_begins_with_the_present_state_and_goes_on_live() {
    let mut server = Server::new();
    server.config_map("a", json!({}));
    let watch = server.watch(&format!("{CONFIG_MAPS}?watch=true"));
    assert_eq!(server.told(watch), ["ADDED a"]);
    server.config_map("b", json!({}));
    server
        .merge(&format!("{CONFIG_MAPS}/a"), json!({"data": {"x": "1"}}))
        .ok();
    server.delete(&format!("{CONFIG_MAPS}/b")).ok();
    assert_eq!(server.told(watch), ["ADDED b", "MODIFIED a", "DELETED b"]);
    assert_eq!(server.told(watch), Vec::<String>::new());
}

#[test]
fn a_watch_from_a_version_replays_what_came_after_it_and_nothing_else() {
    let mut server = Server::new();
    let since = server.config_map("a", json!({}))["metadata"]["resourceVersion"].clone();
    server.config_map("b", json!({}));
    server.delete(&format!("{CONFIG_MAPS}/a")).ok();
    let watch = server.watch(&format!(
        "{CONFIG_MAPS}?watch=1&resourceVersion={}",
        since.as_str().unwrap()
    ));
    let events = server.events(watch);
    assert_eq!(events.len(), 2);
    assert_eq!(
        (&events[0]["type"], &events[1]["type"]),
        (&json!("ADDED"), &json!("DELETED"))
    );
    assert_eq!(
        events[1]["object"]["metadata"]["resourceVersion"],
        server.cluster.version().to_string()
    );
}

#[test]
fn leaving_a_selector_is_a_deletion_of_the_old_object_with_the_new_version_and_coming_back_an_addition() {
    let mut server = Server::new();
    let watch = server.watch(&format!("{CONFIG_MAPS}?watch=true&labelSelector=n%3D1"));
    let path = format!("{CONFIG_MAPS}/z");
    server.post(CONFIG_MAPS, labelled("z", "1")).ok();
    let left = server.merge(&path, json!({"metadata": {"labels": {"n": "2"}}})).ok();
    server.merge(&path, json!({"data": {"unseen": "1"}})).ok();
    server.merge(&path, json!({"metadata": {"labels": {"n": "1"}}})).ok();
    server.delete(&path).ok();
    let events = server.events(watch);
    let told: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(told, ["ADDED", "DELETED", "ADDED", "DELETED"]);
    assert_eq!(events[1]["object"]["metadata"]["labels"]["n"], "1");
    assert_eq!(
        events[1]["object"]["metadata"]["resourceVersion"],
        left["metadata"]["resourceVersion"]
    );
}

#[test]
fn a_streaming_list_ends_with_the_marked_bookmark() {
    let mut server = Server::new();
    server.config_map("a", json!({}));
    let watch = server.watch(&format!(
        "{CONFIG_MAPS}?watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
    ));
    let events = server.events(watch);
    assert_eq!(events.len(), 2);
    assert_eq!(
        events[1],
        json!({"type": "BOOKMARK", "object": {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {
            "annotations": {"k8s.io/initial-events-end": "true"},
            "resourceVersion": server.cluster.version().to_string(),
        }}})
    );
    let silent = server.watch(&format!(
        "{CONFIG_MAPS}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
    ));
    assert_eq!(server.told(silent), ["ADDED a"], "no bookmark for who asked for none");
}

#[test]
fn a_streaming_list_must_say_how_it_means_its_version() {
    let mut server = Server::new();
    let answer = server.get(&format!("{CONFIG_MAPS}?watch=true&sendInitialEvents=true"));
    answer.fails(422, "Invalid");
    assert_eq!(
        answer.causes(),
        [("FieldValueForbidden".into(), "resourceVersionMatch".into())]
    );
    assert_eq!(
        answer.body["message"],
        "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires setting \
         resourceVersionMatch to NotOlderThan"
    );
    server
        .get(&format!(
            "{CONFIG_MAPS}?watch=true&resourceVersion=1&resourceVersionMatch=NotOlderThan"
        ))
        .fails(422, "Invalid");
    assert_eq!(server.cluster.open_watches(), 0);
}

#[test]
fn a_watch_ends_at_its_time_after_a_last_bookmark() {
    let mut server = Server::new();
    let watch = server.watch(&format!(
        "{CONFIG_MAPS}?watch=true&allowWatchBookmarks=true&timeoutSeconds=3"
    ));
    assert_eq!(server.told(watch), Vec::<String>::new());
    assert_eq!(server.cluster.next_due(), Some(server.now + Duration::from_secs(3)));
    server.config_map("a", json!({}));
    server.now += Duration::from_secs(3);
    assert_eq!(server.told(watch), ["ADDED a", "BOOKMARK"]);
    assert!(server.is_over(watch));
    assert_eq!(server.cluster.open_watches(), 0);
}

#[test]
fn bookmarks_tell_versions_of_writes_that_the_watch_does_not_show() {
    let mut server = Server::new();
    let watch = server.watch(&format!(
        "{CONFIG_MAPS}?watch=true&allowWatchBookmarks=true&labelSelector=no"
    ));
    server.config_map("a", json!({}));
    server.now += Duration::from_secs(60);
    let events = server.events(watch);
    assert_eq!(events.len(), 1);
    assert_eq!(
        events[0]["object"]["metadata"]["resourceVersion"],
        server.cluster.version().to_string()
    );
    assert_eq!(server.told(watch), Vec::<String>::new());
}

#[test]
fn a_version_that_the_history_dropped_is_told_inside_of_the_watch() {
    let mut server = Server::with(ClusterConfig {
        history: 5,
        ..ClusterConfig::default()
    });
    let behind = server.watch(&format!("{CONFIG_MAPS}?watch=true"));
    for i in 0..10 {
        server.config_map(&format!("c{i}"), json!({}));
    }
    let answer = server.get(&format!("{CONFIG_MAPS}?watch=true&resourceVersion=1"));
    assert_eq!(answer.code, 200);
    let Body::Watch(watch) = answer.response.body else {
        panic!()
    };
    let events = server.events(watch);
    let oldest = server.cluster.version() - 5;
    assert_eq!(
        events,
        [json!({"type": "ERROR", "object": {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": format!("too old resource version: 1 ({oldest})"), "reason": "Expired", "code": 410,
        }})]
    );
    assert!(server.is_over(watch));
    let events = server.events(behind);
    assert_eq!(
        events.len(),
        1,
        "what it missed can't be told any more: better none than some"
    );
    assert_eq!(events[0]["object"]["code"], 410);
    let still = server.watch(&format!("{CONFIG_MAPS}?watch=true&resourceVersion={oldest}"));
    assert_eq!(server.events(still).len(), 5);
}

#[test]
fn a_version_in_the_future_is_waited_for() {
    let mut server = Server::new();
    let next = server.cluster.version() + 1;
    let watch = server.watch(&format!("{CONFIG_MAPS}?watch=true&resourceVersion={next}"));
    server.config_map("now", json!({}));
    server.config_map("later", json!({}));
    assert_eq!(server.told(watch), ["ADDED later"]);
}

#[test]
fn a_bad_version_is_refused() {
    let mut server = Server::new();
    let answer = server.get(&format!("{CONFIG_MAPS}?watch=true&resourceVersion=abc"));
    assert_eq!(answer.code, 500);
    server
        .get(&format!("{CONFIG_MAPS}?watch=true&timeoutSeconds=abc"))
        .fails(400, "BadRequest");
}

#[test]
fn the_last_event_of_an_object_shows_its_last_finalizer_under_a_version_of_its_own() {
    let mut server = Server::new();
    server.post(CRDS, widgets()).ok();
    let watch = server.watch(&format!("{WIDGETS}?watch=true"));
    let mut object = widget("f", json!({"size": 1}));
    object["metadata"]["finalizers"] = json!(["x.io/y"]);
    server.post(WIDGETS, object).ok();
    server.delete(&format!("{WIDGETS}/f")).ok();
    let gone = server
        .merge(&format!("{WIDGETS}/f"), json!({"metadata": {"finalizers": null}}))
        .ok();
    let events = server.events(watch);
    let told: Vec<_> = events
        .iter()
        .map(|e| {
            (
                e["type"].as_str().unwrap(),
                e["object"]["metadata"]["generation"].as_i64().unwrap(),
            )
        })
        .collect();
    assert_eq!(told, [("ADDED", 1), ("MODIFIED", 2), ("DELETED", 2)]);
    let last = &events[2]["object"]["metadata"];
    assert_eq!(last["finalizers"], json!(["x.io/y"]));
    assert_eq!(last["resourceVersion"], server.cluster.version().to_string());
    assert_eq!(
        gone["metadata"]["resourceVersion"],
        events[1]["object"]["metadata"]["resourceVersion"]
    );
}

#[test]
fn watches_are_bounded_and_closing_one_makes_room() {
    let mut server = Server::with(ClusterConfig {
        watches: 2,
        ..ClusterConfig::default()
    });
    let target = format!("{CONFIG_MAPS}?watch=true");
    let first = server.watch(&target);
    server.watch(&target);
    let answer = server.get(&target);
    answer.fails(429, "TooManyRequests");
    assert_eq!(answer.header("Retry-After"), ["1"]);
    server.cluster.close(first);
    server.watch(&target);
}

#[test]
fn a_long_state_and_a_long_history_come_in_pieces_without_loss() {
    let mut server = Server::new();
    for i in 0..1300 {
        server.config_map(&format!("c{i:04}"), json!({}));
    }
    let state = server.watch(&format!("{CONFIG_MAPS}?watch=true"));
    let history = server.watch(&format!("{CONFIG_MAPS}?watch=true&resourceVersion=4"));
    let names = |events: Vec<serde_json::Value>| {
        events
            .iter()
            .map(|e| e["object"]["metadata"]["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let expected: Vec<String> = (0..1300).map(|i| format!("c{i:04}")).collect();
    assert_eq!(names(server.events(state)), expected);
    assert_eq!(names(server.events(history)), expected);
}

#[test]
fn tables_describe_their_columns_in_the_first_event_only() {
    let mut server = Server::new();
    server.config_map("a", json!({}));
    server.config_map("b", json!({}));
    let mut request = pilothouse_localcluster::Request::new(http::Method::GET, &format!("{CONFIG_MAPS}?watch=1"));
    request.accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json".into();
    let Body::Watch(watch) = server.send(request).response.body else {
        panic!()
    };
    let events = server.events(watch);
    assert!(events[0]["object"]["columnDefinitions"].is_array());
    assert!(events[1]["object"]["columnDefinitions"].is_null());
}

#[test]
fn a_watch_of_a_custom_resource_ends_with_its_definition_after_telling_what_went() {
    let mut server = Server::new();
    server.post(CRDS, widgets()).ok();
    server.post(WIDGETS, widget("w", json!({"size": 1}))).ok();
    let watch = server.watch(&format!("{WIDGETS}?watch=true"));
    assert_eq!(server.told(watch), ["ADDED w"]);
    server.delete(&format!("{CRDS}/widgets.ex.io")).ok();
    server.settle();
    assert_eq!(server.told(watch), ["DELETED w"]);
    assert!(server.is_over(watch));
}
