//! What a call writes. A write that was sent belongs to the host: it finishes or times out in a task of its own, even
//! when the call that sent it is ended.

use http::Method;
use pilothouse_lifecycle::Verb;
use pilothouse_object::{FieldPath, Gvk, Keep, Key, Object, Version, escape_control, shorten};
use pilothouse_runtime::{ApiError, Change, ObjectRef, Options, Propagation, reason};

use crate::lock::lock;
use crate::{
    WriteEnd, WriteVerb, Written,
    api::{path::uri, refusal::bad_request},
    calls::{
        call::{Call, gvk_of},
        reads::parse_answer,
    },
    scheduling::changed::{Changed, Field},
    waking::provenance::Mark,
    writing::{
        body::{self, key_of},
        repeats,
    },
};

/// A field manager's name may have so many characters.
const MAX_MANAGER: usize = 128;

/// A request that was checked, ready to be sent.
struct Prepared {
    verb: WriteVerb,
    kind: Gvk,
    key: Key,
    subresource: Option<String>,
    dry_run: bool,
    paths: Vec<String>,
    method: Method,
    uri: String,
    content_type: &'static str,
    body: Vec<u8>,
    /// The paths that a patch names, step by step.
    named: Vec<Field>,
    /// Sent again on what it made, it changes nothing.
    settles: bool,
}

impl Call {
    pub(crate) async fn write_create(
        &self,
        target: ObjectRef,
        object: String,
        options: Options,
    ) -> Result<String, ApiError> {
        let (kind, key) = (gvk_of(&target.kind), key_of(&target));
        if options.uid.is_some() || options.resource_version.is_some() || options.force {
            return Err(bad_request(
                "a creation has no preconditions and no force: leave uid, resource-version and force out",
            ));
        }
        let named = (!target.name.is_empty()).then_some(&*target.name);
        self.check(
            Verb::Create,
            &kind,
            target.namespace.as_deref(),
            named,
            options.subresource.as_deref(),
        )?;
        not_an_event(&kind)?;
        if options.subresource.is_some() && target.name.is_empty() {
            return Err(bad_request("a subresource is of an object: name it"));
        }
        let body = body::object(&target, &object, &options)?;
        let resource = self.resolve(&kind).await?;
        // A subresource is created on its object (an eviction, say), an object on its collection.
        let name = options.subresource.as_ref().and(named);
        if resource.namespaced && target.namespace.is_none() {
            return Err(bad_request(format!(
                "{} lives in namespaces: name the object's",
                kind.kind
            )));
        }
        let manager = self.manager(&options)?;
        let query = query(&options, Some(&manager));
        let uri = uri(
            &kind,
            &resource,
            target.namespace.as_deref(),
            name,
            options.subresource.as_deref(),
            &query,
        )?;
        let object = self
            .write(Prepared {
                verb: WriteVerb::Create,
                kind,
                key,
                subresource: options.subresource,
                dry_run: options.dry_run,
                paths: Vec::new(),
                method: Method::POST,
                uri,
                content_type: "application/json",
                body,
                named: Vec::new(),
                settles: false,
            })
            .await?;
        Ok(object.unwrap_or_default())
    }

    pub(crate) async fn write_patch(
        &self,
        target: ObjectRef,
        change: Change,
        options: Options,
    ) -> Result<String, ApiError> {
        let (kind, key) = (gvk_of(&target.kind), key_of(&target));
        if options.force && !matches!(change, Change::Apply(_)) {
            return Err(bad_request("force is for apply alone"));
        }
        self.check_named(Verb::Patch, &kind, &target, &options)?;
        not_an_event(&kind)?;
        if matches!(change, Change::Apply(_)) && options.subresource.is_none() && options.uid.is_none() {
            self.check_that_it_may_be_new(&kind, &target)?;
        }
        let patch = body::patch(&target, &change, &options)?;
        if let Change::Merge(json) = &change {
            self.check_lists(&kind, &key, json, &options)?;
        }
        // A body that names a version is for that one alone; how lists are merged by a strategic patch is the kind's.
        let settles = matches!(change, Change::Merge(_) | Change::Apply(_)) && options.resource_version.is_none();
        let resource = self.resolve(&kind).await?;
        let manager = self.manager(&options)?;
        let mut query = query(&options, Some(&manager));
        if options.force {
            query.push(("force", "true"));
        }
        let name = Some(&*target.name);
        let uri = uri(
            &kind,
            &resource,
            target.namespace.as_deref(),
            name,
            options.subresource.as_deref(),
            &query,
        )?;
        let object = self
            .write(Prepared {
                verb: WriteVerb::Patch,
                kind,
                key,
                subresource: options.subresource,
                dry_run: options.dry_run,
                paths: patch.paths.clone(),
                method: Method::PATCH,
                uri,
                content_type: patch.content_type,
                named: patch.paths.iter().map(|path| vec![path.clone()]).collect(),
                settles,
                body: patch.body,
            })
            .await?;
        Ok(object.unwrap_or_default())
    }

