//! The real kubectl against the HTTP face, reading: each test has a cluster on a port of its own and reads what kubectl
//! prints.
//!
//! kubectl is taken from the environment variable `KUBECTL`, or else from `PATH`.

mod served;

use served::Server;
use served::kubectl::{PATIENCE, Running, assert_table, words};

#[test]
fn get_prints_the_tables_people_know() {
    let server = Server::start();
    server.config_map("one");
    assert_table(&server.ok("get configmaps"), &["NAME DATA AGE", "one 2 *"]);
    assert_table(&server.ok("get cm one"), &["NAME DATA AGE", "one 2 *"]);
    let namespaces = server.ok("get namespaces");
    assert_table(namespaces.lines().next().unwrap(), &["NAME STATUS AGE"]);
    assert!(
        words(&namespaces)
            .iter()
            .any(|row| row.starts_with(&["default", "Active"])),
        "{namespaces}"
    );
    assert_table(&server.ok("get customresourcedefinitions --ignore-not-found"), &[]);
    server.create(
        "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {k: v}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {name: svc}\nspec: {ports: [{port: 80}], selector: {app: x}}\n---\n\
         apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {name: l}\nspec: {holderIdentity: me}\n---\n\
         apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {replicas: 2, selector: {matchLabels: {app: x}}, \
         template: {metadata: {labels: {app: x}}, spec: {containers: [{name: c, image: i}]}}}\n",
    );
    assert_table(&server.ok("get secrets"), &["NAME TYPE DATA AGE", "s Opaque 1 *"]);
    assert_table(&server.ok("get leases"), &["NAME HOLDER AGE", "l me *"]);
    assert_table(
        &server.ok("get deploy"),
        &["NAME READY UP-TO-DATE AVAILABLE AGE", "d 0/2 0 0 *"],
    );
    assert_table(
        &server.ok("get deploy -o wide"),
        &[
            "NAME READY UP-TO-DATE AVAILABLE AGE CONTAINERS IMAGES SELECTOR",
            "d 0/2 0 0 * c i app=x",
        ],
    );
    let services = server.ok("get services");
    assert_table(
        services.lines().next().unwrap(),
        &["NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE"],
    );
    let svc = words(&services).into_iter().find(|row| row[0] == "svc").unwrap();
    assert_eq!((svc[1], svc[3], svc[4]), ("ClusterIP", "<none>", "80/TCP"));
    assert_eq!(
        server.fails("get cm none"),
        "Error from server (NotFound): configmaps \"none\" not found\n"
    );
}

#[test]
fn get_shows_custom_resources_by_the_columns_of_their_crd() {
    let server = Server::start();
    server.widget();
    assert_table(
        &server.ok("get widgets --no-headers -o custom-columns=N:.metadata.name,S:.spec.size"),
        &["w1 3"],
    );
    let row = server.ok("get wd w1 -o wide");
    // The column Ready has no value yet: kubectl leaves it blank.
    assert_table(&row, &["NAME SIZE READY COLOR AGE", "w1 3 red *"]);
    assert_table(&server.ok("get widgets.v1.ex.io"), &["NAME SIZE READY AGE", "w1 3 *"]);
    assert!(
        words(&server.ok("get all"))
            .iter()
            .any(|row| row[..] == ["widget.ex.io/w1", "3", row[2]])
    );
    assert_table(&server.ok("get crd"), &["NAME CREATED AT", "widgets.ex.io *"]);
}

#[test]
fn get_prints_every_output_format_and_selection() {
    let server = Server::start();
    server.config_map("one");
    server.config_map("two");
    assert_eq!(server.ok("get cm -o name"), "configmap/one\nconfigmap/two\n");
    let json: serde_json::Value = serde_json::from_str(&server.ok("get cm one -o json")).unwrap();
    assert_eq!((&json["kind"], &json["data"]["a"]), (&"ConfigMap".into(), &"1".into()));
    let list: serde_json::Value = serde_json::from_str(&server.ok("get cm -o json")).unwrap();
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    let yaml = server.ok("get cm two -o yaml");
    assert!(
        yaml.contains("\n  name: two\n") && yaml.contains("\nkind: ConfigMap\n"),
        "{yaml}"
    );
    assert_eq!(server.ok("get cm one -o jsonpath={.data.b}"), "2");
    server.ok("label cm two tier=back");
    assert_eq!(server.ok("get cm -l tier=back -o name"), "configmap/two\n");
    assert_eq!(server.ok("get cm -l tier!=back -o name"), "configmap/one\n");
    assert_eq!(
        server.ok("get cm --field-selector metadata.name=one -o name"),
        "configmap/one\n"
    );
    server.create("apiVersion: v1\nkind: Namespace\nmetadata: {name: other}\n");
    server.ok_with(
        &["create", "-n", "other", "-f", "-"],
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: three}\n",
    );
    assert_table(
        &server.ok("get cm -A"),
        &[
            "NAMESPACE NAME DATA AGE",
            "default one 2 *",
            "default two 2 *",
            "other three 0 *",
        ],
    );
    assert_table(
        &server.ok("get cm two --show-labels"),
        &["NAME DATA AGE LABELS", "two 2 * tier=back"],
    );
    assert_table(
        &server.ok("get cm -L tier --chunk-size=1"),
        &["NAME DATA AGE TIER", "one 2 *", "two 2 * back"],
    );
    let sorted = server.ok("get cm --sort-by=.metadata.name --no-headers");
    assert_table(&sorted, &["one 2 *", "two 2 *"]);
}

