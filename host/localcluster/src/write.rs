//! Creating and updating: the way every object takes into the store.

use std::sync::Arc;

use serde_json::Value;

use crate::builtin;
use crate::checks;
use crate::cluster::{Cluster, crds, namespaces};
use crate::decode;
use crate::meta;
use crate::query::WriteOptions;
use crate::route::{Cx, Part, Target, show};
use crate::schema::{default, validate};
use crate::status::{FieldError, Status};
use crate::types::ResourceType;
use crate::wire::Response;
use crate::{clock, convert, scale};

/// What generated names end with.
const SUFFIX: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Names are generated at most this often for one create.
const MAX_ATTEMPTS: usize = 8;
/// A prefix of generated names is cut to this length.
const MAX_PREFIX: usize = 58;

impl Cluster {
    /// POST
    pub(crate) fn create(&mut self, cx: &mut Cx<'_>, target: &Target) -> Result<Response, Status> {
        let view = cx.view(false)?;
        let options = WriteOptions::parse(&cx.query, "CreateOptions")?;
        let type_ = &target.type_;
        let object = decode::object(cx, type_, options.validation)?;
        if let Some(name) = &target.name
            && meta::text(&object, "name") != &**name
        {
            return Err(checks::name_mismatch(meta::text(&object, "name"), name));
        }
        let object = self.insert(cx, target, object, options)?;
        Ok(show(view, type_, 201, &object, self.now))
    }

    /// Everything of a create but reading the request: what is returned is the object as the client sees it.
    fn insert(
        &mut self,
        cx: &mut Cx<'_>,
        target: &Target,
        mut object: Value,
        options: WriteOptions,
    ) -> Result<Arc<Value>, Status> {
        let type_ = &*target.type_;
        checks::settle_namespace(target, &mut object)?;
        self.admit(type_, target.namespace.as_ref(), meta::text(&object, "name"))?;
        let version_given = !matches!(meta::text(&object, "resourceVersion"), "" | "0");
        for field in ["resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds"] {
            meta::remove(&mut object, field);
        }
        meta::set(&mut object, "uid", self.uid().into());
        meta::set(&mut object, "creationTimestamp", clock::timestamp(self.now).into());
        if type_.generation {
            meta::set(&mut object, "generation", 1.into());
        } else if type_.custom {
            meta::remove(&mut object, "generation");
        }
        if type_.status
            && let Some(map) = object.as_object_mut()
        {
            map.remove("status");
        }
        self.settle_name(target, &mut object);
        self.fill_in(type_, &mut object);
        builtin::prepare_create(self, type_, &mut object);
        self.hold(type_, &object, Vec::new())?;
        let (id, key) = (type_.collection(), key_of(target, &object));
        if *id.1 == *crds().1 && id == crds() {
            self.prepare_crd(&mut object, None)?;
            self.crd_warnings(cx, &object);
        }
        if version_given {
            return Err(Status::new(
                500,
                "",
                "resourceVersion should not be set on objects to be created",
            ));
        }
        if let Some(there) = self.store.get(&id, &key) {
            let mut status = Status::already_exists(type_, &key.1);
            if meta::is_deleting(there) {
                status.message.insert_str(0, "object is being deleted: ");
            }
            return Err(status);
        }
        convert::to_stored(type_, &mut object);
        if options.dry_run {
            return Ok(convert::from_stored(type_, &Arc::new(object)));
        }
        let stored = self.store.put(&id, &key, object);
        self.written(&id, &key, None, Some(&stored));
        if id == crds() {
            self.refresh_crd(&key.1);
        }
        Ok(convert::from_stored(type_, &stored))
    }

    /// PUT of an object or of its status.
    pub(crate) fn update(&mut self, cx: &mut Cx<'_>, target: &Target) -> Result<Response, Status> {
        let view = cx.view(false)?;
        let options = WriteOptions::parse(&cx.query, "UpdateOptions")?;
        let type_ = &target.type_;
        let mut object = decode::object(cx, type_, options.validation)?;
        checks::settle_namespace(target, &mut object)?;
        checks::check_name(target, &object)?;
        let (id, key) = (type_.collection(), target.key());
        let Some(stored) = self.store.get(&id, &key).cloned() else {
            if target.part == Part::Main && builtin::creates_on_update(type_) {
                checks::check_uid(type_, &key, "", &object, options.dry_run)?;
                let version = meta::remove(&mut object, "resourceVersion");
                let mut object = self.insert(cx, target, object, options)?;
                // Nothing was stored, so what was sent stays.
                if let Some(version) = version.filter(|_| options.dry_run) {
                    meta::set(Arc::make_mut(&mut object), "resourceVersion", version);
                }
                return Ok(show(view, type_, 201, &object, self.now));
            }
            return Err(Status::not_found(type_, &key.1));
        };
        let updated = self.replace(cx, target, &stored, object, options)?;
        Ok(show(view, type_, 200, &updated, self.now))
    }

