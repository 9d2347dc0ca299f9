//! The objects of the fake and the API server's rules about them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::diff;
use crate::error::ApiError;
use crate::wire::{Change, ObjectRef, Timestamp, WriteOptions};

/// Where an object lies: group and kind, namespace, name.
pub(super) type Place = (String, String, Option<String>, String);

pub(super) fn place(target: &ObjectRef) -> Place {
    (
        target.kind.group.clone(),
        target.kind.kind.clone(),
        target.namespace.clone(),
        target.name.clone(),
    )
}

/// Objects with their versions.
#[derive(Default)]
pub(super) struct Cluster {
    objects: BTreeMap<Place, Value>,
    version: u64,
    uids: u64,
    /// Objects that vanished, oldest first, until the tests' driver takes them.
    pub(super) gone: Vec<Place>,
}

impl Cluster {
    /// Raised by every change.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn get(&self, place: &Place) -> Option<&Value> {
        self.objects.get(place)
    }

    pub(super) fn of_kind<'a>(&'a self, group: &'a str, kind: &'a str) -> impl Iterator<Item = (&'a Place, &'a Value)> {
        self.objects
            .iter()
            .filter(move |(place, _)| place.0 == group && place.1 == kind)
    }

    /// Stores an object as if it had been there for ever, its status with it.
    pub(super) fn put(&mut self, target: &ObjectRef, mut object: Value, now: Timestamp) -> Value {
        self.complete(target, &mut object, now);
        self.store(place(target), object)
    }

    pub(super) fn create(
        &mut self,
        target: &ObjectRef,
        object: &str,
        options: &WriteOptions,
        now: Timestamp,
    ) -> Result<Value, ApiError> {
        let mut object = parse(object)?;
        let mut target = target.clone();
        if target.name.is_empty() {
            let Some(prefix) = object["metadata"]["generateName"]
                .as_str()
                .filter(|prefix| !prefix.is_empty())
            else {
                return Err(ApiError::new(
                    "Invalid",
                    422,
                    "metadata.name: Required value: name or generateName is required",
                ));
            };
            target.name = format!("{prefix}{:05x}", self.uids + 1);
        }
        if self.objects.contains_key(&place(&target)) {
            return Err(ApiError::new("AlreadyExists", 409, format!("{target} already exists")));
        }
        if let Some(map) = object.as_object_mut() {
            map.remove("status");
        }
        self.complete(&target, &mut object, now);
        if options.dry_run {
            return Ok(object);
        }
        Ok(self.store(place(&target), object))
    }

    pub(super) fn patch(
        &mut self,
        target: &ObjectRef,
        change: &Change,
        options: &WriteOptions,
    ) -> Result<Value, ApiError> {
        let old = self.existing(target, options)?.clone();
        let mut new = old.clone();
        match change {
            Change::Merge(patch) => diff::apply(&mut new, &parse(patch)?),
            Change::JsonPatch(patch) => {
                let patch: json_patch::Patch = serde_json::from_str(patch)
                    .map_err(|error| ApiError::new("BadRequest", 400, format!("no JSON patch: {error}")))?;
                json_patch::patch(&mut new, &patch).map_err(|error| {
                    ApiError::new("Invalid", 422, format!("the JSON patch can't be applied: {error}"))
                })?;
            }
            Change::Strategic(_) | Change::Apply(_) => {
                return Err(ApiError::new(
                    "UnsupportedMediaType",
                    415,
                    "the fake knows merge patches and JSON patches only",
                ));
            }
        }
        self.update(target, &old, new, options)
    }

    pub(super) fn replace(
        &mut self,
        target: &ObjectRef,
        object: &str,
        options: &WriteOptions,
    ) -> Result<Value, ApiError> {
        let old = self.existing(target, options)?.clone();
        let new = parse(object)?;
        self.update(target, &old, new, options)
    }

    pub(super) fn remove(
        &mut self,
        target: &ObjectRef,
        options: &WriteOptions,
        now: Timestamp,
    ) -> Result<Option<Value>, ApiError> {
        let mut object = self.existing(target, options)?.clone();
        if options.dry_run {
            return Ok(Some(object));
        }
        if !has_finalizers(&object) {
            self.vanish(&place(target));
            return Ok(None);
        }
        if object["metadata"]["deletionTimestamp"].is_null() {
            object["metadata"]["deletionTimestamp"] = now.rfc3339().into();
            raise_generation(&mut object);
            object = self.store(place(target), object);
        }
        Ok(Some(object))
    }

    /// Deletes what all owners of are gone. Answers whether there was something.
    pub(super) fn collect_garbage(&mut self, now: Timestamp) -> bool {
        let uids: Vec<String> = self
            .objects
            .values()
            .filter_map(|o| o["metadata"]["uid"].as_str().map(str::to_owned))
            .collect();
        let orphaned: Vec<ObjectRef> = self
            .objects
            .iter()
            .filter(|(_, object)| {
                let owners = object["metadata"]["ownerReferences"]
                    .as_array()
                    .map_or(&[][..], Vec::as_slice);
                object["metadata"]["deletionTimestamp"].is_null()
                    && !owners.is_empty()
                    && owners
                        .iter()
                        .all(|owner| !uids.iter().any(|uid| owner["uid"] == uid.as_str()))
            })
            .map(|(place, _)| reference(place))
            .collect();
        for target in &orphaned {
            // They were there a moment ago, and nothing is asked of them.
            let _ = self.remove(target, &WriteOptions::default(), now);
        }
        !orphaned.is_empty()
    }

    fn existing(&self, target: &ObjectRef, options: &WriteOptions) -> Result<&Value, ApiError> {
        let object = self
            .objects
            .get(&place(target))
            .ok_or_else(|| ApiError::new("NotFound", 404, format!("{target} not found")))?;
        for (field, wanted) in [("uid", &options.uid), ("resourceVersion", &options.resource_version)] {
            if let Some(wanted) = wanted
                && object["metadata"][field] != wanted.as_str()
            {
                return Err(conflict(target, field, &object["metadata"][field], wanted));
            }
        }
        Ok(object)
    }

    fn update(
        &mut self,
        target: &ObjectRef,
        old: &Value,
        mut new: Value,
        options: &WriteOptions,
    ) -> Result<Value, ApiError> {
        if !new.is_object() || !new["metadata"].is_object() {
            return Err(ApiError::new(
                "Invalid",
                422,
                format!("{target}: that would leave no object"),
            ));
        }
        // A version in the body is a precondition, too.
        for field in ["uid", "resourceVersion"] {
            match new["metadata"][field].as_str() {
                Some(said) if old["metadata"][field] != said => {
                    return Err(conflict(target, field, &old["metadata"][field], said));
                }
                _ => {}
            }
        }
        for field in [
            "name",
            "namespace",
            "uid",
            "resourceVersion",
            "generation",
            "creationTimestamp",
            "deletionTimestamp",
        ] {
            copy(&old["metadata"], &mut new["metadata"], field);
        }
        for field in ["apiVersion", "kind"] {
            copy(old, &mut new, field);
        }
        if options.subresource.as_deref() == Some("status") {
            let status = new["status"].take();
            new = old.clone();
            new["status"] = status;
        } else {
            copy(old, &mut new, "status");
        }
        new = diff::without_nulls(&new);
        if new == *old || options.dry_run {
            return Ok(new);
        }
        if options.subresource.is_none() && without_head(old) != without_head(&new) {
            raise_generation(&mut new);
        }
        if !new["metadata"]["deletionTimestamp"].is_null() && !has_finalizers(&new) {
            self.vanish(&place(target));
            return Ok(new);
        }
        Ok(self.store(place(target), new))
    }

    fn complete(&mut self, target: &ObjectRef, object: &mut Value, now: Timestamp) {
        self.uids += 1;
        *object = diff::without_nulls(object);
        let api_version = match target.kind.group.as_str() {
            "" => target.kind.version.clone(),
            group => format!("{group}/{}", target.kind.version),
        };
        let mut head = json!({
            "apiVersion": api_version,
            "kind": target.kind.kind,
            "metadata": {
                "name": target.name,
                "uid": format!("00000000-0000-4000-8000-{:012}", self.uids),
                "creationTimestamp": now.rfc3339(),
            },
        });
        if let Some(namespace) = &target.namespace {
            head["metadata"]["namespace"] = namespace.as_str().into();
        }
        if object.get("spec").is_some() {
            head["metadata"]["generation"] = 1.into();
        }
        diff::apply(object, &head);
    }

    fn store(&mut self, place: Place, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.objects.insert(place, object.clone());
        object
    }

    fn vanish(&mut self, place: &Place) {
        self.version += 1;
        self.objects.remove(place);
        self.gone.push(place.clone());
    }
}

