//! Applies objects to a cluster: creates them, or patches them (RFC 7386) where they are there. Unlike `kubectl apply`
//! it never removes what an earlier file set.

use std::{collections::HashMap, time::Duration};

use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use kube::{Client, client::Body};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use pilothouse_object::{Gvk, Key, escape_control, shorten};
use serde_json::Value;

use crate::{documents::Document, front::pause, reach::unreachable};

/// What may stand in a path segment as it is.
const KEEP: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b':');

/// One answer may be this long, in bytes, and take so long.
const MAX_ANSWER: usize = 16 << 20;
const TIME: Duration = Duration::from_secs(30);

/// So long a CustomResourceDefinition may take until its kind is served; real servers need a tenth of a second.
const ESTABLISHED: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(50);

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

/// Applies objects one after the other, and remembers how the cluster serves their kinds.
pub(crate) struct Applier {
    client: Client,
    /// By group and version.
    served: HashMap<(String, String), Vec<Resource>>,
}

/// How a kind is served.
#[derive(Clone, Debug)]
struct Resource {
    kind: String,
    plural: String,
    namespaced: bool,
}

/// What the server answered.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Applier {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            served: HashMap::new(),
        }
    }

    /// Applies one object. A CustomResourceDefinition is applied once its kind is served.
    ///
    /// # Errors
    /// The file, the document, the object, and what the server says.
    pub(crate) async fn apply(&mut self, document: &Document) -> Result<Applied, String> {
        let Document { place, kind, key, .. } = document;
        let about = format!(
            "{place}, {} {}",
            escape_control(&kind.kind),
            escape_control(&key.to_string())
        );
        self.apply_one(document).await.map_err(|why| format!("{about}: {why}"))
    }

    async fn apply_one(&mut self, document: &Document) -> Result<Applied, String> {
        let Document { kind, key, object, .. } = document;
        let Some(resource) = self.resource(kind).await? else {
            return Err(format!(
                "the cluster serves no {}: apply its CustomResourceDefinition as well, or correct apiVersion and kind",
                escape_control(&kind.to_string())
            ));
        };
        let key = match (&key.namespace, resource.namespaced) {
            (None, true) => Key::new(Some("default"), &key.name),
            (Some(_), false) => Key::new(None, &key.name),
            _ => key.clone(),
        };
        let collection = path(kind, &resource, key.namespace.as_deref());
        let body = object.to_string();
        let created = self.write(Method::POST, &collection, &body, "application/json").await?;
        let (done, answer) = if created.status == StatusCode::CREATED {
            ("created", created)
        } else if created.reason().as_deref() == Some("AlreadyExists") && !key.name.is_empty() {
            let target = format!("{collection}/{}", utf8_percent_encode(&key.name, KEEP));
            let before = self.get(&target).await?;
            let merge = "application/merge-patch+json";
            let patched = self.write(Method::PATCH, &target, &body, merge).await?;
            let version = |answer: &Answer| answer.text("/metadata/resourceVersion");
            let same = version(&before) == version(&patched);
            (if same { "unchanged" } else { "configured" }, patched)
        } else {
            return Err(created.told());
        };
        if !answer.status.is_success() {
            return Err(answer.told());
        }
        if (&*kind.group, &*kind.kind) == ("apiextensions.k8s.io", "CustomResourceDefinition") {
            self.until_served(object).await?;
        }
        let name = answer.text("/metadata/name");
        Ok(Applied {
            done,
            key: Key::new(key.namespace.as_deref(), name.as_deref().unwrap_or(&key.name)),
            warnings: answer.warnings(),
        })
    }

    /// Returns once a definition's kind is served in every version that it says is.
    async fn until_served(&mut self, definition: &Value) -> Result<(), String> {
        let spec = &definition["spec"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let versions = spec["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
        for version in versions.iter().filter(|version| version["served"] == true) {
            let kind = Gvk::new(
                &text(&spec["group"]),
                &text(&version["name"]),
                &text(&spec["names"]["kind"]),
            );
            let mut waited = Duration::ZERO;
            while self.resource(&kind).await?.is_none() {
                if waited >= ESTABLISHED {
                    return Err(format!(
                        "the cluster took it, yet serves no {} after {} s: look at its conditions",
                        escape_control(&kind.to_string()),
                        ESTABLISHED.as_secs()
                    ));
                }
                pause(LOOK).await;
                waited += LOOK;
            }
        }
        Ok(())
    }

    /// How a kind is served, if it is; what is known to be served is not asked for again.
    async fn resource(&mut self, kind: &Gvk) -> Result<Option<Resource>, String> {
        let version = (kind.group.to_string(), kind.version.to_string());
        let find = |resources: &[Resource]| resources.iter().find(|known| *known.kind == *kind.kind).cloned();
        if let Some(found) = self.served.get(&version).and_then(|known| find(known)) {
            return Ok(Some(found));
        }
        let answer = self.get(&prefix(kind)).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if !answer.status.is_success() {
            return Err(answer.told());
        }
        let list = answer.json().ok_or("the list of what the cluster serves is no JSON")?;
        let entries = list["resources"].as_array().map(Vec::as_slice).unwrap_or_default();
        let resources: Vec<Resource> = entries.iter().filter_map(Resource::read).collect();
        let found = find(&resources);
        self.served.insert(version, resources);
        Ok(found)
    }

    async fn get(&self, path: &str) -> Result<Answer, String> {
        self.send(Request::get(path).body(Body::empty())).await
    }

    async fn write(&self, method: Method, path: &str, body: &str, content_type: &str) -> Result<Answer, String> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{path}?fieldManager=pilothouse-dev"))
            .header("content-type", content_type);
        self.send(request.body(Body::from(body.as_bytes().to_vec()))).await
    }

    async fn send(&self, request: Result<Request<Body>, http::Error>) -> Result<Answer, String> {
        let request = request.map_err(|error| format!("the server can't be asked: {error}"))?;
        let asking = async {
            let answer = self.client.send(request).await.map_err(|error| unreachable(&error))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await;
            let body = body.map_err(|error| format!("the answer can't be read: {error}"))?;
            Ok(Answer {
                status: head.status,
                headers: head.headers,
                body: body.to_bytes().to_vec(),
            })
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "this is a driver: each request is bounded in time"
        )]
        let answer = tokio::time::timeout(TIME, asking).await;
        answer.unwrap_or_else(|_| Err(format!("the server does not answer within {} s", TIME.as_secs())))
    }
}

