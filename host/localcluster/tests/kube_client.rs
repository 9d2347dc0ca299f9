//! kube-rs against both faces: inside the process, and over HTTP.
#![allow(clippy::disallowed_methods, reason = "tests of the real faces need the real clock")]

mod served;

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::core::{ApiResource, GroupVersionKind, ObjectMeta, PartialObjectMeta};
use kube::{Api, Client, Config};
use pilothouse_localcluster::service::LocalService;
use serde_json::json;
use served::{Server, WIDGETS};

/// Longer than anything here takes: what hangs must fail.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs `test` with a client of each face.
fn on_both_faces<F: Future<Output = ()>>(test: impl Fn(Client) -> F) {
    let within = |server: &Server, client: fn(&Server) -> Client| {
        server.runtime.block_on(async {
            let client = client(server);
            tokio::time::timeout(PATIENCE, test(client))
                .await
                .expect("the test hangs");
        });
    };
    within(&Server::start(), |server| {
        Client::new(LocalService::new(server.cluster.clone()), "default")
    });
    within(&Server::start(), |server| {
        let url = format!("http://{}", server.address).parse().unwrap();
        Client::try_from(Config::new(url)).unwrap()
    });
}

fn config_map(name: &str, data: &[(&str, &str)]) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        data: Some(data.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()),
        ..ConfigMap::default()
    }
}

async fn json_patch(client: &Client, path: &str, patch: serde_json::Value) -> kube::Result<DynamicObject> {
    let request = http::Request::patch(path)
        .header("content-type", "application/json-patch+json")
        .body(patch.to_string().into_bytes())
        .unwrap();
    client.request(request).await
}

#[test]
fn objects_are_created_read_listed_patched_and_deleted() {
    on_both_faces(|client| async move {
        let api: Api<ConfigMap> = Api::default_namespaced(client.clone());
        let created = api
            .create(&PostParams::default(), &config_map("a", &[("k", "1")]))
            .await
            .unwrap();
        assert!(created.metadata.uid.is_some() && created.metadata.resource_version.is_some());
        let again = api
            .create(&PostParams::default(), &config_map("a", &[]))
            .await
            .unwrap_err();
        assert!(matches!(&again, kube::Error::Api(status) if status.code == 409 && status.reason == "AlreadyExists"));
        assert_eq!(api.get("a").await.unwrap(), created);
        assert!(api.get_opt("none").await.unwrap().is_none());

        let merge = Patch::Merge(json!({"data": {"k": null, "l": "2"}, "metadata": {"labels": {"x": "y"}}}));
        let patched = api.patch("a", &PatchParams::default(), &merge).await.unwrap();
        assert_eq!(patched.data, Some(BTreeMap::from([("l".to_owned(), "2".to_owned())])));
        assert_ne!(patched.metadata.resource_version, created.metadata.resource_version);

        let mut stale = created.clone();
        stale.data = None;
        let conflict = api.replace("a", &PostParams::default(), &stale).await.unwrap_err();
        assert!(matches!(&conflict, kube::Error::Api(status) if status.code == 409 && status.reason == "Conflict"));
        let mut fresh = patched.clone();
        fresh.data = Some(BTreeMap::from([("m".to_owned(), "3".to_owned())]));
        let replaced = api.replace("a", &PostParams::default(), &fresh).await.unwrap();
        assert_eq!(replaced.data, fresh.data);

        api.create(&PostParams::default(), &config_map("b", &[])).await.unwrap();
        let names = |list: kube::api::ObjectList<ConfigMap>| {
            list.items
                .into_iter()
                .filter_map(|item| item.metadata.name)
                .collect::<Vec<_>>()
        };
        assert_eq!(names(api.list(&ListParams::default()).await.unwrap()), ["a", "b"]);
        assert_eq!(
            names(api.list(&ListParams::default().labels("x=y")).await.unwrap()),
            ["a"]
        );
        assert_eq!(
            names(
                api.list(&ListParams::default().fields("metadata.name=b"))
                    .await
                    .unwrap()
            ),
            ["b"]
        );
        let metadata: PartialObjectMeta<ConfigMap> = api.get_metadata("a").await.unwrap();
        assert_eq!(metadata.metadata.name.as_deref(), Some("a"));
        assert_eq!(api.list_metadata(&ListParams::default()).await.unwrap().items.len(), 2);

        api.delete("a", &DeleteParams::default()).await.unwrap();
        assert!(api.get_opt("a").await.unwrap().is_none());
    });
}

