//! Under which name a kind is served: asked once and remembered.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use pilothouse_informer::{Patience, Reach, Resource, Trouble, discover};
use pilothouse_object::{Gvk, check_path_segment, escape_control};
use pilothouse_runtime::{ApiError, reason};

use crate::lock::lock;

/// Kinds remembered at most. Guests name kinds; only those that a plugin may touch are ever asked for.
const REMEMBERED: usize = 4_096;

pub(crate) struct Kinds {
    client: kube::Client,
    reach: Reach,
    known: Mutex<HashMap<Gvk, Arc<Resource>>>,
}

impl Kinds {
    pub(crate) fn new(client: kube::Client, reach: Reach) -> Self {
        Self {
            client,
            reach,
            known: Mutex::default(),
        }
    }

    /// The kind's name in paths, and whether it lives in namespaces.
    ///
    /// # Errors
    /// `NotFound` where the server doesn't serve the kind, `PilothouseUnavailable` where it doesn't answer. Neither is
    /// remembered.
    pub(crate) async fn resolve(&self, kind: &Gvk) -> Result<Arc<Resource>, ApiError> {
        if let Some(known) = lock(&self.known).get(kind) {
            return Ok(known.clone());
        }
        let segments = [&kind.group, &kind.version, &kind.kind];
        for segment in segments.into_iter().filter(|segment| !segment.is_empty()) {
            check_path_segment(segment).map_err(|error| crate::api::refusal::bad_request(error.to_string()))?;
        }
        let found = discover(&self.client, kind, Patience::default())
            .await
            .map_err(|failure| {
                if matches!(failure.trouble, Trouble::Unreachable | Trouble::Unauthorized) {
                    self.reach.suspect();
                }
                let message = format!("{} is not served: {failure}", escape_control(&kind.to_string()));
                match failure.trouble {
                    Trouble::NotFound => ApiError {
                        code: 404,
                        ..ApiError::of_host("NotFound", message)
                    },
                    _ => ApiError::of_host(reason::UNAVAILABLE, message),
                }
            })?;
        let found = Arc::new(found);
        let mut known = lock(&self.known);
        if known.len() < REMEMBERED {
            known.insert(kind.clone(), found.clone());
        }
        Ok(found)
    }

    /// A request to a kind's path failed: if that was since the path is not served any more, its definition has gone or
    /// changed, and it is asked for anew next time.
    pub(crate) fn failed(&self, kind: &Gvk, error: &ApiError) {
        // What API servers answer, as plain text, where a path is nobody's; a missing object is a Status.
        if error.code == 404 && error.message == "404 page not found" {
            lock(&self.known).remove(kind);
        }
    }
}
