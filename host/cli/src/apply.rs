//! Applies objects to the local cluster: creates them, or patches them (RFC 7386) where they are there. Unlike
//! `kubectl apply` it never removes what an earlier file set.

use http::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use pilothouse_localcluster::{
    Request, ResourceType, Response,
    shared::{SharedCluster, admin},
};
use pilothouse_object::{Gvk, Key, escape_control, shorten};
use serde_json::Value;

use crate::documents::Document;

/// What may stand in a path segment as it is.
const KEEP: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b':');

/// What became of an object.
#[derive(Debug)]
pub(crate) struct Applied {
    /// `created`, `configured` or `unchanged`.
    pub(crate) done: &'static str,
    /// Under which namespace and name.
    pub(crate) key: Key,
    /// What the server warns of.
    pub(crate) warnings: Vec<String>,
}

/// Applies one object.
///
/// # Errors
/// The file, the document, the object, and what the server says.
pub(crate) fn apply(cluster: &SharedCluster, document: &Document) -> Result<Applied, String> {
    let Document {
        place,
        kind,
        key,
        object,
    } = document;
    let about = format!(
        "{place}, {} {}",
        escape_control(&kind.kind),
        escape_control(&key.to_string())
    );
    let Some(resource) = served(cluster, kind) else {
        return Err(format!(
            "{about}: the cluster serves no {}: apply its CustomResourceDefinition as well, or correct apiVersion and kind",
            escape_control(&kind.to_string())
        ));
    };
    let key = match (&key.namespace, resource.namespaced) {
        (None, true) => Key::new(Some("default"), &key.name),
        (Some(_), false) => Key::new(None, &key.name),
        _ => key.clone(),
    };
    let refused = |response: &Response| format!("{about}: {}", told(response));
    let collection = path(&resource, key.namespace.as_deref());
    let body = object.to_string();
    let created = send(cluster, Method::POST, &collection, &body, "application/json");
    if created.status == 201 {
        let name = field(&created, "/metadata/name");
        let key = Key::new(key.namespace.as_deref(), name.as_deref().unwrap_or(&key.name));
        return Ok(Applied {
            done: "created",
            key,
            warnings: warnings(&created),
        });
    }
    if created.status != 409 || key.name.is_empty() || field(&created, "/reason").as_deref() != Some("AlreadyExists") {
        return Err(refused(&created));
    }
    let target = format!("{collection}/{}", utf8_percent_encode(&key.name, KEEP));
    let before = send(cluster, Method::GET, &target, "", "");
    let patched = send(cluster, Method::PATCH, &target, &body, "application/merge-patch+json");
    if patched.status != 200 {
        return Err(refused(&patched));
    }
    let version = |response: &Response| field(response, "/metadata/resourceVersion");
    let done = if version(&before) == version(&patched) {
        "unchanged"
    } else {
        "configured"
    };
    Ok(Applied {
        done,
        key,
        warnings: warnings(&patched),
    })
}

fn served(cluster: &SharedCluster, kind: &Gvk) -> Option<ResourceType> {
    cluster.with(|cluster, _| {
        let fits = |t: &&ResourceType| t.group == kind.group && t.version == kind.version && t.kind == kind.kind;
        cluster.types().find(fits).cloned()
    })
}

fn path(resource: &ResourceType, namespace: Option<&str>) -> String {
    let mut path = match &*resource.group {
        "" => format!("/api/{}", resource.version),
        group => format!("/apis/{group}/{}", resource.version),
    };
    if let Some(namespace) = namespace {
        path.push_str("/namespaces/");
        path.extend(utf8_percent_encode(namespace, KEEP));
    }
    path.push('/');
    path.push_str(&resource.plural);
    path
}

fn send(cluster: &SharedCluster, method: Method, path: &str, body: &str, content_type: &str) -> Response {
    let target = if method == Method::GET {
        path.to_owned()
    } else {
        format!("{path}?fieldManager=pilothouse-dev")
    };
    cluster.handle(
        &admin(),
        Request::with_body(method, &target, content_type, body.to_owned()),
    )
}

fn field(response: &Response, pointer: &str) -> Option<String> {
    let value: Value = serde_json::from_slice(response.whole()).ok()?;
    value.pointer(pointer)?.as_str().map(str::to_owned)
}

/// What the server says of a request that it refused.
fn told(response: &Response) -> String {
    let message = field(response, "/message").unwrap_or_else(|| String::from_utf8_lossy(response.whole()).into_owned());
    format!(
        "the server refuses it ({}): {}",
        response.status,
        escape_control(&shorten(message.trim(), 2_000))
    )
}

/// The texts of `Warning` headers: `299 - "text"`.
fn warnings(response: &Response) -> Vec<String> {
    let warnings = response
        .headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("warning"));
    warnings
        .map(|(_, value)| {
            let text = value
                .splitn(3, ' ')
                .nth(2)
                .unwrap_or(value)
                .trim_matches('"')
                .replace("\\\"", "\"");
            escape_control(&shorten(&text, 500)).into_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, sync::Arc, time::Duration};

    use pilothouse_localcluster::Cluster;

    use super::*;
    use crate::documents::parse;

    fn cluster() -> SharedCluster {
        SharedCluster::new(Cluster::new(1), || Duration::from_secs(1_795_310_317))
    }

    fn parsed(text: &str) -> Document {
        let mut documents = Vec::new();
        parse(&Arc::new(PathBuf::from("x.yaml")), text, &mut documents).unwrap();
        documents.remove(0)
    }

    #[test]
    fn an_object_is_created_then_patched_then_left_alone() {
        let cluster = cluster();
        let document = |data: &str| {
            let text = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata: {{k: {data}}}\n");
            parsed(&text)
        };
        let done = |data| {
            let applied = apply(&cluster, &document(data)).unwrap();
            assert_eq!(applied.key.to_string(), "default/a");
            applied.done
        };
        assert_eq!(
            [done("one"), done("two"), done("two")],
            ["created", "configured", "unchanged"]
        );
    }

    #[test]
    fn a_refusal_names_file_document_object_and_what_the_server_says() {
        let cluster = cluster();
        let apply = |text: &str| apply(&cluster, &parsed(text)).map(|_| ()).unwrap_err();
        let unknown = apply("apiVersion: demo.io/v1\nkind: Thing\nmetadata: {name: a}\n");
        assert!(
            unknown.starts_with(
                "x.yaml: document 1 (line 1), Thing a: the cluster serves no demo.io/v1 Thing: apply its \
                 CustomResourceDefinition"
            ),
            "{unknown}"
        );
        let missing = apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: none}\n");
        assert!(
            missing.starts_with("x.yaml: document 1 (line 1), ConfigMap none/a: the server refuses it (404): ")
                && missing.contains("none"),
            "{missing}"
        );
    }
}
