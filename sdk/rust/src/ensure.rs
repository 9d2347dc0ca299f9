//! The two things that nearly every controller does: keep a child as it should be, and clean up at the end.

use std::fmt;

use serde_json::{Map, Value};

use crate::context::{Context, whole};
use crate::diff;
use crate::error::{ApiError, Failure};
#[cfg(target_arch = "wasm32")]
use crate::host::Host;
use crate::kind::{Kind, Meta, OwnerReference, Scope};
use crate::object::Object;
use crate::wire::{Change, WriteOptions};

/// What [`Context::ensure_owned`] found, and what it did about it.
#[derive(Clone, Debug)]
pub struct Ensured<K> {
    /// The child as it is now.
    pub object: Object<K>,
    /// What had to be done.
    pub did: Did,
}

/// What was done to make something so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Did {
    /// It was so already.
    Nothing,
    /// It was not there.
    Created,
    /// It was there, but different.
    Changed,
}

impl fmt::Display for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Did::Nothing => "unchanged",
            Did::Created => "created",
            Did::Changed => "changed",
        })
    }
}

/// Where an object with a finalizer stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "an object whose life is over must not be reconciled further"]
pub enum Life {
    /// It lives, and the finalizer holds it.
    Lives,
    /// It was deleted, what there was to clean up is done, and the finalizer let go: return from the reconcile.
    Over,
}

impl Context {
    /// Makes sure that there is a child of `owner` that holds everything that `desired` says: creates it, or sends a
    /// merge patch of what is missing, or does nothing. The child gets `owner` as its controller, and its namespace if it
    /// names none. What `desired` doesn't mention (other labels, fields that the server filled in, further keys of a map)
    /// stays as it is; a list is made to hold the desired elements and no others.
    ///
    /// The manifest must watch `K`, and ask for `create` and `patch`. Values must be written as the server writes them
    /// (`cpu: "1"`, not `"1000m"`), or every reconcile will patch them.
    ///
    /// # Errors
    /// `OwnedByAnother` if the child belongs to another controller; `BeingDeleted` if it is about to vanish: return the
    /// error, and its end brings the next try. `BadRequest` if `owner` can't own a child there.
    pub fn ensure_owned<O: Kind, K: Kind>(&self, owner: &Object<O>, mut desired: K) -> Result<Ensured<K>, ApiError> {
        if K::SCOPE == Scope::Namespaced
            && desired.meta().namespace().is_none()
            && let Some(namespace) = owner.namespace()
        {
            desired.meta_mut().set_namespace(namespace);
        }
        let target = K::reference(desired.meta().namespace(), desired.meta().name());
        if O::SCOPE == Scope::Namespaced && owner.namespace() != desired.meta().namespace() {
            let why = format!("{} can own objects of its own namespace only", owner.reference());
            return Err(ApiError::new("BadRequest", 0, why).at("ensure", &target));
        }
        let reference = OwnerReference::controller::<O>(owner);
        desired.meta_mut().add_owner(reference.clone());

        let cached = self.get::<K>(desired.meta().namespace(), desired.meta().name())?;
        let existing = match cached {
            Some(existing) => existing,
            None => match self.create(&desired) {
                Ok(object) => {
                    return Ok(Ensured {
                        object,
                        did: Did::Created,
                    });
                }
                // The cache is behind. Where a live read is not allowed the queue tries again, by when it has caught up.
                Err(exists) if exists.is_already_exists() => {
                    match self.get_live::<K>(desired.meta().namespace(), desired.meta().name()) {
                        Ok(Some(existing)) => existing,
                        Ok(None) | Err(_) => return Err(exists),
                    }
                }
                Err(error) => return Err(error),
            },
        };

        let owners = existing.meta().owners();
        if let Some(other) = owners
            .iter()
            .find(|other| other.controller && other.uid != reference.uid)
        {
            let why = format!(
                "it belongs to {} {} (uid {}) already",
                other.kind, other.name, other.uid
            );
            return Err(ApiError::new("OwnedByAnother", 0, why).at("ensure", &target));
        }
        if existing.is_deleting() {
            return Err(ApiError::new("BeingDeleted", 0, "it is being deleted").at("ensure", &target));
        }

        let actual: Value =
            serde_json::from_str(existing.raw()).map_err(|error| ApiError::unwritable(K::KIND, &error))?;
        let Some(patch) = child_patch(whole(&desired)?, &actual, &reference) else {
            return Ok(Ensured {
                object: existing,
                did: Did::Nothing,
            });
        };
        let options = WriteOptions {
            uid: Some(existing.uid().to_owned()),
            resource_version: Some(existing.meta().resource_version().to_owned()),
            ..WriteOptions::default()
        };
        let answer = self
            .backend()
            .patch(&target, &Change::Merge(patch.to_string()), &options);
        let object = answer
            .and_then(Object::parse)
            .map_err(|error| error.at("patch", &target))?;
        Ok(Ensured {
            object,
            did: Did::Changed,
        })
    }

