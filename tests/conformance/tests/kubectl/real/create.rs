//! `create` from files and from flags, and `replace`.

use crate::objects::{CONFIG_MAPS, WIDGET};
use crate::transcript::Transcript;

#[test]
fn create_takes_files_and_refuses_what_is_wrong() {
    let mut t = Transcript::new("create");
    t.file("maps.yaml", CONFIG_MAPS);
    t.file("widget.yaml", WIDGET);
    t.file(
        "wrong.yaml",
        &WIDGET.replace("w1", "wrong").replace("size: 3", "size: large"),
    );
    t.file("big.yaml", &WIDGET.replace("w1", "big").replace("size: 3", "size: 101"));
    t.file(
        "odd.yaml",
        &WIDGET.replace("w1", "odd").replace("color: blue", "colour: blue"),
    );
    t.file("kind.yaml", "apiVersion: ex.io/v1\nkind: Gadget\nmetadata: {name: g}\n");
    t.file(
        "map-odd.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: odd}\ndate: {a: b}\n",
    );
    t.file(
        "map-wrong.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: wrong}\ndata: {a: 1}\n",
    );
    t.file(
        "map-name.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: Wrong_name}\n",
    );
    t.file(
        "map-there.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: there, namespace: none}\n",
    );
    t.file("no.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: [}\n");
    t.file(
        "generated.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: made-}\n",
    );
    t.run("kubectl create -f maps.yaml --dry-run=server");
    t.run("kubectl create -f maps.yaml --dry-run=client -o name");
    t.run("kubectl get cm");
    t.run("kubectl create -f maps.yaml");
    t.run("cat widget.yaml | kubectl create -f - -o yaml");
    t.fails("kubectl create -f maps.yaml");
    t.fails("kubectl create -f wrong.yaml");
    t.fails("kubectl create -f big.yaml");
    t.fails("kubectl create -f odd.yaml");
    t.run("kubectl create -f odd.yaml --validate=warn");
    t.fails("kubectl create -f odd.yaml --validate=ignore --dry-run=server -o name");
    t.fails("kubectl create -f kind.yaml");
    t.fails("kubectl create -f map-odd.yaml");
    t.run("kubectl create -f map-odd.yaml --validate=warn");
    t.fails("kubectl create -f map-wrong.yaml");
    t.fails("kubectl create -f map-name.yaml");
    t.fails("kubectl create -f map-there.yaml -n create");
    t.fails("kubectl create -f map-there.yaml");
    t.fails("kubectl create -f no.yaml");
    t.fails("kubectl create -f none.yaml");
    t.run("kubectl create -f generated.yaml -o name | cut -c 1-15");
    t.run("kubectl get cm -o name | grep -v made");
    t.end();
}

#[test]
fn create_makes_objects_from_flags() {
    let mut t = Transcript::new("generators");
    t.file("key", "sesame");
    for (kind, flags) in [
        ("configmap made", "--from-literal=a=b --from-file=key"),
        ("secret generic made", "--from-literal=a=b"),
        ("namespace generators-made", ""),
        ("deployment made", "--image=web:1 --replicas=2 --port=80"),
        ("service clusterip made", "--tcp=80:8080"),
        ("serviceaccount made", ""),
        ("job made", "--image=job:1"),
        ("role made", "--verb=get --resource=configmaps"),
        ("quota made", "--hard=pods=1"),
    ] {
        t.run(format!("kubectl create {kind} {flags}").trim_end());
    }
    t.run("kubectl create configmap dry --from-literal=a=b --dry-run=client -o yaml");
    t.run("kubectl create deployment dry --image=web:1 --dry-run=client -o yaml");
    t.run("kubectl create deployment dry --image=web:1 --dry-run=client -o json | kubectl create -f -");
    t.run("kubectl run made --image=web:1");
    t.run("kubectl expose deployment dry --port=80 --dry-run=client -o name");
    t.fails("kubectl create configmap made --from-literal=a=b");
    t.fails("kubectl create configmap");
    t.run("kubectl get cm,secret,deploy,sa,pod -o name");
    t.end();
}

#[test]
fn replace_puts_a_whole_object() {
    let mut t = Transcript::new("replace");
    t.file("maps.yaml", CONFIG_MAPS);
    t.file("widget.yaml", WIDGET);
    t.fails("kubectl replace -f maps.yaml");
    t.run("kubectl create -f maps.yaml -f widget.yaml");
    t.run("kubectl replace -f maps.yaml");
    t.run("kubectl get cm one -o yaml | sed 's/a: \"1\"/a: changed/' > one.yaml");
    t.run("kubectl replace -f one.yaml");
    t.fails("kubectl replace -f one.yaml");
    t.run("kubectl get cm one -o yaml");
    t.run("kubectl get wd w1 -o yaml | sed 's/size: 3/size: 4/' | kubectl replace -f -");
    t.run("sed 's/size: 3/size: 5/' widget.yaml | kubectl replace -f -");
    t.run("kubectl get wd w1 -o yaml");
    t.run("sed 's/size: 9/size: 7/' widget.yaml | kubectl replace --subresource=status -f -");
    t.run("kubectl get wd w1 -o jsonpath='{.metadata.generation} {.spec.size} {.status}'");
    t.fails("sed 's/size: 3/size: 500/' widget.yaml | kubectl replace -f -");
    t.run("kubectl replace --force -f maps.yaml");
    t.run("kubectl get cm one -o yaml");
    t.end();
}