    /// Everything of an update but reading the request: what is returned is the object as the client sees it.
    pub(crate) fn replace(
        &mut self,
        cx: &mut Cx<'_>,
        target: &Target,
        stored: &Arc<Value>,
        mut object: Value,
        options: WriteOptions,
    ) -> Result<Arc<Value>, Status> {
        let type_ = &*target.type_;
        let old = convert::from_stored(type_, stored);
        let (id, key) = (type_.collection(), target.key());
        // A uid in a patch is a field like any other.
        if cx.request.method != http::Method::PATCH {
            checks::check_uid(type_, &key, meta::text(&old, "uid"), &object, options.dry_run)?;
        }
        checks::check_version(type_, &key.1, &old, &object)?;
        take_over(type_, target.part, &old, &mut object);
        self.fill_in(type_, &mut object);
        builtin::prepare_update(type_, &old, &mut object);
        let mut errors = Vec::new();
        meta::validate_update(&old, &object, &mut errors);
        if target.part != Part::Status {
            builtin::validate_update(type_, &old, &object, &mut errors);
        }
        self.hold(type_, &object, errors)?;
        if type_.generation && spec_changed(type_, &old, &object) {
            let generation = meta::get(&old, "generation")
                .and_then(Value::as_i64)
                .unwrap_or_default();
            meta::set(&mut object, "generation", generation.saturating_add(1).into());
        }
        if id == crds() && target.part == Part::Main {
            self.prepare_crd(&mut object, Some(&old))?;
            self.crd_warnings(cx, &object);
        }
        convert::to_stored(type_, &mut object);
        if object == **stored {
            return Ok(convert::from_stored(type_, stored));
        }
        if may_go(&id, &object) {
            // The answer shows the object as it would have been, under the version it had.
            if !options.dry_run {
                self.erase(&id, &key);
            }
            return Ok(convert::from_stored(type_, &Arc::new(object)));
        }
        if options.dry_run {
            return Ok(convert::from_stored(type_, &Arc::new(object)));
        }
        Ok(convert::from_stored(type_, &self.save(&id, &key, object)))
    }

    /// Stores a changed object without asking anything.
    pub(crate) fn save(
        &mut self,
        id: &crate::store::CollectionId,
        key: &crate::store::Key,
        object: Value,
    ) -> Arc<Value> {
        let old = self.store.get(id, key).cloned();
        let stored = self.store.put(id, key, object);
        self.written(id, key, old.as_deref(), Some(&stored));
        if *id == crds() {
            self.refresh_crd(&key.1);
        }
        stored
    }

    /// Removes an object without asking anything.
    pub(crate) fn erase(&mut self, id: &crate::store::CollectionId, key: &crate::store::Key) {
        if let Some(gone) = self.store.remove(id, key) {
            self.written(id, key, Some(&gone), None);
            if *id == crds() {
                self.drop_crd(&gone);
            }
        }
    }

    /// Namespace lifecycle: nothing is created in a namespace that is missing or being deleted, nor under a CRD that
    /// is being deleted.
    fn admit(&self, type_: &ResourceType, namespace: Option<&Arc<str>>, name: &str) -> Result<(), Status> {
        if type_.terminating {
            let message = format!(
                "{} {name:?} is forbidden: create not allowed while custom resource definition is terminating",
                type_.qualified()
            );
            let details = crate::status::details(name, &type_.group, &type_.plural);
            return Err(Status::new(403, "Forbidden", message).with_details(details));
        }
        let Some(namespace) = namespace.filter(|_| type_.namespaced) else {
            return Ok(());
        };
        let Some(object) = self.store.get(&namespaces(), &("".into(), namespace.clone())) else {
            return Err(
                Status::new(404, "NotFound", format!("namespaces {:?} not found", &**namespace))
                    .with_details(crate::status::details(namespace, "", "namespaces")),
            );
        };
        if meta::is_deleting(object) {
            let message = format!(
                "{} {name:?} is forbidden: unable to create new content in namespace {namespace} because it is being \
                 terminated",
                type_.qualified()
            );
            return Err(Status::new(403, "Forbidden", message)
                .with_details(crate::status::details(name, &type_.group, &type_.plural))
                .with_cause(
                    "NamespaceTerminating",
                    &format!("namespace {namespace} is being terminated"),
                    Some("metadata.namespace"),
                ));
        }
        Ok(())
    }

