//! What one call has read and written, kept while it runs and until its writes are settled.
//!
//! Two things hang on it: a call reads its own writes (the overlay), and a key is not run again before the stores it
//! reads hold what its last call wrote (the echoes).

use std::collections::{HashMap, HashSet};

use pilothouse_object::{Gvk, Head, Key, Object, Version};

use crate::{Written, scheduling::changed::Changed};

/// An object as the call itself left it.
#[derive(Clone, Debug)]
pub(crate) enum Own {
    /// As the server answered.
    Present(Object),
    /// Removed: hidden until another uid shows up under the name. The uid is empty where nobody knew it.
    Removed(String),
}

/// What a store must hold before the key runs again.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Echo {
    pub(crate) kind: Gvk,
    pub(crate) key: Key,
    pub(crate) what: Echoed,
}

/// See [`Echo`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Echoed {
    /// The kind at this version or a later one.
    Version(Version),
    /// The same, of this state of the object.
    State(Object),
    /// No object of this uid any more.
    Gone(String),
}

/// Writes kept for whoever shows them; more happen all the same and are not shown.
const MAX_WRITES: usize = 256;
/// Versions read live that are remembered for `replace`; what is read beyond must be read again before it is replaced.
const MAX_LIVE: usize = 4_096;
/// Bytes of objects that one call may have written, which lie over the cache for it.
const MAX_OWN: usize = 64 << 20;

#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) writes: Vec<Written>,
    own: HashMap<(Gvk, Key), Own>,
    own_bytes: usize,
    /// Versions of writes whose answer was another kind's object (a Scale, say).
    others: Vec<(Gvk, Key, Version)>,
    live: HashSet<(Gvk, Key, Version)>,
    /// Targets of writes whose outcome nobody knows.
    pub(crate) uncertain: Vec<(Gvk, Key)>,
    /// The API server did not do its part in this call: it was unavailable, shed a request, or took too long. What the
    /// call came to is no fault of its plugin's then.
    pub(crate) hindered: bool,
    /// What its writes changed, in order; of very many the first.
    changed: Vec<Changed>,
}

impl Ledger {
    pub(crate) fn note(&mut self, written: Written) {
        if self.writes.len() < MAX_WRITES {
            self.writes.push(written);
        }
    }

    /// A write changed something.
    pub(crate) fn changed(&mut self, changed: Changed) {
        if self.changed.len() < MAX_WRITES {
            self.changed.push(changed);
        }
    }

    /// What the call's writes changed.
    pub(crate) fn take_changed(&mut self) -> Vec<Changed> {
        std::mem::take(&mut self.changed)
    }

    /// The server answered this object: to a live read, or to a write.
    pub(crate) fn saw_live(&mut self, head: Head<'_>) {
        if self.live.len() == MAX_LIVE {
            return;
        }
        self.live
            .insert((head.gvk.clone(), head.key.clone(), head.version.clone()));
    }

    /// Whether this call has got that version from the server itself.
    pub(crate) fn has_seen_live(&self, kind: &Gvk, key: &Key, version: &str) -> bool {
        self.live.contains(&(kind.clone(), key.clone(), Version::new(version)))
    }

    pub(crate) fn put(&mut self, object: Object) {
        self.own_bytes += object.weight();
        self.own
            .insert((object.head().gvk.clone(), object.key().clone()), Own::Present(object));
    }

    pub(crate) fn removed(&mut self, kind: Gvk, key: Key, uid: String) {
        self.own.insert((kind, key), Own::Removed(uid));
    }

    /// What the call sees of one object, given what the store has. Whichever is newer wins; where versions can't be
    /// compared the call's own does.
    pub(crate) fn over(&self, kind: &Gvk, key: &Key, stored: Option<Object>) -> Option<Object> {
        match self.own.get(&(kind.clone(), key.clone())) {
            None => stored,
            Some(own) => merge(own, stored),
        }
    }

    /// Whether the call has written so much that it may write no more.
    pub(crate) fn is_full(&self) -> bool {
        self.own_bytes > MAX_OWN
    }

