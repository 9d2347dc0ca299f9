//! `delete`, with each propagation.

use crate::objects::{CONFIG_MAPS, WIDGET};
use crate::transcript::Transcript;

#[test]
fn delete_takes_names_selectors_and_files() {
    let mut t = Transcript::new("delete");
    t.file("maps.yaml", CONFIG_MAPS);
    t.file("widget.yaml", WIDGET);
    t.run("kubectl create -f maps.yaml -f widget.yaml");
    t.run("kubectl delete cm one --dry-run=server");
    t.run("kubectl delete cm one --dry-run=client -o name");
    t.run("kubectl delete cm one");
    t.fails("kubectl delete cm one");
    t.run("kubectl delete cm one --ignore-not-found");
    t.fails("kubectl delete -f maps.yaml");
    t.run("kubectl create -f maps.yaml");
    t.run("kubectl delete cm -l tier=back");
    t.run("kubectl delete cm,wd --all -o name");
    t.run("kubectl get cm,wd");
    t.run("kubectl create -f maps.yaml -f widget.yaml");
    t.run("kubectl delete -f maps.yaml -f widget.yaml --now");
    t.run("kubectl create -f maps.yaml");
    t.run("kubectl delete cm one two --wait=false");
    t.run("kubectl delete cm -l none=none");
    t.fails("kubectl delete cm");
    t.fails("kubectl delete gizmo one");
    t.fails("kubectl delete --raw /api/v1/namespaces/delete/configmaps/none");
    t.end();
}

#[test]
fn delete_waits_for_finalizers() {
    let mut t = Transcript::new("finalizers");
    t.file(
        "held.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: held, finalizers: [ex.io/hold]}\n",
    );
    t.run("kubectl create -f held.yaml");
    t.run("kubectl delete cm held --wait=false");
    t.run("kubectl get cm held -o yaml");
    t.fails("kubectl delete cm held --timeout=1s");
    let mut waiting = t.background("kubectl wait --for=delete cm/held --timeout=30s -v=6");
    t.watches(&mut waiting);
    t.run("kubectl patch cm held --type=json -p '[{\"op\":\"remove\",\"path\":\"/metadata/finalizers\"}]'");
    t.ends(waiting);
    t.fails("kubectl get cm held");
    t.end();
}

#[test]
fn delete_treats_dependents_as_it_is_told() {
    let mut t = Transcript::new("propagation");
    t.file("widget.yaml", WIDGET);
    t.file(
        "child.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: child\n  ownerReferences:\n  \
         - { apiVersion: ex.io/v1, kind: Widget, name: w1, uid: UID, blockOwnerDeletion: true, controller: true }\n",
    );
    let child =
        "uid=$(kubectl get wd w1 -o jsonpath={.metadata.uid}); sed s/UID/$uid/ child.yaml | kubectl create -f -";
    for policy in ["background", "foreground", "orphan"] {
        t.run("kubectl create -f widget.yaml");
        t.run(child);
        t.run(&format!("kubectl delete wd w1 --cascade={policy} --timeout=30s"));
        match policy {
            // It goes some time after its owner; kubectl only says so if it still saw it.
            "background" => t.run("kubectl wait --for=delete cm/child --timeout=30s > said"),
            // It went before its owner did.
            "foreground" => t.fails("kubectl get cm child"),
            _ => t.run("kubectl get cm child -o yaml"),
        }
    }
    t.run("kubectl delete cm child");
    t.fails("kubectl delete cm child --cascade=none");
    t.end();
}

#[test]
fn a_namespace_goes_with_all_that_is_in_it() {
    let mut t = Transcript::new("delete-namespace");
    t.file(
        "brief.yaml",
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: brief}\n",
    );
    t.file("maps.yaml", CONFIG_MAPS);
    t.file("widget.yaml", WIDGET);
    t.run("kubectl create -f brief.yaml");
    t.run("kubectl get namespace brief -o yaml");
    t.run("kubectl create -n brief -f maps.yaml -f widget.yaml");
    t.run("kubectl delete namespace brief --timeout=50s");
    t.fails("kubectl get namespace brief");
    t.run("kubectl get cm,wd -n brief");
    t.fails("kubectl create -n brief -f maps.yaml");
    t.fails("kubectl delete namespace brief");
    t.fails("kubectl delete namespace default");
    t.end();
}
