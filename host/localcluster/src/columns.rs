//! The columns of tables, by kind: those of `kube-apiserver` for built-ins, the CRD's own for custom resources.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::{Value, json};

use crate::age::age;
use crate::jsonpath::JsonPath;
use crate::types::{PrinterColumn, ResourceType};

mod events;
mod services;
mod workloads;

/// One column: its heading, and how its cell is made.
pub(crate) struct Column {
    name: Cow<'static, str>,
    type_: Cow<'static, str>,
    format: Cow<'static, str>,
    description: Cow<'static, str>,
    priority: i32,
    show: Show,
}

enum Show {
    /// Computed from the object at a time.
    Computed(fn(&Value, Duration) -> Value),
    /// Found by a path, shown as the column's type; `None`: the path was not understood, the cell stays empty.
    Found(Option<JsonPath>),
}

impl Column {
    /// The `TableColumnDefinition`.
    pub(crate) fn definition(&self) -> Value {
        json!({
            "name": self.name, "type": self.type_, "format": self.format, "description": self.description,
            "priority": self.priority,
        })
    }

    /// What the column shows for `object` at `now` (since the Unix epoch).
    pub(crate) fn cell(&self, object: &Value, now: Duration) -> Value {
        match &self.show {
            Show::Computed(compute) => compute(object, now),
            Show::Found(path) => {
                let found = path.as_ref().and_then(|path| path.first(object));
                found.map_or(Value::Null, |found| typed(&self.type_, found, now))
            }
        }
    }
}

/// The columns for objects of `type_`.
pub(crate) fn of(type_: &ResourceType) -> Vec<Column> {
    if type_.custom {
        return custom(&type_.columns);
    }
    let age = column("Age", |o, now| Value::from(age_of(o, now)));
    match (&*type_.stored_group, &*type_.plural) {
        ("", "configmaps") => vec![
            name(),
            column("Data", |o, _| (len(o, "/data") + len(o, "/binaryData")).into()),
            age,
        ],
        ("", "events") => events::events(),
        ("", "namespaces") => vec![name(), column("Status", |o, _| text(o, "/status/phase").into()), age],
        ("", "pods") => workloads::pods(age),
        ("", "secrets") => vec![
            name(),
            column("Type", |o, _| text(o, "/type").into()),
            column("Data", |o, _| len(o, "/data").into()),
            age,
        ],
        ("", "serviceaccounts") => vec![name(), age],
        ("", "services") => services::services(age),
        ("apps", "deployments") => workloads::deployments(age),
        ("coordination.k8s.io", "leases") => {
            vec![
                name(),
                column("Holder", |o, _| text(o, "/spec/holderIdentity").into()),
                age,
            ]
        }
        ("autoscaling", "scales") => vec![
            name(),
            number("Desired", |o, _| integer(o, "/spec/replicas").into()),
            number("Available", |o, _| integer(o, "/status/replicas").into()),
            age,
        ],
        // What real servers show for every kind that has no printer of its own, CustomResourceDefinitions among them.
        _ => vec![
            name(),
            Column {
                type_: "date".into(),
                ..column("Created At", |o, _| text(o, "/metadata/creationTimestamp").into())
            },
        ],
    }
}

fn column(name: &'static str, show: fn(&Value, Duration) -> Value) -> Column {
    Column {
        name: name.into(),
        type_: "string".into(),
        format: "".into(),
        description: "".into(),
        priority: 0,
        show: Show::Computed(show),
    }
}

fn number(name: &'static str, show: fn(&Value, Duration) -> Value) -> Column {
    Column {
        type_: "integer".into(),
        ..column(name, show)
    }
}

fn wide(name: &'static str, show: fn(&Value, Duration) -> Value) -> Column {
    Column {
        priority: 1,
        ..column(name, show)
    }
}

/// The first column of nearly every kind. kubectl finds it by its format.
fn name() -> Column {
    Column {
        format: "name".into(),
        description: "Name must be unique within a namespace.".into(),
        ..column("Name", |o, _| text(o, "/metadata/name").into())
    }
}

