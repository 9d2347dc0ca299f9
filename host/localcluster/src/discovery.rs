//! What a cluster tells about itself: which groups, versions and resources it serves, and which server it is.
//!
//! Answers `/api`, `/apis` (aggregated, `apidiscovery.k8s.io` v2 and v2beta1, or the old form, as `Accept` asks for),
//! `/api/v1`, `/apis/G`, `/apis/G/V`, `/version`, `/healthz`, `/livez`, `/readyz`, the list of paths at `/`, and hands
//! `/openapi/…` to [`openapi`]. Everything is computed from [`Cluster::types`], so a CRD is found by
//! clients as soon as it is served.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::accept;
use crate::cluster::Cluster;
use crate::openapi;
use crate::schema::types::encode_base64;
use crate::status::Status;
use crate::types::{ResourceType, api_version, by_version_priority};
use crate::wire::{Request, Response};

/// The verbs of `/status` and `/scale`.
const SUBRESOURCE_VERBS: [&str; 3] = ["get", "patch", "update"];
/// The Kubernetes version whose behaviour is imitated.
const KUBERNETES: (&str, &str) = ("1", "36");

/// The answer to a request for one of the paths above; `None` when the path is none of them (or names a group or
/// version that is not served), and whoever routes requests goes on.
pub fn answer(cluster: &Cluster, request: &Request) -> Option<Response> {
    let path = request.path.strip_suffix('/').unwrap_or(&request.path);
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let document = match parts.as_slice() {
        [] => Document::One(paths(cluster)),
        ["healthz" | "livez" | "readyz"] => Document::Text("ok"),
        ["version"] => Document::One(version()),
        ["openapi", rest @ ..] => openapi::document(cluster, rest)?,
        ["api"] => Document::Groups { core: true },
        ["apis"] => Document::Groups { core: false },
        ["api", version] => Document::One(resources(cluster, "", version)?),
        ["apis", group] if !group.is_empty() => Document::One(group_of(cluster, group)?),
        ["apis", group, version] if !group.is_empty() => Document::One(resources(cluster, group, version)?),
        _ => return None,
    };
    if request.method != Method::GET && request.method != Method::HEAD {
        return Some(Status::method_not_allowed().response());
    }
    Some(match document {
        Document::Text(text) => Response::bytes(200, "text/plain; charset=utf-8", text),
        Document::OpenApiV2 if openapi::accepts_v2(&request.accept) => {
            Response::bytes(200, openapi::V2_TYPE, openapi::v2())
        }
        Document::OpenApiV2 => {
            let message = format!("only the following media types are accepted: {}", openapi::V2_TYPE);
            Status::not_acceptable(message).response()
        }
        Document::One(value) => negotiated(&request.accept, |clause| {
            clause.kind.is_empty().then(|| Response::json(200, &value))
        }),
        Document::Groups { core } => negotiated(&request.accept, |clause| match (clause.kind, clause.group) {
            ("", _) => Some(Response::json(200, &if core { versions() } else { groups(cluster) })),
            ("APIGroupDiscoveryList", "apidiscovery.k8s.io") if matches!(clause.version, "v2" | "v2beta1") => {
                let mut response = Response::json(200, &aggregated(cluster, core, clause.version));
                // Clients look here to tell the aggregated form from the old one.
                response.content_type = format!(
                    "application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList",
                    clause.version
                );
                response.headers.push(("Vary".to_owned(), "Accept".to_owned()));
                Some(response)
            }
            _ => None,
        }),
    })
}

