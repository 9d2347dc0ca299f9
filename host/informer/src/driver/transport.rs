//! The requests a reflector makes, over a `kube::Client`.

use std::{error::Error, fmt::Write as _, time::Duration};

use bytes::Bytes;
use http_body_util::BodyExt;
use kube::{Client, client::Body};
use pilothouse_object::Gvk;
use serde::Deserialize;

use crate::{
    reflector::failure::{Failure, Trouble},
    reflector::{ListRequest, WatchRequest},
    store::Scope,
};

/// The longest discovery answer read, in bytes; the largest group of a real server has under 100 KB.
const MAX_DISCOVERY: usize = 8 << 20;
/// The most of an error's body that is read, in bytes.
const MAX_ERROR: usize = 64 << 10;

/// How long to wait for the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Until an answer begins. Default 75 s: the server's own bound is 60.
    pub answer: Duration,
    /// Between two pieces of a list. Default 60 s.
    pub piece: Duration,
    /// Until a list, or a page of one, has come as a whole. Default 10 minutes, which is 100 MB at 170 KB a second.
    pub total: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(75),
            piece: Duration::from_secs(60),
            total: Duration::from_secs(600),
        }
    }
}

/// Under which name a kind is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The plural that stands in the path.
    pub plural: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
}

/// The bound of a wait.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the driver: the bound of a wait for the network"
)]
pub(crate) async fn within<T>(bound: Duration, wait: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(bound, wait).await.ok()
}

/// An error with all its causes, each said once.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

/// Percent-encodes everything but what RFC 3986 calls unreserved.
pub(crate) fn encode(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String can't fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

fn group_path(gvk: &Gvk) -> String {
    let mut path = String::from("/api");
    if !gvk.group.is_empty() {
        path.push_str("s/");
        encode(&mut path, &gvk.group);
    }
    path.push('/');
    encode(&mut path, &gvk.version);
    path
}

fn collection_path(gvk: &Gvk, resource: &Resource, scope: &Scope) -> String {
    let mut path = group_path(gvk);
    if let Scope::Namespace(namespace) = scope {
        path.push_str("/namespaces/");
        encode(&mut path, namespace);
    }
    path.push('/');
    encode(&mut path, &resource.plural);
    path
}

pub(crate) fn list_path(gvk: &Gvk, resource: &Resource, scope: &Scope, request: &ListRequest) -> String {
    let mut path = collection_path(gvk, resource, scope);
    let mut separator = '?';
    let mut add = |name: &str, value: &str| {
        path.push(separator);
        separator = '&';
        path.push_str(name);
        path.push('=');
        encode(&mut path, value);
    };
    if let Some(limit) = request.limit {
        add("limit", &limit.to_string());
    }
    match &request.token {
        Some(token) => add("continue", token),
        None if request.version.is_empty() => {}
        None => add("resourceVersion", request.version.as_str()),
    }
    path
}

pub(crate) fn watch_path(gvk: &Gvk, resource: &Resource, scope: &Scope, request: &WatchRequest) -> String {
    let mut path = collection_path(gvk, resource, scope);
    path.push_str("?watch=true&allowWatchBookmarks=true");
    if request.initial.is_some() {
        // A real server refuses the one without the other.
        path.push_str("&sendInitialEvents=true&resourceVersionMatch=NotOlderThan");
    }
    if !request.version.is_empty() {
        path.push_str("&resourceVersion=");
        encode(&mut path, request.version.as_str());
    }
    let _ = write!(path, "&timeoutSeconds={}", request.timeout.as_secs());
    path
}

/// Sends a GET and answers its body, which is that of a success.
pub(crate) async fn get(client: &Client, path: &str, patience: Patience) -> Result<Body, Failure> {
    get_as(client, path, "application/json", patience).await
}

/// The same, for an answer in one of these media types.
pub(crate) async fn get_as(
    client: &Client,
    path: &str,
    accept: &'static str,
    patience: Patience,
) -> Result<Body, Failure> {
    let request = http::Request::get(path)
        .header(http::header::ACCEPT, accept)
        // A watch compressed event by event can't be read piece by piece by every middleware; see kube's
        // `request_events`.
        .header(http::header::ACCEPT_ENCODING, "identity")
        .body(Body::empty())
        .map_err(|error| Failure::new(Trouble::Refused, format!("{path:?} is no path: {error}")))?;
    let answer = match within(patience.answer, client.send(request)).await {
        Some(Ok(answer)) => answer,
        Some(Err(error)) => return Err(Failure::new(Trouble::Unreachable, chain(&error))),
        None => {
            let why = format!("no answer within {} s", patience.answer.as_secs());
            return Err(Failure::new(Trouble::Unreachable, why));
        }
    };
    let status = answer.status();
    if status == http::StatusCode::OK {
        return Ok(answer.into_body());
    }
    let retry_after = answer
        .headers()
        .get(http::header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok());
    // The status says enough where the body doesn't come, or comes too long.
    let (Ok(body) | Err(body)) = whole(answer.into_body(), MAX_ERROR, patience)
        .await
        .map_err(|_| Vec::new());
    Err(Failure::of_status(Some(status.as_u16()), &body, retry_after))
}

/// Why no more of a body comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// Nothing came for so long.
    Silent(Duration),
    /// The connection broke off: what it says.
    Broken(String),
}

