//! What persons say of a plugin.

use std::time::Duration;

use super::life::{Act, Found, Life};
use super::version::{Candidate, Past};
use crate::load::Hash;

/// What a person may say of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// This version is to serve, whatever was said against it: one of those at hand, or what the directory holds.
    Promote(Hash),
    /// The version before the one that serves is to come back; the one that serves is not loaded again by itself.
    Rollback,
    /// What is in quarantine leaves it. What was said against versions stays.
    Reset,
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
    /// What the version has was taken away since then.
    #[error(
        "that version has grants that it would not be given now; grant them again, or put its file into the plugin directory, \
             which loads it under the present ones"
    )]
    NotGranted,
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
            Order::Reset => self.reset(&mut acts),
            Order::Promote(hash) => self.promote(now, hash, &mut acts)?,
        }
        self.go_on(&mut acts);
        Ok(acts)
    }

    fn roll_back(&mut self, now: Duration) -> Result<(), OrderError> {
        let serving = self.serving.as_ref().ok_or(OrderError::NoEarlier)?.plugin.mark();
        if self.previous.is_empty() {
            return Err(OrderError::NoEarlier);
        }
        // What the operator took away does not come back with an older version.
        let to = self.previous.iter().find(|past| self.may_come_back(past)).cloned();
        let to = to.ok_or(OrderError::NotGranted)?;
        let why = "an operator rolled it back".to_owned();
        self.reject(now, serving, why.clone());
        self.next = Some((to, why));
        Ok(())
    }

    fn reset(&mut self, acts: &mut Vec<Act<P>>) {
        let serving = self.serving.as_ref().map(|serving| serving.plugin.mark());
        let Some(mark) = self.quarantine.take() else { return };
        if serving == Some(mark) {
            acts.push(Act::Release);
        } else {
            // It may be what the directory holds, and was kept from serving by this.
            self.tried = None;
        }
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
        if let Some(past) = at_hand.as_ref().filter(|_| !serves && !lies_there)
            && !self.may_come_back(past)
        {
            return Err(OrderError::NotGranted);
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
                    "an operator promoted another version instead".to_owned(),
                );
            }
            self.next = Some((to, "an operator promoted it".to_owned()));
        }
        Ok(())
    }
}
