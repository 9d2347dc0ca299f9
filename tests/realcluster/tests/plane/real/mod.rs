//! What a control plane hands out.

mod leftovers;

use std::process::Command;
use std::sync::OnceLock;

use pilothouse_realcluster::{ControlPlane, Controllers, Options, Scope};
use serde_json::json;

/// For the tests that break nothing.
fn shared() -> &'static ControlPlane {
    static SHARED: OnceLock<Result<ControlPlane, String>> = OnceLock::new();
    let options = Options {
        controllers: Controllers::GarbageCollection,
        ..Options::default()
    };
    ControlPlane::shared_as(&SHARED, &options)
}

fn output(command: &mut Command) -> (bool, String) {
    let output = command.output().expect("kubectl starts");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn it_is_the_version_that_the_module_pins() {
    let (good, said) = output(shared().kubectl().args(["version", "-o", "json"]));
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    let module = include_str!("../../../go.mod");
    let pinned = said["serverVersion"]["gitVersion"].as_str().unwrap();
    assert!(
        good && module.contains(&format!("\tk8s.io/kubernetes {pinned} ")),
        "{said}"
    );
    assert_eq!(said["clientVersion"]["gitVersion"], said["serverVersion"]["gitVersion"]);
}

#[test]
fn a_namespace_that_is_deleted_goes() {
    let namespace = shared().namespace("goes").unwrap();
    let (good, said) = output(
        shared()
            .kubectl()
            .args(["delete", "namespace", &namespace, "--timeout=60s"]),
    );
    assert!(good, "{said}");
    assert!(!output(shared().kubectl().args(["get", "namespace", &namespace])).0);
}

#[test]
fn a_user_may_do_what_it_is_granted_until_that_is_withdrawn() {
    let plane = shared();
    let namespace = plane.namespace("roles").unwrap();
    let user = plane.user(&namespace, "reader").unwrap();
    let list = || {
        let mut kubectl = plane.kubectl();
        kubectl.env("KUBECONFIG", user.kubeconfig());
        output(kubectl.args(["get", "configmaps", "-n", &namespace]))
    };
    let (good, said) = list();
    assert!(!good && said.contains("Forbidden"), "{said}");
    let scope = Scope::Namespace(&namespace);
    let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]);
    plane.grant(&user, scope, &rules).unwrap();
    eventually("the role counts", || list().0);
    plane.withdraw(&user, scope).unwrap();
    eventually("the role counts no longer", || list().1.contains("Forbidden"));
}

#[test]
fn a_revoked_token_is_good_no_longer_and_a_renewed_one_is() {
    let plane = shared();
    let namespace = plane.namespace("tokens").unwrap();
    let user = plane.user(&namespace, "someone").unwrap();
    let whoami = || {
        let mut kubectl = plane.kubectl();
        kubectl.env("KUBECONFIG", user.kubeconfig());
        output(kubectl.args(["auth", "whoami"]))
    };
    let (good, said) = whoami();
    assert!(
        good && said.contains(&format!("system:serviceaccount:{namespace}:someone")),
        "{said}"
    );
    user.revoke().unwrap();
    eventually("the token is refused", || whoami().1.contains("Unauthorized"));
    user.renew().unwrap();
    let (good, said) = whoami();
    assert!(good, "{said}");
}

#[test]
fn two_api_servers_show_the_same_objects() {
    let plane = shared();
    let namespace = plane.namespace("two").unwrap();
    let another = plane.another_apiserver().unwrap();
    plane
        .create(
            &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one", "namespace": namespace}})
                .to_string(),
        )
        .unwrap();
    let mut kubectl = plane.kubectl();
    kubectl.env("KUBECONFIG", another.kubeconfig());
    let (good, said) = output(kubectl.args(["get", "configmap", "one", "-n", &namespace, "-o", "name"]));
    assert!(good && said == "configmap/one\n", "{said}");
    assert_ne!(another.url(), plane.apiserver().url());
}

#[test]
fn what_breaks_a_control_plane_breaks_it_alone_and_it_comes_back() {
    let plane = ControlPlane::start(&Options::default()).unwrap();
    let version = || {
        output(
            plane
                .kubectl()
                .args(["get", "--raw", "/api/v1/namespaces", "--request-timeout=3s"]),
        )
    };
    let (_, list) = version();
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let old = list["metadata"]["resourceVersion"].as_str().unwrap();

    plane.namespace("later").unwrap();
    plane.compact().unwrap();
    plane.apiserver().kill();
    assert!(!version().0 && plane.apiserver().pid().is_none());
    plane.apiserver().start().unwrap();
    assert!(version().0);
    let path = format!("/api/v1/namespaces?resourceVersion={old}&resourceVersionMatch=Exact");
    let (good, said) = output(plane.kubectl().args(["get", "--raw", &path]));
    assert!(!good && said.contains("too old"), "{said}");

    plane.apiserver().stop();
    assert!(!version().0);
    plane.apiserver().start().unwrap();

    plane.etcd().freeze();
    let create = || {
        output(
            plane
                .kubectl()
                .args(["create", "namespace", "frozen", "--request-timeout=2s"]),
        )
    };
    assert!(!create().0, "nothing can be written");
    plane.etcd().thaw();
    eventually("writes again", || create().0 || create().1.contains("AlreadyExists"));
    assert!(
        shared()
            .kubectl()
            .args(["get", "--raw", "/readyz"])
            .output()
            .unwrap()
            .status
            .success()
    );
}

#[expect(
    clippy::disallowed_methods,
    reason = "what a real server does in its time is waited for, within bounds"
)]
fn eventually(what: &str, look: impl Fn() -> bool) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !look() {
        assert!(std::time::Instant::now() < end, "not within 30 s: {what}");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}
