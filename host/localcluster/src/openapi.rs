//! OpenAPI v3 as far as clients of a cluster read it: `/openapi/v3` and one document for each group and version.
//!
//! kubectl looks there for two things: whether a kind's PATCH takes `fieldValidation` (before `create`, `replace`,
//! `apply` and `edit`), and the schemas of `explain`. A CRD's schema is served as its author wrote it, those of
//! built-in kinds without descriptions. OpenAPI v2 is an empty document, in protobuf only, and 406 for who
//! wants JSON: kubectl reads it about kinds that it did not find in v3, and gives up with the right message when they
//! are not there either, but breaks where there is no document.

use serde_json::{Map, Value, json};

use crate::cluster::Cluster;
use crate::discovery::Document;
use crate::schema::{definitions, resolve};
use crate::types::{ResourceType, api_version};

/// Where references to schemas begin.
const REFERENCE: &str = "#/components/schemas/";
/// Name of the schema of `metadata`, as real servers call it.
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// What stands at `/openapi/` followed by `parts`; `None`: nothing that this module knows.
pub(crate) fn document(cluster: &Cluster, parts: &[&str]) -> Option<Document> {
    match *parts {
        ["v2"] => Some(Document::OpenApiV2),
        ["v3"] => Some(Document::One(index(cluster))),
        ["v3", "api", version] => group_version(cluster, "", version).map(Document::One),
        ["v3", "apis", group, version] if !group.is_empty() => {
            group_version(cluster, group, version).map(Document::One)
        }
        _ => None,
    }
}

/// The media type of [`v2`]; clients ask for it with an `@` in place of the last dot but one.
pub(crate) const V2_TYPE: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// Whether `accept` takes [`V2_TYPE`].
pub(crate) fn accepts_v2(accept: &str) -> bool {
    accept.contains("com.github.proto-openapi.spec.v2")
}

/// `openapi.v2.Document` in protobuf: the field `swagger` (1), and in `info` (2) `title` (1) and `version` (2).
pub(crate) fn v2() -> Vec<u8> {
    let field = |number: u8, bytes: &[u8]| {
        let length = u8::try_from(bytes.len()).unwrap_or(0); // all of them are shorter than 128
        [&[number << 3 | 2, length], bytes].concat()
    };
    let info = [field(1, b"Pilothouse local cluster"), field(2, b"unversioned")].concat();
    [field(1, b"2.0"), field(2, &info)].concat()
}

fn index(cluster: &Cluster) -> Value {
    let paths: Map<String, Value> = cluster
        .types()
        .map(|type_| {
            let path = root(type_);
            let url = format!("/openapi/v3{path}");
            (
                path.trim_start_matches('/').to_owned(),
                json!({ "serverRelativeURL": url }),
            )
        })
        .collect();
    json!({ "paths": paths })
}

/// `/api/v1` or `/apis/G/V`.
fn root(type_: &ResourceType) -> String {
    format!(
        "{}/{}",
        if type_.group.is_empty() { "/api" } else { "/apis" },
        type_.api_version()
    )
}

fn group_version(cluster: &Cluster, group: &str, version: &str) -> Option<Value> {
    let mut paths = Map::new();
    let mut schemas = Map::new();
    for type_ in cluster.types().filter(|t| &*t.group == group && &*t.version == version) {
        add_paths(type_, &mut paths);
        schemas.insert(schema_name(type_), schema(type_));
    }
    if schemas.is_empty() {
        return None;
    }
    add_referenced(&mut schemas);
    Some(json!({
        "openapi": "3.0.0",
        "info": { "title": "Pilothouse local cluster", "version": api_version(group, version) },
        "paths": paths,
        "components": { "schemas": schemas },
    }))
}

