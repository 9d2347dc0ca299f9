//! `events`, and `get events`.

use crate::objects::{CONFIG_MAPS, EVENTS};
use crate::transcript::Transcript;

#[test]
fn events_are_shown_in_order() {
    let mut t = Transcript::new("events");
    t.file("maps.yaml", CONFIG_MAPS);
    t.file("events.yaml", &EVENTS.replace("NAMESPACE", "events"));
    t.run("kubectl events");
    t.run("kubectl create -f maps.yaml -f events.yaml");
    t.run("kubectl events");
    t.run("kubectl events --for=configmap/one");
    t.run("kubectl events --for=configmap/two");
    t.run("kubectl events --types=Warning -o name");
    t.run("kubectl events -o yaml");
    t.run("kubectl events --no-headers");
    t.run("kubectl get events");
    t.run("kubectl get events -o wide");
    t.run("kubectl get events --sort-by=.lastTimestamp");
    t.run("kubectl get events --field-selector type=Warning,involvedObject.name=one");
    t.run("kubectl get events.events.k8s.io one.1 -o yaml");
    t.run("kubectl get event one.1 -o json");
    t.run("kubectl describe cm one");
    t.run("kubectl describe event one.1");
    let mut watching = t.background("exec kubectl events --watch");
    t.shows(&mut watching, "Lost");
    t.run("sed 's/one[.]/later./' events.yaml | kubectl create -f -");
    t.shows_times(&mut watching, "Lost", 2);
    t.stop(watching);
    t.run("kubectl delete events --all");
    t.end();
}
