//! Replays what a subscriber hears and holds each delta against what it has heard before.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use pilothouse_informer::{Delta, Handler};

/// Key → uid and version: what a server holds, or what one who listened knows.
pub(crate) type Held = BTreeMap<String, (String, String)>;

#[derive(Default)]
struct Heard {
    held: Held,
    /// Uids whose deletion was told.
    buried: std::collections::BTreeSet<String>,
    synced: u32,
    wrong: Vec<String>,
}

/// A handler that keeps a copy and notes every delta that doesn't fit it: an object added twice, changed or deleted
/// without being there, changed from another state than the last one told, taken back to an older version, or come back
/// from the dead.
#[derive(Default)]
pub(crate) struct Oracle(Mutex<Heard>);

impl Oracle {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    fn heard(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What one knows who has listened; panics where a delta did not fit.
    pub(crate) fn held(&self) -> Held {
        let heard = self.heard();
        assert!(heard.wrong.is_empty(), "{:#?}", heard.wrong);
        heard.held.clone()
    }

    pub(crate) fn synced(&self) -> bool {
        let times = self.heard().synced;
        assert!(times <= 1, "synced {times} times");
        times == 1
    }

    /// How many objects came and how many went, changes left out.
    pub(crate) fn came_and_went(&self) -> (usize, usize) {
        let heard = self.heard();
        (heard.held.len() + heard.buried.len(), heard.buried.len())
    }
}

impl Heard {
    fn take(&mut self, delta: &Delta) -> Result<(), String> {
        let key = delta.key.to_string();
        let state = |object: &pilothouse_object::Object| {
            let head = object.head();
            (head.uid.to_string(), head.version.to_string())
        };
        let held = self.held.get(&key);
        match (&delta.old, &delta.new) {
            (None, Some(new)) => {
                let new = state(new);
                if held.is_some() {
                    return Err("added, and there already".to_owned());
                }
                if self.buried.contains(&new.0) {
                    return Err("deleted, and back again".to_owned());
                }
                self.held.insert(key, new);
            }
            (Some(old), Some(new)) => {
                let (old, new) = (state(old), state(new));
                if held != Some(&old) {
                    return Err(format!("changed from {old:?}, known as {held:?}"));
                }
                if old.0 != new.0 {
                    return Err("changed into another object".to_owned());
                }
                if new.1.parse::<u64>().ok() <= old.1.parse::<u64>().ok() {
                    return Err(format!("changed from version {} back to {}", old.1, new.1));
                }
                self.held.insert(key, new);
            }
            (Some(old), None) => {
                let old = state(old);
                if held != Some(&old) {
                    return Err(format!("deleted as {old:?}, known as {held:?}"));
                }
                if !self.buried.insert(old.0) {
                    return Err("deleted twice".to_owned());
                }
                self.held.remove(&key);
            }
            (None, None) => return Err("neither old nor new".to_owned()),
        }
        Ok(())
    }
}

impl Handler for Oracle {
    fn deltas(&self, deltas: &[Delta]) {
        let mut heard = self.heard();
        for delta in deltas {
            if let Err(why) = heard.take(delta) {
                heard.wrong.push(format!("{}@{}: {why}", delta.key, delta.version));
            }
        }
    }

    fn synced(&self) {
        self.heard().synced += 1;
    }
}
