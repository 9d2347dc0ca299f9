//! `get`, in all outputs.

use crate::objects::{CONFIG_MAPS, DEPLOYMENT, DEPLOYMENT_STATUS, POD, SECRET, SERVICE, WIDGET, WIDGET_STATUS};
use crate::transcript::Transcript;

#[test]
fn config_maps_are_shown_in_every_output() {
    let mut t = Transcript::new("get-outputs");
    t.file("maps.yaml", CONFIG_MAPS);
    t.run("kubectl create -f maps.yaml");
    for output in [
        "wide",
        "yaml",
        "json",
        "name",
        "jsonpath='{range .items[*]}{.metadata.name}={.data}{\"\\n\"}{end}'",
        "jsonpath-as-json='{.items[*].data}'",
        "go-template='{{range .items}}{{.metadata.name}} {{len .data}}{{\"\\n\"}}{{end}}'",
        "custom-columns=NAME:.metadata.name,A:.data.a,KIND:.kind",
        "kyaml",
    ] {
        t.run(&format!("kubectl get configmaps -o {output}"));
    }
    t.run("kubectl get configmaps");
    t.run("kubectl get cm/one");
    t.run("kubectl get cm one two --show-labels");
    t.run("kubectl get cm one -o yaml");
    t.run("kubectl get cm one -o json");
    t.run("kubectl get cm one -o yaml --show-managed-fields");
    t.run("kubectl get cm one -o jsonpath='{.metadata.annotations.note}'");
    t.run("kubectl get cm --no-headers");
    t.run("kubectl get cm -L app,tier");
    t.run("kubectl get cm --show-kind");
    t.run("kubectl get cm --sort-by=.metadata.creationTimestamp -o name");
    t.run("kubectl get cm --chunk-size=1 -o name");
    t.run("kubectl get cm --server-print=false");
    t.run("kubectl get -f maps.yaml");
    t.run("kubectl get --raw /api/v1/namespaces/get-outputs/configmaps/one | grep -o '\"kind\":\"ConfigMap\"'");
    t.fails("kubectl get --raw /api/v1/namespaces/get-outputs/configmaps/none");
    t.fails("kubectl get cm -o jsonpath='{.items[0'");
    t.fails("kubectl get cm -o no-such-output");
    t.end();
}

#[test]
fn selectors_choose_what_is_shown() {
    let mut t = Transcript::new("get-selectors");
    t.file("maps.yaml", CONFIG_MAPS);
    t.file("widget.yaml", WIDGET);
    t.run("kubectl create -f maps.yaml -f widget.yaml");
    for selector in [
        "tier=back",
        "app=shop,tier!=back",
        "'tier in (front, back)'",
        "'!tier'",
        "app",
    ] {
        t.run(&format!("kubectl get cm -l {selector}"));
    }
    t.run("kubectl label cm,wd --all own=get-selectors");
    t.run("kubectl get cm -A -l own=get-selectors,tier=back --show-labels");
    t.run("kubectl get cm,wd -A -l own=get-selectors -o name");
    t.run("kubectl get cm --field-selector metadata.name=one");
    t.run("kubectl get cm --field-selector metadata.name!=one,metadata.namespace=get-selectors");
    t.run("kubectl get wd --field-selector spec.color=blue");
    t.run("kubectl get wd --field-selector spec.color=red");
    t.fails("kubectl get wd --field-selector spec.size=3");
    t.fails("kubectl get cm --field-selector data.a=1");
    t.fails("kubectl get cm -l 'a=('");
    t.run("kubectl get namespaces -l for=get-selectors");
    t.run("kubectl get namespace default kube-system");
    t.end();
}

#[test]
fn several_kinds_and_what_is_not_there() {
    let mut t = Transcript::new("get-kinds");
    t.run("kubectl get all");
    t.run("kubectl get widgets");
    t.run("kubectl get cm,wd,deploy");
    for (name, text) in [
        ("maps.yaml", CONFIG_MAPS),
        ("widget.yaml", WIDGET),
        ("web.yaml", DEPLOYMENT),
        ("pod.yaml", POD),
        ("service.yaml", SERVICE),
        ("secret.yaml", SECRET),
    ] {
        t.file(name, text);
        t.run(&format!("kubectl create -f {name}"));
    }
    t.run("kubectl get cm,wd,deploy");
    t.run("kubectl get cm/one wd/w1 pod/alone");
    t.run("kubectl get all");
    t.run("kubectl get toys");
    t.run("kubectl get pods,services,secrets,deployments -o wide");
    t.run("kubectl get pods -o yaml");
    t.run("kubectl get service web -o yaml");
    t.run("kubectl get secret hidden -o yaml");
    t.run("kubectl get deployment web -o yaml");
    t.run("kubectl get deployment.apps web");
    t.run("kubectl get deployments.v1.apps web -o name");
    t.fails("kubectl get cm one none");
    t.fails("kubectl get cm none -o yaml");
    t.fails("kubectl get cm/one wd/none");
    t.run("kubectl get cm none --ignore-not-found");
    t.fails("kubectl get gizmos");
    t.fails("kubectl get gizmos.ex.io");
    t.fails("kubectl get");
    t.fails("kubectl get namespace none");
    t.run("kubectl get cm -n none");
    t.run("kubectl get crd widgets.ex.io");
    t.end();
}

#[test]
fn a_custom_resource_has_the_columns_of_its_definition() {
    let mut t = Transcript::new("get-columns");
    t.file("widget.yaml", WIDGET);
    t.file("status.yaml", WIDGET_STATUS);
    t.file("web.yaml", DEPLOYMENT);
    t.file("web-status.yaml", DEPLOYMENT_STATUS);
    t.run("kubectl create -f widget.yaml");
    t.run("kubectl get wd");
    t.run("kubectl get wd w1 -o yaml");
    t.run("kubectl patch wd w1 --subresource=status --type=merge --patch-file=status.yaml");
    t.run("kubectl get widgets.ex.io");
    t.run("kubectl get wd -o wide");
    t.run("kubectl get wd w1 -o json");
    t.run("kubectl get wd w1 --subresource=status");
    t.run("kubectl get wd w1 --subresource=scale");
    t.run("kubectl get wd w1 --subresource=scale -o yaml");
    t.run("kubectl get wd -o custom-columns='N:.metadata.name,READY:.status.conditions[?(@.type==\"Ready\")].status'");
    t.run("kubectl get wd --sort-by=.spec.size");
    t.run("kubectl create -f web.yaml");
    t.run("kubectl get deploy");
    t.run("kubectl patch deploy web --subresource=status --type=merge --patch-file=web-status.yaml");
    t.run("kubectl get deploy");
    t.run("kubectl get deploy -o wide --show-labels");
    t.run("kubectl get deploy web --subresource=scale");
    t.run("kubectl get deploy web --subresource=scale -o yaml");
    t.end();
}
