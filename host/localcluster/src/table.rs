//! How objects are shown to a client: as they are stored, as a `Table` for people, or their metadata alone.
//!
//! The cluster asks [`View::negotiate`] once for a request and hands every object, list or watch event through the
//! view. Tables have the columns that real servers show for the kind; custom resources show their
//! `additionalPrinterColumns`, or their age when there are none. Of `Table` only `meta.k8s.io/v1` is served.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::accept;
use crate::columns::{self, Column};
use crate::status::Status;
use crate::types::ResourceType;

const META_V1: &str = "meta.k8s.io/v1";

/// What rows of a table carry beside their cells (`includeObject`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncludeObject {
    /// Nothing: `object` is null.
    None,
    /// A `PartialObjectMetadata`; the default.
    Metadata,
    /// The whole object.
    Object,
}

/// What a client asked to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Objects and lists as they are.
    Full,
    /// `meta.k8s.io/v1` Table.
    Table {
        /// What rows carry beside their cells.
        include: IncludeObject,
    },
    /// `meta.k8s.io/v1` PartialObjectMetadata, and PartialObjectMetadataList for lists.
    Metadata,
}

impl View {
    /// The view that `accept` asks for first among those that can be served.
    ///
    /// `include_object` is the decoded query parameter `includeObject`, and `list` says that the answer is one list
    /// (a watch is none: each of its events shows one object).
    ///
    /// # Errors
    /// 406 when nothing in `accept` can be served, or when a list is asked for as one object's metadata or the other
    /// way round; 400 for an unknown `includeObject`. Both are to be answered as they are.
    pub fn negotiate(accept: &str, include_object: Option<&str>, list: bool) -> Result<View, Status> {
        let clauses = accept::json_clauses(accept);
        for clause in &clauses {
            if clause.kind.is_empty() {
                return Ok(View::Full);
            }
            if (clause.group, clause.version) != ("meta.k8s.io", "v1") {
                continue;
            }
            match (clause.kind, list) {
                ("Table", _) => {
                    return Ok(View::Table {
                        include: include(include_object)?,
                    });
                }
                ("PartialObjectMetadata", false) | ("PartialObjectMetadataList", true) => return Ok(View::Metadata),
                ("PartialObjectMetadata", true) => {
                    return Err(Status::not_acceptable(
                        "you requested PartialObjectMetadata, but the requested object is a list",
                    ));
                }
                ("PartialObjectMetadataList", false) => {
                    return Err(Status::not_acceptable(
                        "you requested PartialObjectMetadataList, but the requested object is not a list",
                    ));
                }
                _ => {}
            }
        }
        Err(Status::not_acceptable(
            "only the following media types are accepted: application/json",
        ))
    }

    /// One object in this view. `now` is the time since the Unix epoch that ages are counted to. `first` is false only
    /// for the later events of a watch: their tables leave out the column definitions that the first one had.
    pub fn object(&self, type_: &ResourceType, object: &Value, now: Duration, first: bool) -> Value {
        match self {
            View::Full => object.clone(),
            View::Metadata => metadata(object),
            View::Table { include } => {
                let columns = columns::of(type_);
                let version = object.pointer("/metadata/resourceVersion");
                let meta = version.map_or_else(|| json!({}), |version| json!({ "resourceVersion": version }));
                table(
                    meta,
                    first.then_some(columns.as_slice()),
                    vec![row(&columns, object, now, *include)],
                )
            }
        }
    }

    /// A list in this view. `list_meta` is its whole `metadata` (resourceVersion, continue, remainingItemCount).
    pub fn list(&self, type_: &ResourceType, list_meta: Value, items: &[Arc<Value>], now: Duration) -> Value {
        match self {
            View::Full => json!({
                "kind": &*type_.list_kind,
                "apiVersion": type_.api_version(),
                "metadata": list_meta,
                "items": items.iter().map(|item| listed(type_, item)).collect::<Vec<_>>(),
            }),
            View::Metadata => json!({
                "kind": "PartialObjectMetadataList",
                "apiVersion": META_V1,
                "metadata": list_meta,
                "items": items.iter().map(|item| metadata(item)).collect::<Vec<_>>(),
            }),
            View::Table { include } => {
                let columns = columns::of(type_);
                let rows = items.iter().map(|item| row(&columns, item, now, *include)).collect();
                table(list_meta, Some(&columns), rows)
            }
        }
    }
}

fn include(text: Option<&str>) -> Result<IncludeObject, Status> {
    match text {
        None | Some("" | "Metadata") => Ok(IncludeObject::Metadata),
        Some("None") => Ok(IncludeObject::None),
        Some("Object") => Ok(IncludeObject::Object),
        Some(other) => Err(Status::bad_request(format!(
            "unrecognized includeObject value: {other:?}: must be \"None\", \"Metadata\" or \"Object\""
        ))),
    }
}

/// An object in a list: built-in kinds stand there without kind and apiVersion, which clients fill in.
fn listed(type_: &ResourceType, object: &Value) -> Value {
    let mut object = object.clone();
    if !type_.custom
        && let Some(map) = object.as_object_mut()
    {
        map.remove("kind");
        map.remove("apiVersion");
    }
    object
}

