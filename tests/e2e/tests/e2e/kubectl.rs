//! The README's way: `pilothouse dev` in one terminal, kubectl in another.

use pilothouse_e2e::{On, Scene, on_both};

on_both!(kubectl_sees_and_does_everything_on_pilothouse_dev);
async fn kubectl_sees_and_does_everything_on_pilothouse_dev(on: On) {
    let scene = Scene::with_greeting().on(on);
    let host = scene.dev().await;
    scene.sample();
    assert_eq!(
        scene.kubectl_ok("create -f world.yaml").await,
        "greeting.demo.pilothouse.dev/world created\n"
    );
    let waited = scene
        .kubectl_ok("wait --for=condition=Ready greeting/world --timeout=60s")
        .await;
    assert_eq!(waited, "greeting.demo.pilothouse.dev/world condition met\n");
    let table = scene.kubectl_ok("get greet").await;
    let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[..4], ["world", "Hello,", "World!", "True"], "{table}");

    let patch = r#"{"spec":{"salutation":"Hi"}}"#;
    scene
        .kubectl_ok(&format!("patch greeting world --type merge -p {patch}"))
        .await;
    let said = "get configmap world -o jsonpath={.data.message}";
    host.until("the patched greeting", async || {
        (scene.kubectl_ok(said).await == "Hi, World!").then_some(())
    })
    .await;
    scene.kubectl_ok("annotate greeting world note=mine").await;
    scene.kubectl_ok("label greeting world tier=first").await;
    assert_eq!(
        scene.kubectl_ok("get greetings -l tier=first -o name").await,
        "greeting.demo.pilothouse.dev/world\n"
    );
    // The host sends Events by the way.
    let reasons = "get events -o jsonpath={.items[*].reason}";
    host.until("both Events", async || {
        (scene.kubectl_ok(reasons).await == "Greeted Greeted").then_some(())
    })
    .await;

    // Returns once the finalizer has let go.
    scene.kubectl_ok("delete greeting world").await;
    let left = scene
        .kubectl_ok("get greetings,configmaps -o name --ignore-not-found")
        .await;
    // A real control plane puts this one into every namespace.
    let left: Vec<&str> = left
        .lines()
        .filter(|name| *name != "configmap/kube-root-ca.crt")
        .collect();
    assert_eq!(left, [] as [&str; 0]);
}
