//! A version for which this process had no room, and when it is loaded again.
//!
//! Nothing is wrong with it: there is room once something else is unloaded, or needs less. So it is tried again
//! [soon](SOON) after another plugin was unloaded, and every [while](WHILE) besides. That it is refused again is no
//! news: the status has the new figures, and nothing is told.

use std::time::Duration;

use super::life::{Act, Doing, Found, Life};
use super::status::What;
use super::version::{Candidate, Wanted};
use crate::refusal::Refusal;

/// Two attempts are at least so far apart, whatever is unloaded meanwhile. What was unloaded has let go of its files and
/// memory by then, mostly.
pub(super) const SOON: Duration = Duration::from_secs(5);

/// An attempt follows the last one after that at the latest.
pub(super) const WHILE: Duration = Duration::from_secs(60);

/// There was no room.
#[derive(Clone, Debug)]
pub(super) struct Crowded {
    /// For this.
    pub(super) wanted: Wanted,
    /// When that was found.
    at: Duration,
    /// Something has been unloaded since.
    room: bool,
    /// It is not tried before its time.
    pub(super) rests: bool,
}

impl<P: Candidate> Life<P> {
    /// An attempt ended for want of room.
    pub(super) fn is_crowded(&mut self, now: Duration, refusal: Refusal, acts: &mut Vec<Act<P>>) {
        let before = self.crowded.take().map(|own| own.wanted);
        let wanted = match &self.doing {
            Doing::Loading(wanted) if self.finds(wanted) && self.is_enabled() => wanted.clone(),
            Doing::Reviving { to, .. } => to.wanted.clone(),
            _ => return self.loaded(Err(refusal), acts),
        };
        let again = before.as_ref() == Some(&wanted);
        if matches!(self.doing, Doing::Loading(_)) {
            self.loaded(Err(refusal), acts);
        } else {
            // The version stays at hand: nothing is wrong with it.
            self.doing = Doing::Nothing;
            self.goes_on_serving();
            if matches!(self.found, Found::Gone) || !self.is_enabled() {
                return;
            }
            self.refuse(Some(&wanted), refusal, acts);
            if self.serving.is_some() {
                // Nobody waits for the way back any longer.
                return;
            }
        }
        self.crowded = Some(Crowded {
            wanted,
            at: now,
            room: false,
            rests: true,
        });
        if again {
            acts.retain(|act| !matches!(act, Act::Tell(event) if matches!(event.what, What::Refused { .. })));
        }
    }

    /// Whether it is loaded once there is room.
    pub(crate) fn waits_for_room(&self) -> bool {
        self.crowded.is_some()
    }

    /// Another plugin was unloaded.
    pub(super) fn has_room(&mut self) {
        if let Some(own) = &mut self.crowded {
            own.room = true;
        }
    }

    /// When it is tried again, if it waits for room and for nothing else.
    pub(super) fn tries_again_at(&self) -> Option<Duration> {
        let idle = matches!(self.doing, Doing::Nothing) && self.is_enabled();
        let own = self.crowded.as_ref().filter(|own| idle && own.rests)?;
        Some(own.at + if own.room { SOON } else { WHILE })
    }

    /// Has it tried again if it is time.
    pub(super) fn try_again(&mut self, now: Duration) {
        if self.tries_again_at().is_none_or(|due| now < due) {
            return;
        }
        if let Some(own) = &mut self.crowded {
            own.rests = false;
            self.tried = self.tried.take().filter(|tried| *tried != own.wanted);
        }
    }
}
