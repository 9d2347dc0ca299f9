//! What must hold whatever is asked: random sessions, and rubbish.

use std::collections::BTreeMap;

use http::Method;
use pilothouse_localcluster::{Cluster, ClusterConfig, Request, User};
use proptest::prelude::*;
use serde_json::{Value, json};

mod asked;
use asked::{CRDS, JSON_PATCH, MERGE, START, Server, widget, widgets};

/// Objects by namespace and name.
type State = BTreeMap<(String, String), Value>;

const COLLECTIONS: [&str; 3] = ["/api/v1/configmaps", "/apis/ex.io/v1/widgets", "/api/v1/namespaces"];

/// One random request, from small numbers so that names collide often.
fn random_request(rng: &mut fastrand::Rng, server: &mut Server) -> Request {
    let namespace = ["default", "one", "two"][rng.usize(..3)];
    let name = ["a", "b", "c", "d"][rng.usize(..4)];
    let (collection, kind) = match rng.u8(..8) {
        0..4 => (format!("/api/v1/namespaces/{namespace}/configmaps"), "ConfigMap"),
        4..7 => (format!("/apis/ex.io/v1/namespaces/{namespace}/widgets"), "Widget"),
        _ => ("/api/v1/namespaces".to_owned(), "Namespace"),
    };
    let name = if kind == "Namespace" { namespace } else { name };
    let path = format!("{collection}/{name}");
    let mut object = match kind {
        "Widget" => widget(name, json!({"size": rng.u8(0..12), "tags": ["x"]})),
        "Namespace" => json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}}),
        _ => {
            json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, "data": {"n": rng.u8(..3).to_string()}})
        }
    };
    if rng.u8(..4) == 0 {
        object["metadata"]["finalizers"] = json!(["x.io/f"]);
    }
    object["metadata"]["labels"] = json!({"n": rng.u8(..2).to_string()});
    if rng.u8(..3) == 0 && kind != "Namespace" {
        let owner = ["a", "b", "c", "d"][rng.usize(..4)];
        let found = server
            .get(&format!("/api/v1/namespaces/{namespace}/configmaps/{owner}"))
            .body;
        let uid = found["metadata"]["uid"].as_str().unwrap_or("nobody").to_owned();
        object["metadata"]["ownerReferences"] = json!([{
            "apiVersion": "v1", "kind": "ConfigMap", "name": owner, "uid": uid, "blockOwnerDeletion": rng.bool(),
        }]);
    }
    let json = "application/json";
    match rng.u8(..12) {
        0..5 => Request::with_body(Method::POST, &collection, json, object.to_string()),
        5 => Request::with_body(Method::PUT, &path, json, object.to_string()),
        6 => {
            let mut current = server.get(&path).body;
            current["metadata"]["annotations"] = json!({"n": rng.u8(..3).to_string()});
            Request::with_body(Method::PUT, &path, json, current.to_string())
        }
        7 => Request::with_body(
            Method::PATCH,
            &path,
            MERGE,
            json!({"metadata": {"labels": {"n": "1"}}}).to_string(),
        ),
        8 => Request::with_body(
            Method::PATCH,
            &path,
            MERGE,
            json!({"metadata": {"finalizers": null}}).to_string(),
        ),
        9 => {
            let patch = json!([{"op": "add", "path": "/metadata/labels/j", "value": rng.u8(..3).to_string()}]);
            Request::with_body(Method::PATCH, &path, JSON_PATCH, patch.to_string())
        }
        _ => {
            let policy = ["Background", "Foreground", "Orphan"][rng.usize(..3)];
            Request::new(Method::DELETE, &format!("{path}?propagationPolicy={policy}"))
        }
    }
}

fn state(list: &Value) -> State {
    let items = list["items"].as_array().unwrap();
    let items = items.iter().map(|item| {
        let mut object = item.clone();
        // Lists of built-in kinds leave these out, as those of real servers do.
        if let (None, Some(kind)) = (object.get("kind"), list["kind"].as_str()) {
            object["kind"] = kind.trim_end_matches("List").into();
            object["apiVersion"] = list["apiVersion"].clone();
        }
        (key(item), object)
    });
    items.collect()
}

