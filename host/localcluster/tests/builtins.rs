//! Built-in kinds: defaults, rules, and what is special about each. Facts are those of recorded 1.20 and 1.36 servers.

use serde_json::{Value, json};

mod asked;
use asked::{CONFIG_MAPS, Server, config_map};

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/default/events";

fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "a", "image": "a:1", "ports": [{"containerPort": 80}]}]},
            },
        },
    })
}

fn lease(name: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name},
        "spec": {"holderIdentity": "me", "leaseDurationSeconds": 15},
    })
}

#[test]
fn a_config_map_has_no_generation_and_may_be_replaced_without_a_version() {
    let mut server = Server::new();
    let created = server.config_map("x1", json!({"a": "b"}));
    assert_eq!(created["metadata"]["generation"], Value::Null);
    assert_eq!(created["metadata"]["creationTimestamp"], "2026-11-22T01:38:37Z");
    let updated = server
        .put(&format!("{CONFIG_MAPS}/x1"), config_map("x1", json!({"n": "1"})))
        .ok();
    assert_eq!(updated["data"], json!({"n": "1"}));
    assert_eq!(updated["metadata"]["uid"], created["metadata"]["uid"]);
    server
        .put(&format!("{CONFIG_MAPS}/nope"), config_map("nope", json!({})))
        .fails(404, "NotFound");
    let deleted = server.delete(&format!("{CONFIG_MAPS}/x1")).ok();
    assert_eq!(
        deleted,
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
            "details": {"name": "x1", "kind": "configmaps", "uid": created["metadata"]["uid"]},
        })
    );
}

#[test]
fn a_generation_that_a_client_gives_a_config_map_stays() {
    let mut server = Server::new();
    let mut object = config_map("g", json!({}));
    object["metadata"]["generation"] = json!(7);
    assert_eq!(server.post(CONFIG_MAPS, object).ok()["metadata"]["generation"], 7);
}

#[test]
fn keys_and_types_of_config_maps_are_checked() {
    let mut server = Server::new();
    let answer = server.post(CONFIG_MAPS, config_map("bk", json!({"a b": "c"})));
    answer.fails(422, "Invalid");
    assert_eq!(answer.causes(), [("FieldValueInvalid".into(), "data[a b]".into())]);
    server
        .post(CONFIG_MAPS, config_map("bk", json!({"a": 1})))
        .fails(400, "BadRequest");
    let huge = config_map("huge", json!({"a": "x".repeat(1024 * 1024)}));
    server.post(CONFIG_MAPS, huge).fails(422, "Invalid");
}

#[test]
fn unknown_fields_of_built_in_kinds_are_dropped_with_a_warning_or_refused() {
    let mut server = Server::new();
    let mut object = deployment("d");
    object["spec"]["template"]["spec"]["containers"][0]["imagePulPolicy"] = json!("Never");
    let strict = server.post(&format!("{DEPLOYMENTS}?fieldValidation=Strict"), object.clone());
    strict.fails(400, "BadRequest");
    assert_eq!(
        strict.body["message"],
        "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: unknown field \
         \"spec.template.spec.containers[0].imagePulPolicy\""
    );
    let answer = server.post(DEPLOYMENTS, object);
    let warning = "299 - \"unknown field \\\"spec.template.spec.containers[0].imagePulPolicy\\\"\"";
    assert_eq!(answer.header("Warning"), [warning]);
    assert_eq!(
        answer.ok().pointer("/spec/template/spec/containers/0/imagePulPolicy"),
        None
    );
}

#[test]
fn an_immutable_config_map_keeps_its_data() {
    let mut server = Server::new();
    let mut object = config_map("i", json!({"a": "1"}));
    object["immutable"] = json!(true);
    server.post(CONFIG_MAPS, object).ok();
    let path = format!("{CONFIG_MAPS}/i");
    for change in [json!({"data": {"a": "2"}}), json!({"immutable": null})] {
        server.merge(&path, change).fails(422, "Invalid");
    }
    server.merge(&path, json!({"metadata": {"labels": {"a": "b"}}})).ok();
}

#[test]
fn the_texts_of_a_secret_win_over_its_data_and_are_not_shown() {
    let mut server = Server::new();
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "sec1"},
        "stringData": {"k": "hello"}, "data": {"k": "b2xk", "z": "eg=="},
    });
    let created = server.post(SECRETS, secret).ok();
    assert_eq!(created["data"], json!({"k": "aGVsbG8=", "z": "eg=="}));
    assert_eq!(
        (&created["type"], &created["stringData"]),
        (&json!("Opaque"), &Value::Null)
    );
    let bad = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "sec2"}, "data": {"k": "!!"}});
    server.post(SECRETS, bad).fails(400, "BadRequest");
    let answer = server.merge(&format!("{SECRETS}/sec1"), json!({"type": "foo"}));
    answer.fails(422, "Invalid");
    assert_eq!(
        answer.body["message"],
        "Secret \"sec1\" is invalid: type: Invalid value: \"foo\": field is immutable"
    );
}

