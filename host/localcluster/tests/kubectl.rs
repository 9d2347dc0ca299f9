//! The real kubectl against the HTTP face, writing, deleting and waiting: each test has a cluster on a port of its own
//! and reads what kubectl prints.
//!
//! kubectl is taken from the environment variable `KUBECTL`, or else from `PATH`.

mod served;

use served::Server;
use served::kubectl::{PATIENCE, assert_table, ran};

#[test]
fn create_refuses_what_exists_and_what_is_invalid() {
    let server = Server::start();
    server.config_map("one");
    let again = server.run(
        &["create", "-f", "-"],
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\n",
    );
    assert!(
        !again.ok && again.err.contains("configmaps \"one\" already exists"),
        "{}",
        again.err
    );
    server.widget();
    let wrong = server.run(
        &["create", "-f", "-"],
        "apiVersion: ex.io/v1\nkind: Widget\nmetadata: {name: bad}\nspec: {size: large}\n",
    );
    assert!(
        !wrong.ok && wrong.err.contains("spec.size") && wrong.err.contains("integer"),
        "{}",
        wrong.err
    );
    let unknown = server.run(
        &["create", "-f", "-"],
        "apiVersion: ex.io/v1\nkind: Widget\nmetadata: {name: bad}\nspec: {sice: 3}\n",
    );
    assert!(
        !unknown.ok && unknown.err.contains("unknown field \"spec.sice\""),
        "{}",
        unknown.err
    );
    let no_kind = server.run(
        &["create", "-f", "-"],
        "apiVersion: ex.io/v1\nkind: Gadget\nmetadata: {name: bad}\n",
    );
    assert!(
        !no_kind.ok && no_kind.err.contains("no matches for kind \"Gadget\""),
        "{}",
        no_kind.err
    );
}

#[test]
fn replace_puts_a_whole_object() {
    let server = Server::start();
    server.config_map("one");
    let yaml = server.ok("get cm one -o yaml").replace("a: \"1\"", "a: changed");
    assert_eq!(
        server.ok_with(&["replace", "-f", "-"], &yaml),
        "configmap/one replaced\n"
    );
    assert_eq!(server.ok("get cm one -o jsonpath={.data.a}"), "changed");
    let stale = server.run(&["replace", "-f", "-"], &yaml);
    assert!(
        !stale.ok && stale.err.contains("the object has been modified"),
        "{}",
        stale.err
    );
}