fn key(object: &Value) -> (String, String) {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    (text("namespace"), text("name"))
}

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

/// Applies a watch's events to a state, holding each against what an informer relies on.
fn replay(mut state: State, events: &[Value], since: u64) -> State {
    let mut last = since;
    for event in events {
        let object = event["object"].clone();
        assert!(version(&object) > last, "{event}: versions grow");
        last = version(&object);
        let known = state.contains_key(&key(&object));
        match event["type"].as_str().unwrap() {
            "ADDED" => assert!(!known && state.insert(key(&object), object).is_none()),
            "MODIFIED" => assert!(known && state.insert(key(&object), object).is_some()),
            "DELETED" => assert!(state.remove(&key(&object)).is_some()),
            other => panic!("{other}"),
        }
    }
    state
}

fn session(seed: u64, steps: usize) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut server = Server {
        cluster: Cluster::new(seed),
        now: START,
    };
    server.post(CRDS, widgets()).ok();
    for name in ["one", "two"] {
        server
            .post(
                "/api/v1/namespaces",
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
            )
            .ok();
    }
    let mut snapshots: Vec<(u64, Vec<State>)> = Vec::new();
    let mut known = server.cluster.version();
    for step in 0..steps {
        let request = random_request(&mut rng, &mut server);
        let text = format!("{} {} {:?}", request.method, request.path, request.body);
        let answer = server.send(request);
        assert!(
            (200..=422).contains(&answer.code),
            "{text}: {} {}",
            answer.code,
            answer.body
        );
        assert!(server.cluster.version() >= known, "{text}: the version never goes back");
        known = server.cluster.version();
        if rng.u8(..4) == 0 {
            server.now += std::time::Duration::from_millis(rng.u64(..30));
            server.cluster.advance(server.now);
            known = server.cluster.version();
        }
        if step % 17 == 0 {
            let states = COLLECTIONS.map(|path| state(&server.get(path).body));
            snapshots.push((server.cluster.version(), states.into()));
        }
    }
    server.settle();
    for (version, states) in &snapshots {
        for (path, then) in COLLECTIONS.iter().zip(states) {
            let exact = server.get(&format!("{path}?resourceVersion={version}&resourceVersionMatch=Exact"));
            assert_eq!(state(&exact.body), *then, "seed {seed}: the old list at {version}");
            let watch = server.watch(&format!("{path}?watch=true&resourceVersion={version}"));
            let events = server.events(watch);
            let now = state(&server.get(path).body);
            assert_eq!(
                replay(then.clone(), &events, *version),
                now,
                "seed {seed}: the watch of {path} from {version}"
            );
        }
    }
    assert_eq!(
        server.cluster.next_due().filter(|due| *due <= server.now),
        None,
        "seed {seed}: nothing is left to do"
    );
    settled(&mut server, seed);
    assert!(
        known > steps as u64 / 4,
        "seed {seed}: only {known} writes: too little happened to mean anything"
    );
}

/// What collection leaves behind: nothing that should be gone.
fn settled(server: &mut Server, seed: u64) {
    for path in ["/api/v1/configmaps", "/apis/ex.io/v1/widgets"] {
        for object in server.get(path).body["items"].as_array().unwrap() {
            let meta = &object["metadata"];
            if meta["deletionTimestamp"].is_string() {
                let mut finalizers = meta["finalizers"].as_array().unwrap().clone();
                finalizers.retain(|finalizer| finalizer != "foregroundDeletion");
                if finalizers.is_empty() {
                    assert!(blocked(server, object), "seed {seed}: nothing holds {meta}");
                }
                continue;
            }
            for owner in meta["ownerReferences"].as_array().into_iter().flatten() {
                let at = format!(
                    "/api/v1/namespaces/{}/configmaps/{}",
                    meta["namespace"].as_str().unwrap(),
                    owner["name"].as_str().unwrap()
                );
                assert_eq!(
                    server.get(&at).body["metadata"]["uid"],
                    owner["uid"],
                    "seed {seed}: {meta} has no owner"
                );
            }
        }
    }
}

