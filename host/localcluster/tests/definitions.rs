//! CustomResourceDefinitions: registration, versions, schemas, deletion. Messages are those of a 1.36 server.

use serde_json::{Value, json};

mod asked;
use asked::{CRDS, Server, WIDGETS, widget, widgets};

fn bad(change: impl FnOnce(&mut Value)) -> Value {
    let mut crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "bad.ex.io"},
        "spec": {
            "group": "ex.io", "scope": "Namespaced", "names": {"plural": "bad", "kind": "Bad"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}],
        },
    });
    change(&mut crd);
    crd
}

fn set_schema(crd: &mut Value, schema: Value) {
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = schema;
}

#[test]
fn a_definition_is_established_and_served_with_its_registration() {
    let mut server = Server::new();
    let crd = server.post(CRDS, widgets()).ok();
    let conditions: Vec<_> = crd["status"]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| {
            (
                c["type"].as_str().unwrap(),
                c["status"].as_str().unwrap(),
                c["reason"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        conditions,
        [
            ("NamesAccepted", "True", "NoConflicts"),
            ("Established", "True", "InitialNamesAccepted")
        ]
    );
    assert_eq!(crd["status"]["storedVersions"], json!(["v1"]));
    assert_eq!(crd["status"]["acceptedNames"]["kind"], "Widget");
    assert_eq!(
        (&crd["spec"]["names"]["singular"], &crd["spec"]["names"]["listKind"]),
        (&json!("widget"), &json!("WidgetList"))
    );
    assert_eq!(crd["spec"]["conversion"], json!({"strategy": "None"}));
    assert_eq!(server.get(WIDGETS).body["kind"], "WidgetList");
    assert!(
        server
            .cluster
            .types()
            .any(|type_| &*type_.plural == "widgets" && type_.status && type_.scale)
    );
}

#[test]
fn definitions_that_break_the_rules_are_told_why() {
    let mut server = Server::new();
    for (crd, message) in [
        (
            bad(|crd| set_schema(crd, json!({"properties": {"spec": {"properties": {"a": {}}}}}))),
            "CustomResourceDefinition.apiextensions.k8s.io \"bad.ex.io\" is invalid: \
             [spec.validation.openAPIV3Schema.properties[spec].properties[a].type: Required value: must not be empty for \
             specified object fields, spec.validation.openAPIV3Schema.properties[spec].type: Required value: must not be \
             empty for specified object fields, spec.validation.openAPIV3Schema.type: Required value: must not be empty \
             at the root]",
        ),
        (
            bad(|crd| crd["metadata"]["name"] = json!("zzz")),
            "CustomResourceDefinition.apiextensions.k8s.io \"zzz\" is invalid: metadata.name: Invalid value: \"zzz\": \
             must be spec.names.plural+\".\"+spec.group",
        ),
        (
            bad(|crd| {
                let default = json!({"type": "integer", "default": "x"});
                let spec = json!({"type": "object", "properties": {"a": default}});
                set_schema(crd, json!({"type": "object", "properties": {"spec": spec}}));
            }),
            "CustomResourceDefinition.apiextensions.k8s.io \"bad.ex.io\" is invalid: \
             spec.validation.openAPIV3Schema.properties[spec].properties[a].default: Invalid value: \"string\":  in body \
             must be of type integer: \"string\"",
        ),
    ] {
        let answer = server.post(CRDS, crd);
        answer.fails(422, "Invalid");
        assert_eq!(answer.body["message"], message);
    }
    let fields = |server: &mut Server, crd: Value| {
        let answer = server.post(CRDS, crd);
        answer.fails(422, "Invalid");
        answer.causes().into_iter().map(|(_, field)| field).collect::<Vec<_>>()
    };
    let none = bad(|crd| crd["spec"]["versions"][0]["storage"] = json!(false));
    assert_eq!(fields(&mut server, none), ["spec.versions", "status.storedVersions"]);
    let schema = "spec.validation.openAPIV3Schema";
    for (part, field) in [
        (
            json!({"type": "object", "properties": {"a": {"type": "array"}}}),
            ".properties[a].items",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "text"}}}),
            ".properties[a].type",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}}),
            ".properties[a].pattern",
        ),
        (
            json!({"type": "object", "properties": {"a": {"$ref": "#/x", "type": "object"}}}),
            ".properties[a].$ref",
        ),
        (json!({"type": "string"}), ".type"),
        (
            json!({"type": "object", "properties": {"a": {"type": "object", "properties": {"b": {"type": "string"}},
                "additionalProperties": {"type": "string"}}}}),
            ".properties[a].additionalProperties",
        ),
    ] {
        assert_eq!(
            fields(&mut server, bad(|crd| set_schema(crd, part))),
            [format!("{schema}{field}")]
        );
    }
    let webhook = bad(|crd| crd["spec"]["conversion"] = json!({"strategy": "Webhook"}));
    assert_eq!(fields(&mut server, webhook), ["spec.conversion.strategy"]);
    let missing = bad(|crd| {
        crd["spec"]["versions"][0].as_object_mut().unwrap().remove("schema");
    });
    assert_eq!(
        fields(&mut server, missing),
        ["spec.versions[0].schema.openAPIV3Schema"]
    );
    assert!(!server.cluster.types().any(|type_| type_.custom));
}