/// What stands at a path.
pub(crate) enum Document {
    /// One JSON document.
    One(Value),
    /// Plain text.
    Text(&'static str),
    /// The groups, in a form that the client chooses.
    Groups {
        /// The core group alone, or all others.
        core: bool,
    },
    /// The OpenAPI v2 document.
    OpenApiV2,
}

fn negotiated(accept: &str, serve: impl FnMut(&accept::Clause<'_>) -> Option<Response>) -> Response {
    accept::json_clauses(accept).iter().find_map(serve).unwrap_or_else(|| {
        Status::not_acceptable("only the following media types are accepted: application/json").response()
    })
}

/// The groups but the core group, each with its versions (the best first) and their resources.
type Groups<'c> = BTreeMap<&'c str, Versions<'c>>;

/// The versions of a group, the best first.
type Versions<'c> = Vec<(&'c str, Vec<&'c ResourceType>)>;

/// The groups in the order of real servers: the best known first.
fn ordered(groups: Groups<'_>) -> Vec<(&str, Versions<'_>)> {
    const FIRST: [&str; 4] = ["apps", "events.k8s.io", "apiextensions.k8s.io", "coordination.k8s.io"];
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(group, _)| FIRST.iter().position(|first| first == group).unwrap_or(FIRST.len()));
    groups
}

fn collected(cluster: &Cluster, core: bool) -> Groups<'_> {
    let mut groups = Groups::new();
    for type_ in cluster.types().filter(|t| t.group.is_empty() == core) {
        let versions = groups.entry(&type_.group).or_default();
        match versions.iter_mut().find(|(version, _)| *version == &*type_.version) {
            Some((_, types)) => types.push(type_),
            None => versions.push((&type_.version, vec![type_])),
        }
    }
    for versions in groups.values_mut() {
        versions.sort_by(|(a, _), (b, _)| by_version_priority(a, b));
    }
    groups
}

/// `APIGroupDiscoveryList`.
fn aggregated(cluster: &Cluster, core: bool, version: &str) -> Value {
    let items: Vec<Value> = ordered(collected(cluster, core))
        .into_iter()
        .map(|(group, versions)| {
            let versions: Vec<Value> = versions
                .into_iter()
                .map(|(version, types)| {
                    let resources: Vec<Value> = types.into_iter().map(aggregated_resource).collect();
                    json!({ "version": version, "resources": resources, "freshness": "Current" })
                })
                .collect();
            let mut metadata = json!({});
            if !group.is_empty() {
                metadata["name"] = group.into();
            }
            json!({ "metadata": metadata, "versions": versions })
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"), "metadata": {},
        "items": items,
    })
}

fn aggregated_resource(type_: &ResourceType) -> Value {
    let (group, version) = if type_.custom {
        (&*type_.group, &*type_.version)
    } else {
        ("", "") // the same as where it stands
    };
    let kind = json!({ "group": group, "version": version, "kind": &*type_.kind });
    let mut resource = json!({
        "resource": &*type_.plural,
        "responseKind": kind,
        "scope": if type_.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": &*type_.singular,
        "verbs": type_.verbs,
    });
    names(type_, &mut resource);
    let mut subresources = Vec::new();
    if type_.scale {
        let scale = json!({ "group": "autoscaling", "version": "v1", "kind": "Scale" });
        subresources.push(json!({ "subresource": "scale", "responseKind": scale, "verbs": SUBRESOURCE_VERBS }));
    }
    if type_.status {
        // Real servers name the status of custom resources first.
        let place = if type_.custom { 0 } else { subresources.len() };
        let status = json!({ "subresource": "status", "responseKind": kind, "verbs": SUBRESOURCE_VERBS });
        subresources.insert(place, status);
    }
    if !subresources.is_empty() {
        resource["subresources"] = subresources.into();
    }
    resource
}

/// Short names and categories, left out where there are none.
fn names(type_: &ResourceType, resource: &mut Value) {
    for (key, names) in [("shortNames", &type_.short_names), ("categories", &type_.categories)] {
        if !names.is_empty() {
            resource[key] = names.iter().map(|name| Value::from(&**name)).collect();
        }
    }
}

/// `APIVersions`, the old form of `/api`.
fn versions() -> Value {
    json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [] })
}

