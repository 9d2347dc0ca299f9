//! Lists: pages of an old snapshot, versions, selectors.

use pilothouse_localcluster::ClusterConfig;
use serde_json::{Value, json};

mod asked;
use asked::{CONFIG_MAPS, Server, config_map};

fn five(server: &mut Server) {
    for name in ["a", "b", "c", "d", "e"] {
        server.config_map(name, json!({}));
    }
}

fn token(list: &Value) -> String {
    list["metadata"]["continue"].as_str().unwrap().to_owned()
}

#[test]
fn pages_show_the_snapshot_of_the_first_page() {
    let mut server = Server::new();
    five(&mut server);
    let first = server.get(&format!("{CONFIG_MAPS}?limit=2"));
    assert_eq!(first.names(), ["a", "b"]);
    assert_eq!(first.body["metadata"]["remainingItemCount"], 3);
    server.delete(&format!("{CONFIG_MAPS}/c")).ok();
    server.config_map("bb", json!({}));
    let second = server.get(&format!("{CONFIG_MAPS}?limit=2&continue={}", token(&first.body)));
    assert_eq!(second.names(), ["c", "d"]);
    assert_eq!(
        second.body["metadata"]["resourceVersion"],
        first.body["metadata"]["resourceVersion"]
    );
    let third = server.get(&format!("{CONFIG_MAPS}?limit=2&continue={}", token(&second.body)));
    assert_eq!(third.names(), ["e"]);
    assert_eq!(third.body["metadata"]["continue"], Value::Null);
    assert_eq!(server.get(CONFIG_MAPS).names(), ["a", "b", "bb", "d", "e"]);
}

#[test]
fn pages_go_over_all_namespaces() {
    let mut server = Server::new();
    five(&mut server);
    server
        .post("/api/v1/namespaces/kube-system/configmaps", config_map("a", json!({})))
        .ok();
    let mut names = Vec::new();
    let mut target = "/api/v1/configmaps?limit=2".to_owned();
    loop {
        let page = server.get(&target);
        names.extend(page.names());
        match page.body["metadata"]["continue"].as_str() {
            Some(token) => target = format!("/api/v1/configmaps?limit=2&continue={token}"),
            None => break,
        }
    }
    assert_eq!(names, ["a", "b", "c", "d", "e", "a"]);
}

#[test]
fn a_page_whose_snapshot_is_gone_is_410_with_a_token_to_go_on_anyway() {
    let mut server = Server::with(ClusterConfig {
        history: 4,
        ..ClusterConfig::default()
    });
    five(&mut server);
    let first = server.get(&format!("{CONFIG_MAPS}?limit=2"));
    for i in 0..6 {
        server.config_map(&format!("x{i}"), json!({}));
    }
    let expired = server.get(&format!("{CONFIG_MAPS}?limit=2&continue={}", token(&first.body)));
    expired.fails(410, "Expired");
    let rest = server.get(&format!("{CONFIG_MAPS}?limit=3&continue={}", token(&expired.body)));
    assert_eq!(rest.names(), ["c", "d", "e"]);
    let exact = server.get(&format!("{CONFIG_MAPS}?resourceVersion=1&resourceVersionMatch=Exact"));
    exact.fails(410, "Expired");
    assert_eq!(
        exact.body["message"],
        "The resourceVersion for the provided list is too old."
    );
}

#[test]
fn an_exact_version_shows_what_was_there_then() {
    let mut server = Server::new();
    five(&mut server);
    let then = server.cluster.version();
    server.delete(&format!("{CONFIG_MAPS}/a")).ok();
    server
        .merge(&format!("{CONFIG_MAPS}/b"), json!({"data": {"x": "1"}}))
        .ok();
    let old = server.get(&format!(
        "{CONFIG_MAPS}?resourceVersion={then}&resourceVersionMatch=Exact"
    ));
    assert_eq!(old.names(), ["a", "b", "c", "d", "e"]);
    assert_eq!(old.body["items"][1]["data"], json!(null));
    assert_eq!(old.body["metadata"]["resourceVersion"], then.to_string());
    let newer = server.get(&format!(
        "{CONFIG_MAPS}?resourceVersion={then}&resourceVersionMatch=NotOlderThan"
    ));
    assert_eq!(newer.names(), ["b", "c", "d", "e"]);
}

#[test]
fn a_version_in_the_future_is_504_with_its_cause() {
    let mut server = Server::new();
    let now = server.cluster.version();
    let answer = server.get(&format!("{CONFIG_MAPS}?resourceVersion=99999999"));
    answer.fails(504, "Timeout");
    assert_eq!(answer.header("Retry-After"), ["1"]);
    assert_eq!(
        answer.body["message"],
        format!("Timeout: Too large resource version: 99999999, current: {now}")
    );
    assert_eq!(answer.causes(), [("ResourceVersionTooLarge".into(), String::new())]);
}

#[test]
fn any_version_ignores_the_limit() {
    let mut server = Server::new();
    five(&mut server);
    assert_eq!(
        server
            .get(&format!("{CONFIG_MAPS}?resourceVersion=0&limit=2"))
            .names()
            .len(),
        5
    );
}

#[test]
fn bad_tokens_are_refused() {
    let mut server = Server::new();
    five(&mut server);
    let first = server.get(&format!("{CONFIG_MAPS}?limit=2"));
    for bad in [
        "abc",
        "e30",
        "%00",
        "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MCwic3RhcnQiOiJhIn0",
    ] {
        server
            .get(&format!("{CONFIG_MAPS}?continue={bad}"))
            .fails(400, "BadRequest");
    }
    let both = format!(
        "{CONFIG_MAPS}?limit=2&resourceVersion=5&continue={}",
        token(&first.body)
    );
    let answer = server.get(&both);
    answer.fails(400, "BadRequest");
    assert_eq!(
        answer.body["message"],
        "specifying resource version is not allowed when using continue"
    );
}

#[test]
fn kinds_have_fields_of_their_own_to_select_by() {
    let mut server = Server::new();
    let event = |name: &str, about: &str| {
        json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": name}, "reason": "R", "type": "Normal",
            "involvedObject": {"kind": "Pod", "name": about, "namespace": "default"},
        })
    };
    server.post("/api/v1/namespaces/default/events", event("e1", "a")).ok();
    server.post("/api/v1/namespaces/default/events", event("e2", "b")).ok();
    let of = "/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Db%2CinvolvedObject.kind%3DPod";
    assert_eq!(server.get(of).names(), ["e2"]);
    let of = "/apis/events.k8s.io/v1/events?fieldSelector=regarding.name!%3Db";
    assert_eq!(server.get(of).names(), ["e1"]);
    server
        .get("/api/v1/events?fieldSelector=message%3Dx")
        .fails(400, "BadRequest");
    assert_eq!(
        server
            .get("/api/v1/namespaces?fieldSelector=status.phase%3DActive")
            .names()
            .len(),
        4
    );
}