impl From<Lost> for Failure {
    fn from(lost: Lost) -> Self {
        let why = match lost {
            Lost::Silent(bound) => format!("nothing came for {} s", bound.as_secs()),
            Lost::Broken(why) => why,
        };
        Self::new(Trouble::Unreachable, why)
    }
}

/// The next piece of a body; none at its end.
pub(crate) async fn piece(body: &mut Body, bound: Duration) -> Result<Option<Bytes>, Lost> {
    loop {
        return match within(bound, body.frame()).await {
            None => Err(Lost::Silent(bound)),
            Some(None) => Ok(None),
            Some(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => Ok(Some(data)),
                // Trailers.
                Err(_) => continue,
            },
            Some(Some(Err(error))) => Err(Lost::Broken(format!("the connection broke off: {}", chain(&error)))),
        };
    }
}

/// The next piece of a list that began so long ago.
pub(crate) async fn piece_of_list(
    body: &mut Body,
    patience: Patience,
    since: Duration,
) -> Result<Option<Bytes>, Failure> {
    let left = patience.total.saturating_sub(since);
    match within(left, piece(body, patience.piece)).await {
        Some(piece) => Ok(piece?),
        None => {
            let why = format!("the list did not end within {} s", patience.total.as_secs());
            Err(Failure::new(Trouble::Garbled, why))
        }
    }
}

async fn whole(mut body: Body, max: usize, patience: Patience) -> Result<Vec<u8>, Failure> {
    let mut all = Vec::new();
    while let Some(piece) = piece(&mut body, patience.piece).await? {
        if all.len() + piece.len() > max {
            return Err(Failure::new(
                Trouble::Garbled,
                format!("the answer is longer than {max} bytes"),
            ));
        }
        all.extend_from_slice(&piece);
    }
    Ok(all)
}

/// Asks under which name a kind is served, by the legacy discovery that every server has.
///
/// # Errors
/// [`Trouble::NotFound`] where the server does not serve the kind (yet); else what went wrong with the request. Ask
/// again later.
pub async fn discover(client: &Client, gvk: &Gvk, patience: Patience) -> Result<Resource, Failure> {
    ask(client, gvk, &[], patience).await
}

/// The same, for a kind that is to be watched.
pub(crate) async fn discover_watched(client: &Client, gvk: &Gvk, patience: Patience) -> Result<Resource, Failure> {
    ask(client, gvk, &["list", "watch"], patience).await
}

async fn ask(client: &Client, gvk: &Gvk, verbs: &[&str], patience: Patience) -> Result<Resource, Failure> {
    let body = get(client, &group_path(gvk), patience).await?;
    let body = whole(body, MAX_DISCOVERY, patience).await?;
    find(gvk, verbs, &body)
}