impl Resource {
    /// From an entry of an APIResourceList; none for subresources.
    fn read(entry: &Value) -> Option<Self> {
        let plural = entry["name"].as_str().filter(|name| !name.contains('/'))?;
        Some(Self {
            kind: entry["kind"].as_str()?.to_owned(),
            plural: plural.to_owned(),
            namespaced: entry["namespaced"].as_bool()?,
        })
    }
}

fn prefix(kind: &Gvk) -> String {
    let version = utf8_percent_encode(&kind.version, KEEP);
    match &*kind.group {
        "" => format!("/api/{version}"),
        group => format!("/apis/{}/{version}", utf8_percent_encode(group, KEEP)),
    }
}

fn path(kind: &Gvk, resource: &Resource, namespace: Option<&str>) -> String {
    let mut path = prefix(kind);
    if let Some(namespace) = namespace {
        path.push_str("/namespaces/");
        path.extend(utf8_percent_encode(namespace, KEEP));
    }
    path.push('/');
    path.extend(utf8_percent_encode(&resource.plural, KEEP));
    path
}

impl Answer {
    fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    fn text(&self, pointer: &str) -> Option<String> {
        self.json()?.pointer(pointer)?.as_str().map(str::to_owned)
    }

    fn reason(&self) -> Option<String> {
        self.text("/reason")
    }

    /// What the server says of a request that it refused.
    fn told(&self) -> String {
        let message = self
            .text("/message")
            .unwrap_or_else(|| String::from_utf8_lossy(&self.body).into_owned());
        format!(
            "the server refuses it ({}): {}",
            self.status.as_u16(),
            escape_control(&shorten(message.trim(), 2_000))
        )
    }

    /// The texts of `Warning` headers: `299 - "text"`.
    fn warnings(&self) -> Vec<String> {
        let values = self
            .headers
            .get_all("warning")
            .iter()
            .filter_map(|value| value.to_str().ok());
        values
            .map(|value| {
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
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, sync::Arc};

    use pilothouse_localcluster::{Cluster, service::LocalService, shared::SharedCluster};

    use super::*;
    use crate::documents::parse;

    fn applier() -> Applier {
        let cluster = SharedCluster::new(Cluster::new(1), || Duration::from_secs(1_795_310_317));
        Applier::new(Client::new(LocalService::new(cluster), "default"))
    }

    fn parsed(text: &str) -> Document {
        let mut documents = Vec::new();
        parse(&Arc::new(PathBuf::from("x.yaml")), text, &mut documents).unwrap();
        documents.remove(0)
    }

    #[tokio::test]
    async fn an_object_is_created_then_patched_then_left_alone() {
        let mut applier = applier();
        for (data, done) in [("one", "created"), ("two", "configured"), ("two", "unchanged")] {
            let text = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata: {{k: {data}}}\n");
            let applied = applier.apply(&parsed(&text)).await.unwrap();
            assert_eq!((applied.key.to_string().as_str(), applied.done), ("default/a", done));
        }
    }

    #[tokio::test]
    async fn a_kind_is_served_once_its_definition_is_applied() {
        let mut applier = applier();
        let object =
            parsed("apiVersion: demo.pilothouse.dev/v1\nkind: Greeting\nmetadata: {name: a}\nspec: {name: A}\n");
        assert!(
            applier
                .apply(&object)
                .await
                .unwrap_err()
                .contains("the cluster serves no")
        );
        let definition = parsed(include_str!("../../../examples/rust/greeting/crd.yaml"));
        assert_eq!(applier.apply(&definition).await.unwrap().done, "created");
        assert_eq!(applier.apply(&object).await.unwrap().done, "created");
    }

    #[tokio::test]
    async fn a_refusal_names_file_document_object_and_what_the_server_says() {
        let mut applier = applier();
        let unknown = parsed("apiVersion: demo.io/v1\nkind: Thing\nmetadata: {name: a}\n");
        let unknown = applier.apply(&unknown).await.unwrap_err();
        assert!(
            unknown.starts_with(
                "x.yaml: document 1 (line 1), Thing a: the cluster serves no demo.io/v1 Thing: apply its \
                 CustomResourceDefinition"
            ),
            "{unknown}"
        );
        let missing = parsed("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: none}\n");
        let missing = applier.apply(&missing).await.unwrap_err();
        assert!(
            missing.starts_with("x.yaml: document 1 (line 1), ConfigMap none/a: the server refuses it (404): ")
                && missing.contains("none"),
            "{missing}"
        );
    }
}
