//! What `dev --apply` makes of files of objects.

use pilothouse_e2e::{CONFIG_MAPS, On, Scene, on_both};
use serde_json::{Value, json};

fn config_map(scene: &Scene, file: &str, namespace: &str, data: &str) {
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": namespace}, "data": {"k": data},
    });
    scene.file(file, object.to_string());
}

on_both!(an_object_is_created_then_patched_then_left_alone);
async fn an_object_is_created_then_patched_then_left_alone(on: On) {
    let scene = Scene::with_greeting().on(on);
    let ns = scene.namespace();
    for (file, data) in [("1.yaml", "one"), ("2.yaml", "two"), ("3.yaml", "two")] {
        config_map(&scene, file, ns, data);
    }
    let args = ["--apply", "1.yaml", "--apply", "2.yaml", "--apply", "3.yaml"];
    let host = scene.dev_with(&args).await;
    let done = |kind: &str| -> Vec<Value> {
        let events = host.events();
        let applied = events
            .iter()
            .filter(|event| event["event"] == "applied" && event["kind"] == kind);
        applied.map(|event| event["done"].clone()).collect()
    };
    assert_eq!(done("ConfigMap"), ["created", "configured", "unchanged"]);
    assert_eq!(done("Namespace"), ["created"]);
    // The real control plane has them from the start, completed by the server: what the file leaves out stays.
    let definitions = match on {
        On::Local => "created",
        On::Real => "unchanged",
    };
    assert_eq!(done("CustomResourceDefinition"), [definitions; 2]);
    let object = host.api().get(CONFIG_MAPS, ns, "a").await.unwrap();
    assert_eq!(object["data"], json!({"k": "two"}));
}

on_both!(an_object_that_the_server_refuses_ends_dev_and_says_why);
async fn an_object_that_the_server_refuses_ends_dev_and_says_why(on: On) {
    let scene = Scene::with_greeting().on(on);
    let ns = &*scene.another_namespace("none");
    config_map(&scene, "nowhere.yaml", ns, "one");
    let ended = scene.dev_to_end(&["--apply", "nowhere.yaml"]).await;
    let why = format!("the server refuses it (404): namespaces \"{ns}\" not found");
    ended.told(2, &["nowhere.yaml: document 1 (line 1), ConfigMap ", &why]);
}

on_both!(an_object_that_does_not_fit_its_definition_ends_dev_and_says_why);
async fn an_object_that_does_not_fit_its_definition_ends_dev_and_says_why(on: On) {
    let scene = Scene::with_greeting().on(on);
    let beast = json!({
        "apiVersion": "zoo.pilothouse.dev/v1", "kind": "Beast",
        "metadata": {"name": "b", "namespace": scene.namespace()}, "spec": {"do": "nothing", "size": 11},
    });
    scene.file("beast.yaml", beast.to_string());
    let ended = scene.dev_to_end(&["--apply", "beast.yaml"]).await;
    let why = "the server refuses it (422): Beast.zoo.pilothouse.dev \"b\" is invalid: spec.size: Invalid value: 11: \
               spec.size in body should be less than or equal to 10";
    ended.told(2, &["beast.yaml: document 1 (line 1), Beast ", why]);
}
