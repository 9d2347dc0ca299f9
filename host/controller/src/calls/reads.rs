//! What a call reads: the cache through the plugin's views with the call's own writes laid over it, or the API server.

use std::{collections::BTreeMap, sync::Arc};

use http::Method;
use pilothouse_informer::{Holds, Names, Projection, ReadError, Reader, View};
use pilothouse_lifecycle::Verb;
use pilothouse_object::{Gvk, Keep, Key, LabelSelector, Object, Version, escape_control, shorten};
use pilothouse_runtime::{ApiError, Freshness, ObjectRef, Page, Query, reason};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::lock::lock;
use crate::{
    api::{path::uri, refusal::bad_request},
    calls::call::{Call, gvk_of},
    writing::{body::key_of, ledger},
};

/// Objects of a page unless the query says less; also what client-go asks for at a time.
const PAGE_ITEMS: usize = 500;
/// Bytes of a page; the first object always fits. A guest holds a page at once, in 64 MiB by default.
const PAGE_BYTES: usize = 1 << 20;
/// Lists in parts that one call may have open at once.
const MAX_SNAPSHOTS: usize = 16;
/// How long `at-least` waits for the cache; what an event takes on a healthy watch is milliseconds.
const WAIT_BOUND: std::time::Duration = std::time::Duration::from_secs(5);

impl Call {
    pub(crate) async fn read_one(&self, target: ObjectRef, how: Freshness) -> Result<Option<String>, ApiError> {
        let (kind, key) = (gvk_of(&target.kind), key_of(&target));
        match how {
            Freshness::Live => Ok(self.live(&kind, &key).await?.map(|object| object.json().to_owned())),
            Freshness::Cached => self.cached_json(&kind, &key),
            Freshness::AtLeast(version) => {
                self.wait_for(&kind, key.namespace.as_deref(), &version).await?;
                self.cached_json(&kind, &key)
            }
        }
    }

    fn cached_json(&self, kind: &Gvk, key: &Key) -> Result<Option<String>, ApiError> {
        Ok(self.seen(kind, key)?.map(|object| object.json().to_owned()))
    }

    /// The object as this call sees it in the cache.
    fn seen(&self, kind: &Gvk, key: &Key) -> Result<Option<Object>, ApiError> {
        self.seen_through(kind, key, self.views(kind)?.iter())
    }