fn metadata(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": META_V1,
        "metadata": object.get("metadata").cloned().unwrap_or_else(|| Value::Object(Map::new())),
    })
}

fn table(meta: Value, columns: Option<&[Column]>, rows: Vec<Value>) -> Value {
    let definitions = columns.map(|columns| columns.iter().map(Column::definition).collect::<Vec<_>>());
    json!({
        "kind": "Table", "apiVersion": META_V1, "metadata": meta, "columnDefinitions": definitions, "rows": rows,
    })
}

fn row(columns: &[Column], object: &Value, now: Duration, include: IncludeObject) -> Value {
    let cells: Vec<Value> = columns.iter().map(|column| column.cell(object, now)).collect();
    let carried = match include {
        IncludeObject::None => Value::Null,
        IncludeObject::Metadata => metadata(object),
        IncludeObject::Object => object.clone(),
    };
    json!({ "cells": cells, "object": carried })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{PrinterColumn, built_in};

    const NOW: Duration = Duration::from_secs(107);
    const KUBECTL: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";

    fn type_(plural: &str) -> ResourceType {
        built_in().into_iter().find(|t| &*t.plural == plural).unwrap()
    }

    fn widgets(columns: Vec<PrinterColumn>) -> ResourceType {
        ResourceType {
            group: "ex.io".into(),
            kind: "Widget".into(),
            list_kind: "WidgetList".into(),
            custom: true,
            columns,
            ..type_("configmaps")
        }
    }

    fn column(name: &str, type_: &str, json_path: &str) -> PrinterColumn {
        PrinterColumn {
            name: name.into(),
            type_: type_.into(),
            format: String::new(),
            description: String::new(),
            priority: 0,
            json_path: json_path.into(),
        }
    }

    fn widget() -> Value {
        json!({
            "apiVersion": "ex.io/v1", "kind": "Widget",
            "metadata": {"name": "w1", "namespace": "default", "resourceVersion": "87",
                         "creationTimestamp": "1970-01-01T00:01:40Z"},
            "spec": {"size": 3, "tags": ["a", "b"]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}], "since": "1970-01-01T00:01:30Z"},
        })
    }

    fn cells(type_: &ResourceType, object: &Value) -> Value {
        let view = View::Table {
            include: IncludeObject::None,
        };
        view.object(type_, object, NOW, true)
            .pointer("/rows/0/cells")
            .cloned()
            .unwrap()
    }

    fn headings(type_: &ResourceType) -> Vec<String> {
        let view = View::Table {
            include: IncludeObject::None,
        };
        let table = view.list(type_, json!({}), &[], NOW);
        let columns = table["columnDefinitions"].as_array().unwrap();
        columns
            .iter()
            .map(|c| {
                format!(
                    "{}:{}:{}",
                    c["name"].as_str().unwrap(),
                    c["type"].as_str().unwrap(),
                    c["priority"]
                )
            })
            .collect()
    }

    #[test]
    fn the_first_clause_that_can_be_served_wins() {
        let negotiate = |accept| View::negotiate(accept, None, false);
        assert_eq!(
            negotiate(KUBECTL),
            Ok(View::Table {
                include: IncludeObject::Metadata
            })
        );
        assert_eq!(negotiate(""), Ok(View::Full));
        assert_eq!(
            negotiate("application/vnd.kubernetes.protobuf,application/json"),
            Ok(View::Full)
        );
        assert_eq!(
            negotiate("application/json;as=Other;v=v1;g=meta.k8s.io,*/*"),
            Ok(View::Full)
        );
        let partial = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
        assert_eq!(negotiate(partial), Ok(View::Metadata));
        assert_eq!(View::negotiate(partial, None, true).unwrap_err().code, 406);
        let partial_list = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        assert_eq!(View::negotiate(partial_list, None, true), Ok(View::Metadata));
        assert_eq!(negotiate(partial_list).unwrap_err().code, 406);
        assert_eq!(negotiate("application/vnd.kubernetes.protobuf").unwrap_err().code, 406);
        assert_eq!(negotiate("text/html").unwrap_err().reason, "NotAcceptable");
    }

    #[test]
    fn include_object_decides_what_a_row_carries() {
        let row = |include| {
            let view = View::negotiate(KUBECTL, include, false).unwrap();
            view.object(&widgets(vec![]), &widget(), NOW, true)
                .pointer("/rows/0/object")
                .cloned()
                .unwrap()
        };
        assert_eq!(row(None)["kind"], "PartialObjectMetadata");
        assert_eq!(row(None)["metadata"]["name"], "w1");
        assert_eq!(row(None).get("spec"), None);
        assert_eq!(row(Some("Object")), widget());
        assert_eq!(row(Some("None")), Value::Null);
        assert_eq!(View::negotiate(KUBECTL, Some("All"), false).unwrap_err().code, 400);
    }

    #[test]
    fn only_the_first_event_of_a_watch_defines_the_columns() {
        let view = View::Table {
            include: IncludeObject::Metadata,
        };
        let first = view.object(&widgets(vec![]), &widget(), NOW, true);
        assert_eq!(first["columnDefinitions"].as_array().unwrap().len(), 2);
        assert_eq!(first["metadata"], json!({"resourceVersion": "87"}));
        assert_eq!(
            view.object(&widgets(vec![]), &widget(), NOW, false)["columnDefinitions"],
            Value::Null
        );
    }

    #[test]
    fn a_custom_resource_without_columns_shows_its_age() {
        assert_eq!(headings(&widgets(vec![])), ["Name:string:0", "Age:date:0"]);
        assert_eq!(cells(&widgets(vec![]), &widget()), json!(["w1", "7s"]));
    }

    #[test]
    fn a_custom_resources_columns_are_read_by_their_paths_and_types() {
        let type_ = widgets(vec![
            column("Size", "integer", ".spec.size"),
            column("Ready", "string", r#".status.conditions[?(@.type=="Ready")].status"#),
            column("Tags", "string", ".spec.tags"),
            column("SizeText", "string", ".spec.size"),
            column("Number", "number", ".spec.size"),
            column("Wrong", "boolean", ".spec.size"),
            column("Since", "date", ".status.since"),
            column("BadDate", "date", ".metadata.name"),
            column("None", "string", ".status.nothing"),
            column("BadPath", "string", "..x"),
        ]);
        assert_eq!(
            cells(&type_, &widget()),
            json!([
                "w1",
                3,
                "True",
                "[\"a\",\"b\"]",
                "3",
                3.0,
                null,
                "17s",
                "<invalid>",
                null,
                null
            ])
        );
        let view = View::Table {
            include: IncludeObject::None,
        };
        let table = view.list(&type_, json!({}), &[], NOW);
        assert_eq!(
            table["columnDefinitions"][1]["description"],
            "Custom resource definition column (in JSONPath format): .spec.size"
        );
    }

    #[test]
    fn built_in_kinds_have_the_columns_of_a_real_server() {
        let expected: [(&str, &[&str]); 10] = [
            ("namespaces", &["Name:string:0", "Status:string:0", "Age:string:0"]),
            ("configmaps", &["Name:string:0", "Data:string:0", "Age:string:0"]),
            (
                "secrets",
                &["Name:string:0", "Type:string:0", "Data:string:0", "Age:string:0"],
            ),
            ("serviceaccounts", &["Name:string:0", "Age:string:0"]),
            (
                "services",
                &[
                    "Name:string:0",
                    "Type:string:0",
                    "Cluster-IP:string:0",
                    "External-IP:string:0",
                    "Port(s):string:0",
                    "Age:string:0",
                    "Selector:string:1",
                ],
            ),
            (
                "deployments",
                &[
                    "Name:string:0",
                    "Ready:string:0",
                    "Up-to-date:string:0",
                    "Available:string:0",
                    "Age:string:0",
                    "Containers:string:1",
                    "Images:string:1",
                    "Selector:string:1",
                ],
            ),
            (
                "events",
                &[
                    "Last Seen:string:0",
                    "Type:string:0",
                    "Reason:string:0",
                    "Object:string:0",
                    "Subobject:string:1",
                    "Source:string:1",
                    "Message:string:0",
                    "First Seen:string:1",
                    "Count:string:1",
                    "Name:string:1",
                ],
            ),
            (
                "pods",
                &[
                    "Name:string:0",
                    "Ready:string:0",
                    "Status:string:0",
                    "Restarts:integer:0",
                    "Age:string:0",
                    "IP:string:1",
                    "Node:string:1",
                    "Nominated Node:string:1",
                    "Readiness Gates:string:1",
                ],
            ),
            ("customresourcedefinitions", &["Name:string:0", "Created At:date:0"]),
            ("leases", &["Name:string:0", "Holder:string:0", "Age:string:0"]),
        ];
        for (plural, columns) in expected {
            assert_eq!(headings(&type_(plural)), columns, "{plural}");
        }
    }

    #[test]
    fn lists_keep_their_metadata_in_every_view() {
        let meta = json!({"resourceVersion": "9", "continue": "x"});
        let items = [Arc::new(widget())];
        for view in [
            View::Full,
            View::Metadata,
            View::Table {
                include: IncludeObject::Metadata,
            },
        ] {
            assert_eq!(view.list(&widgets(vec![]), meta.clone(), &items, NOW)["metadata"], meta);
        }
        let full = View::Full.list(&widgets(vec![]), meta.clone(), &items, NOW);
        assert_eq!(
            (&full["kind"], &full["apiVersion"]),
            (&json!("WidgetList"), &json!("ex.io/v1"))
        );
        assert_eq!(full["items"][0], widget());
        let partial = View::Metadata.list(&widgets(vec![]), meta, &items, NOW);
        assert_eq!(partial["kind"], "PartialObjectMetadataList");
        assert_eq!(partial["items"][0]["kind"], "PartialObjectMetadata");
    }
}
