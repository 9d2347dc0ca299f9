//! What a person sees of plugins' queues and breakers while everything runs.
//!
//! Promises: the dispatcher is held for a bounded piece of work at a time, however many keys there are: walks through
//! all of them go on in slices of [`SLICE`], and others have their turn in between. What is shown is therefore how it
//! was when it was looked at, not one moment of all. Texts in it are as guests and servers wrote them: escape them
//! before they are shown.

use std::time::Duration;

use pilothouse_gate::breaker::View;
use pilothouse_informer::Charge;
use pilothouse_object::Key;
use pilothouse_workqueue::{EntryView, State};

use crate::{Cause, ControllerId, Dispatcher, Host, lock::lock};

/// Entries that are looked at while the dispatcher is held.
const SLICE: usize = 512;

/// Keys of one answer, at most.
pub const MAX_KEYS: usize = 500;

/// A plugin's breaker and queues.
#[derive(Clone, Debug)]
pub struct PluginSnapshot {
    /// Its breaker; times in it are those of [`PluginSnapshot::now`].
    pub breaker: Option<View>,
    /// Its controllers, by name.
    pub controllers: Vec<ControllerSnapshot>,
    /// When it was looked at, since the Unix epoch.
    pub now: Duration,
}

/// One controller's queue in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerSnapshot {
    /// Which.
    pub id: ControllerId,
    /// Whether its first lists are there, so that it runs.
    pub started: bool,
    /// Permits that its keys hold.
    pub running: usize,
    /// Permits that they may hold.
    pub concurrency: usize,
    /// Ready keys; one that runs again right after its present run counts.
    pub queued: usize,
    /// Keys that become ready by themselves.
    pub delayed: usize,
    /// Keys in work.
    pub working: usize,
    /// Keys that wait for something to change.
    pub parked: usize,
    /// How long the key that is ready longest has waited; none where none is.
    pub oldest: Option<Duration>,
    /// How long the oldest run goes on; none where none does.
    pub longest_running: Option<Duration>,
    /// Runs that ended, since the host began.
    pub runs: u64,
    /// Those among them that failed.
    pub failed: u64,
}

/// Where a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// In work.
    Working,
    /// Ready.
    Queued,
    /// Ready later, by itself.
    Delayed,
}

/// A key in a queue.
#[derive(Clone, Debug)]
pub struct KeySnapshot {
    /// Which.
    pub key: Key,
    /// Where it is.
    pub state: KeyState,
    /// For how long it has been in work, or waited.
    pub age: Duration,
    /// In what time it becomes ready, where it is delayed.
    pub due: Option<Duration>,
    /// It is in work, and runs again after that.
    pub again: bool,
    /// Attempts that ended badly since it last went well.
    pub attempts: u32,
    /// Why it is there: of the run that goes on, or of the one that waits.
    pub cause: Option<Cause>,
    /// The last error since it last went well.
    pub error: Option<String>,
}

/// A parked key.
#[derive(Clone, Debug)]
pub struct ParkedSnapshot {
    /// Whose.
    pub id: ControllerId,
    /// Which.
    pub key: Key,
    /// What ended the attempts.
    pub reason: String,
    /// For how long it has been parked.
    pub age: Duration,
    /// How many attempts in a row ended badly.
    pub attempts: u32,
    /// The cause of the parking.
    pub cause: Cause,
    /// Its last errors, the oldest first: how long ago, which attempt, and why.
    pub errors: Vec<(Duration, u32, String)>,
}

/// Where a walk through parked keys goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    /// At this controller, or the next one where it is gone.
    pub controller: ControllerId,
    /// At this place of its queue.
    pub place: usize,
}

/// Some parked keys.
#[derive(Clone, Debug, Default)]
pub struct ParkedPage {
    /// The keys, by controller.
    pub keys: Vec<ParkedSnapshot>,
    /// Where to go on; none at the end.
    pub next: Option<Spot>,
}

/// Parked keys that a person means.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chosen<'a> {
    /// Of this plugin alone.
    pub plugin: Option<&'a str>,
    /// Of its controller of this name alone.
    pub controller: Option<&'a str>,
    /// This key alone.
    pub key: Option<&'a Key>,
}

impl Chosen<'_> {
    fn means(&self, id: &ControllerId) -> bool {
        self.plugin.is_none_or(|plugin| *id.plugin == *plugin)
            && self.controller.is_none_or(|controller| *id.controller == *controller)
    }
}

