//! Whether a write is for the object that its path names, and for the version that is there.

use serde_json::Value;

use crate::builtin;
use crate::meta;
use crate::route::Target;
use crate::status::{FieldError, Status};
use crate::store::Key;
use crate::types::ResourceType;

/// The namespace of the object is that of the path.
pub(crate) fn settle_namespace(target: &Target, object: &mut Value) -> Result<(), Status> {
    match &target.namespace {
        None => {
            meta::remove(object, "namespace");
        }
        Some(wanted) => {
            let have = meta::text(object, "namespace");
            if have.is_empty() {
                meta::set(object, "namespace", (&**wanted).into());
            } else if have != &**wanted {
                return Err(Status::bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request",
                ));
            }
        }
    }
    Ok(())
}

/// The name of the object is that of the path.
pub(crate) fn check_name(target: &Target, object: &Value) -> Result<(), Status> {
    let wanted = target.name.as_deref().unwrap_or_default();
    match meta::text(object, "name") {
        "" => Err(Status::bad_request(format!(
            "the name of the object ({wanted} based on URL) was undeterminable: name must be provided"
        ))),
        have if have == wanted => Ok(()),
        have => Err(name_mismatch(have, wanted)),
    }
}

pub(crate) fn name_mismatch(have: &str, wanted: &str) -> Status {
    Status::bad_request(format!(
        "the name of the object ({have}) does not match the name on the URL ({wanted})"
    ))
}

/// An update must be for the version that is there.
pub(crate) fn check_version(type_: &ResourceType, name: &str, old: &Value, object: &Value) -> Result<(), Status> {
    let given = meta::text(object, "resourceVersion");
    if matches!(given, "" | "0") {
        if builtin::needs_version(type_) {
            let error = FieldError::invalid("metadata.resourceVersion", &0.into(), "must be specified for an update");
            return Err(Status::invalid(&type_.group, &type_.plural, name, &[error]));
        }
        return Ok(());
    }
    if given.parse::<u64>().is_err() {
        return Err(Status::new(
            500,
            "",
            format!("strconv.ParseUint: parsing {given:?}: invalid syntax"),
        ));
    }
    if given == meta::text(old, "resourceVersion") {
        Ok(())
    } else {
        Err(Status::stale(type_, name))
    }
}

/// An object that says which uid it is for is for no other. `have` is empty where there is no object yet.
pub(crate) fn check_uid(
    type_: &ResourceType,
    key: &Key,
    have: &str,
    object: &Value,
    dry_run: bool,
) -> Result<(), Status> {
    let (namespace, name) = (&*key.0, &*key.1);
    let given = meta::text(object, "uid");
    if given.is_empty() || given == have {
        return Ok(());
    }
    // Where real servers keep it. A dry run looks below.
    let root = if dry_run { "" } else { "/registry" };
    let place = match (type_.custom, &*type_.plural) {
        (true, plural) => format!("{}/{plural}", type_.group),
        (false, "customresourcedefinitions") => "apiextensions.k8s.io/customresourcedefinitions".to_owned(),
        (false, "services") => "services/specs".to_owned(),
        (false, plural) => plural.to_owned(),
    };
    let separator = if namespace.is_empty() { "" } else { "/" };
    let message = format!(
        "StorageError: invalid object, Code: 4, Key: {root}/{place}{separator}{namespace}/{name}, ResourceVersion: \
         0, AdditionalErrorMsg: Precondition failed: UID in precondition: {given}, UID in object meta: {have}"
    );
    Err(Status::conflict(type_, name, &message))
}