    /// A write of this object made this version, and answered something else than the object.
    pub(crate) fn wrote_other(&mut self, kind: Gvk, key: Key, version: Version) {
        self.others.push((kind, key, version));
    }

    /// Whether the call itself wrote to an object.
    pub(crate) fn has_own(&self, kind: &Gvk, key: &Key) -> bool {
        self.own.contains_key(&(kind.clone(), key.clone()))
    }

    /// What the call itself made of objects of a kind.
    pub(crate) fn own_of(&self, kind: &Gvk) -> impl Iterator<Item = (&Key, &Own)> {
        self.own
            .iter()
            .filter(move |((own, _), _)| own == kind)
            .map(|((_, key), own)| (key, own))
    }

    /// What must show up in the stores before the key runs again.
    pub(crate) fn echoes(&self) -> Vec<Echo> {
        let mut echoes: Vec<Echo> = self
            .own
            .iter()
            .map(|((kind, key), own)| Echo {
                kind: kind.clone(),
                key: key.clone(),
                what: match own {
                    Own::Present(object) => Echoed::State(object.clone()),
                    Own::Removed(uid) => Echoed::Gone(uid.clone()),
                },
            })
            .collect();
        echoes.extend(self.others.iter().map(|(kind, key, version)| Echo {
            kind: kind.clone(),
            key: key.clone(),
            what: Echoed::Version(version.clone()),
        }));
        echoes.sort_by(|a, b| (&a.kind, &a.key).cmp(&(&b.kind, &b.key)));
        echoes
    }
}

/// See [`Ledger::over`].
pub(crate) fn merge(own: &Own, stored: Option<Object>) -> Option<Object> {
    match (own, stored) {
        (Own::Present(own), Some(stored)) if stored.head().version.is_newer_than(own.head().version) => Some(stored),
        (Own::Present(own), _) => Some(own.clone()),
        (Own::Removed(uid), Some(stored)) if !uid.is_empty() && *stored.head().uid != **uid => Some(stored),
        (Own::Removed(_), _) => None,
    }
}

#[cfg(test)]
mod tests {
    use pilothouse_object::Keep;

    use super::*;

    fn object(uid: &str, version: &str) -> Object {
        let json = format!(
            r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"a","namespace":"n","uid":"{uid}","resourceVersion":"{version}"}}}}"#
        );
        Object::parse(json.as_bytes(), None, Keep::Cut).unwrap()
    }

    fn version(object: Option<Object>) -> Option<String> {
        object.map(|object| object.head().version.to_string())
    }

    #[test]
    fn a_call_sees_its_own_write_until_the_store_is_newer() {
        let mut ledger = Ledger::default();
        let own = object("u", "5");
        let (kind, key) = (own.head().gvk.clone(), own.key().clone());
        ledger.put(own);
        let over = |stored| version(ledger.over(&kind, &key, stored));
        assert_eq!(over(None).as_deref(), Some("5"));
        assert_eq!(over(Some(object("u", "4"))).as_deref(), Some("5"));
        assert_eq!(over(Some(object("u", "6"))).as_deref(), Some("6"));
    }

    #[test]
    fn what_a_call_removed_stays_hidden_until_another_uid_shows_up() {
        let mut ledger = Ledger::default();
        let (kind, key) = (object("u", "1").head().gvk.clone(), object("u", "1").key().clone());
        ledger.removed(kind.clone(), key.clone(), "u".into());
        assert_eq!(version(ledger.over(&kind, &key, Some(object("u", "9")))), None);
        assert_eq!(
            version(ledger.over(&kind, &key, Some(object("v", "10")))).as_deref(),
            Some("10")
        );
    }

    #[test]
    fn what_was_written_must_be_heard_of_before_the_next_run() {
        let mut ledger = Ledger::default();
        ledger.put(object("u", "5"));
        ledger.removed(Gvk::new("", "v1", "Secret"), Key::new(Some("n"), "s"), "v".into());
        let echoed: Vec<Echoed> = ledger.echoes().into_iter().map(|echo| echo.what).collect();
        assert_eq!(echoed, [Echoed::State(object("u", "5")), Echoed::Gone("v".into())]);
    }
}
