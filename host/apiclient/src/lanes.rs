//! Which HTTP/2 connection a request takes. Pure.
//!
//! A server allows so many requests at once on one connection, and a watch is one for as long as it lasts: more wait
//! for ever, since none of them ends. So there are as many connections, here **lanes**, as are needed, filled in their
//! order: as long as one is enough, all that a host sends reaches one API server of several, in its order.

use std::collections::BTreeMap;

/// Requests at once on one connection before the server has said how many it takes. kube-apiserver takes 100 where it
/// is not told otherwise (`--http2-max-streams-per-connection`; apiserver's secure_serving.go), and hyper assumes 100
/// too.
const ROOM: usize = 100;

/// The number of a lane; never used twice.
pub(crate) type Id = u64;

/// The lanes there are, each with what belongs to it.
#[derive(Debug)]
pub(crate) struct Lanes<T> {
    next: Id,
    /// Of the newest credentials.
    generation: u64,
    lanes: BTreeMap<Id, Lane<T>>,
}

#[derive(Debug)]
struct Lane<T> {
    streams: usize,
    room: usize,
    it: T,
}

impl<T> Default for Lanes<T> {
    fn default() -> Self {
        Self {
            next: 0,
            generation: 0,
            lanes: BTreeMap::new(),
        }
    }
}

impl<T: Clone> Lanes<T> {
    /// A place on the first lane with room that was opened with these credentials, or newer ones, else on a new one. It
    /// is taken until [`Lanes::done`].
    pub(crate) fn take(&mut self, generation: u64, open: impl FnOnce(Id) -> T) -> (Id, T) {
        if generation > self.generation {
            // What is under way with older credentials ends there by itself.
            self.generation = generation;
            self.lanes.clear();
        }
        let free = self.lanes.iter_mut().find(|(_, lane)| lane.streams < lane.room);
        if let Some((id, lane)) = free {
            lane.streams += 1;
            return (*id, lane.it.clone());
        }
        let id = self.next;
        self.next += 1;
        let it = open(id);
        let lane = Lane {
            streams: 1,
            room: ROOM,
            it: it.clone(),
        };
        self.lanes.insert(id, lane);
        (id, it)
    }

    /// A request on this lane is over.
    pub(crate) fn done(&mut self, id: Id) {
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.streams = lane.streams.saturating_sub(1);
        }
    }

    /// The server takes so many requests at once there; at least one is tried.
    pub(crate) fn room(&mut self, id: Id, room: usize) {
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.room = room.max(1);
        }
    }

    /// Nothing new goes there any more; what is under way is not touched. True where it was there.
    pub(crate) fn close(&mut self, id: Id) -> bool {
        self.lanes.remove(&id).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(lanes: &mut Lanes<Id>, generation: u64) -> Id {
        lanes.take(generation, |id| id).0
    }

    #[test]
    fn one_lane_is_filled_before_the_next_is_opened() {
        let mut lanes = Lanes::default();
        for n in 0..250 {
            assert_eq!(take(&mut lanes, 0), n / 100);
        }
        lanes.done(1);
        assert_eq!(take(&mut lanes, 0), 1, "room that became free comes first");
        assert_eq!(take(&mut lanes, 0), 2);
    }

    #[test]
    fn the_server_says_how_many_fit() {
        let mut lanes = Lanes::default();
        assert_eq!(take(&mut lanes, 0), 0);
        lanes.room(0, 2);
        assert_eq!([take(&mut lanes, 0), take(&mut lanes, 0)], [0, 1]);
        lanes.room(1, 0);
        assert_eq!(take(&mut lanes, 0), 2, "none at all would be a host that never asks");
    }

    #[test]
    fn new_credentials_mean_a_new_lane_and_a_closed_one_takes_nothing() {
        let mut lanes = Lanes::default();
        assert_eq!([take(&mut lanes, 0), take(&mut lanes, 1)], [0, 1]);
        lanes.done(0);
        assert_eq!(take(&mut lanes, 0), 1, "who has not heard of them yet");
        assert!(lanes.close(1) && !lanes.close(1) && !lanes.close(0));
        assert_eq!(take(&mut lanes, 1), 2);
    }
}