    /// Gives an object without a name one, if it says how it should begin.
    fn settle_name(&mut self, target: &Target, object: &mut Value) {
        let prefix = meta::text(object, "generateName").to_owned();
        if !meta::text(object, "name").is_empty() || prefix.is_empty() {
            return;
        }
        let mut end = prefix.len().min(MAX_PREFIX);
        while !prefix.is_char_boundary(end) {
            end -= 1;
        }
        let id = target.type_.collection();
        for _ in 0..MAX_ATTEMPTS {
            let suffix: String = (0..5)
                .map(|_| char::from(SUFFIX[self.rng.usize(..SUFFIX.len())]))
                .collect();
            meta::set(object, "name", format!("{}{suffix}", &prefix[..end]).into());
            if self.store.get(&id, &key_of(target, object)).is_none() {
                return;
            }
        }
    }

    /// Fills in the defaults of the schema, or those known of a built-in kind.
    fn fill_in(&self, type_: &ResourceType, object: &mut Value) {
        match &type_.schema {
            Some(schema) if type_.custom => default::default(object, schema),
            _ => builtin::fill_in(type_, object),
        }
    }

    /// Holds an object against all rules. `errors` are those that were found before.
    fn hold(&self, type_: &ResourceType, object: &Value, mut errors: Vec<FieldError>) -> Result<(), Status> {
        meta::validate(object, builtin::name_rule(type_), &mut errors);
        match &type_.schema {
            Some(schema) if type_.custom => {
                errors.extend(validate::validate(object, schema, &type_.patterns, ""));
                if let Some(paths) = &type_.scale_paths {
                    scale::validate(paths, object, &mut errors);
                }
            }
            _ => builtin::validate(type_, object, &mut errors),
        }
        if errors.is_empty() {
            return Ok(());
        }
        // Events are told of in the core group, whichever group they were sent to.
        let group = if !type_.custom && &*type_.kind == "Event" {
            ""
        } else {
            &*type_.group
        };
        Err(Status::invalid(group, &type_.kind, meta::text(object, "name"), &errors))
    }
}

/// Where an object stands once it has its name.
fn key_of(target: &Target, object: &Value) -> crate::store::Key {
    (
        target.namespace.clone().unwrap_or_else(|| "".into()),
        meta::text(object, "name").into(),
    )
}

/// Takes over from the old object what this update does not change: what the server sets, and the status, or all but
/// the status.
fn take_over(type_: &ResourceType, part: Part, old: &Value, object: &mut Value) {
    let part_only = |object: &mut Value, field: &str| {
        let mut kept = old.clone();
        if let Some(map) = kept.as_object_mut() {
            map.remove(field);
            if let Some(value) = object.get_mut(field).map(Value::take) {
                map.insert(field.to_owned(), value);
            }
        }
        *object = kept;
    };
    match part {
        Part::Status => return part_only(object, "status"),
        Part::Finalize => {
            let finalizers = object.pointer("/spec/finalizers").cloned();
            *object = old.clone();
            let spec = meta::child(object, "spec");
            match finalizers {
                Some(finalizers) => spec.insert("finalizers".into(), finalizers),
                None => spec.remove("finalizers"),
            };
            return;
        }
        Part::Main | Part::Scale => {}
    }
    if type_.status
        && let Some(map) = object.as_object_mut()
    {
        map.remove("status");
        if let Some(status) = old.get("status") {
            map.insert("status".into(), status.clone());
        }
    }
    for field in ["uid", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        if meta::get(object, field).is_none() {
            meta::copy(old, object, field);
        }
    }
    for field in ["creationTimestamp", "resourceVersion", "generation"] {
        meta::copy(old, object, field);
    }
}

/// Whether something changed that `metadata.generation` counts.
fn spec_changed(type_: &ResourceType, old: &Value, new: &Value) -> bool {
    let counted = |object: &Value| -> Option<serde_json::Map<String, Value>> {
        let mut map = object.as_object()?.clone();
        map.remove("metadata");
        if type_.status {
            map.remove("status");
        }
        Some(map)
    };
    counted(old) != counted(new)
}

/// Whether an object that is being deleted has lost its last finalizer.
pub(crate) fn may_go(id: &crate::store::CollectionId, object: &Value) -> bool {
    let held = *id == namespaces()
        && object
            .pointer("/spec/finalizers")
            .and_then(Value::as_array)
            .is_some_and(|held| !held.is_empty());
    meta::is_deleting(object) && meta::finalizers(object).is_empty() && !held
}
