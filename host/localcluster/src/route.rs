//! From a request's path and method to what is to be done.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::query::{Query, decode};
use crate::status::Status;
use crate::table::View;
use crate::types::ResourceType;
use crate::wire::{Request, Response};
use crate::{MAX_BODY, discovery};

/// A request with its query read, and the warnings its answer will carry.
pub(crate) struct Cx<'a> {
    pub(crate) request: &'a Request,
    pub(crate) query: Query,
    pub(crate) warnings: Vec<String>,
}

impl Cx<'_> {
    /// Adds a warning for the answer's `Warning` headers, once.
    pub(crate) fn warn(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.warnings.contains(&text) {
            self.warnings.push(text);
        }
    }

    /// How the client wants to see the answer.
    pub(crate) fn view(&self, list: bool) -> Result<View, Status> {
        View::negotiate(&self.request.accept, self.query.get("includeObject"), list)
    }
}

/// Which resource, which object, which part of it.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) type_: Arc<ResourceType>,
    /// `None` for cluster-scoped resources, and for lists over all namespaces.
    pub(crate) namespace: Option<Arc<str>>,
    /// `None` for the collection.
    pub(crate) name: Option<Arc<str>>,
    pub(crate) part: Part,
}

impl Target {
    /// Where the object stands in the store. For a collection the name is empty.
    pub(crate) fn key(&self) -> crate::store::Key {
        (
            self.namespace.clone().unwrap_or_else(|| "".into()),
            self.name.clone().unwrap_or_else(|| "".into()),
        )
    }
}

/// A part of an object that has a path of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it.
    Main,
    /// `/status`
    Status,
    /// `/scale`
    Scale,
    /// `/finalize` of a namespace.
    Finalize,
}

/// What a path means.
enum Path {
    Target {
        target: Target,
        watch: bool,
    },
    /// Nothing here, and the answer says so.
    Missing(Response),
}

impl Cluster {
    /// Answers a request.
    pub(crate) fn route(&mut self, request: &Request) -> Response {
        if request.body.len() > MAX_BODY {
            let message = format!("Request entity too large: limit is {MAX_BODY}");
            return Status::new(413, "RequestEntityTooLarge", message).response();
        }
        if let Some(response) = discovery::answer(self, request) {
            return response;
        }
        let (target, watch) = match self.parse(&request.path) {
            Path::Target { target, watch } => (target, watch),
            Path::Missing(response) => return response,
        };
        let mut cx = Cx {
            request,
            query: Query::parse(&request.query),
            warnings: Vec::new(),
        };
        if let Some(warning) = &target.type_.deprecation {
            cx.warn(&**warning);
        }
        let mut response = self
            .dispatch(&mut cx, &target, watch)
            .unwrap_or_else(|status| status.response());
        for warning in &cx.warnings {
            // The text is a quoted string of its own inside of the header.
            let quoted = warning.replace('\\', "\\\\").replace('"', "\\\"");
            response.headers.push(("Warning".into(), format!("299 - \"{quoted}\"")));
        }
        response
    }

    fn dispatch(&mut self, cx: &mut Cx<'_>, target: &Target, watch: bool) -> Result<Response, Status> {
        let custom = target.type_.custom;
        let reads = cx.request.method == Method::GET;
        if custom && target.part != Part::Main && matches!(cx.request.method, Method::POST | Method::DELETE) {
            let verb = if cx.request.method == Method::POST {
                "create"
            } else {
                "delete"
            };
            return Err(Status::not_supported(&target.type_, verb));
        }
        if target.part == Part::Scale {
            return match cx.request.method {
                Method::GET => self.get_scale(cx, target),
                Method::PUT | Method::PATCH => self.put_scale(cx, target),
                _ => Err(Status::method_not_allowed()),
            };
        }
        if target.part != Part::Main {
            return match cx.request.method {
                Method::GET if target.part == Part::Status => self.get(cx, target),
                Method::PUT => self.update(cx, target),
                Method::PATCH if target.part == Part::Status => self.patch(cx, target),
                _ => Err(Status::method_not_allowed()),
            };
        }
        if target.name.is_none() {
            let wants_watch = watch || cx.query.flag("watch");
            return match cx.request.method {
                _ if reads && wants_watch => self.watch(cx, target),
                _ if reads => self.list(cx, target),
                Method::POST | Method::DELETE if target.type_.namespaced && target.namespace.is_none() => {
                    if custom && cx.request.method == Method::POST {
                        return Ok(page_not_found());
                    }
                    Err(Status::method_not_allowed())
                }
                Method::POST => self.create(cx, target),
                Method::DELETE if target.type_.verbs.contains(&"deletecollection") => {
                    self.delete_collection(cx, target)
                }
                Method::PUT | Method::PATCH if custom => Err(Status::bad_request("name must be provided")),
                _ => Err(Status::method_not_allowed()),
            };
        }
        match cx.request.method {
            _ if reads && watch => self.watch(cx, target),
            _ if reads => self.get(cx, target),
            Method::POST if custom => self.create(cx, target),
            Method::PUT => self.update(cx, target),
            Method::PATCH => self.patch(cx, target),
            Method::DELETE => self.delete(cx, target),
            _ => Err(Status::method_not_allowed()),
        }
    }

