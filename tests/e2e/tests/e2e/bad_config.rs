//! Configuration that is wrong: the operator's file, the plugin's part of it, the kubeconfig.

use pilothouse_e2e::{On, Scene, Server, message, on_both};
use serde_json::{Value, json};

#[tokio::test]
async fn a_wrong_field_is_named_with_its_file_place_and_mend() {
    let scene = Scene::with_greeting();
    let text = "apiVersion: pilothouse.dev/v1\nplugins:\n  greeting:\n    limits:\n      cpuMS: 5\n";
    scene.file("config.yaml", text);
    for command in ["run", "dev"] {
        let ended = scene
            .run_to_end(&[command, "--plugins", "plugins", "--config", "config.yaml"])
            .await;
        ended.told(
            2,
            &[
                "error: config.yaml:5:",
                "plugins.*.limits: an unknown field; known are wallMs, ",
                "did you mean `cpuMs`?",
            ],
        );
        assert_eq!(ended.stdout, "", "nothing was begun");
    }
}

#[tokio::test]
async fn a_configuration_file_that_is_not_there_is_named() {
    let scene = Scene::with_greeting();
    let ended = scene
        .run_to_end(&["run", "--plugins", "plugins", "--config", "none.yaml"])
        .await;
    ended.told(
        2,
        &[
            "error: none.yaml: can't be read: ",
            "check the path given with --config",
        ],
    );
}

/// Runs both plugins with that configuration of the zoo; answers why the zoo was refused while the greeting works.
async fn zoo_refused(on: On, config: Value) -> String {
    let scene = Scene::with_zoo().on(on);
    let server = Server::started(&scene).await;
    scene.config(&json!({"greeting": {}, "zoo": {"config": config}}));
    let host = scene.run(&server, &[]);
    server.api().greet("neighbour").await;
    assert_eq!(host.greeted(&server.api(), "neighbour").await, "Hello, neighbour!");
    let refusal = host
        .logged("the refusal", |line| {
            message(line).starts_with("plugin zoo was not loaded: ")
        })
        .await;
    message(&refusal).to_owned()
}

on_both!(a_value_that_the_plugin_itself_refuses_is_named_in_the_operators_file);
async fn a_value_that_the_plugin_itself_refuses_is_named_in_the_operators_file(on: On) {
    assert_eq!(
        zoo_refused(on, json!({"appetite": 99})).await,
        "plugin zoo was not loaded: config: plugins.zoo.config.appetite: a zoo feeds at most 10: lower it; correct \
         plugins.zoo.config in the operator's file (--config)"
    );
}

on_both!(a_field_that_the_plugin_does_not_know_is_named_in_the_operators_file);
async fn a_field_that_the_plugin_does_not_know_is_named_in_the_operators_file(on: On) {
    let why = zoo_refused(on, json!({"apetite": 9})).await;
    assert!(
        why.contains("config: plugins.zoo.config.apetite: unknown field `apetite`, expected `appetite`"),
        "{why}"
    );
}

#[tokio::test]
async fn a_kubeconfig_that_does_not_work_is_named() {
    let scene = Scene::with_greeting();
    let good = pilothouse_localcluster::kubeconfig::text(([127, 0, 0, 1], 1).into());
    scene.file("good", &good);
    scene.file("broken", "apiVersion: v1\nclusters: [\n");
    scene.file(
        "dangling",
        good.replace("    cluster: pilothouse-local\n", "    cluster: elsewhere\n"),
    );
    let run = |more: &[&str]| {
        let args = [&["run", "--plugins", "plugins", "--metrics-address", "off"], more].concat();
        let (scene, args) = (&scene, args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>());
        async move {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            scene.run_to_end(&args).await
        }
    };
    run(&["--kubeconfig", "none"]).await.told(
        2,
        &["error: none: there is no such file: correct the path of the kubeconfig"],
    );
    run(&["--kubeconfig", "broken"])
        .await
        .told(2, &["error: broken: is no kubeconfig: the YAML is wrong at line "]);
    run(&["--kubeconfig", "dangling"]).await.told(
        2,
        &["error: dangling, context pilothouse-local: its cluster \"elsewhere\" is not in the file"],
    );
    run(&["--kubeconfig", "good", "--context", "other"]).await.told(
        2,
        &["error: good: there is no context \"other\": give another with --context (it has pilothouse-local)"],
    );
    run(&[]).await.told(
        2,
        &["error: no cluster is configured", "--kubeconfig FILE", "pilothouse dev"],
    );
}
