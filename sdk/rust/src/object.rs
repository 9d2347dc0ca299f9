//! An object from the cluster: its typed value, and the text it came as.

use std::ops::{Deref, DerefMut};

use serde_json::{Map, Value};

use crate::context::Context;
use crate::diff;
use crate::error::ApiError;
#[cfg(target_arch = "wasm32")]
use crate::host::Host;
use crate::kind::{Kind, Meta};
use crate::wire::{Change, ObjectRef, WriteOptions};

/// What of an object's metadata a save may change; the rest is the server's.
const WRITABLE_METADATA: [&str; 4] = ["labels", "annotations", "ownerReferences", "finalizers"];

/// An object as it was read, and what you have changed about it since.
///
/// It derefs to its kind's type: read and change fields as you would in a plain struct, then [`save`](Object::save), or
/// [`save_status`](Object::save_status) for the status. What the type doesn't know stays as it is.
#[derive(Clone, Debug)]
pub struct Object<K> {
    value: K,
    raw: String,
}

impl<K: Kind> Object<K> {
    /// Reads an object from JSON text.
    ///
    /// # Errors
    /// [`ApiError::UNREADABLE`] with the path of the field that does not fit the type.
    pub fn parse(raw: String) -> Result<Object<K>, ApiError> {
        Ok(Object {
            value: read(&raw)?,
            raw,
        })
    }

    /// The object's name.
    pub fn name(&self) -> &str {
        self.value.meta().name()
    }

    /// The object's namespace; none for cluster-scoped kinds.
    pub fn namespace(&self) -> Option<&str> {
        self.value.meta().namespace()
    }

    /// Identifies this object for ever: one that is deleted and created again has another.
    pub fn uid(&self) -> &str {
        self.value.meta().uid()
    }

    /// The generation, which the server raises with every change of the spec; 0 for kinds without. Report it as
    /// `observedGeneration`, so that people see which spec a status is about.
    pub fn generation(&self) -> i64 {
        self.value.meta().generation().unwrap_or_default()
    }

    /// Whether someone deleted the object and finalizers still hold it.
    pub fn is_deleting(&self) -> bool {
        self.value.meta().is_deleting()
    }

    /// Whether `owner` is the controller of this object: what [`Context::ensure_owned`] makes it.
    pub fn is_controlled_by<O: Kind>(&self, owner: &Object<O>) -> bool {
        self.value
            .meta()
            .owners()
            .iter()
            .any(|reference| reference.controller && reference.uid == owner.uid())
    }

    /// Names the object for the host.
    pub fn reference(&self) -> ObjectRef {
        K::reference(self.namespace(), self.name())
    }

    /// The object as it was read, with all that the type does not know.
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// The typed value alone.
    pub fn into_inner(self) -> K {
        self.value
    }

    /// Writes what was changed since the object was read, but for its status: one merge patch that holds nothing else,
    /// on condition that nobody has changed the object meanwhile. Writes nothing if nothing changed; answers whether it
    /// wrote. Afterwards the object is what the server answered, with changes of the status that aren't saved yet.
    ///
    /// In lists, elements keep the fields that the type does not know where they can be told apart (by `uid`, `name`,
    /// `key`, `type` or `id`, or by position if their number stayed). A list that changed crosses as a whole, so numbers
    /// in it that no 64-bit number holds lose digits.
    ///
    /// # Errors
    /// `Conflict` if the object was changed meanwhile: return it (`?`), the next try sees the newer one. `BadRequest` if
    /// metadata was changed that is not for plugins to change. The object keeps its changes.
    pub fn save(&mut self, cx: &Context) -> Result<bool, ApiError> {
        self.write(cx, None)
    }

    /// The same for the status alone, through the status subresource: saves nothing else.
    ///
    /// # Errors
    /// As [`Object::save`]; `NotFound` if the kind has no status subresource.
    pub fn save_status(&mut self, cx: &Context) -> Result<bool, ApiError> {
        self.write(cx, Some("status"))
    }

    fn write(&mut self, cx: &Context, subresource: Option<&str>) -> Result<bool, ApiError> {
        let target = self.reference();
        let before = typed(&read::<K>(&self.raw)?)?;
        let (main, status) = split(&before, &typed(&self.value)?, &self.raw, &target)?;
        let (wanted, kept) = if subresource.is_some() {
            (status, main)
        } else {
            (main, status)
        };
        let Some(patch) = wanted else { return Ok(false) };
        let raw = send(cx, &target, &patch, subresource, self.value.meta().resource_version())?;
        let mut value: K = read(&raw)?;
        if let Some(kept) = kept {
            let mut merged = typed(&value)?;
            diff::apply(&mut merged, &kept);
            value = read(&merged.to_string())?;
        }
        *self = Object { value, raw };
        Ok(true)
    }
}

/// What changed: outside of the status, and in it.
fn split(
    before: &Value,
    after: &Value,
    raw: &str,
    target: &ObjectRef,
) -> Result<(Option<Value>, Option<Value>), ApiError> {
    let raw: Value = serde_json::from_str(raw).map_err(|error| ApiError::unwritable("the object", &error))?;
    let Some(Value::Object(changes)) = diff::changed(before, after, &raw) else {
        return Ok((None, None));
    };
    let (status, main) = diff::taken(changes, "status");
    let status = status.map(|status| {
        let mut map = Map::new();
        map.insert("status".to_owned(), status);
        Value::Object(map)
    });
    if let Some(Value::Object(metadata)) = main.get("metadata")
        && let Some(field) = metadata
            .keys()
            .find(|field| !WRITABLE_METADATA.contains(&field.as_str()))
    {
        let why = format!("save {target}: metadata.{field} can't be changed once an object exists");
        return Err(ApiError::new("BadRequest", 0, why));
    }
    Ok(((!main.is_empty()).then_some(Value::Object(main)), status))
}

/// Sends a merge patch on condition that the object is still of this version.
fn send(
    cx: &Context,
    target: &ObjectRef,
    patch: &Value,
    subresource: Option<&str>,
    version: &str,
) -> Result<String, ApiError> {
    let options = WriteOptions {
        subresource: subresource.map(str::to_owned),
        resource_version: Some(version.to_owned()).filter(|version| !version.is_empty()),
        ..WriteOptions::default()
    };
    let verb = if subresource.is_some() {
        "patch the status of"
    } else {
        "patch"
    };
    cx.backend()
        .patch(target, &Change::Merge(patch.to_string()), &options)
        .map_err(|error| error.at(verb, target))
}

impl<K> Deref for Object<K> {
    type Target = K;

    fn deref(&self) -> &K {
        &self.value
    }
}

impl<K> DerefMut for Object<K> {
    fn deref_mut(&mut self) -> &mut K {
        &mut self.value
    }
}

/// Reads a kind's type from JSON text; an error names the field.
pub(crate) fn read<K: Kind>(raw: &str) -> Result<K, ApiError> {
    crate::read::read(raw).map_err(|misfit| ApiError::unreadable(&format!("the {}", K::gvk()), misfit))
}

/// What the type makes of an object, as JSON.
pub(crate) fn typed<K: Kind>(value: &K) -> Result<Value, ApiError> {
    serde_json::to_value(value).map_err(|error| ApiError::unwritable(K::KIND, &error))
}
