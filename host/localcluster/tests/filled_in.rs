//! What a server adds to objects and to answers without being asked. Facts are those of a 1.36 server, which kubectl's
//! transcripts confirm.

use http::Method;
use pilothouse_localcluster::Request;
use serde_json::{Value, json};

mod asked;
use asked::{CONFIG_MAPS, CRDS, Server, WIDGETS, widget, widgets};

const PODS: &str = "/api/v1/namespaces/default/pods";
const EVENTS: &str = "/api/v1/namespaces/default/events";
const NEW_EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/default/events";

fn pod(name: &str, resources: Value, tolerations: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "a", "image": "a:1", "resources": resources}], "tolerations": tolerations},
    })
}

#[test]
fn a_pod_gets_a_priority_and_bears_the_troubles_of_its_node_for_a_while() {
    let mut server = Server::new();
    let created = server.post(PODS, pod("plain", json!({}), json!([]))).ok();
    assert_eq!(created["spec"]["priority"], 0);
    assert_eq!(created["spec"]["preemptionPolicy"], "PreemptLowerPriority");
    let keys = |pod: &Value| -> Vec<String> {
        let tolerations = pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
        let key = |toleration: &Value| toleration["key"].as_str().unwrap_or("any").to_owned();
        tolerations.iter().map(key).collect()
    };
    let (not_ready, unreachable) = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable");
    assert_eq!(keys(&created), [not_ready, unreachable]);
    assert_eq!(created["spec"]["tolerations"][0]["tolerationSeconds"], 300);
    // Its own word counts.
    let own = json!([{"key": not_ready, "operator": "Exists"}]);
    let created = server.post(PODS, pod("own", json!({}), own)).ok();
    assert_eq!(keys(&created), [not_ready, unreachable]);
    assert_eq!(created["spec"]["tolerations"][0].get("tolerationSeconds"), None);
    let all = json!([{"operator": "Exists"}]);
    assert_eq!(keys(&server.post(PODS, pod("all", json!({}), all)).ok()), ["any"]);
}

#[test]
fn the_class_of_a_pod_follows_from_what_its_containers_ask_for() {
    let mut server = Server::new();
    let both = json!({"cpu": "1", "memory": "1Gi"});
    for (name, resources, class) in [
        ("none", json!({}), "BestEffort"),
        ("some", json!({"requests": {"cpu": "1"}}), "Burstable"),
        ("cpu", json!({"limits": {"cpu": "1"}}), "Burstable"),
        ("limits", json!({"limits": both}), "Guaranteed"),
        ("same", json!({"limits": both, "requests": both}), "Guaranteed"),
        (
            "less",
            json!({"limits": both, "requests": {"cpu": "1", "memory": "1Mi"}}),
            "Burstable",
        ),
    ] {
        let created = server.post(PODS, pod(name, resources, json!([]))).ok();
        assert_eq!(
            created["status"],
            json!({"phase": "Pending", "qosClass": class}),
            "{name}"
        );
    }
    let limits = server.get(&format!("{PODS}/limits")).ok();
    assert_eq!(limits["spec"]["containers"][0]["resources"]["requests"], both);
}

#[test]
fn an_event_shows_its_empty_fields_as_each_group_does() {
    let mut server = Server::new();
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "reason": "R",
        "involvedObject": {"kind": "ConfigMap", "name": "x", "namespace": "default"},
    });
    let created = server.post(EVENTS, event).ok();
    for (field, empty) in [
        ("eventTime", Value::Null),
        ("firstTimestamp", Value::Null),
        ("lastTimestamp", Value::Null),
        ("source", json!({})),
        ("reportingComponent", json!("")),
        ("reportingInstance", json!("")),
    ] {
        assert_eq!(created.get(field), Some(&empty), "{field}");
    }
    let new = server.get(&format!("{NEW_EVENTS}/e")).ok();
    assert_eq!(new.get("eventTime"), Some(&Value::Null));
    assert_eq!(new.get("deprecatedSource"), Some(&json!({})));
    assert_eq!(
        (new.get("reportingController"), new.get("reportingInstance")),
        (None, None)
    );
}

#[test]
fn a_scale_can_be_shown_as_a_table() {
    let mut server = Server::new();
    server.post(CRDS, widgets()).ok();
    server
        .post(WIDGETS, widget("w", json!({"size": 1, "replicas": 3})))
        .ok();
    let mut request = Request::new(Method::GET, &format!("{WIDGETS}/w/scale"));
    request.accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json".into();
    let table = server.send(request).ok();
    let names: Vec<&str> = table["columnDefinitions"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|column| column["name"].as_str())
        .collect();
    assert_eq!(names, ["Name", "Desired", "Available", "Age"]);
    assert_eq!(table["rows"][0]["cells"], json!(["w", 3, 0, "0s"]));
}

#[test]
fn what_scale_needs_is_held_against_custom_resources_beside_their_schema() {
    let mut server = Server::new();
    server.post(CRDS, widgets()).ok();
    let replicas = |server: &mut Server, replicas: Value| {
        server.post(WIDGETS, widget("w", json!({"size": 1, "replicas": replicas})))
    };
    let answer = replicas(&mut server, json!("many"));
    answer.fails(422, "Invalid");
    let message = answer.body["message"].as_str().unwrap();
    assert!(
        message.contains(
            ".spec.replicas: Invalid value: 0: .spec.replicas accessor error: many is of the type string, expected int64"
        ),
        "{message}"
    );
    let answer = replicas(&mut server, json!(-1));
    answer.fails(422, "Invalid");
    assert_eq!(answer.causes(), [("FieldValueInvalid".into(), ".spec.replicas".into())]);
    replicas(&mut server, json!(1)).ok();
}

#[test]
fn deployments_and_services_have_a_status_from_the_start() {
    let mut server = Server::new();
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"name": "a", "image": "a:1"}]},
            },
        },
    });
    let created = server
        .post("/apis/apps/v1/namespaces/default/deployments", deployment)
        .ok();
    assert_eq!(created["status"], json!({}));
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]},
    });
    let created = server.post("/api/v1/namespaces/default/services", service).ok();
    assert_eq!(created["status"], json!({"loadBalancer": {}}));
}

#[test]
fn an_unknown_field_to_select_by_is_told_as_its_kind_tells_it() {
    let mut server = Server::new();
    let message = |server: &mut Server, path: &str| {
        let answer = server.get(&format!("{path}?fieldSelector=a.b%3Dc"));
        answer.fails(400, "BadRequest");
        answer.body["message"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(message(&mut server, PODS), "field label not supported: a.b");
    assert_eq!(
        message(&mut server, CONFIG_MAPS),
        "\"a.b\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
    );
}

#[test]
fn a_patch_that_breaks_off_is_told_so() {
    let mut server = Server::new();
    server.config_map("one", json!({}));
    for media in [asked::MERGE, asked::JSON_PATCH] {
        let answer = server.send(Request::with_body(
            Method::PATCH,
            &format!("{CONFIG_MAPS}/one"),
            media,
            "{",
        ));
        answer.fails(400, "BadRequest");
        assert_eq!(
            answer.body["message"],
            "error decoding patch: unexpected end of JSON input"
        );
    }
}
