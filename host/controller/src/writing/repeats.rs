//! Writes that went through before and would change nothing now: these are not sent again. Pure.
//!
//! # Promised
//! A write is known again by a hash over all that the API server would be told: method, path (kind, object,
//! subresource), field manager, force, form and body. It counts as repeated only where
//! - the API server answered the first one with the object at this uid and version, and
//! - that is the version at which the plugin's cache has the object ([`Repeats::known`] is told it), and
//! - it would leave that version as it is: it did so when it was sent at that version, or it is a merge patch or an
//!   apply without a version of its own, which leave alone what they have made.
//!
//! The answer is the one that the API server gave then. Memory is bounded for each version of a plugin, in entries and
//! bytes; of more, those that were sent longest ago are forgotten. Creations, removals, dry runs, writes to Secrets and
//! to subresources with types of their own are never known.
//!
//! # Not promised
//! The cache may lag behind: then a write is left out that would have undone what somebody else did a moment ago. It is
//! as if it had been sent a moment earlier, and the change comes by the watch. Whoever calls this looks whether that
//! watch is there.

use std::collections::{HashMap, VecDeque};

use pilothouse_object::{Object, Version};
use sha2::{Digest as _, Sha256};

/// Writes remembered of one version of a plugin.
const MAX_WRITES: usize = 1_024;
/// Bytes of their answers.
const MAX_BYTES: usize = 4 << 20;
/// A longer answer is not remembered.
const MAX_ANSWER: usize = 256 << 10;

/// What names a write.
pub(crate) type Mark = [u8; 32];

/// The mark of a write with this method, path with query, content type and body.
pub(crate) fn mark(method: &str, uri: &str, content_type: &str, body: &[u8]) -> Mark {
    let mut hasher = Sha256::new();
    for part in [method, uri, content_type] {
        hasher.update(part.len().to_le_bytes());
        hasher.update(part);
    }
    hasher.update(body);
    hasher.finalize().into()
}

/// The writes of one version of a plugin.
#[derive(Default)]
pub(crate) struct Repeats {
    answers: HashMap<Mark, Object>,
    order: VecDeque<Mark>,
    bytes: usize,
}

impl Repeats {
    /// The answer to this write, where it is a repeated one and the object is at this uid and version.
    pub(crate) fn known(&self, mark: &Mark, uid: &str, version: &Version) -> Option<Object> {
        let answer = self.answers.get(mark)?;
        let head = answer.head();
        (*head.uid == *uid && *head.version == *version).then(|| answer.clone())
    }

    /// Whether anything is remembered of this write.
    pub(crate) fn has(&self, mark: &Mark) -> bool {
        self.answers.contains_key(mark)
    }

    /// This write went through with this answer, and sent again at the answer's version it would change nothing.
    pub(crate) fn went(&mut self, mark: Mark, answer: Object) {
        let head = answer.head();
        if head.uid.is_empty() || head.version.is_empty() || answer.weight() > MAX_ANSWER {
            return self.forget(&mark);
        }
        self.bytes += answer.weight();
        match self.answers.insert(mark, answer) {
            Some(before) => self.bytes -= before.weight(),
            None => self.order.push_back(mark),
        }
        while self.order.len() > MAX_WRITES || self.bytes > MAX_BYTES {
            let Some(oldest) = self.order.pop_front() else { return };
            self.drop_answer(&oldest);
        }
    }

    /// Nobody knows any more what this write would do.
    pub(crate) fn forget(&mut self, mark: &Mark) {
        if self.answers.contains_key(mark) {
            self.drop_answer(mark);
            self.order.retain(|known| known != mark);
        }
    }

    fn drop_answer(&mut self, mark: &Mark) {
        if let Some(answer) = self.answers.remove(mark) {
            self.bytes -= answer.weight();
        }
    }
}

#[cfg(test)]
mod tests {
    use pilothouse_object::Keep;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn object(version: u64, size: usize) -> Object {
        let json = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"x": "x".repeat(size)},
            "metadata": {"name": "a", "namespace": "n", "uid": "u", "resourceVersion": version.to_string()}});
        Object::parse(json.to_string().as_bytes(), None, Keep::All).unwrap()
    }

    fn at(version: u64) -> Version {
        Version::new(&version.to_string())
    }

    #[test]
    fn a_write_is_known_again_by_all_that_the_server_would_be_told() {
        let first = mark("PATCH", "/a?fieldManager=p", "application/merge-patch+json", b"{}");
        for other in [
            mark("PUT", "/a?fieldManager=p", "application/merge-patch+json", b"{}"),
            mark(
                "PATCH",
                "/a/status?fieldManager=p",
                "application/merge-patch+json",
                b"{}",
            ),
            mark("PATCH", "/a?fieldManager=q", "application/merge-patch+json", b"{}"),
            mark(
                "PATCH",
                "/a?fieldManager=p&force=true",
                "application/merge-patch+json",
                b"{}",
            ),
            mark("PATCH", "/a?fieldManager=p", "application/json-patch+json", b"{}"),
            mark("PATCH", "/a?fieldManager=p", "application/merge-patch+json", b"{ }"),
            mark("PATCH/", "a?fieldManager=p", "application/merge-patch+json", b"{}"),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn it_is_repeated_only_on_the_uid_and_at_the_version_that_it_made() {
        let (mut repeats, one) = (Repeats::default(), mark("PATCH", "/a", "m", b"{}"));
        assert!(!repeats.has(&one));
        repeats.went(one, object(5, 1));
        assert_eq!(
            repeats.known(&one, "u", &at(5)).map(|answer| answer.json().len()),
            Some(object(5, 1).json().len())
        );
        assert!(repeats.known(&one, "u", &at(6)).is_none(), "it has moved since");
        assert!(repeats.known(&one, "u", &at(4)).is_none(), "the cache is not there yet");
        assert!(repeats.known(&one, "v", &at(5)).is_none(), "another one of the name");
        repeats.forget(&one);
        assert!(!repeats.has(&one) && repeats.order.is_empty() && repeats.bytes == 0);
    }

    proptest! {
        #[test]
        fn whatever_is_written_memory_is_bounded_and_what_was_written_last_is_known(
            writes in prop::collection::vec((0..3_000_u64, 0..40_000_usize, any::<bool>()), 1..300),
        ) {
            let mut repeats = Repeats::default();
            for (version, (path, size, forget)) in writes.into_iter().enumerate() {
                let (mark, version) = (mark("PATCH", &path.to_string(), "m", b""), version as u64 + 1);
                repeats.went(mark, object(version, size));
                prop_assert!(repeats.known(&mark, "u", &at(version)).is_some());
                if forget {
                    repeats.forget(&mark);
                }
                prop_assert!(repeats.bytes <= MAX_BYTES && repeats.order.len() <= MAX_WRITES);
                prop_assert_eq!(repeats.order.len(), repeats.answers.len());
                prop_assert_eq!(repeats.bytes, repeats.answers.values().map(Object::weight).sum::<usize>());
            }
        }
    }
}