/// Whether a dependent blocks the object from going.
fn blocked(server: &mut Server, owner: &Value) -> bool {
    ["/api/v1/configmaps", "/apis/ex.io/v1/widgets"].iter().any(|path| {
        server.get(path).body["items"].as_array().unwrap().iter().any(|object| {
            object["metadata"]["ownerReferences"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|reference| {
                    reference["uid"] == owner["metadata"]["uid"] && reference["blockOwnerDeletion"] == true
                })
        })
    })
}

#[test]
fn a_watch_from_any_version_leads_from_the_list_of_then_to_the_list_of_now() {
    for seed in 0..12 {
        session(seed, 400);
    }
}

/// A session as text: every answer, and what a watch said.
fn transcript(cluster: Cluster, seed: u64) -> String {
    let mut server = Server { cluster, now: START };
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut text = String::new();
    let watch = server.watch("/api/v1/configmaps?watch=true&allowWatchBookmarks=true");
    for _ in 0..150 {
        let request = random_request(&mut rng, &mut server);
        let answer = server.send(request);
        text.push_str(&format!(
            "{} {:?} {}\n",
            answer.code, answer.response.headers, answer.body
        ));
        server.now += std::time::Duration::from_millis(7);
        server.cluster.advance(server.now);
        for event in server.events(watch) {
            text.push_str(&event.to_string());
        }
    }
    text
}

#[test]
fn the_same_seed_and_the_same_requests_give_the_same_bytes() {
    let one = transcript(Cluster::new(5), 1);
    assert_eq!(one, transcript(Cluster::new(5), 1));
    assert_ne!(one, transcript(Cluster::new(6), 1));
}

#[test]
fn a_fork_goes_its_own_way_and_neither_side_sees_the_other() {
    let mut server = Server::new();
    server.config_map("both", json!({}));
    let watch = server.watch("/api/v1/configmaps?watch=true");
    assert_eq!(server.told(watch), ["ADDED both"]);
    let mut fork = server.clone();
    fork.config_map("fork", json!({}));
    server.delete("/api/v1/namespaces/default/configmaps/both").ok();
    assert_eq!(fork.get("/api/v1/configmaps").names(), ["both", "fork"]);
    assert_eq!(server.get("/api/v1/configmaps").names(), Vec::<String>::new());
    assert_eq!(fork.told(watch), ["ADDED fork"]);
    assert_eq!(server.told(watch), ["DELETED both"]);
    let fresh = transcript(Cluster::new(5), 1);
    let cluster = Cluster::new(5);
    transcript(cluster.clone(), 2);
    assert_eq!(transcript(cluster, 1), fresh, "what a fork did leaves no trace");
}