fn custom(columns: &[PrinterColumn]) -> Vec<Column> {
    let mut all = vec![name()];
    all.extend(columns.iter().map(|c| {
        Column {
            name: c.name.clone().into(),
            type_: c.type_.clone().into(),
            format: c.format.clone().into(),
            description: match c.description.as_str() {
                "" => format!(
                    "Custom resource definition column (in JSONPath format): {}",
                    c.json_path
                )
                .into(),
                text => text.to_owned().into(),
            },
            priority: c.priority,
            show: Show::Found(JsonPath::parse(&c.json_path)),
        }
    }));
    if columns.is_empty() {
        all.push(Column {
            type_: "date".into(),
            description: "CreationTimestamp is the time at which this object was created.".into(),
            show: Show::Found(JsonPath::parse(".metadata.creationTimestamp")),
            ..column("Age", |_, _| Value::Null)
        });
    }
    all
}

/// A found value as its column's type; null where it is of another.
fn typed(type_: &str, found: &Value, now: Duration) -> Value {
    match (type_, found) {
        (_, Value::Null) => Value::Null,
        ("string", Value::String(text)) => text.as_str().into(),
        ("string", other) => other.to_string().into(),
        ("integer", Value::Number(n)) => n.as_i64().or_else(|| n.as_f64().map(|f| f as i64)).into(),
        ("number", Value::Number(n)) => n.as_f64().into(),
        ("boolean", Value::Bool(b)) => (*b).into(),
        ("date", Value::String(text)) => age(Some(text), now).into(),
        _ => Value::Null,
    }
}

fn age_of(object: &Value, now: Duration) -> String {
    age(
        object.pointer("/metadata/creationTimestamp").and_then(Value::as_str),
        now,
    )
}

/// The string at a JSON pointer; empty where there is none.
fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The first string that is there and not empty.
fn first_text<'v>(value: &'v Value, pointers: &[&str]) -> &'v str {
    pointers
        .iter()
        .map(|pointer| text(value, pointer))
        .find(|t| !t.is_empty())
        .unwrap_or_default()
}

