//! What crosses the boundary of a [`Cluster`](crate::Cluster): a request in, an answer out, and the lines of a watch.
//!
//! Nothing here knows of sockets. The HTTP face (`http`) and the face inside the process (`service`) translate.

use bytes::Bytes;

/// Who asks, as a face found out. The local cluster has no authorization yet: every user may do everything, and the
/// name is only kept for what may come later (audit, impersonation tests).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The user's name, e.g. `system:admin`.
    pub name: String,
    /// The groups the user belongs to, e.g. `system:masters`.
    pub groups: Vec<String>,
}

/// One request, its head already decoded from whatever transport brought it.
#[derive(Clone, Debug)]
pub struct Request {
    /// The HTTP method.
    pub method: http::Method,
    /// The path as sent, percent-encoding kept, without the query: `/api/v1/namespaces/default/configmaps`.
    pub path: String,
    /// The query as sent, percent-encoding kept, without the question mark. May be empty or begin with `&`.
    pub query: String,
    /// The `Accept` header; empty when there was none, which means JSON.
    pub accept: String,
    /// The `Content-Type` header of the body; empty when there was none.
    pub content_type: String,
    /// The body. More than [`MAX_BODY`](crate::MAX_BODY) bytes are answered with 413.
    pub body: Bytes,
}

impl Request {
    /// A request without a body that takes JSON: what `get`, `list` and `watch` send. `target` is the path, with
    /// `?query` if there is one.
    pub fn new(method: http::Method, target: &str) -> Request {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Request {
            method,
            path: path.to_owned(),
            query: query.to_owned(),
            accept: "application/json".to_owned(),
            content_type: String::new(),
            body: Bytes::new(),
        }
    }

    /// A request with a body of the given content type that takes JSON.
    pub fn with_body(method: http::Method, target: &str, content_type: &str, body: impl Into<Bytes>) -> Request {
        let mut request = Request::new(method, target);
        request.content_type = content_type.to_owned();
        request.body = body.into();
        request
    }
}

/// One answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// The HTTP status code.
    pub status: u16,
    /// The `Content-Type` header.
    pub content_type: String,
    /// Further headers (`Warning`, `Retry-After`, …), in order; a name may occur more than once.
    pub headers: Vec<(String, String)>,
    /// What follows the head.
    pub body: Body,
}

impl Response {
    /// An answer with a whole JSON body.
    pub fn json(status: u16, body: &serde_json::Value) -> Response {
        Response::bytes(status, "application/json", format!("{body}\n"))
    }

    /// An answer with a whole body of any type.
    pub fn bytes(status: u16, content_type: &str, body: impl Into<Bytes>) -> Response {
        Response {
            status,
            content_type: content_type.to_owned(),
            headers: Vec::new(),
            body: Body::Whole(body.into()),
        }
    }

    /// The whole body; empty for a watch.
    pub fn whole(&self) -> &[u8] {
        match &self.body {
            Body::Whole(bytes) => bytes,
            Body::Watch(_) => &[],
        }
    }
}

/// The body of an answer.
#[derive(Clone, Debug)]
pub enum Body {
    /// All of it is here.
    Whole(Bytes),
    /// It comes line by line from [`Cluster::poll`](crate::Cluster::poll) until that says `Ended`. Whoever stops
    /// reading earlier must call [`Cluster::close`](crate::Cluster::close), or the watch keeps its place among the
    /// bounded number of open watches.
    Watch(WatchId),
}

/// Names an open watch of one cluster. A fork knows the watches that were open when it was made, and polls them
/// independently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchId(pub u64);

/// What a watch has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Polled {
    /// One JSON event each, ended by a newline; empty when nothing happened since the last poll.
    Lines(Vec<Bytes>),
    /// The watch is over (its time is up, an ERROR event went before, or it was never open): end the body.
    Ended,
}