#[test]
fn the_json_patches_of_finalizer_helpers_pass() {
    on_both_faces(|client| async move {
        let api: Api<ConfigMap> = Api::default_namespaced(client.clone());
        api.create(&PostParams::default(), &config_map("a", &[])).await.unwrap();
        let path = "/api/v1/namespaces/default/configmaps/a?";
        // As kube's helper sends it: the test of null on an absent path must hold.
        let add = json!([
            {"op": "test", "path": "/metadata/finalizers", "value": null},
            {"op": "add", "path": "/metadata/finalizers", "value": ["ex.io/f"]},
        ]);
        let added = json_patch(&client, path, add.clone()).await.unwrap();
        assert_eq!(added.metadata.finalizers, Some(vec!["ex.io/f".to_owned()]));
        let twice = json_patch(&client, path, add).await.unwrap_err();
        assert!(
            matches!(&twice, kube::Error::Api(status) if status.code == 422),
            "{twice:?}"
        );

        api.delete("a", &DeleteParams::default())
            .await
            .unwrap()
            .left()
            .expect("a finalizer holds it");
        assert!(api.get("a").await.unwrap().metadata.deletion_timestamp.is_some());
        let remove = json!([
            {"op": "test", "path": "/metadata/finalizers/0", "value": "ex.io/f"},
            {"op": "remove", "path": "/metadata/finalizers/0", "path": "/metadata/finalizers/0"},
        ]);
        json_patch(&client, path, remove).await.unwrap();
        assert!(api.get_opt("a").await.unwrap().is_none());
    });
}

#[test]
fn a_watch_tells_every_change_at_once_and_ends_when_its_time_is_up() {
    on_both_faces(|client| async move {
        let api: Api<ConfigMap> = Api::default_namespaced(client.clone());
        api.create(&PostParams::default(), &config_map("a", &[])).await.unwrap();
        let version = api
            .list(&ListParams::default())
            .await
            .unwrap()
            .metadata
            .resource_version
            .unwrap();
        let events = api.watch(&WatchParams::default().timeout(30), &version).await.unwrap();
        let mut events = pin!(events);
        let mut told = async || match events.try_next().await.unwrap() {
            Some(WatchEvent::Added(cm)) => format!("added {}", cm.metadata.name.unwrap()),
            Some(WatchEvent::Modified(cm)) => format!("modified {}", cm.metadata.name.unwrap()),
            Some(WatchEvent::Deleted(cm)) => format!("deleted {}", cm.metadata.name.unwrap()),
            other => format!("{other:?}"),
        };
        api.create(&PostParams::default(), &config_map("b", &[])).await.unwrap();
        assert_eq!(told().await, "added b");
        let merge = Patch::Merge(json!({"data": {"k": "v"}}));
        api.patch("a", &PatchParams::default(), &merge).await.unwrap();
        assert_eq!(told().await, "modified a");
        api.delete("b", &DeleteParams::default()).await.unwrap();
        assert_eq!(told().await, "deleted b");

        let short = api.watch(&WatchParams::default().timeout(1), &version).await.unwrap();
        let all: Vec<_> = short.collect().await; // it ends by itself
        let changes = all.iter().filter(|e| !matches!(e, Ok(WatchEvent::Bookmark(_)))).count();
        assert_eq!(changes, 3, "{all:?}");
    });
}

#[test]
fn a_crd_is_served_and_discovered_after_it_is_established() {
    on_both_faces(|client| async move {
        let crds = ApiResource::from_gvk(&GroupVersionKind::gvk(
            "apiextensions.k8s.io",
            "v1",
            "CustomResourceDefinition",
        ));
        let crds: Api<DynamicObject> = Api::all_with(client.clone(), &crds);
        let crd: DynamicObject = serde_saphyr::from_str(WIDGETS).unwrap();
        crds.create(&PostParams::default(), &crd).await.unwrap();
        let established = WatchParams::default().fields("metadata.name=widgets.ex.io").timeout(30);
        let events = crds.watch(&established, "0").await.unwrap();
        let mut events = pin!(events);
        while let Some(event) = events.try_next().await.unwrap() {
            let (WatchEvent::Added(crd) | WatchEvent::Modified(crd)) = event else {
                continue;
            };
            let conditions = crd.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
            if conditions
                .iter()
                .any(|c| c["type"] == "Established" && c["status"] == "True")
            {
                break;
            }
        }
        let resources = client.list_api_group_resources("ex.io/v1").await;
        let kinds: Vec<_> = resources.unwrap().resources.into_iter().map(|r| r.name).collect();
        assert_eq!(kinds, ["widgets", "widgets/status", "widgets/scale"]);
        let widgets = ApiResource::from_gvk(&GroupVersionKind::gvk("ex.io", "v1", "Widget"));
        let api: Api<DynamicObject> = Api::default_namespaced_with(client.clone(), &widgets);
        let widget = DynamicObject::new("w", &widgets).data(json!({"spec": {"size": 1}}));
        assert_eq!(
            api.create(&PostParams::default(), &widget)
                .await
                .unwrap()
                .metadata
                .generation,
            Some(1)
        );
        let status = Patch::Merge(json!({"status": {"size": 1}}));
        let written = api.patch_status("w", &PatchParams::default(), &status).await.unwrap();
        assert_eq!(
            (written.data["status"]["size"].as_i64(), written.metadata.generation),
            (Some(1), Some(1))
        );
        let wrong = Patch::Merge(json!({"spec": {"size": "large"}}));
        let refused = api.patch("w", &PatchParams::default(), &wrong).await.unwrap_err();
        assert!(matches!(&refused, kube::Error::Api(status) if status.code == 422 && status.reason == "Invalid"));
        assert!(client.apiserver_version().await.unwrap().git_version.starts_with("v1."));
    });
}
