//! A checked write on its way: sent once, finished by the host, and entered in the books by what its answer says.
//!
//! A write that was sent belongs to the host: it finishes or times out in a task of its own, even when the call that
//! sent it is ended.

use http::Method;
use pilothouse_lifecycle::Verb;
use pilothouse_object::{Gvk, Keep, Key, Object, Version};
use pilothouse_runtime::{ApiError, Options, reason};

use crate::{
    WriteEnd, WriteVerb, Written,
    api::path::uri,
    calls::{call::Call, reads::parse_answer},
    lock::lock,
    scheduling::changed::{Changed, Field},
    waking::provenance::Mark,
    writing::{
        answer::{Taken, is_held, shown, take},
        ledger::Ledger,
        repeats,
    },
};

/// A request that was checked, ready to be sent.
pub(super) struct Prepared {
    pub(super) verb: WriteVerb,
    pub(super) kind: Gvk,
    pub(super) key: Key,
    pub(super) subresource: Option<String>,
    pub(super) dry_run: bool,
    pub(super) paths: Vec<String>,
    pub(super) uri: String,
    pub(super) content_type: &'static str,
    pub(super) body: Vec<u8>,
    /// The paths that a patch names, step by step.
    pub(super) named: Vec<Field>,
    /// Sent again on what it made, it changes nothing.
    pub(super) settles: bool,
}

impl Prepared {
    /// One whose body is a whole object, or what a removal asks for.
    pub(super) fn new(verb: WriteVerb, kind: Gvk, key: Key, uri: String, body: Vec<u8>, options: Options) -> Self {
        Self {
            verb,
            kind,
            key,
            subresource: options.subresource,
            dry_run: options.dry_run,
            paths: Vec::new(),
            uri,
            content_type: "application/json",
            body,
            named: Vec::new(),
            settles: false,
        }
    }
}

fn method(verb: WriteVerb) -> Method {
    match verb {
        WriteVerb::Create => Method::POST,
        WriteVerb::Patch => Method::PATCH,
        WriteVerb::Replace => Method::PUT,
        WriteVerb::Remove => Method::DELETE,
    }
}

/// A write that went through, beside the object that it made.
struct Sent<'a> {
    kind: &'a Gvk,
    /// As what it is remembered, where it may be repeated.
    mark: Option<repeats::Mark>,
    settles: bool,
    /// What the call knew the object as before.
    had: Option<Object>,
    /// Whether the plugin sees all of it.
    whole: bool,
    named: Vec<Field>,
}