    pub(crate) async fn write_replace(
        &self,
        target: ObjectRef,
        object: String,
        options: Options,
    ) -> Result<String, ApiError> {
        let (kind, key) = (gvk_of(&target.kind), key_of(&target));
        if options.force {
            return Err(bad_request("force is for apply alone"));
        }
        self.check_named(Verb::Replace, &kind, &target, &options)?;
        not_an_event(&kind)?;
        let live = options
            .resource_version
            .as_deref()
            .is_some_and(|v| lock(&self.ledger).has_seen_live(&kind, &key, v));
        if !live {
            return Err(ApiError::of_host(
                reason::DENIED,
                "replace needs the resource-version of a `live` read of this call, since cached objects may be cut: \
                 read the object live first, or send a patch",
            ));
        }
        let body = body::object(&target, &object, &options)?;
        let resource = self.resolve(&kind).await?;
        let manager = self.manager(&options)?;
        let query = query(&options, Some(&manager));
        let name = Some(&*target.name);
        let uri = uri(
            &kind,
            &resource,
            target.namespace.as_deref(),
            name,
            options.subresource.as_deref(),
            &query,
        )?;
        let object = self
            .write(Prepared {
                verb: WriteVerb::Replace,
                kind,
                key,
                subresource: options.subresource,
                dry_run: options.dry_run,
                paths: Vec::new(),
                method: Method::PUT,
                uri,
                content_type: "application/json",
                body,
                named: Vec::new(),
                settles: false,
            })
            .await?;
        Ok(object.unwrap_or_default())
    }

    pub(crate) async fn write_remove(
        &self,
        target: ObjectRef,
        propagation: Propagation,
        options: Options,
    ) -> Result<Option<String>, ApiError> {
        let (kind, key) = (gvk_of(&target.kind), key_of(&target));
        if options.force || options.subresource.is_some() || options.manager_suffix.is_some() {
            return Err(bad_request("a removal has no force, subresource or field manager"));
        }
        self.check_named(Verb::Delete, &kind, &target, &options)?;
        let resource = self.resolve(&kind).await?;
        let propagation = match propagation {
            Propagation::Background => "Background",
            Propagation::Foreground => "Foreground",
            Propagation::Orphan => "Orphan",
        };
        let query = query(&options, None);
        let uri = uri(
            &kind,
            &resource,
            target.namespace.as_deref(),
            Some(&target.name),
            None,
            &query,
        )?;
        let object = self
            .write(Prepared {
                verb: WriteVerb::Remove,
                kind,
                key,
                subresource: None,
                dry_run: options.dry_run,
                paths: Vec::new(),
                method: Method::DELETE,
                uri,
                content_type: "application/json",
                body: body::delete(propagation, &options),
                named: Vec::new(),
                settles: false,
            })
            .await?;
        Ok(object)
    }

    fn check_named(&self, verb: Verb, kind: &Gvk, target: &ObjectRef, options: &Options) -> Result<(), ApiError> {
        if target.name.is_empty() {
            return Err(bad_request("the target has no name"));
        }
        let namespace = target.namespace.as_deref();
        self.check(
            verb,
            kind,
            namespace,
            Some(&target.name),
            options.subresource.as_deref(),
        )
    }

    /// What is applied and isn't there is created, which takes that right, too. With a uid nothing is.
    fn check_that_it_may_be_new(&self, kind: &Gvk, target: &ObjectRef) -> Result<(), ApiError> {
        let namespace = target.namespace.as_deref();
        let checked = self.check(Verb::Create, kind, namespace, Some(&target.name), None);
        checked.map_err(|denied| ApiError {
            message: format!(
                "apply creates what is not there: with the object's uid as a precondition it needs no right to create. {}",
                denied.message
            ),
            ..denied
        })
    }

    /// `pilothouse/PLUGIN`, or with the guest's suffix behind it.
    fn manager(&self, options: &Options) -> Result<String, ApiError> {
        let mut manager = format!("pilothouse/{}", self.plugin.name);
        if let Some(suffix) = &options.manager_suffix {
            manager.push('/');
            manager.push_str(suffix);
        }
        if manager.chars().count() > MAX_MANAGER || manager.chars().any(char::is_control) {
            return Err(bad_request(format!(
                "the field manager's suffix is too long (at most {MAX_MANAGER} in all) or not printable"
            )));
        }
        Ok(manager)
    }

