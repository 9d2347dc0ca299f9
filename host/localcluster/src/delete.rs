//! DELETE of one object or of many.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::builtin;
use crate::clock;
use crate::cluster::{Cluster, crds, namespaces};
use crate::convert;
use crate::crd;
use crate::meta;
use crate::query::{DeleteOptions, Propagation};
use crate::read;
use crate::route::{Cx, Target, show};
use crate::status::Status;
use crate::store::{CollectionId, Key};
use crate::types::ResourceType;
use crate::wire::Response;

/// Namespaces that must stay.
const IMMORTAL: [&str; 3] = ["default", "kube-public", "kube-system"];

/// What a deletion did.
pub(crate) enum Deleted {
    /// The object is gone.
    Gone,
    /// The object waits for finalizers; this is how it stands there, or would in a dry run.
    Waits(Arc<Value>),
}

impl Cluster {
    /// DELETE of one object.
    pub(crate) fn delete(&mut self, cx: &mut Cx<'_>, target: &Target) -> Result<Response, Status> {
        let view = cx.view(false)?;
        let options = read_options(cx)?;
        let type_ = &*target.type_;
        let (id, key) = (type_.collection(), target.key());
        let stored = self
            .store
            .get(&id, &key)
            .cloned()
            .ok_or_else(|| Status::not_found(type_, &key.1))?;
        check_preconditions(type_, &key.1, &stored, &options)?;
        check_immortal(&id, &key)?;
        match self.remove(&id, &key, &stored, options.propagation, options.dry_run) {
            Deleted::Waits(object) => {
                let shown = convert::from_stored(type_, &object);
                Ok(show(view, type_, 200, &shown, self.now))
            }
            Deleted::Gone if builtin::returns_deleted(type_) => {
                let mut gone = Value::clone(&stored);
                if builtin::goes_gracefully(type_) {
                    meta::set(&mut gone, "deletionTimestamp", clock::timestamp(self.now).into());
                    meta::set(&mut gone, "deletionGracePeriodSeconds", 0.into());
                }
                Ok(show(view, type_, 200, &gone, self.now))
            }
            Deleted::Gone => {
                let mut details = crate::status::details(&key.1, &type_.group, &type_.plural);
                if let Some(map) = details.as_object_mut() {
                    map.insert("uid".into(), meta::text(&stored, "uid").into());
                }
                let status = json!({
                    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
                });
                Ok(Response::json(200, &status))
            }
        }
    }

    /// DELETE of all objects of a collection that the selectors let through.
    pub(crate) fn delete_collection(&mut self, cx: &mut Cx<'_>, target: &Target) -> Result<Response, Status> {
        let view = cx.view(true)?;
        let options = read_options(cx)?;
        let page = self.page(cx, target)?;
        let type_ = &*target.type_;
        let id = type_.collection();
        for object in &page.items {
            let key: Key = (
                meta::text(object, "namespace").into(),
                meta::text(object, "name").into(),
            );
            if let Some(stored) = self.store.get(&id, &key).cloned() {
                check_preconditions(type_, &key.1, &stored, &options)?;
                self.remove(&id, &key, &stored, options.propagation, options.dry_run);
            }
        }
        Ok(read::show_list(view, type_, &page, self.now))
    }

    /// Deletes an object as far as its finalizers let it.
    pub(crate) fn remove(
        &mut self,
        id: &CollectionId,
        key: &Key,
        stored: &Arc<Value>,
        propagation: Option<Propagation>,
        dry_run: bool,
    ) -> Deleted {
        let mut object = Value::clone(stored);
        let mut finalizers: Vec<String> = meta::finalizers(&object).into_iter().map(str::to_owned).collect();
        if let Some(propagation) = propagation {
            finalizers.retain(|finalizer| !matches!(finalizer.as_str(), "orphan" | "foregroundDeletion"));
            match propagation {
                Propagation::Background => {}
                Propagation::Foreground => finalizers.push("foregroundDeletion".into()),
                Propagation::Orphan => finalizers.push("orphan".into()),
            }
        }
        if *id == crds() && !finalizers.iter().any(|finalizer| finalizer == crd::CLEANUP) && !meta::is_deleting(&object)
        {
            finalizers.push(crd::CLEANUP.into());
        }
        meta::set_finalizers(&mut object, &finalizers);
        let is_namespace = *id == namespaces();
        let held = is_namespace
            && object
                .pointer("/spec/finalizers")
                .is_some_and(|held| *held != json!([]));
        if finalizers.is_empty() && !held {
            if !dry_run {
                self.erase(id, key);
            }
            return Deleted::Gone;
        }
        if !meta::is_deleting(&object) {
            meta::set(&mut object, "deletionTimestamp", clock::timestamp(self.now).into());
            if !is_namespace {
                meta::set(&mut object, "deletionGracePeriodSeconds", 0.into());
            }
            if let Some(generation) = meta::get(&object, "generation")
                .and_then(Value::as_i64)
                .filter(|g| *g > 0)
            {
                meta::set(&mut object, "generation", generation.saturating_add(1).into());
            }
            if is_namespace {
                meta::child(&mut object, "status").insert("phase".into(), "Terminating".into());
            }
            if *id == crds() {
                crd::mark_terminating(&mut object, self.now);
            }
        }
        if dry_run {
            return Deleted::Waits(Arc::new(object));
        }
        if object == **stored {
            return Deleted::Waits(stored.clone());
        }
        Deleted::Waits(self.save(id, key, object))
    }
}

fn read_options(cx: &Cx<'_>) -> Result<DeleteOptions, Status> {
    let media = cx
        .request
        .content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    if !cx.request.body.is_empty() && !matches!(media.as_str(), "" | "application/json") {
        return Err(Status::unsupported_media_type("application/json"));
    }
    DeleteOptions::parse(&cx.query, &cx.request.body)
}

fn check_preconditions(
    type_: &ResourceType,
    name: &str,
    stored: &Value,
    options: &DeleteOptions,
) -> Result<(), Status> {
    // Here, and only here, the kind stands where the resource stands elsewhere.
    let conflict = |why: String| {
        let message = format!(
            "Operation cannot be fulfilled on {} {name:?}: {why}",
            type_.qualified_kind()
        );
        Status::new(409, "Conflict", message).with_details(crate::status::details(name, &type_.group, &type_.kind))
    };
    let have = meta::text(stored, "uid");
    if let Some(uid) = options.uid.as_deref().filter(|uid| *uid != have) {
        return Err(conflict(format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({have}). The object might have been \
             deleted and then recreated"
        )));
    }
    let have = meta::text(stored, "resourceVersion");
    if let Some(version) = options.version.as_deref().filter(|version| *version != have) {
        return Err(conflict(format!(
            "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record \
             ({have}). The object might have been modified"
        )));
    }
    Ok(())
}

fn check_immortal(id: &CollectionId, key: &Key) -> Result<(), Status> {
    if *id == namespaces() && IMMORTAL.contains(&&*key.1) {
        let message = format!(
            "namespaces {:?} is forbidden: this namespace may not be deleted",
            &*key.1
        );
        return Err(
            Status::new(403, "Forbidden", message).with_details(crate::status::details(&key.1, "", "namespaces")),
        );
    }
    Ok(())
}