    fn seen_through<'a>(
        &self,
        kind: &Gvk,
        key: &Key,
        views: impl Iterator<Item = &'a Reader>,
    ) -> Result<Option<Object>, ApiError> {
        let views: Vec<&Reader> = views.filter(|view| view.view().sees_key(key)).collect();
        if views.is_empty() {
            return Err(self.outside(kind, &key.to_string()));
        }
        let mut stored = None;
        for view in &views {
            if stored.is_none() {
                stored = view.get(key).map_err(|error| unreadable(kind, &error))?;
            }
        }
        let object = lock(&self.ledger).over(kind, key, stored);
        Ok(object.and_then(|object| through(&views, &object)))
    }

    /// The object from the API server, whole, if the plugin's view of its kind (where it has one) shows it.
    async fn live(&self, kind: &Gvk, key: &Key) -> Result<Option<Object>, ApiError> {
        self.check(Verb::Get, kind, key.namespace.as_deref(), Some(&key.name), None)?;
        self.fetch(kind, key).await
    }

    /// The same, for who may read it.
    async fn fetch(&self, kind: &Gvk, key: &Key) -> Result<Option<Object>, ApiError> {
        let resource = self.resolve(kind).await?;
        let uri = uri(kind, &resource, key.namespace.as_deref(), Some(&key.name), None, &[])?;
        let answer = match self.request(Method::GET, uri, None, Vec::new()).await {
            Ok(answer) => answer,
            // A namespace or a kind that isn't there any more is the same answer: no such object.
            Err(error) => {
                self.shared.kinds.failed(kind, &error);
                return if error.code == 404 && error.reason == "NotFound" {
                    Ok(None)
                } else {
                    Err(error)
                };
            }
        };
        let object = parse_answer(&answer, kind)?;
        let mut views = self.views_of_any_version(kind).peekable();
        if views.peek().is_some() && !views.any(|view| view.view().sees(object.head())) {
            // Not "there is none": the plugin would create it and be told that it exists.
            return Err(self.outside(kind, &key.to_string()));
        }
        lock(&self.ledger).saw_live(object.head());
        Ok(Some(object))
    }

    pub(crate) async fn read_digest(&self, target: ObjectRef) -> Result<Option<String>, ApiError> {
        let (kind, key) = (gvk_of(&target.kind), key_of(&target));
        if kind.is_secret() {
            return self.secrets_digest(&kind, &key).await;
        }
        // A digest is of the whole object: one of metadata alone would never change, one of some fields too rarely.
        let whole = |view: &&Reader| !matches!(view.view().projection, Projection::Metadata | Projection::Fields(_));
        let views = self.plugin.views.get(&kind);
        if views.is_some_and(|views| views.iter().any(|view| whole(&view) && view.view().sees_key(&key))) {
            let object = self.seen_through(&kind, &key, views.into_iter().flatten().filter(whole))?;
            return Ok(object.map(|object| object.digest()));
        }
        Ok(self.live(&kind, &key).await?.map(|object| object.digest()))
    }

    /// The digest of a Secret, which takes a right of its own, or that to its data. It is keyed: whoever knows the uid
    /// and guesses at a short value can't find out whether the guess is right.
    async fn secrets_digest(&self, kind: &Gvk, key: &Key) -> Result<Option<String>, ApiError> {
        let (namespace, name) = (key.namespace.as_deref(), Some(&*key.name));
        let capabilities = &self.plugin.plugin.capabilities;
        if capabilities.allows(Verb::Get, kind, namespace, name, None).is_err() {
            self.check(Verb::Digest, kind, namespace, name, None)?;
        }
        let views = self.plugin.views.get(kind);
        let object = if views.is_some_and(|views| views.iter().any(|view| view.view().sees_key(key))) {
            self.seen_through(kind, key, views.into_iter().flatten())?
        } else {
            self.fetch(kind, key).await?
        };
        Ok(object.map(|object| self.shared.digest_key.of(&object.digest())))
    }

    pub(crate) async fn read_many(&self, query: Query, how: Freshness) -> Result<Page, ApiError> {
        let kind = gvk_of(&query.kind);
        if matches!(how, Freshness::Live) {
            return self.list_live(&kind, &query).await;
        }
        if let Some(token) = &query.page {
            return self.next_page(token, &query);
        }
        if let Freshness::AtLeast(version) = &how {
            self.wait_for(&kind, query.namespace.as_deref(), version).await?;
        }
        let (objects, version) = self.list_cached(&kind, &query)?;
        self.page(objects, 0, &query, version.as_str())
    }

    /// Every object that the query means, as one snapshot, by key.
    fn list_cached(&self, kind: &Gvk, query: &Query) -> Result<(Arc<[Object]>, Version), ApiError> {
        let selector = LabelSelector::parse(&query.labels).map_err(|error| bad_request(error.to_string()))?;
        let namespace = query.namespace.as_deref();
        let views: Vec<&Reader> = self
            .views(kind)?
            .iter()
            .filter(|view| namespace.is_none_or(|namespace| view.view().sees_namespace(Some(namespace))))
            .collect();
        if views.is_empty() {
            return Err(self.outside(kind, namespace.unwrap_or("all namespaces")));
        }
        let asked = pilothouse_informer::Query {
            namespace: namespace.map(Into::into),
            labels: selector.clone(),
            index: query.index.clone(),
            owner: None,
        };
        let mut found: BTreeMap<Key, Object> = BTreeMap::new();
        let mut version: Option<Version> = None;
        for view in &views {
            let listing = view.query(&asked).map_err(|error| unreadable(kind, &error))?;
            // Of several windows the oldest tells what the list is at least at.
            if version
                .as_ref()
                .is_none_or(|version| version.is_newer_than(&listing.version))
            {
                version = Some(listing.version);
            }
            for object in listing.items {
                found.entry(object.key().clone()).or_insert(object);
            }
        }
        let version = version.unwrap_or_default();
        // What this call wrote lies over it, if it is what the query means.
        let ledger = lock(&self.ledger);
        for (key, own) in ledger.own_of(kind) {
            let stored = views.iter().find_map(|view| view.get(key).ok().flatten());
            let is_meant = |object: &Object| {
                (namespace.is_none() || key.namespace.as_deref() == namespace)
                    && selector.matches(&object.head().labels)
                    && query
                        .index
                        .as_ref()
                        .is_none_or(|(index, value)| self.is_indexed(kind, index, value, object))
            };
            // Judged whole, and only then cut to what the window shows.
            match ledger::merge(own, stored)
                .filter(is_meant)
                .and_then(|object| through(&views, &object))
            {
                Some(object) => _ = found.insert(key.clone(), object),
                None => _ = found.remove(key),
            }
        }
        Ok((found.into_values().collect(), version))
    }

    fn is_indexed(&self, kind: &Gvk, index: &str, value: &str, object: &Object) -> bool {
        self.plugin.plugin.manifest.index(kind, index).is_some_and(|index| {
            index
                .paths
                .iter()
                .any(|path| path.strings(object.json()).iter().any(|have| have == value))
        })
    }

    /// One page of a snapshot, from an offset on.
    fn page(&self, objects: Arc<[Object]>, from: usize, query: &Query, version: &str) -> Result<Page, ApiError> {
        let limit = match query.limit {
            0 => PAGE_ITEMS,
            limit => PAGE_ITEMS.min(limit as usize),
        };
        let (mut items, mut bytes) = (Vec::new(), 0);
        for object in objects[from.min(objects.len())..].iter().take(limit) {
            bytes += object.json().len();
            if bytes > PAGE_BYTES && !items.is_empty() {
                break;
            }
            items.push(object.json().to_owned());
        }
        let end = from + items.len();
        let next = if end < objects.len() {
            let mut snapshots = lock(&self.snapshots);
            let known = snapshots.iter().position(|known| Arc::ptr_eq(known, &objects));
            let place = match known {
                Some(place) => place,
                None if snapshots.len() == MAX_SNAPSHOTS => {
                    return Err(ApiError::of_host(
                        reason::LIMIT,
                        format!(
                            "this call has {MAX_SNAPSHOTS} lists in parts open: narrow the queries with labels or an index"
                        ),
                    ));
                }
                None => {
                    snapshots.push(objects);
                    snapshots.len() - 1
                }
            };
            Some(format!("{place}.{end}.{version}"))
        } else {
            None
        };
        Ok(Page {
            items,
            next,
            resource_version: version.to_owned(),
        })
    }

    fn next_page(&self, token: &str, query: &Query) -> Result<Page, ApiError> {
        let unknown = || {
            bad_request(format!(
                "{:?} is no page of this call",
                escape_control(&shorten(token, 64))
            ))
        };
        let mut parts = token.splitn(3, '.');
        let mut number = || parts.next().and_then(|part| part.parse::<usize>().ok());
        let (Some(place), Some(from)) = (number(), number()) else {
            return Err(unknown());
        };
        let version = parts.next().unwrap_or_default();
        let objects = lock(&self.snapshots).get(place).cloned().ok_or_else(unknown)?;
        self.page(objects, from, query, version)
    }

    async fn list_live(&self, kind: &Gvk, query: &Query) -> Result<Page, ApiError> {
        if query.index.is_some() {
            return Err(bad_request(
                "indexes are the cache's: read them `cached`, or select by labels",
            ));
        }
        let namespace = query.namespace.as_deref();
        self.check(Verb::List, kind, namespace, None, None)?;
        LabelSelector::parse(&query.labels).map_err(|error| bad_request(error.to_string()))?;
        // What a view hides is refused, never left out silently; a selector can't be held against another one.
        let mut views = self.views_of_any_version(kind).peekable();
        let covers = |view: &Reader| {
            let view: &View = view.view();
            view.selector.is_everything()
                && view.names == Names::All
                && namespace.map_or(view.namespaces == Names::All, |namespace| {
                    view.sees_namespace(Some(namespace))
                })
        };
        if views.peek().is_some() && !views.any(covers) {
            return Err(self.outside(kind, namespace.unwrap_or("all namespaces")));
        }
        let resource = self.resolve(kind).await?;
        let limit = match query.limit {
            0 => PAGE_ITEMS,
            limit => PAGE_ITEMS.min(limit as usize),
        }
        .to_string();
        let mut parameters = vec![("limit", limit.as_str())];
        if !query.labels.is_empty() {
            parameters.push(("labelSelector", &query.labels));
        }
        if let Some(page) = &query.page {
            parameters.push(("continue", page));
        }
        let uri = uri(kind, &resource, namespace, None, None, &parameters)?;
        let answer = self.request(Method::GET, uri, None, Vec::new()).await?;

        #[derive(Deserialize)]
        struct List<'a> {
            metadata: Meta,
            #[serde(borrow, default)]
            items: Option<Vec<&'a RawValue>>,
        }
        #[derive(Deserialize, Default)]
        #[serde(default, rename_all = "camelCase")]
        struct Meta {
            resource_version: Option<String>,
            r#continue: Option<String>,
        }
        let garbled = |error: &dyn std::fmt::Display| {
            ApiError::of_host(
                reason::UNAVAILABLE,
                format!("the API server's list can't be read: {error}"),
            )
        };
        let list: List<'_> = serde_json::from_slice(&answer).map_err(|error| garbled(&error))?;
        let mut items = Vec::new();
        let mut ledger = lock(&self.ledger);
        for item in list.items.unwrap_or_default() {
            // A Secret's data takes a live get of its name, which is a permission of its own.
            let keep = if kind.is_secret() { Keep::Secret } else { Keep::All };
            let object = Object::parse(item.get().as_bytes(), Some(kind), keep).map_err(|error| garbled(&error))?;
            ledger.saw_live(object.head());
            items.push(with_kind(&object));
        }
        Ok(Page {
            items,
            next: list.metadata.r#continue.filter(|token| !token.is_empty()),
            resource_version: list.metadata.resource_version.unwrap_or_default(),
        })
    }

    async fn wait_for(&self, kind: &Gvk, namespace: Option<&str>, version: &str) -> Result<(), ApiError> {
        let version = Version::new(version);
        let views = self.views(kind)?;
        let mut waited = false;
        for view in views
            .iter()
            .filter(|v| namespace.is_none_or(|n| v.view().sees_namespace(Some(n))))
        {
            waited = true;
            match view.wait_for(&version, namespace, WAIT_BOUND).await {
                Holds::Yes => {}
                Holds::No => {
                    let at = shown(&version);
                    let message = format!(
                        "the cache of {kind} is not at {at} after {WAIT_BOUND:?}: read live, or try again later"
                    );
                    return Err(ApiError::of_host(reason::UNAVAILABLE, message));
                }
                Holds::Unknown => {
                    let at = shown(&version);
                    return Err(bad_request(format!(
                        "versions of {kind} can't be compared with {at:?}: read live"
                    )));
                }
            }
        }
        if waited {
            Ok(())
        } else {
            Err(self.outside(kind, namespace.unwrap_or("all namespaces")))
        }
    }

    /// The plugin's windows on a kind in whatever version: permissions don't tell versions apart, so views of live
    /// reads must not, either.
    fn views_of_any_version(&self, kind: &Gvk) -> impl Iterator<Item = &Reader> {
        let views = &self.plugin.views;
        let (group, name) = (kind.group.clone(), kind.kind.clone());
        views
            .iter()
            .filter(move |(own, _)| own.group == group && own.kind == name)
            .flat_map(|(_, views)| views)
    }

    /// The plugin's windows on a kind.
    fn views(&self, kind: &Gvk) -> Result<&[Reader], ApiError> {
        self.plugin.views.get(kind).map(Vec::as_slice).ok_or_else(|| {
            ApiError::of_host(
                reason::NOT_WATCHED,
                format!(
                    "the manifest does not watch {}: add it to a controller's `watches`, or read it `live` with the permission `get`",
                    escape_control(&kind.to_string())
                ),
            )
        })
    }

    fn outside(&self, kind: &Gvk, what: &str) -> ApiError {
        self.shared.metrics.denied(&self.plugin.name);
        let message = format!(
            "{} of {kind} is outside what plugin {} sees: ask for it in the manifest (`namespaces`, `permissions`) and grant it in the operator's configuration",
            escape_control(&shorten(what, 128)),
            self.plugin.name
        );
        ApiError {
            code: 403,
            ..ApiError::of_host(reason::DENIED, message)
        }
    }
}