#[test]
fn get_watch_prints_each_change_as_it_happens() {
    let server = Server::start();
    server.config_map("one");
    let watch = server.command(&["get", "cm", "-w", &format!("--request-timeout={PATIENCE}")]);
    let mut child = Running(server.spawn(watch));
    let mut next = child.lines();
    assert_table(&next(), &["NAME DATA AGE"]);
    assert_table(&next(), &["one 2 *"]);
    server.ok_with(
        &["patch", "cm", "one", "--type=merge", "-p", r#"{"data":{"c":"3"}}"#],
        "",
    );
    assert_table(&next(), &["one 3 *"]);
    server.config_map("two");
    assert_table(&next(), &["two 2 *"]);
    server.ok("delete cm two --wait=false");
    assert_table(&next(), &["two 2 *"]);
}

#[test]
fn get_watch_only_prints_events_with_output_watch_events() {
    let server = Server::start();
    server.widget();
    let mut command = server.command(&["get", "widgets", "--watch", "--output-watch-events"]);
    command.arg(format!("--request-timeout={PATIENCE}"));
    let mut child = Running(server.spawn(command));
    let mut next = child.lines();
    assert_table(&next(), &["EVENT NAME SIZE READY AGE"]);
    assert_table(&next(), &["ADDED w1 3 *"]);
    server.ok_with(
        &["patch", "widget", "w1", "--type=merge", "-p", r#"{"spec":{"size":4}}"#],
        "",
    );
    assert_table(&next(), &["MODIFIED w1 4 *"]);
    server.ok("delete widget w1 --wait=false");
    assert_table(&next(), &["DELETED w1 4 *"]);
}

#[test]
fn api_resources_and_versions_list_what_is_served() {
    let server = Server::start();
    server.widget();
    let resources = server.ok("api-resources");
    let has = |row: &[&str]| words(&resources).iter().any(|found| found[..] == *row);
    assert!(
        has(&["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"]),
        "{resources}"
    );
    assert!(has(&["configmaps", "cm", "v1", "true", "ConfigMap"]), "{resources}");
    assert!(
        has(&["deployments", "deploy", "apps/v1", "true", "Deployment"]),
        "{resources}"
    );
    assert!(has(&["widgets", "wd", "ex.io/v1", "true", "Widget"]), "{resources}");
    assert_eq!(server.ok("api-resources --api-group=ex.io -o name"), "widgets.ex.io\n");
    assert!(
        server
            .ok("api-resources --categories=all -o name")
            .contains("widgets.ex.io\n")
    );
    let versions = server.ok("api-versions");
    for version in [
        "apiextensions.k8s.io/v1",
        "apps/v1",
        "coordination.k8s.io/v1",
        "ex.io/v1",
        "v1",
    ] {
        assert!(
            versions.lines().any(|line| line == version),
            "{version} is missing in\n{versions}"
        );
    }
    assert!(server.ok("version").contains("Server Version: v1."));
    assert_eq!(server.ok("get --raw /readyz"), "ok");
}

#[test]
fn events_are_shown_by_get_and_describe() {
    let server = Server::start();
    server.widget();
    let uid = server.ok("get wd w1 -o jsonpath={.metadata.uid}");
    server.create(&format!(
        "apiVersion: v1\nkind: Event\nmetadata: {{name: w1.1, namespace: default}}\ntype: Normal\nreason: Painted\n\
         message: it is red now\nsource: {{component: painter}}\ncount: 1\n\
         firstTimestamp: '2026-01-01T00:00:00Z'\nlastTimestamp: '2026-01-01T00:00:00Z'\n\
         involvedObject: {{apiVersion: ex.io/v1, kind: Widget, name: w1, namespace: default, uid: {uid}}}\n"
    ));
    assert_table(
        &server.ok("get events"),
        &[
            "LAST SEEN TYPE REASON OBJECT MESSAGE",
            "* Normal Painted widget/w1 it is red now",
        ],
    );
    let described = server.ok("describe widget w1");
    for line in [vec!["Name:", "w1"], vec!["Size:", "3"], vec!["Kind:", "Widget"]] {
        assert!(words(&described).contains(&line), "{line:?} is missing in\n{described}");
    }
    assert!(described.contains("it is red now"), "{described}");
}

#[test]
fn explain_reads_the_schema_of_a_crd() {
    let server = Server::start();
    server.widget();
    let widget = server.ok("explain widget");
    assert!(
        widget.contains("GROUP:      ex.io\nKIND:       Widget\nVERSION:    v1\n"),
        "{widget}"
    );
    assert!(widget.contains("A widget is what tests are made of."), "{widget}");
    let size = server.ok("explain widgets.spec.size");
    assert!(
        size.contains("FIELD: size <integer>") && size.contains("How large it shall be."),
        "{size}"
    );
    assert!(server.ok("explain cm").contains("KIND:       ConfigMap\n"));
    let image = server.ok("explain deployment.spec.template.spec.containers.image");
    assert!(image.contains("FIELD: image <string>"), "{image}");
}