fn find(gvk: &Gvk, verbs: &[&str], body: &[u8]) -> Result<Resource, Failure> {
    #[derive(Deserialize)]
    struct List {
        #[serde(default)]
        resources: Option<Vec<Entry>>,
    }
    #[derive(Deserialize)]
    struct Entry {
        name: String,
        kind: String,
        #[serde(default)]
        namespaced: bool,
        #[serde(default)]
        verbs: Option<Vec<String>>,
    }
    let list: List = serde_json::from_slice(body)
        .map_err(|error| Failure::new(Trouble::Garbled, format!("the discovery answer can't be read: {error}")))?;
    let entry = list
        .resources
        .into_iter()
        .flatten()
        .find(|entry| *entry.kind == *gvk.kind && !entry.name.contains('/'));
    let Some(entry) = entry else {
        let why = format!("{} has no kind {}", gvk.api_version(), gvk.kind);
        return Err(Failure::new(Trouble::NotFound, why));
    };
    for verb in verbs {
        if !entry.verbs.iter().flatten().any(|v| v == *verb) {
            let why = format!("the API server offers no {verb} of {gvk}: it can't be watched");
            return Err(Failure::new(Trouble::Refused, why));
        }
    }
    pilothouse_object::check_path_segment(&entry.name)
        .map_err(|error| Failure::new(Trouble::Garbled, format!("the plural of {gvk} can't be used: {error}")))?;
    Ok(Resource {
        plural: entry.name,
        namespaced: entry.namespaced,
    })
}

#[cfg(test)]
mod tests {
    use pilothouse_object::Version;

    use super::*;

    const WIDGETS: &str = r#"{"kind":"APIResourceList","resources":[
        {"name":"widgets/status","kind":"Widget","namespaced":true,"verbs":["get"]},
        {"name":"widgets","kind":"Widget","namespaced":true,"verbs":["get","list","watch"]},
        {"name":"gauges","kind":"Gauge","namespaced":false,"verbs":["get"]}]}"#;

    fn widget() -> Gvk {
        Gvk::new("ex.io", "v1", "Widget")
    }

    #[test]
    fn discovery_finds_the_plural_and_not_its_subresources() {
        let found = find(&widget(), &["list", "watch"], WIDGETS.as_bytes()).unwrap();
        assert_eq!((found.plural.as_str(), found.namespaced), ("widgets", true));
    }

    #[test]
    fn a_kind_that_is_missing_or_can_not_be_watched_is_said_so() {
        let find =
            |kind: &str, verbs: &[&str], body: &str| find(&Gvk::new("ex.io", "v1", kind), verbs, body.as_bytes());
        let trouble = |kind: &str, body: &str| find(kind, &["list", "watch"], body).unwrap_err();
        assert!(find("Gauge", &[], WIDGETS).is_ok(), "it may be read all the same");
        assert_eq!(trouble("Gadget", WIDGETS).trouble, Trouble::NotFound);
        assert!(trouble("Gauge", WIDGETS).message.contains("offers no list"));
        assert_eq!(trouble("Gauge", "{}").trouble, Trouble::NotFound);
        assert_eq!(trouble("Gauge", "<html>").trouble, Trouble::Garbled);
        let evil = r#"{"resources":[{"name":"..","kind":"E","verbs":["list","watch"]}]}"#;
        assert_eq!(trouble("E", evil).trouble, Trouble::Garbled);
    }

    #[test]
    fn what_comes_from_outside_can_not_leave_its_place_in_the_path() {
        let resource = Resource {
            plural: "widgets".to_owned(),
            namespaced: true,
        };
        let request = ListRequest {
            version: Version::new("5"),
            limit: Some(2),
            token: Some("a b&watch=true".to_owned()),
        };
        let path = list_path(&widget(), &resource, &Scope::Namespace("a/../b?c".into()), &request);
        assert_eq!(
            path,
            "/apis/ex.io/v1/namespaces/a%2F..%2Fb%3Fc/widgets?limit=2&continue=a%20b%26watch%3Dtrue"
        );
        assert_eq!(group_path(&Gvk::new("", "v1", "Pod")), "/api/v1");
    }

    #[test]
    fn a_list_carries_its_version_but_beside_a_token() {
        let resource = Resource {
            plural: "widgets".to_owned(),
            namespaced: true,
        };
        let path = |version: &str, limit, token: Option<&str>| {
            let request = ListRequest {
                version: Version::new(version),
                limit,
                token: token.map(Into::into),
            };
            let path = list_path(&widget(), &resource, &Scope::All, &request);
            path.split_once('?').map(|(_, query)| query.to_owned())
        };
        assert_eq!(
            path("0", Some(500), None).as_deref(),
            Some("limit=500&resourceVersion=0")
        );
        assert_eq!(path("", Some(500), Some("t")).as_deref(), Some("limit=500&continue=t"));
        assert_eq!(path("17", None, None).as_deref(), Some("resourceVersion=17"));
        assert_eq!(path("", None, None), None);
    }
}
