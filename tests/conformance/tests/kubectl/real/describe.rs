//! `describe` and `explain`.

use crate::objects::{CONFIG_MAPS, DEPLOYMENT, DEPLOYMENT_STATUS, EVENTS, POD, SECRET, SERVICE, WIDGET, WIDGET_STATUS};
use crate::transcript::Transcript;

#[test]
fn describe_tells_of_an_object_and_its_events() {
    let mut t = Transcript::new("describe");
    for (name, text) in [
        ("maps.yaml", CONFIG_MAPS),
        ("widget.yaml", WIDGET),
        ("web.yaml", DEPLOYMENT),
        ("pod.yaml", POD),
        ("service.yaml", SERVICE),
        ("secret.yaml", SECRET),
        ("events.yaml", &EVENTS.replace("NAMESPACE", "describe")),
        ("status.yaml", WIDGET_STATUS),
        ("web-status.yaml", DEPLOYMENT_STATUS),
    ] {
        t.file(name, text);
    }
    t.run("kubectl create -f maps.yaml -f widget.yaml -f web.yaml -f pod.yaml -f service.yaml -f secret.yaml");
    t.run("kubectl create -f events.yaml");
    t.run("kubectl patch wd w1 --subresource=status --type=merge --patch-file=status.yaml");
    t.run("kubectl patch deploy web --subresource=status --type=merge --patch-file=web-status.yaml");
    t.run("kubectl describe cm one");
    t.run("kubectl describe configmaps");
    t.run("kubectl describe cm -l tier=back");
    t.run("kubectl describe cm o");
    t.run("kubectl describe cm one --show-events=false");
    t.run("kubectl describe wd w1");
    t.run("kubectl describe deployment web");
    t.run("kubectl describe pod alone");
    // The API server itself may or may not have something to say about its address.
    t.run("kubectl describe service web --show-events=false");
    t.run("kubectl describe secret hidden");
    t.run("kubectl describe namespace describe");
    t.run("kubectl describe crd widgets.ex.io");
    t.run("kubectl describe -f maps.yaml -f widget.yaml");
    t.fails("kubectl describe cm none");
    t.fails("kubectl describe gizmo one");
    t.end();
}

#[test]
fn explain_tells_of_fields() {
    let mut t = Transcript::new("explain");
    t.run("kubectl explain widget");
    t.run("kubectl explain widget.spec");
    t.run("kubectl explain wd.spec.parts.count");
    t.run("kubectl explain widget --recursive");
    t.run("kubectl explain widget.metadata.name");
    t.run("kubectl explain widget --api-version=ex.io/v1 -o plaintext-openapiv2");
    t.run("kubectl explain configmap");
    t.run("kubectl explain cm.data");
    t.run("kubectl explain deployment.spec.replicas");
    t.run("kubectl explain pod.spec.containers --recursive");
    t.fails("kubectl explain widget.spec.none");
    t.fails("kubectl explain gizmo");
    t.end();
}