#[test]
fn patch_merges_and_applies_json_patches() {
    let server = Server::start();
    server.config_map("one");
    let patch =
        |type_: &str, patch: &str| server.run(&["patch", "cm", "one", &format!("--type={type_}"), "-p", patch], "");
    assert_eq!(
        patch("merge", r#"{"data":{"a":null,"c":"3"}}"#).out,
        "configmap/one patched\n"
    );
    assert_eq!(server.ok("get cm one -o jsonpath={.data}"), r#"{"b":"2","c":"3"}"#);
    assert_eq!(
        patch("merge", r#"{"data":{"c":"3"}}"#).out,
        "configmap/one patched (no change)\n"
    );
    let ops = r#"[{"op":"test","path":"/data/b","value":"2"},{"op":"replace","path":"/data/b","value":"9"}]"#;
    assert_eq!(patch("json", ops).out, "configmap/one patched\n");
    assert_eq!(server.ok("get cm one -o jsonpath={.data.b}"), "9");
    let failed = patch("json", ops);
    assert!(!failed.ok, "the test in the patch no longer holds: {}", failed.out);
    assert_eq!(server.ok("get cm one -o jsonpath={.data.b}"), "9");
    let strategic = patch("strategic", r#"{"data":{"x":"y"}}"#);
    assert!(
        !strategic.ok && strategic.err.contains("strategic-merge-patch+json is not supported"),
        "{}",
        strategic.err
    );
}

#[test]
fn apply_works_for_custom_resources_and_is_refused_plainly_where_it_needs_more() {
    let server = Server::start();
    server.widget();
    let yaml =
        |size: u32| format!("apiVersion: ex.io/v1\nkind: Widget\nmetadata: {{name: w2}}\nspec: {{size: {size}}}\n");
    assert_eq!(
        server.ok_with(&["apply", "-f", "-"], &yaml(1)),
        "widget.ex.io/w2 created\n"
    );
    assert_eq!(
        server.ok_with(&["apply", "-f", "-"], &yaml(2)),
        "widget.ex.io/w2 configured\n"
    );
    assert_eq!(
        server.ok_with(&["apply", "-f", "-"], &yaml(2)),
        "widget.ex.io/w2 unchanged\n"
    );
    assert_eq!(server.ok("get wd w2 -o jsonpath={.spec.size}"), "2");
    let server_side = server.run(&["apply", "--server-side", "-f", "-"], &yaml(3));
    assert!(
        !server_side.ok && server_side.err.contains("Server-side apply not available"),
        "{}",
        server_side.err
    );
}

#[test]
fn status_is_written_through_its_subresource() {
    let server = Server::start();
    server.widget();
    let status = r#"{"status":{"size":3,"conditions":[{"type":"Ready","status":"True"}]},"spec":{"size":99}}"#;
    let patched = server.ok_with(
        &[
            "patch",
            "wd",
            "w1",
            "--subresource=status",
            "--type=merge",
            "-p",
            status,
        ],
        "",
    );
    assert_eq!(patched, "widget.ex.io/w1 patched\n");
    assert_table(&server.ok("get wd"), &["NAME SIZE READY AGE", "w1 3 True *"]);
    assert_eq!(server.ok("scale widget/w1 --replicas=7"), "widget.ex.io/w1 scaled\n");
    assert_eq!(server.ok("get wd w1 -o jsonpath={.spec.size}"), "7");
}

#[test]
fn label_and_annotate_change_metadata() {
    let server = Server::start();
    server.config_map("one");
    assert_eq!(server.ok("label cm one a=b"), "configmap/one labeled\n");
    assert_eq!(server.ok("label cm one a=b"), "configmap/one not labeled\n");
    assert!(server.fails("label cm one a=c").contains("--overwrite"));
    assert_eq!(server.ok("label cm one a=c --overwrite"), "configmap/one labeled\n");
    assert_eq!(server.ok("get cm one -o jsonpath={.metadata.labels}"), r#"{"a":"c"}"#);
    assert_eq!(server.ok("label cm one a-"), "configmap/one unlabeled\n");
    assert_eq!(server.ok("get cm one -o jsonpath={.metadata.labels}"), "");
    assert_eq!(server.ok("annotate cm one note=x"), "configmap/one annotated\n");
    assert_eq!(server.ok("get cm one -o jsonpath={.metadata.annotations.note}"), "x");
    assert_eq!(server.ok("label cm --all tier=x"), "configmap/one labeled\n");
}

#[test]
fn delete_waits_for_finalizers() {
    let server = Server::start();
    server.create(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: held, finalizers: [ex.io/hold]}\n---\n\
         apiVersion: v1\nkind: ConfigMap\nmetadata: {name: free}\n",
    );
    let freed = server.ok("delete cm free");
    assert!(freed.starts_with("configmap \"free\" deleted"), "{freed}");
    assert!(
        server
            .ok("delete cm held --wait=false")
            .starts_with("configmap \"held\" deleted")
    );
    assert_ne!(server.ok("get cm held -o jsonpath={.metadata.deletionTimestamp}"), "");
    // A second delete waits for the object to go, which it does once its finalizer is taken off.
    let waiting = server.spawn(server.command(&["delete", "cm", "held", &format!("--timeout={PATIENCE}")]));
    let for_delete = format!("--timeout={PATIENCE}");
    let waiting_too = server.spawn(server.command(&["wait", "--for=delete", "cm/held", &for_delete]));
    server.ok_with(
        &[
            "patch",
            "cm",
            "held",
            "--type=json",
            "-p",
            r#"[{"op":"remove","path":"/metadata/finalizers"}]"#,
        ],
        "",
    );
    let waited = ran(waiting_too.wait_with_output().unwrap());
    assert!(
        waited.ok && matches!(waited.out.as_str(), "" | "configmap/held condition met\n"),
        "{}{}",
        waited.out,
        waited.err
    );
    let deleted = ran(waiting.wait_with_output().unwrap());
    // The finalizer may be gone before the delete asked: then there is nothing left to delete, and kubectl says that.
    assert!(
        deleted.ok || deleted.err.contains("NotFound"),
        "{}{}",
        deleted.out,
        deleted.err
    );
    assert!(server.fails("get cm held").contains("NotFound"));
}

#[test]
fn delete_cascades_as_it_is_told() {
    let server = Server::start();
    let family = |name: &str| {
        server.config_map(name);
        let uid = server.ok(&format!("get cm {name} -o jsonpath={{.metadata.uid}}"));
        server.create(&format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}-child\n  ownerReferences:\n  \
             - {{apiVersion: v1, kind: ConfigMap, name: {name}, uid: {uid}, blockOwnerDeletion: true}}\n"
        ));
    };
    family("background");
    server.ok(&format!("delete cm background --timeout={PATIENCE}"));
    server.ok(&format!("wait --for=delete cm/background-child --timeout={PATIENCE}"));
    assert!(server.fails("get cm background-child").contains("NotFound"));
    family("foreground");
    server.ok(&format!(
        "delete cm foreground --cascade=foreground --timeout={PATIENCE}"
    ));
    assert!(
        server.fails("get cm foreground-child").contains("NotFound"),
        "children go before their owner"
    );
    family("orphan");
    server.ok(&format!("delete cm orphan --cascade=orphan --timeout={PATIENCE}"));
    assert_eq!(
        server.ok("get cm orphan-child -o jsonpath={.metadata.ownerReferences}"),
        ""
    );
}

#[test]
fn delete_takes_selectors_files_and_namespaces() {
    let server = Server::start();
    for name in ["one", "two", "three"] {
        server.config_map(name);
    }
    server.ok("label cm one two out=yes");
    let deleted = server.ok("delete cm -l out=yes");
    assert!(
        deleted.contains("configmap \"one\" deleted") && deleted.contains("configmap \"two\" deleted"),
        "{deleted}"
    );
    assert_eq!(server.ok("get cm -o name"), "configmap/three\n");
    let file = server.ok_with(
        &["delete", "-f", "-"],
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: three}\n",
    );
    assert!(file.starts_with("configmap \"three\" deleted"), "{file}");
    assert_eq!(server.ok("delete cm none --ignore-not-found"), "");
    server.create("apiVersion: v1\nkind: Namespace\nmetadata: {name: brief}\n");
    server.ok_with(
        &["create", "-n", "brief", "-f", "-"],
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n",
    );
    server.ok(&format!("delete namespace brief --timeout={PATIENCE}"));
    assert!(server.fails("get namespace brief").contains("NotFound"));
    assert_eq!(server.ok("get cm -A -o name"), "");
}

#[test]
fn wait_ends_when_a_condition_is_met() {
    let server = Server::start();
    server.widget();
    let timeout = format!("--timeout={PATIENCE}");
    let waiting = server.spawn(server.command(&["wait", "--for=condition=Ready", "widget/w1", &timeout]));
    let status = r#"{"status":{"conditions":[{"type":"Ready","status":"True"}]}}"#;
    server.ok_with(
        &[
            "patch",
            "wd",
            "w1",
            "--subresource=status",
            "--type=merge",
            "-p",
            status,
        ],
        "",
    );
    let waited = ran(waiting.wait_with_output().unwrap());
    assert_eq!(
        (waited.out.as_str(), waited.err.as_str()),
        ("widget.ex.io/w1 condition met\n", "")
    );
    assert_eq!(
        server.ok("wait --for=jsonpath={.spec.size}=3 wd/w1"),
        "widget.ex.io/w1 condition met\n"
    );
    assert!(
        server
            .fails("wait --for=condition=Never wd/w1 --timeout=1s")
            .contains("timed out")
    );
}

#[test]
fn deleting_a_crd_deletes_its_objects_and_ends_its_service() {
    let server = Server::start();
    server.widget();
    let deleted = server.ok(&format!("delete crd widgets.ex.io --timeout={PATIENCE}"));
    assert!(deleted.contains("\"widgets.ex.io\" deleted"), "{deleted}");
    assert!(!server.ok("api-resources").contains("widgets"));
    let gone = server.fails("get widgets --cache-dir=fresh");
    assert!(
        gone.contains("the server doesn't have a resource type \"widgets\""),
        "{gone}"
    );
}