    fn parse(&self, path: &str) -> Path {
        let path = path.strip_suffix('/').unwrap_or(path);
        let segments: Vec<String> = path.split('/').skip(1).map(|segment| decode(segment, false)).collect();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let (group, version, rest) = match segments.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] if !group.is_empty() => (*group, *version, rest),
            ["api" | "apis", ..] => return Path::Missing(page_not_found()),
            _ => return Path::Missing(page_not_found()),
        };
        let (watch, rest) = match rest {
            ["watch", rest @ ..] => (true, rest),
            rest => (false, rest),
        };
        // `namespaces` is a resource of the core group and a prefix everywhere.
        let (namespace, plural, name, part) = match rest {
            [plural] => (None, *plural, None, None),
            ["namespaces", name] if group.is_empty() => (None, "namespaces", Some(*name), None),
            ["namespaces", name, part @ ("status" | "finalize")] if group.is_empty() => {
                (None, "namespaces", Some(*name), Some(*part))
            }
            ["namespaces", namespace, plural] => (Some(*namespace), *plural, None, None),
            ["namespaces", namespace, plural, name] => (Some(*namespace), *plural, Some(*name), None),
            ["namespaces", namespace, plural, name, part] => (Some(*namespace), *plural, Some(*name), Some(*part)),
            [plural, name] => (None, *plural, Some(*name), None),
            [plural, name, part] => (None, *plural, Some(*name), Some(*part)),
            _ => return Path::Missing(self.unknown_resource(group, version)),
        };
        let id = (group.into(), version.into(), plural.into());
        let Some(type_) = self.types.get(&id) else {
            return Path::Missing(self.unknown_resource(group, version));
        };
        let misplaced = if type_.namespaced {
            name.is_some() && namespace.is_none()
        } else {
            namespace.is_some()
        };
        if misplaced || namespace == Some("") || name == Some("") {
            return Path::Missing(self.unknown_resource(group, version));
        }
        let part = match part {
            None => Part::Main,
            Some("status") if type_.status => Part::Status,
            Some("scale") if type_.scale => Part::Scale,
            Some("finalize") if group.is_empty() && plural == "namespaces" => Part::Finalize,
            Some(_) if type_.custom => {
                return Path::Missing(Status::not_found(type_, name.unwrap_or_default()).response());
            }
            Some(_) => return Path::Missing(self.unknown_resource(group, version)),
        };
        let target = Target {
            type_: type_.clone(),
            namespace: namespace.map(Arc::from),
            name: name.map(Arc::from),
            part,
        };
        Path::Target { target, watch }
    }

    /// A resource that is not served, in a group and version that may be.
    fn unknown_resource(&self, group: &str, version: &str) -> Response {
        let built_in = self
            .types()
            .any(|type_| !type_.custom && &*type_.group == group && &*type_.version == version);
        if built_in || group.is_empty() {
            Status::new(404, "NotFound", "the server could not find the requested resource")
                .with_details(json!({}))
                .response()
        } else {
            page_not_found()
        }
    }
}

fn page_not_found() -> Response {
    let mut response = Response::bytes(404, "text/plain; charset=utf-8", "404 page not found\n");
    response
        .headers
        .push(("X-Content-Type-Options".into(), "nosniff".into()));
    response
}

/// The answer that shows one object.
pub(crate) fn show(view: View, type_: &ResourceType, code: u16, object: &Value, now: Duration) -> Response {
    Response::json(code, &view.object(type_, object, now, true))
}
