//! The dispatcher's part in keeping parked keys over a restart, and while a plugin is away: it sets down what was kept,
//! and tells what is to be.

use std::time::Duration;

use pilothouse_informer::Delta;
use pilothouse_object::Key;
use pilothouse_workqueue::{Parked, State};

use super::{
    Absent, Heard, Kept, MAX_KEYS, Record, Stood,
    keeping::{Found, Identity, Keeping},
};
use crate::{
    Cause, ControllerId, Dispatcher, What,
    scheduling::dispatcher::{Entry, LOW_PRIORITY},
};

/// Since when it is parked, whose, which; and its record where it was never set down.
type Choice<'a> = (Duration, &'a ControllerId, &'a Key, Option<&'a Record>);

impl Dispatcher {
    /// What the last host kept: each controller's parked keys wait until it comes.
    pub(crate) fn expect(&mut self, now: Duration, kept: Kept) {
        self.absent = Absent::new(now, kept);
    }

    /// Keeps a controller's parked keys over restarts from now on, and sets down those that the last host kept: they
    /// stay parked until something shows that it changed. For a registered controller, before it hears of any object.
    pub(crate) fn keep(&mut self, id: &ControllerId, identity: Identity) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        let (records, heard) = self.absent.take(id);
        let mut keeping = Keeping::new(identity, heard);
        for record in records {
            if let Some(waker) = keeping.identity.differs(&record) {
                if let Some(returning) = &mut keeping.returning {
                    returning.changed.push((record, waker));
                }
                continue;
            }
            keeping.restored(&record);
            let what = What::Retry {
                failures: record.attempts,
                reason: record.reason.as_str().into(),
            };
            let parked = Parked {
                cause: Cause::new(what, None),
                reason: record.reason,
                since: record.since,
                attempts: record.attempts,
            };
            // False for a key that is there already: then it runs, as is right.
            entry.queue.restore(record.key, parked, record.errors);
        }
        entry.keeping = Some(keeping);
    }

    /// A controller goes with its plugin, which may come back as it is: its parked keys wait for that as over a
    /// restart. Before it is [retired](Dispatcher::retire).
    pub(crate) fn set_aside(&mut self, id: &ControllerId) {
        let Some((entry, keeping)) = self
            .entries
            .get(id)
            .and_then(|entry| Some((entry, entry.keeping.as_ref()?)))
        else {
            return;
        };
        let parked = entry.queue.parked().filter_map(|parked| record(id, entry, parked.key));
        let (heard, waiting) = match &keeping.returning {
            None => (&keeping.heard, None),
            // It knew no more than the last host did.
            Some(returning) => (&returning.heard, Some(&returning.changed)),
        };
        let waiting = waiting.into_iter().flatten().map(|(record, _)| record.clone());
        let records = parked.chain(waiting).collect();
        self.absent.put(id.clone(), records, heard.clone());
    }

    /// Whether an object of a first list may wake a parked key that it maps to. `primary`: it is the key's own object.
    pub(crate) fn is_news(&mut self, id: &ControllerId, window: &str, key: &Key, delta: &Delta, primary: bool) -> bool {
        let keeping = self.entries.get_mut(id).and_then(|entry| entry.keeping.as_mut());
        let (Some(keeping), Some(object)) = (keeping, &delta.new) else {
            return true;
        };
        let found = Found {
            window,
            namespace: delta.key.namespace.as_deref(),
            version: &delta.version,
            uid: primary.then_some(object.head().uid),
        };
        keeping.is_news(key, found)
    }

    /// A controller has heard of these changes: the keys that they map to have been asked for. Not while it stops: what
    /// is asked for then is not done, and the next host must find that it changed.
    pub(crate) fn heard<'a>(
        &mut self,
        id: &ControllerId,
        window: &std::sync::Arc<str>,
        deltas: impl Iterator<Item = &'a Delta>,
    ) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        let stops = entry.queue.is_shut_down();
        let Some(keeping) = entry.keeping.as_mut().filter(|_| !stops) else {
            return;
        };
        for delta in deltas {
            keeping.heard.hear(window, delta.key.namespace.as_ref(), &delta.version);
        }
    }

    /// Every first list of a controller is there: asks for the keys of the last host that changed and in no list showed
    /// that. Those that the controller does not see any more are left alone.
    pub(crate) fn returned(&mut self, now: Duration, id: &ControllerId, sees: impl Fn(&Key) -> bool) {
        let entry = self.entries.get_mut(id);
        let again = entry.and_then(|entry| entry.keeping.as_mut()).map(Keeping::settle);
        for (key, waker) in again.unwrap_or_default() {
            if sees(&key) {
                let cause = Cause::new(What::Woken { by: waker }, None);
                self.add(now, id, key, LOW_PRIORITY, cause, true);
            }
        }
        // Also where nothing is tried again: what was heard of is known by now.
        self.parked_changes += 1;
    }

    /// The attempt that parked a key ran on this object; the outer none: it came to no attempt.
    pub(crate) fn parked_on(&mut self, id: &ControllerId, key: &Key, object: Option<Option<Stood>>) {
        let keeping = self.entries.get_mut(id).and_then(|entry| entry.keeping.as_mut());
        match (keeping, object) {
            (Some(keeping), Some(object)) => keeping.parked(key, object),
            (Some(keeping), None) => keeping.parked_unknown(key),
            (None, _) => {}
        }
    }

    /// A change that would wake this key may turn out to be somebody else's: as long as that isn't known, a host that
    /// starts now must take it for changed.
    pub(crate) fn doubted(&mut self, id: &ControllerId, key: &Key) {
        self.parked_on(id, key, None);
    }

    /// Grows whenever what [`Dispatcher::kept`] answers may have become another.
    pub(crate) fn parked_changes(&self) -> u64 {
        self.parked_changes
    }

    /// Whether that has grown since this was last asked.
    pub(crate) fn parked_news(&mut self) -> bool {
        std::mem::replace(&mut self.parked_told, self.parked_changes) != self.parked_changes
    }

    /// The parked keys with all that the next host needs to know of them, those that were parked first at the front,
    /// and those of controllers that have not come behind all others; at most [`MAX_KEYS`], for no more are written.
    /// They are chosen before anything is copied: every event waits for this.
    pub(crate) fn kept(&mut self) -> Kept {
        let mut kept = Kept::default();
        let mut chosen: Vec<Choice<'_>> = Vec::new();
        for (_, entry) in self.entries.iter_mut() {
            if let Some(keeping) = &mut entry.keeping {
                keeping.forget(|key| entry.queue.is_parked(key));
            }
        }
        for (id, entry) in self.entries.iter() {
            let (queue, Some(keeping)) = (&entry.queue, &entry.keeping) else {
                continue;
            };
            let before = chosen.len();
            for parked in queue.parked() {
                let Some(State::Parked(why)) = queue.entry(parked.key).map(|view| view.state) else {
                    continue;
                };
                if keeping.stood(parked.key).is_some() {
                    chosen.push((why.since, id, parked.key, None));
                }
            }
            // Until it starts, the controller knows no more than the last host did.
            let heard = match &keeping.returning {
                None => &keeping.heard,
                Some(returning) => {
                    let waiting = returning.changed.iter().map(|(record, _)| record);
                    chosen.extend(waiting.map(|record| (record.since, &record.id, &record.key, Some(record))));
                    &returning.heard
                }
            };
            if chosen.len() > before && *heard != Heard::default() {
                kept.heard.insert(id.clone(), heard.clone());
            }
        }
        let order = |a: &Choice<'_>, b: &Choice<'_>| (a.0, a.1, a.2).cmp(&(b.0, b.1, b.2));
        if chosen.len() > MAX_KEYS {
            chosen.select_nth_unstable_by(MAX_KEYS, order);
            kept.no_room = chosen.len() - MAX_KEYS;
            chosen.truncate(MAX_KEYS);
        }
        chosen.sort_by(order);
        let records = chosen.into_iter().filter_map(|(_, id, key, waiting)| match waiting {
            Some(record) => Some(record.clone()),
            None => self.entries.get(id).and_then(|entry| record(id, entry, key)),
        });
        kept.records = records.collect();
        let room = MAX_KEYS - kept.records.len();
        self.absent.append(&mut kept, room);
        kept
    }
}

/// What the next host needs to know of a parked key.
fn record(id: &ControllerId, entry: &Entry, key: &Key) -> Option<Record> {
    let keeping = entry.keeping.as_ref()?;
    let object = keeping.stood(key)?;
    let view = entry.queue.entry(key)?;
    let State::Parked(why) = view.state else { return None };
    Some(Record {
        id: id.clone(),
        kind: keeping.identity.kind.clone(),
        key: key.clone(),
        object: object.clone(),
        module: keeping.identity.module.clone(),
        configuration: keeping.identity.configuration.clone(),
        since: why.since,
        attempts: why.attempts,
        reason: why.reason.clone(),
        errors: view.errors.to_vec(),
    })
}