    /// Holds an object with a finalizer, so that it can't vanish before `clean_up` ran. Call it first in a reconcile:
    ///
    /// - while the object lives, it adds the finalizer if it isn't there, and answers [`Life::Lives`];
    /// - once the object is deleted, it runs `clean_up` and then takes the finalizer away: [`Life::Over`]. If `clean_up`
    ///   fails, the finalizer stays and the reconcile fails with it; so it must bear to be run again.
    ///
    /// The name has the form `DOMAIN/WORD`. The manifest must ask for `patch` on the kind. Changes of the object that were
    /// not saved before are saved with the finalizer.
    ///
    /// # Errors
    /// Those of `clean_up`, and of [`Object::save`].
    pub fn finalizer<K: Kind>(
        &self,
        object: &mut Object<K>,
        name: &str,
        clean_up: impl FnOnce(&Context, &mut Object<K>) -> Result<(), Failure>,
    ) -> Result<Life, Failure> {
        let held = object.meta().finalizers().iter().any(|finalizer| finalizer == name);
        if !object.is_deleting() {
            if !held {
                object.meta_mut().finalizers_mut().push(name.to_owned());
                object.save(self)?;
            }
            return Ok(Life::Lives);
        }
        if held {
            clean_up(self, object)?;
            object.meta_mut().finalizers_mut().retain(|finalizer| finalizer != name);
            match object.save(self) {
                // It vanished meanwhile: someone else took the finalizer away.
                Err(error) if error.is_not_found() => {}
                other => {
                    other?;
                }
            }
        }
        Ok(Life::Over)
    }
}

/// What `actual` lacks of `desired`. Of the metadata only labels, annotations and the owner count.
fn child_patch(desired: Value, actual: &Value, owner: &OwnerReference) -> Option<Value> {
    let (mut metadata, mut rest) = (Value::Null, Map::new());
    if let Value::Object(desired) = desired {
        for (field, value) in desired {
            match field.as_str() {
                "metadata" => metadata = value,
                "apiVersion" | "kind" | "status" => {}
                _ => {
                    rest.insert(field, value);
                }
            }
        }
    }
    let desired = Value::Object(rest);
    let mut patch = match diff::missing(&desired, actual) {
        Some(Value::Object(patch)) => patch,
        _ => Map::new(),
    };
    let mut meta_patch = Map::new();
    for field in ["labels", "annotations"] {
        if let Some(change) = diff::missing(&metadata[field], &actual["metadata"][field]) {
            meta_patch.insert(field.to_owned(), change);
        }
    }
    let owners = actual["metadata"]["ownerReferences"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    if !owners
        .iter()
        .any(|held| held["uid"] == owner.uid.as_str() && held["controller"] == true)
    {
        let mut owners: Vec<Value> = owners
            .into_iter()
            .filter(|held| held["uid"] != owner.uid.as_str())
            .collect();
        owners.push(serde_json::to_value(owner).unwrap_or_default());
        meta_patch.insert("ownerReferences".to_owned(), Value::Array(owners));
    }
    if !meta_patch.is_empty() {
        patch.insert("metadata".to_owned(), Value::Object(meta_patch));
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}
