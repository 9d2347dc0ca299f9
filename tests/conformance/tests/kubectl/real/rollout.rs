//! `rollout`. No controller runs: the transcript writes the status that it would.

use crate::objects::{DEPLOYMENT, DEPLOYMENT_STATUS, WIDGET};
use crate::transcript::Transcript;

#[test]
fn rollout_status_reads_the_status() {
    let mut t = Transcript::new("rollout");
    t.file("web.yaml", DEPLOYMENT);
    t.file("status.yaml", DEPLOYMENT_STATUS);
    t.file("widget.yaml", WIDGET);
    t.run("kubectl create -f web.yaml -f widget.yaml");
    t.run("kubectl rollout status deploy/web --watch=false");
    t.fails("kubectl rollout status deploy/web --timeout=1s");
    let mut status = t.background("kubectl rollout status deploy/web --timeout=30s");
    t.shows(&mut status, "Waiting");
    t.run("kubectl patch deploy web --subresource=status --type=merge -p '{\"status\":{\"observedGeneration\":1}}'");
    t.shows(&mut status, "0 out of 2");
    t.run("kubectl patch deploy web --subresource=status --type=merge --patch-file=status.yaml");
    t.ends(status);
    t.run("kubectl rollout status deploy/web");
    t.run("kubectl get deploy web");
    t.run("kubectl rollout history deploy/web");
    t.run("kubectl rollout pause deploy/web");
    t.run("kubectl rollout resume deploy/web");
    t.run("kubectl rollout restart deploy/web");
    t.fails("kubectl rollout status wd/w1");
    t.fails("kubectl rollout undo deploy/web");
    t.fails("kubectl rollout status deploy/none");
    t.end();
}