/// `APIGroupList`, the old form of `/apis`.
fn groups(cluster: &Cluster) -> Value {
    let groups: Vec<Value> = ordered(collected(cluster, false))
        .iter()
        .map(|(group, versions)| one_group(group, versions))
        .collect();
    json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
}

/// `APIGroup`.
fn group_of(cluster: &Cluster, group: &str) -> Option<Value> {
    let mut value = one_group(group, collected(cluster, false).get(group)?);
    value["kind"] = "APIGroup".into();
    value["apiVersion"] = "v1".into();
    Some(value)
}

fn one_group(group: &str, versions: &[(&str, Vec<&ResourceType>)]) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|(version, _)| json!({ "groupVersion": api_version(group, version), "version": version }))
        .collect();
    json!({ "name": group, "versions": versions, "preferredVersion": versions.first() })
}

/// `APIResourceList`.
fn resources(cluster: &Cluster, group: &str, version: &str) -> Option<Value> {
    let mut resources = Vec::new();
    for type_ in cluster.types().filter(|t| &*t.group == group && &*t.version == version) {
        let mut resource = json!({
            "name": &*type_.plural, "singularName": &*type_.singular, "namespaced": type_.namespaced,
            "kind": &*type_.kind, "verbs": type_.verbs, "storageVersionHash": storage_version_hash(type_),
        });
        names(type_, &mut resource);
        resources.push(resource);
        let after = resources.len();
        let subresource = |name: &str| {
            json!({
                "name": format!("{}/{name}", type_.plural), "singularName": "", "namespaced": type_.namespaced,
                "kind": &*type_.kind, "verbs": SUBRESOURCE_VERBS,
            })
        };
        if type_.scale {
            let mut scale = subresource("scale");
            for (key, value) in [("group", "autoscaling"), ("version", "v1"), ("kind", "Scale")] {
                scale[key] = value.into();
            }
            resources.push(scale);
        }
        if type_.status {
            let place = if type_.custom { after } else { resources.len() };
            resources.insert(place, subresource("status"));
        }
    }
    (!resources.is_empty()).then(|| {
        let mut list = json!({
            "kind": "APIResourceList", "groupVersion": api_version(group, version), "resources": resources,
        });
        // The core's has none.
        if !group.is_empty() {
            list["apiVersion"] = "v1".into();
        }
        list
    })
}

/// What changes when objects are stored in another version, as real servers tell it.
fn storage_version_hash(type_: &ResourceType) -> String {
    let version = match &*type_.kind {
        // Its hash has not moved with it.
        "CustomResourceDefinition" if !type_.custom => "v1beta1",
        _ => &type_.stored_version,
    };
    let name = format!("{}/{version}/{}", type_.stored_group, type_.kind);
    encode_base64(&Sha256::digest(name.as_bytes())[..8])
}