/// The place as a reference; the version is not known here, and not needed where this is used.
fn reference(place: &Place) -> ObjectRef {
    let (group, kind, namespace, name) = place.clone();
    ObjectRef {
        kind: crate::wire::Gvk {
            group,
            version: String::new(),
            kind,
        },
        namespace,
        name,
    }
}

fn parse(text: &str) -> Result<Value, ApiError> {
    serde_json::from_str(text).map_err(|error| ApiError::new("BadRequest", 400, format!("no JSON: {error}")))
}

fn conflict(target: &ObjectRef, field: &str, held: &Value, wanted: &str) -> ApiError {
    let held = held.as_str().unwrap_or("none");
    ApiError::new(
        "Conflict",
        409,
        format!("{target}: its {field} is {held}, not {wanted}: it was changed since it was read"),
    )
}

fn has_finalizers(object: &Value) -> bool {
    object["metadata"]["finalizers"]
        .as_array()
        .is_some_and(|list| !list.is_empty())
}

fn raise_generation(object: &mut Value) {
    if let Some(generation) = object["metadata"]["generation"].as_i64() {
        object["metadata"]["generation"] = (generation + 1).into();
    }
}

/// What the generation counts: all but metadata and status.
fn without_head(object: &Value) -> Value {
    let mut rest = object.clone();
    if let Some(map) = rest.as_object_mut() {
        map.remove("metadata");
        map.remove("status");
    }
    rest
}

fn copy(from: &Value, to: &mut Value, field: &str) {
    let Some(to) = to.as_object_mut() else { return };
    match from.get(field) {
        Some(value) => {
            to.insert(field.to_owned(), value.clone());
        }
        None => {
            to.remove(field);
        }
    }
}
