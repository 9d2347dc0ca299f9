//! From the changes that an informer tells to the keys that stand in a queue: with which priority, for which cause, and
//! whether they wake a parked key (design, decision 15). Pure.
//!
//! | what comes | wakes a parked key |
//! |---|---|
//! | a change of an object that maps to the key, by anybody but the plugin itself | yes |
//! | a write of the plugin itself, to whatever kind and subresource | no |
//! | the deletion of the key's own object, by whomever | yes |
//! | an object of the first list that is as it was when the last host parked the key | no |
//! | a change that the controller's predicates hold back, a relist of what did not change | it does not come |
//! | a change while a write of the plugin to that object is under way | once the write's answer says that it was another's |

use std::{sync::Arc, time::Duration};

use pilothouse_informer::Delta;
use pilothouse_object::{Gvk, Key};

use crate::{
    Cause, Change, ControllerId, Dispatcher, What,
    scheduling::dispatcher::LOW_PRIORITY,
    waking::{
        cause::ITSELF,
        provenance::{Doubtful, Mark, Provenance},
        router::{Route, change_of},
    },
};

/// One window of one controller on a kind.
pub(crate) struct Intake {
    pub(crate) id: ControllerId,
    pub(crate) kind: Gvk,
    pub(crate) route: Route,
    /// Names the window within its controller, and is the same at the next start.
    pub(crate) window: Arc<str>,
}

impl Intake {
    /// Asks for the keys that changes map to. Takes all changes, also those that map to none: what was heard of is
    /// remembered.
    pub(crate) fn take(
        &self,
        now: Duration,
        routed: &[(&Delta, Vec<Key>)],
        dispatcher: &mut Dispatcher,
        provenance: &mut Provenance,
    ) {
        dispatcher.heard(&self.id, &self.window, routed.iter().map(|(delta, _)| *delta));
        for (delta, keys) in routed.iter().filter(|(_, keys)| !keys.is_empty()) {
            let mark = mark(delta);
            let written = provenance.writer(&self.kind, &delta.key, &mark);
            let sure = written.as_ref().is_some_and(|written| written.sure);
            let because = written.as_ref().and_then(|written| written.cause.cloned());
            let writer: Option<Arc<str>> = written.map(|written| written.plugin.clone());
            let change = change_of(delta);
            // A key that woke on what its own plugin writes would never rest: each attempt may write. The end of its
            // own object is another matter: it comes once.
            let primary = **self.route.via() == *ITSELF;
            let ends = change == Change::Deleted && primary;
            let own = !ends && writer.as_ref().is_some_and(|writer| *writer == self.id.plugin);
            let what = What::Changed {
                kind: self.kind.clone(),
                key: delta.key.clone(),
                change,
                version: delta.version.clone(),
                via: self.route.via().clone(),
                writer,
            };
            let cause = Cause::new(what, because.as_ref());
            let priority = if delta.initial { LOW_PRIORITY } else { 0 };
            for key in keys {
                let known = |dispatcher: &mut Dispatcher| {
                    delta.initial && !dispatcher.is_news(&self.id, &self.window, key, delta, primary)
                };
                let mut wakes = !own && !known(dispatcher);
                if own && !sure {
                    // Its answer will tell; until then a parked key stays parked.
                    wakes = !provenance.doubt(Doubtful {
                        id: self.id.clone(),
                        key: key.clone(),
                        kind: self.kind.clone(),
                        object: delta.key.clone(),
                        mark: mark.clone(),
                        cause: cause.clone(),
                    });
                    dispatcher.doubted(&self.id, key);
                }
                dispatcher.add(now, &self.id, key.clone(), priority, cause.clone(), wakes);
            }
        }
    }
}

/// By what the write that made this change would be known.
fn mark(delta: &Delta) -> Mark {
    match (&delta.new, &delta.old) {
        (None, Some(old)) => Mark::Gone((*old.head().uid).into()),
        _ => Mark::Version(delta.version.clone()),
    }
}
