//! The imports that write: what each may do is checked, and its request made.

use pilothouse_lifecycle::Verb;
use pilothouse_object::Gvk;
use pilothouse_runtime::{ApiError, Change, ObjectRef, Options, Propagation, reason};

use crate::{
    WriteVerb,
    api::{path::uri, refusal::bad_request},
    calls::call::{Call, gvk_of},
    lock::lock,
    writing::{
        body::{self, key_of},
        sending::Prepared,
    },
};

/// A field manager's name may have so many characters.
const MAX_MANAGER: usize = 128;

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
        let body = body::new_object(&target, &object, &options)?;
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
            .write(Prepared::new(WriteVerb::Create, kind, key, uri, body, options))
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
                content_type: patch.content_type,
                named: patch.paths.iter().map(|path| vec![path.clone()]).collect(),
                paths: patch.paths,
                settles,
                ..Prepared::new(WriteVerb::Patch, kind, key, uri, patch.body, options)
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
            .write(Prepared::new(WriteVerb::Replace, kind, key, uri, body, options))
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
        let body = body::delete(propagation, &options);
        let uri = uri(
            &kind,
            &resource,
            target.namespace.as_deref(),
            Some(&target.name),
            None,
            &query,
        )?;
        self.write(Prepared::new(WriteVerb::Remove, kind, key, uri, body, options))
            .await
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

#[cfg(test)]
#[path = "writes_tests.rs"]
mod tests;
