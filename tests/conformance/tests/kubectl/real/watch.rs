//! `get -w`: what it shows while others change things.

use crate::objects::{CONFIG_MAPS, WIDGET, WIDGET_STATUS};
use crate::transcript::Transcript;

#[test]
fn get_w_shows_what_happens() {
    let mut t = Transcript::new("watch");
    t.file("maps.yaml", CONFIG_MAPS);
    t.run("kubectl create -f maps.yaml");
    let mut maps = t.background("exec kubectl get cm -w");
    let mut events = t.background("exec kubectl get cm -w --output-watch-events");
    let mut only = t.background("exec kubectl get cm -w -l tier=back --show-labels --output-watch-events");
    let mut one = t.background("exec kubectl get cm one -w -o jsonpath='{.data}{\"\\n\"}'");
    t.shows(&mut maps, "two");
    t.shows(&mut events, "two");
    t.shows(&mut one, "lines");
    t.shows(&mut only, "two");
    t.run("kubectl patch cm one --type=merge -p '{\"data\":{\"new\":\"yes\"}}'");
    t.run("kubectl label cm one tier=back --overwrite");
    t.run("kubectl label cm two tier=none --overwrite");
    t.run("kubectl delete cm two");
    t.run("kubectl patch cm one --type=merge -p '{\"data\":{\"last\":\"yes\"}}'");
    // The last patch is what each of them shows last.
    t.shows_times(&mut maps, "\none ", 4);
    t.shows_times(&mut events, " one ", 4);
    t.shows(&mut only, "MODIFIED");
    t.shows(&mut one, "last");
    t.stop(maps);
    t.stop(events);
    t.stop(only);
    t.stop(one);
    t.end();
}

#[test]
fn get_w_shows_a_custom_resource_in_its_columns() {
    let mut t = Transcript::new("watch-widgets");
    t.file("widget.yaml", WIDGET);
    t.file("status.yaml", WIDGET_STATUS);
    t.run("kubectl create -f widget.yaml");
    let mut widgets = t.background("exec kubectl get wd -w -o wide --output-watch-events");
    t.shows(&mut widgets, "w1");
    t.run("kubectl patch wd w1 --subresource=status --type=merge --patch-file=status.yaml");
    t.shows(&mut widgets, "True");
    t.run("kubectl scale wd w1 --replicas=5");
    t.run("kubectl delete wd w1");
    t.shows(&mut widgets, "DELETED");
    t.stop(widgets);
    t.end();
}