#[test]
fn a_deployment_gets_its_defaults_and_its_generation_counts_its_spec() {
    let mut server = Server::new();
    let created = server.post(DEPLOYMENTS, deployment("d1")).ok();
    let spec = &created["spec"];
    assert_eq!(
        (&spec["replicas"], &spec["revisionHistoryLimit"]),
        (&json!(1), &json!(10))
    );
    assert_eq!(
        spec["strategy"]["rollingUpdate"],
        json!({"maxSurge": "25%", "maxUnavailable": "25%"})
    );
    let container = &spec["template"]["spec"]["containers"][0];
    assert_eq!(container["ports"][0]["protocol"], "TCP");
    assert_eq!(container["imagePullPolicy"], "IfNotPresent");
    assert_eq!(created["metadata"]["generation"], 1);
    let path = format!("{DEPLOYMENTS}/d1");
    let generation = |server: &mut Server, target: &str, change: Value| {
        server.merge(target, change).ok()["metadata"]["generation"].clone()
    };
    assert_eq!(
        generation(&mut server, &path, json!({"metadata": {"labels": {"a": "b"}}})),
        1
    );
    assert_eq!(
        generation(
            &mut server,
            &format!("{path}/status"),
            json!({"status": {"replicas": 7}})
        ),
        1
    );
    assert_eq!(generation(&mut server, &path, json!({"spec": {"replicas": 2}})), 2);
    assert_eq!(server.get(&path).ok()["status"], json!({"replicas": 7}));
}

#[test]
fn the_selector_of_a_deployment_fits_its_template_and_never_changes() {
    let mut server = Server::new();
    server.post(DEPLOYMENTS, deployment("d1")).ok();
    let change = json!({"spec": {"selector": {"matchLabels": {"app": "zz"}}}});
    let answer = server.merge(&format!("{DEPLOYMENTS}/d1"), change);
    answer.fails(422, "Invalid");
    assert!(
        answer
            .causes()
            .contains(&("FieldValueInvalid".into(), "spec.selector".into()))
    );
    let mut wrong = deployment("d2");
    wrong["spec"]["template"]["metadata"]["labels"] = json!({"app": "other"});
    let answer = server.post(DEPLOYMENTS, wrong);
    answer.fails(422, "Invalid");
    assert_eq!(
        answer.causes(),
        [("FieldValueInvalid".into(), "spec.template.metadata.labels".into())]
    );
}

#[test]
fn a_deployment_can_be_scaled() {
    let mut server = Server::new();
    server.post(DEPLOYMENTS, deployment("d1")).ok();
    let path = format!("{DEPLOYMENTS}/d1/scale");
    let scale = server.get(&path).ok();
    assert_eq!(
        (&scale["kind"], &scale["spec"]["replicas"]),
        (&json!("Scale"), &json!(1))
    );
    assert_eq!(scale["status"]["selector"], "app=d1");
    let scale = server.merge(&path, json!({"spec": {"replicas": 5}})).ok();
    assert_eq!(scale["spec"]["replicas"], 5);
    let deployment = server.get(&format!("{DEPLOYMENTS}/d1")).ok();
    assert_eq!(
        (&deployment["spec"]["replicas"], &deployment["metadata"]["generation"]),
        (&json!(5), &json!(2))
    );
    server
        .merge(&path, json!({"spec": {"replicas": -1}}))
        .fails(422, "Invalid");
}

#[test]
fn a_lease_is_created_by_a_replace_and_replaced_only_by_version() {
    let mut server = Server::new();
    let path = format!("{LEASES}/l1");
    let answer = server.put(&path, lease("l1"));
    assert_eq!(answer.code, 201);
    let created = answer.ok();
    server.put(&path, lease("l1")).fails(422, "Invalid");
    let mut next = created.clone();
    next["spec"]["holderIdentity"] = json!("you");
    assert_eq!(server.put(&path, next.clone()).code, 200);
    server.put(&path, next).fails(409, "Conflict");
}

#[test]
fn an_event_is_one_object_in_both_groups() {
    let mut server = Server::new();
    let event = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e1"},
        "eventTime": "2026-11-22T01:38:37.123456Z", "reportingController": "ex.io/c", "reportingInstance": "c-0",
        "action": "Make", "reason": "Made", "type": "Normal", "note": "made it",
        "regarding": {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "namespace": "default"},
    });
    let created = server.post(EVENTS, event.clone()).ok();
    assert_eq!(
        (&created["apiVersion"], &created["note"]),
        (&json!("events.k8s.io/v1"), &json!("made it"))
    );
    let core = server.get("/api/v1/namespaces/default/events/e1").ok();
    assert_eq!(
        (&core["apiVersion"], &core["message"]),
        (&json!("v1"), &json!("made it"))
    );
    assert_eq!(
        (&core["involvedObject"]["name"], &core["reportingComponent"]),
        (&json!("x"), &json!("ex.io/c"))
    );
    assert_eq!(core["metadata"], created["metadata"]);
    let mut bad = event;
    bad["metadata"]["name"] = json!("e2");
    bad["regarding"]["namespace"] = json!("kube-system");
    bad.as_object_mut().unwrap().remove("action");
    let answer = server.post(EVENTS, bad);
    answer.fails(422, "Invalid");
    let fields: Vec<_> = answer.causes().into_iter().map(|(_, field)| field).collect();
    assert_eq!(fields, ["regarding.namespace", "action"]);
}

