//! `label` and `annotate`.

use crate::objects::{CONFIG_MAPS, WIDGET};
use crate::transcript::Transcript;

#[test]
fn labels_and_annotations_come_and_go() {
    let mut t = Transcript::new("labels");
    t.file("maps.yaml", CONFIG_MAPS);
    t.file("widget.yaml", WIDGET);
    t.run("kubectl create -f maps.yaml -f widget.yaml");
    for kind in ["cm one", "wd w1"] {
        t.run(&format!("kubectl label {kind} a=b c=d"));
        t.run(&format!("kubectl label {kind} a=b"));
        t.fails(&format!("kubectl label {kind} a=c"));
        t.run(&format!("kubectl label {kind} a=c --overwrite"));
        t.run(&format!("kubectl label {kind} a- none-"));
        t.run(&format!("kubectl label {kind} --list | sort"));
        t.run(&format!("kubectl annotate {kind} why='because of it'"));
        t.fails(&format!("kubectl annotate {kind} why=no"));
        t.run(&format!("kubectl annotate {kind} why=yes --overwrite"));
        t.run(&format!("kubectl annotate {kind} --list | sort"));
        t.run(&format!("kubectl annotate {kind} why-"));
        t.run(&format!("kubectl get {kind} -o yaml"));
    }
    t.run("kubectl label cm --all all=yes");
    t.run("kubectl label cm,wd -l app=shop chosen=yes");
    t.run("kubectl label -f maps.yaml file=yes --dry-run=server");
    t.run("kubectl label cm one dry=yes --dry-run=client");
    t.fails("kubectl label cm one local=yes --resource-version=1");
    t.run("kubectl get cm,wd --show-labels");
    t.fails("kubectl label cm one 'a b=c'");
    t.fails("kubectl label cm one a='b c'");
    t.fails("kubectl label cm none a=b");
    t.run("kubectl label namespace labels more=yes");
    t.run("kubectl get namespace labels --show-labels");
    t.end();
}
