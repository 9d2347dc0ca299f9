//! What there is, and who may: `api-resources`, `api-versions`, `auth`, `version`.

use crate::transcript::Transcript;

#[test]
fn the_server_tells_what_it_has() {
    let mut t = Transcript::new("discovery");
    // Another transcript defines that group in the meantime.
    t.run("kubectl api-resources | grep -v new.ex.io");
    t.run("kubectl api-versions | grep -v new.ex.io");
    for group in [
        "''",
        "apps",
        "ex.io",
        "coordination.k8s.io",
        "apiextensions.k8s.io",
        "events.k8s.io",
    ] {
        t.run(&format!("kubectl api-resources --api-group={group}"));
    }
    t.run("kubectl api-resources --api-group=ex.io -o wide");
    t.run("kubectl api-resources --api-group=ex.io -o name --no-headers");
    t.run("kubectl api-resources --api-group=ex.io --namespaced=false");
    t.run("kubectl api-resources --api-group=apps --verbs=list,patch -o wide | grep deployments");
    t.run("kubectl api-resources --categories=toys");
    t.run("kubectl get --raw /healthz");
    t.run("kubectl get --raw /readyz");
    t.run("kubectl version");
    t.run("kubectl cluster-info");
    t.fails("kubectl get --raw /apis/none");
    t.end();
}

#[test]
fn the_administrator_may_do_everything() {
    let mut t = Transcript::new("auth");
    t.run("kubectl auth can-i create pods");
    t.run("kubectl auth can-i '*' '*' --all-namespaces");
    t.run("kubectl auth can-i get wd/w1 --subresource=status");
    t.run("kubectl auth can-i --list");
    t.run("kubectl auth whoami");
    t.fails("kubectl auth can-i get pods --as=nobody");
    t.end();
}