impl Call {
    /// Sends a write in a task of its own and waits for it. The guest may go; the task stays.
    pub(super) async fn write(&self, prepared: Prepared) -> Result<Option<String>, ApiError> {
        if lock(&self.ledger).is_full() {
            let message = "this call has written more than 64 MiB of objects: do the rest in the next run";
            return Err(ApiError::of_host(reason::LIMIT, message));
        }
        let sending = self.sending();
        let call = self.clone();
        #[allow(
            clippy::disallowed_methods,
            reason = "a sent write belongs to the host, not to the call"
        )]
        let task = tokio::spawn(async move {
            let answer = call.send(prepared).await;
            drop(sending);
            answer
        });
        task.await.unwrap_or_else(|error| {
            Err(ApiError {
                maybe_applied: true,
                ..ApiError::of_host(
                    reason::UNAVAILABLE,
                    format!("the write was broken off in the host: {error}"),
                )
            })
        })
    }

    async fn send(&self, write: Prepared) -> Result<Option<String>, ApiError> {
        let Prepared {
            verb,
            kind,
            key,
            subresource,
            dry_run,
            paths,
            uri,
            content_type,
            body,
            named,
            settles,
        } = write;
        let method = method(verb);
        let may_repeat = !dry_run && matches!(verb, WriteVerb::Patch | WriteVerb::Replace) && !kind.is_secret();
        let mark = may_repeat.then(|| repeats::mark(method.as_str(), &uri, content_type, &body));
        if let Some(answer) = mark.and_then(|mark| self.repeated(&kind, &key, &mark)) {
            self.shared.metrics.repeated(&self.id);
            let head = answer.head();
            let mut ledger = lock(&self.ledger);
            ledger.saw_live(head);
            ledger.note(Written {
                verb,
                kind,
                key,
                subresource: subresource.map(Into::into),
                paths,
                end: WriteEnd::Repeated(head.version.clone()),
            });
            drop(ledger);
            return Ok(Some(self.shown_to_the_plugin(&answer)));
        }
        // Whom the store knows under this name before: a removal is of that one.
        let before = self.cached(&kind, &key);
        let before_whole = self.sees_whole(&kind, &key);
        lock(&self.shared.provenance).sends(&kind, &key, &self.plugin.name, self.cause.clone());
        let sent = self.request(method, uri, Some(content_type), body).await;
        let answer = match sent {
            // Success, but unreadable: it happened, and nobody knows what came of it.
            Ok(answer) => take(verb, &kind, subresource.as_deref(), &answer).map_err(|error| ApiError {
                maybe_applied: true,
                ..error
            }),
            Err(error) => {
                self.shared.kinds.failed(&kind, &error);
                Err(error)
            }
        };
        let mut ledger = lock(&self.ledger);
        let had = ledger.over(&kind, &key, before.clone());
        let whole = before_whole || ledger.has_own(&kind, &key);
        let end = match &answer {
            Ok(_) if dry_run => WriteEnd::DryRun,
            Ok(Taken::Object(object)) => {
                let sent = Sent {
                    kind: &kind,
                    mark,
                    settles,
                    had,
                    whole,
                    named,
                };
                self.enter(&mut ledger, object, sent);
                WriteEnd::Done(Some(object.head().version.clone()))
            }
            Ok(Taken::Gone { uid }) => {
                let uid = uid
                    .clone()
                    .or_else(|| before.map(|o| o.head().uid.to_string()))
                    .unwrap_or_default();
                self.wrote(&kind, &key, Mark::Gone(uid.as_str().into()));
                ledger.changed(Changed {
                    kind: kind.clone(),
                    key: key.clone(),
                    before: None,
                    whole: false,
                    after: None,
                    mark: Version::new(&uid),
                    named: Vec::new(),
                });
                ledger.removed(kind.clone(), key.clone(), uid);
                WriteEnd::Done(None)
            }
            Ok(Taken::Other { version, .. }) => {
                // A Scale, say: the object itself has moved on with it.
                if let Some(version) = version {
                    self.wrote(&kind, &key, Mark::Version(version.clone()));
                    ledger.wrote_other(kind.clone(), key.clone(), version.clone());
                }
                WriteEnd::Done(version.clone())
            }
            Err(error) if error.maybe_applied => {
                // A dry run has changed nothing, and an object whose name the server made up can't be looked for.
                if !dry_run && !key.name.is_empty() {
                    ledger.uncertain.push((kind.clone(), key.clone()));
                }
                WriteEnd::Unknown(shown(error))
            }
            Err(error) => WriteEnd::Refused(shown(error)),
        };
        lock(&self.shared.provenance).sent(&kind, &key, &self.plugin.name);
        let key = match &answer {
            // With generateName the server made up the name.
            Ok(Taken::Object(object)) => object.key().clone(),
            _ => key,
        };
        ledger.note(Written {
            verb,
            kind,
            key,
            subresource: subresource.map(Into::into),
            paths,
            end,
        });
        drop(ledger);
        answer.map(|taken| match taken {
            Taken::Object(object) => Some(self.shown_to_the_plugin(&object)),
            Taken::Other { json, .. } => Some(json),
            Taken::Gone { .. } => None,
        })
    }

    /// The object that a write made, into the books: of the call, of the plugin's repeats, and of who wrote what.
    fn enter(&self, ledger: &mut Ledger, object: &Object, sent: Sent<'_>) {
        let Sent {
            kind,
            mark,
            settles,
            had,
            whole,
            named,
        } = sent;
        let head = object.head();
        ledger.saw_live(head);
        let moved = had.as_ref().is_none_or(|had| had.head().version != head.version);
        let (of_its_kind, held) = (*head.gvk == *kind, is_held(object));
        if let Some(mark) = mark {
            let mut repeats = lock(&self.plugin.repeats);
            if of_its_kind && held && (settles || !moved) {
                repeats.went(mark, object.clone());
            } else {
                repeats.forget(&mark);
            }
        }
        if !of_its_kind {
            return;
        }
        let mut after = None;
        if held {
            let keep = if kind.is_secret() { Keep::Secret } else { Keep::Cut };
            // It was read a moment ago with everything kept; with less it reads as well.
            if let Ok(cut) = Object::parse(object.json().as_bytes(), Some(kind), keep) {
                after = Some(cut.clone());
                ledger.put(cut);
            }
            self.expect(object);
        } else {
            self.wrote(kind, head.key, Mark::Gone(head.uid.into()));
            // The last finalizer went with this write, and the object with it. The answer has the version from before,
            // so waiting for that would be no waiting.
            ledger.removed(kind.clone(), head.key.clone(), head.uid.to_string());
        }
        if moved {
            ledger.changed(Changed {
                kind: kind.clone(),
                key: head.key.clone(),
                before: had,
                whole,
                after,
                mark: head.version.clone(),
                named,
            });
        }
        self.wrote(kind, head.key, Mark::Version(head.version.clone()));
    }

    /// The answer to a write that went through before, where nothing has happened to its object since, as far as is
    /// known.
    fn repeated(&self, kind: &Gvk, key: &Key, mark: &repeats::Mark) -> Option<Object> {
        if !lock(&self.plugin.repeats).has(mark) {
            return None;
        }
        let cached = self.watched(kind, key)?;
        let head = cached.head();
        {
            // What the call itself knows is newer than the cache, or nobody knows what a write of it has done.
            let ledger = lock(&self.ledger);
            let own = ledger.over(kind, key, Some(cached.clone()))?;
            if own.head().version != head.version || ledger.uncertain.iter().any(|(k, at)| k == kind && at == key) {
                return None;
            }
        }
        if lock(&self.shared.provenance).is_under_way(kind, key) {
            return None;
        }
        lock(&self.plugin.repeats).known(mark, head.uid, head.version)
    }

    /// A write of this call left this mark, by which its event is known again.
    fn wrote(&self, kind: &Gvk, key: &Key, mark: Mark) {
        lock(&self.shared.provenance).wrote(kind, key, mark, &self.plugin.name, self.cause.clone());
    }

    /// The plugin's windows are to tell of this object's end even if no watch ever tells of the object.
    fn expect(&self, object: &Object) {
        for window in self.plugin.views.get(object.head().gvk).into_iter().flatten() {
            window.expect(object);
        }
    }

    /// A written object as the plugin may see it: a Secret's data takes the right to read it.
    fn shown_to_the_plugin(&self, object: &Object) -> String {
        let head = object.head();
        let (namespace, name) = (head.key.namespace.as_deref(), Some(&*head.key.name));
        let capabilities = &self.plugin.plugin.capabilities;
        if head.gvk.is_secret() && capabilities.allows(Verb::Get, head.gvk, namespace, name, None).is_err() {
            // It was read a moment ago with everything kept; with less it reads as well.
            return Object::parse(object.json().as_bytes(), Some(head.gvk), Keep::Secret)
                .map(|object| object.json().to_owned())
                .unwrap_or_default();
        }
        object.json().to_owned()
    }

    /// Reads the target of a write whose outcome nobody knows, so that the next run's cache is not older than it.
    ///
    /// # Errors
    /// The API server still doesn't answer: the key must not run yet.
    pub(crate) async fn ascertain(&self, kind: &Gvk, key: &Key) -> Result<Option<Version>, ApiError> {
        let resource = match self.resolve(kind).await {
            Ok(resource) => resource,
            Err(error) if error.code == 404 => return Ok(None),
            Err(error) => return Err(error),
        };
        let Ok(uri) = uri(kind, &resource, key.namespace.as_deref(), Some(&key.name), None, &[]) else {
            return Ok(None);
        };
        match self.request(Method::GET, uri, None, Vec::new()).await {
            Ok(answer) => Ok(parse_answer(&answer, kind).ok().map(|object| {
                self.expect(&object);
                object.head().version.clone()
            })),
            Err(error) if error.reason == reason::UNAVAILABLE || error.code >= 500 || error.code == 429 => Err(error),
            // Refused (not there, or no right to read it): as much as can be known.
            Err(_) => Ok(None),
        }
    }
}

#[cfg(test)]
#[path = "sending_tests.rs"]
mod tests;