/// The object as the first view that sees it shows it; those that show it whole come first.
fn through(views: &[&Reader], object: &Object) -> Option<Object> {
    let seeing = views.iter().find(|view| view.view().sees(object.head()));
    seeing.map(|view| view.view().project(object))
}

/// A read of the cache that is refused.
fn unreadable(kind: &Gvk, error: &ReadError) -> ApiError {
    match error {
        ReadError::NotSynced { .. } => ApiError::of_host(reason::UNAVAILABLE, error.to_string()),
        ReadError::OutsideView { .. } => ApiError {
            code: 403,
            ..ApiError::of_host(reason::DENIED, error.to_string())
        },
        ReadError::Index(_) => bad_request(format!("{error}: declare it in the manifest's `indexes` for {kind}")),
    }
}

fn shown(version: &Version) -> String {
    escape_control(&shorten(version.as_str(), 64)).into_owned()
}

/// One object out of a server's answer, as it came.
pub(crate) fn parse_answer(answer: &[u8], kind: &Gvk) -> Result<Object, ApiError> {
    Object::parse(answer, Some(kind), Keep::All).map_err(|error| {
        ApiError::of_host(
            reason::UNAVAILABLE,
            format!("the API server's answer can't be read: {error}"),
        )
    })
}

/// An object's JSON with apiVersion and kind, which items of typed lists lack.
fn with_kind(object: &Object) -> String {
    let json = object.json();
    let has = |name: &str| pilothouse_object::FieldPath::parse(name).is_ok_and(|path| !path.texts(json).is_empty());
    if has("apiVersion") && has("kind") {
        return json.to_owned();
    }
    let gvk = &object.head().gvk;
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let rest = json.trim_start().trim_start_matches('{');
    format!(
        "{{\"apiVersion\":{},\"kind\":{},{rest}",
        quoted(&gvk.api_version()),
        quoted(&gvk.kind)
    )
}