fn add_paths(type_: &ResourceType, paths: &mut Map<String, Value>) {
    let root = root(type_);
    let namespace = if type_.namespaced {
        "/namespaces/{namespace}"
    } else {
        ""
    };
    let collection = format!("{root}{namespace}/{}", type_.plural);
    let one = format!("{collection}/{{name}}");
    let operations = |names: &[(&str, &str)], in_path: &[&str]| {
        let mut item: Map<String, Value> = names
            .iter()
            .map(|(method, action)| ((*method).to_owned(), operation(type_, method, action)))
            .collect();
        let in_path: Vec<Value> = in_path
            .iter()
            .map(|name| parameter(name, "path", "string", true))
            .collect();
        if !in_path.is_empty() {
            item.insert("parameters".to_owned(), in_path.into());
        }
        Value::Object(item)
    };
    let in_collection: &[&str] = if type_.namespaced { &["namespace"] } else { &[] };
    let in_one: &[&str] = if type_.namespaced {
        &["namespace", "name"]
    } else {
        &["name"]
    };
    if type_.namespaced {
        paths.insert(format!("{root}/{}", type_.plural), operations(&[("get", "list")], &[]));
    }
    paths.insert(
        collection,
        operations(
            &[("get", "list"), ("post", "post"), ("delete", "deletecollection")],
            in_collection,
        ),
    );
    let write = [("get", "get"), ("put", "put"), ("patch", "patch")];
    if type_.status {
        paths.insert(format!("{one}/status"), operations(&write, in_one));
    }
    let mut all = write.to_vec();
    all.push(("delete", "delete"));
    paths.insert(one, operations(&all, in_one));
}

fn operation(type_: &ResourceType, method: &str, action: &str) -> Value {
    let schema = json!({ "$ref": format!("{REFERENCE}{}", schema_name(type_)) });
    let mut parameters = match method {
        "get" if action == "list" => vec![
            parameter("allowWatchBookmarks", "query", "boolean", false),
            parameter("continue", "query", "string", false),
            parameter("fieldSelector", "query", "string", false),
            parameter("labelSelector", "query", "string", false),
            parameter("limit", "query", "integer", false),
            parameter("resourceVersion", "query", "string", false),
            parameter("resourceVersionMatch", "query", "string", false),
            parameter("timeoutSeconds", "query", "integer", false),
            parameter("watch", "query", "boolean", false),
        ],
        "get" => Vec::new(),
        "delete" => vec![
            parameter("dryRun", "query", "string", false),
            parameter("propagationPolicy", "query", "string", false),
        ],
        _ => vec![
            parameter("dryRun", "query", "string", false),
            parameter("fieldManager", "query", "string", false),
            parameter("fieldValidation", "query", "string", false),
        ],
    };
    parameters.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    let mut operation = json!({
        "parameters": parameters,
        "responses": { "200": { "description": "OK", "content": { "application/json": { "schema": schema } } } },
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": gvk(type_),
    });
    let body = match method {
        "post" | "put" => json!({ "application/json": { "schema": schema } }),
        "patch" => json!({
            "application/json-patch+json": { "schema": { "type": "array", "items": { "type": "object" } } },
            "application/merge-patch+json": { "schema": { "type": "object" } },
        }),
        _ => return operation,
    };
    operation["requestBody"] = json!({ "content": body, "required": true });
    operation
}

fn parameter(name: &str, place: &str, type_: &str, required: bool) -> Value {
    let mut parameter = json!({ "name": name, "in": place, "schema": { "type": type_, "uniqueItems": true } });
    if required {
        parameter["required"] = true.into();
    }
    parameter
}

fn gvk(type_: &ResourceType) -> Value {
    json!({ "group": &*type_.group, "version": &*type_.version, "kind": &*type_.kind })
}

/// The name that a built-in kind's schema has among the definitions; for others the group's labels the other way
/// round, version and kind, as real servers name them: `io.ex.v1.Widget`.
fn schema_name(type_: &ResourceType) -> String {
    let reference = type_
        .schema
        .as_ref()
        .and_then(|schema| schema.get("$ref")?.as_str()?.strip_prefix(REFERENCE));
    match reference {
        Some(name) => name.to_owned(),
        None => {
            let labels: Vec<&str> = type_.group.rsplit('.').collect();
            format!("{}.{}.{}", labels.join("."), type_.version, type_.kind)
        }
    }
}

fn schema(type_: &ResourceType) -> Value {
    let mut schema = match &type_.schema {
        Some(schema) => resolve(schema).clone(),
        None => json!({
            "type": "object",
            "description": format!("{}. The local cluster holds objects of this kind against no schema.", type_.kind),
            "x-kubernetes-preserve-unknown-fields": true,
        }),
    };
    if let Some(map) = schema.as_object_mut() {
        map.insert("x-kubernetes-group-version-kind".to_owned(), json!([gvk(type_)]));
        let properties = map.entry("properties").or_insert_with(|| json!({}));
        if let Some(properties) = properties.as_object_mut() {
            let text = |description: &str| json!({ "type": "string", "description": description });
            properties.insert(
                "apiVersion".to_owned(),
                text("The group and version of this representation."),
            );
            properties.insert("kind".to_owned(), text("The kind of this object."));
            properties.insert(
                "metadata".to_owned(),
                json!({
                    "description": "Standard object's metadata.",
                    "allOf": [{ "$ref": format!("{REFERENCE}{OBJECT_META}") }],
                }),
            );
        }
    }
    schema
}

