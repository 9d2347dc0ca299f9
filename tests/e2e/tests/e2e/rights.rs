//! What a host may see of a cluster: everything, or one namespace and no more than it needs there.

use pilothouse_e2e::{
    Api, GREETING_CRD, GREETINGS, Host, NAMESPACES, On, Scene, Server, field, message, on_both, on_real, yaml,
};
use pilothouse_realcluster::Scope;
use serde_json::{Value, json};

on_both!(without_a_configuration_dev_works_in_every_namespace_of_a_new_cluster);
async fn without_a_configuration_dev_works_in_every_namespace_of_a_new_cluster(on: On) {
    let scene = Scene::with_greeting().alone_on(on);
    scene.sample();
    // Definitions, a namespace and an object at once: the definitions are a moment old when the object comes, and when
    // the plugin's watches begin.
    let host = scene.dev_that_grants_everything(&["--apply", "world.yaml"]).await;
    let api = host.api();
    assert_eq!(host.greeted(&api, "world").await, "Hello, World!");
    let other = scene.another_namespace("other");
    api.create(NAMESPACES, "", &other, json!({})).await;
    for ns in [&other, "default"] {
        api.create(GREETINGS, ns, "there", json!({"spec": {"name": ns}})).await;
        let greeted = host.event("a run elsewhere", |run| {
            let wrote = run["writes"].as_array().is_some_and(|writes| writes.len() == 3);
            run["event"] == "reconciled" && run["namespace"] == *ns && run["result"] == "success" && wrote
        });
        greeted.await;
    }
    assert_eq!(
        host.events().iter().filter(|event| event["result"] == "error").count(),
        0
    );
}

/// What the README says that a host needs for the greeting; with or without its status.
fn rules(status: bool) -> Value {
    let rule = |group: &str, resources: &str, verbs: &[&str]| json!({"apiGroups": [group], "resources": [resources], "verbs": verbs});
    let mut rules = vec![
        rule("demo.pilothouse.dev", "greetings", &["list", "watch", "get", "patch"]),
        rule("", "configmaps", &["list", "watch", "get", "create", "patch", "delete"]),
        rule("", "events", &["create", "patch"]),
    ];
    if status {
        rules.push(rule("demo.pilothouse.dev", "greetings/status", &["get", "patch"]));
    }
    rules.into()
}

fn is_grave(line: &Value) -> bool {
    line["level"] == "WARN" || line["level"] == "ERROR"
}

on_real!(a_host_needs_no_more_rights_than_the_readme_says);
/// On the real one alone: the local cluster lets everybody do everything.
async fn a_host_needs_no_more_rights_than_the_readme_says(on: On) {
    let scene = Scene::with_greeting().on(on);
    let ns = scene.namespace();
    let api = Server::new(&scene).await.api();
    let plane = scene.control_plane();
    let user = plane.user(ns, "host").unwrap();
    plane.grant(&user, Scope::Namespace(ns), &rules(true)).unwrap();

    let host = scene.run_as(user.kubeconfig(), &[]);
    all_goes_well(&api, &host, ns).await;
}

/// A Greeting comes and goes, with all that a host does for it, and nothing is complained of.
async fn all_goes_well(api: &Api, host: &Host, ns: &str) {
    api.greet("world").await;
    assert_eq!(host.greeted(api, "world").await, "Hello, world!");
    api.delete(GREETINGS, ns, "world").await;
    host.until("the Greeting to be gone", async || {
        api.get(GREETINGS, ns, "world").await.is_none().then_some(())
    })
    .await;
    host.until("both Events", async || {
        (api.events_about(ns, "world").await.len() == 2).then_some(())
    })
    .await;
    assert_eq!(host.count(is_grave), 0, "{:#?}", host.log());
}

