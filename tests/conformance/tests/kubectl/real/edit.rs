//! `edit`, with an editor that is a script.

use crate::objects::{CONFIG_MAPS, WIDGET};
use crate::transcript::Transcript;

#[test]
fn edit_sends_what_the_editor_changed() {
    let mut t = Transcript::new("edit");
    t.file("maps.yaml", CONFIG_MAPS);
    t.file("widget.yaml", WIDGET);
    t.run("kubectl create -f maps.yaml -f widget.yaml");
    t.run("KUBE_EDITOR=cat kubectl edit cm one");
    t.run("KUBE_EDITOR=\"sed -i 's/a: .*/a: edited/'\" kubectl edit cm one");
    t.run("kubectl get cm one -o yaml");
    t.run("KUBE_EDITOR=\"sed -i '/\\\"c\\\":/s/3/4/'\" kubectl edit cm two -o json");
    t.run("KUBE_EDITOR=\"sed -i 's/size: 3/size: 4/'\" kubectl edit wd w1");
    t.run("KUBE_EDITOR=\"sed -i 's/size: 4/size: 5/'\" kubectl edit wd w1 --save-config -o yaml");
    t.run("kubectl get wd w1 -o jsonpath='{.spec.size} {.metadata.generation}'");
    t.fails("KUBE_EDITOR=\"sed -i 's/size: 5/size: large/'\" timeout 20 kubectl edit wd w1");
    t.fails("KUBE_EDITOR=false kubectl edit cm one");
    t.fails("KUBE_EDITOR=cat kubectl edit cm none");
    t.run("KUBE_EDITOR='sed -i s/blue/green/' kubectl edit -f widget.yaml");
    t.end();
}