/// Adds the built-in definitions that `schemas` refer to, and those that these refer to.
fn add_referenced(schemas: &mut Map<String, Value>) {
    let mut unseen: Vec<String> = schemas.values().flat_map(references).collect();
    while let Some(name) = unseen.pop() {
        if let Some(definition) = definitions().get(&name)
            && !schemas.contains_key(&name)
        {
            unseen.extend(references(definition));
            schemas.insert(name, definition.clone());
        }
    }
}

/// The names that `schema` refers to.
fn references(schema: &Value) -> Vec<String> {
    match schema {
        Value::Object(map) => map
            .iter()
            .flat_map(
                |(key, value)| match value.as_str().and_then(|text| text.strip_prefix(REFERENCE)) {
                    Some(name) if key == "$ref" => vec![name.to_owned()],
                    _ => references(value),
                },
            )
            .collect(),
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery;
    use crate::wire::Request;

    fn ask(path: &str) -> (u16, Value) {
        let response = discovery::answer(&Cluster::new(1), &Request::new(http::Method::GET, path)).unwrap();
        (response.status, serde_json::from_slice(response.whole()).unwrap())
    }

    #[test]
    fn every_group_version_of_the_index_has_a_document() {
        let (_, index) = ask("/openapi/v3");
        let paths = index["paths"].as_object().unwrap();
        assert!(
            paths.contains_key("api/v1") && paths.contains_key("apis/apps/v1"),
            "{paths:?}"
        );
        for entry in paths.values() {
            let (status, document) = ask(entry["serverRelativeURL"].as_str().unwrap());
            assert_eq!((status, &document["openapi"]), (200, &json!("3.0.0")));
        }
    }

    #[test]
    fn kubectl_finds_field_validation_and_the_kind_on_patch() {
        let (_, document) = ask("/openapi/v3/api/v1");
        let patch = &document["paths"]["/api/v1/namespaces/{namespace}/configmaps/{name}"]["patch"];
        assert_eq!(
            patch["x-kubernetes-group-version-kind"],
            json!({"group": "", "version": "v1", "kind": "ConfigMap"})
        );
        let names: Vec<_> = patch["parameters"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| p["name"].clone())
            .collect();
        assert_eq!(names, ["dryRun", "fieldManager", "fieldValidation"]);
        assert!(document["paths"]["/api/v1/namespaces/{name}"]["patch"].is_object());
        assert!(document["paths"]["/api/v1/namespaces/{name}/status"]["put"].is_object());
    }

    #[test]
    fn every_reference_in_a_document_leads_somewhere() {
        for path in [
            "api/v1",
            "apis/apps/v1",
            "apis/apiextensions.k8s.io/v1",
            "apis/events.k8s.io/v1",
        ] {
            let (_, document) = ask(&format!("/openapi/v3/{path}"));
            let names = references(&document);
            assert!(names.iter().any(|name| name == OBJECT_META), "{path}");
            for name in names {
                assert!(
                    document["components"]["schemas"][&name].is_object(),
                    "{name} is missing in {path}"
                );
            }
        }
        let (_, document) = ask("/openapi/v3/apis/apps/v1");
        let deployment = &document["components"]["schemas"]["io.k8s.api.apps.v1.Deployment"];
        assert_eq!(deployment["x-kubernetes-group-version-kind"][0]["kind"], "Deployment");
        assert!(document["components"]["schemas"]["io.k8s.api.core.v1.Container"].is_object());
    }

    #[test]
    fn openapi_v2_is_an_empty_document_in_protobuf() {
        let mut request = Request::new(http::Method::GET, "/openapi/v2");
        let json = discovery::answer(&Cluster::new(1), &request).unwrap();
        assert_eq!(json.status, 406);
        request.accept = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf".to_owned();
        let protobuf = discovery::answer(&Cluster::new(1), &request).unwrap();
        assert_eq!((protobuf.status, protobuf.content_type.as_str()), (200, V2_TYPE));
        assert!(protobuf.whole().starts_with(b"\x0a\x032.0\x12"));
    }
}