    /// Sends a write in a task of its own and waits for it. The guest may go; the task stays.
    async fn write(&self, prepared: Prepared) -> Result<Option<String>, ApiError> {
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
            method,
            uri,
            content_type,
            body,
            named,
            settles,
        } = write;
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
                let head = object.head();
                ledger.saw_live(head);
                let moved = had.as_ref().is_none_or(|had| had.head().version != head.version);
                if let Some(mark) = mark {
                    let mut repeats = lock(&self.plugin.repeats);
                    if *head.gvk == kind && is_held(object) && (settles || !moved) {
                        repeats.went(mark, object.clone());
                    } else {
                        repeats.forget(&mark);
                    }
                }
                let mut changed = (*head.gvk == kind && moved).then(|| Changed {
                    kind: kind.clone(),
                    key: head.key.clone(),
                    before: had,
                    whole,
                    after: None,
                    mark: head.version.clone(),
                    named: named.clone(),
                });
                if *head.gvk == kind && !is_held(object) {
                    self.removed(&kind, head.key, head.uid);
                    // The last finalizer went with this write, and the object with it. The answer has the version from
                    // before, so waiting for that would be no waiting.
                    ledger.removed(kind.clone(), head.key.clone(), head.uid.to_string());
                } else if *head.gvk == kind {
                    let keep = if kind.is_secret() { Keep::Secret } else { Keep::Cut };
                    // It was read a moment ago with everything kept; with less it reads as well.
                    if let Ok(cut) = Object::parse(object.json().as_bytes(), Some(&kind), keep) {
                        if let Some(changed) = &mut changed {
                            changed.after = Some(cut.clone());
                        }
                        ledger.put(cut);
                    }
                    self.expect(object);
                }
                changed.into_iter().for_each(|changed| ledger.changed(changed));
                if *head.gvk == kind {
                    let (provenance, cause) = (&self.shared.provenance, self.cause.clone());
                    let mark = Mark::Version(head.version.clone());
                    lock(provenance).wrote(&kind, head.key, mark, &self.plugin.name, cause);
                }
                WriteEnd::Done(Some(head.version.clone()))
            }
            Ok(Taken::Gone { uid }) => {
                let uid = uid
                    .clone()
                    .or_else(|| before.map(|o| o.head().uid.to_string()))
                    .unwrap_or_default();
                self.removed(&kind, &key, &uid);
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
                    let (provenance, cause) = (&self.shared.provenance, self.cause.clone());
                    let mark = Mark::Version(version.clone());
                    lock(provenance).wrote(&kind, &key, mark, &self.plugin.name, cause);
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

    /// The answer to a write that went through before, where nothing has happened to its object since, as far as is known.
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

    /// The object of this uid ended by this call's write.
    fn removed(&self, kind: &Gvk, key: &Key, uid: &str) {
        let (mark, cause) = (Mark::Gone(uid.into()), self.cause.clone());
        lock(&self.shared.provenance).wrote(kind, key, mark, &self.plugin.name, cause);
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

/// Who reports an Event is the host's to say, and what of it repeats the host's to count.
fn not_an_event(kind: &Gvk) -> Result<(), ApiError> {
    if *kind.kind == *"Event" && matches!(&*kind.group, "" | "events.k8s.io") {
        return Err(ApiError {
            code: 403,
            ..ApiError::of_host(
                reason::DENIED,
                "Events are not written but emitted (`events.emit`), so that they name who reports them",
            )
        });
    }
    Ok(())
}

/// What a write answered.
enum Taken {
    /// The object as stored.
    Object(Object),
    /// It is gone.
    Gone { uid: Option<String> },
    /// Something else: a subresource's own type, or a Status that says that it went well.
    Other { json: String, version: Option<Version> },
}

/// Reads a success. A removal answers the object where something still holds it, else a Status or the last state.
fn take(verb: WriteVerb, kind: &Gvk, subresource: Option<&str>, answer: &[u8]) -> Result<Taken, ApiError> {
    let text = String::from_utf8_lossy(answer);
    let field = |path: &str| {
        FieldPath::parse(path)
            .ok()
            .and_then(|path| path.strings(&text).into_iter().next())
    };
    let is_status = field("kind").as_deref() == Some("Status");
    if verb != WriteVerb::Remove {
        if !is_status && matches!(subresource, None | Some("status")) {
            return parse_answer(answer, kind).map(Taken::Object);
        }
        let version = field("metadata.resourceVersion").map(|version| Version::new(&version));
        return Ok(Taken::Other {
            version,
            json: text.into_owned(),
        });
    }
    if is_status {
        return Ok(Taken::Gone {
            uid: field("details.uid"),
        });
    }
    let object = parse_answer(answer, kind)?;
    // Without a time of deletion it is the last state of what is gone.
    Ok(if object.head().deletion.is_some() && is_held(&object) {
        Taken::Object(object)
    } else {
        let uid = Some(object.head().uid.to_string());
        Taken::Gone { uid }
    })
}

/// Whether something keeps a written object on the server: nobody has deleted it, or a finalizer or a grace period holds
/// it.
fn is_held(object: &Object) -> bool {
    let has = |member: &str, nothing: &str| object.metadata_text(member).is_some_and(|text| text != nothing);
    object.head().deletion.is_none() || has("finalizers", "[]") || has("deletionGracePeriodSeconds", "0")
}

fn shown(error: &ApiError) -> String {
    format!(
        "{}: {}",
        escape_control(&error.reason),
        escape_control(&shorten(&error.message, 300))
    )
}

fn query<'a>(options: &Options, manager: Option<&'a str>) -> Vec<(&'static str, &'a str)> {
    let mut query = Vec::new();
    if let Some(manager) = manager {
        query.push(("fieldManager", manager));
    }
    if options.dry_run {
        query.push(("dryRun", "All"));
    }
    query
}