/// `/version`. Clients read `major`, `minor` and `gitVersion`; the rest must be there for some of them.
fn version() -> Value {
    let (major, minor) = KUBERNETES;
    json!({
        "major": major, "minor": minor,
        "gitVersion": format!("v{major}.{minor}.0+pilothouse-{}", env!("CARGO_PKG_VERSION")),
        "gitCommit": "", "gitTreeState": "", "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}

fn paths(cluster: &Cluster) -> Value {
    let mut paths: Vec<String> = [
        "/api",
        "/api/v1",
        "/apis",
        "/healthz",
        "/livez",
        "/openapi/v3",
        "/readyz",
        "/version",
    ]
    .map(str::to_owned)
    .into();
    for (group, versions) in collected(cluster, false) {
        paths.push(format!("/apis/{group}"));
        paths.extend(versions.iter().map(|(version, _)| format!("/apis/{group}/{version}")));
    }
    paths.sort();
    let mut map = Map::new();
    map.insert("paths".to_owned(), paths.into());
    Value::Object(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
                              application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

    fn ask(path: &str, accept: &str) -> (u16, String, Value) {
        let mut request = Request::new(Method::GET, path);
        request.accept = accept.to_owned();
        let response = answer(&Cluster::new(1), &request).unwrap_or_else(|| panic!("{path} is not answered"));
        let body = serde_json::from_slice(response.whole()).unwrap_or(Value::Null);
        (response.status, response.content_type, body)
    }

    #[test]
    fn aggregated_discovery_comes_in_the_version_that_is_asked_for() {
        let (status, content_type, body) = ask("/apis", AGGREGATED);
        assert_eq!(status, 200);
        assert_eq!(
            content_type,
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        );
        assert_eq!(body["apiVersion"], "apidiscovery.k8s.io/v2");
        let apps = body["items"]
            .as_array()
            .unwrap()
            .iter()
            .find(|g| g["metadata"]["name"] == "apps")
            .unwrap();
        let deployment = &apps["versions"][0]["resources"][0];
        assert_eq!(
            deployment["responseKind"],
            json!({"group": "", "version": "", "kind": "Deployment"}),
            "empty: the same as where it stands"
        );
        assert_eq!(
            (&deployment["scope"], &deployment["shortNames"]),
            (&json!("Namespaced"), &json!(["deploy"]))
        );
        assert_eq!(deployment["subresources"][0]["responseKind"]["kind"], "Scale");
        assert_eq!(deployment["subresources"][1]["subresource"], "status");
        let beta = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
        let (_, content_type, body) = ask("/api", beta);
        assert!(content_type.contains("v2beta1"), "{content_type}");
        assert_eq!(
            body["items"][0]["metadata"].get("name"),
            None,
            "the core group has no name"
        );
        assert_eq!(body["items"][0]["versions"][0]["version"], "v1");
    }

    #[test]
    fn clients_that_do_not_know_aggregated_discovery_get_the_old_form() {
        assert_eq!(ask("/api", "application/json, */*").2["kind"], "APIVersions");
        let (_, content_type, body) = ask("/apis", "");
        assert_eq!(
            (content_type.as_str(), &body["kind"]),
            ("application/json", &json!("APIGroupList"))
        );
        let (_, _, group) = ask("/apis/apps", "application/json");
        assert_eq!(group["kind"], "APIGroup");
        assert_eq!(
            group["preferredVersion"],
            json!({"groupVersion": "apps/v1", "version": "v1"})
        );
        let (_, _, list) = ask("/apis/apps/v1", "application/json, */*");
        let names: Vec<_> = list["resources"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| r["name"].clone())
            .collect();
        assert_eq!(names, ["deployments", "deployments/scale", "deployments/status"]);
        assert_eq!(ask("/api/v1", "").2["groupVersion"], "v1");
    }

    #[test]
    fn what_cannot_be_served_is_refused_or_left_to_others() {
        assert_eq!(ask("/api", "application/vnd.kubernetes.protobuf").0, 406);
        let cluster = Cluster::new(1);
        let paths = [
            "/apis/none.io",
            "/apis/apps/v9",
            "/api/v9",
            "/apis//v1",
            "/api/v1/configmaps",
            "/foo",
            "/apis/apps/v1/x/y",
        ];
        for path in paths {
            assert!(answer(&cluster, &Request::new(Method::GET, path)).is_none(), "{path}");
        }
        let post = Request::with_body(Method::POST, "/apis", "application/json", "{}");
        assert_eq!(answer(&cluster, &post).unwrap().status, 405);
    }

    #[test]
    fn the_server_tells_its_version_and_health() {
        assert_eq!(ask("/version", "").2["minor"], "36");
        let healthy = answer(&Cluster::new(1), &Request::new(Method::GET, "/readyz")).unwrap();
        assert_eq!(healthy.whole(), b"ok");
        assert!(
            ask("/", "").2["paths"]
                .as_array()
                .unwrap()
                .contains(&json!("/apis/apps/v1"))
        );
    }
}
