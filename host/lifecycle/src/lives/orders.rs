//! What persons say of a plugin.

use std::time::Duration;

use super::life::{Act, Candidate, Found, Life, Past};
use crate::load::Hash;

/// What a person may say of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// This version is to serve, whatever was said against it: one of those at hand, or what the directory holds.
    Promote(Hash),
    /// The version before the one that serves is to come back; the one that serves is not loaded again by itself.
    Rollback,
    /// It is to run, whatever the configuration says.
    Enable,
    /// It is not to run, whatever the configuration says.
    Disable,
}

/// Why an order can't be followed. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// There is no plugin of this name.
    #[error("there is no plugin of this name")]
    NoPlugin,
    /// That version is not at hand.
    #[error("version {wanted} of it is not at hand; these are: {}", at_hand.join(", "))]
    NoVersion {
        /// The hash that was asked for.
        wanted: Hash,
        /// Those that there are.
        at_hand: Vec<String>,
    },
    /// No earlier version is at hand.
    #[error("no version before the one that serves is at hand; put its file into the plugin directory")]
    NoEarlier,
    /// The host is stopping.
    #[error("the host is stopping")]
    Stopping,
}

impl<P: Candidate> Life<P> {
    /// Follows a person's order; what to do, in this order.
    ///
    /// # Errors
    /// [`OrderError`]; nothing has changed then.
    pub(crate) fn order(&mut self, now: Duration, order: Order) -> Result<Vec<Act<P>>, OrderError> {
        let mut acts = Vec::new();
        match order {
            Order::Enable => self.enabled = Some(true),
            Order::Disable => self.enabled = Some(false),
            Order::Rollback => self.roll_back(now)?,
            Order::Promote(hash) => self.promote(now, hash, &mut acts)?,
        }
        self.go_on(&mut acts);
        Ok(acts)
    }

    fn roll_back(&mut self, now: Duration) -> Result<(), OrderError> {
        let serving = self.serving.as_ref().ok_or(OrderError::NoEarlier)?.plugin.mark();
        let to = self.previous.first().cloned().ok_or(OrderError::NoEarlier)?;
        let why = "a person rolled it back".to_owned();
        self.reject(now, serving, why.clone());
        self.next = Some((to, why));
        Ok(())
    }

    fn promote(&mut self, now: Duration, hash: Hash, acts: &mut Vec<Act<P>>) -> Result<(), OrderError> {
        let found = match &self.found {
            Found::Wanted(wanted) => Some(wanted.clone()),
            Found::Gone | Found::Unfit => None,
        };
        let serves = self
            .serving
            .as_ref()
            .is_some_and(|serving| serving.plugin.mark().module == hash);
        let lies_there = found.as_ref().is_some_and(|found| found.module == hash);
        let at_hand = self.previous.iter().find(|past| past.mark.module == hash).cloned();
        if !serves && !lies_there && at_hand.is_none() {
            let serving = self.serving.iter().map(|version| version.plugin.mark().module);
            let previous = self.previous.iter().map(|past: &Past<P>| past.mark.module);
            let mut at_hand: Vec<String> = serving
                .chain(previous)
                .chain(found.map(|found| found.module))
                .map(|hash| hash.to_string())
                .collect();
            at_hand.dedup();
            return Err(OrderError::NoVersion { wanted: hash, at_hand });
        }
        self.rejected.retain(|rejected| rejected.mark.module != hash);
        if self.quarantine.is_some_and(|mark| mark.module == hash) {
            self.quarantine = None;
            if serves {
                acts.push(Act::Release);
            }
        }
        if serves || lies_there {
            self.tried = None;
        } else if let Some(to) = at_hand {
            // What lies in the directory must not come back at once.
            if let Some(found) = found {
                self.reject(
                    now,
                    found.mark(),
                    "a person promoted another version instead".to_owned(),
                );
            }
            self.next = Some((to, "a person promoted it".to_owned()));
        }
        Ok(())
    }
}