impl Dispatcher {
    /// A controller's queue in numbers, but for its runs. Costs what is in work.
    fn controller_snapshot(&self, now: Duration, id: &ControllerId) -> Option<ControllerSnapshot> {
        let entry = self.entries.get(id).filter(|entry| !entry.retired)?;
        let stats = entry.queue.stats(now);
        let oldest = entry.queue.queued().next().and_then(|oldest| match oldest.state {
            State::Queued { since } => Some(now.saturating_sub(since)),
            _ => None,
        });
        Some(ControllerSnapshot {
            id: id.clone(),
            started: entry.started,
            running: self.gate.running(id),
            concurrency: self.gate.limit(id).unwrap_or_default(),
            queued: stats.depth.values().sum(),
            delayed: stats.delayed,
            working: stats.in_work,
            parked: stats.parked,
            oldest,
            longest_running: (stats.in_work > 0).then_some(stats.longest_running),
            runs: 0,
            failed: 0,
        })
    }

    /// At most `most` keys of a controller: those in work, then the ready ones, then the delayed ones.
    fn keys(&self, now: Duration, id: &ControllerId, most: usize) -> Option<Vec<KeySnapshot>> {
        let queue = &self.entries.get(id)?.queue;
        let mut keys: Vec<_> = queue.working().take(most).map(|entry| key(now, &entry)).collect();
        let ready = queue.queued().filter(|entry| entry.in_work.is_none());
        keys.extend(ready.take(most - keys.len()).map(|entry| key(now, &entry)));
        // Those in work whose next run is delayed stand above: so many more may have to be looked at.
        let delayed = queue.delayed(most).filter(|entry| entry.in_work.is_none());
        keys.extend(delayed.take(most - keys.len()).map(|entry| key(now, &entry)));
        Some(keys)
    }

    /// The parked keys among the entries at `look_at` places of the first controller that is meant, from the spot on.
    fn parked_slice(&self, now: Duration, chosen: Chosen<'_>, from: Option<&Spot>, look_at: usize) -> ParkedPage {
        let mut ids = match from {
            Some(spot) => self.entries.range(&spot.controller..),
            None => self.entries.range::<ControllerId, _>(..),
        };
        // A queue without parked keys costs nothing, however long it is.
        let mut meant = ids
            .by_ref()
            .filter(|(id, entry)| chosen.means(id) && entry.queue.parked_len() > 0);
        let Some((id, entry)) = meant.next() else {
            return ParkedPage::default();
        };
        if let Some(key) = chosen.key {
            let keys = entry
                .queue
                .entry(key)
                .and_then(|entry| parked(now, id, &entry))
                .into_iter();
            let next = meant.next().map(|(id, _)| Spot::start(id));
            return ParkedPage {
                keys: keys.collect(),
                next,
            };
        }
        let place = from.filter(|spot| spot.controller == *id).map_or(0, |spot| spot.place);
        let (entries, next) = entry.queue.entries_from(place, look_at);
        let keys = entries.filter_map(|entry| parked(now, id, &entry)).collect();
        let next = next.map(|place| Spot {
            controller: id.clone(),
            place,
        });
        ParkedPage {
            keys,
            next: next.or_else(|| meant.next().map(|(id, _)| Spot::start(id))),
        }
    }
}

impl Spot {
    fn start(id: &ControllerId) -> Self {
        Self {
            controller: id.clone(),
            place: 0,
        }
    }
}

fn key(now: Duration, entry: &EntryView<'_, Key, Cause>) -> KeySnapshot {
    let (state, since, due) = match (entry.in_work, &entry.state) {
        (Some(since), _) => (KeyState::Working, since, None),
        (None, State::Delayed { since, due }) => (KeyState::Delayed, *since, Some(due.saturating_sub(now))),
        (None, State::Queued { since }) => (KeyState::Queued, *since, None),
        // Not asked for: neither waits for a turn.
        (None, State::Idle | State::Parked(_)) => (KeyState::Queued, now, None),
    };
    let causes = entry.served.unwrap_or(entry.causes);
    KeySnapshot {
        key: entry.key.clone(),
        state,
        age: now.saturating_sub(since),
        due,
        again: entry.in_work.is_some() && matches!(entry.state, State::Queued { .. } | State::Delayed { .. }),
        attempts: entry.attempts,
        cause: causes.first().cloned(),
        error: entry.errors.last().map(|error| error.reason.to_string()),
    }
}