#[test]
fn a_fork_of_a_large_cluster_shares_everything() {
    let mut server = Server::with(ClusterConfig {
        history: 100_000,
        ..ClusterConfig::default()
    });
    for i in 0..5_000 {
        server.config_map(&format!("c{i}"), json!({"k": "v"}));
    }
    // Forking copies no objects: thousands of forks are made and changed faster than one copy could be.
    let mut forks: Vec<Server> = (0..2_000).map(|_| server.clone()).collect();
    for (i, fork) in forks.iter_mut().enumerate() {
        fork.config_map(&format!("of-fork-{i}"), json!({}));
    }
    assert!(
        forks
            .iter()
            .all(|fork| fork.cluster.version() == server.cluster.version() + 1)
    );
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z0-9./ -]{0,8}".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    let names = prop_oneof![
        prop::sample::select(vec![
            "metadata",
            "spec",
            "status",
            "data",
            "name",
            "namespace",
            "labels",
            "annotations",
            "finalizers",
            "ownerReferences",
            "resourceVersion",
            "uid",
            "generation",
            "deletionTimestamp",
            "conditions",
            "versions",
            "schema",
            "openAPIV3Schema",
            "properties",
            "type",
            "items",
            "default",
            "names",
            "ports",
            "template",
            "containers",
            "selector",
            "matchLabels",
            "op",
            "path",
            "from",
            "value",
            "replicas",
            "stringData",
        ])
        .prop_map(str::to_owned),
        any::<String>(),
    ];
    leaf.prop_recursive(5, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(names.clone(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Objects that are right at the top and random below.
fn nearly_right() -> impl Strategy<Value = Value> {
    let heads = prop::sample::select(vec![
        ("v1", "ConfigMap"),
        ("v1", "Secret"),
        ("v1", "Namespace"),
        ("v1", "Service"),
        ("v1", "Event"),
        ("v1", "Pod"),
        ("apps/v1", "Deployment"),
        ("coordination.k8s.io/v1", "Lease"),
        ("events.k8s.io/v1", "Event"),
        ("ex.io/v1", "Widget"),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
    ]);
    (
        heads,
        json_value(),
        prop::collection::btree_map("spec|status|data|metadata|subsets|type", json_value(), 0..4),
    )
        .prop_map(|((api_version, kind), whole, parts)| {
            let mut object = if whole.is_object() { whole } else { json!({}) };
            for (name, part) in parts {
                object[name] = part;
            }
            object["apiVersion"] = json!(api_version);
            object["kind"] = json!(kind);
            if object["metadata"].is_object() {
                object["metadata"]["name"] = json!("a");
            } else {
                object["metadata"] = json!({"name": "a"});
            }
            object
        })
}

fn target() -> impl Strategy<Value = String> {
    let paths = prop::sample::select(vec![
        "/api/v1/namespaces/default/configmaps",
        "/api/v1/namespaces/default/secrets",
        "/api/v1/namespaces",
        "/api/v1/namespaces/default/services",
        "/api/v1/namespaces/default/events",
        "/api/v1/namespaces/default/pods",
        "/apis/apps/v1/namespaces/default/deployments",
        "/apis/coordination.k8s.io/v1/namespaces/default/leases",
        "/apis/events.k8s.io/v1/namespaces/default/events",
        "/apis/ex.io/v1/namespaces/default/widgets",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    ]);
    let names = prop::sample::select(vec![
        "",
        "/a",
        "/a/status",
        "/a/scale",
        "/a/finalize",
        "/widgets.ex.io",
        "/default",
    ]);
    let queries = prop_oneof![
        Just(String::new()),
        prop::sample::select(vec![
            "watch=1",
            "limit=1",
            "limit=-1",
            "continue=x",
            "resourceVersion=1",
            "resourceVersion=999999999999999999999",
            "labelSelector=a%3Db",
            "labelSelector=%21%21",
            "fieldSelector=metadata.name%3Da",
            "dryRun=All",
            "fieldValidation=Strict",
            "sendInitialEvents=1&watch=1&resourceVersionMatch=NotOlderThan",
            "propagationPolicy=Foreground",
            "resourceVersionMatch=Exact&resourceVersion=3",
            "timeoutSeconds=-5&watch=1",
        ])
        .prop_map(str::to_owned),
        any::<String>(),
    ];
    (paths, names, queries).prop_map(|(path, name, query)| format!("{path}{name}?{query}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_request_makes_it_panic(requests in prop::collection::vec(
        (
            prop::sample::select(vec!["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]),
            prop_oneof![8 => target(), 1 => any::<String>()],
            prop_oneof![4 => nearly_right(), 2 => json_value()],
            prop::sample::select(vec!["application/json", MERGE, JSON_PATCH, "", "text/plain"]),
            prop::sample::select(vec![
                "", "application/json", "*/*", "text/html",
                "application/json;as=Table;v=v1;g=meta.k8s.io", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
            ]),
        ),
        1..12,
    )) {
        let mut server = Server::with(ClusterConfig { history: 8, watches: 3, ..ClusterConfig::default() });
        server.post(CRDS, widgets()).ok();
        let mut open = Vec::new();
        for (method, target, body, content_type, accept) in requests {
            let mut request = Request::with_body(method.parse().unwrap(), &target, content_type, body.to_string());
            request.accept = accept.to_owned();
            let response = server.cluster.handle(server.now, &User::default(), request);
            prop_assert!((200..=504).contains(&response.status));
            match response.body {
                pilothouse_localcluster::Body::Watch(id) => open.push(id),
                pilothouse_localcluster::Body::Whole(bytes) => {
                    if response.content_type == "application/json" {
                        prop_assert!(serde_json::from_slice::<Value>(&bytes).is_ok());
                    }
                }
            }
            for id in &open {
                server.events(*id);
            }
            server.settle();
        }
    }
}
