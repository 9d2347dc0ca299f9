//! `apply`, on the client's side and on the server's, and `diff`.

use crate::objects::{CONFIG_MAPS, DEPLOYMENT, WIDGET};
use crate::transcript::Transcript;

/// The first of the two ConfigMaps with a key changed, one added and one taken away.
fn changed() -> String {
    CONFIG_MAPS.replace(r#"a: "1", b: "two\nlines""#, r#"a: "9", e: new"#)
}

#[test]
fn apply_merges_what_changed_since_the_last_time() {
    let mut t = Transcript::new("apply");
    t.file("maps.yaml", CONFIG_MAPS);
    t.file("changed.yaml", &changed());
    t.file("widget.yaml", WIDGET);
    t.file("web.yaml", DEPLOYMENT);
    t.file(
        "web-2.yaml",
        &DEPLOYMENT
            .replace("web:1", "web:2")
            .replace("replicas: 2", "replicas: 4"),
    );
    t.run("kubectl apply -f maps.yaml");
    t.run("kubectl get cm one -o yaml");
    t.run("kubectl apply -f maps.yaml");
    t.run("kubectl apply -f changed.yaml --dry-run=server");
    t.run("kubectl apply -f changed.yaml");
    t.run("kubectl get cm one -o yaml");
    t.run("kubectl apply view-last-applied cm one");
    t.run("kubectl apply -f widget.yaml");
    t.run("kubectl apply -f widget.yaml");
    t.run("sed 's/size: 3/size: 4/' widget.yaml | kubectl apply -f -");
    t.run("kubectl get wd w1 -o yaml");
    t.run("sed 's/, color: blue//' widget.yaml | kubectl apply -f - -o yaml");
    t.run("kubectl apply -f web.yaml");
    t.run("kubectl apply -f web-2.yaml");
    t.run("kubectl get deploy web -o yaml");
    t.run("kubectl create cm plain --from-literal=a=b --dry-run=client -o yaml > plain.yaml");
    t.run("kubectl create -f plain.yaml");
    t.run("kubectl apply -f plain.yaml");
    t.run("kubectl apply -f maps.yaml -l tier=back --prune --prune-allowlist=core/v1/ConfigMap");
    t.fails("sed 's/size: 3/size: large/' widget.yaml | kubectl apply -f -");
    t.fails("sed 's/color/colour/' widget.yaml | kubectl apply -f -");
    t.end();
}

#[test]
fn apply_on_the_servers_side_owns_fields() {
    let mut t = Transcript::new("apply-server-side");
    t.file("maps.yaml", CONFIG_MAPS);
    t.file("changed.yaml", &changed());
    t.file("widget.yaml", WIDGET);
    t.run("kubectl apply --server-side -f maps.yaml");
    t.run("kubectl apply --server-side -f maps.yaml");
    t.run("kubectl get cm one -o yaml");
    t.run("kubectl apply --server-side -f changed.yaml");
    t.run("kubectl get cm one -o jsonpath='{.data}'");
    t.fails("kubectl apply --server-side --field-manager=other -f maps.yaml");
    t.run("kubectl apply --server-side --field-manager=other --force-conflicts -f maps.yaml");
    t.run("kubectl get cm one -o jsonpath='{.data}'");
    t.run("kubectl apply --server-side -f widget.yaml");
    t.run("kubectl apply --server-side -f widget.yaml --dry-run=server");
    t.run("kubectl get wd w1 -o yaml");
    t.fails("sed 's/size: 3/size: large/' widget.yaml | kubectl apply --server-side -f -");
    t.end();
}

#[test]
fn diff_shows_what_apply_would_change() {
    let mut t = Transcript::new("diff");
    t.file("maps.yaml", CONFIG_MAPS);
    t.file("changed.yaml", &changed());
    t.file("widget.yaml", WIDGET);
    t.fails("kubectl diff -f maps.yaml");
    t.run("kubectl apply -f maps.yaml -f widget.yaml");
    t.run("kubectl diff -f maps.yaml");
    t.fails("kubectl diff -f changed.yaml");
    t.fails("kubectl diff --server-side -f changed.yaml");
    t.run("kubectl diff -f widget.yaml");
    t.fails("sed 's/size: 3/size: 4/' widget.yaml | kubectl diff -f -");
    t.run("kubectl get cm one -o jsonpath='{.data}'");
    t.end();
}
