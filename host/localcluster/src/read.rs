//! GET of one object or of a list.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::cluster::Cluster;
use crate::convert;
use crate::query::{ListOptions, VersionMatch};
use crate::route::{Cx, Target, show};
use crate::schema::types::{decode_base64, encode_base64};
use crate::select::Selection;
use crate::status::Status;
use crate::store::{self, Key, Objects};
use crate::table::View;
use crate::types::ResourceType;
use crate::wire::Response;

/// Some objects of a collection, and how to go on.
pub(crate) struct Page {
    pub(crate) items: Vec<Arc<Value>>,
    version: u64,
    continue_token: Option<String>,
    remaining: Option<usize>,
}

/// The answer that shows a list.
pub(crate) fn show_list(view: View, type_: &ResourceType, page: &Page, now: Duration) -> Response {
    let mut meta = Map::new();
    meta.insert("resourceVersion".into(), page.version.to_string().into());
    if let Some(token) = &page.continue_token {
        meta.insert("continue".into(), token.as_str().into());
    } else if type_.custom && view == View::Full {
        meta.insert("continue".into(), "".into());
    }
    if let Some(remaining) = page.remaining {
        meta.insert("remainingItemCount".into(), remaining.into());
    }
    Response::json(200, &view.list(type_, Value::Object(meta), &page.items, now))
}

/// A version as sent: `None` for the most recent one, also for `0`, which means any.
pub(crate) fn parse_version(text: &str) -> Result<Option<u64>, String> {
    match text {
        "" | "0" => Ok(None),
        _ => text.parse().map(Some).map_err(|_| {
            format!("resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax")
        }),
    }
}

impl Cluster {
    /// GET of an object, or of its status.
    pub(crate) fn get(&mut self, cx: &mut Cx<'_>, target: &Target) -> Result<Response, Status> {
        let view = cx.view(false)?;
        let version = parse_version(cx.query.text("resourceVersion")).map_err(|why| Status::new(500, "", why))?;
        self.check_future(version)?;
        let type_ = &target.type_;
        let (id, key) = (type_.collection(), target.key());
        let stored = self
            .store
            .get(&id, &key)
            .ok_or_else(|| Status::not_found(type_, &key.1))?;
        Ok(show(view, type_, 200, &convert::from_stored(type_, stored), self.now))
    }

    /// GET of a list.
    pub(crate) fn list(&mut self, cx: &mut Cx<'_>, target: &Target) -> Result<Response, Status> {
        let view = cx.view(true)?;
        let page = self.page(cx, target)?;
        Ok(show_list(view, &target.type_, &page, self.now))
    }

    /// A version that does not exist yet: real servers wait three seconds for it, then answer this; here the answer
    /// comes at once.
    pub(crate) fn check_future(&self, version: Option<u64>) -> Result<(), Status> {
        let Some(version) = version.filter(|version| *version > self.store.version()) else {
            return Ok(());
        };
        let message = format!(
            "Timeout: Too large resource version: {version}, current: {}",
            self.store.version()
        );
        let mut status = Status::new(504, "Timeout", message)
            .with_details(json!({"retryAfterSeconds": 1}))
            .with_cause("ResourceVersionTooLarge", "Too large resource version", None);
        status.retry_after = Some(1);
        Err(status)
    }

    /// The objects that a list asks for.
    pub(crate) fn page(&self, cx: &Cx<'_>, target: &Target) -> Result<Page, Status> {
        let type_ = &target.type_;
        let selection = Selection::parse(type_, cx.query.text("labelSelector"), cx.query.text("fieldSelector"))?;
        let options = ListOptions::parse(&cx.query, false)?;
        let id = type_.collection();
        let (objects, version, start) = self.snapshot(&id, target, &options)?;
        // Any version will do: served whole from memory, as real servers do, whatever the limit.
        let limit = if options.version == "0" || options.limit == 0 {
            usize::MAX
        } else {
            options.limit
        };
        let mut page = Page {
            items: Vec::new(),
            version,
            continue_token: None,
            remaining: None,
        };
        let mut rest = store::range(&objects, target.namespace.as_deref(), start.as_ref());
        let mut last: Option<&Key> = None;
        for (key, object) in rest.by_ref() {
            let shown = convert::from_stored(type_, object);
            if !selection.matches(&shown) {
                continue;
            }
            if page.items.len() == limit {
                page.continue_token = last.map(|last| token(i128::from(version), last, target));
                page.remaining = selection.is_everything().then(|| 1 + rest.count());
                break;
            }
            page.items.push(shown);
            last = Some(key);
        }
        Ok(page)
    }