fn parked(now: Duration, id: &ControllerId, entry: &EntryView<'_, Key, Cause>) -> Option<ParkedSnapshot> {
    let State::Parked(parked) = &entry.state else {
        return None;
    };
    let errors = entry.errors.iter();
    Some(ParkedSnapshot {
        id: id.clone(),
        key: entry.key.clone(),
        reason: parked.reason.clone(),
        age: now.saturating_sub(parked.since),
        attempts: parked.attempts,
        cause: parked.cause.clone(),
        errors: errors
            .map(|error| (now.saturating_sub(error.at), error.attempt, error.reason.to_string()))
            .collect(),
    })
}

impl Host {
    /// A plugin's breaker and queues in numbers; none where no version of it serves.
    pub fn snapshot(&self, plugin: &str) -> Option<PluginSnapshot> {
        let mut ids: Vec<ControllerId> = {
            let live = lock(&self.live);
            live.plugin(plugin)?;
            let own = live.controllers().filter(|controller| *controller.id.plugin == *plugin);
            own.map(|controller| controller.id.clone()).collect()
        };
        ids.sort();
        let now = self.core.now();
        let (breaker, mut controllers) = {
            let dispatcher = lock(&self.core.dispatcher);
            let controllers = ids.iter().filter_map(|id| dispatcher.controller_snapshot(now, id));
            (dispatcher.breaker(now, plugin), controllers.collect::<Vec<_>>())
        };
        for controller in &mut controllers {
            (controller.runs, controller.failed) = self.core.shared.metrics.runs(&controller.id);
        }
        Some(PluginSnapshot {
            breaker,
            controllers,
            now,
        })
    }

    /// Permits of all plugins together that are out, and those there are.
    pub fn pool(&self) -> (usize, usize) {
        let pool = lock(&self.core.dispatcher).gate.pool();
        (pool.running, pool.size)
    }

    /// For how long the API server has given no answer, or only 401s; none while it answers.
    pub fn unreachable_for(&self) -> Option<Duration> {
        self.informers.unreachable_for()
    }

    /// What the caches would hold for each plugin alone, by plugin. Waits for handlers that run.
    pub fn cached(&self) -> std::collections::BTreeMap<std::sync::Arc<str>, Charge> {
        let mut all = std::collections::BTreeMap::<_, Charge>::new();
        for (_, plugin, charge) in self.informers.charges() {
            let sum = all.entry(plugin).or_default();
            sum.objects = sum.objects.saturating_add(charge.objects);
            sum.bytes = sum.bytes.saturating_add(charge.bytes);
        }
        all
    }

    /// At most `most` keys (and at most [`MAX_KEYS`]) of a controller's queue: those in work, the longest first; then
    /// the ready ones, the one that waits longest first; then the delayed ones, the next first. None where there is no
    /// such controller.
    pub fn keys(&self, id: &ControllerId, most: usize) -> Option<Vec<KeySnapshot>> {
        lock(&self.core.dispatcher).keys(self.core.now(), id, most.min(MAX_KEYS))
    }

    /// At least one parked key, where one is meant from the spot on, and at most some more than `most` (and than
    /// [`MAX_KEYS`]): a slice is not cut.
    pub fn parked(&self, chosen: Chosen<'_>, from: Option<Spot>, most: usize) -> ParkedPage {
        let most = most.clamp(1, MAX_KEYS);
        let mut page = ParkedPage {
            keys: Vec::new(),
            next: from,
        };
        loop {
            let now = self.core.now();
            // No more than fit: where all of them are parked, the page is full with them.
            let look_at = SLICE.min(most - page.keys.len());
            let slice = lock(&self.core.dispatcher).parked_slice(now, chosen, page.next.as_ref(), look_at);
            page.keys.extend(slice.keys);
            page.next = slice.next;
            if page.next.is_none() || page.keys.len() >= most {
                return page;
            }
        }
    }

    /// Tries the chosen parked keys again, or, with `forget`, has them forgotten until something changes; answers how
    /// many those were. Keys that are parked while this goes on may be missed.
    pub fn release_parked(&self, chosen: Chosen<'_>, forget: bool) -> u64 {
        let (mut count, mut spot) = (0, None);
        loop {
            {
                let mut dispatcher = lock(&self.core.dispatcher);
                let now = self.core.now();
                let slice = dispatcher.parked_slice(now, chosen, spot.as_ref(), SLICE);
                for parked in slice.keys {
                    let done = if forget {
                        dispatcher.drop_parked(&parked.id, &parked.key)
                    } else {
                        dispatcher.wake(now, &parked.id, &parked.key)
                    };
                    count += u64::from(done);
                }
                spot = slice.next;
            }
            self.core.wake.notify_one();
            self.core.parked.notify_one();
            if spot.is_none() {
                return count;
            }
        }
    }
}

#[cfg(test)]
mod tests;
