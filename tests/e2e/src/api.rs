//! Objects on an API server, as JSON.

use http::{Method, Request};
use kube::Client;
use serde_json::{Value, json};

/// A kind by its place on the server.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// `v1`, `apps/v1`.
    pub api_version: &'static str,
    /// `ConfigMap`.
    pub kind: &'static str,
    /// `configmaps`.
    pub plural: &'static str,
}

/// ConfigMaps.
pub const CONFIG_MAPS: Kind = Kind {
    api_version: "v1",
    kind: "ConfigMap",
    plural: "configmaps",
};
/// Secrets.
pub const SECRETS: Kind = Kind {
    api_version: "v1",
    kind: "Secret",
    plural: "secrets",
};
/// Events.
pub const EVENTS: Kind = Kind {
    api_version: "v1",
    kind: "Event",
    plural: "events",
};
/// Namespaces; cluster-scoped, hence with the namespace `""`.
pub const NAMESPACES: Kind = Kind {
    api_version: "v1",
    kind: "Namespace",
    plural: "namespaces",
};
/// CustomResourceDefinitions; cluster-scoped likewise.
pub const CRDS: Kind = Kind {
    api_version: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    plural: "customresourcedefinitions",
};
/// Greetings of the example.
pub const GREETINGS: Kind = Kind {
    api_version: "demo.pilothouse.dev/v1",
    kind: "Greeting",
    plural: "greetings",
};
/// Beasts of the zoo.
pub const BEASTS: Kind = Kind {
    api_version: "zoo.pilothouse.dev/v1",
    kind: "Beast",
    plural: "beasts",
};

impl Kind {
    /// The path of a collection; the namespace `""` for cluster-scoped kinds or for all namespaces.
    pub fn path(&self, namespace: &str) -> String {
        let group = if self.api_version.contains('/') { "apis" } else { "api" };
        let within = if namespace.is_empty() {
            String::new()
        } else {
            format!("/namespaces/{namespace}")
        };
        format!("/{group}/{}{within}/{}", self.api_version, self.plural)
    }

    /// The path of an object.
    pub fn path_of(&self, namespace: &str, name: &str) -> String {
        format!("{}/{name}", self.path(namespace))
    }
}

/// A client that nothing may be refused to: what a test expects to fail it tests elsewhere.
#[derive(Clone)]
pub struct Api {
    client: Client,
    namespace: String,
}

impl Api {
    /// A client of the test that has this namespace for its own.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self {
            client,
            namespace: namespace.to_owned(),
        }
    }

    /// A client of a server at `http://ADDRESS:PORT`.
    ///
    /// # Panics
    /// If that is no address.
    #[track_caller]
    pub fn at(server: &str, namespace: &str) -> Self {
        let config = kube::Config::new(server.parse().expect("an address"));
        Self::new(Client::try_from(config).expect("a client without TLS"), namespace)
    }

    async fn send(&self, method: Method, path: &str, content_type: &str, body: String) -> kube::Result<Value> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content_type);
        self.client
            .request(request.body(body.into_bytes()).expect("a request"))
            .await
    }

    async fn sent(&self, method: Method, path: &str, content_type: &str, body: String) -> Value {
        let answer = self.send(method.clone(), path, content_type, body).await;
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// Creates an object; apiVersion, kind, name and namespace are filled in.
    ///
    /// # Panics
    /// If the server refuses, as in all of these functions.
    pub async fn create(&self, kind: Kind, namespace: &str, name: &str, mut object: Value) -> Value {
        object["apiVersion"] = json!(kind.api_version);
        object["kind"] = json!(kind.kind);
        object["metadata"]["name"] = json!(name);
        if !namespace.is_empty() {
            object["metadata"]["namespace"] = json!(namespace);
        }
        self.sent(
            Method::POST,
            &kind.path(namespace),
            "application/json",
            object.to_string(),
        )
        .await
    }

    /// An object, if there is one.
    pub async fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<Value> {
        let path = kind.path_of(namespace, name);
        match self.send(Method::GET, &path, "application/json", String::new()).await {
            Ok(object) => Some(object),
            Err(kube::Error::Api(status)) if status.code == 404 => None,
            Err(error) => panic!("GET {path}: {error}"),
        }
    }

    /// Every object in a namespace.
    pub async fn list(&self, kind: Kind, namespace: &str) -> Vec<Value> {
        let list = self
            .sent(Method::GET, &kind.path(namespace), "application/json", String::new())
            .await;
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// Every object in a namespace, or why they can't be had now.
    pub(crate) async fn try_list(&self, kind: Kind, namespace: &str) -> kube::Result<Vec<Value>> {
        let list = self
            .send(Method::GET, &kind.path(namespace), "application/json", String::new())
            .await?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    /// Merges a patch into an object.
    pub async fn merge(&self, kind: Kind, namespace: &str, name: &str, patch: Value) -> Value {
        let path = kind.path_of(namespace, name);
        self.sent(Method::PATCH, &path, "application/merge-patch+json", patch.to_string())
            .await
    }

    /// Deletes an object.
    pub async fn delete(&self, kind: Kind, namespace: &str, name: &str) {
        self.delete_with(kind, namespace, name, json!({})).await;
    }

    /// Deletes an object in the way that these DeleteOptions say.
    pub async fn delete_with(&self, kind: Kind, namespace: &str, name: &str, options: Value) {
        let path = kind.path_of(namespace, name);
        self.sent(Method::DELETE, &path, "application/json", options.to_string())
            .await;
    }

    /// A Greeting in the test's namespace.
    pub async fn greet(&self, name: &str) -> Value {
        self.create(GREETINGS, &self.namespace, name, json!({"spec": {"name": name}}))
            .await
    }

    /// A Beast in the test's namespace.
    pub async fn beast(&self, name: &str, behaviour: &str) -> Value {
        self.create(BEASTS, &self.namespace, name, json!({"spec": {"do": behaviour}}))
            .await
    }

    /// What the ConfigMap of a Greeting in the test's namespace says, once the Greeting says of its present spec that
    /// it does.
    pub async fn greeted(&self, name: &str) -> Option<String> {
        let greeting = self.get(GREETINGS, &self.namespace, name).await?;
        let status = &greeting["status"];
        let ready = status["conditions"]
            .as_array()?
            .iter()
            .any(|c| c["type"] == "Ready" && c["status"] == "True");
        if !ready || status["observedGeneration"] != greeting["metadata"]["generation"] {
            return None;
        }
        let child = self.get(CONFIG_MAPS, &self.namespace, name).await?;
        let said = child["data"]["message"].as_str().map(str::to_owned);
        said.filter(|said| status["message"] == said.as_str())
    }

    /// The Events about an object, by name.
    pub async fn events_about(&self, namespace: &str, name: &str) -> Vec<Value> {
        let mut events = self.list(EVENTS, namespace).await;
        events.retain(|event| event["involvedObject"]["name"] == name);
        events
    }
}
