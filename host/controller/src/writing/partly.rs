//! Writes of who sees an object in part.
//!
//! A merge patch changes what it names and nothing else, but for lists, which it replaces as a whole: made of an object
//! of which the plugin sees some fields it would take away the rest of the list. Such a patch is told by the version
//! that it hangs on. One without a version was made of no object: it says what shall be, and passes; so do JSON
//! patches, strategic ones and `apply`, which name elements one by one or own what they name.

use pilothouse_informer::{Projection, Reader};
use pilothouse_object::{Gvk, Key, escape_control, shorten};
use pilothouse_runtime::{ApiError, Options, reason};

use crate::{api::refusal::bad_request, calls::call::Call, lock::lock};

impl Call {
    /// Holds a merge patch against what the plugin sees of the object.
    ///
    /// # Errors
    /// It hangs on a version that this call has not read live, and replaces a list that is not among the fields.
    pub(crate) fn check_lists(&self, kind: &Gvk, key: &Key, patch: &str, options: &Options) -> Result<(), ApiError> {
        let Some(version) = options.resource_version.as_deref() else {
            return Ok(());
        };
        if lock(&self.ledger).has_seen_live(kind, key, version) {
            return Ok(());
        }
        let views = self.plugin.views.get(kind).into_iter().flatten().map(Reader::view);
        for view in views.filter(|view| view.sees_key(key)) {
            let Projection::Fields(fields) = &view.projection else {
                continue;
            };
            let list = fields
                .list_beyond(patch)
                .map_err(|error| bad_request(error.to_string()))?;
            if let Some(list) = list {
                return Err(ApiError::of_host(
                    reason::DENIED,
                    format!(
                        "the patch replaces the list {}, of which the plugin does not see the whole: add it to the manifest's \
                         `fields` of {kind}, or read the object live first",
                        escape_control(&shorten(&list, 256))
                    ),
                ));
            }
        }
        Ok(())
    }
}
