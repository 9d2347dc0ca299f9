//! Types of k8s-openapi as kinds. `cargo test -p pilothouse-sdk --features _k8s-openapi-tests`.
#![cfg(feature = "_k8s-openapi-tests")]

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use pilothouse_sdk::Scope;
use pilothouse_sdk::kinds::ConfigMap;
use pilothouse_sdk::prelude::*;
use pilothouse_sdk::serde_json::json;
use pilothouse_sdk::testing::Fake;

fn scale(cx: &Context, mut deployment: Object<Deployment>) -> Result<Outcome, Failure> {
    let Some(spec) = &mut deployment.spec else {
        return Ok(Outcome::done());
    };
    spec.replicas = Some(2);
    deployment
        .meta_mut()
        .labels_mut()
        .insert("scaled".to_owned(), "yes".to_owned());
    deployment.save(cx)?;
    cx.ensure_owned(&deployment, ConfigMap::named("child"))?;
    Ok(Outcome::done())
}

#[test]
fn a_deployment_is_saved_with_what_changed_and_owns_a_child() {
    assert_eq!(
        (Deployment::SCOPE, Namespace::SCOPE),
        (Scope::Namespaced, Scope::Cluster)
    );
    assert_eq!(Deployment::gvk().to_string(), "apps/v1 Deployment");
    let plugin = Plugin::new("scale")
        .controller(Controller::new("scale", scale).owns::<ConfigMap>())
        .may::<Deployment>([Verb::Patch])
        .may::<ConfigMap>([Verb::Create]);
    let fake = Fake::new(plugin);
    let target = Deployment::reference(Some("default"), "web");
    let object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"replicas": 1, "ofTomorrow": true, "selector": {}, "template": {"spec": {"containers": [{"name": "c"}]}}},
    });
    fake.create_json::<Deployment>(target.clone(), object).unwrap();
    assert!(fake.settle().failures().is_empty());
    assert_eq!(
        fake.writes()[0].body,
        json!({"metadata": {"labels": {"scaled": "yes"}}, "spec": {"replicas": 2}})
    );
    assert_eq!(fake.json(&target).unwrap()["spec"]["ofTomorrow"], true);
    assert!(fake.get::<ConfigMap>("default", "child").unwrap().is_some());
}