#[test]
fn an_event_may_have_any_name_that_fits_into_a_path() {
    let mut server = Server::new();
    let event = |name: &str| {
        json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": name},
            "involvedObject": {"kind": "ConfigMap", "name": "a", "namespace": "default"}, "reason": "Seen", "type": "Normal",
        })
    };
    let events = "/api/v1/namespaces/default/events";
    // As hosts name them that cut an object's name off wherever it is too long.
    for name in [&*format!("a{}.17c0ffee", "-".repeat(240)), "Upper_Case"] {
        server.post(events, event(name)).ok();
    }
    for (name, why) in [
        ("a/b", "may not contain '/'"),
        ("a%b", "may not contain '%'"),
        ("..", "may not be '..'"),
    ] {
        let answer = server.post(events, event(name));
        answer.fails(422, "Invalid");
        assert!(answer.body.to_string().contains(why), "{}", answer.body);
    }
}

#[test]
fn a_service_gets_an_address_and_keeps_it() {
    let mut server = Server::new();
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "svc"},
        "spec": {"selector": {"app": "x"}, "ports": [{"port": 80}]},
    });
    let path = "/api/v1/namespaces/default/services";
    let created = server.post(path, service.clone()).ok();
    let address = created["spec"]["clusterIP"].as_str().unwrap().to_owned();
    assert!(address.starts_with("10.96."), "{address}");
    assert_eq!(
        created["spec"]["ports"],
        json!([{"port": 80, "protocol": "TCP", "targetPort": 80}])
    );
    let updated = server.put(&format!("{path}/svc"), service).ok();
    assert_eq!(updated["spec"]["clusterIP"], address.as_str());
    assert_eq!(
        updated["metadata"]["resourceVersion"], created["metadata"]["resourceVersion"],
        "nothing changed"
    );
}

#[test]
fn a_deleted_pod_is_shown_once_more() {
    let mut server = Server::new();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p1"},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    });
    let path = "/api/v1/namespaces/default/pods";
    let created = server.post(path, pod).ok();
    assert_eq!(created["status"]["phase"], "Pending");
    assert_eq!(created["spec"]["containers"][0]["imagePullPolicy"], "Always");
    assert_eq!(server.delete(&format!("{path}/p1")).ok()["kind"], "Pod");
    assert_eq!(server.get(path).names(), Vec::<String>::new());
}

#[test]
fn paths_that_lead_nowhere_say_so_in_the_way_of_their_group() {
    let mut server = Server::new();
    for built_in in [
        "/api/v1/namespaces/default/gizmos",
        "/api/v2/pods",
        "/apis/apps/v1/namespaces/default/gizmos",
    ] {
        let answer = server.get(built_in);
        answer.fails(404, "NotFound");
        assert_eq!(
            answer.body["message"],
            "the server could not find the requested resource"
        );
    }
    for nobody in ["/apis/nope.io/v1/things", "/foo", "/apis/apps/v9/deployments"] {
        let answer = server.get(nobody);
        assert_eq!(
            (answer.code, answer.response.whole()),
            (404, &b"404 page not found\n"[..]),
            "{nobody}"
        );
    }
    assert!(server.get("/").body["paths"].is_array());
    server
        .post(&format!("{CONFIG_MAPS}/x1"), config_map("x1", json!({})))
        .fails(405, "MethodNotAllowed");
    server
        .put(CONFIG_MAPS, config_map("x1", json!({})))
        .fails(405, "MethodNotAllowed");
    server
        .post("/api/v1/configmaps", config_map("x1", json!({})))
        .fails(405, "MethodNotAllowed");
}

#[test]
fn bodies_that_are_not_read_are_415_and_too_large_ones_413() {
    let mut server = Server::new();
    server.config_map("x", json!({}));
    let path = format!("{CONFIG_MAPS}/x");
    for media in ["application/strategic-merge-patch+json", "application/apply-patch+yaml"] {
        server.patch(&path, media, json!({})).fails(415, "UnsupportedMediaType");
    }
    for media in ["application/vnd.kubernetes.protobuf", "application/yaml", "text/plain"] {
        let request = pilothouse_localcluster::Request::with_body(http::Method::POST, CONFIG_MAPS, media, "x");
        server.send(request).fails(415, "UnsupportedMediaType");
    }
    let body = vec![b' '; pilothouse_localcluster::MAX_BODY + 1];
    let request =
        pilothouse_localcluster::Request::with_body(http::Method::POST, CONFIG_MAPS, "application/json", body);
    server.send(request).fails(413, "RequestEntityTooLarge");
}