#[test]
fn scope_and_group_never_change() {
    let mut server = Server::new();
    server.post(CRDS, widgets()).ok();
    let answer = server.merge(&format!("{CRDS}/widgets.ex.io"), json!({"spec": {"scope": "Cluster"}}));
    answer.fails(422, "Invalid");
    assert_eq!(
        answer.body["message"],
        "CustomResourceDefinition.apiextensions.k8s.io \"widgets.ex.io\" is invalid: spec.scope: Invalid value: \
         \"Cluster\": field is immutable"
    );
}

#[test]
fn rules_in_cel_are_accepted_with_a_warning_that_they_are_not_evaluated() {
    let mut server = Server::new();
    let crd = bad(|crd| {
        let rules = json!({"type": "object", "x-kubernetes-validations": [{"rule": "self.a < 1"}]});
        set_schema(crd, json!({"type": "object", "properties": {"spec": rules}}));
    });
    let answer = server.post(CRDS, crd);
    assert_eq!(answer.code, 201);
    assert!(
        answer.header("Warning")[0].contains("does not evaluate CEL rules"),
        "{:?}",
        answer.response.headers
    );
}

#[test]
fn names_that_are_taken_are_not_served() {
    let mut server = Server::new();
    server.post(CRDS, widgets()).ok();
    let crd = server
        .post(CRDS, bad(|crd| crd["spec"]["names"]["shortNames"] = json!(["wd"])))
        .ok();
    let conditions = crd["status"]["conditions"].as_array().unwrap();
    assert_eq!(
        (&conditions[0]["status"], &conditions[0]["reason"]),
        (&json!("False"), &json!("ShortNamesConflict"))
    );
    assert_eq!(
        (&conditions[1]["status"], &conditions[1]["reason"]),
        (&json!("False"), &json!("NotAccepted"))
    );
    assert_eq!(server.get("/apis/ex.io/v1/namespaces/default/bad").code, 404);
    server
        .merge(
            &format!("{CRDS}/bad.ex.io"),
            json!({"spec": {"names": {"shortNames": null}}}),
        )
        .ok();
    assert_eq!(server.get("/apis/ex.io/v1/namespaces/default/bad").code, 200);
}

fn mv() -> Value {
    let version = |name: &str, storage: bool, properties: Value| {
        json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": {
            "type": "object", "properties": {"spec": {"type": "object", "properties": properties}},
        }}})
    };
    let mut beta = version("v1beta1", false, json!({"b": {"type": "string"}}));
    beta["deprecated"] = json!(true);
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "mvs.ex.io"},
        "spec": {
            "group": "ex.io", "scope": "Namespaced", "names": {"plural": "mvs", "kind": "Mv"},
            "versions": [version("v1", true, json!({"a": {"type": "string"}})), beta],
        },
    })
}

#[test]
fn another_version_shows_the_same_object_pruned_to_its_own_schema_with_a_deprecation_warning() {
    let mut server = Server::new();
    server.post(CRDS, mv()).ok();
    let object = json!({"apiVersion": "ex.io/v1", "kind": "Mv", "metadata": {"name": "m"}, "spec": {"a": "1"}});
    let created = server.post("/apis/ex.io/v1/namespaces/default/mvs", object).ok();
    let beta = server.get("/apis/ex.io/v1beta1/namespaces/default/mvs/m");
    assert_eq!(
        beta.header("Warning"),
        ["299 - \"ex.io/v1beta1 Mv is deprecated; use ex.io/v1 Mv\""]
    );
    let beta = beta.ok();
    assert_eq!(
        (&beta["apiVersion"], &beta["spec"]),
        (&json!("ex.io/v1beta1"), &json!({}))
    );
    assert_eq!(beta["metadata"], created["metadata"]);
    let watch = server.watch("/apis/ex.io/v1beta1/mvs?watch=true");
    server
        .merge("/apis/ex.io/v1/namespaces/default/mvs/m", json!({"spec": {"a": "2"}}))
        .ok();
    let events = server.events(watch);
    assert!(
        events
            .iter()
            .all(|event| event["object"]["apiVersion"] == "ex.io/v1beta1")
    );
    assert_eq!(events.len(), 2);
    assert_eq!(server.get("/apis/ex.io/v1/mvs").body["items"][0]["spec"]["a"], "2");
}