fn integer(value: &Value, pointer: &str) -> i64 {
    value.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

fn len(value: &Value, pointer: &str) -> usize {
    match value.pointer(pointer) {
        Some(Value::Object(map)) => map.len(),
        Some(Value::Array(items)) => items.len(),
        _ => 0,
    }
}

fn join(value: &Value, pointer: &str, show: impl FnMut(&Value) -> Option<String>) -> String {
    let items = value.pointer(pointer).and_then(Value::as_array);
    items
        .into_iter()
        .flatten()
        .filter_map(show)
        .collect::<Vec<_>>()
        .join(",")
}

fn or_none(text: &str) -> String {
    if text.is_empty() {
        "<none>".to_owned()
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::built_in;

    const NOW: Duration = Duration::from_secs(107);

    fn cells(plural: &str, object: Value) -> Vec<Value> {
        let type_ = built_in().into_iter().find(|t| &*t.plural == plural).unwrap();
        of(&type_).iter().map(|column| column.cell(&object, NOW)).collect()
    }

    #[test]
    fn a_services_addresses_and_ports_are_shown_by_its_type() {
        let meta = json!({"name": "s", "creationTimestamp": "1970-01-01T00:01:40Z"});
        let shown = cells(
            "services",
            json!({ "metadata": meta, "spec": {
            "type": "ClusterIP", "clusterIPs": ["10.0.0.1"], "selector": {"b": "2", "a": "1"},
            "ports": [{"port": 80, "protocol": "TCP"}, {"port": 53, "nodePort": 30053, "protocol": "UDP"}] } }),
        );
        assert_eq!(
            json!(shown),
            json!([
                "s",
                "ClusterIP",
                "10.0.0.1",
                "<none>",
                "80/TCP,53:30053/UDP",
                "7s",
                "a=1,b=2"
            ])
        );
        let external = |service: Value| cells("services", service)[3].clone();
        assert_eq!(external(json!({"spec": {"type": "LoadBalancer"}})), "<pending>");
        assert_eq!(
            external(json!({"spec": {"type": "LoadBalancer", "externalIPs": ["9.9.9.9"]},
                "status": {"loadBalancer": {"ingress": [{"hostname": "lb.example"}, {"ip": "1.2.3.4"}]}}})),
            "1.2.3.4,lb.example,9.9.9.9"
        );
        assert_eq!(
            external(json!({"spec": {"type": "ExternalName", "externalName": "db.example"}})),
            "db.example"
        );
        assert_eq!(external(json!({"spec": {"type": 5}})), "<unknown>");
    }

    #[test]
    fn a_deployment_shows_its_replicas_and_selector() {
        let shown = cells(
            "deployments",
            json!({ "metadata": {"name": "d"}, "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"z": "1"}, "matchExpressions": [
                {"key": "a", "operator": "In", "values": ["y", "x"]}, {"key": "m", "operator": "DoesNotExist"}]},
            "template": {"spec": {"containers": [{"name": "c1", "image": "i1"}, {"name": "c2", "image": "i2"}]}}},
            "status": {"readyReplicas": 1, "updatedReplicas": 2, "availableReplicas": 1}}),
        );
        assert_eq!(
            json!(shown),
            json!(["d", "1/3", 2, 1, "<unknown>", "c1,c2", "i1,i2", "a in (x,y),!m,z=1"])
        );
    }

    #[test]
    fn events_of_both_groups_show_the_same() {
        let old = json!({ "metadata": {"name": "e"}, "type": "Normal", "reason": "Made", "message": " made it \n",
            "involvedObject": {"kind": "Greeting", "name": "g"}, "count": 3, "source": {"component": "c", "host": "h"},
            "firstTimestamp": "1970-01-01T00:01:30Z", "lastTimestamp": "1970-01-01T00:01:40Z" });
        let expected = json!([
            "7s",
            "Normal",
            "Made",
            "greeting/g",
            "",
            "c, h",
            "made it",
            "17s",
            3,
            "e"
        ]);
        assert_eq!(json!(cells("events", old)), expected);
        let new = json!({ "metadata": {"name": "e"}, "type": "Normal", "reason": "Made", "note": "made it",
            "regarding": {"kind": "Greeting", "name": "g"}, "reportingController": "c", "reportingInstance": "h",
            "eventTime": "1970-01-01T00:01:30.000000Z",
            "series": {"count": 3, "lastObservedTime": "1970-01-01T00:01:40.000000Z"} });
        assert_eq!(json!(cells("events", new)), expected);
        assert_eq!(cells("events", json!({"eventTime": "1970-01-01T00:01:40Z"}))[0], "7s");
    }

    #[test]
    fn a_pods_status_tells_what_its_containers_do() {
        let status = |pod: Value| cells("pods", pod)[2].clone();
        assert_eq!(status(json!({"status": {"phase": "Running"}})), "Running");
        assert_eq!(
            status(json!({"status": {"phase": "Running",
                "containerStatuses": [{"state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}})),
            "CrashLoopBackOff"
        );
        assert_eq!(
            status(json!({"status": {"containerStatuses": [{"state": {"terminated": {"exitCode": 2}}}]}})),
            "ExitCode:2"
        );
        assert_eq!(
            status(json!({"metadata": {"deletionTimestamp": "x"}, "status": {"phase": "Running"}})),
            "Terminating"
        );
        let ready = cells(
            "pods",
            json!({"spec": {"containers": [{}, {}]}, "status": {"containerStatuses": [
            {"ready": true, "restartCount": 2, "state": {"running": {}}}]}}),
        );
        assert_eq!((&ready[1], &ready[3]), (&json!("1/2"), &json!("2")));
    }

    #[test]
    fn objects_of_any_shape_are_shown_without_a_panic() {
        for type_ in built_in() {
            for object in [
                json!(null),
                json!([]),
                json!({"metadata": 5, "spec": [], "status": "x", "data": 1}),
            ] {
                assert!(
                    !of(&type_)
                        .iter()
                        .map(|c| c.cell(&object, NOW))
                        .collect::<Vec<_>>()
                        .is_empty()
                );
            }
        }
    }
}
