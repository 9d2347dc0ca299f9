//! `patch` in its three ways, `scale` and `set`.

use crate::objects::{CONFIG_MAPS, DEPLOYMENT, WIDGET};
use crate::transcript::Transcript;

#[test]
fn patches_are_merged_or_are_operations() {
    let mut t = Transcript::new("patch");
    t.file("maps.yaml", CONFIG_MAPS);
    t.file("widget.yaml", WIDGET);
    t.run("kubectl create -f maps.yaml -f widget.yaml");
    for (kind, field) in [("cm one", "data"), ("wd w1", "metadata/labels")] {
        let object = field
            .split('/')
            .rev()
            .fold("{\"new\":\"yes\",\"app\":null}".to_owned(), |inner, key| {
                format!("{{\"{key}\":{inner}}}")
            });
        t.run(&format!("kubectl patch {kind} --type=merge -p '{object}'"));
        t.run(&format!("kubectl patch {kind} --type=merge -p '{object}'"));
        let op = |op: &str| format!("[{{\"op\":\"{op}\",\"path\":\"/{field}/new\",\"value\":\"no\"}}]");
        t.run(&format!("kubectl patch {kind} --type=json -p '{}'", op("replace")));
        t.run(&format!("kubectl patch {kind} --type=json -p '{}' -o yaml", op("test")));
        t.run(&format!("kubectl patch {kind} --type=json -p '{}'", op("remove")));
        t.fails(&format!("kubectl patch {kind} --type=json -p '{}'", op("remove")));
        t.fails(&format!("kubectl patch {kind} --type=json -p '{}'", op("test")));
        t.fails(&format!("kubectl patch {kind} --type=json -p '{}'", op("turn")));
        t.fails(&format!("kubectl patch {kind} --type=merge -p '{{'"));
        t.run(&format!("kubectl patch {kind} --type=merge -p '{{}}'"));
    }
    t.run("kubectl patch wd w1 --type=merge -p '{\"spec\":{\"size\":7}}' --dry-run=server");
    t.fails("kubectl patch wd w1 --type=merge -p '{\"spec\":{\"size\":\"large\"}}'");
    t.fails("kubectl patch wd w1 --type=merge -p '{\"spec\":{\"size\":700}}'");
    t.run("kubectl patch wd w1 --type=merge -p '{\"spec\":{\"sice\":7}}'");
    t.fails("kubectl patch wd w1 -p '{\"spec\":{\"size\":7}}'");
    t.fails("kubectl patch cm none --type=merge -p '{}'");
    t.fails("kubectl patch cm one --type=none -p '{}'");
    t.run("kubectl get wd w1 -o yaml");
    t.end();
}

#[test]
fn strategic_patches_merge_lists_by_key() {
    let mut t = Transcript::new("patch-strategic");
    t.file("maps.yaml", CONFIG_MAPS);
    t.file("web.yaml", DEPLOYMENT);
    t.run("kubectl create -f maps.yaml -f web.yaml");
    t.run("kubectl patch cm one -p '{\"data\":{\"new\":\"yes\"}}'");
    t.run("kubectl get cm one -o jsonpath='{.data}'");
    let patch = |inside: &str| format!("{{\"spec\":{{\"template\":{{\"spec\":{{\"containers\":[{inside}]}}}}}}}}");
    for inside in [
        "{\"name\":\"web\",\"image\":\"web:2\"}",
        "{\"name\":\"more\",\"image\":\"more:1\"}",
        "{\"name\":\"side\",\"$patch\":\"delete\"}",
    ] {
        t.run(&format!("kubectl patch deploy web -p '{}'", patch(inside)));
    }
    t.run("kubectl get deploy web -o yaml");
    t.run("kubectl set image deploy/web web=web:3");
    t.run("kubectl set env deploy/web A=c");
    t.run("kubectl get deploy web -o jsonpath='{.spec.template.spec.containers[*].image}'");
    t.end();
}

#[test]
fn scale_writes_the_subresource() {
    let mut t = Transcript::new("scale");
    t.file("widget.yaml", WIDGET);
    t.file("web.yaml", DEPLOYMENT);
    t.file("maps.yaml", CONFIG_MAPS);
    t.run("kubectl create -f widget.yaml -f web.yaml -f maps.yaml");
    for kind in ["deploy web", "wd/w1"] {
        t.run(&format!("kubectl scale {kind} --replicas=5"));
        t.run(&format!("kubectl scale {kind} --replicas=5"));
        t.run(&format!("kubectl scale {kind} --replicas=6 --current-replicas=5"));
        t.fails(&format!("kubectl scale {kind} --replicas=7 --current-replicas=5"));
        t.fails(&format!("kubectl scale {kind} --replicas=-1"));
        t.run(&format!(
            "kubectl get {} -o jsonpath='{{.spec}}'",
            kind.replace(' ', "/")
        ));
    }
    t.fails("kubectl scale wd/w1 --replicas=101");
    t.run("kubectl scale deploy --all --replicas=0");
    t.run("kubectl scale -f web.yaml --replicas=1 --dry-run=server");
    t.fails("kubectl scale cm one --replicas=1");
    t.fails("kubectl scale deploy none --replicas=1");
    t.end();
}
