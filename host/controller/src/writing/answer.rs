//! What the API server answered to a write, told apart. Pure.

use pilothouse_object::{FieldPath, Gvk, Object, Version, escape_control, shorten};
use pilothouse_runtime::ApiError;

use crate::{WriteVerb, calls::reads::parse_answer};

/// What a write answered.
pub(super) enum Taken {
    /// The object as stored.
    Object(Object),
    /// It is gone.
    Gone { uid: Option<String> },
    /// Something else: a subresource's own type, or a Status that says that it went well.
    Other { json: String, version: Option<Version> },
}

/// Reads a success. A removal answers the object where something still holds it, else a Status or the last state.
pub(super) fn take(verb: WriteVerb, kind: &Gvk, subresource: Option<&str>, answer: &[u8]) -> Result<Taken, ApiError> {
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

/// Whether something keeps a written object on the server: nobody has deleted it, or a finalizer or a grace period
/// holds it.
pub(super) fn is_held(object: &Object) -> bool {
    let has = |member: &str, nothing: &str| object.metadata_text(member).is_some_and(|text| text != nothing);
    object.head().deletion.is_none() || has("finalizers", "[]") || has("deletionGracePeriodSeconds", "0")
}

pub(super) fn shown(error: &ApiError) -> String {
    format!(
        "{}: {}",
        escape_control(&error.reason),
        escape_control(&shorten(&error.message, 300))
    )
}