on_real!(a_host_needs_no_more_rights_than_rbac_prints);
/// On the real one alone: the local cluster lets everybody do everything.
async fn a_host_needs_no_more_rights_than_rbac_prints(on: On) {
    let scene = Scene::with_greeting().on(on);
    let ns = scene.namespace();
    let api = Server::new(&scene).await.api();
    scene.config(&json!({}));
    // Beside the module, where `rbac` finds it by itself.
    scene.file(
        "plugins/greeting.yaml",
        json!({"grants": scene.grants(&[ns])}).to_string(),
    );
    scene.file("crd.yaml", GREETING_CRD);
    let printed = scene.run_to_end(&["rbac", "plugins", "--crd", "crd.yaml"]).await;
    assert_eq!((printed.code, &*printed.stderr), (Some(0), ""));
    let roles: Vec<Value> = printed.stdout.split("---\n").skip(1).map(yaml).collect();
    let names = |roles: &[Value]| -> Vec<(Value, Value)> {
        let of = |role: &Value| (role["kind"].clone(), role["metadata"].clone());
        roles.iter().map(of).collect()
    };
    let role = |name: &str| (json!("Role"), json!({"name": name, "namespace": ns}));
    assert_eq!(names(&roles), [role("pilothouse")], "nothing is needed elsewhere");
    let each = scene
        .run_to_end(&["rbac", "plugins", "--crd", "crd.yaml", "--per-plugin", "-o", "json"])
        .await;
    let each: Value = serde_json::from_str(&each.stdout).unwrap();
    let each = each["items"].as_array().unwrap();
    assert_eq!(names(each), [role("pilothouse-greeting")]);
    assert_eq!(each[0]["rules"], roles[0]["rules"], "there is one plugin");

    let plane = scene.control_plane();
    let user = plane.user(ns, "host").unwrap();
    scene.file("roles.yaml", &printed.stdout);
    scene.kubectl_ok("apply -f roles.yaml").await;
    scene
        .kubectl_ok(&format!(
            "create rolebinding host --role=pilothouse --serviceaccount={ns}:host"
        ))
        .await;
    let host = scene.run_as(user.kubeconfig(), &[]);
    all_goes_well(&api, &host, ns).await;
}

on_real!(a_plugin_acts_as_its_service_account_with_the_roles_that_rbac_prints);
/// On the real one alone: the local cluster knows neither impersonation nor access reviews.
async fn a_plugin_acts_as_its_service_account_with_the_roles_that_rbac_prints(on: On) {
    let scene = Scene::with_greeting().on(on);
    let ns = scene.namespace();
    let api = Server::new(&scene).await.api();
    scene.config(&json!({}));
    let account = format!("{ns}/greeter");
    let beside = json!({"grants": scene.grants(&[ns]), "impersonate": {"serviceAccount": account}});
    scene.file("plugins/greeting.yaml", beside.to_string());
    scene.file("crd.yaml", GREETING_CRD);
    let printed = scene.run_to_end(&["rbac", "plugins", "--crd", "crd.yaml"]).await;
    assert_eq!((printed.code, &*printed.stderr), (Some(0), ""));
    let (bindings, roles): (Vec<&str>, Vec<&str>) = printed
        .stdout
        .split("---\n")
        .skip(1)
        .partition(|document| !yaml(document)["roleRef"].is_null());
    // The host itself may not so much as create a ConfigMap.
    let own = yaml(
        roles
            .iter()
            .find(|role| yaml(role)["metadata"]["name"] == "pilothouse")
            .unwrap(),
    );
    assert!(!own["rules"].to_string().contains("create\",\"get"), "{own:#}");
    let plane = scene.control_plane();
    let user = plane.user(ns, "host").unwrap();
    scene.file("roles.yaml", roles.join("---\n"));
    scene.file("bindings.yaml", bindings.join("---\n"));
    scene.kubectl_ok("create serviceaccount greeter").await;
    scene.kubectl_ok("apply -f roles.yaml").await;
    let host_account = format!("--serviceaccount={ns}:host");
    scene
        .kubectl_ok(&format!("create rolebinding host --role=pilothouse {host_account}"))
        .await;
    scene
        .kubectl_ok(&format!(
            "create clusterrolebinding {ns}-host --clusterrole=pilothouse {host_account}"
        ))
        .await;
    let may = async |who: &str, what: &str| {
        let who = format!("--as=system:serviceaccount:{ns}:{who}");
        let args: Vec<&str> = ["auth", "can-i"]
            .into_iter()
            .chain(what.split(' '))
            .chain([&*who])
            .collect();
        scene.kubectl(&args).output().await.unwrap().status.success()
    };
    while !may("host", "create subjectaccessreviews.authorization.k8s.io -A").await
        || !may("host", &format!("impersonate serviceaccounts/greeter -n {ns}")).await
    {}

    // Whom it acts as has no rights yet.
    let host = scene.run_as(user.kubeconfig(), &[]);
    let refused = host
        .logged("the denial", |line| {
            message(line).starts_with("the plugin is not called: ")
        })
        .await;
    let why = message(&refused);
    assert!(
        why.contains(&format!("service account {account}, as whom it acts, may not "))
            && why.contains("`pilothouse rbac`"),
        "{why}"
    );
    api.greet("world").await;
    host.signal("TERM").await;
    assert_eq!(host.end().await.code, Some(0));
    assert_eq!(api.greeted("world").await, None, "it was not called");

    scene.kubectl_ok("apply -f bindings.yaml").await;
    while !may("greeter", &format!("watch configmaps -n {ns}")).await {}
    let host = scene.run_as(user.kubeconfig(), &[]);
    assert_eq!(host.greeted(&api, "world").await, "Hello, world!");
    host.until("its Event", async || api.events_about(ns, "world").await.pop())
        .await;
    assert_eq!(host.count(is_grave), 0, "{:#?}", host.log());
    scene.kubectl_ok(&format!("delete clusterrolebinding {ns}-host")).await;
}