#[test]
fn a_new_default_shows_in_old_objects_without_a_write() {
    let mut server = Server::new();
    server.post(CRDS, mv()).ok();
    let object = json!({"apiVersion": "ex.io/v1", "kind": "Mv", "metadata": {"name": "m"}, "spec": {"a": "1"}});
    let path = "/apis/ex.io/v1/namespaces/default/mvs";
    let created = server.post(path, object).ok();
    let mut crd = server.get(&format!("{CRDS}/mvs.ex.io")).ok();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["c"] =
        json!({"type": "string", "default": "new"});
    server.put(&format!("{CRDS}/mvs.ex.io"), crd).ok();
    let read = server.get(&format!("{path}/m")).ok();
    assert_eq!(read["spec"], json!({"a": "1", "c": "new"}));
    assert_eq!(
        read["metadata"]["resourceVersion"],
        created["metadata"]["resourceVersion"]
    );
}

#[test]
fn a_version_that_is_no_longer_served_is_gone_and_one_that_was_stored_must_stay() {
    let mut server = Server::new();
    server.post(CRDS, mv()).ok();
    let mut crd = server.get(&format!("{CRDS}/mvs.ex.io")).ok();
    crd["spec"]["versions"][1]["served"] = json!(false);
    let crd = server.put(&format!("{CRDS}/mvs.ex.io"), crd).ok();
    assert_eq!(crd["metadata"]["generation"], 2);
    assert_eq!(server.get("/apis/ex.io/v1beta1/mvs").code, 404);
    assert_eq!(server.get("/apis/ex.io/v1/mvs").code, 200);
    let only = json!({"spec": {"versions": [mv()["spec"]["versions"][1]]}});
    server.merge(&format!("{CRDS}/mvs.ex.io"), only).fails(422, "Invalid");
}

#[test]
fn deleting_a_definition_takes_its_objects_along_and_allows_no_new_ones_meanwhile() {
    let mut server = Server::new();
    server.post(CRDS, widgets()).ok();
    server.post(WIDGETS, widget("plain", json!({"size": 1}))).ok();
    let mut held = widget("held", json!({"size": 1}));
    held["metadata"]["finalizers"] = json!(["x.io/h"]);
    server.post(WIDGETS, held).ok();
    let crd = format!("{CRDS}/widgets.ex.io");
    let deleted = server.delete(&crd).ok();
    assert_eq!(
        deleted["metadata"]["finalizers"],
        json!(["customresourcecleanup.apiextensions.k8s.io"])
    );
    assert_eq!(deleted["status"]["conditions"][2]["reason"], "InstanceDeletionPending");
    let late = server.post(WIDGETS, widget("zz", json!({"size": 1})));
    late.fails(403, "Forbidden");
    assert_eq!(
        late.body["message"],
        "widgets.ex.io \"zz\" is forbidden: create not allowed while custom resource definition is terminating"
    );
    server.settle();
    assert_eq!(server.get(WIDGETS).names(), ["held"]);
    server
        .merge(&format!("{WIDGETS}/held"), json!({"metadata": {"finalizers": null}}))
        .ok();
    server.settle();
    server.get(&crd).fails(404, "NotFound");
    assert_eq!(server.get(WIDGETS).response.whole(), b"404 page not found\n");
    server.post(CRDS, widgets()).ok();
    assert_eq!(server.get(WIDGETS).names(), Vec::<String>::new());
}

#[test]
fn selectable_fields_can_be_selected_by() {
    let mut server = Server::new();
    let mut crd = widgets();
    crd["spec"]["versions"][0]["selectableFields"] = json!([{"jsonPath": ".spec.color"}]);
    server.post(CRDS, crd).ok();
    server.post(WIDGETS, widget("r", json!({"size": 1}))).ok();
    server
        .post(WIDGETS, widget("b", json!({"size": 1, "color": "blue"})))
        .ok();
    assert_eq!(
        server
            .get(&format!("{WIDGETS}?fieldSelector=spec.color%3Dblue"))
            .names(),
        ["b"]
    );
    server
        .get(&format!("{WIDGETS}?fieldSelector=spec.size%3D1"))
        .fails(400, "BadRequest");
}

#[test]
fn cluster_scoped_resources_have_no_namespace() {
    let mut server = Server::new();
    let mut crd = widgets();
    crd["spec"]["scope"] = json!("Cluster");
    server.post(CRDS, crd).ok();
    let mut object = widget("w", json!({"size": 1}));
    object["metadata"]["namespace"] = json!("default");
    let created = server.post("/apis/ex.io/v1/widgets", object).ok();
    assert_eq!(created["metadata"]["namespace"], Value::Null);
    assert_eq!(server.get("/apis/ex.io/v1/widgets/w").code, 200);
    assert_eq!(server.get(WIDGETS).code, 404);
}
