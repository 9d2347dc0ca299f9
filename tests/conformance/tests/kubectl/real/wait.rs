//! `wait`.

use crate::objects::{CONFIG_MAPS, WIDGET, WIDGET_STATUS};
use crate::transcript::Transcript;

#[test]
fn wait_ends_when_it_is_so_or_in_time() {
    let mut t = Transcript::new("wait");
    t.file("maps.yaml", CONFIG_MAPS);
    t.file("widget.yaml", WIDGET);
    t.file("status.yaml", WIDGET_STATUS);
    let created = t.background("kubectl wait --for=create wd/w1 --timeout=30s");
    t.run("kubectl create -f widget.yaml -f maps.yaml");
    t.ends(created);
    t.fails("kubectl wait --for=condition=Ready wd/w1 --timeout=1s");
    let mut ready = t.background("kubectl wait --for=condition=Ready wd/w1 --timeout=30s -v=6");
    let mut size = t.background("kubectl wait --for=jsonpath='{.status.size}'=3 widget w1 --timeout=30s -v=6");
    t.watches(&mut ready);
    t.watches(&mut size);
    t.run("kubectl patch wd w1 --subresource=status --type=merge --patch-file=status.yaml");
    t.ends(ready);
    t.ends(size);
    t.run("kubectl wait --for=condition=Ready wd --all");
    t.run("kubectl wait --for=condition=Ready=true wd -l app=shop");
    t.fails("kubectl wait --for=condition=Ready=false wd/w1 --timeout=0");
    t.run("kubectl wait --for=jsonpath='{.data.a}' cm/one");
    t.fails("kubectl wait --for=jsonpath='{.data.none}'=x cm/one --timeout=1s");
    t.fails("kubectl wait --for=delete cm/one --timeout=1s");
    let mut deleted = t.background("kubectl wait --for=delete cm/one --timeout=30s -v=6");
    t.watches(&mut deleted);
    t.run("kubectl delete cm one");
    t.ends(deleted);
    t.run("kubectl wait --for=delete cm/one --timeout=1s");
    t.fails("kubectl wait --for=condition=Ready wd/none --timeout=1s");
    t.fails("kubectl wait --for=nonsense wd/w1");
    t.run("kubectl wait --for=condition=Established crd/widgets.ex.io");
    t.end();
}