on_real!(a_right_that_the_host_lacks_is_named_and_used_once_it_is_given);
/// On the real one alone: the local cluster lets everybody do everything.
async fn a_right_that_the_host_lacks_is_named_and_used_once_it_is_given(on: On) {
    let scene = Scene::with_greeting().on(on);
    let ns = scene.namespace();
    let api = Server::new(&scene).await.api();
    let plane = scene.control_plane();
    let user = plane.user(ns, "host").unwrap();
    plane.grant(&user, Scope::Namespace(ns), &rules(false)).unwrap();
    let host = scene.run_as(user.kubeconfig(), &[]);
    api.greet("world").await;
    let line = host.logged("that it lacks a right", is_grave).await;
    let lacks = format!(
        "reconcile failed: Forbidden: patch the status of demo.pilothouse.dev/v1 Greeting {ns}/world: \
         greetings.demo.pilothouse.dev \"world\" is forbidden: User \"system:serviceaccount:{ns}:host\" cannot patch \
         resource \"greetings/status\""
    );
    assert!(message(&line).starts_with(&lacks), "{line:#}");

    plane.grant(&user, Scope::Namespace(ns), &rules(true)).unwrap();
    // It tries by itself a minute later, and at once when something changes.
    api.merge(GREETINGS, ns, "world", json!({"spec": {"salutation": "Hi"}}))
        .await;
    assert_eq!(host.greeted(&api, "world").await, "Hi, world!");
}

on_real!(a_kind_that_the_host_may_not_watch_is_named);
/// On the real one alone: the local cluster lets everybody do everything.
async fn a_kind_that_the_host_may_not_watch_is_named(on: On) {
    let scene = Scene::with_greeting().on(on);
    let ns = scene.namespace();
    let _server = Server::new(&scene).await;
    let user = scene.control_plane().user(ns, "host").unwrap();
    let host = scene.run_as(user.kubeconfig(), &[]);
    for (kind, resource) in [
        ("v1 ConfigMap", "configmaps"),
        ("demo.pilothouse.dev/v1 Greeting", "greetings"),
    ] {
        // Lists come as streams, which are watches.
        let lacks = format!("User \"system:serviceaccount:{ns}:host\" cannot watch resource \"{resource}\"");
        let is_named = |line: &Value| {
            message(line).starts_with("this host may not list and watch the kind")
                && field(line, "kind") == kind
                && field(line, "problem").contains(&lacks)
        };
        host.logged("that it may not watch a kind", is_named).await;
    }
}