    /// The collection as it is to be listed: the objects, their version, and where to begin.
    fn snapshot(
        &self,
        id: &store::CollectionId,
        target: &Target,
        options: &ListOptions,
    ) -> Result<(Objects, u64, Option<Key>), Status> {
        let current = || (self.store.objects(id), self.store.version());
        if !options.continue_token.is_empty() {
            let (version, start) = read_token(&options.continue_token, target)?;
            if !matches!(options.version.as_str(), "" | "0") {
                return Err(Status::bad_request(
                    "specifying resource version is not allowed when using continue",
                ));
            }
            let Some(version) = version else {
                let (objects, version) = current();
                return Ok((objects, version, Some(start)));
            };
            self.check_future(Some(version))?;
            let objects = self
                .store
                .objects_at(id, version)
                .map_err(|_| expired_token(&start, target))?;
            return Ok((objects, version, Some(start)));
        }
        let version = parse_version(&options.version)
            .map_err(|why| Status::bad_request(format!("invalid resource version: {why}")))?;
        self.check_future(version)?;
        let exact = match options.version_match {
            Some(VersionMatch::Exact) => true,
            Some(VersionMatch::NotOlderThan) => false,
            // As it was before there was a choice: a limit makes the version exact.
            None => options.limit > 0,
        };
        if let Some(version) = version.filter(|_| exact) {
            let objects = self
                .store
                .objects_at(id, version)
                .map_err(|_| Status::new(410, "Expired", "The resourceVersion for the provided list is too old."))?;
            return Ok((objects, version, None));
        }
        let (objects, version) = current();
        Ok((objects, version, None))
    }
}

/// The token that goes on behind a key: the version, and the key relative to what is listed.
fn token(version: i128, last: &Key, target: &Target) -> String {
    let start = match &target.namespace {
        Some(_) => format!("{}\0", last.1),
        None if target.type_.namespaced => format!("{}/{}\0", last.0, last.1),
        None => format!("{}\0", last.1),
    };
    write_token(version, &start)
}

fn write_token(version: i128, start: &str) -> String {
    let version = i64::try_from(version).unwrap_or(i64::MAX);
    let text = format!(
        "{{\"v\":\"meta.k8s.io/v1\",\"rv\":{version},\"start\":{}}}",
        Value::from(start)
    );
    encode_base64(text.as_bytes())
        .trim_end_matches('=')
        .replace('+', "-")
        .replace('/', "_")
}

/// The version (`None`: the present one) and the first key of a token.
fn read_token(token: &str, target: &Target) -> Result<(Option<u64>, Key), Status> {
    let bad = |why: &str| Status::bad_request(format!("invalid continue token: continue key is not valid: {why}"));
    let bytes = decode_base64(token).ok_or_else(|| bad("illegal base64 data"))?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|error| bad(&error.to_string()))?;
    let form = value.get("v").and_then(Value::as_str).unwrap_or_default();
    if form != "meta.k8s.io/v1" {
        return Err(bad(&format!("server does not recognize this encoded version {form}")));
    }
    let start = value
        .get("start")
        .and_then(Value::as_str)
        .filter(|start| !start.is_empty());
    let start = start
        .ok_or_else(|| bad("the start key is missing"))?
        .trim_start_matches('/');
    let version = match value.get("rv").and_then(Value::as_i64) {
        None | Some(0) => return Err(bad("incorrect encoded start resourceVersion (version meta.k8s.io/v1)")),
        Some(version) => u64::try_from(version).ok(),
    };
    let key = match (&target.namespace, start.split_once('/')) {
        (Some(namespace), None) => (namespace.clone(), start.into()),
        (None, None) => ("".into(), start.into()),
        (None, Some((namespace, name))) => (namespace.into(), name.into()),
        (Some(_), Some(_)) => return Err(bad("the start key lies outside of the namespace")),
    };
    Ok((version, key))
}

fn expired_token(start: &Key, target: &Target) -> Status {
    let start = if target.namespace.is_none() && target.type_.namespaced {
        format!("{}/{}", start.0, start.1)
    } else {
        start.1.to_string()
    };
    let mut status = Status::new(
        410,
        "Expired",
        "The provided continue parameter is too old to display a consistent list result. You can start a new list \
         without the continue parameter, or use the continue token in this response to retrieve the remainder of the \
         results. Continuing with the provided token results in an inconsistent list - objects that were created, \
         modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    );
    status.continue_token = Some(write_token(-1, &start));
    status
}
